"""What the studies measure of one planted problem: functions of a cell and a seed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from .harness import Row
from .methods import METHODS, from_truth, off_cosine, ours, relative, restarted, start_of, worst_unit
from .planted import EASY, animal, biased, planted, sized

_ERRORS = {"relative": relative, "worst unit": worst_unit, "1 - cosine": off_cosine}
_SPREAD, _STARTS, _RADIUS = 1e-4, 10, 0.1
_TIE, _EXACT, _SINGULAR = 1e-9, 1e-25, 1e-9
_MINUTE = 60.0
_PEERS = 10  # animals that L-BFGS tries
_SOON, _NEAR, _NOTHING = 10.0, 1.5, 0.5  # seconds, times the error of a fit from the truth, error that recovers nothing
_TURN = 0.01  # seconds that the time of a sweep is measured over


def of_cell(cell: Row, seed: int, **more: Any) -> tuple[Any, np.ndarray, np.ndarray]:
    """The planted problem of a cell and a seed."""
    options = {"condition": "condition_number", "v": "output_weights", "noise": "noise"}
    options |= {"linear": "linear_term", "intercept": "intercept"}
    given = {name: cell[key] for key, name in options.items() if cell.get(key)} | more
    return planted(cell["model"], cell["d"], cell["k"], cell["n"], seed, **given)


def attempt(cell: Row, seed: int) -> Row:
    """Error of the cell's method, and whether it is within what the cell asks for."""
    teacher, X, y = of_cell(cell, seed)
    found, seconds = timed(METHODS[cell["who"]], X, y, teacher, seed)
    error = found.error(teacher, _ERRORS[cell.get("error of", "relative")])
    one: Row = {"error": error, "seconds": seconds, "passes": found.passes}
    if "within" in cell:
        recovered = bool(error < cell["within"])
        one |= {"recovered": recovered, "wrong but converged": found.converged and not recovered}
    if "noise" in cell:
        one["error / order"] = error / float(cell["noise"] * np.sqrt(cell["d"] * cell["k"] / cell["n"]))
    return one


def with_biases(cell: Row, seed: int) -> Row:
    """Whether a network with hidden biases is found from so few rows, where its Jacobian at the truth has full rank.

    Where it has not, an exact fit must say that not all weights are determined.
    """
    import fastrecover as fr

    teacher, X, y = biased(cell["model"], cell["d"], cell["k"], cell["n"], seed)
    if cell["who"] == "tensor start":
        return {"error": start_of("tensor_start", X, y, teacher, seed).error(teacher)}
    begun = time.process_time()  # of one thread: of one processor, whoever else is busy
    rec = fr.fit(X, y, teacher.model, random_state=seed, n_jobs=1)
    seconds = time.process_time() - begun
    error, rank = float(rec.error(teacher)), _missing_rank(teacher, X) == 0
    one: Row = {"full rank": rank, "error": error, "seconds": seconds, "passes": rec.n_passes}
    one["wrong, not said so"] = bool(rec.converged and error >= cell["within"] and rec.determined.all())
    return one | ({"recovered": error < cell["within"]} if rank else {})


def _missing_rank(teacher: Any, X: np.ndarray) -> int:
    """Directions that leave the responses as they are, beyond the scalings of homogeneous units."""
    act, p = teacher.model.activation, teacher.parameters
    z, rows = X @ p.weights.T + p.biases, np.column_stack([X, np.ones(len(X))])
    units = ((p.output_weights * act.derivative(z))[:, :, None] * rows[:, None, :]).reshape(len(X), -1)
    jacobian = np.column_stack([units, act.value(z), np.ones(len(X))])
    lengths = np.linalg.norm(jacobian, axis=0)
    values = np.linalg.svd(jacobian / np.where(lengths > 0.0, lengths, 1.0), compute_uv=False)
    scalings = teacher.n_hidden if act.degree else 0
    return int(jacobian.shape[1] - scalings - (values > _SINGULAR * values[0]).sum())


def published_descent(cell: Row, seed: int) -> Row:
    """Smallest cosine that ``ge2017`` reaches on fresh batches of n rows, within the minutes that a cell gives it."""
    import fastrecover as fr

    teacher = of_cell(cell | {"n": 1}, seed)[0]
    rec = fr.fit(
        teacher.stream(cell["n"], random_state=seed, n_jobs=1),
        model="ge2017",
        n_hidden=cell["k"],
        callback=lambda line: line["seconds"] > 60.0 * cell["minutes"],
        random_state=seed,
        n_jobs=1,
    )
    return {
        "smallest cosine": 1.0 - off_cosine(rec.parameters, teacher),
        "recovered": off_cosine(rec.parameters, teacher) < 0.01,
        "steps": rec.n_rows // cell["n"],
        "finished": "all" in rec.message,
        "seconds": rec.seconds,
    }


