"""A hundred teachers recovered with nothing tuned, against L-BFGS with ten restarts and scikit-learn.

The easy half has odd settings (every activation, real output weights, unequal norms, noise, correlated inputs) and
20 rows for each weight; the hard half is noiseless with many units, unknown signs and few rows.  A fit is told the
activation, the number of units and, where the teacher has them, that output weights are real.  The peers take most
of the time and try the first teachers of each half only.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..harness import Context
from .methods import Found, ours, perceptron, restarts
from .planted import median
from .workers import Workers

EXACT, WITHIN = 1e-6, 1.5
HALVES = ("easy", "hard")
METHODS = ("ours", "L-BFGS", "scikit-learn")
_EACH = 50
_PEERS = 10
_BUDGET = 4.0  # seconds of scikit-learn for one teacher
_EASY = ("relu", "leaky_relu", "squared_relu", "sigmoid", "tanh", "erf", "softplus", "quadratic")
_HARD = ("relu", "leaky_relu", "squared_relu", "softplus", "tanh", "erf")
_HARD_UNITS = (5, 8, 12, 16, 20)


@dataclass(frozen=True)
class Draw:
    """One teacher and its data.

    Attributes
    ----------
    half : {"easy", "hard"}
    index : int
        Seed of everything random.
    activation : str
    k, d, n : int
    condition_number : float
        Of the weights, before norms are changed.
    unequal : bool
        Norms drawn from [0.5, 2].
    output_weights : {"signs", "free"}
    noise : float
        Standard deviation over that of the noise-free responses.
    correlation : float
        Of neighbouring inputs, which form an autoregressive series of order one.
    """

    half: str
    index: int
    activation: str
    k: int
    d: int
    n: int
    condition_number: float
    unequal: bool = False
    output_weights: str = "signs"
    noise: float = 0.0
    correlation: float = 0.0

    @property
    def known(self) -> dict[str, str]:
        """What a fit is told beside the activation and k."""
        return {"output_weights": "free"} if self.output_weights == "free" else {}


def drawn(half: str, index: int) -> Draw:
    """The teacher of this number.

    Parameters
    ----------
    half : {"easy", "hard"}
    index : int
    """
    rng = np.random.default_rng([71, HALVES.index(half), index])
    if half == "hard":
        k = _HARD_UNITS[index % len(_HARD_UNITS)]
        d = round(k * rng.uniform(1.0, 3.0))
        n = round(d * k * rng.uniform(4.0, 10.0))
        return Draw(half, index, _HARD[index % len(_HARD)], k, d, n, round(rng.uniform(1.0, 4.0), 2))
    k, d = int(rng.integers(2, 9)), round(float(np.exp(rng.uniform(np.log(10), np.log(200)))))
    return Draw(
        half,
        index,
        _EASY[index % len(_EASY)],
        k,
        d,
        20 * d * k,
        condition_number=round(rng.uniform(1.0, 10.0), 2),
        unequal=bool(rng.random() < 0.5),
        output_weights="free" if rng.random() < 0.5 else "signs",
        noise=round(rng.uniform(0.0, 1.0), 3) if rng.random() < 0.6 else 0.0,
        correlation=round(rng.uniform(0.2, 0.8), 2) if rng.random() < 0.5 else 0.0,
    )


def problem(draw: Draw) -> tuple[Any, np.ndarray, np.ndarray]:
    """Teacher, rows and responses.

    Parameters
    ----------
    draw : Draw
    """
    import fastrecover as fr

    rng = np.random.default_rng([72, HALVES.index(draw.half), draw.index])
    teacher = fr.datasets.make_teacher(
        draw.activation,
        n_features=draw.d,
        n_hidden=draw.k,
        condition_number=draw.condition_number,
        norms=rng.uniform(0.5, 2.0, draw.k) if draw.unequal else None,
        random_state=draw.index,
        **draw.known,
    )
    X = rng.standard_normal((draw.n, draw.d))
    for j in range(1, draw.d if draw.correlation else 0):
        X[:, j] = draw.correlation * X[:, j - 1] + np.sqrt(1.0 - draw.correlation**2) * X[:, j]
    y = teacher.predict(X, n_jobs=1)
    if draw.noise:
        y = y + draw.noise * np.std(y) * rng.standard_normal(draw.n)
    return teacher, X, y


def run(context: Context) -> Iterator[dict[str, Any]]:
    """Rows: one for each teacher, then one for each half."""
    budget = 0.2 if context.quick else _BUDGET
    if importlib.util.find_spec("sklearn") is None:
        budget = 0.0
        context.leave_out("scikit-learn", "not installed")
    rows: list[dict[str, Any]] = []
    with Workers(context) as workers:
        for half in HALVES:
            draws = [drawn(half, index) for index in range(_EACH)]
            if context.quick:
                draws = sorted(draws, key=lambda one: one.n * one.d * one.k)[:2]
            for row in workers.cells(context, [(asdict(one), [(one, budget)]) for one in draws], _recover, _only):
                rows.append(row)
                yield row
    for half in HALVES:
        yield {"half": half} | summary([row for row in rows if row["half"] == half])


def _only(found: list[dict[str, Any]]) -> dict[str, Any]:
    return found[0]


def _recover(draw: Draw, budget: float) -> dict[str, Any]:
    teacher, X, y = problem(draw)
    name, k, exact = draw.activation, draw.k, draw.noise == 0.0
    found = ours(X, y, name, k, draw.index, **draw.known)
    bound = EXACT
    row: dict[str, Any] = {}
    if not exact:
        best = ours(X, y, name, k, draw.index, init=teacher.parameters, **draw.known)
        bound = WITHIN * best.error(teacher)
        row = {"error from the truth": best.error(teacher), "loss over that of the truth": found.loss / best.loss}
    row |= _outcome("ours", found, teacher, bound) | {"ours converged": found.converged}
    if draw.index >= _PEERS:
        return row
    peer, peer_bound = restarts(X, y, name, k, draw.index, exact=exact), EXACT
    if not exact:
        # Real-valued output weights are estimated with an error of their own.
        peer_bound = WITHIN * restarts(X, y, name, k, 0, exact=False, begin=teacher.parameters).error(teacher)
    row |= _outcome("L-BFGS", peer, teacher, peer_bound) | {"L-BFGS starts": peer.starts}
    judged = perceptron(X, y, teacher, bound, budget) if budget else None
    if judged is not None:
        row |= {"scikit-learn": judged[0] <= bound, "scikit-learn error": judged[0], "scikit-learn s": judged[1]}
    return row


def _outcome(who: str, found: Found, teacher: Any, bound: float) -> dict[str, Any]:
    error = found.error(teacher)
    return {who: bool(error < bound), f"{who} error": error, f"{who} s": found.seconds}


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Successes and seconds of each method, and fits of ours that call a wrong answer converged.

    A wrong answer to noisy data whose loss is not above that of the fit from the truth is no failure of the search,
    and is counted apart.

    Parameters
    ----------
    rows : list of dict
        One for each teacher.
    """
    row: dict[str, Any] = {"teachers": len(rows)}
    for who in METHODS:
        tried = [one for one in rows if who in one]
        seconds = [one[f"{who} s"] for one in tried]
        row |= {
            who: sum(one[who] for one in tried),
            f"{who} tried": len(tried),
            f"{who} median s": median(seconds),
            f"{who} total s": sum(seconds),
        }
    wrong = [one for one in rows if one["ours converged"] and not one["ours"]]
    row["wrong but converged"] = len(wrong)
    row["of these, loss not above the truth's"] = sum(
        one.get("loss over that of the truth", float("inf")) <= 1.0 + 1e-6 for one in wrong
    )
    row["L-BFGS s / ours s"] = median([one["L-BFGS s"] / one["ours s"] for one in rows if "L-BFGS s" in one])
    return row
