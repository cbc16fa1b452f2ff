/* augment.h: altered copies of a text, for a teacher to say what they are: words masked, and runs
 * of words cut out (Tang et al. 2019, "Distilling Task-Specific Knowledge from BERT into Simple
 * Neural Networks", section 3.2, without exchanging words by part of speech, which needs a tagger).
 *
 * A word is what white space separates. What comes out is a function of seed, text number and copy,
 * of nothing else.
 */
#ifndef MILLET_TEXT_AUGMENT_H
#define MILLET_TEXT_AUGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "text/tokenizer.h"

enum { AUGMENT_MAX = 1000, AUGMENT_LONGEST_RUN = 5, AUGMENT_MASK_BYTES = 16 };

struct augment_options {
    size_t copies; /* at most so many of a text; 0: none */
    double mask;   /* probability of each word; 0.1 */
    double ngram;  /* that a copy is then only 1 to AUGMENT_LONGEST_RUN words of it; 0.25 */
    bool labels;   /* copies keep the text's label; otherwise theirs is unknown */
    uint64_t seed;
};

/* "20" or "copies=20,mask=0.1,ngram=0.25,labels=keep,seed=0" (or labels=drop); copies are
 * needed. */
bool augment_parse(const char *text, struct augment_options *options, struct error *err) MUST_CHECK;

/* The mask token of a tokenizer, as a text that becomes that one token: "[MASK]" or "<mask>"; empty
 * where there is none. */
bool augment_mask(const struct tokenizer *tokenizer, char mask[AUGMENT_MASK_BYTES],
                  struct error *err) MUST_CHECK;

struct augment { /* zeroed before the first use */
    char *text;
    size_t n, capacity;
    size_t *word; /* begin and end of each */
    size_t n_words, word_capacity;
    bool *masked;
    size_t masked_capacity;
};
void augment_free(struct augment *augment);

/* Copy `copy` of text number `number` to augment->text [n]. A masked word becomes `mask`, of an
 * empty mask it is left out. *altered false: it came out as it went in, or empty, in every one of
 * several attempts. */
bool augment_make(struct augment *augment, const struct augment_options *options, const char *mask,
                  const char *text, size_t n, uint64_t number, size_t copy, bool *altered,
                  struct error *err) MUST_CHECK;

#endif
