/* weight.h: what every device demands of the weights it is given to prepare. */
#ifndef MILLET_KERNELS_WEIGHT_H
#define MILLET_KERNELS_WEIGHT_H

#include "kernels/kernels.h"

/* Parts stacked to one linear are of equal columns, and all int8 with a scale for each row, rotated
 * or not, or all of a float type; gives their rows in all. */
bool weight_check_parts(const struct weight *part, size_t n_parts, size_t *rows, struct error *err);

/* A table's type is a float, or I8 or U8 (pairs of 4 bits) with scales; I8 may be
 * rotated. */
bool weight_check_table(const struct weight *weight, struct error *err);

#endif
