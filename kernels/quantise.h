/* quantise.h: the one definition of how a row of activations becomes int8, shared by every device:
 * symmetric, dynamic, one scale a row. The integers, and so the sums of integer products, are the
 * same on all.
 *
 *     largest = max |x|    scale = largest / 127    q = round to nearest even (x * (127 / largest))
 *
 * in single precision, each operation rounded. A row whose largest value is below QUANTISE_SMALLEST
 * is all zero with scale 0; a row with a NaN or infinity is all zero with scale NaN, so that what
 * follows from it is seen to be wrong.
 *
 * The linear operation then gives  y = ((float)sum(q * w) * scale) * weight_scale + bias,  again
 * each operation rounded.
 *
 * With a scale found beforehand (linear_scale), instead of the row's own:
 *
 *     q = round to nearest even (x * (1 / scale), cut to -127 … 127)
 *
 * again zero and NaN for a row with a NaN or infinity.
 *
 * Weights have one scale a row, too, made once (lib/quant/format.h): scale = largest / 127, code =
 * round to nearest even (w / scale). quantise_weights() gives what such a row is worth, for
 * training that takes the rounding into account.
 */
#ifndef MILLET_KERNELS_QUANTISE_H
#define MILLET_KERNELS_QUANTISE_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifndef KERNELS_ANYWHERE /* kernels/cuda defines it: its kernels call these functions, too */
#define KERNELS_ANYWHERE
#endif

/* 127 / largest must stay finite. */
#define QUANTISE_SMALLEST 1e-30F

/* 127 * 128 * columns must fit an int32 sum: our own weights stop at -127, foreign ones may hold
 * -128. */
enum { QUANTISE_MAX_COLUMNS = 132000 };

/* For the largest |x| of a row: the scale, and the factor that x is multiplied by (0: all q are 0).
 */
KERNELS_ANYWHERE static inline float quantise_scale(float largest, float *factor)
{
    *factor = 0.0F;
    if (!(largest <= 3.0e38F)) /* NaN and infinity too */
        return NAN;
    if (largest < QUANTISE_SMALLEST)
        return 0.0F;
    *factor = 127.0F / largest;
    return largest / 127.0F;
}

KERNELS_ANYWHERE static inline int8_t quantise_value(float x, float factor)
{
    return factor > 0.0F ? (int8_t)lrintf(x * factor) : (int8_t)0;
}

/* With a scale that was found beforehand what is larger is cut. */
KERNELS_ANYWHERE static inline int8_t quantise_cut(float x, float factor)
{
    float value = x * factor;
    value = value < 127.0F ? value : 127.0F;
    return (int8_t)lrintf(value > -127.0F ? value : -127.0F);
}

/* One row, plainly. */
static inline float quantise_row(const float *x, size_t n, int8_t *q)
{
    float largest = 0.0F, factor;
    for (size_t i = 0; i < n; i++) {
        float size = fabsf(x[i]);
        largest = size <= largest ? largest : size; /* a NaN stays: size <= NaN is false, */
        if (isnan(size))                            /* and so is NaN <= largest */
            break;
    }
    float scale = quantise_scale(largest, &factor);
    for (size_t i = 0; i < n; i++)
        q[i] = quantise_value(x[i], factor);
    return scale;
}

/* The same with a scale that was found beforehand. Returns it, or NaN. */
static inline float quantise_row_fixed(const float *x, size_t n, float scale, int8_t *q)
{
    float factor = 1.0F / scale;
    bool finite = true;
    for (size_t i = 0; i < n; i++) {
        q[i] = quantise_cut(x[i], factor);
        finite = finite && fabsf(x[i]) <= 3.0e38F;
    }
    for (size_t i = 0; !finite && i < n; i++)
        q[i] = 0;
    return finite ? scale : NAN;
}

/* A row of finite weights rounded as int8 holds them. Adding and taking off 1.5 * 2^23 rounds as
 * lrintf() does, |w / scale| being less than 2^22, and is quick. A row whose scale would be
 * subnormal is all zero. */
static inline void quantise_weights(const float *w, size_t n, float *rounded)
{
    const float shift = 12582912.0F;
    float largest = 0.0F;
    for (size_t i = 0; i < n; i++) {
        float size = fabsf(w[i]);
        largest = size > largest ? size : largest;
    }
    float scale = largest / 127.0F;
    bool none = scale < 1.17549435e-38F;
    for (size_t i = 0; i < n; i++)
        rounded[i] = none ? 0.0F : (w[i] / scale + shift - shift) * scale;
}

#endif
