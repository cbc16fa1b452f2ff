/* finish.h: what is done to the sums of a panel: dequantise, bias, epilogue; shared by the float
 * and the int8 product. */
#ifndef MILLET_KERNELS_CPU_ISA_FINISH_H
#define MILLET_KERNELS_CPU_ISA_FINISH_H

#include "kernels/cpu/isa/vec.h"
#include "kernels/cpu/packed_product.h"

#define FINISH_INLINE static inline __attribute__((always_inline))

FINISH_INLINE vec finish_apply(enum epilogue epilogue, vec v)
{
    switch (epilogue) {
    case EPILOGUE_GELU:
        return vec_gelu(v);
    case EPILOGUE_GELU_TANH:
        return vec_gelu_tanh(v);
    case EPILOGUE_RELU:
        return vec_max(vec_set(0.0f), v);
    case EPILOGUE_TANH:
        return vec_tanh(v);
    default:
        return v;
    }
}

/* sum [rows, stride] of `cols` columns that begin at `column` of the output; floats, or int32 when
 * is_int8. */
FINISH_INLINE void finish_rows(const struct product *p, const void *sum, size_t stride,
                               size_t column, size_t cols, bool is_int8, enum epilogue epilogue)
{
    for (size_t r = 0; r < p->rows; r++) {
        const float *from = (const float *)sum + r * stride;
        float *pre = p->pre ? p->pre + r * p->pre_stride + column : NULL;
        float *y = p->y + r * p->y_stride + column;
        vec x_scale = vec_set(is_int8 ? p->x_scale[r] : 0.0f);
        for (size_t j = 0; j < cols; j += VEC_N) {
            vec v = vec_load(from + j); /* sum, bias and scales are filled up to whole panels */
            if (is_int8) {
                vec_uint surplus; /* both sums are modulo 2^32, their difference is not */
                memcpy(&surplus, p->surplus + column + j, sizeof surplus);
                v = __builtin_convertvector((vec_int)((vec_uint)v - surplus), vec);
                v = v * x_scale * vec_load(p->w_scale + column + j);
            }
            v += vec_load(p->bias + column + j);
            if (j + VEC_N <= cols) {
                if (pre)
                    vec_store(pre + j, v);
                vec_store(y + j, finish_apply(epilogue, v));
            } else {
                if (pre)
                    vec_store_n(pre + j, v, cols - j);
                vec_store_n(y + j, finish_apply(epilogue, v), cols - j);
            }
        }
    }
}

/* n_panels panels of width `panel` from panel number `first` on. */
FINISH_INLINE void finish(const struct product *p, const void *sum, size_t stride, size_t first,
                          size_t n_panels, size_t panel, bool is_int8)
{
    size_t column = first * panel, cols = n_panels * panel;
    if (cols > p->out - column)
        cols = p->out - column;
    switch (p->epilogue) {
    case EPILOGUE_NONE:
        finish_rows(p, sum, stride, column, cols, is_int8, EPILOGUE_NONE);
        break;
    case EPILOGUE_GELU:
        finish_rows(p, sum, stride, column, cols, is_int8, EPILOGUE_GELU);
        break;
    case EPILOGUE_GELU_TANH:
        finish_rows(p, sum, stride, column, cols, is_int8, EPILOGUE_GELU_TANH);
        break;
    case EPILOGUE_RELU:
        finish_rows(p, sum, stride, column, cols, is_int8, EPILOGUE_RELU);
        break;
    case EPILOGUE_TANH:
        finish_rows(p, sum, stride, column, cols, is_int8, EPILOGUE_TANH);
        break;
    }
}

#endif
