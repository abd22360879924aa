/* Row functions of moments of the responses, less a network's output: products of projections, Hermite polynomials. */
#ifndef FR_MOMENTS_H
#define FR_MOMENTS_H

#include "rowfn.h"

/* Response of the moment functions: y minus the model's output (the model may be empty), in r, and weighted in e. */
static void fr_response(const fr_op *op, int64_t rows, const double *y, const double *w, fr_work *k_)
{
    fr_forward(op, 0, rows, k_->z, k_, 0);
    fr_difference(rows, fr_targets(op, rows, y, k_), k_->f, k_->r);
    memcpy(k_->e, k_->r, (size_t)rows * sizeof(double));
    fr_weigh(rows, w, k_->e);
}

/* Columns of P: the set, V (m), and alpha when order > 2.  With response r and t = alpha.x the coefficient is
   c = r {1, t, t^2 - |alpha|^2} for order 2, 3, 4.  g: c z_j (m), c, and r t^max(order - 3, 0).
   s: [weight, sum r, sum r t, sum c, sum r^2]. */
static void fr_moment(const fr_op *op, int64_t rows, const double *y, const double *w, fr_work *k_, double *s)
{
    const int64_t ld = k_->ld, m = op->m;
    const double *zv = k_->z + (op->k + op->linear) * ld, *restrict t = zv + m * ld;
    double *c = k_->g + m * ld, *b = c + ld;
    s[0] += fr_weight(rows, w);
    if (op->unit_response)
        for (int64_t i = 0; i < rows; i++) k_->e[i] = w ? w[i] : 1.0;
    else
        fr_response(op, rows, y, w, k_);
    const double *restrict e = k_->e;
    for (int64_t i = 0; i < rows; i++) c[i] = b[i] = e[i];
    if (op->order == 3)
        for (int64_t i = 0; i < rows; i++) c[i] = e[i] * t[i];
    if (op->order == 4)
        for (int64_t i = 0; i < rows; i++) {
            b[i] = e[i] * t[i];
            c[i] = e[i] * (t[i] * t[i] - op->alpha2);
        }
    for (int64_t j = 0; j < m; j++) fr_scaled(rows, 1.0, c, zv + j * ld, k_->g + j * ld);
    s[1] += fr_sum(rows, e);
    if (op->order > 2) s[2] += fr_dot(rows, e, t);
    s[3] += fr_sum(rows, c);
    if (!op->unit_response) s[4] += fr_dot(rows, e, k_->r);
}

/* g: r z_a z_b for a <= b, then r.  s: [weight, sum r, sum r^2]. */
static void fr_pairs(const fr_op *op, int64_t rows, const double *y, const double *w, fr_work *k_, double *s)
{
    const int64_t ld = k_->ld, m = op->m;
    const double *zv = k_->z + (op->k + op->linear) * ld;
    double *g = k_->g;
    fr_response(op, rows, y, w, k_);
    for (int64_t a = 0; a < m; a++) {
        fr_scaled(rows, 1.0, k_->e, zv + a * ld, k_->t);
        for (int64_t b = a; b < m; b++, g += ld) fr_scaled(rows, 1.0, k_->t, zv + b * ld, g);
    }
    memcpy(g, k_->e, (size_t)rows * sizeof(double));
    s[0] += fr_weight(rows, w);
    s[1] += fr_sum(rows, k_->e);
    s[2] += fr_dot(rows, k_->e, k_->r);
}

/* With u = V x and t = |u|^2 the quartic q = pair t^2 / 2 - single / 24 sum_j u_j^4 of every row.
   g: r dq/du_j (m), then r u_j (m).  s: [weight, sum r, sum r q, sum r^2]. */
