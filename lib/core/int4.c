/* int4.c: see int4.h. */
#include "core/int4.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { LARGEST = 7, ZERO = 8, CANDIDATES = 8 };

/* The code of a value, without + ZERO; larger ones are cut. */
static int code_of(float w, float scale)
{
    float q = w / scale;
    return q >= LARGEST ? LARGEST : q <= -LARGEST ? -LARGEST : (int)lrintf(q);
}

static double error_of(const float *w, size_t n, float scale)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double d = (double)w[i] - (double)code_of(w[i], scale) * (double)scale;
        sum += d * d;
    }
    return sum;
}

static float best_scale(const float *w, size_t n)
{
    float largest = 0, best;
    for (size_t i = 0; i < n; i++)
        largest = fmaxf(largest, fabsf(w[i]));
    best = largest / LARGEST;
    if (best < FLT_MIN)
        return 0;
    double least = error_of(w, n, best);
    for (int k = 1; k < CANDIDATES; k++) {
        float scale = largest / LARGEST * (1 - 0.05F * (float)k);
        double error = scale < FLT_MIN ? INFINITY : error_of(w, n, scale);
        if (error < least) {
            least = error;
            best = scale;
        }
    }
    return best;
}

void int4_encode_row(const float *w, size_t cols, uint8_t *codes, float *scale)
{
    memset(codes, ZERO | ZERO << 4, int4_row_bytes(cols));
    for (size_t begin = 0; begin < cols; begin += INT4_GROUP, scale++) {
        size_t n = cols - begin < INT4_GROUP ? cols - begin : INT4_GROUP;
        float s = best_scale(w + begin, n);
        *scale = s > 0 ? s : 1;
        for (size_t i = begin; s > 0 && i < begin + n; i++) {
            unsigned code = (unsigned)(code_of(w[i], s) + ZERO), shift = i % 2 ? 4 : 0;
            codes[i / 2] = (uint8_t)((codes[i / 2] & (0xF0u >> shift)) | code << shift);
        }
    }
}

void int4_decode(const uint8_t *codes, const float *scale, size_t column, size_t n, float *to)
{
    for (size_t i = 0; i < n; i++) {
        size_t c = column + i;
        int code = codes[c / 2] >> (c % 2 ? 4 : 0) & 15;
        to[i] = (float)(code - ZERO) * scale[c / INT4_GROUP];
    }
}
