/* magnitude.c: see magnitude.h. */
#include "prune/magnitude.h"

#include <stdlib.h>

#include "core/memory.h"
#include "nn/parts.h"

struct sums {
    struct model *model;
    const struct shape *shape;
    float *value; /* a row of a matrix */
    size_t room;
};

/* score[u] += squares of matrix `role` of the layer, its rows or columns in `n` runs. */
static bool add_matrix(struct sums *sums, size_t layer, enum family_role role, bool rows, size_t n,
                       struct unit *unit, struct error *err)
{
    char name[PARTS_NAME_BYTES];
    family_name(sums->shape->family, role, layer, 0, "weight", name, sizeof name);
    const struct tensor_view *view = parts_find_tensor(sums->model, name);
    if (!view || view->rank != 2 || n == 0)
        return error_set(err, "%s: there is no matrix %s", sums->model->name, name);
    size_t height = (size_t)view->dim[0], width = (size_t)view->dim[1];
    if (!bundle_verify(sums->model->bundle, view->data, (size_t)view->bytes, err))
        return false;
    if (width > sums->room) {
        float *more = memory_array(width, sizeof *more, err);
        if (!more)
            return false;
        free(sums->value);
        sums->value = more;
        sums->room = width;
    }
    size_t block = (rows ? height : width) / n;
    for (size_t r = 0; r < height; r++) {
        parts_read_rows(sums->model, view, width, r, 1, sums->value);
        for (size_t c = 0; c < width; c++) {
            double value = (double)sums->value[c];
            unit[(rows ? r : c) / block].score += value * value;
        }
    }
    return true;
}

bool magnitude_score(struct model *model, const struct shape *shape, struct unit *unit,
                     size_t n_units, struct error *err)
{
    struct sums sums = {model, shape, NULL, 0};
    bool ok = true;
    for (size_t i = 0; i < n_units; i++)
        unit[i].score = 0;
    for (size_t l = 0; ok && l < shape->n_layers; l++) {
        const struct layer_shape *layer = &shape->layer[l];
        ok = add_matrix(&sums, l, FAMILY_QUERY, true, layer->heads, unit, err) &&
             add_matrix(&sums, l, FAMILY_KEY, true, layer->heads, unit, err) &&
             add_matrix(&sums, l, FAMILY_VALUE, true, layer->heads, unit, err) &&
             add_matrix(&sums, l, FAMILY_CONTEXT, false, layer->heads, unit, err);
        unit += layer->heads;
        ok = ok && add_matrix(&sums, l, FAMILY_FFN_IN, true, layer->ffn, unit, err) &&
             add_matrix(&sums, l, FAMILY_FFN_OUT, false, layer->ffn, unit, err);
        unit += layer->ffn;
    }
    free(sums.value);
    return ok;
}
