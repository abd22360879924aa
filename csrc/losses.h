/* Losses.  One of the outputs, l(f, y), is a function of one output and its response (fr_huber and the like), whose sum
   over outputs counts, or fr_softmax.  The cross entropy of a mean of units is no function of f to working precision
   where f is near 0 or 1, and is computed from the projections of the units instead. */
#ifndef FR_LOSSES_H
#define FR_LOSSES_H

/* l, dl/df, the curvature of Gauss-Newton and d2l/df2. */
typedef struct {
    double value, slope, weight, second;
} fr_point;

#define FR_LEAST_CURVATURE 1e-30 /* what is smaller would make the residual l' / l'' overflow */

FR_INLINE fr_point fr_huber(double f, double y, double delta)
{
    const double r = f - y, size = __builtin_fabs(r);
    const double slope = r > delta ? delta : r < -delta ? -delta : r;
    fr_point p = {size <= delta ? 0.5 * r * r : delta * (size - 0.5 * delta), slope,
                  size > delta ? delta / size : 1.0, size <= delta ? 1.0 : 0.0};
    return p;
}

/* With e = e^-|f| and q = 1 / (1 + e), the sigmoids of f and -f are q and e q, or the other way round, log(1 + e^f) is
   `above` and e - log(1 + e) is `gap`; one division serves them all. */
typedef struct {
    double e, q, up, down, above, gap;
} fr_odds;

FR_INLINE fr_odds fr_odds_of(double f)
{
    const double e = fr_exp(-__builtin_fabs(f)), r = 1.0 / ((1.0 + e) * (2.0 + e)), q = r * (2.0 + e);
    const double gap = fr_log1p_gap_of(e, e * (r * (1.0 + e)));
    fr_odds o = {e, q, f < 0.0 ? e * q : q, f < 0.0 ? q : e * q, (f > 0.0 ? f : 0.0) + (e - gap), gap};
    return o;
}

/* Of two labels 1 - y is exact, and then the slope is one term. */
FR_INLINE fr_point fr_logistic(double f, double y, double delta)
{
    (void)delta;
    const fr_odds o = fr_odds_of(f);
    const double bell = o.up * o.down;
    fr_point p = {((f > 0.0 ? f : 0.0) - y * f) + (o.e - o.gap), f < 0.0 ? o.up - y : (1.0 - y) - o.down, bell, bell};
    return p;
}

FR_INLINE fr_point fr_poisson(double f, double y, double delta)
{
    (void)delta;
    const double mean = fr_exp(f);
    fr_point p = {mean - y * f, mean - y, mean, mean};
    return p;
}

/* Mean q = log(1 + e^f).  With t = q' / q, l' = q' - y t, and t' = t (sigma(-f) - t).  For f < 0 the last bracket is a
   difference of nearly equal numbers, but with e = e^f also -(e - log(1 + e)) / ((1 + e) q). */
FR_INLINE fr_point fr_poisson_softplus(double f, double y, double delta)
{
    (void)delta;
    const fr_odds o = fr_odds_of(f);
    const int low = f < -30.0; /* there q is e^f, and its logarithm f, to all digits */
    const double mean = o.above, t = low ? 1.0 : o.up / mean;
    const double log_mean = low ? f : fr_log_normal(mean, 0.0, 0.0); /* finite where the mean is infinite */
    const double fall = low ? 0.5 * o.e : (f < 0.0 ? o.gap : 1.0 - o.e * mean) * o.q / mean;
    fr_point p = {mean - y * log_mean, o.up - y * t, o.up * t, o.up * o.down + y * t * fall};
    return p;
}

/* y f: its gradient is the product of the rows y with the Jacobian of the outputs. */
FR_INLINE fr_point fr_linear(double f, double y, double delta)
{
    (void)delta;
    fr_point p = {y * f, y, 1.0, 0.0};
    return p;
}

/* What is made of the points of a tile. */
enum {
    FR_VALUE,  /* the sum of w l */
    FR_SLOPE,  /* and e = w l' */
    FR_WEIGHT, /* the sum, r = l' / h and bend = w h with the curvature h of Gauss-Newton */
    FR_GAUSS,  /* bend = w h */
    FR_NEWTON  /* e = w l' and bend = w l'' */
};

