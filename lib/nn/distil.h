/* distil.h: what a student learns from inside its teacher, beside logits: hidden states, their
 * direction at the first token, and relations of query, key and value. The teacher runs on the
 * batch of each step; a hook of the training run (trainer.h).
 *
 *   hidden     mean square of W h_s - h_t (Romero et al. 2015; Jiao et al. 2020), after student
 *              layer i and teacher layer map[i]; W [teacher's width, student's] is one matrix for
 *              all pairs, learned with the student at ten times its rate and not written. Of equal
 *              widths it starts as the identity (Xia et al. 2022)
 *   patient    |W h_s / |W h_s| - h_t / |h_t||² at the first token of the same pairs but the last
 *              layer's (Sun et al. 2019)
 *   relations  KL of the self-relations of query, key and value (Wang et al. 2021), teacher layer
 *              relation_layer, student's last layer
 *
 * Each is the mean over pairs (or query, key and value), over a record's rows, and over records,
 * times its weight, added to the loss of the records. Where the head sees first rows only, the last
 * layer's pair is of those; with relations all its rows are computed.
 *
 * Costs: a forward pass of the teacher as deep as is needed, a third of a training step of its
 * size; its tape (encoder.h). Relations: sum of squares of text lengths times the heads' width,
 * little.
 */
#ifndef MILLET_NN_DISTIL_H
#define MILLET_NN_DISTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "io/model.h"
#include "kernels/kernels.h"
#include "nn/shape.h"
#include "nn/trainer.h"

struct distil_options {
    double hidden, patient, relations; /* weights; 0: without */
    const size_t *map; /* [n_map] teacher layers, one for each student layer; NULL: evenly */
    size_t n_map;
    size_t relation_layer; /* of the teacher, from 1; 0: the last */
    size_t relation_heads; /* 0: the largest number that fits both and divides the teacher's */
    uint64_t seed;         /* of W */
};

struct distil;

/* `student`: the shape that will be trained. The teacher may lack a classifier; it must know the
 * student's tokens. Borrows teacher and device. */
struct distil *distil_open(struct model *teacher, const struct shape *student,
                           const struct distil_options *options, struct device *dev,
                           struct error *err) MUST_CHECK;
void distil_close(struct distil *distil); /* NULL is fine */
const struct trainer_hook *distil_hook(const struct distil *distil);

/* Whether the student must be trained with all rows (shape.h). */
bool distil_needs_all_rows(const struct distil_options *options);

/* The teacher layer of each of n student layers, from 1: round(i teacher / n). */
size_t distil_even(size_t teacher, size_t n, size_t i);

#endif
