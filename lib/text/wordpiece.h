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
#include "text/pieces.h"

enum { WORDPIECE_MAX = (1 << 21) - 1 }; /* ids are below this: 21 bits of an edge */

struct wordpiece;

/* Pieces come with their continuation mark; nothing is borrowed. Of equal pieces the last counts, as Hugging Face has
 * it. */
struct wordpiece *wordpiece_open(struct pieces pieces, const char *prefix,
                                 struct error *err) MUST_CHECK;
void wordpiece_close(struct wordpiece *trie); /* NULL is fine */

/* Greedy longest match of a word's code points; writes at most n ids. 0: some part matches no piece
 * (the word is unknown). */
size_t wordpiece_match(const struct wordpiece *trie, const uint32_t *code, size_t n, int32_t *ids);

#endif
