/* metrics.h: from logits to predictions, and from predictions to accuracy, F1, a per-class table
 * and a confusion matrix.
 *
 * F1 follows the usual convention (that of scikit-learn): a class that never occurs, neither as a
 * label nor as a prediction, is left out of the macro mean; a class with no true positive has F1 0.
 *
 * Where records have any number of labels, a record is right when all its labels are (exact match),
 * and micro-F1 is that of all decisions over all labels together.
 */
#ifndef MILLET_SCORE_METRICS_H
#define MILLET_SCORE_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "score/label_sets.h"

/* Index of the first of n values that is NaN or infinite; n when all are finite. */
size_t metrics_finite(const float *value, size_t n);
/* Index of the largest of n > 0 finite logits, the first of equals. */
int32_t metrics_argmax(const float *logits, size_t n);
/* probability[n] = softmax(logits[n]); the logits must be finite. */
void metrics_softmax(const float *logits, size_t n, double *probability);

/* probability[n] = sigmoid(logits[n]) of finite logits. */
void metrics_sigmoid(const float *logits, size_t n, double *probability);

struct metrics_class {
    uint64_t support;   /* records that carry this label */
    uint64_t predicted; /* records given this label */
    uint64_t correct;
    double precision; /* NaN when never predicted */
    double recall;    /* NaN when it has no record */
    double f1;        /* NaN when neither occurs */
};

struct metrics {
    size_t n_labels;
    uint64_t n, correct;
    /* [n_labels, n_labels], row: label, column: prediction; owned. NULL with sets of labels. */
    uint64_t *confusion;
    struct metrics_class *class;            /* [n_labels], owned */
    double accuracy, macro_f1, weighted_f1; /* NaN when n is 0 */
    double micro_f1; /* of one label a record: the accuracy; NaN without any label or answer */
};

/* Count n records: label[i] and predicted[i] below n_labels, or label −1: left out. On failure
 * nothing is owned. */
bool metrics_compute(struct metrics *metrics, const int32_t *label, const int32_t *predicted,
                     size_t n, size_t n_labels, struct error *err) MUST_CHECK;
/* The same with sets of labels: label[i] and predicted[i] are numbers of `sets`, or label -1. */
bool metrics_compute_sets(struct metrics *metrics, const struct label_sets *sets,
                          const int32_t *label, const int32_t *predicted, size_t n,
                          struct error *err) MUST_CHECK;
void metrics_free(struct metrics *metrics);

/* Two models on the same records. The four cells count labelled records only, `agree` all of them.
 */
struct metrics_pair {
    uint64_t both_right, both_wrong;
    uint64_t won;  /* only the model is right */
    uint64_t lost; /* only the baseline is right */
    uint64_t agree, n_all;
};
struct metrics_pair metrics_compare(const int32_t *label, const int32_t *model,
                                    const int32_t *baseline, size_t n);

#endif
