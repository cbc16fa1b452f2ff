/* layers.h: which layers stay when whole layers are dropped (METHODS section 2): the rules of
 * mprune --which. */
#ifndef MILLET_PRUNE_LAYERS_H
#define MILLET_PRUNE_LAYERS_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"

enum layers_rule {
    LAYERS_TOP,      /* drop the last ones: keep 0 … k-1 */
    LAYERS_MIDDLE,   /* keep the first ceil(k/2) and the last floor(k/2) */
    LAYERS_BOTTOM,   /* drop the first ones: keep n-k … n-1 */
    LAYERS_ALTERNATE /* keep round(i (n-1) / (k-1)), i = 0 … k-1: first, last, and evenly between (6
                        of 12: 0 2 4 7 9 11, as DistilBERT was started); k = 1 keeps layer 0 */
};

bool layers_rule_from_name(const char *name, enum layers_rule *rule); /* "top" …; false: unknown */
const char *layers_rule_name(enum layers_rule rule);

/* The number of layers that stay: share * n to the nearest (halves up), at least 1. */
size_t layers_count(size_t n_layers, double share);

/* keep [k], ascending; 1 <= k <= n_layers. */
void layers_choose(size_t n_layers, size_t k, enum layers_rule rule, size_t *keep);

/* "0,2,5": layers to keep, in any order, each once, below n_layers. *keep is ascending; release
 * with free(). */
bool layers_parse(const char *list, size_t n_layers, size_t **keep, size_t *k,
                  struct error *err) MUST_CHECK;

#endif
