"""The specification of the kernels: each row function in a few lines of NumPy on whole arrays.

It is the third backend (``set_kernels("reference")``), meant to be read and tested against, and it keeps the
block cuts and the merge tree of the compiled ones so that only the arithmetic inside a block differs.
"""

from __future__ import annotations

import math

import numpy as np

from .row import Op, RowFunction
from .tree import merge_range


def forward(row: RowFunction, z: np.ndarray, rep: int = 0) -> np.ndarray:
    """Output ``c + phi(Z) v + z_linear`` of set `rep`; `z` holds that set's projections, (rows, k + linear)."""
    f = row.c[rep] + row.activation.value(z[:, : row.k]) @ row.v[rep]
    return f + z[:, row.k] if row.linear else f


def _loss(row, x, z, y, w):
    grads, sums = [], [np.array([w.sum()])]
    for rep in range(row.reps):
        zr = z[:, rep * row.set_columns : (rep + 1) * row.set_columns]
        r = forward(row, zr, rep) - y
        e, u = w * r, row.activation.value(zr[:, : row.k])
        sums.append([0.5 * e @ r])
        if not row.grad:
            sums.append(np.zeros(row.k + 1))
            continue
        g = e[:, None] * row.v[rep] * row.activation.derivative(zr[:, : row.k])
        grads += [g.T @ x] + ([e[None] @ x] if row.linear else [])
        sums += [e @ u, [e.sum()]]
    return np.concatenate(grads) if row.grad else np.zeros((0, x.shape[1])), np.concatenate(sums)


def _curvature(row, x, z, y, w):
    k, v = row.k, row.v[0]
    z, dz = z[:, : row.set_columns], z[:, row.set_columns :]
    u, d1 = row.activation.value(z[:, :k]), row.activation.derivative(z[:, :k])
    h = (d1 * dz[:, :k]) @ v + u @ row.dv + row.dc
    if row.linear:
        h = h + dz[:, k]
    h = w * h
    g, sv = h[:, None] * v * d1, h @ u
    if row.newton:
        e = w * (forward(row, z) - y)
        g = g + e[:, None] * (v * row.activation.second_derivative(z[:, :k]) * dz[:, :k] + row.dv * d1)
        sv = sv + e @ (d1 * dz[:, :k])
    a = np.concatenate([g.T @ x] + ([h[None] @ x] if row.linear else []))
    return a, np.concatenate([[w.sum()], sv, [h.sum()]])


def _gram(row, x, z, y, w):
    k = row.k
    u, d1 = row.activation.value(z[:, :k]), row.activation.derivative(z[:, :k])
    r = forward(row, z) - y
    parts = [row.v[0, j] * d1[:, j : j + 1] * x for j in range(k * row.free_w)]
    parts += ([u] if row.free_v else []) + ([x] if row.linear else [])
    parts += ([np.ones((len(x), 1))] if row.free_c else []) + [r[:, None]]
    jac = np.concatenate(parts, axis=1)
    return np.triu(jac.T @ (w[:, None] * jac)), np.array([w.sum(), 0.5 * (w * r) @ r])


def _moment(row, x, z, y, w):
    zv, t = z[:, row.set_columns : row.set_columns + row.m], z[:, -1]
    r = np.ones(len(x)) if row.unit_response else y - forward(row, z[:, : row.set_columns])
    e = w * r
    c = {2: e, 3: e * t, 4: e * (t * t - row.alpha2)}[row.order]
    b = e * t if row.order == 4 else e
    a = np.concatenate([(c[:, None] * zv).T @ x, [c @ x], [b @ x]])
    st, s2 = (e @ t if row.order > 2 else 0.0), (0.0 if row.unit_response else e @ r)
    return a, np.array([w.sum(), e.sum(), st, c.sum(), s2])


def _pairs(row, x, z, y, w):
    zv = z[:, row.set_columns :]
    r = y - forward(row, z[:, : row.set_columns])
    e = w * r
    i, j = np.triu_indices(row.m)
    a = np.concatenate([(e[:, None] * zv[:, i] * zv[:, j]).T @ x, [e @ x]])
    return a, np.array([w.sum(), e.sum(), e @ r])


def hermite_features(row: RowFunction, zv: np.ndarray) -> np.ndarray:
    """Products of normalised Hermite polynomials, (rows, n_features)."""
    from numpy.polynomial.hermite_e import hermeval

    he = [
        hermeval(zv[:, a], np.eye(row.order + 1)[p]) / math.sqrt(math.factorial(p))
        for a in range(row.m)
        for p in range(row.order + 1)
    ]
    return np.stack([np.prod([he[i] for i in f if i >= 0] + [np.ones(len(zv))], axis=0) for f in row.factors], 1)


def _hermite(row, x, z, y, w):
    r = y - forward(row, z[:, : row.set_columns])
    features = hermite_features(row, z[:, row.set_columns :])
    head = [w.sum(), w @ r, w @ r**2]
    if row.op == Op.HERMITE:
        return np.zeros((0, x.shape[1])), np.concatenate([head, (w * r) @ features])
    full = np.concatenate([features, r[:, None]], axis=1)
    return np.triu(full.T @ (w[:, None] * full)), np.array(head)


_ROWS = {
    Op.LOSS: _loss,
    Op.CURVATURE: _curvature,
    Op.GRAM: _gram,
    Op.MOMENT: _moment,
    Op.PAIRS: _pairs,
    Op.HERMITE: _hermite,
    Op.HERMITE_GRAM: _hermite,
}


def sweep(x, y, w, p, row, tile, block, first, count, a, s, out=None):
    """Sums of blocks ``first .. first + count`` into `a` and `s` (tile is not needed here)."""

    def one(b):
        rows = slice(b * block, min((b + 1) * block, len(x)))
        xb = np.asarray(x[rows], np.float64)
        z = (x[rows] @ p.T.astype(x.dtype)).astype(np.float64)
        yb = np.zeros(len(xb)) if y is None else y[rows]
        wb = np.ones(len(xb)) if w is None else w[rows]
        if row.op == Op.PREDICT:
            for rep in range(row.reps):
                out[rows, rep] = forward(row, z[:, rep * row.set_columns : (rep + 1) * row.set_columns], rep)
            return a * 0, s * 0
        return _ROWS[row.op](row, xb, z, yb, wb)

    a[...], s[...] = merge_range(one, first, count) if count else (0.0, 0.0)


def activate(code, slope, z, u, d1, d2):
    """Activation and derivatives by SciPy's special functions."""
    from ..activations import NAMES, get_activation

    name = NAMES[code]
    act = get_activation(name, slope=slope) if name == "leaky_relu" else get_activation(name)
    u[...], d1[...], d2[...] = act.value(z), act.derivative(z), act.second_derivative(z)
