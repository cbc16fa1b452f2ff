/* trainer.c: the steps of an epoch, and the dev set. Nothing of a step comes back to the host until
 * its loss is looked at, every log_every steps. */
#include "nn/trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/rng.h"
#include "kernels/loss_scale.h"
#include "nn/objective.h"
#include "nn/train_state.h"

uint64_t trainer_seed(const struct trainer *trainer, enum trainer_stream stream, uint64_t n)
{
    return rng_hash(rng_hash(trainer->options->seed, stream), n);
}

/* Logits beside the encoder's for the records of the batch. */
static bool load_beside(struct trainer *t, const uint32_t *record, size_t n, struct error *err)
{
    size_t classes = t->params.shape.n_labels, need = n * classes;
    if (need > t->room_beside) {
        if (t->batch_beside)
            t->dev->op->free(t->dev, t->batch_beside);
        free(t->host_beside);
        t->room_beside = 0;
        t->host_beside = memory_array(need, sizeof *t->host_beside, err);
        t->batch_beside = t->dev->op->alloc(t->dev, need * t->dev->act_bytes, err);
        if (!t->host_beside || !t->batch_beside)
            return false;
        t->room_beside = need;
    }
    for (size_t i = 0; i < n; i++)
        memcpy(t->host_beside + i * classes, t->beside + (size_t)t->usable[record[i]] * classes,
               classes * sizeof *t->beside);
    t->dev->op->act_upload(t->dev, t->batch_beside, t->host_beside, need);
    return true;
}

/* The logits that the loss sees. */
static const act *add_beside(struct trainer *t, const act *logits)
{
    if (!t->beside)
        return logits;
    t->dev->op->add(t->dev, logits, t->batch.n * t->params.shape.n_labels, t->batch_beside);
    return t->batch_beside;
}

static bool load_batch(struct trainer *t, const uint32_t *record, size_t n, struct error *err)
{
    batch_clear(&t->batch);
    for (size_t i = 0; i < n; i++) {
        struct record r = records_get(t->records, t->usable[record[i]]);
        if (!objective_add(&t->batch, &r, r.logits, err))
            return false;
    }
    return batch_upload(&t->batch, err) && (!t->beside || load_beside(t, record, n, err)) &&
           encoder_reserve(t->encoder, t->batch.n_tokens, t->batch.n, err);
}

enum moment {
    BEFORE_STEP,
    BEFORE_FORWARD,
    AFTER_FORWARD,
    AFTER_BACKWARD,
    AFTER_STEP,
    BEFORE_EVALUATE,
    AFTER_EVALUATE
};

static bool call_hooks(struct trainer *t, enum moment moment, struct error *err)
{
    size_t n = t->options->n_hooks;
    for (size_t i = 0; i < n; i++) {
        bool backwards = moment == AFTER_STEP || moment == AFTER_EVALUATE;
        const struct trainer_hook *hook = t->options->hook[backwards ? n - 1 - i : i];
        bool (*const call[])(void *, struct trainer *, struct error *) = {
            hook->before_step, hook->before_forward,  hook->after_forward, hook->after_backward,
            hook->after_step,  hook->before_evaluate, hook->after_evaluate};
        if (call[moment] && !call[moment](hook->context, t, err))
            return false;
    }
    return true;
}

static bool diverged(const struct trainer *t, const char *what, size_t at, struct error *err)
{
    char saved[400] = "";
    if (t->saved_step != SIZE_MAX)
        snprintf(saved, sizeof saved, " (the last good checkpoint, %.200s, is of step %zu)",
                 t->options->checkpoint, t->saved_step);
    return error_set(err,
                     "the %s in step %zu (epoch %zu) is not finite: training diverged at learning "
                     "rate %g; lower --lr, or lengthen --warmup%s",
                     what, at, t->epoch, t->lr, saved);
}

/* How the loss scale of fp16 stands. */
static bool look_at_scale(struct trainer *t, struct error *err)
{
    if (!t->optimizer.scaled)
        return true;
    struct loss_scale now = optimizer_scale_now(&t->optimizer);
    t->grad_scale = (double)now.scale;
    t->scale_age = now.age;
    t->skipped = now.skipped;
    return now.scale >= LOSS_SCALE_LEAST || diverged(t, "gradient at any loss scale", t->step, err);
}

/* Forward, loss, backward of the batch; gradients are added to those of the step's batches before
 * it. row_loss: where on the device the losses of the batch's records go. */
