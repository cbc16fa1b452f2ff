/* Movement pruning's schedule, scores and masks, against sorting and against rules checked weight by
 * weight. */
#include <stdlib.h>
#include <string.h>

#include "tests/tap.h"
#include "tests/unit/tiny_model.h"

#include "prune/movement_mask.h"

enum { MOST = 4096 };

static float score[MOST], keep[MOST], band[MOST];

static bool near(double found, double expected)
{
    return fabs(found - expected) < 1e-12;
}

static void test_schedule(void)
{
    tap_ok(movement_progress(0.1, 0.3, 0, 100) == 0 && movement_progress(0.1, 0.3, 10, 100) == 0,
           "nothing is masked during the start");
    tap_ok(movement_progress(0.1, 0.3, 70, 100) == 1 && movement_progress(0.1, 0.3, 100, 100) == 1,
           "all of it while it settles");
    tap_ok(near(movement_progress(0.1, 0.3, 40, 100), 1 - 0.125), "cubic between");
    tap_ok(movement_progress(0, 0, 0, 100) == 0 && movement_progress(0, 0, 100, 100) == 1 &&
               near(movement_progress(0, 0, 50, 100), 0.875),
           "without start and settle");
    tap_ok(movement_progress(0.5, 0.5, 49, 100) == 0 && movement_progress(0.5, 0.5, 50, 100) == 1 &&
               movement_progress(0, 1, 0, 100) == 1 && movement_progress(1, 0, 100, 100) == 1 &&
               movement_progress(0.1, 0.3, 0, 0) == 1,
           "a step instead of a slope, and no steps at all");
}

static void test_curriculum(void)
{
    /* Half of the pass admits c(0.5) = sqrt(0.5 (1 - 0.01) + 0.01) of the records, of 0.1 … 1. */
    double half = (sqrt(0.505) - 0.1) / 0.9;
    tap_ok(movement_progress_admitted(0, 0.3, 50, 0, 100) == 0 &&
               near(movement_progress_admitted(0, 0.3, 50, 25, 100), half) &&
               movement_progress_admitted(0, 0.3, 50, 50, 100) == 1 &&
               movement_progress_admitted(0, 0.3, 50, 99, 100) == 1,
           "with a curriculum: the share of the records that are admitted");
    tap_ok(movement_progress_admitted(0.1, 0.3, 100, 10, 100) == 0 &&
               movement_progress_admitted(0.1, 0.3, 100, 69, 100) < 1 &&
               movement_progress_admitted(0.1, 0.3, 100, 69, 100) > 0.98 &&
               movement_progress_admitted(0.1, 0.3, 100, 70, 100) == 1 &&
               movement_progress_admitted(0.5, 0.3, 20, 49, 100) == 0 &&
               movement_progress_admitted(0.5, 0.3, 20, 50, 100) == 1 &&
               movement_progress_admitted(0, 1, 20, 0, 100) == 1,
           "between start and settle");
}

/* ---- a slow reference of the ranking ---- */

struct ranked {
    float score;
    size_t index, weights;
};

static int by_rank(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return x->index < y->index ? -1 : 1;
}

static void slow_best(const struct movement_layout *layout, size_t set, size_t n_sets, double share,
                      float *to)
{
    struct ranked *ranked = malloc(layout->n_scores * sizeof *ranked);
    size_t n = 0;
    double all = 0, kept = 0;
    for (size_t s = set; s < set + n_sets; s++)
        for (size_t i = 0; i < layout->set[s].n; i++) {
            size_t at = layout->set[s].first + i;
            ranked[n] = (struct ranked){score[at], at, movement_weights(&layout->set[s], i)};
            all += (double)ranked[n++].weights;
        }
    qsort(ranked, n, sizeof *ranked, by_rank);
    bool full = false;
    for (size_t i = 0; i < n; i++) {
        double size = (double)ranked[i].weights;
        if (full && ranked[i].score < ranked[i - 1].score)
            break;
        if (kept + size / 2 > share * all) {
            full = true;
            continue;
        }
        kept += size;
        to[ranked[i].index] = 1;
    }
    free(ranked);
}

