/* student.c: what is chosen, then one gather for every tensor. */
#include "nn/student.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/number.h"
#include "nn/layer_list.h"
#include "nn/parts.h"
#include "nn/shape_config.h"
#include "nn/student_scores.h"

/* Which runs of `block` rows or columns of `all` stay; index NULL: all of them. */
struct axis {
    size_t *index; /* [n] ascending, owned */
    size_t n, all, block;
};

struct cut {
    size_t *layer; /* [n_layers] of the model, ascending, owned */
    size_t n_layers;
    struct axis *heads, *neurons; /* [n_layers], owned */
    struct axis hidden;
};

static void cut_free(struct cut *cut)
{
    for (size_t i = 0; i < cut->n_layers; i++) {
        if (cut->heads)
            free(cut->heads[i].index);
        if (cut->neurons)
            free(cut->neurons[i].index);
    }
    free(cut->heads);
    free(cut->neurons);
    free(cut->layer);
    free(cut->hidden.index);
}

/* ---- choosing ---- */

struct ranked {
    double score;
    size_t index;
};

static int compare_ranked(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->score > y->score || x->score < y->score)
        return x->score > y->score ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

static int compare_sizes(const void *a, const void *b)
{
    const size_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* The n best of score [axis->all]; of equal ones the first. */
static bool keep_best(struct axis *axis, const double *score, size_t n, struct error *err)
{
    struct ranked *ranked = memory_array(axis->all, sizeof *ranked, err);
    axis->index = memory_array(n, sizeof *axis->index, err);
    bool ok = ranked && axis->index;
    for (size_t i = 0; ok && i < axis->all; i++)
        ranked[i] = (struct ranked){score[i], i};
    if (ok) {
        qsort(ranked, axis->all, sizeof *ranked, compare_ranked);
        for (size_t i = 0; i < n; i++)
            axis->index[i] = ranked[i].index;
        qsort(axis->index, n, sizeof *axis->index, compare_sizes);
        axis->n = n;
    }
    free(ranked);
    return ok;
}

bool student_check_layers(const char *layers, struct error *err)
{
    size_t *list = NULL, n = strlen(layers);
    int64_t count;
    if (!strchr(layers, ','))
        return number_integer(layers, "--from-layers", 0, SHAPE_MAX_LAYERS, &count, err);
    char *copy = memory_copy(layers, layers[n - 1] == ',' ? n - 1 : n, err);
    bool ok = copy && layer_list_parse(copy, "--from-layers", SHAPE_MAX_LAYERS, &list, &n, err);
    free(list);
    free(copy);
    return ok;
}

static bool choose_layers(struct cut *cut, const char *layers, size_t n_layers, struct error *err)
{
    int64_t count = (int64_t)n_layers;
    if (layers && strchr(layers, ',')) {
        size_t n = strlen(layers);
        char *copy = memory_copy(layers, layers[n - 1] == ',' ? n - 1 : n, err);
        bool ok = copy && layer_list_parse(copy, "--from-layers", n_layers, &cut->layer,
                                           &cut->n_layers, err);
        free(copy);
        return ok;
    }
    if (layers && !number_integer(layers, "--from-layers", 0, (int64_t)n_layers, &count, err))
        return false;
    cut->layer = memory_array((size_t)count, sizeof *cut->layer, err);
    if (!cut->layer)
        return false;
    cut->n_layers = (size_t)count;
    for (size_t i = 0; i < cut->n_layers; i++)
        cut->layer[i] = layer_list_even(n_layers, cut->n_layers, i);
    return true;
}

/* Of one layer; `given` scores or NULL. */
static bool choose_units(struct axis *axis, const struct model *model, const struct shape *shape,
                         size_t l, bool heads, size_t n, const double *given, struct error *err)
{
    if (n == 0 || n >= axis->all)
        return true;
    if (given)
        return keep_best(axis, given, n, err);
    double *score = memory_array(axis->all, sizeof *score, err);
    bool ok = score &&
              (heads ? student_score_heads(model, shape, l, score, err)
                     : student_score_neurons(model, shape, l, score, err)) &&
              keep_best(axis, score, n, err);
    free(score);
    return ok;
}

static bool choose_narrow(struct cut *cut, const struct model *model, const struct shape *shape,
                          const struct student_choice *choice, struct error *err)
{
    size_t most = choice->hidden ? choice->hidden / shape->head_size : 0;
    size_t heads = choice->heads && (!most || choice->heads < most) ? choice->heads : most;
    cut->heads = memory_zeroed(cut->n_layers, sizeof *cut->heads, err);
    cut->neurons = memory_zeroed(cut->n_layers, sizeof *cut->neurons, err);
    bool ok = cut->heads && cut->neurons;
    /* Layers that share their tensors are cut alike. */
    bool shared = family_shares_layers(shape->family);
    for (size_t i = 0; ok && i < cut->n_layers; i++) {
        size_t l = shared ? 0 : cut->layer[i];
        cut->heads[i] = (struct axis){
            .n = shape->layer[l].heads, .all = shape->layer[l].heads, .block = shape->head_size};
        cut->neurons[i] =
            (struct axis){.n = shape->layer[l].ffn, .all = shape->layer[l].ffn, .block = 1};
        ok = choose_units(&cut->heads[i], model, shape, l, true, heads,
                          choice->head_score ? choice->head_score[l] : NULL, err) &&
             choose_units(&cut->neurons[i], model, shape, l, false, choice->ffn,
                          choice->neuron_score ? choice->neuron_score[l] : NULL, err);
    }
    cut->hidden = (struct axis){.n = shape->hidden, .all = shape->hidden, .block = 1};
    if (!ok || !choice->hidden || choice->hidden == shape->hidden)
        return ok;
    double *score = memory_array(shape->hidden, sizeof *score, err);
    ok = score && student_score_hidden(model, shape, cut->layer, cut->n_layers, score, err) &&
         keep_best(&cut->hidden, score, choice->hidden, err);
    free(score);
    return ok;
}

/* ---- what can be asked for ---- */

static bool check_most(const char *option, size_t asked, size_t there, const char *what,
                       struct error *err)
{
    return asked <= there ||
           error_set(err, "%s %zu: the model has no more than %zu %s", option, asked, there, what);
}

static bool check(const struct model *model, const struct shape *shape,
                  const struct student_choice *choice, struct error *err)
{
    size_t heads = 0, ffn = 0, hidden = choice->hidden, head = shape->head_size;
    for (size_t l = 0; l < shape->n_layers; l++) {
        heads = shape->layer[l].heads > heads ? shape->layer[l].heads : heads;
        ffn = shape->layer[l].ffn > ffn ? shape->layer[l].ffn : ffn;
    }
    if ((choice->heads || choice->ffn || hidden) && shape->family->bottleneck)
        return error_set(err,
                         "%s: a %s has bottlenecks and stacked feed-forward networks and cannot be "
                         "made narrower; take some of its layers (--from-layers)",
                         model->name, shape->family->model_type);
    if (!check_most("--heads", choice->heads, heads, "heads in a layer", err) ||
        !check_most("--ffn", choice->ffn, ffn, "feed-forward neurons in a layer", err) ||
        !check_most("--hidden", hidden, shape->hidden, "columns", err))
        return false;
    if (hidden % head != 0)
        return error_set(err,
                         "--hidden %zu: not a multiple of the head size %zu; the nearest are %zu "
                         "and %zu",
                         hidden, head, hidden / head ? hidden / head * head : head,
                         (hidden / head + 1) * head);
    if (hidden && shape_projects(shape) && hidden == shape->embed)
        return error_set(
            err,
            "--hidden %zu: as wide as the word table, whose projection would then have "
            "no place in a %s; choose another",
            hidden, shape->family->model_type);
    return true;
}

/* ---- cutting ---- */

/* The axis of the student for rows or columns of such a size; NULL: it stays. */
static const struct axis *axis_of(const struct cut *cut, const struct shape *shape,
                                  enum parts_size size, size_t at)
{
    switch (size) {
    case PARTS_HEADS:
        return &cut->heads[at];
    case PARTS_FFN:
        return &cut->neurons[at];
    case PARTS_EMBED:
        return shape_projects(shape) ? NULL : &cut->hidden;
    case PARTS_WIDTH:
    case PARTS_HIDDEN:
        return &cut->hidden;
    default:
        return NULL;
    }
}

/* to[n_to] = the chosen runs of from, `bytes` a unit. */
static void gather(const struct axis *axis, const uint8_t *from, size_t bytes, uint8_t *to)
{
    size_t run = axis->block * bytes;
    for (size_t i = 0; i < axis->n; i++)
        memcpy(to + i * run, from + axis->index[i] * run, run);
}

/* Rows, then columns of the kept ones; the new values are the bundle's. */
static bool cut_tensor(struct model *model, struct tensor_view *view, const struct axis *rows,
                       const struct axis *cols, struct error *err)
{
    if (rows && !rows->index)
        rows = NULL;
    if (cols && !cols->index)
        cols = NULL;
    if (!rows && !cols)
        return true;
    size_t element = dtype_bytes(view->type), wide = view->rank == 2 ? (size_t)view->dim[1] : 1;
    if (view->rank < 1 || view->rank > 2 || (cols && view->rank != 2) ||
        (rows && view->dim[0] != rows->all * rows->block) ||
        (cols && view->dim[1] != cols->all * cols->block)) {
        char found[128];
        tensor_view_describe(view, found, sizeof found);
        return error_set(err, "%s: tensor %s is %s and does not fit the model's shape", model->name,
                         view->name, found);
    }
    if (cols && !parts_check_columns(model, view, err))
        return error_at(err, "%s: ", model->name);
    size_t n_rows = rows ? rows->n * rows->block : (size_t)view->dim[0];
    size_t n_cols = cols ? cols->n * cols->block : wide;
    size_t bytes = n_rows * n_cols * element;
    uint8_t *data = memory_aligned(n_rows * n_cols, element, err);
    if (!data || !bundle_adopt(model->bundle, data, bytes, err)) {
        free(data);
        return false;
    }
    for (size_t r = 0; r < n_rows; r++) {
        size_t from = rows ? rows->index[r / rows->block] * rows->block + r % rows->block : r;
        const uint8_t *row = (const uint8_t *)view->data + from * wide * element;
        if (cols)
            gather(cols, row, element, data + r * n_cols * element);
        else
            memcpy(data + r * n_cols * element, row, n_cols * element);
    }
    view->data = data;
    view->dim[0] = n_rows;
    if (view->rank == 2)
        view->dim[1] = n_cols;
    view->bytes = bytes;
    return true;
}

/* A name of the bundle's. */
static const char *adopt_name(struct model *model, char *name, struct error *err)
{
    if (!name || !bundle_adopt(model->bundle, name, strlen(name) + 1, err)) {
        free(name);
        return NULL;
    }
    return name;
}

/* One tensor: gone (*keep false), or renumbered and cut. */
static bool take_tensor(struct model *model, const struct shape *shape, const struct cut *cut,
                        struct tensor_view *view, bool *keep, struct error *err)
{
    struct family_tensor tensor;
    bool narrower = cut->hidden.index != NULL, bag = cut->n_layers == 0, known;
    size_t at = 0;
    known = family_parse(shape->family, view->name, &tensor);
    /* A language model's head is as wide as the model. */
    *keep = known || !narrower ||
            (strncmp(view->name, "cls.", 4) != 0 && !family_owns_mlm(shape->family, view->name));
    if (!known || !*keep)
        return true;
    if (bag &&
        (tensor.of_layer || (shape->pool != SHAPE_MEAN &&
                             (tensor.role == FAMILY_POOLER || tensor.role == FAMILY_CLASSIFIER))))
        *keep = false;
    if (tensor.of_layer && tensor.number_end > tensor.number_begin) {
        while (at < cut->n_layers && cut->layer[at] != tensor.layer)
            at++;
        *keep = at < cut->n_layers;
        char *name = !*keep ? NULL
                            : memory_format(err, "%.*s%zu%s", (int)tensor.number_begin, view->name,
                                            at, view->name + tensor.number_end);
        if (*keep && !(view->name = adopt_name(model, name, err)))
            return false;
    }
    if (!*keep || tensor.role == FAMILY_ROLES)
        return true;
    bool matrix = strcmp(tensor.rest, "weight") == 0 && view->rank == 2;
    enum parts_size rows = parts_rows(tensor.role), cols = parts_columns(tensor.role);
    if (tensor.role == FAMILY_POSITION || tensor.role == FAMILY_TYPE ||
        tensor.role == FAMILY_EMBED_NORM)
        cols = PARTS_EMBED;
    if (rows == PARTS_NONE) /* a norm's vectors */
        rows = cols;
    return cut_tensor(model, view, axis_of(cut, shape, rows, at),
                      matrix ? axis_of(cut, shape, cols, at) : NULL, err);
}

static int compare_names(const void *a, const void *b)
{
    const struct tensor_view *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static bool cut_tensors(struct model *model, const struct shape *shape, const struct cut *cut,
                        struct error *err)
{
    size_t n = 0;
    for (size_t i = 0; i < model->n_tensors; i++) {
        struct tensor_view view = model->tensor[i];
        bool keep;
        if (!bundle_verify(model->bundle, view.data, (size_t)view.bytes, err) ||
            !take_tensor(model, shape, cut, &view, &keep, err))
            return false;
        if (keep)
            model->tensor[n++] = view;
    }
    model->n_tensors = n;
    qsort(model->tensor, n, sizeof *model->tensor, compare_names);
    return true;
}

/* The student's shape: layers and widths as cut. */
static void narrow_shape(struct shape *shape, const struct cut *cut)
{
    for (size_t i = 0; i < cut->n_layers; i++)
        shape->layer[i] = (struct layer_shape){cut->heads[i].n, cut->neurons[i].n};
    shape->n_layers = cut->n_layers;
    if (!shape_projects(shape))
        shape->embed = cut->hidden.n;
    shape->hidden = shape->width = shape->family->bottleneck ? shape->hidden : cut->hidden.n;
    if (cut->n_layers == 0 && shape->pool != SHAPE_MEAN) {
        shape->pool = SHAPE_MEAN;
        shape->no_pooler = shape->has_pooler = true;
        shape->has_classifier = false;
    }
}

static bool state_config(struct model *model, const struct shape *shape, struct error *err)
{
    struct shape labelled = *shape;
    labelled.n_labels = model->n_labels;
    json_t *config =
        shape_config(&labelled, model->config, model->n_labels ? model->label : NULL, err);
    if (!config)
        return false;
    json_decref(model->config);
    model->config = config;
    return true;
}

bool student_make(struct model *model, struct shape *shape, const struct student_choice *choice,
                  struct error *err)
{
    struct cut cut = {0};
    bool ok = check(model, shape, choice, err) &&
              choose_layers(&cut, choice->layers, shape->n_layers, err) &&
              choose_narrow(&cut, model, shape, choice, err) &&
              cut_tensors(model, shape, &cut, err);
    if (ok) {
        narrow_shape(shape, &cut);
        ok = state_config(model, shape, err);
    }
    cut_free(&cut);
    return ok;
}
