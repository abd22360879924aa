/* The driver for one data type: tiles of a block in order, blocks of a range merged in the canonical binary tree
   (split at the largest power of two below the number of blocks), so the sums depend on the block numbers alone
   and never on who computed them.  Its caller, job.c, gives it room to work in. */

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

/* Room to work in, at the head of its own memory. */
typedef struct {
    fr_work work;
    int64_t raw_ld;
    double *raw, *third, *slots;
    REAL *zr, *gr, *copy;
    fr_vd *lanes;
    fr_ahead ahead;
} FR_T(room);

static int fr_is_gram(const fr_op *op)
{
    return op->op == FR_GRAM || op->op == FR_HERMITE_GRAM;
}

/* Features of the third moment, and how many of them make a group. */
static int64_t fr_third_size(const fr_data *dt, const fr_op *op) { return op->m ? op->m : dt->d; }
static int64_t FR_T(third_side)(const fr_op *op) { return op->m ? FR_SIDE_F64 : FR_SIDE; }

/* Doubles of the sums of a sweep while it is under way: [by X, in panels (or the third moment, in its own order) | by
   the constant, where apart | s], in whole cache lines. */
static int64_t FR_T(sums)(const fr_data *dt, const fr_op *op)
{
    const int64_t by_x = op->op == FR_THIRD ? fr_third_sums(fr_third_size(dt, op), FR_T(third_side)(op))
                         : fr_is_gram(op)   ? dt->g / dt->l * fr_panels_size(dt->l, dt->l, FR_VD)
                                            : fr_panels_size(dt->g, dt->d, FR_VL);
    return (by_x + (fr_apart(dt, op) ? dt->g : 0) + dt->s + 7) / 8 * 8;
}

/* a (g, l) of such sums. */
static void FR_T(unpack)(const fr_data *dt, const fr_op *op, const double *sums, double *a)
{
    const int64_t l = dt->l;
    if (op->op == FR_THIRD)
        fr_third_unpack(fr_third_size(dt, op), FR_T(third_side)(op), sums, a);
    else if (fr_is_gram(op))
        for (int64_t m = 0; m < dt->g; m += l, sums += fr_panels_size(l, l, FR_VD))
            fr_panels_unpack(sums, l, l, FR_VD, 1, a + m * l, l);
    else {
        fr_panels_unpack(sums, dt->g, dt->d, FR_VL, 0, a, l);
        const double *apart = sums + FR_T(sums)(dt, op) - dt->s - dt->g;
        for (int64_t m = 0; m < dt->g && fr_apart(dt, op); m++) a[m * l + dt->d] = apart[m];
    }
}

/* Moves the stream on to what follows the tile of `rows` rows from `x` on, where `left` rows are left: as many bytes as
   a tile has, which are to stay in the second-level cache with it.  Rows that lie far apart, or backwards, are left to
   the hardware. */
static void FR_T(fetch_after)(fr_ahead *ahead, const fr_data *dt, const REAL *x, int64_t rows, int64_t left)
{
    const int64_t next = FR_MIN(left - rows, dt->tile) * dt->stride * (int64_t)sizeof(REAL);
    const int dense = 0 < dt->stride && 4 * dt->stride <= 5 * dt->d;
    const char *from = (const char *)(dense ? x + rows * dt->stride : x), *end = dense ? from + next : from;
    if (ahead->at < from || ahead->at > end) ahead->at = from;
    ahead->end = end;
}

