/* mstudent: trains a model: fine-tunes, distils, recovers what pruning cost. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bin/mstudent_mlm.h"
#include "bin/mstudent_options.h"
#include "bin/mstudent_student.h"
#include "bin/tool.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/memory.h"
#include "io/model.h"
#include "io/output.h"
#include "io/records.h"
#include "nn/shape.h"
#include "nn/train.h"
#include "quant/aware.h"
#include "text/tokenizer.h"

enum { MAX_HOOKS = 4 };

/* What the run holds; all of it may be absent when it ends. */
struct run {
    struct model model;
    struct records_set records, dev;
    bool has_model, has_records, has_dev;
    struct tokenizer *tokenizer;
    struct device *device;
    struct threads *team;
    struct log *log;
    struct output *output;
    struct teacher teacher;
    struct aware aware; /* with --quantise */
    struct trainer_hook aware_hook;
    const struct trainer_hook *hook[MAX_HOOKS]; /* what the run is joined by */
    json_t *start;                              /* owned; what was made of the model */
};

/* ---- the work ---- */

static bool check_tokenizer(const struct run *run, const struct records_set *set, const char *name,
                            struct error *err)
{
    return records_check_model(&set->header, name, tokenizer_fingerprint(run->tokenizer), NULL, 0,
                               run->model.name, err);
}

static bool open_inputs(struct tool *tool, struct run *run, const struct arguments *a,
                        const char *const *path, size_t n)
{
    struct error *err = &tool->err;
    run->has_model = model_open(&run->model, a->model, err);
    if (!run->has_model)
        return false;
    run->tokenizer = tokenizer_open(run->model.bundle, err);
    if (!run->tokenizer)
        return false;
    run->has_records = records_set_open(&run->records, path, n, err);
    if (!run->has_records || !check_tokenizer(run, &run->records, n ? path[0] : "<stdin>", err))
        return false;
    if (!a->kept.dev)
        return true;
    run->has_dev = records_set_open(&run->dev, &a->kept.dev, 1, err);
    return run->has_dev && check_tokenizer(run, &run->dev, a->kept.dev, err);
}

static void tell_training(const struct tool *tool, const struct train_result *result,
                          const struct arguments *a, bool several)
{
    if (result->epochs < a->train.epochs)
        tool_note(tool, "ended after epoch %zu: the last %zu were no better", result->epochs,
                  a->train.patience);
    if (result->resumed)
        tool_note(tool, "went on after step %zu", result->resumed_step);
    tool_note(tool, "%zu steps in %.1f s, training loss %.4f", result->steps, result->seconds,
              result->train_loss);
    if (a->kept.dev && a->train.mlm)
        mstudent_tell_mlm(tool, result, a->train.epochs);
    else if (a->kept.dev)
        tool_note(tool, "dev %s %.4f, epoch %zu of %zu", several ? "micro-F1" : "accuracy",
                  result->dev_score, result->best_epoch, a->train.epochs);
}

static void tell(const struct tool *tool, const struct train_result *result,
                 const struct arguments *a, bool several)
{
    if (result->n_unlabelled)
        tool_note(tool, "%zu records without a label were left out; only --kd can use them",
                  result->n_unlabelled);
    if (!a->shape && !a->train.new_head && (result->fresh_pooler || result->fresh_classifier))
        tool_note(tool, "%s has no %s; %s started at random", a->model,
                  !result->fresh_pooler       ? "classifier"
                  : !result->fresh_classifier ? "pooler"
                                              : "pooler and classifier",
                  result->fresh_pooler && result->fresh_classifier ? "they" : "it");
    if (!a->shape && result->fresh_mlm)
        tool_note(tool, "%s has no masked language model's head; it started at random", a->model);
    if (result->n_left_out)
        tool_note(tool, "%zu tensor%s of %s left out, no %s uses %s: %s%s", result->n_left_out,
                  result->n_left_out > 1 ? "s" : "", a->model,
                  a->train.mlm ? "masked language model" : "classifier",
                  result->n_left_out > 1 ? "them" : "it", result->left_out,
                  result->n_left_out > 1 ? ", ..." : "");
    tool_train_tell_resumed(tool, &a->train, result);
    tool_train_tell_absent(tool, result);
    if (tool->verbose && a->train.epochs)
        tell_training(tool, result, a, several);
    if (a->ngram.wanted)
        mstudent_tell_ngram(tool, &result->hybrid, several);
}

/* --shape ngram: nothing is trained, the part is fitted. */
static bool work_ngram(struct tool *tool, struct run *run, struct arguments *a)
{
    struct hybrid_result result;
    char fingerprint[HASH_TEXT_BYTES];
    if (!tool_open_device(tool, &run->device, &run->team))
        return false;
    a->ngram.hybrid.fit.team = run->team;
    a->ngram.hybrid.fit.progress = &tool->progress;
    hash_text(run->records.fingerprint, fingerprint);
    bool ok = hybrid_train_ngram(&run->model, &run->records, run->has_dev ? &run->dev : NULL,
                                 &a->ngram.hybrid, run->device, tool_stage(tool, fingerprint),
                                 run->output, &result, &tool->err);
    if (ok)
        mstudent_tell_ngram(tool, &result, run->records.header.separator != NULL);
    return ok;
}

