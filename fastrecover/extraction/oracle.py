"""The network that is asked: every query goes through one object, which counts, checks and says how sure answers are.

Rounding is the only noise there is, so how much of it an answer carries decides every step of an extraction: it is
measured once, on stretches where the network is linear, and grows with the length of the input.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .._arrays import as_numbers

#: Mantissas of inputs that a network takes as they are, and that it rounds to single precision.
DOUBLE, SINGLE = 53, 24
_PLACES, _RADII = 16, (1.0, 16.0, 256.0, 4096.0)  # where rounding is measured
_APART = 2.0**-11  # steps of that measurement, which should meet no kink
_COARSE = 2.0**-36  # rounding, in parts of the answers, of networks in single precision
_SPREAD_OF_MOST = 0.4  # standard deviation over the most of some differences
_NOISY = 1e-3  # share of the spread of answers by which two answers to one row may differ


class Spent(Exception):
    """The budget does not allow the next queries."""


class Oracle:
    """Answers of a black box, as outputs of a network with their standard errors.

    Parameters
    ----------
    query : callable
    scale : ndarray (d,)
        Sizes of the features; points are in units of these.
    logit : bool
        Whether answers are probabilities.
    batch_size : int
        Most rows of a call.
    max_queries : float

    Attributes
    ----------
    n_queries : int
    n_columns, n_outputs : int
        Of answers, and of the network: two classes have one logit.
    bits : int
        Of the mantissas of inputs.
    rounding : float
        Standard error of an answer where inputs are about as long as `scale`.
    """

    def __init__(
        self,
        query: Callable[[np.ndarray], Any],
        scale: np.ndarray,
        logit: bool,
        batch_size: int,
        max_queries: float = np.inf,
    ) -> None:
        self.query, self.scale, self.logit = query, scale, logit
        self.batch_size, self.max_queries = batch_size, max_queries
        self.n_queries, self.n_columns, self.n_outputs, self.bits = 0, 0, 0, DOUBLE
        self.rounding = 0.0
        self._unit = 2.0**-DOUBLE  # rounding of an answer

    @property
    def n_features(self) -> int:
        """Number of inputs."""
        return len(self.scale)

    def rounded(self, X: np.ndarray) -> np.ndarray:
        """The points nearest to `X` that the network takes as they are."""
        return X if self.bits == DOUBLE else X.astype(np.float32).astype(np.float64)

    def grid(self, reach: float) -> float:
        """Spacing of numbers up to `reach` whose sums and differences are exact inputs."""
        return float(2.0 ** (np.ceil(np.log2(reach)) + 2 - self.bits))

    def __call__(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Outputs (n, n_outputs) at points (n, d), and their standard errors (n,).

        Where a probability is 0 or 1 the output is nan and its error infinite.

        Raises
        ------
        Spent
            Nothing has been asked.
        TypeError, ValueError
            Answers of a wrong kind or shape, or not finite.
        """
        if self.n_queries + len(X) > self.max_queries:
            raise Spent  # before a part of them is asked
        answers = [self._asked(X[i : i + self.batch_size]) for i in range(0, len(X), self.batch_size)]
        values = np.concatenate(answers) if answers else np.empty((0, self.n_columns))
        error = np.asarray(self.rounding * np.maximum(1.0, np.sqrt(np.mean(np.square(X), axis=1))))
        return self._logits(values, error) if self.logit else (values, error)

    def errors(self, X: np.ndarray) -> np.ndarray:
        """Standard errors of the answers at some points, which must be asked where they depend on the answers."""
        if self.logit:
            return self(self.rounded(X))[1]
        return np.asarray(self.rounding * np.maximum(1.0, np.sqrt(np.mean(np.square(X), axis=1))))

    def probe(self, rng: np.random.Generator) -> None:
        """Learn outputs, mantissas and rounding of the network.

        Raises
        ------
        TypeError, ValueError
            Answers of a wrong kind, or other ones to the same rows.
        """
        X = rng.standard_normal((_PLACES, self.n_features))
        here, again = self._asked(X), self._asked(X[::-1])[::-1]
        spread = float(np.abs(here).max())
        apart = float(np.abs(here - again).max())
        if apart > _NOISY * spread:
            raise ValueError(
                f"query must answer the same rows alike, but two calls differ by up to {apart:.3g} where answers are "
                f"up to {spread:.3g}: a random network (dropout, noise) cannot be extracted; use fit"
            )
        self.rounding = max(self._measured(rng), _SPREAD_OF_MOST * apart)
        if self.rounding > _COARSE * spread:
            self.bits, self._unit = SINGLE, 2.0**-SINGLE

    def _measured(self, rng: np.random.Generator) -> float:
        """Standard error of answers over the length of inputs, from second differences."""
        X, u = rng.standard_normal((2, len(_RADII), _PLACES, self.n_features))
        X *= np.array(_RADII)[:, None, None]
        steps = _APART * u * np.array(_RADII)[:, None, None]
        lines = np.stack([X - steps, X, X + steps]).reshape(-1, self.n_features)
        values, errors = self(self.rounded(lines))
        values, errors = values.reshape(3, len(_RADII), -1), errors.reshape(3, len(_RADII), -1)
        second = np.abs(values[0] - 2.0 * values[1] + values[2])
        if self.logit:  # what probabilities lose is known, and small at some places nearby
            lost = np.where(np.isfinite(errors[:, 0]).all(axis=0), errors[:, 0].max(axis=0), np.inf)
            clear = np.repeat(np.isfinite(lost) & (lost <= 4.0 * lost.min()), self.n_outputs)
            second, values = second[:1, clear], values[:, :1, clear]
        if not second.size:
            return float(np.finfo(float).tiny)
        floor = 0.25 * self._unit * np.abs(values[1]).max(axis=1)
        spread = 1.4826 * np.median(second, axis=1) / np.sqrt(6.0)
        found = np.maximum(spread, floor) / np.array(_RADII)[: len(second)]
        return float(max(found.max(), np.finfo(float).tiny))

    def _asked(self, X: np.ndarray) -> np.ndarray:
        if self.n_queries + len(X) > self.max_queries:
            raise Spent
        rows = np.multiply(X, self.scale, order="C")  # a fresh array, which the network may do with as it likes
        self.n_queries += len(rows)
        answer = as_numbers(self.query(rows), "query(X)")
        n = len(X)
        wanted = f"({n},) or ({n}, n_outputs)"
        if answer.ndim not in (1, 2) or len(answer) != n or not answer.size:
            raise ValueError(f"query(X) must have shape {wanted} for X of shape {X.shape}, got {answer.shape}")
        answer = answer.reshape(n, -1)
        if self.n_columns and answer.shape[1] != self.n_columns:
            raise ValueError(f"query(X) must have {self.n_columns} columns as before, got shape {answer.shape}")
        self.n_columns = answer.shape[1]
        self.n_outputs = 1 if self.logit and self.n_columns == 2 else self.n_columns
        if answer.dtype == np.float32:
            self._unit = 2.0**-SINGLE
        values = answer.astype(np.float64)
        bad = ~np.isfinite(values).all(axis=1)
        if bad.any():
            at = int(np.argmax(bad))
            longest = float(np.abs(rows[at]).max())
            raise ValueError(
                f"query(X) must be finite, but row {at} of X, with entries up to {longest:.3g}, gives {answer[at]}"
            )
        if self.logit and ((values < 0).any() or (values > 1).any()):
            worst = float(values.min() if (values < 0).any() else values.max())
            raise ValueError(f"query(X) must be probabilities in [0, 1] with output='logit', got {worst:g}")
        return values

    def _logits(self, p: np.ndarray, error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Outputs of probabilities: of two classes the logarithm of the odds, of more those of all with mean zero."""
        with np.errstate(divide="ignore", invalid="ignore"):
            if p.shape[1] == 1:
                values, lost = np.log(p) - np.log1p(-p), 1.0 / (1.0 - p[:, 0])
            elif p.shape[1] == 2:
                logs = np.log(p)
                values, lost = logs[:, 1:] - logs[:, :1], np.ones(len(p))
            else:
                logs = np.log(p)
                values, lost = logs - logs.mean(axis=1, keepdims=True), 1.0 + np.abs(logs).max(axis=1)
        blind = ~np.isfinite(values).all(axis=1)
        values[blind] = np.nan
        return values, np.where(blind, np.inf, error + self._unit * lost)
