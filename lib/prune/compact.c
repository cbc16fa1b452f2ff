/* compact.c: one rule per tensor name, one gather for rows and columns. */
#include "prune/compact.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/dtype.h"
#include "core/memory.h"
#include "nn/parts.h"

/* The tensors of the smaller model. */
struct compact {
    struct tensor_view *tensor; /* data: the model's or `owned` */
    char **name;
    void **owned;
    size_t n_tensors;
};

enum cut { CUT_NOTHING, CUT_HEAD_ROWS, CUT_HEAD_COLS, CUT_NEURON_ROWS, CUT_NEURON_COLS };

/* By the role of a tensor, and whether it is the part of it that a unit has a slice of. */
static enum cut cut_of(const struct family_tensor *tensor)
{
    bool bias = strcmp(tensor->rest, "bias") == 0, matrix = strcmp(tensor->rest, "weight") == 0;
    bool rows = bias || matrix || strcmp(tensor->rest, "weight_scale") == 0;
    switch (tensor->role) {
    case FAMILY_QUERY:
    case FAMILY_KEY:
    case FAMILY_VALUE:
        return rows ? CUT_HEAD_ROWS : CUT_NOTHING;
    case FAMILY_CONTEXT:
        return matrix ? CUT_HEAD_COLS : CUT_NOTHING;
    case FAMILY_FFN_IN:
        return rows ? CUT_NEURON_ROWS : CUT_NOTHING;
    case FAMILY_FFN_OUT:
        return matrix ? CUT_NEURON_COLS : CUT_NOTHING;
    default:
        return CUT_NOTHING;
    }
}

/* Which slices of a tensor to take: `index` [n] counts runs of `block` rows or columns. */
struct gather {
    const size_t *index;
    size_t n, block, all;
    bool cols;
};

static struct gather gather_of(enum cut cut, const struct shape *shape,
                               const struct keep_layer *layer)
{
    bool heads = cut == CUT_HEAD_ROWS || cut == CUT_HEAD_COLS;
    const struct layer_shape *from = &shape->layer[layer->layer];
    return (struct gather){
        .index = heads ? layer->head : layer->neuron,
        .n = heads ? layer->n_heads : layer->n_neurons,
        .block = heads ? shape->head_size : 1,
        .all = heads ? from->heads : from->ffn,
        .cols = cut == CUT_HEAD_COLS || cut == CUT_NEURON_COLS,
    };
}

/* The kept slices of view in new memory; view->data, dims and bytes are changed to the result.
 * NULL: failed. */
static void *gather_slices(struct tensor_view *view, const struct gather *gather, struct error *err)
{
    int axis = gather->cols ? 1 : 0;
    if (view->rank < axis + 1 || view->rank > 2 || view->bytes == 0 ||
        view->dim[axis] != gather->all * gather->block) {
        char found[128];
        tensor_view_describe(view, found, sizeof found);
        error_set(err, "tensor %s is %s, expected %zu %s", view->name, found,
                  gather->all * gather->block, gather->cols ? "columns" : "rows");
        return NULL;
    }
    /* Outer repetitions of a run of `all` slices of slice bytes. */
    size_t outer = gather->cols ? (size_t)view->dim[0] : 1;
    size_t slice = (size_t)view->bytes / outer / gather->all;
    uint8_t *data = memory_aligned(outer * gather->n, slice, err), *to = data;
    if (!data)
        return NULL;
    for (size_t o = 0; o < outer; o++) {
        const uint8_t *from = (const uint8_t *)view->data + o * gather->all * slice;
        for (size_t i = 0; i < gather->n; i++, to += slice)
            memcpy(to, from + gather->index[i] * slice, slice);
    }
    view->data = data;
    view->dim[axis] = gather->n * gather->block;
    view->bytes = outer * gather->n * slice;
    return data;
}

static const struct keep_layer *find_layer(const struct keep *keep, size_t layer, size_t *number)
{
    for (size_t i = 0; i < keep->n_layers; i++)
        if (keep->layer[i].layer == layer) {
            *number = i;
            return &keep->layer[i];
        }
    return NULL;
}

