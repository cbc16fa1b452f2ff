/* tokenizer_json.h: the reader of tokenizer.json (Hugging Face tokenizers' own format) into a
 * spec: the model, the added tokens, and the other sections as JSON, which normaliser.h,
 * pretokenizer.h, post_processor.h and decoder.h understand. */
#ifndef MILLET_TEXT_TOKENIZER_JSON_H
#define MILLET_TEXT_TOKENIZER_JSON_H

#include "io/bundle.h"
#include "text/tokenizer_spec.h"

/* One added token's description, of tokenizer.json or of tokenizer_config.json; `place` names the
 * file in messages. */
bool tokenizer_added_read(struct tokenizer_spec *spec, int64_t id, const json_t *token,
                          const char *place, struct error *err) MUST_CHECK;

/* with_added: false leaves the added tokens out, where others replace them. */
bool tokenizer_json_read(struct tokenizer_spec *spec, const struct bundle_member *file,
                         bool with_added, struct error *err) MUST_CHECK;

#endif
