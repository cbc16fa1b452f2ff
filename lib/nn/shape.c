/* shape.c: the shape of a model that is there: its config, checked against its tensors. */
#include "nn/shape.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "nn/ngram.h"
#include "nn/parts.h"
#include "nn/shape_config.h"

/* Rows of the matrix of a layer's role; 0 when it is absent. */
static size_t layer_rows(const struct shape *shape, const struct model *model, size_t l,
                         enum family_role role)
{
    char name[PARTS_NAME_BYTES];
    family_name(shape->family, role, l, 0, "weight", name, sizeof name);
    const struct tensor_view *view = parts_find_tensor(model, name);
    return view && view->rank == 2 && view->dim[0] <= SHAPE_MAX_FFN ? (size_t)view->dim[0] : 0;
}

static bool require_all(const struct shape *shape, const struct part *part, size_t n,
                        const struct model *model, struct error *err)
{
    for (size_t i = 0; i < n; i++)
        if (!parts_require(shape, &part[i], model, err))
            return false;
    return true;
}

/* Where the matrices of a layer differ from the config's widths, they are a pruned layer's. */
static bool read_layer(struct shape *shape, const struct model *model, size_t l, struct error *err)
{
    struct part part[PARTS_OF_LAYER];
    size_t inner = layer_rows(shape, model, l, FAMILY_QUERY);
    size_t ffn = layer_rows(shape, model, l, FAMILY_FFN_IN);
    if (inner % shape->head_size != 0)
        return error_set(err,
                         "%s: layer %zu: the query's matrix has %zu rows, not a multiple of the "
                         "head size %zu, which is \"%s\" divided by \"%s\" of config.json",
                         model->name, l, inner, shape->head_size,
                         shape->family->bottleneck ? "intra_bottleneck_size"
                                                   : shape->family->keys.hidden,
                         shape->family->keys.heads);
    /* An absent or misshapen matrix has 0 rows here and is named by the checks below, as is one
     * that is larger than the config says. */
    if (inner && inner / shape->head_size < shape->layer[l].heads)
        shape->layer[l].heads = inner / shape->head_size;
    if (ffn && ffn < shape->layer[l].ffn)
        shape->layer[l].ffn = ffn;
    return require_all(shape, part, parts_of_layer(shape, l, part), model, err);
}

static bool has_part(const struct shape *shape, const struct part *part, const struct model *model)
{
    char name[PARTS_NAME_BYTES];
    parts_name(shape, part, "weight", name);
    return parts_find_tensor(model, name) != NULL;
}

static bool read_head(struct shape *shape, const struct model *model, struct error *err)
{
    struct part part[PARTS_BESIDE];
    char name[PARTS_NAME_BYTES];
    family_name(shape->family, FAMILY_CLASSIFIER, 0, 0, "weight", name, sizeof name);
    const struct tensor_view *classifier = parts_find_tensor(model, name);
    shape->n_labels = model->n_labels;
    if (!model->n_labels && classifier && classifier->rank == 2 &&
        classifier->dim[0] <= SHAPE_MAX_FFN)
        shape->n_labels = (size_t)classifier->dim[0];
    shape->has_pooler = shape->no_pooler;
    size_t n = parts_of_head(shape, part);
    for (size_t i = 0; i < n; i++) {
        bool *has = part[i].role == FAMILY_POOLER ? &shape->has_pooler : &shape->has_classifier;
        *has = has_part(shape, &part[i], model);
        if (*has && !parts_require(shape, &part[i], model, err))
            return false;
    }
    return true;
}

static bool read_tensors(struct shape *shape, const struct model *model, struct error *err)
{
    struct part part[PARTS_BESIDE];
    size_t layers = parts_layers(shape);
    if (!require_all(shape, part, parts_of_embeddings(shape, part), model, err))
        return false;
    for (size_t l = 0; l < layers; l++)
        if (!read_layer(shape, model, l, err))
            return false;
    for (size_t l = layers; l < shape->n_layers; l++)
        shape->layer[l] = shape->layer[0];
    if (!family_shares_layers(shape->family) &&
        layer_rows(shape, model, shape->n_layers, FAMILY_QUERY))
        return error_set(err,
                         "%s: config.json: \"%s\" is %zu, but there are weights of one more layer",
                         model->name, shape->family->keys.layers, shape->n_layers);
    return read_head(shape, model, err);
}

bool shape_from_model(struct shape *shape, const struct model *model, struct error *err)
{
    *shape = (struct shape){.layer = NULL};
    if (ngram_alone(model))
        return error_set(err, "%s: is an n-gram part alone; it has no encoder", model->name);
    if (!model_check_weights(model, err) || !shape_read_config(shape, model, err))
        return false;
    if (read_tensors(shape, model, err))
        return true;
    shape_free(shape);
    return false;
}

bool shape_copy(const struct shape *from, struct shape *to, struct error *err)
{
    struct layer_shape *layer = memory_array(from->n_layers, sizeof *layer, err);
    if (!layer)
        return false;
    memcpy(layer, from->layer, from->n_layers * sizeof *layer);
    *to = *from;
    to->layer = layer;
    return true;
}

void shape_free(struct shape *shape)
{
    free(shape->layer);
    shape->layer = NULL;
}

bool shape_make_mlm(struct shape *shape, const struct model *model, struct error *err)
{
    if (shape->n_layers == 0)
        return error_set(err, "--mlm: an embedding bag sees no token beside a masked one; it needs "
                              "a model or a shape with layers");
    if (!shape->family->mlm.dense)
        return error_set(err,
                         "%s: --mlm: the language model's head of \"%s\" is not known; those of "
                         "bert, distilbert, roberta, albert and electra are",
                         model ? model->name : "--shape", shape->family->model_type);
    if (model && json_is_false(json_object_get(model->config, "tie_word_embeddings")))
        return error_set(err,
                         "%s: config.json: \"tie_word_embeddings\" is false; --mlm trains heads "
                         "that share the word table",
                         model->name);
    shape->mlm = shape->all_rows = true;
    shape->n_labels = 0;
    shape->no_pooler = shape->has_pooler = shape->has_classifier = true;
    return true;
}

size_t shape_max_tokens(const struct shape *shape)
{
    bool after = shape->family->positions == FAMILY_AFTER_PAD;
    return shape->positions - (after ? (size_t)shape->pad + 1 : 0);
}

double shape_macs(const struct shape *shape, size_t n_tokens)
{
    double h = (double)shape->hidden, w = (double)shape->width, t = (double)n_tokens;
    double macs = (shape->no_pooler ? 0 : h * h) + h * (double)shape->n_labels;
    if (shape_projects(shape))
        macs += t * h * (double)shape->embed * (shape->family->embedding == FAMILY_TRIGRAM ? 3 : 1);
    for (size_t l = 0; l < shape->n_layers; l++) {
        double a = (double)(shape->layer[l].heads * shape->head_size);
        double f = (double)(shape->layer[l].ffn * shape->stack);
        double rows = shape_first_only(shape, l) ? 1 : t;
        macs += t * (w + h) * a + rows * (2 * w * a + 2 * t * a + 2 * w * f);
        if (shape->family->bottleneck) /* shared by query and key; the layer's input; and back */
            macs += t * h * w + rows * 2 * h * w;
    }
    return macs;
}
