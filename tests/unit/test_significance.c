/* test_significance.c: the tests and intervals against enumeration, defining equations and plain
 * resampling. */
#include <stdint.h>

#include "score/significance.h"
#include "tests/tap.h"

static bool near(double found, double expected, double tolerance)
{
    bool ok = fabs(found - expected) <= tolerance;
    if (!ok)
        printf("# found %.15g, expected %.15g\n", found, expected);
    return ok;
}

/* The definition, by brute force: of all 2^n ways to split n records, the share at least as uneven.
 */
static double enumerated(unsigned lost, unsigned won)
{
    unsigned n = lost + won, uneven = lost > won ? lost - won : won - lost, hits = 0;
    for (unsigned split = 0; split < 1u << n; split++) {
        unsigned ones = (unsigned)__builtin_popcount(split), zeros = n - ones;
        hits += (ones > zeros ? ones - zeros : zeros - ones) >= uneven;
    }
    return (double)hits / (double)(1u << n);
}

static void test_mcnemar(void)
{
    bool ok = true;
    for (unsigned lost = 0; lost <= 7; lost++)
        for (unsigned won = 0; won <= 7; won++)
            ok &= near(significance_mcnemar(lost, won), enumerated(lost, won), 1e-13);
    tap_ok(ok, "equals enumeration up to 7 against 7");
    tap_ok(near(significance_mcnemar(1, 5), 14. / 64, 1e-15), "1 against 5: 14/64 by hand");
    tap_ok(near(significance_mcnemar(0, 10), 2. / 1024, 1e-17), "0 against 10: 2/1024 by hand");
    /* 2 * sum of C(405, i) for i = 0 … 106 over 2^405, in exact fractions (Python's). */
    tap_ok(near(significance_mcnemar(106, 299) * 1e22, 2.170437210855784, 1e-12),
           "106 against 299: as in exact fractions");
    tap_ok(significance_mcnemar(0, 0) == 1 && significance_mcnemar(0, 1) == 1, "nothing to tell");
    tap_ok(significance_mcnemar(40, 40) == 1, "an even split");
    double p = significance_mcnemar(0, 5000);
    tap_ok(p >= 0 && p < 1e-300, "5000 against none: too small for a double, not an error");
    /* Normal approximation with continuity correction: error below 1e-3 of p at two million
     * records. */
    for (uint64_t extra = 500; extra <= 6000; extra += 5500) {
        uint64_t lost = 1000000, won = lost + extra;
        double z = ((double)extra - 1) / sqrt((double)(lost + won));
        double approximate = erfc(z / sqrt(2));
        tap_ok(near(significance_mcnemar(lost, won), approximate, 1e-3 * approximate),
               "a million against %llu", (unsigned long long)won);
    }
    uint64_t billion = 1000000000;
    double z = (2e5 - 1) / sqrt(2e9 + 2e5), expected = erfc(z / sqrt(2));
    tap_ok(near(significance_mcnemar(billion + 200000, billion), expected, 1e-3 * expected),
           "a billion, the other way round");
}

/* An end p of the score interval solves |share − p| = z sqrt(p (1 − p) / n). */
static bool solves(double p, double share, double n)
{
    return near(fabs(share - p), 1.959963984540054 * sqrt(p * (1 - p) / n), 1e-12);
}

static void test_wilson(void)
{
    const uint64_t right[] = {5, 1, 99, 0, 10, 2380}, n[] = {10, 2, 100, 10, 10, 2997};
    for (size_t i = 0; i < sizeof n / sizeof *n; i++) {
        struct interval w = significance_wilson(right[i], n[i]);
        double share = (double)right[i] / (double)n[i];
        tap_ok(solves(w.low, share, (double)n[i]) && solves(w.high, share, (double)n[i]) &&
                   w.low <= share && share <= w.high && w.low >= 0 && w.high <= 1,
               "interval of %d of %d", (int)right[i], (int)n[i]);
    }
    struct interval one = significance_wilson(1, 1), none = significance_wilson(0, 0);
    tap_ok(one.high == 1 && one.low > 0.2 && one.low < 0.21, "one record of one");
    tap_ok(none.low == 0 && none.high == 1, "no record: anything is possible");
}

static struct interval bootstrap(uint64_t n, uint64_t lost, uint64_t won, uint64_t seed)
{
    struct error err = ERROR_INIT;
    struct interval interval = {NAN, NAN};
    if (!significance_bootstrap(n, lost, won, SIGNIFICANCE_RESAMPLES, seed, &interval, &err))
        printf("# %s\n", err.text);
    return interval;
}

/* Resample record by record, as the textbook says, with a generator that has nothing in common with
 * ours. */
