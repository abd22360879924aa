"""The law of the inputs against scipy's scores and counted alarms, whitening against weighted covariances.

Alarms are counted for fixed seeds; each such test states which rates of alarms it would find out.
"""

from __future__ import annotations

import re
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

import fastrecover as fr
from fastrecover._blas import one_blas_thread
from fastrecover.engines import ThreadEngine
from fastrecover.inputs import diagnose, needs_whitening, whiten
from fastrecover.inputs.diagnosis import _Marginals, _Pairs
from fastrecover.models import Parameters, Regression, align
from fastrecover.prediction import predict
from fastrecover.sources import ArraySource, WhitenedSource, lagged
from fastrecover.starts import tensor_start
from fastrecover.sweeps import local_rows


@pytest.fixture(autouse=True)
def quiet_blas():
    with one_blas_thread():
        yield


def engine(x, y=None, w=None, group=1):
    return ThreadEngine(ArraySource(x, y, w, group), 1)


def law_of(x, w=None, seed=0):
    return diagnose(engine(x, None, w), np.random.SeedSequence(seed))


def whitened(rows, law):
    """Whitened rows as a copy, and the map."""
    return whiten(rows, law, most_copied=rows.shape[0])


def root_of(whitening):
    """Of the covariance that was taken away: back from whitened rows."""
    return 1.0 / whitening.inverse if whitening.inverse.ndim == 1 else np.linalg.pinv(whitening.inverse)


def covariance_of(whitening):
    root = root_of(whitening)
    return root @ root.T


def forward(whitening, parameters):
    """Parameters on whitened rows of those on raw ones: what ``back`` undoes."""
    root = root_of(whitening)
    weights, linear = (
        None if a is None else a * root if root.ndim == 1 else a @ root for a in (parameters.weights, parameters.linear)
    )
    offset = 0.0 if linear is None else float(parameters.linear @ whitening.shift)
    return replace(parameters, weights=weights, linear=linear, intercept=parameters.intercept + offset)


def autoregressive(d, rho=0.7):
    return rho ** np.abs(np.subtract.outer(np.arange(d), np.arange(d)))


def test_false_alarms():
    """At most 3 in 8000: a rate of 1 in 1000 would pass with a chance of 0.04, one of 2 in 1000 with 1e-4."""
    alarms, whitened = [], 0
    for n, d in ((50, 1), (50, 4), (50, 10), (50, 60), (500, 10)):
        rng = np.random.default_rng([n, d])
        for seed in range(1600):
            law = law_of(rng.standard_normal((n, d)), seed=seed)
            assert law.n_rows == n
            alarms += law.departures
            whitened += needs_whitening(law)
    assert len(alarms) <= 3 and whitened <= len(alarms), alarms


LAWS = {
    "rademacher": lambda rng, shape: rng.choice([-1.0, 1.0], shape),
    "uniform": lambda rng, shape: rng.uniform(-np.sqrt(3), np.sqrt(3), shape),
    "laplace": lambda rng, shape: rng.laplace(size=shape) / np.sqrt(2),
    "t5": lambda rng, shape: rng.standard_t(5, shape) * np.sqrt(0.6),
    "scale mixture": lambda rng, shape: rng.standard_normal(shape) * rng.choice([0.7, np.sqrt(1.51)], (shape[0], 1)),
    "exponential": lambda rng, shape: rng.exponential(size=shape) - 1.0,
}
# Of a coordinate: kurtosis, and the words for the lengths of rows.
SHAPES = {"rademacher": 1.0, "uniform": 1.8, "laplace": 6.0, "t5": 9.0, "scale mixture": 3.78, "exponential": 9.0}


