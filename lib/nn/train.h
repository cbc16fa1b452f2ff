/* train.h: the training loop: cross-entropy or logit distillation, AdamW, linear warm-up and decay,
 * clipping, dropout, batches bucketed by length and cut by a token budget, best epoch on dev kept.
 * The work of mstudent.
 */
#ifndef MILLET_NN_TRAIN_H
#define MILLET_NN_TRAIN_H

#include <signal.h>

#include "core/error.h"
#include "core/log.h"
#include "core/progress.h"
#include "io/model.h"
#include "io/output.h"
#include "io/records.h"
#include "kernels/kernels.h"
#include "nn/hybrid.h"
#include "nn/parts.h"
#include "nn/shape.h"

struct trainer_hook;

struct train_options {
    size_t epochs;            /* 3 */
    size_t batch_tokens;      /* tokens of one batch; 1024 */
    size_t accumulate;        /* batches of one optimizer step; 1 */
    double lr;                /* 0: 1e-4 for a model with weights, 5e-4 for one from scratch */
    double head_lr_factor;    /* pooler and classifier learn this many times faster; 1 */
    double warmup;            /* share of steps; 0.1 */
    double weight_decay;      /* on matrices only; 0.01 */
    double clip;              /* global gradient norm; 1; 0 = off */
    double dropout;           /* < 0: the model's own */
    double attention_dropout; /* of the attention's probabilities; < 0: as `dropout` */
    double beta2;             /* AdamW's second moment; 0.999 */
    double label_smoothing;   /* Szegedy et al. 2016; 0 */
    bool
        balance_classes; /* a record weighs n / (C n_c), C classes that occur, n_c records of its */
    const double *class_weight; /* [n_class_weights], one for each label; NULL: all alike */
    size_t n_class_weights;
    enum dtype precision; /* of what products multiply: F32, BF16, or F16 with loss scaling */
    bool tf32;            /* the device multiplies floats as TF32; a checkpoint says so */
    bool curriculum;      /* the first pass goes from easy to hard for the teacher; schedule.h */
    size_t patience;      /* epochs without a better dev score after which the run ends; 0: never */
    bool new_head;        /* a new classifier even where the model has one */
    bool choose_pool;     /* `pool` instead of the model's own */
    enum shape_pool pool;
    bool mlm;                  /* no labels, the head and loss of mlm.h, a hook of this run */
    bool all_rows;             /* shape.h; a hook's loss needs them */
    bool distil;               /* needs logits in the records */
    double alpha, temperature; /* 0.9, 2 */
    uint64_t seed;
    const struct records_set *dev;          /* NULL: keep the last epoch */
    const struct trainer_hook *const *hook; /* trainer.h; [n_hooks] */
    size_t n_hooks;
    struct log *log;  /* may be NULL; with checkpoints, one that log_continue() opened */
    size_t log_every; /* steps; 10 */
    /* Checkpoints at the end of each epoch and between; train_state.h. A file that is there is an
     * error, or with `resume` where the run goes on; resume without a file: the beginning. */
    const char *checkpoint;    /* NULL: none */
    size_t checkpoint_steps;   /* between two; 0: by time */
    double checkpoint_seconds; /* 60 */
    bool resume;
    const json_t *start; /* how the start was made of the model given, where it was: checkpoints of
                          * another one are refused; borrowed; may be NULL */
    /* Not 0 (a signal's handler may set it): finish the step, save, end. May be NULL. */
    const volatile sig_atomic_t *stop;
    const struct hybrid_options *hybrid; /* NULL: no n-gram part is made; one there is stays */
};
void train_defaults(struct train_options *options);

struct train_result {
    size_t steps, best_epoch, epochs; /* epochs: done */
    size_t n_unlabelled; /* records left out because they have no label, and there was no teacher */
    double seconds, train_loss;
    double dev_score; /* accuracy; micro-F1 of a multi-label run; NaN without dev */
    bool fresh_pooler, fresh_classifier, fresh_mlm; /* the model given had none */
    size_t n_left_out;               /* tensors of the model that no classifier uses */
    char left_out[PARTS_NAME_BYTES]; /* the first of them */
    size_t n_absent, n_absent_dev;   /* labels without a record to learn from, to be scored on */
    char absent[64], absent_dev[64]; /* the first of them */
    bool resumed;                    /* went on from a checkpoint of this step */
    size_t resumed_step;
    char other_device[256]; /* it was made on another one, this; else empty */
    struct hybrid_result hybrid;
};

/* A run. With `shape` NULL the model's weights are the start (a missing pooler or classifier starts
 * at random, listed in the stage's "fresh", what is not used in "left_out"); otherwise random
 * weights of that shape, tokenizer from the model. Labels come from the records; a classifier that
 * is kept must have the same. Records without a label take part only when distilling. Borrows
 * everything.
 *
 * Peak memory: on the device 16 bytes a parameter of the encoder (weight, gradient, two moments),
 * for the word table 4 bytes a value and 8 more for touched rows, the tape of one batch
 * (encoder.h); on the host the best epoch's copy, and at the end the weights once more. */
struct training;
struct trainer;

struct training *train_open(struct model *model, const struct shape *shape,
                            const struct records_set *records, const struct train_options *options,
                            struct device *dev, const struct progress *progress,
                            struct error *err) MUST_CHECK;
/* All epochs; at the end the parameters are the best epoch's (the last one's without dev). */
bool train_run(struct training *training, struct error *err) MUST_CHECK;
/* Write the model, after the n-gram part is made where one is asked for; no step after this.
 * `stage` is stolen. */
bool train_write(struct training *training, json_t *stage, struct output *output,
                 struct error *err) MUST_CHECK;
void train_close(struct training *training); /* NULL is fine */

struct trainer *train_trainer(struct training *training); /* parameters and all */
/* config.json of the model as trained. New reference. */
json_t *train_config(const struct training *training, struct error *err);
/* "run", "fresh" and "left_out" of the history join `stage`. */
bool train_describe(struct training *training, json_t *stage, struct error *err) MUST_CHECK;
const struct train_result *train_result(const struct training *training);

/* All of it. `stage` is stolen. */
bool train(struct model *model, const struct shape *shape, const struct records_set *records,
           const struct train_options *options, struct device *dev, const struct progress *progress,
           json_t *stage, struct output *output, struct train_result *result,
           struct error *err) MUST_CHECK;

#endif
