/* speedup.h: from "so many times as fast" to a budget that gives it: choose by predicted times,
 * time the choice, correct the budget by what was off, a few times. Pure arithmetic: predictions
 * and times are the caller's.
 */
#ifndef MILLET_PRUNE_SPEEDUP_H
#define MILLET_PRUNE_SPEEDUP_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"

struct speedup_job {
    void *context;
    double before;        /* predicted seconds of the whole */
    double least;         /* … and of the smallest choice there is */
    const char *smallest; /* what that is, for messages */
    const char *remedy;   /* what could be asked for to go below it; "": nothing */
    /* The best choice predicted to take at most `seconds` (at least `least`); *predicted gets what
     * it is predicted to take. */
    bool (*choose)(void *context, double seconds, double *predicted, struct error *err);
    /* How many times as fast as the whole the last choice is, timed. */
    bool (*measure)(void *context, double *factor, struct error *err);
};

struct speedup_result {
    double asked, predicted, measured; /* factors; of the choice that was made last */
    size_t n_timed;                    /* choices that were timed */
};

/* Leaves the best of the choices it timed as the last choice. Done when the measured factor is
 * within 2 % below and 4 % above the asked one. No choice is predicted to be less than sqrt(factor)
 * times as fast: a clock that says that next to nothing had to go is a bad clock. When even the
 * smallest choice is more than 2 % too slow: an error that says the nearest factor. */
bool speedup_seek(const struct speedup_job *job, double factor, struct speedup_result *result,
                  struct error *err) MUST_CHECK;

#endif
