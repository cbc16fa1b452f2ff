/* movement_mask.c: the best scores are found by their bits, most significant first, in time linear
 * in their number: scores of single weights are as many as the weights, and masks are made anew in
 * every step. */
#include "prune/movement_mask.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "nn/schedule.h"

enum { DIGIT_BITS = 11, DIGITS = 3, BUCKETS = 1 << DIGIT_BITS };

static const double floor_share = 0.005; /* Lagunas et al. 2021 */

double movement_progress(double start, double settle, size_t step, size_t total)
{
    double begin = start * (double)total, end = (1 - settle) * (double)total, at = (double)step;
    if (at >= end)
        return 1;
    if (at <= begin)
        return 0;
    double left = 1 - (at - begin) / (end - begin);
    return 1 - left * left * left;
}

double movement_progress_admitted(double start, double settle, double pass, size_t step,
                                  size_t total)
{
    double begin = start * (double)total, end = (1 - settle) * (double)total, at = (double)step;
    end = pass < end ? pass : end;
    if (at < begin) /* the pass may be over before */
        return 0;
    if (at >= end)
        return 1;
    double first = schedule_competence(begin / pass), last = schedule_competence(end / pass);
    return (schedule_competence(at / pass) - first) / (last - first);
}

/* ---- the best scores of some sets ---- */

