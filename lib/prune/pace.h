/* pace.h: how long a shape of encoder takes on this machine, found by running it: the engine's own
 * forward pass, with made-up weights (no kernel's time depends on values), on every lane of the
 * device at once, in runs of many short texts, as classifier.h works.
 */
#ifndef MILLET_PRUNE_PACE_H
#define MILLET_PRUNE_PACE_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"
#include "core/threads.h"
#include "kernels/kernels.h"
#include "nn/shape.h"

enum { PACE_RUN_TOKENS = 512 }; /* of a run, as the classifier's default */

struct pace_options {
    size_t n_tokens; /* of each text; at most what the shape takes */
    bool int8;       /* weights as mquant --to int8 makes them; else fp32 */
    double seconds;  /* of one pass, roughly: repeats of a run are chosen for it. 0: 10 ms */
};

struct pace;

/* Copies shape; borrows device and team (at least dev->n_lanes members, NULL: one lane). Memory:
 * the prepared weights, of the word table a few thousand rows only. Runs it once, to warm up. */
struct pace *pace_open(const struct shape *shape, const struct pace_options *options,
                       struct device *dev, struct threads *team, struct error *err) MUST_CHECK;
void pace_close(struct pace *pace); /* NULL is fine */

/* One pass, timed now: seconds for one text, all lanes at work. */
bool pace_run(struct pace *pace, double *seconds, struct error *err) MUST_CHECK;

#endif
