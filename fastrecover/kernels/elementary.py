"""Elementary functions for users' activations, over the whole double range.

Numba compiles ``math.exp`` and its like to calls of the C library, and a loop with a call in it is not vectorised.
These are the formulas of ``csrc/vecmath.h``: branch-free, without calls, within 3 ulp (tested against mpmath).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from . import numba_activations
from .numba_activations import (
    _EXP_EVEN,
    _EXP_ODD,
    _LIFT_BIAS,
    _LN2_HI,
    _LN2_LO,
    _LOG2E,
    _ROUND,
    _bits,
    _cap,
    _from_bits,
    _log1p_near,
    _poly5,
    _with_sign,
    log1p_gap,
)

_inlined = njit(forceinline=True, nogil=True, error_model="numpy", fastmath={"contract"})

_LIFT, _DROP = 2.0**100, 2.0**-100
_ONE = 1023 << 52
_ROOT_HALF = 0x3FE6A09E667F3BCD
_TO_FLOAT = (1023 + 52) << 52


@_inlined
def _power(x):
    """e^x = 2^n (1 + p) as (n in the exponent bits of an integer, p)."""
    shifted = x * _LOG2E + _ROUND
    n = shifted - _ROUND
    r = (x - n * _LN2_HI) - n * _LN2_LO
    s = r * r
    return _bits(shifted) << np.int64(52), r + s * (_poly5(_EXP_ODD, s) * r + _poly5(_EXP_EVEN, s))


@_inlined
def exp(x):
    """e^x."""
    y = _cap(float(x), 710.0)
    y = -750.0 if y < -750.0 else y
    n, p = _power(y)
    below = y < 0.0  # formed 2^100 times too large there, else too small, and brought back last
    scale = _from_bits(n + np.int64(_LIFT_BIAS if below else _LIFT_BIAS - (200 << 52)))
    return (scale + scale * p) * (_DROP if below else _LIFT)


@_inlined
def _half_expm1(a, less):
    """(e^a - less) / 2 for -40 <= a <= 711, `less` 0 or 1."""
    n, p = _power(a)
    large = a > 100.0  # formed 2^100 times too small there, lest the power of two overflows
    scale = _from_bits(n + np.int64((1023 - 101) << 52 if large else (1023 - 1) << 52))
    return ((scale - (0.0 if large else 0.5 * less)) + scale * p) * (_LIFT if large else 1.0)


@_inlined
def _or_tiny(x, inner):
    """`inner` with the sign of x, or x where the functions below equal it, and where its half may be subnormal."""
    return x if abs(x) < 1e-300 else _with_sign(inner, x)


@_inlined
def expm1(x):
    """e^x - 1."""
    x = float(x)
    y = _cap(x, 711.0)
    return _or_tiny(x, 2.0 * _half_expm1(-40.0 if y < -40.0 else y, 1.0))


@_inlined
def sinh(x):
    """(e^x - e^-x) / 2."""
    x = float(x)
    g = _half_expm1(_cap(abs(x), 711.0), 1.0)
    return _or_tiny(x, g + (0.5 if g > 1e300 else g / (2.0 * g + 1.0)))


@_inlined
def cosh(x):
    """(e^x + e^-x) / 2."""
    h = _half_expm1(_cap(abs(float(x)), 711.0), 0.0)
    return h + 0.25 / h


@_inlined
def _log_normal(u, tail, offset):
    """log(u + tail) for normal u > 0 and |tail| <= ulp(u), plus offset log 2."""
    bits = _bits(u)
    biased = (bits + np.int64(_ONE - _ROOT_HALF)) >> np.int64(52)  # 1023 + k
    k = _from_bits(biased | np.int64(_TO_FLOAT)) - (2.0**52 + 1023.0)
    m = _from_bits(bits - (biased << np.int64(52)) + np.int64(_ONE))
    inverse = _from_bits((np.int64(2047) - biased) << np.int64(52))  # 2^(1 - k), or 0 where tail is nothing
    f = (m - 1.0) + 0.5 * (tail * inverse)
    k += offset
    return k * _LN2_HI - ((log1p_gap(f) - k * _LN2_LO) - f)


@_inlined
def _log_edges(u, inner):
    """log u at its edges: infinity and NaN themselves, -infinity at 0, NaN below; `inner` elsewhere."""
    y = inner if u <= 1.7976931348623157e308 else u
    y = -np.inf if u == 0.0 else y
    return np.nan if u < 0.0 else y


@_inlined
def log(x):
    """log x; NaN below 0."""
    x = float(x)
    tiny = x < 2.0**-1022
    u = x * 2.0**54 if tiny else x
    return _log_edges(x, _log_normal(u, 0.0, -54.0 if tiny else 0.0))


@_inlined
def log1p(x):
    """log(1 + x); NaN below -1."""
    x = float(x)
    u = 1.0 + x
    tail = 1.0 - (u - x) if x > 1.0 else x - (u - 1.0)
    inner = _log_edges(u, _log_normal(u, tail, 0.0))
    return x if x == 0.0 else inner


@_inlined
def tanh(x):
    return numba_activations.tanh(float(x), 0.0)[0]


@_inlined
def erf(x):
    return numba_activations.erf(float(x), 0.0)[0]


@_inlined
def expit(x):
    """1 / (1 + e^-x)."""
    return numba_activations.sigmoid(float(x), 0.0)[0]


@_inlined
def logaddexp(a, b):
    """log(e^a + e^b)."""
    a, b = float(a), float(b)
    high = a if a > b else b
    gap = 0.0 if a == b else abs(a - b)
    return high + _log1p_near(exp(-gap))


@_inlined
def where(condition, a, b):
    """a or b, as a number in place of an array."""
    return float(a) if condition else float(b)


@_inlined
def maximum(a, b):
    """The larger of two numbers, NaN where one is."""
    a, b = float(a), float(b)
    return a if a > b or a != a else b


@_inlined
def minimum(a, b):
    """The smaller of two numbers, NaN where one is."""
    a, b = float(a), float(b)
    return a if a < b or a != a else b


@_inlined
def clip(a, a_min, a_max):
    """a, brought to [a_min, a_max]."""
    return minimum(maximum(a, a_min), a_max)
