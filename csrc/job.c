/* A sweep that several threads share: parts come from one counter, sums of parts are merged by the canonical tree as
   soon as both halves are there, and whoever made the job waits for the rest.  No Python: the caller has let go of the
   interpreter, and gets it back only to ask whether somebody wants the sweep to end. */
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels.h"

#define LINE 64                        /* bytes of a cache line */
#define PATIENCE INT64_C(50000000)     /* nanoseconds between two questions */
#define MOST_KEPT (INT64_C(4) << 20)   /* bytes of room that a thread keeps for its next sweep */

struct fr_job {
    fr_data data;
    fr_op op;
    const fr_driver *driver;
    int64_t first, blocks, size, parts; /* blocks from `first` on, in parts of `size` blocks */
    int64_t sums, room;                 /* doubles and bytes */
    void *packed;
    _Atomic int64_t next; /* part to be taken */
    _Atomic int status;   /* why the sweep ended early, or 0 */
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t idle;
    int64_t working;  /* threads */
    double *spare;    /* sums that nobody uses any more, each beginning with the address of the next */
    double **waiting; /* sums of complete subtrees by level and number, NULL where there are none */
};

struct fr_watch {
    fr_job *job;
    fr_poll_fn poll; /* or NULL */
    void *context;
    int64_t due;
};

static void end(fr_job *job, int status)
{
    int none = 0;
    atomic_compare_exchange_strong(&job->status, &none, status);
}

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void ask(fr_watch *watch)
{
    if (watch->poll && watch->poll(watch->context)) {
        watch->poll = NULL;
        end(watch->job, FR_INTERRUPTED);
    }
}

int fr_ended(fr_watch *watch)
{
    if (watch->poll) {
        const int64_t time = now();
        if (!watch->due) watch->due = time + PATIENCE;
        if (time >= watch->due) {
            watch->due = time + PATIENCE;
            ask(watch);
        }
    }
    return atomic_load_explicit(&watch->job->status, memory_order_relaxed) != 0;
}

/* Room that a thread keeps from one sweep to the next, freed when it exits. */
static pthread_key_t kept;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int has_key;

typedef struct {
    int64_t bytes;
    char room[];
} fr_kept;

static void make_key(void)
{
    has_key = pthread_key_create(&kept, free) == 0;
}

static fr_kept *take_room(int64_t bytes)
{
    pthread_once(&once, make_key);
    fr_kept *mine = has_key ? pthread_getspecific(kept) : NULL;
    if (mine) {
        pthread_setspecific(kept, NULL); /* a poll may run another sweep on this thread */
        if (mine->bytes >= bytes) return mine;
        free(mine);
    }
    mine = malloc(sizeof *mine + (size_t)bytes + LINE);
    if (mine) mine->bytes = bytes;
    return mine;
}

static void keep_room(fr_kept *mine)
{
    fr_kept *other = has_key ? pthread_getspecific(kept) : NULL;
    if (has_key && !other && mine->bytes <= MOST_KEPT && pthread_setspecific(kept, mine) == 0) return;
    free(mine);
}

static void *on_line(void *memory)
{
    return (void *)(((uintptr_t)memory + LINE - 1) & ~(uintptr_t)(LINE - 1));
}

fr_op fr_resolved(const fr_op *record)
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

int fr_job_new(const fr_data *data, const fr_op *op, int bits, int64_t first, int64_t count, int64_t size,
               fr_job **made)
{
    if (op->loss < 0 || op->loss >= FR_LOSS_COUNT) return FR_NO_SUCH_LOSS;
    const fr_driver *driver = bits == 32 ? fr_current_isa()->f32 : fr_current_isa()->f64;
    const int64_t parts = count ? (count + size - 1) / size : 0;
    const size_t nodes = (size_t)(2 * parts + 64); /* a level has half the nodes of that below it, or half of one more */
    const size_t bytes = sizeof(fr_job) + nodes * sizeof(double *);
    fr_job *job = malloc(bytes + (size_t)driver->packed_bytes(data) + LINE);
    if (!job) return FR_NO_MEMORY;
    *job = (fr_job){.data = *data, .op = *op, .driver = driver, .first = first, .blocks = count,
                    .size = size, .parts = parts};
    job->sums = driver->sums(data, &job->op);
    atomic_init(&job->next, 0);
    atomic_init(&job->status, 0);
    if (pthread_mutex_init(&job->lock, NULL)) {
        free(job);
        return FR_NO_MEMORY;
    }
    if (pthread_cond_init(&job->idle, NULL)) {
        pthread_mutex_destroy(&job->lock);
        free(job);
        return FR_NO_MEMORY;
    }
    job->room = driver->make_room(data, &job->op, size < count ? size : count, NULL);
    job->waiting = (double **)(job + 1);
    for (size_t i = 0; i < nodes; i++) job->waiting[i] = NULL;
    job->packed = on_line((char *)job + bytes);
    driver->pack(data, job->packed);
    *made = job;
    return 0;
}

void fr_job_free(fr_job *job)
{
    if (!job) return;
    for (int64_t i = 0; i < 2 * job->parts + 64; i++) free(job->waiting[i]);
    for (double *each = job->spare, *next; each; each = next) {
        memcpy(&next, each, sizeof next);
        free(each);
    }
    pthread_cond_destroy(&job->idle);
    pthread_mutex_destroy(&job->lock);
    free(job);
}

