/* dense.c: products cut into groups of panels × shares of rows, which members take in turn; who
 * takes one packs its panels for himself, a block of k at a time, so that they stay in his L2 cache.
 * A that lies across its rows, or is rounded, is packed by all members before. */
#include "kernels/cpu/dense.h"

#include <stdatomic.h>

#include "kernels/cpu/elementwise.h"

enum {
    BLOCK_K = 1024,  /* cells of a panel: at most 192 KiB */
    ITEMS_EACH = 3,  /* for each member, so that one that is held up does not hold up all */
    LEAST_ROWS = 64, /* of a share: below, packing shows */
    TILES_TAKEN = 8, /* of A, to pack as slices */
    ROWS_TAKEN = 16,
    LINE = 16,       /* cells of a cache line */
    MOST_PANELS = 4, /* of a group */
    GROUP_FLOATS = 1 << 17
};

static const float nothing[64];

struct dense_work {
    struct cpu *cpu;
    const struct dense *dense;
    const struct dense_product *kernel;
    size_t deep;     /* cells of k */
    float *a;        /* A packed in rows or slices; NULL: read where it lies */
    size_t distance; /* of these, in cells */
    bool in_slices;
    size_t n_panels, n_groups; /* of columns; groups of panels */
    size_t n_shares;           /* of rows */
    size_t panel_floats;
    atomic_size_t next;
};

/* ---- A, packed ---- */

static size_t taken_at_once(const struct dense_work *work)
{
    return work->in_slices ? TILES_TAKEN * work->kernel->tile : ROWS_TAKEN;
}

static void pack_rows(void *context, size_t member, size_t n_members)
{
    struct dense_work *work = context;
    const struct dense *d = work->dense;
    const struct dense_product *kernel = work->kernel;
    size_t most = taken_at_once(work), row;
    (void)member;
    (void)n_members;
    while ((row = atomic_fetch_add(&work->next, most)) < d->m) {
        struct dense_view from = {d->a.at + row * d->a.row, d->a.row, d->a.step};
        size_t rows = d->m - row < most ? d->m - row : most;
        if (work->in_slices)
            kernel->pack_slices(from, rows, d->k, work->a + row / kernel->tile * work->distance,
                                work->distance);
        else
            kernel->pack_rows(from, rows, d->k, work->a + row * work->distance, work->distance);
    }
}

static bool pack_a(struct dense_work *work, bool alone)
{
    const struct dense *d = work->dense;
    work->in_slices = d->a.step != 1;
    size_t each = work->in_slices ? work->kernel->tile : 1;
    /* No multiple of a page: all would want the same lines of the L1 cache. */
    work->distance = (work->deep * each + LINE - 1) / LINE * LINE;
    work->distance += work->distance / LINE % 2 ? 0 : LINE;
    size_t n = (d->m + each - 1) / each;
    work->a = cpu_scratch_shared(work->cpu, n * work->distance * sizeof *work->a);
    if (!work->a)
        return false;
    if (alone || d->m <= taken_at_once(work))
        pack_rows(work, 0, 1);
    else
        cpu_run(work->cpu, pack_rows, work);
    atomic_store(&work->next, 0);
    return true;
}

/* ---- products ---- */

