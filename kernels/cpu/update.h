/* update.h: the optimizer's inner loops, one version per instruction set (isa/update.c). */
#ifndef MILLET_KERNELS_CPU_UPDATE_H
#define MILLET_KERNELS_CPU_UPDATE_H

#include <stddef.h>

#include "kernels/cpu/isa.h"

/* struct adamw and the clip factor, worked out once per call. */
struct update_step {
    float factor; /* of gradients */
    float beta1, beta2;
    float rate;            /* lr / (1 - beta1^step) */
    float root_correction; /* 1 / sqrt(1 - beta2^step) */
    float eps, decay;      /* decay = 1 - lr * weight_decay */
};

struct update {
    void (*adamw)(const struct update_step *step, size_t n, const float *grad, float *m, float *v,
                  float *w);
    double (*sum_squares)(const float *x, size_t n);
};

ISA_TABLE(struct update, update);

#endif
