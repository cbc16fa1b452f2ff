/* fit.c: sums by scatter.h and op->linear_backward, normal equations by op->solve. */
#include "prune/fit.h"

#include <math.h>
#include <stdlib.h>

#include "core/memory.h"
#include "prune/scatter.h"

static const double most = 4;      /* of a scale */
static const double least = 1e-30; /* of a ridge: inputs that are all zero leave nothing to solve */

struct fit {
    struct device *dev;
    size_t n, m;
    struct scatter x;
    double squares;         /* of e */
    float *cross, *e_sum;   /* device [m, n], [m] */
    struct linear *product; /* of these dims; its weights are never read */
};

struct fit *fit_open(struct device *dev, size_t n, size_t m, struct error *err)
{
    const struct device_ops *op = dev->op;
    size_t square, wide;
    if (!memory_multiply(n, n, &square) || !memory_multiply(m, n, &wide) ||
        square > SIZE_MAX / sizeof(double) || wide > SIZE_MAX / sizeof(double)) {
        error_set(err, "a fit of %zu inputs is too large for this machine", n);
        return NULL;
    }
    struct fit *fit = memory_zeroed(1, sizeof *fit, err);
    if (!fit)
        return NULL;
    *fit = (struct fit){.dev = dev, .n = n, .m = m};
    bool ok = scatter_open(&fit->x, dev, n, err);
    fit->cross = op->alloc(dev, wide * sizeof(float), err);
    fit->e_sum = op->alloc(dev, m * sizeof(float), err);
    if (fit->cross)
        fit->product = op->linear_bind(dev, fit->cross, NULL, m, n, err);
    if (!ok || !fit->e_sum || !fit->product) {
        fit_close(fit);
        return NULL;
    }
    op->zero(dev, fit->cross, wide * sizeof(float));
    op->zero(dev, fit->e_sum, m * sizeof(float));
    return fit;
}

void fit_close(struct fit *fit)
{
    if (!fit)
        return;
    float *memory[] = {fit->cross, fit->e_sum};
    if (fit->product)
        fit->dev->op->linear_free(fit->dev, fit->product);
    for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++)
        if (memory[i])
            fit->dev->op->free(fit->dev, memory[i]);
    scatter_close(&fit->x);
    free(fit);
}

void fit_add(struct fit *fit, const act *x, const act *e, const float *e_host, size_t rows)
{
    struct device *dev = fit->dev;
    scatter_add(&fit->x, x, rows);
    dev->op->linear_backward(dev, fit->product, x, fit->n, e, fit->m, rows, NULL, fit->n,
                             fit->cross, fit->e_sum, 0);
    for (size_t i = 0; i < rows * fit->m; i++)
        fit->squares += (double)e_host[i] * (double)e_host[i];
}

/* The sums on the host. */
struct sums {
    float *gram, *cross, *e;
};

static void free_sums(struct sums *sums)
{
    free(sums->gram);
    free(sums->cross);
    free(sums->e);
}

static bool take_sums(const struct fit *fit, struct sums *sums, struct error *err)
{
    const struct device_ops *op = fit->dev->op;
    size_t n = fit->n, m = fit->m;
    *sums = (struct sums){
        .gram = memory_array(n * n, sizeof(float), err),
        .cross = memory_array(m * n, sizeof(float), err),
        .e = memory_array(m, sizeof(float), err),
    };
    if (sums->gram && sums->cross && sums->e) {
        op->download(fit->dev, sums->cross, fit->cross, m * n * sizeof(float));
        op->download(fit->dev, sums->e, fit->e_sum, m * sizeof(float));
        if (scatter_take(&fit->x, sums->gram, err))
            return true;
    }
    free_sums(sums);
    return false;
}

/* The rows of b [rows, n] become solutions of (a + ridge times the mean of a's diagonal) x = b;
 * returns the ridge that was added, at least floor. a [n, n] stays. */
static bool solve(const struct fit *fit, const float *a, size_t n, double ridge, double floor,
                  float *b, size_t rows, double *added, struct error *err)
{
    struct device *dev = fit->dev;
    const struct device_ops *op = dev->op;
    double trace = 0;
    for (size_t i = 0; i < n; i++)
        trace += (double)a[i * n + i];
    *added = fmax(fmax(ridge * trace / (double)n, floor), least);
    float *host = memory_array(n * n, sizeof *host, err);
    float *matrix = op->alloc(dev, n * n * sizeof *matrix, err);
    float *sides = op->alloc(dev, rows * n * sizeof *sides, err);
    bool ok = host && matrix && sides;
    if (ok) {
        for (size_t i = 0; i < n * n; i++)
            host[i] = a[i];
        for (size_t i = 0; i < n; i++)
            host[i * n + i] = (float)((double)a[i * n + i] + *added);
        op->upload(dev, matrix, host, n * n * sizeof *matrix);
        op->upload(dev, sides, b, rows * n * sizeof *sides);
        op->solve(dev, matrix, n, sides, rows);
        op->download(dev, b, sides, rows * n * sizeof *sides);
        ok = op->sync(dev, err);
    }
    if (matrix)
        op->free(dev, matrix);
    if (sides)
        op->free(dev, sides);
    free(host);
    return ok;
}

