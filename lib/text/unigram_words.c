/* unigram_words.c: see unigram_words.h. */
#include "text/unigram_words.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "text/utf8.h"

struct character {
    uint64_t count;
    uint32_t code;
};

static int by_count(const void *a, const void *b)
{
    const struct character *x = a, *y = b;
    if (x->count != y->count)
        return x->count < y->count ? 1 : -1;
    return (x->code > y->code) - (x->code < y->code);
}

static int by_code(const void *a, const void *b)
{
    const struct character *x = a, *y = b;
    return (x->code > y->code) - (x->code < y->code);
}

static size_t count_characters(const struct word_count *counted, struct character *character)
{
    size_t n = 0;
    for (size_t i = 0; i < counted->word.n; i++) {
        const unsigned char *p = (const unsigned char *)string_table_text(&counted->word, (int)i);
        for (const unsigned char *end = p + counted->word.item[i].n; p < end; n++)
            character[utf8_next(&p)].count += counted->count[i];
    }
    return n + counted->word.n;
}

/* symbol_of[code]: 0 for those left out. */
static bool number_characters(struct unigram_words *words, struct character *character,
                              uint32_t *symbol_of, size_t most, uint64_t min_frequency,
                              struct error *err)
{
    size_t n = 0;
    for (uint32_t code = 0; code <= UTF8_LAST; code++)
        if (character[code].count >= min_frequency)
            character[n++] = (struct character){character[code].count, code};
    qsort(character, n, sizeof *character, by_count);
    n = n < most ? n : most;
    qsort(character, n, sizeof *character, by_code);
    words->code = memory_array(n, sizeof *words->code, err);
    words->frequency = memory_array(n, sizeof *words->frequency, err);
    if (!words->code || !words->frequency)
        return false;
    words->n_codes = n;
    for (size_t i = 0; i < n; i++) {
        words->code[i] = character[i].code;
        words->frequency[i] = character[i].count;
        symbol_of[character[i].code] = (uint32_t)i + 1;
    }
    return true;
}

static bool end_run(struct unigram_words *words, size_t begin, uint64_t count, struct error *err)
{
    if (words->n == begin)
        return true;
    if (!memory_grow(&words->run, &words->run_capacity, words->n_runs + 1, sizeof *words->run, err))
        return false;
    words->run[words->n_runs++] =
        (struct unigram_run){(uint32_t)begin, (uint32_t)(words->n - begin), count};
    words->symbol[words->n++] = 0;
    return true;
}

static bool take_word(struct unigram_words *words, const char *text, size_t n, uint64_t count,
                      const uint32_t *symbol_of, struct error *err)
{
    const unsigned char *p = (const unsigned char *)text, *end = p + n;
    size_t begin = words->n;
    while (p < end) {
        uint32_t symbol = symbol_of[utf8_next(&p)];
        if (symbol) {
            words->symbol[words->n++] = symbol;
        } else {
            if (!end_run(words, begin, count, err))
                return false;
            begin = words->n;
        }
    }
    return end_run(words, begin, count, err);
}

bool unigram_words_open(struct unigram_words *words, const struct word_count *counted,
                        size_t max_characters, uint64_t min_frequency, struct error *err)
{
    *words = (struct unigram_words){0};
    struct character *character = memory_zeroed(UTF8_LAST + 1, sizeof *character, err);
    uint32_t *symbol_of = memory_zeroed(UTF8_LAST + 1, sizeof *symbol_of, err);
    bool ok = character && symbol_of;
    size_t n = ok ? count_characters(counted, character) : 0;
    if (n >= UINT32_MAX)
        ok = error_set(err, "the distinct words have %zu characters; at most %u can be learnt from",
                       n, UINT32_MAX - 1);
    words->symbol = ok ? memory_array(n, sizeof *words->symbol, err) : NULL;
    ok = words->symbol &&
         number_characters(words, character, symbol_of, max_characters, min_frequency, err);
    for (size_t i = 0; ok && i < counted->word.n; i++)
        ok = take_word(words, string_table_text(&counted->word, (int)i), counted->word.item[i].n,
                       counted->count[i], symbol_of, err);
    free(character);
    free(symbol_of);
    return ok;
}

void unigram_words_free(struct unigram_words *words)
{
    free(words->symbol);
    free(words->run);
    free(words->code);
    free(words->frequency);
    *words = (struct unigram_words){0};
}
