/* metrics.c: counting, and the ratios of counts. */
#include "score/metrics.h"

#include <math.h>
#include <stdlib.h>

#include "core/memory.h"

size_t metrics_finite(const float *value, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(value[i]))
            return i;
    return n;
}

int32_t metrics_argmax(const float *logits, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (logits[i] > logits[best])
            best = i;
    return (int32_t)best;
}

void metrics_softmax(const float *logits, size_t n, double *probability)
{
    double largest = -INFINITY, sum = 0;
    for (size_t i = 0; i < n; i++)
        largest = fmax(largest, (double)logits[i]);
    for (size_t i = 0; i < n; i++)
        sum += probability[i] = exp((double)logits[i] - largest);
    for (size_t i = 0; i < n; i++)
        probability[i] /= sum;
}

void metrics_sigmoid(const float *logits, size_t n, double *probability)
{
    for (size_t i = 0; i < n; i++)
        probability[i] = 1 / (1 + exp(-(double)logits[i]));
}

static double ratio(uint64_t part, uint64_t whole)
{
    return whole ? (double)part / (double)whole : NAN;
}

static void finish(struct metrics *metrics)
{
    double macro = 0, weighted = 0;
    size_t n_present = 0;
    uint64_t right = 0, given = 0, wanted = 0;
    for (size_t c = 0; c < metrics->n_labels; c++) {
        struct metrics_class *class = &metrics->class[c];
        right += class->correct;
        given += class->predicted;
        wanted += class->support;
        class->precision = ratio(class->correct, class->predicted);
        class->recall = ratio(class->correct, class->support);
        /* Harmonic mean written with counts: no 0/0 where only one of the two ratios is undefined.
         */
        class->f1 = ratio(2 * class->correct, class->predicted + class->support);
        if (isnan(class->f1))
            continue;
        n_present++;
        macro += class->f1;
        weighted += class->f1 * (double)class->support;
    }
    metrics->micro_f1 = ratio(2 * right, given + wanted);
    metrics->accuracy = ratio(metrics->correct, metrics->n);
    metrics->macro_f1 = n_present ? macro / (double)n_present : NAN;
    metrics->weighted_f1 = wanted ? weighted / (double)wanted : NAN;
}

bool metrics_compute(struct metrics *metrics, const int32_t *label, const int32_t *predicted,
                     size_t n, size_t n_labels, struct error *err)
{
    *metrics = (struct metrics){.n_labels = n_labels};
    size_t cells;
    if (!memory_multiply(n_labels, n_labels, &cells))
        return error_set(err, "%zu labels are too many for a confusion matrix", n_labels);
    metrics->confusion = memory_zeroed(cells, sizeof *metrics->confusion, err);
    if (!metrics->confusion)
        return false;
    metrics->class = memory_zeroed(n_labels, sizeof *metrics->class, err);
    if (!metrics->class) {
        metrics_free(metrics);
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        if (label[i] < 0)
            continue;
        size_t row = (size_t)label[i], column = (size_t)predicted[i];
        metrics->n++;
        metrics->correct += row == column;
        metrics->confusion[row * n_labels + column]++;
        metrics->class[row].support++;
        metrics->class[row].correct += row == column;
        metrics->class[column].predicted++;
    }
    finish(metrics);
    return true;
}

bool metrics_compute_sets(struct metrics *metrics, const struct label_sets *sets,
                          const int32_t *label, const int32_t *predicted, size_t n,
                          struct error *err)
{
    *metrics = (struct metrics){.n_labels = sets->n_labels};
    metrics->class = memory_zeroed(sets->n_labels, sizeof *metrics->class, err);
    if (!metrics->class)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (label[i] < 0)
            continue;
        metrics->n++;
        metrics->correct += label[i] == predicted[i];
        for (size_t c = 0; c < sets->n_labels; c++) {
            bool wanted = label_sets_has(sets, label[i], c);
            bool given = label_sets_has(sets, predicted[i], c);
            metrics->class[c].support += wanted;
            metrics->class[c].predicted += given;
            metrics->class[c].correct += wanted && given;
        }
    }
    finish(metrics);
    return true;
}

void metrics_free(struct metrics *metrics)
{
    free(metrics->confusion);
    free(metrics->class);
    *metrics = (struct metrics){0};
}

struct metrics_pair metrics_compare(const int32_t *label, const int32_t *model,
                                    const int32_t *baseline, size_t n)
{
    struct metrics_pair pair = {.n_all = n};
    for (size_t i = 0; i < n; i++) {
        pair.agree += model[i] == baseline[i];
        if (label[i] < 0)
            continue;
        bool model_right = model[i] == label[i], baseline_right = baseline[i] == label[i];
        pair.both_right += model_right && baseline_right;
        pair.both_wrong += !model_right && !baseline_right;
        pair.won += model_right && !baseline_right;
        pair.lost += !model_right && baseline_right;
    }
    return pair;
}
