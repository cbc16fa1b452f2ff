#include "nn/teach.h"

#include "tests/tap.h"

enum { LABELS = 3 };

/* log(mean of softmax) from its definition, one label. */
static double by_definition(const float *logits, size_t n_models, size_t stride, int label)
{
    double sum = 0;
    for (size_t m = 0; m < n_models; m++) {
        double total = 0;
        for (int c = 0; c < LABELS; c++)
            total += exp((double)logits[m * stride + (size_t)c]);
        sum += exp((double)logits[m * stride + (size_t)label]) / total;
    }
    return log(sum / (double)n_models);
}

int main(void)
{
    /* Two teachers, two records each: teacher m's logits of record r at [m * 6 + r * 3]. */
    static const float logits[] = {1, 2, 3, -1, 0.5f, 4, 0, 0, 0, 2, 2, -7};
    double sum[LABELS];
    float mean[LABELS], expected[LABELS];

    teach_mean(logits + 3, 1, 6, LABELS, sum, mean);
    tap_ok(memcmp(mean, logits + 3, sizeof mean) == 0,
           "one teacher's logits are taken as they are");

    for (size_t r = 0; r < 2; r++) {
        teach_mean(logits + r * LABELS, 2, 6, LABELS, sum, mean);
        for (int c = 0; c < LABELS; c++)
            expected[c] = (float)by_definition(logits + r * LABELS, 2, 6, c);
        tap_close(mean, expected, LABELS, 1e-6, "two teachers: log of the mean probability");
    }
    double total = 0;
    for (int c = 0; c < LABELS; c++)
        total += exp((double)mean[c]);
    tap_ok(fabs(total - 1) < 1e-6, "and the probabilities sum to one");

    static const float far[] = {5000, 0, -5000, 5001, 1, -4999};
    teach_mean(far, 2, LABELS, LABELS, sum, mean);
    tap_ok(fabsf(mean[0]) < 1e-6f && isfinite(mean[1]) && isfinite(mean[2]) && mean[1] < -80,
           "logits far apart stay finite");

    teach_mean_multi_label(logits + 3, 1, 6, LABELS, mean);
    tap_ok(memcmp(mean, logits + 3, sizeof mean) == 0,
           "one teacher's logits of several labels are taken as they are");
    teach_mean_multi_label(logits, 2, 6, LABELS, mean);
    for (int c = 0; c < LABELS; c++) {
        double p = (1 / (1 + exp(-(double)logits[c])) + 1 / (1 + exp(-(double)logits[6 + c]))) / 2;
        expected[c] = (float)log(p / (1 - p));
    }
    tap_close(mean, expected, LABELS, 1e-6, "two teachers: the logit of each mean probability");
    teach_mean_multi_label(far, 2, LABELS, LABELS, mean);
    tap_ok(isfinite(mean[0]) && mean[0] > 80 && isfinite(mean[2]) && mean[2] < -80,
           "large ones stay finite");
    return tap_done();
}
