/* pack.c: packing, a block at a time so that source and target stay in the L1 cache. */
#include "kernels/cpu/pack.h"

#include <stdatomic.h>
#include <string.h>

#include "kernels/cpu/transpose.h"
#include "kernels/cpu/widen.h"

enum {
    CELL = 4,        /* bytes of what is turned over */
    CHUNK = 64,      /* cells of a row packed together */
    PANEL_MOST = 48, /* outputs of the widest panel */
    /* Bytes, a fifth of a millisecond: for less it does not pay to wake the team, whose members then
     * look out for more work for as long as a quarter of that, on processors that the program in
     * front in a pipe may want. */
    ALONE = 1 << 19
};

struct packing {
    struct linear *linear;
    const struct weight *part;
    const struct transpose *transpose;
    const struct widen *widen;
    atomic_size_t next; /* panel to pack */
};

/* Row `row` of the stacked parts, from column k on; NULL beyond the last. Sets the part. */
static const void *stacked_row(const struct packing *packing, size_t row, size_t k,
                               const struct weight **part)
{
    if (row >= packing->linear->out)
        return NULL;
    const struct weight *p = packing->part;
    while (row >= p->rows)
        row -= p++->rows;
    *part = p;
    return (const char *)p->data + (row * p->cols + k) * dtype_bytes(p->type);
}

/* One row's part of a chunk: n cells from number `cell` on; a cell is a float, two bf16 or four
 * int8. */
static void read_cells(const struct packing *packing, size_t row, size_t cell, size_t n, float *to)
{
    const struct linear *linear = packing->linear;
    const struct weight *part = NULL;
    const char *from = stacked_row(packing, row, cell * linear->group, &part);
    size_t left = linear->in - cell * linear->group;
    if (from && linear->kind == LINEAR_F32) {
        packing->widen->run(part->type, from, n, to);
        return;
    }
    size_t bytes = left * linear_element(linear);
    memset(to, 0, n * sizeof *to);
    if (from)
        memcpy(to, from, bytes < n * CELL ? bytes : n * CELL);
}

/* Rows are read CHUNK cells at a time, then turned over into the panel. */
static void pack_cells(const struct packing *packing, size_t panel)
{
    const struct linear *linear = packing->linear;
    size_t width = linear->panel, n_cells = linear->k / linear->group;
    float rows[PANEL_MOST][CHUNK], *to = (float *)linear->panels + panel * n_cells * width;
    for (size_t cell = 0; cell < n_cells; cell += CHUNK) {
        size_t n = n_cells - cell < CHUNK ? n_cells - cell : CHUNK;
        for (size_t t = 0; t < width; t++)
            read_cells(packing, panel * width + t, cell, n, rows[t]);
        packing->transpose->run(rows[0], CHUNK, width, n, to + cell * width, width);
    }
}

/* int8 in groups that are no cells, plainly. */
static void pack_groups(const struct packing *packing, size_t panel)
{
    const struct linear *linear = packing->linear;
    const struct weight *part = NULL;
    size_t width = linear->panel, group = linear->group;
    int8_t *to = (int8_t *)linear->panels + panel * linear->k * width;
    memset(to, 0, linear->k * width);
    for (size_t t = 0; t < width; t++) {
        const int8_t *row = stacked_row(packing, panel * width + t, 0, &part);
        for (size_t i = 0; row && i < linear->in; i++)
            to[(i / group * width + t) * group + i % group] = row[i];
    }
}

/* The sums of the panel's rows of W. */
static void add_up(const struct packing *packing, size_t panel)
{
    const struct linear *linear = packing->linear;
    const struct weight *part = NULL;
    for (size_t o = panel * linear->panel; o < (panel + 1) * linear->panel; o++) {
        const int8_t *row = stacked_row(packing, o, 0, &part);
        int32_t sum = 0;
        for (size_t i = 0; row && i < linear->in; i++)
            sum += row[i];
        linear->w_sum[o] = sum;
    }
}

static void pack(void *context, size_t member, size_t n_members)
{
    struct packing *packing = context;
    (void)member;
    (void)n_members;
    size_t panel;
    const struct linear *linear = packing->linear;
    while ((panel = atomic_fetch_add(&packing->next, 1)) < linear->n_panels) {
        if (linear->group * linear_element(linear) == CELL)
            pack_cells(packing, panel);
        else
            pack_groups(packing, panel);
        if (linear->kind == LINEAR_INT8)
            add_up(packing, panel);
    }
}

void pack_parts(struct cpu *cpu, struct linear *linear, const struct weight *part)
{
    struct packing packing = {.linear = linear,
                              .part = part,
                              .transpose = ISA_PICK(transpose, cpu->isa),
                              .widen = ISA_PICK(widen, cpu->isa)};
    if (linear->n_panels * linear->panel * linear->k * linear_element(linear) < ALONE)
        pack(&packing, 0, 1);
    else
        cpu_run(cpu, pack, &packing);
}
