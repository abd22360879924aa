"""Networks that compute the same with other numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np


def turned_round(p, activation, units):
    """The same network with some units reversed, what they leave behind moved to linear terms and intercepts."""
    rows, v, linear, c = p.rows.copy(), p.output_weights.copy(), p.slope.copy(), p.intercept
    for j in units:
        if activation.parity == "odd" or activation.reflects_into_intercept:
            c = c + 2.0 * v[..., j] * activation.value(0.0)
            v[..., j] *= -1.0
        elif activation.parity != "even":
            linear += activation.odd_slope * np.multiply.outer(v[..., j], rows[j, :-1])
            c = c + activation.odd_slope * v[..., j] * rows[j, -1]
        rows[j] *= -1.0
    return replace(p.with_rows(rows), output_weights=v, linear=linear, intercept=c)
