/* reference_round.c: weights as int8 holds them. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "kernels/reference/reference.h"
#include "kernels/rotate.h"

void reference_round_rows(struct device *dev, const float *from, size_t rows, size_t cols,
                          float *to)
{
    (void)dev;
    for (size_t r = 0; r < rows; r++, from += cols, to += cols) {
        float largest = 0;
        for (size_t c = 0; c < cols; c++)
            largest = fmaxf(largest, fabsf(from[c]));
        float scale = largest / 127;
        for (size_t c = 0; c < cols; c++)
            to[c] = scale < FLT_MIN ? 0 : (float)lrintf(from[c] / scale) * scale;
    }
}

void reference_rotate_rows(struct device *dev, const float *from, size_t rows, size_t cols,
                           float *to)
{
    (void)dev;
    memmove(to, from, rows * cols * sizeof *to);
    for (size_t r = 0; r < rows; r++)
        rotate_row(to + r * cols, cols);
}
