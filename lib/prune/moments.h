/* moments.h: mean and covariance of what goes into the heads' output projections and the second
 * feed-forward matrices of an encoder, over calibration records: forward passes alone, no labels.
 */
#ifndef MILLET_PRUNE_MOMENTS_H
#define MILLET_PRUNE_MOMENTS_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/progress.h"
#include "io/model.h"
#include "io/records.h"
#include "kernels/kernels.h"
#include "nn/encoder.h"
#include "nn/shape.h"

/* Of one matrix: its input's. */
struct moments_place {
    size_t cols;
    double rows;       /* seen */
    float *covariance; /* [cols, cols]: sum of (x - mean)(x - mean)ᵀ; owned */
    double rounding;   /* what the covariance may be off, as an eigenvalue */
    float *mean;       /* [cols]; owned */
};

struct moments {
    struct moments_place *place; /* [2 n_layers]: moments_of() */
    size_t n_places, n_records, n_tokens;
};

static inline struct moments_place *moments_of(const struct moments *moments, size_t layer,
                                               enum encoder_place place)
{
    return &moments->place[2 * layer + (place == ENCODER_NEURONS)];
}

struct moments_options {
    size_t samples;      /* records, drawn without replacement; all when there are fewer */
    uint64_t seed;       /* of the draw */
    size_t batch_tokens; /* of one pass; 0: 512 */
};

/* The model must have a pooler and a classifier (the engine prepares all of it). Memory: the
 * covariances, the prepared weights, and the activations of a batch. */
bool moments_gather(struct moments *moments, struct model *model, const struct shape *shape,
                    const struct records_set *records, const struct moments_options *options,
                    struct device *dev, const struct progress *progress,
                    struct error *err) MUST_CHECK;
void moments_free(struct moments *moments); /* safe on a zeroed struct */

#endif
