/* Vector types of the instruction set that the including file was compiled for.  GCC and clang vector
   extensions keep one source for AVX-512, AVX2, SSE2 and NEON; widths and tile shapes are chosen here so that
   the accumulators of both products stay in registers. */
#ifndef FR_VEC_H
#define FR_VEC_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define FR_INLINE static inline __attribute__((always_inline))
#define FR_MIN(a, b) ((a) < (b) ? (a) : (b))

/* Tiles of sums that stay in registers: rows of a projection along columns by vectors of columns (at most FR_NP), and
   coefficient rows (at most FR_MQ) of a back-projection by vectors of features. */
#if FR_VBYTES == 64
#define FR_NP 4
#define FR_MR(np) ((np) < 3 ? 12 : (np) == 3 ? 8 : 6)
#define FR_MQ 8
#define FR_NV(mq) ((mq) < 5 ? 6 : (mq) < 7 ? 4 : 3)
#else
#define FR_NP 3
#define FR_MR(np) ((np) == 1 ? 12 : (np) == 2 ? 6 : 4)
#define FR_MQ 6
#define FR_NV(mq) ((mq) < 3 ? 4 : (mq) == 3 ? 3 : 2)
#endif

/* Tiles of the back-projection that occur, as F(coefficients of a row, vectors of features, whether copied): back.h.
   Those that copy are the first of several groups. */
#define FR_TO_2(F, MQ, C) F(MQ, 1, C) F(MQ, 2, C)
#define FR_TO_3(F, MQ, C) FR_TO_2(F, MQ, C) F(MQ, 3, C)
#define FR_TO_4(F, MQ, C) FR_TO_3(F, MQ, C) F(MQ, 4, C)
#define FR_TO_6(F, MQ, C) FR_TO_4(F, MQ, C) F(MQ, 5, C) F(MQ, 6, C)
#if FR_VBYTES == 64
#define FR_BACK_TILES(F) \
    FR_TO_6(F, 1, 0) FR_TO_6(F, 2, 0) FR_TO_6(F, 3, 0) FR_TO_6(F, 4, 0) FR_TO_4(F, 5, 0) FR_TO_4(F, 6, 0) \
    FR_TO_3(F, 7, 0) FR_TO_3(F, 8, 0) FR_TO_4(F, 5, 1) FR_TO_4(F, 6, 1) FR_TO_3(F, 7, 1) FR_TO_3(F, 8, 1)
#else
#define FR_BACK_TILES(F) \
    FR_TO_4(F, 1, 0) FR_TO_4(F, 2, 0) FR_TO_3(F, 3, 0) FR_TO_2(F, 4, 0) FR_TO_2(F, 5, 0) FR_TO_2(F, 6, 0) \
    FR_TO_2(F, 4, 1) FR_TO_2(F, 5, 1) FR_TO_2(F, 6, 1)
#endif

/* Sums of a projection along features: so many in all, of so many columns by rows. */
#if FR_VBYTES == 64
#define FR_DOTS 24
#define FR_DOT_K 8
#define FR_DOT_R(k) ((k) < 3 ? 8 : (k) < 7 ? 4 : 2)
#else
#define FR_DOTS 8
#define FR_DOT_K 4
#define FR_DOT_R(k) ((k) < 2 ? 8 : (k) < 3 ? 4 : 2)
#endif

/* Keeps a vector in a register, where the compiler would rather load it anew for each use. */
#if defined(__x86_64__)
#define FR_KEEP(a) __asm__("" : "+v"(a))
#elif defined(__aarch64__)
#define FR_KEEP(a) __asm__("" : "+w"(a))
#else
#define FR_KEEP(a) ((void)0)
#endif

/* Keeps the compiler from deriving an address from others. */
#if defined(__GNUC__) && (defined(__x86_64__) || defined(__aarch64__))
#define FR_APART(a) __asm__("" : "+r"(a))
#else
#define FR_APART(a) ((void)0)
#endif

