#include "core/progress.h"

#include <time.h>

void progress_report(const struct progress *progress, const struct progress_event *event)
{
    if (progress && progress->report)
        progress->report(progress->context, event);
}

double progress_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}
