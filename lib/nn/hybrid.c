/* hybrid.c: the n-gram part of a training run: fitted, weighed against the encoder, written. */
#include "nn/hybrid.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "nn/ngram_problem.h"
#include "nn/trainer.h"
#include "text/grams.h"
#include "text/labels.h"

const char *hybrid_mode_name(enum hybrid_mode mode)
{
    static const char *const name[] = {[HYBRID_APART] = "apart",
                                       [HYBRID_TOGETHER] = "together",
                                       [HYBRID_TURN] = "turn",
                                       [HYBRID_GATE] = "gate"};
    return name[mode];
}

json_t *hybrid_identity(const struct hybrid_options *options)
{
    json_t *identity = ngram_fit_describe(&options->fit);
    if (identity &&
        json_object_set_new(identity, "mode", json_string(hybrid_mode_name(options->mode))) == 0)
        return identity;
    json_decref(identity);
    return NULL;
}

/* ---- checks ---- */

static bool check_dev(const struct records_set *records, const struct records_set *dev,
                      struct error *err)
{
    size_t labelled = 0;
    if (!dev)
        return true;
    if (!labels_equal(dev->header.label, dev->header.n_labels, records->header.label,
                      records->header.n_labels) ||
        !dev->header.separator != !records->header.separator)
        return error_set(err,
                         "the labels of the dev records are not those of the training records; "
                         "tokenise both with mtok -m of one model");
    for (size_t i = 0; i < dev->n; i++)
        labelled += records_get(dev, i).labelled;
    return labelled > 0 || error_set(err, "the dev records carry no labels to score against");
}

/* The part that stays answers for the labels of the records. */
static bool check_kept(const struct model *model, const struct records_set *records,
                       const struct records_set *dev, struct error *err)
{
    const struct records_header *header = &records->header;
    if (!dev)
        return error_set(err, "--ngram=gate: the gates need records that neither part was fitted "
                              "to; give --dev");
    return labels_equal(model->label, model->n_labels, header->label, header->n_labels) ||
           error_set(err,
                     "--ngram=gate: the n-gram part of %s tells %zu labels apart, which are not "
                     "the %zu of the records; tokenise with mtok -m of this model, or fit a new "
                     "part: --ngram",
                     model->name, model->n_labels, header->n_labels);
}

bool hybrid_check(const struct hybrid_options *options, const struct records_set *records,
                  const struct records_set *dev, const struct model *model, struct error *err)
{
    struct records_grams wanted = records->header.grams;
    const char *needs = "the n-gram part";
    if (options->mode == HYBRID_GATE) {
        needs = model->name;
        if (!ngram_of_model(model))
            return error_set(err, "--ngram=gate: %s has no n-gram part to keep; make one: --ngram",
                             model->name);
        if (!check_kept(model, records, dev, err) ||
            !grams_of_config(model->config, model->name, &wanted, err))
            return false;
    }
    if (records->header.grams.buckets == 0)
        return error_set(err, "the records carry no n-grams; make the stream with mtok --ngrams");
    if (options->fit.distil && !records->has_logits)
        return error_set(
            err, "--kd: the records carry no logits; run them through mteach -m TEACHER first");
    return records_check_grams(&records->header, "the training records", &wanted, needs, err) &&
           (!dev || records_check_grams(&dev->header, "the dev records", &wanted, needs, err)) &&
           check_dev(records, dev, err);
}

/* ---- beside an encoder ---- */

/* logits [set->n, labels] of the encoder as it stands. */
static bool encoder_answer(struct trainer *t, const struct records_set *set, float *logits,
                           struct error *err)
{
    size_t classes = t->params.shape.n_labels, done = 0;
    struct batch batch = {0};
    bool ok = true;
    batch_init(&batch, t->dev, &t->params.shape, 0, false);
    for (size_t i = 0; ok && i < set->n; i++) {
        struct record r = records_get(set, i);
        ok = batch_add(&batch, r.id, r.n_ids, -1, NULL, err);
        if (!ok || (batch.n_tokens < t->options->batch_tokens && i + 1 < set->n))
            continue;
        ok = batch_upload(&batch, err) && encoder_reserve(t->encoder, batch.n_tokens, batch.n, err);
        if (!ok)
            break;
        const act *out = encoder_forward(t->encoder, &t->params.weights, &batch, NULL);
        t->dev->op->act_download(t->dev, logits + done * classes, out, batch.n * classes);
        ok = t->dev->op->sync(t->dev, err);
        done += batch.n;
        batch_clear(&batch);
        progress_report(
            t->progress,
            &(struct progress_event){
                .stage = "weigh", .done = done, .total = set->n, .unit = "records", .loss = NAN});
    }
    batch_free(&batch);
    for (size_t i = 0; ok && i < set->n * classes; i++)
        if (!isfinite(logits[i]))
            ok = error_set(err, "the encoder's answers are not finite; its training diverged");
    return ok;
}

