#include "nn/student_scores.h"

#include <stdlib.h>

#include "core/memory.h"
#include "nn/parts.h"

/* A tensor of the model as floats, [rows, cols] (cols 0: a vector). Free with free(). */
static float *values(const struct model *model, const struct shape *shape, enum family_role role,
                     size_t layer, size_t rows, size_t cols, struct error *err)
{
    char name[PARTS_NAME_BYTES];
    size_t wide = cols ? cols : 1;
    family_name(shape->family, role, layer, shape->stack - 1, "weight", name, sizeof name);
    const struct tensor_view *view = parts_require_tensor(model, name, rows, cols, err);
    const struct tensor_view *scale = view ? parts_scale_of(model, view) : NULL;
    if (!view || !bundle_verify(model->bundle, view->data, (size_t)view->bytes, err) ||
        (scale && !bundle_verify(model->bundle, scale->data, (size_t)scale->bytes, err)))
        return NULL;
    float *to = memory_array(rows * wide, sizeof *to, err);
    if (!to)
        return NULL;
    parts_read_rows(model, view, wide, 0, rows, to);
    return to;
}

/* sum[r / group] += squares of row r of x [rows, cols]. */
static void add_rows(const float *x, size_t rows, size_t cols, size_t group, double *sum)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < cols; c++)
            sum[r / group] += (double)x[r * cols + c] * (double)x[r * cols + c];
}

static void add_columns(const float *x, size_t rows, size_t cols, size_t group, double *sum)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < cols; c++)
            sum[c / group] += (double)x[r * cols + c] * (double)x[r * cols + c];
}

/* score [units] = squared norm of a unit's rows of one matrix times that of its columns of another;
 * `group` rows and columns each. */
static bool score_units(const struct model *model, const struct shape *shape, size_t l,
                        enum family_role in, enum family_role out, size_t units, size_t group,
                        double *score, struct error *err)
{
    size_t n = units * group, h = shape->hidden;
    double *columns = memory_zeroed(units, sizeof *columns, err);
    float *rows = columns ? values(model, shape, in, l, n, h, err) : NULL;
    float *cols = rows ? values(model, shape, out, l, h, n, err) : NULL;
    for (size_t u = 0; u < units; u++)
        score[u] = 0;
    if (cols) {
        add_rows(rows, n, h, group, score);
        add_columns(cols, h, n, group, columns);
        for (size_t u = 0; u < units; u++)
            score[u] *= columns[u];
    }
    free(cols);
    free(rows);
    free(columns);
    return cols != NULL;
}

bool student_score_heads(const struct model *model, const struct shape *shape, size_t l,
                         double *score, struct error *err)
{
    return score_units(model, shape, l, FAMILY_VALUE, FAMILY_CONTEXT, shape->layer[l].heads,
                       shape->head_size, score, err);
}

bool student_score_neurons(const struct model *model, const struct shape *shape, size_t l,
                           double *score, struct error *err)
{
    return score_units(model, shape, l, FAMILY_FFN_IN, FAMILY_FFN_OUT, shape->layer[l].ffn, 1,
                       score, err);
}

/* score += gain² times the squared columns of a matrix that reads what the norm of `norm` gives;
 * FAMILY_ROLES: no norm stands there. */
static bool add_reader(const struct model *model, const struct shape *shape, enum family_role norm,
                       size_t norm_layer, enum family_role role, size_t layer, size_t rows,
                       double *score, struct error *err)
{
    size_t h = shape->hidden;
    double *columns = memory_zeroed(h, sizeof *columns, err);
    float *gain = NULL, *w = columns ? values(model, shape, role, layer, rows, h, err) : NULL;
    if (w && norm != FAMILY_ROLES)
        gain = values(model, shape, norm, norm_layer, h, 0, err);
    bool ok = w && (gain || norm == FAMILY_ROLES);
    if (ok) {
        add_columns(w, rows, h, 1, columns);
        for (size_t c = 0; c < h; c++)
            score[c] += columns[c] * (gain ? (double)gain[c] * (double)gain[c] : 1);
    }
    free(w);
    free(gain);
    free(columns);
    return ok;
}

/* What stands before layer l (n_layers: before the head). */
static enum family_role norm_before(const struct shape *shape, size_t l)
{
    if (l > 0)
        return FAMILY_NORM2;
    return shape_projects(shape) ? FAMILY_ROLES : FAMILY_EMBED_NORM;
}

static bool add_layer(const struct model *model, const struct shape *shape, size_t l, double *score,
                      struct error *err)
{
    static const enum family_role reader[] = {FAMILY_QUERY, FAMILY_KEY, FAMILY_VALUE};
    size_t inner = shape->layer[l].heads * shape->head_size;
    for (size_t i = 0; i < 3; i++)
        if (!add_reader(model, shape, norm_before(shape, l), l ? l - 1 : 0, reader[i], l, inner,
                        score, err))
            return false;
    return add_reader(model, shape, FAMILY_NORM1, l, FAMILY_FFN_IN, l, shape->layer[l].ffn, score,
                      err);
}

bool student_score_hidden(const struct model *model, const struct shape *shape, const size_t *layer,
                          size_t n_layers, double *score, struct error *err)
{
    bool ok = true;
    for (size_t c = 0; c < shape->hidden; c++)
        score[c] = 0;
    for (size_t i = 0; ok && i < n_layers; i++)
        ok = add_layer(model, shape, layer[i], score, err);
    /* Nothing reads a bag's columns but a classifier that is not there yet. */
    if (ok && n_layers == 0)
        ok = add_reader(model, shape, norm_before(shape, 0), 0, FAMILY_WORD, 0, shape->vocab, score,
                        err);
    if (ok && shape->has_pooler && !shape->no_pooler)
        ok = add_reader(model, shape, norm_before(shape, shape->n_layers),
                        shape->n_layers ? shape->n_layers - 1 : 0, FAMILY_POOLER, 0, shape->hidden,
                        score, err);
    return ok;
}
