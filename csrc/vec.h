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

#if FR_VBYTES == 64
#define FR_MR 8   /* rows of a projection tile along columns */
#define FR_NP 3   /* vectors of columns of a projection tile */
#define FR_MQ 6   /* coefficient rows of a back-projection tile of FR_NV vectors of features ... */
#define FR_NV 4
#define FR_MQ2 8  /* ... or, where that makes fewer groups of rows, of another shape */
#define FR_NV2 3
#elif FR_VBYTES == 32
#define FR_MR 4
#define FR_NP 3
#define FR_MQ 6
#define FR_NV 2
#define FR_MQ2 4
#define FR_NV2 3
#else
#define FR_MR 4
#define FR_NP 2
#define FR_MQ 4
#define FR_NV 2
#define FR_MQ2 2
#define FR_NV2 3
#endif

/* Tiles of the back-projection that occur, as F(KIND, coefficient rows, vectors of features): see back.h. */
#define FR_TO_2(F, KIND, NV) F(KIND, 1, NV) F(KIND, 2, NV)
#define FR_TO_4(F, KIND, NV) FR_TO_2(F, KIND, NV) F(KIND, 3, NV) F(KIND, 4, NV)
#define FR_TO_6(F, KIND, NV) FR_TO_4(F, KIND, NV) F(KIND, 5, NV) F(KIND, 6, NV)
#define FR_TO_8(F, KIND, NV) FR_TO_6(F, KIND, NV) F(KIND, 7, NV) F(KIND, 8, NV)
#if FR_VBYTES == 64
#define FR_BACK_TILES(F) \
    FR_TO_6(F, ROWS, 4) FR_TO_8(F, ROWS, 3) FR_TO_8(F, ROWS, 2) FR_TO_8(F, ROWS, 1) \
    FR_TO_8(F, PANELS, 3) FR_TO_8(F, PANELS, 2) FR_TO_8(F, PANELS, 1)
#elif FR_VBYTES == 32
#define FR_BACK_TILES(F) \
    FR_TO_4(F, ROWS, 3) FR_TO_6(F, ROWS, 2) FR_TO_6(F, ROWS, 1) FR_TO_4(F, PANELS, 2) FR_TO_4(F, PANELS, 1)
#else
#define FR_BACK_TILES(F) \
    FR_TO_2(F, ROWS, 3) FR_TO_4(F, ROWS, 2) FR_TO_4(F, ROWS, 1) FR_TO_4(F, PANELS, 2) FR_TO_4(F, PANELS, 1)
#endif

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

#define FR_MOST(a, b) ((a) > (b) ? (a) : (b))
#define FR_COPY (FR_MOST(FR_NV, FR_NV2) * FR_VBYTES / 8) /* doubles a row of the panel copy */
#define FR_VD (FR_VBYTES / 8) /* doubles in a vector */
/* Features of a group of third.h: whole vectors, and products enough to keep the sums of a tile in registers busy. */
#define FR_SIDE_F64 FR_MOST(FR_VBYTES / 8, 8)
#define FR_SIDE_F32 FR_MOST(FR_VBYTES / 4, 8)

typedef double fr_vd __attribute__((vector_size(FR_VBYTES)));
typedef double fr_vdu __attribute__((vector_size(FR_VBYTES), aligned(8), may_alias));
typedef float fr_vf __attribute__((vector_size(FR_VBYTES)));
typedef float fr_vfu __attribute__((vector_size(FR_VBYTES), aligned(4), may_alias));

typedef int64_t fr_vl __attribute__((vector_size(FR_VBYTES)));
typedef int32_t fr_vi __attribute__((vector_size(FR_VBYTES)));

/* a += v, in double. */
FR_INLINE void fr_add_f64(double *a, fr_vd v) { *(fr_vdu *)a += v; }

FR_INLINE void fr_add_f32(double *a, fr_vf v)
{
    typedef float half __attribute__((vector_size(FR_VBYTES / 2)));
    half h[2];
    memcpy(h, &v, sizeof v);
    *(fr_vdu *)a += __builtin_convertvector(h[0], fr_vd);
    *(fr_vdu *)(a + FR_VD) += __builtin_convertvector(h[1], fr_vd);
}

#endif