static float *new_logits(const struct records_set *set, struct error *err)
{
    size_t n;
    if (memory_multiply(set->n, set->header.n_labels, &n))
        return memory_array(n, sizeof(float), err);
    error_set(err, "%zu records of %zu labels are too many", set->n, set->header.n_labels);
    return NULL;
}

static void multiply(const struct records_set *set, float factor, float *logits)
{
    for (size_t i = 0; i < set->n * set->header.n_labels; i++)
        logits[i] *= factor;
}

static size_t most_grams(const struct records_set *set)
{
    size_t most = 0;
    for (size_t i = 0; set && i < set->n; i++) {
        size_t n = records_get(set, i).n_grams;
        most = n > most ? n : most;
    }
    return most;
}

bool hybrid_bytes(const struct trainer *trainer, const struct hybrid_options *options,
                  size_t *bytes, struct error *err)
{
    const struct records_set *set = trainer->records;
    struct ngram_part part = {.classes = set->header.n_labels, .type = DTYPE_F32};
    size_t most = most_grams(set), of_dev = most_grams(trainer->options->dev);
    *bytes = 0;
    if (options->mode != HYBRID_TOGETHER)
        return true;
    if (!ngram_problem_most_rows(set, &options->fit, &part.rows, err))
        return false;
    *bytes = ngram_bytes(&part, trainer->dev) +
             ngram_run_bytes(&part, trainer->dev, most > of_dev ? most : of_dev, 1);
    return true;
}

bool hybrid_begin(struct trainer *trainer, const struct hybrid_options *options,
                  struct ngram_part *part, struct hybrid_result *result, struct error *err)
{
    const struct records_set *set = trainer->records, *dev = trainer->options->dev;
    if (options->mode != HYBRID_TOGETHER)
        return true;
    trainer->beside = new_logits(set, err);
    if (!trainer->beside ||
        !ngram_fit_out_of_fold(set, HYBRID_FOLDS, trainer->options->seed, &options->fit,
                               trainer->dev, trainer->beside, err) ||
        !ngram_fit(part, set, NULL, set->n, &options->fit, &result->fit, err))
        return false;
    float factor = (float)ngram_gate_calibrate(set, trainer->beside);
    multiply(set, factor, trainer->beside);
    if (!dev)
        return true;
    trainer->dev_beside = new_logits(dev, err);
    if (!trainer->dev_beside ||
        !ngram_fit_answer(part, dev, trainer->dev, trainer->dev_beside, err))
        return false;
    multiply(dev, factor, trainer->dev_beside);
    return true;
}

/* Fit the part; `encoder`: its logits on the training records (mode turn), else NULL. */
static bool fit(const struct trainer *t, const struct hybrid_options *o, const float *encoder,
                const struct model *model, struct ngram_part *part, struct hybrid_result *result,
                struct error *err)
{
    result->fitted = o->mode != HYBRID_GATE;
    if (o->mode == HYBRID_TOGETHER) /* by hybrid_begin() */
        return true;
    if (o->mode == HYBRID_GATE)
        return ngram_part_read(part, model, err);
    struct ngram_fit_options options = o->fit;
    options.offset = encoder;
    return ngram_fit(part, t->records, NULL, t->records->n, &options, &result->fit, err);
}

/* Logits of the part to weigh it by: on dev, or out of fold on the training records. */
static bool ngram_answer(struct trainer *t, const struct hybrid_options *o,
                         const struct ngram_part *part, const struct records_set *set,
                         float *encoder, float *ngram, struct error *err)
{
    struct ngram_fit_options options = o->fit;
    if (t->options->dev)
        return ngram_fit_answer(part, set, t->dev, ngram, err);
    options.offset = o->mode == HYBRID_TURN ? encoder : NULL;
    return ngram_fit_out_of_fold(set, HYBRID_FOLDS, t->options->seed, &options, t->dev, ngram, err);
}

/* A part that was fitted to what the encoder lacks is to be added as it is. ngram becomes the
 * sum. */
static void add_whole(const struct records_set *set, const float *encoder, float *ngram,
                      struct ngram_gate *gate)
{
    *gate = (struct ngram_gate){.encoder = 1,
                                .ngram = 1,
                                .share = 0.5,
                                .encoder_score = ngram_gate_score(set, encoder),
                                .ngram_score = ngram_gate_score(set, ngram)};
    for (size_t i = 0; i < set->n * set->header.n_labels; i++)
        ngram[i] += encoder[i];
    gate->score = ngram_gate_score(set, ngram);
}

