"""The law of the rows, tested before a start takes moments of them.

Moments are exact for rows drawn from N(0, I); refinement does not care.  So the tests look at few rows, as many as
show what would hurt a start, and every null spread is that of independent Gaussian rows at the number of rows at
hand: rows that pass are left alone, bit for bit.  The shape of the law is judged against a Gaussian of the same
mean, variances and correlations, so correlated Gaussian rows are told to need whitening and nothing else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..engines import Engine
from ..random import Stream, generator, stream
from ..sweeps import local_rows

#: Above this many features no d x d array is formed: whitening divides by standard deviations only.
DENSE_LIMIT = 5000
# 4096 rows give a kurtosis to 0.08; with many features, whose tests gain from every one of them, a million numbers.
_MOST_ROWS, _NUMBERS, _FEW_ROWS = 4096, 1 << 20, 256
FEWEST_ROWS = 20  # below, the scores of skewness and kurtosis are not yet normal
_PROJECTIONS = 50
_LEVEL = 5e-5  # chance of a false alarm in each of the six tests of mean and covariance
_SCORE = 6.0  # of shape; P(|z| > 6) = 2e-9 leaves room for 25,000 looks at that level
_LOW = 0.8  # of Anscombe and Glynn's score where it is negative
_ROUNDING = 1e-13  # standard deviation, relative to the mean, of a feature that does not vary
_CACHED = 1 << 17  # bytes raised to powers at a time


@dataclass(frozen=True, eq=False)
class InputDiagnosis:
    """What some rows say about the law of the inputs.

    Attributes
    ----------
    mean, variance : ndarray (d,)
        Of the rows looked at.
    n_rows : int
        Rows looked at; fewer than 20 are not tested.
    mean_departs, variance_departs, correlation_departs : bool
        Whether the mean differs from 0, variances from 1, correlations from 0, by more than chance.
    departures : list of str
        All differences from N(0, I) in plain words.
    """

    mean: np.ndarray
    variance: np.ndarray
    n_rows: int
    mean_departs: bool
    variance_departs: bool
    correlation_departs: bool
    departures: list[str]

    @property
    def shape_departures(self) -> list[str]:
        """Those that whitening does not take away."""
        return self.departures[self.mean_departs + self.variance_departs + self.correlation_departs :]


def diagnose(engine: Engine, seed: np.random.SeedSequence) -> InputDiagnosis:
    """Test whether rows are drawn from N(0, I).

    Mean: the largest t statistic, and the sum of their squares against F (Dempster 1958).  Variances: the farthest
    from 1 and the sum of squared scores, by chi-square with fewer degrees of freedom for heavier tails.
    Correlations: the largest, and the sum of squares (Schott 2005, Biometrika 92); where these are not zero, the
    other two sums are not judged.  Shape: scores of skewness (D'Agostino 1970) and kurtosis (Anscombe and Glynn
    1983) of all features and of 50 random projections, and the variance of the squared length of standardised
    rows, which for Gaussian rows with correlations R is ``2 tr R^2``.  Fewer than one sample of N(0, I) in 1000
    shows any departure.

    At most 4096 rows are looked at, for more than 256 features a million numbers but no fewer than 256 rows, and
    nothing larger than a square of the smaller of rows and features is formed.  Weighted rows are drawn with
    chances in proportion to their weights, which makes them independent draws of the weighted law.  Rows that
    overlap in memory (lag-embedded series) depend on each other, so only rows without a common entry are looked
    at.  Copies of such rows do not show this: give the engine of all rows rather than one of a sub-sample.

    Parameters
    ----------
    engine : Engine
        Patches of a convolutional network count as rows.
    seed : SeedSequence

    Returns
    -------
    InputDiagnosis
    """
    d = engine.shape[1]
    most = min(_MOST_ROWS, max(_NUMBERS // d, _FEW_ROWS))
    rows = local_rows(engine.sample(most, stream(seed, Stream.LOOKS), spaced=True))[0]
    m = len(rows)
    mean = rows.sum(axis=0) / max(m, 1)
    y = np.subtract(rows.T, mean[:, None], out=np.empty((d, m)))
    del rows  # a large temporary of a fit
    variance = np.einsum("ij,ij->i", y, y) / max(m - 1, 1)
    if m < FEWEST_ROWS:
        return InputDiagnosis(mean, variance, m, False, False, False, [])
    constant = np.sqrt(variance) <= _ROUNDING * np.abs(mean)
    variance[constant], y[constant] = 0.0, 0.0
    deviation = np.sqrt(np.where(constant, 1.0, variance))
    y *= (math.sqrt(m / (m - 1)) / deviation)[:, None]
    marginals = _Marginals.of(y)
    pairs = _Pairs.of(y, marginals.kurtosis)
    off_pairs = pairs.departure()
    off_mean = _mean_departure(mean, math.sqrt(m) * mean / deviation, m, bool(off_pairs))
    off_variance = _variance_departure(variance, marginals.kurtosis, m, bool(off_pairs))
    departures = [text for text in (off_mean, off_variance, off_pairs) if text]
    departures += _shape_departures(y, marginals, generator(seed, Stream.LOOKS, 1)) + pairs.radius_departures(
        bool(off_pairs)
    )
    return InputDiagnosis(mean, variance, m, bool(off_mean), bool(off_variance), bool(off_pairs), departures)


def needs_whitening(law: InputDiagnosis) -> bool:
    """Whether mean or covariance differ from those of N(0, I) in a way that :func:`whiten` takes away.

    Parameters
    ----------
    law : InputDiagnosis

    Returns
    -------
    bool
        True for fewer than one sample of N(0, I) in 1000.
    """
    correlated = law.correlation_departs and len(law.mean) <= DENSE_LIMIT
    return law.mean_departs or law.variance_departs or correlated


def _mean_departure(mean: np.ndarray, t: np.ndarray, m: int, correlated: bool) -> str:
    from scipy.special import fdtrc, stdtr

    at = int(np.abs(t).argmax())
    if 2 * len(t) * stdtr(m - 1, -abs(t[at])) < _LEVEL:
        return f"the mean is not zero (feature {at}: {mean[at]:.2g})"
    # A squared t of m - 1 degrees of freedom has mean (m - 1) / (m - 3).
    square = (m - 3) / (m - 1) * float(t @ t) / len(t)
    if not correlated and fdtrc(len(t), len(t) * (m - 1), square) < _LEVEL:
        return f"the mean is not zero (its length is {np.linalg.norm(mean):.2g})"
    return ""


def _variance_departure(variance: np.ndarray, kurtosis: np.ndarray, m: int, correlated: bool) -> str:
    from scipy.special import chdtr, chdtrc

    freedom = 2.0 * (m - 1) / (np.maximum(kurtosis, 3.0) - 1.0)
    chance = 2.0 * np.minimum(chdtr(freedom, freedom * variance), chdtrc(freedom, freedom * variance))
    at = int(chance.argmin())
    if len(variance) * chance[at] < _LEVEL:
        return f"the covariance is not the identity (feature {at} has variance {variance[at]:.2g})"
    # Cube roots of chi-squares are normal (Wilson and Hilferty 1931).
    small = 2.0 / (9.0 * freedom)
    scores = (np.cbrt(variance) - (1.0 - small)) / np.sqrt(small)
    if not correlated and chdtrc(len(scores), scores @ scores) < _LEVEL:
        low, high = variance.min(), variance.max()
        return f"the covariance is not the identity (variances lie between {low:.2g} and {high:.2g})"
    return ""


@dataclass(frozen=True, eq=False)
class _Marginals:
    """Skewness and kurtosis of q centred variables in m rows; 0 and 3 for one that does not vary."""

    skewness: np.ndarray
    kurtosis: np.ndarray
    n: int

    @staticmethod
    def of(y: np.ndarray, directions: np.ndarray | None = None) -> _Marginals:
        """Of centred features (d, m), or of their combinations by rows of `directions`."""
        m, q = y.shape[1], len(y if directions is None else directions)
        if directions is not None:  # many, and single precision is far finer than chance
            y, directions = y.astype(np.float32), directions.astype(np.float32)
        sums = np.zeros((3, q))
        step = max(1, _CACHED // (q * y.itemsize))
        for i in range(0, m, step):
            z = y[:, i : i + step] if directions is None else directions @ y[:, i : i + step]
            squares = z * z
            sums[0] += squares.sum(axis=1)
            sums[1] += np.einsum("ij,ij->i", squares, z)
            sums[2] += np.einsum("ij,ij->i", squares, squares)
        second, third, fourth = sums / m
        scale = np.where(second > 0, second, 1.0)
        return _Marginals(third / scale**1.5, np.where(second > 0, fourth / scale**2, 3.0), m)

    def scores(self) -> tuple[np.ndarray, np.ndarray]:
        """Both as normal scores (D'Agostino 1970; Anscombe and Glynn 1983)."""
        n = float(self.n)
        beta = 3 * (n * n + 27 * n - 70) * (n + 1) * (n + 3) / ((n - 2) * (n + 5) * (n + 7) * (n + 9))
        w2 = math.sqrt(2 * (beta - 1)) - 1
        unit = self.skewness * math.sqrt((n + 1) * (n + 3) / (6 * (n - 2)) * (w2 - 1) / 2)
        skewness = np.arcsinh(unit) / math.sqrt(0.5 * math.log(w2))
        spread = math.sqrt(24 * n * (n - 2) * (n - 3) / ((n + 1) ** 2 * (n + 3) * (n + 5)))
        x = (self.kurtosis - 3 * (n - 1) / (n + 1)) / spread
        third = math.sqrt(6 * (n + 3) * (n + 5) / (n * (n - 2) * (n - 3)))
        third *= 6 * (n * n - 5 * n + 2) / ((n + 7) * (n + 9))
        a = 6 + 8 / third * (2 / third + math.sqrt(1 + 4 / third**2))
        # The fitted law has a least value; what lies below it did not come from a Gaussian.
        base = np.maximum(1 + x * math.sqrt(2 / (a - 4)), 1e-12)
        kurtosis = (1 - 2 / (9 * a) - np.cbrt((1 - 2 / a) / base)) / math.sqrt(2 / (9 * a))
        # At 100 rows a Gaussian falls below -6 in 2 of 1e6 cases, 2000 times as often as a normal score.
        return skewness, np.where(kurtosis < 0, _LOW * kurtosis, kurtosis)


def _shape_departures(y: np.ndarray, features: _Marginals, rng: np.random.Generator) -> list[str]:
    found = _odd_ones("feature {}", y, features)
    if len(y) > 1:
        directions = rng.standard_normal((_PROJECTIONS, len(y)))
        # A combination is named only for what no feature shows.
        found = _odd_ones("a random combination of features", y, _Marginals.of(y, directions), directions) | found
    return list(found.values())


def _odd_ones(who: str, y: np.ndarray, marginals: _Marginals, directions: np.ndarray | None = None) -> dict[str, str]:
    """What is said of kurtosis and of skewness, where there is something to say."""
    skewness, kurtosis = marginals.scores()
    far = np.abs(skewness) > _SCORE
    if far.any():
        # Heavy tails alone make it large: judge it by the spread that rows of this shape would give it.
        z = y[far] if directions is None else directions[far] @ y
        z = z / np.sqrt((z * z).mean(axis=1))[:, None]
        skewness[far] = (z**3).sum(axis=1) / np.sqrt(((z**3 - 3.0 * z) ** 2).sum(axis=1))
    found = {}
    for name, normal, values, scores in (
        ("kurtosis", 3, marginals.kurtosis, np.abs(kurtosis)),
        ("skewness", 0, marginals.skewness, np.abs(skewness)),
    ):
        off, worst = int((scores > _SCORE).sum()), int(scores.argmax())
        if off:
            more = f" ({off} of {len(scores)} differ)" if off > 1 else ""
            found[name] = f"{who.format(worst)} has {name} {values[worst]:.2g} where a Gaussian has {normal}{more}"
    return found


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Sums over pairs of d standardised features, v of which vary, in m rows.

    Attributes
    ----------
    gram : ndarray
        Their correlations R or, with fewer rows than features, the products of rows, whose powers have the same
        traces.
    length : ndarray (m,)
        Squared lengths of the rows.
    d, v : int
    trace : float
        ``tr R^2`` less what chance adds to it.
    common : float
        Mean of ``x_i^2 x_j^2`` over pairs, at least 1, its value for independent features: rows of unequal length
        spread sample correlations by so much.
    """

    gram: np.ndarray
    length: np.ndarray
    d: int
    v: int
    trace: float
    common: float

    @staticmethod
    def of(y: np.ndarray, kurtosis: np.ndarray) -> _Pairs:
        d, m = y.shape
        gram = (y @ y.T if d <= m else y.T @ y) / m
        length, varies = np.einsum("ij,ij->j", y, y), y.any(axis=1)
        v = int(varies.sum())
        ordered = v * (v - 1)
        common = (float(length @ length) / m - float(kurtosis[varies].sum())) / max(ordered, 1)
        trace = float(np.vdot(gram, gram)) - ordered / (m - 1)
        return _Pairs(gram, length, d, v, max(trace, v, 1.0), max(common, 1.0))

    def departure(self) -> str:
        """What is said of the correlations, nothing where they are zero but for chance."""
        from scipy.special import chdtrc, stdtr

        v, nu = self.v, len(self.length) - 1.0
        if v < 2:
            return ""
        pairs, square = v * (v - 1) / 2, (float(np.vdot(self.gram, self.gram)) - v) / 2
        named = "the covariance is not the identity"
        if len(self.gram) == self.d:
            correlations = np.triu(self.gram, 1)
            i, j = np.unravel_index(int(np.abs(correlations).argmax()), correlations.shape)
            r2 = min(float(correlations[i, j] ** 2) / self.common, 1.0 - 1e-15)
            if 2 * pairs * stdtr(nu - 1, -math.sqrt(r2 * (nu - 1) / (1 - r2))) < _LEVEL:
                return f"{named} (features {i} and {j} have correlation {correlations[i, j]:.2g})"
        # Mean and variance are exact; the skewness is that of chi-square over pairs of features or of rows.
        freedom = min(pairs * (nu + 2) / (nu - 1), nu * (nu + 1) / 2)
        spread = math.sqrt(2 * pairs * (nu - 1) / (nu + 2)) / nu
        score = (square / self.common - pairs / nu) / spread
        if chdtrc(freedom, max(freedom + score * math.sqrt(2 * freedom), 0.0)) < _LEVEL:
            typical, chance = math.sqrt(square / pairs), math.sqrt(1 / nu)
            return f"{named} (correlations of {typical:.2g} root mean square where chance gives {chance:.2g})"
        return ""

    def radius(self, correlated: bool) -> tuple[float, float]:
        """Variance of the squared length over that of Gaussian rows with the same correlations, and its score."""
        alike = 1.0 / max(self.v, 1)  # tr R^4 / (tr R^2)^2
        if correlated:
            square = self.gram @ self.gram
            alike = float(np.clip(np.vdot(square, square) / self.trace**2, alike, 1.0))
        ratio = float(self.length.var()) / (2 * self.trace)
        # Mardia's 8 d (d + 2) / m for uncorrelated features, 24 / m for one; cube roots as for the variances.
        small = (2 + 4 * alike) / (9 * len(self.length))
        return ratio, float(np.cbrt(ratio) - (1 - small)) / math.sqrt(small)

    def radius_departures(self, correlated: bool) -> list[str]:
        """What is said of the squared length of rows, one text at most; nothing of one feature alone."""
        ratio, score = self.radius(correlated)
        if self.v < 2 or abs(score) <= _SCORE:
            return []
        return [f"the squared length of rows varies {ratio:.2g} times as much as for Gaussian rows"]
