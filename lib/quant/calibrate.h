/* calibrate.h: static scales of activations: the largest size of what each matrix of the encoder
 * multiplies, rotated where the matrix will be, over calibration records, divided by 127 (Jacob et
 * al. 2018, section 3.1: ranges of activations, one for each tensor; the largest value and no moving
 * average, for nothing is trained). int8 products with such a scale need not look for the largest
 * value of each row, and cut what is larger than any value of the sample.
 */
#ifndef MILLET_QUANT_CALIBRATE_H
#define MILLET_QUANT_CALIBRATE_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/progress.h"
#include "io/model.h"
#include "io/records.h"
#include "kernels/kernels.h"
#include "quant/format.h"

struct calibrate {
    struct format_input *input; /* [n]: of every matrix of the encoder; owned */
    size_t n, n_records;
};

/* samples: records, drawn without replacement; all where there are fewer. Labels are not needed.
 * Time: a forward pass of the sample; memory: one of 512 tokens. */
bool calibrate_measure(struct calibrate *calibrate, struct model *model,
                       const struct records_set *records, size_t samples, uint64_t seed,
                       struct device *dev, const struct progress *progress,
                       struct error *err) MUST_CHECK;
void calibrate_free(struct calibrate *calibrate); /* safe on a zeroed struct */

#endif
