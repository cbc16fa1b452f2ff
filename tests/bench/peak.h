/* peak.h: what this machine can do at most: independent multiply-adds from registers, in the widest
 * instruction set, on n threads at once; and the timing that every benchmark here uses. Header
 * only. */
#ifndef MILLET_BENCH_PEAK_H
#define MILLET_BENCH_PEAK_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "core/dtype.h"
#include "core/threads.h"
#include "kernels/cpu/isa.h"

enum { PEAK_LOOPS = 400000, PEAK_CHAINS = 12 };

static volatile float peak_sink;

/* Seconds of the wall clock, and of processor time of all threads together. On a machine that
 * others use, too, only ratios of processor time say how good the code is. */
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
    return (struct peak_time){peak_clock(CLOCK_MONOTONIC), peak_clock(CLOCK_PROCESS_CPUTIME_ID)};
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

/* The bodies of the loops: PEAK_CHAINS independent sums, kept apart by an empty asm that the
 * compiler cannot look into. */
#define PEAK_BODY(TYPE, ZERO, STEP, CONSTRAINT)                                                    \
    TYPE c[PEAK_CHAINS];                                                                           \
    for (int i = 0; i < PEAK_CHAINS; i++)                                                          \
        c[i] = ZERO;                                                                               \
    TYPE a = ZERO, b = ZERO;                                                                       \
    for (int loop = 0; loop < PEAK_LOOPS; loop++) {                                                \
        __asm__ volatile("" : "+" CONSTRAINT(a), "+" CONSTRAINT(b));                               \
        _Pragma("GCC unroll 16") for (int i = 0; i < PEAK_CHAINS; i++) c[i] = STEP(c[i], a, b);    \
    }                                                                                              \
    float first = 0;                                                                               \
    for (int i = 0; i < PEAK_CHAINS; i++) {                                                        \
        float lane;                                                                                \
        memcpy(&lane, &c[i], sizeof lane);                                                         \
        first += lane;                                                                             \
    }                                                                                              \
    peak_sink = first

#if defined(__x86_64__)
#define PEAK_FMA512(c, a, b) _mm512_fmadd_ps(a, b, c)
#define PEAK_FMA256(c, a, b) _mm256_fmadd_ps(a, b, c)
#define PEAK_VNNI(c, a, b)   _mm512_dpbusd_epi32(c, a, b)
#define PEAK_DOT16(c, a, b)  _mm512_dpbf16_ps(c, (__m512bh)(a), (__m512bh)(b))
#define PEAK_MADD(c, a, b)   _mm256_add_epi32(c, _mm256_madd_epi16(a, b))
__attribute__((target("avx512f"))) static inline void peak_fma512(void)
{
    PEAK_BODY(__m512, _mm512_setzero_ps(), PEAK_FMA512, "v");
}
__attribute__((target("avx2,fma"))) static inline void peak_fma256(void)
{
    PEAK_BODY(__m256, _mm256_setzero_ps(), PEAK_FMA256, "x");
}
__attribute__((target("avx512f,avx512vnni"))) static inline void peak_vnni(void)
{
    PEAK_BODY(__m512i, _mm512_setzero_si512(), PEAK_VNNI, "v");
}
__attribute__((target("avx512f,avx512bf16"))) static inline void peak_bf16(void)
{
    PEAK_BODY(__m512, _mm512_setzero_ps(), PEAK_DOT16, "v");
}
__attribute__((target("avx2"))) static inline void peak_madd(void)
{
    PEAK_BODY(__m256i, _mm256_setzero_si256(), PEAK_MADD, "x");
}
#endif

typedef float peak_vec __attribute__((vector_size(16)));
#if defined(__x86_64__)
#define PEAK_REGISTER "x"
#else
#define PEAK_REGISTER "w"
#endif
#define PEAK_PLAIN(c, a, b) ((c) + (a) * (b))
static inline void peak_plain(void)
{
    PEAK_BODY(peak_vec, (peak_vec){0}, PEAK_PLAIN, PEAK_REGISTER);
}

struct peak_kernel {
    void (*run)(void);
    double operations; /* of one run: a multiplication and an addition are two */
};

/* Of products of F32, BF16 (as F32 where the set multiplies these) or I8 (of the portable set: none,
 * run is NULL). */
static inline struct peak_kernel peak_kernel(enum isa isa, enum dtype format)
{
    bool is_int8 = format == DTYPE_I8;
    double runs = 2.0 * PEAK_LOOPS * PEAK_CHAINS;
#if defined(__x86_64__)
    if (isa == ISA_AVX512BF16 && format == DTYPE_BF16)
        return (struct peak_kernel){peak_bf16, runs * 32};
    if (isa >= ISA_AVX512)
        return is_int8 ? (struct peak_kernel){peak_vnni, runs * 64}
                       : (struct peak_kernel){peak_fma512, runs * 16};
    if (isa == ISA_AVX2)
        return is_int8 ? (struct peak_kernel){peak_madd, runs * 16}
                       : (struct peak_kernel){peak_fma256, runs * 8};
#endif
    (void)isa;
    return is_int8 ? (struct peak_kernel){NULL, 0} : (struct peak_kernel){peak_plain, runs * 4};
}

static inline void peak_job(void *context, size_t member, size_t n_members)
{
    const struct peak_kernel *kernel = context;
    (void)member;
    (void)n_members;
    kernel->run();
}

/* One run on every member, measured. */
static inline void peak_measure(struct threads *team, struct peak_kernel *kernel,
                                struct peak_series *series)
{
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
