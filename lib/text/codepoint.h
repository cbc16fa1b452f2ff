/* codepoint.h: what Hugging Face's tokenizers take a code point for.
 *
 * They ask tables of several ages: punctuation is Unicode 8's, decomposition and combining marks
 * are Unicode 9's to 13's, lower case, digits and word characters are newer than utf8proc's. Each
 * function is utf8proc's answer with the code points put right for which the two differ; the ranges
 * were found by comparing all 1 112 064 code points with tokenizers 0.23.3.
 */
#ifndef MILLET_TEXT_CODEPOINT_H
#define MILLET_TEXT_CODEPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CODEPOINT_LOWER_MAX = 2, CODEPOINT_DECOMPOSED_MAX = 18 };

struct codepoint_range {
    uint32_t first, last;
};

/* `range` is sorted. */
bool codepoint_in(const struct codepoint_range *range, size_t n, uint32_t code);

bool codepoint_is_space(uint32_t code);       /* White_Space */
bool codepoint_is_punctuation(uint32_t code); /* ASCII symbols ($, +, < …) are, too */
bool codepoint_is_chinese(uint32_t code);     /* BERT's ranges */
bool codepoint_is_numeric(uint32_t code);     /* Nd, Nl, No */
bool codepoint_is_word(uint32_t code);        /* \w of Rust's regex */
bool codepoint_is_mark(uint32_t code);        /* Mn, Mc, Me as StripAccents has them */
/* Continues the grapheme cluster before it, whatever that is. */
bool codepoint_extends(uint32_t code);
/* Whether the cluster goes on after it, whatever follows. */
bool codepoint_prepends(uint32_t code);

/* Canonical combining class in decompositions; `young` code points have none and compose with
 * nothing. */
unsigned codepoint_combining(uint32_t code);
bool codepoint_is_young(uint32_t code);

/* Full decomposition; returns the number of code points, 1 to CODEPOINT_DECOMPOSED_MAX. */
size_t codepoint_decompose(uint32_t code, bool compatible, uint32_t *out);
/* Returns 1 or 2. */
size_t codepoint_lower(uint32_t code, uint32_t out[CODEPOINT_LOWER_MAX]);

#endif
