/* Row functions on one tile: from projections z (columns x rows, leading dimension ld) to coefficients g and
   sums s.  Everything is double and laid out with rows contiguous, so each loop below vectorises and no lane is
   lost to a small number of units. */
#ifndef FR_ROWFN_H
#define FR_ROWFN_H

#include "activations.h"
#include "fastrecover.h"
#include "vec.h"

typedef struct {
    int64_t ld;                       /* rows of room in a tile */
    double *z, *u, *d1, *d2;          /* (q | reps k, ld): projections, activations and derivatives */
    double *f, *r, *e, *t;            /* (ld,): output, residual, weighted residual, scratch */
    double *h, *half;                 /* (ld,): scratch of cross entropy */
    const double *zero;               /* (ld,): zeros, for missing responses */
    double *g;                        /* (g, ld): coefficients of the back-projection */
    double *left;                     /* (ld, l): left factor where it is not X itself */
    double *xt;                       /* (d, ld): the tile, transposed, for FR_GRAM */
    double *he;                       /* (m (order + 1), ld): normalised Hermite polynomials */
} fr_work;

static void fr_units(const fr_row *row, int64_t n, const double *z, double *u, double *d1, double *d2)
{
    if (row->user)
        row->user(z, u, d1, d2, n);
    else
        fr_activate(row->activation, row->slope, n, z, u, d1, d2);
}

/* f = c + sum_j v_j phi(z_j) + z_linear of parameter set `rep`, whose projections start at z. */
static void fr_forward(const fr_row *row, int64_t rep, int64_t rows, const double *z, const fr_work *k_, int order)
{
    const int64_t k = row->k, ld = k_->ld;
    double *restrict f = k_->f;
    const double c = row->c ? row->c[rep] : 0.0;
    for (int64_t i = 0; i < rows; i++) f[i] = c;
    if (k) fr_units(row, k * ld, z, k_->u, order > 0 || row->user ? k_->d1 : NULL, order > 1 ? k_->d2 : NULL);
    for (int64_t j = 0; j < k; j++) {
        const double v = row->v[rep * k + j];
        const double *restrict u = k_->u + j * ld;
        for (int64_t i = 0; i < rows; i++) f[i] += v * u[i];
    }
    if (row->linear) {
        const double *restrict u = z + k * ld;
        for (int64_t i = 0; i < rows; i++) f[i] += u[i];
    }
}

/* r = f - y, e = w r. */
static void fr_residual(int64_t rows, const double *y, const double *w, const fr_work *k_)
{
    const double *restrict f = k_->f;
    double *restrict r = k_->r, *restrict e = k_->e;
    if (y)
        for (int64_t i = 0; i < rows; i++) r[i] = f[i] - y[i];
    else
        for (int64_t i = 0; i < rows; i++) r[i] = f[i];
    if (w)
        for (int64_t i = 0; i < rows; i++) e[i] = w[i] * r[i];
    else
        for (int64_t i = 0; i < rows; i++) e[i] = r[i];
}

static double fr_weight(int64_t rows, const double *w) { return w ? fr_sum(rows, w) : (double)rows; }

FR_INLINE void fr_scaled(int64_t n, double c, const double *restrict a, const double *restrict b,
                         double *restrict out)
{
    for (int64_t i = 0; i < n; i++) out[i] = c * a[i] * b[i];
}

/* One unit of the below; a function of its own so that the compiler takes `restrict` at its word. */
static __attribute__((noinline)) void fr_cross_entropy_unit(int64_t rows, const double *restrict z,
                                                            const double *restrict shift, const double *restrict half,
                                                            double *restrict s1, double *restrict s0,
                                                            double *restrict p, double *restrict u)
{
    for (int64_t i = 0; i < rows; i++) {
        const double x = z[i], scaled = fr_exp(shift[i] - __builtin_fabs(x)), e = scaled * (half[i] * half[i]);
        const double q = 1.0 / (1.0 + e), small = scaled * q, tilt = (1.0 - e) * q;
        const double up = x < 0.0 ? small : q, down = x < 0.0 ? q : small;
        s1[i] += up;
        s0[i] += down;
        p[i] = small * q;
        u[i] = x < 0.0 ? tilt : -tilt;
    }
}

