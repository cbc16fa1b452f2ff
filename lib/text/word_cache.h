/* word_cache.h: ids of words seen lately, one cache per thread. Words repeat (Zipf), so most words
 * of a text cost one look-up: direct-mapped, a later word takes an earlier one's place. */
#ifndef MILLET_TEXT_WORD_CACHE_H
#define MILLET_TEXT_WORD_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "text/token_ids.h"

enum {
    WORD_CACHE_SMALL = 14, /* 2^14 words of 128 bytes: 2 MiB, about the second-level cache */
    WORD_CACHE_LARGE = 16, /* 8 MiB: for words that cost more than a look-up in memory */
    WORD_CACHE_KEY = 63,   /* bytes; longer words are rare and matched each time */
    WORD_CACHE_IDS = 15
};

struct word_cache_entry {
    uint8_t kind, n_bytes, n_ids; /* kind 0: empty */
    char key[WORD_CACHE_KEY];
    int32_t id[WORD_CACHE_IDS];
};

struct word_cache {
    struct word_cache_entry *entry; /* [mask + 1], owned */
    uint64_t mask;
};

static inline bool word_cache_open(struct word_cache *cache, unsigned bits, struct error *err)
{
    cache->mask = ((uint64_t)1 << bits) - 1;
    cache->entry = memory_zeroed((size_t)cache->mask + 1, sizeof *cache->entry, err);
    return cache->entry != NULL;
}

static inline void word_cache_free(struct word_cache *cache)
{
    free(cache->entry);
}

static inline uint64_t word_cache_load(const char *p, size_t n)
{
    uint64_t word = 0;
    memcpy(&word, p, n);
    return word;
}

/* Where a word of at most WORD_CACHE_KEY bytes belongs. */
static inline struct word_cache_entry *word_cache_slot(const struct word_cache *cache,
                                                       const char *p, size_t n)
{
    const uint64_t k = 0x9E3779B97F4A7C15u;
    uint64_t h = n * k;
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        h = (h ^ word_cache_load(p + i, 8)) * k, h ^= h >> 32;
    if (n >= 8)
        h = (h ^ word_cache_load(p + n - 8, 8)) * k;
    else
        for (; i < n; i++)
            h = (h ^ (unsigned char)p[i]) * k;
    h ^= h >> 29;
    return &cache->entry[h >> 7 & cache->mask];
}

/* kind: 1 to 255, of words that are treated differently. */
static inline bool word_cache_holds(const struct word_cache_entry *entry, uint8_t kind,
                                    const char *p, size_t n)
{
    return entry->kind == kind && entry->n_bytes == n && memcmp(entry->key, p, n) == 0;
}

static inline void word_cache_put_ids(const struct word_cache_entry *entry, struct token_ids *ids)
{
    if (!token_ids_reserve(ids, WORD_CACHE_IDS))
        return;
    memcpy(ids->id + ids->n, entry->id, sizeof entry->id); /* all: a fixed size is quicker */
    ids->n += entry->n_ids;
}

/* Keep ids[from, end) as those of the word, if they are few enough. */
static inline void word_cache_keep(struct word_cache_entry *entry, uint8_t kind, const char *p,
                                   size_t n, const struct token_ids *ids, size_t from)
{
    size_t n_ids = ids->n - from;
    if (ids->failed || n_ids > WORD_CACHE_IDS)
        return;
    entry->kind = kind;
    entry->n_bytes = (uint8_t)n;
    entry->n_ids = (uint8_t)n_ids;
    memcpy(entry->key, p, n);
    if (n_ids)
        memcpy(entry->id, ids->id + from, n_ids * sizeof *ids->id);
}

#endif
