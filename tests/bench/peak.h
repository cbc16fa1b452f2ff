/* peak.h: what this machine can do at most (kernels/cpu/peak.h), on n threads at once; and the timing
 * that every benchmark here uses. Header only. */
#ifndef MILLET_BENCH_PEAK_H
#define MILLET_BENCH_PEAK_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/dtype.h"
#include "core/threads.h"
#include "kernels/cpu/peak.h"

/* Seconds of the wall clock, and of processor time of the calling thread, which takes part in all that
 * is measured; what others have used is known late, and before that they may have spun for work of
 * somebody else's. On a machine that others use, too, only ratios of processor time say how good the
 * code is. */
struct peak_time {
    double wall, cpu;
};

static inline double peak_clock(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static inline struct peak_time peak_now(void)
{
    return (struct peak_time){peak_clock(CLOCK_MONOTONIC), peak_clock(CLOCK_THREAD_CPUTIME_ID)};
}

static inline struct peak_time peak_since(struct peak_time begin)
{
    struct peak_time now = peak_now();
    return (struct peak_time){now.wall - begin.wall, now.cpu - begin.cpu};
}

/* A series of measurements. */
enum { PEAK_MOST_RUNS = 64 };
struct peak_series {
    size_t n;
    double wall[PEAK_MOST_RUNS], cpu[PEAK_MOST_RUNS];
};

static inline void peak_add(struct peak_series *series, struct peak_time time)
{
    series->wall[series->n] = time.wall;
    series->cpu[series->n++] = time.cpu;
}

static inline int peak_ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Medians; sorts the series. */
static inline struct peak_time peak_median(struct peak_series *series)
{
    size_t n = series->n;
    qsort(series->wall, n, sizeof *series->wall, peak_ascending);
    qsort(series->cpu, n, sizeof *series->cpu, peak_ascending);
    return (struct peak_time){series->wall[n / 2], series->cpu[n / 2]};
}

struct peak_kernel {
    void (*run)(void);
    double operations; /* of one run: a multiplication and an addition are two */
};

/* Of products of F32, BF16 (as F32 where the set multiplies these) or I8 (of the portable set: none,
 * run is NULL). */
static inline struct peak_kernel peak_kernel(enum isa isa, enum dtype format)
{
    const struct peak *peak = ISA_PICK(peak, isa);
    const struct peak_loop *loop = format == DTYPE_I8                              ? &peak->int8
                                   : format == DTYPE_BF16 && isa == ISA_AVX512BF16 ? &peak->bf16
                                                                                   : &peak->f32;
    return (struct peak_kernel){loop->run, loop->operations};
}

static inline void peak_job(void *context, size_t member, size_t n_members)
{
    const struct peak_kernel *kernel = context;
    (void)member;
    (void)n_members;
    kernel->run();
}

/* One run on every member, measured; the one before it wakes them. */
static inline void peak_measure(struct threads *team, struct peak_kernel *kernel,
                                struct peak_series *series)
{
    if (kernel->run)
        threads_run(team, peak_job, kernel);
    struct peak_time begin = peak_now();
    if (kernel->run)
        threads_run(team, peak_job, kernel);
    peak_add(series, peak_since(begin));
}

/* The last columns of a row, with the line's end: GF/s, the peak's, and percent of peak by wall
 * clock and by processor time. Sorts. */
static inline void peak_report(double operations, struct peak_series *series,
                               struct peak_kernel kernel, struct peak_series *peak,
                               size_t n_threads)
{
    struct peak_time time = peak_median(series), top = peak_median(peak);
    double rate = operations / time.wall * 1e-9;
    double peak_operations = kernel.operations * (double)n_threads;
    if (!kernel.run) {
        printf("%.1f\t-\t-\t-\n", rate);
        return;
    }
    double share = operations / peak_operations;
    printf("%.1f\t%.1f\t%.0f\t%.0f\n", rate, peak_operations / top.wall * 1e-9,
           100 * share * top.wall / time.wall, 100 * share * top.cpu / time.cpu);
}
#define PEAK_COLUMNS "GF/s\tpeak GF/s\t%% of peak\t%% by CPU time"

#endif
