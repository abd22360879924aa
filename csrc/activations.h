/* The activation functions with first and second derivatives, one branch-free scalar definition each, so that every
 * loop over them vectorises for whatever target the including file was compiled for.
 * All saturating ones are built on e^-|a|, which cannot overflow, and multiply what may be subnormal last (FR_DROP):
 * value and derivatives stay within 4 ulp over the whole double range. */
#ifndef FR_ACTIVATIONS_H
#define FR_ACTIVATIONS_H

#include <stddef.h>

#include "vecmath.h"

typedef struct {
    double u, d1, d2;
} fr_jet;

FR_INLINE fr_jet fr_relu(double z, double slope)
{
    (void)slope;
    fr_jet j = {z <= 0.0 ? 0.0 : z, z <= 0.0 ? 0.0 : (z > 0.0 ? 1.0 : z), z != z ? z : 0.0};
    return j;
}

FR_INLINE fr_jet fr_leaky_relu(double z, double slope)
{
    fr_jet j = {z <= 0.0 ? slope * z : z, z <= 0.0 ? slope : (z > 0.0 ? 1.0 : z), z != z ? z : 0.0};
    return j;
}

FR_INLINE fr_jet fr_squared_relu(double z, double slope)
{
    fr_jet r = fr_relu(z, slope);
    fr_jet j = {r.u * r.u, 2.0 * r.u, 2.0 * r.d1};
    return j;
}

FR_INLINE fr_jet fr_quadratic(double z, double slope)
{
    (void)slope;
    fr_jet j = {z * z, 2.0 * z, z != z ? z : 2.0};
    return j;
}

/* With e = e^-a, a >= 0: e, m = 1 - e, q = 1 / (1 + e) and, times FR_LIFT, bell = e q^2 and bend = m q bell.
 * They are s - s^2 and bell (m - m s) with s = e q taken as e - e (e q), which damps the rounding errors of q by e,
 * and in bell with the rounding of e, lost, given back: the plain products would exceed 4 ulp. */
typedef struct {
    double e, m, q, bell, bend;
} fr_decay;

FR_INLINE fr_decay fr_decay_of(double a)
{
    fr_exp_parts parts = fr_exp_reduce(-fr_cap(a, FR_EXP_MAX), 0.0);
    double high = fr_pow2(parts.n_bits, FR_LIFT_EXP), scale = high * FR_DROP;
    double e = scale + scale * parts.p, m = (1.0 - scale) - scale * parts.p;
    double q = 1.0 / (1.0 + e), eq = e * q;
    double lifted = high + high * parts.p, lost = (high - lifted) + high * parts.p;
    double s_lifted = lifted - (lifted * eq - lost);
    double bell = s_lifted - s_lifted * (s_lifted * FR_DROP);
    fr_decay d = {e, m, q, bell, bell * (m - m * (e - e * eq))};
    return d;
}

/* s' = s(z) s(-z); s'' = -s' tanh(z / 2) */
FR_INLINE fr_jet fr_sigmoid(double z, double slope)
{
    (void)slope;
    fr_decay d = fr_decay_of(__builtin_fabs(z));
    fr_jet j = {(z >= 0.0 ? 1.0 : d.e) * d.q, d.bell * FR_DROP, __builtin_copysign(d.bend * FR_DROP, -z)};
    return j;
}

/* tanh z = (1 - e) / (1 + e) with e = e^-2|z|; tanh' = 4 e / (1 + e)^2; tanh'' = -2 tanh tanh' */
FR_INLINE fr_jet fr_tanh(double z, double slope)
{
    (void)slope;
    fr_decay d = fr_decay_of(2.0 * __builtin_fabs(z));
    fr_jet j = {__builtin_copysign(d.m * d.q, z), d.bell * (4.0 * FR_DROP),
                __builtin_copysign(d.bend * (8.0 * FR_DROP), -z)};
    return j;
}

/* log(1 + e^z) = max(z, 0) + log1p(e^-|z|) */
FR_INLINE fr_jet fr_softplus(double z, double slope)
{
    fr_jet s = fr_sigmoid(z, slope);
    fr_decay d = fr_decay_of(__builtin_fabs(z));
    fr_jet j = {(z > 0.0 ? z : 0.0) + fr_log1p_near(d.e), s.u, s.d1};
    return j;
}

#define FR_TWO_OVER_ROOT_PI 0x1.20dd750429b6dp+0

/* erf(a) / a - 1 for 0 <= a <= 1 in t = a^2 */
FR_INLINE double fr_erf_inner(double t)
{
    double s = t * t;
    double even = ((((0x1.d71b0bbe27715p-27 * s + 0x1.b97fd3c481bbcp-20) * s + 0x1.f9a2baa8d85d9p-14) * s
                    + 0x1.565bccf92b22cp-8) * s + 0x1.ce2f21a040d16p-4) * s + 0x1.06eba8214db68p-3;
    double odd = ((((-0x1.abae3f2b28ff6p-31 * s - 0x1.5c0726720bd5cp-23) * s - 0x1.f4ca4d6d09df5p-17) * s
                   - 0x1.c02db03dd563ap-11) * s - 0x1.b82ce311fa936p-6) * s - 0x1.812746b0379bdp-2;
    return odd * t + even;
}

