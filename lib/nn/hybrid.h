/* hybrid.h: training runs that end in a model with an n-gram part: beside an encoder, or alone.
 *
 *   apart      the part is fitted by itself, the gate between it and the encoder chosen afterwards:
 *              the strongest that was measured
 *   together   the encoder is trained with n-gram logits added to its own in the loss: logits out
 *              of fold, so that it does not lean on answers that were learnt by heart; dev is
 *              scored with the part's logits added
 *   turn       the encoder is trained, then the part is fitted to what its logits lack
 *   gate       the model has a part already: it stays, the gate is chosen anew
 */
#ifndef MILLET_NN_HYBRID_H
#define MILLET_NN_HYBRID_H

#include "nn/ngram.h"
#include "nn/ngram_fit.h"
#include "nn/ngram_gate.h"

enum hybrid_mode { HYBRID_APART, HYBRID_TOGETHER, HYBRID_TURN, HYBRID_GATE };
enum { HYBRID_FOLDS = 5 };

const char *hybrid_mode_name(enum hybrid_mode mode); /* "apart" */

struct trainer;

struct hybrid_options {
    enum hybrid_mode mode;
    struct ngram_fit_options fit;
};

struct hybrid_result {
    bool fitted, gated, on_training; /* the gate was chosen on the training records */
    struct ngram_fit_result fit;
    struct ngram_gate gate;
    double score; /* on dev, of an n-gram part alone; NaN without dev */
};

/* What a checkpoint must be of: the mode and how the part is fitted. New reference; NULL: no
 * memory. */
json_t *hybrid_identity(const struct hybrid_options *options);

/* What can be refused before the training: records without n-grams, dev records with others, a part
 * that stays for other labels or without dev. */
bool hybrid_check(const struct hybrid_options *options, const struct records_set *records,
                  const struct records_set *dev, const struct model *model,
                  struct error *err) MUST_CHECK;

/* What hybrid_begin() takes of the device while it runs: of `together` the part, which answers one
 * record at a time. Of other modes the part is there when the optimizer's moments are gone. */
bool hybrid_bytes(const struct trainer *trainer, const struct hybrid_options *options,
                  size_t *bytes, struct error *err) MUST_CHECK;

/* Before the training: nothing, or for `together` the part, and the logits that stand beside the
 * encoder's in the loss and on dev, all times the factor of least cross-entropy out of fold. part:
 * zeroed; the caller frees it in any case. */
bool hybrid_begin(struct trainer *trainer, const struct hybrid_options *options,
                  struct ngram_part *part, struct hybrid_result *result,
                  struct error *err) MUST_CHECK;

/* After the training: the part (of `together` the one that is there), with gates that are chosen on
 * dev, or where there is none on the training records, with n-gram logits out of fold. */
bool hybrid_finish(struct trainer *trainer, const struct hybrid_options *options,
                   const struct model *model, struct ngram_part *part, struct hybrid_result *result,
                   struct error *err) MUST_CHECK;

/* A model that is an n-gram part alone: fitted, scored on dev (may be NULL), written. `model` gives
 * the tokenizer. stage is stolen. */
bool hybrid_train_ngram(const struct model *model, const struct records_set *records,
                        const struct records_set *dev, const struct hybrid_options *options,
                        struct device *device, json_t *stage, struct output *output,
                        struct hybrid_result *result, struct error *err) MUST_CHECK;

/* "run" of the history joins `stage`. */
bool hybrid_describe(const struct hybrid_result *result, json_t *stage,
                     struct error *err) MUST_CHECK;

#endif
