/* parts.c: the list, and finding its tensors in a model. */
#include "nn/parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/int4.h"
#include "core/memory.h"
#include "kernels/rotate.h"
#include "nn/ngram.h"

/* ---- the list ---- */

/* A list being written. */
struct list {
    struct part *part;
    size_t n, layer;
};

static void add(struct list *list, enum part_kind kind, enum family_role role, size_t rows,
                size_t cols)
{
    list->part[list->n++] =
        (struct part){.role = role, .kind = kind, .layer = list->layer, .rows = rows, .cols = cols};
}

static void add_stacked(struct list *list, enum part_kind kind, enum family_role role, size_t stack,
                        size_t rows, size_t cols)
{
    add(list, kind, role, rows, cols);
    list->part[list->n - 1].stack = stack;
}

size_t parts_of_embeddings(const struct shape *shape, struct part part[PARTS_BESIDE])
{
    struct list list = {.part = part};
    size_t cols = shape_embed_norm_width(shape);
    add(&list, PART_TABLE, FAMILY_WORD, shape->vocab, shape->embed);
    add(&list, PART_TABLE, FAMILY_POSITION, shape->positions, cols);
    if (shape->types)
        add(&list, PART_TABLE, FAMILY_TYPE, shape->types, cols);
    add(&list, PART_NORM, FAMILY_EMBED_NORM, 1, cols);
    if (shape_projects(shape))
        add(&list, PART_MATRIX, FAMILY_EMBED_PROJECTION, shape->hidden,
            shape->family->embedding == FAMILY_TRIGRAM ? 3 * shape->embed : shape->embed);
    return list.n;
}

size_t parts_of_layer(const struct shape *shape, size_t layer, struct part part[PARTS_OF_LAYER])
{
    struct list list = {.part = part, .layer = layer};
    bool bottleneck = shape->family->bottleneck;
    size_t h = shape->hidden, w = shape->width, f = shape->layer[layer].ffn;
    size_t a = shape->layer[layer].heads * shape->head_size;
    if (bottleneck) {
        add(&list, PART_MATRIX, FAMILY_NARROW, w, h);
        add(&list, PART_NORM, FAMILY_NARROW_NORM, 1, w);
        add(&list, PART_MATRIX, FAMILY_SHARED, w, h);
        add(&list, PART_NORM, FAMILY_SHARED_NORM, 1, w);
    }
    add(&list, PART_MATRIX, FAMILY_QUERY, a, w);
    add(&list, PART_MATRIX, FAMILY_KEY, a, w);
    add(&list, PART_MATRIX, FAMILY_VALUE, a, h);
    add(&list, PART_MATRIX, FAMILY_CONTEXT, w, a);
    add(&list, PART_NORM, FAMILY_NORM1, 1, w);
    for (size_t s = 0; s + 1 < shape->stack; s++) {
        add_stacked(&list, PART_MATRIX, FAMILY_STACK_IN, s, f, w);
        add_stacked(&list, PART_MATRIX, FAMILY_STACK_OUT, s, w, f);
        add_stacked(&list, PART_NORM, FAMILY_STACK_NORM, s, 1, w);
    }
    add_stacked(&list, PART_MATRIX, FAMILY_FFN_IN, shape->stack - 1, f, w);
    add_stacked(&list, PART_MATRIX, FAMILY_FFN_OUT, shape->stack - 1, w, f);
    add_stacked(&list, PART_NORM, FAMILY_NORM2, shape->stack - 1, 1, w);
    if (bottleneck) {
        add(&list, PART_MATRIX, FAMILY_WIDEN, h, w);
        add(&list, PART_NORM, FAMILY_WIDEN_NORM, 1, h);
    }
    return list.n;
}

size_t parts_of_head(const struct shape *shape, struct part part[PARTS_BESIDE])
{
    struct list list = {.part = part};
    if (!shape->no_pooler)
        add(&list, PART_MATRIX, FAMILY_POOLER, shape->hidden, shape->hidden);
    if (shape->n_labels)
        add(&list, PART_MATRIX, FAMILY_CLASSIFIER, shape->n_labels, shape->hidden);
    return list.n;
}

size_t parts_layers(const struct shape *shape)
{
    return family_shares_layers(shape->family) && shape->n_layers ? 1 : shape->n_layers;
}

struct part *parts_list(const struct shape *shape, size_t *n, struct error *err)
{
    size_t layers = parts_layers(shape);
    struct part *list = memory_array(2 * PARTS_BESIDE + layers * PARTS_OF_LAYER, sizeof *list, err);
    if (!list)
        return NULL;
    *n = parts_of_embeddings(shape, list);
    for (size_t l = 0; l < layers; l++)
        *n += parts_of_layer(shape, l, list + *n);
    *n += parts_of_head(shape, list + *n);
    return list;
}