@pytest.mark.parametrize("name", LAWS)
def test_shapes_are_named(name):
    """All of 12 samples: a detector that misses one in four would pass with a chance of 0.03."""
    for seed in range(12):
        law = law_of(LAWS[name](np.random.default_rng(seed), (20_000, 10)), seed=seed)
        text = "; ".join(law.departures)
        assert law.n_rows == 4096 and not needs_whitening(law), text
        found = re.search(r"feature \d has kurtosis ([\d.]+) where a Gaussian has 3", text)
        low, high = sorted((3.0, SHAPES[name]))
        # The largest of ten; four moments of t5 have no bound in a sample.
        assert found and 0.9 * low < float(found[1]) < 1.6 * high + (name == "t5") * 1e3, text
        ratio = float(re.search(r"length of rows varies (\S+) times", text)[1])
        assert ratio < 0.5 if SHAPES[name] < 3 else ratio > 1.5, text
        assert ("skewness" in text) == (name == "exponential"), text


def test_mixture_of_means():
    """Two Gaussians apart on one axis: a variance to whiten, and a kurtosis of 3 - 2 (4 / 5)^2 = 1.72 that stays."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((20_000, 10))
    x[:, 4] += rng.choice([-2.0, 2.0], 20_000)
    law = law_of(x)
    assert law.departures == [
        f"the covariance is not the identity (feature 4 has variance {law.variance[4]:.2g})",
        "feature 4 has kurtosis 1.7 where a Gaussian has 3",
    ]
    assert law.variance[4] == pytest.approx(5.0, abs=0.5)
    white = whitened(engine(x), law)[0]
    assert diagnose(white, np.random.SeedSequence(1)).departures == law.departures[1:]


def test_one_direction_of_odd_shape_shows_in_combinations():
    """The direction (1, .., 1) has kurtosis 1, each feature 3 - 2 / 25; lengths vary by 8 in place of 10."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4000, 5))
    one = np.full(5, 0.2**0.5)
    x += np.outer(rng.choice([-1.0, 1.0], 4000) - x @ one, one)
    combined, length = law_of(x).departures
    assert re.match(r"a random combination of features has kurtosis [12]\.\d where a Gaussian has 3 ", combined)
    assert length.startswith("the squared length of rows varies 0.79 times")


@pytest.mark.parametrize("rho", [0.5, 0.999])
def test_correlated_gaussian_rows_are_gaussian(rho):
    """200 samples: correlated, and nothing else; one more in 50 would pass with a chance of 0.02."""
    root = np.linalg.cholesky(autoregressive(8, rho))
    for seed in range(200):
        law = law_of(np.random.default_rng(seed).standard_normal((300, 8)) @ root.T, seed=seed)
        (text,) = law.departures
        assert re.fullmatch(r"the covariance is not the identity \(features \d+ and \d+ have correlation \S+\)", text)
        assert law.correlation_departs and not law.mean_departs and not law.variance_departs


