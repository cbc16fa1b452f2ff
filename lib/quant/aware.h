/* aware.h: training that takes int8 into account (quantisation-aware, Jacob et al. 2018, with the
 * straight-through estimate of Bengio et al. 2013), as a hook of a training run. Forward and
 * backward pass see every matrix rounded as mquant --to int8 will round it, rotated, by rows; the
 * optimizer changes the weights that are not rounded, with the gradients at the rounded ones. The
 * dev set is scored, and the model written, with the rounded weights, so that int8 loses nothing
 * more of them.
 *
 * Matrices of the encoder and pooler; the tables of words and positions and the activations are not
 * rounded while training: they cost least (mquant.1). The classifier and the table of types are not
 * rounded at all.
 *
 * Memory: the matrices once more. Time: rounding them once a step.
 */
#ifndef MILLET_QUANT_AWARE_H
#define MILLET_QUANT_AWARE_H

#include "core/error.h"
#include "kernels/kernels.h"
#include "nn/trainer.h"

struct aware {
    struct device *dev; /* borrowed */
    float *kept;  /* [params.n] on the device: the weights that learn; NULL before the first step */
    float *one;   /* on the device: 1 */
    bool rounded; /* the parameters are rounded, kept holds what they were */
};

/* The hook for train_options; `aware`, zeroed but for dev, is its context and must outlive the
 * run. */
struct trainer_hook aware_hook(struct aware *aware);
void aware_close(struct aware *aware); /* safe on a zeroed struct */

#endif
