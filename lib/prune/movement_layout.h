/* movement_layout.h: which scores block movement pruning has, and which blocks of which matrices
 * each of them keeps or masks. Pure arithmetic of a shape.
 *
 *   variant       query, key, value   output projection   feed-forward
 *   hybrid        B x C blocks        C x B blocks        one score a neuron, for its row of the
 *   filled        the same            the same            first and column of the second matrix
 *   struct        one score a head, for its rows of       the same
 *                 the three and columns of the output
 *                 projection
 *   unstructured  single weights      single weights      single weights, scores of their own
 *
 * (Lagunas et al. 2021.) Blocks never lie across two heads: the side along the heads is the largest
 * divisor of the head size that is not above B. Blocks at the other edge may be smaller.
 */
#ifndef MILLET_PRUNE_MOVEMENT_LAYOUT_H
#define MILLET_PRUNE_MOVEMENT_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"
#include "kernels/kernels.h"
#include "nn/shape.h"

enum movement_variant { MOVEMENT_HYBRID, MOVEMENT_STRUCT, MOVEMENT_FILLED, MOVEMENT_UNSTRUCTURED };

/* A matrix and its blocks: as many, in the same order, as the scores of the set it belongs to. */
struct movement_use {
    enum family_role role;
    struct blocks blocks;
    size_t band; /* of its first row of blocks, in an array over all uses */
};

enum { MOVEMENT_USES = 4, MOVEMENT_SETS_OF_LAYER = 6 };

/* Scores that are ranked together. */
struct movement_set {
    size_t layer;
    bool attention;  /* else feed-forward */
    size_t first, n; /* in the array of all scores */
    struct movement_use use[MOVEMENT_USES];
    size_t n_uses;
};

struct movement_layout {
    enum movement_variant variant;
    struct movement_set *set; /* layer by layer; owned */
    size_t n_sets;
    size_t n_scores, n_bands;
    const struct shape *shape; /* borrowed */
};

/* rows, cols: of a block of query, key and value; ignored where the variant has none. */
bool movement_layout_open(struct movement_layout *layout, const struct shape *shape,
                          enum movement_variant variant, size_t rows, size_t cols,
                          struct error *err) MUST_CHECK;
void movement_layout_close(struct movement_layout *layout); /* safe on a zeroed struct */

/* Weights that score i of a set stands for. */
size_t movement_weights(const struct movement_set *set, size_t i);
/* Of all sets: the encoder's linear weights. */
size_t movement_all_weights(const struct movement_layout *layout);

#endif
