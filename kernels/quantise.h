/* quantise.h: the one definition of how a row of activations becomes int8, shared by every device:
 * dynamic, 255 steps between the row's own lowest and highest value, zero among the codes, so that
 * rows that hardly go below zero (GELU's) waste none. The integers, and so the sums of integer
 * products, are the same on all.
 *
 *     low = min(0, min x)    high = max(0, max x)    half = high / 2 - low / 2
 *     scale = half / 127.5   factor = 127.5 / half   zero = round to nearest even (-low * factor)
 *     code = round to nearest even (x * factor), at most 255 - zero
 *
 * in single precision, each operation rounded; halves, for no row to overflow. Codes begin at -zero,
 * rounding being symmetric; above 255 - zero there would be one where both ends are half codes. What
 * is multiplied is the code; a device that wants unsigned bytes holds code + zero. A row whose
 * largest |x| is below QUANTISE_SMALLEST is all zero with scale 0; a row with a NaN or infinity is
 * all zero with scale NaN, so that what follows from it is seen to be wrong.
 *
 * The linear operation then gives  y = ((float)sum(code * w) * scale) * weight_scale + bias,  again
 * each operation rounded.
 *
 * With a scale found beforehand (linear_scale), instead of the row's own:
 *
 *     code = round to nearest even (x * (1 / scale), cut to -127 … 127)
 *
 * again zero and NaN for a row with a NaN or infinity.
 *
 * Weights have one scale a row, too, made once (lib/quant/format.h): scale = largest / 127, code =
 * round to nearest even (w / scale). quantise_weights() gives what such a row is worth, for
 * training that takes the rounding into account.
 */
#ifndef MILLET_KERNELS_QUANTISE_H
#define MILLET_KERNELS_QUANTISE_H

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifndef KERNELS_ANYWHERE /* kernels/cuda defines it: its kernels call these functions, too */
#define KERNELS_ANYWHERE
#endif

/* The factor must stay finite. */
#define QUANTISE_SMALLEST 1e-30F

enum {
    QUANTISE_CODES = 255, /* the highest code + zero */
    /* 255 * 128 * columns must fit an int32 sum: our own weights stop at -127, foreign ones may
     * hold -128. */
    QUANTISE_MAX_COLUMNS = 65536,
    /* code + this is an unsigned byte where the scale was found beforehand */
    QUANTISE_FIXED_ZERO = 128
};

/* How a row becomes codes. */
struct quantise {
    float scale;  /* of a step */
    float factor; /* 0: all codes are 0 */
    float most;   /* the highest code */
    int32_t zero; /* the lowest code is -zero */
};

/* For the lowest and the highest of a row's values and 0; a NaN or infinity is either. */
KERNELS_ANYWHERE static inline struct quantise quantise_range(float low, float high)
{
    struct quantise how = {0.0F, 0.0F, 0.0F, 0};
    if (!(low >= -FLT_MAX && high <= FLT_MAX)) {
        how.scale = NAN;
        return how;
    }
    if (-low < QUANTISE_SMALLEST && high < QUANTISE_SMALLEST)
        return how;
    float half = high * 0.5F - low * 0.5F;
    how.scale = half / 127.5F;
    how.factor = 127.5F / half;
    how.zero = (int32_t)rintf(-low * how.factor); /* as lrintf, without a call */
    how.most = (float)(QUANTISE_CODES - how.zero);
    return how;
}

KERNELS_ANYWHERE static inline int16_t quantise_value(float x, const struct quantise *how)
{
    float value = x * how->factor;
    if (!(how->factor > 0.0F))
        return 0;
    return (int16_t)lrintf(value < how->most ? value : how->most);
}

/* With a scale that was found beforehand what is larger is cut. */
KERNELS_ANYWHERE static inline int16_t quantise_cut(float x, float factor)
{
    float value = x * factor;
    value = value < 127.0F ? value : 127.0F;
    return (int16_t)lrintf(value > -127.0F ? value : -127.0F);
}

/* One row, plainly. */
static inline float quantise_row(const float *x, size_t n, int16_t *code)
{
    float low = 0.0F, high = 0.0F;
    for (size_t i = 0; i < n; i++) {
        if (isnan(x[i])) {
            high = NAN;
            break;
        }
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    struct quantise how = quantise_range(low, high);
    for (size_t i = 0; i < n; i++)
        code[i] = quantise_value(x[i], &how);
    return how.scale;
}

/* The same with a scale that was found beforehand. Returns it, or NaN. */
static inline float quantise_row_fixed(const float *x, size_t n, float scale, int16_t *code)
{
    float factor = 1.0F / scale;
    bool finite = true;
    for (size_t i = 0; i < n && finite; i++)
        finite = fabsf(x[i]) <= FLT_MAX;
    for (size_t i = 0; i < n; i++)
        code[i] = finite ? quantise_cut(x[i], factor) : (int16_t)0;
    return finite ? scale : NAN;
}

/* Of a row of finite weights; 0, where it would be subnormal: the row is all zero. */
static inline float quantise_weight_scale(const float *w, size_t n)
{
    float largest = 0.0F;
    for (size_t i = 0; i < n; i++) {
        float size = fabsf(w[i]);
        largest = size > largest ? size : largest;
    }
    float scale = largest / 127.0F;
    return scale < FLT_MIN ? 0.0F : scale;
}

/* A row of finite weights rounded as int8 holds them. Adding and taking off 1.5 * 2^23 rounds as
 * lrintf() does, |w / scale| being less than 2^22, and is quick. A row whose scale would be
 * subnormal is all zero. */
static inline void quantise_weights(const float *w, size_t n, float *rounded)
{
    const float shift = 12582912.0F, scale = quantise_weight_scale(w, n);
    for (size_t i = 0; i < n; i++)
        rounded[i] = !(scale > 0.0F) ? 0.0F : (w[i] / scale + shift - shift) * scale;
}

#endif
