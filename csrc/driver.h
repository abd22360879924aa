/* The driver for one data type: tiles of a block in order, blocks of a range merged in the canonical binary tree
   (split at the largest power of two below the number of blocks), so the sums depend on the block numbers alone
   and never on who computed them.  One allocation a call; no Python. */

/* raw (columns, raw_ld) with the rows of a sample next to each other <-> folded (columns group, ld), one row of room
   for each member of the group, so that patches become units. */
static void FR_T(fold)(int64_t columns, int64_t group, int64_t samples, double *raw, int64_t raw_ld, double *folded,
                       int64_t ld, int back)
{
    for (int64_t c = 0; c < columns; c++)
        for (int64_t p = 0; p < group; p++) {
            double *r = raw + c * raw_ld + p, *f = folded + (c * group + p) * ld;
            if (back)
                for (int64_t i = 0; i < samples; i++) r[i * group] = f[i];
            else
                for (int64_t i = 0; i < samples; i++) f[i] = r[i * group];
        }
}

/* Adds each of n rows of coefficients to its vector of lanes. */
FR_INLINE void FR_T(sum_rows_of)(const int n, int64_t rows, const double *g, int64_t ld, fr_vd *lanes)
{
    fr_vd sums[4];
#pragma GCC unroll 4
    for (int m = 0; m < n; m++) sums[m] = lanes[m];
    int64_t r = 0;
    for (; r + FR_VD <= rows; r += FR_VD)
#pragma GCC unroll 4
        for (int m = 0; m < n; m++) sums[m] += *(const fr_vdu *)(g + m * ld + r);
    for (; r < rows; r++)
#pragma GCC unroll 4
        for (int m = 0; m < n; m++) sums[m] += (fr_vd){g[m * ld + r]};
#pragma GCC unroll 4
    for (int m = 0; m < n; m++) lanes[m] = sums[m];
}

static __attribute__((noinline)) void FR_T(sum_rows)(int64_t n, int64_t rows, const double *g, int64_t ld, fr_vd *lanes)
{
    int64_t m = 0;
    for (; m + 4 <= n; m += 4) FR_T(sum_rows_of)(4, rows, g + m * ld, ld, lanes + m);
    for (; m < n; m++) FR_T(sum_rows_of)(1, rows, g + m * ld, ld, lanes + m);
}

/* Whether sums go back to the rows, of which the constant is kept apart until the end: a is [sums by X | by 1]. */
FR_INLINE int FR_T(apart)(const fr_data *dt, const fr_op *op)
{
    return dt->ones && op->op != FR_GRAM && op->op != FR_HERMITE_GRAM && op->op != FR_THIRD;
}

