/* match.h: what the losses on a teacher's states share: match.cu, relation.cu. */
#ifndef MILLET_KERNELS_CUDA_MATCH_H
#define MILLET_KERNELS_CUDA_MATCH_H

#include "kernels/cuda/rows.h"

/* row_loss [sequences] += weight times the mean of each sequence's values: `each` for a row, part
 * [rows, each]. One launch. */
void cuda_add_means(struct cuda *cuda, const char *operation, const struct seqs *seqs,
                    const float *part, size_t each, float weight, float *row_loss);

#endif
