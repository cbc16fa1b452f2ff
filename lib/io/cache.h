/* cache.h: teacher logits on disk (LMDB), keyed by XXH3-128 of (model fingerprint, token ids).
 *
 * Each put_many is one transaction: a process killed at any moment loses at most the batch in
 * flight and never corrupts the file; several processes may share one cache.
 */
#ifndef MILLET_IO_CACHE_H
#define MILLET_IO_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/hash.h"

struct cache;

struct cache *cache_open(const char *path, struct error *err) MUST_CHECK;
bool cache_close(struct cache *cache, struct error *err) MUST_CHECK;

struct hash128 cache_key(uint64_t model_fingerprint, const int32_t *id, size_t n_ids);
/* The key of a record of which the model counts the n-grams too, from its cache_key(). */
struct hash128 cache_key_grams(struct hash128 key, const int32_t *gram, size_t n_grams);

/* found[i] says whether values[i * n_values …] was filled. An entry of another length is an error.
 */
bool cache_get_many(struct cache *cache, const struct hash128 *key, size_t n, size_t n_values,
                    float *values, bool *found, struct error *err) MUST_CHECK;
/* Entries with take[i] (NULL: all) are stored in one transaction. */
bool cache_put_many(struct cache *cache, const struct hash128 *key, size_t n, size_t n_values,
                    const float *values, const bool *take, struct error *err) MUST_CHECK;

#endif
