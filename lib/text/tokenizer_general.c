/* tokenizer_general.c: see tokenizer_general.h.
 *
 * Why cutting before a space is right. A space ' ' is a joint when the character before it is no
 * white space and does not bind what follows it into its grapheme cluster, and the character after
 * it extends no cluster. If the normaliser is local, the normalised parts put together are the
 * normalised text, as long as no part but the last is empty or ends in a space (normaliser.h). If
 * the pre-tokenizer drops white space, any number of spaces will do; if it begins a word at a space
 * (Metaspace) or at the last of them (byte level), again no part may end in white space. A part
 * that breaks this is joined with the next one and not cached, so what is cached keeps it. Added
 * tokens matched in normalised text must not reach over a space (added_tokens_are_local).
 */
#include "text/tokenizer_general.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "text/codepoint.h"
#include "text/unigram.h"
#include "text/utf8.h"
#include "text/word_cache.h"
#include "text/wordpiece.h"

enum { CACHE_PART = 1, CACHE_HEAD, CACHE_WORD }; /* a part; one that begins the text; a word */

struct tokenizer_general {
    const struct tokenizer_spec *spec;
    struct wordpiece *wordpiece;
    struct unigram *unigram;
    struct bpe *bpe;
    struct added_tokens *raw, *normalised; /* NULL: none */
    bool by_parts;
    bool joint_needs_end; /* a part must not be empty or end in white space */
};

struct tokenizer_general_scratch {
    struct word_cache cache;
    struct normaliser_scratch normal;
    struct pretokens words;
    struct unigram_scratch *unigram;
    struct bpe_scratch *bpe;
    uint32_t *code; /* WordPiece: [max_word] */
};

static bool open_model(struct tokenizer_general *g, struct error *err)
{
    const struct tokenizer_spec *spec = g->spec;
    switch (spec->kind) {
    case TOKENIZER_WORDPIECE:
        g->wordpiece = wordpiece_open(&spec->trie, spec->prefix, err);
        return g->wordpiece != NULL;
    case TOKENIZER_UNIGRAM: {
        struct unigram_options options = {spec->unknown, spec->byte_fallback};
        g->unigram = unigram_open(&spec->trie, spec->score, spec->n_slots, &options, err);
        return g->unigram != NULL;
    }
    case TOKENIZER_BPE: {
        struct pieces pieces = {spec->arena, spec->piece, spec->n_slots}; /* no added tokens */
        struct bpe_options options = {spec->unknown, spec->fuse_unknown, spec->byte_fallback,
                                      spec->ignore_merges};
        g->bpe = bpe_open(pieces, spec->merge, spec->n_merges, &options, err);
        return g->bpe != NULL;
    }
    }
    return false;
}

struct tokenizer_general *tokenizer_general_open(const struct tokenizer_spec *spec,
                                                 struct error *err)
{
    struct tokenizer_general *g = memory_zeroed(1, sizeof *g, err);
    if (!g)
        return NULL;
    g->spec = spec;
    bool ok = open_model(g, err);
    g->raw = ok ? added_tokens_open(spec->added, spec->n_added, false, err) : NULL;
    g->normalised = ok ? added_tokens_open(spec->added, spec->n_added, true, err) : NULL;
    if (!ok || err->set) {
        tokenizer_general_close(g);
        return NULL;
    }
    enum pretokenizer_joint joint = pretokenizer_joint(spec->pretokenizer);
    g->by_parts = joint != JOINT_NONE && normaliser_is_local(spec->normaliser) &&
                  added_tokens_are_local(g->normalised);
    g->joint_needs_end = joint == JOINT_SPACE;
    return g;
}

void tokenizer_general_close(struct tokenizer_general *g)
{
    if (!g)
        return;
    wordpiece_close(g->wordpiece);
    unigram_close(g->unigram);
    bpe_close(g->bpe);
    added_tokens_close(g->raw);
    added_tokens_close(g->normalised);
    free(g);
}

