"""What the sums of many workers cost whoever merges them: a simulation of one pass of a fit at the client.

Workers are not run.  Their messages are made from block sums that are drawn, and arrive in random order; the client
unpickles each and adds it to the canonical merge tree, as an engine on workers does.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterator
from statistics import mean, median
from typing import Any

import numpy as np

from fastrecover.kernels.tree import Tree, aligned_subtrees, merge_range

from .harness import Context, Row
from .memory import peak

_BLOCKS = 64  # of a worker, on average
_MOST = 1 << 62  # no subtree is too large to be sent
_DRAWN = 16  # block sums that are drawn; the others repeat them


def run(context: Context) -> Iterator[Row]:
    """Rows: workers, kinds of ranges and sizes of the sums."""
    counts, shapes = ((10, 100, 1_000), ((50, 5), (100, 10), (1_000, 10), (1_000, 100)))
    if context.quick:
        counts, shapes = (8, 50), ((50, 5),)
    cells = (
        {"ranges": kind, "d": d, "q": q, "workers": count}
        for kind in ("aligned", "random")
        for d, q in shapes
        for count in counts
    )
    yield from context.each(cells, measure)


def measure(context: Context, ranges: str, d: int, q: int, workers: int) -> Row:
    """Time and memory of a pass at the client."""
    rng = np.random.default_rng(workers)
    blocks = [(rng.standard_normal((q, d)), rng.standard_normal(q)) for _ in range(_DRAWN)]
    edges = ends(ranges, workers, rng)
    order, seconds, held = rng.permutation(workers), [], 0
    for _ in range(1 if context.quick else 5):
        spent, tree = 0.0, Tree()
        for worker in order:
            message = sent(blocks, *edges[worker])
            start = time.process_time()
            received(tree, message)
            spent += time.process_time() - start
            held = max(held, len(tree.subtrees))
        start = time.process_time()
        total = tree.total()
        seconds.append(spent + time.process_time() - start)
    whole = merge_range(lambda i: blocks[i % _DRAWN], 0, edges[-1][1])
    number, one = [len(list(aligned_subtrees(*pair, _MOST))) for pair in edges], 8e-6 * q * (d + 1)
    row: Row = {"subtrees a worker": mean(number), "at most": max(number), "MB received": one * sum(number)}
    row |= {"ms a pass": 1e3 * median(seconds), "held at once": held, "held MB": one * held}
    try:
        row["peak MB"] = peak(lambda: merged(blocks, edges, order))[0] / 1e6
    except OSError as error:
        context.leave_out("peak MB", error)
    return row | {"same bits": all(np.array_equal(a, b) for a, b in zip(total, whole, strict=True))}


def ends(kind: str, workers: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """First block of every worker, and the one behind its last."""
    count = _BLOCKS * workers
    inner = np.sort(rng.choice(np.arange(1, count), workers - 1, replace=False))
    edges = np.arange(0, count + 1, _BLOCKS) if kind == "aligned" else np.concatenate([[0], inner, [count]])
    return [(int(a), int(b)) for a, b in zip(edges, edges[1:], strict=False)]


def sent(blocks: list[tuple[np.ndarray, ...]], first: int, stop: int) -> bytes:
    """The message of a worker: its largest aligned subtrees, by level and number."""
    parts = []
    for level, number in aligned_subtrees(first, stop, _MOST):
        begin = number << level
        parts.append((level, number, merge_range(lambda i, begin=begin: blocks[(begin + i) % _DRAWN], 0, 1 << level)))
    return pickle.dumps(parts, protocol=5)


def received(tree: Tree, message: bytes) -> None:
    """What the client does with it."""
    for level, number, part in pickle.loads(message):
        tree.add(number, part, level)


def merged(blocks: list[tuple[np.ndarray, ...]], edges: list[tuple[int, int]], order: np.ndarray) -> Any:
    """A pass: all messages one after another, and their sum."""
    tree = Tree()
    for worker in order:
        received(tree, sent(blocks, *edges[worker]))
    return tree.total()