static __attribute__((noinline)) void fr_cross_entropy_row(int64_t rows, double log_k, const double *restrict y,
                                                           const double *restrict shift, const double *restrict half,
                                                           const double *restrict s0, double *restrict s1,
                                                           double *restrict high, double *restrict low)
{
    for (int64_t i = 0; i < rows; i++) {
        const double up = high[i] < 0.0 ? shift[i] : 0.0, down = low[i] > 0.0 ? shift[i] : 0.0, t = y[i];
        const double log_h = fr_log(s1[i]) - up - log_k, log_not = fr_log(s0[i]) - down - log_k;
        high[i] = (down > 0.0 ? half[i] : 1.0) / __builtin_sqrt(s1[i]);
        low[i] = (up > 0.0 ? half[i] : 1.0) / __builtin_sqrt(s0[i]);
        s1[i] = (t - 1.0) * log_not - t * log_h;
    }
}

/* Cross entropy of H = mean_j sigma(z_j).  With t the z nearest to 0 where all have one sign (else 0),
   E_j = exp(|t| - |z_j|) and q_j = 1 / (1 + exp(-|z_j|)), p_j = E_j q_j^2 gives both
       d log H / d z_j = A p_j,   -d log(1 - H) / d z_j = B p_j
   with one A and one B a row.  Sums are scaled by their largest term and A and B are kept as square roots, so
   nothing under- or overflows and no H is clipped.  d1 takes p_j, u takes 1 - 2 sigma(z_j), r takes sqrt A, e takes
   sqrt B, f the loss; t and h are used. */
static void fr_cross_entropy(const fr_row *row, int64_t rows, const double *z, const double *y, fr_work *k_)
{
    const int64_t k = row->k, ld = k_->ld;
    double *restrict high = k_->r, *restrict low = k_->e, *restrict shift = k_->t;
    for (int64_t i = 0; i < rows; i++) high[i] = low[i] = z[i];
    for (int64_t j = 1; j < k; j++) {
        const double *restrict zj = z + j * ld;
        for (int64_t i = 0; i < rows; i++) {
            high[i] = zj[i] > high[i] ? zj[i] : high[i];
            low[i] = zj[i] < low[i] ? zj[i] : low[i];
        }
    }
    for (int64_t i = 0; i < rows; i++) shift[i] = high[i] < 0.0 ? -high[i] : low[i] > 0.0 ? low[i] : 0.0;
    for (int64_t i = 0; i < rows; i++) {
        k_->half[i] = fr_exp(-0.5 * shift[i]);
        k_->f[i] = k_->h[i] = 0.0;
    }
    for (int64_t j = 0; j < k; j++)
        fr_cross_entropy_unit(rows, z + j * ld, shift, k_->half, k_->f, k_->h, k_->d1 + j * ld, k_->u + j * ld);
    fr_cross_entropy_row(rows, fr_log((double)k), y ? y : k_->zero, shift, k_->half, k_->h, k_->f, high, low);
}

/* Coefficient of p_j in dl/dz_j, weighted: w ((1 - y) B - y A), into out. */
static void fr_cross_entropy_slope(int64_t rows, const double *y, const double *w, const fr_work *k_,
                                   double *restrict out)
{
    const double *restrict a = k_->r, *restrict b = k_->e, *restrict t = y ? y : k_->zero;
    for (int64_t i = 0; i < rows; i++) out[i] = (1.0 - t[i]) * b[i] * b[i] - t[i] * a[i] * a[i];
    if (w)
        for (int64_t i = 0; i < rows; i++) out[i] *= w[i];
}

static void fr_cross_entropy_loss(const fr_row *row, int64_t rows, const double *y, const double *w, fr_work *k_,
                                  double *s)
{
    const int64_t k = row->k, ld = k_->ld;
    s[0] += fr_weight(rows, w);
    for (int64_t rep = 0; rep < row->reps; rep++) {
        fr_cross_entropy(row, rows, k_->z + rep * k * ld, y, k_);
        s[1 + rep * (k + 2)] += w ? fr_dot(rows, w, k_->f) : fr_sum(rows, k_->f);
        if (!row->grad) continue;
        fr_cross_entropy_slope(rows, y, w, k_, k_->h);
        for (int64_t j = 0; j < k; j++) fr_scaled(rows, 1.0, k_->h, k_->d1 + j * ld, k_->g + (rep * k + j) * ld);
    }
}

