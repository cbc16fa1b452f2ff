/* evaluate.h: the whole job of scoring: run the subjects over a record set, count, compare, and
 * time what was counted.
 *
 * Records without a label are predicted (they count in agreement and timing) but left out of
 * accuracy. Records with any number of labels
 * count as right when all their labels are. Memory: the mapped stream, four bytes per record and
 * subject, and the logits of one part.
 */
#ifndef MILLET_SCORE_EVALUATE_H
#define MILLET_SCORE_EVALUATE_H

#include "core/error.h"
#include "core/progress.h"
#include "io/records.h"
#include "score/report.h"
#include "score/subject.h"
#include "score/timing.h"

struct evaluate_options {
    /* The same texts in the same order for a baseline with another tokenizer; NULL: those of the
     * model. Another number of records, other labels or other texts are an error. */
    const struct records_set *baseline_set;
    const char *baseline_stream;  /* its name */
    bool time;                    /* the model must be one; a baseline that is none is not timed */
    struct timing_options timing; /* n_texts is set here; with its meter, energy is measured */
    struct device *explained; /* that the models are on, to time its operations; NULL: not asked */
    double watts;             /* of the whole machine at this work; NaN: nobody says */
    bool watts_stated;        /* by the user: they go before the meter; else an estimate */
    double margin;            /* a share: is the model worse by so much? NaN: not asked */
    uint64_t seed;            /* of the bootstrap */
};

/* Fills model, baseline, compare, counts and lengths of *report; the caller has zeroed it and sets
 * version, device and threads, and releases it with report_free(). Names and labels stay borrowed
 * from set and subjects. baseline may be NULL. */
bool evaluate(const struct subject *model, const struct subject *baseline,
              const struct records_set *set, const char *stream_name,
              const struct evaluate_options *options, const struct progress *progress,
              struct report *report, struct error *err) MUST_CHECK;

#endif
