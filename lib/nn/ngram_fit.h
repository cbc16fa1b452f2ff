/* ngram_fit.h: the n-gram part's weights: a linear classifier on sparse features, fitted with
 * L-BFGS.
 *
 *     mean over records of the loss + l2/2 |W|²
 *
 * NGRAM_LOGISTIC: multinomial logistic regression, or one logistic regression a label where labels
 * hold independently, fitted to labels, to a teacher's logits, or to both, as when an encoder is
 * distilled (Hinton et al. 2015):
 *     (1 - alpha) CE(label) + alpha T² KL(teacher ‖ student at T)
 * a record without a label has the second term alone; without a teacher the first stands alone and
 * records without label are left out.
 *
 * NGRAM_HINGE: one support vector machine a class against the others, with squared hinges (Fan et
 * al. 2008, LIBLINEAR's L2-loss), on labels alone:
 *     sum over classes of max(0, 1 - s z)²,  s = 1 for what holds, -1 for what does not
 * Its answers are margins: they want a factor before they are logits (ngram_gate_calibrate).
 *
 * Biases are not regularised. Buckets that fewer than min_df of the records have get no row;
 * idf = ln((1 + N) / (1 + df)) + 1.
 *
 * Memory: 8 bytes a feature of a record twice (by record and by bucket), and 28 vectors of [rows,
 * classes] floats.
 */
#ifndef MILLET_NN_NGRAM_FIT_H
#define MILLET_NN_NGRAM_FIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/progress.h"
#include "core/threads.h"
#include "io/records.h"
#include "kernels/kernels.h"
#include "nn/ngram.h"

enum ngram_loss { NGRAM_LOGISTIC, NGRAM_HINGE };

struct ngram_fit_options {
    enum ngram_loss loss;
    double l2;                 /* NaN: 1e-5; of hinges 1/(0.3 records), LIBLINEAR's C = 0.3 */
    size_t min_df;             /* 2 */
    size_t iterations;         /* 0: 60, with hinges 200 */
    bool distil;               /* to the records' logits, too; not with hinges */
    double alpha, temperature; /* 0.7, 3 */
    /* [set->n, classes]: added to the logits before the loss: the fit learns what they lack. NULL:
     * none. */
    const float *offset;
    struct threads *team;
    const struct progress *progress;
};
void ngram_fit_defaults(struct ngram_fit_options *options);
const char *ngram_loss_name(enum ngram_loss loss); /* "hinge" */
/* {"loss", "l2" where one was given, "min_df", "iterations"} and where it was distilled "alpha",
 * "temperature": what millet.json keeps, so that a part can be fitted again. New reference; NULL:
 * no memory. */
json_t *ngram_fit_describe(const struct ngram_fit_options *options);
/* Back from there; what is missing stays as it is. distil is not set. */
bool ngram_fit_recall(struct ngram_fit_options *options, const json_t *described, const char *place,
                      struct error *err) MUST_CHECK;

struct ngram_fit_result {
    size_t records, rows, iterations;
    double loss, seconds;
};

/* Records record[0 … n) of the set (NULL: all) into a new part, whose gates are 1. */
bool ngram_fit(struct ngram_part *part, const struct records_set *set, const uint32_t *record,
               size_t n, const struct ngram_fit_options *options, struct ngram_fit_result *result,
               struct error *err) MUST_CHECK;

/* logits [set->n, classes] of a part. */
bool ngram_fit_answer(const struct ngram_part *part, const struct records_set *set,
                      struct device *dev, float *logits, struct error *err) MUST_CHECK;

/* logits [set->n, classes] of every record, by a part fitted without it: the set is shuffled into
 * n_folds, and each fold is answered by a part fitted on the others (Wolpert 1992). */
bool ngram_fit_out_of_fold(const struct records_set *set, size_t n_folds, uint64_t seed,
                           const struct ngram_fit_options *options, struct device *dev,
                           float *logits, struct error *err) MUST_CHECK;

#endif
