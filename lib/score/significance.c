/* significance.c: exact binomial tails, binomial draws, intervals. */
#include "score/significance.h"

#include <math.h>
#include <stdlib.h>

#include "core/memory.h"
#include "core/rng.h"

/* Quantiles of the normal distribution. */
static const double normal_975 = 1.959963984540054, normal_950 = 1.6448536269514722;

/* log of n! ; the reentrant form, because plain lgamma() writes the global `signgam`. Long double
 * keeps the difference of three large logarithms good to 1e-9 at a billion records. */
static long double log_factorial(uint64_t n)
{
    int sign;
    return lgammal_r((long double)n + 1, &sign);
}

static double binomial_mass(uint64_t n, uint64_t k, double p)
{
    long double log_mass = log_factorial(n) - log_factorial(k) - log_factorial(n - k) +
                           (long double)k * logl((long double)p) +
                           (long double)(n - k) * log1pl(-(long double)p);
    return (double)expl(log_mass);
}

double significance_mcnemar(uint64_t lost, uint64_t won)
{
    uint64_t n = lost + won, k = lost < won ? lost : won;
    if (lost == won)
        return 1; /* the most even split there is; the doubled tail would exceed 1 */
    /* Tail P(X ≤ k) of Binomial(n, 1/2), summed from its largest term down until the terms no
     * longer count. */
    double term = binomial_mass(n, k, 0.5), tail = term;
    for (uint64_t i = k; i > 0 && term > tail * 1e-18; i--) {
        term *= (double)i / (double)(n - i + 1);
        tail += term;
    }
    return fmin(1, 2 * tail);
}

/* Of n (q + d, q, rest) with the most likely q for the difference d: the positive root of
 * 2n q^2 + B q + C = 0, where the likelihood of q does not change. */
double significance_tango(uint64_t n, uint64_t lost, uint64_t won, double d)
{
    double count = (double)n, l = (double)lost, w = (double)won;
    double b = (2 * count - w + l) * d - w - l, c = -l * d * (1 - d);
    double root = sqrt(fmax(0, b * b - 8 * count * c));
    /* Of two forms of the root that which subtracts no near-equals. */
    double q = b <= 0 ? (root - b) / (4 * count) : -2 * c / (root + b);
    double variance = count * (2 * q + d * (1 - d)), distance = w - l - count * d;
    if (variance <= 0) /* all records won, or all lost, is certain there */
        return distance > 0 ? INFINITY : distance < 0 ? -INFINITY : 0;
    return distance / sqrt(variance);
}

/* The difference at which the statistic, which falls with it, is z. */
static double tango_limit(uint64_t n, uint64_t lost, uint64_t won, double z)
{
    double low = -1, high = 1;
    for (int i = 0; i < 100 && low < high; i++) {
        double middle = low + (high - low) / 2;
        if (significance_tango(n, lost, won, middle) > z)
            low = middle;
        else
            high = middle;
    }
    return low + (high - low) / 2;
}

struct interval significance_tango_ci95(uint64_t n, uint64_t lost, uint64_t won)
{
    if (n == 0)
        return (struct interval){-1, 1};
    return (struct interval){tango_limit(n, lost, won, normal_975),
                             tango_limit(n, lost, won, -normal_975)};
}

double significance_noninferior(uint64_t n, uint64_t lost, uint64_t won, double margin,
                                double *lowest)
{
    *lowest = n ? tango_limit(n, lost, won, normal_950) : -1;
    return n ? 0.5 * erfc(significance_tango(n, lost, won, -margin) / sqrt(2)) : 1;
}

struct interval significance_wilson(uint64_t right, uint64_t n)
{
    if (n == 0)
        return (struct interval){0, 1};
    const double z = normal_975;
    double count = (double)n, share = (double)right / count, zz = z * z / count;
    double centre = (share + zz / 2) / (1 + zz);
    double half = z / (1 + zz) * sqrt(share * (1 - share) / count + zz / (4 * count));
    /* At 0 and n of n an end is 0 or 1 exactly; rounding must not put it beside. */
    return (struct interval){right == 0 ? 0 : centre - half, right == n ? 1 : centre + half};
}

/* One draw of Binomial(n, p) by inversion from the mode outwards: exact, expected cost of the order
 * of the standard deviation. */
static uint64_t binomial_draw(struct rng *rng, uint64_t n, double p)
{
    if (n == 0 || p <= 0)
        return 0;
    if (p >= 1)
        return n;
    double variance = (double)n * p * (1 - p);
    if (variance > 1e6) { /* the walk gets long, and the normal approximation is off by < 1/1000 of
                             a deviation */
        double draw = round((double)n * p + sqrt(variance) * rng_normal(rng));
        return draw <= 0 ? 0 : draw >= (double)n ? n : (uint64_t)draw;
    }
    uint64_t mode = (uint64_t)floor((double)(n + 1) * p);
    mode = mode > n ? n : mode;
    double odds = p / (1 - p), left = rng_uniform(rng);
    double up = binomial_mass(n, mode, p), down = up;
    left -= up;
    for (uint64_t above = mode, below = mode; left >= 0 && (up > 0 || down > 0);) {
        up = above < n ? up * odds * (double)(n - above) / (double)(above + 1) : 0;
        above += above < n;
        left -= up;
        if (left < 0)
            return above;
        down = below > 0 ? down / odds * (double)below / (double)(n - below + 1) : 0;
        below -= below > 0;
        left -= down;
        if (left < 0)
            return below;
    }
    return mode;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void significance_sort(double *value, size_t n)
{
    qsort(value, n, sizeof *value, compare_doubles);
}

double significance_quantile(const double *sorted, size_t n, double share)
{
    double place = share * (double)(n - 1);
    size_t at = (size_t)place;
    if (at + 1 >= n)
        return sorted[n - 1];
    return sorted[at] + (place - (double)at) * (sorted[at + 1] - sorted[at]);
}

bool significance_bootstrap(uint64_t n, uint64_t lost, uint64_t won, size_t n_resamples,
                            uint64_t seed, struct interval *interval, struct error *err)
{
    if (n == 0 || lost > n || won > n - lost || n_resamples == 0)
        return error_set(err,
                         "bootstrap of %llu lost and %llu won among %llu records is not possible",
                         (unsigned long long)lost, (unsigned long long)won, (unsigned long long)n);
    double *difference = memory_array(n_resamples, sizeof *difference, err);
    if (!difference)
        return false;
    struct rng rng;
    rng_seed(&rng, seed);
    /* Given how many were won, the lost ones are binomial among the rest, with the rest's share. */
    double won_share = (double)won / (double)n;
    double lost_share = won == n ? 0 : (double)lost / (double)(n - won);
    for (size_t i = 0; i < n_resamples; i++) {
        uint64_t w = binomial_draw(&rng, n, won_share);
        uint64_t l = binomial_draw(&rng, n - w, lost_share);
        difference[i] = ((double)w - (double)l) / (double)n;
    }
    significance_sort(difference, n_resamples);
    interval->low = significance_quantile(difference, n_resamples, 0.025);
    interval->high = significance_quantile(difference, n_resamples, 0.975);
    free(difference);
    return true;
}
