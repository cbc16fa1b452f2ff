/* train.c: a training run: its parts opened, the epochs, the best of them. */
#include "nn/train.h"

#include <math.h>
#include <stdlib.h>

#include "core/memory.h"
#include "kernels/loss_scale.h"
#include "nn/objective.h"
#include "nn/train_labels.h"
#include "nn/train_state.h"
#include "nn/training.h"

void train_defaults(struct train_options *options)
{
    *options = (struct train_options){.epochs = 3,
                                      .batch_tokens = 1024,
                                      .accumulate = 1,
                                      .head_lr_factor = 1,
                                      .warmup = 0.1,
                                      .weight_decay = 0.01,
                                      .clip = 1,
                                      .dropout = -1,
                                      .attention_dropout = -1,
                                      .beta2 = 0.999,
                                      .precision = DTYPE_F32,
                                      .alpha = 0.9,
                                      .temperature = 2,
                                      .log_every = 10,
                                      .checkpoint_seconds = 60};
}

/* A record without a label teaches nothing unless a teacher speaks; if it took part, it would only
 * thin out the gradients of its batch. */
static bool choose_records(struct trainer *t, struct train_result *result, struct error *err)
{
    const struct records_set *records = t->records;
    if (records->n > UINT32_MAX)
        return error_set(err, "%zu records are more than can be shuffled; cut the stream",
                         records->n);
    t->usable = memory_array(records->n, sizeof *t->usable, err);
    if (!t->usable)
        return false;
    for (size_t i = 0; i < records->n; i++)
        if (t->options->distil || t->options->mlm || records_get(records, i).labelled)
            t->usable[t->n_usable++] = (uint32_t)i;
    result->n_unlabelled = records->n - t->n_usable;
    return true;
}

static bool choose_precision(struct trainer *t, struct error *err)
{
    enum dtype precision = t->options->precision;
    t->grad_scale = precision == DTYPE_F16 ? LOSS_SCALE_FIRST : 1;
    if (precision == DTYPE_F32)
        return true;
    if (precision == DTYPE_F16 && t->options->n_hooks)
        return error_set(err,
                         "--precision fp16 scales gradients, which other losses and pruning do "
                         "not; use --precision bf16");
    const struct loss_scale start = {.scale = LOSS_SCALE_FIRST};
    return (precision != DTYPE_F16 || optimizer_scale(&t->optimizer, &start, err)) &&
           params_round(&t->params, precision, err);
}

static bool open_trainer(struct trainer *t, const struct shape *shape, struct model *from,
                         struct error *err)
{
    const struct train_options *o = t->options;
    size_t n = t->n_usable;
    t->dropout = (struct encoder_dropout){.hidden = shape->hidden_dropout,
                                          .attention = shape->attention_dropout,
                                          .classifier = shape->classifier_dropout};
    t->lr = o->lr > 0 ? o->lr : from ? 1e-4 : 5e-4;
    t->last_loss = t->dev_score = NAN;
    t->saved_step = SIZE_MAX;
    t->epoch = 1;
    batch_init(&t->batch, t->dev, shape, o->distil ? shape->n_labels : 0, true);
    batch_init(&t->dev_batch, t->dev, shape, 0, false);
    t->batch.word_rows = o->mlm ? shape->vocab : 0;
    objective_init(&t->batch, &t->records->header, shape->n_labels);
    objective_init(&t->dev_batch, &t->records->header, shape->n_labels);
    t->length = memory_array(n, sizeof *t->length, err);
    if (!t->length || (o->curriculum && !train_rank(t, err)))
        return false;
    for (size_t i = 0; i < n; i++)
        t->length[i] = (uint32_t)records_get(t->records, t->usable[i]).n_ids;
    if ((!o->mlm && !training_find_words(t, shape, err)) || !training_check_memory(t, shape, err) ||
        !params_open(&t->params, shape, from, o->new_head, trainer_seed(t, TRAINER_WEIGHTS, 0),
                     t->dev, err) ||
        (t->words && !params_expect(&t->params, t->words, err)) ||
        !optimizer_open(&t->optimizer, &t->params, o->clip, o->weight_decay, o->head_lr_factor,
                        err))
        return false;
    t->encoder = encoder_open(t->dev, &t->params.shape, true, err);
    t->host_loss = memory_array(n, sizeof *t->host_loss, err);
    t->row_loss = t->dev->op->alloc(t->dev, n * sizeof *t->row_loss, err);
    t->optimizer.beta2 = o->beta2;
    if (!choose_precision(t, err))
        return false;
    if (!t->encoder || !t->host_loss || !t->row_loss || !train_weigh(t, err))
        return false;
    return training_reserve(t, err);
}

static void close_trainer(struct trainer *t)
{
    if (t->row_loss)
        t->dev->op->free(t->dev, t->row_loss);
    if (t->class_weight)
        t->dev->op->free(t->dev, t->class_weight);
    if (t->batch_beside)
        t->dev->op->free(t->dev, t->batch_beside);
    free(t->host_beside);
    free(t->beside);
    free(t->dev_beside);
    free(t->rank);
    free(t->host_loss);
    free(t->length);
    free(t->words);
    free(t->usable);
    free(t->step_end);
    json_decref(t->identity);
    params_copy_free(&t->best);
    encoder_close(t->encoder);
    batch_free(&t->batch);
    batch_free(&t->dev_batch);
    optimizer_close(&t->optimizer);
    params_close(&t->params);
}