static struct interval plain(unsigned n, unsigned lost, unsigned won)
{
    enum { RESAMPLES = 4000 };
    static double difference[RESAMPLES];
    uint64_t state = 12345;
    for (size_t r = 0; r < RESAMPLES; r++) {
        int sum = 0;
        for (unsigned i = 0; i < n; i++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            unsigned record = (unsigned)((state >> 33) % n);
            sum += record < won ? 1 : record < won + lost ? -1 : 0;
        }
        difference[r] = (double)sum / n;
    }
    significance_sort(difference, RESAMPLES);
    return (struct interval){significance_quantile(difference, RESAMPLES, 0.025),
                             significance_quantile(difference, RESAMPLES, 0.975)};
}

static void test_bootstrap(void)
{
    const unsigned n[] = {400, 400, 50, 1000}, lost[] = {30, 0, 20, 300}, won[] = {10, 4, 25, 699};
    for (size_t i = 0; i < sizeof n / sizeof *n; i++) {
        struct interval fast = bootstrap(n[i], lost[i], won[i], 1),
                        slow = plain(n[i], lost[i], won[i]);
        /* A quantile of 4000 resamples at 2.5 % is off by about 0.043 deviations; five times that,
         * and one step of the grid. */
        double deviation = sqrt((double)(lost[i] + won[i])) / n[i];
        double tolerance = 5 * 0.043 * deviation + 1.0 / n[i];
        tap_ok(near(fast.low, slow.low, tolerance) && near(fast.high, slow.high, tolerance),
               "%u lost, %u won of %u: as resampling record by record", lost[i], won[i], n[i]);
    }
    struct interval a = bootstrap(3000, 150, 100, 7), b = bootstrap(3000, 150, 100, 7),
                    c = bootstrap(3000, 150, 100, 8);
    tap_ok(a.low == b.low && a.high == b.high, "the same seed gives the same interval");
    tap_ok(fabs(a.low - c.low) < 1e-3 && fabs(a.high - c.high) < 1e-3, "another seed, nearly so");
    a = bootstrap(10, 0, 0, 1);
    tap_ok(a.low == 0 && a.high == 0, "no discordant record");
    a = bootstrap(1, 0, 1, 1);
    tap_ok(a.low == 1 && a.high == 1, "one record, won");
    a = bootstrap(5, 5, 0, 1);
    tap_ok(a.low == -1 && a.high == -1, "all lost");
    a = bootstrap(3, 0, 1, 1); /* P(0 of 3) = 8/27, P(3 of 3) = 1/27 > 2.5 % */
    tap_ok(a.low == 0 && a.high == 1, "three records, one won");
    double n_large = 1e10, deviation = sqrt(2e9 / n_large / n_large);
    a = bootstrap((uint64_t)n_large, 1000000000, 1000000000, 1);
    tap_ok(near(a.high, 1.96 * deviation, 0.1 * deviation) &&
               near(a.low, -1.96 * deviation, 0.1 * deviation),
           "ten billion records, quickly");
    struct error err = ERROR_INIT;
    tap_ok(!significance_bootstrap(3, 2, 2, 100, 0, &a, &err) && err.set,
           "more cells than records");
}

static void test_quantile(void)
{
    double value[] = {4, 1, 3, 2};
    significance_sort(value, 4);
    tap_ok(value[0] == 1 && value[3] == 4, "sorted");
    tap_ok(significance_quantile(value, 4, 0.5) == 2.5 && significance_quantile(value, 4, 1) == 4 &&
               significance_quantile(value, 4, 0) == 1 &&
               significance_quantile(value, 1, 0.95) == 1,
           "quantiles");
}

/* ---- a difference against a margin ---- */

/* log likelihood of q, with q + d won and q lost. */
static double likelihood(double q, double d, unsigned n, unsigned lost, unsigned won)
{
    double shares[3] = {q + d, q, 1 - 2 * q - d}, counts[3] = {won, lost, n - won - lost}, sum = 0;
    for (int i = 0; i < 3; i++)
        if (counts[i] > 0)
            sum += shares[i] > 0 ? counts[i] * log(shares[i]) : -1e300;
    return sum;
}

/* The statistic by its definition: q by search over all it can be, which the likelihood, being
 * concave, allows. */
static double searched(unsigned n, unsigned lost, unsigned won, double d)
{
    double low = fmax(0, -d), high = (1 - d) / 2;
    for (int i = 0; i < 200; i++) {
        double a = low + (high - low) / 3, b = high - (high - low) / 3;
        if (likelihood(a, d, n, lost, won) < likelihood(b, d, n, lost, won))
            low = a;
        else
            high = b;
    }
    double q = (low + high) / 2;
    return ((double)won - (double)lost - n * d) / sqrt(n * (2 * q + d * (1 - d)));
}