/* One tensor of a layer: dropped, or renamed and cut. */
static bool add_of_layer(struct compact *compact, const struct tensor_view *view,
                         const struct shape *shape, const struct keep *keep,
                         const struct family_tensor *tensor, const struct model *model,
                         struct error *err)
{
    size_t number = 0, at = compact->n_tensors;
    const struct keep_layer *kept = find_layer(keep, tensor->layer, &number);
    if (tensor->layer >= shape->n_layers)
        return error_set(err, "tensor %s: config.json says %zu layers; the weights are not its own",
                         view->name, shape->n_layers);
    if (!kept)
        return true;
    char *name = memory_format(err, "%.*s%zu%s", (int)tensor->number_begin, view->name, number,
                               view->name + tensor->number_end);
    if (!name)
        return false;
    compact->name[at] = name;
    compact->tensor[at] = *view;
    compact->n_tensors++;
    enum cut cut = cut_of(tensor);
    if (cut != CUT_NOTHING) {
        struct gather gather = gather_of(cut, shape, kept);
        if (gather.n < gather.all) {
            if (gather.cols && !parts_check_columns(model, view, err))
                return false;
            compact->owned[at] = gather_slices(&compact->tensor[at], &gather, err);
            if (!compact->owned[at])
                return false;
        }
    }
    compact->tensor[at].name = name;
    return true;
}

/* A tensor of the whole model: as it is, or with the rows of the words that stay. */
static bool add_of_all(struct compact *compact, const struct tensor_view *view,
                       const struct shape *shape, const struct keep *keep, struct error *err)
{
    size_t at = compact->n_tensors++;
    compact->tensor[at] = *view;
    if (!keep->vocabulary || !vocabulary_has_rows(keep->vocabulary, shape->family, view))
        return true;
    compact->owned[at] = vocabulary_cut(keep->vocabulary, &compact->tensor[at], err);
    return compact->owned[at] != NULL;
}

static void compact_free(struct compact *compact)
{
    for (size_t i = 0; i < compact->n_tensors; i++) {
        free(compact->name[i]);
        free(compact->owned[i]);
    }
    free(compact->tensor);
    free(compact->name);
    free(compact->owned);
    *compact = (struct compact){NULL, NULL, NULL, 0};
}

static bool check_patches(const struct model *model, const struct compact_patch *patch,
                          size_t n_patches, struct error *err)
{
    for (size_t i = 0; i < n_patches; i++) {
        const struct tensor_view *view = model_find(model, patch[i].name);
        char found[128];
        if (!view)
            return error_set(err, "%s: there is no tensor %s to change", model->name,
                             patch[i].name);
        tensor_view_describe(view, found, sizeof found);
        if (!dtype_is_float(view->type))
            return error_set(err,
                             "%s: tensor %s is %s; weights of int8 models are not changed: mquant "
                             "--to fp32 first",
                             model->name, view->name, found);
        if (tensor_view_elements(view) != patch[i].n)
            return error_set(err, "tensor %s is %s, not of %zu new values", view->name, found,
                             patch[i].n);
        for (size_t k = 0; k < i; k++)
            if (strcmp(patch[k].name, patch[i].name) == 0)
                return error_set(err, "tensor %s is changed twice", view->name);
    }
    return true;
}

/* The tensor, with the values of its patch if it has one. */
static struct tensor_view patched(const struct tensor_view *view, const struct compact_patch *patch,
                                  size_t n_patches)
{
    struct tensor_view result = *view;
    for (size_t i = 0; i < n_patches; i++)
        if (strcmp(patch[i].name, view->name) == 0) {
            result.type = DTYPE_F32;
            result.data = patch[i].value;
            result.bytes = patch[i].n * sizeof(float);
        }
    return result;
}

