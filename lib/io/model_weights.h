/* model_weights.h: the files of a bundle that hold its model's weights, and their tensors.
 *
 * In this order, as transformers looks for them: model.safetensors, its shards by
 * model.safetensors.index.json, pytorch_model.bin, its shards by pytorch_model.bin.index.json.
 */
#ifndef MILLET_IO_MODEL_WEIGHTS_H
#define MILLET_IO_MODEL_WEIGHTS_H

#include "io/model.h"
#include "io/torch_file.h"

struct model_shard {
    const struct bundle_member *member;
    struct safetensors safetensors; /* one of these two is empty */
    struct torch_file torch;
};

/* Fill the tensors and shards of a model whose bundle is open; none is no error. */
bool model_weights_open(struct model *model, struct error *err) MUST_CHECK;
void model_weights_close(struct model *model);

#endif
