/* mstudent: trains a model: fine-tunes, distils, recovers what pruning cost. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bin/tool.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/number.h"
#include "io/model.h"
#include "io/output.h"
#include "io/records.h"
#include "nn/shape.h"
#include "nn/train.h"
#include "text/tokenizer.h"

enum option_id {
    OPTION_MODEL = 1000,
    OPTION_SHAPE,
    OPTION_KD,
    OPTION_DEV,
    OPTION_EPOCHS,
    OPTION_BATCH_TOKENS,
    OPTION_LR,
    OPTION_HEAD_LR,
    OPTION_WARMUP,
    OPTION_WEIGHT_DECAY,
    OPTION_CLIP,
    OPTION_DROPOUT,
    OPTION_NEW_HEAD,
    OPTION_POOL,
    OPTION_LOG,
    OPTION_LOG_EVERY
};

static const struct tool_option options[] = {
    {'m', "model", "MODEL", "start from MODEL; with --shape, only its tokenizer", OPTION_MODEL},
    {0, "shape", "SHAPE", "random weights: layers=4,hidden=256,heads=4,ffn=1024", OPTION_SHAPE},
    {0, "kd", "KD", "distil the logits: alpha=0.9,temperature=2", OPTION_KD},
    {0, "dev", "STREAM", "score after each epoch, keep the best", OPTION_DEV},
    {0, "epochs", "N", "passes over the records; default 3", OPTION_EPOCHS},
    {0, "batch-tokens", "N", "tokens of one step; default 1024", OPTION_BATCH_TOKENS},
    {0, "lr", "X", "peak learning rate; default 1e-4, from a shape 5e-4", OPTION_LR},
    {0, "head-lr", "X", "pooler and classifier learn X times faster; default 1", OPTION_HEAD_LR},
    {0, "warmup", "X", "share of steps with rising rate; default 0.1", OPTION_WARMUP},
    {0, "weight-decay", "X", "of matrices; default 0.01", OPTION_WEIGHT_DECAY},
    {0, "clip", "X", "largest gradient norm; default 1, 0: any", OPTION_CLIP},
    {0, "dropout", "X", "all dropout rates; default: the model's", OPTION_DROPOUT},
    {0, "new-head", NULL, "start a new classifier for the records' labels", OPTION_NEW_HEAD},
    {0, "pool", "POOL", "the classifier sees: first, or the mean; default: the model's",
     OPTION_POOL},
    {0, "log", "FILE", "one JSON object per logging step", OPTION_LOG},
    {0, "log-every", "N", "steps between two log lines; default 10", OPTION_LOG_EVERY},
};

struct arguments {
    const char *model, *shape, *dev, *log;
    struct train_options train;
};

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
};

/* ---- options ---- */

/* "alpha=0.9,temperature=2", either key may be left out. */
static void parse_kd(struct tool *tool, struct train_options *train)
{
    static const struct {
        const char *key, *what;
        double min, max;
    } known[] = {{"alpha", "--kd alpha", 0, 1}, {"temperature", "--kd temperature", 0.01, 100}};
    double *to[] = {&train->alpha, &train->temperature};
    const char *at = tool_argument(tool);
    train->distil = true;
    while (*at) {
        char item[64];
        size_t n = strcspn(at, ","), i = 0;
        snprintf(item, sizeof item, "%.*s", (int)(n < sizeof item ? n : sizeof item - 1), at);
        char *equals = strchr(item, '=');
        if (!equals)
            tool_usage_error(tool, "--kd: \"%s\" is not KEY=NUMBER, as in alpha=0.9,temperature=2",
                             item);
        *equals = '\0';
        while (i < 2 && strcmp(item, known[i].key) != 0)
            i++;
        if (i == 2)
            tool_usage_error(tool, "--kd: unknown key \"%s\"; expected alpha or temperature", item);
        if (!number_real(equals + 1, known[i].what, known[i].min, known[i].max, to[i], &tool->err))
            tool_usage_error(tool, "%s", tool->err.text);
        at += n + (at[n] == ',');
    }
}

static void parse_pool(struct tool *tool, struct train_options *train)
{
    const char *name = tool_argument(tool);
    bool mean = strcmp(name, "mean") == 0;
    if (!mean && strcmp(name, "first") != 0)
        tool_usage_error(tool, "--pool: \"%s\" is neither first nor mean", name);
    train->choose_pool = true;
    train->pool = mean ? SHAPE_MEAN : SHAPE_FIRST;
}

/* Everything but the vocabulary and labels, which the files say, can be refused before any is
 * opened. */
static void check_shape(struct tool *tool, const char *text)
{
    struct shape shape = {0};
    if (!shape_from_text(&shape, text, 1, 1, &tool->err))
        tool_usage_error(tool, "%s", tool->err.text);
    shape_free(&shape);
}

