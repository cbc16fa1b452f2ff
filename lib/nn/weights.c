/* weights.c: preparing a model file's tensors for inference on a device. */
#include "nn/weights.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

enum { NAME_BYTES = 160, MAX_PARTS = 3 };

bool weights_finite(const struct tensor_view *view)
{
    /* A float is not finite when its exponent bits are all ones. Elements may lie at any alignment
     * in foreign files. */
    const unsigned char *at = view->data;
    size_t n = (size_t)tensor_view_elements(view), bad = 0;
    if (view->type == DTYPE_F32) {
        for (size_t i = 0; i < n; i++) {
            uint32_t bits;
            memcpy(&bits, at + i * sizeof bits, sizeof bits);
            bad += (bits & 0x7f800000u) == 0x7f800000u;
        }
    } else if (view->type == DTYPE_F16 || view->type == DTYPE_BF16) {
        uint16_t exponent = view->type == DTYPE_F16 ? 0x7c00 : 0x7f80;
        for (size_t i = 0; i < n; i++) {
            uint16_t bits;
            memcpy(&bits, at + i * sizeof bits, sizeof bits);
            bad += (bits & exponent) == exponent;
        }
    }
    return bad == 0;
}

/* ---- one tensor ---- */

/* What preparing needs throughout. */
struct source_model {
    struct weights *weights;
    struct model *model;
    struct device *dev;
    struct error *err;
};

static bool verified(const struct source_model *from, const struct tensor_view *view)
{
    if (!bundle_verify(from->model->bundle, view->data, (size_t)view->bytes, from->err))
        return false;
    if (!weights_finite(view))
        return error_set(
            from->err,
            "%s: tensor %s has values that are not finite (NaN or infinity); the model "
            "is damaged or its training diverged",
            from->model->name, view->name);
    return true;
}

static bool as_weight(const struct source_model *from, const struct tensor_view *view, bool verify,
                      struct weight *weight)
{
    const struct tensor_view *scale = shape_scale_of(from->model, view);
    if (verify && (!verified(from, view) || (scale && !verified(from, scale))))
        return false;
    *weight = (struct weight){.data = view->data,
                              .type = view->type,
                              .scale = scale ? scale->data : NULL,
                              .rows = (size_t)view->dim[0],
                              .cols = (size_t)view->dim[1]};
    return true;
}

/* Vector `name` [n] as floats. */
static bool read_vector(const struct source_model *from, const char *name, size_t n, float *to)
{
    const struct tensor_view *view = shape_require_tensor(from->model, name, n, 0, from->err);
    if (!view || !verified(from, view))
        return false;
    dtype_to_float(view->type, view->data, n, to);
    return true;
}

/* Parts "<stem>.weight", "<stem>.bias", each [rows, cols], stacked. */
static bool prepare(const struct source_model *from, const char (*stem)[NAME_BYTES], size_t n_parts,
                    size_t rows, size_t cols, struct weights_matrix *matrix)
{
    struct weight part[MAX_PARTS];
    const float *bias[MAX_PARTS];
    char name[NAME_BYTES + 8];
    float *vectors = memory_array(n_parts * rows, sizeof *vectors, from->err);
    bool ok = vectors != NULL;
    for (size_t i = 0; ok && i < n_parts; i++) {
        snprintf(name, sizeof name, "%s.weight", stem[i]);
        const struct tensor_view *view =
            shape_require_tensor(from->model, name, rows, cols, from->err);
        ok = view && as_weight(from, view, true, &part[i]);
        snprintf(name, sizeof name, "%s.bias", stem[i]);
        bias[i] = vectors + i * rows;
        ok = ok && read_vector(from, name, rows, vectors + i * rows);
    }
    if (ok)
        matrix->linear = from->dev->op->linear_prepare(from->dev, part, bias, n_parts, from->err);
    free(vectors);
    return ok && matrix->linear;
}

static bool prepare_one(const struct source_model *from, const char *stem, size_t rows, size_t cols,
                        struct weights_matrix *matrix)
{
    char name[1][NAME_BYTES];
    snprintf(name[0], sizeof name[0], "%s", stem);
    return prepare(from, (const char(*)[NAME_BYTES])name, 1, rows, cols, matrix);
}