/* Scores with ties, of which none leaves a head without blocks at the shares of the test. */
static void fill_scores(size_t n, uint64_t seed)
{
    for (size_t i = 0; i < n; i++)
        score[i] = (float)(rng_hash(seed, i) % 50) / 10 - 2.5f;
}

static void test_ranking(enum movement_variant variant, size_t rows, size_t cols, const char *what)
{
    struct error err = ERROR_INIT;
    struct movement_layout layout;
    struct shape shape = tiny_shape(3);
    static float expected[MOST];
    bool same = true;
    tiny_need(movement_layout_open(&layout, &shape, variant, rows, cols, &err), &err);
    for (uint64_t seed = 0; seed < 40; seed++) {
        double share = 0.7 + 0.1 * (double)(seed % 4);
        fill_scores(layout.n_scores, seed);
        struct movement_choice choice = {.rule = seed % 2 ? MOVEMENT_GLOBAL : MOVEMENT_TOPK,
                                         .share = share};
        movement_choose(&layout, &choice, score, keep, band);
        memset(expected, 0, sizeof expected);
        if (choice.rule == MOVEMENT_GLOBAL)
            slow_best(&layout, 0, layout.n_sets, share, expected);
        else
            for (size_t s = 0; s < layout.n_sets; s++)
                slow_best(&layout, s, 1, share, expected);
        /* What the rule for heads may change: values. */
        for (size_t s = 0; s < layout.n_sets; s++)
            for (size_t i = layout.set[s].first; i < layout.set[s].first + layout.set[s].n; i++)
                if (keep[i] != expected[i] && layout.set[s].use[0].role != FAMILY_VALUE) {
                    printf("# seed %d, set %zu, score %zu: %g, expected %g\n", (int)seed, s, i,
                           (double)keep[i], (double)expected[i]);
                    same = false;
                }
    }
    tap_ok(same, "%s: the best of each set, and of all, as sorting finds them", what);
    movement_layout_close(&layout);
    shape_free(&shape);
}

/* ---- the rules, weight by weight ---- */

/* Is weight (row, col) of the matrix kept? */
static bool kept_at(const struct movement_layout *layout, size_t layer, enum family_role role,
                    size_t row, size_t col)
{
    for (size_t s = 0; s < layout->n_sets; s++)
        for (size_t u = 0; u < layout->set[s].n_uses; u++) {
            const struct movement_set *set = &layout->set[s];
            const struct blocks *b = &set->use[u].blocks;
            if (set->layer == layer && set->use[u].role == role)
                return keep[set->first + row / b->block_rows * blocks_across(b) +
                            col / b->block_cols] != 0;
        }
    return false;
}

static bool any_kept(const struct movement_layout *layout, size_t layer, enum family_role role,
                     size_t row, size_t rows, size_t col, size_t cols)
{
    for (size_t r = row; r < row + rows; r++)
        for (size_t c = col; c < col + cols; c++)
            if (kept_at(layout, layer, role, r, c))
                return true;
    return false;
}

/* A head of which a part is masked has no value; one head is whole; one neuron is. */
static bool obeys(const struct movement_layout *layout, size_t l)
{
    const struct shape *shape = layout->shape;
    size_t size = shape->head_size, hidden = shape->hidden, living = 0, neurons = 0;
    for (size_t h = 0; h < shape->layer[l].heads; h++) {
        bool q = any_kept(layout, l, FAMILY_QUERY, h * size, size, 0, hidden);
        bool k = any_kept(layout, l, FAMILY_KEY, h * size, size, 0, hidden);
        bool v = any_kept(layout, l, FAMILY_VALUE, h * size, size, 0, hidden);
        bool o = any_kept(layout, l, FAMILY_CONTEXT, 0, hidden, h * size, size);
        if (v && !(q && k && o))
            return false;
        living += q && k && v && o;
    }
    for (size_t f = 0; f < shape->layer[l].ffn; f++)
        neurons += any_kept(layout, l, FAMILY_FFN_IN, f, 1, 0, hidden);
    return living > 0 && neurons > 0;
}

