/* vocabulary_map.h: "millet_vocabulary.json", a tokenizer file of trimmed models: which ids of the
 * tokenizer before stayed, so that streams made with that one can be renumbered.
 *
 *     {"tokenizer": "0123456789abcdef", "before": 250002, "kept": [0, 1, 2, 3, 11, …]}
 *
 * "tokenizer" is the fingerprint of the one before, "kept" its ids in order of their new numbers.
 * Of a model that was trimmed again, both are of the first: ids of the tokenizers between are not
 * told.
 */
#ifndef MILLET_TEXT_VOCABULARY_MAP_H
#define MILLET_TEXT_VOCABULARY_MAP_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "io/bundle.h"
#include "text/vocabulary_trim.h"

#define VOCABULARY_MAP_FILE "millet_vocabulary.json"

struct vocabulary_map {
    uint64_t tokenizer;
    int32_t *number; /* [n_before] new id, -1: gone; owned */
    size_t n_before, n_kept;
};

/* A model without the file is refused: it was not trimmed. */
bool vocabulary_map_read(struct vocabulary_map *map, struct bundle *bundle,
                         struct error *err) MUST_CHECK;
void vocabulary_map_free(struct vocabulary_map *map); /* safe on a zeroed struct */

/* The file of a trimmed tokenizer; the bundle may have one already. Release with free(). NULL:
 * failed. */
char *vocabulary_map_text(const struct vocabulary_trim *trim, struct bundle *bundle,
                          struct error *err) MUST_CHECK;

#endif