static void take_option(struct tool *tool, struct arguments *a, int id)
{
    struct train_options *train = &a->train;
    switch (id) {
    case OPTION_MODEL:
        tool_argument_once(tool, "-m", &a->model);
        break;
    case OPTION_SHAPE:
        a->shape = tool_argument(tool);
        check_shape(tool, a->shape);
        break;
    case OPTION_KD:
        parse_kd(tool, train);
        break;
    case OPTION_DEV:
        a->dev = tool_argument(tool);
        break;
    case OPTION_EPOCHS:
        train->epochs = (size_t)tool_argument_integer(tool, "--epochs", 1, 100000);
        break;
    case OPTION_BATCH_TOKENS:
        train->batch_tokens = (size_t)tool_argument_integer(tool, "--batch-tokens", 1, 1 << 24);
        break;
    case OPTION_LR:
        train->lr = tool_argument_real(tool, "--lr", 1e-12, 10);
        break;
    case OPTION_HEAD_LR:
        train->head_lr_factor = tool_argument_real(tool, "--head-lr", 0, 1e6);
        break;
    case OPTION_WARMUP:
        train->warmup = tool_argument_real(tool, "--warmup", 0, 1);
        break;
    case OPTION_WEIGHT_DECAY:
        train->weight_decay = tool_argument_real(tool, "--weight-decay", 0, 10);
        break;
    case OPTION_CLIP:
        train->clip = tool_argument_real(tool, "--clip", 0, 1e9);
        break;
    case OPTION_DROPOUT:
        train->dropout = tool_argument_real(tool, "--dropout", 0, 0.95);
        break;
    case OPTION_NEW_HEAD:
        train->new_head = true;
        break;
    case OPTION_POOL:
        parse_pool(tool, train);
        break;
    case OPTION_LOG:
        a->log = tool_argument(tool);
        break;
    case OPTION_LOG_EVERY:
        train->log_every = (size_t)tool_argument_integer(tool, "--log-every", 1, 1 << 30);
        break;
    }
}

static void parse(struct tool *tool, struct arguments *a, const char *const **path, size_t *n)
{
    int id;
    train_defaults(&a->train);
    while ((id = tool_next_option(tool)) >= 0)
        take_option(tool, a, id);
    *path = tool_operands(tool, n);
    if (a->log)
        tool_check_written(tool, "--log", a->log);
    a->train.seed = tool->seed;
    if (!a->model)
        tool_usage_error(tool,
                         "-m MODEL is missing: the model to start from, or whose tokenizer to use");
    if (a->shape && a->train.new_head)
        tool_usage_error(tool,
                         "--shape and --new-head clash: with a shape everything starts at random");
    tool_check_stdin(tool, true);
}

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
    if (!a->dev)
        return true;
    run->has_dev = records_set_open(&run->dev, &a->dev, 1, err);
    return run->has_dev && check_tokenizer(run, &run->dev, a->dev, err);
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
    if (result->n_left_out)
        tool_note(tool, "%zu tensor%s of %s left out, no classifier uses %s: %s%s",
                  result->n_left_out, result->n_left_out > 1 ? "s" : "", a->model,
                  result->n_left_out > 1 ? "them" : "it", result->left_out,
                  result->n_left_out > 1 ? ", ..." : "");
    if (!tool->verbose)
        return;
    tool_note(tool, "%zu steps in %.1f s, training loss %.4f", result->steps, result->seconds,
              result->train_loss);
    if (a->dev)
        tool_note(tool, "dev %s %.4f, epoch %zu of %zu", several ? "micro-F1" : "accuracy",
                  result->dev_score, result->best_epoch, a->train.epochs);
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
    if (a->log) {
        run->log = log_open(a->log, err);
        if (!run->log)
            return false;
    }
    if (a->shape &&
        !shape_from_text(&shape, a->shape, tokenizer_size(run->tokenizer),
                         run->records.header.n_labels ? run->records.header.n_labels : 1, err))
        return false;
    a->train.log = run->log;
    a->train.dev = run->has_dev ? &run->dev : NULL;
    hash_text(run->records.fingerprint, fingerprint);
    bool ok = tool_open_device(tool, &run->device, &run->team);
    if (ok) {
        json_t *stage = tool_stage(tool, fingerprint);
        ok = train(&run->model, a->shape ? &shape : NULL, &run->records, &a->train, run->device,
                   &tool->progress, stage, run->output, &result, err);
    }
    shape_free(&shape);
    struct log *log = run->log;
    run->log = NULL;
    ok = log_close(log, err) && ok;
    if (ok)
        tell(tool, &result, a, run->records.header.separator != NULL);
    return ok;
}

static void finish(struct tool *tool, struct run *run, bool ok)
{
    tool_end_output(tool, run->output, ok, true);
    struct error later = ERROR_INIT; /* the first cause is kept */
    if (!log_close(run->log, &later))
        error_set(&tool->err, "%s", later.text);
    tool_close_device(run->device, run->team);
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
        .synopsis =
            "mstudent -m MODEL [--shape SHAPE] [--kd KD] [--dev STREAM] [options] [STREAM...]",
        .example = "mtok -m teacher train.csv | mteach -m teacher > train.taught\n"
                   "mstudent -m teacher --shape layers=4,hidden=256 --kd alpha=0.9 train.taught > "
                   "student.tar",
        .option = options,
        .n_options = sizeof options / sizeof options[0],
    };
    struct arguments arguments = {0};
    struct run run = {0};
    const char *const *path;
    size_t n;
    tool_init(&tool, argc, argv,
              TOOL_OUTPUT | TOOL_DEVICE | TOOL_THREADS | TOOL_SEED | TOOL_PROGRESS | TOOL_FORCE);
    parse(&tool, &arguments, &path, &n);
    finish(&tool, &run, work(&tool, &run, &arguments, path, n));
    return tool_finish(&tool);
}
