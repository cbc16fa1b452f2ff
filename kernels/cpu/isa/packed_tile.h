/* packed_tile.h: products of floats, or of pairs of 16-bit floats, with packed weights. A tile of
 * rows × one panel is summed in registers over a block of k; blocks follow one another through a
 * buffer of partial sums, which changes no bit. Few rows take several panels at a time instead, so
 * that enough independent sums are under way to hide the latency of an instruction.
 *
 * A cell is 32 bits, what one step multiplies of a row: a float, or a pair. Who includes this says
 * before what that is:
 *     element          of x and of panels
 *     GROUP            elements in a cell; k and the runs are multiples of it
 *     cells            a register of VEC_N cells
 *     load_cells()     VEC_N cells of a panel: one of each output
 *     spread_cell()    one cell of x, VEC_N times
 *     multiply_add()   sums of VEC_N outputs and what a step adds to them
 */
#ifndef MILLET_KERNELS_CPU_ISA_PACKED_TILE_H
#define MILLET_KERNELS_CPU_ISA_PACKED_TILE_H

#include "kernels/cpu/isa/ahead.h"
#include "kernels/cpu/isa/finish.h"

#if defined(__AVX512F__)
enum { TILE_ROWS = 8, PANEL_VECS = 3, FEW_ROWS = 4, MOST_SUMS = 24 };
#elif defined(__AVX2__)
enum { TILE_ROWS = 6, PANEL_VECS = 2, FEW_ROWS = 3, MOST_SUMS = 12 };
#else
enum { TILE_ROWS = 4, PANEL_VECS = 2, FEW_ROWS = 2, MOST_SUMS = 8 };
#endif
enum {
    PANEL = PANEL_VECS * VEC_N,
    MOST_PANELS = 4,
    BLOCK_CELLS = 1024 /* a block of a panel, at most 192 KiB, stays in the L2 cache */
};

FINISH_INLINE void step(size_t rows, size_t panels, const element *x, size_t x_stride,
                        const element *panel, size_t next,
                        vec c[TILE_ROWS][MOST_PANELS * PANEL_VECS])
{
    cells b[MOST_PANELS * PANEL_VECS];
    VEC_UNROLL
    for (size_t v = 0; v < panels * PANEL_VECS; v++)
        b[v] = load_cells(panel + v / PANEL_VECS * next + v % PANEL_VECS * VEC_N * GROUP);
    VEC_UNROLL
    for (size_t r = 0; r < rows; r++) {
        cells a = spread_cell(x + r * x_stride);
        VEC_UNROLL
        for (size_t v = 0; v < panels * PANEL_VECS; v++)
            c[r][v] = multiply_add(a, b[v], c[r][v]);
    }
}

/* sum [rows, stride] (+)= x · panels over the k of the runs; `next` is the distance of two panels.
 * rows and panels are constants. */
FINISH_INLINE void tile(size_t rows, size_t panels, const element *x, size_t x_stride,
                        const element *panel, size_t next, const struct ahead *ahead,
                        const struct product_run *run, size_t n_runs, float *sum, size_t stride,
                        bool more)
{
    struct ahead fetched = ahead ? *ahead : (struct ahead){NULL, 0};
    vec c[TILE_ROWS][MOST_PANELS * PANEL_VECS];
    VEC_UNROLL
    for (size_t r = 0; r < rows; r++)
        VEC_UNROLL
    for (size_t v = 0; v < panels * PANEL_VECS; v++)
        c[r][v] = more ? vec_load(sum + r * stride + v * VEC_N) : vec_set(0.0f);
    for (const struct product_run *at = run; at < run + n_runs; at++)
        for (size_t i = at->begin; i < at->end;) {
            size_t stop = at->end, asked = stop;
            if (ahead)
                asked = GROUP * ahead_fetch(fetched, i / GROUP, PANEL * GROUP * sizeof(element));
            for (stop = asked < stop ? asked : stop; i < stop; i += GROUP)
                step(rows, panels, x + i, x_stride, panel + i * PANEL, next, c);
        }
    VEC_UNROLL
    for (size_t r = 0; r < rows; r++)
        VEC_UNROLL
    for (size_t v = 0; v < panels * PANEL_VECS; v++)
        vec_store(sum + r * stride + v * VEC_N, c[r][v]);
}

/* As many panels at a time as there are registers for with this few rows. */
#define PANELS_AT_ONCE(rows)                                                                       \
    (MOST_SUMS / ((rows)*PANEL_VECS) < MOST_PANELS ? MOST_SUMS / ((rows)*PANEL_VECS) : MOST_PANELS)

