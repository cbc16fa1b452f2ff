/* reference_prune.c: what pruning asks of a backward pass. */
#include "kernels/reference/reference.h"

void reference_unit_fisher(struct device *dev, const act *x, const act *dx, const struct seqs *seqs,
                           size_t cols, size_t group, float *score)
{
    (void)dev;
    for (size_t unit = 0; unit < cols / group; unit++) {
        double total = 0;
        for (size_t s = 0; s < seqs->n; s++) {
            double slope = 0; /* d loss / d mask of this unit, for this sequence */
            for (size_t t = (size_t)seqs->offset[s]; t < (size_t)seqs->offset[s + 1]; t++)
                for (size_t c = unit * group; c < (unit + 1) * group; c++)
                    slope += (double)reference_read(x)[t * cols + c] *
                             (double)reference_read(dx)[t * cols + c];
            total += slope * slope;
        }
        score[unit] += (float)total;
    }
}
