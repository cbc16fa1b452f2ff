/* Rearrangement against all sets of the same size, on small matrices of slopes. */
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "prune/rearrange.h"
#include "tests/tap.h"

enum { UNITS = 9, RECORDS = 6 };

/* Gram matrix of slopes; units 2k and 2k+1 nearly cancel, so that the diagonal misleads. */
static void fill(float *fisher, struct rng *rng)
{
    double slope[RECORDS][UNITS];
    for (size_t r = 0; r < RECORDS; r++)
        for (size_t u = 0; u < UNITS; u++)
            slope[r][u] = u % 2 ? 0.1 * rng_normal(rng) - slope[r][u - 1] : rng_normal(rng);
    for (size_t i = 0; i < UNITS; i++)
        for (size_t j = 0; j < UNITS; j++) {
            double sum = 0;
            for (size_t r = 0; r < RECORDS; r++)
                sum += slope[r][i] * slope[r][j];
            fisher[i * UNITS + j] = (float)sum;
        }
}

static void diagonal(const float *fisher, size_t n_kept, bool *keep)
{
    memset(keep, 0, UNITS * sizeof *keep);
    for (size_t k = 0; k < n_kept; k++) {
        size_t best = UNITS;
        for (size_t i = 0; i < UNITS; i++)
            if (!keep[i] && (best == UNITS || fisher[i * UNITS + i] > fisher[best * UNITS + best]))
                best = i;
        keep[best] = true;
    }
}

static double brute_force(const float *fisher, size_t n_kept)
{
    double best = -1;
    for (unsigned set = 0; set < 1u << UNITS; set++) {
        bool keep[UNITS];
        size_t n = 0;
        for (size_t i = 0; i < UNITS; i++)
            n += keep[i] = set >> i & 1;
        double loss = rearrange_loss(fisher, UNITS, keep);
        if (n == n_kept && (best < 0 || loss < best))
            best = loss;
    }
    return best;
}

/* No single exchange lowers the loss. */
static bool settled(const float *fisher, bool *keep, double loss)
{
    bool ok = true;
    for (size_t i = 0; i < UNITS; i++)
        for (size_t j = 0; j < UNITS; j++) {
            if (!keep[i] || keep[j])
                continue;
            keep[i] = false;
            keep[j] = true;
            ok = ok && rearrange_loss(fisher, UNITS, keep) > loss - 1e-4;
            keep[i] = true;
            keep[j] = false;
        }
    return ok;
}

static void against_all_sets(void)
{
    struct error err = ERROR_INIT;
    struct rng rng;
    float fisher[UNITS * UNITS];
    bool keep[UNITS];
    size_t best = 0, worse = 0, unsettled = 0, lost = 0, trials = 0;
    double before = 0, after = 0, optimum = 0;
    rng_seed(&rng, 5);
    for (; trials < 80; trials++) {
        size_t n_kept = 1 + trials % (UNITS - 1), n = 0;
        fill(fisher, &rng);
        diagonal(fisher, n_kept, keep);
        double start = rearrange_loss(fisher, UNITS, keep);
        if (!rearrange(fisher, UNITS, keep, &err))
            lost++;
        double found = rearrange_loss(fisher, UNITS, keep), all = brute_force(fisher, n_kept);
        for (size_t i = 0; i < UNITS; i++)
            n += keep[i];
        lost += n != n_kept;
        worse += found > start + 1e-4;
        unsettled += !settled(fisher, keep, found);
        best += found < all + 1e-4;
        before += start;
        after += found;
        optimum += all;
    }
    tap_ok(lost == 0, "as many units stay");
    tap_ok(worse == 0 && unsettled == 0, "the loss never rises, and ends where no exchange helps");
    tap_ok(3 * best > trials && after - optimum < 0.25 * (before - optimum),
           "the best of all sets in %zu of %zu cases; loss %.2f, diagonal %.2f, optimum %.2f", best,
           trials, after, before, optimum);
}

static void edges(void)
{
    struct error err = ERROR_INIT;
    struct rng rng;
    float fisher[UNITS * UNITS] = {0};
    bool keep[UNITS], all[UNITS];
    memset(all, 1, sizeof all);
    memset(keep, 1, sizeof keep);
    rng_seed(&rng, 6);
    tap_ok(rearrange(fisher, UNITS, keep, &err) && memcmp(keep, all, sizeof keep) == 0,
           "all kept: nothing to exchange");
    keep[3] = false;
    tap_ok(rearrange(fisher, UNITS, keep, &err) && !keep[3],
           "no slopes at all: the search's choice stays");
    fill(fisher, &rng);
    memset(keep, 0, sizeof keep);
    tap_ok(rearrange(fisher, UNITS, keep, &err) && !keep[0] && !keep[UNITS - 1],
           "none kept: none comes back");
}

int main(void)
{
    against_all_sets();
    edges();
    return tap_done();
}
