/* weights.c: the members of struct weights, and preparing a model file's tensors for inference on
 * a device. */
#include "nn/weights.h"

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

enum { MAX_STACKED = 3 };

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

/* ---- making ---- */

/* Where the matrix or norm of a role lies; NULL for query, key and value, which are stacked. */
static struct weights_matrix *matrix_of(struct weights *w, const struct part *part)
{
    struct weights_layer *layer = &w->layer[part->layer];
    switch (part->role) {
    case FAMILY_EMBED_PROJECTION:
        return &w->projection;
    case FAMILY_POOLER:
        return &w->pooler;
    case FAMILY_CLASSIFIER:
        return &w->classifier;
    case FAMILY_NARROW:
        return &layer->narrow;
    case FAMILY_SHARED:
        return &layer->shared;
    case FAMILY_CONTEXT:
        return &layer->o;
    case FAMILY_STACK_IN:
    case FAMILY_FFN_IN:
        return &layer->ffn[part->stack].in;
    case FAMILY_STACK_OUT:
    case FAMILY_FFN_OUT:
        return &layer->ffn[part->stack].out;
    case FAMILY_WIDEN:
        return &layer->widen;
    default:
        return NULL;
    }
}

const struct weights_matrix *weights_matrix_of(const struct weights *weights,
                                               const struct part *part)
{
    const struct weights_layer *layer = &weights->layer[part->layer];
    if (part->role != FAMILY_QUERY && part->role != FAMILY_KEY && part->role != FAMILY_VALUE)
        return matrix_of((struct weights *)(uintptr_t)weights, part);
    if (layer->qkv.linear)
        return &layer->qkv;
    if (part->role == FAMILY_QUERY)
        return &layer->q;
    return layer->kv.linear ? &layer->kv : part->role == FAMILY_KEY ? &layer->k : &layer->v;
}

static struct weights_norm *norm_of(struct weights *w, const struct part *part)
{
    struct weights_layer *layer = &w->layer[part->layer];
    switch (part->role) {
    case FAMILY_NARROW_NORM:
        return &layer->narrow_norm;
    case FAMILY_SHARED_NORM:
        return &layer->shared_norm;
    case FAMILY_NORM1:
        return &layer->norm1;
    case FAMILY_STACK_NORM:
    case FAMILY_NORM2:
        return &layer->ffn[part->stack].norm;
    case FAMILY_WIDEN_NORM:
        return &layer->widen_norm;
    default:
        return &w->embed_norm;
    }
}

/* Query, key and value of layer l, whose parts are qkv[0 … 2], as its products need them. */
static bool make_attention(const struct weights_maker *maker, const struct shape *shape, size_t l,
                           const struct part *qkv, struct weights_layer *layer, struct error *err)
{
    void *context = maker->context;
    if (shape->family->bottleneck)
        return maker->matrix(context, &qkv[0], 1, &layer->q, err) &&
               maker->matrix(context, &qkv[1], 1, &layer->k, err) &&
               maker->matrix(context, &qkv[2], 1, &layer->v, err);
    if (shape_first_only(shape, l))
        return maker->matrix(context, &qkv[0], 1, &layer->q, err) &&
               maker->matrix(context, &qkv[1], 2, &layer->kv, err);
    return maker->matrix(context, &qkv[0], 3, &layer->qkv, err);
}

static bool make_part(struct weights *w, const struct weights_maker *maker, const struct part *part,
                      struct error *err)
{
    struct table_weights **table[] = {
        [FAMILY_WORD] = &w->word, [FAMILY_POSITION] = &w->position, [FAMILY_TYPE] = &w->type};
    if (part->kind == PART_TABLE)
        return maker->table(maker->context, part, table[part->role], err);
    if (part->kind == PART_NORM)
        return maker->norm(maker->context, part, norm_of(w, part), err);
    if (part->role == FAMILY_QUERY)
        return make_attention(maker, w->shape, part->layer, part, &w->layer[part->layer], err);
    struct weights_matrix *matrix = matrix_of(w, part);
    return !matrix || maker->matrix(maker->context, part, 1, matrix, err);
}

