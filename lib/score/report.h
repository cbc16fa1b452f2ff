/* report.h: everything a score consists of, and its two forms: text for people (with tab-separated
 * tables for cut and awk) and one JSON object. Numbers that were not measured are NaN: "-" in the
 * text, null in JSON.
 */
#ifndef MILLET_SCORE_REPORT_H
#define MILLET_SCORE_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "io/output.h"
#include "score/energy.h"
#include "score/explain.h"
#include "score/metrics.h"
#include "score/significance.h"
#include "score/timing.h"

/* One subject. */
struct report_subject {
    const char *name;              /* borrowed */
    struct metrics metrics;        /* owned */
    struct interval accuracy_ci95; /* Wilson */
    bool is_model;                 /* false: the stream's logits; what follows is then unknown */
    size_t parameters;
    uint64_t bytes;     /* of the weights as they are stored */
    double macs;        /* multiply-adds of one text of the mean length */
    double flops;       /* two for each multiply-add: the mean over all texts */
    double peak_memory; /* bytes, of a process that does nothing else; NaN: not measured */
    bool timed;
    struct timing_result timing;
    struct explain explain;
    double joules; /* of one pass over all texts, as report.energy says; NaN: unknown */
};

struct report_compare {
    struct metrics_pair pair;
    double accuracy_difference; /* model minus baseline */
    struct interval ci95;       /* paired bootstrap */
    struct interval score_ci95; /* Tango */
    double mcnemar_p;
    double noninferior_p, lowest;    /* significance_noninferior(), where a margin is given */
    double agreement;                /* share of all records given the same label */
    double speedup, latency_speedup; /* NaN when not timed */
};

struct report {
    const char *version;                  /* borrowed, as are the names and labels below */
    const char *stream, *baseline_stream; /* NULL: the same */
    const char *const *label;             /* [n_labels] */
    size_t n_labels;
    bool multi_label;       /* accuracy is then exact match, and there is no confusion matrix */
    size_t n, n_unlabelled; /* records scored, and left out */
    uint64_t n_tokens;      /* of all records */
    size_t longest;
    double mean_tokens;
    const char *device; /* what the device says of itself, threads included; NULL when nothing was
                           computed */
    size_t threads, batch_tokens, resamples;
    uint64_t seed;
    double margin;            /* a share; NaN: not asked */
    enum energy_basis energy; /* what joules stand on */
    const char *energy_text;  /* which counters, or why none; NULL: nobody looked */
    double watts;             /* of a basis that is not measured */
    double grid;              /* gCO2e/kWh */
    const char *grid_text;    /* where it is from */
    struct report_subject model, baseline;
    bool has_baseline;
    struct report_compare compare;
};

void report_free(struct report *report);

bool report_text(const struct report *report, struct output *output, struct error *err) MUST_CHECK;
bool report_json(const struct report *report, struct output *output, struct error *err) MUST_CHECK;
/* What the JSON holds, a line for each value: name, tab, value; "-" for null. The name is the path
 * of keys, with dots between. Without the tables by class. */
bool report_tsv(const struct report *report, struct output *output, struct error *err) MUST_CHECK;

#endif
