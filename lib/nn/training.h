/* training.h: what a run of train.h is made of. Private to train.c, which opens and runs it,
 * training_check.c, which refuses what cannot be trained, training_memory.c, which finds out
 * beforehand what it takes, and training_write.c, which says and writes what came of it.
 */
#ifndef MILLET_NN_TRAINING_H
#define MILLET_NN_TRAINING_H

#include "nn/train.h"
#include "nn/trainer.h"

struct training {
    struct trainer trainer;
    struct shape shape;
    struct model *model;
    bool from_scratch;
    struct ngram_part ngram; /* of a run that makes one */
    struct train_result result;
};

/* ---- training_check.c ---- */

/* The shape to train, owned by the caller: the model's own (asked NULL) with the records' labels,
 * or the one asked for. Refuses a classifier that is kept and has other labels. */
bool training_find_shape(struct shape *shape, const struct shape *asked, const struct model *model,
                         const struct records_set *records, const struct train_options *options,
                         struct error *err) MUST_CHECK;
/* Labels, logits, lengths and ids of the training records and of the dev records. */
bool training_check_records(const struct trainer *trainer, const struct shape *shape,
                            struct error *err) MUST_CHECK;

/* ---- training_memory.c ---- */

/* The batches of an epoch, by a budget of tokens. */
bool training_plan(const struct trainer *trainer, size_t epoch, size_t batch_tokens,
                   struct schedule *schedule, struct error *err) MUST_CHECK;
/* Which rows of the word table the records touch. */
bool training_find_words(struct trainer *trainer, const struct shape *shape,
                         struct error *err) MUST_CHECK;
/* Steps and largest batches of the run, and whether the device has the memory for it: if not, says
 * how much it takes, how much is free, and which budget would fit. Lengths and ranks are there. */
bool training_check_memory(struct trainer *trainer, const struct shape *shape,
                           struct error *err) MUST_CHECK;
/* All that steps allocate on the device. */
bool training_reserve(struct trainer *trainer, struct error *err) MUST_CHECK;

/* ---- training_write.c: train_config(), train_describe(), train_write() of train.h ---- */

/* The name of the dev score in logs and histories. */
const char *training_score_name(const struct trainer *trainer);

#endif
