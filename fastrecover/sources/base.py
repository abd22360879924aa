"""The contract between data and engines: how many rows there are, and how some of them are read.

A source knows nothing of models or of who sweeps it.  Rows, responses and weights leave it block by block through
:meth:`Source.read`, from any number of threads; sub-samples and parts are sources again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np


class Block(NamedTuple):
    """Consecutive samples as they are swept.

    Attributes
    ----------
    x : ndarray (samples * group, d), float32 or float64
        Unit column stride, any row stride.
    y, w : ndarray (samples,) of float64, contiguous, or None
        Responses and weights of the samples.
    """

    x: np.ndarray
    y: np.ndarray | None
    w: np.ndarray | None


class Source(Protocol):
    """Numbered samples, each of `group` rows that are swept on their own (patches), else of one."""

    @property
    def shape(self) -> tuple[int, int]:
        """Samples, and features of one row that is swept."""
        ...

    @property
    def dtype(self) -> np.dtype:
        """Data type of the rows: float32 or float64."""
        ...

    @property
    def group(self) -> int:
        """Rows of a sample."""
        ...

    @property
    def gives_views(self) -> bool:
        """Whether :meth:`read` costs no memory; engines ask other sources for a few blocks at a time."""
        ...

    def read(self, start: int, stop: int) -> Block:
        """Samples ``start .. stop - 1``; for arrays views, never copies.  Called from several threads at once."""
        ...

    def targets(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Responses and weights of all samples, without their rows."""
        ...

    def changed(self, *, y: np.ndarray | None = None, w: np.ndarray | None = None) -> Source:
        """The same rows with other responses or weights, where given."""
        ...

    def sample(self, m: int, seed: np.random.SeedSequence, *, spaced: bool = False) -> Source:
        """`m` samples of positive weight, all of them where there are not more; see :class:`ArraySource`."""
        ...

    def grouped(self, count: int) -> Source:
        """The same samples, each cut into `count` patches that are swept as rows of their own."""
        ...

    def part(self, i: int, count: int) -> Source:
        """Part i of `count` nearly equal consecutive parts."""
        ...

    def taken(self, which: slice | np.ndarray) -> Source:
        """Samples of a slice, or of a list of rising numbers."""
        ...

    def patches(self) -> Source:
        """Every row of a sample as a sample of its own, with the response and weight of its sample."""
        ...


_NUMBERS = 1 << 22  # looked at at a time


def read_all(source: Source) -> Iterator[tuple[int, np.ndarray]]:
    """Number of a first sample, and rows from there on, until all have been seen.

    Parameters
    ----------
    source : Source
    """
    n, d = source.shape
    step = n if source.gives_views else max(1, _NUMBERS // (d * source.group))
    for start in range(0, n, step):
        yield start, source.read(start, min(start + step, n)).x


def peek(source: Source, m: int) -> np.ndarray:
    """At least `m` rows from all over a source, or all of them.

    Parameters
    ----------
    source : Source
    m : int

    Returns
    -------
    ndarray (at least m, d)
    """
    n = source.shape[0]
    if source.gives_views:
        return source.read(0, n).x[:: max(1, n // m)]
    few = source.sample(m, np.random.SeedSequence(0))
    return few.read(0, few.shape[0]).x


def aligned(a: np.ndarray) -> np.ndarray:
    """The array, whose numbers begin where kernels can read them: what came over a wire may begin at any byte."""
    return a if a.flags.aligned else np.require(a, requirements="A")


def gathered(source: Source, samples: np.ndarray) -> np.ndarray:
    """Rows of some samples, in memory.

    Parameters
    ----------
    source : Source
    samples : ndarray (m,) of int
        In rising order.

    Returns
    -------
    ndarray (m * group, d)
    """
    d, g = source.shape[1], source.group
    found = source.gathered(samples) if hasattr(source, "gathered") else None
    if found is not None:
        return found.reshape(len(samples) * g, d)
    x, at = np.empty((len(samples), g * d), source.dtype), 0
    step = source.shape[0] if source.gives_views else max(1, _NUMBERS // (4 * d * g))
    while at < len(samples):
        first = int(samples[at])
        inside = samples[at : np.searchsorted(samples, first + step)]
        stop = int(inside[-1]) + 1
        x[at : at + len(inside)] = source.read(first, stop).x.reshape(stop - first, -1)[inside - first]
        at += len(inside)
    return x.reshape(len(samples) * g, d)
