"""Hidden units as an extraction holds them, and how they are measured: by gradients, and by steps across their kinks.

A unit is kept as ``V relu(w . x + a)`` with w of length 1, whichever side it is active on: the other side differs by a
linear function, which is settled at the end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..linalg import least_squares
from .oracle import Oracle

_ACROSS = 1.25  # steps over a kink, in units of the longest step along it
_UNSURE = 3.0  # standard errors by which a kink may lie elsewhere
_TRIED, _PUSHES = 128, 12  # random points, and attempts to make more room around the best of them
_LEAST = 2.0**-7  # step worth looking for
_MARGIN = 0.9  # of the way to the next kink that steps may take


@dataclass(frozen=True)
class Units:
    """Hidden units ``V relu(w . x + a)``.

    Attributes
    ----------
    w : ndarray (k, d)
        Rows of length 1.
    a : ndarray (k,)
    v : ndarray (k, n_outputs)
    error : ndarray (k,)
        Expected relative error of each unit's row.
    at : ndarray (k, d)
        Where each has been measured: a point of its kink.
    """

    w: np.ndarray
    a: np.ndarray
    v: np.ndarray
    error: np.ndarray
    at: np.ndarray

    @classmethod
    def none(cls, n_features: int, n_outputs: int) -> Units:
        """No units."""
        rows = np.empty((0, n_features))
        return cls(rows, np.empty(0), np.empty((0, n_outputs)), np.empty(0), rows)

    def __len__(self) -> int:
        return len(self.a)

    def __getitem__(self, chosen: np.ndarray | slice) -> Units:
        return Units(*(part[chosen] for part in self.parts()))

    def and_also(self, others: Units) -> Units:
        """These and others."""
        pairs = zip(self.parts(), others.parts(), strict=True)
        return Units(*(np.concatenate(pair) for pair in pairs))

    def parts(self) -> tuple[np.ndarray, ...]:
        """All fields, in the order in which they are given."""
        return self.w, self.a, self.v, self.error, self.at

    @property
    def sizes(self) -> np.ndarray:
        """Lengths of the output weights."""
        return np.linalg.norm(self.v, axis=1)

    def outputs(self, X: np.ndarray) -> np.ndarray:
        """Sum of the units at some points, (n, n_outputs)."""
        return np.maximum(X @ self.w.T + self.a, 0.0) @ self.v

    def distances(self, X: np.ndarray) -> np.ndarray:
        """Signed distances of points from the kinks, (n, k)."""
        return X @ self.w.T + self.a

    @property
    def unsure(self) -> float:
        """Standard error that the errors of these units make of their sum, where inputs have length sqrt(d)."""
        return float(np.linalg.norm(self.error * self.sizes))


class Steps:
    """Orthogonal steps along which gradients are measured, of numbers that are exact in any precision.

    Hadamard matrices on randomly chosen features, one for each binary digit of d, have entries of one size, so that a
    step is as long as the kinks around allow in all of its features at once.

    Parameters
    ----------
    n_features : int
    rng : Generator

    Attributes
    ----------
    rows : ndarray (d, d)
        Of about the same length, sqrt(d).
    squares : ndarray (d,)
        Their squared lengths.
    """

    def __init__(self, n_features: int, rng: np.random.Generator) -> None:
        from scipy.linalg import hadamard

        rows, at = np.zeros((n_features, n_features)), 0
        largest = n_features.bit_length() - 1
        for digit in range(largest, -1, -1):
            size = 1 << digit
            if n_features & size:
                longer = 2.0 ** ((largest - digit) // 2)
                rows[at : at + size, at : at + size] = longer * hadamard(size)
                at += size
        self.rows = rows[:, rng.permutation(n_features)] * rng.choice([-1.0, 1.0], n_features)
        self.squares = np.square(self.rows).sum(axis=1)
        self.amplification = float(np.sqrt((1.0 / self.squares).sum()))

    def gradient(self, changes: np.ndarray, length: float) -> np.ndarray:
        """Gradients (n_outputs, d) of changes (d, n_outputs) along the steps times `length`."""
        return (changes / (self.squares[:, None] * length)).T @ self.rows


def unit_of(jump: np.ndarray, offset: np.ndarray, inside: np.ndarray, error: float, at: np.ndarray) -> Units:
    """The unit whose kink changes gradients by `jump` and values at 0 by `offset`.

    Parameters
    ----------
    jump : ndarray (n_outputs, d)
    offset : ndarray (n_outputs,)
    inside : ndarray (d,)
        A direction to the side on which the unit is said to be active.
    error : float
        Of the jump's size.
    at : ndarray (d,)
        A point near the kink.
    """
    right, sizes = np.linalg.svd(jump, full_matrices=False)[2], float(np.linalg.norm(jump, 2))
    w = right[0] if right[0] @ inside > 0 else -right[0]
    v = jump @ w
    if not sizes > 0.0:
        return Units(w[None], np.zeros(1), v[None], np.array([np.inf]), at[None])
    return _placed(w, float(offset @ v) / sizes**2, v, error * max(1.0, float(length_of(at))) / sizes, at)


def _placed(w: np.ndarray, a: float, v: np.ndarray, error: float, at: np.ndarray) -> Units:
    return Units(w[None], np.array([a]), v[None], np.array([error]), (at - (w @ at + a) * w)[None])


def length_of(points: np.ndarray) -> np.ndarray:
    """Lengths of points in units of sqrt(d)."""
    return np.sqrt(np.mean(np.square(points), axis=-1))


def power_of_two(value: float) -> float:
    """The largest power of two that is not above a positive number."""
    return float(2.0 ** np.floor(np.log2(value)))


class Room:
    """How far steps may go from points on the kinks of units without meeting another kink.

    Parameters
    ----------
    units : Units
    steps : Steps

    Attributes
    ----------
    largest : ndarray (k,)
        Longest of the steps, as each unit sees it.
    """

    def __init__(self, units: Units, steps: Steps) -> None:
        self.units = units
        self.largest = np.abs(steps.rows @ units.w.T).max(axis=0)
        self.cosines = units.w @ units.w.T

    def needs(self, j: int) -> np.ndarray:
        """Distances (k,) that steps of length 1 across the kink of unit `j` take up."""
        over = _ACROSS * self.largest[j] * np.abs(self.cosines[j])
        return np.asarray(np.maximum(over + self.largest, 2.0 * over))

    def around(self, j: int, z: np.ndarray, length: np.ndarray) -> np.ndarray:
        """Longest steps across the kink of unit `j` from points at distances z (n, k), of so many sqrt(d)."""
        others = np.arange(len(self.units)) != j
        sure = np.abs(z) - _UNSURE * np.maximum(1.0, length)[:, None] * self.units.error
        return np.asarray((sure / self.needs(j))[:, others].min(axis=1, initial=np.inf))

    def point(self, j: int, rng: np.random.Generator) -> np.ndarray:
        """A point on the kink of unit `j` with as much room as can be had, for its length.

        The best of some random points is pushed away from what is too near, by the shortest moves along the kink; all
        of it is done on distances, the moves being combinations of units' rows.
        """
        units, d = self.units, self.units.w.shape[1]
        w, cosines = units.w[j], self.cosines[j]
        points = rng.standard_normal((_TRIED, d))
        points -= units.distances(points)[:, j, None] * w
        z, length = units.distances(points), length_of(points)
        best = int(np.argmax(self.around(j, z, length) / np.maximum(1.0, length)))
        point, z = points[best], z[best]
        needs, gram = self.needs(j), self.cosines - np.outer(cosines, cosines)
        others, inner = np.arange(len(units)) != j, z - units.a - (w @ point) * cosines  # of rows with the point
        moved, kept = np.zeros(len(units)), np.zeros(len(units))
        before = float(self.around(j, z[None], length[[best]])[0] / max(1.0, length[best]))
        goal = max(before, _LEAST)
        for _ in range(_PUSHES):
            goal *= 1.5
            for _ in range(3):
                at = z + gram @ moved
                far = goal * needs + _UNSURE * units.error
                near = np.flatnonzero(others & (np.abs(at) < far))
                if not len(near) or len(near) >= d:
                    break
                push = np.where(at < 0, -1.0, 1.0)[near] * 1.2 * (far - np.abs(at))[near]
                moved[near] += least_squares(gram[np.ix_(near, near)], push, rcond=1e-10)
            squares = point @ point + 2.0 * (moved @ inner) + moved @ gram @ moved
            size = max(1.0, float(np.sqrt(max(squares, 0.0) / d)))
            now = float(self.around(j, (z + gram @ moved)[None], np.array([size]))[0]) / size
            if now > before:
                kept, before = moved.copy(), now
            elif goal > 2.0 * _LEAST:
                break
        move = kept @ units.w
        return np.asarray(point + move - (w @ move) * w)


def crossed(oracle: Oracle, room: Room, steps: Steps, j: int, finest: float, rng: np.random.Generator) -> Units | None:
    """Unit `j` measured again, by long steps across its kink that meet no other that is known.

    Points ``p + s`` and ``p - s`` lie symmetric to one of the kink, so all that is linear around cancels in
    ``f(p + s) + f(p - s)``, and so do the errors of other units.

    Parameters
    ----------
    oracle : Oracle
    room : Room
        Between all units that are known.
    steps : Steps
    j : int
    finest : float
        Relative error that is enough; steps are no longer than it asks for.
    rng : Generator

    Returns
    -------
    Units or None
        None where no step fits in.
    """
    units, w, at = room.units, room.units.w[j], room.point(j, rng)
    across, length = _ACROSS * room.largest[j], float(length_of(at))
    enough = 2.0 * oracle.rounding * max(1.0, length) ** 2 * steps.amplification / (finest * units.sizes[j])
    fits = float(room.around(j, units.distances(at[None]), np.array([length]))[0])
    if not fits > 0.0:
        return None
    span = power_of_two(min(_MARGIN * fits, 1.0 + length, 2.0 * enough))
    grid = oracle.grid(float(np.abs(at).max() + 2.0 * span * (across + 1.0) * np.abs(steps.rows).max()))
    if span < grid:
        return None
    p, over = np.rint(at / grid) * grid, np.rint(across * span * w / grid) * grid
    moves = np.concatenate([[over, 2.0 * over], over + span * steps.rows])
    values, errors = oracle(np.concatenate([p + moves, p - moves]))
    if not np.isfinite(errors).all():
        return None
    there, back = np.split(values, 2)
    both = there + back
    error = 2.0 * float(np.sqrt(np.mean(np.square(errors)))) * steps.amplification / span
    jump = steps.gradient(both[2:] - both[0], span)
    found = unit_of(jump, np.zeros(len(jump)), w, error, p)
    # Where the straight pieces on both sides meet, along `over` and in units of it.
    near, far, behind, further = (float(each @ found.v[0]) for each in (there[0], there[1], back[0], back[1]))
    right, left = far - near, behind - further
    if not right - left > 0.0:
        return None
    meeting = p + (behind + left - near + right) / (right - left) * over
    return _placed(found.w[0], -float(found.w[0] @ meeting), found.v[0], float(found.error[0]), meeting)
