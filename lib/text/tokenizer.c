/* tokenizer.c: see tokenizer.h.
 *
 * A text is cut into raw words (runs of code points that are neither white space nor set apart nor
 * the beginning of an added token) by a table of one entry per code point, filled on first use. A
 * raw word is looked up in a direct-mapped cache; only on a miss is it normalised and matched.
 * Words repeat (Zipf), so most of the work is the table walk and one look-up a word.
 */
#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "core/hash.h"
#include "core/memory.h"
#include "text/bert_table.h"
#include "text/tokenizer_files.h"
#include "text/utf8.h"
#include "text/wordpiece.h"

enum {
    CACHE_BITS = 14, /* 16 384 words of 96 bytes: 1.5 MiB, about the second-level cache */
    CACHE_KEY = 61,  /* bytes; longer words are rare and matched each time */
    CACHE_IDS = 8
};

struct cached {
    uint8_t used, n_bytes, n_ids;
    char key[CACHE_KEY];
    int32_t id[CACHE_IDS];
};

struct tokenizer {
    struct tokenizer_spec spec;
    struct wordpiece *trie;
    uint32_t *first; /* [n_added] first code points of the added tokens */
    uint64_t fingerprint;
};

struct tokenizer_scratch {
    const struct tokenizer *tokenizer;
    struct bert_table table; /* added tokens' first code points are marked */
    struct cached *cache;    /* [1 << CACHE_BITS] */
    uint32_t *word;          /* [max_word + BERT_MAPPED_MAX] code points of the word at hand */
    int32_t *id;
    size_t n_ids, capacity;
    bool truncated;
    bool failed;       /* no memory; err has the text */
    struct error *err; /* of the call at hand */
};

