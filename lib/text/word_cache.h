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
    WORD_CACHE_SMALL = 15, /* 2^15 words of 64 bytes: 2 MiB, about the second-level cache */
    WORD_CACHE_LARGE = 17, /* 8 MiB: for words that cost more than a look-up in memory */
    WORD_CACHE_KEY = 56,   /* bytes; longer words are rare and matched each time */
    WORD_CACHE_ROOM = 60,
    WORD_CACHE_IDS = WORD_CACHE_ROOM / 4
};

/* A cache line: ids from the room's begin on, the word at its end. Words of which both do not fit
 * are not kept. */
struct word_cache_entry {
    uint8_t kind, n_bytes, n_ids, unused; /* kind 0: empty */
    char room[WORD_CACHE_ROOM];
};

struct word_cache {
    struct word_cache_entry *entry; /* [mask + 1], on lines of the memory */
    uint64_t mask;
    void *memory; /* owned */
};

static inline bool word_cache_open(struct word_cache *cache, unsigned bits, struct error *err)
{
    const size_t line = sizeof *cache->entry;
    cache->mask = ((uint64_t)1 << bits) - 1;
    cache->memory = memory_zeroed((size_t)cache->mask + 2, line, err);
    size_t aside = cache->memory ? (line - (uintptr_t)cache->memory % line) % line : 0;
    cache->entry = (struct word_cache_entry *)(void *)((char *)cache->memory + aside);
    return cache->memory != NULL;
}

static inline void word_cache_free(struct word_cache *cache)
{
    free(cache->memory);
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
    return entry->kind == kind && entry->n_bytes == n &&
           memcmp(entry->room + WORD_CACHE_ROOM - n, p, n) == 0;
}

static inline void word_cache_put_ids(const struct word_cache_entry *entry, struct token_ids *ids)
{
    if (!token_ids_reserve(ids, WORD_CACHE_IDS))
        return;
    memcpy(ids->id + ids->n, entry->room, WORD_CACHE_ROOM); /* all: a fixed size is quicker */
    ids->n += entry->n_ids;
}

/* Keep ids[from, end) as those of the word, if they are few enough. */
static inline void word_cache_keep(struct word_cache_entry *entry, uint8_t kind, const char *p,
                                   size_t n, const struct token_ids *ids, size_t from)
{
    size_t n_ids = ids->n - from;
    if (ids->failed || n_ids > WORD_CACHE_IDS || n_ids * sizeof *ids->id + n > WORD_CACHE_ROOM)
        return;
    entry->kind = kind;
    entry->n_bytes = (uint8_t)n;
    entry->n_ids = (uint8_t)n_ids;
    memcpy(entry->room + WORD_CACHE_ROOM - n, p, n);
    if (n_ids)
        memcpy(entry->room, ids->id + from, n_ids * sizeof *ids->id);
}

#endif
