"""The specification of the kernels: each row function in a few lines of NumPy on whole arrays.

It is the third backend (``set_kernels("reference")``), meant to be read and tested against, and it keeps the
block cuts and the merge tree of the compiled ones so that only the arithmetic inside a block differs.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from .op import Op, RowFunction
from .reference_losses import LOSSES, OutputLoss
from .tree import merge_range


def forward(row: RowFunction, z: np.ndarray, rep: int = 0) -> np.ndarray:
    """Output ``c + phi(Z) v + z_linear`` of set `rep`; `z` holds that set's projections, (rows, k + linear)."""
    f = row.c[rep] + row.activation.value(z[:, : row.k]) @ row.v[rep]
    return f + z[:, row.k] if row.linear else f


def _none(x):
    return np.zeros((0, x.shape[-1]))


def _back(row, g, x):
    """Back-projection of coefficients (samples, units) on rows x (samples, group, d)."""
    g = g.reshape(len(g), -1, row.group)
    return np.einsum("icp,ipd->cd", g, x)


def _loss(row, x, z, y, w):
    loss = LOSSES[row.loss]
    if not isinstance(loss, OutputLoss):
        sums_of, g = loss.loss(row, z, y, w)
        return _back(row, g, x) if row.grad else _none(x), sums_of
    grads: list = []
    sums: list = [np.array([w.sum()])]
    for rep in range(row.reps):
        zr = z[:, rep * (row.k + row.linear) : (rep + 1) * (row.k + row.linear)]
        f, u = forward(row, zr, rep), row.activation.value(zr[:, : row.k])
        e = w * loss.slope(f, y)
        sums.append([loss.total(f, y, w)])
        if not row.grad:
            sums.append(np.zeros(row.k + 1))
            continue
        g = e[:, None] * row.v[rep] * row.activation.derivative(zr[:, : row.k])
        grads += [_back(row, g, x)] + ([e[None] @ x[:, 0]] if row.linear else [])
        sums += [e @ u, [e.sum()]]
    return np.concatenate(grads) if row.grad else _none(x), np.concatenate(sums)


def _curvature(row, x, z, y, w):
    loss = LOSSES[row.loss]
    if not isinstance(loss, OutputLoss):
        return _back(row, loss.curvature(row, z, y, w), x), np.r_[w.sum(), np.zeros(row.k + 1)]
    k, v = row.k, row.v[0]
    z, dz = z[:, : k + row.linear], z[:, k + row.linear :]
    u, d1 = row.activation.value(z[:, :k]), row.activation.derivative(z[:, :k])
    h = (d1 * dz[:, :k]) @ v + u @ row.dv + row.dc
    if row.linear:
        h = h + dz[:, k]
    f = forward(row, z)
    h = w * loss.bend(f, y) * h
    g, sv = h[:, None] * v * d1, h @ u
    if row.newton:
        e = w * loss.slope(f, y)
        g = g + e[:, None] * (v * row.activation.second_derivative(z[:, :k]) * dz[:, :k] + row.dv * d1)
        sv = sv + e @ (d1 * dz[:, :k])
    a = np.concatenate([_back(row, g, x)] + ([h[None] @ x[:, 0]] if row.linear else []))
    return a, np.concatenate([[w.sum()], sv, [h.sum()]])


def _gram(row, x, z, y, w):
    k = row.k
    u, d1, v = row.activation.value(z[:, :k]), row.activation.derivative(z[:, :k]), row.v[0]
    loss, extra = LOSSES[row.loss], np.ones((len(z), 1))
    if isinstance(loss, OutputLoss):
        f = forward(row, z)
        extra = np.sqrt(loss.bend(f, y))[:, None]
        r, total = loss.slope(f, y) / extra[:, 0], loss.total(f, y, w)
        d1, u = extra * d1, extra * u
    else:
        total, d1, r = loss.gram(z, y, w)
        v = np.ones(k)
    units = (v * d1).reshape(len(x), -1, row.group) if row.free_w else np.zeros((len(x), 0, row.group))
    parts = [np.einsum("icp,ipd->icd", units, x).reshape(len(x), units.shape[1] * x.shape[2])]
    parts += ([u] if row.free_v else []) + ([extra * x[:, 0]] if row.linear else [])
    parts += ([extra] if row.free_c else []) + [r[:, None]]
    jac = np.concatenate(parts, axis=1)
    with np.errstate(over="ignore"):  # the square of a residual whose label has probability 1e-300
        gram = np.triu(jac.T @ (w[:, None] * jac))
    return gram, np.array([w.sum(), total])


