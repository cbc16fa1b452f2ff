/* ngram_gate.h: how much an encoder's logits and an n-gram part's count in their sum, chosen on
 * records with labels.
 *
 * Each part's logits are first scaled to the cross-entropy that is least (temperature scaling, Guo
 * et al. 2017): one of them may have been distilled at a high temperature, or be margins. Of the
 * sums share * encoder + (1 - share) * n-grams for share 0, 0.05, … 1, scaled likewise, the one
 * with the least cross-entropy is taken, so that the model's probabilities are calibrated. (Not the
 * one with the best accuracy: that of some thousand records is nearly flat between shares and
 * jumps by its own noise.)
 */
#ifndef MILLET_NN_NGRAM_GATE_H
#define MILLET_NN_NGRAM_GATE_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"
#include "io/records.h"

struct ngram_gate {
    double encoder, ngram; /* factors of the logits */
    double share;          /* the encoder's, of logits on one scale */
    double score, encoder_score, ngram_score;
};

/* encoder and ngram: logits [set->n, labels] of all records; those without a label do not count. At
 * least one has one. */
bool ngram_gate_choose(struct ngram_gate *gate, const struct records_set *set, const float *encoder,
                       const float *ngram, struct error *err) MUST_CHECK;

/* The factor of logits that gives the least cross-entropy; 1 where no record has a label. */
double ngram_gate_calibrate(const struct records_set *set, const float *logits);

/* Score of logits on the labelled records. */
double ngram_gate_score(const struct records_set *set, const float *logits);
/* Mean cross-entropy of factor * logits on them. */
double ngram_gate_loss(const struct records_set *set, const float *logits, double factor);

#endif
