"""All hidden units of a black box: lines find kinks, gradients between kinks are units, steps across kinks refine them.

A unit that is known is subtracted from all later answers, so each line shows only what is still missing, between
ever wider gaps; nothing has to be matched between lines.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ..random import Stream, generator
from .lines import Kinks, find_kinks, places
from .oracle import DOUBLE, Oracle
from .units import Room, Steps, Units, crossed, length_of, power_of_two, unit_of

_GUESS = 64  # units where nobody says how many
_NARROW = 64.0  # gap between kinks over the steps of a gradient: no step should meet a kink that the line runs along
_NARROWEST = 12.0  # the same where rounding leaves no choice
_ROUGH = 0.05  # relative error of a unit that is worth anything
_GOOD, _COARSE, _RELAXED = 1e-7, 3e3, 100.0  # relative error that is enough: at least, in roundings, of later lines
_REACHED = 50.0  # roundings of a unit that nothing makes better
_FINE = 1e-4  # relative error of a unit that may be subtracted
_SURE = 10.0  # standard errors
_GAIN = 32.0  # by which a unit is made better at once: longer steps would ask for more than is known of others
_FEW = 0.04  # share of the units that a line adds where rough ones had better be refined first
_NEAR, _ALIKE = 4.0, 0.2  # standard errors, and change of slope, by which a kink may miss the unit that it belongs to
_MOVED = 0.3  # that a unit moves at most where it is measured again
_TESTS, _ASIDE, _BEYOND = 5, 0.25, 5.0  # points on the kink of a unit where it is looked for, how far away, how wide
_WRONG = 0.5  # part by which a kink may differ from what a unit predicts
_REFINEMENTS = 2  # of rough units, each of which may show more units
_LINES = 64  # of a search
_IDLE, _PATIENCE = 3, 8  # lines that give no new unit before a search ends: without a kink, and with some


@dataclass
class Search:
    """Hidden units of a network that answers.

    Attributes
    ----------
    oracle : Oracle
    root : SeedSequence
    accuracy : float
        Relative error that every unit should reach.
    wanted : int or None
        Number of units, if it is known.
    tell : callable
        Told of every stage by name and queries; True ends the search.
    """

    oracle: Oracle
    root: np.random.SeedSequence
    accuracy: float
    wanted: int | None = None
    tell: Callable[[str], bool] = lambda stage: False
    units: Units = field(init=False)
    unseen: bool = True  # whether the last line may have shown kinks that are no unit's

    def __post_init__(self) -> None:
        oracle = self.oracle
        self.units = Units.none(oracle.n_features, oracle.n_outputs)
        self.steps = Steps(oracle.n_features, generator(self.root, Stream.EXTRACTION, 0))
        mixed = generator(self.root, Stream.EXTRACTION, 1).standard_normal(oracle.n_outputs)
        self.mixture = mixed / np.linalg.norm(mixed)

    def run(self) -> None:
        """Look along lines until they show nothing new, or all units are there."""
        idle = number = refinements = 0
        early = True
        most = np.inf if self.wanted is None else 2 * self.wanted  # beyond which units are not what they are taken for
        while idle < (_PATIENCE if self.unseen else _IDLE) and number < _LINES and len(self.units) <= most:
            if len(self.units) == self.wanted and idle:
                break
            rng = generator(self.root, Stream.EXTRACTION, 2, number)
            found = self._along_a_line(rng, idle, 0.5 ** (number % 3) if self.oracle.logit else 1.0)
            self.units = self.units.and_also(found)
            idle, number = (0 if len(found) else idle + 1), number + 1
            if self.tell(f"line {number}"):
                return
            rng = generator(self.root, Stream.EXTRACTION, 3, number)
            if not self.unseen or idle == _IDLE or len(self.units) == self.wanted:
                rough = self.units.error > _FINE
                refinements += 1
                # Units that are known better explain more of the next lines.
                if self.refine(rng, 2) and rough.any() and refinements < _REFINEMENTS:
                    idle = 0
            elif early and len(found) <= _FEW * len(self.units) and (self.units.error > _FINE).any():
                early = False
                self.refine(rng, 1)
            if not self.unseen and idle and self.wanted is None:
                break

    def residual(self, X: np.ndarray, units: Units | None = None) -> tuple[np.ndarray, np.ndarray]:
        """What units that are known well leave of the answers at some points, and its standard errors."""
        units = self._fine if units is None else units
        values, errors = self.oracle(X)
        return values - units.outputs(X), errors + units.unsure * np.maximum(1.0, length_of(X))

    @property
    def _fine(self) -> Units:
        """Units that are known so well that subtracting them leaves little."""
        return self.units[self._subtracted]

    @property
    def _subtracted(self) -> np.ndarray:
        """In single precision nothing is: errors near rounding would blur the kinks that are left."""
        return (self.units.error <= _FINE) & (self.oracle.bits == DOUBLE)

    def _along_a_line(self, rng: np.random.Generator, idle: int, near: float) -> Units:
        """New units with kinks on a random line that passes 0 at so many sqrt(d): near, where answers saturate."""
        start, along = rng.standard_normal((2, self.oracle.n_features))
        start *= near

        def ask(t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            values, errors = self.residual(self.oracle.rounded(start + t[:, None] * along))
            return values @ self.mixture, errors

        missing = max((self.wanted or _GUESS) - len(self._fine), 4)
        kinks = find_kinks(ask, places(2 * missing + 2))
        new = self._unexplained(kinks, start, along)
        self.unseen = bool(new.any())
        candidates = self._measured(kinks, new, start, along, idle)
        if not len(candidates):
            return candidates
        candidates = candidates[~self._known(candidates)]
        every = self.units.and_also(candidates)
        good = self._hold(every, np.arange(len(self.units), len(every)), rng)
        return candidates[good]

    def _unexplained(self, kinks: Kinks, start: np.ndarray, along: np.ndarray) -> np.ndarray:
        """Which kinks on a line are not those of units that are known roughly."""
        rough = self.units[~self._subtracted]
        if not len(rough):
            return np.ones(len(kinks), bool)
        from scipy.optimize import linear_sum_assignment

        points = start + (0.5 * (kinks.starts + kinks.ends))[:, None] * along
        slopes = np.abs(rough.w @ along)
        wide = 0.5 * (kinks.ends - kinks.starts)[:, None] * slopes
        blur = _SURE * (self.oracle.rounding + self._fine.unsure) / np.abs(np.nan_to_num(kinks.jumps, nan=np.inf))
        allowed = (_NEAR * rough.error + blur[:, None] * slopes) * np.maximum(1.0, length_of(points))[:, None] + wide
        off = np.abs(rough.distances(points)) / allowed
        jumps = np.abs((rough.v @ self.mixture) * slopes)
        change = np.abs(np.abs(kinks.jumps)[:, None] - jumps) / (_ALIKE * jumps)
        off = np.where(np.isnan(kinks.jumps)[:, None], off, np.maximum(off, change))
        rows, columns = linear_sum_assignment(np.minimum(off, 2.0))
        new = np.ones(len(kinks), bool)
        new[rows[off[rows, columns] <= 1.0]] = False
        return new & ~(np.isnan(kinks.jumps) & (off <= 1.0).any(axis=1))

    def _measured(self, kinks: Kinks, new: np.ndarray, start: np.ndarray, along: np.ndarray, idle: int) -> Units:
        """Units of the kinks on a line, from the gradients on both sides of each."""
        oracle, steps = self.oracle, self.steps
        none = Units.none(oracle.n_features, oracle.n_outputs)
        alone = np.flatnonzero(~np.isnan(kinks.jumps) & new)
        if not len(alone):
            return none
        lows = np.concatenate([[max(kinks.reach[0], kinks.starts[0] - max(1.0, abs(kinks.starts[0])))], kinks.ends])
        highs = np.concatenate([kinks.starts, [min(kinks.reach[1], kinks.ends[-1] + max(1.0, abs(kinks.ends[-1])))]])
        middles, gaps = 0.5 * (lows + highs), highs - lows
        noise = oracle.errors(start + middles[:, None] * along)
        if not np.isfinite(noise).any():
            return none
        jumps = np.abs(kinks.jumps)
        lengths = np.full(len(gaps), np.nan)
        limit = min(
            _ROUGH,
            max(_GOOD, _COARSE * float(np.median(noise[np.isfinite(noise)]) / np.median(jumps[alone])))
            * _RELAXED**idle,
        )
        for i in range(len(gaps)):
            beside = [jumps[j] for j in (i - 1, i) if j in alone]
            if not beside or not gaps[i] > 0 or not np.isfinite(noise[i]):
                continue
            # As short as rounding allows, so that no step meets a kink, and as long as it asks for.
            wanted = noise[i] * steps.amplification / (1e-3 * min(beside))
            length = gaps[i] / np.clip(gaps[i] / wanted, _NARROWEST, _NARROW)
            if noise[i] * steps.amplification / length < limit * max(beside):
                lengths[i] = power_of_two(length)
        needed = np.zeros(len(gaps), bool)
        for j in alone:
            if np.isfinite(lengths[[j, j + 1]]).all():
                needed[[j, j + 1]] = True
        found: list[Units] = []
        before: tuple[np.ndarray, np.ndarray, np.ndarray, float] | None = None
        for i in range(len(gaps)):
            after = self._gradient(start + middles[i] * along, lengths[i]) if needed[i] else None
            if before is not None and after is not None and i - 1 in alone:
                (p, f, g, e), (q, h, k, u) = before, after
                error = float(np.sqrt(e**2 + u**2 + self._fine.unsure**2))
                place = start + kinks.starts[i - 1] * along
                found.append(unit_of(k - g, (h - k @ q) - (f - g @ p), along, error, place))
            before = after
        for unit in found:
            if unit.error[0] < 4.0 * limit:
                none = none.and_also(unit)
        return none

    def _gradient(self, at: np.ndarray, length: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, float] | None:
        """A point near `at`, the residual there, its gradient, and the standard error of that."""
        steps, oracle = self.steps, self.oracle
        grid = oracle.grid(float(np.abs(at).max() + length * np.abs(steps.rows).max()))
        if length < grid:
            return None
        p = np.rint(at / grid) * grid
        points = np.concatenate([p[None], p + length * steps.rows])
        values, errors = oracle(points)
        values = values - self._fine.outputs(points)
        if not np.isfinite(errors).all():
            return None
        error = float(np.sqrt(np.mean(np.square(errors)))) * 1.4142 * steps.amplification / length
        return p, values[0], steps.gradient(values[1:] - values[0], length), error

    def _known(self, candidates: Units) -> np.ndarray:
        """Which candidates are units that are known."""
        known = np.zeros(len(candidates), bool)
        rows, mine = (np.column_stack([units.w, units.a]) for units in (self.units, candidates))
        for i, row in enumerate(mine if len(rows) else []):
            apart = np.minimum(np.linalg.norm(rows - row, axis=1), np.linalg.norm(rows + row, axis=1))
            allowed = 2.0 * _NEAR * np.hypot(self.units.error, candidates.error[i]) * max(1.0, abs(row[-1]))
            known[i] = (apart <= allowed).any()
        return known

    def _hold(self, units: Units, chosen: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Which of the chosen units have the kinks that they predict at other places.

        Second differences see only what bends there, so others count where they are near, and as far as they are known.
        """
        d, m = self.oracle.n_features, len(chosen)
        if not m:
            return np.zeros(0, bool)
        w, at = units.w[chosen], units.at[chosen]
        away = np.maximum(1.0, length_of(at))
        points = at[:, None] + (_ASIDE * away)[:, None, None] * rng.standard_normal((m, _TESTS, d))
        points -= (np.einsum("ktd,kd->kt", points, w) + units.a[chosen, None])[:, :, None] * w[:, None]
        step = away * _BEYOND * units.error[chosen] * _ASIDE + 64.0 * self.oracle.errors(at) / units.sizes[chosen]
        moves = step[:, None, None] * w[:, None]
        asked = self.oracle.rounded(np.stack([points - moves, points, points + moves]))
        values, errors = self.oracle(asked.reshape(-1, d))
        values = values.reshape(3, m, _TESTS, -1)
        good = np.isfinite(errors).reshape(3, m, _TESTS).all(axis=0)
        for i, j in enumerate(chosen):
            others = units[np.arange(len(units)) != j]
            rest = values[:, i] - others.outputs(asked[:, i].reshape(-1, d)).reshape(3, _TESTS, -1)
            wanted = step[i] * units.v[j]
            far = np.linalg.norm(rest[0] - 2.0 * rest[1] + rest[2] - wanted, axis=1)
            good[i] &= far <= _WRONG * np.linalg.norm(wanted)
        return good.sum(axis=1) > _TESTS // 2

    def refine(self, rng: np.random.Generator, times: int) -> bool:
        """Measure again what is not yet accurate enough, and keep what proves to be better; False if nothing does."""
        improved = False
        for _ in range(times):
            goal = np.maximum(self.accuracy, _REACHED * self.oracle.rounding / self.units.sizes)
            rough = np.flatnonzero(self.units.error > goal)
            if not len(rough):
                break
            before = self.units
            after = self._refined(before, rough, rng)
            changed = rough[after.error[rough] < before.error[rough]]
            good = np.zeros(len(before), bool)
            good[changed] = self._hold(after, changed, rng)
            old, new = before.parts(), after.parts()
            self.units = Units(
                *(np.where(good.reshape(-1, *[1] * (a.ndim - 1)), b, a) for a, b in zip(old, new, strict=True))
            )
            left = rough[~good[rough] & (self.units.error[rough] > _FINE)]
            wrong = left[~self._hold(self.units, left, rng)]
            better = (self.units.error < 0.5 * before.error)[rough].any()
            self.units = self.units[np.setdiff1d(np.arange(len(before)), wrong)]
            improved = improved or bool(better)
            if self.tell("refinement") or not better:
                break
        return improved

    def _refined(self, units: Units, chosen: np.ndarray, rng: np.random.Generator) -> Units:
        parts = tuple(part.copy() for part in units.parts())
        room = Room(units, self.steps)
        for j in chosen:
            finest = units.error[j] / (_GAIN if units.error[j] > _FINE else _GAIN**2)
            better = crossed(self.oracle, room, self.steps, int(j), finest, rng)
            if better is None or not better.error[0] < units.error[j]:
                continue
            old, new = (np.append(each.w, each.a) for each in (units[j : j + 1], better))
            if np.linalg.norm(new - old) <= _MOVED * max(1.0, abs(units.a[j])):
                for part, own in zip(parts, better.parts(), strict=True):
                    part[j] = own[0]
        return Units(*parts)
