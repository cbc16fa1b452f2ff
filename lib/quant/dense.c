/* dense.c: one rule per tensor, one copy into zeros. */
#include "quant/dense.h"

#include <stdlib.h>
#include <string.h>

#include "core/dtype.h"
#include "core/memory.h"
#include "nn/parts.h"
#include "quant/encoder_alone.h"

enum axis { ROWS, COLS };

/* What grows with a layer's heads, and what with its neurons. */
static const struct rule {
    enum family_role role;
    bool heads;
    enum axis axis; /* of the matrix; with its rows its bias grows, too */
} rules[] = {
    {FAMILY_QUERY, true, ROWS},     {FAMILY_KEY, true, ROWS},        {FAMILY_VALUE, true, ROWS},
    {FAMILY_CONTEXT, true, COLS},   {FAMILY_FFN_IN, false, ROWS},    {FAMILY_FFN_OUT, false, COLS},
    {FAMILY_STACK_IN, false, ROWS}, {FAMILY_STACK_OUT, false, COLS},
};

/* The tensors of the result: those of the model, some with data made here. */
struct padded {
    struct tensor_view *tensor;
    void **owned;
    size_t n;
};

static void padded_free(struct padded *padded)
{
    for (size_t i = 0; padded->owned && i < padded->n; i++)
        free(padded->owned[i]);
    free(padded->owned);
    free(padded->tensor);
}

static bool padded_open(struct padded *padded, const struct model *model, struct error *err)
{
    *padded = (struct padded){.n = model->n_tensors};
    padded->tensor = memory_array(padded->n, sizeof *padded->tensor, err);
    padded->owned = memory_zeroed(padded->n, sizeof *padded->owned, err);
    if (!padded->tensor || !padded->owned)
        return false;
    memcpy(padded->tensor, model->tensor, padded->n * sizeof *padded->tensor);
    return true;
}

/* The view's `axis` to `size`, what is added being zero, in new memory (NULL: failed). In all
 * formats of floats zero is bytes of zeros. */
static void *grow(struct tensor_view *view, enum axis axis, size_t size, struct error *err)
{
    size_t element = dtype_bytes(view->type);
    size_t rows = (size_t)view->dim[0], cols = view->rank > 1 ? (size_t)view->dim[1] : 1;
    size_t to_rows = axis == ROWS ? size : rows, to_cols = axis == COLS ? size : cols, values = 0;
    if (!memory_multiply(to_rows, to_cols, &values)) {
        error_set(err, "tensor %s: %zu rows of %zu are too many", view->name, to_rows, to_cols);
        return NULL;
    }
    uint8_t *data = memory_aligned(values, element, err);
    if (!data)
        return NULL;
    memset(data, 0, values * element);
    for (size_t r = 0; r < rows; r++)
        memcpy(data + r * to_cols * element, (const uint8_t *)view->data + r * cols * element,
               cols * element);
    view->data = data;
    view->dim[axis == ROWS ? 0 : 1] = size;
    view->bytes = values * element;
    return data;
}

/* A tensor of a part among the model's, by its place. */
static bool pad_tensor(struct padded *padded, struct model *model, const char *name, enum axis axis,
                       size_t size, struct error *err)
{
    const struct tensor_view *view = parts_find_tensor(model, name);
    if (!view)
        return error_set(err, "%s: no tensor %s", model->name, name);
    size_t at = (size_t)(view - model->tensor);
    if (!bundle_verify(model->bundle, view->data, (size_t)view->bytes, err))
        return false;
    padded->owned[at] = grow(&padded->tensor[at], axis, size, err);
    return padded->owned[at] != NULL;
}

static const struct rule *find_rule(enum family_role role)
{
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (rules[i].role == role)
            return &rules[i];
    return NULL;
}

/* A matrix of a layer, and its bias, from the width of one shape to that of the other. */
static bool pad_part(struct padded *padded, struct model *model, const struct part *part,
                     const struct shape *from, const struct shape *to, struct error *err)
{
    const struct rule *rule = find_rule(part->role);
    if (!rule)
        return true;
    const struct layer_shape *now = &from->layer[part->layer], *then = &to->layer[part->layer];
    size_t size = rule->heads ? then->heads * from->head_size : then->ffn;
    char name[PARTS_NAME_BYTES];
    if (rule->heads ? then->heads == now->heads : then->ffn == now->ffn)
        return true;
    parts_name(from, part, "weight", name);
    if (!pad_tensor(padded, model, name, rule->axis, size, err))
        return false;
    parts_name(from, part, "bias", name);
    return rule->axis == COLS || pad_tensor(padded, model, name, ROWS, size, err);
}

