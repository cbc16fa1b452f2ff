/* student.h: the start of a student: a model cut down to some of its layers and to narrower ones,
 * in memory, before training. What is left keeps its values, whatever their number format.
 *
 *   layers   a subset (DistilBERT: Sanh et al. 2019; Sun et al. 2019); none is an embedding bag
 *   heads    of each layer those with the largest scores; query, key and value lose rows, the
 *            output projection columns
 *   ffn      the same for feed-forward neurons
 *   hidden   the same columns everywhere: of the tables, of what reads and rows of what writes them
 *
 * Without scores given, a head's is |V| |O| and a neuron's |in| |out|: the largest that its share
 * of the layer's sum can be for its weights (Frobenius norms). A hidden column's is the sum over
 * all matrices that read it of |column|² g², g the gain of the norm before: behind a norm, g² is
 * the column's variance.
 */
#ifndef MILLET_NN_STUDENT_H
#define MILLET_NN_STUDENT_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"
#include "io/model.h"
#include "nn/shape.h"

struct student_choice {
    /* "4": so many, lying evenly (layer_list_even), 0: none; "0,3,6,9": these; NULL: all. The list
     * of one layer is written "5,". */
    const char *layers;
    size_t heads, ffn, hidden; /* at most so many of each; 0: all */
    /* Scores of the model's heads and neurons, [n_layers][heads] and [n_layers][ffn]; NULL: by
     * weights. */
    const double *const *head_score, *const *neuron_score;
};

/* Before a model is open: whether `layers` can be a choice at all. */
bool student_check_layers(const char *layers, struct error *err) MUST_CHECK;

/* The model's tensors and config.json become the student's, and *shape that of the student; new
 * values belong to the model's bundle. Without layers pooler and classifier go: the classifier of
 * such a model sees the mean. Values are verified. Memory: the tensors that are cut. After a
 * failure the model can only be closed. */
bool student_make(struct model *model, struct shape *shape, const struct student_choice *choice,
                  struct error *err) MUST_CHECK;

#endif
