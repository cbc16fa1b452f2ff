/* encoder_alone.h: what a hybrid loses when only its encoder is exported. */
#ifndef MILLET_QUANT_ENCODER_ALONE_H
#define MILLET_QUANT_ENCODER_ALONE_H

#include "core/error.h"
#include "core/threads.h"
#include "io/model.h"
#include "io/records.h"
#include "kernels/kernels.h"

struct encoder_alone {
    double both, encoder; /* accuracy, or micro-F1 with any number of labels */
};

/* Leaves the n-gram part out of the model, which must have an encoder beside it. */
bool encoder_alone_take(struct model *model, struct error *err) MUST_CHECK;

/* On the labelled records of the set, of which there must be one; they carry the model's
 * n-grams. */
bool encoder_alone_measure(struct model *model, const struct records_set *set, struct device *dev,
                           struct threads *team, struct encoder_alone *result,
                           struct error *err) MUST_CHECK;

#endif