static bool run_batch(struct trainer *t, float *row_loss, struct encoder_rows_grad *rows,
                      struct error *err)
{
    struct device *dev = t->dev;
    const struct batch *batch = &t->batch;
    t->step_loss = row_loss;
    t->batch_number = t->step * t->options->accumulate + t->part;
    if (!call_hooks(t, BEFORE_FORWARD, err) ||
        (t->part == 0 && !params_zero_grad(&t->params, batch, rows, err)))
        return false;
    t->dropout.seed = trainer_seed(t, TRAINER_DROPOUT, t->batch_number);
    const act *logits = encoder_forward(t->encoder, &t->params.weights, batch, &t->dropout);
    const struct loss loss = {.kind = t->options->distil ? LOSS_DISTIL : LOSS_CROSS_ENTROPY,
                              .alpha = (float)t->options->alpha,
                              .temperature = (float)t->options->temperature,
                              .smoothing = (float)t->options->label_smoothing,
                              .class_weight = t->class_weight,
                              .scale = t->loss_scale,
                              .scaled = t->optimizer.scaled};
    if (t->params.shape.n_labels)
        objective_loss(dev, &loss, batch, add_beside(t, logits), t->params.shape.n_labels, row_loss,
                       encoder_dlogits(t->encoder));
    else
        dev->op->zero(dev, row_loss, batch->n * sizeof *row_loss);
    if (!call_hooks(t, AFTER_FORWARD, err))
        return false;
    encoder_backward(t->encoder, &t->params.weights, batch, &t->dropout, rows, NULL);
    return true;
}

/* Batches of a step have the rows of all of them. */
static bool share_rows(struct trainer *t, const struct schedule *schedule, size_t begin, size_t end,
                       struct error *err)
{
    batch_share_begin(&t->batch);
    for (size_t i = schedule->first[begin]; i < schedule->first[end]; i++) {
        struct record r = records_get(t->records, t->usable[schedule->record[i]]);
        if (!batch_share(&t->batch, r.id, r.n_ids, err))
            return false;
    }
    batch_share_end(&t->batch);
    return true;
}

/* Batches begin … end-1 of the epoch, and the update. */
static bool step(struct trainer *t, const struct schedule *schedule, size_t begin, size_t end,
                 struct error *err)
{
    const size_t *first = schedule->first;
    struct encoder_rows_grad rows = {0};
    t->loss_scale = (float)(1 / (double)(first[end] - first[begin]));
    batch_share_nothing(&t->batch);
    if ((end - begin > 1 && !share_rows(t, schedule, begin, end, err)) ||
        !call_hooks(t, BEFORE_STEP, err))
        return false;
    for (size_t b = begin; b < end; b++) {
        t->part = b - begin;
        if (!load_batch(t, schedule->record + first[b], first[b + 1] - first[b], err) ||
            !run_batch(t, t->row_loss + first[b], &rows, err))
            return false;
        t->window.tokens += t->batch.n_tokens;
    }
    params_settle_grad(&t->params);
    if (!call_hooks(t, AFTER_BACKWARD, err))
        return false;
    optimizer_step(&t->optimizer, &t->batch,
                   schedule_lr(t->lr, t->options->warmup, t->step, t->total_steps));
    t->step++;
    return call_hooks(t, AFTER_STEP, err);
}

static bool log_window(struct trainer *t, double grad_norm, struct error *err)
{
    double now = progress_clock(), seconds = now - t->clock;
    t->clock = now;
    if (!t->options->log)
        return true;
    json_t *line =
        json_pack("{s:I, s:I, s:f, s:f, s:f, s:f}", "step", (json_int_t)t->step, "epoch",
                  (json_int_t)t->epoch, "loss", t->last_loss, "lr",
                  schedule_lr(t->lr, t->options->warmup, t->step - 1, t->total_steps), "grad_norm",
                  grad_norm, "tokens_per_s", (double)t->window.tokens / fmax(seconds, 1e-9));
    if (line && t->options->precision == DTYPE_F16) {
        json_object_set_new(line, "loss_scale", json_real(t->grad_scale));
        json_object_set_new(line, "skipped", json_integer((json_int_t)t->skipped));
    }
    if (!line)
        return error_set(err, "no memory for a log line");
    return log_write(t->options->log, line, err);
}