bool hybrid_finish(struct trainer *trainer, const struct hybrid_options *options,
                   const struct model *model, struct ngram_part *part, struct hybrid_result *result,
                   struct error *err)
{
    const struct records_set *set =
        trainer->options->dev ? trainer->options->dev : trainer->records;
    bool turn = options->mode == HYBRID_TURN;
    float *learnt = turn ? new_logits(trainer->records, err) : NULL;
    float *encoder = new_logits(set, err), *ngram = new_logits(set, err);
    bool ok = encoder && ngram && (!turn || learnt) &&
              (!turn || encoder_answer(trainer, trainer->records, learnt, err)) &&
              fit(trainer, options, learnt, model, part, result, err) &&
              encoder_answer(trainer, set, encoder, err) &&
              ngram_answer(trainer, options, part, set, encoder, ngram, err);
    if (ok && turn)
        add_whole(set, encoder, ngram, &result->gate);
    else if (ok)
        ok = ngram_gate_choose(&result->gate, set, encoder, ngram, err);
    if (ok) {
        part->encoder_gate = result->gate.encoder;
        part->ngram_gate = result->gate.ngram;
        result->gated = true;
        result->on_training = !trainer->options->dev;
    } else
        ngram_part_free(part);
    free(learnt);
    free(encoder);
    free(ngram);
    return ok;
}

/* ---- alone ---- */

static bool write_alone(const struct model *model, const struct records_set *records,
                        const struct ngram_part *part, json_t *stage, struct output *output,
                        struct error *err)
{
    struct tensor_view tensor[NGRAM_TENSORS];
    json_t *extra = json_pack("{s:O}", "ngram", part->described);
    json_t *config =
        ngram_part_config(part, records->header.label, records->header.separator != NULL, err);
    size_t n_tensors = ngram_part_tensors(part, tensor);
    const struct model_writer_options options = {.from = model,
                                                 .config = config,
                                                 .tensor = tensor,
                                                 .n_tensors = n_tensors,
                                                 .stage = stage,
                                                 .extra = extra};
    bool ok = config && extra;
    if (ok)
        ok = model_write(output, &options, err);
    else {
        error_set(err, "no memory for the model's files");
        json_decref(extra);
        json_decref(stage);
    }
    json_decref(config);
    return ok;
}

/* The score on dev; and margins become logits: a factor that makes probabilities of them, from dev,
 * or from the training records, out of fold, where these are enough to part. (What was learnt by
 * heart would make a factor that leaves no doubt at all.) */
static bool weigh_alone(struct ngram_part *part, const struct records_set *records,
                        const struct records_set *dev, const struct ngram_fit_options *fit,
                        struct device *device, struct hybrid_result *result, struct error *err)
{
    enum { ENOUGH = 100 };
    const struct records_set *set = dev ? dev : records;
    result->score = NAN;
    if (!dev && (fit->loss != NGRAM_HINGE || set->n < ENOUGH))
        return true;
    float *logits = new_logits(set, err);
    bool ok =
        logits && (dev ? ngram_fit_answer(part, dev, device, logits, err)
                       : ngram_fit_out_of_fold(set, HYBRID_FOLDS, 0, fit, device, logits, err));
    if (ok && dev)
        result->score = ngram_gate_score(dev, logits);
    if (ok && fit->loss == NGRAM_HINGE)
        part->ngram_gate = ngram_gate_calibrate(set, logits);
    free(logits);
    return ok;
}

bool hybrid_train_ngram(const struct model *model, const struct records_set *records,
                        const struct records_set *dev, const struct hybrid_options *options,
                        struct device *device, json_t *stage, struct output *output,
                        struct hybrid_result *result, struct error *err)
{
    struct ngram_part part = {0};
    *result = (struct hybrid_result){.fitted = true};
    bool ok = hybrid_check(options, records, dev, model, err) &&
              ngram_fit(&part, records, NULL, records->n, &options->fit, &result->fit, err) &&
              weigh_alone(&part, records, dev, &options->fit, device, result, err) &&
              hybrid_describe(result, stage, err);
    if (ok)
        ok = write_alone(model, records, &part, stage, output, err);
    else
        json_decref(stage);
    ngram_part_free(&part);
    return ok;
}

/* ---- the history ---- */

/* Steals `more`. */
static bool join(json_t *object, json_t *more)
{
    bool ok = more && json_object_update(object, more) == 0;
    json_decref(more);
    return ok;
}

bool hybrid_describe(const struct hybrid_result *result, json_t *stage, struct error *err)
{
    json_t *ngram = json_object();
    bool ok = ngram != NULL;
    if (ok && result->fitted)
        ok = join(ngram,
                  json_pack("{s:I, s:I, s:I, s:f}", "records", (json_int_t)result->fit.records,
                            "rows", (json_int_t)result->fit.rows, "iterations",
                            (json_int_t)result->fit.iterations, "loss", result->fit.loss));
    if (ok && result->gated)
        ok = join(ngram, json_pack("{s:f, s:f, s:f, s:f, s:b}", "share", result->gate.share,
                                   "score", result->gate.score, "encoder_score",
                                   result->gate.encoder_score, "ngram_score",
                                   result->gate.ngram_score, "on_training", result->on_training));
    if (ok && result->fitted && !result->gated && isfinite(result->score))
        ok = json_object_set_new(ngram, "score", json_real(result->score)) == 0;
    if (ok && stage)
        ok = json_object_set(stage, "ngram", ngram) == 0;
    json_decref(ngram);
    return ok || error_set(err, "no memory for the model's history");
}
