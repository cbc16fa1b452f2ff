/* timing.h: throughput and latency of one or more subjects, measured side by side in one run.
 *
 * Subjects take turns (A B, B A, A B, …), so that a clock that drifts, a processor that heats up or
 * a neighbour that wakes hits all of them alike; medians are reported. Throughput is over the whole
 * work, latency over single texts, each alone.
 */
#ifndef MILLET_SCORE_TIMING_H
#define MILLET_SCORE_TIMING_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"
#include "core/progress.h"
#include "score/energy.h"

enum { TIMING_MAX_SINGLES = 200 }; /* texts whose latency is sampled */

/* What is timed. `pass` does all texts once, `single` text i (below n_texts) alone. */
struct timing_subject {
    bool (*pass)(void *context, struct error *err);
    bool (*single)(void *context, size_t i, struct error *err);
    void *context;
};

struct timing_options {
    size_t rounds;  /* at least this many passes of each subject, and … */
    double seconds; /* … at least this long for the passes together, and again for the singles */
    size_t n_texts; /* texts of one pass, > 0 */
    double (*clock)(void);      /* seconds; NULL: progress_clock */
    struct energy_meter *meter; /* read around each pass, outside its time; NULL: none */
};
void timing_defaults(struct timing_options *options);

struct timing_result {
    double pass_s;         /* median of a pass */
    double texts_per_s;    /* n_texts / pass_s */
    double p50_ms, p95_ms; /* of one text alone */
    double pass_j;         /* mean energy of a pass; NaN: not measured */
    size_t rounds;         /* passes */
    size_t n_singles;      /* latencies measured */
    size_t n_single_texts; /* different texts among them */
};

/* result[n_subjects]. Passes are expected to be warm (the caller has run each subject over the
 * texts once, as scoring does); singles are warmed up here. */
bool timing_run(const struct timing_subject *subject, size_t n_subjects,
                const struct timing_options *options, const struct progress *progress,
                struct timing_result *result, struct error *err) MUST_CHECK;

/* The i-th of n_singles texts out of n_texts, evenly spread. */
size_t timing_single_text(size_t i, size_t n_singles, size_t n_texts);

#endif