struct tokenizer_general_scratch *tokenizer_general_scratch_open(const struct tokenizer_general *g,
                                                                 struct error *err)
{
    struct tokenizer_general_scratch *s = memory_zeroed(1, sizeof *s, err);
    if (!s)
        return NULL;
    s->code = memory_array(g->spec->max_word, sizeof *s->code, err);
    if (!s->code || !word_cache_open(&s->cache, WORD_CACHE_LARGE, err) ||
        (g->unigram && !(s->unigram = unigram_scratch_open(err))) ||
        (g->bpe && !(s->bpe = bpe_scratch_open(err)))) {
        tokenizer_general_scratch_close(s);
        return NULL;
    }
    return s;
}

void tokenizer_general_scratch_close(struct tokenizer_general_scratch *s)
{
    if (!s)
        return;
    word_cache_free(&s->cache);
    normaliser_scratch_free(&s->normal);
    pretokens_free(&s->words);
    unigram_scratch_close(s->unigram);
    bpe_scratch_close(s->bpe);
    free(s->code);
    free(s);
}

/* ---- words ---- */

static size_t match_wordpiece(const struct tokenizer_general *g,
                              struct tokenizer_general_scratch *s, const char *text, size_t n,
                              int32_t *id)
{
    const unsigned char *p = (const unsigned char *)text, *end = p + n;
    size_t codes = 0, found = 0;
    while (p < end && codes < g->spec->max_word)
        s->code[codes++] = utf8_next(&p);
    if (p == end)
        found = wordpiece_match(g->wordpiece, s->code, codes, id);
    if (!found)
        id[found++] = g->spec->unknown;
    return found;
}

static void match(const struct tokenizer_general *g, struct tokenizer_general_scratch *s,
                  const char *text, size_t n, struct token_ids *ids)
{
    size_t found = 0;
    if (!token_ids_reserve(ids, n))
        return;
    int32_t *id = ids->id + ids->n;
    if (g->unigram)
        ids->failed |= !unigram_match(g->unigram, s->unigram, text, n, id, &found, ids->err);
    else if (g->bpe)
        ids->failed |= !bpe_match(g->bpe, s->bpe, text, n, id, &found, ids->err);
    else
        found = match_wordpiece(g, s, text, n, id);
    ids->n += found;
}

static void match_cached(const struct tokenizer_general *g, struct tokenizer_general_scratch *s,
                         const char *text, size_t n, struct token_ids *ids)
{
    if (n > WORD_CACHE_KEY) {
        match(g, s, text, n, ids);
        return;
    }
    struct word_cache_entry *set = word_cache_set(&s->cache, text, n);
    if (word_cache_take(set, CACHE_WORD, text, n, ids))
        return;
    size_t before = ids->n;
    match(g, s, text, n, ids);
    word_cache_keep(set, CACHE_WORD, text, n, ids, before);
}

/* A normalised text without added tokens. */
static void put_words(const struct tokenizer_general *g, struct tokenizer_general_scratch *s,
                      const char *text, size_t n, bool head, struct token_ids *ids)
{
    if (!pretokenizer_run(g->spec->pretokenizer, text, n, head, &s->words, ids->err)) {
        ids->failed = true;
        return;
    }
    for (size_t i = 0; i < s->words.n_words && ids->n <= ids->limit && !ids->failed; i++) {
        const char *word = s->words.text + s->words.word[i].begin;
        if (g->by_parts)
            match(g, s, word, s->words.word[i].n, ids);
        else
            match_cached(g, s, word, s->words.word[i].n, ids);
    }
}

/* A normalised text; added tokens are matched in it. */
static void put_normalised(const struct tokenizer_general *g, struct tokenizer_general_scratch *s,
                           const char *text, size_t n, bool head, struct token_ids *ids)
{
    struct added_search search = {.text = text, .n = n};
    bool more = true;
    while (more && ids->n <= ids->limit && !ids->failed) {
        size_t begin, stop;
        int32_t id;
        more = added_tokens_next(g->normalised, &search, &begin, &stop, &id);
        if (stop > begin)
            put_words(g, s, text + begin, stop - begin, head && begin == 0, ids);
        if (more)
            token_ids_add(ids, id);
    }
}

/* ---- parts ---- */

static bool ends_in_space(const char *text, size_t n)
{
    const unsigned char *p = (const unsigned char *)text + n;
    do
        p--;
    while ((*p & 0xC0) == 0x80);
    return codepoint_is_space(utf8_next(&p));
}

