"""The record behind every model: one hidden layer, its parameters and its symmetries.

A model is frozen.  It never holds data or numbers that a fit finds; it maps a flat parameter vector to
:class:`Parameters` and back, and says which row function computes its loss.  Models are equal where their fields
are, whichever name they were made by.
"""

from __future__ import annotations

import difflib
import itertools
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, TypedDict, Unpack

import numpy as np
from numpy.typing import ArrayLike

from ..activations import Activation, get_activation
from ..linalg import pieces
from ..losses import LOGISTIC, SOFTMAX, SQUARED, Huber, Loss, get_loss
from .parameters import Parameters, align, lengths, relative_error
from .penalty import Penalty

#: "ones", "signs", "free", or numbers.
OutputWeights: TypeAlias = str | ArrayLike

_OUTPUT_WEIGHTS = ("ones", "signs", "free")
_KINDS = ("Regression", "Classification", "ConvRegression", "ConvClassification", "Quadratic", "Poisson")


class Fields(TypedDict, total=False):
    """What :func:`make_network` takes."""

    activation: str | Activation
    n_hidden: int
    output_weights: OutputWeights
    fit_intercept: bool
    linear_term: bool
    loss: str | Loss
    n_patches: int
    hidden_bias: bool
    n_outputs: int
    penalty: Penalty | None


