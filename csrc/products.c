/* The driver and both its products for rows of FR_BITS bits and the instruction set of FR_LEVEL. */
#include "isa.h"
#if FR_BUILT

#include "panels.h"
#include "rows.h"
#include "vec.h"

#if FR_BITS == 64
#define REAL double
#define FR_T(name) fr_##name##_f64
#define FR_V fr_vd
#define FR_VU fr_vdu
#define FR_VI fr_vl
#define FR_VL (FR_VBYTES / 8)
#define FR_SIDE FR_SIDE_F64
#else
#define REAL float
#define FR_T(name) fr_##name##_f32
#define FR_V fr_vf
#define FR_VU fr_vfu
#define FR_VI fr_vi
#define FR_VL (FR_VBYTES / 4)
#define FR_SIDE FR_SIDE_F32
#endif

/* What row functions make is double whatever X is: its products are those of the unit for 64 bits. */
void FR_HERE(fr_back_f64)(const double *x, int64_t stride, int64_t rows, int64_t l, const double *g, int64_t step,
                          int64_t gn, double *a, int upper, double *copy, fr_ahead *ahead);
void FR_HERE(fr_third_f64)(int64_t rows, int64_t ld, int64_t d, const double *x, int64_t stride, const double *z,
                           const double *e, double *sums, double *room, double *first);

#include "project.h"

#include "back.h"

#include "third.h"

#include "driver.h"

#include "isa_end.h"
#endif
