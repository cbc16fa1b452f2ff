/* sentencepiece.h: the reader of SentencePiece's own files (sentencepiece.bpe.model, spiece.model):
 * what of them decides the ids that transformers gives. Unigram models only; the switches of its
 * own normaliser besides the map (add_dummy_prefix and so on) are not among it: transformers puts
 * Metaspace and WhitespaceSplit in their place.
 */
#ifndef MILLET_TEXT_SENTENCEPIECE_H
#define MILLET_TEXT_SENTENCEPIECE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

/* As sentencepiece_model.proto numbers them. */
enum sentencepiece_type {
    SENTENCEPIECE_NORMAL = 1,
    SENTENCEPIECE_UNKNOWN,
    SENTENCEPIECE_CONTROL,
    SENTENCEPIECE_USER_DEFINED,
    SENTENCEPIECE_UNUSED,
    SENTENCEPIECE_BYTE
};

struct sentencepiece_piece {
    const char *text; /* [n] valid UTF-8, not NUL-terminated, not empty */
    size_t n;
    double score; /* finite */
    enum sentencepiece_type type;
};

struct sentencepiece {
    struct sentencepiece_piece *piece; /* [n_pieces], owned; the texts are the file's */
    size_t n_pieces, piece_capacity;
    const unsigned char *charsmap; /* [n_charsmap] for charsmap_open(), the file's; n 0: none */
    size_t n_charsmap;
};

/* Texts and map are borrowed from the bytes. */
bool sentencepiece_read(struct sentencepiece *model, const void *bytes, size_t n,
                        struct error *err) MUST_CHECK;
void sentencepiece_free(struct sentencepiece *model);

#endif
