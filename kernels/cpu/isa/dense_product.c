/* dense_product.c: packing and tiles of fp32 products whose factors change from call to call. */
#include "kernels/cpu/isa/vec.h"

typedef vec cells;

static inline cells load_cells(const float *from)
{
    return vec_load(from);
}

static inline cells spread_cell(const float *a)
{
    return vec_set(*a);
}

static inline vec multiply_add(cells a, cells b, vec sum)
{
    return vec_fma(a, b, sum);
}

#include "kernels/cpu/isa/dense_tile.h"

enum {
    AHEAD = 16, /* rows that are asked for before they are copied */
    LINE = 16   /* floats of a cache line */
};

/* Rows lie far apart, on a page each: no processor guesses the next one. */
static inline void ask_for(const float *row, size_t cols)
{
    for (size_t j = 0; j < cols; j += LINE)
        __builtin_prefetch(row + j);
}

/* Along the rows of memory, so that each is read once. */
static void pack_slices(struct dense_view a, size_t rows, size_t k, float *to, size_t distance)
{
    size_t whole = rows / TILE, left = rows % TILE;
    if (left > 0)
        memset(to + whole * distance, 0, TILE * k * sizeof *to);
    for (size_t l = 0; l < k; l++) {
        const float *from = a.at + l * a.step;
        float *at = to + l * TILE;
        if (l + AHEAD < k)
            ask_for(from + AHEAD * a.step, rows);
        for (size_t s = 0; s < whole; s++)
            memcpy(at + s * distance, from + s * TILE, TILE * sizeof *to);
        if (left > 0)
            memcpy(at + whole * distance, from + whole * TILE, left * sizeof *to);
    }
}

static void copy_rows(struct dense_view b, size_t cols, size_t k, float *to)
{
    size_t vecs = vecs_of(cols), width = vecs * VEC_N;
    for (size_t l = 0; l < k; l++) {
        const float *from = b.at + l * b.step;
        if (l + AHEAD < k)
            ask_for(from + AHEAD * b.step, cols);
        for (size_t v = 0; v < vecs; v++)
            vec_store(to + l * width + v * VEC_N,
                      vec_load_part(from + v * VEC_N, cols - v * VEC_N));
    }
}

/* VEC_N columns of B, each of which lies in one row, in squares that turn over in registers. */
static void turn_columns(struct dense_view b, size_t cols, size_t k, float *to, size_t width)
{
    for (size_t l = 0; l < k; l += VEC_N) {
        vec square[VEC_N];
        if (cols == VEC_N && k - l >= VEC_N) {
            VEC_UNROLL
            for (size_t j = 0; j < VEC_N; j++)
                square[j] = vec_load(b.at + j * b.row + l);
            turn_square(square);
            VEC_UNROLL
            for (size_t i = 0; i < VEC_N; i++)
                vec_store(to + (l + i) * width, square[i]);
            continue;
        }
        for (size_t j = 0; j < VEC_N; j++)
            square[j] = j < cols ? vec_load_part(b.at + j * b.row + l, k - l) : (vec){0};
        turn_square(square);
        for (size_t i = 0; i < VEC_N && l + i < k; i++)
            vec_store(to + (l + i) * width, square[i]);
    }
}

static void pack_panel(struct dense_view b, size_t cols, size_t k, float *to)
{
    size_t width = vecs_of(cols) * VEC_N;
    if (b.row == 1) {
        copy_rows(b, cols, k, to);
        return;
    }
    for (size_t j = 0; j < cols; j += VEC_N) {
        struct dense_view part = {b.at + j * b.row, b.row, b.step};
        turn_columns(part, cols - j < VEC_N ? cols - j : VEC_N, k, to + j, width);
    }
}

const struct dense_product ISA_SYMBOL(dense_product) = {
    .tile = TILE,
    .panel = PANEL_VECS * VEC_N,
    .register_width = VEC_N,
    .pack_slices = pack_slices,
    .pack_panel = pack_panel,
    .run = run,
};