/* A function for each loss: what its loop does not want is not computed. */
#define FR_POINTS(NAME, CODE, FUNCTION) \
    static __attribute__((noinline)) void FUNCTION##_points(int want, int64_t rows, double delta, \
                                                            const double *restrict f, const double *restrict y, \
                                                            double *restrict value, double *restrict slope, \
                                                            double *restrict bend) \
    { \
        switch (want) { \
        case FR_VALUE: \
            for (int64_t i = 0; i < rows; i++) value[i] = FUNCTION(f[i], y[i], delta).value; \
            break; \
        case FR_SLOPE: \
            for (int64_t i = 0; i < rows; i++) { \
                const fr_point p = FUNCTION(f[i], y[i], delta); \
                value[i] = p.value, slope[i] = p.slope; \
            } \
            break; \
        case FR_WEIGHT: \
            for (int64_t i = 0; i < rows; i++) { \
                const fr_point p = FUNCTION(f[i], y[i], delta); \
                value[i] = p.value, slope[i] = p.slope; \
                bend[i] = p.weight < FR_LEAST_CURVATURE ? FR_LEAST_CURVATURE : p.weight; \
            } \
            break; \
        case FR_GAUSS: \
            for (int64_t i = 0; i < rows; i++) { \
                const double h = FUNCTION(f[i], y[i], delta).weight; \
                bend[i] = h < FR_LEAST_CURVATURE ? FR_LEAST_CURVATURE : h; \
            } \
            break; \
        case FR_NEWTON: \
            for (int64_t i = 0; i < rows; i++) { \
                const fr_point p = FUNCTION(f[i], y[i], delta); \
                slope[i] = p.slope, bend[i] = p.second; \
            } \
        } \
    }
FR_SCALAR_LOSSES(FR_POINTS)
#undef FR_POINTS

/* Responses by output, (outputs, ld). */
static const double *fr_targets(const fr_op *op, int64_t rows, const double *y, const fr_work *k_)
{
    const int64_t outputs = op->outputs;
    if (!y) return k_->y;
    if (outputs == 1) return y;
    for (int64_t o = 0; o < outputs; o++) {
        double *restrict out = k_->y + o * k_->ld;
        for (int64_t i = 0; i < rows; i++) out[i] = y[i * outputs + o];
    }
    return k_->y;
}

/* a *= w. */
FR_INLINE void fr_weigh(int64_t rows, const double *restrict w, double *restrict a)
{
    if (w)
        for (int64_t i = 0; i < rows; i++) a[i] *= w[i];
}

FR_INLINE double fr_weighted_sum(int64_t rows, const double *w, const double *a)
{
    return w ? fr_dot(rows, w, a) : fr_sum(rows, a);
}

FR_INLINE void fr_difference(int64_t rows, const double *restrict a, const double *restrict b, double *restrict out)
{
    for (int64_t i = 0; i < rows; i++) out[i] = a[i] - b[i];
}

/* (f - y)^2 / 2: r is f - y, which goes to e at once where there are no weights. */
static __attribute__((noinline)) void fr_half_square(const fr_op *op, int64_t rows, const double *y, const double *w, fr_work *k_, int want,
                           double *sum)
{
    const int64_t ld = k_->ld;
    k_->bend = w;
    k_->bend_ld = 0;
    for (int64_t at = 0; at < op->outputs * ld; at += ld, y += ld) {
        double *e = k_->e + at, *r = w || want == FR_WEIGHT ? k_->r + at : e;
        fr_difference(rows, k_->f + at, y, r);
        if (w)
            fr_scaled(rows, 1.0, w, r, e);
        else
            e = r;
        if (sum) *sum += 0.5 * fr_dot(rows, e, r);
    }
}

/* Cross entropy of shares y against p_o = exp f_o / sum_q exp f_q.  f takes p. */
static __attribute__((noinline)) void fr_softmax(const fr_op *op, int64_t rows, const double *y, const double *w, const fr_work *k_, int want,
                       double *sum)
{
    const int64_t outputs = op->outputs, ld = k_->ld;
    double *restrict top = k_->half, *restrict total = k_->h, *restrict value = k_->t;
    memcpy(top, k_->f, (size_t)rows * sizeof(double));
    for (int64_t o = 1; o < outputs; o++) {
        const double *restrict f = k_->f + o * ld;
        for (int64_t i = 0; i < rows; i++) top[i] = f[i] > top[i] ? f[i] : top[i];
    }
    for (int64_t i = 0; i < rows; i++) total[i] = value[i] = 0.0;
    for (int64_t o = 0; o < outputs; o++) {
        double *restrict f = k_->f + o * ld;
        const double *restrict target = y + o * ld;
        for (int64_t i = 0; i < rows; i++) {
            const double below = f[i] - top[i], e = fr_exp(below);
            value[i] -= target[i] * below;
            total[i] += e;
            f[i] = e;
        }
    }
    if (sum) {
        for (int64_t i = 0; i < rows; i++) value[i] += fr_log(total[i]);
        *sum += fr_weighted_sum(rows, w, value);
    }
    if (want == FR_VALUE) return;
    for (int64_t o = 0; o < outputs; o++) {
        double *restrict p = k_->f + o * ld, *restrict e = k_->e + o * ld;
        for (int64_t i = 0; i < rows; i++) p[i] /= total[i];
        fr_difference(rows, p, y + o * ld, e);
        if (want == FR_WEIGHT) {
            double *restrict r = k_->r + o * ld, *restrict b = k_->b + o * ld;
            for (int64_t i = 0; i < rows; i++) {
                b[i] = p[i] < FR_LEAST_CURVATURE ? FR_LEAST_CURVATURE : p[i];
                r[i] = e[i] / b[i];
            }
            fr_weigh(rows, w, b);
        } else {
            fr_weigh(rows, w, e);
        }
    }
}