/* All layers are the first; the last one's query, key and value may be needed otherwise. */
static bool share_layers(struct weights *w, const struct weights_maker *maker, struct error *err)
{
    const struct shape *shape = w->shape;
    struct part part[PARTS_OF_LAYER], *qkv = part;
    size_t last = shape->n_layers - 1;
    for (size_t l = 1; l < shape->n_layers; l++)
        w->layer[l] = w->layer[0];
    if (shape_first_only(shape, last) == shape_first_only(shape, 0))
        return true;
    parts_of_layer(shape, 0, part);
    while (qkv->role != FAMILY_QUERY)
        qkv++;
    w->layer[last].qkv = (struct weights_matrix){.linear = NULL};
    return make_attention(maker, shape, last, qkv, &w->layer[last], err);
}

bool weights_make(struct weights *weights, const struct weights_maker *maker, struct error *err)
{
    const struct shape *shape = weights->shape;
    size_t n;
    weights->layer = memory_zeroed(shape->n_layers, sizeof *weights->layer, err);
    struct part *part = weights->layer ? parts_list(shape, &n, err) : NULL;
    bool ok = part != NULL;
    for (size_t i = 0; ok && i < n; i++)
        ok = make_part(weights, maker, &part[i], err);
    free(part);
    bool shared = family_shares_layers(shape->family) && shape->n_layers > 1;
    return ok && (!shared || share_layers(weights, maker, err));
}

/* ---- from a model ---- */

struct source_model {
    struct weights *weights;
    struct model *model;
    struct device *dev;
    size_t used;   /* of weights->floats */
    size_t packed; /* bytes of the file, since its memory was last given back */
};

/* A file's pages that are packed may stay so many: giving them back drops all others that are in
 * use, too. */
enum { RELEASE_BYTES = 4 << 20 };

static bool verified(const struct source_model *from, const struct tensor_view *view,
                     struct error *err)
{
    if (!bundle_verify(from->model->bundle, view->data, (size_t)view->bytes, err))
        return false;
    if (!weights_finite(view))
        return error_set(
            err,
            "%s: tensor %s has values that are not finite (NaN or infinity); the model "
            "is damaged or its training diverged",
            from->model->name, view->name);
    return true;
}

static bool as_weight(const struct source_model *from, const struct tensor_view *view, size_t cols,
                      bool verify, struct weight *weight, struct error *err)
{
    const struct tensor_view *scale = parts_scale_of(from->model, view);
    if (verify && (!verified(from, view, err) || (scale && !verified(from, scale, err))))
        return false;
    *weight = (struct weight){.data = view->data,
                              .type = view->type,
                              .scale = scale ? scale->data : NULL,
                              .rows = (size_t)view->dim[0],
                              .cols = cols,
                              .rotated = parts_rotated(from->model, view)};
    return true;
}

/* Of an I8 matrix, where there is one: the scale of all that is multiplied with it; of stacked
 * matrices, which multiply the same, the largest. */
static bool read_input_scale(const struct source_model *from, const struct tensor_view *view,
                             float *largest, struct error *err)
{
    char name[PARTS_NAME_BYTES + 16];
    float scale;
    snprintf(name, sizeof name, "%s_input_scale", view->name);
    const struct tensor_view *found = view->type == DTYPE_I8 ? model_find(from->model, name) : NULL;
    if (!found)
        return true;
    if (found->type != DTYPE_F32 || tensor_view_elements(found) != 1)
        return error_set(err, "%s: tensor %s must be one F32 number", from->model->name, name);
    if (!bundle_verify(from->model->bundle, found->data, sizeof scale, err))
        return false;
    memcpy(&scale, found->data, sizeof scale);
    if (!(scale >= FLT_MIN && scale <= FLT_MAX))
        return error_set(err, "%s: tensor %s is %g; expected a positive number that fp32 can hold",
                         from->model->name, name, (double)scale);
    *largest = fmaxf(*largest, scale);
    return true;
}

