"""The specification of the kernels: each op function in a few lines of NumPy on whole arrays.

It is the third backend (``set_kernels("reference")``), meant to be read and tested against, and it keeps the
block cuts and the merge tree of the compiled ones so that only the arithmetic inside a block differs.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from .op import Op, RowFunction
from .reference_losses import LOSSES, Array, UnitCrossEntropy
from .tree import merge_range

#: Back-projected sums and scalar sums.
Sums: TypeAlias = tuple[Array, Array]


def forward(op: RowFunction, z: np.ndarray, rep: int = 0) -> np.ndarray:
    """Outputs ``c + phi(Z) V' + z_linear`` of set `rep`, (rows, outputs); `z` holds that set's projections."""
    v, c = output_weights(op, rep)
    f = c + op.activation.value(z[:, : op.k]) @ v.T
    return f + z[:, op.k : op.k + op.linear] if op.linear else f


def output_weights(op: RowFunction, rep: int) -> tuple[Array, Array]:
    """V (outputs, k) and c (outputs,) of set `rep`."""
    return np.reshape(op.v[rep], (op.outputs, op.k)), np.reshape(op.c, (op.reps, op.outputs))[rep]


def along(op: RowFunction, z: np.ndarray) -> np.ndarray:
    """Derivative of :func:`forward` of one set in a direction, (rows, outputs); `z` holds the projections of both."""
    k, v, dv = op.k, output_weights(op, 0)[0], np.reshape(op.dv, (op.outputs, op.k))
    units, dz = z[:, :k], z[:, k + op.linear :]
    df = (op.activation.derivative(units) * dz[:, :k]) @ v.T + op.activation.value(units) @ dv.T + op.dc
    return df + dz[:, k:] if op.linear else df


def _none(x: Array) -> Array:
    return np.zeros((0, x.shape[-1]))


def _back(op: RowFunction, g: Array, x: Array) -> Array:
    """Back-projection of coefficients (samples, units) on rows x (samples, group, d)."""
    g = g.reshape(len(g), -1, op.group)
    return np.einsum("icp,ipd->cd", g, x)


def _loss(op: RowFunction, x: Array, z: Array, y: Array, w: Array) -> Sums:
    loss = LOSSES[op.loss]
    if isinstance(loss, UnitCrossEntropy):
        sums_of, g = loss.loss(op, z, y[:, 0], w)
        return _back(op, g, x) if op.grad else _none(x), sums_of
    grads: list = []
    sums: list = [np.array([w.sum()])]
    for rep in range(op.reps):
        zr = z[:, rep * (op.k + op.linear) : (rep + 1) * (op.k + op.linear)]
        f, u, v = forward(op, zr, rep), op.activation.value(zr[:, : op.k]), output_weights(op, rep)[0]
        sums.append([loss.total(f, y, w, op.delta)])
        if not op.grad:
            sums.append(np.zeros(op.set_sums - 1))
            continue
        e = w[:, None] * loss.slope(f, y, op.delta)
        g = (e @ v) * op.activation.derivative(zr[:, : op.k])
        grads += [_back(op, g, x)] + ([e.T @ x[:, 0]] if op.linear else [])
        sums += [(e.T @ u).ravel(), e.sum(axis=0)]
    return np.concatenate(grads) if op.grad else _none(x), np.concatenate(sums)


def _curvature(op: RowFunction, x: Array, z: Array, y: Array, w: Array) -> Sums:
    loss = LOSSES[op.loss]
    if isinstance(loss, UnitCrossEntropy):
        return _back(op, loss.curvature(op, z, y[:, 0], w), x), np.r_[w.sum(), np.zeros(op.k + 1)]
    k, v, dv = op.k, output_weights(op, 0)[0], np.reshape(op.dv, (op.outputs, op.k))
    df = along(op, z)
    z, dz = z[:, : k + op.linear], z[:, k + op.linear :]
    u, d1 = op.activation.value(z[:, :k]), op.activation.derivative(z[:, :k])
    f = forward(op, z)
    h = w[:, None] * (loss.bent if op.newton else loss.curved)(f, y, df, op.delta)
    g, sv = (h @ v) * d1, h.T @ u
    if op.newton:
        e = w[:, None] * loss.slope(f, y, op.delta)
        g = g + (e @ v) * op.activation.second_derivative(z[:, :k]) * dz[:, :k] + (e @ dv) * d1
        sv = sv + e.T @ (d1 * dz[:, :k])
    a = np.concatenate([_back(op, g, x)] + ([h.T @ x[:, 0]] if op.linear else []))
    return a, np.concatenate([[w.sum()], sv.ravel(), h.sum(axis=0)])


def _jacobians(op: RowFunction, x: Array, z: Array, y: Array, w: Array) -> tuple[Array, Array, Array]:
    """Of every set the loss, and by sample and output J and r: ``J' W J`` is the Gauss-Newton matrix, ``J' W r`` the
    gradient.

    Returns
    -------
    losses : ndarray (reps,)
    jacobians : ndarray (reps, samples, outputs, parameters)
    residuals : ndarray (reps, samples, outputs)
    """
    k, m, s, n, loss = op.k, op.outputs, op.reps, len(x), LOSSES[op.loss]
    z = z.reshape(n, s, k + op.linear).transpose(1, 0, 2)
    units = z[:, :, :k]
    u, d1, v = op.activation.value(units), op.activation.derivative(units), np.reshape(op.v, (s, 1, m, k))
    if isinstance(loss, UnitCrossEntropy):
        parts = [loss.gram(each, y[:, 0], w) for each in units]
        losses, d1, r = (np.array(each) for each in zip(*parts, strict=True))
        v = np.ones((s, 1, 1, k))
    slopes = (v * d1[:, :, None]).reshape(s, n, m, -1, op.group)[:, :, :, : k * op.free_w]
    blocks = [np.einsum("sigcp,ipd->sigcd", slopes, x, optimize=op.group > 1).reshape(s, n, m, -1)]
    each = np.eye(m)
    if op.free_v:
        blocks.append((each[:, :, None] * u[:, :, None, None]).reshape(s, n, m, m * k))
    if op.linear:
        rows = (each[:, :, None] * x[:, None, None, 0]).reshape(1, n, m, -1)
        blocks.append(np.broadcast_to(rows, (s, *rows.shape[1:])))
    if op.free_c:
        blocks.append(np.broadcast_to(each, (s, n, m, m)))
    jacobians = np.concatenate(blocks, axis=3)
    if isinstance(loss, UnitCrossEntropy):
        return losses, jacobians, r[:, :, None]
    f = np.reshape(op.c, (s, 1, m)) + u @ v[:, 0].transpose(0, 2, 1)
    f = f + z[:, :, k:] if op.linear else f
    losses = loss.total(f, y, w, op.delta)
    flat = (f.reshape(s * n, m), np.tile(y, (s, 1)))
    jacobians, r = loss.rooted(*flat, jacobians.reshape(s * n, m, -1), op.delta)
    return losses, jacobians.reshape(s, n, m, -1), r.reshape(s, n, m)


def _gram(op: RowFunction, x: Array, z: Array, y: Array, w: Array) -> Sums:
    losses, jacobians, r = _jacobians(op, x, z, y, w)
    rows = np.concatenate([jacobians, r[..., None]], axis=3).reshape(op.reps, len(x) * op.outputs, -1)
    with np.errstate(over="ignore"):  # the square of a residual whose label has probability 1e-300
        grams = np.triu(rows.transpose(0, 2, 1) @ (np.repeat(w, op.outputs)[:, None] * rows))
    return grams.reshape(-1, rows.shape[2]), np.concatenate([[w.sum()], losses])


def _moment(op: RowFunction, x: Array, z: Array, y: Array, w: Array) -> Sums:
    x = x[:, 0]
    zv = z[:, op.set_columns : op.set_columns + op.m]
    t = z[:, -1] if op.order > 2 else np.ones(len(x))
    r = np.ones(len(x)) if op.unit_response else (y - forward(op, z[:, : op.set_columns]))[:, 0]
    e = w * r
    c = {2: e, 3: e * t, 4: e * (t * t - op.alpha2)}[op.order]
    b = e * t if op.order == 4 else e
    a = np.concatenate([(c[:, None] * zv).T @ x, [c @ x], [b @ x]])
    st, s2 = (e @ t if op.order > 2 else 0.0), (0.0 if op.unit_response else e @ r)
    return a, np.array([w.sum(), e.sum(), st, c.sum(), s2])


def _pairs(op: RowFunction, x: Array, z: Array, y: Array, w: Array) -> Sums:
    x = x[:, 0]
    zv = z[:, op.set_columns :]
    r = (y - forward(op, z[:, : op.set_columns]))[:, 0]
    e = w * r
    i, j = np.triu_indices(op.m)
    a = np.concatenate([(e[:, None] * zv[:, i] * zv[:, j]).T @ x, [e @ x]])
    return a, np.array([w.sum(), e.sum(), e @ r])


def _landscape(op: RowFunction, x: Array, z: Array, y: Array, w: Array) -> Sums:
    x, u = x[:, 0], z[:, op.set_columns :]
    r = (y - forward(op, z[:, : op.set_columns]))[:, 0]
    e, t = w * r, (u**2).sum(axis=1)
    q = op.pair * t**2 / 2 - op.single / 24 * (u**4).sum(axis=1)
    slope = 2 * op.pair * t[:, None] * u - op.single / 6 * u**3
    a = np.concatenate([(e[:, None] * slope).T @ x, (e[:, None] * u).T @ x])
    return a, np.array([w.sum(), e.sum(), e @ q, e @ r])


def hermite_features(op: RowFunction, zv: np.ndarray) -> np.ndarray:
    """Products of normalised Hermite polynomials, (rows, n_features)."""
    from numpy.polynomial.hermite_e import hermeval

    he = [
        hermeval(zv[:, a], np.eye(op.order + 1)[p]) / math.sqrt(math.factorial(p))
        for a in range(op.m)
        for p in range(op.order + 1)
    ]
    features = np.ones((len(zv), len(op.factors)))
    for j, factor in enumerate(op.factors):
        for i in factor[factor >= 0]:
            features[:, j] *= he[i]
    return features


def _hermite(op: RowFunction, x: Array, z: Array, y: Array, w: Array) -> Sums:
    r = (y - forward(op, z[:, : op.set_columns]))[:, 0]
    features = hermite_features(op, z[:, op.set_columns :])
    head = [w.sum(), w @ r, w @ r**2]
    if op.op == Op.HERMITE:
        return _none(x), np.concatenate([head, (w * r) @ features])
    full = np.concatenate([features, r[:, None]], axis=1)
    return np.triu(full.T @ (w[:, None] * full)), np.array(head)


def _third(op: RowFunction, x: Array, z: Array, y: Array, w: Array) -> Sums:
    v = z[:, op.set_columns :] if op.m else x[:, 0]
    r = (y - forward(op, z[:, : op.set_columns]))[:, 0]
    e, m = w * r, v.shape[1]
    slices = [((e * v[:, j])[:, None] * v[:, j:]).T @ v[:, j:] for j in range(m)]
    packed = np.concatenate([each[np.triu_indices(len(each))] for each in slices])
    return packed[None], np.concatenate([[w.sum(), e.sum(), e @ r], e @ v])


_ROWS = {
    Op.LOSS: _loss,
    Op.CURVATURE: _curvature,
    Op.GRAM: _gram,
    Op.MOMENT: _moment,
    Op.PAIRS: _pairs,
    Op.HERMITE: _hermite,
    Op.HERMITE_GRAM: _hermite,
    Op.LANDSCAPE: _landscape,
    Op.THIRD: _third,
}


def projected(op: RowFunction, x: Array, p: Array) -> Sums:
    """Rows by sample, (samples, group, columns of P), and their projections with patches as units."""
    d = x.shape[1]
    z = (x @ p[:, :d].T.astype(x.dtype)).astype(np.float64)
    x = np.asarray(x, np.float64)
    if p.shape[1] > d:
        z, x = z + p[:, d], np.concatenate([x, np.ones((len(x), 1))], axis=1)
    x = x.reshape(-1, op.group, x.shape[1])
    return x, z.reshape(len(x), op.group, -1).transpose(0, 2, 1).reshape(len(x), -1)


def jacobian(x: Array, p: Array, op: RowFunction) -> Array:
    """Jacobian of the output by the parameters of a GRAM.

    Parameters
    ----------
    x : ndarray (samples * op.group, d)
    p : ndarray (op.columns, d), or (op.columns, d + 1) for rows (x, 1)
    op : RowFunction
        Of squared loss, whose rows have the Jacobian of the output itself.

    Returns
    -------
    ndarray (samples, outputs, n_parameters)
    """
    rows, z = projected(op, x, p)
    return _jacobians(op, rows, z, np.zeros((len(rows), op.outputs)), np.ones(len(rows)))[1][0]


def weighted_rows(x: Array, y: Array | None, w: Array | None, p: Array, op: RowFunction) -> tuple[Array, Array]:
    """Rows ``sqrt(w) [J, r]`` of every set, whose Gram matrix a GRAM sums, and the losses of the sets.

    Parameters
    ----------
    x, y, w, p, op
        As for :func:`sweep`, of some samples.

    Returns
    -------
    losses : ndarray (reps,)
    rows : ndarray (reps, samples * outputs, n_parameters + 1)
    """
    rows, z = projected(op, x, p)
    y = np.zeros((len(rows), op.outputs)) if y is None else y.reshape(len(rows), op.outputs)
    losses, jacobians, r = _jacobians(op, rows, z, y, np.ones(len(rows)) if w is None else w)
    stack = np.concatenate([jacobians, r[..., None]], axis=3)
    if w is not None:
        stack *= np.sqrt(w)[:, None, None]
    return losses, stack.reshape(op.reps, -1, stack.shape[3])


def sweep(
    x: Array,
    y: Array | None,
    w: Array | None,
    p: Array,
    op: RowFunction,
    tile: int,
    block: int,
    first: int,
    count: int,
    a: Array,
    s: Array,
    out: Array | None = None,
) -> None:
    """Sums of blocks ``first .. first + count`` into `a` and `s` (tile is not needed here)."""

    def one(b: int) -> Sums:
        rows = slice(b * block, min((b + 1) * block, len(x)))
        samples = slice(rows.start // op.group, rows.stop // op.group)
        xb, z = projected(op, x[rows], p)
        yb = np.zeros((len(xb), op.outputs)) if y is None else y[samples].reshape(len(xb), op.outputs)
        wb = np.ones(len(xb)) if w is None else w[samples]
        if op.op == Op.PREDICT:
            assert out is not None
            if op.grad:
                out[samples] = along(op, z)
                return a * 0, s * 0
            size = op.k + op.linear
            for rep in range(op.reps):
                at = slice(rep * op.outputs, (rep + 1) * op.outputs)
                out[samples, at] = forward(op, z[:, rep * size : (rep + 1) * size], rep)
            return a * 0, s * 0
        return _ROWS[op.op](op, xb, z, yb, wb)

    a[...], s[...] = merge_range(one, first, count) if count else (0.0, 0.0)


def activate(code: int, slope: float, z: Array, u: Array, d1: Array, d2: Array) -> None:
    """Activation and derivatives by SciPy's special functions."""
    from ..activations import NAMES, get_activation

    act = next(each for each in map(get_activation, NAMES) if each.code == code)
    act = replace(act, slope=slope) if act.takes_slope else act
    u[...], d1[...], d2[...] = act.value(z), act.derivative(z), act.second_derivative(z)
