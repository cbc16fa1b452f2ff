/* shape.h: the shape of an encoder classifier, layer by layer, as config.json and the tensors tell
 * it. Heads and feed-forward widths differ per layer after pruning; nothing else in the code may
 * assume a constant.
 *
 * A shape without labels is an encoder without a head: hidden states only.
 *
 * A shape without layers is an embedding bag: the classifier sees the mean of the embeddings'
 * output.
 *
 * Heads of a layer = rows of the query's matrix / head_size; feed-forward width = rows of its first
 * matrix. Which architecture's names and traits: family.h. All tensors of a shape: parts.h.
 */
#ifndef MILLET_NN_SHAPE_H
#define MILLET_NN_SHAPE_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"
#include "io/model.h"
#include "kernels/kernels.h"
#include "nn/family.h"

enum { SHAPE_MAX_STACK = 8 };

struct layer_shape {
    size_t heads, ffn;
};

/* What the classifier sees of a text. The mean is "millet_pool": "mean" in config.json, which
 * transformers has nothing for. */
enum shape_pool { SHAPE_FIRST, SHAPE_MEAN };

struct shape {
    const struct family *family;
    size_t vocab, hidden, head_size, positions, types, n_labels, n_layers;
    size_t embed;              /* columns of the word table; hidden where there is no projection */
    size_t width;              /* columns inside a layer: the bottleneck's, elsewhere hidden */
    size_t stack;              /* feed-forward networks of a layer, at most SHAPE_MAX_STACK */
    struct layer_shape *layer; /* [n_layers], owned */
    enum epilogue activation;
    enum shape_pool pool;
    bool no_pooler; /* what is pooled goes to the classifier as it is */
    /* All rows of the last layer are computed even where the head sees the first ones only: for
     * losses on them. A choice of a training run, not in config.json. */
    bool all_rows;
    /* A masked language model: its head instead of pooler and classifier. A choice, too. */
    bool mlm;
    int32_t pad; /* id whose rows of the tables do not learn; negative: none */
    float eps;   /* of layer norm */
    float hidden_dropout, attention_dropout, classifier_dropout;
    float initializer_range;
    /* In the file; a trainer starts what is missing, a scorer refuses. has_pooler also where none
     * is needed. */
    bool has_pooler, has_classifier;
};

/* From config and tensors; every dimension checked against the config and the other tensors. */
bool shape_from_model(struct shape *shape, const struct model *model, struct error *err) MUST_CHECK;
/* BERT from "layers=4,hidden=256,heads=4,ffn=1024" (missing keys: 4, 256, hidden/64 (at least 1),
 * 4*hidden, positions=512), with vocabulary and labels given. layers=0 is an embedding bag. Initial
 * weights have the deviation 0.02 sqrt(768/hidden). Refuses nonsense with the key and its range. */
bool shape_from_text(struct shape *shape, const char *text, size_t vocab, size_t n_labels,
                     struct error *err) MUST_CHECK;
bool shape_copy(const struct shape *from, struct shape *to, struct error *err) MUST_CHECK;
void shape_free(struct shape *shape);

/* config.json for a shape: keys of `base` (may be NULL) kept, the shape's set, label maps included.
 * New reference. */
json_t *shape_config(const struct shape *shape, const json_t *base, char *const *label,
                     struct error *err);

/* The word rows go through a projection. */
static inline bool shape_projects(const struct shape *shape)
{
    return shape->family->embedding == FAMILY_FACTORED_IF_NARROW
               ? shape->embed != shape->hidden
               : shape->family->embedding != FAMILY_PLAIN;
}

/* Only the first row of each text is wanted of layer l beyond keys and values. */
static inline bool shape_first_only(const struct shape *shape, size_t l)
{
    return l + 1 == shape->n_layers && shape->pool == SHAPE_FIRST && !shape->all_rows;
}

/* Columns of the position and type tables and of the embedding's norm. */
static inline size_t shape_embed_norm_width(const struct shape *shape)
{
    return shape->family->embedding == FAMILY_TRIGRAM ? shape->hidden : shape->embed;
}

/* A shape with labels or without becomes that of a masked language model. `model` is whose weights
 * it has (NULL: none); what such a head cannot be made for is refused. */
bool shape_make_mlm(struct shape *shape, const struct model *model, struct error *err) MUST_CHECK;

/* The longest text, in tokens. */
size_t shape_max_tokens(const struct shape *shape);

/* Multiply-adds of one text of n tokens as the engine runs it: the last layer's query, output
 * projection and feed-forward for the first token only where the head sees no other. */
double shape_macs(const struct shape *shape, size_t n_tokens);

#endif
