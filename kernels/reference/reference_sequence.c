/* reference_sequence.c: operations along the rows of a sequence: first rows, neighbours, means. */
#include "kernels/reference/reference.h"

void reference_gather_first(struct device *dev, const act *x, const struct seqs *seqs, size_t cols,
                            act *y)
{
    (void)dev;
    for (size_t s = 0; s < seqs->n; s++)
        for (size_t c = 0; c < cols; c++)
            reference_values(y)[s * cols + c] =
                reference_read(x)[(size_t)seqs->offset[s] * cols + c];
}

void reference_scatter_first_add(struct device *dev, const act *dy, const struct seqs *seqs,
                                 size_t cols, act *x)
{
    (void)dev;
    for (size_t s = 0; s < seqs->n; s++)
        for (size_t c = 0; c < cols; c++)
            reference_values(x)[(size_t)seqs->offset[s] * cols + c] +=
                reference_read(dy)[s * cols + c];
}

/* The neighbour of row t in its sequence [first, end) that part 0, 1 or 2 of a trigram holds: next,
 * own, previous. Part p of row t is row t + 1 - p. */
static bool neighbour(size_t t, size_t part, size_t first, size_t end, size_t *row)
{
    *row = t + 1 - part;
    return t + 1 >= first + part && *row < end;
}

void reference_trigram(struct device *dev, const act *x, const struct seqs *seqs, size_t cols,
                       act *y)
{
    (void)dev;
    for (size_t s = 0; s < seqs->n; s++) {
        size_t first = (size_t)seqs->offset[s], end = (size_t)seqs->offset[s + 1], row;
        for (size_t t = first; t < end; t++)
            for (size_t part = 0; part < 3; part++)
                for (size_t c = 0; c < cols; c++)
                    reference_values(y)[(3 * t + part) * cols + c] =
                        neighbour(t, part, first, end, &row) ? reference_read(x)[row * cols + c]
                                                             : 0;
    }
}

void reference_trigram_backward(struct device *dev, const act *dy, const struct seqs *seqs,
                                size_t cols, act *dx)
{
    (void)dev;
    for (size_t s = 0; s < seqs->n; s++) {
        size_t first = (size_t)seqs->offset[s], end = (size_t)seqs->offset[s + 1], row;
        for (size_t i = first * cols; i < end * cols; i++)
            reference_values(dx)[i] = 0;
        for (size_t t = first; t < end; t++)
            for (size_t part = 0; part < 3; part++)
                for (size_t c = 0; c < cols && neighbour(t, part, first, end, &row); c++)
                    reference_values(dx)[row * cols + c] +=
                        reference_read(dy)[(3 * t + part) * cols + c];
    }
}

void reference_mean_pool(struct device *dev, const act *x, const struct seqs *seqs, size_t cols,
                         act *y)
{
    (void)dev;
    for (size_t s = 0; s < seqs->n; s++) {
        size_t first = (size_t)seqs->offset[s], end = (size_t)seqs->offset[s + 1];
        for (size_t c = 0; c < cols; c++) {
            double sum = 0;
            for (size_t t = first; t < end; t++)
                sum += (double)reference_read(x)[t * cols + c];
            reference_values(y)[s * cols + c] =
                (float)(end > first ? sum / (double)(end - first) : 0);
        }
    }
}

void reference_mean_pool_backward(struct device *dev, const act *dy, const struct seqs *seqs,
                                  size_t cols, act *dx)
{
    (void)dev;
    for (size_t s = 0; s < seqs->n; s++) {
        size_t first = (size_t)seqs->offset[s], end = (size_t)seqs->offset[s + 1];
        for (size_t t = first; t < end; t++)
            for (size_t c = 0; c < cols; c++)
                reference_values(dx)[t * cols + c] =
                    (float)((double)reference_read(dy)[s * cols + c] / (double)(end - first));
    }
}
