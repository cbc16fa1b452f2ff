/* mlm_state.h: what mlm.c opens and mlm_step.c works with. Private to mlm*.c. */
#ifndef MILLET_NN_MLM_STATE_H
#define MILLET_NN_MLM_STATE_H

#include "core/rng.h"
#include "nn/batch.h"
#include "nn/encoder.h"
#include "nn/mlm.h"
#include "nn/mlm_head.h"

/* The chosen tokens of a batch. As "sequences" that begin at each of them they are gathered and
 * scattered by first rows. */
struct mlm_places {
    size_t n;
    int32_t *at;    /* host [n + 1], ascending, then the end */
    int32_t *label; /* host [n]: what was there */
    size_t room_at, room_label;
    int32_t *device;    /* at [n + 1], label [n] */
    size_t room_device; /* n that there is room for */
    struct seqs seqs;
    const int32_t *device_label;
};

/* A teacher: as parameters, so that its head is the student's. */
struct mlm_teacher {
    bool there;
    struct shape shape;
    struct params params;
    struct encoder *encoder;
    struct batch batch;
    struct mlm_head head;
    float *host, *logits; /* [piece, V] */
    size_t room, room_host;
};

struct mlm {
    struct mlm_options options;
    struct device *dev;
    int32_t mask;
    uint8_t *special; /* [n_tokens] */
    int32_t *common;  /* [n_common] ids that are not special: what a random token is one of */
    size_t n_tokens, n_common;
    struct mlm_head head; /* params NULL until the first batch */
    struct mlm_places places;
    struct mlm_teacher teacher;
    float *row_loss; /* device [room_loss] of the chosen */
    float *host_loss, *host_record;
    size_t room_loss, room_host, room_record;
    act *gradient; /* [room_gradient, H] */
    size_t room_gradient;
    float *host_logits; /* of dev */
    size_t room_logits;
    double accuracy;
    struct trainer_hook hook;
    json_t *identity;
};

/* Choose and alter tokens of the batch in host memory, drawing from rng for tokens [begin, end). */
bool mlm_choose(struct mlm *mlm, struct batch *batch, size_t begin, size_t end, struct rng *rng,
                struct error *err) MUST_CHECK;

/* ---- mlm_memory.c: room for n chosen tokens ---- */

/* What follows the run's parameters, which are at their place by then. */
bool mlm_ensure_head(struct mlm *mlm, struct trainer *trainer, struct error *err) MUST_CHECK;
bool mlm_reserve_places(struct mlm *mlm, size_t n, struct error *err) MUST_CHECK;
bool mlm_grow_losses(struct mlm *mlm, size_t n, struct error *err) MUST_CHECK;
/* Anew where *room, in elements, is less than n. */
bool mlm_grow_device(struct mlm *mlm, void **memory, size_t *room, size_t n, size_t element,
                     struct error *err) MUST_CHECK;

/* The hook's functions; context is a struct mlm. */
bool mlm_before_forward(void *context, struct trainer *trainer, struct error *err);
bool mlm_after_forward(void *context, struct trainer *trainer, struct error *err);
bool mlm_memory(void *context, const struct shape *shape, const struct batch_size *size,
                size_t *bytes, size_t *work, struct error *err);
bool mlm_reserve(void *context, struct trainer *trainer, const struct batch_size *size,
                 struct error *err);
bool mlm_evaluate(void *context, struct trainer *trainer, const struct records_set *dev,
                  double *score, struct error *err);

#endif
