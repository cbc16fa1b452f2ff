/* The mask search against all subsets, and its promises: budget, one unit of each kind per layer,
 * order. */
#include "core/rng.h"
#include "prune/search.h"
#include "tests/tap.h"

enum { LAYERS = 2, HEADS = 3, NEURONS = 4, UNITS = LAYERS * (HEADS + NEURONS) };

static size_t fill(struct unit *unit, struct rng *rng, double head_cost, double neuron_cost,
                   double last_factor)
{
    size_t n = 0;
    for (size_t l = 0; l < LAYERS; l++) {
        double factor = l + 1 == LAYERS ? last_factor : 1;
        for (size_t i = 0; i < HEADS; i++)
            unit[n++] = (struct unit){.kind = UNIT_HEAD,
                                      .layer = l,
                                      .index = i,
                                      .score = rng_uniform(rng),
                                      .cost = head_cost * factor};
        for (size_t i = 0; i < NEURONS; i++)
            unit[n++] = (struct unit){.kind = UNIT_NEURON,
                                      .layer = l,
                                      .index = i,
                                      .score = 0.3 * rng_uniform(rng),
                                      .cost = neuron_cost * factor};
    }
    return n;
}

static double kept_score(const struct unit *unit)
{
    double sum = 0;
    for (size_t i = 0; i < UNITS; i++)
        sum += unit[i].keep ? unit[i].score : 0;
    return sum;
}

static bool one_of_each(const struct unit *unit, unsigned subset)
{
    bool seen[LAYERS][2] = {{false}};
    for (size_t i = 0; i < UNITS; i++)
        if (subset >> i & 1)
            seen[unit[i].layer][unit[i].kind] = true;
    return seen[0][0] && seen[0][1] && seen[1][0] && seen[1][1];
}

/* Best sum of scores over every subset that has one of each kind per layer and fits; -1: none fits.
 */
static double brute_force(const struct unit *unit, double budget)
{
    double best = -1;
    for (unsigned subset = 0; subset < 1u << UNITS; subset++) {
        double cost = 0, score = 0;
        if (!one_of_each(unit, subset))
            continue;
        for (size_t i = 0; i < UNITS; i++)
            if (subset >> i & 1) {
                cost += unit[i].cost;
                score += unit[i].score;
            }
        if (cost <= budget + 1e-9 && score > best)
            best = score;
    }
    return best;
}

static unsigned subset_of(const struct unit *unit)
{
    unsigned subset = 0;
    for (size_t i = 0; i < UNITS; i++)
        subset |= (unsigned)unit[i].keep << i;
    return subset;
}

static void against_all_subsets(void)
{
    struct rng rng;
    struct unit unit[UNITS];
    size_t exact = 0, refused = 0, bad = 0;
    double worst = 1;
    rng_seed(&rng, 7);
    for (int trial = 0; trial < 60; trial++) {
        /* Even trials: the same cost in all layers, where the search is exact. */
        bool uniform = trial % 2 == 0;
        struct error err = ERROR_INIT;
        fill(unit, &rng, 5, 1, uniform ? 1 : 0.4);
        double budget = search_cost(unit, UNITS) * (0.2 + 0.8 * rng_uniform(&rng));
        double best = brute_force(unit, budget);
        if (!search_keep(unit, UNITS, budget, &err)) {
            refused++;
            bad += best >= 0;
            continue;
        }
        double found = kept_score(unit);
        if (best < 0 || search_cost_kept(unit, UNITS) > budget + 1e-6 ||
            !one_of_each(unit, subset_of(unit)))
            bad++;
        if (uniform)
            exact += fabs(found - best) < 1e-9;
        else if (found / best < worst)
            worst = found / best;
        if (uniform && fabs(found - best) >= 1e-9)
            bad++;
    }
    tap_ok(bad == 0 && exact > 10,
           "equal costs: the best of all subsets (%zu cases, %zu budgets too small)", exact,
           refused);
    tap_ok(worst > 0.85, "unequal costs: never far from the best of all subsets (%.3f)", worst);
}

static void whole_and_nothing(void)
{
    struct rng rng;
    struct unit unit[UNITS];
    struct error err = ERROR_INIT;
    rng_seed(&rng, 3);
    fill(unit, &rng, 5.1, 0.7, 0.3);
    bool ok = search_keep(unit, UNITS, search_cost(unit, UNITS), &err);
    tap_ok(ok && subset_of(unit) == (1u << UNITS) - 1, "the whole budget keeps everything");
    ok = search_keep(unit, UNITS, 0.01 * search_cost(unit, UNITS), &err);
    tap_ok(!ok && strstr(err.text, "keep at least"), "too small a budget is refused: %s", err.text);
    error_clear(&err);
    unit[4].score = (double)NAN;
    ok = search_keep(unit, UNITS, 10, &err);
    tap_ok(!ok && strstr(err.text, "layer 0: the importance of neuron 1"), "NaN: %s", err.text);
}

static void ties(void)
{
    struct unit unit[UNITS];
    struct rng rng;
    struct error err = ERROR_INIT;
    rng_seed(&rng, 1);
    fill(unit, &rng, 1, 1, 1);
    for (size_t i = 0; i < UNITS; i++)
        unit[i].score = 0;
    bool ok = search_keep(unit, UNITS, 5, &err);
    tap_ok(ok && unit[0].keep && unit[HEADS].keep && unit[HEADS + 1].keep && !unit[1].keep,
           "equal scores: the earlier units stay");
}

int main(void)
{
    against_all_subsets();
    whole_and_nothing();
    ties();
    return tap_done();
}
