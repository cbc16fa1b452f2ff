/* pack.c: packing, a block at a time so that source and target stay in the L1 cache. */
#include "kernels/cpu/pack.h"

#include <stdatomic.h>
#include <string.h>

#include "kernels/cpu/transpose.h"

enum {
    CHUNK = 64,     /* columns of W packed together */
    PANEL_MOST = 48 /* outputs of the widest panel */
};

struct packing {
    struct linear *linear;
    const struct weight *part;
    int32_t offset;
    const struct transpose *transpose;
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

/* Rows are widened to floats CHUNK columns at a time, then turned over into the panel. */
static void pack_f32_panel(const struct packing *packing, size_t panel)
{
    const struct linear *linear = packing->linear;
    const struct weight *part = NULL;
    size_t width = linear->panel;
    float rows[PANEL_MOST][CHUNK], *to = (float *)linear->panels + panel * linear->k * width;
    for (size_t k = 0; k < linear->in; k += CHUNK) {
        size_t n = linear->in - k < CHUNK ? linear->in - k : CHUNK;
        for (size_t t = 0; t < width; t++) {
            const void *row = stacked_row(packing, panel * width + t, k, &part);
            if (row)
                dtype_to_float(part->type, row, n, rows[t]);
            else
                memset(rows[t], 0, sizeof rows[t]);
        }
        packing->transpose->run(rows[0], CHUNK, width, n, to + k * width, width);
    }
}

static void pack_int8_panel(const struct packing *packing, size_t panel)
{
    const struct linear *linear = packing->linear;
    const struct weight *part = NULL;
    size_t width = linear->panel, group = linear->group;
    int8_t *to = (int8_t *)linear->panels + panel * linear->k * width;
    memset(to, 0, linear->k * width);
    for (size_t t = 0; t < width; t++) {
        size_t o = panel * width + t;
        const int8_t *row = stacked_row(packing, o, 0, &part);
        int32_t sum = 0;
        for (size_t i = 0; row && i < linear->in; i++) {
            to[(i / group * width + t) * group + i % group] = row[i];
            sum += row[i];
        }
        /* Sums are taken modulo 2^32, and so is what is subtracted from them. */
        linear->surplus[o] = (int32_t)((uint32_t)sum * (uint32_t)packing->offset);
    }
}

static void pack(void *context, size_t member, size_t n_members)
{
    struct packing *packing = context;
    (void)member;
    (void)n_members;
    size_t panel;
    while ((panel = atomic_fetch_add(&packing->next, 1)) < packing->linear->n_panels)
        if (packing->linear->kind == LINEAR_INT8)
            pack_int8_panel(packing, panel);
        else
            pack_f32_panel(packing, panel);
}

void pack_parts(struct cpu *cpu, struct linear *linear, const struct weight *part, int32_t offset)
{
    struct packing packing = {.linear = linear,
                              .part = part,
                              .offset = offset,
                              .transpose = ISA_PICK(transpose, cpu->isa)};
    cpu_run(cpu, pack, &packing);
}
