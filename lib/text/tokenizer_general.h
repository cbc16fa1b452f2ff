/* tokenizer_general.h: any pipeline a spec describes: added tokens, normaliser, pre-tokenizer and
 * one of the three models.
 *
 * Where normaliser and pre-tokenizer allow it (tokenizer_general.c says when), a text is cut before
 * its spaces and the parts' ids are cached by their raw bytes, so that a frequent word costs one
 * look-up; else the text is normalised as a whole and the words are cached after pre-tokenizing.
 */
#ifndef MILLET_TEXT_TOKENIZER_GENERAL_H
#define MILLET_TEXT_TOKENIZER_GENERAL_H

#include "text/token_ids.h"
#include "text/tokenizer_spec.h"

struct tokenizer_general;
struct tokenizer_general_scratch; /* one per thread */

/* Borrows the spec. */
struct tokenizer_general *tokenizer_general_open(const struct tokenizer_spec *spec,
                                                 struct error *err) MUST_CHECK;
void tokenizer_general_close(struct tokenizer_general *general);

struct tokenizer_general_scratch *
tokenizer_general_scratch_open(const struct tokenizer_general *general,
                               struct error *err) MUST_CHECK;
void tokenizer_general_scratch_close(struct tokenizer_general_scratch *scratch);

/* Append the ids of n bytes of valid UTF-8, without special tokens around them. */
void tokenizer_general_encode(const struct tokenizer_general *general,
                              struct tokenizer_general_scratch *scratch, const char *text, size_t n,
                              struct token_ids *ids);

#endif
