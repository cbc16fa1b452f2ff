/* train.c: a training run: what is checked before, the epochs, the best of them, the written model.
 */
#include "nn/train.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "nn/objective.h"
#include "nn/train_labels.h"
#include "nn/train_state.h"
#include "nn/trainer.h"
#include "text/labels.h"

void train_defaults(struct train_options *options)
{
    *options = (struct train_options){.epochs = 3,
                                      .batch_tokens = 1024,
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

/* ---- checks ---- */

/* Ids and lengths of every record against the shape; `what` names the stream. Counts labelled
 * records. */
static bool check_set(const struct records_set *set, const struct shape *shape, const char *what,
                      size_t *labelled, struct error *err)
{
    *labelled = 0;
    for (size_t i = 0; i < set->n; i++) {
        struct record r = records_get(set, i);
        *labelled += r.labelled;
        if (r.n_ids < 1 || r.n_ids > shape_max_tokens(shape))
            return error_set(
                err,
                "%s: record %zu has %zu tokens, expected 1 to %zu (the model's positions); "
                "tokenise with mtok --max-tokens %zu",
                what, i + 1, r.n_ids, shape_max_tokens(shape), shape_max_tokens(shape));
        for (size_t t = 0; t < r.n_ids; t++)
            if (r.id[t] < 0 || (size_t)r.id[t] >= shape->vocab)
                return error_set(err,
                                 "%s: record %zu: token id %" PRId32
                                 " is outside the vocabulary of %zu; tokenise with the model's own "
                                 "tokenizer (mtok -m)",
                                 what, i + 1, r.id[t], shape->vocab);
    }
    return true;
}

static bool check_dev(const struct trainer *t, const struct shape *shape, struct error *err)
{
    const struct records_set *dev = t->options->dev;
    size_t labelled;
    if (!dev)
        return true;
    if (t->options->mlm)
        return check_set(dev, shape, "dev", &labelled, err) &&
               (dev->n || error_set(err, "the dev stream has no records to score on"));
    if (!labels_equal(dev->header.label, dev->header.n_labels, t->records->header.label,
                      t->records->header.n_labels))
        return error_set(err,
                         "the labels of the dev records are not those of the training records; "
                         "tokenise both with mtok -m of one model");
    if (!dev->header.separator != !t->records->header.separator)
        return error_set(err,
                         "the dev records have %s, the training records %s; make both with or "
                         "both without mtok --multi-label",
                         dev->header.separator ? "any number of labels" : "one label each",
                         dev->header.separator ? "one each" : "any number");
    if (!check_set(dev, shape, "dev", &labelled, err))
        return false;
    if (!labelled)
        return error_set(err, "the dev records carry no labels to score against");
    return true;
}

static bool check_records(const struct trainer *t, const struct shape *shape, struct error *err)
{
    const struct records_set *records = t->records;
    size_t labelled;
    if (records->header.n_labels == 0 && !t->options->mlm)
        return error_set(err,
                         "the records name no labels; tokenise labelled text with mtok --label");
    if (records->n == 0)
        return error_set(err, "the stream has no records to train on");
    if (t->options->distil && !records->has_logits)
        return error_set(
            err, "--kd: the records carry no logits; run them through mteach -m TEACHER first");
    if (!check_set(records, shape, "training", &labelled, err))
        return false;
    if (!labelled && !t->options->distil && !t->options->mlm)
        return error_set(err,
                         "none of the %zu records has a label; tokenise with mtok --label, or "
                         "distil with --kd",
                         records->n);
    return check_dev(t, shape, err);
}

/* Another view of the text than the model's own needs another classifier. */
static bool choose_pool(struct shape *shape, const struct model *model, bool keeps_classifier,
                        const struct train_options *options, struct error *err)
{
    if (!options->choose_pool || options->pool == shape->pool)
        return true;
    if (options->pool == SHAPE_FIRST)
        return error_set(err,
                         "--pool first: the classifier of %s sees the mean of a text's tokens and "
                         "has no pooler; start from the model that it was made of",
                         model->name);
    if (keeps_classifier)
        return error_set(err,
                         "--pool mean: the classifier of %s was trained on the first token of a "
                         "text; start a new one with --new-head",
                         model->name);
    shape->pool = SHAPE_MEAN;
    shape->no_pooler = shape->has_pooler = true;
    return true;
}

static void choose_dropout(struct shape *shape, const struct train_options *options)
{
    if (options->dropout >= 0)
        shape->hidden_dropout = shape->attention_dropout = shape->classifier_dropout =
            (float)options->dropout;
    if (options->attention_dropout >= 0)
        shape->attention_dropout = (float)options->attention_dropout;
}

/* The shape to train: the model's own with the records' labels, or the one asked for. */
static bool find_shape(struct shape *shape, const struct shape *asked, const struct model *model,
                       const struct records_set *records, const struct train_options *options,
                       struct error *err)
{
    const struct records_header *header = &records->header;
    if (!asked && ngram_alone(model))
        return error_set(err,
                         "%s: is an n-gram part alone, with no encoder to train; give a shape "
                         "(--shape layers=2,hidden=128), or refit it: --shape ngram",
                         model->name);
    if (asked ? !shape_copy(asked, shape, err) : !shape_from_model(shape, model, err))
        return false;
    choose_dropout(shape, options);
    if (options->mlm)
        return shape_make_mlm(shape, asked ? NULL : model, err);
    bool keeps_classifier = !asked && shape->has_classifier && !options->new_head;
    const char *stream = records->n_sources ? source_name(records->source[0]) : "the stream";
    if (keeps_classifier &&
        (!model_check_problem(model, err) ||
         !records_check_kind(header, stream, model->problem == MODEL_MULTI_LABEL, model->name,
                             err)))
        return false;
    if (keeps_classifier && model->n_labels &&
        !labels_equal(model->label, model->n_labels, header->label, header->n_labels))
        return error_set(err,
                         "%s: the classifier's %zu labels are not the %zu of the records; tokenise "
                         "with mtok -m of this model, or start a new classifier with --new-head",
                         model->name, model->n_labels, header->n_labels);
    if (keeps_classifier && shape->n_labels != header->n_labels)
        return error_set(err,
                         "%s: the classifier has %zu classes, the records have %zu labels; start a "
                         "new one with --new-head",
                         model->name, shape->n_labels, header->n_labels);
    if (!choose_pool(shape, model, keeps_classifier, options, err))
        return false;
    shape->n_labels = header->n_labels;
    shape->all_rows = options->all_rows;
    return true;
}

/* ---- the run ---- */

static bool plan(const struct trainer *t, size_t epoch, struct schedule *schedule,
                 struct error *err)
{
    return schedule_plan(schedule, t->length, epoch == 1 ? t->rank : NULL, t->n_usable,
                         t->options->batch_tokens, trainer_seed(t, TRAINER_ORDER, epoch), err);
}

/* Batches differ a little between epochs; the learning rate's end must be exact. */
static bool count_steps(struct trainer *t, struct error *err)
{
    for (size_t epoch = 1; epoch <= t->options->epochs; epoch++) {
        struct schedule schedule;
        if (!plan(t, epoch, &schedule, err))
            return false;
        t->total_steps += schedule.n_batches;
        schedule_free(&schedule);
    }
    return true;
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
    t->grad_scale = 1;
    if (precision == DTYPE_F32)
        return true;
    if (precision == DTYPE_F16 && t->options->n_hooks)
        return error_set(err,
                         "--precision fp16 scales gradients, which other losses and pruning do "
                         "not; use --precision bf16");
    if (precision == DTYPE_F16)
        t->grad_scale = t->optimizer.scale = 65536;
    return params_round(&t->params, precision, err);
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
    if (!params_open(&t->params, shape, from, o->new_head, trainer_seed(t, TRAINER_WEIGHTS, 0),
                     t->dev, err) ||
        !optimizer_open(&t->optimizer, &t->params, o->clip, o->weight_decay, o->head_lr_factor,
                        err))
        return false;
    t->encoder = encoder_open(t->dev, &t->params.shape, true, err);
    t->length = memory_array(n, sizeof *t->length, err);
    t->host_loss = memory_array(n, sizeof *t->host_loss, err);
    t->row_loss = t->dev->op->alloc(t->dev, n * sizeof *t->row_loss, err);
    t->optimizer.beta2 = o->beta2;
    if (!choose_precision(t, err))
        return false;
    if (!t->encoder || !t->length || !t->host_loss || !t->row_loss || !train_weigh(t, err) ||
        (o->curriculum && !train_rank(t, err)))
        return false;
    for (size_t i = 0; i < n; i++)
        t->length[i] = (uint32_t)records_get(t->records, t->usable[i]).n_ids;
    return count_steps(t, err);
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

/* The name of the dev score in logs and histories. */
static const char *score_name(const struct trainer *t)
{
    for (size_t i = 0; i < t->options->n_hooks; i++)
        if (t->options->hook[i]->score_name)
            return t->options->hook[i]->score_name;
    return t->records->header.separator ? "dev_micro_f1" : "dev_accuracy";
}

static bool log_dev(const struct trainer *t, double loss, double score, struct error *err)
{
    if (!t->options->log)
        return true;
    json_t *line = json_pack("{s:I, s:I, s:f, s:f}", "step", (json_int_t)t->step, "epoch",
                             (json_int_t)t->epoch, "epoch_loss", loss, score_name(t), score);
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
        if (!plan(t, t->epoch, &schedule, err))
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

/* The n-gram part of the model given is part of the one written. */
static bool keeps_ngram(const struct trainer *t, const struct model *from)
{
    return from && !t->options->hybrid && !t->options->new_head && !t->options->mlm &&
           ngram_of_model(from);
}

/* Is the tensor one of the shape's? Buffers that are made anew (position_ids) count as such. */
static bool used(const struct shape *shape, const char *name)
{
    struct family_tensor tensor;
    const char *dot = strrchr(name, '.'), *last = dot ? dot + 1 : name;
    if (strcmp(last, "position_ids") == 0 || strcmp(last, "token_type_ids") == 0)
        return true;
    if (shape->mlm && family_owns_mlm(shape->family, name))
        return true;
    return family_parse(shape->family, name, &tensor) && tensor.role != FAMILY_ROLES &&
           !(tensor.role == FAMILY_POOLER && shape->no_pooler) &&
           !(tensor.role == FAMILY_CLASSIFIER && shape->mlm);
}

/* Names of the model's tensors that the trained one has no place for: a language model's head. */
static bool list_left_out(const struct trainer *t, const struct model *model, json_t *list,
                          struct train_result *result)
{
    bool ok = list != NULL;
    for (size_t i = 0; ok && i < model->n_tensors; i++) {
        const char *name = model->tensor[i].name;
        if (used(&t->params.shape, name) ||
            (ngram_owns(name) && (t->options->hybrid || keeps_ngram(t, model))))
            continue;
        if (result->n_left_out++ == 0)
            snprintf(result->left_out, sizeof result->left_out, "%s", name);
        ok = json_array_append_new(list, json_string(name)) == 0;
    }
    return ok;
}

/* What the history says of this run, and the tensors that started at random although a model was
 * given, or were left out of it. from NULL: none was. */
static bool describe(const struct trainer *t, const struct model *from, struct train_result *result,
                     json_t *stage, struct error *err)
{
    json_t *run = json_pack("{s:I, s:I, s:I, s:f}", "records", (json_int_t)t->n_usable, "steps",
                            (json_int_t)result->steps, "best_epoch", (json_int_t)result->best_epoch,
                            "loss", result->train_loss);
    json_t *fresh = json_array(), *left_out = json_array();
    bool ok = run && fresh && (!from || list_left_out(t, from, left_out, result));
    if (ok && isfinite(result->dev_score)) /* no epoch, no score */
        ok = json_object_set_new(run, score_name(t), json_real(result->dev_score)) == 0;
    for (size_t i = 0; ok && from && i < t->params.n_entries; i++) {
        const struct params_entry *e = &t->params.entry[i];
        if (!e->fresh)
            continue;
        ok = json_array_append_new(fresh, json_string(e->name)) == 0;
        result->fresh_mlm |= e->part.role == FAMILY_ROLES;
        result->fresh_pooler |= e->part.role == FAMILY_POOLER;
        result->fresh_classifier |= e->part.role == FAMILY_CLASSIFIER;
    }
    if (ok && stage) {
        ok = json_object_set(stage, "run", run) == 0;
        if (ok && json_array_size(fresh))
            ok = json_object_set(stage, "fresh", fresh) == 0;
        if (ok && json_array_size(left_out))
            ok = json_object_set(stage, "left_out", left_out) == 0;
    }
    json_decref(left_out);
    json_decref(run);
    json_decref(fresh);
    return ok || error_set(err, "no memory for the model's history");
}

/* transformers' classes take the loss from "problem_type"; without it, one output means
 * regression. */
static bool state_problem(json_t *config, const struct records_header *header, struct error *err)
{
    enum model_problem problem = header->separator ? MODEL_MULTI_LABEL : MODEL_SINGLE_LABEL;
    if (problem == MODEL_SINGLE_LABEL && header->n_labels > 1 &&
        !json_object_get(config, "problem_type"))
        return true;
    return json_object_set_new(config, "problem_type", json_string(model_problem_name(problem))) ==
               0 ||
           error_set(err, "no memory for config.json");
}

struct training {
    struct trainer trainer;
    struct shape shape;
    struct model *model;
    bool from_scratch;
    struct ngram_part ngram; /* of a run that makes one */
    struct train_result result;
};

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
        find_shape(&training->shape, shape, model, records, options, err) &&
        check_records(t, &training->shape, err) && choose_records(t, &training->result, err) &&
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

/* "millet_ngram" of the part that is made; of one that does not stay, nothing. */
static bool configure_ngram(const struct training *training, json_t *config, struct error *err)
{
    const struct model *from = training->from_scratch ? NULL : training->model;
    if (training->ngram.rows)
        return ngram_part_configure(&training->ngram, config, err);
    if (!keeps_ngram(&training->trainer, from))
        json_object_del(config, NGRAM_KEY);
    return true;
}

json_t *train_config(const struct training *training, struct error *err)
{
    const struct records_header *header = &training->trainer.records->header;
    json_t *config = shape_config(&training->shape, training->model->config, header->label, err);
    if (config && (training->shape.mlm || state_problem(config, header, err)) &&
        model_state_type(config, DTYPE_F32, err) && configure_ngram(training, config, err))
        return config;
    json_decref(config);
    return NULL;
}

bool train_describe(struct training *training, json_t *stage, struct error *err)
{
    return describe(&training->trainer, training->from_scratch ? NULL : training->model,
                    &training->result, stage, err) &&
           (!training->ngram.rows || hybrid_describe(&training->result.hybrid, stage, err));
}

/* The tensors of the n-gram part: the new one's, or those of the model given. */
static struct tensor_view *ngram_tensors(const struct training *training, size_t *n,
                                         struct error *err)
{
    const struct model *from = training->from_scratch ? NULL : training->model;
    struct tensor_view *tensor =
        memory_array(NGRAM_TENSORS + training->model->n_tensors, sizeof *tensor, err);
    *n = 0;
    if (tensor && training->ngram.rows) {
        *n = ngram_part_tensors(&training->ngram, tensor);
    } else if (tensor && keeps_ngram(&training->trainer, from)) {
        for (size_t i = 0; i < from->n_tensors; i++)
            if (ngram_owns(from->tensor[i].name))
                tensor[(*n)++] = from->tensor[i];
    }
    return tensor;
}

/* What millet.json says of the part; NULL: nothing. */
static json_t *ngram_extra(const struct training *training)
{
    const struct model *from = training->from_scratch ? NULL : training->model;
    json_t *described = training->ngram.described;
    if (!described && keeps_ngram(&training->trainer, from))
        described = json_object_get(from->millet, "ngram");
    return described ? json_pack("{s:O}", "ngram", described) : NULL;
}

bool train_write(struct training *training, json_t *stage, struct output *output, struct error *err)
{
    struct trainer *t = &training->trainer;
    struct params_beside beside = {.n_tensors = 0};
    struct tensor_view *tensor = NULL;
    json_t *config = NULL;
    params_drop_moments(&t->params);
    bool ok =
        (!t->options->hybrid || hybrid_finish(t, t->options->hybrid, training->model,
                                              &training->ngram, &training->result.hybrid, err)) &&
        train_describe(training, stage, err) && (config = train_config(training, err)) &&
        (tensor = ngram_tensors(training, &beside.n_tensors, err));
    if (ok) {
        beside.tensor = tensor;
        beside.extra = ngram_extra(training);
        ok = params_write_with(&t->params, training->model, config, &beside, stage, output, err);
        stage = NULL;
    }
    json_decref(stage);
    json_decref(config);
    free(tensor);
    return ok;
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
