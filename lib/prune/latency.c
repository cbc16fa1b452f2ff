/* latency.c: the curves, and the shapes that are timed for them. */
#include "prune/latency.h"

#include <math.h>
#include <stdlib.h>

#include "core/memory.h"
#include "prune/pace.h"

enum {
    REPEATED = 3, /* layers that differ from the least shape: their weights do not stay in a cache
                     that those of a real model would not stay in */
    LEAST_ROUNDS = 5,
    MOST_ROUNDS = 41,
    MOST_SHAPES = 4 * LATENCY_POINTS
};
static const double measure_seconds = 3; /* unless asked otherwise */

/* ---- curves ---- */

double latency_at(const struct latency_curve *curve, double x)
{
    if (curve->n < 2 || x <= (double)curve->at[0])
        return curve->n ? curve->seconds[0] : 0;
    size_t i = 1;
    while (i + 1 < curve->n && x > (double)curve->at[i])
        i++;
    double left = (double)curve->at[i - 1], right = (double)curve->at[i];
    double part = (x - left) / (right - left);
    return part == 1 ? curve->seconds[i]
                     : curve->seconds[i - 1] + part * (curve->seconds[i] - curve->seconds[i - 1]);
}

void latency_monotone(struct latency_curve *curve)
{
    /* Blocks of points that share a mean; a block below its left neighbour joins it. */
    double mean[LATENCY_POINTS];
    size_t size[LATENCY_POINTS], n = 0, at = 0;
    for (size_t i = 0; i < curve->n; i++) {
        mean[n] = i == 0 || curve->seconds[i] < 0 ? 0 : curve->seconds[i];
        size[n++] = 1;
        while (n > 1 && mean[n - 2] > mean[n - 1]) {
            double sum = mean[n - 2] * (double)size[n - 2] + mean[n - 1] * (double)size[n - 1];
            size[n - 2] += size[n - 1];
            mean[n - 2] = sum / (double)size[n - 2];
            n--;
        }
    }
    for (size_t b = 0; b < n; b++)
        for (size_t i = 0; i < size[b]; i++)
            curve->seconds[at++] = mean[b];
}

double latency_total(const struct latency *latency, const struct shape *shape)
{
    double sum = latency->fixed + (double)(shape->n_layers - 1) * latency->layer;
    for (size_t l = 0; l < shape->n_layers; l++) {
        size_t last = l + 1 == shape->n_layers;
        sum += latency_at(&latency->head[last], (double)shape->layer[l].heads) +
               latency_at(&latency->neuron[last], (double)shape->layer[l].ffn);
    }
    return sum;
}

/* Of one more, on average from the first to n. */
static double slope(const struct latency_curve *curve, size_t n)
{
    size_t most = curve->at[curve->n - 1];
    double x = n > 1 ? (double)n : (double)most;
    return x > 1 ? (latency_at(curve, x) - curve->seconds[0]) / (x - 1) : 0;
}

void latency_costs(const struct latency *latency, const struct shape *shape, struct unit *unit,
                   size_t n_units)
{
    for (size_t i = 0; i < n_units; i++) {
        const struct layer_shape *layer = &shape->layer[unit[i].layer];
        size_t last = unit[i].layer + 1 == shape->n_layers;
        bool head = unit[i].kind == UNIT_HEAD;
        const struct latency_curve *curve = head ? latency->head : latency->neuron;
        size_t n = head ? layer->heads : layer->ffn;
        /* What the clock cannot tell from nothing still costs something. */
        double cost = slope(&curve[last], n), least = slope(&curve[0], n) / 1000;
        unit[i].cost = fmax(fmax(cost, least), 1e-12);
    }
}

/* ---- measuring ---- */

/* One shape to be timed, and the point of a curve it gives; curve NULL: fixed or layer. */
struct trial {
    struct pace *pace;
    struct latency_curve *curve;
    size_t n_layers, heads, ffn; /* heads and ffn: of the layers that differ */
    bool last;                   /* the last layer differs, else the others */
    double *sample, seconds;
};

struct trials {
    struct trial trial[MOST_SHAPES];
    size_t n, rounds;
};

static void add(struct trials *trials, struct latency_curve *curve, size_t n_layers, size_t heads,
                size_t ffn, bool last)
{
    trials->trial[trials->n++] = (struct trial){
        .curve = curve, .n_layers = n_layers, .heads = heads, .ffn = ffn, .last = last};
}

static size_t most(const struct shape *shape, bool heads)
{
    size_t n = 1;
    for (size_t l = 0; l < shape->n_layers; l++) {
        size_t count = heads ? shape->layer[l].heads : shape->layer[l].ffn;
        n = count > n ? count : n;
    }
    return n;
}

/* Points of a curve up to n: shares of it, each once, 1 first. */
static void plan_curve(struct trials *trials, struct latency_curve *curve, size_t n, bool heads,
                       bool last, const double *share, size_t n_shares)
{
    curve->n = 1;
    curve->at[0] = 1;
    curve->seconds[0] = 0;
    for (size_t i = 0; i < n_shares; i++) {
        size_t at = (size_t)(share[i] * (double)n + 0.5);
        if (at <= curve->at[curve->n - 1])
            continue;
        curve->at[curve->n++] = at;
        add(trials, curve, last ? 1 : REPEATED + 1, heads ? at : 1, heads ? 1 : at, last);
    }
}

