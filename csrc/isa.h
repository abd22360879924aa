/* Everything that is compiled once per instruction set.  The including file has set FR_VBYTES, FR_ISA (the name
   of its descriptor) and FR_ISA_NAME, and has switched the compiler's target. */
#include <stdlib.h>

#include "rowfn.h"

#define REAL double
#define FR_T(name) fr_##name##_f64
#define FR_V fr_vd
#define FR_VU fr_vdu
#define FR_VI fr_vl
#define FR_VL (FR_VBYTES / 8)
#include "tiles.h"
#define REAL float
#define FR_T(name) fr_##name##_f32
#define FR_V fr_vf
#define FR_VU fr_vfu
#define FR_VI fr_vi
#define FR_VL (FR_VBYTES / 4)
#include "tiles.h"
#define REAL double
#define FR_T(name) fr_##name##_f64
#define FR_VL (FR_VBYTES / 8)
#include "driver.h"
#define REAL float
#define FR_T(name) fr_##name##_f32
#define FR_VL (FR_VBYTES / 4)
#include "driver.h"

static int fr_sweep(const fr_data *data, const fr_row *row, int64_t first, int64_t count, double *a, double *s)
{
    return (data->is_float ? fr_sweep_f32 : fr_sweep_f64)(data, row, first, count, a, s);
}

const fr_isa FR_ISA = {FR_ISA_NAME, fr_sweep, fr_activate};