static bool prepare_norm(const struct source_model *from, const char *stem, float *at,
                         struct weights_norm *norm)
{
    size_t hidden = from->weights->shape->hidden;
    char name[NAME_BYTES + 8];
    float *both = memory_array(2 * hidden, sizeof *both, from->err);
    bool ok = both != NULL;
    snprintf(name, sizeof name, "%s.weight", stem);
    ok = ok && read_vector(from, name, hidden, both);
    snprintf(name, sizeof name, "%s.bias", stem);
    ok = ok && read_vector(from, name, hidden, both + hidden);
    if (ok) {
        from->dev->op->upload(from->dev, at, both, 2 * hidden * sizeof *both);
        *norm = (struct weights_norm){.gain = at, .bias = at + hidden};
    }
    free(both);
    return ok;
}

static struct table_weights *prepare_table(const struct source_model *from, const char *name,
                                           size_t rows, bool verify)
{
    struct weight weight;
    const struct tensor_view *view =
        shape_require_tensor(from->model, name, rows, from->weights->shape->hidden, from->err);
    if (!view || !as_weight(from, view, verify, &weight))
        return NULL;
    return from->dev->op->table_prepare(from->dev, &weight, from->err);
}

/* ---- the whole ---- */

static bool prepare_embeddings(const struct source_model *from)
{
    struct weights *w = from->weights;
    const struct shape *shape = w->shape;
    const char *word = "bert.embeddings.word_embeddings.weight";
    w->word = prepare_table(from, word, shape->vocab, false);
    w->position =
        prepare_table(from, "bert.embeddings.position_embeddings.weight", shape->positions, true);
    w->type =
        prepare_table(from, "bert.embeddings.token_type_embeddings.weight", shape->types, true);
    if (!w->word || !w->position || !w->type)
        return false;
    w->word_view = shape_find_tensor(from->model, word);
    w->word_scale = shape_scale_of(from->model, w->word_view);
    return prepare_norm(from, "bert.embeddings.LayerNorm", w->floats, &w->embed_norm);
}

static bool prepare_attention(const struct source_model *from, size_t l, size_t inner)
{
    static const char *const rest[MAX_PARTS] = {"attention.self.query", "attention.self.key",
                                                "attention.self.value"};
    const struct shape *shape = from->weights->shape;
    struct weights_layer *layer = &from->weights->layer[l];
    char stem[MAX_PARTS][NAME_BYTES];
    for (size_t i = 0; i < MAX_PARTS; i++)
        shape_tensor_name(stem[i], sizeof stem[i], l, rest[i]);
    const char(*part)[NAME_BYTES] = (const char(*)[NAME_BYTES])stem;
    if (l + 1 < shape->n_layers)
        return prepare(from, part, 3, inner, shape->hidden, &layer->qkv);
    return prepare(from, part, 1, inner, shape->hidden, &layer->q) &&
           prepare(from, part + 1, 2, inner, shape->hidden, &layer->kv);
}

static bool prepare_layer(const struct source_model *from, size_t l)
{
    const struct shape *shape = from->weights->shape;
    struct weights_layer *layer = &from->weights->layer[l];
    size_t h = shape->hidden, inner = shape->layer[l].heads * shape->head_size;
    size_t ffn = shape->layer[l].ffn;
    float *norms = from->weights->floats + (2 + 4 * l) * h;
    const struct {
        const char *rest;
        size_t rows, cols;
        struct weights_matrix *to;
    } matrix[] = {{"attention.output.dense", h, inner, &layer->o},
                  {"intermediate.dense", ffn, h, &layer->f1},
                  {"output.dense", h, ffn, &layer->f2}};
    char stem[NAME_BYTES];
    if (!prepare_attention(from, l, inner))
        return false;
    for (size_t i = 0; i < sizeof matrix / sizeof matrix[0]; i++) {
        shape_tensor_name(stem, sizeof stem, l, matrix[i].rest);
        if (!prepare_one(from, stem, matrix[i].rows, matrix[i].cols, matrix[i].to))
            return false;
    }
    shape_tensor_name(stem, sizeof stem, l, "attention.output.LayerNorm");
    if (!prepare_norm(from, stem, norms, &layer->norm1))
        return false;
    shape_tensor_name(stem, sizeof stem, l, "output.LayerNorm");
    return prepare_norm(from, stem, norms + 2 * h, &layer->norm2);
}

