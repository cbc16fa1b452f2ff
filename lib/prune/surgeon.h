/* surgeon.h: removing groups of columns from a matrix so that its products change least, the
 * optimal brain surgeon of structures (Hassibi and Stork 1993; Kurtic et al. 2023, ZipLM, section
 * 3). Pure arithmetic.
 *
 * y = W x of inputs x whose second moments are known, H = sum of x xᵀ: what changes when W becomes
 * W + D is the squared error tr(D H Dᵀ). Taking out the columns S costs, when all others may move,
 * sum over rows of w_S ([H⁻¹]_SS)⁻¹ w_Sᵀ; they move by -w_S ([H⁻¹]_SS)⁻¹ [H⁻¹]_S,: and H⁻¹ loses
 * [H⁻¹]_:,S ([H⁻¹]_SS)⁻¹ [H⁻¹]_S,:, which makes it the inverse for the columns that are left. The
 * cheapest group goes first, then the next.
 *
 * H is centred by the caller where the bias may move too: sum of (x - mean)(x - mean)ᵀ, and the
 * bias then moves by (W - W') mean.
 */
#ifndef MILLET_PRUNE_SURGEON_H
#define MILLET_PRUNE_SURGEON_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"

struct surgeon {
    const float *w;           /* [rows, cols] */
    size_t rows, cols, group; /* cols are a multiple of group */
    const float *h;           /* [cols, cols] */
    /* What is added to the diagonal: damping times its mean, for few records must not be believed too
     * much, and at least floor, H's rounding, for it must be invertible. */
    double damping, floor;
};

/* order [cols / group]: the groups, first to go first. error: after each, what has changed so far
 * (never less than before, damping included). energy: tr(W H Wᵀ), of taking all out and letting
 * nothing move. Time: about cols³ + rows cols² multiply-adds; memory: cols² doubles and floats. */
bool surgeon_order(const struct surgeon *surgeon, size_t *order, double *error, double *energy,
                   struct error *err) MUST_CHECK;

/* out [rows, cols]: the best W' that is zero outside the groups kept [n_kept], ascending. The
 * result of surgeon_order's updates, whatever the order, up to rounding. Time: k³/6 + rows k cols
 * for k kept columns. */
bool surgeon_weights(const struct surgeon *surgeon, const size_t *kept, size_t n_kept, float *out,
                     struct error *err) MUST_CHECK;

#endif
