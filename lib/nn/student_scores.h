/* student_scores.h: how much heads, neurons and hidden columns matter by their weights alone; the
 * rules are in student.h. Private to student*.c. */
#ifndef MILLET_NN_STUDENT_SCORES_H
#define MILLET_NN_STUDENT_SCORES_H

#include <stddef.h>

#include "core/error.h"
#include "io/model.h"
#include "nn/shape.h"

/* score [heads of layer l], [ffn of layer l]. */
bool student_score_heads(const struct model *model, const struct shape *shape, size_t l,
                         double *score, struct error *err) MUST_CHECK;
bool student_score_neurons(const struct model *model, const struct shape *shape, size_t l,
                           double *score, struct error *err) MUST_CHECK;
/* score [hidden], by the layers named. */
bool student_score_hidden(const struct model *model, const struct shape *shape, const size_t *layer,
                          size_t n_layers, double *score, struct error *err) MUST_CHECK;

#endif