/* asked NULL: the model's shape. */
static bool open_mlm(struct tool *tool, struct run *run, struct arguments *a, struct shape *asked)
{
    struct shape own = {0};
    bool ok = asked || shape_from_model(&own, &run->model, &tool->err);
    if (ok)
        mstudent_tell_table(tool, asked ? asked : &own);
    ok = ok &&
         mstudent_mlm(tool, &a->teacher, run->tokenizer, run->device, &run->teacher, &a->train);
    shape_free(&own);
    if (asked && !ok)
        shape_free(asked);
    return ok;
}

/* The shape asked for, if one is; and the teacher, who must fit it. */
static bool open_shape(struct tool *tool, struct run *run, struct arguments *a, struct shape *shape)
{
    struct shape own = {0};
    const struct records_set *records = &run->records;
    if (a->shape &&
        !shape_from_text(shape, a->shape, tokenizer_size(run->tokenizer),
                         records->header.n_labels ? records->header.n_labels : 1, &tool->err))
        return false;
    if (a->train.mlm)
        return open_mlm(tool, run, a, a->shape ? shape : NULL);
    if (!a->teacher.model)
        return true;
    bool ok = (a->shape || shape_from_model(&own, &run->model, &tool->err)) &&
              mstudent_teacher(tool, &a->teacher, a->shape ? shape : &own, records,
                               tokenizer_fingerprint(run->tokenizer), run->device, &run->teacher,
                               &a->train);
    shape_free(&own);
    if (!ok)
        shape_free(shape);
    return ok;
}

/* Behind the hooks that are there: they see the weights that learn. */
static void join_quantise(struct run *run, struct train_options *train)
{
    for (size_t i = 0; i < train->n_hooks && i + 1 < MAX_HOOKS; i++)
        run->hook[i] = train->hook[i];
    run->aware.dev = run->device;
    run->aware_hook = aware_hook(&run->aware);
    run->hook[train->n_hooks++] = &run->aware_hook;
    train->hook = run->hook;
}

static bool work(struct tool *tool, struct run *run, struct arguments *a, const char *const *path,
                 size_t n)
{
    struct error *err = &tool->err;
    struct shape shape = {0};
    struct train_result result;
    char fingerprint[HASH_TEXT_BYTES];
    run->output = output_open(tool->output, !tool->force, err);
    if (!run->output || !open_inputs(tool, run, a, path, n))
        return false;
    if (a->ngram.alone)
        return work_ngram(tool, run, a);
    if (!tool_train_log(tool, &a->kept, &a->train, &run->log) ||
        !tool_open_device(tool, &run->device, &run->team) ||
        !mstudent_student(tool, a, &run->model, tokenizer_size(run->tokenizer), &run->records,
                          run->device))
        return false;
    a->train.start = run->start = mstudent_start(a);
    if (!run->start)
        return error_set(err, "no memory for a checkpoint's identity");
    if (!open_shape(tool, run, a, &shape))
        return false;
    a->ngram.hybrid.fit.team = run->team;
    a->ngram.hybrid.fit.progress = &tool->progress;
    if (a->quantise)
        join_quantise(run, &a->train);
    a->train.log = run->log;
    a->train.stop = tool_catch_stop();
    a->train.dev = run->has_dev ? &run->dev : NULL;
    hash_text(run->records.fingerprint, fingerprint);
    json_t *stage = tool_stage(tool, fingerprint);
    bool ok = train(&run->model, a->shape ? &shape : NULL, &run->records, &a->train, run->device,
                    &tool->progress, stage, run->output, &result, err);
    shape_free(&shape);
    struct log *log = run->log;
    run->log = NULL;
    ok = log_close(log, err) && ok;
    if (ok)
        tell(tool, &result, a, run->records.header.separator != NULL);
    return ok;
}

static void finish(struct tool *tool, struct run *run, const struct arguments *a, bool ok)
{
    /* A run that has its model needs no checkpoint, and the next one may use the name. */
    if (tool_end_output(tool, run->output, ok, true) && a->train.checkpoint)
        unlink(a->train.checkpoint);
    struct error later = ERROR_INIT; /* the first cause is kept */
    if (!log_close(run->log, &later))
        error_set(&tool->err, "%s", later.text);
    mstudent_teacher_close(&run->teacher);
    aware_close(&run->aware);
    tool_close_device(run->device, run->team);
    json_decref(run->start);
    free(a->class_weight);
    tokenizer_close(run->tokenizer);
    if (run->has_dev)
        records_set_close(&run->dev);
    if (run->has_records)
        records_set_close(&run->records);
    if (run->has_model)
        model_close(&run->model);
}

int main(int argc, char **argv)
{
    struct tool tool = {
        .name = "mstudent",
        .purpose = "Train a model on a record stream: fine-tune, distil, or start from a shape.",
        .synopsis = "mstudent -m MODEL [--shape SHAPE | --from-layers LAYERS] [--kd KD] [--dev "
                    "STREAM] [options] [STREAM...]",
        .example = "mtok -m teacher train.csv | mteach -m teacher > train.taught\n"
                   "mstudent -m teacher --shape layers=4,hidden=256 --kd alpha=0.9 train.taught > "
                   "student.tar",
        .option = mstudent_option,
        .n_options = mstudent_n_options,
    };
    struct arguments arguments = {0};
    struct run run = {0};
    const char *const *path;
    size_t n;
    tool_init(&tool, argc, argv,
              TOOL_OUTPUT | TOOL_DEVICE | TOOL_THREADS | TOOL_SEED | TOOL_PROGRESS | TOOL_FORCE |
                  TOOL_MEMORY);
    mstudent_parse(&tool, &arguments, &path, &n);
    finish(&tool, &run, &arguments, work(&tool, &run, &arguments, path, n));
    return tool_finish(&tool);
}
