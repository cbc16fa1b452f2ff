/* latency.h: what heads, neurons and layers cost on this machine: seconds for one text, all threads
 * at work, as functions of the number of heads and the width of the feed-forward network in a
 * layer.
 *
 * Whole shapes are timed, with the engine's own forward pass (pace.h), in turns; a block's cost is
 * the difference to the least shape, one head and one neuron in each layer. Times never fall where
 * a layer grows (pool adjacent violators), and run straight between the points that were measured
 * (Kwon et al. 2022 and Kurtic et al. 2023 make such tables; theirs are of one block apart).
 *
 *     seconds = fixed + sum over layers but the last of (layer + head[0](heads) + neuron[0](ffn))
 *                     + head[1](heads) + neuron[1](ffn) of the last layer
 */
#ifndef MILLET_PRUNE_LATENCY_H
#define MILLET_PRUNE_LATENCY_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"
#include "core/progress.h"
#include "core/threads.h"
#include "kernels/kernels.h"
#include "nn/shape.h"
#include "prune/search.h"

enum { LATENCY_POINTS = 12 };

/* at[0] is 1, seconds[0] 0; ascending, seconds too. */
struct latency_curve {
    size_t n, at[LATENCY_POINTS];
    double seconds[LATENCY_POINTS];
};

/* [0]: of layers whose rows all count; [1]: of the last layer. */
struct latency {
    double fixed; /* embeddings, classifier, and the last layer with one head and one neuron */
    double layer; /* any other layer with one head and one neuron */
    struct latency_curve head[2], neuron[2];
};

/* Between points straight on; beyond the last as between the last two. */
double latency_at(const struct latency_curve *curve, double x);
/* Make seconds ascend: neighbours that do not are replaced by their mean, the first stays 0. */
void latency_monotone(struct latency_curve *curve);

double latency_total(const struct latency *latency, const struct shape *shape);
/* unit.cost of every unit of shape: the mean cost of a head, of a neuron, of its layer above the
 * first. */
void latency_costs(const struct latency *latency, const struct shape *shape, struct unit *unit,
                   size_t n_units);

struct latency_options {
    size_t n_tokens;       /* of a text */
    bool int8;             /* weights */
    bool remeasure;        /* whatever the cache says */
    double seconds;        /* that measuring takes, roughly; 0: 3, for steady figures */
    const char *directory; /* of the cache; NULL: the user's, see latency_directory() */
};

/* Where a table came from. */
struct latency_source {
    bool measured; /* now; else read */
    char *path;    /* of the file; NULL: there is no directory to keep it in; owned */
    json_t *key;   /* what it depends on; owned */
};
void latency_source_free(struct latency_source *source); /* safe on a zeroed struct */

/* The table for layers like those of `shape` (its hidden width, head size, most heads and widest
 * feed-forward network): read from the cache, where a file with exactly our key is intact, else
 * measured in some seconds and put there (a cache that cannot be written is no error). Layers must
 * have heads and neurons of their own (not ALBERT, not MobileBERT). */
bool latency_open(struct latency *latency, const struct shape *shape,
                  const struct latency_options *options, struct device *dev, struct threads *team,
                  const struct progress *progress, struct latency_source *source,
                  struct error *err) MUST_CHECK;

/* The measuring alone. */
bool latency_measure(struct latency *latency, const struct shape *shape,
                     const struct latency_options *options, struct device *dev,
                     struct threads *team, const struct progress *progress,
                     struct error *err) MUST_CHECK;

/* $XDG_CACHE_HOME/millet, else $HOME/.cache/millet; NULL: neither is set. Free with free(). */
char *latency_directory(struct error *err);

/* {"fixed": …, "layer": …, "heads": [[1, 0], …], "last_heads": …, "neurons": …, "last_neurons": …},
 * seconds. New reference. */
json_t *latency_json(const struct latency *latency, struct error *err) MUST_CHECK;

#endif
