/* The C library: models and flat parameter vectors, as include/fastrecover.h tells of them, become records and
   directions of the driver, and its sums become means again.  Threads live as long as a call, so that a program that
   forks misses none of them. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fastrecover.h"

#include "activations.h"
#include "kernels.h"

#define SAME(ours, theirs) _Static_assert((int)FASTRECOVER_##ours == (int)(theirs), "a code of fastrecover.h is not ours")
#define SAME_ACTIVATION(NAME, CODE, FUNCTION) SAME(NAME, FR_##NAME);
#define SAME_LOSS(NAME, CODE, FUNCTION) SAME(NAME, FR_##NAME);
FR_ACTIVATIONS(SAME_ACTIVATION)
FR_SCALAR_LOSSES(SAME_LOSS)
SAME(SQUARED, FR_SQUARED);
SAME(SOFTMAX, FR_SOFTMAX);
SAME(MEAN_OF_SIGMOIDS, FR_CROSS_ENTROPY);

#define LEAST_WORK (INT64_C(1) << 20) /* multiply-adds for each thread, as in engines/threads.py */
#define TURNS 16                      /* parts for each thread, the same */
#define MOST_THREADS 1024
#define MOST (INT64_C(1) << 40)       /* numbers of one kind, so that no sum or product of counts overflows */

static const char *const messages[] = {
    "no error",
    "no memory for the work space of a sweep",
    "the sweep was stopped",
    "the model has an activation that is not one of FASTRECOVER_RELU and so on, or FASTRECOVER_FUNCTION and no function",
    "the model has a loss that is not one of FASTRECOVER_SQUARED and so on, or FASTRECOVER_HUBER and no positive delta",
    "n_features and n_hidden must be at least 1, other counts not negative, and there must be memory for all of them",
    "a model of several patches takes one unit, one output, known output_weights and no linear term",
    "FASTRECOVER_MEAN_OF_SIGMOIDS takes sigmoid units, one output, and neither output_weights nor a linear term or "
    "intercept",
    "FASTRECOVER_SOFTMAX takes two outputs or more",
    "bits must be 32 (float) or 64 (double)",
    "stride must not be negative; 0 says n_features",
    "the rows have another n_features than the model",
    "there are no rows",
    "a pointer is NULL that must not be: x, theta, a direction, V or a result",
};

int fastrecover_version(void)
{
    return FASTRECOVER_VERSION;
}

const char *fastrecover_message(int status)
{
    const int known = (int)(sizeof messages / sizeof *messages);
    return status <= 0 && -status < known ? messages[-status] : "an unknown status";
}

/* A model with all counts, and where the parts of theta begin. */
typedef struct {
    const fastrecover_model *model;
    int64_t d, k, m, patches;
    int64_t units;  /* terms of an output: k, or the patches of one unit */
    int64_t linear; /* linear rows */
    int64_t ones;   /* columns beyond d */
    int64_t biases, weights_out, linear_term, intercept, size;
    int has_v;      /* whether theta has output weights */
} shape;

static int shape_of(const fastrecover_model *model, shape *made)
{
    if (!model) return FASTRECOVER_NULL;
    const int64_t m = model->n_outputs ? model->n_outputs : 1, patches = model->n_patches ? model->n_patches : 1;
    const int64_t d = model->n_features, k = model->n_hidden;
    if (model->activation == FASTRECOVER_FUNCTION ? !model->function
                                                  : model->activation < 0 || model->activation >= FR_ACTIVATION_COUNT)
        return FASTRECOVER_BAD_ACTIVATION;
    if (model->loss < 0 || model->loss >= FR_LOSS_COUNT || (model->loss == FASTRECOVER_HUBER && !(model->delta > 0.0)))
        return FASTRECOVER_BAD_LOSS;
    if (d < 1 || k < 1 || m < 1 || patches < 1) return FASTRECOVER_BAD_SIZE;
    if (d >= MOST || k > MOST / (d + 1) || patches > MOST / k || m > MOST / (d + k * patches + 1))
        return FASTRECOVER_BAD_SIZE;
    const int mean = model->loss == FASTRECOVER_MEAN_OF_SIGMOIDS;
    if (mean && (model->activation != FASTRECOVER_SIGMOID || m > 1 || model->output_weights || model->linear_term ||
                 model->fit_intercept))
        return FASTRECOVER_BAD_MEAN_OF_SIGMOIDS;
    if (patches > 1 && (k > 1 || m > 1 || model->linear_term || !(mean || model->output_weights)))
        return FASTRECOVER_BAD_PATCHES;
    if (model->loss == FASTRECOVER_SOFTMAX && m < 2) return FASTRECOVER_BAD_OUTPUTS;
    const int has_v = !mean && !model->output_weights;
    shape s = {.model = model, .d = d, .k = k, .m = m, .patches = patches, .units = k * patches, .has_v = has_v};
    s.linear = model->linear_term ? m : 0;
    s.ones = model->hidden_bias ? 1 : 0;
    s.biases = k * d;
    s.weights_out = s.biases + s.ones * k;
    s.linear_term = s.weights_out + (has_v ? m * k : 0);
    s.intercept = s.linear_term + s.linear * d;
    s.size = s.intercept + (model->fit_intercept ? m : 0);
    *made = s;
    return 0;
}