def passes_of(cell: Row, seed: int) -> Row:
    """Passes of a quadratic fit from its start until ``sqrt(2 loss / var y)``, near the error of M, is 1e-10."""
    teacher, X, y = of_cell(cell, seed)
    found = METHODS[cell["who"]](X, y, teacher, seed)
    passes, losses = (np.array(found.history[key]) for key in ("pass", "loss"))
    there = np.flatnonzero(losses <= 0.5e-20 * np.var(y))
    return {
        "passes": float(passes[there[0]] - passes[0] + 1.0) if there.size else np.inf,
        "error": found.error(teacher),
    }


def weak_units(cell: Row, seed: int) -> Row:
    """Whether a fit ends above the one that begins at the truth; noise in deviations of the responses."""
    teacher, X, y = of_cell(cell | {"noise": 0.0}, seed)
    y = y + cell["noise"] * np.std(y) * np.random.default_rng([29, seed]).standard_normal(len(y))
    found, seconds = timed(ours, X, y, teacher, seed)
    excess = above(found.loss, from_truth(X, y, teacher, seed).loss, _EXACT * float(np.mean(y**2)))
    one: Row = {"above": excess > 1e-6, "above, converged": bool(found.converged and excess > 1e-6)}
    return one | {"passes": found.passes, "seconds": seconds}


def zoo(cell: Row, seed: int) -> Row:
    """The automatic solver's final loss against that of one that sees all rows from the start.

    Both begin at the same point; the plain solver stays there, the automatic one may doubt it and look further.
    """
    import fastrecover as fr

    one, teacher, X, y = animal(cell["herd"], cell["number"])
    options = dict(tol=1e-6 if cell["tol"] == "strict" else None, n_jobs=1, random_state=cell["number"])
    ours, plain = (fr.fit(X, y, teacher.model, solver=solver, **options) for solver in ("auto", cell["against"]))
    excess = above(ours.loss, plain.loss, _EXACT * float(np.mean(y**2)))
    one |= {"win": excess < -_TIE, "tie": abs(excess) <= _TIE, "loss": excess > _TIE, "loss above 1e-6": excess > 1e-6}
    return one | {"excess": excess, "passes": ours.n_passes, "passes of the other": plain.n_passes}


def above(ours: float, plain: float, least: float) -> float:
    """Relative excess of our loss over the plain solver's; losses below `least` are exact, and exact ones tie."""
    ours, plain = max(ours, least), max(plain, least)
    return (ours - plain) / min(ours, plain)


def recovery(cell: Row, seed: int) -> Row:
    """Whether an animal is recovered: to 1e-6 or, from noisy rows, to 1.5 times the error of a start at the truth.

    Within 1.05 times that error it is as near as the rows allow.
    """
    one, teacher, X, y = animal(cell["herd"], number := cell["number"])
    exact = one["noise"] == 0.0
    found, seconds = timed(ours, X, y, teacher, number)
    best = None if exact else from_truth(X, y, teacher, number)
    error, least = found.error(teacher), best.error(teacher) if best else 1e-6
    right, near = error < (1.5 * least if best else least), error < (1.05 * least if best else least)
    one |= {"ours": right, "ours within 1.05": near, "ours s": seconds}
    one["wrong but converged"] = found.converged and not right
    one["missed, loss not above the truth's"] = bool(best and not right and found.loss <= (1.0 + 1e-6) * best.loss)
    if number < _PEERS:
        found, seconds = timed(restarted, X, y, teacher, number, exact=exact)
        # Real-valued output weights are estimated with an error of their own.
        best = None if exact else restarted(X, y, teacher, 0, exact=False, begin=teacher.parameters)
        right = found.error(teacher) < (1.5 * best.error(teacher) if best else 1e-6)
        one |= {"L-BFGS": right, "L-BFGS s": seconds}
    return one


def frontier(cell: Row, seed: int) -> Row:
    """Whether a teacher near the fewest rows is recovered to 1e-6 before a minute of one processor is spent."""
    head, teacher, X, y = animal("frontier", number := cell["number"])
    return head | _limited(teacher, X, y, number, _MINUTE)


def in_time(cell: Row, seed: int) -> Row:
    """Whether a noiseless network is recovered to 1e-6 before the cell's seconds of one processor are spent."""
    return _limited(*of_cell(cell, seed), seed, cell["limit"])


