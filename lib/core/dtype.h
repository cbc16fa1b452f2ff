/* dtype.h: element types of tensors in files, their names in safetensors, sizes and conversions to
 * float. */
#ifndef MILLET_CORE_DTYPE_H
#define MILLET_CORE_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum dtype {
    DTYPE_F64,
    DTYPE_F32,
    DTYPE_F16,
    DTYPE_BF16,
    DTYPE_I64,
    DTYPE_I32,
    DTYPE_I16,
    DTYPE_I8,
    DTYPE_U8,
    DTYPE_BOOL,
    DTYPE_COUNT
};

size_t dtype_bytes(enum dtype type);
const char *dtype_name(enum dtype type);                  /* "F32" … as safetensors spells it */
bool dtype_from_name(const char *name, enum dtype *type); /* false: unknown */
bool dtype_is_float(enum dtype type);                     /* F64 F32 F16 BF16 */

/* IEEE half and bfloat16, round to nearest even; NaN stays NaN, too large becomes infinity. */
float dtype_half_to_float(uint16_t half);
uint16_t dtype_float_to_half(float value);
float dtype_bf16_to_float(uint16_t bf16);
uint16_t dtype_float_to_bf16(float value);

/* n elements of `type` at `src` (any alignment) to float at `dst`, and back (rounding; integers
 * saturate). */
void dtype_to_float(enum dtype type, const void *src, size_t n, float *dst);
void dtype_from_float(enum dtype type, const float *src, size_t n, void *dst);

#endif