@dataclass(frozen=True)
class Network:
    """One hidden layer ``f_o(x) = sum_j v_oj phi(w_j . x + a_j) + b_o . x + c_o`` under a loss.

    Made by the functions of ``fastrecover.models``, which check what they are given.

    Attributes
    ----------
    activation : Activation
    n_hidden : int
        Hidden units; 1 for a convolutional network, whose units share one filter.
    output_weights : {"ones", "signs", "free"} or tuple of float
        What is known of v.
    fit_intercept, linear_term : bool
    loss : Loss
    n_patches : int
        Disjoint patches of x that the filter is applied to, 1 for a fully connected network.
    hidden_bias : bool
        Whether units have biases a_j.
    n_outputs : int
        Outputs; those of a fit that has more than one are counted in its responses.
    penalty : Penalty or None
        What is added to the loss; a fit sets it, and it is no part of what is planted.
    """

    activation: Activation
    n_hidden: int
    output_weights: str | tuple[float, ...]
    fit_intercept: bool
    linear_term: bool
    loss: Loss
    n_patches: int
    hidden_bias: bool = False
    n_outputs: int = 1
    penalty: Penalty | None = None

    def changed(self, **changes: Unpack[Fields]) -> Network:
        """A copy with some fields changed, checked like new ones."""
        fields: dict[str, Any] = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return make_network(**{**fields, **changes})

    @property
    def known_v(self) -> np.ndarray | None:
        """Output weights where they are fixed numbers, else None."""
        if self.output_weights == "ones":
            return np.ones(self.n_hidden)
        return None if isinstance(self.output_weights, str) else np.array(self.output_weights)

    @property
    def is_quadratic_form(self) -> bool:
        """Whether the output is ``x' M x`` up to a linear function: quadratic units, fully connected."""
        return self.activation.is_quadratic and self.n_patches == 1

    @property
    def known_squares(self) -> np.ndarray | None:
        """For quadratic units ``phi(z) = c z^2`` the known weights c v of squares, else None."""
        c, v = self.activation.quadratic_coefficient, self.known_v
        return None if c is None or v is None else c * v

    @property
    def free_v(self) -> bool:
        """Whether output weights are free real numbers."""
        return self.output_weights == "free"

    def with_output_weights(self, v: OutputWeights) -> Network:
        """The same model with other output weights (a fixed array, or a name)."""
        return self.changed(output_weights=v)

    def with_free_output_weights(self, k: int) -> Network:
        """The same model with k units whose output weights are free."""
        return self.changed(n_hidden=k, output_weights="free")

    def with_resolved_signs(self, v: np.ndarray) -> Network:
        """The model that refinement works on once a start has found v.

        Unknown signs become the given ones.  Free output weights of a homogeneous activation become signs
        too, since their size can be moved into the rows; this takes a flat direction out of the problem.
        """
        if self.output_weights == "signs" or self.absorbs:
            return self.with_output_weights(np.where(np.asarray(v) < 0, -1.0, 1.0))
        return self

    @property
    def absorbs(self) -> bool:
        """Whether the size of a free output weight can be moved into its row, at no cost."""
        alone = self.n_outputs == 1 and self.penalty is None
        return self.free_v and self.activation.degree is not None and alone

    @property
    def ends_at_kinks(self) -> bool:
        """Whether minima may lie where rows cross kinks of the activation, as a penalty lets them.

        A linear model of the outputs ends at the next kink, so steps that rely on one are refused there one after the
        other; gradients go lower, and steps that keep the kinks in their model to the end.
        """
        smoothness = self.activation.smoothness
        return self.penalty is not None and smoothness is not None and smoothness <= 1

    @property
    def is_separate(self) -> bool:
        """Whether each unit has an output weight of its own that a linear regression finds: no shared filter, and a
        loss of the outputs alone.
        """
        return self.loss.of_output and self.n_patches == 1

    refined = with_resolved_signs  # the name that solvers still use

    @property
    def scales(self) -> bool:
        """Whether every multiple of an output is an output: homogeneous units, or free output weights."""
        return self.free_v or self.activation.degree is not None

    @property
    def output_range(self) -> tuple[float, float]:
        """Bounds of what the network can put out, whatever its weights."""
        low, high = self.activation.bounds
        v = self.known_v
        if self.fit_intercept or self.linear_term or self.free_v or not self.loss.in_response_units:
            return -np.inf, np.inf
        if v is None:  # a sign for every unit
            low, high = min(low, -high), max(high, -low)
            v = np.ones(self.n_hidden)
        ends = np.outer(v * self.n_patches, (low, high))
        return float(ends.min(axis=1).sum()), float(ends.max(axis=1).sum())

    def filter_length(self, n_features: int) -> int:
        """Inputs of one hidden unit: all features, or those of one patch.

        Raises
        ------
        ValueError
            If the features cannot be cut into the model's patches.
        """
        if n_features % self.n_patches:
            raise ValueError(
                f"X has {n_features} features, which cannot be cut into n_patches={self.n_patches} equal patches"
            )
        return n_features // self.n_patches

    @property
    def n_flat(self) -> int:
        """Dimension of the continuous symmetries of canonical parameters: the rotations of a quadratic network."""
        return self.n_hidden * (self.n_hidden - 1) // 2 if self.activation.is_quadratic else 0

    def gauge(self, at: Parameters) -> np.ndarray:
        """Directions of theta along which no output (no probability, of classes) changes, at some parameters.

        The lengths of homogeneous units with free output weights, and a function added to the logits of all classes;
        those that a penalty determines are none.

        Parameters
        ----------
        at : Parameters

        Returns
        -------
        ndarray (count, n_parameters)
            Orthogonal rows of length 1.
        """
        (k, d), m, degree = at.weights.shape, self.n_outputs, self.activation.degree
        found: list[Parameters] = []
        none = self.unpack(np.zeros(self.n_parameters(d)), d)
        if self.free_v and degree is not None and self.penalty is None:
            for j in range(k):
                own = np.arange(k) == j
                biases = None if at.biases is None else at.biases * own
                v = -degree * at.output_weights * own
                found.append(replace(none, weights=at.weights * own[:, None], output_weights=v, biases=biases))
        if self.shares:
            each = np.ones(m)
            if self.fit_intercept:
                found.append(replace(none, intercept=each))
            if self.penalty is None:
                found += [replace(none, output_weights=np.outer(each, np.eye(k)[j])) for j in range(k)]
                if self.linear_term:
                    found += [replace(none, linear=np.outer(each, np.eye(d)[i])) for i in range(d)]
        rows = np.array([self.pack(each) for each in found]).reshape(len(found), self.n_parameters(d))
        return np.linalg.qr(rows.T)[0].T if len(rows) else rows

    def canonical_jacobian(self, at: Parameters) -> np.ndarray:
        """Derivatives of canonical parameters, at canonical ones, by all parameters.

        Parameters
        ----------
        at : Parameters
            As :meth:`finished` returns them.

        Returns
        -------
        ndarray (n_parameters, n_parameters)
        """
        (k, d), m, degree = at.weights.shape, self.n_outputs, self.activation.degree
        full = np.eye(self.n_parameters(d))
        starts = np.cumsum([0, *self.sizes(d)])
        if self.free_v and degree is not None and self.penalty is None:
            for j, direction in enumerate(at.weights):  # of length 1: w / |w|, a / |w| and v |w|^p
                row = slice(j * d, (j + 1) * d)
                full[row, row] -= np.outer(direction, direction)
                if at.biases is not None:
                    full[starts[1] + j, row] = -at.biases[j] * direction
                for o, v in enumerate(at.columns[:, j]):
                    full[starts[2] + o * k + j, row] = degree * v * direction
        if self.shares:
            centred = np.eye(m) - 1.0 / m
            for first, size in (
                (starts[2], k),
                (starts[3], d * self.linear_term),
                (starts[4], int(self.fit_intercept)),
            ):
                block = slice(first, first + m * size)
                full[block] = np.kron(centred, np.eye(size)) @ full[block]
        return full

    def n_parameters(self, n_features: int) -> int:
        """Length of theta for units of `n_features` inputs."""
        return sum(self.sizes(n_features))

    def sizes(self, n_features: int) -> tuple[int, int, int, int, int]:
        """Numbers of weights, biases, output weights, linear terms and intercepts in theta."""
        k, m, d = self.n_hidden, self.n_outputs, n_features
        return k * d, k * self.hidden_bias, m * k * self.free_v, m * d * self.linear_term, m * self.fit_intercept

    def pack(self, parameters: Parameters) -> np.ndarray:
        """Flat theta: ``weights.ravel()``, then biases, output weights, linear terms and intercepts where free."""
        p = parameters
        parts = [p.weights.ravel()]
        if self.hidden_bias:
            parts.append(np.zeros(len(p.weights)) if p.biases is None else p.biases)
        if self.free_v:
            parts.append(p.output_weights.ravel())
        if self.linear_term:
            parts.append(p.slope.ravel())
        if self.fit_intercept:
            parts.append(np.broadcast_to(p.intercept, (self.n_outputs,)))
        return np.concatenate(parts)

    def unpack(self, theta: ArrayLike, n_features: int) -> Parameters:
        """Parameters held in a flat theta.

        Raises
        ------
        ValueError
            If theta has the wrong length, or the output weights are still unknown signs.
        """
        k, d, m = self.n_hidden, n_features, self.n_outputs
        theta = np.asarray(theta, np.float64)
        if theta.shape != (self.n_parameters(d),):
            raise ValueError(
                f"theta must have shape ({self.n_parameters(d)},) for {k} units and {d} features, got {theta.shape}"
            )
        weights, biases, v, linear, c = pieces(theta, self.sizes(d))
        known = self.known_v
        if not self.free_v and known is None:
            raise ValueError("output_weights='signs' leaves v unknown: give the signs as an array")
        several = m > 1
        return Parameters(
            weights.reshape(k, d),
            known if known is not None else v.reshape(m, k) if several else v,
            (linear.reshape(m, d) if several else linear) if self.linear_term else None,
            (c if self.fit_intercept else np.zeros(m)) if several else float(c[0]) if self.fit_intercept else 0.0,
            biases=biases if self.hidden_bias else None,
        )

    def views(self, thetas: np.ndarray, n_features: int) -> tuple[np.ndarray, ...]:
        """Weights, biases, output weights, linear terms and intercepts in several flat vectors, (s, ...) each."""
        ends = itertools.accumulate(self.sizes(n_features), initial=0)
        return tuple(thetas[:, a:b] for a, b in itertools.pairwise(ends))

    def unpack_many(self, thetas: np.ndarray, n_features: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Several flat vectors at once, as sweeps take them.

        Parameters
        ----------
        thetas : ndarray (s, n_parameters)
        n_features : int

        Returns
        -------
        rows : ndarray (s, n_hidden + linear terms, n_features + hidden_bias)
            Those of units, then linear terms.
        output_weights : ndarray (s, n_outputs * n_hidden)
        intercepts : ndarray (s, n_outputs)
        """
        s, k, d, m = len(thetas), self.n_hidden, n_features, self.n_outputs
        weights, biases, v, linear, c = self.views(thetas, d)
        rows, known = weights.reshape(s, k, d), self.known_v
        if self.hidden_bias:
            rows = np.concatenate([rows, biases[:, :, None]], axis=2)
        if self.linear_term:
            linear = linear.reshape(s, m, d)
            if self.hidden_bias:
                linear = np.concatenate([linear, np.zeros((s, m, 1))], axis=2)
            rows = np.concatenate([rows, linear], axis=1)
        v = v if known is None else known[None].repeat(s, axis=0)
        return rows, v, c if self.fit_intercept else np.zeros((s, m))

    def pack_many(self, rows: np.ndarray, output_weights: np.ndarray, intercepts: np.ndarray) -> np.ndarray:
        """The flat vectors of :meth:`unpack_many`, (s, n_parameters)."""
        s, k = len(rows), self.n_hidden
        d = rows.shape[2] - self.hidden_bias
        parts = [rows[:, :k, :d].reshape(s, k * d)]  # also of no vectors
        if self.hidden_bias:
            parts.append(rows[:, :k, d])
        if self.free_v:
            parts.append(output_weights)
        if self.linear_term:
            parts.append(rows[:, k:, :d].reshape(s, self.n_outputs * d))
        if self.fit_intercept:
            parts.append(intercepts)
        return np.concatenate(parts, axis=1)

    def finished(self, parameters: Parameters) -> Parameters:
        """Canonical parameters, units by falling size ``|v_j| |w_j|``; as they are where v was given."""
        if not isinstance(self.output_weights, str):
            return parameters
        scales = not self.free_v or self.penalty is None
        done = parameters.canonical(self.activation, self.free_v, self.fit_intercept, self.shares, scales)
        size = done.sizes * lengths(done.weights)
        return done.reordered(np.argsort(-size, kind="stable"))

    @property
    def shares(self) -> bool:
        """Whether outputs matter up to a function added to all of them."""
        return self.loss == SOFTMAX

    def error(self, estimate: Parameters, truth: Parameters) -> float:
        """Relative Frobenius error of all parameters up to the model's symmetries."""
        return relative_error(estimate, truth, self.activation, self.free_v, self.shares)

    def apart(self, one: Parameters, other: Parameters) -> float:
        """The larger of the errors of one by the other and of the other by the one."""
        return relative_error(one, other, self.activation, self.free_v, self.shares, either=True)

    def aligned(self, estimate: Parameters, truth: Parameters) -> tuple[Parameters, Parameters]:
        """Both canonical, the units of the estimate in the order of the truth's; see :func:`align`."""
        return align(estimate, truth, self.activation, self.free_v, self.shares)

    def for_targets(self, targets: np.ndarray) -> Network:
        """The model with as many outputs as the responses ask for.

        Parameters
        ----------
        targets : ndarray (n,) or (n, n_outputs)

        Returns
        -------
        Network

        Raises
        ------
        ValueError
            Several columns under a model of one output, or another number of them than outputs.
        """
        m = 1 if targets.ndim == 1 else targets.shape[1]
        if m == self.n_outputs:
            return self
        if self.n_outputs > 1:
            raise ValueError(f"y must have {self.n_outputs} columns, one for each output of the model, got {m}")
        what = "classes" if self.loss == LOGISTIC else "columns"
        if self.loss.several_outputs is False and self.loss != LOGISTIC:
            raise ValueError(
                f"y has {m} columns, but {self.loss.name} takes one response a row: fit them one by one, or use the "
                "squared loss"
            )
        try:
            return self.changed(n_outputs=m, loss=SOFTMAX if self.loss == LOGISTIC else self.loss)
        except ValueError as error:
            raise ValueError(f"y has {m} {what}: {error}") from None

    def describe(self) -> dict[str, Any]:
        """Plain data from which :func:`rebuilt` makes the model again."""
        act = self.activation
        if act.functions is not None:
            raise ValueError(f"activation {act.name!r} is user code: a model with it cannot be saved, but pickled")
        v = self.output_weights if isinstance(self.output_weights, str) else list(self.output_weights)
        kind = (
            "Classification" if self.loss.takes_labels else "Regression" if self.loss.in_response_units else "Poisson"
        )
        later: dict[str, Any] = {}  # what the first files did not know, where it is not as it was then
        if self.hidden_bias:
            later["hidden_bias"] = True
        if self.n_outputs > 1:
            later["n_outputs"] = self.n_outputs
        if isinstance(self.loss, Huber):
            later["delta"] = self.loss.delta
        return later | dict(
            kind=kind if self.n_patches == 1 else f"Conv{kind}",
            activation=act.name,
            slope=act.slope if act.takes_slope else None,
            n_hidden=self.n_hidden,
            output_weights=v,
            fit_intercept=self.fit_intercept,
            linear_term=self.linear_term,
            loss=self.loss.name,
            n_patches=self.n_patches,
        )


def make_network(
    activation: str | Activation,
    n_hidden: int,
    output_weights: OutputWeights,
    fit_intercept: bool = False,
    linear_term: bool = False,
    loss: str | Loss = SQUARED,
    n_patches: int = 1,
    hidden_bias: bool = False,
    n_outputs: int = 1,
    penalty: Penalty | None = None,
) -> Network:
    """A checked network; arguments are the fields of :class:`Network`.

    Raises
    ------
    TypeError, ValueError
        Unknown names, counts below one, or choices that cannot be identified.
    """
    act, scored = get_activation(activation), get_loss(loss)
    for name, count in (("n_hidden", n_hidden), ("n_patches", n_patches), ("n_outputs", n_outputs)):
        check_count(name, count)
    v = _checked_output_weights(output_weights, int(n_hidden), act)
    if hidden_bias and act.is_quadratic:
        raise ValueError(
            "hidden_bias=True is not identifiable for quadratic units, since v (w.x + a)^2 is v (w.x)^2 with a linear "
            "term and an intercept: use linear_term=True and fit_intercept=True, which have the same functions"
        )
    if n_outputs > 1:
        _check_several(act, v, int(n_patches))
    if scored == SOFTMAX and n_outputs == 1:
        scored = LOGISTIC
    return Network(
        act,
        int(n_hidden),
        v,
        bool(fit_intercept),
        bool(linear_term),
        scored,
        int(n_patches),
        bool(hidden_bias),
        int(n_outputs),
        penalty,
    )


def _check_several(act: Activation, v: str | tuple[float, ...], n_patches: int) -> None:
    """Raise ValueError for networks that cannot have several outputs."""
    if v != "free":
        raise ValueError(
            "several outputs have output weights of their own: use output_weights='free', got "
            f"{v if isinstance(v, str) else 'numbers'!r}"
        )
    if act.is_quadratic:
        raise ValueError("quadratic units have one output: fit the columns of y one by one")
    if n_patches > 1:
        raise ValueError("a convolutional network has one output: fit the columns of y one by one")


def rebuilt(description: dict[str, Any]) -> Network:
    """The model that :meth:`Network.describe` described.

    Raises
    ------
    KeyError, TypeError, ValueError
        Not a description.
    """
    fields = dict(description)
    kind = fields.pop("kind")
    if kind not in _KINDS:
        raise ValueError(f"unknown kind of model {kind!r}")
    fields["activation"] = get_activation(fields["activation"], slope=fields.pop("slope"))
    if "delta" in fields:
        fields["loss"] = get_loss(fields["loss"], fields.pop("delta"))
    return make_network(**fields)


def nearest(name: str, known: tuple[str, ...]) -> str:
    """``; did you mean 'x'?`` for the closest of the known names, or an empty string."""
    close = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def check_count(name: str, value: object) -> None:
    """Raise TypeError or ValueError unless `value` is an integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")


def _checked_output_weights(v: OutputWeights, k: int, act: Activation) -> str | tuple[float, ...]:
    if isinstance(v, str):
        if v not in _OUTPUT_WEIGHTS:
            raise ValueError(
                f"output_weights must be one of {', '.join(_OUTPUT_WEIGHTS)} or an array, got {v!r}"
                f"{nearest(v, _OUTPUT_WEIGHTS)}"
            )
        if v == "signs" and act.reflects_into_intercept:
            raise ValueError(
                f"output_weights='signs' is not identifiable for {act.name} units, since phi(t) + phi(-t) is constant "
                "and every sign moves into the intercept: use output_weights='ones' with fit_intercept=True, "
                "which has the same functions"
            )
        if v == "signs" and act.parity == "odd":
            return "ones"
        return v
    try:
        values = np.array(v, np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"output_weights must be a name or numbers, got {v!r}") from None
    if values.shape != (k,):
        raise ValueError(f"output_weights must have shape ({k},), got {values.shape}")
    if not np.isfinite(values).all() or (values == 0).any():
        raise ValueError("output_weights must be finite and non-zero")
    return tuple(float(value) for value in values)
