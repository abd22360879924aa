"""The canonical merge tree: a range of blocks is split at the largest power of two below its length.

Aligned subtrees can therefore be summed by anybody and merged later with the same bits, which is what makes
threads, chunked files and clusters agree.  ``csrc/job.c`` has the same tree for threads that C shares out.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

#: (A, S) arrays, merged by adding left and right.
Pair: TypeAlias = tuple


class Tree:
    """Sums of numbered parts, added by several threads in any order.

    Parts are aligned subtrees (the last may be smaller).  The two halves of a subtree are merged as soon as both are
    there, so that few sums are held at a time.

    Attributes
    ----------
    subtrees : dict
        Sums that wait for others, by level and number: of subtrees that hold ``2^level`` of the smallest parts.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.subtrees: dict[tuple[int, int], Pair] = {}

    def add(self, i: int, part: Pair, level: int = 0) -> None:
        """Add part i of a level, and merge upwards while the other half of a subtree is there."""
        while True:
            with self.lock:
                other = self.subtrees.pop((level, i ^ 1), None)
                if other is None:
                    self.subtrees[level, i] = part
                    return
            part = _sum(other, part) if i & 1 else _sum(part, other)
            level, i = level + 1, i >> 1

    def extend(self, first: int, stacks: Pair, level: int = 0) -> None:
        """Add consecutive parts of a level from number `first` on, stacked along the first axis of every array."""
        count = len(stacks[0])
        while count:
            if first & 1:
                self.add(first, tuple(each[0] for each in stacks), level)
                stacks, first, count = tuple(each[1:] for each in stacks), first + 1, count - 1
            if count & 1:
                self.add(first + count - 1, tuple(each[-1] for each in stacks), level)
                stacks, count = tuple(each[:-1] for each in stacks), count - 1
            stacks = tuple(each[0::2] + each[1::2] for each in stacks)
            first, count, level = first >> 1, count >> 1, level + 1

    def total(self) -> Pair:
        """Sum of all parts, at least one; incomplete subtrees are merged from the right."""
        *rest, total = (part for _, part in sorted(self.subtrees.items(), key=lambda item: item[0][1] << item[0][0]))
        for part in reversed(rest):
            total = _sum(part, total)
        return total


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
    tree = Tree()
    for i, part in enumerate(parts):
        tree.add(i, part)
    return tree.total()


def aligned(first: int, stop: int, most: int) -> Iterator[tuple[int, int]]:
    """Level and number of the largest aligned subtrees of up to `most` parts, a power of two, that make up a range.

    Parameters
    ----------
    first, stop : int
        Parts ``first .. stop - 1``.
    most : int

    Yields
    ------
    tuple of int
    """
    while first < stop:
        size = min(most, 1 << (stop - first).bit_length() - 1, first & -first or most)
        yield size.bit_length() - 1, first // size
        first += size


def merge_range(compute: Callable[[int], Pair], first: int, count: int) -> Pair:
    """Merge ``compute(first), ..., compute(first + count - 1)``."""
    return merge(compute(b) for b in range(first, first + count))


def _sum(left: Pair, right: Pair) -> Pair:
    return tuple(u + v for u, v in zip(left, right, strict=True))
