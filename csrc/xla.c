/* The sweeps of library.c as one target of XLA's foreign function interface, for fastrecover/jax.py.  The records of
   that interface are declared here as far as they are read, so that a build needs nothing of JAX; a test compares them
   with the header of the JAX that is installed.

   A call has the arguments x (n, d), y (n, n_outputs), weight (n,), theta and a direction, each with the same number
   of batch axes in front, of length 1 where an argument is the same for all; y, weight and direction may have no
   elements.  Numbers are float or double and are counted in double. */
#include <stdlib.h>
#include <string.h>

#include "fastrecover.h"

#include "xla.h"

enum { LOSS, LOSS_AND_GRADIENT, HESSIAN_PRODUCT, OUTPUTS, JACOBIAN_PRODUCT, PULLED_BACK };
enum { X, Y, WEIGHT, THETA, DIRECTION, ARGUMENTS };
#define MOST_AXES 16

static fr_xla_error *failed(const fr_xla_frame *frame, int code, const char *message)
{
    fr_xla_error_args args = {sizeof args, NULL, message, code};
    return frame->api->make_error(&args);
}

/* One argument or result: where the element of a batch begins, and how numbers are stored. */
typedef struct {
    char *data;
    int single;
    int64_t size;                /* numbers of one element */
    int64_t batch;               /* elements */
    int64_t steps[MOST_AXES];    /* from one element to the next along each batch axis, 0 where there is one */
} table;

static int64_t product(int64_t count, const int64_t *sizes)
{
    int64_t all = 1;
    for (int64_t i = 0; i < count; i++) all *= sizes[i];
    return all;
}

static int described(const fr_xla_buffer *buffer, int64_t axes, int64_t rank, table *made)
{
    if (buffer->rank != axes + rank || axes > MOST_AXES || (buffer->type != FR_XLA_F32 && buffer->type != FR_XLA_F64))
        return 0;
    table t = {.data = buffer->data, .single = buffer->type == FR_XLA_F32};
    t.size = product(rank, buffer->sizes + axes);
    t.batch = product(axes, buffer->sizes);
    int64_t step = t.size;
    for (int64_t i = axes - 1; i >= 0; step *= buffer->sizes[i--]) t.steps[i] = buffer->sizes[i] == 1 ? 0 : step;
    *made = t;
    return 1;
}

static int64_t element(const table *t, int64_t axes, const int64_t *sizes, int64_t number)
{
    int64_t at = 0;
    for (int64_t i = axes - 1; i >= 0; number /= sizes[i--]) at += number % sizes[i] * t->steps[i];
    return at;
}

/* Numbers as doubles: where they lie, or copied to the room given. */
static const double *doubles(const table *t, int64_t at, int64_t count, double *room)
{
    if (count == 0) return NULL;
    if (!t->single) return (const double *)t->data + at;
    const float *from = (const float *)t->data + at;
    for (int64_t i = 0; i < count; i++) room[i] = from[i];
    return room;
}

static void put(const table *t, int64_t at, int64_t count, const double *from)
{
    if (t->single)
        for (int64_t i = 0; i < count; i++) ((float *)t->data)[at + i] = (float)from[i];
    else
        memcpy((double *)t->data + at, from, (size_t)count * sizeof *from);
}

/* What a call is told beside its arguments, in the order of `_call` in jax.py. */
static int read_call(const fr_xla_frame *frame, int *kind, int *threads, fastrecover_model *model)
{
    if (frame->attributes.count != 1 || frame->attributes.types[0] != FR_XLA_ARRAY) return 0;
    const fr_xla_array *array = frame->attributes.values[0];
    if (array->type != FR_XLA_F64 || array->size != 12) return 0;
    double a[12];
    memcpy(a, array->data, sizeof a);
    *kind = (int)a[0];
    *threads = (int)a[1];
    *model = (fastrecover_model){
        .activation = (int)a[2], .slope = a[3], .function = (fastrecover_function)(uintptr_t)a[4], .loss = (int)a[5],
        .delta = a[6], .n_hidden = (int64_t)a[7], .n_outputs = (int64_t)a[8], .hidden_bias = (int)a[9],
        .linear_term = (int)a[10], .fit_intercept = (int)a[11]};
    return 1;
}

