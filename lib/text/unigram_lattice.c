/* unigram_lattice.c: see unigram_lattice.h. */
#include "text/unigram_lattice.h"

#include <math.h>
#include <stdlib.h>

#include "core/memory.h"

/* ---- trie ---- */

struct range {
    size_t begin, end; /* pieces below a node; those of its own length come first */
};

/* The children of the pieces [begin, end), which share `depth` symbols. */
static bool add_children(struct unigram_trie *trie, struct range **range, size_t *capacity,
                         size_t *range_capacity, const uint32_t *symbol, struct range below,
                         uint32_t depth, struct error *err)
{
    for (size_t i = below.begin, end; i < below.end; i = end) {
        uint32_t next = symbol[trie->piece[i].at + depth];
        for (end = i + 1; end < below.end && symbol[trie->piece[end].at + depth] == next;)
            end++;
        if (!memory_grow(&trie->node, capacity, trie->n + 1, sizeof *trie->node, err) ||
            !memory_grow(range, range_capacity, trie->n + 1, sizeof **range, err))
            return false;
        bool ends = trie->piece[i].n == depth + 1;
        trie->node[trie->n] = (struct unigram_node){next, 0, 0, ends ? (int32_t)i : -1};
        (*range)[trie->n++] = (struct range){ends ? i + 1 : i, end};
    }
    return true;
}

bool unigram_trie_open(struct unigram_trie *trie, const uint32_t *symbol,
                       const struct unigram_pieces *pieces, struct error *err)
{
    *trie = (struct unigram_trie){.piece = pieces->piece};
    if (pieces->n > INT32_MAX / 2)
        return error_set(err, "%zu pieces are too many", pieces->n);
    struct range *range = NULL;
    size_t capacity = 0, range_capacity = 0, level = 0;
    bool ok = add_children(trie, &range, &capacity, &range_capacity, symbol,
                           (struct range){0, pieces->n}, 0, err);
    for (uint32_t depth = 1; ok && level < trie->n; depth++) {
        size_t end = trie->n;
        for (; ok && level < end; level++) {
            size_t child = trie->n;
            ok = child <= UINT32_MAX / 2 && add_children(trie, &range, &capacity, &range_capacity,
                                                         symbol, range[level], depth, err);
            trie->node[level].child = (uint32_t)child;
            trie->node[level].n_children = (uint32_t)(trie->n - child);
        }
    }
    free(range);
    return ok || error_set(err, "the pieces are too many");
}

void unigram_trie_free(struct unigram_trie *trie)
{
    free(trie->node);
    *trie = (struct unigram_trie){0};
}

/* NULL: no piece goes on so. */
static const struct unigram_node *step(const struct unigram_trie *trie,
                                       const struct unigram_node *node, uint32_t symbol)
{
    const struct unigram_node *first = &trie->node[node->child];
    for (size_t n = node->n_children; n;) {
        size_t half = n / 2;
        if (first[half].symbol == symbol)
            return &first[half];
        if (first[half].symbol < symbol) {
            first += half + 1;
            n -= half + 1;
        } else
            n = half;
    }
    return NULL;
}

/* ---- lattice ---- */

/* An edge on the way of the best path so far, where it is better: among equals the longer piece. */
static void relax(struct unigram_lattice *l, uint32_t from, uint32_t to, int32_t piece,
                  double score)
{
    double total = l->best[from] + score;
    l->edge[l->n_edges] = (struct unigram_edge){from, to, piece, total};
    if (total > l->best[to]) {
        l->best[to] = total;
        l->best_edge[to] = (uint32_t)l->n_edges;
    }
    l->n_edges++;
}

void unigram_lattice_fill(struct unigram_lattice *l, const struct unigram_trie *trie,
                          const uint32_t *symbol, uint32_t n, bool whole)
{
    l->n = n;
    l->n_edges = 0;
    l->best[0] = 0;
    for (uint32_t i = 1; i <= n; i++)
        l->best[i] = -INFINITY;
    for (uint32_t from = 0; from < n; from++) {
        const struct unigram_node *node = &trie->node[symbol[from] - 1];
        for (uint32_t to = from + 1; node; to++) {
            if (node->piece >= 0 && (whole || to - from < n))
                relax(l, from, to, node->piece, trie->piece[node->piece].score);
            node = to < n ? step(trie, node, symbol[to]) : NULL;
        }
    }
}

size_t unigram_lattice_path(const struct unigram_lattice *l, int32_t piece[UNIGRAM_RUN_MAX])
{
    size_t n = 0;
    for (uint32_t at = l->n; at;) {
        const struct unigram_edge *edge = &l->edge[l->best_edge[at]];
        piece[n++] = edge->piece;
        at = edge->from;
    }
    return n;
}

/* Forward and backward sums relative to the best path to each place: an edge weighs
 * exp(best[from] + score − best[to]) ≤ 1, so forward sums are between 1 and the number of paths
 * (below 2^100) and nothing overflows, and one exponential an edge is all there is to compute. */
void unigram_lattice_expect(const struct unigram_lattice *l, unigram_lattice_add *add,
                            void *context)
{
    double forward[UNIGRAM_RUN_MAX + 1] = {1}, backward[UNIGRAM_RUN_MAX + 1] = {0};
    double weight[UNIGRAM_EDGES];
    for (size_t e = 0; e < l->n_edges; e++) {
        const struct unigram_edge *edge = &l->edge[e];
        weight[e] = exp(edge->total - l->best[edge->to]);
        forward[edge->to] += forward[edge->from] * weight[e];
    }
    backward[l->n] = 1 / forward[l->n];
    for (size_t e = l->n_edges; e-- > 0;)
        backward[l->edge[e].from] += weight[e] * backward[l->edge[e].to];
    for (size_t e = 0; e < l->n_edges; e++) {
        const struct unigram_edge *edge = &l->edge[e];
        add(context, edge->piece, forward[edge->from] * weight[e] * backward[edge->to]);
    }
}
