/* feedback.h: rounding of a matrix to int8 in which each column makes up for the errors of those
 * before it (GPTQ, Frantar et al. 2022, section 3).
 *
 * With H = sum of x xᵀ over rows x that the matrix multiplies, what rounding a row w to q costs is
 * e H eᵀ, e = w - q. Columns are rounded in order, and the rest of the row takes the values that
 * are best given what is rounded. In the form of Chee et al. 2023 (QuIP, section 4 and theorem 6,
 * where the two are shown to be the same): H = (I + A) D (I + A)ᵀ with A strictly upper triangular,
 * and column c is the rounded w[c] + sum over b < c of e[b] A[b][c]. No inverse is needed.
 */
#ifndef MILLET_QUANT_FEEDBACK_H
#define MILLET_QUANT_FEEDBACK_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/threads.h"

struct feedback {
    size_t n;
    double *factor; /* [n, n] row c: A[b][c] of b < c; the rest is unused. Owned */
};

/* gram [n, n]: its triangle i <= j is read, all of it finite. 1 % of the mean of its diagonal is
 * added there (ten times as much as long as it is not positive definite); where that is nothing,
 * so is A, and rounding is plain. Time: n³ / 6 multiplications and additions; memory: 8 n² bytes. */
bool feedback_open(struct feedback *feedback, const float *gram, size_t n, struct threads *team,
                   struct error *err) MUST_CHECK;
void feedback_close(struct feedback *feedback); /* safe on a zeroed struct */

/* w [rows, n], finite, to codes [rows, n] and scale [rows], the scales those of
 * format_quantise_rows(). Rows are shared among the team; their bytes do not depend on it. Time:
 * rows n² / 2 multiplications and additions. */
bool feedback_round(const struct feedback *feedback, const float *w, size_t rows,
                    struct threads *team, int8_t *code, float *scale, struct error *err) MUST_CHECK;

#endif
