/* turn.h: a square of VEC_N × VEC_N floats turned over in registers. Zipping row i with row i +
 * VEC_N/2 into rows 2i and 2i + 1 rotates the bits of (row, column) by one; log2(VEC_N) rotations
 * exchange row and column.
 */
#ifndef MILLET_KERNELS_CPU_ISA_TURN_H
#define MILLET_KERNELS_CPU_ISA_TURN_H

#include "kernels/cpu/isa/vec.h"

#if defined(__AVX512F__)
#define TURN_ZIP_LOW  0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define TURN_ZIP_HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif defined(__AVX2__)
#define TURN_ZIP_LOW  0, 8, 1, 9, 2, 10, 3, 11
#define TURN_ZIP_HIGH 4, 12, 5, 13, 6, 14, 7, 15
#else
#define TURN_ZIP_LOW  0, 4, 1, 5
#define TURN_ZIP_HIGH 2, 6, 3, 7
#endif

static inline __attribute__((always_inline)) void turn_square(vec row[VEC_N])
{
    VEC_UNROLL
    for (size_t round = 1; round < VEC_N; round *= 2) {
        vec next[VEC_N];
        VEC_UNROLL
        for (size_t i = 0; i < VEC_N / 2; i++) {
            next[2 * i] = __builtin_shufflevector(row[i], row[i + VEC_N / 2], TURN_ZIP_LOW);
            next[2 * i + 1] = __builtin_shufflevector(row[i], row[i + VEC_N / 2], TURN_ZIP_HIGH);
        }
        VEC_UNROLL
        for (size_t i = 0; i < VEC_N; i++)
            row[i] = next[i];
    }
}

#endif
