/* Least squares of kept units against normal equations in long double, solved by elimination. */
#include <math.h>
#include <stdlib.h>

#include "core/rng.h"
#include "prune/fit.h"
#include "tests/tap.h"
#include "tests/unit/tiny.h"

enum { ROWS = 90, N = 12, M = 5, GROUP = 3, UNITS = N / GROUP, BATCHES = 3 };

struct data {
    float x[ROWS * N], e[ROWS * M], w[M * N];
};

/* e is W x with other factors, a shift and noise, so that there is something to find. */
static void make(struct data *data, uint64_t seed)
{
    static const double factor[UNITS] = {0.3, -0.6, 1.5, 7}; /* beyond 1: 8 is over the limit */
    struct rng rng;
    rng_seed(&rng, seed);
    for (size_t i = 0; i < ROWS * N; i++)
        data->x[i] = 0.5F + (float)rng_normal(&rng);
    for (size_t i = 0; i < M * N; i++)
        data->w[i] = (float)rng_normal(&rng);
    for (size_t r = 0; r < ROWS; r++)
        for (size_t o = 0; o < M; o++) {
            double sum = 0.7 + 0.1 * rng_normal(&rng);
            for (size_t i = 0; i < N; i++)
                sum += factor[i / GROUP] * (double)data->w[o * N + i] * (double)data->x[r * N + i];
            data->e[r * M + o] = (float)sum;
        }
}

static struct fit *filled(const struct data *data, struct device *dev)
{
    struct error err = ERROR_INIT;
    struct fit *fit = fit_open(dev, N, M, &err);
    act *x = dev->op->alloc(dev, ROWS * N * dev->act_bytes, &err);
    act *e = dev->op->alloc(dev, ROWS * M * dev->act_bytes, &err);
    tiny_must(fit && x && e, &err);
    for (size_t b = 0, rows = ROWS / BATCHES; b < BATCHES; b++) {
        dev->op->act_upload(dev, x, data->x + b * rows * N, rows * N);
        dev->op->act_upload(dev, e, data->e + b * rows * M, rows * M);
        fit_add(fit, x, e, data->e + b * rows * M, rows);
    }
    dev->op->free(dev, x);
    dev->op->free(dev, e);
    return fit;
}

/* Solve a x = b by elimination with pivots. */
static void eliminate(long double *a, long double *b, size_t n)
{
    for (size_t k = 0; k < n; k++) {
        size_t pivot = k;
        for (size_t i = k; i < n; i++)
            if (fabsl(a[i * n + k]) > fabsl(a[pivot * n + k]))
                pivot = i;
        for (size_t j = 0; j < n; j++) {
            long double swap = a[k * n + j];
            a[k * n + j] = a[pivot * n + j];
            a[pivot * n + j] = swap;
        }
        long double swap = b[k];
        b[k] = b[pivot];
        b[pivot] = swap;
        for (size_t i = k + 1; i < n; i++) {
            long double f = a[i * n + k] / a[k * n + k];
            for (size_t j = k; j < n; j++)
                a[i * n + j] -= f * a[k * n + j];
            b[i] -= f * b[k];
        }
    }
    for (size_t k = n; k-- > 0;) {
        for (size_t j = k + 1; j < n; j++)
            b[k] -= a[k * n + j] * b[j];
        b[k] /= a[k * n + k];
    }
}

/* Unknowns: a row of D and its bias, whose ridge is 0. */
static void row_of_weights(const struct data *data, size_t o, double ridge, long double *solution)
{
    enum { K = N + 1 };
    long double a[K * K] = {0}, mean[N] = {0}, trace = 0;
    for (size_t i = 0; i < K; i++)
        solution[i] = 0;
    for (size_t r = 0; r < ROWS; r++)
        for (size_t i = 0; i < K; i++) {
            long double xi = i < N ? (long double)data->x[r * N + i] : 1;
            if (i < N)
                mean[i] += xi / ROWS;
            for (size_t j = 0; j < K; j++)
                a[i * K + j] += xi * (j < N ? (long double)data->x[r * N + j] : 1);
            solution[i] += xi * (long double)data->e[r * M + o];
        }
    for (size_t i = 0; i < N; i++)
        trace += a[i * K + i] - ROWS * mean[i] * mean[i];
    for (size_t i = 0; i < N; i++)
        a[i * K + i] += (long double)ridge * trace / N;
    eliminate(a, solution, K);
}

static double residual(const struct data *data, const float *delta, const float *bias)
{
    double sum = 0;
    for (size_t r = 0; r < ROWS; r++)
        for (size_t o = 0; o < M; o++) {
            double left = (double)data->e[r * M + o] - (double)bias[o];
            for (size_t i = 0; i < N; i++)
                left -= (double)delta[o * N + i] * (double)data->x[r * N + i];
            sum += left * left;
        }
    return sum;
}

/* Sums of 90 products in floats are good to 90 ε = 5e-6 relative; the condition of the centred
 * matrix, ridge included, is below 20. */
static void weights(struct device *dev, double ridge)
{
    static struct data data;
    struct error err = ERROR_INIT;
    float delta[M * N], bias[M];
    double worst = 0;
    struct fit_error error = {0, 0};
    make(&data, 3);
    struct fit *fit = filled(&data, dev);
    tiny_must(fit_weights(fit, ridge, delta, bias, &error, &err), &err);
    for (size_t o = 0; o < M; o++) {
        long double expected[N + 1];
        row_of_weights(&data, o, ridge, expected);
        for (size_t i = 0; i < N; i++)
            worst = fmax(worst, fabs((double)(expected[i] - (long double)delta[o * N + i])));
        worst = fmax(worst, fabs((double)(expected[N] - (long double)bias[o])));
    }
    tap_ok(worst < 1e-3, "%s: weights as by normal equations, ridge %g (%.1e)", dev->name, ridge,
           worst);
    double found = residual(&data, delta, bias);
    tap_ok(fabs(found - error.after) < 1e-3 * error.before && found < error.before,
           "%s: and the error is what is left: %.4f of %.1f", dev->name, found, error.before);
    fit_close(fit);
}

