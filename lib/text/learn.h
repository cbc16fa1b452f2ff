/* learn.h: learn a vocabulary from text. WordPiece: pieces merged by frequency (byte-pair counting
 * over characters with the "##" continuation mark, as Hugging Face's WordPieceTrainer does; ties go
 * to the smaller pair). Unigram: unigram_learn.h. Both depend on the words' counts alone: not on
 * their order, nor on the number of threads. */
#ifndef MILLET_TEXT_LEARN_H
#define MILLET_TEXT_LEARN_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"
#include "core/progress.h"
#include "core/threads.h"
#include "io/output.h"
#include "text/table.h"

enum learn_algorithm { LEARN_WORDPIECE, LEARN_UNIGRAM };

struct learn_options {
    enum learn_algorithm algorithm;
    struct table_options table;
    size_t vocabulary;    /* pieces wanted, special tokens included */
    bool lower;           /* WordPiece: lower-case and strip accents; off: neither */
    bool skip_bad;        /* rows that cannot be read are left out */
    json_t *stage;        /* history stage; stolen */
    struct threads *team; /* Unigram's; NULL: the caller alone */
};

/* Writes a model without weights (learn_files.h). */
bool learn_vocabulary(const char *const *path, size_t n_paths, const struct learn_options *options,
                      const struct progress *progress, struct output *output,
                      struct error *err) MUST_CHECK;

#endif
