/* word_cache.h: ids of words seen lately, one cache per thread. Words repeat (Zipf), so most words
 * of a text cost one look-up. A word has a set of two places: a new one gets the second, and the
 * first when it comes again, so words that come once do not push out those that come often. */
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
    WORD_CACHE_SMALL = 16, /* 2^16 words of 64 bytes: 4 MiB; a set comes while words are sought */
    WORD_CACHE_LARGE = 17, /* 8 MiB: for words that cost more than a look-up in memory */
    WORD_CACHE_KEY = 56,   /* bytes; longer words are rare and matched each time */
    WORD_CACHE_WAYS = 2,
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
    struct word_cache_entry *entry; /* sets of WORD_CACHE_WAYS, each on a pair of lines */
    unsigned shift;
    void *memory; /* owned */
};

/* 2^bits words, bits > 1. */
static inline bool word_cache_open(struct word_cache *cache, unsigned bits, struct error *err)
{
    const size_t set = WORD_CACHE_WAYS * sizeof *cache->entry;
    cache->shift = 64 - bits + 1;
    cache->memory = memory_zeroed(((size_t)1 << bits) / WORD_CACHE_WAYS + 1, set, err);
    size_t aside = cache->memory ? -(uintptr_t)cache->memory % set : 0;
    cache->entry = (struct word_cache_entry *)(void *)((char *)cache->memory + aside);
    return cache->memory != NULL;
}

static inline void word_cache_free(struct word_cache *cache)
{
    free(cache->memory);
}

static inline uint64_t word_cache_load(const char *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

/* The set of a word of at most WORD_CACHE_KEY bytes. A product's high bits depend on all bits of
 * what was multiplied, its low ones do not: the set's number is the highest. */
static inline struct word_cache_entry *word_cache_set(const struct word_cache *cache, const char *p,
                                                      size_t n)
{
    const uint64_t k = 0x9E3779B97F4A7C15u;
    uint64_t h = n * k;
    size_t i = 0;
    for (; i + 8 < n; i += 8)
        h = (h ^ word_cache_load(p + i)) * k, h ^= h >> 32;
    if (n >= 8)
        h = (h ^ word_cache_load(p + n - 8)) * k;
    else
        for (; i < n; i++)
            h = (h ^ (unsigned char)p[i]) * k;
    return &cache->entry[WORD_CACHE_WAYS * (h >> cache->shift)];
}

static inline void word_cache_prefetch(const struct word_cache_entry *set)
{
    __builtin_prefetch(&set[0], 1);
    __builtin_prefetch(&set[1], 1);
}

/* memcmp() == 0 without a call. */
static inline bool word_cache_same(const char *a, const char *b, size_t n)
{
    uint64_t differs = 0;
    size_t i = 0;
    for (; i + 8 < n; i += 8)
        differs |= word_cache_load(a + i) ^ word_cache_load(b + i);
    if (n >= 8)
        return !(differs | (word_cache_load(a + n - 8) ^ word_cache_load(b + n - 8)));
    for (; i < n; i++)
        differs |= (uint64_t)(a[i] ^ b[i]);
    return !differs;
}

static inline bool word_cache_is(const struct word_cache_entry *entry, uint8_t kind, const char *p,
                                 size_t n)
{
    return entry->kind == kind && entry->n_bytes == n &&
           word_cache_same(entry->room + WORD_CACHE_ROOM - n, p, n);
}

static inline void word_cache_put_ids(const struct word_cache_entry *entry, struct token_ids *ids)
{
    if (!token_ids_reserve(ids, WORD_CACHE_IDS))
        return;
    memcpy(ids->id + ids->n, entry->room, WORD_CACHE_ROOM); /* all: a fixed size is quicker */
    ids->n += entry->n_ids;
}

/* Append the ids of a word that its set holds; false: it does not. kind: 1 to 255, of words that
 * are treated differently. */
static inline bool word_cache_take(struct word_cache_entry *set, uint8_t kind, const char *p,
                                   size_t n, struct token_ids *ids)
{
    if (word_cache_is(&set[0], kind, p, n)) {
        word_cache_put_ids(&set[0], ids);
        return true;
    }
    if (!word_cache_is(&set[1], kind, p, n))
        return false;
    word_cache_put_ids(&set[1], ids);
    struct word_cache_entry second = set[1];
    set[1] = set[0];
    set[0] = second;
    return true;
}

/* Keep ids[from, end) as those of the word, if they are few enough. */
static inline void word_cache_keep(struct word_cache_entry *set, uint8_t kind, const char *p,
                                   size_t n, const struct token_ids *ids, size_t from)
{
    size_t n_ids = ids->n - from;
    if (ids->failed || n_ids > WORD_CACHE_IDS || n_ids * sizeof *ids->id + n > WORD_CACHE_ROOM)
        return;
    struct word_cache_entry *entry = &set[set->kind ? 1 : 0];
    entry->kind = kind;
    entry->n_bytes = (uint8_t)n;
    entry->n_ids = (uint8_t)n_ids;
    memcpy(entry->room + WORD_CACHE_ROOM - n, p, n);
    if (n_ids)
        memcpy(entry->room, ids->id + from, n_ids * sizeof *ids->id);
}

#endif
