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
    double beta2;  /* of the second moment; 0.999 */
    double scale;  /* gradients are so many times too large; 1 */
    bool skipped;  /* the last step did nothing: scaled gradients overflowed */
    uint64_t step; /* steps done */
    double *sum;   /* device: squared norm of the last step's gradient */
    float *factor; /* device: what it was multiplied by */
};

/* Allocates the moments inside params: twice the weights' memory for the block; for the tables only
 * what is touched. */
bool optimizer_open(struct optimizer *optimizer, struct params *params, double clip,
                    double weight_decay, double head_lr_factor, struct error *err) MUST_CHECK;
void optimizer_close(struct optimizer *optimizer); /* safe on a zeroed struct */

/* One step with the gradients that encoder_backward() left for this batch. With a scale that is not
 * 1 it waits for the device, and does nothing where they are not finite. */
void optimizer_step(struct optimizer *optimizer, const struct batch *batch, double lr);

/* Norm of the last step's gradient before clipping; waits for the device. */
double optimizer_grad_norm(const struct optimizer *optimizer);

#endif
