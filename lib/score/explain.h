/* explain.h: where the time of a model goes: passes over the texts with every operation timed
 * (kernels/trace.h), and between them the peak of the machine, measured by turns.
 *
 * Taking the time costs some twenty nanoseconds an operation, so these passes are not those that
 * give texts per second.
 */
#ifndef MILLET_SCORE_EXPLAIN_H
#define MILLET_SCORE_EXPLAIN_H

#include "core/error.h"
#include "kernels/trace.h"
#include "score/timing.h"

/* One kind of operation, or what lies between them. NaN: not known. */
struct explain_row {
    const char *name;
    double calls;                         /* of a pass */
    double seconds;                       /* of a pass: of all threads, divided by their number */
    double share;                         /* of the time of a pass */
    double operations_per_s, bytes_per_s; /* of all threads at it */
    double roofline; /* of what the peak lets through for this work: trace_least_seconds() / time */
    bool by_bytes;   /* which peak that is */
};

struct explain {
    size_t passes; /* 0: not measured */
    size_t threads;
    double pass_s;           /* mean */
    struct device_peak peak; /* the best of those measured, one before each pass */
    size_t n;
    struct explain_row row[TRACE_KINDS + 1]; /* by time; last what no operation takes */
};

/* As many passes and seconds as `options` say. The subject has been run before. */
bool explain_run(struct device *dev, const struct timing_subject *subject,
                 const struct timing_options *options, struct explain *explain,
                 struct error *err) MUST_CHECK;

#endif