static bool compact_build(struct compact *compact, struct model *model, const struct shape *shape,
                          const struct keep *keep, const struct compact_patch *patch,
                          size_t n_patches, struct error *err)
{
    size_t n = model->n_tensors;
    *compact = (struct compact){.tensor = memory_zeroed(n, sizeof *compact->tensor, err),
                                .name = memory_zeroed(n, sizeof *compact->name, err),
                                .owned = memory_zeroed(n, sizeof *compact->owned, err)};
    bool ok = compact->tensor && compact->name && compact->owned;
    for (size_t i = 0; ok && i < n; i++) {
        const struct tensor_view *whole = &model->tensor[i];
        struct family_tensor tensor;
        ok = bundle_verify(model->bundle, whole->data, (size_t)whole->bytes, err);
        const struct tensor_view here = patched(whole, patch, n_patches), *view = &here;
        /* What all layers share has no number and stays. */
        if (ok && family_parse(shape->family, view->name, &tensor) &&
            tensor.number_end > tensor.number_begin)
            ok = add_of_layer(compact, view, shape, keep, &tensor, model, err) ||
                 error_at(err, "%s: ", model->name);
        else if (ok)
            ok = add_of_all(compact, view, shape, keep, err);
    }
    if (!ok)
        compact_free(compact);
    return ok;
}

/* Bytes cut out now belong to the model, which then takes them for verified. */
static bool adopt(struct compact *compact, struct model *model, struct error *err)
{
    for (size_t i = 0; i < compact->n_tensors; i++) {
        if (!compact->owned[i])
            continue;
        if (!bundle_adopt(model->bundle, compact->owned[i], (size_t)compact->tensor[i].bytes, err))
            return false;
        compact->owned[i] = NULL;
    }
    return true;
}

struct compact *compact_open(struct model *model, const struct shape *shape,
                             const struct keep *keep, struct model *small, struct error *err)
{
    struct compact *compact = memory_zeroed(1, sizeof *compact, err);
    if (!compact)
        return NULL;
    if (!compact_build(compact, model, shape, keep, NULL, 0, err) || !adopt(compact, model, err)) {
        compact_close(compact);
        return NULL;
    }
    *small = *model;
    small->tensor = compact->tensor;
    small->n_tensors = compact->n_tensors;
    return compact;
}

void compact_close(struct compact *compact)
{
    if (compact)
        compact_free(compact);
    free(compact);
}

/* What joins millet.json; steals pruned. */
static json_t *extra_of(const struct model *model, const struct keep *keep, json_t *pruned,
                        struct error *err)
{
    if (pruned && keep->vocabulary)
        json_object_set_new(pruned, "vocabulary", vocabulary_json(keep->vocabulary));
    json_t *before = model->millet ? json_object_get(model->millet, "pruned") : NULL;
    if (before && pruned)
        json_object_set(pruned, "before", before);
    return model_keep_extra(model, json_pack("{s:o}", "pruned", pruned), err);
}

bool compact_write(struct model *model, const struct shape *shape, const struct keep *keep,
                   const struct compact_patch *patch, size_t n_patches, json_t *pruned,
                   json_t *stage, struct output *output, struct error *err)
{
    struct compact compact = {NULL, NULL, NULL, 0};
    struct shape left = {.layer = NULL};
    json_t *config = NULL, *extra = extra_of(model, keep, pruned, err);
    bool ok = extra && check_patches(model, patch, n_patches, err) &&
              keep_shape(keep, shape, &left, err) &&
              compact_build(&compact, model, shape, keep, patch, n_patches, err);
    if (ok)
        config = shape_config(&left, model->config, model->n_labels ? model->label : NULL, err);
    if (config && keep->vocabulary && !vocabulary_config(keep->vocabulary, config, err)) {
        json_decref(config);
        config = NULL;
    }
    if (config) {
        struct model_writer_options options = {
            .from = model,
            .config = config,
            .tensor = compact.tensor,
            .n_tensors = compact.n_tensors,
            .stage = stage,
            .extra = extra,
            .file = keep->vocabulary ? keep->vocabulary->trim.file : NULL,
            .n_files = keep->vocabulary ? keep->vocabulary->trim.n_files : 0,
        };
        ok = model_write(output, &options, err);
    } else {
        ok = false;
        json_decref(extra);
        json_decref(stage);
    }
    json_decref(config);
    compact_free(&compact);
    shape_free(&left);
    return ok;
}