bool trainer_collect(struct trainer *t, struct error *err)
{
    if (t->n_waiting == 0)
        return true;
    size_t begin = t->seen, end = t->step_end[t->n_waiting - 1];
    t->dev->op->download(t->dev, t->host_loss, t->row_loss + begin,
                         (end - begin) * sizeof *t->host_loss);
    if (!t->dev->op->sync(t->dev, err))
        return false;
    for (size_t s = 0, i = begin; s < t->n_waiting; s++) {
        double of_step = 0;
        for (; i < t->step_end[s]; i++)
            of_step += (double)t->host_loss[i - begin];
        if (!isfinite(of_step))
            return diverged(t, "loss", t->step - t->n_waiting + s + 1, err);
        /* Step by step: the same sum whenever it is looked at. */
        t->epoch_loss += of_step;
        t->window.loss += of_step;
    }
    t->window.records += end - begin;
    t->seen = end;
    t->n_waiting = 0;
    if (!look_at_scale(t, err))
        return false;
    /* What a bad gradient has done to the weights shows in the next loss, if there is a next. */
    return isfinite(optimizer_grad_norm(&t->optimizer)) || diverged(t, "gradient", t->step, err);
}

/* Look at the waiting losses and write a log line. */
static bool look(struct trainer *t, struct error *err)
{
    if (!trainer_collect(t, err))
        return false;
    t->last_loss = t->window.loss / (double)t->window.records;
    bool ok = log_window(t, optimizer_grad_norm(&t->optimizer), err);
    t->window = (struct trainer_window){0};
    return ok;
}

static bool wait_for(struct trainer *t, size_t end, struct error *err)
{
    if (!memory_grow(&t->step_end, &t->room_steps, t->n_waiting + 1, sizeof *t->step_end, err))
        return false;
    t->step_end[t->n_waiting++] = end;
    t->window.steps++;
    return true;
}

/* Told to stop: save, and say what is there. */
static bool leave(struct trainer *t, const char *during, struct error *err)
{
    t->stopped = true;
    if (!t->options->checkpoint)
        return error_set(err,
                         "stopped %s step %zu of %zu (epoch %zu); nothing is kept without "
                         "--checkpoint",
                         during, t->step, t->total_steps, t->epoch);
    return error_set(err,
                     "stopped %s step %zu of %zu (epoch %zu), which %s has; go on with --resume",
                     during, t->step, t->total_steps, t->epoch, t->options->checkpoint);
}

static bool told_to_stop(const struct trainer *t)
{
    return t->options->stop && *t->options->stop;
}

/* After a step: a checkpoint if one is due; false when the run is to end. */
static bool pause_step(struct trainer *t, bool last, struct error *err)
{
    bool stop = told_to_stop(t);
    if ((stop || last || train_state_due(t)) && !train_state_save(t, err))
        return false;
    return !stop || leave(t, "after", err);
}

bool trainer_epoch(struct trainer *trainer, const struct schedule *schedule, struct error *err)
{
    if (trainer->next_batch > schedule->n_batches)
        return error_set(err, "epoch %zu has %zu batches, and the checkpoint is of batch %zu of it",
                         trainer->epoch, schedule->n_batches, trainer->next_batch);
    trainer->seen = schedule->first[trainer->next_batch];
    trainer->n_waiting = 0;
    trainer->clock = progress_clock();
    while (trainer->next_batch < schedule->n_batches) {
        size_t begin = trainer->next_batch, left = schedule->n_batches - begin;
        size_t most = trainer->options->accumulate, end = begin + (left < most ? left : most);
        bool last = end == schedule->n_batches;
        trainer->next_batch = end;
        if (!step(trainer, schedule, begin, end, err) ||
            !wait_for(trainer, schedule->first[end], err))
            return false;
        if ((trainer->window.steps >= trainer->options->log_every || last) && !look(trainer, err))
            return false;
        const struct progress_event event = {.stage = "train",
                                             .done = trainer->step,
                                             .total = trainer->total_steps,
                                             .unit = "steps",
                                             .loss = trainer->last_loss};
        progress_report(trainer->progress, &event);
        if (!pause_step(trainer, last, err))
            return false;
    }
    trainer->train_loss = trainer->epoch_loss / (double)schedule->n;
    return true;
}

void trainer_next_epoch(struct trainer *trainer)
{
    trainer->epoch++;
    trainer->next_batch = 0;
    trainer->epoch_loss = 0;
}

/* ---- dev ---- */

/* What the score is made of: answers that are right, answers given, and those that were wanted. */
struct counts {
    size_t right, given, wanted;
};