/* Vector `name` [n] as floats. */
static bool read_vector(const struct source_model *from, const char *name, size_t n, float *to,
                        struct error *err)
{
    const struct tensor_view *view = parts_require_tensor(from->model, name, n, 0, err);
    if (!view || !verified(from, view, err))
        return false;
    dtype_to_float(view->type, view->data, n, to);
    return true;
}

static bool prepare_matrix(void *context, const struct part *part, size_t n_stacked,
                           struct weights_matrix *to, struct error *err)
{
    struct source_model *from = context;
    const struct shape *shape = from->weights->shape;
    struct weight weight[MAX_STACKED];
    const float *bias[MAX_STACKED];
    char name[PARTS_NAME_BYTES];
    float *vectors = memory_array(n_stacked * part->rows, sizeof *vectors, err), input_scale = 0;
    bool ok = vectors != NULL;
    for (size_t i = 0; ok && i < n_stacked; i++) {
        parts_name(shape, &part[i], "weight", name);
        const struct tensor_view *view =
            parts_require_tensor(from->model, name, part[i].rows, part[i].cols, err);
        from->packed += view ? (size_t)view->bytes : 0;
        ok = view && as_weight(from, view, part[i].cols, true, &weight[i], err) &&
             read_input_scale(from, view, &input_scale, err);
        parts_name(shape, &part[i], "bias", name);
        bias[i] = vectors + i * part->rows;
        ok = ok && read_vector(from, name, part->rows, vectors + i * part->rows, err);
    }
    if (ok)
        to->linear = from->dev->op->linear_prepare(from->dev, weight, bias, n_stacked, err);
    if (ok && to->linear && input_scale > 0)
        from->dev->op->linear_scale(from->dev, to->linear, input_scale);
    if (from->packed > RELEASE_BYTES) { /* the file's pages would double the memory */
        bundle_release(from->model->bundle);
        from->packed = 0;
    }
    free(vectors);
    return ok && to->linear;
}

static bool prepare_norm(void *context, const struct part *part, struct weights_norm *to,
                         struct error *err)
{
    struct source_model *from = context;
    const struct shape *shape = from->weights->shape;
    char name[PARTS_NAME_BYTES];
    size_t n = part->cols;
    float *at = from->weights->floats + from->used;
    float *both = memory_array(2 * n, sizeof *both, err);
    bool ok = both != NULL;
    parts_name(shape, part, "weight", name);
    ok = ok && read_vector(from, name, n, both, err);
    parts_name(shape, part, "bias", name);
    ok = ok && read_vector(from, name, n, both + n, err);
    if (ok) {
        from->dev->op->upload(from->dev, at, both, 2 * n * sizeof *both);
        *to = (struct weights_norm){.gain = at, .bias = at + n};
        from->used += 2 * n;
    }
    free(both);
    return ok;
}

/* Of the word table nothing is read: its rows are verified as they are used. */
static bool prepare_table(void *context, const struct part *part, struct table_weights **to,
                          struct error *err)
{
    const struct source_model *from = context;
    struct weights *w = from->weights;
    struct weight weight;
    char name[PARTS_NAME_BYTES];
    parts_name(w->shape, part, "weight", name);
    const struct tensor_view *view =
        parts_require_tensor(from->model, name, part->rows, part->cols, err);
    if (!view || !as_weight(from, view, part->cols, part->role != FAMILY_WORD, &weight, err))
        return false;
    if (part->role == FAMILY_WORD) {
        w->word_view = view;
        w->word_scale = parts_scale_of(from->model, view);
        bundle_scattered(from->model->bundle, view->data, (size_t)view->bytes, true);
    }
    *to = from->dev->op->table_prepare(from->dev, &weight, err);
    return *to != NULL;
}