/* Fisher information A B p p' or Hessian (y A^2 + (1 - y) B^2) p p' + diag(dl/dz_j u_j), times the direction. */
static void fr_cross_entropy_curvature(const fr_row *row, int64_t rows, const double *y, const double *w,
                                       fr_work *k_, double *s)
{
    const int64_t k = row->k, ld = k_->ld;
    const double *zd = k_->z + k * ld;
    double *restrict along = k_->t, *restrict slope = k_->h;
    const double *restrict a = k_->r, *restrict b = k_->e;
    s[0] += fr_weight(rows, w);
    fr_cross_entropy(row, rows, k_->z, y, k_);
    if (row->newton) fr_cross_entropy_slope(rows, y, w, k_, slope);
    for (int64_t i = 0; i < rows; i++) along[i] = 0.0;
    for (int64_t j = 0; j < k; j++) {
        const double *restrict p = k_->d1 + j * ld, *restrict zj = zd + j * ld;
        for (int64_t i = 0; i < rows; i++) along[i] += p[i] * zj[i];
    }
    for (int64_t i = 0; i < rows; i++) {
        const double t = y ? y[i] : 0.0, a2 = a[i] * a[i], b2 = b[i] * b[i];
        along[i] *= (w ? w[i] : 1.0) * (row->newton ? t * a2 * a2 + (1.0 - t) * b2 * b2 : a2 * b2);
    }
    for (int64_t j = 0; j < k; j++) {
        const double *restrict p = k_->d1 + j * ld, *restrict u = k_->u + j * ld, *restrict zj = zd + j * ld;
        double *restrict g = k_->g + j * ld;
        if (row->newton)
            for (int64_t i = 0; i < rows; i++) g[i] = p[i] * (along[i] + slope[i] * u[i] * zj[i]);
        else
            fr_scaled(rows, 1.0, along, p, g);
    }
}

/* s: [weight, per set (loss, d loss/d v (k), d loss/d c)]; g: as the columns of P. */
static void fr_loss(const fr_row *row, int64_t rows, const double *y, const double *w, fr_work *k_, double *s)
{
    const int64_t k = row->k, ld = k_->ld, set = k + row->linear;
    if (row->loss) {
        fr_cross_entropy_loss(row, rows, y, w, k_, s);
        return;
    }
    s[0] += fr_weight(rows, w);
    for (int64_t rep = 0; rep < row->reps; rep++) {
        double *sr = s + 1 + rep * (k + 2), *g = k_->g + rep * set * ld;
        fr_forward(row, rep, rows, k_->z + rep * set * ld, k_, row->grad);
        fr_residual(rows, y, w, k_);
        sr[0] += 0.5 * fr_dot(rows, k_->e, k_->r);
        if (!row->grad) continue;
        for (int64_t j = 0; j < k; j++) {
            fr_scaled(rows, row->v[rep * k + j], k_->e, k_->d1 + j * ld, g + j * ld);
            sr[1 + j] += fr_dot(rows, k_->e, k_->u + j * ld);
        }
        if (row->linear) memcpy(g + k * ld, k_->e, (size_t)rows * sizeof(double));
        sr[1 + k] += fr_sum(rows, k_->e);
    }
}

