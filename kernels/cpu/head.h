/* head.h: attention of one head of one sequence, one version per instruction set (isa/head.c). */
#ifndef MILLET_KERNELS_CPU_HEAD_H
#define MILLET_KERNELS_CPU_HEAD_H

#include "kernels/cpu/isa.h"
#include "kernels/dropout.h"

/* Pointers are to the first query (q, out, lse, dout, dq) or key (k, v, dk, dv) of the sequence and
 * the first column of the head. */
struct head {
    size_t n_queries, n_keys, size;
    size_t q_stride, kv_stride, out_stride, lse_stride;
    float scale;
    struct dropout_key key;
    uint32_t dropout_first, dropout_step; /* index of (query 0, key 0); from query to query */
    const float *q, *k, *v;
    float *out, *lse; /* lse may be NULL in the forward pass */
    const float *dout;
    float *dq, *dk, *dv;
};

struct head_kernel {
    /* Floats of scratch for sequences of up to `longest` tokens: linear in `longest`. */
    size_t (*forward_scratch)(size_t longest, size_t size);
    size_t (*backward_scratch)(size_t longest, size_t size);
    /* scratch: 64-byte aligned */
    void (*forward)(const struct head *head, float *scratch);
    void (*backward)(const struct head *head, float *scratch);
};

ISA_TABLE(struct head_kernel, head_kernel);

#endif
