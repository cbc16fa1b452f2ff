/* The surgeon against brute force: least squares by another way, inverses made anew. */
#include <stdlib.h>

#include "core/rng.h"
#include "prune/surgeon.h"
#include "tests/tap.h"

enum { ROWS = 7, COLS = 12, SAMPLES = 40 };

static float w[ROWS * COLS], h[COLS * COLS];

/* Correlated inputs, so that the others can make up for what goes. */
static void make(uint64_t seed)
{
    static double x[SAMPLES][COLS];
    struct rng rng;
    rng_seed(&rng, seed);
    for (size_t i = 0; i < ROWS * COLS; i++)
        w[i] = (float)rng_normal(&rng);
    for (size_t s = 0; s < SAMPLES; s++) {
        double common = rng_normal(&rng), other = rng_normal(&rng);
        for (size_t c = 0; c < COLS; c++)
            x[s][c] = rng_normal(&rng) + common + (c % 3 == 0 ? 2 * other : 0);
    }
    for (size_t i = 0; i < COLS; i++)
        for (size_t j = 0; j < COLS; j++) {
            double sum = 0;
            for (size_t s = 0; s < SAMPLES; s++)
                sum += x[s][i] * x[s][j];
            h[i * COLS + j] = (float)sum;
        }
}

static double damping_of(const struct surgeon *s)
{
    double trace = 0;
    for (size_t i = 0; i < COLS; i++)
        trace += (double)h[i * COLS + i];
    return s->damping * trace / COLS;
}

/* tr(D (H + damping) Dᵀ), D = v - w. */
static double error_of(const struct surgeon *s, const double *v)
{
    double sum = 0, more = damping_of(s);
    for (size_t r = 0; r < ROWS; r++)
        for (size_t i = 0; i < COLS; i++)
            for (size_t j = 0; j < COLS; j++)
                sum += (v[r * COLS + i] - (double)w[r * COLS + i]) *
                       ((double)h[i * COLS + j] + (i == j ? more : 0)) *
                       (v[r * COLS + j] - (double)w[r * COLS + j]);
    return sum;
}

/* The best weights on the kept columns, by descending along one coordinate after another until
 * nothing moves: no factorisation in it. */
static double brute_force(const struct surgeon *s, const bool *kept, double *v)
{
    double more = damping_of(s);
    for (size_t i = 0; i < ROWS * COLS; i++)
        v[i] = kept[i % COLS] ? (double)w[i] : 0;
    for (size_t round = 0; round < 5000; round++)
        for (size_t r = 0; r < ROWS; r++)
            for (size_t c = 0; c < COLS; c++) {
                double slope = 0;
                if (!kept[c])
                    continue;
                for (size_t j = 0; j < COLS; j++)
                    slope += ((double)h[c * COLS + j] + (c == j ? more : 0)) *
                             (v[r * COLS + j] - (double)w[r * COLS + j]);
                v[r * COLS + c] -= slope / ((double)h[c * COLS + c] + more);
            }
    return error_of(s, v);
}

static void against_brute_force(size_t group)
{
    struct error err = ERROR_INIT;
    const struct surgeon s = {
        .w = w, .rows = ROWS, .cols = COLS, .group = group, .h = h, .damping = 0.01};
    size_t n = COLS / group, order[COLS];
    double error[COLS], energy = 0, v[ROWS * COLS], zero[ROWS * COLS] = {0};
    bool kept[COLS], greedy = true, exact = true, weights = true;
    float out[ROWS * COLS];
    if (!surgeon_order(&s, order, error, &energy, &err)) {
        tap_ok(false, "groups of %zu: %s", group, err.text);
        return;
    }
    for (size_t c = 0; c < COLS; c++)
        kept[c] = true;
    for (size_t k = 0; k + 1 < n; k++) {
        /* Every group that is left, taken out on trial. */
        double least = INFINITY, chosen = 0;
        for (size_t g = 0; g < n; g++) {
            if (!kept[g * group])
                continue;
            memset(kept + g * group, false, group);
            double cost = brute_force(&s, kept, v);
            memset(kept + g * group, true, group);
            least = fmin(least, cost);
            chosen = g == order[k] ? cost : chosen;
        }
        greedy = greedy && chosen <= least * (1 + 1e-4);
        memset(kept + order[k] * group, false, group);
        exact = exact && fabs(error[k] - chosen) <= 1e-3 * chosen;
        size_t list[COLS], n_list = 0;
        for (size_t g = 0; g < n; g++)
            if (kept[g * group])
                list[n_list++] = g;
        if (!surgeon_weights(&s, list, n_list, out, &err))
            weights = false;
        brute_force(&s, kept, v);
        for (size_t i = 0; i < ROWS * COLS; i++)
            weights = weights && fabs((double)out[i] - v[i]) < 1e-4;
    }
    tap_ok(greedy, "groups of %zu: the cheapest goes first", group);
    tap_ok(exact, "groups of %zu: the error is that of least squares", group);
    tap_ok(weights, "groups of %zu: the weights are those of least squares", group);
    tap_ok(fabs(error[n - 1] - error_of(&s, zero)) <= 1e-3 * error[n - 1],
           "groups of %zu: with all gone, all is lost", group);
    tap_ok(fabs(energy + damping_of(&s) * 0 - (error_of(&(struct surgeon){.damping = 0}, zero))) <=
               1e-3 * energy,
           "groups of %zu: the energy", group);
}

static void edges(void)
{
    struct error err = ERROR_INIT;
    struct surgeon s = {.w = w, .rows = ROWS, .cols = COLS, .group = 1, .h = h, .damping = 0.01};
    size_t order[COLS], all[COLS];
    double error[COLS], energy = 1;
    float out[ROWS * COLS];
    for (size_t i = 0; i < COLS; i++)
        all[i] = i;
    bool ok = surgeon_weights(&s, all, COLS, out, &err);
    for (size_t i = 0; i < ROWS * COLS; i++)
        ok = ok && fabs((double)out[i] - (double)w[i]) < 1e-5;
    tap_ok(ok, "keeping all changes nothing");
    ok = surgeon_weights(&s, all, 0, out, &err);
    for (size_t i = 0; i < ROWS * COLS; i++)
        ok = ok && out[i] == 0;
    tap_ok(ok, "keeping none leaves zeros");
    memset(h, 0, sizeof h);
    ok = surgeon_order(&s, order, error, &energy, &err);
    tap_ok(ok && energy == 0, "inputs that never move: any order");
    /* Rounded inputs that hardly vary: the least eigenvalue is -0.1 of the largest. */
    for (size_t i = 0; i < COLS; i++)
        h[i * COLS + i] = i == COLS / 2 ? -0.1F : 1;
    ok = surgeon_order(&s, order, error, &energy, &err);
    tap_ok(!ok, "what rounding left below zero cannot be inverted");
    err = (struct error)ERROR_INIT;
    s.floor = 0.2;
    ok = surgeon_order(&s, order, error, &energy, &err);
    tap_ok(ok, "unless it is lifted by the floor");
    h[0] = NAN;
    ok = surgeon_order(&s, order, error, &energy, &err);
    tap_ok(!ok && strstr(err.text, "not a positive matrix"), "%s", err.text);
}

int main(void)
{
    static const size_t group[] = {1, 2, 3, 4};
    for (size_t i = 0; i < 4; i++) {
        make(i + 1);
        against_brute_force(group[i]);
    }
    edges();
    return tap_done();
}