/* Sums of one block of `rows` rows from `start`, into zeroed a and s. */
static void FR_T(block)(const fr_data *dt, const fr_op *op, const REAL *packed, int64_t start, int64_t rows,
                        fr_work *k_, double *raw, int64_t raw_ld, REAL *gr, REAL *copy, double *third,
                        fr_vd *lanes, double *a, double *s)
{
    const int64_t group = op->group;
    double *z = group > 1 ? raw : k_->z, *g = group > 1 ? raw : k_->g;
    const REAL *x = (const REAL *)dt->x + start * dt->stride;
    const int gram = op->op == FR_GRAM || op->op == FR_HERMITE_GRAM, cubic = op->op == FR_THIRD;
    const int64_t size = op->m ? op->m : dt->d, side = op->m ? FR_SIDE_F64 : FR_SIDE, outputs = op->outputs;
    const int apart = FR_T(apart)(dt, op);
    if (apart) memset(lanes, 0, (size_t)dt->g * sizeof *lanes);
    if (cubic)
        memset(third, 0, (size_t)fr_third_sums(size, side) * sizeof(double));
    else
        memset(a, 0, (size_t)(dt->g * dt->l) * sizeof(double));
    memset(s, 0, (size_t)dt->s * sizeof(double));
    for (int64_t i = 0; i < rows; i += dt->tile, x += dt->tile * dt->stride) {
        const int64_t nr = FR_MIN(rows - i, dt->tile), nt = nr / group, sample = (start + i) / group;
        const double *y = dt->y ? dt->y + sample * outputs : NULL, *w = dt->w ? dt->w + sample : NULL;
        /* Where little is computed for a row, half of the tile that follows is fetched by each product, if there is
           room for it beside this one; the hardware keeps up with the rest by itself. */
        const int64_t room = (128 << 10) / (int64_t)sizeof(REAL);
        const int ahead = FR_T(by_dots)(dt->q, dt->d) && dt->tile * dt->d <= room && start + i + 2 * dt->tile <= dt->n;
        const REAL *next = ahead ? x + dt->tile * dt->stride : NULL;
        const REAL *second = next && dt->g && !gram && !cubic ? next + nr / 2 * dt->stride : NULL;
        FR_T(project)(x, dt->stride, nr, dt->d, dt->q, packed, z, raw_ld, next);
        if (group > 1) FR_T(fold)(dt->q, group, nt, raw, raw_ld, k_->z, k_->ld, 0);
        if (op->op == FR_GRAM)
            for (int64_t r = 0; r < nr; r++)
                for (int64_t j = 0; j < dt->d; j++)
                    k_->xt[(j * group + r % group) * k_->ld + r / group] = (double)x[r * dt->stride + j];
        if (dt->out) k_->out = dt->out + sample * op->reps * outputs;
        k_->part = 0;
        FR_HERE(fr_row_functions)[op->op](op, nt, y, w, k_, s);
        if (cubic && op->m)
            FR_HERE(fr_third_f64)(nr, k_->ld, size, NULL, 0, z + (dt->q - size) * k_->ld, k_->e, third, s + 3);
        else if (cubic)
            FR_HERE(FR_T(third))(nr, k_->ld, size, x, dt->stride, NULL, k_->e, third, s + 3);
        if (dt->g == 0 || cubic) continue;
        if (gram) {
            const int64_t l = dt->l, parts = op->op == FR_GRAM ? op->reps * outputs : 1;
            for (int64_t part = 0; part < parts; part++) {
                k_->part = part;
                if (part) FR_HERE(fr_row_functions)[op->op](op, nt, y, w, k_, s);
                FR_HERE(fr_back_f64)(k_->left, l, nt, l, k_->g, k_->ld, l, a + part / outputs * l * l, 1,
                                     (double *)copy, NULL);
            }
            continue;
        }
        if (group > 1) FR_T(fold)(dt->g, group, nt, raw, raw_ld, k_->g, k_->ld, 1);
        if (apart) FR_T(sum_rows)(dt->g, nr, g, raw_ld, lanes);
        if (sizeof(REAL) == sizeof(double)) {
            FR_HERE(FR_T(back))(x, dt->stride, nr, dt->d, (const REAL *)g, raw_ld, dt->g, a, 0, copy, second);
        } else {
            for (int64_t m = 0; m < dt->g; m++)
                for (int64_t r = 0; r < nr; r++) gr[m * raw_ld + r] = (REAL)g[m * raw_ld + r];
            FR_HERE(FR_T(back))(x, dt->stride, nr, dt->d, gr, raw_ld, dt->g, a, 0, copy, second);
        }
    }
    if (cubic) fr_third_unpack(size, side, third, a);
    if (apart)
        for (int64_t m = 0; m < dt->g; m++)
            for (int i = 0; i < FR_VD; i++) a[dt->g * dt->d + m] += lanes[m][i];
}

/* The record with addresses in the place of distances. */
static fr_op FR_T(resolved)(const fr_op *record)
{
    fr_op op = *record;
#define FR_RESOLVE(name, type) op.name = op.name ? (const type *)((const char *)record + (uintptr_t)op.name) : NULL
    FR_RESOLVE(v, double);
    FR_RESOLVE(c, double);
    FR_RESOLVE(dv, double);
    FR_RESOLVE(dc, double);
    FR_RESOLVE(factors, int32_t);
#undef FR_RESOLVE
    return op;
}

