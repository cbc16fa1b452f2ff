/* int4.h: rows of numbers in 4 bits each, for tables of embeddings: two codes a byte (the even
 * column in the low half), code = value / scale to the nearest, + 8, and one scale for every
 * INT4_GROUP columns of a row: value = (code - 8) * scale. Codes are 1 to 15, so that zero is exact
 * and both signs reach equally far.
 */
#ifndef MILLET_CORE_INT4_H
#define MILLET_CORE_INT4_H

#include <stddef.h>
#include <stdint.h>

/* 64 columns a scale: 4.5 bits a value in all. */
enum { INT4_GROUP = 64 };

static inline size_t int4_row_bytes(size_t cols)
{
    return cols / 2 + cols % 2;
}
static inline size_t int4_groups(size_t cols)
{
    return cols / INT4_GROUP + (cols % INT4_GROUP > 0);
}

/* Finite values to int4_row_bytes(cols) codes and int4_groups(cols) scales. The scale is the one of
 * a few candidates, the largest magnitude / 7 and less, with the least squared error: it pays to
 * cut the largest value for the sake of the others. A group of zeros, or of values so small that
 * the scale would be subnormal, gets scale 1 and zeros. */
void int4_encode_row(const float *w, size_t cols, uint8_t *codes, float *scale);

/* Columns [column, column + n) of a row. */
void int4_decode(const uint8_t *codes, const float *scale, size_t column, size_t n, float *to);

#endif
