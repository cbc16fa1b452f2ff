#include "core/hash.h"

#include <stdio.h>
#include <string.h>
#include <xxhash.h>

uint64_t hash_bytes(const void *bytes, size_t n)
{
    return XXH3_64bits(bytes, n);
}

struct hash128 hash128_bytes(const void *bytes, size_t n)
{
    XXH128_hash_t hash = XXH3_128bits(bytes, n);
    return (struct hash128){.high = hash.high64, .low = hash.low64};
}

struct hash128 hash128_seeded(const void *bytes, size_t n, uint64_t seed)
{
    XXH128_hash_t hash = XXH3_128bits_withSeed(bytes, n, seed);
    return (struct hash128){.high = hash.high64, .low = hash.low64};
}

void hash_text(uint64_t hash, char text[HASH_TEXT_BYTES])
{
    snprintf(text, HASH_TEXT_BYTES, "%016llx", (unsigned long long)hash);
}

bool hash_parse(const char *text, uint64_t *hash)
{
    uint64_t value = 0;
    for (size_t i = 0; i + 1 < HASH_TEXT_BYTES; i++) {
        static const char digits[] = "0123456789abcdef";
        const char *digit = text[i] ? strchr(digits, text[i]) : NULL;
        if (!digit)
            return false;
        value = value << 4 | (uint64_t)(digit - digits);
    }
    if (text[HASH_TEXT_BYTES - 1] != '\0')
        return false;
    *hash = value;
    return true;
}

/* The struct is never defined: its pointers are those of the library's state. */
struct hash_stream *hash_stream_open(void)
{
    XXH3_state_t *state = XXH3_createState();
    if (state)
        XXH3_64bits_reset(state);
    return (struct hash_stream *)state;
}

void hash_stream_add(struct hash_stream *stream, const void *bytes, size_t n)
{
    if (n > 0)
        XXH3_64bits_update((XXH3_state_t *)stream, bytes, n);
}

void hash_stream_add_number(struct hash_stream *stream, uint64_t number)
{
    uint8_t bytes[8];
    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(number >> (8 * i));
    hash_stream_add(stream, bytes, sizeof bytes);
}

uint64_t hash_stream_value(const struct hash_stream *stream)
{
    return XXH3_64bits_digest((const XXH3_state_t *)stream);
}

void hash_stream_close(struct hash_stream *stream)
{
    XXH3_freeState((XXH3_state_t *)stream);
}
