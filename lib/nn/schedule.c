/* schedule.c: length-bucketed batches and the learning rate. */
#include "nn/schedule.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/rng.h"

enum { POOL_BATCHES = 50, CURRICULUM_POOL_BATCHES = 8 };

static const double first_competence = 0.1;

void schedule_free(struct schedule *schedule)
{
    free(schedule->record);
    free(schedule->first);
    *schedule = (struct schedule){0};
}

static int compare_keys(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Sort pools of the shuffled records by length; ties stay in shuffled order. key is room for n. */
static void sort_pools(uint32_t *record, size_t n, const uint32_t *length, size_t pool_tokens,
                       uint64_t *key, uint32_t *copy)
{
    memcpy(copy, record, n * sizeof *record);
    for (size_t begin = 0, end = 0; begin < n; begin = end) {
        size_t tokens = 0;
        while (end < n && (end == begin || tokens < pool_tokens))
            tokens += length[copy[end++]];
        for (size_t i = begin; i < end; i++)
            key[i] = (uint64_t)length[copy[i]] << 32 | i;
        qsort(key + begin, end - begin, sizeof *key, compare_keys);
        for (size_t i = begin; i < end; i++)
            record[i] = copy[key[i] & 0xffffffff];
    }
}

double schedule_competence(double share)
{
    double c0 = first_competence * first_competence;
    return sqrt(share * (1 - c0) + c0);
}

/* Each record once, drawn from those that the competence admits. Never fewer than were drawn: c(f)
 * is at least f. `pool` is room for n. */
static void draw_by_rank(uint32_t *record, const uint32_t *rank, size_t n, struct rng *rng,
                         uint32_t *pool)
{
    size_t admitted = 0, waiting = 0;
    for (size_t i = 0; i < n; i++) {
        double share = (double)(i + 1) / (double)n;
        size_t up_to = (size_t)(schedule_competence(share) * (double)n);
        up_to = up_to > n ? n : up_to < i + 1 ? i + 1 : up_to;
        while (admitted < up_to)
            pool[waiting++] = rank[admitted++];
        size_t drawn = (size_t)rng_below(rng, waiting);
        record[i] = pool[drawn];
        pool[drawn] = pool[--waiting];
    }
}

/* Shuffle runs of so many items. */
static void shuffle_runs(struct rng *rng, uint32_t *item, size_t n, size_t run)
{
    for (size_t begin = 0; begin < n; begin += run)
        rng_shuffle(rng, item + begin, n - begin < run ? n - begin : run);
}

/* Cut by the budget; returns the number of batches. first: room for n + 1. */
static size_t cut(const uint32_t *record, size_t n, const uint32_t *length, size_t batch_tokens,
                  size_t *first)
{
    size_t batches = 0, tokens = 0;
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || tokens + length[record[i]] > batch_tokens) {
            first[batches++] = i;
            tokens = 0;
        }
        tokens += length[record[i]];
    }
    first[batches] = n;
    return batches;
}

/* Put the batches of `from` in the given order. */
static void reorder(struct schedule *s, const uint32_t *from, const size_t *first,
                    const uint32_t *order)
{
    size_t at = 0;
    for (size_t b = 0; b < s->n_batches; b++) {
        size_t begin = first[order[b]], n = first[order[b] + 1] - begin;
        s->first[b] = at;
        memcpy(s->record + at, from + begin, n * sizeof *from);
        at += n;
    }
    s->first[s->n_batches] = at;
}

bool schedule_plan(struct schedule *schedule, const uint32_t *length, const uint32_t *rank,
                   size_t n, size_t batch_tokens, uint64_t seed, struct error *err)
{
    struct rng rng;
    *schedule = (struct schedule){.n = n};
    size_t pool_tokens, pool_batches = rank ? CURRICULUM_POOL_BATCHES : POOL_BATCHES;
    if (!memory_multiply(batch_tokens, pool_batches, &pool_tokens))
        pool_tokens = SIZE_MAX;
    if (n == 0 || n > UINT32_MAX)
        return error_set(err, "%zu records cannot be scheduled", n);
    schedule->record = memory_array(n, sizeof *schedule->record, err);
    schedule->first = memory_array(n + 1, sizeof *schedule->first, err);
    uint32_t *sorted = memory_array(n, sizeof *sorted, err);
    uint32_t *order = memory_array(n, sizeof *order, err);
    uint64_t *key = memory_array(n, sizeof *key, err);
    size_t *first = memory_array(n + 1, sizeof *first, err);
    bool ok = schedule->record && schedule->first && sorted && order && key && first;
    if (ok) {
        rng_seed(&rng, seed);
        for (size_t i = 0; i < n; i++)
            sorted[i] = (uint32_t)i;
        if (rank)
            draw_by_rank(sorted, rank, n, &rng, order);
        else
            rng_shuffle(&rng, sorted, n);
        sort_pools(sorted, n, length, pool_tokens, key, order);
        schedule->n_batches = cut(sorted, n, length, batch_tokens, first);
        for (size_t b = 0; b < schedule->n_batches; b++)
            order[b] = (uint32_t)b;
        shuffle_runs(&rng, order, schedule->n_batches, rank ? pool_batches : n);
        reorder(schedule, sorted, first, order);
    } else {
        schedule_free(schedule);
    }
    free(sorted);
    free(order);
    free(key);
    free(first);
    return ok;
}

double schedule_lr(double lr, double warmup, size_t step, size_t total)
{
    double rising = warmup * (double)total, at = (double)step;
    if (at + 1 < rising)
        return lr * (at + 1) / rising;
    double left = ((double)total - at) / ((double)total - rising);
    return lr * (left < 1 ? left : 1);
}
