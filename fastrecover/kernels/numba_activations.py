"""Activation functions with first and second derivatives for the Numba backend.

The formulas and constants are those of ``csrc/vecmath.h`` and ``csrc/activations.h``: branch-free scalar
functions without calls to the C library, so that LLVM vectorises every loop over them.  The choice of
function and of order is made outside the loops, and no function is ever passed or closed over, because either
would defeat Numba's cache on disk.
"""

from __future__ import annotations

import numpy as np
from numba import njit

RELU, LEAKY_RELU, SQUARED_RELU, QUADRATIC, SIGMOID, TANH, ERF, SOFTPLUS = range(8)

_scalar = njit(cache=True, forceinline=True, nogil=True, error_model="numpy")
_c = float.fromhex

_LOG2E = _c("0x1.71547652b82fep+0")
_LN2_HI = _c("0x1.62e42fefa3800p-1")  # 42 bits: n * _LN2_HI is exact for |n| < 2**11
_LN2_LO = _c("0x1.ef35793c76730p-45")
_ROUND = _c("0x1.8p+52")  # adding it leaves the nearest integer in the low bits
_LIFT_BIAS = (1023 + 100) << 52
_MANTISSA = (1 << 52) - 1
_TWO_52 = (1023 + 52) << 52
_DROP = 2.0**-100  # results below the normal range are formed 2**100 times too large, and brought down last
_EXP_MAX = 750.0
_TWO_OVER_ROOT_PI = _c("0x1.20dd750429b6dp+0")

# Highest power first; even and odd powers apart, which halves the chain of dependent operations.
_EXP_EVEN = tuple(map(_c, (
    "0x1.28a2b75997356p-22", "0x1.a019a67a601ccp-16", "0x1.6c16c17f3b1afp-10", "0x1.55555555520e6p-5",
    "0x1.0000000000005p-1")))  # fmt: skip
_EXP_ODD = tuple(map(_c, (
    "0x1.af76a3a01d33dp-26", "0x1.71ddea0ac1d32p-19", "0x1.a01a01b5d5b86p-13", "0x1.111111110e6dcp-7",
    "0x1.555555555555cp-3")))  # fmt: skip
_LOG_EVEN = tuple(map(_c, (
    "0x1.56a251e265c66p-4", "0x1.106bddfed9253p-3", "0x1.745cb8a733e5cp-3", "0x1.24924920ebc73p-2",
    "0x1.555555555553cp-1")))  # fmt: skip
_LOG_ODD = tuple(map(_c, (
    "0x1.5ba7a19b34895p-3", "0x1.ef9cc98dd1c21p-4", "0x1.3b1d833cd9ba3p-3", "0x1.c71c73f58b4b5p-3",
    "0x1.999999999f821p-2")))  # fmt: skip
_ERF_EVEN = tuple(map(_c, (
    "0x1.d71b0bbe27715p-27", "0x1.b97fd3c481bbcp-20", "0x1.f9a2baa8d85d9p-14", "0x1.565bccf92b22cp-8",
    "0x1.ce2f21a040d16p-4", "0x1.06eba8214db68p-3")))  # fmt: skip
_ERF_ODD = tuple(map(_c, (
    "-0x1.abae3f2b28ff6p-31", "-0x1.5c0726720bd5cp-23", "-0x1.f4ca4d6d09df5p-17", "-0x1.c02db03dd563ap-11",
    "-0x1.b82ce311fa936p-6", "-0x1.812746b0379bdp-2")))  # fmt: skip
_ERFC_EVEN = tuple(map(_c, (
    "0x1.4e144551da5acp-40", "0x1.a66335ab8b26ap-34", "0x1.8c3fe87ef2484p-30", "0x1.906c5652418f6p-26",
    "0x1.725abdbe45e52p-22", "0x1.36969844e9c6dp-18", "0x1.d37bae2a8bd86p-15", "0x1.369ff9ffb949ep-11",
    "0x1.649072152b653p-8", "0x1.5672b9ea15841p-5", "0x1.058671b52c76dp-2")))  # fmt: skip
_ERFC_ODD = tuple(map(_c, (
    "-0x1.187d262aa8f0bp-36", "-0x1.a99a86c6ef153p-32", "-0x1.8c9aebc17cac1p-28", "-0x1.8666ba447d935p-24",
    "-0x1.576dc642b0b6fp-20", "-0x1.115d60d725afap-16", "-0x1.83821d04bc73ep-13", "-0x1.e028e8beb88fdp-10",
    "-0x1.fa9d3ac91c872p-7", "-0x1.b57034efd4140p-4")))  # fmt: skip


@_scalar
def _poly5(c, s):
    return (((c[0] * s + c[1]) * s + c[2]) * s + c[3]) * s + c[4]


@_scalar
def _poly6(c, s):
    return ((((c[0] * s + c[1]) * s + c[2]) * s + c[3]) * s + c[4]) * s + c[5]


