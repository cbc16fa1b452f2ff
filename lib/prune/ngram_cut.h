/* ngram_cut.h: fewer rows in a model's n-gram part: those that can say least go, by the norm of
 * their weights times their idf, which is what they add to a text's logits at most.
 *
 * A text's values are scaled to length 1 over the rows that stay, so what stays weighs more: the
 * gates of a hybrid are worth choosing anew (mstudent --epochs 0 --ngram=gate).
 */
#ifndef MILLET_PRUNE_NGRAM_CUT_H
#define MILLET_PRUNE_NGRAM_CUT_H

#include <stddef.h>

#include "core/error.h"
#include "io/model.h"

struct ngram_cut {
    size_t before, after; /* rows */
};

/* Keep a share in (0, 1] of the rows, at least one: the model's views of the part's tensors change,
 * their bytes are the bundle's. A model without the part is refused. */
bool ngram_cut(struct model *model, double share, struct ngram_cut *cut,
               struct error *err) MUST_CHECK;

#endif
