/* explain.c: see explain.h. */
#include "score/explain.h"

#include <math.h>
#include <stdlib.h>

static void take_best(struct device_peak *best, const struct device_peak *peak)
{
    best->f32 = fmax(best->f32, peak->f32);
    best->bf16 = fmax(best->bf16, peak->bf16);
    best->int8 = fmax(best->int8, peak->int8);
    best->bytes = fmax(best->bytes, peak->bytes);
}

static bool run_passes(struct device *dev, const struct timing_subject *subject,
                       const struct timing_options *options, struct explain *explain,
                       struct error *err)
{
    double (*clock)(void) = options->clock ? options->clock : progress_clock;
    double sum = 0;
    while (explain->passes < options->rounds || sum < options->seconds) {
        struct device_peak peak;
        dev->op->peak(dev, &peak);
        take_best(&explain->peak, &peak);
        double begin = clock();
        if (!subject->pass(subject->context, err))
            return false;
        sum += clock() - begin;
        explain->passes++;
    }
    explain->pass_s = sum / (double)explain->passes;
    return true;
}

static double known(double value)
{
    return value > 0 ? value : NAN;
}

static int by_time(const void *a, const void *b)
{
    const struct explain_row *x = a, *y = b;
    return (x->seconds < y->seconds) - (x->seconds > y->seconds);
}

static void make_rows(const struct trace *trace, struct explain *explain)
{
    struct trace_count count[TRACE_KINDS];
    double threads = (double)explain->threads, passes = (double)explain->passes, inside = 0;
    trace_sum(trace, count);
    for (size_t k = 0; k < TRACE_KINDS; k++) {
        struct explain_row *row = &explain->row[explain->n];
        double seconds = count[k].seconds / threads;
        if (!count[k].calls)
            continue;
        *row = (struct explain_row){.name = trace_name((enum trace_kind)k),
                                    .calls = (double)count[k].calls / passes,
                                    .seconds = seconds / passes,
                                    .share = seconds / passes / explain->pass_s,
                                    .operations_per_s = known(count[k].operations / seconds),
                                    .bytes_per_s = known(count[k].bytes / seconds)};
        row->roofline = known(trace_least_seconds(trace, &explain->peak, (enum trace_kind)k,
                                                  &count[k], &row->by_bytes) /
                              count[k].seconds);
        inside += row->seconds;
        explain->n++;
    }
    qsort(explain->row, explain->n, sizeof explain->row[0], by_time);
    double rest = fmax(explain->pass_s - inside, 0);
    explain->row[explain->n++] = (struct explain_row){.name = "between operations",
                                                      .calls = NAN,
                                                      .seconds = rest,
                                                      .share = rest / explain->pass_s,
                                                      .operations_per_s = NAN,
                                                      .bytes_per_s = NAN,
                                                      .roofline = NAN};
}

bool explain_run(struct device *dev, const struct timing_subject *subject,
                 const struct timing_options *options, struct explain *explain, struct error *err)
{
    *explain = (struct explain){.threads = dev->n_lanes};
    struct trace *trace = trace_open(dev, err);
    if (!trace)
        return false;
    bool ok = run_passes(dev, subject, options, explain, err);
    if (ok)
        make_rows(trace, explain);
    else
        explain->passes = 0;
    trace_close(trace);
    return ok;
}
