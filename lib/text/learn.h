/* learn.h: learn a WordPiece vocabulary from text: pieces merged by frequency (byte-pair counting
 * over characters with the "##" continuation mark, as Hugging Face's WordPieceTrainer does),
 * deterministic: ties go to the smaller pair. */
#ifndef MILLET_TEXT_LEARN_H
#define MILLET_TEXT_LEARN_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"
#include "core/progress.h"
#include "io/output.h"
#include "text/table.h"

struct learn_options {
    struct table_options table;
    size_t vocabulary;    /* pieces wanted, special tokens included */
    bool lower;           /* lower-case and strip accents; off: neither */
    size_t min_frequency; /* a pair seen less often is not merged; 2 */
    bool skip_bad;        /* rows that cannot be read are left out */
    json_t *stage;        /* history stage; stolen */
};

/* Writes a model without weights: vocab.txt, tokenizer_config.json, special_tokens_map.json,
 * config.json (labels seen, vocab_size; problem_type where rows may have several), millet.json. */
bool learn_wordpiece(const char *const *path, size_t n_paths, const struct learn_options *options,
                     const struct progress *progress, struct output *output,
                     struct error *err) MUST_CHECK;

#endif
