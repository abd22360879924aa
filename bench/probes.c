/* Two limits of the machine: bytes read and multiply-adds done in a second.
 *
 * Built at run time for the machine it measures.  Work is handed out in small pieces, so one delayed thread does
 * not make the limit look lower than it is; reads use integer registers, so that no bit pattern is slow; each
 * loop exists for every vector width and the widest one the processor has is taken. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#define PIECE (1 << 20) /* bytes, a multiple of everything below */
#define MAX_THREADS 256

static volatile uint64_t sink;

/* FMA: 12 chains hide a latency of 4 to 6 cycles on two ports and leave AVX2 its 16 registers. */
#define EACH(f) f(0) f(1) f(2) f(3) f(4) f(5) f(6) f(7) f(8) f(9) f(10) f(11)
#define CHAIN_START(i) V a##i = (V){(T)i} + one;
#define CHAIN_STEP(i) a##i = a##i * m + c;
#define CHAIN_END(i) total += a##i;

#define FMA(NAME, TARGET, TYPE, WIDTH)                                                                              \
    TARGET static void NAME(long steps) {                                                                           \
        typedef TYPE T;                                                                                             \
        typedef TYPE V __attribute__((vector_size(WIDTH)));                                                         \
        V one = (V){0} + (T)1, m = one * (T)0.999, c = one * (T)1e-3, total = (V){0};                               \
        EACH(CHAIN_START)                                                                                           \
        for (long i = 0; i < steps; i++) { EACH(CHAIN_STEP) }                                                       \
        EACH(CHAIN_END)                                                                                             \
        uint64_t bits = 0;                                                                                          \
        T first = total[0];                                                                                         \
        memcpy(&bits, &first, sizeof first);                                                                        \
        sink = bits;                                                                                                \
    }

/* Reading: `streams` places of a piece at once (1 or 4), eight accumulators, prefetch `ahead` bytes. */
#define READ(NAME, TARGET, WIDTH)                                                                                   \
    TARGET static void NAME(const char *p, size_t bytes, int streams, size_t ahead) {                               \
        typedef uint64_t V __attribute__((vector_size(WIDTH), aligned(8), may_alias));                              \
        V a0 = {0}, a1 = a0, a2 = a0, a3 = a0, a4 = a0, a5 = a0, a6 = a0, a7 = a0;                                  \
        size_t part = bytes / (size_t)streams;                                                                      \
        for (size_t i = 0; i + 8 * WIDTH <= part; i += 8 * WIDTH)                                                   \
            for (int s = 0; s < streams; s++) {                                                                     \
                const char *q = p + (size_t)s * part + i;                                                           \
                if (ahead)                                                                                          \
                    for (size_t line = 0; line < 8 * WIDTH; line += 64) __builtin_prefetch(q + ahead + line);       \
                const V *v = (const V *)q;                                                                          \
                a0 ^= v[0]; a1 ^= v[1]; a2 ^= v[2]; a3 ^= v[3];                                                     \
                a4 ^= v[4]; a5 ^= v[5]; a6 ^= v[6]; a7 ^= v[7];                                                     \
            }                                                                                                       \
        a0 ^= a1 ^ a2 ^ a3 ^ a4 ^ a5 ^ a6 ^ a7;                                                                     \
        sink = a0[0];                                                                                               \
    }

#define PROBES(NAME, TARGET, WIDTH)                                                                                 \
    READ(read_##NAME, TARGET, WIDTH)                                                                                \
    FMA(fma64_##NAME, TARGET, double, WIDTH)                                                                        \
    FMA(fma32_##NAME, TARGET, float, WIDTH)

#define PLAIN
PROBES(base, PLAIN, 16)
#if defined(__x86_64__) || defined(__i386__)
#define X86 1
PROBES(avx2, __attribute__((target("avx2,fma"))), 32)
PROBES(avx512, __attribute__((target("avx512f,fma"))), 64)
#endif

typedef struct {
    const char *name;
    int width;
    void (*read)(const char *, size_t, int, size_t);
    void (*fma64)(long);
    void (*fma32)(long);
} Kind;

static const Kind kinds[] = {
    {"base", 16, read_base, fma64_base, fma32_base},
#ifdef X86
    {"avx2", 32, read_avx2, fma64_avx2, fma32_avx2},
    {"avx512", 64, read_avx512, fma64_avx512, fma32_avx512},
#endif
};

static const Kind *best(void) {
#ifdef X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f")) return &kinds[2];
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return &kinds[1];
#endif
    return &kinds[0];
}

typedef struct {
    const char *data; /* NULL: FMA */
    size_t bytes, ahead;
    int streams, single;
    long pieces, steps;
    long next;
    int ready, wanted;
    double begun;
} Job;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *work(void *argument) {
    Job *job = argument;
    const Kind *kind = best();
    long i;
    /* The clock starts when every thread runs: a new thread may wait milliseconds for a processor. */
    if (__atomic_add_fetch(&job->ready, 1, __ATOMIC_ACQ_REL) == job->wanted)
        job->begun = now();
    else
        while (__atomic_load_n(&job->ready, __ATOMIC_ACQUIRE) < job->wanted) sched_yield();
    while ((i = __atomic_fetch_add(&job->next, 1, __ATOMIC_RELAXED)) < job->pieces) {
        if (job->data) {
            size_t at = (size_t)i * PIECE, left = job->bytes - at;
            kind->read(job->data + at, left < PIECE ? left : PIECE, job->streams, job->ahead);
        } else if (job->single)
            kind->fma32(job->steps);
        else
            kind->fma64(job->steps);
    }
    return NULL;
}

/* Seconds the job took, negative if a thread could not be started. */
static double spread(Job *job, int threads) {
    pthread_t others[MAX_THREADS];
    int started = 0;
    double end;
    job->wanted = threads < MAX_THREADS ? threads : MAX_THREADS;
    while (started < job->wanted - 1 && !pthread_create(&others[started], NULL, work, job)) started++;
    int short_of = job->wanted - 1 - started;
    if (short_of) __atomic_add_fetch(&job->ready, short_of, __ATOMIC_ACQ_REL);
    work(job);
    for (int i = 0; i < started; i++) pthread_join(others[i], NULL);
    end = now();
    return short_of ? -1.0 : end - job->begun;
}

const char *probe_name(void) { return best()->name; }

/* Seconds for reading `bytes` bytes once. */
double probe_read(const void *data, size_t bytes, int threads, int streams, size_t ahead) {
    Job job = {data, bytes, ahead, streams, 0, (long)((bytes + PIECE - 1) / PIECE), 0, 0, 0, 0, 0.0};
    return spread(&job, threads);
}

/* Seconds for `pieces` pieces of `steps` steps of 12 vector multiply-adds. */
double probe_fma(int single, long pieces, long steps, int threads) {
    Job job = {NULL, 0, 0, 1, single, pieces, steps, 0, 0, 0, 0.0};
    return spread(&job, threads);
}
