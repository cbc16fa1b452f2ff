/* model_blocks.c: blocks out of matrices, and back. */
#include "io/model_blocks.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

static const char values_suffix[] = "_blocks", index_suffix[] = "_blocks_index";
enum { MOST_SIDE = 1 << 20, HEADER = 2 };

/* A matrix and its grid. */
struct grid {
    size_t rows, cols, block_rows, block_cols, down, across;
    size_t element; /* bytes */
};

static struct grid grid_of(size_t rows, size_t cols, size_t block_rows, size_t block_cols,
                           enum dtype type)
{
    return (struct grid){.rows = rows,
                         .cols = cols,
                         .block_rows = block_rows,
                         .block_cols = block_cols,
                         .down = (rows + block_rows - 1) / block_rows,
                         .across = (cols + block_cols - 1) / block_cols,
                         .element = dtype_bytes(type)};
}

/* Bytes of row r of block b inside the matrix; 0: below its edge. *at: where they begin. */
static size_t row_of(const struct grid *g, size_t b, size_t r, size_t *at)
{
    size_t row = b / g->across * g->block_rows + r, col = b % g->across * g->block_cols;
    size_t width = g->cols - col < g->block_cols ? g->cols - col : g->block_cols;
    *at = (row * g->cols + col) * g->element;
    return row < g->rows ? width * g->element : 0;
}

/* ---- reading ---- */

static bool bad(const struct model *model, const struct tensor_view *view, const char *what,
                struct error *err)
{
    char found[128];
    tensor_view_describe(view, found, sizeof found);
    return error_set(err, "%s: tensor %s is %s, %s", model->name, view->name, found, what);
}

static bool check(const struct model *model, const struct tensor_view *values,
                  const struct tensor_view *index, struct grid *g, struct error *err)
{
    if (index->type != DTYPE_I32 || index->rank != 1 || index->dim[0] < HEADER)
        return bad(model, index, "expected rows, columns and block numbers, I32", err);
    const int32_t *number = index->data;
    size_t n = (size_t)index->dim[0] - HEADER, room;
    if (values->rank != 3 || values->dim[0] != n || values->dim[1] < 1 || values->dim[2] < 1 ||
        values->dim[1] > MOST_SIDE || values->dim[2] > MOST_SIDE)
        return bad(model, values, "not the blocks that its index counts", err);
    if (number[0] < 1 || number[1] < 1)
        return bad(model, index, "and gives no rows or columns", err);
    *g = grid_of((size_t)number[0], (size_t)number[1], (size_t)values->dim[1],
                 (size_t)values->dim[2], values->type);
    if (!memory_multiply(g->rows, g->cols, &room) || room > INT32_MAX ||
        g->down > INT32_MAX / g->across)
        return bad(model, index, "and its matrix is too large", err);
    for (size_t i = 0; i < n; i++)
        if (number[HEADER + i] < 0 || (size_t)number[HEADER + i] >= g->down * g->across ||
            (i > 0 && number[HEADER + i] <= number[HEADER + i - 1]))
            return bad(model, index, "and its block numbers do not ascend within the matrix", err);
    return true;
}

/* The matrix in place of its blocks; its name without the suffix is behind its values. */
static bool expand(struct model *model, struct tensor_view *values, const struct tensor_view *index,
                   struct error *err)
{
    struct grid g = {.rows = 0};
    /* Numbers that foreign writers left unaligned are refused, not copied: ours are aligned. */
    if (!bundle_verify(model->bundle, values->data, (size_t)values->bytes, err) ||
        !bundle_verify(model->bundle, index->data, (size_t)index->bytes, err))
        return false;
    if ((uintptr_t)index->data % sizeof(int32_t))
        return bad(model, index, "not aligned to its element", err);
    if (!check(model, values, index, &g, err))
        return false;
    size_t name = strlen(values->name) - strlen(values_suffix);
    size_t bytes = g.rows * g.cols * g.element, all = bytes + name + 1;
    char *data = memory_zeroed(all, 1, err);
    if (!data || !bundle_adopt(model->bundle, data, all, err)) {
        free(data);
        return false;
    }
    const char *from = values->data;
    for (size_t i = 0; i < (size_t)values->dim[0]; i++)
        for (size_t r = 0; r < g.block_rows; r++, from += g.block_cols * g.element) {
            size_t at, n = row_of(&g, (size_t)((const int32_t *)index->data)[HEADER + i], r, &at);
            if (n)
                memcpy(data + at, from, n);
        }
    memcpy(data + bytes, values->name, name);
    *values = tensor_view_2d(data + bytes, values->type, g.rows, g.cols, data);
    return true;
}

