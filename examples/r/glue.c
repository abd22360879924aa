/* A loss and its gradient for R, by .Call.  R stores tables by columns, so X comes as t(X): its columns are the rows. */
#include <R.h>
#include <Rinternals.h>

#include <fastrecover.h>

/* c(loss, gradient) of relu units with biases, free output weights and an intercept; tX is (d, n). */
SEXP relu_loss(SEXP tX, SEXP y, SEXP theta, SEXP n_hidden)
{
    const int *dim = INTEGER(getAttrib(tX, R_DimSymbol));
    fastrecover_model model = {.activation = FASTRECOVER_RELU, .n_features = dim[0], .n_hidden = asInteger(n_hidden),
                               .hidden_bias = 1, .fit_intercept = 1};
    fastrecover_rows rows = {.x = REAL(tX), .bits = 64, .n = dim[1], .n_features = dim[0], .y = REAL(y)};
    const int64_t size = fastrecover_n_parameters(&model);
    if (size < 0) error("%s", fastrecover_message((int)size));
    if (XLENGTH(theta) != size) error("theta must have %d entries, got %d", (int)size, (int)XLENGTH(theta));
    if (XLENGTH(y) != dim[1]) error("y must have %d entries, got %d", dim[1], (int)XLENGTH(y));
    SEXP result = PROTECT(allocVector(REALSXP, size + 1));
    const int status = fastrecover_loss(&model, &rows, 1, REAL(theta), NULL, REAL(result), REAL(result) + 1);
    if (status) error("%s", fastrecover_message(status));
    UNPROTECT(1);
    return result;
}