int64_t fastrecover_n_parameters(const fastrecover_model *model)
{
    shape s;
    const int status = shape_of(model, &s);
    return status ? status : s.size;
}

static int64_t rows_of_set(const shape *s)
{
    return s->k + s->linear;
}

static int64_t sums_of_set(const shape *s)
{
    return 1 + s->m * (s->units + 1);
}

/* One vector as rows of P, output weights and intercepts; those of a direction are 0 where theta has none. */
static void unpack(const shape *s, const double *theta, int direction, double *rows, double *v, double *c)
{
    const int64_t d = s->d, width = d + s->ones;
    for (int64_t i = 0; i < s->k; i++) {
        memcpy(rows + i * width, theta + i * d, (size_t)d * sizeof *rows);
        if (s->ones) rows[i * width + d] = theta[s->biases + i];
    }
    for (int64_t i = 0; i < s->linear; i++) {
        double *row = rows + (s->k + i) * width;
        memcpy(row, theta + s->linear_term + i * d, (size_t)d * sizeof *row);
        if (s->ones) row[d] = 0.0;
    }
    const double *known = s->model->output_weights;
    for (int64_t i = 0; i < s->m * s->units; i++)
        v[i] = s->has_v    ? theta[s->weights_out + i]
               : direction ? 0.0
               : known     ? known[i / s->patches]
                           : 1.0 / (double)s->units;
    for (int64_t i = 0; i < s->m; i++) c[i] = s->model->fit_intercept ? theta[s->intercept + i] : 0.0;
}

/* The other way round, of sums that are divided by the weight of all rows. */
static void pack(const shape *s, const double *rows, const double *v, const double *c, double weight, double *theta)
{
    const int64_t d = s->d, width = d + s->ones;
    for (int64_t i = 0; i < s->k; i++) {
        for (int64_t j = 0; j < d; j++) theta[i * d + j] = rows[i * width + j] / weight;
        if (s->ones) theta[s->biases + i] = rows[i * width + d] / weight;
    }
    for (int64_t i = 0; s->has_v && i < s->m * s->k; i++) theta[s->weights_out + i] = v[i] / weight;
    for (int64_t i = 0; i < s->linear; i++)
        for (int64_t j = 0; j < d; j++)
            theta[s->linear_term + i * d + j] = rows[(s->k + i) * width + j] / weight;
    for (int64_t i = 0; s->model->fit_intercept && i < s->m; i++) theta[s->intercept + i] = c[i] / weight;
}