/* Some panels of C over some rows and a block of k. */
struct dense_item {
    size_t row, end;
    size_t first, past; /* panels */
    size_t k0, k1;      /* cells */
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
    if (work->a && work->in_slices)
        tile->a =
            (struct dense_view){work->a + row / width * work->distance + k0 * width, 1, width};
    else if (work->a)
        tile->a = (struct dense_view){work->a + row * work->distance + k0, work->distance, 1};
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

/* C of the tile after this one, so that it need not wait for it: of the next panel, or of the rows
 * below in the first one. */
static void ask_for_next(const struct dense_work *work, const struct dense_item *item, size_t row,
                         size_t rows, size_t panel)
{
    const struct dense *d = work->dense;
    size_t column, cols;
    if (panel + 1 == item->past)
        row += rows;
    columns_of(work, panel + 1 < item->past ? panel + 1 : item->first, &column, &cols);
    for (size_t r = row; r < row + rows && r < item->end; r++)
        for (size_t j = 0; j < cols; j += LINE)
            __builtin_prefetch(d->c + r * d->c_stride + column + j, 1);
}

/* Some rows over all panels of the item: A comes from afar only for the first. */
static void run_rows(const struct dense_work *work, const struct dense_item *item, size_t row,
                     size_t rows, const float *panels)
{
    struct dense_tile tile = {.rows = rows, .panel = panels, .k = item->k1 - item->k0};
    set_a(work, row, item->k0, &tile);
    for (size_t p = item->first; p < item->past; p++) {
        size_t column;
        columns_of(work, p, &column, &tile.cols);
        set_c(work->dense, item, row, column, &tile);
        ask_for_next(work, item, row, rows, p);
        work->kernel->run(&tile);
        if (item->k1 == work->deep)
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
    size_t k0 = item->k0 * kernel->group, k1 = item->k1 * kernel->group;
    k1 = k1 < d->k ? k1 : d->k;
    for (size_t p = item->first; p < item->past; p++) {
        size_t column, cols;
        columns_of(work, p, &column, &cols);
        const struct dense_view from = {d->b.at + column * d->b.row + k0 * d->b.step, d->b.row,
                                        d->b.step};
        kernel->pack_panel(from, cols, k1 - k0, panels + (p - item->first) * deep * kernel->panel);
    }
    for (size_t t = 0; t < n_tiles; t++) {
        /* near-equal: no ragged last one; slices are what they are */
        size_t r0 = item->row + (work->in_slices ? t * most : n_rows * t / n_tiles);
        size_t r1 = item->row + (work->in_slices ? (t + 1) * most : n_rows * (t + 1) / n_tiles);
        run_rows(work, item, r0, (r1 < item->end ? r1 : item->end) - r0, panels);
    }
}

static size_t blocks_of(size_t deep)
{
    return deep > 0 ? (deep + BLOCK_K - 1) / BLOCK_K : 1;
}

/* Rows are shared out in whole tiles: slices cannot be cut. */
static void run_item(const struct dense_work *work, size_t index, float *panels)
{
    const struct dense *d = work->dense;
    size_t tile = work->kernel->tile, n_blocks = blocks_of(work->deep), begin, end;
    struct dense_item item;
    threads_share((d->m + tile - 1) / tile, index % work->n_shares, work->n_shares, &begin, &end);
    item.row = begin * tile;
    item.end = end * tile < d->m ? end * tile : d->m;
    threads_share(work->n_panels, index / work->n_shares, work->n_groups, &item.first, &item.past);
    for (size_t b = 0; b < n_blocks; b++) {
        item.k0 = work->deep * b / n_blocks;
        item.k1 = work->deep * (b + 1) / n_blocks;
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
    size_t n_blocks = blocks_of(work->deep), deep = (work->deep + n_blocks - 1) / n_blocks;
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
    struct dense_work work = {.cpu = cpu,
                              .dense = dense,
                              .kernel = dense->bf16 ? dense_bf16_of(cpu->isa)
                                                    : ISA_PICK(dense_product, cpu->isa),
                              .n_shares = 1};
    work.deep = (dense->k + work.kernel->group - 1) / work.kernel->group;
    size_t width = work.kernel->register_width, per = work.kernel->panel / width;
    size_t n_vecs = (dense->n + width - 1) / width;
    work.n_panels = (n_vecs + per - 1) / per;
    if ((dense->a.step != 1 || work.kernel->pack_rows) && !pack_a(&work, alone))
        return;
    cut(&work, alone ? 1 : cpu->n_members);
    if (alone)
        run_items(&work, 0, 1);
    else
        cpu_run(cpu, run_items, &work);
}