static void fr_landscape(const fr_op *op, int64_t rows, const double *y, const double *w, fr_work *k_, double *s)
{
    const int64_t ld = k_->ld, m = op->m;
    const double *zv = k_->z + (op->k + op->linear) * ld;
    const double pair = op->pair, single = op->single;
    double *restrict q = k_->f, *restrict t = k_->t;
    fr_response(op, rows, y, w, k_);
    const double *restrict e = k_->e;
    s[0] += fr_weight(rows, w);
    s[1] += fr_sum(rows, e);
    s[3] += fr_dot(rows, e, k_->r);
    for (int64_t i = 0; i < rows; i++) t[i] = q[i] = 0.0;
    for (int64_t j = 0; j < m; j++) {
        const double *restrict u = zv + j * ld;
        for (int64_t i = 0; i < rows; i++) {
            const double u2 = u[i] * u[i];
            t[i] += u2;
            q[i] += u2 * u2;
        }
    }
    for (int64_t i = 0; i < rows; i++) q[i] = 0.5 * pair * t[i] * t[i] - single / 24.0 * q[i];
    s[2] += fr_dot(rows, e, q);
    for (int64_t j = 0; j < m; j++) {
        const double *restrict u = zv + j * ld;
        double *restrict slope = k_->g + j * ld, *restrict plain = k_->g + (m + j) * ld;
        for (int64_t i = 0; i < rows; i++) {
            plain[i] = e[i] * u[i];
            slope[i] = plain[i] * (2.0 * pair * t[i] - single / 6.0 * u[i] * u[i]);
        }
    }
}

/* Rows a (order + 1) + p of he: He_p(z_a) / sqrt(p!), by h_{p+1} = (z h_p - sqrt(p) h_{p-1}) / sqrt(p + 1). */
static void fr_hermite_rows(const fr_op *op, int64_t rows, const fr_work *k_)
{
    const int64_t ld = k_->ld, stride = (op->order + 1) * ld;
    for (int64_t a = 0; a < op->m; a++) {
        const double *restrict z = k_->z + (op->k + op->linear + a) * ld;
        double *h = k_->he + a * stride;
        for (int64_t i = 0; i < rows; i++) h[i] = 1.0;
        for (int p = 0; p < op->order; p++) {
            const double up = 1.0 / __builtin_sqrt(p + 1.0), down = __builtin_sqrt((double)p) * up;
            const double *restrict h1 = h + p * ld, *restrict h0 = h + (p ? p - 1 : 0) * ld;
            double *restrict h2 = h + (p + 1) * ld;
            for (int64_t i = 0; i < rows; i++) h2[i] = up * z[i] * h1[i] - down * h0[i];
        }
    }
}

/* Product of at most four Hermite rows into out. */
static void fr_feature(const int32_t *factor, int64_t rows, const fr_work *k_, double *restrict out)
{
    const int64_t ld = k_->ld;
    if (factor[0] < 0) {
        for (int64_t i = 0; i < rows; i++) out[i] = 1.0;
        return;
    }
    memcpy(out, k_->he + factor[0] * ld, (size_t)rows * sizeof(double));
    for (int p = 1; p < 4 && factor[p] >= 0; p++) {
        const double *restrict h = k_->he + factor[p] * ld;
        for (int64_t i = 0; i < rows; i++) out[i] *= h[i];
    }
}

/* Averages: s = [weight, sum r, sum r^2, sum r feature (n_features)].
   Gram (g and left factor set): features, then the response; s = [weight, sum r, sum r^2]. */
static void fr_hermite(const fr_op *op, int64_t rows, const double *y, const double *w, fr_work *k_, double *s)
{
    const int64_t ld = k_->ld;
    fr_response(op, rows, y, w, k_);
    s[0] += fr_weight(rows, w);
    s[1] += fr_sum(rows, k_->e);
    s[2] += fr_dot(rows, k_->e, k_->r);
    fr_hermite_rows(op, rows, k_);
    for (int64_t j = 0; j < op->n_features; j++) {
        if (op->op == FR_HERMITE) {
            fr_feature(op->factors + 4 * j, rows, k_, k_->t);
            s[3 + j] += fr_dot(rows, k_->e, k_->t);
        } else {
            fr_feature(op->factors + 4 * j, rows, k_, k_->g + j * ld);
        }
    }
    if (op->op == FR_HERMITE) return;
    memcpy(k_->g + op->n_features * ld, k_->r, (size_t)rows * sizeof(double));
    fr_gram_factors(rows, w, k_);
}

/* s: [weight, sum r, sum r^2]; the rest of the third moment is in third.h. */
static void fr_third(const fr_op *op, int64_t rows, const double *y, const double *w, fr_work *k_, double *s)
{
    fr_response(op, rows, y, w, k_);
    s[0] += fr_weight(rows, w);
    s[1] += fr_sum(rows, k_->e);
    s[2] += fr_dot(rows, k_->e, k_->r);
}

#endif
