/* dense.h: products of matrices that change from call to call, as those of training do: nothing is
 * packed beforehand. C [m, n] = start + A B, over all members of the team; an element of C is one
 * sum over k in order, whoever computes it, so that threads do not change the result. */
#ifndef MILLET_KERNELS_CPU_DENSE_H
#define MILLET_KERNELS_CPU_DENSE_H

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/dense_product.h"

struct dense {
    size_t m, n, k;
    struct dense_view a; /* row i of A, element l of k */
    struct dense_view b; /* column j of B, element l of k */
    bool bf16;           /* factors are rounded to it: where there is a dense_bf16_of the set */
    const float *bias;   /* [n] the sums begin with; NULL: none */
    bool add;            /* the sums begin with what C holds; then no bias */
    float *c;
    size_t c_stride;
    enum epilogue epilogue; /* of C into y; where there is none, y is not written */
    float *y;
    size_t y_stride;
};

/* alone: by the caller, without the team. Failures are kept for sync. */
void dense_run(struct cpu *cpu, const struct dense *dense, bool alone);

#endif