def test_radius_is_that_of_the_same_correlations():
    """Rows of one length and fourfold the variance in half of them, correlated: told apart from a Gaussian."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3000, 8)) @ np.linalg.cholesky(autoregressive(8, 0.9)).T
    longer = x * rng.choice([0.5, 1.32], (3000, 1))
    assert "squared length" in " ".join(law_of(longer).departures)
    assert "squared length" not in " ".join(law_of(x).departures)


@pytest.mark.parametrize("rho", [0.0, 0.7, 0.999])
def test_score_of_the_radius_is_normal(rho):
    """400 samples: their standard deviation has one of 0.035, so a spread off by a quarter is seen."""
    rng = np.random.default_rng(0)
    root, scores = np.linalg.cholesky(autoregressive(6, rho)), []
    for _ in range(400):
        y = stats.zscore(root @ rng.standard_normal((6, 500)), axis=1)
        pairs = _Pairs.of(y, stats.kurtosis(y, axis=1, fisher=False))
        scores.append(pairs.radius(rho > 0)[1])
    assert np.std(scores) == pytest.approx(1.0, abs=0.15) and abs(np.mean(scores)) < 0.3


@pytest.mark.parametrize("d", [10, 40, 200, 1000])
@pytest.mark.parametrize("case", ["autoregressive", "variance", "mean", "short mean"])
def test_whitening_is_asked_for_at_five_rows_a_feature(d, case):
    """All of 31 samples of a case: a test with a power of 0.9 would pass with a chance of 0.04."""
    root = np.linalg.cholesky(autoregressive(d))
    for seed in range(10 if d < 1000 else 1):
        x = np.random.default_rng([d, seed]).standard_normal((5 * d, d))
        if case == "autoregressive":
            x = x @ root.T
        elif case == "variance":
            x *= 2.0
        else:
            x += 1.0 if case == "mean" else 1.5 / np.sqrt(d)  # a mean of length 1.5, in no feature to be seen
        law = law_of(x, seed=seed)
        assert needs_whitening(law), law.departures
        assert law.mean_departs == ("mean" in case) and law.variance_departs == (case == "variance")
        assert law.correlation_departs == (case == "autoregressive")


def test_what_no_feature_shows_alone():
    """40 samples each: variances 1.1 (sum of squares 240, bound 118) and correlations 0.025 (score 11, bound 4)."""
    for seed in range(40):
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((600, 60))
        wide = law_of(np.sqrt(1.1) * x, seed=seed)
        assert wide.variance_departs and not wide.mean_departs and not wide.correlation_departs
        like = law_of(np.sqrt(0.975) * x + np.sqrt(0.025) * rng.standard_normal((600, 1)), seed=seed)
        assert like.correlation_departs and not like.mean_departs and not like.variance_departs
        assert re.search("variances lie between [01].* and 1.[2345]|variance 1.[345]", wide.departures[0])
        assert re.search("root mean square where chance gives 0.041|correlation 0.2", like.departures[0])


def test_more_features_than_rows():
    """Ten samples without an alarm; t statistics taken for normal ones would give one in each."""
    for seed in range(10):
        assert law_of(np.random.default_rng(seed).standard_normal((20, 4000)), seed=seed).departures == []


def test_departures_name_the_feature():
    x = np.random.default_rng(0).standard_normal((3000, 6))
    x[:, 2] += 0.8
    x[:, 3] *= 2.0
    x[:, 5] = 0.6 * x[:, 1] + 0.8 * x[:, 5]
    law = law_of(x)
    assert law.departures == [
        f"the mean is not zero (feature 2: {x[:, 2].mean():.2g})",
        f"the covariance is not the identity (feature 3 has variance {x[:, 3].var(ddof=1):.2g})",
        f"the covariance is not the identity (features 1 and 5 have correlation {np.corrcoef(x.T)[1, 5]:.2g})",
    ]
    np.testing.assert_allclose(law.mean, x.mean(axis=0), atol=1e-14)
    np.testing.assert_allclose(law.variance, x.var(axis=0, ddof=1), rtol=1e-13)


@pytest.mark.parametrize("n", [20, 50, 4096])
def test_scores_are_those_of_the_published_transforms(n):
    y = np.random.default_rng(n).gamma(20.0, size=(30, n))
    y -= y.mean(axis=1)[:, None]
    marginals = _Marginals.of(y)
    skewness, kurtosis = marginals.scores()
    np.testing.assert_allclose(marginals.skewness, stats.skew(y, axis=1), rtol=1e-10)
    np.testing.assert_allclose(marginals.kurtosis, stats.kurtosis(y, axis=1, fisher=False), rtol=1e-12)
    np.testing.assert_allclose(skewness, stats.skewtest(y, axis=1).statistic, rtol=1e-10)
    expected = stats.kurtosistest(y, axis=1).statistic
    np.testing.assert_allclose(kurtosis, np.where(expected < 0, 0.8 * expected, expected), rtol=1e-10)
    directions = np.random.default_rng(0).standard_normal((3, 30))
    combined = _Marginals.of(y, directions)
    np.testing.assert_allclose(combined.kurtosis, stats.kurtosis(directions @ y, axis=1, fisher=False), rtol=1e-5)
    np.testing.assert_allclose(combined.skewness, stats.skew(directions @ y, axis=1), atol=1e-5)


@pytest.mark.parametrize("d", [7, 90])
def test_pairs_by_rows_and_by_features_agree(d):
    """With fewer rows than features the products of rows stand in for the correlations."""
    y = stats.zscore(np.random.default_rng(d).standard_normal((d, 40)), axis=1)
    pairs = _Pairs.of(y, stats.kurtosis(y, axis=1, fisher=False))
    correlations = np.corrcoef(y)
    chance = d * (d - 1) / 39
    assert pairs.trace == pytest.approx(max((correlations**2).sum() - chance, d), rel=1e-12)
    fourth = np.einsum("in,jn->ij", y**2, y**2) / 40
    common = (fourth.sum() - np.trace(fourth)) / (d * (d - 1))
    assert pairs.common == pytest.approx(max(common, 1.0), rel=1e-12)
    assert pairs.gram.shape == (min(d, 40),) * 2


def test_few_rows_are_looked_at():
    rng = np.random.default_rng(0)
    for shape, most in (((9000, 10), 4096), ((9000, 300), (1 << 20) // 300), ((300, 6000), 256)):
        rows = engine(rng.standard_normal(shape, np.float32))
        law = diagnose(rows, np.random.SeedSequence(0))
        assert law.n_rows == most == rows.meter.rows
    x = 3.0 * rng.standard_normal((9000, 2))
    first, again, other = (law_of(x, seed=seed).mean for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).all()


@pytest.mark.parametrize("n", [0, 1, 19])
def test_too_few_rows_are_not_tested(n):
    law = law_of(np.random.default_rng(0).standard_normal((n, 3)) + 100.0)
    assert law.departures == [] and not needs_whitening(law) and law.n_rows == n


def test_rows_of_no_weight_do_not_count():
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((900, 4)), np.repeat([1.0, 0.0], [600, 300])
    x[600:] = 1e30
    law = law_of(x, w)
    assert law.n_rows == 600 and law.departures == []
    np.testing.assert_array_equal(law.mean, law_of(x[:600]).mean)
    white, whitening = whitened(engine(x, None, w), law)
    np.testing.assert_allclose(covariance_of(whitening), np.cov(x[:600].T, ddof=0), rtol=1e-12, atol=1e-12)
    assert np.isfinite(white.source.x).all()
    assert law_of(x[600:], w[600:]).n_rows == 0


def test_the_weighted_law_is_tested():
    """Weights exp(x_0 - 1/2) move the mean of N(0, 1) to 1; weights that know nothing of x change nothing."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((20_000, 4))
    law = law_of(x, np.exp(x[:, 0] - 0.5))
    (text,) = law.departures
    assert text.startswith("the mean is not zero (feature 0:") and law.mean[0] == pytest.approx(1.0, abs=0.15)
    for seed in range(100):
        assert law_of(x[200 * seed :][:200], rng.exponential(size=200), seed).departures == []