/* Columns of P: the set, then the direction.  s: [weight, product in v (k), product in c]. */
static void fr_curvature(const fr_row *row, int64_t rows, const double *y, const double *w, fr_work *k_, double *s)
{
    const int64_t k = row->k, ld = k_->ld, set = k + row->linear;
    const double *zd = k_->z + set * ld;
    double *restrict h = k_->t;
    if (row->loss) {
        fr_cross_entropy_curvature(row, rows, y, w, k_, s);
        return;
    }
    s[0] += fr_weight(rows, w);
    fr_forward(row, 0, rows, k_->z, k_, row->newton ? 2 : 1);
    fr_residual(rows, y, w, k_);
    for (int64_t i = 0; i < rows; i++) h[i] = row->dc;
    for (int64_t j = 0; j < k; j++) {
        const double v = row->v[j], dv = row->dv[j];
        const double *restrict u = k_->u + j * ld, *restrict d1 = k_->d1 + j * ld, *restrict zj = zd + j * ld;
        for (int64_t i = 0; i < rows; i++) h[i] += v * d1[i] * zj[i] + dv * u[i];
    }
    if (row->linear)
        for (int64_t i = 0; i < rows; i++) h[i] += zd[k * ld + i];
    if (w)
        for (int64_t i = 0; i < rows; i++) h[i] *= w[i];
    for (int64_t j = 0; j < k; j++) {
        const double v = row->v[j], dv = row->dv[j];
        const double *restrict d1 = k_->d1 + j * ld, *restrict zj = zd + j * ld;
        double *restrict g = k_->g + j * ld;
        fr_scaled(rows, v, h, d1, g);
        s[1 + j] += fr_dot(rows, h, k_->u + j * ld);
        if (row->newton) {
            const double *restrict e = k_->e, *restrict d2 = k_->d2 + j * ld;
            double *restrict p = k_->r;
            for (int64_t i = 0; i < rows; i++) {
                p[i] = d1[i] * zj[i];
                g[i] += e[i] * (v * d2[i] * zj[i] + dv * d1[i]);
            }
            s[1 + j] += fr_dot(rows, e, p);
        }
    }
    if (row->linear) memcpy(k_->g + k * ld, h, (size_t)rows * sizeof(double));
    s[1 + k] += fr_sum(rows, h);
}

/* Left factor = transpose of the feature rows held in g; then g takes the weights. */
static void fr_gram_factors(int64_t rows, int64_t l, const double *w, fr_work *k_)
{
    const int64_t ld = k_->ld;
    for (int64_t i0 = 0; i0 < rows; i0 += 8)
        for (int64_t j = 0; j < l; j++)
            for (int64_t i = i0; i < FR_MIN(i0 + 8, rows); i++) k_->left[i * l + j] = k_->g[j * ld + i];
    if (!w) return;
    for (int64_t j = 0; j < l; j++) {
        double *restrict g = k_->g + j * ld;
        for (int64_t i = 0; i < rows; i++) g[i] *= w[i];
    }
}

/* Features: Jacobian of the output in the order of theta, then the residual.  For cross entropy both are scaled so
   that the Gram matrix holds the Fisher information and the gradient: J_j = sqrt(A B) p_j, and residual
   (1 - y) / rho - y rho with rho^2 = A / B = (1 - H) / H.  s: [weight, loss]. */
static void fr_gram(const fr_row *row, int64_t rows, int64_t d, int64_t l, const double *y, const double *w,
                    fr_work *k_, double *s)
{
    const int64_t k = row->k, ld = k_->ld, filters = row->free_w ? k / row->group : 0;
    double *g = k_->g;
    s[0] += fr_weight(rows, w);
    if (row->loss) {
        fr_cross_entropy(row, rows, k_->z, y, k_);
        s[1] += w ? fr_dot(rows, w, k_->f) : fr_sum(rows, k_->f);
        for (int64_t i = 0; i < rows; i++) {
            const double t = y ? y[i] : 0.0, a = k_->r[i], b = k_->e[i];
            k_->h[i] = a * b;
            k_->r[i] = (1.0 - t) * (b / a) - t * (a / b);
        }
        for (int64_t j = 0; j < k; j++) for (int64_t i = 0; i < rows; i++) k_->d1[j * ld + i] *= k_->h[i];
    } else {
        fr_forward(row, 0, rows, k_->z, k_, 1);
        fr_residual(rows, y, w, k_);
        s[1] += 0.5 * fr_dot(rows, k_->e, k_->r);
    }
    for (int64_t j = 0; j < filters; j++)
        for (int64_t i = 0; i < d; i++, g += ld) {
            double *restrict out = g;
            const double *restrict x = k_->xt + i * row->group * ld;
            for (int64_t p = 0; p < row->group; p++) {
                const int64_t unit = j * row->group + p;
                const double v = row->loss ? 1.0 : row->v[unit];
                const double *restrict d1 = k_->d1 + unit * ld, *restrict xp = x + p * ld;
                if (p == 0)
                    fr_scaled(rows, v, d1, xp, out);
                else
                    for (int64_t t = 0; t < rows; t++) out[t] += v * d1[t] * xp[t];
            }
        }
    if (row->free_v)
        for (int64_t j = 0; j < k; j++, g += ld) memcpy(g, k_->u + j * ld, (size_t)rows * sizeof(double));
    if (row->linear)
        for (int64_t i = 0; i < d; i++, g += ld) memcpy(g, k_->xt + i * ld, (size_t)rows * sizeof(double));
    if (row->free_c) {
        for (int64_t i = 0; i < rows; i++) g[i] = 1.0;
        g += ld;
    }
    memcpy(g, k_->r, (size_t)rows * sizeof(double));
    fr_gram_factors(rows, l, w, k_);
}

