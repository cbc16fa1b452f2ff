/* scatter.c: op->gram and op->column_sum, batch by batch. */
#include "prune/scatter.h"

#include <stdlib.h>

#include "core/memory.h"

bool scatter_open(struct scatter *scatter, struct device *dev, size_t cols, struct error *err)
{
    const struct device_ops *op = dev->op;
    size_t values, bytes;
    *scatter = (struct scatter){.dev = dev, .cols = cols};
    if (!memory_multiply(cols, cols, &values) || !memory_multiply(values, sizeof(float), &bytes))
        return error_set(err, "products of %zu columns are too many for this machine", cols);
    scatter->gram = op->alloc(dev, bytes, err);
    scatter->part = op->alloc(dev, cols * sizeof *scatter->part, err);
    scatter->host = memory_array(cols, sizeof *scatter->host, err);
    scatter->sum = memory_zeroed(cols, sizeof *scatter->sum, err);
    if (scatter->gram && scatter->part && scatter->host && scatter->sum) {
        op->zero(dev, scatter->gram, bytes);
        return true;
    }
    scatter_close(scatter);
    return false;
}

void scatter_close(struct scatter *scatter)
{
    if (scatter->gram)
        scatter->dev->op->free(scatter->dev, scatter->gram);
    if (scatter->part)
        scatter->dev->op->free(scatter->dev, scatter->part);
    free(scatter->host);
    free(scatter->sum);
    *scatter = (struct scatter){.dev = NULL};
}

void scatter_add(struct scatter *scatter, const act *x, size_t rows)
{
    struct device *dev = scatter->dev;
    size_t n = scatter->cols;
    dev->op->gram(dev, x, rows, n, scatter->gram);
    dev->op->zero(dev, scatter->part, n * sizeof *scatter->part);
    dev->op->column_sum(dev, x, rows, n, scatter->part);
    dev->op->download(dev, scatter->host, scatter->part, n * sizeof *scatter->host);
    for (size_t i = 0; i < n; i++)
        scatter->sum[i] += (double)scatter->host[i];
    scatter->rows += (double)rows;
}

bool scatter_take(const struct scatter *scatter, float *gram, struct error *err)
{
    struct device *dev = scatter->dev;
    dev->op->download(dev, gram, scatter->gram,
                      scatter->cols * scatter->cols * sizeof *scatter->gram);
    return dev->op->sync(dev, err);
}

static const double rounding = 1e-6; /* of a trace: what float sums may be off, as an eigenvalue */

double scatter_centre(const struct scatter *scatter, float *gram)
{
    size_t n = scatter->cols;
    const double *sum = scatter->sum;
    double rows = scatter->rows > 0 ? scatter->rows : 1, trace = 0;
    for (size_t i = 0; i < n; i++)
        trace += (double)gram[i * n + i];
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            gram[i * n + j] = (float)((double)gram[i * n + j] - sum[i] * sum[j] / rows);
    return rounding * trace;
}