/* Device memory for all norms. */
static bool reserve_norms(struct weights *w, struct error *err)
{
    size_t n, floats = 0;
    struct part *part = parts_list(w->shape, &n, err);
    for (size_t i = 0; part && i < n; i++)
        floats += part[i].kind == PART_NORM ? 2 * part[i].cols : 0;
    if (part)
        w->floats = w->dev->op->alloc(w->dev, floats * sizeof *w->floats, err);
    free(part);
    return w->floats != NULL;
}

/* ---- what that takes ---- */

struct tally {
    const struct shape *shape;
    struct model *model;
    struct device *dev;
    size_t bytes;
    bool int8;
};

static bool count_weight(struct tally *tally, const struct part *part, size_t n_stacked, bool table,
                         struct error *err)
{
    char name[PARTS_NAME_BYTES];
    parts_name(tally->shape, part, "weight", name);
    const struct tensor_view *view =
        parts_require_tensor(tally->model, name, part->rows, part->cols, err);
    if (!view)
        return false;
    tally->int8 |= !table && view->type == DTYPE_I8;
    tally->bytes += tally->dev->op->weight_bytes(tally->dev, view->type, n_stacked * part->rows,
                                                 part->cols, table);
    return true;
}

static bool count_matrix(void *context, const struct part *part, size_t n_stacked,
                         struct weights_matrix *to, struct error *err)
{
    (void)to;
    return count_weight(context, part, n_stacked, false, err);
}

static bool count_table(void *context, const struct part *part, struct table_weights **to,
                        struct error *err)
{
    (void)to;
    return count_weight(context, part, 1, true, err);
}

static bool count_norm(void *context, const struct part *part, struct weights_norm *to,
                       struct error *err)
{
    struct tally *tally = context;
    (void)to;
    (void)err;
    tally->bytes += 2 * part->cols * sizeof(float);
    return true;
}

bool weights_bytes(const struct shape *shape, struct model *model, struct device *dev,
                   size_t *bytes, bool *int8, struct error *err)
{
    struct tally tally = {.shape = shape, .model = model, .dev = dev};
    const struct weights_maker maker = {
        .context = &tally, .table = count_table, .matrix = count_matrix, .norm = count_norm};
    struct weights none = {.shape = shape, .dev = dev};
    bool ok = weights_make(&none, &maker, err);
    free(none.layer);
    *bytes = tally.bytes;
    *int8 = tally.int8;
    return ok;
}

bool weights_prepare(struct weights *weights, const struct shape *shape, struct model *model,
                     struct device *dev, struct error *err)
{
    *weights = (struct weights){.shape = shape, .dev = dev, .model = model};
    if (!shape->has_pooler || !shape->has_classifier)
        return error_set(err,
                         "%s: the model has no %s, so it cannot classify; train it with mstudent",
                         model->name, shape->has_pooler ? "classifier" : "pooler");
    struct source_model from = {.weights = weights, .model = model, .dev = dev};
    const struct weights_maker maker = {
        .context = &from, .table = prepare_table, .matrix = prepare_matrix, .norm = prepare_norm};
    bool ok = reserve_norms(weights, err) && weights_make(weights, &maker, err);
    bundle_release(model->bundle); /* rows of tables come back as they are used */
    if (ok)
        return true;
    weights_free(weights);
    return false;
}

/* ---- visiting ---- */

static size_t layer_matrices(struct weights_layer *layer,
                             struct weights_matrix *list[WEIGHTS_OF_LAYER])
{
    struct weights_matrix *one[] = {&layer->qkv,    &layer->q,      &layer->kv,
                                    &layer->k,      &layer->v,      &layer->o,
                                    &layer->narrow, &layer->shared, &layer->widen};
    size_t n = sizeof one / sizeof one[0];
    memcpy(list, one, sizeof one);
    for (size_t s = 0; s < SHAPE_MAX_STACK; s++) {
        list[n++] = &layer->ffn[s].in;
        list[n++] = &layer->ffn[s].out;
    }
    return n;
}

