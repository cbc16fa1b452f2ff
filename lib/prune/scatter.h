/* scatter.h: sums of x xᵀ and of x over many rows of activations, for what is centred later.
 *
 * The products are summed on the device, in float: BLAS adds up a batch apart, and rounds the whole
 * once a batch. Plain sums are added up in double on the host, a batch at a time: a float that
 * thousands of rows were added to one by one has drifted by as much as 1e-3 of itself, and its
 * square taken off a matrix of inputs that hardly vary leaves one that is not positive.
 */
#ifndef MILLET_PRUNE_SCATTER_H
#define MILLET_PRUNE_SCATTER_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"
#include "kernels/kernels.h"

struct scatter {
    struct device *dev; /* borrowed */
    size_t cols;
    double rows; /* seen */
    double *sum; /* [cols] of x, exact within batches' rounding; owned */
    float *gram; /* device [cols, cols]; owned */
    float *part; /* device [cols], host [cols]: a batch's sums; owned */
    float *host;
};

bool scatter_open(struct scatter *scatter, struct device *dev, size_t cols,
                  struct error *err) MUST_CHECK;
void scatter_close(struct scatter *scatter); /* safe on a zeroed struct */

/* x [rows, cols] on the device. Some thousand rows at a time. Waits for the device. */
void scatter_add(struct scatter *scatter, const act *x, size_t rows);

/* The sum of x xᵀ to the host, [cols, cols]. */
bool scatter_take(const struct scatter *scatter, float *gram, struct error *err) MUST_CHECK;

/* Such a matrix about the means: less rows times mean meanᵀ. In place. Inputs that hardly vary leave
 * little but the rounding of the whole sums, which need not be positive definite: what is returned,
 * added to the diagonal, makes it so. */
double scatter_centre(const struct scatter *scatter, float *gram);

#endif
