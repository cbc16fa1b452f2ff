/* significance.h: how far a measured accuracy, or a difference of two on the same records, can be
 * trusted.
 *
 * A p-value above 0.05 is no proof that two models are equally good: report the interval beside it.
 */
#ifndef MILLET_SCORE_SIGNIFICANCE_H
#define MILLET_SCORE_SIGNIFICANCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

enum {
    SIGNIFICANCE_RESAMPLES = 10000
}; /* the ends of a 95 % interval then stand on 250 resamples each */

struct interval {
    double low, high;
};

/* Exact two-sided McNemar test (McNemar 1947; the exact form is the sign test on the discordant
 * records): the chance, were both models equally good, of a split at least as uneven as `lost` to
 * `won`. 1 when there is no discordant record. */
double significance_mcnemar(uint64_t lost, uint64_t won);

/* 95 % score interval of a proportion (Wilson 1927); n 0: [0, 1]. */
struct interval significance_wilson(uint64_t right, uint64_t n);

/* 95 % percentile interval of the paired bootstrap of (won − lost) / n. Resampling n records with
 * replacement and counting is the same as drawing the counts from the multinomial distribution over
 * the cells, so each resample costs two binomial draws instead of n. Same seed, same interval. won
 * + lost ≤ n. No discordant record: [0, 0]. */
bool significance_bootstrap(uint64_t n, uint64_t lost, uint64_t won, size_t n_resamples,
                            uint64_t seed, struct interval *interval, struct error *err) MUST_CHECK;

/* A difference of two shares of the same n records, by the score test of Tango (1998, "Equivalence
 * test and confidence interval for the difference in proportions for the paired-sample design"):
 * the standardised distance of (won - lost) / n from `difference`, its variance under the most
 * likely shares with that difference. Approximately normal; unlike Wald's it stands with few or no
 * records that set the two apart. lost + won <= n, n > 0, difference in [-1, 1]. */
double significance_tango(uint64_t n, uint64_t lost, uint64_t won, double difference);

/* The interval of all differences that the test does not refuse: 95 % two-sided. n 0: [-1, 1]. */
struct interval significance_tango_ci95(uint64_t n, uint64_t lost, uint64_t won);

/* Not worse by `margin` (a share, above 0) or more? One-sided p of the hypothesis that it is: below
 * 0.05, non-inferiority is shown. *lowest: the one-sided 95 % lower limit of the difference, above
 * -margin exactly when p < 0.05. */
double significance_noninferior(uint64_t n, uint64_t lost, uint64_t won, double margin,
                                double *lowest);

/* Quantile of n > 0 sorted values, linear between neighbours (type 7 of Hyndman and Fan 1996). */
double significance_quantile(const double *sorted, size_t n, double share);
/* Ascending, for the above. */
void significance_sort(double *value, size_t n);

#endif
