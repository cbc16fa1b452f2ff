/* train_labels.h: what the labels and the teacher's words of the training records say before the
 * first step: which labels never occur, what a class weighs, which records are easy. */
#ifndef MILLET_NN_TRAIN_LABELS_H
#define MILLET_NN_TRAIN_LABELS_H

#include "nn/trainer.h"

/* Labels that no record to learn from has, and none of the dev set, into result. */
bool train_find_absent(const struct trainer *trainer, struct train_result *result,
                       struct error *err) MUST_CHECK;
/* trainer->class_weight, where options ask for it. Refused for records with any number of
 * labels. */
bool train_weigh(struct trainer *trainer, struct error *err) MUST_CHECK;
/* trainer->rank: the probability that the teacher gives to a record's label, or where it has none
 * (or several) to its own answer, falling. Needs logits. */
bool train_rank(struct trainer *trainer, struct error *err) MUST_CHECK;

#endif
