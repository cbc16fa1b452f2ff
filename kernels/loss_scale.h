/* loss_scale.h: the one definition of clipping and of how the loss scale of fp16 adapts, shared by
 * every device: it halves where gradients overflowed, and doubles after LOSS_SCALE_PATIENCE steps
 * without (Micikevicius et al. 2018). A scale is a power of two, so that it costs no rounding. */
#ifndef MILLET_KERNELS_LOSS_SCALE_H
#define MILLET_KERNELS_LOSS_SCALE_H

#include <float.h>
#include <math.h>
#include <stdbool.h>

#include "kernels/kernels.h"

#ifndef KERNELS_ANYWHERE /* kernels/cuda defines it: its kernels call these functions, too */
#define KERNELS_ANYWHERE
#endif

enum { LOSS_SCALE_FIRST = 65536, LOSS_SCALE_MOST = 16777216, LOSS_SCALE_PATIENCE = 2000 };

/* Below it training has diverged; it may be some halvings before somebody looks. */
#define LOSS_SCALE_LEAST (1.0F / 1024)

KERNELS_ANYWHERE static inline void loss_scale_adapt(struct loss_scale *scaled, bool overflow)
{
    scaled->age++;
    if (overflow) {
        scaled->skipped++;
        if (scaled->scale > 0x1p-60F)
            scaled->scale /= 2;
        scaled->age = 0;
    } else if (scaled->age == LOSS_SCALE_PATIENCE && scaled->scale < (float)LOSS_SCALE_MOST) {
        scaled->scale *= 2;
        scaled->age = 0;
    }
}

/* clip_factor of the table. */
KERNELS_ANYWHERE static inline float loss_scale_clip(double *sum, float max_norm,
                                                     struct loss_scale *scaled)
{
    double scale = scaled ? (double)scaled->scale : 1;
    bool overflow = scaled && !(*sum <= DBL_MAX);
    if (scaled) {
        *sum = overflow ? 0 : *sum / scale / scale;
        loss_scale_adapt(scaled, overflow);
    }
    if (overflow)
        return -1.0F;
    double norm = sqrt(*sum);
    bool within =
        max_norm <= 0.0F || norm <= (double)max_norm; /* false for NaN, which stays seen */
    return (float)((within ? 1 : (double)max_norm / norm) / scale);
}

/* Steps that were not skipped, of those of an optimizer. */
KERNELS_ANYWHERE static inline uint64_t loss_scale_step(uint64_t step,
                                                        const struct loss_scale *scaled)
{
    return scaled ? step - scaled->skipped : step;
}

#endif
