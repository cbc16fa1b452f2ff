/* Compensated rounding against the same computed the long way, with the inverse of what is left. */
#include "quant/feedback.h"

#include <stdlib.h>

#include "core/rng.h"
#include "quant/format.h"
#include "tests/tap.h"
#include "tests/unit/tiny.h"

enum { MOST = 150, ROWS = 19, SAMPLES = 70 };

/* Sum of x xᵀ of n_x rows whose columns depend on each other and differ in size. */
static void make_gram(struct rng *rng, size_t n, size_t n_x, float *gram)
{
    static float x[MOST], mix[MOST];
    memset(gram, 0, n * n * sizeof *gram);
    for (size_t i = 0; i < n; i++)
        mix[i] = (float)rng_normal(rng);
    for (size_t s = 0; s < n_x; s++) {
        float common = 2 * (float)rng_normal(rng);
        for (size_t i = 0; i < n; i++)
            x[i] = (i % 7 == 3 ? 5.0F : 1.0F) * ((float)rng_normal(rng) + mix[i] * common);
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < n; j++)
                gram[i * n + j] += x[i] * x[j];
    }
}

/* Gauss and Jordan, of a positive definite matrix. */
static void invert(double *a, size_t n)
{
    for (size_t k = 0; k < n; k++) {
        double pivot = a[k * n + k];
        a[k * n + k] = 1;
        for (size_t j = 0; j < n; j++)
            a[k * n + j] /= pivot;
        for (size_t i = 0; i < n; i++) {
            double factor = a[i * n + k];
            if (i == k)
                continue;
            a[i * n + k] = 0;
            for (size_t j = 0; j < n; j++)
                a[i * n + j] -= factor * a[k * n + j];
        }
    }
}

/* H of columns from `first` on, damped, inverted: [n - first, n - first]. */
static double *inverse_from(const float *gram, size_t n, size_t first)
{
    size_t m = n - first;
    double *a = malloc(m * m * sizeof *a), mean = 0;
    for (size_t i = 0; i < n; i++)
        mean += (double)gram[i * n + i] / (double)n;
    for (size_t i = 0; a && i < m; i++)
        for (size_t j = 0; j < m; j++)
            a[i * m + j] = (double)gram[(first + i) * n + first + j] + (i == j ? 0.01 * mean : 0);
    if (!a)
        exit(1);
    invert(a, m);
    return a;
}

/* Optimal brain quantisation in the order of columns: each rounded in turn, all later ones moved
 * by its error times its row of the inverse of what is left. */
static void the_long_way(const float *gram, size_t n, const float *w, size_t rows, int8_t *code,
                         const float *scale)
{
    double *row = malloc(rows * n * sizeof *row);
    for (size_t i = 0; row && i < rows * n; i++)
        row[i] = (double)w[i];
    for (size_t c = 0; row && c < n; c++) {
        double *inverse = inverse_from(gram, n, c);
        for (size_t r = 0; r < rows; r++) {
            double q = nearbyint(row[r * n + c] / (double)scale[r]);
            q = q > 127 ? 127 : q < -127 ? -127 : q;
            double error = (row[r * n + c] - q * (double)scale[r]) / inverse[0];
            code[r * n + c] = (int8_t)q;
            for (size_t j = c; j < n; j++)
                row[r * n + j] -= error * inverse[j - c];
        }
        free(inverse);
    }
    free(row);
}

/* (W - Q) H (W - Q)ᵀ, the sum over rows. */
static double cost(const float *gram, size_t n, const float *w, size_t rows, const int8_t *code,
                   const float *scale)
{
    double sum = 0;
    for (size_t r = 0; r < rows; r++, w += n, code += n)
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < n; j++)
                sum += ((double)w[i] - code[i] * (double)scale[r]) * (double)gram[i * n + j] *
                       ((double)w[j] - code[j] * (double)scale[r]);
    return sum;
}

static struct rng rng;
static float gram[MOST * MOST], w[ROWS * MOST], scale[ROWS], plain_scale[ROWS];
static int8_t code[ROWS * MOST], plain[ROWS * MOST], expected[ROWS * MOST];

static void make_w(size_t n)
{
    for (size_t i = 0; i < ROWS * n; i++)
        w[i] = (float)rng_normal(&rng) * 0.1F;
    memset(w + 2 * n, 0, n * sizeof *w); /* a row of nothing */
    for (size_t c = 0; c < n; c++)
        w[4 * n + c] = c % 2 ? 0.3F : -0.3F; /* every code is at an end */
}

static void quantise(size_t n, struct threads *team)
{
    struct error err = ERROR_INIT;
    struct feedback feedback;
    tiny_must(feedback_open(&feedback, gram, n, team, &err) &&
                  feedback_round(&feedback, w, ROWS, team, code, scale, &err),
              &err);
    feedback_close(&feedback);
}

/* n_x: fewer rows than columns, or more. */
static void against_the_long_way(size_t n, size_t n_x, struct threads *team)
{
    size_t same = 0;
    make_gram(&rng, n, n_x, gram);
    make_w(n);
    quantise(n, NULL);
    format_quantise_rows(w, ROWS, n, plain, plain_scale);
    the_long_way(gram, n, w, ROWS, expected, plain_scale);
    for (size_t i = 0; i < ROWS * n; i++)
        same += code[i] == expected[i];
    tap_ok(same >= ROWS * n - ROWS * n / 200, "%zu columns: %zu of %zu codes as by inverses", n,
           same, ROWS * n);
    tap_ok(memcmp(scale, plain_scale, sizeof scale) == 0, "the scales are those of plain rounding");
    double ours = cost(gram, n, w, ROWS, code, scale);
    double nearest = cost(gram, n, w, ROWS, plain, scale);
    tap_ok(n == 1 ? ours <= nearest : ours < 0.8 * nearest,
           "what it costs, %.4g, is less than that of plain rounding, %.4g", ours, nearest);
    memcpy(expected, code, sizeof code);
    memset(code, 1, sizeof code);
    quantise(n, team);
    tap_ok(memcmp(code, expected, ROWS * n) == 0, "two threads give the same codes");
}

static void is_plain(size_t n, const char *what)
{
    quantise(n, NULL);
    format_quantise_rows(w, ROWS, n, plain, plain_scale);
    tap_ok(memcmp(code, plain, ROWS * n) == 0 && memcmp(scale, plain_scale, sizeof scale) == 0,
           "%s: plain rounding", what);
}

int main(void)
{
    struct error err = ERROR_INIT;
    struct threads *team = threads_open(2, &err);
    tiny_must(team != NULL, &err);
    rng_seed(&rng, 3);
    against_the_long_way(1, 5, team);
    against_the_long_way(9, 40, team);
    against_the_long_way(64, SAMPLES, team);
    against_the_long_way(65, 30, team);
    against_the_long_way(MOST, SAMPLES, team);
    make_w(70);
    memset(gram, 0, sizeof gram);
    is_plain(70, "nothing was ever multiplied");
    for (size_t i = 0; i < 70; i++)
        gram[i * 70 + i] = 1 + (float)i;
    is_plain(70, "columns that have nothing to do with each other");
    /* Not positive definite, as float sums may be: more is added until it is. */
    for (size_t i = 0; i < 70; i++)
        for (size_t j = 0; j < 70; j++)
            gram[i * 70 + j] = i == j ? 1 : -0.5F;
    quantise(70, NULL);
    tap_ok(scale[0] > 0, "sums that are not positive definite are damped more");
    threads_close(team);
    return tap_done();
}
