/* dense.c: products cut into groups of panels × shares of rows, which members take in turn; who
 * takes one packs its panels for himself, a block of k at a time, so that they stay in his L2 cache.
 * A that lies across its rows is packed by all members before. */
#include "kernels/cpu/dense.h"

#include <stdatomic.h>

#include "kernels/cpu/elementwise.h"

enum {
    BLOCK_K = 1024,  /* of a panel: at most 192 KiB */
    ITEMS_EACH = 3,  /* for each member, so that one that is held up does not hold up all */
    LEAST_ROWS = 64, /* of a share: below, packing shows */
    SLICES_TAKEN = 8,
    LINE = 16,       /* floats of a cache line */
    MOST_PANELS = 4, /* of a group */
    GROUP_FLOATS = 1 << 17
};

static const float nothing[64];

struct dense_work {
    struct cpu *cpu;
    const struct dense *dense;
    const struct dense_product *kernel;
    float *slices;             /* of A, packed; NULL: read where it lies */
    size_t slice;              /* their distance in floats */
    size_t n_panels, n_groups; /* of columns; groups of panels */
    size_t n_shares;           /* of rows */
    size_t panel_floats;
    atomic_size_t next;
};

/* ---- A, packed ---- */

static void pack_slices(void *context, size_t member, size_t n_members)
{
    struct dense_work *work = context;
    const struct dense *d = work->dense;
    size_t tile = work->kernel->tile, n = (d->m + tile - 1) / tile;
    (void)member;
    (void)n_members;
    for (;;) {
        size_t first = atomic_fetch_add(&work->next, SLICES_TAKEN);
        if (first >= n)
            return;
        struct dense_view from = {d->a.at + first * tile, 1, d->a.step};
        size_t left = d->m - first * tile;
        work->kernel->pack_slices(from, left < SLICES_TAKEN * tile ? left : SLICES_TAKEN * tile,
                                  d->k, work->slices + first * work->slice, work->slice);
    }
}

static bool pack_a(struct dense_work *work, bool alone)
{
    const struct dense *d = work->dense;
    size_t tile = work->kernel->tile, n = (d->m + tile - 1) / tile;
    /* No multiple of a page: all slices would want the same lines of the L1 cache. */
    work->slice = (d->k * tile + LINE - 1) / LINE * LINE;
    work->slice += work->slice / LINE % 2 ? 0 : LINE;
    work->slices = cpu_scratch_shared(work->cpu, n * work->slice * sizeof *work->slices);
    if (!work->slices)
        return false;
    if (alone)
        pack_slices(work, 0, 1);
    else
        cpu_run(work->cpu, pack_slices, work);
    atomic_store(&work->next, 0);
    return true;
}

/* ---- products ---- */

/* Some panels of C over some rows and a block of k. */
struct dense_item {
    size_t row, end;
    size_t first, past; /* panels */
    size_t k0, k1;
};

/* Columns of a panel: all panels have near-equal numbers of registers. */
static void columns_of(const struct dense_work *work, size_t panel, size_t *column, size_t *cols)
{
    size_t width = work->kernel->register_width, n = work->dense->n, begin, end;
    threads_share((n + width - 1) / width, panel, work->n_panels, &begin, &end);
    *column = begin * width;
    *cols = (end * width < n ? end * width : n) - *column;
}

static void set_a(const struct dense_work *work, size_t row, size_t k0, struct dense_tile *tile)
{
    const struct dense *d = work->dense;
    size_t width = work->kernel->tile;
    if (work->slices)
        tile->a =
            (struct dense_view){work->slices + row / width * work->slice + k0 * width, 1, width};
    else
        tile->a = (struct dense_view){d->a.at + row * d->a.row + k0, d->a.row, 1};
}

static void set_c(const struct dense *d, const struct dense_item *item, size_t row, size_t column,
                  struct dense_tile *tile)
{
    tile->c = d->c + row * d->c_stride + column;
    tile->c_stride = d->c_stride;
    tile->from = tile->c;
    tile->from_stride = d->c_stride;
    if (item->k0 == 0 && !d->add) {
        tile->from = d->bias ? d->bias + column : nothing;
        tile->from_stride = 0;
    }
}

/* What follows the sums of a tile. */
static void finish(const struct dense_work *work, size_t row, size_t rows, size_t column,
                   size_t cols)
{
    const struct dense *d = work->dense;
    const struct elementwise *kernel = ISA_PICK(elementwise, work->cpu->isa);
    for (size_t r = row; r < row + rows && d->y; r++)
        kernel->epilogue(d->epilogue, d->c + r * d->c_stride + column, cols,
                         d->y + r * d->y_stride + column);
}

