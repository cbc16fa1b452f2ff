/* word_count.c: see word_count.h. */
#include "text/word_count.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "text/codepoint.h"

struct word_count *word_count_open(const struct bert_options *options, struct error *err)
{
    struct word_count *words = memory_zeroed(1, sizeof *words, err);
    if (words)
        words->table.options = *options;
    return words;
}

void word_count_close(struct word_count *words)
{
    if (!words)
        return;
    bert_table_free(&words->table);
    string_table_free(&words->word);
    free(words->count);
    text_buffer_free(&words->normal);
    unicode_form_scratch_free(&words->form);
    free(words);
}

static bool count_text(struct word_count *w, const char *text, size_t n, struct error *err)
{
    size_t before = w->word.n;
    int32_t number = string_table_add(&w->word, text, n, err);
    if (number == STRING_NONE ||
        !memory_grow(&w->count, &w->capacity, w->word.n, sizeof *w->count, err))
        return false;
    if (w->word.n > before)
        w->count[number] = 0;
    w->count[number]++;
    return true;
}

static bool count_word(struct word_count *w, const uint32_t *code, size_t n, struct error *err)
{
    char text[WORD_MAX_CODES * UTF8_MAX_BYTES];
    size_t n_text = 0;
    if (n == 0 || n > WORD_MAX_CODES)
        return true;
    for (size_t i = 0; i < n; i++)
        n_text += utf8_put(code[i], text + n_text);
    return count_text(w, text, n_text, err);
}

bool word_count_add(struct word_count *w, const char *text, size_t n, struct error *err)
{
    const unsigned char *p = (const unsigned char *)text, *end = p + n, *next = p;
    uint32_t word[WORD_MAX_CODES + BERT_MAPPED_MAX];
    w->table.err = err;
    while (p < end) {
        const unsigned char *begin = p;
        uint32_t entry = 0;
        for (; p < end; p = next) {
            entry = bert_table_entry(&w->table, utf8_next(&next));
            if (entry & BERT_STOPS)
                break;
        }
        size_t n_word = bert_table_word(&w->table, begin, p, word, WORD_MAX_CODES);
        if (!count_word(w, word, n_word, err))
            return false;
        if (p < end && entry & BERT_IS_ALONE &&
            !count_word(w, &(uint32_t){entry & BERT_CODE}, 1, err))
            return false;
        p = next;
    }
    return !w->table.failed;
}

/* A mark in the text itself begins a word, as in Hugging Face's Metaspace. */
bool word_count_add_marked(struct word_count *w, const char *text, size_t n, struct error *err)
{
    w->normal.n = 0;
    if (!unicode_form_run(UNICODE_NFKC, text, n, &w->form, &w->normal, err))
        return false;
    const unsigned char *p = (const unsigned char *)w->normal.bytes, *end = p + w->normal.n;
    while (p < end) {
        char word[(WORD_MAX_CODES + 1) * UTF8_MAX_BYTES];
        size_t n_word = utf8_put(WORD_MARK, word), n_codes = 0;
        const unsigned char *next = p, *begin = p;
        uint32_t code = utf8_next(&next);
        if (codepoint_is_space(code)) {
            p = next;
            continue;
        }
        for (p = begin = code == WORD_MARK ? next : p; p < end; p = next, n_codes++) {
            next = p;
            code = utf8_next(&next);
            if (codepoint_is_space(code) || code == WORD_MARK)
                break;
        }
        if (n_codes > WORD_MAX_CODES)
            continue;
        memcpy(word + n_word, begin, (size_t)(p - begin));
        if (!count_text(w, word, n_word + (size_t)(p - begin), err))
            return false;
    }
    return true;
}
