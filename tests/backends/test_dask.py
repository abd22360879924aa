"""Arrays and frames of Dask, here and at workers of a cluster: the bits of an array, and no hang when workers die."""

import os
import signal
import threading
import time

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from distributed import Client, LocalCluster, wait
from distributed.protocol import pickle

import fastrecover as fr
from fastrecover import checkpoint
from fastrecover.data.cluster import _places
from fastrecover.engines import cluster as engine_module
from fastrecover.sources.chunks import as_chunks

# Sockets that the cluster leaves to the collector, and fits that are not meant to end at a recovery.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:fit did not converge"),
    pytest.mark.filterwarnings("ignore:not all weights are determined"),
]
D, N = 6, 30_000
TEACHER = fr.datasets.make_teacher("tanh", D, 2, output_weights="ones", random_state=0)
X, Y = TEACHER.sample(N, noise=0.1, random_state=1)
LABELS = np.array(["low", "middle", "high"])[np.digitize(Y, [-0.5, 0.5])]
OPTIONS = dict(model="tanh", n_hidden=2, random_state=0)


def cluster_of(**options):
    return LocalCluster(threads_per_worker=1, processes=True, dashboard_address=":0", **options)


@pytest.fixture(scope="module")
def cluster():
    with cluster_of(n_workers=2) as cluster, Client(cluster, set_as_default=False) as client:
        yield client


@pytest.fixture
def workers(cluster):
    with cluster.as_current():
        yield cluster


@pytest.fixture(params=["here", "workers"])
def place(request):
    """Without a client, and with one."""
    return request.param == "workers" and request.getfixturevalue("workers")


def chunked(a, rows=7000):
    return da.from_array(a, chunks=(rows, *a.shape[1:]))


def assert_same(a, b):
    np.testing.assert_array_equal(a.weights, b.weights)
    np.testing.assert_array_equal(a.output_weights, b.output_weights)
    assert (a.loss, a.n_passes, a.message, a.n_rows) == (b.loss, b.n_passes, b.message, b.n_rows)


@pytest.fixture(scope="module")
def expected():
    return fr.fit(X, Y, **OPTIONS)


@pytest.mark.parametrize("rows", [4096, 2048, 7000, 333, N])
def test_fits_have_the_bits_of_an_array_however_chunks_are_cut(place, expected, rows):
    assert_same(fr.fit(chunked(X, rows), chunked(Y, 5000), **OPTIONS), expected)


def test_chunks_that_workers_have_stay_where_they_are(workers, expected):
    x, y = chunked(X, 1000).persist(), chunked(Y, 1000).persist()
    wait([x, y])
    held = workers.who_has(as_chunks(x).futures)
    for worker, numbers in _places(workers, as_chunks(x)):
        assert all(worker in held[as_chunks(x).futures[i].key] for i in numbers)
    assert_same(fr.fit(x, y, **OPTIONS), expected)


def test_kinds_of_rows(place):
    """Unknown lengths, an empty chunk, small integers, responses in memory, weights, columns in chunks."""
    x8, w = np.round(20 * X).astype(np.int8), (np.arange(N) % 3).astype(float)
    x, y = chunked(x8, 4000), chunked(Y, 4000)
    options = {**OPTIONS, "inputs": "whiten"}
    whole, weighed = fr.fit(x8, Y, **options), fr.fit(x8, Y, sample_weight=w, **options)
    assert_same(fr.fit(x, Y, **options), whole)
    assert_same(fr.fit(x.rechunk((4000, 2)), y, **options), whole)
    assert_same(fr.fit(x, y, sample_weight=chunked(w, 10_000), **options), weighed)
    some = X[:, 0] > -10  # all rows, but nobody knows
    assert_same(fr.fit(x[chunked(some, 4000)], y[chunked(some, 4000)], **options), whole)
    empty = da.concatenate([x[:5000], x[:0], x[5000:]]), da.concatenate([y[:5000], y[:0], y[5000:]])
    assert_same(fr.fit(*empty, **options), whole)


