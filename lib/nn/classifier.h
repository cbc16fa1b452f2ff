/* classifier.h: a model ready to answer: weights prepared on a device, records in, logits out. A
 * model is an encoder, an n-gram part (ngram.h), or both, whose logits are added.
 *
 * Parallel over sequences: each lane of the device takes runs of records (cut by a token budget)
 * through all layers by itself; an atomic counter hands them out. The result for a record does not
 * depend on lanes, batches or neighbours.
 */
#ifndef MILLET_NN_CLASSIFIER_H
#define MILLET_NN_CLASSIFIER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/threads.h"
#include "io/model.h"
#include "kernels/kernels.h"
#include "nn/ngram.h"
#include "nn/shape.h"

struct classifier;

/* Borrows model and device, which must outlive it. team has at least dev->n_lanes members (NULL:
 * one lane). batch_tokens 0: the device's pass_tokens per run. What the
 * model takes on the device is counted first, and refused where less is free. Weights that are not
 * finite are refused with the tensor's name. */
struct classifier *classifier_open(struct model *model, struct device *dev, struct threads *team,
                                   size_t batch_tokens, struct error *err) MUST_CHECK;
void classifier_close(struct classifier *classifier);
/* Tokens of one run through the layers, about. */
size_t classifier_batch_tokens(const struct classifier *classifier);
/* That count: bytes of weights and of the encoder's largest run on each lane. The n-grams of a run,
 * some bytes each, are on the device besides while their part answers. */
size_t classifier_footprint(const struct classifier *classifier);
size_t classifier_labels(const struct classifier *classifier); /* outputs */
/* The encoder's; NULL: the model is an n-gram part alone. */
const struct shape *classifier_shape(const struct classifier *classifier);
/* NULL: the model is an encoder alone. */
const struct ngram_part *classifier_ngram(const struct classifier *classifier);
/* Values that were learnt, of both parts. */
size_t classifier_parameters(const struct classifier *classifier);
/* Multiply-adds of a text of so many tokens and n-grams. */
double classifier_macs(const struct classifier *classifier, size_t n_tokens, size_t n_grams);

/* n records. */
struct classifier_texts {
    const int64_t *offset;      /* [n + 1] */
    const int32_t *id;          /* tokens [offset[0] … offset[n]) */
    const int64_t *gram_offset; /* [n + 1] */
    const int32_t *gram;        /* n-grams, as in records.h; NULL: the stream has none */
    const float *ngram;         /* [n, n_labels]: logits in place of the n-gram part's; or NULL */
};

/* logits [n, n_labels]. Ids outside the vocabulary, records longer than the positions and records
 * without the n-grams that the model needs are errors that name the record or the remedy. */
bool classifier_answer(struct classifier *classifier, const struct classifier_texts *texts,
                       size_t n, float *logits, struct error *err) MUST_CHECK;

/* The same of records without n-grams. */
bool classifier_run(struct classifier *classifier, const int64_t *offset, const int32_t *id,
                    size_t n, float *logits, struct error *err) MUST_CHECK;

#endif