#define FR_MOST(a, b) ((a) > (b) ? (a) : (b))
#define FR_COPY (4 * FR_VBYTES / 8) /* doubles a row of the copy of a panel */
#define FR_VD (FR_VBYTES / 8) /* doubles in a vector */
/* Features of a group of third.h: whole vectors, and products enough to keep the sums of a tile in registers busy. */
#define FR_SIDE_F64 FR_MOST(FR_VBYTES / 8, 8)
#define FR_SIDE_F32 FR_MOST(FR_VBYTES / 4, 8)

/* So many things in parts of at most `most`: as few as can be, and of nearly equal size, the first `longer` of them
   with one more than `least`.  A small last part would wait for its own sums. */
typedef struct {
    int64_t parts, least, longer;
} fr_cut;

FR_INLINE fr_cut fr_cut_of(int64_t count, int64_t most)
{
    const int64_t parts = (count + most - 1) / most;
    return parts ? (fr_cut){parts, count / parts, count % parts} : (fr_cut){0, 0, 0};
}

FR_INLINE int64_t fr_part(const fr_cut *cut, int64_t i) { return cut->least + (i < cut->longer); }

typedef double fr_vd __attribute__((vector_size(FR_VBYTES)));
typedef double fr_vdu __attribute__((vector_size(FR_VBYTES), aligned(8), may_alias));
typedef float fr_vf __attribute__((vector_size(FR_VBYTES)));
typedef float fr_vfu __attribute__((vector_size(FR_VBYTES), aligned(4), may_alias));

typedef int64_t fr_vl __attribute__((vector_size(FR_VBYTES)));
typedef int32_t fr_vi __attribute__((vector_size(FR_VBYTES)));

/* Rows that are fetched while earlier ones are multiplied, in the order in which they lie in memory, whatever is being
   computed: the hardware follows several streams in one page badly.  Each product makes steps over half of them, while
   it reads its own rows for the first time.  A step is half a line where vectors are no longer: a prefetch may get
   lost, and many small steps keep memory busy more evenly than few long ones.  Where only one product reads the rows,
   steps are twice as long.  Beyond its end the stream stays where it is. */
typedef struct {
    const char *at, *end;
    int64_t step;
} fr_ahead;

#define FR_STEP_AHEAD FR_MOST(FR_VBYTES, 32)
#define FR_FETCH(stream) (__builtin_prefetch((stream).at, 0, 2), (stream).at += (stream).step)
/* Steps over half as many bytes as are read. */
#define FR_HALF(bytes) (((bytes) + 2 * FR_STEP_AHEAD - 1) / (2 * FR_STEP_AHEAD))

/* The stream as a product takes it, which reads its rows for the first time or again. */
FR_INLINE fr_ahead fr_on(const fr_ahead *ahead, int again)
{
    return (fr_ahead){ahead->at, ahead->end, !again && ahead->at < ahead->end ? ahead->step : 0};
}

/* a = v and a += v, in double. */
FR_INLINE void fr_put_f64(double *a, fr_vd v) { *(fr_vdu *)a = v; }
FR_INLINE void fr_add_f64(double *a, fr_vd v) { *(fr_vdu *)a += v; }

#define FR_HALVES(v, low, high) \
    typedef float half __attribute__((vector_size(FR_VBYTES / 2))); \
    half h[2]; \
    memcpy(h, &v, sizeof v); \
    const fr_vd low = __builtin_convertvector(h[0], fr_vd), high = __builtin_convertvector(h[1], fr_vd)

FR_INLINE void fr_put_f32(double *a, fr_vf v)
{
    FR_HALVES(v, low, high);
    *(fr_vdu *)a = low;
    *(fr_vdu *)(a + FR_VD) = high;
}

FR_INLINE void fr_add_f32(double *a, fr_vf v)
{
    FR_HALVES(v, low, high);
    *(fr_vdu *)a += low;
    *(fr_vdu *)(a + FR_VD) += high;
}

#endif
