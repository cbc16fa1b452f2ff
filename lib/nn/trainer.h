/* trainer.h: the state of a training run and its two movements, an epoch over the records and a
 * pass over the dev set. Hooks join a run: pruning while training, further losses.
 */
#ifndef MILLET_NN_TRAINER_H
#define MILLET_NN_TRAINER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "nn/batch.h"
#include "nn/encoder.h"
#include "nn/optimizer.h"
#include "nn/params.h"
#include "nn/schedule.h"
#include "nn/train.h"

/* Memory of a hook that a checkpoint must hold. */
struct trainer_buffer {
    const char *name; /* unique within the hook */
    void *data;
    size_t bytes;
    bool on_device;
};

/* What takes part in every step beside the trainer; each function may be NULL. Hooks run in the
 * order of train_options.hook; after_step in the opposite order. A step is of one batch or of
 * several, whose gradients add up. */
struct trainer_hook {
    const char *name; /* of its part of a checkpoint */
    void *context;
    /* The weights are those the step begins with; no batch has run. */
    bool (*before_step)(void *context, struct trainer *trainer, struct error *err);
    /* Of each batch: it is on the device, and has not run. */
    bool (*before_forward)(void *context, struct trainer *trainer, struct error *err);
    /* Of each batch: the logits and their gradient are there; further gradients can be added to the
     * encoder's. */
    bool (*after_forward)(void *context, struct trainer *trainer, struct error *err);
    /* Gradients of all parameters are there, of all batches of the step; the optimizer has not
     * run. */
    bool (*after_backward)(void *context, struct trainer *trainer, struct error *err);
    /* The optimizer has run. */
    bool (*after_step)(void *context, struct trainer *trainer, struct error *err);
    /* Around the dev set and before the weights are copied as the best: the weights must be those
     * that will be written; afterwards they may be others again. */
    bool (*before_evaluate)(void *context, struct trainer *trainer, struct error *err);
    bool (*after_evaluate)(void *context, struct trainer *trainer, struct error *err);
    /* May the weights of now, after an epoch that is not the last, be the ones that are written?
     * NULL: always. Asked before the dev set is scored. */
    bool (*ready)(void *context, const struct trainer *trainer);
    /* The score on dev, higher is better, of a run that learns nothing from labels, and its name;
     * NULL: that of labels. */
    bool (*evaluate)(void *context, struct trainer *trainer, const struct records_set *dev,
                     double *score, struct error *err);
    const char *score_name;
    /* Everything of the hook that the next step depends on; room for n. Returns how many. The same
     * buffers from the first step on: a resumed run gets its bytes back into them before it. */
    size_t (*state)(void *context, struct trainer_buffer *buffer, size_t n);
    /* Device memory that the hook will yet allocate for batches of this size, in *bytes, and of its
     * operations the most working memory, in *work; and that memory now, once the parameters are
     * there. shape: of what is trained. NULL: next to none. */
    bool (*memory)(void *context, const struct shape *shape, const struct batch_size *size,
                   size_t *bytes, size_t *work, struct error *err);
    bool (*reserve)(void *context, struct trainer *trainer, const struct batch_size *size,
                    struct error *err);
    /* Options that the hook's work depends on, borrowed: checkpoints of other ones are refused. */
    const json_t *identity;
};
enum { TRAINER_HOOK_BUFFERS = 256 };

