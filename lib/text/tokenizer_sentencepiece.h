/* tokenizer_sentencepiece.h: a SentencePiece model in place of tokenizer.json, with the ids that
 * transformers' classes give: XLMRobertaTokenizer and CamembertTokenizer put their special tokens
 * in front of the pieces (fairseq's order), AlbertTokenizer takes them as they are.
 */
#ifndef MILLET_TEXT_TOKENIZER_SENTENCEPIECE_H
#define MILLET_TEXT_TOKENIZER_SENTENCEPIECE_H

#include "io/bundle.h"
#include "text/tokenizer_class.h"

/* The name of the class's file; NULL: the class has none. */
const char *tokenizer_sentencepiece_name(enum tokenizer_class class);

/* The pieces with their scores, and the charsmap as a normalizer section. options:
 * tokenizer_config.json, which may name special tokens. */
bool tokenizer_sentencepiece_read(struct tokenizer_spec *spec, const struct bundle_member *file,
                                  enum tokenizer_class class, const json_t *options,
                                  struct error *err) MUST_CHECK;

/* The special tokens that the class has and options name, with their settings, then the model's own
 * control and user-defined pieces, as added tokens; those that are added already stay as they are.
 */
bool tokenizer_sentencepiece_added(struct tokenizer_spec *spec, const struct bundle_member *file,
                                   enum tokenizer_class class, const json_t *options,
                                   struct error *err) MUST_CHECK;

#endif
