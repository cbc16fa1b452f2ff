/* The search for changes under a budget, with costs that a function makes up. */
#include "quant/mixed_search.h"

#include <math.h>

#include "core/rng.h"
#include "tests/tap.h"

enum { MOST = 40 };

struct fake {
    double cost[MOST];
    double base;     /* of no change */
    double together; /* factor on the sum of more than one */
    size_t calls, fail_at;
};

static bool measure(void *context, const struct mixed_change *change, size_t n, double *cost,
                    struct error *err)
{
    struct fake *fake = context;
    size_t chosen = 0;
    double sum = 0;
    if (++fake->calls == fake->fail_at)
        return error_set(err, "no more");
    for (size_t i = 0; i < n; i++) {
        sum += change[i].chosen ? fake->cost[i] : 0;
        chosen += change[i].chosen;
    }
    *cost = fake->base + (chosen > 1 ? fake->together : 1) * sum;
    return true;
}

static void prepare(struct fake *fake, struct mixed_change *change, size_t n, uint64_t seed)
{
    struct rng rng;
    rng_seed(&rng, seed);
    *fake = (struct fake){.together = 1};
    for (size_t i = 0; i < n; i++) {
        fake->cost[i] = rng_uniform(&rng) * rng_uniform(&rng);
        change[i] =
            (struct mixed_change){.saved = 1 + rng_below(&rng, 1000), .cost = fake->cost[i]};
    }
}

static size_t chosen(const struct mixed_change *change, size_t n)
{
    size_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += change[i].chosen;
    return sum;
}

/* Whether one more change, alone, could be added. */
static bool could_add(const struct fake *fake, const struct mixed_change *change, size_t n,
                      double cost, double budget, size_t *which)
{
    for (*which = 0; *which < n; ++*which)
        if (!change[*which].chosen && cost + fake->cost[*which] <= budget)
            return true;
    return false;
}

static void budgets(void)
{
    struct fake fake;
    struct mixed_change change[MOST];
    struct error err = ERROR_INIT;
    size_t over = 0, calls = 0, greedy = 0;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        size_t n = 1 + seed % MOST, which;
        double cost = 0, all = 0, measured = 0;
        prepare(&fake, change, n, seed);
        for (size_t i = 0; i < n; i++)
            all += fake.cost[i];
        double budget = all * (double)(seed % 7) / 6;
        bool ok = mixed_search(change, n, budget + 1e-9, measure, &fake, &cost, &err);
        calls = fake.calls > calls ? fake.calls : calls;
        ok = ok && measure(&fake, change, n, &measured, &err);
        over += !ok || !(cost <= budget + 1e-9) || fabs(cost - measured) > 1e-12;
        greedy += could_add(&fake, change, n, cost, budget, &which);
    }
    tap_ok(over == 0, "the budget holds, and the cost told is that of the choice");
    tap_ok(calls <= 2 + (MIXED_SKIPS + 1) * 7, "few measurements (%zu for up to %d changes)", calls,
           MOST);
    tap_ok(greedy < 25, "the rest is mostly too dear (%zu of 50 could take one more)", greedy);
}

static void order(void)
{
    struct fake fake = {.cost = {1, 1, 0}, .together = 1};
    struct mixed_change change[3] = {{10, 1, false}, {20, 1, false}, {1, 0, false}};
    struct error err = ERROR_INIT;
    double cost = 0;
    tap_ok(mixed_search(change, 3, 1, measure, &fake, &cost, &err) && !change[0].chosen &&
               change[1].chosen && change[2].chosen && cost == 1,
           "most bytes per cost first; what is free comes along");
    fake = (struct fake){.cost = {1, 1, 0}, .together = 3};
    tap_ok(mixed_search(change, 3, 2, measure, &fake, &cost, &err) && chosen(change, 3) == 1 &&
               cost == 0 && change[2].chosen,
           "what costs more together is seen");
    fake = (struct fake){.cost = {1, 1, 1}, .together = 1, .base = 0.5};
    tap_ok(mixed_search(change, 3, 0.25, measure, &fake, &cost, &err) && chosen(change, 3) == 0 &&
               cost == 0.5,
           "nothing fits: nothing is chosen, and what that costs is told");
    fake = (struct fake){.cost = {NAN, 1, 1}, .together = 1};
    tap_ok(mixed_search(change, 3, 5, measure, &fake, &cost, &err) && !change[0].chosen &&
               change[1].chosen && change[2].chosen,
           "what cannot be measured is not taken");
    fake.fail_at = 2;
    fake.calls = 0;
    tap_ok(!mixed_search(change, 3, 5, measure, &fake, &cost, &err), "a failure passes through");
    error_clear(&err);
    fake = (struct fake){.together = 1};
    tap_ok(mixed_search(change, 0, 1, measure, &fake, &cost, &err) && cost == 0, "no changes");
}

int main(void)
{
    budgets();
    order();
    return tap_done();
}