static bool is_joint(const unsigned char *text, size_t n, size_t at)
{
    const unsigned char *before = text + at - 1, *after = text + at + 1;
    if (*before < 0x80) {
        if (codepoint_is_space(*before))
            return false;
    } else {
        while ((*before & 0xC0) == 0x80)
            before--;
        uint32_t code = utf8_next(&before);
        if (codepoint_is_space(code) || codepoint_prepends(code))
            return false;
    }
    return at + 1 == n || *after < 0x80 || !codepoint_extends(utf8_next(&after));
}

/* The first joint behind `from` (the text's end when there is none). */
static size_t next_joint(const char *text, size_t n, size_t from)
{
    for (size_t at = from + 1; at < n; at++) {
        const char *space = memchr(text + at, ' ', n - at);
        if (!space)
            break;
        at = (size_t)(space - text);
        if (is_joint((const unsigned char *)text, n, at))
            return at;
    }
    return n;
}

/* Ids of the part [begin, *end) of a text, which grows until the cut behind it is right: to twice
 * its size each time, as a text may be normalised to nothing but spaces all along. */
static void put_part(const struct tokenizer_general *g, struct tokenizer_general_scratch *s,
                     const char *text, size_t n, size_t begin, size_t *end, bool head,
                     struct token_ids *ids)
{
    const char *out, *part = text + begin;
    size_t n_out, before = ids->n, first_end = *end;
    bool kept;
    for (;;) {
        if (!normaliser_run(g->spec->normaliser, &s->normal, part, *end - begin, &out, &n_out,
                            &kept, ids->err)) {
            ids->failed = true;
            return;
        }
        if (*end == n || !g->joint_needs_end || (n_out && !ends_in_space(out, n_out)))
            break;
        *end = next_joint(text, n, *end + (*end - begin));
    }
    put_normalised(g, s, out, n_out, head && kept, ids);
    size_t length = *end - begin;
    /* The text's last part may lack what a cut behind it needs. */
    if (*end == first_end && length <= WORD_CACHE_KEY && ids->n <= ids->limit &&
        (!g->joint_needs_end || (n_out && !ends_in_space(out, n_out))))
        word_cache_keep(word_cache_set(&s->cache, part, length), head ? CACHE_HEAD : CACHE_PART,
                        part, length, ids, before);
}

static void put_parts(const struct tokenizer_general *g, struct tokenizer_general_scratch *s,
                      const char *text, size_t n, bool head, struct token_ids *ids)
{
    for (size_t at = 0, end; at < n && ids->n <= ids->limit && !ids->failed; at = end) {
        bool first = head && at == 0;
        end = next_joint(text, n, at);
        size_t length = end - at;
        if (length <= WORD_CACHE_KEY) {
            struct word_cache_entry *set = word_cache_set(&s->cache, text + at, length);
            if (word_cache_take(set, first ? CACHE_HEAD : CACHE_PART, text + at, length, ids))
                continue;
        }
        put_part(g, s, text, n, at, &end, first, ids);
    }
}

/* ---- texts ---- */

/* A raw text between added tokens. */
static void put_segment(const struct tokenizer_general *g, struct tokenizer_general_scratch *s,
                        const char *text, size_t n, bool head, struct token_ids *ids)
{
    const char *out;
    size_t n_out;
    bool kept;
    if (g->by_parts) {
        put_parts(g, s, text, n, head, ids);
        return;
    }
    if (normaliser_run(g->spec->normaliser, &s->normal, text, n, &out, &n_out, &kept, ids->err))
        put_normalised(g, s, out, n_out, head && kept, ids);
    else
        ids->failed = true;
}

void tokenizer_general_encode(const struct tokenizer_general *g,
                              struct tokenizer_general_scratch *s, const char *text, size_t n,
                              struct token_ids *ids)
{
    struct added_search search = {.text = text, .n = n};
    bool more = true;
    while (more && ids->n <= ids->limit && !ids->failed) {
        size_t begin, stop;
        int32_t id;
        more = added_tokens_next(g->raw, &search, &begin, &stop, &id);
        if (stop > begin)
            put_segment(g, s, text + begin, stop - begin, begin == 0, ids);
        if (more)
            token_ids_add(ids, id);
    }
}