bool fit_weights(struct fit *fit, double ridge, float *delta, float *bias, struct fit_error *result,
                 struct error *err)
{
    struct sums sums;
    size_t n = fit->n, m = fit->m;
    double added = 0, rows = fit->x.rows > 0 ? fit->x.rows : 1;
    if (!take_sums(fit, &sums, err))
        return false;
    /* About the means: the bias takes care of those. */
    double floor = scatter_centre(&fit->x, sums.gram);
    result->before = result->after = fit->squares;
    for (size_t o = 0; o < m; o++) {
        result->after -= (double)sums.e[o] * (double)sums.e[o] / rows;
        for (size_t i = 0; i < n; i++)
            delta[o * n + i] = sums.cross[o * n + i] =
                (float)((double)sums.cross[o * n + i] - (double)sums.e[o] * fit->x.sum[i] / rows);
    }
    bool ok = solve(fit, sums.gram, n, ridge, floor, delta, m, &added, err);
    /* With D (G + λ) = C: |e|² - 2 tr D Cᵀ + tr D G Dᵀ = |e|² - tr D Cᵀ - λ |D|². */
    for (size_t o = 0; ok && o < m; o++) {
        double mean = (double)sums.e[o] / rows;
        for (size_t i = 0; i < n; i++) {
            double d = (double)delta[o * n + i];
            mean -= d * fit->x.sum[i] / rows;
            result->after -= d * (double)sums.cross[o * n + i] + added * d * d;
        }
        bias[o] = (float)mean;
    }
    free_sums(&sums);
    return ok;
}

/* wᵀ w [n, n]. */
static bool weight_gram(const struct fit *fit, const float *w, float *gram, struct error *err)
{
    struct device *dev = fit->dev;
    const struct device_ops *op = dev->op;
    size_t n = fit->n, m = fit->m;
    act *copy = op->alloc(dev, m * n * dev->act_bytes, err);
    float *sum = op->alloc(dev, n * n * sizeof *sum, err);
    bool ok = copy && sum;
    if (ok) {
        op->zero(dev, sum, n * n * sizeof *sum);
        op->act_upload(dev, copy, w, m * n);
        op->gram(dev, copy, m, n, sum);
        op->download(dev, gram, sum, n * n * sizeof *gram);
        ok = op->sync(dev, err);
    }
    if (copy)
        op->free(dev, copy);
    if (sum)
        op->free(dev, sum);
    return ok;
}

/* The normal equations of factors: unit u contributes W_u x_u; products of two are sums over their
 * blocks of xᵀx times wᵀw. */
static void unit_equations(const struct fit *fit, const struct sums *sums, const float *ww,
                           const float *w, size_t group, float *matrix, float *side)
{
    size_t n = fit->n, units = n / group;
    for (size_t u = 0; u < units; u++)
        for (size_t v = 0; v < units; v++) {
            double sum = 0;
            for (size_t i = u * group; i < (u + 1) * group; i++)
                for (size_t j = v * group; j < (v + 1) * group; j++)
                    sum += (double)sums->gram[i * n + j] * (double)ww[i * n + j];
            matrix[u * units + v] = (float)sum;
        }
    for (size_t u = 0; u < units; u++) {
        double sum = 0;
        for (size_t o = 0; o < fit->m; o++)
            for (size_t i = u * group; i < (u + 1) * group; i++)
                sum += (double)sums->cross[o * n + i] * (double)w[o * n + i];
        side[u] = (float)sum;
    }
}

/* Limit the factors and say what is left of e; all 1 where that is more than before. */
static void limit(const struct fit *fit, const float *matrix, const float *side, size_t units,
                  float *scale, size_t *limited, struct fit_error *result)
{
    *limited = 0;
    for (size_t u = 0; u < units; u++) {
        double s = 1 + (double)scale[u], inside = s < 0 ? 0 : s > most ? most : s;
        *limited += !(s == inside);
        scale[u] = (float)(inside - 1);
    }
    double after = fit->squares;
    for (size_t u = 0; u < units; u++) {
        double row = -2 * (double)side[u];
        for (size_t v = 0; v < units; v++)
            row += (double)matrix[u * units + v] * (double)scale[v];
        after += row * (double)scale[u];
    }
    bool better = after < fit->squares;
    for (size_t u = 0; u < units; u++)
        scale[u] = better ? 1 + scale[u] : 1;
    *result = (struct fit_error){fit->squares, better ? after : fit->squares};
}

bool fit_scales(struct fit *fit, const float *w, size_t group, double ridge, float *scale,
                size_t *limited, struct fit_error *result, struct error *err)
{
    struct sums sums;
    size_t n = fit->n, units = n / group;
    double added = 0;
    if (!take_sums(fit, &sums, err))
        return false;
    float *ww = memory_array(n * n, sizeof *ww, err);
    float *matrix = memory_array(units * units, sizeof *matrix, err);
    float *side = memory_array(units, sizeof *side, err);
    bool ok = ww && matrix && side && weight_gram(fit, w, ww, err);
    if (ok) {
        unit_equations(fit, &sums, ww, w, group, matrix, side);
        for (size_t u = 0; u < units; u++)
            scale[u] = side[u];
        ok = solve(fit, matrix, units, ridge, 0, scale, 1, &added, err);
    }
    if (ok)
        limit(fit, matrix, side, units, scale, limited, result);
    free(side);
    free(matrix);
    free(ww);
    free_sums(&sums);
    return ok;
}
