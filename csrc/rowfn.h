/* Row functions of a network and its loss, on one tile: from projections z (columns x rows, leading dimension ld) to
   coefficients g and sums s.  Everything is double and laid out with rows contiguous, so each loop below vectorises and
   no lane is lost to a small number of units. */
#ifndef FR_ROWFN_H
#define FR_ROWFN_H

#include "activations.h"
#include "rows.h"
#include "vec.h"

/* Sums in a fixed order of FR_VD x 4 lanes: without re-association licence the compiler would go scalar. */
FR_INLINE double fr_lanes(fr_vd a)
{
    double t[FR_VD], sum = 0.0;
    memcpy(t, &a, sizeof a);
    for (int i = 0; i < FR_VD; i++) sum += t[i];
    return sum;
}

static double fr_dot(int64_t n, const double *a, const double *b)
{
    fr_vd s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0};
    int64_t i = 0;
    for (; i + 4 * FR_VD <= n; i += 4 * FR_VD) {
        s0 += *(const fr_vdu *)(a + i) * *(const fr_vdu *)(b + i);
        s1 += *(const fr_vdu *)(a + i + FR_VD) * *(const fr_vdu *)(b + i + FR_VD);
        s2 += *(const fr_vdu *)(a + i + 2 * FR_VD) * *(const fr_vdu *)(b + i + 2 * FR_VD);
        s3 += *(const fr_vdu *)(a + i + 3 * FR_VD) * *(const fr_vdu *)(b + i + 3 * FR_VD);
    }
    double sum = fr_lanes((s0 + s1) + (s2 + s3));
    for (; i < n; i++) sum += a[i] * b[i];
    return sum;
}

static double fr_sum(int64_t n, const double *a)
{
    fr_vd s0 = {0}, s1 = {0};
    int64_t i = 0;
    for (; i + 2 * FR_VD <= n; i += 2 * FR_VD) {
        s0 += *(const fr_vdu *)(a + i);
        s1 += *(const fr_vdu *)(a + i + FR_VD);
    }
    double sum = fr_lanes(s0 + s1);
    for (; i < n; i++) sum += a[i];
    return sum;
}

static void fr_units(const fr_op *op, int64_t n, const double *z, double *u, double *d1, double *d2)
{
    if (op->user)
        op->user(z, u, d1, d2, n);
    else
        fr_activate(op->activation, op->slope, n, z, u, d1, d2);
}

/* f = c + sum_j v_j phi(z_j) + z_linear of parameter set `rep`, whose projections start at z. */
static void fr_forward(const fr_op *op, int64_t rep, int64_t rows, const double *z, const fr_work *k_, int order)
{
    const int64_t k = op->k, ld = k_->ld;
    double *restrict f = k_->f;
    const double c = op->c ? op->c[rep] : 0.0;
    for (int64_t i = 0; i < rows; i++) f[i] = c;
    if (k) fr_units(op, k * ld, z, k_->u, order > 0 || op->user ? k_->d1 : NULL, order > 1 ? k_->d2 : NULL);
    for (int64_t j = 0; j < k; j++) {
        const double v = op->v[rep * k + j];
        const double *restrict u = k_->u + j * ld;
        for (int64_t i = 0; i < rows; i++) f[i] += v * u[i];
    }
    if (op->linear) {
        const double *restrict u = z + k * ld;
        for (int64_t i = 0; i < rows; i++) f[i] += u[i];
    }
}

static double fr_weight(int64_t rows, const double *w) { return w ? fr_sum(rows, w) : (double)rows; }

FR_INLINE void fr_scaled(int64_t n, double c, const double *restrict a, const double *restrict b,
                         double *restrict out)
{
    for (int64_t i = 0; i < n; i++) out[i] = c * a[i] * b[i];
}

#include "losses.h"

/* s: [weight, per set (loss, d loss/d v (k), d loss/d c)]; g: as the columns of P. */
static void fr_loss(const fr_op *op, int64_t rows, const double *y, const double *w, fr_work *k_, double *s)
{
    const int64_t k = op->k, ld = k_->ld, set = k + op->linear;
    if (op->loss == FR_CROSS_ENTROPY) {
        fr_cross_entropy_loss(op, rows, y, w, k_, s);
        return;
    }
    s[0] += fr_weight(rows, w);
    for (int64_t rep = 0; rep < op->reps; rep++) {
        double *sr = s + 1 + rep * (k + 2), *g = k_->g + rep * set * ld;
        fr_forward(op, rep, rows, k_->z + rep * set * ld, k_, op->grad);
        fr_score(op, rows, y, w, k_, sr);
        if (!op->grad) continue;
        for (int64_t j = 0; j < k; j++) {
            fr_scaled(rows, op->v[rep * k + j], k_->e, k_->d1 + j * ld, g + j * ld);
            sr[1 + j] += fr_dot(rows, k_->e, k_->u + j * ld);
        }
        if (op->linear) memcpy(g + k * ld, k_->e, (size_t)rows * sizeof(double));
        sr[1 + k] += fr_sum(rows, k_->e);
    }
}