static void test_tango(void)
{
    bool ok = true;
    static const double difference[] = {-0.7, -0.2, -0.01, 0, 0.01, 0.3, 0.8};
    for (unsigned n = 1; n <= 12; n++)
        for (unsigned lost = 0; lost <= n; lost++)
            for (unsigned won = 0; won + lost <= n; won++)
                for (size_t i = 0; i < sizeof difference / sizeof *difference; i++)
                    if (won + lost > 0 || difference[i] != 0) {
                        double d = difference[i];
                        ok &= near(significance_tango(n, lost, won, d), searched(n, lost, won, d),
                                   1e-5);
                    }
    tap_ok(ok, "Tango's statistic with the most likely shares found by search");
    tap_ok(near(significance_tango(100, 4, 12, 0), 8 / sqrt(16), 1e-12),
           "without a difference it is McNemar's");
    tap_ok(near(significance_tango(50, 0, 0, -0.02), sqrt(50 * 0.02 / 0.98), 1e-12) &&
               near(significance_tango(50, 0, 0, 0.02), -sqrt(50 * 0.02 / 0.98), 1e-12) &&
               significance_tango(50, 0, 0, 0) == 0,
           "no record sets them apart: by hand");
    ok = true;
    for (unsigned n = 1; n <= 40; n += 3)
        for (unsigned lost = 0; lost <= n; lost += 2)
            for (unsigned won = 0; won + lost <= n; won += 3) {
                struct interval a = significance_tango_ci95(n, lost, won),
                                b = significance_tango_ci95(n, won, lost);
                double share = ((double)won - lost) / n;
                ok &= a.low <= share && share <= a.high && a.low >= -1 && a.high <= 1;
                ok &= near(a.low, -b.high, 1e-9) && near(a.high, -b.low, 1e-9);
                if (won < n)
                    ok &= near(significance_tango(n, lost, won, a.high), -1.959963984540054, 1e-6);
                if (lost < n)
                    ok &= near(significance_tango(n, lost, won, a.low), 1.959963984540054, 1e-6);
            }
    tap_ok(ok, "the interval ends where the test refuses, and mirrors");
    struct interval none = significance_tango_ci95(0, 0, 0);
    tap_ok(none.low == -1 && none.high == 1, "of no records: all is possible");
}

/* Chance of (lost, won) among n of a trinomial. */
static double trinomial(unsigned n, unsigned lost, unsigned won, double q, double d)
{
    double log_mass =
        lgamma(n + 1.) - lgamma(lost + 1.) - lgamma(won + 1.) - lgamma(n - lost - won + 1.);
    return exp(log_mass + likelihood(q, d, n, lost, won));
}

/* What the test promises, by enumeration of all outcomes: where the model is worse by exactly the
 * margin, it says otherwise in about 5 % of the cases, whatever share of records sets the two
 * apart. */
static void test_noninferior(void)
{
    enum { N = 150 };
    static double p[N + 1][N + 1];
    double margin = 0.05, lowest, worst = 0;
    bool agree = true;
    for (unsigned lost = 0; lost <= N; lost++)
        for (unsigned won = 0; won + lost <= N; won++) {
            p[lost][won] = significance_noninferior(N, lost, won, margin, &lowest);
            agree &= (p[lost][won] < 0.05) == (lowest > -margin);
        }
    tap_ok(agree, "p below 0.05 exactly when the lower limit is above the margin");
    for (double q = margin; q < 0.4; q += 0.05) {
        double refused = 0;
        for (unsigned lost = 0; lost <= N; lost++)
            for (unsigned won = 0; won + lost <= N; won++)
                if (p[lost][won] < 0.05)
                    refused += trinomial(N, lost, won, q, -margin);
        worst = fmax(worst, refused);
        tap_ok(refused > 0.02 && refused < 0.065,
               "worse by the margin, %.2f lost: shown in %.2f %%", q, 100 * refused);
    }
    double a = significance_noninferior(3000, 60, 60, 0.01, &lowest);
    /* sqrt(120) + records apart; Wald's 30 / sqrt(120) is near. */
    tap_ok(a < 0.005 && lowest < 0 && lowest > -0.01, "an even split of 120 among 3000, 1 point");
    a = significance_noninferior(3000, 300, 300, 0.01, &lowest);
    tap_ok(a > 0.1 && lowest < -0.01, "an even split of 600 among 3000 shows nothing at 1 point");
    tap_ok(significance_noninferior(0, 0, 0, 0.01, &lowest) == 1 && lowest == -1, "no records");
    a = significance_noninferior(5000000000, 1000000000, 1000100000, 1e-5, &lowest);
    tap_ok(a < 0.01 && lowest > -1e-5, "billions");
}

int main(void)
{
    test_tango();
    test_noninferior();
    test_mcnemar();
    test_wilson();
    test_bootstrap();
    test_quantile();
    return tap_done();
}