/* Everything of one call, with room for numbers that are not doubles or lie in another order. */
typedef struct {
    int kind;
    fastrecover_model model;
    fastrecover_options options;
    int64_t axes, n, d, m, size;
    const int64_t *sizes; /* of the batch axes, those of the first result */
    table in[ARGUMENTS], out[2];
    double *y, *weight, *theta, *direction, *first, *second;
} call;

/* One element of the batch, or all of them side by side where only theta has more than one. */
static int run(call *c, int64_t number, int64_t n_sets)
{
    int64_t at[ARGUMENTS], to[2];
    for (int i = 0; i < ARGUMENTS; i++) at[i] = element(&c->in[i], c->axes, c->sizes, number);
    for (int i = 0; i < 2; i++) to[i] = element(&c->out[i], c->axes, c->sizes, number);
    const int64_t itemsize = c->in[X].single ? sizeof(float) : sizeof(double);
    const fastrecover_rows rows = {
        .x = c->in[X].data + at[X] * itemsize, .bits = 8 * (int)itemsize, .n = c->n, .n_features = c->d,
        .y = doubles(&c->in[Y], at[Y], c->in[Y].size, c->y),
        .weight = doubles(&c->in[WEIGHT], at[WEIGHT], c->in[WEIGHT].size, c->weight)};
    const double *theta = doubles(&c->in[THETA], at[THETA], n_sets * c->size, c->theta);
    const double *direction = doubles(&c->in[DIRECTION], at[DIRECTION], c->in[DIRECTION].size, c->direction);
    int status = 0;
    switch (c->kind) {
    case LOSS:
    case LOSS_AND_GRADIENT:
    case PULLED_BACK: {
        double *grad = c->kind == LOSS ? NULL : c->second;
        status = fastrecover_loss(&c->model, &rows, n_sets, theta, &c->options, c->first, grad);
        if (status) return status;
        if (c->kind == PULLED_BACK) { /* a sum and no mean */
            for (int64_t i = 0; i < n_sets * c->size; i++) grad[i] *= (double)c->n;
            put(&c->out[0], to[0], n_sets * c->size, grad);
            return 0;
        }
        put(&c->out[0], to[0], n_sets, c->first);
        if (grad) put(&c->out[1], to[1], n_sets * c->size, grad);
        return 0;
    }
    case HESSIAN_PRODUCT:
        status = fastrecover_hessian_product(&c->model, &rows, theta, direction, 0, &c->options, c->second);
        if (!status) put(&c->out[0], to[0], c->size, c->second);
        return status;
    case JACOBIAN_PRODUCT:
        status = fastrecover_jacobian_product(&c->model, &rows, theta, direction, &c->options, c->first);
        if (!status) put(&c->out[0], to[0], c->n * c->m, c->first);
        return status;
    default:
        status = fastrecover_outputs(&c->model, &rows, n_sets, theta, &c->options, c->first);
        if (status) return status;
        for (int64_t set = 0; set < n_sets; set++) { /* a set after the other, where a sweep writes row by row */
            for (int64_t i = 0; n_sets > 1 && i < c->n; i++)
                memcpy(c->second + i * c->m, c->first + (i * n_sets + set) * c->m, (size_t)c->m * sizeof *c->second);
            put(&c->out[0], to[0] + set * c->n * c->m, c->n * c->m, n_sets > 1 ? c->second : c->first);
        }
        return 0;
    }
}

