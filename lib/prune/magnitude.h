/* magnitude.h: how much each head and feed-forward neuron matters, from the weights alone (Li et
 * al. 2017, "Pruning Filters for Efficient ConvNets", of units of an encoder). */
#ifndef MILLET_PRUNE_MAGNITUDE_H
#define MILLET_PRUNE_MAGNITUDE_H

#include <stddef.h>

#include "core/error.h"
#include "io/model.h"
#include "nn/shape.h"
#include "prune/search.h"

/* A unit's score: the sum of its squared weights (a head's rows of query, key, value and columns of
 * the output projection; a neuron's row and column; biases not), so that scores add up. unit: as
 * search_units() made them of the model's shape. */
bool magnitude_score(struct model *model, const struct shape *shape, struct unit *unit,
                     size_t n_units, struct error *err) MUST_CHECK;

#endif