/* Some rows over all panels of the item: A comes from afar only for the first. */
static void run_rows(const struct dense_work *work, const struct dense_item *item, size_t row,
                     size_t rows, const float *panels)
{
    const struct dense *d = work->dense;
    struct dense_tile tile = {.rows = rows, .panel = panels, .k = item->k1 - item->k0};
    set_a(work, row, item->k0, &tile);
    for (size_t p = item->first; p < item->past; p++) {
        size_t column;
        columns_of(work, p, &column, &tile.cols);
        set_c(d, item, row, column, &tile);
        work->kernel->run(&tile);
        if (item->k1 == d->k)
            finish(work, row, rows, column, tile.cols);
        tile.panel += tile.k * work->kernel->panel;
    }
}

/* All rows of the item over one block of k. */
static void run_block(const struct dense_work *work, const struct dense_item *item, float *panels)
{
    const struct dense *d = work->dense;
    const struct dense_product *kernel = work->kernel;
    size_t most = kernel->tile, n_rows = item->end - item->row;
    size_t n_tiles = (n_rows + most - 1) / most, deep = item->k1 - item->k0;
    for (size_t p = item->first; p < item->past; p++) {
        size_t column, cols;
        columns_of(work, p, &column, &cols);
        const struct dense_view from = {d->b.at + column * d->b.row + item->k0 * d->b.step,
                                        d->b.row, d->b.step};
        kernel->pack_panel(from, cols, deep, panels + (p - item->first) * deep * kernel->panel);
    }
    for (size_t t = 0; t < n_tiles; t++) {
        /* near-equal: no ragged last one; slices are what they are */
        size_t r0 = item->row + (work->slices ? t * most : n_rows * t / n_tiles);
        size_t r1 = item->row + (work->slices ? (t + 1) * most : n_rows * (t + 1) / n_tiles);
        run_rows(work, item, r0, (r1 < item->end ? r1 : item->end) - r0, panels);
    }
}

static size_t blocks_of(size_t k)
{
    return k > 0 ? (k + BLOCK_K - 1) / BLOCK_K : 1;
}

/* Rows are shared out in whole tiles: slices cannot be cut. */
static void run_item(const struct dense_work *work, size_t index, float *panels)
{
    const struct dense *d = work->dense;
    size_t tile = work->kernel->tile, n_blocks = blocks_of(d->k), begin, end;
    struct dense_item item;
    threads_share((d->m + tile - 1) / tile, index % work->n_shares, work->n_shares, &begin, &end);
    item.row = begin * tile;
    item.end = end * tile < d->m ? end * tile : d->m;
    threads_share(work->n_panels, index / work->n_shares, work->n_groups, &item.first, &item.past);
    for (size_t b = 0; b < n_blocks; b++) {
        item.k0 = d->k * b / n_blocks;
        item.k1 = d->k * (b + 1) / n_blocks;
        run_block(work, &item, panels);
    }
}

static void run_items(void *context, size_t member, size_t n_members)
{
    struct dense_work *work = context;
    size_t n = work->n_groups * work->n_shares, i;
    size_t most = (work->n_panels + work->n_groups - 1) / work->n_groups;
    (void)n_members;
    float *panels = cpu_scratch(work->cpu, member, most * work->panel_floats * sizeof *panels);
    while (panels && (i = atomic_fetch_add(&work->next, 1)) < n)
        run_item(work, i, panels);
}

/* Groups of panels that fit the L2 cache; no fewer items than keep all members busy. */
static void cut(struct dense_work *work, size_t n_members)
{
    const struct dense *d = work->dense;
    size_t n_blocks = blocks_of(d->k), deep = (d->k + n_blocks - 1) / n_blocks;
    work->panel_floats = deep * work->kernel->panel;
    size_t each = work->panel_floats < GROUP_FLOATS ? GROUP_FLOATS / (work->panel_floats + 1) : 1;
    each = each < MOST_PANELS ? each > 0 ? each : 1 : MOST_PANELS;
    work->n_groups = (work->n_panels + each - 1) / each;
    if (n_members == 1)
        return;
    size_t wanted = ITEMS_EACH * n_members;
    if (work->n_groups < wanted)
        work->n_groups = wanted < work->n_panels ? wanted : work->n_panels;
    size_t most = d->m / LEAST_ROWS > 0 ? d->m / LEAST_ROWS : 1;
    wanted = (wanted + work->n_groups - 1) / work->n_groups;
    work->n_shares = wanted < most ? wanted : most;
}

void dense_run(struct cpu *cpu, const struct dense *dense, bool alone)
{
    if (dense->m == 0 || dense->n == 0)
        return;
    struct dense_work work = {
        .cpu = cpu, .dense = dense, .kernel = ISA_PICK(dense_product, cpu->isa), .n_shares = 1};
    size_t width = work.kernel->register_width, per = work.kernel->panel / width;
    size_t n_vecs = (dense->n + width - 1) / width;
    work.n_panels = (n_vecs + per - 1) / per;
    if (dense->a.step != 1 && !pack_a(&work, alone))
        return;
    cut(&work, alone ? 1 : cpu->n_members);
    if (alone)
        run_items(&work, 0, 1);
    else
        cpu_run(cpu, run_items, &work);
}
