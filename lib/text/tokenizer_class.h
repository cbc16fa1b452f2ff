/* tokenizer_class.h: what transformers' tokenizer classes put in place of sections of
 * tokenizer.json.
 *
 * AutoTokenizer (transformers 5.23) takes tokenizer_class of tokenizer_config.json, else of
 * config.json, else the class of config.json's model_type. PreTrainedTokenizerFast and
 * TokenizersBackend take tokenizer.json as it is. RobertaTokenizer, XLMRobertaTokenizer,
 * CamembertTokenizer and AlbertTokenizer take vocabulary, merges and charsmap (and Albert its
 * post-processor) from it and build the rest themselves, from the options in tokenizer_config.json
 * (add_prefix_space, do_lower_case, keep_accents) and their defaults.
 *
 * For BertTokenizer and the classes that are one (DistilBert, Electra, MobileBert) options come
 * from tokenizer_config.json where it states them, then from tokenizer.json, then from the defaults
 * (lower-case, null strip_accents, Chinese characters apart). transformers 5 leaves tokenizer.json
 * out of this, transformers 4 did not; files that both wrote state the options in both places.
 */
#ifndef MILLET_TEXT_TOKENIZER_CLASS_H
#define MILLET_TEXT_TOKENIZER_CLASS_H

#include "text/tokenizer_spec.h"

enum tokenizer_class {
    TOKENIZER_CLASS_NONE, /* nothing says which */
    TOKENIZER_CLASS_FILE, /* tokenizer.json as it is */
    TOKENIZER_CLASS_BERT,
    TOKENIZER_CLASS_ROBERTA,
    TOKENIZER_CLASS_XLM_ROBERTA,
    TOKENIZER_CLASS_CAMEMBERT,
    TOKENIZER_CLASS_ALBERT
};

/* config: tokenizer_config.json; model: config.json; both may be NULL. An unknown class is refused
 * by name. */
bool tokenizer_class_find(const json_t *config, const json_t *model, enum tokenizer_class *class,
                          struct error *err) MUST_CHECK;

/* Whether the spec's model is the class's. */
bool tokenizer_class_check(enum tokenizer_class class, const struct tokenizer_spec *spec,
                           struct error *err) MUST_CHECK;

/* The class's own sections, of the options in config, for a spec that has its pieces. from_file:
 * the spec was read from tokenizer.json. */
bool tokenizer_class_apply(enum tokenizer_class class, const json_t *config, bool from_file,
                           struct tokenizer_spec *spec, struct error *err) MUST_CHECK;

/* The text of a special token that a file states as a string or an object; NULL: it does not. */
const char *tokenizer_class_text(const json_t *value);
/* The text of a special token ("cls_token") where no file states it; NULL: the class has none. */
const char *tokenizer_class_token(enum tokenizer_class class, const char *key);

#endif
