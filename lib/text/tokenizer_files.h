/* tokenizer_files.h: what the tokenizer files of a Hugging Face model say, read into one plain
 * object.
 *
 * tokenizer.json, where there is one, gives vocabulary, added tokens and the special tokens around
 * a text; else vocab.txt does. Options come from tokenizer_config.json where it states them, then
 * from tokenizer.json, then from Hugging Face's defaults (lower-case, null strip_accents, Chinese
 * characters apart): this is how transformers' BertTokenizer resolves them. With tokenizer_class
 * PreTrainedTokenizerFast only tokenizer.json counts, also as there.
 */
#ifndef MILLET_TEXT_TOKENIZER_FILES_H
#define MILLET_TEXT_TOKENIZER_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "io/bundle.h"
#include "text/bert_normalise.h"
#include "text/wordpiece.h"

/* A token that is matched in the text before normalisation ("[MASK]"). */
struct tokenizer_added {
    char *text; /* NUL-terminated */
    size_t n;
    int32_t id;
    bool special; /* left out by decoding */
};

enum { TOKENIZER_AROUND_MAX = 8 }; /* special tokens before or after a text */

struct tokenizer_spec {
    struct bert_options normal;
    char *prefix;    /* "##" */
    size_t max_word; /* code points; a longer word is unknown */
    char *arena;     /* the bytes of all pieces */
    size_t n_arena, arena_capacity;
    struct piece *piece; /* by id */
    size_t n_pieces, piece_capacity;
    struct tokenizer_added *added;
    size_t n_added, added_capacity;
    int32_t unknown;
    int32_t before[TOKENIZER_AROUND_MAX], after[TOKENIZER_AROUND_MAX];
    size_t n_before, n_after;
    size_t max_tokens; /* model_max_length; 0: not stated */
};

bool tokenizer_spec_read(struct tokenizer_spec *spec, struct bundle *bundle,
                         struct error *err) MUST_CHECK;
void tokenizer_spec_free(struct tokenizer_spec *spec);

/* Adding to a spec; used by the readers of the two kinds of file. */
bool tokenizer_spec_piece(struct tokenizer_spec *spec, int64_t id, const char *text, size_t n,
                          struct error *err) MUST_CHECK;
/* Twice the same text is added once. */
bool tokenizer_spec_added(struct tokenizer_spec *spec, int64_t id, const char *text, size_t n,
                          bool special, struct error *err) MUST_CHECK;
/* Id of a piece (the last of equal ones), -1: none. */
int32_t tokenizer_spec_find(const struct tokenizer_spec *spec, const char *text, size_t n);

#endif
