/* optimizer.h: AdamW with decoupled weight decay on matrices (Loshchilov and Hutter 2019) and
 * clipping of the global gradient norm, over struct params: whole groups of the block, and only the
 * touched rows of the tables. All on the device.
 */
#ifndef MILLET_NN_OPTIMIZER_H
#define MILLET_NN_OPTIMIZER_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"
#include "nn/batch.h"
#include "nn/params.h"

struct optimizer {
    struct params *params; /* borrowed */
    double clip;           /* 0: off */
    double weight_decay;
    double head_lr_factor;
    double beta2; /* of the second moment; 0.999 */
    /* Device: what gradients are multiplied by, and the steps that did nothing because they
     * overflowed; it adapts. NULL: gradients are not scaled. */
    struct loss_scale *scaled;
    uint64_t step; /* steps done, or skipped */
    double *sum;   /* device: squared norm of the last step's gradient; 0: it was skipped */
    float *factor; /* device: what it was multiplied by */
};

/* Allocates the moments inside params: twice the weights' memory for the block and the position
 * table; of the word table only for the rows that params_expect() names. */
bool optimizer_open(struct optimizer *optimizer, struct params *params, double clip,
                    double weight_decay, double head_lr_factor, struct error *err) MUST_CHECK;
void optimizer_close(struct optimizer *optimizer); /* safe on a zeroed struct */

/* From now on gradients are scaled, and a step whose gradients are not finite does nothing. */
bool optimizer_scale(struct optimizer *optimizer, const struct loss_scale *start,
                     struct error *err) MUST_CHECK;
/* How the scale stands; waits for the device. Only where gradients are scaled. */
struct loss_scale optimizer_scale_now(const struct optimizer *optimizer);

/* One step with the gradients that encoder_backward() left for this batch. */
void optimizer_step(struct optimizer *optimizer, const struct batch *batch, double lr);

/* Norm of the last step's gradient before clipping; waits for the device. */
double optimizer_grad_norm(const struct optimizer *optimizer);

#endif
