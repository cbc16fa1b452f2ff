/* bert_normalise.h: what BERT's normaliser and pre-tokenizer make of one code point, as Hugging
 * Face's tokenizers do it (BertNormalizer: clean text, set Chinese characters apart, strip accents
 * = canonical decomposition without Mn, lower-case; then BertPreTokenizer: split at white space,
 * set punctuation apart).
 *
 * Every step works on single code points, except the canonical order of marks, so a table by code
 * point is the whole normaliser; bert_map() computes its entries.
 */
#ifndef MILLET_TEXT_BERT_NORMALISE_H
#define MILLET_TEXT_BERT_NORMALISE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bert_options {
    bool clean_text;
    bool chinese;
    bool strip_accents; /* the null rule is resolved: null strips exactly when lower-casing */
    bool lowercase;
};

enum bert_class {
    BERT_KEEP,  /* part of a word */
    BERT_DROP,  /* nothing is left of it */
    BERT_SPACE, /* separates words */
    BERT_ALONE  /* a word of its own: punctuation, a Chinese character */
};

enum {
    BERT_MAPPED_MAX = 8
}; /* at most 4 from a canonical decomposition, each at most 2 in lower case */

struct bert_mapping {
    enum bert_class class; /* of the whole; a mapping of several code points is BERT_KEEP */
    size_t n;
    uint32_t code[BERT_MAPPED_MAX];
    bool ordered; /* holds a mark with a combining class: the word must be put in canonical order */
};

void bert_map(const struct bert_options *options, uint32_t code, struct bert_mapping *mapping);

/* Canonical order (stable by combining class, between starters) of a word's code points. */
void bert_order(uint32_t *code, size_t n);

#endif