static size_t count(const struct part *part, size_t n)
{
    size_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += part[i].kind == PART_NORM    ? 2 * part[i].cols
               : part[i].kind == PART_TABLE ? part[i].rows * part[i].cols
                                            : part[i].rows * (part[i].cols + 1);
    return sum;
}

size_t parts_parameters(const struct shape *shape)
{
    struct part part[PARTS_OF_LAYER + PARTS_BESIDE];
    size_t sum = count(part, parts_of_embeddings(shape, part));
    for (size_t l = 0; l < parts_layers(shape); l++)
        sum += count(part, parts_of_layer(shape, l, part));
    return sum + count(part, parts_of_head(shape, part));
}

void parts_name(const struct shape *shape, const struct part *part, const char *rest,
                char name[PARTS_NAME_BYTES])
{
    family_name(shape->family, part->role, part->layer, part->stack, rest, name, PARTS_NAME_BYTES);
}

/* ---- tensors of a model ---- */

static const struct tensor_view *find_either(const struct model *model, const char *name)
{
    const struct tensor_view *view = model_find(model, name);
    const char *bare = view ? NULL : family_unprefixed(name);
    return bare ? model_find(model, bare) : view;
}

const struct tensor_view *parts_find_tensor(const struct model *model, const char *name)
{
    static const struct {
        const char *now, *old;
    } spelling[] = {{"LayerNorm.weight", "LayerNorm.gamma"}, {"LayerNorm.bias", "LayerNorm.beta"}};

    const struct tensor_view *view = find_either(model, name);
    for (size_t i = 0; !view && i < sizeof spelling / sizeof spelling[0]; i++) {
        size_t n = strlen(name), tail = strlen(spelling[i].now);
        char other[PARTS_NAME_BYTES];
        if (n < tail || n >= sizeof other || strcmp(name + n - tail, spelling[i].now) != 0)
            continue;
        snprintf(other, sizeof other, "%.*s%s", (int)(n - tail), name, spelling[i].old);
        view = find_either(model, other);
    }
    return view;
}

/* Whether a tensor holds codes that need a scale. */
static bool is_codes(const struct tensor_view *view)
{
    return view->type == DTYPE_I8 || view->type == DTYPE_U8;
}

/* The scale of an int8 tensor: "<name>_scale", F32 [rows], aligned; of an int4 table of `cols`
 * columns [rows, groups] (core/int4.h). */
static bool check_scale(const struct model *model, const struct tensor_view *view, size_t cols,
                        struct error *err)
{
    uint64_t groups = view->type == DTYPE_U8 ? int4_groups(cols) : 1;
    char name[PARTS_NAME_BYTES + 8];
    snprintf(name, sizeof name, "%s_scale", view->name);
    const struct tensor_view *scale = model_find(model, name);
    if (!scale)
        return error_set(err, "%s: tensor %s is int%d but there is no %s beside it", model->name,
                         view->name, view->type == DTYPE_U8 ? 4 : 8, name);
    if (scale->type != DTYPE_F32 || scale->rank != (view->type == DTYPE_U8 ? 2 : 1) ||
        scale->dim[0] != view->dim[0] || tensor_view_elements(scale) != view->dim[0] * groups ||
        (uintptr_t)scale->data % sizeof(float) != 0)
        return error_set(err, "%s: tensor %s must be an aligned F32 [%" PRIu64 "%s]", model->name,
                         name, view->dim[0], view->type == DTYPE_U8 ? ", columns / 64" : "");
    return true;
}

const struct tensor_view *parts_scale_of(const struct model *model, const struct tensor_view *view)
{
    char name[PARTS_NAME_BYTES + 8];
    snprintf(name, sizeof name, "%s_scale", view->name);
    return is_codes(view) ? model_find(model, name) : NULL;
}

const char *parts_int8_method(const struct model *model)
{
    const json_t *quantisation = json_object_get(model->config, "quantization_config");
    if (!quantisation || json_is_null(quantisation))
        return NULL;
    const char *method = json_string_value(json_object_get(quantisation, "quant_method"));
    return method ? method : "?";
}

bool parts_int8_known(const char *method)
{
    return strcmp(method, PARTS_INT8) == 0 || strcmp(method, PARTS_INT8_ROTATED) == 0;
}

bool parts_rotated(const struct model *model, const struct tensor_view *view)
{
    if (view->type != DTYPE_I8 || ngram_owns(view->name))
        return false;
    const char *method = parts_int8_method(model);
    return method && strcmp(method, PARTS_INT8_ROTATED) == 0;
}

