"""Kinks of a network along a line, on which it is piecewise linear with one kink for every hidden unit.

A place is found where two straight pieces meet, which is exact however coarse the points were: cells are halved only
until each holds one kink, never down to the kink itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

#: Outputs and standard errors at places of a line.
Ask = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]

_SURE = 10.0  # standard errors that are more than rounding
_ROUNDS = 48  # halvings until neighbours count as one
_NEAR = np.array([0.5, 1.0 / 32.0])  # distances, in cells, of points that tell one kink from two
_MOST = 32  # points of a line, for each that it begins with
_EDGES = 10  # halvings between an answer and a saturated one
_FAR = 16  # powers of two that a line reaches out to


@dataclass(frozen=True)
class Kinks:
    """What is seen along a line, from one end to the other.

    Attributes
    ----------
    starts, ends : ndarray (n,)
        Between them lies a kink, alone where they are equal.
    jumps : ndarray (n,)
        Change of slope, nan for places that hold more than one kink.
    reach : tuple of float
        The part of the line that was seen.
    """

    starts: np.ndarray
    ends: np.ndarray
    jumps: np.ndarray
    reach: tuple[float, float]

    def __len__(self) -> int:
        return len(self.starts)


def places(count: int) -> np.ndarray:
    """Where a line is asked first: denser where kinks are, and far out on both sides.

    Kinks of units without a preferred place are Cauchy distributed along a Gaussian line.
    """
    angles = np.pi * ((np.arange(count) + 0.5) / count - 0.5)
    far = 2.0 ** np.arange(1, _FAR + 1)
    far = far[far > 1.5 * np.tan(angles[-1])]
    return np.concatenate([-far[::-1], np.tan(angles), far])


def find_kinks(ask: Ask, t: np.ndarray) -> Kinks:
    """All kinks of a piecewise linear function.

    Parameters
    ----------
    ask : callable
        Of many places at once.
    t : ndarray (n,)
        Rising places to begin with.

    Returns
    -------
    Kinks
    """
    most = _MOST * len(t)
    t, y, s = _to_the_edges(ask, t, *ask(t))
    known: dict[tuple[float, float], tuple[float, float]] = {}
    runs: list[tuple[int, int]] = []
    for _ in range(_ROUNDS):
        seen = np.isfinite(s)
        t, y, s = t[seen], y[seen], s[seen]
        if len(t) < 5:
            return _kinks(t, [], known)
        runs = _runs(_bent(t, y, s))
        single = [(i, m) for i, m in runs if (t[i], t[m]) not in known and m - i < 2]
        proposed = [_meeting(t, y, s, i, m) for i, m in single]
        checks = [_checks(t, i, m, at) for (i, m), (at, *_) in zip(single, proposed, strict=True)]
        more = [_between(t, i, m) for i, m in runs if m - i >= 2]
        asked = np.concatenate([*checks, *more]) if checks or more else np.empty(0)
        if not len(asked):
            break
        new_y, new_s = ask(asked)
        at, kept = 0, np.zeros(len(asked), bool)
        for (i, m), (place, jump, pieces), points in zip(single, proposed, checks, strict=True):
            own = slice(at, at := at + len(points))
            wanted, error = pieces(points)
            good = np.abs(new_y[own] - wanted) <= _SURE * np.hypot(error, new_s[own])
            if t[i - 1] <= place <= t[m + 1] and good.all():
                known[t[i], t[m]] = place, jump
            else:
                kept[own] = _apart(points, t[i - 1 : m + 2])
        kept[at:] = _apart(asked[at:], t)
        if not kept.any() and not single:
            break
        if len(t) + kept.sum() > most:  # rounding that is taken for kinks would be followed without end
            break
        order = np.argsort(np.concatenate([t, asked[kept]]), kind="stable")
        t, y, s = (np.concatenate([a, b[kept]])[order] for a, b in ((t, asked), (y, new_y), (s, new_s)))
    return _kinks(t, runs, known)


def _to_the_edges(ask: Ask, t: np.ndarray, y: np.ndarray, s: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """More points where answers are seen, up to where they saturate."""
    for step in range(_EDGES):
        seen = np.isfinite(s)
        wanted = seen[1:] != seen[:-1]
        if not wanted.any():
            break
        if step in (0, _EDGES - 1):
            wanted |= seen[1:] & seen[:-1]
        more = (0.5 * (t[1:] + t[:-1]))[wanted]
        new_y, new_s = ask(more)
        order = np.argsort(np.concatenate([t, more]), kind="stable")
        t, y, s = (np.concatenate(pair)[order] for pair in ((t, more), (y, new_y), (s, new_s)))
    return t, y, s


def _bent(t: np.ndarray, y: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Which points lie off the chord of their neighbours."""
    share = (t[1:-1] - t[:-2]) / (t[2:] - t[:-2])
    off = y[1:-1] - (1.0 - share) * y[:-2] - share * y[2:]
    error = np.sqrt(s[1:-1] ** 2 + ((1.0 - share) * s[:-2]) ** 2 + (share * s[2:]) ** 2)
    return np.concatenate([[False], np.abs(off) > _SURE * error, [False]])


