/* tokenizer_bert.c: see tokenizer_bert.h. */
#include "text/tokenizer_bert.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "text/bert_table.h"
#include "text/utf8.h"
#include "text/word_cache.h"
#include "text/wordpiece.h"

struct tokenizer_bert {
    const struct tokenizer_spec *spec;
    struct bert_options options;
    struct wordpiece *trie;
    struct added_tokens *added; /* NULL: none */
    uint32_t *first;            /* [n_added] their first code points */
};

enum { WAITING_MAX = 64 }; /* words: more than most headlines have */

/* A word that was found in the text, while its set comes from memory. */
struct waiting_word {
    const char *at;
    size_t n;                     /* 0: `code`, set apart */
    struct word_cache_entry *set; /* NULL: too long for the cache */
    uint32_t code;
};

struct tokenizer_bert_scratch {
    struct waiting_word waiting[WAITING_MAX];
    size_t n_waiting;
    struct bert_table table; /* added tokens' first code points are marked */
    struct word_cache cache;
    uint32_t *word; /* [max_word + BERT_MAPPED_MAX] code points of the word at hand */
};

struct tokenizer_bert *tokenizer_bert_open(const struct tokenizer_spec *spec,
                                           const struct bert_options *options, struct error *err)
{
    struct tokenizer_bert *bert = memory_zeroed(1, sizeof *bert, err);
    if (!bert)
        return NULL;
    bert->spec = spec;
    bert->options = *options;
    bert->trie = wordpiece_open(&spec->trie, spec->prefix, err);
    bert->first = memory_array(spec->n_added, sizeof *bert->first, err);
    for (size_t i = 0; bert->first && i < spec->n_added; i++) {
        const unsigned char *text = (const unsigned char *)spec->added[i].text;
        bert->first[i] = utf8_next(&text);
    }
    if (bert->trie && bert->first)
        bert->added = added_tokens_open(spec->added, spec->n_added, false, err);
    if (!bert->trie || !bert->first || (spec->n_added && !bert->added)) {
        tokenizer_bert_close(bert);
        return NULL;
    }
    return bert;
}

void tokenizer_bert_close(struct tokenizer_bert *bert)
{
    if (!bert)
        return;
    wordpiece_close(bert->trie);
    added_tokens_close(bert->added);
    free(bert->first);
    free(bert);
}

struct tokenizer_bert_scratch *tokenizer_bert_scratch_open(const struct tokenizer_bert *bert,
                                                           struct error *err)
{
    struct tokenizer_bert_scratch *s = memory_zeroed(1, sizeof *s, err);
    if (!s)
        return NULL;
    s->table.options = bert->options;
    s->table.marked = bert->first;
    s->table.n_marked = bert->spec->n_added;
    s->word = memory_array(bert->spec->max_word + BERT_MAPPED_MAX, sizeof *s->word, err);
    if (!word_cache_open(&s->cache, WORD_CACHE_SMALL, err) || !s->word) {
        tokenizer_bert_scratch_close(s);
        return NULL;
    }
    return s;
}

void tokenizer_bert_scratch_close(struct tokenizer_bert_scratch *s)
{
    if (!s)
        return;
    bert_table_free(&s->table);
    word_cache_free(&s->cache);
    free(s->word);
    free(s);
}

/* Ids of a word of n normalised code points, appended. */
static void put_word(const struct tokenizer_bert *bert, const uint32_t *code, size_t n,
                     struct token_ids *ids)
{
    if (!n || !token_ids_reserve(ids, n))
        return;
    size_t found =
        n > bert->spec->max_word ? 0 : wordpiece_match(bert->trie, code, n, ids->id + ids->n);
    if (!found) {
        ids->id[ids->n] = bert->spec->unknown;
        found = 1;
    }
    ids->n += found;
}

static void match_word(const struct tokenizer_bert *bert, struct tokenizer_bert_scratch *s,
                       const char *p, size_t n, struct token_ids *ids)
{
    size_t codes = bert_table_word(&s->table, (const unsigned char *)p,
                                   (const unsigned char *)p + n, s->word, bert->spec->max_word);
    put_word(bert, s->word, codes, ids);
}

static void put_cached(const struct tokenizer_bert *bert, struct tokenizer_bert_scratch *s,
                       const struct waiting_word *word, struct token_ids *ids)
{
    if (word_cache_take(word->set, 1, word->at, word->n, ids))
        return;
    size_t before = ids->n;
    match_word(bert, s, word->at, word->n, ids);
    word_cache_keep(word->set, 1, word->at, word->n, ids, before);
}

/* Ids of the words that wait, in their order; none waits afterwards. */
static void put_waiting(const struct tokenizer_bert *bert, struct tokenizer_bert_scratch *s,
                        struct token_ids *ids)
{
    for (size_t i = 0; i < s->n_waiting && ids->n <= ids->limit; i++) {
        const struct waiting_word *word = &s->waiting[i];
        if (word->set)
            put_cached(bert, s, word, ids);
        else if (word->n)
            match_word(bert, s, word->at, word->n, ids);
        else
            put_word(bert, &word->code, 1, ids);
    }
    s->n_waiting = 0;
}

static void add_waiting(const struct tokenizer_bert *bert, struct tokenizer_bert_scratch *s,
                        const struct waiting_word *word, struct token_ids *ids)
{
    if (s->n_waiting == WAITING_MAX)
        put_waiting(bert, s, ids);
    s->waiting[s->n_waiting++] = *word;
}

static void raw_word(const struct tokenizer_bert *bert, struct tokenizer_bert_scratch *s,
                     const char *p, size_t n, struct token_ids *ids)
{
    struct waiting_word word = {.at = p, .n = n};
    if (n <= WORD_CACHE_KEY) {
        word.set = word_cache_set(&s->cache, p, n);
        word_cache_prefetch(word.set);
    }
    add_waiting(bert, s, &word, ids);
}

void tokenizer_bert_encode(const struct tokenizer_bert *bert, struct tokenizer_bert_scratch *s,
                           const char *text, size_t n, struct token_ids *ids)
{
    const unsigned char *p = (const unsigned char *)text, *end = p + n;
    s->table.err = ids->err;
    s->table.failed = false;
    s->n_waiting = 0;
    while (p < end && ids->n <= ids->limit && !ids->failed) {
        const struct added_token *added = NULL;
        const unsigned char *begin = p, *next = p;
        uint32_t entry = 0;
        for (; p < end; p = next) {
            entry = bert_table_entry(&s->table, utf8_next(&next));
            if (!(entry & BERT_STOPS))
                continue;
            if (entry & BERT_IS_MARKED)
                added = added_tokens_at(bert->added, (const char *)p, (size_t)(end - p));
            if (added || entry & (BERT_IS_SPACE | BERT_IS_ALONE))
                break;
        }
        if (p > begin)
            raw_word(bert, s, (const char *)begin, (size_t)(p - begin), ids);
        if (p == end)
            break;
        if (added) {
            put_waiting(bert, s, ids);
            token_ids_add(ids, added->id);
        } else if (entry & BERT_IS_ALONE)
            add_waiting(bert, s, &(struct waiting_word){.code = entry & BERT_CODE}, ids);
        p = added ? p + added->n : next;
    }
    put_waiting(bert, s, ids);
    ids->failed |= s->table.failed;
}