/* Response of the moment functions: y minus the model's output (the model may be empty), weighted, in e. */
static void fr_response(const fr_row *row, int64_t rows, const double *y, const double *w, fr_work *k_)
{
    fr_forward(row, 0, rows, k_->z, k_, 0);
    fr_residual(rows, y, w, k_);
    for (int64_t i = 0; i < rows; i++) {
        k_->r[i] = -k_->r[i];
        k_->e[i] = -k_->e[i];
    }
}

/* Columns of P: the set, V (m), and alpha when order > 2.  With response r and t = alpha.x the coefficient is
   c = r {1, t, t^2 - |alpha|^2} for order 2, 3, 4.  g: c z_j (m), c, and r t^max(order - 3, 0).
   s: [weight, sum r, sum r t, sum c, sum r^2]. */
static void fr_moment(const fr_row *row, int64_t rows, const double *y, const double *w, fr_work *k_, double *s)
{
    const int64_t ld = k_->ld, m = row->m;
    const double *zv = k_->z + (row->k + row->linear) * ld, *restrict t = zv + m * ld;
    double *c = k_->g + m * ld, *b = c + ld;
    s[0] += fr_weight(rows, w);
    if (row->unit_response)
        for (int64_t i = 0; i < rows; i++) k_->e[i] = w ? w[i] : 1.0;
    else
        fr_response(row, rows, y, w, k_);
    const double *restrict e = k_->e;
    for (int64_t i = 0; i < rows; i++) c[i] = b[i] = e[i];
    if (row->order == 3)
        for (int64_t i = 0; i < rows; i++) c[i] = e[i] * t[i];
    if (row->order == 4)
        for (int64_t i = 0; i < rows; i++) {
            b[i] = e[i] * t[i];
            c[i] = e[i] * (t[i] * t[i] - row->alpha2);
        }
    for (int64_t j = 0; j < m; j++) fr_scaled(rows, 1.0, c, zv + j * ld, k_->g + j * ld);
    s[1] += fr_sum(rows, e);
    if (row->order > 2) s[2] += fr_dot(rows, e, t);
    s[3] += fr_sum(rows, c);
    if (!row->unit_response) s[4] += fr_dot(rows, e, k_->r);
}