def _runs(bent: np.ndarray) -> list[tuple[int, int]]:
    """First and last of neighbouring bent points; those at the ends of the line have no piece beside them."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], bent, [False]]).astype(int)))
    pairs = [(int(a), int(b) - 1) for a, b in edges.reshape(-1, 2)]
    return [(i, m) for i, m in pairs if i >= 2 and m <= len(bent) - 3]


def _meeting(t: np.ndarray, y: np.ndarray, s: np.ndarray, i: int, m: int) -> tuple[float, float, Ask]:
    """Where the pieces on both sides of a run meet, how their slopes differ, and their values with errors."""
    left, right = (y[i] - y[i - 1]) / (t[i] - t[i - 1]), (y[m + 1] - y[m]) / (t[m + 1] - t[m])
    jump = right - left
    place = t[i] if i == m else t[i] + (y[m] - y[i] - right * (t[m] - t[i])) / -jump if jump else np.inf

    def pieces(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        on_left = points <= place
        a, b = np.where(on_left, i - 1, m), np.where(on_left, i, m + 1)
        share = (points - t[a]) / (t[b] - t[a])
        wanted = (1.0 - share) * y[a] + share * y[b]
        return wanted, np.hypot((1.0 - share) * s[a], share * s[b])

    return float(place), float(jump), pieces


def _checks(t: np.ndarray, i: int, m: int, place: float) -> np.ndarray:
    """Points that a single kink explains: itself, and some on each side.

    Two opposite kinks may pass for one where their outer pieces meet, which only points close by tell.
    """
    if i == m or not t[i] < place < t[m]:
        return np.array([0.5 * (t[i - 1] + t[i]), 0.5 * (t[m] + t[m + 1])] + [0.5 * (t[i] + t[m])] * (i < m))
    sides = (t[i] - place) * _NEAR, (t[m] - place) * _NEAR
    return place + np.concatenate([sides[0], [0.0], sides[1]])


def _between(t: np.ndarray, i: int, m: int) -> np.ndarray:
    """The middles of the cells of a run."""
    return 0.5 * (t[i:m] + t[i + 1 : m + 1])


def _apart(points: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Which points are no closer to one of `t` than rounding, or a small part of its cell, allows."""
    after = np.clip(np.searchsorted(t, points), 1, len(t) - 1)
    width = t[after] - t[after - 1]
    nearest = np.minimum(points - t[after - 1], t[after] - points)
    return (nearest > 0.05 * width) & (width > 2.0**-44 * (1.0 + np.abs(points)))


def _kinks(t: np.ndarray, runs: list[tuple[int, int]], known: dict[tuple[float, float], tuple[float, float]]) -> Kinks:
    found = []
    for i, m in runs:
        place, jump = known.get((t[i], t[m]), (np.nan, np.nan))
        found.append((t[i - 1], t[m + 1], np.nan) if np.isnan(place) else (place, place, jump))
    starts, ends, jumps = np.array(found).reshape(-1, 3).T
    return Kinks(starts, ends, jumps, (float(t[0]), float(t[-1])) if len(t) else (0.0, 0.0))
