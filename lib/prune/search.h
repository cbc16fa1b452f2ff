/* search.h: which units to keep under a budget of multiply-adds. Pure arithmetic.
 *
 * A unit is one attention head or one feed-forward neuron. Following Kwon et al. 2022 ("A Fast
 * Post-Training Pruning Framework for Transformers", section 4.1, without rearrangement): heads and
 * neurons are ranked apart, by score per multiply-add; for every number of heads the rest of the
 * budget goes to neurons by rank; the number whose kept units have the largest sum of scores wins.
 * Unlike there, costs may differ between layers (the last layer works on one row) and every layer
 * keeps its best head and its best neuron, whatever they score.
 */
#ifndef MILLET_PRUNE_SEARCH_H
#define MILLET_PRUNE_SEARCH_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"
#include "nn/shape.h"

enum unit_kind { UNIT_HEAD, UNIT_NEURON };

struct unit {
    enum unit_kind kind;
    size_t layer, index; /* index within the layer and kind */
    double score;        /* not negative, finite */
    double cost;         /* multiply-adds, > 0 */
    bool keep;           /* result */
};

/* All units of a shape, layer by layer, heads before neurons, scores 0, each with its multiply-adds
 * for a text of n_tokens as shape_macs() counts them: the last layer's query, output projection and
 * feed-forward once, for the first token. Release with free(). */
struct unit *search_units(const struct shape *shape, size_t n_tokens, size_t *n_units,
                          struct error *err) MUST_CHECK;

double search_cost(const struct unit *unit, size_t n_units);      /* of all */
double search_cost_kept(const struct unit *unit, size_t n_units); /* of those kept */

/* Set `keep` of every unit. Equal ranks: the earlier unit stays. Fails when the budget is less than
 * one head and one neuron in each of the layers cost; the text says which share would do. */
bool search_keep(struct unit *unit, size_t n_units, double budget, struct error *err) MUST_CHECK;

#endif