@_scalar
def _poly10(c, s):
    high = (((c[0] * s + c[1]) * s + c[2]) * s + c[3]) * s + c[4]
    return ((((high * s + c[5]) * s + c[6]) * s + c[7]) * s + c[8]) * s + c[9]


@_scalar
def _bits(x):
    return np.float64(x).view(np.int64)


@_scalar
def _from_bits(b):
    return np.int64(b).view(np.float64)


@_scalar
def _cap(x, high):
    return high if x > high else x


@_scalar
def _with_sign(magnitude, sign):
    """|magnitude| with the sign of ``sign``, zeros and NaN included."""
    mask = np.int64(-0x8000000000000000)
    return _from_bits((_bits(magnitude) & ~mask) | (_bits(sign) & mask))


@_scalar
def _head(x):
    """x without its low 27 bits: the product of two such heads is exact."""
    return _from_bits(_bits(x) & np.int64(-0x8000000))


@_scalar
def _exp_parts(x, tail):
    """e^(x + tail) for -751 < x <= 0 as (2^(n + 100), p): the value is 2^n (1 + p)."""
    shifted = x * _LOG2E + _ROUND
    n = shifted - _ROUND
    r = (x - n * _LN2_HI) - (n * _LN2_LO - tail)
    s = r * r
    p = r + s * (_poly5(_EXP_ODD, s) * r + _poly5(_EXP_EVEN, s))
    return _from_bits((_bits(shifted) << np.int64(52)) + np.int64(_LIFT_BIAS)), p


@_scalar
def log1p_gap(f):
    """f - log(1 + f) for f in [0, 1], from the series of 2 atanh(w) at w = f / (2 + f)."""
    w = f / (2.0 + f)
    t = w * w
    s = t * t
    return w * (f - t * (_poly5(_LOG_ODD, s) * t + _poly5(_LOG_EVEN, s)))


@_scalar
def _log1p_near(f):
    """log(1 + f) for f in [0, 1]."""
    return f - log1p_gap(f)


@_scalar
def _decay(a):
    """With e = e^-a for a >= 0: e, 1 - e, q = 1 / (1 + e), and e q^2 and (1 - e) e q^3 times 2^100."""
    high, p = _exp_parts(-_cap(a, _EXP_MAX), 0.0)
    scale = high * _DROP
    e = scale + scale * p
    m = (1.0 - scale) - scale * p
    q = 1.0 / (1.0 + e)
    eq = e * q
    lifted = high + high * p
    lost = (high - lifted) + high * p
    s_lifted = lifted - (lifted * eq - lost)
    bell = s_lifted - s_lifted * (s_lifted * _DROP)
    return e, m, q, bell, bell * (m - m * (e - e * eq))


@_scalar
def exp_negative(x):
    """e^x for x <= 0."""
    high, p = _exp_parts(-_cap(-x, _EXP_MAX), 0.0)
    return (high + high * p) * _DROP


@_scalar
def exponential(x):
    """e^x, as the square of e^(x / 2), which is within range wherever the square is."""
    half = _cap(0.5 * x, 400.0)
    high, p = _exp_parts(-400.0 if half < -400.0 else half, 0.0)
    root = (high + high * p) * _DROP
    return root * root


@_scalar
def logarithm(x):
    """log x for normal x > 0, to within half a unit in the last place of 1 or of itself; infinity and NaN remain."""
    bits = _bits(x)
    # The exponent as the low bits of 2^52: a sum of floats, since few processors convert vectors of integers.
    n = _from_bits((bits >> np.int64(52)) | np.int64(_TWO_52)) - (2.0**52 + 1023.0)
    f = _from_bits((bits & np.int64(_MANTISSA)) | np.int64(1023 << 52)) - 1.0
    return n * _LN2_HI + (n * _LN2_LO + _log1p_near(f)) if x < np.inf else x


@_scalar
def relu(z, slope):
    """max(z, 0) and its derivatives, as (value, first, second); ``slope`` is not used."""
    return 0.0 if z <= 0.0 else z, 0.0 if z <= 0.0 else (1.0 if z > 0.0 else z), z if z != z else 0.0


@_scalar
def leaky_relu(z, slope):
    """z for z > 0, else slope * z, and its derivatives, as (value, first, second)."""
    first = slope if z <= 0.0 else (1.0 if z > 0.0 else z)
    return slope * z if z <= 0.0 else z, first, z if z != z else 0.0


@_scalar
def squared_relu(z, slope):
    """max(z, 0)^2 and its derivatives, as (value, first, second); ``slope`` is not used."""
    r, step, _ = relu(z, slope)
    return r * r, 2.0 * r, 2.0 * step


@_scalar
def quadratic(z, slope):
    """z^2 and its derivatives, as (value, first, second); ``slope`` is not used."""
    return z * z, 2.0 * z, z if z != z else 2.0


