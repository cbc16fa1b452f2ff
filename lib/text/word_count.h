/* word_count.h: the words of a text, each with how often it occurs: what a vocabulary is learnt
 * from. Memory follows the number of distinct words. */
#ifndef MILLET_TEXT_WORD_COUNT_H
#define MILLET_TEXT_WORD_COUNT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "text/bert_table.h"
#include "text/string_table.h"
#include "text/text_buffer.h"
#include "text/unicode_form.h"

enum {
    WORD_MAX_CODES = 100, /* longer ones are not counted: to BERT's tokenizer they are unknown */
    WORD_MARK = 0x2581    /* SentencePiece's, before a word */
};

struct word_count {
    struct bert_table table;
    struct string_table word; /* UTF-8 */
    uint64_t *count;          /* [word.n] */
    size_t capacity;
    struct text_buffer normal; /* of word_count_add_marked */
    struct unicode_form_scratch form;
};

struct word_count *word_count_open(const struct bert_options *options,
                                   struct error *err) MUST_CHECK;
/* Counts the words of n bytes of valid UTF-8 after BERT's normalisation. */
bool word_count_add(struct word_count *words, const char *text, size_t n,
                    struct error *err) MUST_CHECK;
/* Counts what stands between white space in the NFKC of the text, WORD_MARK in front, as the
 * tokenizers that learn_unigram() writes split it. */
bool word_count_add_marked(struct word_count *words, const char *text, size_t n,
                           struct error *err) MUST_CHECK;
void word_count_close(struct word_count *words); /* NULL is fine */

#endif
