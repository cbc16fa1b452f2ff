/* onnx.h: a classifier as a directory for ONNX Runtime: model.onnx, config.json and the tokenizer
 * files, as a model stream. Part of the work of mquant.
 *
 * model.onnx has IR version 8 and operator set 17. Inputs input_ids and attention_mask, int64
 * [batch, length], both axes free; output logits, float [batch, labels]. Weights are F32, each
 * once, and any shape that Millet prunes to can be written: heads and widths may differ per layer.
 * A token whose attention_mask is 0 changes nothing, whatever its id.
 */
#ifndef MILLET_QUANT_ONNX_H
#define MILLET_QUANT_ONNX_H

#include <jansson.h>
#include <stdint.h>

#include "core/error.h"
#include "io/model.h"
#include "io/output.h"

struct onnx_result {
    size_t nodes;
    uint64_t weights, bytes; /* values of all initializers; size of model.onnx */
};

/* Of a hybrid the encoder alone: the n-gram part is taken out of the open model. stage
 * (history) is stolen in any case; version: of Millet, for the file. int8 models are refused:
 * they answer with quantised activations, which these nodes would not. Memory: names and nodes, and
 * one block of a weight. `result` may be NULL. */
bool onnx_write(struct model *model, const char *version, json_t *stage, struct output *output,
                struct onnx_result *result, struct error *err) MUST_CHECK;

#endif