/* One record's logits; false: not finite. */
static bool count_answer(const struct batch *batch, size_t i, const float *logits, size_t classes,
                         struct counts *counts)
{
    const float *target = batch->n_targets ? batch->target + i * classes : NULL;
    size_t best = 0;
    for (size_t c = 0; c < classes; c++) {
        if (!isfinite(logits[c]))
            return false;
        best = logits[c] > logits[best] ? c : best;
        if (target) { /* sigmoid above ½ where the logit is above 0 */
            counts->right += logits[c] > 0 && target[c] > 0;
            counts->given += logits[c] > 0;
            counts->wanted += target[c] > 0;
        }
    }
    if (!target) {
        counts->right += batch->label[i] == (int32_t)best;
        counts->given++;
        counts->wanted++;
    }
    return true;
}

/* What stands beside the logits of the dev batch, the labelled records of dev from `from` on. */
static void add_dev_beside(const struct trainer *t, const struct records_set *dev, size_t from,
                           float *logits)
{
    size_t classes = t->params.shape.n_labels;
    for (size_t i = 0; t->dev_beside && i < t->dev_batch.n; i++, from++) {
        while (!records_get(dev, from).labelled)
            from++;
        for (size_t c = 0; c < classes; c++)
            logits[i * classes + c] += t->dev_beside[from * classes + c];
    }
}

/* The answers to the dev batch. */
static bool count_batch(struct trainer *t, const struct records_set *dev, size_t from,
                        float *logits, struct counts *counts, struct error *err)
{
    const struct batch *batch = &t->dev_batch;
    size_t n = batch->n, classes = t->params.shape.n_labels;
    if (!batch_upload(&t->dev_batch, err) || !encoder_reserve(t->encoder, batch->n_tokens, n, err))
        return false;
    const act *out = encoder_forward(t->encoder, &t->params.weights, batch, NULL);
    t->dev->op->act_download(t->dev, logits, out, n * classes);
    if (!t->dev->op->sync(t->dev, err))
        return false;
    add_dev_beside(t, dev, from, logits);
    for (size_t i = 0; i < n; i++)
        if (!count_answer(batch, i, logits + i * classes, classes, counts))
            return diverged(t, "answer on the dev records", t->step, err);
    return true;
}

/* Fill the dev batch with labelled records from *next on, up to the budget. */
static bool fill_dev(struct trainer *t, const struct records_set *dev, size_t *next,
                     struct error *err)
{
    struct batch *batch = &t->dev_batch;
    batch_clear(batch);
    for (; *next < dev->n; ++*next) {
        struct record r = records_get(dev, *next);
        if (!r.labelled)
            continue;
        if (batch->n && batch->n_tokens + r.n_ids > t->options->batch_tokens)
            break;
        if (!objective_add(batch, &r, NULL, err))
            return false;
    }
    return true;
}

bool trainer_ready(const struct trainer *trainer)
{
    for (size_t i = 0; i < trainer->options->n_hooks; i++) {
        const struct trainer_hook *hook = trainer->options->hook[i];
        if (hook->ready && !hook->ready(hook->context, trainer))
            return false;
    }
    return true;
}

bool trainer_before_evaluate(struct trainer *trainer, struct error *err)
{
    return call_hooks(trainer, BEFORE_EVALUATE, err);
}

bool trainer_after_evaluate(struct trainer *trainer, struct error *err)
{
    return call_hooks(trainer, AFTER_EVALUATE, err);
}

bool trainer_evaluate(struct trainer *trainer, const struct records_set *dev, double *score,
                      struct error *err)
{
    struct counts counts = {0};
    size_t next = 0, room = 0;
    float *logits = NULL;
    bool ok = true;
    for (size_t i = 0; i < trainer->options->n_hooks; i++) {
        const struct trainer_hook *hook = trainer->options->hook[i];
        if (hook->evaluate)
            return hook->evaluate(hook->context, trainer, dev, score, err);
    }
    while (ok && next < dev->n) {
        if (told_to_stop(trainer)) { /* the checkpoint of the epoch's end is there */
            ok = leave(trainer, "while scoring", err);
            break;
        }
        size_t from = next;
        ok = fill_dev(trainer, dev, &next, err);
        if (!ok || trainer->dev_batch.n == 0)
            break;
        ok = memory_grow(&logits, &room, trainer->dev_batch.n * trainer->params.shape.n_labels,
                         sizeof *logits, err) &&
             count_batch(trainer, dev, from, logits, &counts, err);
    }
    free(logits);
    size_t answers = counts.given + counts.wanted;
    *score = answers ? 2 * (double)counts.right / (double)answers : 1;
    return ok;
}
