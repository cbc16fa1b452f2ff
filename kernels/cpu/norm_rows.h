/* norm_rows.h: residual sum, dropout and layer normalisation of a run of rows, one version per
 * instruction set (isa/norm_rows.c). Arguments as of add_norm and add_norm_backward in kernels.h.
 */
#ifndef MILLET_KERNELS_CPU_NORM_ROWS_H
#define MILLET_KERNELS_CPU_NORM_ROWS_H

#include "kernels/cpu/isa.h"
#include "kernels/dropout.h"

struct norm_forward {
    enum norm norm;
    const float *x, *residual, *gain, *bias;
    struct dropout_key key;
    float eps;
    size_t cols;
    float *sum, *stats, *y;
};

struct norm_backward {
    enum norm norm;
    const float *sum, *stats, *gain, *dy;
    struct dropout_key key;
    size_t cols;
    float *dz, *dx;
};

struct norm_rows {
    void (*forward)(const struct norm_forward *norm, size_t begin, size_t end);
    /* dgain and dbias [cols] are added to. */
    void (*backward)(const struct norm_backward *norm, size_t begin, size_t end, float *dgain,
                     float *dbias);
    /* x *= dropout factors of elements begin … end - 1 of the whole array x */
    void (*dropout)(const struct dropout_key *key, float *x, size_t begin, size_t end);
    void (*multiply_add)(const float *x, const float *y, size_t n, float *sum); /* sum += x * y */
};

ISA_TABLE(struct norm_rows, norm_rows);

#endif
