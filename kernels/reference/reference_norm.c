/* reference_norm.c: residual sum, dropout and layer normalisation, and the element-wise operations
 * beside them. */
#include "kernels/reference/reference.h"

#include <math.h>

#include "kernels/dropout.h"

void reference_add_norm(struct device *dev, const act *x, const act *residual,
                        struct dropout dropout, const float *gain, const float *bias, float eps,
                        size_t rows, size_t cols, act *sum, float *stats, act *y)
{
    (void)dev;
    struct dropout_key key = dropout_key(dropout);
    for (size_t r = 0; r < rows; r++) {
        const float *from = reference_read(x) + r * cols;
        const float *add = residual ? reference_read(residual) + r * cols : NULL;
        float *to = reference_values(y) + r * cols;
        double total = 0, squares = 0;
        for (size_t c = 0; c < cols; c++) { /* y holds z for now; x may be y */
            to[c] = from[c] * dropout_factor(&key, r * cols + c) + (add ? add[c] : 0.0F);
            total += (double)to[c];
        }
        double mean = total / (double)cols;
        for (size_t c = 0; c < cols; c++)
            squares += ((double)to[c] - mean) * ((double)to[c] - mean);
        double rstd = 1 / sqrt(squares / (double)cols + (double)eps);
        for (size_t c = 0; c < cols; c++) {
            float z = to[c];
            if (sum)
                reference_values(sum)[r * cols + c] = z;
            to[c] = (float)(((double)z - mean) * rstd * (double)gain[c] + (double)bias[c]);
        }
        if (stats) {
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
            double mean = (double)stats[2 * r], rstd = (double)stats[2 * r + 1];
            for_gain += d * ((double)sum[r * cols + c] - mean) * rstd;
            for_bias += d;
        }
        if (dgain)
            dgain[c] += (float)for_gain;
        if (dbias)
            dbias[c] += (float)for_bias;
    }
}

void reference_add_norm_backward(struct device *dev, const act *sum, const float *stats,
                                 const float *gain, const act *dy, struct dropout dropout,
                                 size_t rows, size_t cols, act *dz, act *dx, float *dgain,
                                 float *dbias)
{
    (void)dev;
    struct dropout_key key = dropout_key(dropout);
    norm_backward_parameters(reference_read(sum), stats, reference_read(dy), rows, cols, dgain,
                             dbias);
    for (size_t r = 0; r < rows; r++) {
        const float *z = reference_read(sum) + r * cols, *d = reference_read(dy) + r * cols;
        double mean = (double)stats[2 * r], rstd = (double)stats[2 * r + 1];
        double mean_g = 0, mean_gx = 0; /* of g = dy * gain, and of g * xhat */
        for (size_t c = 0; c < cols; c++) {
            double g = (double)d[c] * (double)gain[c];
            mean_g += g / (double)cols;
            mean_gx += g * ((double)z[c] - mean) * rstd / (double)cols;
        }
        for (size_t c = 0; c < cols; c++) {
            double g = (double)d[c] * (double)gain[c], xhat = ((double)z[c] - mean) * rstd;
            float value = (float)(rstd * (g - mean_g - xhat * mean_gx));
            reference_values(dz)[r * cols + c] = value;
            if (dx)
                reference_values(dx)[r * cols + c] = value * dropout_factor(&key, r * cols + c);
        }
    }
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
