/* reference_optimizer.c: gradient norm, clipping and AdamW (Loshchilov and Hutter 2019, algorithm
 * 2). */
#include "kernels/reference/reference.h"

#include <math.h>

#include "kernels/loss_scale.h"

void reference_sum_squares(struct device *dev, const float *x, size_t n, double *sum)
{
    (void)dev;
    double total = 0;
    for (size_t i = 0; i < n; i++)
        total += (double)x[i] * (double)x[i];
    *sum += total;
}

void reference_clip_factor(struct device *dev, double *sum, float max_norm,
                           struct loss_scale *scaled, float *factor)
{
    (void)dev;
    *factor = loss_scale_clip(sum, max_norm, scaled);
}

void reference_adamw(struct device *dev, const struct adamw *adamw, const float *factor, size_t n,
                     const float *grad, float *m, float *v, float *w)
{
    (void)dev;
    if (*factor < 0)
        return;
    double b1 = (double)adamw->beta1, b2 = (double)adamw->beta2;
    double step = (double)loss_scale_step(adamw->step, adamw->scaled);
    double correct1 = 1 - pow(b1, step), correct2 = 1 - pow(b2, step);
    for (size_t i = 0; i < n; i++) {
        double g = (double)grad[i] * (double)*factor;
        double mean = b1 * (double)m[i] + (1 - b1) * g;
        double square = b2 * (double)v[i] + (1 - b2) * g * g;
        double move = mean / correct1 / (sqrt(square / correct2) + (double)adamw->eps);
        double decay = (double)adamw->weight_decay * (double)w[i];
        m[i] = (float)mean;
        v[i] = (float)square;
        w[i] = (float)((double)w[i] - (double)adamw->lr * (move + decay));
    }
}

void reference_adamw_rows(struct device *dev, const struct adamw *adamw, const float *factor,
                          const int32_t *row, size_t n_rows, size_t cols, const int32_t *place,
                          const float *grad, float *m, float *v, float *w)
{
    for (size_t r = 0; r < n_rows; r++) {
        size_t at = (size_t)row[r] * cols, of = place ? (size_t)place[row[r]] * cols : at;
        reference_adamw(dev, adamw, factor, cols, grad + r * cols, m + of, v + of, w + at);
    }
}
