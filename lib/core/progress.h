/* progress.h: how the library tells of long work without printing: it calls back; a tool decides
 * what to show. */
#ifndef MILLET_CORE_PROGRESS_H
#define MILLET_CORE_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress_event {
    const char *stage;    /* "train", "teach", … */
    uint64_t done, total; /* in units; total 0 = unknown */
    const char *unit;     /* "records", "steps" */
    double loss;          /* NaN where it has no meaning */
};

/* May be called often (the receiver limits the rate) and only from the thread that called the
 * library. */
struct progress {
    void (*report)(void *context, const struct progress_event *event);
    void *context;
};

/* No-op when progress or its callback is NULL. */
void progress_report(const struct progress *progress, const struct progress_event *event);

/* Seconds since an arbitrary start, monotonic. */
double progress_clock(void);

#endif
