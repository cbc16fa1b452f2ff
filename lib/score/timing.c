/* timing.c: the alternating rounds and their medians. */
#include "score/timing.h"

#include <math.h>
#include <stdlib.h>

#include "core/memory.h"
#include "score/significance.h"

enum { WARM_UP_SINGLES = 10 };

/* Seconds measured for one subject. */
struct samples {
    double *value;
    size_t n, capacity;
    double joules; /* of all passes */
};

void timing_defaults(struct timing_options *options)
{
    *options = (struct timing_options){.rounds = 5, .seconds = 1, .clock = progress_clock};
}

size_t timing_single_text(size_t i, size_t n_singles, size_t n_texts)
{
    /* The middle of the i-th of n_singles equal stretches. */
    return (size_t)((double)n_texts * ((double)i + 0.5) / (double)n_singles);
}

static bool keep(struct samples *samples, double seconds, struct error *err)
{
    if (!memory_grow(&samples->value, &samples->capacity, samples->n + 1, sizeof *samples->value,
                     err))
        return false;
    samples->value[samples->n++] = seconds;
    return true;
}

/* The subject whose turn it is: forwards in even rounds, backwards in odd ones. */
static size_t turn(size_t i, size_t n_subjects, size_t round)
{
    return round % 2 ? n_subjects - 1 - i : i;
}

static bool time_passes(const struct timing_subject *subject, size_t n_subjects,
                        const struct timing_options *options, const struct progress *progress,
                        struct samples *samples, struct error *err)
{
    double begin = options->clock();
    for (size_t round = 0; round < options->rounds || options->clock() - begin < options->seconds;
         round++) {
        for (size_t i = 0; i < n_subjects; i++) {
            size_t s = turn(i, n_subjects, round);
            double before = options->meter ? energy_read(options->meter) : NAN;
            double start = options->clock();
            if (!subject[s].pass(subject[s].context, err) ||
                !keep(&samples[s], options->clock() - start, err))
                return false;
            samples[s].joules += options->meter ? energy_read(options->meter) - before : NAN;
        }
        progress_report(progress, &(struct progress_event){.stage = "time",
                                                           .done = round + 1,
                                                           .total = options->rounds,
                                                           .unit = "rounds",
                                                           .loss = NAN});
    }
    return true;
}

static bool time_singles(const struct timing_subject *subject, size_t n_subjects,
                         const struct timing_options *options, size_t n_singles,
                         struct samples *samples, struct error *err)
{
    for (size_t s = 0; s < n_subjects; s++)
        for (size_t i = 0; i < WARM_UP_SINGLES; i++)
            if (!subject[s].single(subject[s].context,
                                   timing_single_text(i % n_singles, n_singles, options->n_texts),
                                   err))
                return false;
    double begin = options->clock();
    for (size_t round = 0; round == 0 || options->clock() - begin < options->seconds; round++)
        for (size_t i = 0; i < n_singles; i++) {
            size_t text = timing_single_text(i, n_singles, options->n_texts);
            for (size_t k = 0; k < n_subjects; k++) {
                size_t s = turn(k, n_subjects, round);
                double start = options->clock();
                if (!subject[s].single(subject[s].context, text, err) ||
                    !keep(&samples[s], options->clock() - start, err))
                    return false;
            }
        }
    return true;
}

static double quantile(struct samples *samples, double share)
{
    significance_sort(samples->value, samples->n);
    return significance_quantile(samples->value, samples->n, share);
}

bool timing_run(const struct timing_subject *subject, size_t n_subjects,
                const struct timing_options *given, const struct progress *progress,
                struct timing_result *result, struct error *err)
{
    struct timing_options options = *given;
    options.clock = options.clock ? options.clock : progress_clock;
    size_t n_singles = options.n_texts < TIMING_MAX_SINGLES ? options.n_texts : TIMING_MAX_SINGLES;
    struct samples *passes = memory_zeroed(n_subjects, sizeof *passes, err);
    struct samples *singles = memory_zeroed(n_subjects, sizeof *singles, err);
    bool ok = passes && singles &&
              time_passes(subject, n_subjects, &options, progress, passes, err) &&
              time_singles(subject, n_subjects, &options, n_singles, singles, err);
    for (size_t s = 0; s < n_subjects && ok; s++) {
        double pass_s = quantile(&passes[s], 0.5);
        result[s] = (struct timing_result){.pass_s = pass_s,
                                           .texts_per_s = (double)options.n_texts / pass_s,
                                           .p50_ms = 1e3 * quantile(&singles[s], 0.5),
                                           .p95_ms = 1e3 * quantile(&singles[s], 0.95),
                                           .pass_j = passes[s].joules / (double)passes[s].n,
                                           .rounds = passes[s].n,
                                           .n_singles = singles[s].n,
                                           .n_single_texts = n_singles};
    }
    for (size_t s = 0; s < n_subjects; s++) {
        free(passes ? passes[s].value : NULL);
        free(singles ? singles[s].value : NULL);
    }
    free(passes);
    free(singles);
    return ok;
}
