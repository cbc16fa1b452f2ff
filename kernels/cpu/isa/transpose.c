/* transpose.c: a matrix turned over, a square of registers at a time. */
#include "kernels/cpu/transpose.h"

#include "kernels/cpu/isa/turn.h"

static void whole(const float *x, size_t x_stride, float *y, size_t y_stride)
{
    vec v[VEC_N];
    VEC_UNROLL
    for (size_t i = 0; i < VEC_N; i++)
        v[i] = vec_load(x + i * x_stride);
    turn_square(v);
    VEC_UNROLL
    for (size_t i = 0; i < VEC_N; i++)
        vec_store(y + i * y_stride, v[i]);
}

/* The same with fewer than VEC_N columns. */
static void partial(const float *x, size_t x_stride, size_t cols, float *y, size_t y_stride)
{
    vec v[VEC_N];
    for (size_t i = 0; i < VEC_N; i++)
        v[i] = vec_load_n(x + i * x_stride, cols);
    turn_square(v);
    for (size_t i = 0; i < cols; i++)
        vec_store(y + i * y_stride, v[i]);
}

static void run(const float *x, size_t x_stride, size_t rows, size_t cols, float *y,
                size_t y_stride)
{
    for (size_t r = 0; r < rows; r += VEC_N)
        for (size_t c = 0; c < cols; c += VEC_N) {
            const float *from = x + r * x_stride + c;
            float *to = y + c * y_stride + r;
            if (cols - c >= VEC_N)
                whole(from, x_stride, to, y_stride);
            else
                partial(from, x_stride, cols - c, to, y_stride);
        }
}

const struct transpose ISA_SYMBOL(transpose) = {.run = run};
