/* reference_norm.c: residual sum, dropout and layer normalisation, and the element-wise operations
 * beside them. */
#include "kernels/reference/reference.h"

#include <math.h>

#include "kernels/dropout.h"

/* The mean and rstd with which y = (z - mean) rstd gain + bias. */
static void normalise(enum norm norm, const float *z, size_t cols, double eps, double *mean,
                      double *rstd)
{
    double total = 0, squares = 0;
    *mean = 0;
    *rstd = 1;
    if (norm == NORM_AFFINE)
        return;
    for (size_t c = 0; c < cols; c++)
        total += (double)z[c];
    *mean = total / (double)cols;
    for (size_t c = 0; c < cols; c++)
        squares += ((double)z[c] - *mean) * ((double)z[c] - *mean);
    *rstd = 1 / sqrt(squares / (double)cols + eps);
}

void reference_add_norm(struct device *dev, enum norm norm, const act *x, const act *residual,
                        struct dropout dropout, const float *gain, const float *bias, float eps,
                        size_t rows, size_t cols, act *sum, float *stats, act *y)
{
    (void)dev;
    struct dropout_key key = dropout_key(dropout);
    for (size_t r = 0; r < rows; r++) {
        const float *from = reference_read(x) + r * cols;
        const float *add = residual ? reference_read(residual) + r * cols : NULL;
        float *to = reference_values(y) + r * cols;
        double mean, rstd;
        for (size_t c = 0; c < cols; c++) /* y holds z for now; x may be y */
            to[c] = from[c] * dropout_factor(&key, r * cols + c) + (add ? add[c] : 0.0F);
        normalise(norm, to, cols, (double)eps, &mean, &rstd);
        for (size_t c = 0; c < cols; c++) {
            float z = to[c];
            if (sum)
                reference_values(sum)[r * cols + c] = z;
            to[c] = (float)(((double)z - mean) * rstd * (double)gain[c] + (double)bias[c]);
        }
        if (stats && norm == NORM_LAYER) {
            stats[2 * r] = (float)mean;
            stats[2 * r + 1] = (float)rstd;
        }
    }
}

/* dgain += Σ dy * xhat, dbias += Σ dy, over rows. */
static void norm_backward_parameters(const float *sum, const float *stats, const float *dy,
                                     size_t rows, size_t cols, float *dgain, float *dbias)
{
    for (size_t c = 0; c < cols; c++) {
        double for_gain = 0, for_bias = 0;
        for (size_t r = 0; r < rows; r++) {
            double d = (double)dy[r * cols + c];
            double mean = stats ? (double)stats[2 * r] : 0;
            double rstd = stats ? (double)stats[2 * r + 1] : 1;
            for_gain += d * ((double)sum[r * cols + c] - mean) * rstd;
            for_bias += d;
        }
        if (dgain)
            dgain[c] += (float)for_gain;
        if (dbias)
            dbias[c] += (float)for_bias;
    }
}

/* Gradient of one row of a layer norm by z, from g = dy * gain. */
static void layer_backward_row(const float *z, const float *dy, const float *gain,
                               const float *stats, size_t cols, float *dz)
{
    double mean = (double)stats[0], rstd = (double)stats[1];
    double mean_g = 0, mean_gx = 0; /* of g, and of g * xhat */
    for (size_t c = 0; c < cols; c++) {
        double g = (double)dy[c] * (double)gain[c];
        mean_g += g / (double)cols;
        mean_gx += g * ((double)z[c] - mean) * rstd / (double)cols;
    }
    for (size_t c = 0; c < cols; c++) {
        double g = (double)dy[c] * (double)gain[c], xhat = ((double)z[c] - mean) * rstd;
        dz[c] = (float)(rstd * (g - mean_g - xhat * mean_gx));
    }
}

void reference_add_norm_backward(struct device *dev, enum norm norm, const act *sum,
                                 const float *stats, const float *gain, const act *dy,
                                 struct dropout dropout, size_t rows, size_t cols, act *dz, act *dx,
                                 float *dgain, float *dbias, float *db)
{
    struct dropout_key key = dropout_key(dropout);
    norm_backward_parameters(reference_read(sum), norm == NORM_LAYER ? stats : NULL,
                             reference_read(dy), rows, cols, dgain, dbias);
    for (size_t r = 0; r < rows; r++) {
        const float *d = reference_read(dy) + r * cols;
        float *to = reference_values(dz) + r * cols;
        if (norm == NORM_LAYER)
            layer_backward_row(reference_read(sum) + r * cols, d, gain, stats + 2 * r, cols, to);
        for (size_t c = 0; c < cols && norm == NORM_AFFINE; c++)
            to[c] = d[c] * gain[c];
        for (size_t c = 0; c < cols && dx; c++)
            reference_values(dx)[r * cols + c] = to[c] * dropout_factor(&key, r * cols + c);
    }
    if (db)
        reference_column_sum(dev, dx ? dx : dz, rows, cols, db);
}

void reference_dropout(struct device *dev, act *x, size_t n, struct dropout dropout)
{
    (void)dev;
    struct dropout_key key = dropout_key(dropout);
    for (size_t i = 0; i < n; i++)
        reference_values(x)[i] *= dropout_factor(&key, i);
}

void reference_add(struct device *dev, const act *x, size_t n, act *y)
{
    (void)dev;
    for (size_t i = 0; i < n; i++)
        reference_values(y)[i] += reference_read(x)[i];
}

void reference_column_sum(struct device *dev, const act *d, size_t rows, size_t cols, float *grad)
{
    (void)dev;
    for (size_t c = 0; c < cols; c++) {
        double sum = 0;
        for (size_t r = 0; r < rows; r++)
            sum += (double)reference_read(d)[r * cols + c];
        grad[c] += (float)sum;
    }
}