/* Adds the sum of w l to *sum unless that is NULL, and leaves in `work` what is wanted; p of a softmax in place of f. */
static void fr_score(const fr_op *op, int64_t rows, const double *y, const double *w, fr_work *k_, int want,
                     double *sum)
{
    if (op->loss == FR_SQUARED) {
        fr_half_square(op, rows, y, w, k_, want, sum);
        return;
    }
    const int64_t ld = k_->ld;
    k_->bend = k_->b;
    k_->bend_ld = ld;
    if (op->loss == FR_SOFTMAX) {
        fr_softmax(op, rows, y, w, k_, want, sum);
        return;
    }
    for (int64_t at = 0; at < op->outputs * ld; at += ld, y += ld) {
        const double *f = k_->f + at;
        double *value = k_->t + at, *restrict r = k_->r + at, *restrict e = k_->e + at, *restrict b = k_->b + at;
        switch (op->loss) {
#define FR_CASE(NAME, CODE, FUNCTION) \
        case CODE: FUNCTION##_points(want, rows, op->delta, f, y, value, e, b); break;
            FR_SCALAR_LOSSES(FR_CASE)
#undef FR_CASE
        }
        if (sum) *sum += fr_weighted_sum(rows, w, value);
        if (want == FR_WEIGHT)
            for (int64_t i = 0; i < rows; i++) r[i] = e[i] / b[i];
        if (want == FR_SLOPE || want == FR_NEWTON) fr_weigh(rows, w, e);
        if (want > FR_SLOPE) fr_weigh(rows, w, b);
    }
}

/* Changes h (outputs, ld) of the outputs times the curvature that the score has left. */
static void fr_bend(const fr_op *op, int64_t rows, const double *w, const fr_work *k_, double *change)
{
    const int64_t outputs = op->outputs, ld = k_->ld;
    double *restrict mean = k_->half;
    const int softmax = op->loss == FR_SOFTMAX;
    if (softmax) {
        for (int64_t i = 0; i < rows; i++) mean[i] = 0.0;
        for (int64_t o = 0; o < outputs; o++)
            for (int64_t i = 0; i < rows; i++) mean[i] += k_->f[o * ld + i] * change[o * ld + i];
    }
    for (int64_t o = 0; o < outputs; o++) {
        double *restrict h = change + o * ld;
        if (softmax) {
            const double *restrict p = k_->f + o * ld;
            for (int64_t i = 0; i < rows; i++) h[i] = p[i] * (h[i] - mean[i]);
            fr_weigh(rows, w, h);
        } else if (k_->bend) {
            fr_weigh(rows, k_->bend + o * k_->bend_ld, h);
        }
    }
}

/* One unit of the cross entropy below; a function of its own so that the compiler takes `restrict` at its word. */
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

/* e^-700 is the square of e^-350 and a normal number: what is smaller yet is nothing beside the other terms. */
#define FR_SHIFT_MAX 700.0

/* Cross entropy of H = mean_j sigma(z_j).  With t the z nearest to 0 where all have one sign (else 0),
   E_j = exp(|t| - |z_j|) and q_j = 1 / (1 + exp(-|z_j|)), p_j = E_j q_j^2 gives both
       d log H / d z_j = A p_j,   -d log(1 - H) / d z_j = B p_j
   with one A and one B a row.  Sums are scaled by their largest term and A and B are kept as square roots, so
   nothing under- or overflows and no H is clipped.  d1 takes p_j, u takes 1 - 2 sigma(z_j), r takes sqrt A, e takes
   sqrt B, f the loss; t and h are used. */
static void fr_cross_entropy(const fr_op *op, int64_t rows, const double *z, const double *y, fr_work *k_)
{
    const int64_t k = op->k, ld = k_->ld;
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
        k_->half[i] = fr_exp(-0.5 * fr_cap(shift[i], FR_SHIFT_MAX));
        k_->f[i] = k_->h[i] = 0.0;
    }
    for (int64_t j = 0; j < k; j++)
        fr_cross_entropy_unit(rows, z + j * ld, shift, k_->half, k_->f, k_->h, k_->d1 + j * ld, k_->u + j * ld);
    fr_cross_entropy_row(rows, fr_log((double)k), y ? y : k_->y, shift, k_->half, k_->h, k_->f, high, low);
}

