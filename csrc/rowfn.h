/* Row functions of a network and its loss, on one tile: from projections z (columns x rows, leading dimension ld) to
   coefficients g and sums s.  Everything is double and laid out with rows contiguous, so each loop below vectorises and
   no lane is lost to a small number of units. */
#ifndef FR_ROWFN_H
#define FR_ROWFN_H

#include "activations.h"
#include "outputs.h"
#include "rows.h"

static void fr_units(const fr_op *op, int64_t n, const double *z, double *u, double *d1, double *d2)
{
    if (op->user)
        op->user(z, u, d1, d2, n);
    else
        fr_activate(op->activation, op->slope, n, z, u, d1, d2);
}

/* V (outputs, k) of parameter set `rep`. */
FR_INLINE const double *fr_output_weights(const fr_op *op, int64_t rep) { return op->v + rep * op->outputs * op->k; }

/* f = c + sum_j v_j phi(z_j) + z_linear of each output of parameter set `rep`, whose projections start at z. */
static void fr_forward(const fr_op *op, int64_t rep, int64_t rows, const double *z, const fr_work *k_, int order)
{
    const int64_t k = op->k, ld = k_->ld, outputs = op->outputs;
    if (k) fr_units(op, k * ld, z, k_->u, order > 0 ? k_->d1 : NULL, order > 1 ? k_->d2 : NULL);
    fr_mix(rows, ld, outputs, k, fr_output_weights(op, rep), k, 1, k_->u, op->c + rep * outputs, NULL, k_->f);
    for (int64_t o = 0; o < op->linear; o++) {
        const double *restrict u = z + (k + o) * ld;
        double *restrict f = k_->f + o * ld;
        for (int64_t i = 0; i < rows; i++) f[i] += u[i];
    }
}

/* out_j = phi'(z_j) sum_o v_oj e_o: what the outputs' rows e are worth at the units. */
static void fr_to_units(const fr_op *op, int64_t rep, int64_t rows, const double *e, const fr_work *k_, double *out)
{
    const int64_t k = op->k, ld = k_->ld;
    const double *v = fr_output_weights(op, rep);
    if (op->outputs == 1)
        for (int64_t j = 0; j < k; j++) fr_scaled(rows, v[j], e, k_->d1 + j * ld, out + j * ld);
    else
        fr_mix(rows, ld, k, op->outputs, v, 1, k, e, NULL, k_->d1, out);
}

static double fr_weight(int64_t rows, const double *w) { return w ? fr_sum(rows, w) : (double)rows; }

#include "losses.h"

/* s: [weight, per set (loss, d loss/d v (outputs, k), d loss/d c (outputs))]; g: as the columns of P. */
static void fr_loss(const fr_op *op, int64_t rows, const double *y, const double *w, fr_work *k_, double *s)
{
    const int64_t k = op->k, ld = k_->ld, set = k + op->linear, outputs = op->outputs;
    if (op->loss == FR_CROSS_ENTROPY) {
        fr_cross_entropy_loss(op, rows, y, w, k_, s);
        return;
    }
    const double *targets = fr_targets(op, rows, y, k_);
    s[0] += fr_weight(rows, w);
    for (int64_t rep = 0; rep < op->reps; rep++) {
        double *sr = s + 1 + rep * (1 + outputs * (k + 1)), *g = k_->g + rep * set * ld;
        fr_forward(op, rep, rows, k_->z + rep * set * ld, k_, op->grad);
        fr_score(op, rows, targets, w, k_, op->grad ? FR_SLOPE : FR_VALUE, sr);
        if (!op->grad) continue;
        fr_to_units(op, rep, rows, k_->e, k_, g);
        fr_dots(rows, ld, outputs, k, k_->e, k_->u, sr + 1);
        if (op->linear) memcpy(g + k * ld, k_->e, (size_t)(outputs * ld) * sizeof(double));
        for (int64_t o = 0; o < outputs; o++) sr[1 + outputs * k + o] += fr_sum(rows, k_->e + o * ld);
    }
}

