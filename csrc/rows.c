/* Row functions and activations for the instruction set of FR_LEVEL: double, whatever the rows of X are. */
#include "isa.h"
#if FR_BUILT

#include "moments.h"
#include "rowfn.h"

fr_row_fn *const FR_HERE(fr_row_functions)[] = {
    [FR_LOSS] = fr_loss,       [FR_CURVATURE] = fr_curvature, [FR_GRAM] = fr_gram,
    [FR_PREDICT] = fr_predict, [FR_MOMENT] = fr_moment,       [FR_PAIRS] = fr_pairs,
    [FR_HERMITE] = fr_hermite, [FR_HERMITE_GRAM] = fr_hermite, [FR_LANDSCAPE] = fr_landscape,
    [FR_THIRD] = fr_third,
};

extern const fr_driver FR_HERE(fr_driver_f32), FR_HERE(fr_driver_f64);

const fr_isa FR_HERE(fr_isa) = {FR_ISA_NAME, &FR_HERE(fr_driver_f32), &FR_HERE(fr_driver_f64), fr_activate};

#include "isa_end.h"
#endif
