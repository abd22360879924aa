"""A median ratio, its confidence interval, and what both say about a limit.

Times on a shared machine have outliers and no known law, so the interval is that of the sign test: it is made of two of
the ratios themselves, and holds the median of any law at least as often as it says.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

LIMIT = 1.10  # a ratio above it is a loss of speed that nobody should take on unknowingly
CONFIDENCE = 0.95
FEWEST = 6  # with five ratios even the smallest and the largest hold the median in 94 % of cases only


@dataclass(frozen=True)
class Judged:
    """A median, the ends of its interval, and the verdict: "slower", "not decided" or "ok"."""

    ratio: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """Slower where the whole interval lies above the limit, not decided where only the median does."""
        if self.low > LIMIT:
            return "slower"
        return "not decided" if self.ratio > LIMIT else "ok"


def judged(ratios: Sequence[float]) -> Judged:
    """The median of ratios and its interval.

    Raises
    ------
    ValueError
        Fewer than six ratios.
    """
    return Judged(statistics.median(ratios), *interval(ratios))


def interval(values: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Ends of an interval for the median of the law that independent values come from.

    The k-th smallest and the k-th largest value, with the largest k that keeps the confidence: of n values the number
    below the median is binomial, and the interval misses when fewer than k lie on one side of it.

    Raises
    ------
    ValueError
        So few values that even all of them do not have that confidence.
    """
    n, k, outside = len(values), 0, 0.0
    while k < n and 2 * (outside + math.comb(n, k) / 2**n) <= 1 - confidence:
        outside += math.comb(n, k) / 2**n
        k += 1
    if k == 0:
        raise ValueError(f"{n} values are too few for an interval of confidence {confidence:g}")
    ordered = sorted(values)
    return ordered[k - 1], ordered[n - k]