static bool prepare_all(const struct source_model *from)
{
    const struct shape *shape = from->weights->shape;
    if (!prepare_embeddings(from))
        return false;
    for (size_t l = 0; l < shape->n_layers; l++)
        if (!prepare_layer(from, l))
            return false;
    return prepare_one(from, "bert.pooler.dense", shape->hidden, shape->hidden,
                       &from->weights->pooler) &&
           prepare_one(from, "classifier", shape->n_labels, shape->hidden,
                       &from->weights->classifier);
}

bool weights_prepare(struct weights *weights, const struct shape *shape, struct model *model,
                     struct device *dev, struct error *err)
{
    *weights = (struct weights){.shape = shape, .dev = dev, .model = model};
    if (!shape->has_pooler || !shape->has_classifier)
        return error_set(err,
                         "%s: the model has no %s, so it cannot classify; train it with mstudent",
                         model->name, shape->has_pooler ? "classifier" : "pooler");
    const struct source_model from = {weights, model, dev, err};
    weights->layer = memory_zeroed(shape->n_layers, sizeof *weights->layer, err);
    weights->floats =
        weights->layer
            ? dev->op->alloc(
                  dev, (2 + 4 * shape->n_layers) * shape->hidden * sizeof *weights->floats, err)
            : NULL;
    if (weights->floats && prepare_all(&from))
        return true;
    weights_free(weights);
    return false;
}

size_t weights_linears(const struct weights *weights, struct linear **list)
{
    size_t n = 0;
    for (size_t l = 0; weights->layer && l < weights->shape->n_layers; l++) {
        const struct weights_layer *layer = &weights->layer[l];
        struct linear *linear[] = {layer->qkv.linear, layer->q.linear,  layer->kv.linear,
                                   layer->o.linear,   layer->f1.linear, layer->f2.linear};
        for (size_t i = 0; i < sizeof linear / sizeof linear[0]; i++)
            if (linear[i])
                list[n++] = linear[i];
    }
    if (weights->pooler.linear)
        list[n++] = weights->pooler.linear;
    if (weights->classifier.linear)
        list[n++] = weights->classifier.linear;
    return n;
}

static void free_layer(struct device *dev, const struct weights_layer *layer)
{
    struct linear *linear[] = {layer->qkv.linear, layer->q.linear,  layer->kv.linear,
                               layer->o.linear,   layer->f1.linear, layer->f2.linear};
    for (size_t i = 0; i < sizeof linear / sizeof linear[0]; i++)
        if (linear[i])
            dev->op->linear_free(dev, linear[i]);
}

void weights_free(struct weights *weights)
{
    struct device *dev = weights->dev;
    if (!dev)
        return;
    struct table_weights *table[] = {weights->word, weights->position, weights->type};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (table[i])
            dev->op->table_free(dev, table[i]);
    for (size_t l = 0; weights->layer && l < weights->shape->n_layers; l++)
        free_layer(dev, &weights->layer[l]);
    if (weights->pooler.linear)
        dev->op->linear_free(dev, weights->pooler.linear);
    if (weights->classifier.linear)
        dev->op->linear_free(dev, weights->classifier.linear);
    if (weights->floats)
        dev->op->free(dev, weights->floats);
    free(weights->layer);
    *weights = (struct weights){0};
}

bool weights_verify_rows(const struct weights *weights, const int32_t *id, size_t n,
                         struct error *err)
{
    struct model *model = weights->model;
    const struct tensor_view *scale = weights->word_scale;
    const char *data = weights->word_view->data;
    size_t row_bytes = (size_t)(weights->word_view->bytes / weights->word_view->dim[0]);
    for (size_t t = 0; t < n; t++) {
        size_t row = (size_t)id[t];
        if (!bundle_verify(model->bundle, data + row * row_bytes, row_bytes, err))
            return false;
        if (scale &&
            !bundle_verify(model->bundle, (const float *)scale->data + row, sizeof(float), err))
            return false;
    }
    return true;
}