static void scales(struct device *dev)
{
    static struct data data;
    struct error err = ERROR_INIT;
    float scale[UNITS];
    size_t limited = 0;
    struct fit_error error = {0, 0};
    long double a[UNITS * UNITS] = {0}, b[UNITS] = {0}, trace = 0;
    make(&data, 4);
    struct fit *fit = filled(&data, dev);
    tiny_must(fit_scales(fit, data.w, GROUP, 0.01, scale, &limited, &error, &err), &err);
    for (size_t r = 0; r < ROWS; r++)
        for (size_t o = 0; o < M; o++) {
            long double part[UNITS] = {0};
            for (size_t i = 0; i < N; i++)
                part[i / GROUP] += (long double)data.w[o * N + i] * (long double)data.x[r * N + i];
            for (size_t u = 0; u < UNITS; u++) {
                for (size_t v = 0; v < UNITS; v++)
                    a[u * UNITS + v] += part[u] * part[v];
                b[u] += part[u] * (long double)data.e[r * M + o];
            }
        }
    for (size_t u = 0; u < UNITS; u++)
        trace += a[u * UNITS + u];
    for (size_t u = 0; u < UNITS; u++)
        a[u * UNITS + u] += 0.01L * trace / UNITS;
    eliminate(a, b, UNITS);
    double worst = 0;
    for (size_t u = 0; u < UNITS; u++)
        worst = fmax(worst, fabs(fmin(fmax(1 + (double)b[u], 0), 4) - (double)scale[u]));
    tap_ok(worst < 1e-3, "%s: scales as by normal equations (%.1e): %.2f %.2f %.2f %.2f", dev->name,
           worst, (double)scale[0], (double)scale[1], (double)scale[2], (double)scale[3]);
    tap_ok(limited == 1 && (double)scale[3] == 4, "%s: one of them at its limit", dev->name);
    float delta[M * N], none[M] = {0};
    for (size_t i = 0; i < M * N; i++)
        delta[i] = data.w[i] * (scale[i % N / GROUP] - 1);
    double found = residual(&data, delta, none);
    tap_ok(fabs(found - error.after) < 1e-3 * error.before && found < error.before,
           "%s: the error is what is left: %.1f of %.1f", dev->name, found, error.before);
    fit_close(fit);
}

/* Inputs that are always zero leave weights as they are. */
static void nothing(struct device *dev)
{
    static struct data data;
    struct error err = ERROR_INIT;
    float delta[M * N], bias[M];
    double largest = 0;
    struct fit_error error = {0, 0};
    make(&data, 5);
    memset(data.x, 0, sizeof data.x);
    struct fit *fit = filled(&data, dev);
    tiny_must(fit_weights(fit, 0.1, delta, bias, &error, &err), &err);
    for (size_t i = 0; i < M * N; i++)
        largest = fmax(largest, fabs((double)delta[i]));
    tap_ok(largest == 0 && error.after <= error.before, "%s: dead inputs: only the bias moves",
           dev->name);
    fit_close(fit);
}

/* Inputs that never vary, many of them: what is left of the sums about their means is rounding, and
 * must stay a system that can be solved. Where the sum of 27000 such inputs has grown past 2^13, adding
 * each of them to it as a float rounds up, by as much as 5e-4 of the whole in the end, while the sums of
 * 90 squares round by little and either way: less would be left than nothing. */
static void constant(struct device *dev)
{
    enum { TIMES = 300 };
    static struct data data;
    struct error err = ERROR_INIT;
    float delta[M * N], bias[M];
    struct fit_error error = {0, 0};
    make(&data, 4);
    for (size_t i = 0; i < ROWS * N; i++)
        data.x[i] = 1 + 0.76F / 512;
    struct fit *fit = fit_open(dev, N, M, &err);
    act *x = dev->op->alloc(dev, ROWS * N * dev->act_bytes, &err);
    act *e = dev->op->alloc(dev, ROWS * M * dev->act_bytes, &err);
    tiny_must(fit && x && e, &err);
    dev->op->act_upload(dev, x, data.x, ROWS * N);
    dev->op->act_upload(dev, e, data.e, ROWS * M);
    for (size_t t = 0; t < TIMES; t++)
        fit_add(fit, x, e, data.e, ROWS);
    bool ok = fit_weights(fit, 0, delta, bias, &error, &err);
    tap_ok(ok, "%s: inputs that never vary%s%s", dev->name, ok ? "" : ": ", ok ? "" : err.text);
    tap_ok(ok && error.after <= error.before, "%s: and leave no more error than before (%g, %g)",
           dev->name, error.before, error.after);
    dev->op->free(dev, x);
    dev->op->free(dev, e);
    fit_close(fit);
}

int main(void)
{
    struct error err = ERROR_INIT;
    for (int cpu = 0; cpu < 2; cpu++) {
        struct device *dev = cpu ? device_cpu_open(2, &err) : device_reference_open(&err);
        tiny_must(dev != NULL, &err);
        weights(dev, 0.1);
        weights(dev, 0);
        scales(dev);
        nothing(dev);
        constant(dev);
        dev->op->close(dev);
    }
    return tap_done();
}
