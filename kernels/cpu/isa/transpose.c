/* transpose.c: log2(width) rounds of perfect shuffles turn a square of registers over: a round
 * interleaves register i with register i + width/2 into registers 2i and 2i + 1. */
#include "kernels/cpu/transpose.h"

#include "kernels/cpu/isa/vec.h"

#if defined(__AVX512F__)
#define FIRST_HALVES 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define LAST_HALVES  8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif defined(__AVX2__)
#define FIRST_HALVES 0, 8, 1, 9, 2, 10, 3, 11
#define LAST_HALVES  4, 12, 5, 13, 6, 14, 7, 15
#else
#define FIRST_HALVES 0, 4, 1, 5
#define LAST_HALVES  2, 6, 3, 7
#endif

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

static inline void turn(vec v[VEC_N])
{
    UNROLL
    for (size_t round = 1; round < VEC_N; round *= 2) {
        vec to[VEC_N];
        UNROLL
        for (size_t i = 0; i < VEC_N / 2; i++) {
            to[2 * i] = __builtin_shufflevector(v[i], v[i + VEC_N / 2], FIRST_HALVES);
            to[2 * i + 1] = __builtin_shufflevector(v[i], v[i + VEC_N / 2], LAST_HALVES);
        }
        UNROLL
        for (size_t i = 0; i < VEC_N; i++)
            v[i] = to[i];
    }
}

static void whole(const float *x, size_t x_stride, float *y, size_t y_stride)
{
    vec v[VEC_N];
    UNROLL
    for (size_t i = 0; i < VEC_N; i++)
        v[i] = vec_load(x + i * x_stride);
    turn(v);
    UNROLL
    for (size_t i = 0; i < VEC_N; i++)
        vec_store(y + i * y_stride, v[i]);
}

/* The same with fewer than VEC_N columns. */
static void partial(const float *x, size_t x_stride, size_t cols, float *y, size_t y_stride)
{
    vec v[VEC_N];
    for (size_t i = 0; i < VEC_N; i++)
        v[i] = vec_load_n(x + i * x_stride, cols);
    turn(v);
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