/* Larger for larger scores; 0 for NaN. */
static uint32_t key_of(float score)
{
    uint32_t bits;
    if (isnan(score))
        return 0;
    memcpy(&bits, &score, sizeof bits);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

/* Sets `set` [n_sets], whose scores count by their weights, or 1 each. */
struct ranking {
    const struct movement_set *set;
    size_t n_sets;
    const float *score;
    bool by_count;
};

/* What every score of the set counts; 0: they differ. */
static double common_size(const struct ranking *ranking, const struct movement_set *set)
{
    if (ranking->by_count)
        return 1;
    for (size_t u = 0; u < set->n_uses; u++) {
        const struct blocks *blocks = &set->use[u].blocks;
        if (blocks->rows % blocks->block_rows || blocks->cols % blocks->block_cols)
            return 0;
    }
    return (double)movement_weights(set, 0);
}

static double size_of(const struct movement_set *set, size_t i, double common)
{
    return common > 0 ? common : (double)movement_weights(set, i);
}

/* Sizes of the scores whose key begins with `prefix`, by the next digit. */
static void histogram(const struct ranking *ranking, uint32_t prefix, unsigned shift,
                      double bucket[BUCKETS])
{
    memset(bucket, 0, BUCKETS * sizeof *bucket);
    for (size_t s = 0; s < ranking->n_sets; s++) {
        const struct movement_set *set = &ranking->set[s];
        double common = common_size(ranking, set);
        for (size_t i = 0; i < set->n; i++) {
            uint64_t key = key_of(ranking->score[set->first + i]);
            if (key >> (shift + DIGIT_BITS) == prefix)
                bucket[key >> shift & (BUCKETS - 1)] += size_of(set, i, common);
        }
    }
}

/* The key of the score at which the best, added up, reach the budget; *above: the sum of those that
 * are better. */
static uint32_t find_key(const struct ranking *ranking, double budget, double *above)
{
    double bucket[BUCKETS];
    uint32_t prefix = 0;
    *above = 0;
    for (unsigned digit = DIGITS; digit-- > 0;) {
        size_t b = BUCKETS - 1;
        histogram(ranking, prefix, digit * DIGIT_BITS, bucket);
        while (b > 0 && *above + bucket[b] < budget)
            *above += bucket[b--];
        prefix = prefix << DIGIT_BITS | (uint32_t)b;
    }
    return prefix;
}

/* Keep the best scores as long as that comes nearer to the budget. */
static void keep_best(const struct ranking *ranking, double budget, float *keep)
{
    double kept;
    uint32_t limit = find_key(ranking, budget, &kept);
    for (size_t s = 0; s < ranking->n_sets; s++) {
        const struct movement_set *set = &ranking->set[s];
        double common = common_size(ranking, set);
        for (size_t i = 0; i < set->n; i++) {
            uint32_t key = key_of(ranking->score[set->first + i]);
            double size = key == limit ? size_of(set, i, common) : 0;
            bool equal = key == limit && kept + size / 2 <= budget;
            if (equal)
                kept += size;
            if (equal || key > limit)
                keep[set->first + i] = 1;
        }
    }
}

static double weights_of(const struct movement_set *set, size_t n)
{
    double all = 0;
    for (size_t s = 0; s < n; s++)
        for (size_t u = 0; u < set[s].n_uses; u++)
            all += (double)set[s].use[u].blocks.rows * (double)set[s].use[u].blocks.cols;
    return all;
}

static void keep_floor(const struct movement_set *set, const float *score, float *keep)
{
    const struct ranking ranking = {.set = set, .n_sets = 1, .score = score, .by_count = true};
    double n = ceil(floor_share * (double)set->n);
    keep_best(&ranking, n, keep);
}

/* ---- heads ---- */

enum { SLICES = 4 }; /* of a head: query, key, value, output projection */
enum { SLICE_VALUE = 2 };

/* Blocks of one head in one set: `n` runs of `run` blocks, `step` apart. */
struct slice {
    size_t first, run, step, n;
};

static struct slice slice_of(const struct movement_set *set, size_t head, size_t heads)
{
    const struct blocks *blocks = &set->use[0].blocks;
    size_t down = blocks_down(blocks), across = blocks_across(blocks);
    if (set->use[0].role == FAMILY_CONTEXT)
        return (struct slice){set->first + head * (across / heads), across / heads, across, down};
    return (struct slice){set->first + head * (down / heads) * across, down / heads * across, 0, 1};
}

static bool kept_any(const struct slice *slice, const float *keep)
{
    for (size_t r = 0; r < slice->n; r++)
        for (size_t i = 0; i < slice->run; i++)
            if (keep[slice->first + r * slice->step + i] != 0)
                return true;
    return false;
}

static size_t best_of(const struct slice *slice, const float *score)
{
    size_t best = slice->first;
    for (size_t r = 0; r < slice->n; r++)
        for (size_t i = 0; i < slice->run; i++) {
            size_t at = slice->first + r * slice->step + i;
            best = key_of(score[at]) > key_of(score[best]) ? at : best;
        }
    return best;
}

static bool head_lives(const struct movement_set *set, size_t head, size_t heads, const float *keep)
{
    for (size_t s = 0; s < SLICES; s++) {
        struct slice slice = slice_of(&set[s], head, heads);
        if (!kept_any(&slice, keep))
            return false;
    }
    return true;
}

static void save_best_head(const struct movement_set *set, size_t heads, const float *score,
                           float *keep)
{
    size_t best = 0;
    double best_sum = -INFINITY;
    for (size_t h = 0; h < heads; h++) {
        double sum = 0;
        for (size_t s = 0; s < SLICES; s++) {
            struct slice slice = slice_of(&set[s], h, heads);
            sum += (double)score[best_of(&slice, score)];
        }
        if (sum > best_sum) {
            best = h;
            best_sum = sum;
        }
    }
    for (size_t s = 0; s < SLICES; s++) {
        struct slice slice = slice_of(&set[s], best, heads);
        if (!kept_any(&slice, keep))
            keep[best_of(&slice, score)] = 1;
    }
}

/* set: the four of a layer's attention. */
static void settle_heads(const struct movement_set *set, size_t heads, const float *score,
                         float *keep)
{
    bool any = false;
    for (size_t h = 0; h < heads && !any; h++)
        any = head_lives(set, h, heads, keep);
    if (!any)
        save_best_head(set, heads, score, keep);
    for (size_t h = 0; h < heads; h++)
        if (!head_lives(set, h, heads, keep)) {
            struct slice value = slice_of(&set[SLICE_VALUE], h, heads);
            memset(keep + value.first, 0, value.run * sizeof *keep);
        }
}

/* ---- all together ---- */

static void fill_bands(const struct movement_layout *layout, const float *keep, float *band)
{
    for (size_t s = 0; s < layout->n_sets; s++)
        for (size_t u = 0; u < layout->set[s].n_uses; u++) {
            const struct movement_use *use = &layout->set[s].use[u];
            size_t down = blocks_down(&use->blocks), across = blocks_across(&use->blocks);
            for (size_t i = 0; i < down; i++) {
                struct slice row = {layout->set[s].first + i * across, across, 0, 1};
                band[use->band + i] = kept_any(&row, keep);
            }
        }
}

void movement_choose(const struct movement_layout *layout, const struct movement_choice *choice,
                     const float *score, float *keep, float *band)
{
    memset(keep, 0, layout->n_scores * sizeof *keep);
    if (choice->rule == MOVEMENT_GLOBAL) {
        const struct ranking all = {.set = layout->set, .n_sets = layout->n_sets, .score = score};
        keep_best(&all, choice->share * weights_of(layout->set, layout->n_sets), keep);
    }
    for (size_t s = 0; s < layout->n_sets; s++) {
        const struct movement_set *set = &layout->set[s];
        const struct ranking one = {.set = set, .n_sets = 1, .score = score};
        if (choice->rule == MOVEMENT_TOPK)
            keep_best(&one, choice->share * weights_of(set, 1), keep);
        for (size_t i = set->first; choice->rule == MOVEMENT_THRESHOLD && i < set->first + set->n;
             i++)
            keep[i] = 1 / (1 + exp(-(double)score[i])) > choice->threshold;
        keep_floor(set, score, keep);
    }
    for (size_t s = 0; s < layout->n_sets; s++) {
        const struct movement_set *set = &layout->set[s];
        if (set->attention && set->use[0].role == FAMILY_QUERY &&
            layout->variant != MOVEMENT_STRUCT)
            settle_heads(set, layout->shape->layer[set->layer].heads, score, keep);
    }
    fill_bands(layout, keep, band);
}

static void fill_value(const struct movement_set *set, size_t heads, float *keep)
{
    for (size_t h = 0; h < heads; h++) {
        struct slice slice = slice_of(set, h, heads);
        bool lives = kept_any(&slice, keep);
        for (size_t i = 0; i < slice.run; i++)
            keep[slice.first + i] = lives;
    }
}

void movement_fill(const struct movement_layout *layout, float *keep, float *band)
{
    for (size_t s = 0; s < layout->n_sets; s++) {
        const struct movement_set *set = &layout->set[s];
        if (!set->attention)
            continue;
        if (set->use[0].role == FAMILY_VALUE)
            fill_value(set, layout->shape->layer[set->layer].heads, keep);
        for (size_t i = 0; set->use[0].role != FAMILY_VALUE && i < set->n; i++)
            keep[set->first + i] = 1;
    }
    fill_bands(layout, keep, band);
}
