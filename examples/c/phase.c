/* Recovers a signal from intensities in C: y = (w . x)^2 for random rows x, by gradient steps along which the loss falls.

   Build and run:
       cc -O2 phase.c $(fastrecover-config --cflags --libs) -lm -o phase && ./phase
*/
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <fastrecover.h>

#define N 20000
#define D 20
#define STEPS 500

/* A standard normal number from two uniform ones (Box and Muller 1958). */
static double normal(void)
{
    static unsigned long long state = 1;
    double u[2];
    for (int i = 0; i < 2; i++) {
        state = state * 6364136223846793005ULL + 1442695040888963407ULL;
        u[i] = ((double)(state >> 11) + 0.5) / 9007199254740992.0;
    }
    return sqrt(-2.0 * log(u[0])) * cos(6.283185307179586 * u[1]);
}

static void check(int status)
{
    if (status == FASTRECOVER_OK) return;
    fprintf(stderr, "fastrecover: %s\n", fastrecover_message(status));
    exit(1);
}

int main(void)
{
    double *x = malloc(N * D * sizeof *x), *y = malloc(N * sizeof *y);
    double signal[D], w[D], trial[D], grad[D], other[D], value, after;
    const double one = 1.0;
    if (!x || !y) return 1;
    for (int j = 0; j < D; j++) signal[j] = normal() / sqrt(D);
    for (int i = 0; i < N * D; i++) x[i] = normal();

    /* one quadratic unit whose output weight is known to be 1 */
    fastrecover_model model = {.activation = FASTRECOVER_QUADRATIC, .n_features = D, .n_hidden = 1, .output_weights = &one};
    fastrecover_rows rows = {.x = x, .bits = 64, .n = N, .n_features = D, .y = y};
    check(fastrecover_outputs(&model, &rows, 1, signal, NULL, y));

    /* begin along the leading direction of M_2 = E[y (x x' - I)] by power iteration, with the length that y has */
    for (int j = 0; j < D; j++) w[j] = normal();
    for (int round = 0; round < 30; round++) {
        double length = 0.0;
        check(fastrecover_second_moment(&rows, 1, w, NULL, grad));
        for (int j = 0; j < D; j++) length += grad[j] * grad[j];
        for (int j = 0; j < D; j++) w[j] = grad[j] / sqrt(length);
    }
    double mean = 0.0;
    for (int i = 0; i < N; i++) mean += y[i] / N;
    for (int j = 0; j < D; j++) w[j] *= sqrt(mean);

    double step = 0.1;
    check(fastrecover_loss(&model, &rows, 1, w, NULL, &value, grad));
    for (int i = 0; i < STEPS && value > 1e-20; i++) {
        for (int j = 0; j < D; j++) trial[j] = w[j] - step * grad[j];
        check(fastrecover_loss(&model, &rows, 1, trial, NULL, &after, other));
        if (after >= value) {
            step /= 2.0;
            continue;
        }
        step *= 1.2;
        value = after;
        for (int j = 0; j < D; j++) w[j] = trial[j], grad[j] = other[j];
    }

    /* up to its sign, which intensities do not show */
    double inner = 0.0, error = 0.0, size = 0.0;
    for (int j = 0; j < D; j++) inner += w[j] * signal[j];
    for (int j = 0; j < D; j++) {
        const double off = w[j] - (inner < 0.0 ? -signal[j] : signal[j]);
        error += off * off;
        size += signal[j] * signal[j];
    }
    printf("loss %.1e, relative error %.1e\n", value, sqrt(error / size));
    free(x);
    free(y);
    return 0;
}
