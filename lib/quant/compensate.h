/* compensate.h: the matrices of an encoder and its pooler as rotated int8 codes whose rounding is
 * made good for what they multiply in calibration records (feedback.h), not for numbers of equal
 * weight. What they multiply is that of the model before it was quantised.
 */
#ifndef MILLET_QUANT_COMPENSATE_H
#define MILLET_QUANT_COMPENSATE_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/progress.h"
#include "core/threads.h"
#include "io/model.h"
#include "io/records.h"
#include "kernels/kernels.h"
#include "quant/format.h"

struct compensate {
    struct format_codes *codes; /* [n]: of every matrix but the classifier's; owned */
    size_t n, n_records;
};

/* samples: records, drawn without replacement; all where there are fewer. Labels are not needed. A
 * model that holds int8 matrices or tables is refused. Time: a forward pass of the sample, in which
 * each matrix [out, in] costs in² / 2 more a token, and then out in² / 2 + in³ / 6 a matrix. Memory:
 * the prepared weights; sums of 4 in² bytes a matrix (query, key and value have the same), of as
 * many matrices as go into 1 GiB: BERT-base needs 0.54; where that is not all, the sample is passed
 * again for the others; 8 in² bytes more of the one at hand; the codes. */
bool compensate_make(struct compensate *compensate, struct model *model,
                     const struct records_set *records, size_t samples, uint64_t seed,
                     struct device *dev, struct threads *team, const struct progress *progress,
                     struct error *err) MUST_CHECK;
void compensate_free(struct compensate *compensate); /* safe on a zeroed struct */

#endif