/* Coefficient of p_j in dl/dz_j, weighted: w ((1 - y) B - y A), into out. */
static void fr_cross_entropy_slope(int64_t rows, const double *y, const double *w, const fr_work *k_,
                                   double *restrict out)
{
    const double *restrict a = k_->r, *restrict b = k_->e, *restrict t = y ? y : k_->y;
    for (int64_t i = 0; i < rows; i++) out[i] = (1.0 - t[i]) * b[i] * b[i] - t[i] * a[i] * a[i];
    if (w)
        for (int64_t i = 0; i < rows; i++) out[i] *= w[i];
}

static void fr_cross_entropy_loss(const fr_op *op, int64_t rows, const double *y, const double *w, fr_work *k_,
                                  double *s)
{
    const int64_t k = op->k, ld = k_->ld;
    s[0] += fr_weight(rows, w);
    for (int64_t rep = 0; rep < op->reps; rep++) {
        fr_cross_entropy(op, rows, k_->z + rep * k * ld, y, k_);
        s[1 + rep * (k + 2)] += fr_weighted_sum(rows, w, k_->f);
        if (!op->grad) continue;
        fr_cross_entropy_slope(rows, y, w, k_, k_->h);
        for (int64_t j = 0; j < k; j++) fr_scaled(rows, 1.0, k_->h, k_->d1 + j * ld, k_->g + (rep * k + j) * ld);
    }
}

/* Fisher information A B p p' or Hessian (y A^2 + (1 - y) B^2) p p' + diag(dl/dz_j u_j), times the direction. */
static void fr_cross_entropy_curvature(const fr_op *op, int64_t rows, const double *y, const double *w,
                                       fr_work *k_, double *s)
{
    const int64_t k = op->k, ld = k_->ld;
    const double *zd = k_->z + k * ld;
    double *restrict along = k_->t, *restrict slope = k_->h;
    const double *restrict a = k_->r, *restrict b = k_->e;
    s[0] += fr_weight(rows, w);
    fr_cross_entropy(op, rows, k_->z, y, k_);
    if (op->newton) fr_cross_entropy_slope(rows, y, w, k_, slope);
    for (int64_t i = 0; i < rows; i++) along[i] = 0.0;
    for (int64_t j = 0; j < k; j++) {
        const double *restrict p = k_->d1 + j * ld, *restrict zj = zd + j * ld;
        for (int64_t i = 0; i < rows; i++) along[i] += p[i] * zj[i];
    }
    for (int64_t i = 0; i < rows; i++) {
        const double t = y ? y[i] : 0.0, a2 = a[i] * a[i], b2 = b[i] * b[i];
        along[i] *= (w ? w[i] : 1.0) * (op->newton ? t * a2 * a2 + (1.0 - t) * b2 * b2 : a2 * b2);
    }
    for (int64_t j = 0; j < k; j++) {
        const double *restrict p = k_->d1 + j * ld, *restrict u = k_->u + j * ld, *restrict zj = zd + j * ld;
        double *restrict g = k_->g + j * ld;
        if (op->newton)
            for (int64_t i = 0; i < rows; i++) g[i] = p[i] * (along[i] + slope[i] * u[i] * zj[i]);
        else
            fr_scaled(rows, 1.0, along, p, g);
    }
}

/* Jacobian by unit into d1, residual into r: sqrt(A B) p_j, and (1 - y) / rho - y rho with rho^2 = A / B = (1 - H) / H,
   so that their products are the Fisher information and the gradient.  Returns the loss. */
static double fr_cross_entropy_gram(const fr_op *op, int64_t rows, const double *z, const double *y, const double *w,
                                    fr_work *k_)
{
    const int64_t k = op->k, ld = k_->ld;
    fr_cross_entropy(op, rows, z, y, k_);
    const double loss = fr_weighted_sum(rows, w, k_->f);
    k_->bend = w;
    k_->bend_ld = 0;
    for (int64_t i = 0; i < rows; i++) {
        const double t = y ? y[i] : 0.0, a = k_->r[i], b = k_->e[i];
        k_->h[i] = a * b;
        k_->r[i] = (1.0 - t) * (b / a) - t * (a / b);
    }
    for (int64_t j = 0; j < k; j++)
        for (int64_t i = 0; i < rows; i++) k_->d1[j * ld + i] *= k_->h[i];
    return loss;
}

#endif
