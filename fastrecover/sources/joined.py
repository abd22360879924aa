"""Several sources one after another, as one: chunks of an array, or rows that came from somewhere else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .array import ArraySource
from .base import Block, Source, aligned, gathered
from .blocks import BlockSource

_SMALL, _TOGETHER = 1 << 20, 1 << 22  # numbers of a chunk that is brought together with others, and of these


class JoinedRows:
    """Rows of several sources, as a :class:`BlockSource` asks for them.

    Parameters
    ----------
    parts : sequence of Source
        Of the same features.
    """

    def __init__(self, parts: Sequence[Source]) -> None:
        self.parts = parts
        self.edges = np.cumsum([0, *(part.shape[0] for part in parts)])
        # Those within a part as well: what it is made of may be chunks.
        inner = [
            begin + seams[(seams > 0) & (seams < part.shape[0])]
            for begin, part in zip(self.edges, parts, strict=False)
            for seams in [np.asarray(getattr(part, "seams", ()), int)]
        ]
        self.seams = np.unique(np.concatenate([self.edges[1:-1], *inner]))

    def __call__(self, start: int, stop: int) -> np.ndarray:
        """Samples ``start .. stop - 1``, without a copy where they are in one part."""
        first = int(np.searchsorted(self.edges, start, side="right")) - 1
        last = int(np.searchsorted(self.edges, stop, side="left"))
        found = []
        for i in range(first, last):
            begin, rows = int(self.edges[i]), self.parts[i].shape[0]
            a, b = max(start - begin, 0), min(stop - begin, rows)
            if a < b:
                found.append(self.parts[i].read(a, b).x.reshape(b - a, -1))
        return found[0] if len(found) == 1 else np.concatenate(found)

    def take(self, numbers: np.ndarray) -> np.ndarray:
        """Samples of these numbers, which rise."""
        cuts = np.searchsorted(numbers, self.edges)
        found = [
            gathered(part, numbers[a:b] - begin).reshape(b - a, -1)
            for part, a, b, begin in zip(self.parts, cuts[:-1], cuts[1:], self.edges, strict=False)
            if a < b
        ]
        return found[0] if len(found) == 1 else np.concatenate(found)


def joined(parts: Sequence[Source | Block], like: Source) -> Source:
    """Parts one after another.

    Parameters
    ----------
    parts : sequence of Source or Block
        Blocks are rows in memory.
    like : Source
        Of the same features, patches and data type.

    Returns
    -------
    Source
    """
    group, d = like.group, like.shape[1]

    def source(part: Source | Block) -> Source:
        if not isinstance(part, Block):
            return part
        y, w = (None if a is None else aligned(a) for a in (part.y, part.w))
        return ArraySource(aligned(part.x).reshape(-1, group * d), y, w, group)

    sources = [source(part) for part in parts]
    if len(sources) == 1:
        return sources[0]
    values = list(zip(*(each.targets() for each in [*sources, like.taken(slice(0, 0))]), strict=True))
    y, w = (None if each[0] is None else np.concatenate(each) for each in values)
    n = sum(each.shape[0] for each in sources)
    if not n:
        return ArraySource(np.empty((0, group * d), like.dtype), y, w, group)
    return BlockSource(JoinedRows(sources), n, d * group, y, w, like.dtype, group)


def joined_arrays(arrays: Sequence[np.ndarray]) -> Source:
    """Arrays (n_i, d) of numbers one after another, converted where they are swept and neither float32 nor float64.

    Small ones are brought together, once, so that sweeps need not do it.
    """
    d, dtype = arrays[0].shape[1], np.result_type(*(a.dtype for a in arrays))
    wanted = np.dtype(np.float32 if dtype.kind == "f" and dtype.itemsize <= 4 else np.float64)
    parts: list[list[np.ndarray]] = [[]]
    for a in arrays:
        if parts[-1] and (a.size > _SMALL or sum(each.size for each in parts[-1]) > _TOGETHER):
            parts.append([])
        parts[-1].append(a)
        if a.size > _SMALL:
            parts.append([])
    whole = [each[0] if len(each) == 1 else np.concatenate(each) for each in parts if each]
    rows = JoinedRows([ArraySource(aligned(a)) for a in whole])
    return BlockSource(rows, int(rows.edges[-1]), d, type=wanted)


def cast(source: Source, dtype: np.dtype) -> Source:
    """The same rows as float32 or float64."""
    if source.dtype == dtype:
        return source
    (n, d), (y, w) = source.shape, source.targets()
    return BlockSource(JoinedRows([source]), n, d * source.group, y, w, dtype, source.group)