def _limited(teacher: Any, X: np.ndarray, y: np.ndarray, seed: int, limit: float) -> Row:
    begun = time.process_time()  # of one thread: of one processor, whoever else is busy
    found = ours(X, y, teacher, seed, callback=lambda line: time.process_time() - begun > limit)
    seconds, error = time.process_time() - begun, found.error(teacher)
    one: Row = {"recovered": error < 1e-6, "seconds": seconds, "passes": found.passes, "error": error}
    return one | {
        "loss / variance": found.loss / float(np.var(y)),
        "wrong but converged": found.converged and error >= 1e-6,
    }


def sample_size(cell: Row, seed: int) -> Row:
    """Whether a small network is recovered from about as few rows as it takes, within ten seconds of one processor.

    Without noise to 1e-6; with noise to 1.5 times the error of a fit from the truth, and below 0.5.  Rows are near a
    rough guess of where recovery is in doubt, every sixth anywhere up to 30 a parameter; of easy problems there are 1.2
    to 2.2 a parameter.
    """
    head, rng = sized(cell["number"], cell["seed"])
    setting = _setting(head)
    if cell["number"] >= EASY:
        each = rng.uniform(np.log(1.2), np.log(2.2))
        return head | _counted(head, round(setting.n_parameters * float(np.exp(each))), cell)
    noise = 0.5 * np.log1p((head["noise"] / 0.1) ** 2)
    about = 0.1 + 0.2 * np.log(head["d"] / head["k"]) + 0.15 * np.log(head["k"]) + 0.5 * noise
    each = rng.uniform(0.0, np.log(30.0)) if rng.random() < 1 / 6 else abs(rng.normal(about + 0.1, 0.4))
    return head | _counted(head, round(setting.n_parameters * float(np.exp(each))), cell)


def planned(cell: Row, seed: int) -> Row:
    """What is planned for a small network, at rows of a chance between 0.2 and 0.98, beside what comes of it."""
    import fastrecover as fr

    head, rng = sized(cell["number"], cell["seed"])
    law = (head["model"], head["d"], head["k"], head["condition"])
    plan = fr.required_rows(*law[:3], noise=head["noise"], condition_number=law[3], probability=rng.uniform(0.2, 0.98))
    found = head | _counted(head, plan.rows, cell)
    return found | {"chance": plan.probability, "planned error": plan.error, "planned seconds": plan.seconds}


def _setting(head: Row) -> Any:
    from fastrecover.sample_size.curves import Setting

    return Setting(head["model"], head["d"], head["k"], head["condition"], head["noise"])


def _counted(head: Row, n: int, cell: Row) -> Row:
    import fastrecover as fr
    from fastrecover.sample_size.information import information, response_deviation

    number = cell["number"]
    planted_by, drawn_by = np.random.SeedSequence([98, cell["seed"], number]).spawn(2)
    options = {"condition_number": head["condition"], "random_state": planted_by}
    teacher = fr.datasets.make_teacher(head["model"], head["d"], head["k"], **options)
    noise = head["noise"] * response_deviation(teacher)
    X, y = teacher.sample(n, noise, random_state=drawn_by, n_jobs=1)
    definite = teacher.model.with_output_weights(teacher.output_weights)
    sweep = _time_of(fr.objective(X, y, definite, n_jobs=1), teacher.weights.ravel())
    begun = time.process_time()  # of one thread: of one processor, whoever else is busy
    found = ours(X, y, teacher, number, callback=lambda line: time.process_time() - begun > _SOON)
    seconds, error, within = time.process_time() - begun, found.error(teacher), 1e-6
    one: Row = {"n": n, "error": error, "passes": found.passes, "seconds": seconds, "sweep seconds": sweep}
    if noise:
        later = time.process_time()
        options = {"init": teacher.parameters, "callback": lambda line: time.process_time() - later > _SOON}
        one["error from the truth"] = best = ours(X, y, teacher, number, **options).error(teacher)
        one["expected error"] = information(teacher).error(n, head["noise"])
        within = min(_NEAR * best, _NOTHING)
    return one | {"recovered": bool(error < within), "wrong but converged": bool(found.converged and error >= within)}


def _time_of(objective: Any, theta: np.ndarray) -> float:
    """Processor seconds of one sweep for loss and gradient."""
    objective.value_and_grad(theta)
    count, begun = 0, time.process_time()
    while (spent := time.process_time() - begun) < _TURN:
        objective.value_and_grad(theta)
        count += 1
    return spent / count


def timed(method: Callable[..., Any], *problem: Any, **options: Any) -> tuple[Any, float]:
    start = time.perf_counter()
    return method(*problem, **options), time.perf_counter() - start


