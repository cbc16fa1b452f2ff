/* tokenizer_json.h: the reader of tokenizer.json (Hugging Face tokenizers' own format):
 * BertNormalizer or none, BertPreTokenizer, WordPiece, TemplateProcessing or BertProcessing;
 * anything else is refused by name. */
#ifndef MILLET_TEXT_TOKENIZER_JSON_H
#define MILLET_TEXT_TOKENIZER_JSON_H

#include "text/tokenizer_files.h"

/* What the normalizer states; the null of strip_accents is kept apart from absence. */
enum tokenizer_tristate { TOKENIZER_UNSTATED, TOKENIZER_NULL, TOKENIZER_FALSE, TOKENIZER_TRUE };

struct tokenizer_stated {
    enum tokenizer_tristate clean_text, chinese, strip_accents, lowercase;
};

/* true, false, null or absent; anything else is an error naming place and key. */
bool tokenizer_stated_read(const json_t *object, const char *place, const char *key,
                           enum tokenizer_tristate *value, struct error *err) MUST_CHECK;
/* One added token's description; `what` names it in messages. */
bool tokenizer_added_read(struct tokenizer_spec *spec, int64_t id, const json_t *token,
                          const char *place, struct error *err) MUST_CHECK;

bool tokenizer_json_read(struct tokenizer_spec *spec, struct tokenizer_stated *stated,
                         const struct bundle_member *file, struct error *err) MUST_CHECK;

#endif
