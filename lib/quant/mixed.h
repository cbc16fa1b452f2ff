/* mixed.h: a format for each matrix: int8 where it costs little, floats where it would cost much,
 * for a budget in points of accuracy. Part of the work of mquant.
 *
 * What is decided on is a group: query, key and value of a layer, which are one product; any
 * other matrix alone; the word table, which can become int8 or int4. Each change is measured
 * alone, on a sample of the records: the mean Kullback-Leibler divergence of its answers from
 * those of the model as it is (for outputs that are labels by themselves, of their Bernoulli
 * distributions), which is fine enough to compare what accuracy on a few hundred records cannot.
 * The search (mixed_search.h) then measures choices on all records, in points: of accuracy lost
 * where records have labels, else of answers changed.
 */
#ifndef MILLET_QUANT_MIXED_H
#define MILLET_QUANT_MIXED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/progress.h"
#include "core/threads.h"
#include "io/model.h"
#include "io/records.h"
#include "kernels/kernels.h"
#include "quant/format.h"
#include "quant/mixed_search.h"

struct mixed_options {
    double budget;    /* points */
    size_t samples;   /* records for measuring each change alone */
    uint64_t seed;    /* of the sample */
    enum format rest; /* of what does not change: AS_IS, FP32, FP16 or BF16 */
};

struct mixed_entry {
    char name[96]; /* "layer 3 query, key, value", "words" … */
    enum format format;
    double divergence; /* measured alone, on the sample */
    double points;     /* likewise */
    struct mixed_change change;
};

struct mixed {
    struct mixed_entry *entry; /* [n], owned: in the order of the model's tensors */
    size_t n;
    struct format_choice *choice; /* [n_choices], owned: for a format_plan; names are the model's */
    size_t n_choices;
    double points;  /* what the choice costs, on all records */
    bool labelled;  /* points are of accuracy, not of answers that agree */
    bool one_label; /* ... and all records have the same */
    size_t n_records;
};

/* Records must be in the model's tokens and labels. A budget below what nothing but `rest` costs is
 * refused with the nearest that can be met, and so is one that no change fits. Memory: the matrices
 * as int8, the word table as int8 and int4, and a classifier. Time: one pass over the sample for
 * each change, and about 6 to 30 over all records. */
bool mixed_decide(struct mixed *mixed, struct model *model, const struct records_set *records,
                  const struct mixed_options *options, struct device *dev, struct threads *team,
                  const struct progress *progress, struct error *err) MUST_CHECK;
void mixed_free(struct mixed *mixed); /* safe on a zeroed struct */

#endif