int FR_HERE(FR_T(sweep))(const fr_data *dt, const fr_op *record, int64_t first, int64_t count, double *a, double *s)
{
    if (record->loss < 0 || record->loss >= FR_LOSS_COUNT) return -2;
    const fr_op resolved = FR_T(resolved)(record), *op = &resolved;
    const int64_t group = op->group, size = dt->g * dt->l + dt->s, features = dt->d + dt->ones;
    const int64_t raw_ld = (FR_MIN(dt->tile, dt->n) + 15) / 16 * 16, ld = (raw_ld / group + 15) / 16 * 16;
    const int64_t fold = group > 1 ? (dt->q > dt->g ? dt->q : dt->g) * raw_ld : 0;
    const int64_t units = op->k * ld, outputs = op->outputs * ld;
    const int apart = FR_T(apart)(dt, op);
    const int gram = op->op == FR_GRAM || op->op == FR_HERMITE_GRAM;
    const int64_t third = op->op != FR_THIRD ? 0
                          : op->m            ? fr_third_room(op->m, FR_SIDE_F64, ld)
                                              : fr_third_room(dt->d, FR_SIDE, ld);
    int levels = 1;
    while ((INT64_C(1) << (levels - 1)) < count) levels++;
    /* Sizes in doubles, each rounded up to a cache line. */
    const int64_t sizes[] = {dt->q * group * ld, units, units, units, outputs, outputs, outputs, outputs,
                             gram ? dt->l * ld : dt->g * group * ld, gram ? ld * dt->l : 0,
                             op->op == FR_GRAM ? features * group * ld : 0, op->m * (op->order + 1) * ld,
                             FR_T(packed_size)(dt->q, dt->d), gram ? 0 : dt->g * raw_ld, FR_COPY * raw_ld,
                             size * (levels + 1), fold, ld, ld, outputs, third, outputs,
                             apart ? dt->g * FR_VD : 0};
    enum { PARTS = sizeof sizes / sizeof *sizes };
    double *part[PARTS];
    int64_t total = 0;
    for (int i = 0; i < PARTS; i++) total += (sizes[i] + 7) / 8 * 8;
    void *memory = malloc((size_t)total * sizeof(double) + 64);
    if (!memory) return -1;
    double *p = (double *)(((uintptr_t)memory + 63) & ~(uintptr_t)63);
    for (int i = 0; i < PARTS; i++) {
        part[i] = p;
        p += (sizes[i] + 7) / 8 * 8;
    }
    fr_work work = {.ld = ld, .d = features, .l = dt->l, .z = part[0], .u = part[1], .d1 = part[2], .d2 = part[3],
                    .f = part[4], .r = part[5], .e = part[6], .t = part[7], .g = part[8], .left = part[9],
                    .xt = part[10], .he = part[11], .h = part[17], .half = part[18], .y = part[19], .b = part[21]};
    memset(work.y, 0, (size_t)outputs * sizeof(double));
    if (op->op == FR_GRAM)
        for (int64_t i = dt->d * group * ld; i < features * group * ld; i++) work.xt[i] = 1.0;
    REAL *packed = (REAL *)part[12];
    double *slots = part[15];
    memset(work.z, 0, (size_t)(dt->q * group * ld) * sizeof(double));
    FR_T(pack)(dt->p, dt->ones, dt->q, dt->d, packed);

    /* slots[0..levels-1] hold complete subtrees by level, slots[levels] the running one. */
    double *top = slots + levels * size;
    for (int64_t i = 0; i < count; i++) {
        const int64_t start = (first + i) * dt->block;
        double *at = i & 1 ? top : slots; /* sums take their place as they are made */
        FR_T(block)(dt, op, packed, start, FR_MIN(dt->block, dt->n - start), &work, part[16], raw_ld,
                    (REAL *)part[13], (REAL *)part[14], part[20], (fr_vd *)part[22], at, at + dt->g * dt->l);
        double *slot = slots;
        for (int64_t bits = i; bits & 1; bits >>= 1, slot += size) {
            double *to = bits & 2 ? top : slot + size;
            for (int64_t j = 0; j < size; j++) to[j] = slot[j] + top[j];
        }
    }
    memset(top, 0, (size_t)size * sizeof(double));
    int started = 0;
    for (int level = 0; level < levels; level++) {
        if (!((count >> level) & 1)) continue;
        const double *slot = slots + level * size;
        if (started)
            for (int64_t j = 0; j < size; j++) top[j] = slot[j] + top[j];
        else
            memcpy(top, slot, (size_t)size * sizeof(double));
        started = 1;
    }
    const int64_t left = dt->g * dt->l; /* either part may be empty, and then have no address */
    if (left && !apart) memcpy(a, top, (size_t)left * sizeof(double));
    for (int64_t m = 0; apart && m < dt->g; m++) {
        memcpy(a + m * features, top + m * dt->d, (size_t)dt->d * sizeof(double));
        a[m * features + dt->d] = top[dt->g * dt->d + m];
    }
    if (dt->s) memcpy(s, top + left, (size_t)dt->s * sizeof(double));
    free(memory);
    return 0;
}