/* Derivative of each output, (outputs, ld), in the direction whose projections start at zd, once fr_forward has left the
   units and their derivatives. */
static void fr_along(const fr_op *op, int64_t rows, const double *zd, const fr_work *k_, double *out)
{
    const int64_t k = op->k, ld = k_->ld;
    for (int64_t o = 0; o < op->outputs; o++) {
        double *restrict h = out + o * ld;
        for (int64_t i = 0; i < rows; i++) h[i] = op->dc[o];
        for (int64_t j = 0; j < k; j++) {
            const double v = op->v[o * k + j], dv = op->dv[o * k + j];
            const double *restrict u = k_->u + j * ld, *restrict d1 = k_->d1 + j * ld, *restrict zj = zd + j * ld;
            for (int64_t i = 0; i < rows; i++) h[i] += v * d1[i] * zj[i] + dv * u[i];
        }
        if (op->linear) {
            const double *restrict zo = zd + (k + o) * ld;
            for (int64_t i = 0; i < rows; i++) h[i] += zo[i];
        }
    }
}

/* Columns of P: the set, then the direction.  s: [weight, product in v (outputs, k), product in c (outputs)]. */
static void fr_curvature(const fr_op *op, int64_t rows, const double *y, const double *w, fr_work *k_, double *s)
{
    const int64_t k = op->k, ld = k_->ld, set = k + op->linear, outputs = op->outputs;
    const double *zd = k_->z + set * ld;
    if (op->loss == FR_CROSS_ENTROPY) {
        fr_cross_entropy_curvature(op, rows, y, w, k_, s);
        return;
    }
    s[0] += fr_weight(rows, w);
    fr_forward(op, 0, rows, k_->z, k_, op->newton ? 2 : 1);
    fr_score(op, rows, fr_targets(op, rows, y, k_), w, k_, op->newton ? FR_NEWTON : FR_GAUSS, NULL);
    fr_along(op, rows, zd, k_, k_->t);
    fr_bend(op, rows, w, k_, k_->t);
    fr_to_units(op, 0, rows, k_->t, k_, k_->g);
    fr_dots(rows, ld, outputs, k, k_->t, k_->u, s + 1);
    if (op->newton)
        for (int64_t j = 0; j < k; j++) {
            const double *restrict d1 = k_->d1 + j * ld, *restrict d2 = k_->d2 + j * ld, *restrict zj = zd + j * ld;
            double *restrict g = k_->g + j * ld, *restrict p = k_->r;
            for (int64_t i = 0; i < rows; i++) p[i] = d1[i] * zj[i];
            for (int64_t o = 0; o < outputs; o++) {
                const double v = op->v[o * k + j], dv = op->dv[o * k + j];
                const double *restrict e = k_->e + o * ld;
                for (int64_t i = 0; i < rows; i++) g[i] += e[i] * (v * d2[i] * zj[i] + dv * d1[i]);
                s[1 + o * k + j] += fr_dot(rows, e, p);
            }
        }
    if (op->linear) memcpy(k_->g + k * ld, k_->t, (size_t)(outputs * ld) * sizeof(double));
    for (int64_t o = 0; o < outputs; o++) s[1 + outputs * k + o] += fr_sum(rows, k_->t + o * ld);
}

/* The outputs of every set, or the derivative of those of one in the direction after it, to the caller's array; there
   are no sums. */
static void fr_predict(const fr_op *op, int64_t rows, const double *y, const double *w, fr_work *k_, double *s)
{
    (void)y, (void)w, (void)s;
    const int64_t outputs = op->outputs, all = op->reps * outputs, set = (op->k + op->linear) * k_->ld;
    for (int64_t rep = 0; rep < op->reps; rep++) {
        fr_forward(op, rep, rows, k_->z + rep * set, k_, op->grad);
        if (op->grad) fr_along(op, rows, k_->z + set, k_, k_->f);
        for (int64_t o = 0; o < outputs; o++)
            for (int64_t r = 0; r < rows; r++) k_->out[r * all + rep * outputs + o] = k_->f[o * k_->ld + r];
    }
}