bool parts_check_columns(const struct model *model, const struct tensor_view *view,
                         struct error *err)
{
    return !parts_rotated(model, view) ||
           error_set(err,
                     "tensor %s is int8 and rotated, each value of all columns around it, so that "
                     "none can go alone: mquant --to fp32 first",
                     view->name);
}

void parts_read_rows(const struct model *model, const struct tensor_view *view, size_t cols,
                     size_t first, size_t n, float *to)
{
    const uint8_t *data = view->data;
    const struct tensor_view *scale = parts_scale_of(model, view);
    const float *factor = scale ? scale->data : NULL;
    if (view->type == DTYPE_U8) {
        for (size_t r = first; r < first + n; r++, to += cols)
            int4_decode(data + r * int4_row_bytes(cols), factor + r * int4_groups(cols), 0, cols,
                        to);
        return;
    }
    dtype_to_float(view->type, data + first * cols * dtype_bytes(view->type), n * cols, to);
    for (size_t i = 0; factor && i < n * cols; i++)
        to[i] *= factor[first + i / cols];
    if (parts_rotated(model, view))
        for (size_t r = 0; r < n; r++)
            rotate_row(to + r * cols, cols);
}

/* Codes of a method that nobody here knows would be read as what they are not. */
static bool check_method(const struct model *model, const struct tensor_view *view,
                         struct error *err)
{
    const char *method = parts_int8_method(model);
    if (!method || parts_int8_known(method))
        return true;
    return error_set(err,
                     "%s: tensor %s is of codes, and config.json: quantization_config names the "
                     "method \"%s\", expected \"%s\" or \"%s\"; take the model before it was "
                     "quantised, or a newer Millet",
                     model->name, view->name, method, PARTS_INT8, PARTS_INT8_ROTATED);
}

/* Tables alone may be int4; all families call them so. */
static bool is_table(const char *name)
{
    static const char tail[] = "_embeddings.weight";
    size_t n = strlen(name);
    return n >= sizeof tail && strcmp(name + n - (sizeof tail - 1), tail) == 0;
}

/* `why`: what of config.json made us expect it, for the messages. */
static const struct tensor_view *require(const struct model *model, const char *name, size_t rows,
                                         size_t cols, bool table, const char *why,
                                         struct error *err)
{
    const struct tensor_view *view = parts_find_tensor(model, name);
    char text[128], expected[64];
    if (!view) {
        error_set(err, "%s: no tensor %s%s; the model's config does not fit its weights",
                  model->name, name, why);
        return NULL;
    }
    tensor_view_describe(view, text, sizeof text);
    if (cols)
        snprintf(expected, sizeof expected, "[%zu, %zu]", rows, cols);
    else
        snprintf(expected, sizeof expected, "[%zu]", rows);
    bool int4 = view->type == DTYPE_U8 && table;
    size_t across = int4 ? int4_row_bytes(cols) : cols;
    bool fits =
        view->rank == (cols ? 2 : 1) && view->dim[0] == rows && (!cols || view->dim[1] == across);
    if (!fits) {
        error_set(err, "%s: tensor %s is %s, expected %s%s", model->name, name, text, expected,
                  why);
        return NULL;
    }
    bool known = view->type == DTYPE_F32 || view->type == DTYPE_F16 || view->type == DTYPE_BF16 ||
                 (view->type == DTYPE_I8 && cols) || int4;
    if (!known) {
        error_set(err, "%s: tensor %s is %s; only F32, F16, BF16 and (matrices) I8 can be used%s",
                  model->name, name, text,
                  view->type == DTYPE_F64 ? "; convert the model first: mquant --to fp32" : "");
        return NULL;
    }
    if (is_codes(view) && (!check_method(model, view, err) || !check_scale(model, view, cols, err)))
        return NULL;
    return view;
}

const struct tensor_view *parts_require_tensor(const struct model *model, const char *name,
                                               size_t rows, size_t cols, struct error *err)
{
    return require(model, name, rows, cols, is_table(name), "", err);
}

