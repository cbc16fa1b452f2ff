/* wordpiece.h: the pieces of a vocabulary as a trie, and the greedy longest match over it.
 *
 * The trie is one hash table of 8-byte edges keyed by (parent, code point), where an edge's slot is
 * its child's number: it is built in a pass over the pieces, with no sorting (120 000 pieces take
 * milliseconds), and a step of the match is one look-up. Pieces that begin a word and those that
 * continue one ("##…") hang on two roots.
 */
#ifndef MILLET_TEXT_WORDPIECE_H
#define MILLET_TEXT_WORDPIECE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

enum { WORDPIECE_MAX = (1 << 21) - 1 }; /* ids are below this: 21 bits of an edge */

/* The text of a piece in the arena, with its continuation mark; its number is its id. n 0: no piece
 * has this id. */
struct wordpiece_piece {
    size_t offset;
    uint32_t n;
};

struct wordpiece;

/* Pieces are valid UTF-8; nothing is borrowed. Of equal pieces the last counts, as Hugging Face has
 * it. */
struct wordpiece *wordpiece_open(const char *arena, const struct wordpiece_piece *piece,
                                 size_t n_pieces, const char *prefix, struct error *err) MUST_CHECK;
void wordpiece_close(struct wordpiece *trie); /* NULL is fine */

/* Greedy longest match of a word's code points; writes at most n ids. 0: some part matches no piece
 * (the word is unknown). */
size_t wordpiece_match(const struct wordpiece *trie, const uint32_t *code, size_t n, int32_t *ids);

#endif