/* g: r z_a z_b for a <= b, then r.  s: [weight, sum r, sum r^2]. */
static void fr_pairs(const fr_row *row, int64_t rows, const double *y, const double *w, fr_work *k_, double *s)
{
    const int64_t ld = k_->ld, m = row->m;
    const double *zv = k_->z + (row->k + row->linear) * ld;
    double *g = k_->g;
    fr_response(row, rows, y, w, k_);
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
static void fr_landscape(const fr_row *row, int64_t rows, const double *y, const double *w, fr_work *k_, double *s)
{
    const int64_t ld = k_->ld, m = row->m;
    const double *zv = k_->z + (row->k + row->linear) * ld;
    const double pair = row->pair, single = row->single;
    double *restrict q = k_->f, *restrict t = k_->t;
    fr_response(row, rows, y, w, k_);
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
static void fr_hermite_rows(const fr_row *row, int64_t rows, const fr_work *k_)
{
    const int64_t ld = k_->ld, stride = (row->order + 1) * ld;
    for (int64_t a = 0; a < row->m; a++) {
        const double *restrict z = k_->z + (row->k + row->linear + a) * ld;
        double *h = k_->he + a * stride;
        for (int64_t i = 0; i < rows; i++) h[i] = 1.0;
        for (int p = 0; p < row->order; p++) {
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
static void fr_hermite(const fr_row *row, int64_t rows, int64_t l, const double *y, const double *w, fr_work *k_,
                       double *s)
{
    const int64_t ld = k_->ld;
    fr_response(row, rows, y, w, k_);
    s[0] += fr_weight(rows, w);
    s[1] += fr_sum(rows, k_->e);
    s[2] += fr_dot(rows, k_->e, k_->r);
    fr_hermite_rows(row, rows, k_);
    for (int64_t j = 0; j < row->n_features; j++) {
        if (row->op == FR_HERMITE) {
            fr_feature(row->factors + 4 * j, rows, k_, k_->t);
            s[3 + j] += fr_dot(rows, k_->e, k_->t);
        } else {
            fr_feature(row->factors + 4 * j, rows, k_, k_->g + j * ld);
        }
    }
    if (row->op == FR_HERMITE) return;
    memcpy(k_->g + row->n_features * ld, k_->r, (size_t)rows * sizeof(double));
    fr_gram_factors(rows, l, w, k_);
}

/* s: [weight, sum r, sum r^2]; the rest of the third moment is in third.h. */
static void fr_third(const fr_row *row, int64_t rows, const double *y, const double *w, fr_work *k_, double *s)
{
    fr_response(row, rows, y, w, k_);
    s[0] += fr_weight(rows, w);
    s[1] += fr_sum(rows, k_->e);
    s[2] += fr_dot(rows, k_->e, k_->r);
}

/* Sums of the third moment while a block is under way: for each group of `side` features all columns for the pairs
   within it, then, for each group before it, the columns after it for the pairs of the two; columns in whole groups. */
static int64_t fr_third_sums(int64_t d, int64_t side)
{
    const int64_t columns = (d + side - 1) / side * side;
    int64_t size = 0;
    for (int64_t b = 0; b < d; b += side) {
        const int64_t width = FR_MIN(side, d - b);
        size += width * (width + 1) / 2 * columns + b * side * (columns - b - side);
    }
    return size;
}

/* Where (a, b, b) with a <= b stands among the distinct entries of order 3, in lexicographic order. */
FR_INLINE int64_t fr_third_at(int64_t d, int64_t a, int64_t b)
{
    const int64_t p = d - a, q = d - b;
    return (d * (d + 1) * (d + 2) - p * (p + 1) * (p + 2)) / 6 + (p * (p + 1) - q * (q + 1)) / 2;
}

/* out = the distinct entries of those sums.  Pair (p, i) within a group of n features is i and (i + p) mod n. */
static void fr_third_unpack(int64_t d, int64_t side, const double *sums, double *out)
{
    const int64_t columns = (d + side - 1) / side * side;
    for (int64_t g = 0; g < d; g += side) {
        const int64_t n = FR_MIN(side, d - g), stop = g + side;
        for (int64_t pair = 0; pair < n * (n + 1) / 2; pair++, sums += columns) {
            const int64_t i = pair % n, j = (i + pair / n) % n, a = g + FR_MIN(i, j), b = g + (i < j ? j : i);
            for (int64_t l = 0; l < g; l++) out[fr_third_at(d, l, a) + b - a] = sums[l];
            memcpy(out + fr_third_at(d, a, b), sums + b, (size_t)(d - b) * sizeof(double));
        }
        for (int64_t h = 0; h < g && stop < d; h += side)
            for (int64_t b = g; b < stop; b++)
                for (int64_t a = h; a < h + side; a++, sums += columns - stop)
                    memcpy(out + fr_third_at(d, a, b) + stop - b, sums, (size_t)(d - stop) * sizeof(double));
    }
}

#endif
