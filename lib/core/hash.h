/* hash.h: XXH3, the one hash of Millet: checksums in streams, fingerprints, cache keys. */
#ifndef MILLET_CORE_HASH_H
#define MILLET_CORE_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hash128 {
    uint64_t high, low;
};

enum { HASH_TEXT_BYTES = 17 }; /* hexadecimal digits and the NUL */

uint64_t hash_bytes(const void *bytes, size_t n);
struct hash128 hash128_bytes(const void *bytes, size_t n);
struct hash128 hash128_seeded(const void *bytes, size_t n, uint64_t seed);

void hash_text(uint64_t hash, char text[HASH_TEXT_BYTES]);
bool hash_parse(const char *text, uint64_t *hash);

/* Hash of bytes that come in pieces; equals hash_bytes() of their concatenation. */
struct hash_stream;
struct hash_stream *hash_stream_open(void); /* NULL: no memory */
void hash_stream_add(struct hash_stream *stream, const void *bytes, size_t n);
/* Eight bytes, little-endian on every machine: a hash of hashes. */
void hash_stream_add_number(struct hash_stream *stream, uint64_t number);
uint64_t hash_stream_value(const struct hash_stream *stream);
void hash_stream_close(struct hash_stream *stream);

#endif