void fr_job_stop(fr_job *job)
{
    end(job, FR_INTERRUPTED);
}

static double *take_sums(fr_job *job)
{
    pthread_mutex_lock(&job->lock);
    double *sums = job->spare;
    if (sums) memcpy(&job->spare, sums, sizeof sums);
    pthread_mutex_unlock(&job->lock);
    return sums ? sums : malloc((size_t)(job->sums + 1) * sizeof(double));
}

/* Adds the sums of part i, and merges upwards while the other half of a subtree is there. */
static void add_part(fr_job *job, int64_t i, double *sums)
{
    double **level = job->waiting;
    for (int64_t nodes = job->parts;; level += nodes, nodes = (nodes + 1) / 2, i >>= 1) {
        const int64_t half = i ^ 1;
        double *other = NULL;
        pthread_mutex_lock(&job->lock);
        if (half < nodes) {
            other = level[half];
            level[half] = NULL;
        }
        if (!other) level[i] = sums;
        pthread_mutex_unlock(&job->lock);
        if (!other) return;
        for (int64_t j = 0; j < job->sums; j++) sums[j] += other[j]; /* either order gives the same bits */
        pthread_mutex_lock(&job->lock);
        memcpy(other, &job->spare, sizeof job->spare);
        job->spare = other;
        pthread_mutex_unlock(&job->lock);
    }
}

static void take_parts(fr_job *job, fr_watch *watch)
{
    if (atomic_load(&job->next) >= job->parts) return;
    pthread_mutex_lock(&job->lock);
    job->working++;
    pthread_mutex_unlock(&job->lock);
    fr_kept *mine = take_room(job->room);
    void *room = mine ? on_line(mine->room) : NULL;
    if (room)
        job->driver->make_room(&job->data, &job->op, job->size < job->blocks ? job->size : job->blocks, room);
    else
        end(job, FR_NO_MEMORY);
    for (int64_t i; !fr_ended(watch) && (i = atomic_fetch_add(&job->next, 1)) < job->parts;) {
        const int64_t from = i * job->size, left = job->blocks - from;
        double *sums = take_sums(job);
        if (!sums) {
            end(job, FR_NO_MEMORY);
            break;
        }
        job->driver->sum_blocks(&job->data, &job->op, job->packed, job->first + from,
                                left < job->size ? left : job->size, room, sums, watch);
        add_part(job, i, sums);
    }
    if (mine) keep_room(mine);
    pthread_mutex_lock(&job->lock);
    if (--job->working == 0) pthread_cond_broadcast(&job->idle);
    pthread_mutex_unlock(&job->lock);
}

void fr_job_work(fr_job *job)
{
    take_parts(job, &(fr_watch){.job = job});
}

void fr_add_up(int levels, int64_t count, int64_t size, const double *slots, double *sums)
{
    int started = 0;
    for (int level = 0; level < levels; level++, slots += size) {
        if (!((count >> level) & 1)) continue;
        for (int64_t j = 0; j < size; j++) sums[j] = started ? slots[j] + sums[j] : slots[j];
        started = 1;
    }
    if (!started) memset(sums, 0, (size_t)size * sizeof(double));
}

/* The sums of all parts: incomplete subtrees are merged from the right, as fr_add_up does. */
static double *total(fr_job *job)
{
    double **level = job->waiting, *sums = NULL;
    for (int64_t nodes = job->parts, whole = job->parts; whole; level += nodes, nodes = (nodes + 1) / 2, whole >>= 1) {
        if (!(whole & 1)) continue;
        double *left = level[whole - 1];
        for (int64_t j = 0; sums && j < job->sums; j++) left[j] += sums[j];
        sums = left;
    }
    return sums;
}

static void wait_for_others(fr_job *job, fr_watch *watch)
{
    pthread_mutex_lock(&job->lock);
    while (job->working) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += PATIENCE;
        if (until.tv_nsec >= 1000000000) until.tv_sec++, until.tv_nsec -= 1000000000;
        if (pthread_cond_timedwait(&job->idle, &job->lock, &until) == 0) continue;
        pthread_mutex_unlock(&job->lock); /* whom we ask may have to wait for the interpreter */
        ask(watch);
        pthread_mutex_lock(&job->lock);
    }
    pthread_mutex_unlock(&job->lock);
}

int fr_job_finish(fr_job *job, fr_poll_fn poll, void *context, double *a, double *s)
{
    fr_watch watch = {.job = job, .poll = poll, .context = context};
    take_parts(job, &watch);
    wait_for_others(job, &watch);
    const int status = atomic_load(&job->status);
    if (status) return status;
    const fr_data *dt = &job->data;
    const double *sums = total(job);
    const int64_t left = dt->g * dt->l; /* either part may be empty, and then have no address */
    if (left && sums)
        job->driver->unpack(dt, &job->op, sums, a);
    else if (left)
        memset(a, 0, (size_t)left * sizeof(double));
    if (dt->s && sums)
        memcpy(s, sums + job->sums - dt->s, (size_t)dt->s * sizeof(double));
    else if (dt->s)
        memset(s, 0, (size_t)dt->s * sizeof(double));
    return 0;
}
