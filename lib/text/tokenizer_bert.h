/* tokenizer_bert.h: the fast way for BERT's own pipeline (BertNormalizer or none, BertPreTokenizer,
 * WordPiece).
 *
 * A text is cut into raw words (runs of code points that are neither white space nor set apart nor
 * the beginning of an added token) by a table of one entry per code point, filled on first use. A
 * raw word is looked up in a cache; only on a miss is it normalised and matched. So most of the
 * work is the table walk and one look-up a word. The look-ups wait until some words were found, and
 * what they read is on its way into the processor's cache meanwhile.
 */
#ifndef MILLET_TEXT_TOKENIZER_BERT_H
#define MILLET_TEXT_TOKENIZER_BERT_H

#include "text/token_ids.h"
#include "text/tokenizer_spec.h"

struct tokenizer_bert;
struct tokenizer_bert_scratch; /* one per thread */

/* Borrows the spec, for which tokenizer_spec_is_bert() gave the options. */
struct tokenizer_bert *tokenizer_bert_open(const struct tokenizer_spec *spec,
                                           const struct bert_options *options,
                                           struct error *err) MUST_CHECK;
void tokenizer_bert_close(struct tokenizer_bert *bert);

struct tokenizer_bert_scratch *tokenizer_bert_scratch_open(const struct tokenizer_bert *bert,
                                                           struct error *err) MUST_CHECK;
void tokenizer_bert_scratch_close(struct tokenizer_bert_scratch *scratch);

/* Append the ids of n bytes of valid UTF-8, without special tokens around them. */
void tokenizer_bert_encode(const struct tokenizer_bert *bert,
                           struct tokenizer_bert_scratch *scratch, const char *text, size_t n,
                           struct token_ids *ids);

#endif
