/* reference_prune.c: what pruning asks of activations and their gradients. */
#include "kernels/reference/reference.h"

#include <stdlib.h>

#include "core/memory.h"
#include "kernels/solve.h"

void reference_unit_slope(struct device *dev, const act *x, const act *dx, const struct seqs *seqs,
                          size_t cols, size_t group, float *slope)
{
    (void)dev;
    for (size_t s = 0; s < seqs->n; s++)
        for (size_t unit = 0; unit < cols / group; unit++) {
            double sum = 0;
            for (size_t t = (size_t)seqs->offset[s]; t < (size_t)seqs->offset[s + 1]; t++)
                for (size_t c = unit * group; c < (unit + 1) * group; c++)
                    sum += (double)reference_read(x)[t * cols + c] *
                           (double)reference_read(dx)[t * cols + c];
            slope[s * (cols / group) + unit] = (float)sum;
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

static size_t block_of(const struct blocks *blocks, size_t row, size_t col)
{
    return row / blocks->block_rows * blocks_across(blocks) + col / blocks->block_cols;
}

void reference_block_mask(struct device *dev, const struct blocks *blocks, const float *keep,
                          const float *from, float *to)
{
    (void)dev;
    for (size_t r = 0; r < blocks->rows; r++)
        for (size_t c = 0; c < blocks->cols; c++) {
            size_t at = r * blocks->cols + c;
            to[at] = keep[block_of(blocks, r, c)] != 0 ? from[at] : 0;
        }
}

void reference_block_sum(struct device *dev, const struct blocks *blocks, const float *x,
                         const float *y, float *sum)
{
    (void)dev;
    size_t across = blocks_across(blocks);
    for (size_t i = 0; i < blocks_down(blocks); i++)
        for (size_t j = 0; j < across; j++) {
            double total = 0;
            for (size_t r = i * blocks->block_rows;
                 r < (i + 1) * blocks->block_rows && r < blocks->rows; r++)
                for (size_t c = j * blocks->block_cols;
                     c < (j + 1) * blocks->block_cols && c < blocks->cols; c++)
                    total += (double)x[r * blocks->cols + c] * (double)y[r * blocks->cols + c];
            sum[i * across + j] += (float)total;
        }
}

void reference_solve(struct device *dev, float *a, size_t n, float *b, size_t m)
{
    double *u = memory_array(n * n, sizeof *u, reference_error(dev));
    double *x = memory_array(n, sizeof *x, reference_error(dev));
    for (size_t i = 0; u && i < n * n; i++)
        u[i] = (double)a[i];
    if (u && x && !solve_factor(u, n))
        error_set(reference_error(dev), "solve: the matrix is not positive definite");
    else if (u && x)
        for (size_t r = 0; r < m; r++) {
            for (size_t i = 0; i < n; i++)
                x[i] = (double)b[r * n + i];
            solve_row(u, n, x);
            for (size_t i = 0; i < n; i++)
                b[r * n + i] = (float)x[i];
        }
    free(u);
    free(x);
}