def test_frames_and_estimators(place):
    names = list("abcdef")
    frame = pd.DataFrame(X, columns=names).assign(y=Y, label=LABELS)
    frames = dd.from_pandas(frame, npartitions=4)
    found = fr.fit(frames[names], frames["y"], **OPTIONS)
    assert_same(found, fr.fit(X, Y, **OPTIONS))
    assert found.feature_names == names
    with pytest.raises(ValueError, match="another order"):
        found.predict(frames[names[::-1]])
    regressor = fr.OneHiddenLayerRegressor(n_hidden=2, random_state=0).fit(frames[names], frames["y"])
    assert regressor.feature_names_in_.tolist() == names and regressor.n_features_in_ == D
    np.testing.assert_allclose(regressor.predict(frames[names]).compute(), regressor.predict(frame[names]), rtol=1e-12)
    assert regressor.score(frames[names], frames["y"]) == pytest.approx(regressor.score(frame[names], Y), rel=1e-10)
    classifier = fr.OneHiddenLayerClassifier(n_hidden=2, random_state=0).fit(chunked(X), chunked(LABELS))
    assert classifier.classes_.tolist() == sorted(set(LABELS))
    for name in ("predict", "predict_proba", "decision_function", "transform"):
        lazy = getattr(classifier, name)(chunked(X))
        assert isinstance(lazy, da.Array) and lazy.chunks[0][0] == 7000
        np.testing.assert_array_equal(lazy.compute(), getattr(classifier, name)(X))
    assert classifier.score(chunked(X), chunked(LABELS)) == pytest.approx(classifier.score(X, LABELS), rel=1e-12)


@pytest.mark.parametrize("model", ["squared", "poisson", "logistic"])
def test_scores_are_those_of_arrays(place, model):
    counts = np.random.default_rng(0).poisson(np.exp(Y / 2)).astype(float)
    y = {"squared": np.column_stack([Y, 2.0 * X[:, 0]]), "poisson": counts, "logistic": LABELS}[model]
    options = dict(loss=model, output_weights="free", fit_intercept=True, restarts=1, random_state=0)
    recovery, w = fr.fit(X[:2000], y[:2000], "tanh", 2, **options), np.linspace(0.0, 1.0, N)
    found = recovery.score(chunked(X), chunked(y), chunked(w))
    assert found == pytest.approx(recovery.score(X, y, w), rel=1e-11)


