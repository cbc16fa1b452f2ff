/* records_draw.h: a random sample of a record stream, without replacement. A stream sorted by
 * label, length or date is no trap then. The same records, seed and options give the same sample.
 */
#ifndef MILLET_IO_RECORDS_DRAW_H
#define MILLET_IO_RECORDS_DRAW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "io/records.h"

/* Indices of records in the order drawn, [*n], free(): at most `samples` of all, or with `labelled`
 * of those that have a label; the first k are themselves a sample of k. NULL where there is none to
 * draw from, or more than 2^32 - 1. Memory: 4 bytes a record of the stream. */
uint32_t *records_draw(const struct records_set *set, bool labelled, size_t samples, uint64_t seed,
                       size_t *n, struct error *err) MUST_CHECK;

/* Indices into the order of the stream: what reads them goes through its parts once. */
void records_draw_sort(uint32_t *index, size_t n);

#endif