/* Sums of one block of `rows` rows from `start`; 0 where the watch has ended the sweep in between. */
static int FR_T(block)(const fr_data *dt, const fr_op *op, const REAL *packed, int64_t start, int64_t rows,
                       FR_T(room) *room, double *a, fr_watch *watch)
{
    fr_work *k_ = &room->work;
    const int64_t raw_ld = room->raw_ld, group = op->group, count = FR_T(sums)(dt, op);
    double *raw = room->raw, *s = a + count - dt->s;
    fr_vd *lanes = room->lanes;
    double *z = group > 1 ? raw : k_->z, *g = group > 1 ? raw : k_->g;
    const REAL *x = (const REAL *)dt->x + start * dt->stride;
    const int gram = fr_is_gram(op), cubic = op->op == FR_THIRD, apart = fr_apart(dt, op);
    const int64_t size = fr_third_size(dt, op), outputs = op->outputs;
    if (apart) memset(lanes, 0, (size_t)dt->g * sizeof *lanes);
    memset(a, 0, (size_t)count * sizeof(double));
    for (int64_t i = 0; i < rows; i += dt->tile, x += dt->tile * dt->stride) {
        if (fr_ended(watch)) return 0;
        const int64_t nr = FR_MIN(rows - i, dt->tile), nt = nr / group, sample = (start + i) / group;
        const double *y = dt->y ? dt->y + sample * outputs : NULL, *w = dt->w ? dt->w + sample : NULL;
        FR_T(fetch_after)(&room->ahead, dt, x, nr, dt->n - start - i);
        FR_T(project)(x, dt->stride, nr, dt->d, dt->q, packed, room->zr, z, raw_ld, &room->ahead);
        if (group > 1) FR_T(fold)(dt->q, group, nt, raw, raw_ld, k_->z, k_->ld, 0);
        if (op->op == FR_GRAM)
            for (int64_t r = 0; r < nr; r++)
                for (int64_t j = 0; j < dt->d; j++)
                    k_->xt[(j * group + r % group) * k_->ld + r / group] = (double)x[r * dt->stride + j];
        if (dt->out) k_->out = dt->out + sample * op->reps * outputs;
        k_->part = 0;
        FR_HERE(fr_row_functions)[op->op](op, nt, y, w, k_, s);
        if (cubic && op->m)
            FR_HERE(fr_third_f64)(nr, k_->ld, size, NULL, 0, z + (dt->q - size) * k_->ld, k_->e, a, room->third, s + 3);
        else if (cubic)
            FR_HERE(FR_T(third))(nr, k_->ld, size, x, dt->stride, NULL, k_->e, a, room->third, s + 3);
        if (dt->g == 0 || cubic) continue;
        if (gram) {
            const int64_t l = dt->l, parts = op->op == FR_GRAM ? op->reps * outputs : 1;
            for (int64_t part = 0; part < parts; part++) {
                k_->part = part;
                if (part) FR_HERE(fr_row_functions)[op->op](op, nt, y, w, k_, s);
                FR_HERE(fr_back_f64)(k_->left, l, nt, l, k_->g, l, l,
                                     a + part / outputs * fr_panels_size(l, l, FR_VD), 1, (double *)room->copy,
                                     &room->ahead);
            }
            continue;
        }
        if (group > 1) FR_T(fold)(dt->g, group, nt, raw, raw_ld, k_->g, k_->ld, 1);
        if (apart) FR_T(sum_rows)(dt->g, nr, g, raw_ld, lanes);
        FR_T(back_coefficients)(dt->g, nr, g, raw_ld, room->gr);
        FR_HERE(FR_T(back))(x, dt->stride, nr, dt->d, room->gr, 0, dt->g, a, 0, room->copy, &room->ahead);
    }
    if (apart)
        for (int64_t m = 0; m < dt->g; m++)
            for (int i = 0; i < FR_VD; i++) s[m - dt->g] += lanes[m][i];
    return 1;
}