def coverage(cell: Row, seed: int) -> Row:
    """Errors of all parameters of a fit from the truth over their standard errors, and the share inside 95 % intervals.

    None if the fit did not converge, or where its Jacobian is singular.  "weighted": with sample weights between 0.2
    and 2.
    """
    import fastrecover as fr

    teacher, X, y = of_cell(cell, 1, rows=300_000 + seed, noise=0.0)
    rng = np.random.default_rng([31, seed])
    if "noise" in cell:
        scale = cell["noise"] * (np.abs(X[:, 0]) if cell["uneven"] else 1.0)
        y = y + scale * rng.standard_normal(len(y))
    weight = rng.uniform(0.2, 2.0, len(y)) if cell.get("weighted") else None
    rec = fr.fit(X, y, teacher.model, init=teacher.parameters, sample_weight=weight, n_jobs=1)
    if not (rec.converged and rec.certificate()["locally_strongly_convex"]):
        return {"z": None}
    z = z_scores(rec, teacher)
    (low, high), errors = (each.flat() for each in rec.conf_int()), rec.standard_errors().flat()
    reach = ((high - low)[errors > 0] / errors[errors > 0]).max() / 2
    return {"z": z.tolist(), "inside": float((np.abs(z) <= reach).mean())}


def z_scores(rec: Any, teacher: Any) -> np.ndarray:
    """Errors over standard errors, units in the order of the truth's; what was not estimated is left out."""
    from fastrecover.models import align

    rec.standard_errors()
    found, truth = align(rec.parameters, teacher.parameters, rec.model.activation, rec.model.output_weights == "free")
    errors = found.errors.flat()
    return (found.flat() - truth.flat())[errors > 0] / errors[errors > 0]


def one_minimiser(cell: Row, seed: int) -> Row:
    """Whether ten starts at a tenth of the weights' norm from the truth end in one place (Fu, Chi and Liang 2018)."""
    import fastrecover as fr

    teacher, X, y = of_cell(cell, seed)
    away = np.random.default_rng([23, seed]).standard_normal((_STARTS, *teacher.weights.shape))
    size = np.linalg.norm(teacher.weights)
    starts = teacher.weights + _RADIUS * size * away / np.linalg.norm(away, axis=(1, 2), keepdims=True)
    descent = cell["who"] == "gradient descent"
    solver = fr.solvers.GradientDescent("curvature") if descent else "gauss-newton"
    options = dict(solver=solver, tol=1e-7, n_jobs=1, max_passes=4000)
    ends = np.array([fr.fit(X, y, teacher.model, init=start, **options).weights for start in starts])
    spread = float(np.sqrt(((ends - ends.mean(axis=0)) ** 2).sum(axis=(1, 2)).mean()) / size)
    return {"recovered": spread <= _SPREAD, "spread": spread}


def two_losses(cell: Row, seed: int) -> Row:
    """Error of the minimisers of cross entropy and of squared loss on the same labels, from the truth."""
    import fastrecover as fr

    teacher, X, y = of_cell(cell, seed)
    k, rate = cell["k"], float(np.sqrt(np.log(cell["n"]) / cell["n"]))
    fcn, cnn = fr.models.Regression("sigmoid", k, output_weights=[1.0 / k] * k), fr.models.ConvRegression(k, "sigmoid")
    # On all rows from the start: the smaller sample of the default may have its minimum at infinity.
    options = dict(init=teacher.weights, solver="gauss-newton", n_jobs=1)
    models = teacher.model, fcn if cell["model"] == "fcn" else cnn
    cross, squared = (fr.fit(X, y, model, **options).error(teacher) for model in models)
    one: Row = {"cross entropy": cross, "squared loss": squared, "squared / cross": squared / cross}
    return one | {"error / sqrt(log n / n)": cross / rate}


def from_nothing(cell: Row, seed: int) -> Row:
    """Whether fits that know nothing end within two per cent of the error of one from the truth, if that converges."""
    import fastrecover as fr

    teacher, X, y = of_cell(cell, seed)
    best = fr.fit(X, y, teacher.model, init=teacher.weights, n_jobs=1)
    one: Row = {"from the truth": best.converged, "error": best.error(teacher)}
    one["error of the start"] = start_of("tensor_start", X, y, teacher, 0).error(teacher)
    for init in ("tensor", "auto"):
        rec = fr.fit(X, y, teacher.model, init=init, random_state=0, n_jobs=1)
        one[init] = bool(best.converged and rec.converged and rec.error(teacher) <= 1.02 * one["error"])
    return one