FASTRECOVER_API fr_xla_error *fastrecover_xla(fr_xla_frame *frame)
{
    if (frame->extension && frame->extension->type == FR_XLA_METADATA) {
        fr_xla_metadata *metadata = ((fr_xla_metadata_extension *)frame->extension)->metadata;
        /* what is used has been there since 0.1, so that ours is that of the caller, who did not tell it then */
        metadata->version.major = frame->api ? frame->api->version.major : 0;
        metadata->version.minor = frame->api ? frame->api->version.minor : 1;
        metadata->traits = 0;
        return NULL;
    }
    if (frame->stage != FR_XLA_EXECUTE) return NULL;
    call c = {0};
    if (!read_call(frame, &c.kind, &c.options.n_threads, &c.model) || c.kind < LOSS || c.kind > PULLED_BACK)
        return failed(frame, FR_XLA_INVALID, "fastrecover: the attributes are not those of this version");
    static const int64_t ranks[ARGUMENTS] = {2, 2, 1, 1, 1};
    static const int64_t result_ranks[] = {0, 0, 1, 2, 2, 1};
    const int64_t results = c.kind == LOSS_AND_GRADIENT ? 2 : 1;
    if (frame->arguments.count != ARGUMENTS || frame->results.count != results)
        return failed(frame, FR_XLA_INVALID, "fastrecover: another number of arguments or results");
    const fr_xla_buffer *x = frame->arguments.values[X];
    c.axes = x->rank - ranks[X];
    int good = c.axes >= 0;
    for (int i = 0; good && i < ARGUMENTS; i++)
        good = described(frame->arguments.values[i], c.axes, ranks[i], &c.in[i]);
    for (int i = 0; good && i < results; i++)
        good = described(frame->results.values[i], c.axes, i ? 1 : result_ranks[c.kind], &c.out[i]);
    if (!good) return failed(frame, FR_XLA_INVALID, "fastrecover: arguments must be float or double, of the ranks of jax.py");
    c.sizes = ((const fr_xla_buffer *)frame->results.values[0])->sizes;
    c.n = x->sizes[c.axes];
    c.model.n_features = c.d = x->sizes[c.axes + 1];
    c.m = c.model.n_outputs;
    c.size = fastrecover_n_parameters(&c.model);
    if (c.size < 0) return failed(frame, FR_XLA_INVALID, fastrecover_message((int)c.size));
    const int needs_direction = c.kind == HESSIAN_PRODUCT || c.kind == JACOBIAN_PRODUCT;
    if (c.in[THETA].size != c.size || (c.in[Y].size && c.in[Y].size != c.n * c.m) ||
        (c.in[WEIGHT].size && c.in[WEIGHT].size != c.n) || c.in[DIRECTION].size != needs_direction * c.size)
        return failed(frame, FR_XLA_INVALID, "fastrecover: arguments of other sizes than X, the network and its parameters");

    const int64_t batch = c.out[0].batch;
    int64_t others = 1;
    for (int i = 0; i < ARGUMENTS; i++)
        if (i != THETA && c.in[i].batch > others) others = c.in[i].batch;
    /* directions have one set, and parameters of every element lie side by side where theta has every axis */
    const int64_t n_sets = others == 1 && c.in[THETA].batch == batch && !needs_direction ? batch : 1;
    const int64_t thetas = n_sets * c.size, outputs = n_sets * c.n * c.m;
    const int64_t first = c.kind == OUTPUTS || c.kind == JACOBIAN_PRODUCT ? outputs : n_sets;
    const int64_t second = thetas > c.n * c.m ? thetas : c.n * c.m;
    c.y = malloc((size_t)(c.n * (c.m + 1) + thetas + c.size + first + second + 1) * sizeof *c.y);
    if (!c.y) return failed(frame, FR_XLA_EXHAUSTED, fastrecover_message(FASTRECOVER_NO_MEMORY));
    c.weight = c.y + c.n * c.m;
    c.theta = c.weight + c.n;
    c.direction = c.theta + thetas;
    c.first = c.direction + c.size;
    c.second = c.first + first;
    int status = 0;
    for (int64_t number = 0; number < batch && !status; number += n_sets) status = run(&c, number, n_sets);
    free(c.y);
    return status ? failed(frame, status == FASTRECOVER_NO_MEMORY ? FR_XLA_EXHAUSTED : FR_XLA_INVALID, fastrecover_message(status))
                  : NULL;
}
