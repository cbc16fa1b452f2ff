#include "core/dtype.h"

#include <math.h>
#include <string.h>

static const struct {
    const char *name;
    size_t bytes;
    bool is_float;
} info[DTYPE_COUNT] = {
    [DTYPE_F64] = {"F64", 8, true},  [DTYPE_F32] = {"F32", 4, true},
    [DTYPE_F16] = {"F16", 2, true},  [DTYPE_BF16] = {"BF16", 2, true},
    [DTYPE_I64] = {"I64", 8, false}, [DTYPE_I32] = {"I32", 4, false},
    [DTYPE_I16] = {"I16", 2, false}, [DTYPE_I8] = {"I8", 1, false},
    [DTYPE_U8] = {"U8", 1, false},   [DTYPE_BOOL] = {"BOOL", 1, false},
};

size_t dtype_bytes(enum dtype type)
{
    return info[type].bytes;
}

const char *dtype_name(enum dtype type)
{
    return info[type].name;
}

bool dtype_from_name(const char *name, enum dtype *type)
{
    for (int i = 0; i < DTYPE_COUNT; i++) {
        if (strcmp(info[i].name, name) == 0) {
            *type = (enum dtype)i;
            return true;
        }
    }
    return false;
}

bool dtype_is_float(enum dtype type)
{
    return info[type].is_float;
}

static uint32_t float_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float bits_float(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

float dtype_half_to_float(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    uint32_t exponent = (half >> 10) & 0x1Fu, fraction = half & 0x3FFu;
    if (exponent == 0x1F)
        return bits_float(sign | 0x7F800000u | fraction << 13);
    if (exponent == 0) /* zero or subnormal: fraction * 2^-24, exact */
        return bits_float(sign | float_bits((float)fraction * 0x1p-24f));
    return bits_float(sign | (exponent + 112) << 23 | fraction << 13);
}

uint16_t dtype_float_to_half(float value)
{
    uint32_t bits = float_bits(value), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7FFFFFFFu;
    uint32_t half;
    if (magnitude > 0x7F800000u) {
        half = 0x7E00u | (magnitude >> 13 & 0x3FFu); /* NaN, made quiet, payload kept */
    } else if (magnitude >= 0x477FF000u) {
        half = 0x7C00u; /* 65520 and more round to infinity */
    } else if (magnitude >= 0x38800000u) {
        uint32_t odd = magnitude >> 13 & 1;
        half = (magnitude - 0x38000000u + 0xFFFu + odd) >> 13;
    } else {
        /* Subnormal half: adding 0.5 puts the unit of the fraction (2^-24) at the last bit of the
         * sum, so the processor's own addition rounds to nearest even. */
        half = float_bits(bits_float(magnitude) + 0.5f) - 0x3F000000u;
    }
    return (uint16_t)(sign | half);
}

float dtype_bf16_to_float(uint16_t bf16)
{
    return bits_float((uint32_t)bf16 << 16);
}

uint16_t dtype_float_to_bf16(float value)
{
    uint32_t bits = float_bits(value);
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u)
        return (uint16_t)(bits >> 16 |
                          0x40u); /* quiet NaN: the kept bits alone could read as infinity */
    return (uint16_t)((bits + 0x7FFFu + (bits >> 16 & 1)) >> 16);
}

#define CONVERT(type, expression)                                                                  \
    for (size_t i = 0; i < n; i++) {                                                               \
        type x;                                                                                    \
        memcpy(&x, (const char *)src + i * sizeof x, sizeof x);                                    \
        dst[i] = (expression);                                                                     \
    }                                                                                              \
    break

void dtype_to_float(enum dtype type, const void *src, size_t n, float *dst)
{
    switch (type) {
    case DTYPE_F64:
        CONVERT(double, (float)x);
    case DTYPE_F32:
        if (n > 0)
            memcpy(dst, src, n * sizeof *dst);
        break;
    case DTYPE_F16:
        CONVERT(uint16_t, dtype_half_to_float(x));
    case DTYPE_BF16:
        CONVERT(uint16_t, dtype_bf16_to_float(x));
    case DTYPE_I64:
        CONVERT(int64_t, (float)x);
    case DTYPE_I32:
        CONVERT(int32_t, (float)x);
    case DTYPE_I16:
        CONVERT(int16_t, (float)x);
    case DTYPE_I8:
        CONVERT(int8_t, (float)x);
    case DTYPE_U8:
        CONVERT(uint8_t, (float)x);
    case DTYPE_BOOL:
        CONVERT(uint8_t, x ? 1.0f : 0.0f);
    case DTYPE_COUNT:
        break;
    }
}

/* Nearest integer (ties to even) in [min, max]; NaN is 0. The bounds are doubles: max of 64 bits
 * rounds up to 2^63, which the caller's >= turns into the largest integer. */
static int64_t saturate(float value, double min, double max, int64_t lowest, int64_t highest)
{
    double rounded = nearbyint((double)value);
    if (!(rounded > min))
        return isnan(value) ? 0 : lowest;
    return rounded >= max ? highest : (int64_t)rounded;
}

#define STORE(type, expression)                                                                    \
    for (size_t i = 0; i < n; i++) {                                                               \
        type x = (type)(expression);                                                               \
        memcpy((char *)dst + i * sizeof x, &x, sizeof x);                                          \
    }                                                                                              \
    break
#define STORE_INTEGER(type, min, max)                                                              \
    STORE(type, saturate(src[i], (double)(min), (double)(max), (min), (max)))

void dtype_from_float(enum dtype type, const float *src, size_t n, void *dst)
{
    switch (type) {
    case DTYPE_F64:
        STORE(double, src[i]);
    case DTYPE_F32:
        if (n > 0)
            memcpy(dst, src, n * sizeof *src);
        break;
    case DTYPE_F16:
        STORE(uint16_t, dtype_float_to_half(src[i]));
    case DTYPE_BF16:
        STORE(uint16_t, dtype_float_to_bf16(src[i]));
    case DTYPE_I64:
        STORE_INTEGER(int64_t, INT64_MIN, INT64_MAX);
    case DTYPE_I32:
        STORE_INTEGER(int32_t, INT32_MIN, INT32_MAX);
    case DTYPE_I16:
        STORE_INTEGER(int16_t, INT16_MIN, INT16_MAX);
    case DTYPE_I8:
        STORE_INTEGER(int8_t, INT8_MIN, INT8_MAX);
    case DTYPE_U8:
        STORE_INTEGER(uint8_t, 0, UINT8_MAX);
    case DTYPE_BOOL:
        STORE(uint8_t, src[i] != 0);
    case DTYPE_COUNT:
        break;
    }
}