static int64_t at_least(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t at_most(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t power_of_two(int64_t most)
{
    int64_t power = 1;
    while (power <= most / 2) power *= 2;
    return power;
}

/* Rows of a tile and of a block, as `layout` of kernels/op.py has them for all but Gram matrices. */
static void lay_out(fr_data *data, const fr_op *op, int64_t itemsize)
{
    const int64_t bytes = at_least((data->d + data->ones) * itemsize, 1), group = op->group;
    const int64_t sums = op->op == FR_THIRD ? at_most(data->l / 8, 1024) : at_most(64 * data->g * data->l / bytes, 4096);
    const int64_t usual = at_least(at_most((INT64_C(1) << 20) / bytes, 4096), 64);
    const int64_t block = power_of_two(at_least(power_of_two(at_least(usual, sums)) / group, 1)) * group;
    int64_t tile;
    if (op->op == FR_THIRD) {
        tile = at_most(512 / itemsize, (INT64_C(768) << 10) / bytes);
        tile = at_most(power_of_two(at_least(at_most(tile, 128), 8)), block);
    } else {
        const int64_t both = data->q + data->g;
        const int64_t more = itemsize == 4 ? 0 : at_least(at_most(3 * both, 48), (INT64_C(24) << 10) / bytes);
        tile = at_most(at_most(at_least(at_least(2 * both, 32), more), 96), (INT64_C(384) << 10) / bytes);
        tile = at_most(at_least(tile, 16) / 4 * 4, block);
    }
    data->tile = at_least(tile / group, 1) * group;
    data->block = block;
}

static int64_t processors(void)
{
#ifdef CPU_COUNT
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
    return at_least(sysconf(_SC_NPROCESSORS_ONLN), 1);
}

static void *help(void *job)
{
    fr_job_work(job);
    return NULL;
}

/* All of one sweep, once the record, P and the sizes of the sums are there. */
static int swept(const fastrecover_rows *rows, fr_data *data, fr_op *op, const fastrecover_options *options, double *a,
                 double *s)
{
    const int64_t group = op->group;
    data->x = rows->x;
    data->d = rows->n_features;
    data->stride = rows->stride ? rows->stride : rows->n_features;
    data->n = rows->n * group;
    data->w = rows->weight;
    lay_out(data, op, rows->bits / 8);
    const int64_t blocks = (data->n + data->block - 1) / data->block;
    const int64_t work = data->n * ((data->d + data->ones) * data->q + data->g * data->l + data->s);
    int64_t threads = options && options->n_threads > 0 ? options->n_threads : processors();
    threads = at_most(at_most(threads, blocks), at_least(1, work / LEAST_WORK));
    threads = at_most(threads, MOST_THREADS);
    const int64_t most = threads <= 1 ? blocks : blocks / (threads * TURNS);
    fr_job *job;
    int status = fr_job_new(data, op, rows->bits, 0, blocks, most >= blocks ? blocks : power_of_two(at_least(most, 1)),
                            &job);
    if (status) return FASTRECOVER_NO_MEMORY;
    pthread_t helpers[MOST_THREADS];
    int64_t started = 0;
    while (started < threads - 1 && pthread_create(&helpers[started], NULL, help, job) == 0) started++;
    status = fr_job_finish(job, options ? options->poll : NULL, options ? options->context : NULL, a, s);
    while (started) pthread_join(helpers[--started], NULL);
    fr_job_free(job);
    return status == 0 ? FASTRECOVER_OK : status == FR_INTERRUPTED ? FASTRECOVER_INTERRUPTED : FASTRECOVER_NO_MEMORY;
}

static int check_rows(const fastrecover_rows *rows)
{
    if (!rows || (!rows->x && rows->n)) return FASTRECOVER_NULL;
    if (rows->bits != 32 && rows->bits != 64) return FASTRECOVER_BAD_BITS;
    if (rows->n_features < 1 || rows->n < 0) return FASTRECOVER_BAD_SIZE;
    if (rows->stride < 0) return FASTRECOVER_BAD_STRIDE;
    return 0;
}

static int check(const fastrecover_model *model, const fastrecover_rows *rows, shape *s)
{
    int status = shape_of(model, s);
    if (!status) status = check_rows(rows);
    return status ? status : rows->n_features != s->d ? FASTRECOVER_BAD_FEATURES : 0;
}

/* The sweep of a network at several vectors, with a direction or without: sums a by rows of P and s, which the caller
   frees by freeing a. */
static int network_sweep(const shape *s, const fastrecover_rows *rows, fr_op op, int64_t n_sets, const double *theta,
                         const double *direction, int64_t g, int64_t sums, const fastrecover_options *options,
                         double *out, double **a_made, double **s_made)
{
    const int64_t width = s->d + s->ones, own = rows_of_set(s), terms = s->m * s->units;
    const int64_t sets = n_sets + (direction ? 1 : 0), q = sets * own;
    const int64_t inputs = q * width + sets * (terms + s->m), results = g * width + sums;
    double *memory = malloc((size_t)(inputs + results + 1) * sizeof *memory);
    if (!memory) return FASTRECOVER_NO_MEMORY;
    double *a = memory, *p = memory + results, *v = p + q * width, *c = v + sets * terms;
    for (int64_t i = 0; i < sets; i++)
        unpack(s, i < n_sets ? theta + i * s->size : direction, i == n_sets, p + i * own * width, v + i * terms,
               c + i * s->m);
    const fastrecover_model *model = s->model;
    op.activation = model->activation;
    op.slope = model->slope;
    op.user = model->function;
    op.loss = model->loss;
    op.delta = model->delta;
    op.group = s->patches;
    op.reps = n_sets;
    op.k = s->units;
    op.linear = s->linear;
    op.outputs = s->m;
    op.v = v;
    op.c = c;
    op.dv = v + n_sets * terms;
    op.dc = c + n_sets * s->m;
    fr_data data = {.ones = s->ones, .y = out ? NULL : rows->y, .p = p, .q = q, .g = g, .l = width, .s = sums, .out = out};
    const int status = swept(rows, &data, &op, options, a, a + g * width);
    if (status || !a_made) {
        free(memory);
        return status;
    }
    *a_made = a;
    *s_made = a + g * width;
    return 0;
}

int fastrecover_loss(const fastrecover_model *model, const fastrecover_rows *rows, int64_t n_sets, const double *theta,
                     const fastrecover_options *options, double *value, double *grad)
{
    shape s;
    double *a, *sums;
    int status = check(model, rows, &s);
    if (status) return status;
    if (n_sets < 1 || n_sets > MOST / s.size) return FASTRECOVER_BAD_SIZE;
    if (!theta || !value) return FASTRECOVER_NULL;
    if (!rows->n) return FASTRECOVER_NO_ROWS;
    const int64_t own = rows_of_set(&s), each = sums_of_set(&s);
    status = network_sweep(&s, rows, (fr_op){.op = FR_LOSS, .grad = grad != NULL}, n_sets, theta, NULL,
                           grad ? n_sets * own : 0, 1 + n_sets * each, options, NULL, &a, &sums);
    if (status) return status;
    const double weight = sums[0];
    for (int64_t i = 0; i < n_sets; i++) {
        const double *mine = sums + 1 + i * each;
        value[i] = mine[0] / weight;
        if (grad) pack(&s, a + i * own * (s.d + s.ones), mine + 1, mine + 1 + s.m * s.units, weight, grad + i * s.size);
    }
    free(a);
    return 0;
}

int fastrecover_hessian_product(const fastrecover_model *model, const fastrecover_rows *rows, const double *theta,
                                const double *direction, int gauss_newton, const fastrecover_options *options,
                                double *product)
{
    shape s;
    double *a, *sums;
    int status = check(model, rows, &s);
    if (status) return status;
    if (!theta || !direction || !product) return FASTRECOVER_NULL;
    if (!rows->n) return FASTRECOVER_NO_ROWS;
    status = network_sweep(&s, rows, (fr_op){.op = FR_CURVATURE, .newton = !gauss_newton}, 1, theta, direction,
                           rows_of_set(&s), sums_of_set(&s), options, NULL, &a, &sums);
    if (status) return status;
    pack(&s, a, sums + 1, sums + 1 + s.m * s.units, sums[0], product);
    free(a);
    return 0;
}

int fastrecover_outputs(const fastrecover_model *model, const fastrecover_rows *rows, int64_t n_sets,
                        const double *theta, const fastrecover_options *options, double *outputs)
{
    shape s;
    const int status = check(model, rows, &s);
    if (status) return status;
    if (n_sets < 1 || n_sets > MOST / s.size) return FASTRECOVER_BAD_SIZE;
    if (!theta || (!outputs && rows->n)) return FASTRECOVER_NULL;
    if (!rows->n) return 0;
    return network_sweep(&s, rows, (fr_op){.op = FR_PREDICT}, n_sets, theta, NULL, 0, 0, options, outputs, NULL, NULL);
}

int fastrecover_jacobian_product(const fastrecover_model *model, const fastrecover_rows *rows, const double *theta,
                                 const double *direction, const fastrecover_options *options, double *product)
{
    shape s;
    const int status = check(model, rows, &s);
    if (status) return status;
    if (!theta || !direction || (!product && rows->n)) return FASTRECOVER_NULL;
    if (!rows->n) return 0;
    return network_sweep(&s, rows, (fr_op){.op = FR_PREDICT, .grad = 1}, 1, theta, direction, 0, 0, options, product,
                         NULL, NULL);
}

/* Raw sums of moments: a (g, l) and s, of a network of no units. */
static int moment_sweep(const fastrecover_rows *rows, int kind, int64_t m, const double *v, int64_t g, int64_t l,
                        int64_t sums, const fastrecover_options *options, double *a, double *s)
{
    static const double none;
    fr_op op = {.op = kind, .group = 1, .reps = 1, .m = m, .order = 2, .outputs = 1, .c = &none, .alpha2 = 1.0};
    fr_data data = {.y = rows->y, .p = v, .q = m, .g = g, .l = l, .s = sums};
    return swept(rows, &data, &op, options, a, s);
}

static int check_moment(const fastrecover_rows *rows, int64_t m, const double *v, const double *result)
{
    const int status = check_rows(rows);
    if (status) return status;
    if (m < 0) return FASTRECOVER_BAD_SIZE;
    if ((m && !v) || !result) return FASTRECOVER_NULL;
    return rows->n ? 0 : FASTRECOVER_NO_ROWS;
}

/* Sums (m + 2, d) over rows of y (v . x) x, then of y^2 x and of y x, with those of weights and of y in s. */
static int second_sums(const fastrecover_rows *rows, int64_t m, const double *v, const fastrecover_options *options,
                       double **a, double s[5])
{
    *a = malloc((size_t)((m + 2) * rows->n_features) * sizeof **a);
    if (!*a) return FASTRECOVER_NO_MEMORY;
    const int status = moment_sweep(rows, FR_MOMENT, m, v, m + 2, rows->n_features, 5, options, *a, s);
    if (status) free(*a);
    return status;
}

int fastrecover_first_moment(const fastrecover_rows *rows, const fastrecover_options *options, double *moment)
{
    double *a, s[5];
    int status = check_moment(rows, 0, NULL, moment);
    if (!status) status = second_sums(rows, 0, NULL, options, &a, s);
    if (status) return status;
    const double *last = a + rows->n_features;
    for (int64_t j = 0; j < rows->n_features; j++) moment[j] = last[j] / s[0];
    free(a);
    return 0;
}

int fastrecover_second_moment(const fastrecover_rows *rows, int64_t m, const double *v,
                              const fastrecover_options *options, double *product)
{
    double *a, s[5];
    int status = check_moment(rows, m, v, product);
    if (!status) status = m < 1 ? FASTRECOVER_BAD_SIZE : second_sums(rows, m, v, options, &a, s);
    if (status) return status;
    for (int64_t j = 0; j < m * rows->n_features; j++) product[j] = (a[j] - s[1] * v[j]) / s[0];
    free(a);
    return 0;
}

int fastrecover_third_moment(const fastrecover_rows *rows, int64_t m, const double *v,
                             const fastrecover_options *options, double *packed)
{
    int status = check_moment(rows, m, v, packed);
    if (!status && m < 1) status = FASTRECOVER_BAD_SIZE;
    if (status) return status;
    double *s = malloc((size_t)(3 + m + m * m) * sizeof *s), *first = s + 3, *gram = first + m;
    if (!s) return FASTRECOVER_NO_MEMORY;
    status = moment_sweep(rows, FR_THIRD, m, v, 1, m * (m + 1) * (m + 2) / 6, 3 + m, options, packed, s);
    if (!status) {
        const int64_t d = rows->n_features;
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < m; j++) {
                gram[i * m + j] = 0.0;
                for (int64_t l = 0; l < d; l++) gram[i * m + j] += v[i * d + l] * v[j * d + l];
            }
        for (int64_t i = 0; i < m; i++) first[i] /= s[0];
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = i; j < m; j++)
                for (int64_t l = j; l < m; l++, packed++)
                    *packed = *packed / s[0] -
                              (first[i] * gram[j * m + l] + first[j] * gram[i * m + l] + first[l] * gram[i * m + j]);
    }
    free(s);
    return status;
}
