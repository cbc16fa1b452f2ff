#include "prune/ngram_cut.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "nn/ngram.h"

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

/* norm [rows]. */
static bool measure(const struct ngram_part *part, double *norm, struct error *err)
{
    float *row = memory_array(part->rows, sizeof *row, err);
    if (!row)
        return false;
    memset(norm, 0, part->rows * sizeof *norm);
    for (size_t c = 0; c < part->classes; c++) {
        const char *from = (const char *)part->weight + c * part->rows * dtype_bytes(part->type);
        double scale = part->scale ? (double)part->scale[c] : 1;
        dtype_to_float(part->type, from, part->rows, row);
        for (size_t r = 0; r < part->rows; r++)
            norm[r] += scale * (double)row[r] * scale * (double)row[r];
    }
    for (size_t r = 0; r < part->rows; r++)
        norm[r] = sqrt(norm[r]) * (double)part->idf[r];
    free(row);
    return true;
}

/* Numbers of the n rows of largest norm, ascending. */
static bool choose(const struct ngram_part *part, size_t n, size_t *kept, struct error *err)
{
    double *norm = memory_array(part->rows, sizeof *norm, err);
    double *sorted = memory_array(part->rows, sizeof *sorted, err);
    bool ok = norm && sorted && measure(part, norm, err);
    if (ok) {
        memcpy(sorted, norm, part->rows * sizeof *sorted);
        qsort(sorted, part->rows, sizeof *sorted, by_size);
        size_t above = 0, count = 0;
        while (above < n && sorted[above] > sorted[n - 1])
            above++;
        size_t ties = n - above; /* of equal rows the first ones stay */
        for (size_t r = 0; r < part->rows; r++)
            if (norm[r] > sorted[n - 1] || (!(norm[r] < sorted[n - 1]) && ties && ties--))
                kept[count++] = r;
    }
    free(norm);
    free(sorted);
    return ok;
}

/* The columns `kept` of a matrix (a vector is one row) in new memory that becomes the bundle's. */
static bool gather(struct model *model, struct tensor_view *view, const size_t *kept, size_t n,
                   struct error *err)
{
    size_t element = dtype_bytes(view->type), rows = view->rank == 2 ? (size_t)view->dim[0] : 1;
    size_t cols = (size_t)view->dim[view->rank - 1];
    uint8_t *data = memory_aligned(rows * n, element, err);
    if (!data)
        return false;
    for (size_t r = 0; r < rows; r++)
        for (size_t k = 0; k < n; k++)
            memcpy(data + (r * n + k) * element,
                   (const uint8_t *)view->data + (r * cols + kept[k]) * element, element);
    if (!bundle_adopt(model->bundle, data, rows * n * element, err)) {
        free(data);
        return false;
    }
    view->data = data;
    view->dim[view->rank - 1] = n;
    view->bytes = rows * n * element;
    return true;
}

/* The same of the map of buckets. */
static bool cut_map(struct model *model, struct tensor_view *view, const struct ngram_part *part,
                    const size_t *kept, size_t n, struct error *err)
{
    uint8_t *map = memory_zeroed((size_t)view->bytes, 1, err);
    for (size_t i = 0; map && i < n; i++) {
        size_t bucket = (size_t)part->bucket[kept[i]];
        map[bucket / 8] |= (uint8_t)(1U << bucket % 8);
    }
    if (!map || !bundle_adopt(model->bundle, map, (size_t)view->bytes, err)) {
        free(map);
        return false;
    }
    view->data = map;
    return true;
}

bool ngram_cut(struct model *model, double share, struct ngram_cut *cut, struct error *err)
{
    static const char *const by_row[] = {"weight", "bucket", "idf"};
    struct ngram_part part;
    if (!ngram_of_model(model))
        return error_set(err, "%s: has no n-gram part to cut; mstudent --ngram makes one",
                         model->name);
    if (!ngram_part_read(&part, model, err))
        return false;
    size_t n = (size_t)ceil(share * (double)part.rows);
    n = n < part.rows ? n : part.rows;
    *cut = (struct ngram_cut){.before = part.rows, .after = n};
    size_t *kept = memory_array(n, sizeof *kept, err);
    bool ok = kept && (n == 0 || choose(&part, n, kept, err));
    for (size_t i = 0; ok && i < model->n_tensors; i++) {
        struct tensor_view *view = &model->tensor[i];
        if (!ngram_owns(view->name))
            continue;
        const char *name = view->name + sizeof NGRAM_PREFIX - 1;
        for (size_t k = 0; ok && k < sizeof by_row / sizeof *by_row; k++)
            if (strcmp(name, by_row[k]) == 0)
                ok = gather(model, view, kept, n, err);
        if (ok && strcmp(name, "kept") == 0)
            ok = cut_map(model, view, &part, kept, n, err);
    }
    free(kept);
    ngram_part_free(&part);
    return ok;
}