static int by_id(const void *a, const void *b)
{
    const struct tokenizer_added *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

/* Of everything that decides ids; model_max_length does not. */
static bool fingerprint_spec(const struct tokenizer_spec *spec, uint64_t *fingerprint,
                             struct error *err)
{
    struct hash_stream *hash = hash_stream_open();
    if (!hash)
        return error_set(err, "out of memory");
    const uint8_t flag[] = {spec->normal.clean_text, spec->normal.chinese,
                            spec->normal.strip_accents, spec->normal.lowercase};
    const uint64_t number[] = {spec->max_word,      (uint64_t)spec->unknown, spec->n_before,
                               spec->n_after,       spec->n_pieces,          spec->n_added,
                               strlen(spec->prefix)};
    hash_stream_add(hash, "wordpiece 1", 11);
    hash_stream_add(hash, flag, sizeof flag);
    hash_stream_add(hash, number, sizeof number);
    hash_stream_add(hash, spec->prefix, strlen(spec->prefix));
    hash_stream_add(hash, spec->before, spec->n_before * sizeof *spec->before);
    hash_stream_add(hash, spec->after, spec->n_after * sizeof *spec->after);
    for (size_t i = 0; i < spec->n_pieces; i++) {
        hash_stream_add(hash, &spec->piece[i].n, sizeof spec->piece[i].n);
        hash_stream_add(hash, spec->arena + spec->piece[i].offset, spec->piece[i].n);
    }
    for (size_t i = 0; i < spec->n_added; i++) {
        const int32_t pair[] = {spec->added[i].id, spec->added[i].special};
        hash_stream_add(hash, pair, sizeof pair);
        hash_stream_add(hash, spec->added[i].text, strlen(spec->added[i].text) + 1);
    }
    *fingerprint = hash_stream_value(hash);
    hash_stream_close(hash);
    return true;
}

static bool read_spec(struct tokenizer_spec *spec, struct bundle *bundle, struct error *err)
{
    if (!tokenizer_spec_read(spec, bundle, err))
        return false;
    if (spec->n_added)
        qsort(spec->added, spec->n_added, sizeof *spec->added, by_id);
    return true;
}

bool tokenizer_fingerprint_of(struct bundle *bundle, uint64_t *fingerprint, struct error *err)
{
    struct tokenizer_spec spec = {0};
    if (!read_spec(&spec, bundle, err))
        return false;
    bool ok = fingerprint_spec(&spec, fingerprint, err);
    tokenizer_spec_free(&spec);
    return ok;
}

struct tokenizer *tokenizer_open(struct bundle *bundle, struct error *err)
{
    struct tokenizer *t = memory_zeroed(1, sizeof *t, err);
    if (!t)
        return NULL;
    if (!read_spec(&t->spec, bundle, err)) {
        free(t);
        return NULL;
    }
    const struct pieces pieces = {t->spec.arena, t->spec.piece, t->spec.n_pieces};
    t->trie = wordpiece_open(pieces, t->spec.prefix, err);
    t->first = memory_array(t->spec.n_added, sizeof *t->first, err);
    for (size_t i = 0; t->first && i < t->spec.n_added; i++) {
        const unsigned char *text = (const unsigned char *)t->spec.added[i].text;
        t->first[i] = utf8_next(&text);
    }
    if (!t->trie || !t->first || !fingerprint_spec(&t->spec, &t->fingerprint, err)) {
        tokenizer_close(t);
        return NULL;
    }
    return t;
}

void tokenizer_close(struct tokenizer *t)
{
    if (!t)
        return;
    wordpiece_close(t->trie);
    free(t->first);
    tokenizer_spec_free(&t->spec);
    free(t);
}

size_t tokenizer_size(const struct tokenizer *t)
{
    return t->spec.n_pieces;
}

uint64_t tokenizer_fingerprint(const struct tokenizer *t)
{
    return t->fingerprint;
}

size_t tokenizer_max_tokens(const struct tokenizer *t)
{
    return t->spec.max_tokens;
}

size_t tokenizer_special_count(const struct tokenizer *t)
{
    return t->spec.n_before + t->spec.n_after;
}

struct tokenizer_scratch *tokenizer_scratch_open(const struct tokenizer *tokenizer,
                                                 struct error *err)
{
    struct tokenizer_scratch *s = memory_zeroed(1, sizeof *s, err);
    if (!s)
        return NULL;
    s->tokenizer = tokenizer;
    s->table.options = tokenizer->spec.normal;
    s->table.marked = tokenizer->first;
    s->table.n_marked = tokenizer->spec.n_added;
    s->cache = memory_zeroed((size_t)1 << CACHE_BITS, sizeof *s->cache, err);
    s->word = memory_array(tokenizer->spec.max_word + BERT_MAPPED_MAX, sizeof *s->word, err);
    if (!s->cache || !s->word) {
        tokenizer_scratch_close(s);
        return NULL;
    }
    return s;
}

void tokenizer_scratch_close(struct tokenizer_scratch *s)
{
    if (!s)
        return;
    bert_table_free(&s->table);
    free(s->cache);
    free(s->word);
    free(s->id);
    free(s);
}

/* ---- words ---- */

static bool reserve(struct tokenizer_scratch *s, size_t more)
{
    if (s->capacity - s->n_ids >= more)
        return true;
    if (memory_grow(&s->id, &s->capacity, s->n_ids + more, sizeof *s->id, s->err))
        return true;
    s->failed = true;
    return false;
}

static size_t normalise(struct tokenizer_scratch *s, const unsigned char *p, size_t n)
{
    return bert_table_word(&s->table, p, p + n, s->word, s->tokenizer->spec.max_word);
}

/* Ids of a word of n normalised code points, appended. */
static void put_word(struct tokenizer_scratch *s, const uint32_t *code, size_t n)
{
    const struct tokenizer *t = s->tokenizer;
    if (!n || !reserve(s, n))
        return;
    size_t found = n > t->spec.max_word ? 0 : wordpiece_match(t->trie, code, n, s->id + s->n_ids);
    if (!found) {
        s->id[s->n_ids] = t->spec.unknown;
        found = 1;
    }
    s->n_ids += found;
}

static inline uint64_t load(const unsigned char *p, size_t n)
{
    uint64_t word = 0;
    memcpy(&word, p, n);
    return word;
}

static inline uint64_t hash_word(const unsigned char *p, size_t n)
{
    const uint64_t k = 0x9E3779B97F4A7C15u;
    uint64_t h = n * k;
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        h = (h ^ load(p + i, 8)) * k, h ^= h >> 32;
    if (n >= 8)
        h = (h ^ load(p + n - 8, 8)) * k;
    else
        for (; i < n; i++)
            h = (h ^ p[i]) * k;
    return h ^ h >> 29;
}

static void raw_word(struct tokenizer_scratch *s, const unsigned char *p, size_t n)
{
    if (n > CACHE_KEY) {
        put_word(s, s->word, normalise(s, p, n));
        return;
    }
    struct cached *c = &s->cache[hash_word(p, n) >> 7 & ((1u << CACHE_BITS) - 1)];
    if (c->used && c->n_bytes == n && memcmp(c->key, p, n) == 0) {
        if (!reserve(s, CACHE_IDS))
            return;
        memcpy(s->id + s->n_ids, c->id, sizeof c->id); /* all of them: a fixed size is quicker */
        s->n_ids += c->n_ids;
        return;
    }
    size_t before = s->n_ids;
    put_word(s, s->word, normalise(s, p, n));
    size_t n_ids = s->n_ids - before;
    if (s->failed || n_ids > CACHE_IDS)
        return;
    c->used = 1;
    c->n_bytes = (uint8_t)n;
    c->n_ids = (uint8_t)n_ids;
    memcpy(c->key, p, n);
    if (n_ids)
        memcpy(c->id, s->id + before, n_ids * sizeof *c->id);
}

/* The longest added token at p, as Hugging Face matches them (leftmost, longest). */
static const struct tokenizer_added *added_at(const struct tokenizer_spec *spec,
                                              const unsigned char *p, const unsigned char *end)
{
    const struct tokenizer_added *best = NULL;
    for (size_t i = 0; i < spec->n_added; i++) {
        const struct tokenizer_added *a = &spec->added[i];
        if ((size_t)(end - p) >= a->n && memcmp(p, a->text, a->n) == 0 && (!best || a->n > best->n))
            best = a;
    }
    return best;
}

/* ---- texts ---- */

static void encode_text(struct tokenizer_scratch *s, const unsigned char *p,
                        const unsigned char *end, size_t limit)
{
    const struct tokenizer_spec *spec = &s->tokenizer->spec;
    while (p < end && s->n_ids <= limit && !s->failed) {
        const struct tokenizer_added *added = NULL;
        const unsigned char *begin = p, *next = p;
        uint32_t entry = 0;
        for (; p < end; p = next) {
            entry = bert_table_entry(&s->table, utf8_next(&next));
            if (!(entry & BERT_STOPS))
                continue;
            if (entry & BERT_IS_MARKED)
                added = added_at(spec, p, end);
            if (added || entry & (BERT_IS_SPACE | BERT_IS_ALONE))
                break;
        }
        if (p > begin)
            raw_word(s, begin, (size_t)(p - begin));
        if (p == end)
            break;
        if (added && reserve(s, 1))
            s->id[s->n_ids++] = added->id;
        else if (!added && entry & BERT_IS_ALONE)
            put_word(s, &(uint32_t){entry & BERT_CODE}, 1);
        p = added ? p + added->n : next;
    }
}

bool tokenizer_encode(const struct tokenizer *t, struct tokenizer_scratch *s, const char *text,
                      size_t n, size_t max_tokens, const int32_t **ids, size_t *n_ids,
                      struct error *err)
{
    const struct tokenizer_spec *spec = &t->spec;
    size_t special = spec->n_before + spec->n_after;
    if (max_tokens && max_tokens < special)
        return error_set(err, "%zu tokens a text cannot hold the %zu special tokens", max_tokens,
                         special);
    size_t limit = max_tokens ? max_tokens - spec->n_after : SIZE_MAX;
    s->n_ids = 0;
    s->failed = false;
    s->err = s->table.err = err;
    s->table.failed = false;
    if (reserve(s, special)) {
        memcpy(s->id, spec->before, spec->n_before * sizeof *s->id);
        s->n_ids = spec->n_before;
        encode_text(s, (const unsigned char *)text, (const unsigned char *)text + n, limit);
    }
    s->truncated = s->n_ids > limit;
    if (s->truncated)
        s->n_ids = limit;
    if (s->failed || s->table.failed || !reserve(s, spec->n_after))
        return false;
    memcpy(s->id + s->n_ids, spec->after, spec->n_after * sizeof *s->id);
    s->n_ids += spec->n_after;
    *ids = s->id;
    *n_ids = s->n_ids;
    return true;
}

bool tokenizer_truncated(const struct tokenizer_scratch *s)
{
    return s->truncated;
}

static bool is_special(const struct tokenizer_spec *spec, int32_t id)
{
    for (size_t i = 0; i < spec->n_added; i++)
        if (spec->added[i].id == id)
            return spec->added[i].special;
    return false;
}

char *tokenizer_decode(const struct tokenizer *t, const int32_t *ids, size_t n_ids,
                       struct error *err)
{
    const struct tokenizer_spec *spec = &t->spec;
    size_t n_prefix = strlen(spec->prefix), n = 0, capacity = 0;
    char *out = NULL;
    bool first = true;
    if (!memory_grow(&out, &capacity, 1, 1, err))
        return NULL;
    for (size_t i = 0; i < n_ids; i++) {
        if (ids[i] < 0 || (size_t)ids[i] >= spec->n_pieces) {
            free(out);
            error_set(err, "token id %d is not below %zu, the size of the vocabulary", (int)ids[i],
                      spec->n_pieces);
            return NULL;
        }
        if (is_special(spec, ids[i]))
            continue;
        const char *piece = spec->arena + spec->piece[ids[i]].offset;
        size_t n_piece = spec->piece[ids[i]].n;
        bool joins = !first && n_piece >= n_prefix && memcmp(piece, spec->prefix, n_prefix) == 0;
        size_t skip = joins ? n_prefix : 0;
        if (!memory_grow(&out, &capacity, n + n_piece + 2, 1, err)) {
            free(out);
            return NULL;
        }
        if (!first && !joins)
            out[n++] = ' ';
        memcpy(out + n, piece + skip, n_piece - skip);
        n += n_piece - skip;
        first = false;
    }
    out[n] = 0;
    return out;
}
