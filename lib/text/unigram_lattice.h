/* unigram_lattice.h: all segmentations of a run of symbols into pieces: their probabilities and the
 * best of them, for learning. (Tokenising with a learnt vocabulary is unigram.h.)
 */
#ifndef MILLET_TEXT_UNIGRAM_LATTICE_H
#define MILLET_TEXT_UNIGRAM_LATTICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "text/unigram_seed.h"

struct unigram_node {
    uint32_t symbol;
    uint32_t child, n_children; /* nodes beside one another, ascending by symbol */
    int32_t piece;              /* that ends here; -1: none */
};

/* The pieces as a trie of symbols. Every symbol is a piece: the node of symbol s is node[s - 1]. */
struct unigram_trie {
    struct unigram_node *node; /* owned */
    size_t n;
    const struct unigram_piece *piece; /* borrowed */
};

/* Pieces ascending by their symbols, each symbol among them. */
bool unigram_trie_open(struct unigram_trie *trie, const uint32_t *symbol,
                       const struct unigram_pieces *pieces, struct error *err) MUST_CHECK;
void unigram_trie_free(struct unigram_trie *trie);

enum { UNIGRAM_RUN_MAX = WORD_MAX_CODES + 1, UNIGRAM_EDGES = UNIGRAM_RUN_MAX * UNIGRAM_PIECE_MAX };

struct unigram_edge {
    uint32_t from, to;
    int32_t piece;
    double total; /* score of the best path that ends with it */
};

/* One per thread, 40 kB. */
struct unigram_lattice {
    uint32_t n; /* symbols */
    size_t n_edges;
    struct unigram_edge edge[UNIGRAM_EDGES]; /* ascending by `from` */
    double best[UNIGRAM_RUN_MAX + 1];        /* score of the best path to each place */
    uint32_t best_edge[UNIGRAM_RUN_MAX + 1]; /* the last of it */
};

/* The lattice of n symbols, n at most UNIGRAM_RUN_MAX, with its best path. whole false: without the
 * piece that spans all of them. */
void unigram_lattice_fill(struct unigram_lattice *lattice, const struct unigram_trie *trie,
                          const uint32_t *symbol, uint32_t n, bool whole);

/* Pieces of the best path, last first; returns their number. */
size_t unigram_lattice_path(const struct unigram_lattice *lattice, int32_t piece[UNIGRAM_RUN_MAX]);

/* Calls add(context, piece, probability that a segmentation has this edge) for each edge. */
typedef void unigram_lattice_add(void *context, int32_t piece, double probability);
void unigram_lattice_expect(const struct unigram_lattice *lattice, unigram_lattice_add *add,
                            void *context);

#endif