/* Matrices of layer l that the first layer does not have already. */
static size_t own_linears(const struct weights *w, size_t l, struct linear **list)
{
    struct weights_matrix *matrix[WEIGHTS_OF_LAYER], *first[WEIGHTS_OF_LAYER];
    size_t n = 0, all = layer_matrices(&w->layer[l], matrix);
    layer_matrices(&w->layer[0], first);
    for (size_t i = 0; i < all; i++)
        if (matrix[i]->linear && (l == 0 || matrix[i]->linear != first[i]->linear))
            list[n++] = matrix[i]->linear;
    return n;
}

size_t weights_linears(const struct weights *weights, struct linear **list)
{
    size_t n = 0;
    for (size_t l = 0; weights->layer && l < weights->shape->n_layers; l++)
        n += own_linears(weights, l, list + n);
    struct linear *beside[WEIGHTS_BESIDE] = {weights->projection.linear, weights->pooler.linear,
                                             weights->classifier.linear};
    for (size_t i = 0; i < WEIGHTS_BESIDE; i++)
        if (beside[i])
            list[n++] = beside[i];
    return n;
}

static void drop_matrix(struct weights_matrix *matrix)
{
    matrix->dw = matrix->db = NULL;
}

static void drop_norm(struct weights_norm *norm)
{
    norm->dgain = norm->dbias = NULL;
}

void weights_drop_gradients(struct weights *weights)
{
    drop_norm(&weights->embed_norm);
    drop_matrix(&weights->projection);
    drop_matrix(&weights->pooler);
    drop_matrix(&weights->classifier);
    for (size_t l = 0; l < weights->shape->n_layers; l++) {
        struct weights_layer *layer = &weights->layer[l];
        struct weights_matrix *matrix[WEIGHTS_OF_LAYER];
        struct weights_norm *norm[] = {&layer->norm1, &layer->narrow_norm, &layer->shared_norm,
                                       &layer->widen_norm};
        size_t n = layer_matrices(layer, matrix);
        for (size_t i = 0; i < n; i++)
            drop_matrix(matrix[i]);
        for (size_t i = 0; i < sizeof norm / sizeof norm[0]; i++)
            drop_norm(norm[i]);
        for (size_t s = 0; s < SHAPE_MAX_STACK; s++)
            drop_norm(&layer->ffn[s].norm);
    }
}

void weights_free(struct weights *weights)
{
    struct device *dev = weights->dev;
    struct linear *list[WEIGHTS_OF_LAYER + WEIGHTS_BESIDE];
    const struct tensor_view *word = weights->word_view;
    if (!dev)
        return;
    if (word)
        bundle_scattered(weights->model->bundle, word->data, (size_t)word->bytes, false);
    struct table_weights *table[] = {weights->word, weights->position, weights->type};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (table[i])
            dev->op->table_free(dev, table[i]);
    /* The first layer last: it tells what the others only point at. */
    for (size_t l = weights->layer ? weights->shape->n_layers : 0; l-- > 0;)
        for (size_t i = own_linears(weights, l, list); i-- > 0;)
            dev->op->linear_free(dev, list[i]);
    free(weights->layer);
    weights->layer = NULL;
    for (size_t i = weights_linears(weights, list); i-- > 0;)
        dev->op->linear_free(dev, list[i]);
    if (weights->floats)
        dev->op->free(dev, weights->floats);
    *weights = (struct weights){0};
}

bool weights_verify_rows(const struct weights *weights, const int32_t *id, size_t n,
                         struct error *err)
{
    struct model *model = weights->model;
    const struct tensor_view *scale = weights->word_scale;
    const char *data = weights->word_view->data;
    size_t row_bytes = (size_t)(weights->word_view->bytes / weights->word_view->dim[0]);
    size_t scale_bytes = scale ? (size_t)(scale->bytes / scale->dim[0]) : 0;
    for (size_t t = 0; t < n; t++) {
        size_t row = (size_t)id[t];
        if (!bundle_verify(model->bundle, data + row * row_bytes, row_bytes, err))
            return false;
        if (scale && !bundle_verify(model->bundle, (const char *)scale->data + row * scale_bytes,
                                    scale_bytes, err))
            return false;
    }
    return true;
}