static bool bands_agree(const struct movement_layout *layout)
{
    for (size_t s = 0; s < layout->n_sets; s++)
        for (size_t u = 0; u < layout->set[s].n_uses; u++) {
            const struct movement_use *use = &layout->set[s].use[u];
            for (size_t r = 0; r < use->blocks.rows; r++)
                if ((band[use->band + r / use->blocks.block_rows] != 0) !=
                    any_kept(layout, layout->set[s].layer, use->role, r, 1, 0, use->blocks.cols))
                    return false;
        }
    return true;
}

static void test_rules(enum movement_variant variant, size_t rows, size_t cols, const char *what)
{
    struct error err = ERROR_INIT;
    struct movement_layout layout;
    struct shape shape = tiny_shape(3);
    bool ok = true, agree = true;
    tiny_need(movement_layout_open(&layout, &shape, variant, rows, cols, &err), &err);
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct movement_choice choice = {.rule = (enum movement_rule)(seed % 3),
                                         .share = 0.002 + 0.01 * (double)seed,
                                         .threshold = 0.3 + 0.02 * (double)seed};
        fill_scores(layout.n_scores, seed);
        movement_choose(&layout, &choice, score, keep, band);
        for (size_t l = 0; l < shape.n_layers; l++)
            ok = ok && obeys(&layout, l);
        agree = agree && bands_agree(&layout);
        movement_fill(&layout, keep, band);
        for (size_t l = 0; l < shape.n_layers && variant != MOVEMENT_STRUCT; l++)
            for (size_t h = 0; h < shape.layer[l].heads; h++)
                agree = agree && any_kept(&layout, l, FAMILY_QUERY, h * shape.head_size, 1, 0, 1);
    }
    tap_ok(ok, "%s: a head and a neuron of each layer stay, and a head is whole or has no value",
           what);
    tap_ok(agree, "%s: rows without a weight are known, filled blocks are whole", what);
    for (size_t i = 0; i < layout.n_scores; i++)
        score[i] = i % 3 ? NAN : (i % 2 ? INFINITY : -INFINITY);
    movement_choose(&layout, &(struct movement_choice){.share = 0.1}, score, keep, band);
    tap_ok(obeys(&layout, 0) && obeys(&layout, 2), "%s: also of scores that are not finite", what);
    movement_choose(&layout, &(struct movement_choice){.share = 1}, score, keep, band);
    bool all = true;
    for (size_t i = 0; i < layout.n_scores; i++)
        all = all && keep[i] == 1;
    tap_ok(all, "%s: all of it is all of it", what);
    size_t weights = 0;
    for (size_t s = 0; s < layout.n_sets; s++)
        for (size_t i = 0; i < layout.set[s].n; i++)
            weights += movement_weights(&layout.set[s], i);
    tap_ok(weights == movement_all_weights(&layout), "%s: every weight has a score", what);
    movement_layout_close(&layout);
    shape_free(&shape);
}

int main(void)
{
    static const struct {
        enum movement_variant variant;
        size_t rows, cols;
        const char *what;
    } forms[] = {{MOVEMENT_HYBRID, 32, 32, "one block a head"},
                 {MOVEMENT_HYBRID, 3, 5, "2 x 5 blocks, some smaller"},
                 {MOVEMENT_HYBRID, 4, 4, "4 x 4 blocks"},
                 {MOVEMENT_STRUCT, 0, 0, "heads"},
                 {MOVEMENT_UNSTRUCTURED, 0, 0, "single weights"}};
    test_schedule();
    test_curriculum();
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        if (forms[i].rows != 32) /* there whole heads go, and one of them is kept after all */
            test_ranking(forms[i].variant, forms[i].rows, forms[i].cols, forms[i].what);
        test_rules(forms[i].variant, forms[i].rows, forms[i].cols, forms[i].what);
    }
    return tap_done();
}
