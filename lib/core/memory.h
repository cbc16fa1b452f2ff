/* memory.h: allocation with checked sizes. All memory is released with free(). */
#ifndef MILLET_CORE_MEMORY_H
#define MILLET_CORE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

/* product = a * b; false (product untouched) when it does not fit. */
bool memory_multiply(size_t a, size_t b, size_t *product) MUST_CHECK;

/* n elements of `size` bytes, uninitialised / zeroed; n = 0 gives a valid pointer. NULL and `err`
 * on failure; the text says how much was asked for. Zeroed memory is not touched: pages of large
 * arrays come on first use. */
void *memory_array(size_t n, size_t size, struct error *err) MUST_CHECK;
void *memory_zeroed(size_t n, size_t size, struct error *err) MUST_CHECK;

/* Aligned to 64 bytes (a cache line, one AVX-512 register). */
void *memory_aligned(size_t n, size_t size, struct error *err) MUST_CHECK;

/* Make room for `need` elements in *array (capacity *capacity, in elements), growing by half or
 * more. On failure *array and *capacity stay valid. */
bool memory_grow(void *array, size_t *capacity, size_t need, size_t size,
                 struct error *err) MUST_CHECK;

/* Copies; the result is NUL-terminated beyond the n bytes. */
char *memory_copy(const void *bytes, size_t n, struct error *err) MUST_CHECK;
char *memory_format(struct error *err, const char *format, ...)
    __attribute__((format(printf, 2, 3))) MUST_CHECK;

/* Freed memory goes back to the system, where the C library can: after much was needed for a
 * moment. */
void memory_trim(void);

/* Largest resident set of this process so far, bytes. */
size_t memory_peak(void);

/* What this process can still take: what the kernel calls available, and swap, within the limit of
 * its control group. SIZE_MAX: unknown. */
size_t memory_available(void);

#endif
