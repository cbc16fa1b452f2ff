/* bert_table.h: bert_map() as a table of one entry per code point, filled a block at a time on
 * first use: what a text's inner loop looks up. One per thread. */
#ifndef MILLET_TEXT_BERT_TABLE_H
#define MILLET_TEXT_BERT_TABLE_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "text/bert_normalise.h"
#include "text/utf8.h"

enum { BERT_BLOCK_BITS = 8, BERT_N_BLOCKS = (UTF8_LAST + 1) >> BERT_BLOCK_BITS };

/* An entry: the code point it becomes, and flags. An entry without a stop flag is part of a word.
 */
enum {
    BERT_CODE = (1 << 21) - 1,
    BERT_IS_DROPPED = 1 << 21, /* becomes nothing */
    BERT_IS_MANY = 1 << 22,    /* becomes several code points: ask bert_map() */
    BERT_IS_ORDERED = 1 << 23, /* its word needs bert_order() */
    BERT_IS_SPACE = 1 << 24,
    BERT_IS_ALONE = 1 << 25,
    BERT_IS_MARKED = 1 << 26, /* one of the marked code points */
    BERT_STOPS = BERT_IS_SPACE | BERT_IS_ALONE | BERT_IS_MARKED
};

struct bert_table {
    struct bert_options options;
    const uint32_t *marked; /* borrowed */
    size_t n_marked;
    uint32_t *block[BERT_N_BLOCKS];
    bool failed; /* no memory for a block: err has the text and entries are spaces */
    struct error *err;
};

/* Called for the first code point of a block. */
uint32_t bert_table_fill(struct bert_table *table, uint32_t code);
void bert_table_free(struct bert_table *table);

static inline uint32_t bert_table_entry(struct bert_table *table, uint32_t code)
{
    const uint32_t *block = table->block[code >> BERT_BLOCK_BITS];
    return block ? block[code & ((1 << BERT_BLOCK_BITS) - 1)] : bert_table_fill(table, code);
}

/* Normalised code points of the raw word [p, end), which has no stop; stops early once there are
 * more than `most`. `word` has room for most + BERT_MAPPED_MAX. Returns their number. */
size_t bert_table_word(struct bert_table *table, const unsigned char *p, const unsigned char *end,
                       uint32_t *word, size_t most);

#endif