static int compare(const void *a, const void *b)
{
    const struct tensor_view *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static bool ends_in(const char *name, const char *suffix)
{
    size_t n = strlen(name), m = strlen(suffix);
    return n > m && strcmp(name + n - m, suffix) == 0;
}

bool model_blocks_expand(struct model *model, struct error *err)
{
    size_t expanded = 0, kept = 0;
    for (size_t i = 0; i + 1 < model->n_tensors; i++) {
        struct tensor_view *values = &model->tensor[i], *index = values + 1;
        /* Sorted by name, the index follows its blocks. */
        if (!ends_in(values->name, values_suffix) || !ends_in(index->name, index_suffix) ||
            strncmp(values->name, index->name, strlen(values->name)) != 0)
            continue;
        if (!expand(model, values, index, err))
            return false;
        index->name = NULL;
        i++;
        expanded++;
    }
    if (!expanded)
        return true;
    for (size_t i = 0; i < model->n_tensors; i++)
        if (model->tensor[i].name)
            model->tensor[kept++] = model->tensor[i];
    model->n_tensors = kept;
    qsort(model->tensor, kept, sizeof *model->tensor, compare);
    for (size_t i = 1; i < kept; i++)
        if (compare(&model->tensor[i - 1], &model->tensor[i]) == 0)
            return error_set(err, "%s: tensor \"%s\" is stored twice, whole and by blocks",
                             model->name, model->tensor[i].name);
    return true;
}

/* ---- writing ---- */

static bool is_zero(const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (bytes[i])
            return false;
    return true;
}

static bool block_zero(const struct grid *g, const char *data, size_t b)
{
    for (size_t r = 0; r < g->block_rows; r++) {
        size_t at, n = row_of(g, b, r, &at);
        if (n && !is_zero(data + at, n))
            return false;
    }
    return true;
}

static size_t count(const struct grid *g, const char *data)
{
    size_t n = 0;
    for (size_t b = 0; b < g->down * g->across; b++)
        n += !block_zero(g, data, b);
    return n;
}

static size_t stored_bytes(const struct grid *g, size_t n)
{
    return n * g->block_rows * g->block_cols * g->element + (HEADER + n) * sizeof(int32_t);
}

static void *own(struct model_blocks *blocks, size_t n, size_t size, struct error *err)
{
    void *memory = memory_zeroed(n ? n : 1, size, err);
    if (memory)
        blocks->owned[blocks->n_owned++] = memory;
    return memory;
}

/* n of the grid's blocks are not zero. */
static bool pack(struct model_blocks *blocks, const struct tensor_view *view, const struct grid *g,
                 size_t n, struct error *err)
{
    size_t length = strlen(view->name) + sizeof index_suffix;
    size_t block = g->block_rows * g->block_cols * g->element, next = 0;
    char *name = own(blocks, 2, length, err);
    char *values = name ? own(blocks, n, block, err) : NULL;
    int32_t *index = values ? own(blocks, HEADER + n, sizeof *index, err) : NULL;
    if (!index)
        return false;
    index[0] = (int32_t)g->rows;
    index[1] = (int32_t)g->cols;
    for (size_t b = 0; b < g->down * g->across; b++) {
        if (block_zero(g, view->data, b))
            continue;
        for (size_t r = 0; r < g->block_rows; r++) {
            size_t at, bytes = row_of(g, b, r, &at);
            char *to = values + next * block + r * g->block_cols * g->element;
            if (bytes)
                memcpy(to, (const char *)view->data + at, bytes);
        }
        index[HEADER + next++] = (int32_t)b;
    }
    snprintf(name, length, "%s%s", view->name, values_suffix);
    snprintf(name + length, length, "%s%s", view->name, index_suffix);
    blocks->tensor[blocks->n_tensors++] =
        (struct tensor_view){.name = name,
                             .type = view->type,
                             .rank = 3,
                             .dim = {n, g->block_rows, g->block_cols},
                             .data = values,
                             .bytes = n * block};
    blocks->tensor[blocks->n_tensors++] =
        tensor_view_1d(name + length, DTYPE_I32, HEADER + n, index);
    return true;
}

/* By blocks where that is worth it, else as it is. */
static bool add(struct model_blocks *blocks, const struct tensor_view *view, size_t rows,
                size_t cols, struct error *err)
{
    size_t best = (size_t)view->bytes - (size_t)view->bytes / 10, best_n = 0;
    struct grid chosen = {.element = 0};
    bool matrix = view->rank == 2 && view->dim[0] > 0 && view->dim[1] > 0 &&
                  view->dim[0] <= INT32_MAX && view->dim[1] <= MOST_SIDE;
    for (int turned = 0; matrix && turned < 2; turned++) {
        struct grid g = grid_of((size_t)view->dim[0], (size_t)view->dim[1], turned ? cols : rows,
                                turned ? rows : cols, view->type);
        if (g.down > INT32_MAX / g.across)
            continue;
        size_t n = count(&g, view->data), bytes = stored_bytes(&g, n);
        if (n > 0 && bytes < best) {
            best = bytes;
            best_n = n;
            chosen = g;
        }
    }
    if (chosen.element)
        return pack(blocks, view, &chosen, best_n, err);
    blocks->tensor[blocks->n_tensors++] = *view;
    return true;
}

/* Of its sides; false: there is none. */
static bool block_of(const json_t *millet, json_int_t *rows, json_int_t *cols)
{
    const json_t *block = json_object_get(json_object_get(millet, "pruned"), "block");
    *rows = json_integer_value(json_array_get(block, 0));
    *cols = json_integer_value(json_array_get(block, 1));
    return *rows > 0 && *cols > 0 && *rows <= MOST_SIDE && *cols <= MOST_SIDE &&
           !json_object_get(millet, "dense");
}

bool model_blocks_wanted(const json_t *millet)
{
    json_int_t rows, cols;
    return block_of(millet, &rows, &cols);
}

bool model_blocks_pack(struct model_blocks *blocks, const json_t *millet,
                       const struct tensor_view *tensor, size_t n, struct error *err)
{
    json_int_t rows, cols;
    bool any = block_of(millet, &rows, &cols);
    *blocks = (struct model_blocks){.tensor = memory_array(2 * n + 1, sizeof *tensor, err),
                                    .owned = memory_array(3 * n + 1, sizeof(void *), err)};
    bool ok = blocks->tensor && blocks->owned;
    for (size_t i = 0; ok && i < n; i++) {
        if (any)
            ok = add(blocks, &tensor[i], (size_t)rows, (size_t)cols, err);
        else
            blocks->tensor[blocks->n_tensors++] = tensor[i];
    }
    if (!ok)
        model_blocks_free(blocks);
    return ok;
}

void model_blocks_free(struct model_blocks *blocks)
{
    for (size_t i = 0; i < blocks->n_owned; i++)
        free(blocks->owned[i]);
    free(blocks->owned);
    free(blocks->tensor);
    *blocks = (struct model_blocks){.tensor = NULL};
}