@_scalar
def sigmoid(z, slope):
    """1 / (1 + e^-z) and its derivatives, as (value, first, second); ``slope`` is not used."""
    e, _, q, bell, bend = _decay(abs(z))
    return (1.0 if z >= 0.0 else e) * q, bell * _DROP, _with_sign(bend * _DROP, -z)


@_scalar
def tanh(z, slope):
    """tanh(z) and its derivatives, as (value, first, second); ``slope`` is not used."""
    _, m, q, bell, bend = _decay(2.0 * abs(z))
    return _with_sign(m * q, z), bell * (4.0 * _DROP), _with_sign(bend * (8.0 * _DROP), -z)


@_scalar
def softplus(z, slope):
    """log(1 + e^z) and its derivatives, as (value, first, second); ``slope`` is not used."""
    e, _, q, bell, _ = _decay(abs(z))
    return (z if z > 0.0 else 0.0) + _log1p_near(e), (1.0 if z >= 0.0 else e) * q, bell * _DROP


@_scalar
def erf(z, slope):
    """erf(z) and its derivatives, as (value, first, second); ``slope`` is not used."""
    a = _cap(abs(z), 27.38)
    head = _head(a)
    high, p = _exp_parts(-(head * head), -((a - head) * (a + head)))
    lifted = high + high * p
    t = a * a
    s = t * t
    inner = a + a * (_poly6(_ERF_ODD, s) * t + _poly6(_ERF_EVEN, s))
    b = _cap(a, 6.0) - 2.0
    s = b * b
    even = _poly10(_ERFC_EVEN, s) * s + _ERFC_EVEN[10]
    outer = 1.0 - lifted * _DROP * (_poly10(_ERFC_ODD, s) * b + even)
    second = lifted * (a * (2.0 * _TWO_OVER_ROOT_PI)) * _DROP
    return (
        _with_sign(inner if a < 1.0 else outer, z),
        lifted * _TWO_OVER_ROOT_PI * _DROP,
        _with_sign(second, -z),
    )


@njit(inline="always")
def _jet(code, slope, z):
    """(value, first, second) of one activation; ``code`` is a constant wherever this is inlined."""
    if code == RELU:
        return relu(z, slope)
    elif code == LEAKY_RELU:
        return leaky_relu(z, slope)
    elif code == SQUARED_RELU:
        return squared_relu(z, slope)
    elif code == QUADRATIC:
        return quadratic(z, slope)
    elif code == SIGMOID:
        return sigmoid(z, slope)
    elif code == TANH:
        return tanh(z, slope)
    elif code == ERF:
        return erf(z, slope)
    return softplus(z, slope)


@njit(inline="always")
def _sweep(code, slope, z, u, d1, d2, order):
    """One loop per order, for a ``code`` that is a constant wherever this is inlined."""
    if order == 0:
        for i in range(z.size):
            u[i] = _jet(code, slope, z[i])[0]
    elif order == 1:
        for i in range(z.size):
            u[i], d1[i], _ = _jet(code, slope, z[i])
    else:
        for i in range(z.size):
            u[i], d1[i], d2[i] = _jet(code, slope, z[i])


@njit(cache=True, nogil=True, error_model="numpy")
def activate(code, slope, z, u, d1, d2, order=2):
    """Write an activation and its first ``order`` derivatives at every element of ``z``.

    Parameters
    ----------
    code : int
        Which activation, 0 to 7 in the order of this module's constants; any other writes nothing.
    slope : float
        Slope of ``leaky_relu`` for negative arguments; not used otherwise.
    z : ndarray of float64, shape (n,)
        Arguments, contiguous.
    u, d1, d2 : ndarray of float64, shape (n,)
        Outputs: value, first and second derivative, contiguous, not overlapping. Those not wanted may have
        size 0.
    order : {0, 1, 2}, default 2
        How many derivatives are wanted.
    """
    if code == RELU or (code == LEAKY_RELU and slope == 0.0):  # 0 * -inf is not the limit
        _sweep(RELU, slope, z, u, d1, d2, order)
    elif code == LEAKY_RELU:
        _sweep(LEAKY_RELU, slope, z, u, d1, d2, order)
    elif code == SQUARED_RELU:
        _sweep(SQUARED_RELU, slope, z, u, d1, d2, order)
    elif code == QUADRATIC:
        _sweep(QUADRATIC, slope, z, u, d1, d2, order)
    elif code == SIGMOID:
        _sweep(SIGMOID, slope, z, u, d1, d2, order)
    elif code == TANH:
        _sweep(TANH, slope, z, u, d1, d2, order)
    elif code == ERF:
        _sweep(ERF, slope, z, u, d1, d2, order)
    elif code == SOFTPLUS:
        _sweep(SOFTPLUS, slope, z, u, d1, d2, order)
