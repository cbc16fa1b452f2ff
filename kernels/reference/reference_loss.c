/* reference_loss.c: cross-entropy and logit distillation (Hinton et al. 2015):
 *
 *     alpha T² KL(softmax(teacher / T) ‖ softmax(logits / T)) + (1 - alpha) cross-entropy
 *
 * with alpha = 0 for plain cross-entropy. A row without a label (-1) lacks the second term.
 * Smoothing by s makes of a target y (1 - s) y + s / C, of several labels (1 - s) y + s / 2.
 *
 * With several labels, each class is a distribution of its own, (σ(x), 1 - σ(x)), and both terms
 * are means over the classes. In terms of softplus(x) = log(1 + exp x), which large x do not
 * overflow, log σ(x) = -softplus(-x) and log(1 - σ(x)) = -softplus(x). */
#include "kernels/reference/reference.h"

#include <math.h>

/* log of the sum of exp(x / temperature). */
static double log_sum_exp(const float *x, size_t n, double temperature)
{
    double largest = -INFINITY, total = 0;
    for (size_t i = 0; i < n; i++)
        largest = (double)x[i] <= largest ? largest : (double)x[i];
    for (size_t i = 0; i < n; i++)
        total += exp(((double)x[i] - largest) / temperature);
    return largest / temperature + log(total);
}

static double scale_of(const struct loss *loss)
{
    return (double)loss->scale * (loss->scaled ? (double)loss->scaled->scale : 1);
}

void reference_loss(struct device *dev, const struct loss *loss, const act *logits,
                    const int32_t *label, const float *teacher, size_t rows, size_t classes,
                    float *row_loss, act *dlogits)
{
    (void)dev;
    bool distil = loss->kind == LOSS_DISTIL && teacher;
    double alpha = distil ? (double)loss->alpha : 0, T = distil ? (double)loss->temperature : 1;
    double smoothing = (double)loss->smoothing, scale = scale_of(loss);
    for (size_t r = 0; r < rows; r++) {
        const float *x = reference_read(logits) + r * classes;
        const float *t = distil ? teacher + r * classes : x;
        bool labelled = label && label[r] >= 0;
        double share = labelled && loss->class_weight
                           ? (1 - alpha) * (double)loss->class_weight[label[r]]
                           : 1 - alpha;
        double norm = log_sum_exp(x, classes, 1), total = 0;
        double norm_T = distil ? log_sum_exp(x, classes, T) : norm;
        double norm_t = distil ? log_sum_exp(t, classes, T) : norm;
        for (size_t c = 0; c < classes; c++) {
            double log_s = (double)x[c] / T - norm_T, log_t = (double)t[c] / T - norm_t, slope = 0;
            if (distil) {
                total += alpha * T * T * exp(log_t) * (log_t - log_s);
                slope += alpha * T * (exp(log_s) - exp(log_t));
            }
            if (labelled) {
                double y = (1 - smoothing) * ((size_t)label[r] == c) + smoothing / (double)classes;
                total += y > 0 ? share * y * (norm - (double)x[c]) : 0;
                slope += share * (exp((double)x[c] - norm) - y);
            }
            if (dlogits)
                reference_values(dlogits)[r * classes + c] = (float)(slope * scale);
        }
        row_loss[r] = (float)total;
    }
}

static double softplus(double x)
{
    return (x > 0 ? x : 0) + log1p(exp(-fabs(x)));
}

static double sigmoid(double x)
{
    return x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x));
}

/* KL(σ(t) ‖ σ(x)). */
static double bernoulli_divergence(double t, double x)
{
    double q = sigmoid(t);
    return q * (softplus(-x) - softplus(-t)) + (1 - q) * (softplus(x) - softplus(t));
}

void reference_loss_multi_label(struct device *dev, const struct loss *loss, const act *logits,
                                const float *target, const float *teacher, size_t rows,
                                size_t classes, float *row_loss, act *dlogits)
{
    (void)dev;
    bool distil = loss->kind == LOSS_DISTIL && teacher;
    double alpha = distil ? (double)loss->alpha : 0, T = distil ? (double)loss->temperature : 1;
    double share = 1 / (double)classes, smoothing = (double)loss->smoothing, scale = scale_of(loss);
    for (size_t r = 0; r < rows; r++) {
        size_t at = r * classes;
        const float *x = reference_read(logits) + at, *y = target ? target + at : NULL;
        bool labelled = y && y[0] >= 0;
        double total = 0;
        for (size_t c = 0; c < classes; c++) {
            double logit = (double)x[c], slope = 0;
            if (distil) {
                double t = (double)teacher[at + c];
                total += share * alpha * T * T * bernoulli_divergence(t / T, logit / T);
                slope += share * alpha * T * (sigmoid(logit / T) - sigmoid(t / T));
            }
            if (labelled) {
                double wanted = (1 - smoothing) * (double)y[c] + smoothing / 2;
                total += share * (1 - alpha) * (softplus(logit) - logit * wanted);
                slope += share * (1 - alpha) * (sigmoid(logit) - wanted);
            }
            if (dlogits)
                reference_values(dlogits)[at + c] = (float)(slope * scale);
        }
        row_loss[r] = (float)total;
    }
}