/* e^(a^2) erfc(a) for 1 <= a <= 6, as accurate as 1 - erfc(a) needs it, in b = a - 2 */
FR_INLINE double fr_erfc_outer(double b)
{
    double s = b * b;
    double even = (((((((((0x1.4e144551da5acp-40 * s + 0x1.a66335ab8b26ap-34) * s + 0x1.8c3fe87ef2484p-30) * s
        + 0x1.906c5652418f6p-26) * s + 0x1.725abdbe45e52p-22) * s + 0x1.36969844e9c6dp-18) * s
        + 0x1.d37bae2a8bd86p-15) * s + 0x1.369ff9ffb949ep-11) * s + 0x1.649072152b653p-8) * s
        + 0x1.5672b9ea15841p-5) * s + 0x1.058671b52c76dp-2;
    double odd = ((((((((-0x1.187d262aa8f0bp-36 * s - 0x1.a99a86c6ef153p-32) * s - 0x1.8c9aebc17cac1p-28) * s
        - 0x1.8666ba447d935p-24) * s - 0x1.576dc642b0b6fp-20) * s - 0x1.115d60d725afap-16) * s
        - 0x1.83821d04bc73ep-13) * s - 0x1.e028e8beb88fdp-10) * s - 0x1.fa9d3ac91c872p-7) * s
        - 0x1.b57034efd4140p-4;
    return odd * b + even;
}

/* erf' = 2 / sqrt(pi) e^(-z^2), the square carried in two doubles; erf'' = -2 z erf' */
FR_INLINE fr_jet fr_erf(double z, double slope)
{
    (void)slope;
    double a = fr_cap(__builtin_fabs(z), 27.38);
    double head = fr_head(a);
    double square = head * head, tail = (a - head) * (a + head);
    fr_exp_parts parts = fr_exp_reduce(-square, -tail);
    double high = fr_pow2(parts.n_bits, FR_LIFT_EXP);
    double lifted = high + high * parts.p;
    double inner = a + a * fr_erf_inner(a * a);
    double outer = 1.0 - lifted * FR_DROP * fr_erfc_outer(fr_cap(a, 6.0) - 2.0);
    fr_jet j = {__builtin_copysign(a < 1.0 ? inner : outer, z), lifted * FR_TWO_OVER_ROOT_PI * FR_DROP,
                __builtin_copysign(lifted * (a * (2.0 * FR_TWO_OVER_ROOT_PI)) * FR_DROP, -z)};
    return j;
}

/* NAME, code, function */
#define FR_ACTIVATIONS(X) \
    X(RELU, 0, fr_relu) \
    X(LEAKY_RELU, 1, fr_leaky_relu) \
    X(SQUARED_RELU, 2, fr_squared_relu) \
    X(QUADRATIC, 3, fr_quadratic) \
    X(SIGMOID, 4, fr_sigmoid) \
    X(TANH, 5, fr_tanh) \
    X(ERF, 6, fr_erf) \
    X(SOFTPLUS, 7, fr_softplus)

#define FR_CODE(NAME, CODE, FUNCTION) FR_##NAME = CODE,
enum fr_activation { FR_ACTIVATIONS(FR_CODE) FR_ACTIVATION_COUNT };
#undef FR_CODE

/* u = phi(z), d1 = phi'(z), d2 = phi''(z) for n values. d1 may be NULL, and d2 where d1 is; what is not wanted is not
 * computed. No output may overlap another or z. An unknown code writes nothing. */
static inline void fr_activate(int code, double slope, ptrdiff_t n, const double *restrict z, double *restrict u,
                               double *restrict d1, double *restrict d2)
{
#define FR_CASE(NAME, CODE, FUNCTION) \
    case CODE: \
        if (d2) \
            for (ptrdiff_t i = 0; i < n; i++) { \
                fr_jet j = FUNCTION(z[i], slope); \
                u[i] = j.u, d1[i] = j.d1, d2[i] = j.d2; \
            } \
        else if (d1) \
            for (ptrdiff_t i = 0; i < n; i++) { \
                fr_jet j = FUNCTION(z[i], slope); \
                u[i] = j.u, d1[i] = j.d1; \
            } \
        else \
            for (ptrdiff_t i = 0; i < n; i++) \
                u[i] = FUNCTION(z[i], slope).u; \
        break;

    if (code == FR_LEAKY_RELU && slope == 0.0)
        code = FR_RELU; /* 0 * -inf is not the limit */
    switch (code) {
        FR_ACTIVATIONS(FR_CASE)
    }
#undef FR_CASE
}

#endif