/* Bytes of room for parts of up to `most` blocks; made ready in `memory`, on a cache line, unless that is NULL. */
static int64_t FR_T(make_room)(const fr_data *dt, const fr_op *op, int64_t most, void *memory)
{
    const int64_t group = op->group, size = FR_T(sums)(dt, op), features = dt->d + dt->ones;
    const int64_t raw_ld = (FR_MIN(dt->tile, dt->n) + 15) / 16 * 16, ld = (raw_ld / group + 15) / 16 * 16;
    const int64_t fold = group > 1 ? (dt->q > dt->g ? dt->q : dt->g) * raw_ld : 0;
    const int64_t units = op->k * ld, outputs = op->outputs * ld;
    const int64_t zr = FR_T(by_dots)(dt->q, dt->d) ? 0 : FR_T(column_vectors)(dt->q) * FR_VL * raw_ld;
    const int64_t third = op->op == FR_THIRD ? fr_third_room(fr_third_size(dt, op), FR_T(third_side)(op), ld) : 0;
    const int gram = fr_is_gram(op);
    FR_T(room) *room = memory, unused;
    if (!room) room = &unused;
    fr_work *k_ = &room->work;
    /* Sizes in doubles, each rounded up to a cache line. */
    const struct {
        double **at;
        int64_t size;
    } parts[] = {{&k_->z, dt->q * group * ld}, {&k_->u, units}, {&k_->d1, units}, {&k_->d2, units},
                 {&k_->f, outputs}, {&k_->r, outputs}, {&k_->e, outputs}, {&k_->t, outputs}, {&k_->b, outputs},
                 {&k_->y, outputs}, {&k_->h, ld}, {&k_->half, ld}, {&k_->g, gram ? dt->l * ld : dt->g * group * ld},
                 {&k_->left, gram ? ld * dt->l : 0}, {&k_->xt, op->op == FR_GRAM ? features * group * ld : 0},
                 {&k_->he, op->m * (op->order + 1) * ld}, {(double **)&room->zr, zr},
                 {(double **)&room->gr, gram ? 0 : dt->g * raw_ld},
                 {(double **)&room->copy, FR_COPY * raw_ld}, {&room->raw, fold}, {&room->third, third},
                 {(double **)&room->lanes, fr_apart(dt, op) ? dt->g * FR_VD : 0},
                 {&room->slots, (fr_levels(most) + 1) * size}};
    int64_t total = (sizeof *room + 63) / 64 * 8;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (memory) *parts[i].at = (double *)memory + total;
        total += (parts[i].size + 7) / 8 * 8;
    }
    if (!memory) return total * (int64_t)sizeof(double);
    room->raw_ld = raw_ld;
    const int twice = dt->g && !gram && op->op != FR_THIRD; /* whether rows are read by both products */
    room->ahead = (fr_ahead){NULL, NULL, twice ? FR_STEP_AHEAD : 2 * FR_STEP_AHEAD};
    memset(room->zr, 0, (size_t)zr * sizeof(REAL));
    k_->ld = ld, k_->d = features, k_->l = dt->l;
    memset(k_->y, 0, (size_t)outputs * sizeof(double));
    memset(k_->z, 0, (size_t)(dt->q * group * ld) * sizeof(double));
    if (op->op == FR_GRAM)
        for (int64_t i = dt->d * group * ld; i < features * group * ld; i++) k_->xt[i] = 1.0;
    return total * (int64_t)sizeof(double);
}

/* Sums over blocks [first, first + count), as FR_T(sums) counts them; of no meaning once the watch has ended the
   sweep. */
static void FR_T(sum_blocks)(const fr_data *dt, const fr_op *op, const void *packed, int64_t first, int64_t count,
                             void *memory, double *sums, fr_watch *watch)
{
    FR_T(room) *room = memory;
    const int64_t size = FR_T(sums)(dt, op);
    const int levels = fr_levels(count);
    /* slots[0..levels-1] hold complete subtrees by level, slots[levels] the running one. */
    double *slots = room->slots, *top = slots + levels * size;
    for (int64_t i = 0; i < count; i++) {
        const int64_t start = (first + i) * dt->block;
        double *at = i & 1 ? top : slots; /* sums take their place as they are made */
        if (!FR_T(block)(dt, op, packed, start, FR_MIN(dt->block, dt->n - start), room, at, watch)) return;
        double *slot = slots;
        for (int64_t bits = i; bits & 1; bits >>= 1, slot += size) {
            double *to = bits & 2 ? top : slot + size;
            for (int64_t j = 0; j < size; j++) to[j] = slot[j] + top[j];
        }
    }
    fr_add_up(levels, count, size, slots, sums);
}

static int64_t FR_T(packed_bytes)(const fr_data *dt)
{
    return FR_T(packed_size)(dt->q, dt->d) * (int64_t)sizeof(REAL);
}

static void FR_T(pack_all)(const fr_data *dt, void *packed)
{
    FR_T(pack)(dt->p, dt->ones, dt->q, dt->d, packed);
}

const fr_driver FR_HERE(FR_T(driver)) = {FR_T(packed_bytes), FR_T(pack_all), FR_T(make_room), FR_T(sums),
                                         FR_T(sum_blocks), FR_T(unpack)};