def test_overlapping_rows():
    """White series: one alarm in 600 at most, where rows taken for independent give one in every third series."""
    rng = np.random.default_rng(0)
    alarms = 0
    for seed in range(300):
        for frames, lags in ((rng.standard_normal(3000), 40), (rng.standard_normal((3000, 3)).astype(np.float32), 10)):
            x = lagged(frames, lags)
            law = law_of(x, seed=seed)
            assert law.n_rows == -(-len(x) // lags)
            alarms += len(law.departures)
    assert alarms <= 1
    ar = np.convolve(rng.standard_normal(3000), 0.7 ** np.arange(30))
    assert law_of(lagged(ar, 40)).correlation_departs
    assert law_of(np.broadcast_to(np.ones(3), (100, 3))).n_rows == 1


def weighted_covariance(x, w):
    return np.atleast_2d(np.cov(x.T, aweights=w, ddof=0))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("d", [1, 9])
def test_whitened_rows(dtype, weighted, d):
    rng = np.random.default_rng(d)
    x = rng.standard_normal((700, d)) @ np.linalg.cholesky(autoregressive(d)).T
    x = (x * np.geomspace(1.0, 1e4, d)).astype(dtype)
    x += 3.0 * x.std(axis=0)
    w, y = rng.uniform(0, 2, 700) if weighted else None, rng.standard_normal(700)
    rows = engine(x, y, w)
    law = diagnose(rows, np.random.SeedSequence(0))
    before, copy = rows.meter.rows, x.copy()
    white, whitening = whitened(rows, law)
    exact = weighted_covariance(x.astype(np.float64), w)
    # The moments are summed over rows that were centred in their own data type: single precision leaves its rounding.
    summed = 1e-11 if dtype == np.float64 else 1e-6
    np.testing.assert_allclose(covariance_of(whitening), exact, rtol=summed, atol=summed * exact.max())
    np.testing.assert_allclose(whitening.inverse @ exact @ whitening.inverse.T, np.eye(d), atol=summed)
    tight = 1e-10 if dtype == np.float64 else 1e-5
    np.testing.assert_allclose(weighted_covariance(white.source.x, w), np.eye(d), atol=tight)
    assert law.mean_departs
    mean = np.average(x.astype(np.float64), axis=0, weights=w)
    np.testing.assert_allclose(whitening.shift, mean, rtol=1e-12 if dtype == np.float64 else 1e-8)
    assert white.dtype == dtype and white.n_jobs == 1 and white.meter is rows.meter
    assert np.shares_memory(white.source.y, y) and whitening.note == ""
    assert white.source.w is None if w is None else np.shares_memory(white.source.w, w)
    assert rows.meter.rows == before + 2 * 700
    np.testing.assert_array_equal(x, copy)


def test_integer_weights_are_rows_given_so_often():
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((300, 4)) @ np.diag([1.0, 2.0, 3.0, 4.0]), rng.integers(0, 4, 300).astype(float)
    repeated = np.repeat(x, w.astype(int), axis=0)
    a, b = (whitened(rows, law_of(x))[1] for rows in (engine(x, None, w), engine(repeated)))
    np.testing.assert_allclose(a.inverse, b.inverse, atol=1e-12)


def test_a_large_mean_does_not_cancel():
    """Mean 1e7 and variance 1: the covariance from raw second moments would have no digit left."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1000, 3)) @ np.linalg.cholesky(autoregressive(3)).T + 1e7
    white, whitening = whitened(engine(x), law_of(x))
    np.testing.assert_allclose(np.cov(white.source.x.T, ddof=0), np.eye(3), atol=1e-7)
    np.testing.assert_allclose(covariance_of(whitening), np.cov(x.T, ddof=0), atol=1e-7)


@pytest.mark.parametrize("length, centred", [(0.0, False), (1.0, False), (4.0, True)])
def test_only_a_long_mean_is_taken_away(length, centred):
    rng = np.random.default_rng(0)
    root = np.linalg.cholesky(autoregressive(5))
    x = (rng.standard_normal((2000, 5)) + length / np.sqrt(5)) @ root.T
    law = law_of(x)
    white, whitening = whitened(engine(x), law)
    assert law.mean_departs == (length > 0)
    np.testing.assert_allclose(whitening.shift, x.mean(axis=0) if centred else np.zeros(5), atol=1e-13)
    np.testing.assert_allclose(white.source.x, (x - whitening.shift) @ whitening.inverse.T, atol=1e-12)
    assert np.linalg.norm(white.source.x.mean(axis=0)) == pytest.approx(0.0 if centred else length, abs=0.1)


@pytest.mark.parametrize("linear", [False, True])
def test_parameters_go_back_and_forth(linear):
    """Without centring both networks give the same outputs; with it the linear parts still do."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 4)) @ np.linalg.cholesky(autoregressive(4)).T * [1.0, 10.0, 0.1, 1.0]
    model = Regression("relu", 3, "signs", fit_intercept=True, linear_term=linear)
    v = np.array([1.0, -1.0, 1.0])
    given = Parameters(rng.standard_normal((3, 4)), v, rng.standard_normal(4) if linear else None, 0.7)
    white, whitening = whitened(engine(x), law_of(x))
    back = whitening.back(given)
    np.testing.assert_allclose(predict(model, back, x), predict(model, given, white.source.x), atol=1e-12)
    np.testing.assert_allclose(forward(whitening, back).flat(), given.flat(), atol=1e-12)
    np.testing.assert_allclose(whitening.back(forward(whitening, given)).flat(), given.flat(), atol=1e-11)

    moved = x + 50.0
    white, whitening = whitened(engine(moved), law_of(moved))
    assert whitening.shift.all()
    silent = replace(given, weights=np.zeros((3, 4)))
    np.testing.assert_allclose(
        predict(model, whitening.back(silent), moved), predict(model, silent, white.source.x), atol=1e-10
    )
    np.testing.assert_allclose(forward(whitening, whitening.back(given)).flat(), given.flat(), atol=1e-11)
    assert (whitening.back(given).linear is None) == (not linear)


def test_features_without_variance_are_named():
    law = law_of(np.c_[np.random.default_rng(0).standard_normal((500, 2)), np.full(500, 0.1)])
    assert law.variance[2] == 0 and needs_whitening(law)
    assert law.departures == ["the covariance is not the identity (feature 2 has variance 0)"]


@pytest.mark.parametrize("case", ["combination", "constant", "copy", "rounding"])
def test_directions_without_variance_are_left_out(case):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((500, 5))
    rest = 1e-6 if case == "rounding" else 0.0
    last = {"constant": np.full(500, 0.1), "copy": x[:, 4]}.get(case, x[:, 1] - 2.0 * x[:, 0] + rest * x[:, 2])
    x = np.c_[x, last]
    white, whitening = whitened(engine(x), law_of(x))
    assert whitening.note == "1 of 6 directions have no variance and are left out"
    values = np.linalg.eigvalsh(np.cov(white.source.x.T, ddof=0))
    np.testing.assert_allclose(values, [0, 1, 1, 1, 1, 1], atol=1e-7)
    assert np.abs(whitening.inverse).max() < 10 and (whitening.inverse[:, 5] == 0).all() == (case == "constant")
    # What varies keeps its weights: outputs change by a constant only.
    raw = Parameters(rng.standard_normal((2, 6)), np.ones(2))
    outputs = (x - x.mean(axis=0)) @ raw.weights.T
    on_white = np.linalg.lstsq(white.source.x - white.source.x.mean(axis=0), outputs, rcond=None)[0].T
    there = whitening.back(replace(raw, weights=on_white))
    assert np.ptp(x @ (there.weights - raw.weights).T, axis=0).max() < 1e-12 + 10 * rest


def test_many_features_are_scaled_only():
    """Peak memory below a tenth of a d x d array; the variances are those of the rows that were looked at."""
    d = 5001
    rng = np.random.default_rng(0)
    x = rng.standard_normal((120, d)).astype(np.float32)
    x += rng.standard_normal((120, 1)).astype(np.float32)
    x /= np.float32(np.sqrt(2))
    rows = engine(x)
    tracemalloc.start()
    law = diagnose(rows, np.random.SeedSequence(0))
    typical = np.sqrt((np.vdot(*[np.corrcoef(x.T[:500])] * 2) - 500) / (500 * 499))
    assert typical == pytest.approx(0.51, abs=0.01)
    assert "(correlations of 0.51 root mean square where chance gives 0.092)" in law.departures[0]
    assert len(law.departures) == 1 and law.correlation_departs and not needs_whitening(law)
    stretched = engine(x * np.linspace(0.5, 2.0, d, dtype=np.float32))
    law = diagnose(stretched, np.random.SeedSequence(0))
    assert needs_whitening(law)
    white, whitening = whitened(stretched, law)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.1 * 8 * d * d
    assert "5001 features are more than 5000" in whitening.note and whitening.inverse.shape == (d,)
    np.testing.assert_allclose(white.source.x.var(axis=0, ddof=1), 1.0, atol=1e-5)
    given = Parameters(rng.standard_normal((2, d)), np.ones(2), rng.standard_normal(d), 1.0)
    np.testing.assert_allclose(forward(whitening, whitening.back(given)).flat(), given.flat(), atol=1e-9)
    np.testing.assert_allclose(
        white.source.x[:5] @ given.weights.T, stretched.source.x[:5] @ whitening.back(given).weights.T, atol=1e-3
    )


def test_patches_are_rows():
    rng = np.random.default_rng(0)
    patches = rng.standard_normal((1500, 4)) @ np.linalg.cholesky(autoregressive(4)).T
    w = np.repeat([1.0, 0.0], [400, 100])
    rows = engine(patches.reshape(500, 12), np.zeros(500), w, 3)
    law = diagnose(rows, np.random.SeedSequence(0))
    assert law.n_rows == 1200 and law.correlation_departs and rows.meter.rows == 400
    white, whitening = whitened(rows, law)
    assert white.shape == (500, 4) and white.source.group == 3
    np.testing.assert_allclose(np.cov(white.source.x[:1200].T, ddof=0), np.eye(4), atol=1e-12)
    np.testing.assert_allclose(white.source.x, patches @ whitening.inverse.T, atol=1e-12)


def test_starts_gain_from_whitening():
    """tanh units on AR(0.7) rows, ten seeds: 0.78 in the median as they are, 0.13 whitened."""
    raw, better = [], []
    root = np.linalg.cholesky(autoregressive(10))
    for seed in range(3):
        teacher = fr.datasets.make_teacher("tanh", 10, 5, random_state=seed)
        x = np.random.default_rng(seed + 500).standard_normal((20_000, 10)) @ root.T
        rows = engine(x, teacher.predict(x, 1))
        white, whitening = whitened(rows, diagnose(rows, np.random.SeedSequence(seed)))
        for errors, where, back in ((raw, rows, lambda p: p), (better, white, whitening.back)):
            found = back(tensor_start(where, teacher.model, np.random.SeedSequence(seed)))
            mine, true = align(found, teacher.parameters, teacher.model.activation, False)
            errors.append(np.linalg.norm(mine.weights - true.weights) / np.linalg.norm(true.weights))
    assert np.median(better) < 0.25 < 0.45 < np.median(raw)


@pytest.mark.filterwarnings("ignore:fit did not converge")
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_escalation_copies_no_more_than_the_first_sub_sample(n_jobs, monkeypatch):
    """Noise sends the start from 2000 rows to 16,000 and to all 200,000, whose whitened copy would take 32 MB."""
    copied, copy_of = [], WhitenedSource.copied
    monkeypatch.setattr(WhitenedSource, "copied", lambda self: copied.append(self.shape[0]) or copy_of(self))
    rng = np.random.default_rng(0)
    teacher = fr.datasets.make_teacher("relu", 20, 2, random_state=0)
    x = rng.standard_normal((200_000, 20))
    x[:, 1] += x[:, 0]
    y = teacher.predict(x)
    y += 2.0 * y.std() * rng.standard_normal(len(y))
    options = dict(init="tensor", inputs="whiten", random_state=0, n_jobs=n_jobs)
    fr.fit(x[:3000], y[:3000], "relu", 2, **options)  # loads what is loaded late
    copied.clear()
    tracemalloc.start()
    rec = fr.fit(x, y, "relu", 2, **options)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rec.info["whitened"] and set(rec.history["rows"]) == {2000, 16_000, 200_000}
    assert copied == [2000] and peak < 0.5 * x.nbytes


@pytest.mark.parametrize("most_copied, copies", [(999, False), (1000, True)])
def test_most_copied(most_copied, copies):
    """Rows on their way are not counted as a pass; a copy is one."""
    x = np.random.default_rng(0).standard_normal((1000, 4)) @ np.linalg.cholesky(autoregressive(4)).T
    rows = engine(x, x[:, 0].copy())
    law = diagnose(rows, np.random.SeedSequence(0))
    before = rows.meter.rows
    white, whitening = whiten(rows, law, most_copied)
    assert isinstance(white.source, ArraySource) == copies and rows.meter.rows == before + (2 if copies else 1) * 1000
    np.testing.assert_array_equal(local_rows(white)[0], (x - whitening.shift) @ whitening.inverse.T)