def _moment(row, x, z, y, w):
    x = x[:, 0]
    zv = z[:, row.set_columns : row.set_columns + row.m]
    t = z[:, -1] if row.order > 2 else np.ones(len(x))
    r = np.ones(len(x)) if row.unit_response else y - forward(row, z[:, : row.set_columns])
    e = w * r
    c = {2: e, 3: e * t, 4: e * (t * t - row.alpha2)}[row.order]
    b = e * t if row.order == 4 else e
    a = np.concatenate([(c[:, None] * zv).T @ x, [c @ x], [b @ x]])
    st, s2 = (e @ t if row.order > 2 else 0.0), (0.0 if row.unit_response else e @ r)
    return a, np.array([w.sum(), e.sum(), st, c.sum(), s2])


def _pairs(row, x, z, y, w):
    x = x[:, 0]
    zv = z[:, row.set_columns :]
    r = y - forward(row, z[:, : row.set_columns])
    e = w * r
    i, j = np.triu_indices(row.m)
    a = np.concatenate([(e[:, None] * zv[:, i] * zv[:, j]).T @ x, [e @ x]])
    return a, np.array([w.sum(), e.sum(), e @ r])


def _landscape(row, x, z, y, w):
    x, u = x[:, 0], z[:, row.set_columns :]
    r = y - forward(row, z[:, : row.set_columns])
    e, t = w * r, (u**2).sum(axis=1)
    q = row.pair * t**2 / 2 - row.single / 24 * (u**4).sum(axis=1)
    slope = 2 * row.pair * t[:, None] * u - row.single / 6 * u**3
    a = np.concatenate([(e[:, None] * slope).T @ x, (e[:, None] * u).T @ x])
    return a, np.array([w.sum(), e.sum(), e @ q, e @ r])


def hermite_features(row: RowFunction, zv: np.ndarray) -> np.ndarray:
    """Products of normalised Hermite polynomials, (rows, n_features)."""
    from numpy.polynomial.hermite_e import hermeval

    he = [
        hermeval(zv[:, a], np.eye(row.order + 1)[p]) / math.sqrt(math.factorial(p))
        for a in range(row.m)
        for p in range(row.order + 1)
    ]
    features = np.ones((len(zv), len(row.factors)))
    for j, factor in enumerate(row.factors):
        for i in factor[factor >= 0]:
            features[:, j] *= he[i]
    return features


def _hermite(row, x, z, y, w):
    r = y - forward(row, z[:, : row.set_columns])
    features = hermite_features(row, z[:, row.set_columns :])
    head = [w.sum(), w @ r, w @ r**2]
    if row.op == Op.HERMITE:
        return _none(x), np.concatenate([head, (w * r) @ features])
    full = np.concatenate([features, r[:, None]], axis=1)
    return np.triu(full.T @ (w[:, None] * full)), np.array(head)


def _third(row, x, z, y, w):
    v = z[:, row.set_columns :] if row.m else x[:, 0]
    r = y - forward(row, z[:, : row.set_columns])
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


def sweep(x, y, w, p, row, tile, block, first, count, a, s, out=None):
    """Sums of blocks ``first .. first + count`` into `a` and `s` (tile is not needed here)."""

    def one(b):
        rows = slice(b * block, min((b + 1) * block, len(x)))
        samples = slice(rows.start // row.group, rows.stop // row.group)
        z = (x[rows] @ p.T.astype(x.dtype)).astype(np.float64)
        xb = np.asarray(x[rows], np.float64).reshape(-1, row.group, x.shape[1])
        # Patches become units: (samples, group, columns) -> (samples, columns group).
        z = z.reshape(len(xb), row.group, -1).transpose(0, 2, 1).reshape(len(xb), -1)
        yb = np.zeros(len(xb)) if y is None else y[samples]
        wb = np.ones(len(xb)) if w is None else w[samples]
        if row.op == Op.PREDICT:
            size = row.k + row.linear
            for rep in range(row.reps):
                out[samples, rep] = forward(row, z[:, rep * size : (rep + 1) * size], rep)
            return a * 0, s * 0
        return _ROWS[row.op](row, xb, z, yb, wb)

    a[...], s[...] = merge_range(one, first, count) if count else (0.0, 0.0)


def activate(code, slope, z, u, d1, d2):
    """Activation and derivatives by SciPy's special functions."""
    from ..activations import NAMES, get_activation

    act = next(each for each in map(get_activation, NAMES) if each.code == code)
    act = replace(act, slope=slope) if act.takes_slope else act
    u[...], d1[...], d2[...] = act.value(z), act.derivative(z), act.second_derivative(z)
