"""JAX operators of one-hidden-layer networks on CPU: sweeps of the C library as a target of XLA's foreign functions.

There is one primitive, a sweep of some kind, with rules for what JAX does to it: derivatives of a loss are a product
with a gradient that came with it, of a gradient a product with the Hessian, and a batch of parameter sets is swept side
by side.  So every transformation works up to second derivatives, and compiled functions run without Python.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

try:
    import jax
    import jax.numpy as jnp
    from jax import Array
    from jax.extend.core import Primitive
    from jax.interpreters import ad, batching, mlir
except ImportError as error:
    raise ImportError("fastrecover.jax needs JAX: pip install jax") from error

from ._frameworks import known_loss
from ._library import get_library
from .activations import USER_CODE, Activation, get_activation
from .engines.processors import resolve_jobs
from .losses import LINEAR_CODE, get_loss

if TYPE_CHECKING:
    from .recovery import Recovery

__all__ = ["loss", "outputs", "parameters"]

#: Kinds of sweeps, as csrc/xla.c numbers them.
_LOSS, _LOSS_AND_GRADIENT, _HESSIAN_PRODUCT, _OUTPUTS, _JACOBIAN_PRODUCT, _PULLED_BACK = range(6)
_TARGET = "fastrecover_sweep"
_PARTS = ("weights", "biases", "output_weights", "linear", "intercept")  # in the order of theta
_RANKS = (2, 2, 1, 1, 1)  # of x, y, weights of samples, theta and direction
_kept: dict[int, Activation] = {}  # of users, by where their code lies: compiled calls know no more of them


class _Spec(NamedTuple):
    """What a sweep is told beside its arguments, in the order of `read_call` in csrc/xla.c."""

    kind: int
    threads: int
    activation: int
    slope: float
    function: int
    loss: int
    delta: float
    n_hidden: int
    n_outputs: int
    hidden_bias: bool
    linear_term: bool
    fit_intercept: bool


sweep_p = Primitive("fastrecover_sweep")
sweep_p.multiple_results = True


@cache
def _register() -> None:
    """Tell XLA where the target lies."""
    pointer = ctypes.cast(ctypes.CDLL(get_library()).fastrecover_xla, ctypes.c_void_p)
    make = ctypes.pythonapi.PyCapsule_New
    make.restype, make.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    jax.ffi.register_ffi_target(_TARGET, make(pointer, b"xla._CUSTOM_CALL_TARGET", None), platform="cpu")


def _sweep(spec: _Spec, x: Any, y: Any = None, weight: Any = None, theta: Any = None, direction: Any = None) -> Any:
    """The results of a sweep, as many as its kind has; what is not given has no elements."""
    axes = x.ndim - 2
    none = np.zeros((1,) * axes + (0,), theta.dtype)
    rest = (none if each is None else each for each in (weight, theta, direction))
    return sweep_p.bind(x, none[..., None] if y is None else y, *rest, spec=spec)


def _shapes(x: Any, y: Any, weight: Any, theta: Any, direction: Any, *, spec: _Spec) -> list[Any]:
    """Shapes of results, with the batch axes of arguments in front."""
    arguments = zip((x, y, weight, theta, direction), _RANKS, strict=True)
    batch = np.broadcast_shapes(*(each.shape[: each.ndim - rank] for each, rank in arguments))
    theta_shape, out_shape = theta.shape[-1:], (x.shape[-2], spec.n_outputs)
    shapes = {
        _LOSS: [()],
        _LOSS_AND_GRADIENT: [(), theta_shape],
        _HESSIAN_PRODUCT: [theta_shape],
        _OUTPUTS: [out_shape],
        _JACOBIAN_PRODUCT: [out_shape],
        _PULLED_BACK: [theta_shape],
    }[spec.kind]
    return [jax.ShapeDtypeStruct((*batch, *shape), theta.dtype) for shape in shapes]


def _called(*arguments: Any, spec: _Spec) -> Any:
    _register()
    told = np.array(spec, np.float64)
    return jax.ffi.ffi_call(_TARGET, _shapes(*arguments, spec=spec))(*arguments, call=told)


def _abstract(*arguments: Any, spec: _Spec) -> list[Any]:
    return [jax.core.ShapedArray(each.shape, each.dtype) for each in _shapes(*arguments, spec=spec)]


def _batched(arguments: Any, axes: Any, *, spec: _Spec) -> Any:
    moved = [
        jnp.expand_dims(each, 0) if axis is None else jnp.moveaxis(each, axis, 0)
        for each, axis in zip(arguments, axes, strict=True)
    ]
    results = sweep_p.bind(*moved, spec=spec)
    return results, [0] * len(results)


def _refuse(what: str) -> None:
    raise NotImplementedError(f"fastrecover.jax has no derivative by {what}: use lax.stop_gradient, or jax.numpy")


def _forward(primals: Any, tangents: Any, *, spec: _Spec) -> Any:
    """Results and their tangents."""
    x, y, weight, theta, direction = primals
    moving = [not isinstance(each, ad.Zero) for each in tangents]
    if moving[0] or moving[2]:
        _refuse("X or sample_weight")
    if moving[1] and spec.kind != _PULLED_BACK:
        _refuse("y")
    dy, dtheta, ddirection = tangents[1], tangents[3], tangents[4]
    kind = spec.kind

    def swept(other: int, y: Any = y, direction: Any = direction, **changes: Any) -> Any:
        own = _kept.get(spec.function)
        if other == _HESSIAN_PRODUCT and own and not own.has_second_derivative:
            raise NotImplementedError(
                f"activation {own.name!r} has no second derivative: give Activation.from_functions one"
            )
        return sweep_p.bind(x, y, weight, theta, direction, spec=spec._replace(kind=other, **changes))

    if kind in (_LOSS, _LOSS_AND_GRADIENT):
        if not moving[3]:
            results = swept(kind)
            return results, [jnp.zeros_like(each) for each in results]
        value, grad = swept(_LOSS_AND_GRADIENT)
        slope = jnp.sum(grad * dtheta, axis=-1)
        if kind == _LOSS:
            return [value], [slope]
        return [value, grad], [slope, swept(_HESSIAN_PRODUCT, direction=dtheta)[0]]
    if kind == _OUTPUTS:
        return swept(kind), swept(_JACOBIAN_PRODUCT, direction=dtheta)
    if moving[3] and kind != _PULLED_BACK:
        _refuse("parameters of this order")
    results, parts = swept(kind), []
    if kind == _PULLED_BACK:
        if moving[1]:
            parts += swept(kind, y=dy)
        if moving[3]:  # the Hessian of the mean of y f, which pulls back as a sum
            parts.append(x.shape[-2] * swept(_HESSIAN_PRODUCT, direction=dtheta)[0])
    elif moving[4]:
        parts += swept(kind, direction=ddirection)
    return results, [sum(parts[1:], parts[0])]


def _transposed(cotangents: Any, x: Any, y: Any, weight: Any, theta: Any, direction: Any, *, spec: _Spec) -> Any:
    """Cotangent of the argument that a sweep is linear in."""
    (ct,) = cotangents
    wanted = (y if spec.kind == _PULLED_BACK else direction).aval
    if isinstance(ct, ad.Zero):
        found: Any = ad.Zero(wanted)
    else:
        if spec.kind == _HESSIAN_PRODUCT:
            found = sweep_p.bind(x, y, weight, theta, ct, spec=spec)[0]
        elif spec.kind == _JACOBIAN_PRODUCT:
            found = _sweep(spec._replace(kind=_PULLED_BACK), x, ct, None, theta)[0]
        else:
            found = _sweep(spec._replace(kind=_JACOBIAN_PRODUCT), x, None, None, theta, ct)[0]
        # One argument for all of a batch gets the sum of theirs.
        shared = tuple(i for i, (one, all_) in enumerate(zip(wanted.shape, found.shape, strict=True)) if one != all_)
        found = jnp.sum(found, shared, keepdims=True) if shared else found
    return [None, found, None, None, None] if spec.kind == _PULLED_BACK else [None, None, None, None, found]


sweep_p.def_impl(jax.jit(_called, static_argnames="spec"))
sweep_p.def_abstract_eval(_abstract)
mlir.register_lowering(sweep_p, mlir.lower_fun(_called, multiple_results=True), platform="cpu")
batching.primitive_batchers[sweep_p] = _batched
ad.primitive_jvps[sweep_p] = _forward
ad.primitive_transposes[sweep_p] = _transposed


def parameters(recovery: Recovery) -> dict[str, Array]:
    """Parameters of a recovery as ``loss`` and ``outputs`` take them.

    Parameters
    ----------
    recovery : Recovery

    Returns
    -------
    dict of Array
        ``weights``, ``output_weights`` and, where the network has them, ``biases``, ``linear`` and ``intercept``; in
        float32 unless ``jax_enable_x64`` is set.

    Raises
    ------
    ValueError
        A network on patches, whose samples are no rows.
    """
    model, found = recovery.model, recovery.parameters
    if model.n_patches > 1:
        raise ValueError(f"a network on {model.n_patches} patches of a sample has no operators for JAX")
    parts = {name: getattr(found, name) for name in _PARTS}
    if not model.fit_intercept:
        parts["intercept"] = None
    return {name: jnp.asarray(part, float) for name, part in parts.items() if part is not None}


def loss(
    parameters: Mapping[str, Array],
    X: Array,
    y: Array,
    activation: str | Activation = "relu",
    kind: str = "mse",
    *,
    slope: float | None = None,
    sample_weight: Array | None = None,
    delta: float = 1.0,
    n_jobs: int | None = None,
) -> Array:
    """Loss of a one-hidden-layer network, with gradients and Hessian products.

    One sweep over the rows gives the loss and, where it is differentiated, the gradient; a product with the Hessian is
    one more.  It works in ``jit``, ``grad``, ``jvp``, ``hessian`` and ``vmap``; mapped over parameters alone, all sets
    are swept in one pass.

    Parameters
    ----------
    parameters : mapping
        ``weights`` (k, d) and ``output_weights``, (k,) or (n_outputs, k); if they are there ``biases`` (k,), ``linear``
        (d,) or (n_outputs, d), ``intercept`` () or (n_outputs,).
    X : Array (n, d), float32 or float64
        No derivative by it is computed.
    y : Array (n,) or (n, n_outputs)
        Of "cross_entropy" classes (n,) of an integer type, or probabilities; of "poisson_nll" counts.
    activation : str or Activation
    kind : {"mse", "huber", "bce_with_logits", "cross_entropy", "poisson_nll"}
        Mean over rows (and outputs) of that function of ``torch.nn.functional``: of optax ``squared_error``,
        ``huber_loss``, ``sigmoid_binary_cross_entropy`` and ``softmax_cross_entropy``.
    slope : float, optional
        Of "leaky_relu" below 0.
    sample_weight : Array (n,), optional
        Non-negative; the mean is the weighted one.
    delta : float
        Of "huber".
    n_jobs : int, optional
        Threads; all processors by default.

    Returns
    -------
    Array ()
        Of the parameters' type; sums are in double.

    Raises
    ------
    TypeError, ValueError
        Unknown names, or arguments of other shapes or types.
    NotImplementedError
        A derivative by X, y or sample_weight, or a third one.

    Examples
    --------
    >>> import jax, fastrecover as fr
    >>> teacher = fr.datasets.make_teacher("tanh", n_features=4, n_hidden=2, random_state=0)
    >>> X, y = teacher.sample(1000, random_state=1)
    >>> p = {"weights": teacher.weights.astype("f4"), "output_weights": teacher.output_weights.astype("f4")}
    >>> value, grad = jax.jit(jax.value_and_grad(lambda p: fr.jax.loss(p, X.astype("f4"), y, "tanh")))(p)
    """
    X = jnp.asarray(X)
    spec, theta = _told(parameters, X, activation, slope, n_jobs)
    own, factor = known_loss(kind, spec.n_outputs)
    scored = get_loss(own, delta if own == "huber" else None)
    n, m = X.shape[0], spec.n_outputs
    targets = _targets(y, n, m, kind, theta.dtype)
    if sample_weight is not None:
        sample_weight = jnp.asarray(sample_weight, theta.dtype)
        if sample_weight.shape != (n,):
            raise ValueError(f"sample_weight must have shape ({n},), got {sample_weight.shape}")
    spec = spec._replace(kind=_LOSS, loss=scored.code, delta=scored.delta)
    return factor(m) * _sweep(spec, X, targets, sample_weight, theta)[0]


def outputs(
    parameters: Mapping[str, Array],
    X: Array,
    activation: str | Activation = "relu",
    *,
    slope: float | None = None,
    n_jobs: int | None = None,
) -> Array:
    """Outputs of a one-hidden-layer network from one sweep that holds no activations.

    For losses that :func:`loss` does not have; derivatives as there.

    Parameters
    ----------
    parameters, X, activation, slope, n_jobs
        As for :func:`loss`.

    Returns
    -------
    Array (n,), or (n, n_outputs) where output_weights are a table

    Raises
    ------
    TypeError, ValueError, NotImplementedError
        As :func:`loss`.
    """
    X = jnp.asarray(X)
    spec, theta = _told(parameters, X, activation, slope, n_jobs)
    found = _sweep(spec._replace(kind=_OUTPUTS, loss=LINEAR_CODE), X, theta=theta)[0]
    return found[:, 0] if jnp.ndim(parameters["output_weights"]) == 1 else found


def _told(
    given: Mapping[str, Array], X: Array, activation: str | Activation, slope: float | None, n_jobs: int | None
) -> tuple[_Spec, Array]:
    """What a sweep is told of a network but its kind and loss, and its parameters in one vector."""
    if not isinstance(given, Mapping):
        raise TypeError(f"parameters must be a mapping of names to arrays, got {type(given).__name__}")
    given = {name: part for name, part in given.items() if part is not None}
    strange = set(given) - set(_PARTS)
    missing = {"weights", "output_weights"} - set(given)
    if strange or missing:
        raise ValueError(f"parameters must have weights and output_weights, and may have biases, linear and intercept, "
                         f"got {', '.join(sorted(given)) or 'none'}")  # fmt: skip
    arrays = {name: jnp.asarray(given[name]) for name in _PARTS if name in given}
    if arrays["weights"].ndim != 2 or arrays["output_weights"].ndim not in (1, 2):
        shapes = arrays["weights"].shape, arrays["output_weights"].shape
        raise ValueError(f"weights must be (k, d), and output_weights (k,) or (n_outputs, k), got {shapes}")
    (k, d), v = arrays["weights"].shape, arrays["output_weights"].shape
    several = v[:-1]
    expected = {"weights": (k, d), "biases": (k,), "output_weights": (*several, k), "linear": (*several, d),
                "intercept": several}  # fmt: skip
    for name, array in arrays.items():
        if array.shape != expected[name]:
            raise ValueError(f"{name} must have shape {expected[name]}, as weights and output_weights say, "
                             f"got {array.shape}")  # fmt: skip
    if not k or not d:
        raise ValueError(f"weights must have at least one unit and one column, got shape {arrays['weights'].shape}")
    if jnp.ndim(X) == 2 and not X.shape[0]:
        raise ValueError("X must have at least one row")
    if jnp.ndim(X) != 2 or X.shape[1] != d:
        raise ValueError(f"X must have shape (n, {d}), as the weights, got {jnp.shape(X)}")
    if X.dtype not in (jnp.float32, jnp.float64):
        raise TypeError(f"X must be float32 or float64, got {X.dtype}")
    theta = jnp.concatenate([array.reshape(-1) for array in arrays.values()])
    if theta.dtype not in (jnp.float32, jnp.float64):
        raise TypeError(f"parameters must be float32 or float64, got {theta.dtype}")
    act = get_activation(activation, slope)
    function = 0
    if act.code == USER_CODE:
        from .kernels.user import address

        function = address(act)
        _kept[function] = act
    return _Spec(0, resolve_jobs(n_jobs), act.code, act.slope, function, 0, 1.0, k, several[0] if several else 1,
                 "biases" in arrays, "linear" in arrays, "intercept" in arrays), theta  # fmt: skip


def _targets(y: Any, n: int, outputs: int, kind: str, dtype: Any) -> Array:
    """Responses as a table, classes as shares."""
    y = jnp.asarray(y)
    if kind == "cross_entropy" and jnp.issubdtype(y.dtype, jnp.integer):
        if y.shape != (n,):
            raise ValueError(f"y must have shape ({n},), a class for each row, got {y.shape}")
        return _shares(y, outputs, dtype)
    if y.shape != (n, outputs) and not (outputs == 1 and y.shape == (n,)):
        raise ValueError(f"y must have shape ({n}, {outputs}), as the outputs, got {y.shape}")
    if jnp.issubdtype(y.dtype, jnp.complexfloating):
        raise TypeError(f"y must be real, got {y.dtype}")
    return y.reshape(n, outputs).astype(y.dtype if y.dtype in (jnp.float32, jnp.float64) else dtype)


def _shares(y: Array, outputs: int, dtype: Any) -> Array:
    """Classes as shares; while a function is traced no class can be looked at, and what is none makes a loss of NaN."""
    wrong = (y < 0) | (y >= outputs)
    if not isinstance(wrong, jax.core.Tracer) and wrong.any():
        raise ValueError(f"y must have classes 0 to {outputs - 1}, got {int(y[jnp.argmax(wrong)])}")
    return jnp.where(wrong[:, None], jnp.nan, jax.nn.one_hot(y, outputs, dtype=dtype))