static bool log_dev(const struct trainer *t, double loss, double score, struct error *err)
{
    if (!t->options->log)
        return true;
    json_t *line =
        json_pack("{s:I, s:I, s:f, s:f}", "step", (json_int_t)t->step, "epoch",
                  (json_int_t)t->epoch, "epoch_loss", loss, training_score_name(t), score);
    if (!line)
        return error_set(err, "no memory for a log line");
    return log_write(t->options->log, line, err);
}

/* Too long without a better epoch? */
static bool out_of_patience(const struct trainer *t)
{
    return t->options->patience && t->best_epoch &&
           t->epoch - t->best_epoch >= t->options->patience;
}

/* The score on dev of the weights as they would be written, and a copy of them if it is the
 * best. */
static bool judge(struct trainer *t, struct error *err)
{
    double score = 0;
    if (!trainer_before_evaluate(t, err))
        return false;
    bool better = !t->options->dev;
    if (t->options->dev) {
        if (!trainer_evaluate(t, t->options->dev, &score, err) ||
            !log_dev(t, t->train_loss, score, err))
            return false;
        better = !(score <= t->dev_score) && (t->epoch == t->options->epochs || trainer_ready(t));
        if (better)
            t->dev_score = score;
    }
    if (better)
        t->best_epoch = t->epoch;
    bool last = t->epoch == t->options->epochs;
    if (t->options->dev && better && !last && !params_save(&t->params, &t->best, err))
        return false;
    /* After the last epoch the weights stay those that will be written. */
    return last || out_of_patience(t) || trainer_after_evaluate(t, err);
}

static bool run_epochs(struct trainer *t, struct error *err)
{
    for (; t->epoch <= t->options->epochs; trainer_next_epoch(t)) {
        struct schedule schedule;
        if (!training_plan(t, t->epoch, t->options->batch_tokens, &schedule, err))
            return false;
        bool ok = trainer_epoch(t, &schedule, err) && judge(t, err);
        schedule_free(&schedule);
        if (!ok)
            return false;
        if (out_of_patience(t))
            break;
    }
    if (t->best_epoch < t->options->epochs)
        params_restore(&t->params, &t->best);
    return true;
}

struct training *train_open(struct model *model, const struct shape *shape,
                            const struct records_set *records, const struct train_options *options,
                            struct device *dev, const struct progress *progress, struct error *err)
{
    struct training *training = memory_zeroed(1, sizeof *training, err);
    if (!training)
        return NULL;
    struct trainer *t = &training->trainer;
    *t = (struct trainer){.options = options, .records = records, .progress = progress, .dev = dev};
    training->model = model;
    training->from_scratch = shape != NULL;
    if ((!options->hybrid || hybrid_check(options->hybrid, records, options->dev, model, err)) &&
        training_find_shape(&training->shape, shape, model, records, options, err) &&
        training_check_records(t, &training->shape, err) &&
        choose_records(t, &training->result, err) &&
        (options->mlm || train_find_absent(t, &training->result, err)) &&
        open_trainer(t, &training->shape, shape ? NULL : model, err) &&
        (!options->checkpoint || train_state_open(t, model, err)) &&
        (!options->hybrid ||
         hybrid_begin(t, options->hybrid, &training->ngram, &training->result.hybrid, err)))
        return training;
    train_close(training);
    return NULL;
}

void train_close(struct training *training)
{
    if (!training)
        return;
    close_trainer(&training->trainer);
    ngram_part_free(&training->ngram);
    shape_free(&training->shape);
    free(training);
}

bool train_run(struct training *training, struct error *err)
{
    struct trainer *t = &training->trainer;
    struct train_result *result = &training->result;
    t->begun = t->saved_at = progress_clock();
    bool ok = (!t->options->checkpoint || train_state_begin(t, result, err)) && run_epochs(t, err);
    params_copy_free(&t->best);
    result->seconds = progress_clock() - t->begun;
    result->steps = t->step;
    result->best_epoch = t->best_epoch;
    result->epochs = t->epoch > t->options->epochs ? t->options->epochs : t->epoch;
    result->train_loss = t->train_loss;
    result->dev_score = t->dev_score;
    return ok;
}

struct trainer *train_trainer(struct training *training)
{
    return &training->trainer;
}

const struct train_result *train_result(const struct training *training)
{
    return &training->result;
}

bool train(struct model *model, const struct shape *shape, const struct records_set *records,
           const struct train_options *options, struct device *dev, const struct progress *progress,
           json_t *stage, struct output *output, struct train_result *result, struct error *err)
{
    struct training *training = train_open(model, shape, records, options, dev, progress, err);
    bool ok = training && train_run(training, err);
    if (ok)
        ok = train_write(training, stage, output, err);
    else
        json_decref(stage);
    *result = training ? training->result : (struct train_result){0};
    train_close(training);
    return ok;
}
