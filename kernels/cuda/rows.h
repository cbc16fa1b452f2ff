/* rows.h: shapes of launches over rows, and over the rows of packed sequences. */
#ifndef MILLET_KERNELS_CUDA_ROWS_H
#define MILLET_KERNELS_CUDA_ROWS_H

#include "kernels/cuda/cuda.h"

/* Threads for a row: widths are 128 to 1024. */
constexpr unsigned ROW_BLOCK = 128;

/* Blocks that do `each` rows of one sequence: sequences along x, rows along y. Which sequence a row
 * is in needs no search then; blocks beyond the end of a short sequence have nothing to do. Kernels
 * go on by gridDim.y * each rows, so `longest` decides on speed alone. */
static inline dim3 cuda_grid_seqs(const struct seqs *seqs, size_t each)
{
    size_t down = (seqs->longest + each - 1) / each;
    return dim3(cuda_ceil(seqs->n, 1), down > 65535 ? 65535 : down > 0 ? (unsigned)down : 1);
}

#endif
