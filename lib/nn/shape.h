/* shape.h: the shape of an encoder classifier, layer by layer, as config.json and the tensors tell
 * it. Heads and feed-forward widths differ per layer after pruning; nothing else in the code may
 * assume a constant.
 *
 * Tensor names are Hugging Face's BertForSequenceClassification, with or without the "bert." prefix
 * when reading, with it when writing. Heads of a layer = rows of query.weight / head_size;
 * feed-forward width = rows of intermediate.dense.weight.
 */
#ifndef MILLET_NN_SHAPE_H
#define MILLET_NN_SHAPE_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"
#include "io/model.h"
#include "kernels/kernels.h"

struct layer_shape {
    size_t heads, ffn;
};

struct shape {
    size_t vocab, hidden, head_size, positions, types, n_labels, n_layers;
    struct layer_shape *layer; /* [n_layers], owned */
    enum epilogue activation;
    float eps; /* of layer norm */
    float hidden_dropout, attention_dropout, classifier_dropout;
    float initializer_range;
    /* In the file; a trainer starts what is missing, a scorer refuses. */
    bool has_pooler, has_classifier;
};

/* From config and tensors; every dimension checked against the config and the other tensors. */
bool shape_from_model(struct shape *shape, const struct model *model, struct error *err) MUST_CHECK;
/* From "layers=4,hidden=256,heads=4,ffn=1024" (missing keys: 4, 256, hidden/64 (at least 1),
 * 4*hidden, positions=512), with vocabulary and labels given. Initial weights have the deviation
 * 0.02 sqrt(768/hidden). Refuses nonsense with the key and its range. */
bool shape_from_text(struct shape *shape, const char *text, size_t vocab, size_t n_labels,
                     struct error *err) MUST_CHECK;
bool shape_copy(const struct shape *from, struct shape *to, struct error *err) MUST_CHECK;
void shape_free(struct shape *shape);

/* config.json for a shape: keys of `base` (may be NULL) kept, the shape's set, label maps included.
 * New reference. */
json_t *shape_config(const struct shape *shape, const json_t *base, char *const *label,
                     struct error *err);

/* Parameters in all, and multiply-adds of one text of n tokens as the engine runs it: the last
 * layer's query, output projection and feed-forward for the first token only. */
size_t shape_parameters(const struct shape *shape);
double shape_macs(const struct shape *shape, size_t n_tokens);

/* Name of a tensor of layer l: shape_tensor_name(name, n, l, "attention.self.query.weight"). */
void shape_tensor_name(char *text, size_t n, size_t layer, const char *rest);

/* Find a tensor under its name with or without "bert.", with gamma/beta for layer-norm weight/bias.
 * NULL: absent. */
const struct tensor_view *shape_find_tensor(const struct model *model, const char *name);

/* Find it and check dims (cols 0: a vector) and type (F32 F16 BF16; I8 matrices with their
 * "<name>_scale"). The bytes are not verified. */
const struct tensor_view *shape_require_tensor(const struct model *model, const char *name,
                                               size_t rows, size_t cols,
                                               struct error *err) MUST_CHECK;
/* The scale of an I8 tensor that shape_require_tensor() accepted; NULL for other types. */
const struct tensor_view *shape_scale_of(const struct model *model, const struct tensor_view *view);

#endif