static const struct {
    enum parts_size rows, cols;
} sizes[FAMILY_ROLES] = {
    [FAMILY_WORD] = {PARTS_VOCAB, PARTS_EMBED},
    [FAMILY_POSITION] = {PARTS_POSITIONS, PARTS_NONE},
    [FAMILY_TYPE] = {PARTS_TYPES, PARTS_NONE},
    [FAMILY_EMBED_PROJECTION] = {PARTS_HIDDEN, PARTS_EMBED},
    [FAMILY_POOLER] = {PARTS_HIDDEN, PARTS_HIDDEN},
    [FAMILY_CLASSIFIER] = {PARTS_LABELS, PARTS_HIDDEN},
    [FAMILY_NARROW] = {PARTS_WIDTH, PARTS_HIDDEN},
    [FAMILY_NARROW_NORM] = {PARTS_NONE, PARTS_WIDTH},
    [FAMILY_SHARED] = {PARTS_WIDTH, PARTS_HIDDEN},
    [FAMILY_SHARED_NORM] = {PARTS_NONE, PARTS_WIDTH},
    [FAMILY_QUERY] = {PARTS_HEADS, PARTS_WIDTH},
    [FAMILY_KEY] = {PARTS_HEADS, PARTS_WIDTH},
    [FAMILY_VALUE] = {PARTS_HEADS, PARTS_HIDDEN},
    [FAMILY_CONTEXT] = {PARTS_WIDTH, PARTS_HEADS},
    [FAMILY_NORM1] = {PARTS_NONE, PARTS_WIDTH},
    [FAMILY_STACK_IN] = {PARTS_FFN, PARTS_WIDTH},
    [FAMILY_STACK_OUT] = {PARTS_WIDTH, PARTS_FFN},
    [FAMILY_STACK_NORM] = {PARTS_NONE, PARTS_WIDTH},
    [FAMILY_FFN_IN] = {PARTS_FFN, PARTS_WIDTH},
    [FAMILY_FFN_OUT] = {PARTS_WIDTH, PARTS_FFN},
    [FAMILY_NORM2] = {PARTS_NONE, PARTS_WIDTH},
    [FAMILY_WIDEN] = {PARTS_HIDDEN, PARTS_WIDTH},
    [FAMILY_WIDEN_NORM] = {PARTS_NONE, PARTS_HIDDEN},
};

enum parts_size parts_rows(enum family_role role)
{
    return sizes[role].rows;
}

enum parts_size parts_columns(enum family_role role)
{
    return sizes[role].cols;
}

static const char *size_key(const struct shape *shape, enum parts_size size)
{
    const struct family_keys *key = &shape->family->keys;
    const char *embed = key->embed ? key->embed : key->hidden;
    const char *const keys[] = {
        [PARTS_NONE] = shape->family->embedding == FAMILY_TRIGRAM ? key->hidden : embed,
        [PARTS_VOCAB] = "vocab_size",
        [PARTS_HIDDEN] = key->hidden,
        [PARTS_EMBED] = embed,
        [PARTS_WIDTH] = shape->family->bottleneck ? "intra_bottleneck_size" : key->hidden,
        [PARTS_HEADS] = key->heads,
        [PARTS_FFN] = key->ffn,
        [PARTS_POSITIONS] = "max_position_embeddings",
        [PARTS_TYPES] = key->types,
        [PARTS_LABELS] = "id2label",
    };
    return keys[size];
}

/* What of config.json stands behind a tensor of a part. */
static void explain(const struct shape *shape, const struct part *part, const struct model *model,
                    const char *name, size_t cols, char *text, size_t n)
{
    const char *rows_key = size_key(shape, sizes[part->role].rows);
    const char *cols_key = size_key(shape, sizes[part->role].cols);
    if (parts_find_tensor(model, name) && cols)
        snprintf(text, n, ", by \"%s\" and \"%s\" of config.json", rows_key, cols_key);
    else if (parts_find_tensor(model, name))
        snprintf(text, n, ", by \"%s\" of config.json",
                 part->kind == PART_NORM ? cols_key : rows_key);
    else if (part->role >= FAMILY_FIRST_OF_LAYER)
        snprintf(text, n, ", and config.json has \"%s\" %zu", shape->family->keys.layers,
                 shape->n_layers);
    else
        snprintf(text, n, ", and config.json has \"model_type\" \"%s\"", shape->family->model_type);
}

static bool require_one(const struct shape *shape, const struct part *part, const char *rest,
                        size_t rows, size_t cols, const struct model *model, struct error *err)
{
    char name[PARTS_NAME_BYTES], why[160];
    parts_name(shape, part, rest, name);
    explain(shape, part, model, name, cols, why, sizeof why);
    return require(model, name, rows, cols, part->kind == PART_TABLE, why, err) != NULL;
}

bool parts_require(const struct shape *shape, const struct part *part, const struct model *model,
                   struct error *err)
{
    bool norm = part->kind == PART_NORM;
    size_t rows = norm ? part->cols : part->rows;
    return require_one(shape, part, "weight", rows, norm ? 0 : part->cols, model, err) &&
           (part->kind == PART_TABLE || require_one(shape, part, "bias", rows, 0, model, err));
}