/* The shape that can be held, from the one there is, and what that one lacks. */
static bool target(const struct model *model, struct shape *to, size_t *heads, size_t *neurons,
                   struct error *err)
{
    size_t all = to->width / to->head_size, widest = 0, layers = parts_layers(to);
    for (size_t l = 0; l < to->n_layers; l++)
        widest = to->layer[l].ffn > widest ? to->layer[l].ffn : widest;
    *heads = *neurons = 0;
    for (size_t l = 0; l < to->n_layers; l++) {
        if (to->layer[l].heads > all)
            return error_set(
                err,
                "%s: layer %zu has %zu heads of %zu columns, more than a width of %zu holds; no "
                "class of Hugging Face takes that",
                model->name, l, to->layer[l].heads, to->head_size, to->width);
        *heads += l < layers ? all - to->layer[l].heads : 0;
        *neurons += l < layers ? (widest - to->layer[l].ffn) * to->stack : 0;
        to->layer[l] = (struct layer_shape){.heads = all, .ffn = widest};
    }
    return true;
}

static bool pad(struct padded *padded, struct model *model, const struct shape *from,
                const struct shape *to, struct error *err)
{
    struct part part[PARTS_OF_LAYER];
    for (size_t l = 0; l < parts_layers(from); l++) {
        size_t n = parts_of_layer(from, l, part);
        for (size_t i = 0; i < n; i++)
            if (!pad_part(padded, model, &part[i], from, to, err))
                return false;
    }
    return true;
}

/* What joins millet.json: what was added. */
static json_t *extra_of(const struct model *model, const struct dense_result *result,
                        struct error *err)
{
    json_t *extra =
        json_pack("{s:{s:I, s:I, s:I}}", "dense", "heads_added", (json_int_t)result->heads,
                  "neurons_added", (json_int_t)result->neurons, "zeros",
                  (json_int_t)(result->weights_after - result->weights_before));
    return model_keep_extra(model, extra, err);
}

static bool write_padded(struct model *model, const struct shape *shape,
                         const struct padded *padded, const struct dense_result *result,
                         json_t *stage, struct output *output, struct error *err)
{
    json_t *config = shape_config(shape, model->config, model->n_labels ? model->label : NULL, err);
    json_t *extra = config ? extra_of(model, result, err) : NULL;
    if (!extra) {
        json_decref(config);
        json_decref(stage);
        return false;
    }
    const struct model_writer_options options = {
        .from = model,
        .config = config,
        .tensor = padded->tensor,
        .n_tensors = padded->n,
        .stage = stage,
        .extra = extra,
    };
    bool ok = model_write(output, &options, err);
    json_decref(config);
    return ok;
}

static void measure(const struct tensor_view *tensor, size_t n, uint64_t *weights, uint64_t *bytes)
{
    *weights = *bytes = 0;
    for (size_t i = 0; i < n; i++) {
        *weights += tensor_view_elements(&tensor[i]);
        *bytes += tensor[i].bytes;
    }
}

static bool check_pool(const struct model *model, const struct shape *shape, struct error *err)
{
    return shape->pool == SHAPE_FIRST ||
           error_set(err,
                     "%s: its classifier reads the mean of all tokens, and Hugging Face's classes "
                     "read the first; mquant --to onnx holds such a model",
                     model->name);
}

static bool check_types(const struct model *model, struct error *err)
{
    for (size_t i = 0; i < model->n_tensors; i++)
        if (model->tensor[i].type == DTYPE_I8 || model->tensor[i].type == DTYPE_U8)
            return error_set(
                err,
                "%s: tensor %s is of codes, which Hugging Face's classes cannot hold in any "
                "shape; convert it first: mquant --to fp32",
                model->name, model->tensor[i].name);
    return true;
}

bool dense_write(struct model *model, json_t *stage, struct output *output,
                 struct dense_result *result, struct error *err)
{
    struct shape from = {.layer = NULL}, to = {.layer = NULL};
    struct padded padded = {NULL, NULL, 0};
    bool ok = encoder_alone_take(model, err) && model_check_weights(model, err) &&
              check_types(model, err) && shape_from_model(&from, model, err) &&
              check_pool(model, &from, err) && shape_copy(&from, &to, err) &&
              padded_open(&padded, model, err) &&
              target(model, &to, &result->heads, &result->neurons, err);
    if (ok) {
        measure(model->tensor, model->n_tensors, &result->weights_before, &result->bytes_before);
        ok = pad(&padded, model, &from, &to, err);
        measure(padded.tensor, padded.n, &result->weights_after, &result->bytes_after);
    }
    if (ok)
        ok = write_padded(model, &to, &padded, result, stage, output, err);
    else
        json_decref(stage);
    padded_free(&padded);
    shape_free(&from);
    shape_free(&to);
    return ok;
}