/* Left factor = transpose of the feature rows held in g; then g becomes the same with weights. */
static void fr_gram_factors(int64_t rows, const double *w, fr_work *k_)
{
    const int64_t ld = k_->ld, l = k_->l;
    for (int64_t i0 = 0; i0 < rows; i0 += 8)
        for (int64_t j = 0; j < l; j++)
            for (int64_t i = i0; i < FR_MIN(i0 + 8, rows); i++) k_->left[i * l + j] = k_->g[j * ld + i];
    if (!w) memcpy(k_->g, k_->left, (size_t)(rows * l) * sizeof(double));
    for (int64_t i = 0; i < rows && w; i++) {
        const double *restrict from = k_->left + i * l;
        double *restrict to = k_->g + i * l;
        for (int64_t j = 0; j < l; j++) to[j] = w[i] * from[j];
    }
}

/* Features of one set and output: Jacobian of the output (for a softmax, less the mean of all outputs) in the order of
   theta, then the residual, scaled or weighted so that the Gram matrix holds the Gauss-Newton (Fisher) matrix and the
   gradient.  s: [weight, losses (reps)]. */
static void fr_gram(const fr_op *op, int64_t rows, const double *y, const double *w, fr_work *k_, double *s)
{
    const int64_t k = op->k, ld = k_->ld, d = k_->d, filters = op->free_w ? k / op->group : 0, outputs = op->outputs;
    const int64_t rep = k_->part / outputs, output = k_->part % outputs;
    double *g = k_->g, *share = k_->t, *slopes = k_->d2; /* d features / d output q, d features / d z_j */
    if (k_->part == 0) s[0] += fr_weight(rows, w);
    if (op->loss == FR_CROSS_ENTROPY) {
        s[1 + rep] += fr_cross_entropy_gram(op, rows, k_->z + rep * k * ld, y, w, k_);
        for (int64_t i = 0; i < rows; i++) share[i] = 1.0;
        slopes = k_->d1;
    } else {
        if (output == 0) {
            fr_forward(op, rep, rows, k_->z + rep * (k + op->linear) * ld, k_, 1);
            fr_score(op, rows, fr_targets(op, rows, y, k_), w, k_, FR_WEIGHT, s + 1 + rep);
        }
        for (int64_t o = 0; o < outputs; o++)
            for (int64_t i = 0; i < rows; i++)
                share[o * ld + i] = (o == output) - (op->loss == FR_SOFTMAX ? k_->f[o * ld + i] : 0.0);
        if (filters) fr_to_units(op, rep, rows, share, k_, slopes);
    }
    for (int64_t j = 0; j < filters; j++)
        for (int64_t i = 0; i < d; i++, g += ld) {
            double *restrict out = g;
            const double *restrict x = k_->xt + i * op->group * ld;
            for (int64_t p = 0; p < op->group; p++) {
                const double *restrict slope = slopes + (j * op->group + p) * ld, *restrict xp = x + p * ld;
                if (p == 0)
                    for (int64_t t = 0; t < rows; t++) out[t] = slope[t] * xp[t];
                else
                    for (int64_t t = 0; t < rows; t++) out[t] += slope[t] * xp[t];
            }
        }
    for (int64_t o = 0; o < outputs && op->free_v; o++)
        for (int64_t j = 0; j < k; j++, g += ld) fr_scaled(rows, 1.0, share + o * ld, k_->u + j * ld, g);
    for (int64_t o = 0; o < op->linear; o++)
        for (int64_t i = 0; i < d; i++, g += ld) fr_scaled(rows, 1.0, share + o * ld, k_->xt + i * ld, g);
    for (int64_t o = 0; o < outputs && op->free_c; o++, g += ld)
        memcpy(g, share + o * ld, (size_t)rows * sizeof(double));
    memcpy(g, k_->r + output * ld, (size_t)rows * sizeof(double));
    fr_gram_factors(rows, k_->bend ? k_->bend + output * k_->bend_ld : NULL, k_);
}

#endif
