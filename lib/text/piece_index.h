/* piece_index.h: from a piece's text to its id. */
#ifndef MILLET_TEXT_PIECE_INDEX_H
#define MILLET_TEXT_PIECE_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "text/pieces.h"

struct piece_index { /* all zero: of no pieces */
    uint64_t *slot;  /* owned; half a hash | id + 1, 0: free */
    size_t mask;
    size_t n;          /* distinct texts */
    int32_t duplicate; /* an id whose text a later one has, too; -1: none */
};

bool piece_index_open(struct piece_index *index, struct pieces pieces,
                      struct error *err) MUST_CHECK;
void piece_index_free(struct piece_index *index);
/* The pieces are those of piece_index_open(), more may have come behind them. Of equal ones the
 * last counts. -1: none. */
int32_t piece_index_find(const struct piece_index *index, struct pieces pieces, const char *text,
                         size_t n);

#endif
