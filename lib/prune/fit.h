/* fit.h: least squares of what is left of a layer: a matrix W [m, n] that takes the kept units'
 * activations x, and what its sum lacks, e = wanted - W x - …, row by row. From the sums xᵀx and
 * eᵀx over many rows come the change of the whole matrix, or one factor for each unit, that makes e
 * smallest. Sums on a device, systems by Cholesky.
 *
 *     fit_open(); fit_add() …; fit_weights() or fit_scales(); fit_close()
 */
#ifndef MILLET_PRUNE_FIT_H
#define MILLET_PRUNE_FIT_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"
#include "kernels/kernels.h"

struct fit;

struct fit *fit_open(struct device *dev, size_t n, size_t m, struct error *err) MUST_CHECK;
void fit_close(struct fit *fit); /* NULL is fine */

/* x [rows, n] and e [rows, m] on the device, e on the host, too. Some thousand rows at a time. */
void fit_add(struct fit *fit, const act *x, const act *e, const float *e_host, size_t rows);

/* Sum of squares of e, before, and of what the fit leaves on these rows. */
struct fit_error {
    double before, after;
};

/* The change D of W and d of its bias that make sum |e - D x - d|² + ridge v |D|² smallest, v the
 * mean variance of an input over these rows, times their number. delta [m, n], bias [m]. */
bool fit_weights(struct fit *fit, double ridge, float *delta, float *bias, struct fit_error *result,
                 struct error *err) MUST_CHECK;

/* A factor s for each unit, `group` consecutive inputs: sum |e - W (s - 1) x|² + ridge v |s - 1|²
 * smallest, v the mean of what a unit contributes squared; factors are then limited to [0, 4] (Kwon
 * et al. 2022, section 4.3, who damp towards 1, too). Where limits would do harm all are 1. scale
 * [n / group]; limited: how many were. */
bool fit_scales(struct fit *fit, const float *w, size_t group, double ridge, float *scale,
                size_t *limited, struct fit_error *result, struct error *err) MUST_CHECK;

#endif
