/* Losses.  One of the output f, l(f, y), is a case of fr_score.  The cross entropy of a mean of units is no function of
   f to working precision where f is near 0 or 1, and is computed from the projections of the units instead. */
#ifndef FR_LOSSES_H
#define FR_LOSSES_H

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

/* e = w l' and r = l' / l'', primes by f; adds the sum of w l to *sum, unless that is NULL.  Returns w l'', the weights
   of rows in the Gauss-Newton matrix (NULL: ones), so that J, r and these make the matrix and the gradient. */
static const double *fr_score(const fr_op *op, int64_t rows, const double *y, const double *w, const fr_work *k_,
                              double *sum)
{
    switch (op->loss) {
    case FR_SQUARED:
        fr_residual(rows, y, w, k_);
        if (sum) *sum += 0.5 * fr_dot(rows, k_->e, k_->r);
        return w;
    }
    return NULL;
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

static void fr_cross_entropy_loss(const fr_op *op, int64_t rows, const double *y, const double *w, fr_work *k_,
                                  double *s)
{
    const int64_t k = op->k, ld = k_->ld;
    s[0] += fr_weight(rows, w);
    for (int64_t rep = 0; rep < op->reps; rep++) {
        fr_cross_entropy(op, rows, k_->z + rep * k * ld, y, k_);
        s[1 + rep * (k + 2)] += w ? fr_dot(rows, w, k_->f) : fr_sum(rows, k_->f);
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
static double fr_cross_entropy_gram(const fr_op *op, int64_t rows, const double *y, const double *w, fr_work *k_)
{
    const int64_t k = op->k, ld = k_->ld;
    fr_cross_entropy(op, rows, k_->z, y, k_);
    const double loss = w ? fr_dot(rows, w, k_->f) : fr_sum(rows, k_->f);
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