#define FEW(n)                                                                                     \
    case n:                                                                                        \
        if (panels == PANELS_AT_ONCE(n)) {                                                         \
            tile(n, PANELS_AT_ONCE(n), x, p->x_stride, panel, next, NULL, &whole, 1, sum, stride,  \
                 false);                                                                           \
            break;                                                                                 \
        }                                                                                          \
        for (size_t i = 0; i < panels; i++)                                                        \
            tile(n, 1, x, p->x_stride, panel + i * next, next, NULL, &whole, 1, sum + i * PANEL,   \
                 stride, false);                                                                   \
        break

/* Zeros are not left out: one panel at a time would wait for its own sums. */
static void run_few(const struct product *p)
{
    const struct product_run whole = {0, p->k};
    _Alignas(64) float sum[FEW_ROWS * MOST_PANELS * PANEL];
    size_t at_once = PANELS_AT_ONCE(p->rows), stride = MOST_PANELS * PANEL, next = p->k * PANEL;
    const element *x = p->x;
    for (size_t first = p->begin; first < p->end; first += at_once) {
        size_t panels = p->end - first < at_once ? p->end - first : at_once;
        const element *panel = (const element *)p->panels + first * next;
        switch (p->rows) {
            FEW(1);
            FEW(2);
#if defined(__AVX2__)
            FEW(3);
#endif
#if defined(__AVX512F__)
            FEW(4);
#endif
        default:
            break;
        }
        finish(p, sum, stride, 0, p->rows, first * PANEL, finish_columns(p, first, panels, PANEL),
               false);
    }
}

#define ROWS(n)                                                                                    \
    case n:                                                                                        \
        tile(n, 1, x, p->x_stride, panel, 0, ahead, run, n_runs, sum, PANEL, more);                \
        break

static void run_tile(const struct product *p, size_t rows, const element *x, const element *panel,
                     const struct ahead *ahead, const struct product_run *run, size_t n_runs,
                     float *sum, bool more)
{
    switch (rows) {
        ROWS(1);
        ROWS(2);
        ROWS(3);
        ROWS(4);
#if defined(__AVX2__)
        ROWS(5);
        ROWS(6);
#endif
#if defined(__AVX512F__)
        ROWS(7);
        ROWS(8);
#endif
    default:
        break;
    }
}

static void run(const struct product *p)
{
    if (p->rows <= FEW_ROWS) {
        run_few(p);
        return;
    }
    _Alignas(64) float sum[PRODUCT_BLOCK_ROWS * PANEL];
    size_t n_tiles = (p->rows + TILE_ROWS - 1) / TILE_ROWS; /* near-equal: no ragged last one */
    size_t n_cells = p->k / GROUP;
    size_t n_blocks = n_cells > 0 && !p->run ? (n_cells + BLOCK_CELLS - 1) / BLOCK_CELLS : 1;
    for (size_t panel = p->begin; panel < p->end; panel++) {
        const struct product_run *runs = p->run ? p->run + p->run_first[panel] : NULL;
        size_t n_runs = runs ? p->run_first[panel + 1] - p->run_first[panel] : 1;
        for (size_t b = 0; b < n_blocks; b++) {
            size_t k0 = n_cells * b / n_blocks * GROUP, k1 = n_cells * (b + 1) / n_blocks * GROUP;
            const struct product_run block = {0, k1 - k0};
            const element *w = (const element *)p->panels + (panel * p->k + k0) * PANEL;
            bool last = b + 1 == n_blocks && panel + 1 == p->end;
            const void *next = last ? p->after : w + (k1 - k0) * PANEL;
            for (size_t t = 0; t < n_tiles; t++) {
                size_t r0 = p->rows * t / n_tiles, r1 = p->rows * (t + 1) / n_tiles;
                float *to = n_blocks > 1 ? sum + r0 * PANEL : sum;
                const struct ahead ahead =
                    ahead_of(next, (k1 - k0) * PANEL * sizeof *w, t, n_tiles);
                if (b + 1 == n_blocks)
                    ahead_write(p->y + r0 * p->y_stride + panel * PANEL, p->y_stride, r1 - r0,
                                PANEL_VECS);
                run_tile(p, r1 - r0, (const element *)p->x + r0 * p->x_stride + k0, w, &ahead,
                         runs ? runs : &block, n_runs, to, b > 0);
                if (b + 1 == n_blocks)
                    finish(p, to, PANEL, r0, r1 - r0, panel * PANEL,
                           finish_columns(p, panel, 1, PANEL), false);
            }
        }
    }
}

#endif