static void plan(struct trials *trials, struct latency *latency, const struct shape *shape)
{
    static const double of_heads[] = {1.0 / 6, 1.0 / 4, 1.0 / 3, 1.0 / 2, 2.0 / 3, 1};
    static const double of_neurons[] = {1.0 / 48, 1.0 / 16, 1.0 / 8, 1.0 / 4, 1.0 / 2, 1};
    static const double of_last[] = {1.0 / 4, 1};
    size_t heads = most(shape, true), ffn = most(shape, false);
    *trials = (struct trials){.n = 0};
    add(trials, NULL, 1, 1, 1, true);
    add(trials, NULL, REPEATED + 1, 1, 1, false);
    plan_curve(trials, &latency->head[0], heads, true, false, of_heads, 6);
    plan_curve(trials, &latency->neuron[0], ffn, false, false, of_neurons, 6);
    plan_curve(trials, &latency->head[1], heads, true, true, of_last, 2);
    plan_curve(trials, &latency->neuron[1], ffn, false, true, of_last, 2);
}

static bool open_trial(struct trial *trial, const struct shape *shape,
                       const struct latency_options *options, struct device *dev,
                       struct threads *team, struct error *err)
{
    struct layer_shape layer[REPEATED + 1];
    struct shape timed = *shape;
    const struct pace_options how = {.n_tokens = options->n_tokens,
                                     .int8 = options->int8,
                                     .seconds = options->seconds / (LEAST_ROUNDS * MOST_SHAPES)};
    for (size_t l = 0; l < trial->n_layers; l++) {
        bool differs = (l + 1 == trial->n_layers) == trial->last;
        layer[l].heads = differs ? trial->heads : 1;
        layer[l].ffn = differs ? trial->ffn : 1;
    }
    timed.layer = layer;
    timed.n_layers = trial->n_layers;
    trial->sample = memory_array(MOST_ROUNDS, sizeof *trial->sample, err);
    trial->pace = trial->sample ? pace_open(&timed, &how, dev, team, err) : NULL;
    return trial->pace != NULL;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* All in turns, there and back, so that what slows the machine down for a while hits all alike; of
 * each its first quartile, for neighbours on the machine only ever add. */
static bool run_rounds(struct trials *trials, double seconds, const struct progress *progress,
                       struct error *err)
{
    double begin = progress_clock();
    size_t n = trials->n, round = 0;
    while (round < LEAST_ROUNDS || (round < MOST_ROUNDS && progress_clock() - begin < seconds)) {
        for (size_t i = 0; i < n; i++) {
            struct trial *trial = &trials->trial[round % 2 ? n - 1 - i : i];
            if (!pace_run(trial->pace, &trial->sample[round], err))
                return false;
        }
        round++;
        progress_report(progress,
                        &(struct progress_event){
                            .stage = "time layers", .done = round, .unit = "rounds", .loss = NAN});
    }
    for (size_t i = 0; i < n; i++) {
        qsort(trials->trial[i].sample, round, sizeof(double), compare);
        trials->trial[i].seconds = trials->trial[i].sample[round / 4];
    }
    trials->rounds = round;
    return true;
}

/* The curves from the times. */
static void settle(struct trials *trials, struct latency *latency)
{
    double one = trials->trial[0].seconds, all = trials->trial[1].seconds;
    latency->fixed = one;
    latency->layer = fmax(0, (all - one) / REPEATED);
    for (size_t i = 2; i < trials->n; i++) {
        const struct trial *trial = &trials->trial[i];
        struct latency_curve *curve = trial->curve;
        size_t at = trial->heads > 1 ? trial->heads : trial->ffn, k = 0;
        while (curve->at[k] != at)
            k++;
        curve->seconds[k] = trial->last ? trial->seconds - one : (trial->seconds - all) / REPEATED;
    }
    for (size_t last = 0; last < 2; last++) {
        latency_monotone(&latency->head[last]);
        latency_monotone(&latency->neuron[last]);
    }
}

bool latency_measure(struct latency *latency, const struct shape *shape,
                     const struct latency_options *options, struct device *dev,
                     struct threads *team, const struct progress *progress, struct error *err)
{
    struct trials trials;
    bool ok = true;
    *latency = (struct latency){.fixed = 0};
    plan(&trials, latency, shape);
    for (size_t i = 0; ok && i < trials.n; i++)
        ok = open_trial(&trials.trial[i], shape, options, dev, team, err);
    ok = ok && run_rounds(&trials, options->seconds > 0 ? options->seconds : measure_seconds,
                          progress, err);
    if (ok)
        settle(&trials, latency);
    for (size_t i = 0; i < trials.n; i++) {
        pace_close(trials.trial[i].pace);
        free(trials.trial[i].sample);
    }
    return ok;
}
