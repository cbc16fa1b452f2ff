/* tokenizer_files.h: what the tokenizer files of a Hugging Face model say, read into a spec.
 *
 * tokenizer.json, where there is one, gives the vocabulary; else the SentencePiece model of the
 * class (tokenizer_sentencepiece.h), vocab.txt (WordPiece), or vocab.json and merges.txt
 * (byte-level BPE). What transformers' classes make of it is in
 * tokenizer_class.h. Special tokens that tokenizer_config.json or special_tokens_map.json name, and
 * added_tokens_decoder, join those of tokenizer.json.
 */
#ifndef MILLET_TEXT_TOKENIZER_FILES_H
#define MILLET_TEXT_TOKENIZER_FILES_H

#include "core/error.h"
#include "io/bundle.h"
#include "text/tokenizer_spec.h"

/* for_matching: words will be matched (tokenizer_bert.h, tokenizer_general.h), so what that needs
 * is built. */
bool tokenizer_spec_read(struct tokenizer_spec *spec, struct bundle *bundle, bool for_matching,
                         struct error *err) MUST_CHECK;

#endif
