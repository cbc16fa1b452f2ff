/* tokenise_block.h: a few thousand rows taken from a table and tokenised by a team. What a block
 * gives does not depend on the number of threads: members take shares of the rows, results are put
 * together in the order of the rows. */
#ifndef MILLET_TEXT_TOKENISE_BLOCK_H
#define MILLET_TEXT_TOKENISE_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/threads.h"
#include "text/grams.h"
#include "text/tokenizer.h"

enum {
    /* Records of a part of the stream, of the first one and at most; each part may have twice as
     * many as the one before, so that who reads the stream starts early. */
    BLOCK_FIRST_ROWS = 512,
    BLOCK_ROWS = 4096,
    BLOCK_BYTES = 16 << 20 /* a block of long texts is closed earlier */
};

struct tokenise_block {
    /* rows */
    size_t n, n_most; /* full at n_most */
    char *text;
    size_t n_text, text_capacity;
    int64_t text_offset[BLOCK_ROWS + 1];
    int32_t label[BLOCK_ROWS];
    int64_t label_offset[BLOCK_ROWS + 1]; /* of rows with any number of labels */
    int32_t *label_id;
    size_t n_label_ids, label_id_capacity;
    /* results */
    int64_t offset[BLOCK_ROWS + 1];
    int32_t *id;
    size_t n_ids, id_capacity;
    int64_t gram_offset[BLOCK_ROWS + 1]; /* where n-grams are wanted */
    int32_t *gram;
    size_t n_grams, gram_capacity;
    char *line; /* ids as text */
    size_t n_line, line_capacity;
    uint64_t truncated, empty;
    /* workers */
    const struct tokenizer *tokenizer;
    size_t max_tokens;
    bool as_text;
    struct block_worker *worker;
    size_t n_workers;
};

/* as_text: results are lines of ids in `line`, not arrays. grams without buckets: no n-grams. */
struct tokenise_block *tokenise_block_open(const struct tokenizer *tokenizer, size_t max_tokens,
                                           bool as_text, const struct records_grams *grams,
                                           const struct threads *team,
                                           struct error *err) MUST_CHECK;
void tokenise_block_close(struct tokenise_block *block); /* NULL is fine */

/* For the next part. */
void tokenise_block_clear(struct tokenise_block *block);
bool tokenise_block_add(struct tokenise_block *block, const char *text, size_t n, int32_t label,
                        struct error *err) MUST_CHECK;
/* The labels of the row added last, where rows have any number. */
bool tokenise_block_label(struct tokenise_block *block, const int32_t *id, size_t n,
                          struct error *err) MUST_CHECK;
bool tokenise_block_full(const struct tokenise_block *block);
bool tokenise_block_run(struct tokenise_block *block, struct threads *team,
                        struct error *err) MUST_CHECK;

#endif
