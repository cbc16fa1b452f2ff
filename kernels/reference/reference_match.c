/* Losses between a student's states and its teacher's. */
#include <math.h>
#include <stdlib.h>

#include "kernels/reference/reference.h"

/* Loss of one row; dx = factor times its gradient. */
static double match_squared(const float *x, const float *t, size_t cols, double factor, float *dx)
{
    double sum = 0;
    for (size_t c = 0; c < cols; c++) {
        double d = (double)x[c] - (double)t[c];
        sum += d * d;
        dx[c] = (float)(factor * 2 * d / (double)cols);
    }
    return sum / (double)cols;
}

static double match_direction(const float *x, const float *t, size_t cols, double factor, float *dx)
{
    double xx = 0, tt = 0, xt = 0;
    for (size_t c = 0; c < cols; c++) {
        xx += (double)x[c] * (double)x[c];
        tt += (double)t[c] * (double)t[c];
        xt += (double)x[c] * (double)t[c];
    }
    bool none = xx <= 0 || tt <= 0; /* not where one is NaN: that is to show */
    double lx = sqrt(xx), lt = sqrt(tt), cosine = none ? 1 : xt / (lx * lt);
    for (size_t c = 0; c < cols; c++)
        dx[c] =
            none ? 0 : (float)(factor * -2 * ((double)t[c] / lt - cosine * (double)x[c] / lx) / lx);
    return 2 - 2 * cosine;
}

void reference_match(struct device *dev, const struct match *match, const act *x, const act *target,
                     const struct seqs *seqs, size_t cols, float *row_loss, act *dx)
{
    (void)dev;
    for (size_t s = 0; s < seqs->n; s++) {
        size_t begin = (size_t)seqs->offset[s], end = (size_t)seqs->offset[s + 1];
        double sum = 0, share = (double)match->weight / (double)(end - begin);
        for (size_t r = begin; r < end; r++) {
            const float *a = reference_read(x) + r * cols, *b = reference_read(target) + r * cols;
            float *d = reference_values(dx) + r * cols;
            double factor = share * (double)match->scale;
            sum += match->kind == MATCH_SQUARED ? match_squared(a, b, cols, factor, d)
                                                : match_direction(a, b, cols, factor, d);
        }
        row_loss[s] += (float)(share * sum);
    }
}

/* Logarithms of one slice's relation to log_p [n, n]. */
static void relate(const float *x, size_t stride, size_t n, size_t cols, double *log_p)
{
    for (size_t i = 0; i < n; i++) {
        double most = -INFINITY, sum = 0, *row = log_p + i * n;
        for (size_t j = 0; j < n; j++) {
            double dot = 0;
            for (size_t c = 0; c < cols; c++)
                dot += (double)x[i * stride + c] * (double)x[j * stride + c];
            row[j] = dot / sqrt((double)cols);
            most = row[j] > most ? row[j] : most;
        }
        for (size_t j = 0; j < n; j++)
            sum += exp(row[j] - most);
        for (size_t j = 0; j < n; j++)
            row[j] -= most + log(sum);
    }
}

/* One slice of one sequence of n rows: its divergence, and factor times the gradient by x. p, q:
 * logarithms of the relations of x and target. */
static double relation_slice(const float *x, size_t stride, size_t n, size_t cols, const double *p,
                             const double *q, double factor, float *dx)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < n; j++)
            sum += exp(q[i * n + j]) * (q[i * n + j] - p[i * n + j]);
        for (size_t c = 0; c < cols; c++) {
            double d = 0;
            for (size_t j = 0; j < n; j++) {
                double own = exp(p[i * n + j]) - exp(q[i * n + j]);
                double other = exp(p[j * n + i]) - exp(q[j * n + i]);
                d += (own + other) * (double)x[j * stride + c];
            }
            dx[i * stride + c] = (float)(factor * d / sqrt((double)cols));
        }
    }
    return sum;
}

void reference_relation(struct device *dev, const struct relation *relation, const act *x,
                        const act *target, float *row_loss, act *dx)
{
    const struct seqs *seqs = &relation->seqs;
    size_t most = seqs->longest, heads = relation->heads, stride = relation->stride;
    size_t cols = relation->cols / heads, target_cols = relation->target_cols / heads;
    double *p = malloc((2 * most * most + 1) * sizeof *p), *q = p + most * most;
    if (!p) {
        error_set(reference_error(dev), "relation: no memory for %zu x %zu", most, most);
        return;
    }
    for (size_t s = 0; s < seqs->n; s++) {
        size_t begin = (size_t)seqs->offset[s], n = (size_t)seqs->offset[s + 1] - begin;
        double sum = 0, share = (double)relation->weight / (double)(heads * n);
        for (size_t h = 0; h < heads; h++) {
            const float *a = reference_read(x) + begin * stride + h * cols;
            relate(a, stride, n, cols, p);
            relate(reference_read(target) + begin * relation->target_stride + h * target_cols,
                   relation->target_stride, n, target_cols, q);
            sum += relation_slice(a, stride, n, cols, p, q, share * (double)relation->scale,
                                  reference_values(dx) + begin * stride + h * cols);
        }
        row_loss[s] += (float)(share * sum);
    }
    free(p);
}
