/* keep.h: which layers of an encoder stay, and which heads and feed-forward neurons of each; what
 * every method of pruning ends in and compaction begins with. Numbers are those of the model at
 * hand.
 */
#ifndef MILLET_PRUNE_KEEP_H
#define MILLET_PRUNE_KEEP_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"
#include "nn/shape.h"
#include "prune/search.h"
#include "prune/vocabulary.h"

struct keep_layer {
    size_t layer;
    size_t *head, *neuron; /* ascending; owned */
    size_t n_heads, n_neurons;
};

struct keep {
    struct keep_layer *layer; /* ascending; owned */
    size_t n_layers;
    const struct vocabulary *vocabulary; /* borrowed; NULL: all rows of the word table stay */
};

/* The named layers (ascending), whole. */
bool keep_of_layers(struct keep *keep, const struct shape *shape, const size_t *layer,
                    size_t n_layers, struct error *err) MUST_CHECK;
/* All layers, with the units that search_keep() kept; unit as search_units() made it. */
bool keep_of_units(struct keep *keep, const struct shape *shape, const struct unit *unit,
                   size_t n_units, struct error *err) MUST_CHECK;
void keep_free(struct keep *keep); /* safe on a zeroed struct */

/* The shape of what is left. */
bool keep_shape(const struct keep *keep, const struct shape *from, struct shape *to,
                struct error *err) MUST_CHECK;

/* [{"layer": 4, "heads": "0,3-5", "neurons": "0-99,107"}, …]: numbers and ranges. New reference. */
json_t *keep_json(const struct keep *keep, struct error *err) MUST_CHECK;

#endif
