"""The canonical merge tree: a range of blocks is split at the largest power of two below its length.

Aligned subtrees can therefore be summed by anybody and merged later with the same bits, which is what makes
threads, chunked files and clusters agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

Pair = tuple  # (A, S) arrays, merged by adding left and right


def merge(parts: Iterable[Pair]) -> Pair:
    """Merge consecutive equally sized aligned subtrees (the last may be smaller), given in order.

    Parameters
    ----------
    parts : iterable of tuple of ndarray
        Sums of each subtree; at least one.

    Returns
    -------
    tuple of ndarray
        Their sum, in the order of the canonical tree.
    """
    stack: list[tuple[int, Pair]] = []
    for part in parts:
        level = 0
        while stack and stack[-1][0] == level:
            left = stack.pop()[1]
            part = tuple(u + v for u, v in zip(left, part, strict=True))
            level += 1
        stack.append((level, part))
    part = stack.pop()[1]
    while stack:
        part = tuple(u + v for u, v in zip(stack.pop()[1], part, strict=True))
    return part


def merge_range(compute: Callable[[int], Pair], first: int, count: int) -> Pair:
    """Merge ``compute(first), ..., compute(first + count - 1)``."""
    return merge(compute(b) for b in range(first, first + count))
