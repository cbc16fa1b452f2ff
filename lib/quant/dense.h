/* dense.h: a pruned model in a shape that Hugging Face's classes can hold. Part of the work of
 * mquant.
 *
 * These classes know one number of heads, width / head size, and one feed-forward width for all
 * layers. Heads that are missing are added as zeros: rows of the query, key and value weights and
 * biases, columns of the attention output; neurons as zero rows and biases of the first
 * feed-forward matrix and zero columns of the second, up to the widest layer. An added head's
 * context is 0, and an added neuron meets a column of zeros, so each adds exactly 0 to the sums it
 * joins: the logits stay what they were.
 */
#ifndef MILLET_QUANT_DENSE_H
#define MILLET_QUANT_DENSE_H

#include <jansson.h>
#include <stdint.h>

#include "core/error.h"
#include "io/model.h"
#include "io/output.h"

struct dense_result {
    uint64_t weights_before, weights_after; /* values of all tensors */
    uint64_t bytes_before, bytes_after;
    size_t heads, neurons; /* added, over all layers; both 0: the model passed as it was */
};

/* Pad and write. Of a hybrid the encoder alone: the n-gram part is taken out of the open model.
 * stage (history) is stolen in any case. Refused, with what to do: int8 models and those whose
 * classifier reads the mean, which the classes hold in no shape. Memory: the tensors that are
 * padded. */
bool dense_write(struct model *model, json_t *stage, struct output *output,
                 struct dense_result *result, struct error *err) MUST_CHECK;

#endif