struct trainer {
    const struct train_options *options;
    const struct records_set *records;
    const struct progress *progress;
    struct device *dev;
    struct params params;
    struct optimizer optimizer;
    struct encoder *encoder;
    struct batch batch, dev_batch;
    struct batch_size most, most_dev; /* the largest of the run */
    size_t footprint;                 /* bytes that the run allocates on the device */
    size_t ngram_bytes;               /* of them, an n-gram part's before the run */
    /* [vocab] the rows of the word table that occur; owned; NULL: all of them may be touched. */
    uint8_t *words;
    size_t n_words;
    struct encoder_dropout dropout; /* rates; the seed changes with the step */
    uint32_t *usable; /* [n_usable] records to learn from: all, or without a teacher the labelled */
    size_t n_usable;
    uint32_t *length;    /* [n_usable] */
    uint32_t *rank;      /* [n_usable] from easy to hard; NULL: no curriculum */
    float *class_weight; /* device [n_labels] or NULL */
    double lr;
    size_t epoch;      /* from 1 */
    size_t next_batch; /* of the epoch; that many batches of it are done */
    size_t step, total_steps;
    /* while a step runs, for hooks: which of its batches this is, from 0; its number in the run,
     * with which random numbers change; where on the device the losses of the batch's records are;
     * and what gradients of losses are multiplied by, 1/records of the step */
    size_t part, batch_number;
    float *step_loss, loss_scale;
    /* Logits [records->n, n_labels] that are added to the encoder's in the loss; owned; NULL:
     * none. */
    float *beside;
    float *dev_beside;  /* the same of options->dev, when it is scored */
    float *host_beside; /* of the batch; [room_beside] */
    act *batch_beside;  /* and their sums with the encoder's, on the device; [room_beside] */
    size_t room_beside;
    /* losses wait on the device until they are looked at */
    float *row_loss;  /* device [n_usable] */
    float *host_loss; /* [n_usable] */
    size_t *step_end; /* [room_steps] end in row_loss of each waiting step */
    size_t n_waiting, room_steps, seen;
    double epoch_loss; /* sum over the records of the epoch that were looked at */
    struct trainer_window {
        size_t steps, records, tokens;
        double loss; /* sum over its records */
    } window;        /* since the last line of the log */
    double clock;    /* when that was */
    /* Of fp16, as it was when losses were last looked at: what gradients are multiplied by, steps
     * without an overflow since that changed, steps that did nothing because of one. */
    double grad_scale;
    size_t scale_age, skipped;
    double last_loss;  /* mean over the last window; NaN before */
    double train_loss; /* mean over the last epoch */
    double dev_score;  /* the best so far; NaN: none */
    size_t best_epoch;
    struct params_copy best; /* on the host; empty before the first epoch with dev */
    /* checkpoints */
    json_t *identity; /* owned; what a checkpoint must be of; NULL: none are made */
    double begun;     /* progress_clock() when the run began, as if it had never been interrupted */
    double saved_at;  /* when the last checkpoint was made */
    size_t saved_step; /* its step; SIZE_MAX: there is none */
    bool stopped;      /* the run ended because it was told to */
};

/* `stream` seeds the random numbers of one purpose. */
enum trainer_stream { TRAINER_WEIGHTS = 1, TRAINER_ORDER, TRAINER_DROPOUT };
uint64_t trainer_seed(const struct trainer *trainer, enum trainer_stream stream, uint64_t n);

/* The steps of epoch trainer->epoch from next_batch on, with checkpoints as they fall due;
 * train_loss is then the mean over its records. */
bool trainer_epoch(struct trainer *trainer, const struct schedule *schedule,
                   struct error *err) MUST_CHECK;
/* Begin the next epoch. */
void trainer_next_epoch(struct trainer *trainer);
/* Bring the losses that wait on the device to the host; refuse what is not finite. */
bool trainer_collect(struct trainer *trainer, struct error *err) MUST_CHECK;

/* Score of the current weights on the labelled records, dropout off: accuracy, or where records
 * have any number of labels micro-F1 of those with a probability above one half (1 when there is
 * nothing to find and nothing was found). */
bool trainer_evaluate(struct trainer *trainer, const struct records_set *dev, double *score,
                      struct error *err) MUST_CHECK;

/* Would every hook have the weights of now written? */
bool trainer_ready(const struct trainer *trainer);

/* Tell the hooks that the weights are looked at, and that it is over. */
bool trainer_before_evaluate(struct trainer *trainer, struct error *err) MUST_CHECK;
bool trainer_after_evaluate(struct trainer *trainer, struct error *err) MUST_CHECK;

#endif
