/* reference_prune.c: what pruning asks of activations and their gradients. */
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

void reference_gram(struct device *dev, const act *x, size_t rows, size_t cols, float *g)
{
    (void)dev;
    for (size_t i = 0; i < cols; i++)
        for (size_t j = i; j < cols; j++) {
            double sum = (double)g[i * cols + j];
            for (size_t r = 0; r < rows; r++)
                sum += (double)reference_read(x)[r * cols + i] *
                       (double)reference_read(x)[r * cols + j];
            g[i * cols + j] = g[j * cols + i] = (float)sum;
        }
}
