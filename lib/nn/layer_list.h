/* layer_list.h: which layers of a model a smaller one is made of, as a user writes it. */
#ifndef MILLET_NN_LAYER_LIST_H
#define MILLET_NN_LAYER_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"

/* "0,2,5": layers to keep, in any order, each once, below n_layers; `what` names the option. *keep
 * is ascending; release with free(). */
bool layer_list_parse(const char *list, const char *what, size_t n_layers, size_t **keep, size_t *k,
                      struct error *err) MUST_CHECK;

/* Layer i of k that lie evenly in n_layers: round(i (n-1) / (k-1)), first and last among them (6 of
 * 12: 0 2 4 7 9 11, as DistilBERT was started); k = 1 is layer 0. */
size_t layer_list_even(size_t n_layers, size_t k, size_t i);

#endif
