/* finish.h: what is done to the sums of a panel: bias, epilogue; shared by the float and the int8
 * product. */
#ifndef MILLET_KERNELS_CPU_ISA_FINISH_H
#define MILLET_KERNELS_CPU_ISA_FINISH_H

#include "kernels/cpu/isa/vec_part.h"
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

/* y = epilogue(sum + bias) for `rows` rows from number `row` on and `cols` columns from number
 * `column` on; sum [rows, stride] begins at the first of them. biased: the bias is in `sum`. */
FINISH_INLINE void finish_rows(const struct product *p, const float *sum, size_t stride, size_t row,
                               size_t rows, size_t column, size_t cols, bool biased,
                               enum epilogue epilogue)
{
    for (size_t r = 0; r < rows; r++) {
        const float *from = sum + r * stride;
        float *pre = p->pre ? p->pre + (row + r) * p->pre_stride + column : NULL;
        float *y = p->y + (row + r) * p->y_stride + column;
        for (size_t j = 0; j < cols; j += VEC_N) {
            size_t left = cols - j;
            vec v = biased ? vec_load_part(from + j, left) : vec_load(from + j);
            if (!biased) /* sum and bias are filled up to whole panels */
                v += vec_load(p->bias + column + j);
            if (pre)
                vec_store_part(pre + j, v, left);
            vec_store_part(y + j, finish_apply(epilogue, v), left);
        }
    }
}

FINISH_INLINE void finish(const struct product *p, const float *sum, size_t stride, size_t row,
                          size_t rows, size_t column, size_t cols, bool biased)
{
    switch (p->epilogue) {
    case EPILOGUE_NONE:
        finish_rows(p, sum, stride, row, rows, column, cols, biased, EPILOGUE_NONE);
        break;
    case EPILOGUE_GELU:
        finish_rows(p, sum, stride, row, rows, column, cols, biased, EPILOGUE_GELU);
        break;
    case EPILOGUE_GELU_TANH:
        finish_rows(p, sum, stride, row, rows, column, cols, biased, EPILOGUE_GELU_TANH);
        break;
    case EPILOGUE_RELU:
        finish_rows(p, sum, stride, row, rows, column, cols, biased, EPILOGUE_RELU);
        break;
    case EPILOGUE_TANH:
        finish_rows(p, sum, stride, row, rows, column, cols, biased, EPILOGUE_TANH);
        break;
    }
}

/* The columns of n_panels panels of width `panel` from panel number `first` on, as far as W has
 * them. */
FINISH_INLINE size_t finish_columns(const struct product *p, size_t first, size_t n_panels,
                                    size_t panel)
{
    size_t left = p->out - first * panel, cols = n_panels * panel;
    return cols < left ? cols : left;
}

#endif
