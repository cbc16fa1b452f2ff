/* label_sets.h: sets of labels as numbers, so that answers of a multi-label model compare as those
 * of a single-label one do: two records have the same labels exactly when their sets have the same
 * number. Memory: one bit a label for each different set. */
#ifndef MILLET_SCORE_LABEL_SETS_H
#define MILLET_SCORE_LABEL_SETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "text/string_table.h"

struct label_sets {
    size_t n_labels, n_bytes;  /* of a set */
    struct string_table table; /* sets as bits, label 0 lowest in byte 0 */
    uint8_t *bits;             /* [n_bytes] the set in the making */
};

bool label_sets_open(struct label_sets *sets, size_t n_labels, struct error *err) MUST_CHECK;
void label_sets_close(struct label_sets *sets); /* safe on a zeroed struct */

/* The number of a set of n labels (ids below n_labels); -1: failed. */
int32_t label_sets_of_ids(struct label_sets *sets, const int32_t *id, size_t n,
                          struct error *err) MUST_CHECK;
/* Of the labels whose probability is above one half: logits above 0. */
int32_t label_sets_of_logits(struct label_sets *sets, const float *logits,
                             struct error *err) MUST_CHECK;
bool label_sets_has(const struct label_sets *sets, int32_t set, size_t label);

#endif
