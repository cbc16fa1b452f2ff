/* movement_layout.c: the sets of scores of each layer. */
#include "prune/movement_layout.h"

#include <stdlib.h>

#include "core/memory.h"

/* Blocks of the matrices of one layer. */
struct cuts {
    size_t hidden, inner, ffn; /* H, A, F */
    size_t along, across;      /* a block's sides along the heads and along H */
};

static void add_set(struct movement_layout *layout, size_t layer, bool attention)
{
    layout->set[layout->n_sets++] = (struct movement_set){.layer = layer, .attention = attention};
}

/* One more matrix for the last set. */
static void add_use(struct movement_layout *layout, enum family_role role, struct blocks blocks)
{
    struct movement_set *set = &layout->set[layout->n_sets - 1];
    size_t down = blocks_down(&blocks);
    set->use[set->n_uses++] =
        (struct movement_use){.role = role, .blocks = blocks, .band = layout->n_bands};
    layout->n_bands += down;
    if (set->n_uses > 1)
        return;
    set->first = layout->n_scores;
    set->n = down * blocks_across(&blocks);
    layout->n_scores += set->n;
}

static void add_attention(struct movement_layout *layout, size_t layer, const struct cuts *cuts)
{
    static const enum family_role inputs[] = {FAMILY_QUERY, FAMILY_KEY, FAMILY_VALUE};
    bool shared = layout->variant == MOVEMENT_STRUCT;
    for (size_t i = 0; i < sizeof inputs / sizeof inputs[0]; i++) {
        if (i == 0 || !shared)
            add_set(layout, layer, true);
        add_use(layout, inputs[i],
                (struct blocks){cuts->inner, cuts->hidden, cuts->along, cuts->across});
    }
    if (!shared)
        add_set(layout, layer, true);
    add_use(layout, FAMILY_CONTEXT,
            (struct blocks){cuts->hidden, cuts->inner, cuts->across, cuts->along});
}

static void add_ffn(struct movement_layout *layout, size_t layer, const struct cuts *cuts)
{
    bool single = layout->variant == MOVEMENT_UNSTRUCTURED;
    size_t side = single ? 1 : cuts->hidden;
    add_set(layout, layer, false);
    add_use(layout, FAMILY_FFN_IN, (struct blocks){cuts->ffn, cuts->hidden, 1, side});
    if (single)
        add_set(layout, layer, false);
    add_use(layout, FAMILY_FFN_OUT, (struct blocks){cuts->hidden, cuts->ffn, side, 1});
}

static size_t largest_divisor(size_t n, size_t limit)
{
    size_t d = limit < n ? limit : n;
    while (n % d)
        d--;
    return d;
}

bool movement_layout_open(struct movement_layout *layout, const struct shape *shape,
                          enum movement_variant variant, size_t rows, size_t cols,
                          struct error *err)
{
    *layout = (struct movement_layout){.variant = variant, .shape = shape};
    layout->set = memory_zeroed(shape->n_layers * MOVEMENT_SETS_OF_LAYER, sizeof *layout->set, err);
    if (!layout->set)
        return false;
    bool single = variant == MOVEMENT_UNSTRUCTURED, whole = variant == MOVEMENT_STRUCT;
    for (size_t l = 0; l < shape->n_layers; l++) {
        struct cuts cuts = {.hidden = shape->hidden,
                            .inner = shape->layer[l].heads * shape->head_size,
                            .ffn = shape->layer[l].ffn};
        cuts.along = single  ? 1
                     : whole ? shape->head_size
                             : largest_divisor(shape->head_size, rows);
        cuts.across = single ? 1 : whole || cols > cuts.hidden ? cuts.hidden : cols;
        add_attention(layout, l, &cuts);
        add_ffn(layout, l, &cuts);
    }
    return true;
}

void movement_layout_close(struct movement_layout *layout)
{
    free(layout->set);
    *layout = (struct movement_layout){.set = NULL};
}

static size_t side(size_t index, size_t block, size_t all)
{
    size_t begin = index * block;
    return all - begin < block ? all - begin : block;
}

size_t movement_weights(const struct movement_set *set, size_t i)
{
    size_t n = 0;
    for (size_t u = 0; u < set->n_uses; u++) {
        const struct blocks *blocks = &set->use[u].blocks;
        size_t across = blocks_across(blocks);
        n += side(i / across, blocks->block_rows, blocks->rows) *
             side(i % across, blocks->block_cols, blocks->cols);
    }
    return n;
}

size_t movement_all_weights(const struct movement_layout *layout)
{
    size_t n = 0;
    for (size_t s = 0; s < layout->n_sets; s++)
        for (size_t u = 0; u < layout->set[s].n_uses; u++)
            n += layout->set[s].use[u].blocks.rows * layout->set[s].use[u].blocks.cols;
    return n;
}
