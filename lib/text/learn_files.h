/* learn_files.h: the files of a learnt vocabulary, as a model without weights: config.json with the
 * labels seen, and a tokenizer as Hugging Face's AutoTokenizer opens it. */
#ifndef MILLET_TEXT_LEARN_FILES_H
#define MILLET_TEXT_LEARN_FILES_H

#include <jansson.h>

#include "core/error.h"
#include "io/output.h"
#include "text/labels.h"
#include "text/string_table.h"
#include "text/unigram_seed.h"

enum { LEARN_N_SPECIAL = 5 };

/* In order of their ids, which come first. */
extern const char *const learn_wordpiece_special[LEARN_N_SPECIAL]; /* BERT's */
extern const char *const learn_unigram_special[LEARN_N_SPECIAL];   /* XLM-R's */

/* What the model without weights says besides its tokenizer. */
struct learn_files_model {
    const struct labels *labels;
    bool multi_label; /* a text may have several: problem_type */
    json_t *stage;    /* of the history; stolen */
};

/* vocab.txt, tokenizer_config.json, special_tokens_map.json. Pieces with the special tokens; the
 * table is spent. */
bool learn_files_wordpiece(struct string_table *piece, bool lower,
                           const struct learn_files_model *model, struct output *output,
                           struct error *err) MUST_CHECK;

/* tokenizer.json, tokenizer_config.json. Pieces without the special tokens. */
bool learn_files_unigram(const struct unigram_words *words, const struct unigram_pieces *pieces,
                         const struct learn_files_model *model, struct output *output,
                         struct error *err) MUST_CHECK;

#endif
