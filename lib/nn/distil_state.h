/* distil_state.h: what distil.c opens and distil_step.c works with. Private to distil*.c. */
#ifndef MILLET_NN_DISTIL_STATE_H
#define MILLET_NN_DISTIL_STATE_H

#include "nn/batch.h"
#include "nn/distil.h"
#include "nn/encoder.h"
#include "nn/weights.h"

/* Hidden states as encoder_hidden() numbers them. */
struct distil_pair {
    size_t student, teacher;
};

/* W and what AdamW needs of it, [teacher's width, student's], on the device. */
struct distil_projection {
    float *w, *grad, *m, *v;
    struct linear *linear;
    double *sum;   /* of squares of the gradient */
    float *factor; /* of clipping */
    size_t n;
};

struct distil {
    struct distil_options options;
    struct device *dev;
    struct shape shape, student; /* shape: the teacher's, as deep as is needed */
    struct weights weights;
    struct encoder *encoder;
    struct batch batch;
    struct distil_pair *pair;
    size_t n_pairs, n_patient; /* the first n_patient pairs are those of `patient` */
    size_t relation_layer;     /* of the teacher, from 0 */
    size_t relation_heads;
    struct distil_projection projection; /* w NULL: neither hidden nor patient */
    /* room for a batch */
    void *arena;
    size_t room_tokens, room_records;
    act **gradient; /* [n_pairs] of the student's states, [T, H] */
    act *projected, *dprojected, *target;
    act *first, *dfirst;
    act *dqkv; /* [T, 3A] */
    struct trainer_hook hook;
    json_t *identity;
};

/* The hook's functions; context is a struct distil. */
bool distil_memory(void *context, const struct shape *shape, const struct batch_size *size,
                   size_t *bytes, size_t *work, struct error *err);
bool distil_reserve(void *context, struct trainer *trainer, const struct batch_size *size,
                    struct error *err);
bool distil_after_forward(void *context, struct trainer *trainer, struct error *err);
bool distil_after_step(void *context, struct trainer *trainer, struct error *err);

#endif
