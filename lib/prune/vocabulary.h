/* vocabulary.h: a model with fewer rows in its word table: which ids occur in record streams, the
 * tokenizer trimmed to them (text/vocabulary_trim.h says what else stays), and what compaction
 * needs of it. Ids that config.json names are renumbered with the rest.
 *
 * Answers to texts that are cut into the same pieces are the same bits: no row that is read has
 * changed (Abdaoui et al. 2020).
 */
#ifndef MILLET_PRUNE_VOCABULARY_H
#define MILLET_PRUNE_VOCABULARY_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"
#include "io/model.h"
#include "nn/shape.h"
#include "text/vocabulary_trim.h"

struct vocabulary {
    struct vocabulary_trim trim;
    size_t n_rows; /* of the word table before: shape->vocab, often more than ids */
    int32_t pad;   /* the padding's id before; negative: none */
};

/* The pieces that occur in the streams, at most `size` in all (0: no limit). A stream of another
 * tokenizer is refused. Memory: the vocabulary; streams are read once, part by part. */
bool vocabulary_open(struct vocabulary *vocabulary, struct model *model, const struct shape *shape,
                     const char *const *path, size_t n_paths, size_t size,
                     struct error *err) MUST_CHECK;
void vocabulary_close(struct vocabulary *vocabulary); /* safe on a zeroed struct */

/* Whether a tensor has a row (or a value) for each id: the word table, its scales, and what a
 * masked-language-model head has. */
bool vocabulary_has_rows(const struct vocabulary *vocabulary, const struct family *family,
                         const struct tensor_view *view);
/* The rows that stay, in new memory; view->data, dim and bytes are changed to the result. NULL:
 * failed. */
void *vocabulary_cut(const struct vocabulary *vocabulary, struct tensor_view *view,
                     struct error *err) MUST_CHECK;

/* The ids in config.json: pad_token_id and so on. vocab_size is the shape's to set. */
bool vocabulary_config(const struct vocabulary *vocabulary, json_t *config,
                       struct error *err) MUST_CHECK;
/* {"before": rows, "after": rows, "share": of the tokens counted} for millet.json and reports. New
 * reference; NULL: no memory. */
json_t *vocabulary_json(const struct vocabulary *vocabulary);

#endif