/* Columns of P: the set, then the direction.  s: [weight, product in v (k), product in c]. */
static void fr_curvature(const fr_op *op, int64_t rows, const double *y, const double *w, fr_work *k_, double *s)
{
    const int64_t k = op->k, ld = k_->ld, set = k + op->linear;
    const double *zd = k_->z + set * ld;
    double *restrict h = k_->t;
    if (op->loss == FR_CROSS_ENTROPY) {
        fr_cross_entropy_curvature(op, rows, y, w, k_, s);
        return;
    }
    s[0] += fr_weight(rows, w);
    fr_forward(op, 0, rows, k_->z, k_, op->newton ? 2 : 1);
    const double *bend = fr_score(op, rows, y, w, k_, NULL);
    for (int64_t i = 0; i < rows; i++) h[i] = op->dc;
    for (int64_t j = 0; j < k; j++) {
        const double v = op->v[j], dv = op->dv[j];
        const double *restrict u = k_->u + j * ld, *restrict d1 = k_->d1 + j * ld, *restrict zj = zd + j * ld;
        for (int64_t i = 0; i < rows; i++) h[i] += v * d1[i] * zj[i] + dv * u[i];
    }
    if (op->linear)
        for (int64_t i = 0; i < rows; i++) h[i] += zd[k * ld + i];
    if (bend)
        for (int64_t i = 0; i < rows; i++) h[i] *= bend[i];
    for (int64_t j = 0; j < k; j++) {
        const double v = op->v[j], dv = op->dv[j];
        const double *restrict d1 = k_->d1 + j * ld, *restrict zj = zd + j * ld;
        double *restrict g = k_->g + j * ld;
        fr_scaled(rows, v, h, d1, g);
        s[1 + j] += fr_dot(rows, h, k_->u + j * ld);
        if (op->newton) {
            const double *restrict e = k_->e, *restrict d2 = k_->d2 + j * ld;
            double *restrict p = k_->r;
            for (int64_t i = 0; i < rows; i++) {
                p[i] = d1[i] * zj[i];
                g[i] += e[i] * (v * d2[i] * zj[i] + dv * d1[i]);
            }
            s[1 + j] += fr_dot(rows, e, p);
        }
    }
    if (op->linear) memcpy(k_->g + k * ld, h, (size_t)rows * sizeof(double));
    s[1 + k] += fr_sum(rows, h);
}

/* The output of every set, to the caller's array; there are no sums. */
static void fr_predict(const fr_op *op, int64_t rows, const double *y, const double *w, fr_work *k_, double *s)
{
    (void)y, (void)w, (void)s;
    for (int64_t rep = 0; rep < op->reps; rep++) {
        fr_forward(op, rep, rows, k_->z + rep * (op->k + op->linear) * k_->ld, k_, 0);
        for (int64_t r = 0; r < rows; r++) k_->out[r * op->reps + rep] = k_->f[r];
    }
}

/* Left factor = transpose of the feature rows held in g; then g takes the weights. */
static void fr_gram_factors(int64_t rows, const double *w, fr_work *k_)
{
    const int64_t ld = k_->ld, l = k_->l;
    for (int64_t i0 = 0; i0 < rows; i0 += 8)
        for (int64_t j = 0; j < l; j++)
            for (int64_t i = i0; i < FR_MIN(i0 + 8, rows); i++) k_->left[i * l + j] = k_->g[j * ld + i];
    if (!w) return;
    for (int64_t j = 0; j < l; j++) {
        double *restrict g = k_->g + j * ld;
        for (int64_t i = 0; i < rows; i++) g[i] *= w[i];
    }
}

/* Features: Jacobian of the output in the order of theta, then the residual, scaled or weighted so that the Gram matrix
   holds the Gauss-Newton (Fisher) matrix and the gradient.  s: [weight, loss]. */
static void fr_gram(const fr_op *op, int64_t rows, const double *y, const double *w, fr_work *k_, double *s)
{
    const int64_t k = op->k, ld = k_->ld, d = k_->d, filters = op->free_w ? k / op->group : 0;
    const double *bend = w;
    double *g = k_->g;
    s[0] += fr_weight(rows, w);
    if (op->loss == FR_CROSS_ENTROPY) {
        s[1] += fr_cross_entropy_gram(op, rows, y, w, k_);
    } else {
        fr_forward(op, 0, rows, k_->z, k_, 1);
        bend = fr_score(op, rows, y, w, k_, s + 1);
    }
    for (int64_t j = 0; j < filters; j++)
        for (int64_t i = 0; i < d; i++, g += ld) {
            double *restrict out = g;
            const double *restrict x = k_->xt + i * op->group * ld;
            for (int64_t p = 0; p < op->group; p++) {
                const int64_t unit = j * op->group + p;
                const double v = op->loss == FR_CROSS_ENTROPY ? 1.0 : op->v[unit];
                const double *restrict d1 = k_->d1 + unit * ld, *restrict xp = x + p * ld;
                if (p == 0)
                    fr_scaled(rows, v, d1, xp, out);
                else
                    for (int64_t t = 0; t < rows; t++) out[t] += v * d1[t] * xp[t];
            }
        }
    if (op->free_v)
        for (int64_t j = 0; j < k; j++, g += ld) memcpy(g, k_->u + j * ld, (size_t)rows * sizeof(double));
    if (op->linear)
        for (int64_t i = 0; i < d; i++, g += ld) memcpy(g, k_->xt + i * ld, (size_t)rows * sizeof(double));
    if (op->free_c) {
        for (int64_t i = 0; i < rows; i++) g[i] = 1.0;
        g += ld;
    }
    memcpy(g, k_->r, (size_t)rows * sizeof(double));
    fr_gram_factors(rows, bend, k_);
}

#endif
