/* wordpiece.h: the greedy longest match of WordPiece over a trie of the vocabulary's pieces
 * (piece_trie.h). */
#ifndef MILLET_TEXT_WORDPIECE_H
#define MILLET_TEXT_WORDPIECE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "text/piece_trie.h"

enum { WORDPIECE_MAX = PIECE_TRIE_MAX }; /* ids are below this */

struct wordpiece;

/* Borrows the trie, which was opened with that prefix. */
struct wordpiece *wordpiece_open(const struct piece_trie *trie, const char *prefix,
                                 struct error *err) MUST_CHECK;
void wordpiece_close(struct wordpiece *wordpiece); /* NULL is fine */

/* Greedy longest match of a word's code points; writes at most n ids. 0: some part matches no piece
 * (the word is unknown). */
size_t wordpiece_match(const struct wordpiece *wordpiece, const uint32_t *code, size_t n,
                       int32_t *ids);

#endif
