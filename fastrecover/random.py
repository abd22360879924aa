"""Named streams of random numbers under one seed.

A stream is the child of the root seed that its purpose names, so what is drawn for one purpose never depends on how
much was drawn for another, nor on the order in which parts of a fit run.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from ._typing import RandomState


class Stream(IntEnum):
    """What random numbers are drawn for; the values are part of every result.

    Planted networks have numbers of their own, so that a fit given the seed of its truth does not begin at it.  JUDGE,
    CURVATURE and SCARCE share the stream of starts.
    """

    SAMPLE = 0  # rows of the sub-samples that are refined on
    START = 1  # directions inside starts
    RESTART = 2  # random rows and wide students
    DIAGNOSIS = 3  # rows whose law is tested
    UNITS = 4  # rows that numbers of units are tried on
    SPECTRUM = 5  # directions of the spectrum that the number of units is guessed from
    HELD_OUT = 6  # rows that penalties are told apart on
    EXTRACTION = 7  # queries of an extraction: steps, lines, points
    DECAY = 8  # students under weight decay
    AGAIN = 9  # searches that are made again
    JUDGE = 1  # directions in which a residual is tested
    CURVATURE = 1  # rows whose curvature preconditions a refinement
    SCARCE = 1  # rows of wide students where rows are many

    TEACHER = 7001
    ROWS = 7002
    NOISE = 7003
    BATCHES = 7005  # of an endless sample, each with rows and noise of its own
    LOOKS = 7004  # under DIAGNOSIS: apart from what else is drawn with that seed


def stream(root: np.random.SeedSequence, purpose: Stream, *key: int) -> np.random.SeedSequence:
    """The seed of one purpose under `root`, the same however often it is asked for.

    Parameters
    ----------
    root : SeedSequence
    purpose : Stream
    *key : int
        Numbers within the purpose, such as that of a block.

    Returns
    -------
    SeedSequence
    """
    return np.random.SeedSequence(
        root.entropy, spawn_key=(*root.spawn_key, int(purpose), *key), pool_size=root.pool_size
    )


def generator(root: np.random.SeedSequence, purpose: Stream, *key: int) -> np.random.Generator:
    """A fresh generator on :func:`stream`."""
    return np.random.default_rng(stream(root, purpose, *key))


def seed_sequence(random_state: RandomState) -> np.random.SeedSequence:
    """The root of all random numbers of a call.

    Parameters
    ----------
    random_state : None, int, SeedSequence, Generator or RandomState
        Generators are advanced, so that a second call with the same one draws other numbers.

    Raises
    ------
    TypeError, ValueError
    """
    if isinstance(random_state, np.random.SeedSequence):
        return random_state
    if isinstance(random_state, np.random.Generator):
        return np.random.SeedSequence(random_state.integers(0, 2**63, 4).tolist())
    if isinstance(random_state, np.random.RandomState):
        return np.random.SeedSequence(random_state.randint(0, 2**32, 8, np.uint32).tolist())
    if random_state is None:
        return np.random.SeedSequence()
    if isinstance(random_state, bool) or not isinstance(random_state, (int, np.integer)):
        known = "None, an integer, a SeedSequence, a Generator or a RandomState"
        raise TypeError(f"random_state must be {known}, got {random_state!r}")
    if random_state < 0:
        raise ValueError(f"random_state must not be negative, got {random_state}")
    return np.random.SeedSequence(int(random_state))