def test_objectives_and_moments(place):
    o, same = fr.objective(chunked(X), chunked(Y), "tanh", 2), fr.objective(X, Y, "tanh", 2)
    theta = np.random.default_rng(0).standard_normal(o.n_parameters)
    for a, b in zip(o.value_and_grad(theta), same.value_and_grad(theta), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(o.hessp(theta, theta), same.hessp(theta, theta))
    np.testing.assert_array_equal(o.residuals(theta), same.residuals(theta))
    np.testing.assert_array_equal(o.jacobian(theta).T @ Y, same.jacobian(theta).T @ Y)
    np.testing.assert_array_equal(o.theta0(random_state=1), same.theta0(random_state=1))
    np.testing.assert_array_equal(fr.moments.first(chunked(X), chunked(Y)), fr.moments.first(X, Y))


def test_nothing_as_long_as_the_rows_comes_back(workers, monkeypatch):
    """The largest result that the client gathers, of any member: a sub-sample of rows, no more."""
    largest, gather = [0], Client.gather

    def watched(self, futures, *args, **options):
        found = gather(self, futures, *args, **options)
        largest[0] = max(largest[0], *(len(pickle.dumps(each)) for each in found))
        return found

    monkeypatch.setattr(Client, "gather", watched)
    n = 400_000
    x = da.random.default_rng(0).standard_normal((n, D), chunks=(50_000, D))
    y = da.tanh(x[:, 0]) + da.tanh(x[:, 1])
    found = fr.fit(x, y, **OPTIONS)
    assert found.converged and found.score(x, y) > 1 - 1e-6
    assert largest[0] < 8 * n / 2


@pytest.mark.parametrize("rows", [2048, 6144, 5000])
def test_one_worker_has_all_chunks(expected, rows):
    with LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0") as one, Client(one):
        assert_same(fr.fit(chunked(X, rows), chunked(Y, rows), **OPTIONS), expected)


def test_a_fit_inside_a_task_reads_the_chunks_itself(workers, expected):
    found = workers.submit(lambda: fr.fit(chunked(X), chunked(Y), **OPTIONS), pure=False).result(timeout=120)
    np.testing.assert_array_equal(found.weights, expected.weights)


def test_a_result_outlives_its_cluster(tmp_path):
    with LocalCluster(n_workers=1, processes=False, dashboard_address=":0") as one, Client(one):
        found = fr.fit(chunked(X), chunked(Y), **OPTIONS)
    found.save(tmp_path / "rec.npz")
    assert "lost" in found.summary()
    np.testing.assert_array_equal(fr.load(tmp_path / "rec.npz").predict(X), found.predict(X))


def test_what_is_wrong_is_told(place):
    bad = X.copy()
    bad[12_345, 2] = np.inf
    with pytest.raises(ValueError, match="row 12345, column 2 is inf"):
        fr.fit(chunked(bad), chunked(Y), **OPTIONS)
    with pytest.raises(ValueError, match=r"y (has|must).*29000|29000 entries but X has 30000"):
        fr.fit(chunked(X), chunked(Y[:29_000]), **OPTIONS)
    with pytest.raises(ValueError, match="must have shape"):
        fr.fit(chunked(X[:, 0]), chunked(Y), **OPTIONS)
    with pytest.raises((TypeError, ValueError), match="y"):
        fr.fit(chunked(X), chunked(LABELS), **OPTIONS)
    with pytest.raises(ValueError, match="single value|one-dimensional"):
        fr.fit(chunked(X), chunked(Y), sample_weight=1.0, **OPTIONS)
    with pytest.raises(ValueError, match="must have shape"):
        fr.OneHiddenLayerRegressor().fit(chunked(X[:, 0]), chunked(Y))
    with pytest.raises(ValueError, match="one column for each feature"):
        fr.fit(X[:2000], Y[:2000], **OPTIONS).predict(chunked(X[:, :3]))
    with pytest.raises(ValueError, match="y is missing"):
        fr.fit(chunked(X), None, **OPTIONS)


def test_a_fit_inside_a_task_uses_the_threads_of_its_worker(workers):
    from fastrecover.engines.processors import resolve_jobs

    assert workers.submit(resolve_jobs, None, pure=False).result() == 1


@pytest.mark.parametrize("how", ["killed in a pass", "killed between passes", "retired", "restarted"])
def test_a_worker_may_be_lost(expected, how):
    """Its chunks are made again by others, and the fit ends with the same bits."""
    with cluster_of(n_workers=2) as cluster, Client(cluster) as client:
        pids = client.run(os.getpid)
        worker, pid = next(iter(pids.items()))
        done = []

        def callback(step):
            if done or step["stage"] == "start":
                return
            done.append(step)
            if how == "killed in a pass":
                threading.Timer(0.005, os.kill, (pid, signal.SIGKILL)).start()
            elif how == "killed between passes":
                os.kill(pid, signal.SIGKILL)
                time.sleep(0.2)
            elif how == "retired":
                client.retire_workers([worker])
            else:
                client.restart_workers([worker])

        found = fr.fit(chunked(X), chunked(Y), callback=callback, **OPTIONS)
        assert done
        assert_same(found, expected)


def test_a_fit_goes_on_from_its_checkpoint(workers, expected, tmp_path, monkeypatch):
    """Also where chunks are cut otherwise, since the record knows sums alone, and without a cluster."""
    monkeypatch.setattr(checkpoint, "WORTH", -1.0)
    options = {**OPTIONS, "checkpoint": tmp_path / "fit.ckpt"}
    steps = []

    def stop(step):
        steps.append(step)
        if len(steps) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fr.fit(chunked(X), chunked(Y), callback=stop, **options)
    kept = (tmp_path / "fit.ckpt").read_bytes()
    assert_same(fr.fit(chunked(X, 3000), chunked(Y, 3000), **options), expected)
    (tmp_path / "fit.ckpt").write_bytes(kept)
    assert_same(fr.fit(X, Y, **options), expected)
    with pytest.raises(fr.CheckpointError, match="y has other values"):
        fr.fit(chunked(X), chunked(Y + 1.0), **options)


def test_inference_after_a_fit(workers, expected):
    found = fr.fit(chunked(X), chunked(Y), **OPTIONS)
    for name in ("standard_errors", "certificate", "conf_int"):
        a, b = getattr(found, name)(), getattr(expected, name)()
        assert repr(a) == repr(b)
    again = fr.fit(chunked(X), chunked(Y), "tanh", 2, init=found, random_state=0)
    assert again.n_passes < found.n_passes


def test_a_cluster_without_workers_is_an_error_and_no_hang(monkeypatch):
    monkeypatch.setattr(engine_module, "PATIENCE", 2.0)
    with cluster_of(n_workers=1) as cluster, Client(cluster):

        def callback(step):
            cluster.scale(0)
            time.sleep(0.5)

        with pytest.raises(engine_module.ClusterError, match="no worker|lost"):
            fr.fit(chunked(X), chunked(Y), callback=callback, **OPTIONS)


def test_a_cluster_that_has_no_worker_yet_is_told():
    with cluster_of(n_workers=0) as cluster, Client(cluster), pytest.raises(ValueError, match="no workers"):
        fr.fit(chunked(X), chunked(Y), **OPTIONS)
