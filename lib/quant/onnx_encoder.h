/* onnx_encoder.h: the nodes of an encoder classifier, from token ids to logits, as lib/nn/encoder.c
 * computes it.
 */
#ifndef MILLET_QUANT_ONNX_ENCODER_H
#define MILLET_QUANT_ONNX_ENCODER_H

#include "core/error.h"
#include "io/model.h"
#include "nn/shape.h"
#include "quant/onnx_graph.h"

/* Everything into the graph: inputs, nodes, weights (whose bytes are verified and checked to be
 * finite numbers), output. The shape must have its head. */
bool onnx_encoder_build(struct onnx_graph *graph, const struct shape *shape, struct model *model,
                        struct error *err) MUST_CHECK;

#endif
