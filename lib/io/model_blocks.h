/* model_blocks.h: matrices of which whole blocks are zero, stored without these. In a file, "NAME"
 * [rows, cols] is then two tensors:
 *
 *   NAME_blocks        [n, block_rows, block_cols], the element type of NAME: the blocks that
 *                      are not zero, filled up with zeros at the right and lower edges
 *   NAME_blocks_index  I32 [2 + n]: rows, cols, and the number of each block in the grid of blocks,
 *                      row by row, ascending
 *
 * Who opens a model sees NAME alone. model_write() stores so what millet.json's "pruned" says was
 * pruned by blocks ("block": [rows, cols], or the other way round), where that saves a tenth of the
 * bytes; not where it says "dense", which is for programs that know nothing of blocks.
 */
#ifndef MILLET_IO_MODEL_BLOCKS_H
#define MILLET_IO_MODEL_BLOCKS_H

#include "io/model.h"

/* After the tensors were collected: make those stored by blocks whole, in memory that the bundle
 * owns. Their bytes are verified. */
bool model_blocks_expand(struct model *model, struct error *err) MUST_CHECK;

/* Whether millet.json (NULL: nothing) says that zeros lie in blocks which are not stored. */
bool model_blocks_wanted(const json_t *millet);

/* Tensors as they are stored. */
struct model_blocks {
    struct tensor_view *tensor; /* those given, or two in place of one */
    size_t n_tensors;
    void **owned;
    size_t n_owned;
};

/* millet: what millet.json will say; NULL: nothing. The tensors are borrowed. */
bool model_blocks_pack(struct model_blocks *blocks, const json_t *millet,
                       const struct tensor_view *tensor, size_t n, struct error *err) MUST_CHECK;
void model_blocks_free(struct model_blocks *blocks);

#endif
