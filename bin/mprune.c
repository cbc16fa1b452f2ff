/* mprune.c: a model in, a smaller model out: whole layers, or the heads and neurons that matter
 * least, are gone. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bin/mprune.h"
#include "core/hash.h"
#include "core/jobject.h"
#include "core/log.h"
#include "io/model.h"
#include "io/output.h"
#include "io/records.h"
#include "nn/parts.h"
#include "prune/compact.h"
#include "prune/layers_search.h"
#include "prune/ngram_cut.h"
#include "prune/plan.h"
#include "prune/second_order.h"
#include "text/tokenizer.h"

/* The records must be in the model's own tokens and labels. */
static bool check_records(struct tool *tool, struct model *model, const struct records_set *records)
{
    struct tokenizer *tokenizer = tokenizer_open(model->bundle, &tool->err);
    if (!tokenizer)
        return false;
    bool ok = records_check_model(&records->header, source_name(records->source[0]),
                                  tokenizer_fingerprint(tokenizer), model->label, model->n_labels,
                                  model->name, &tool->err) &&
              model_check_problem(model, &tool->err) &&
              records_check_kind(&records->header, source_name(records->source[0]),
                                 model->problem == MODEL_MULTI_LABEL, model->name, &tool->err);
    tokenizer_close(tokenizer);
    return ok;
}

/* What a method decides with. */
struct means {
    struct tool *tool;
    const struct options *opt;
    struct model *model;
    const struct records_set *records; /* the model's own; NULL: the method reads no stream */
    struct device *dev;                /* NULL: nothing runs */
    struct budget *budget;             /* what may stay */
};

static bool decide_layers(const struct means *means, struct plan *plan)
{
    const struct options *opt = means->opt;
    const struct layers_search_options options = {
        .samples = opt->samples, .batch_tokens = opt->batch_tokens, .seed = means->tool->seed};
    if (opt->searches)
        return layers_search_plan(plan, means->model, means->records, means->budget, &options,
                                  means->dev, &means->tool->progress, &means->tool->err);
    return plan_layers(plan, means->model, means->budget, opt->rule, opt->list, &means->tool->err);
}

static bool decide_units(const struct means *means, struct plan *plan)
{
    static const enum plan_score score[N_METHODS] = {[METHOD_FISHER] = PLAN_FISHER,
                                                     [METHOD_IMPORTANCE] = PLAN_IMPORTANCE,
                                                     [METHOD_MAGNITUDE] = PLAN_MAGNITUDE};
    const struct options *opt = means->opt;
    const struct plan_units_options options = {
        .score = score[opt->method],
        .normalise = opt->normalise,
        .rearrange = opt->method == METHOD_FISHER && !opt->no_rearrange,
        .tune = {.what = opt->method == METHOD_FISHER || opt->given & OPTION_BIT(OPTION_TUNE)
                             ? opt->tune
                             : TUNE_NONE,
                 .ridge = opt->given & OPTION_BIT(OPTION_RIDGE) ? opt->ridge : 0.1,
                 .samples = opt->tune_samples,
                 .batch_tokens = opt->batch_tokens,
                 .seed = means->tool->seed},
        .sample = {.samples = opt->samples,
                   .batch_tokens = opt->batch_tokens,
                   .seed = means->tool->seed},
    };
    return plan_units(plan, means->model, means->records, means->budget, &options, means->dev,
                      &means->tool->progress, &means->tool->err);
}

static bool decide_second_order(const struct means *means, struct plan *plan)
{
    const struct second_order_options options = {
        .sample = {.samples = means->opt->samples,
                   .batch_tokens = means->opt->batch_tokens,
                   .seed = means->tool->seed},
        .weight = means->opt->by_variance ? SECOND_ORDER_VARIANCE : SECOND_ORDER_GRADIENTS,
    };
    return second_order_plan(plan, means->model, means->records, means->budget, &options,
                             &means->tool->err);
}

static bool decide_vocabulary(const struct means *means, struct plan *plan)
{
    return plan_whole(plan, means->model, &means->tool->err);
}

/* The records of --dev; an empty set without. */
static bool open_dev(const struct means *means, struct records_set *dev)
{
    const char *path = means->opt->train.dev;
    *dev = (struct records_set){.n = 0};
    if (!path)
        return true;
    if (!records_set_open(dev, &path, 1, &means->tool->err))
        return false;
    if (check_records(means->tool, means->model, dev))
        return true;
    records_set_close(dev);
    return false;
}

static void tell_training(const struct means *means, const struct train_result *result)
{
    struct tool *tool = means->tool;
    if (result->n_unlabelled)
        tool_note(tool, "%zu records without a label were left out; only --kd can use them",
                  result->n_unlabelled);
    tool_train_tell_absent(tool, result);
    const struct train_options *train = &means->opt->movement.train;
    tool_train_tell_resumed(tool, train, result);
    if (!tool->verbose)
        return;
    if (result->resumed)
        tool_note(tool, "went on after step %zu", result->resumed_step);
    tool_note(tool, "%zu steps in %.1f s, training loss %.4f", result->steps, result->seconds,
              result->train_loss);
    if (means->opt->train.dev)
        tool_note(tool, "dev score %.4f, epoch %zu", result->dev_score, result->best_epoch);
}

static bool decide_movement(const struct means *means, struct plan *plan)
{
    struct tool *tool = means->tool;
    struct movement_options how = means->opt->movement;
    struct train_result result;
    struct records_set dev;
    if (!open_dev(means, &dev))
        return false;
    struct log *log;
    bool ok = tool_train_log(tool, &means->opt->train, &how.train, &log);
    how.train.stop = tool_catch_stop();
    how.train.dev = means->opt->train.dev ? &dev : NULL;
    how.train.log = log;
    if (ok)
        ok = movement_prune(plan, means->model, means->records, &how, means->dev, &tool->progress,
                            &result, &tool->err);
    struct error later = ERROR_INIT; /* the first cause is kept */
    if (!log_close(log, &later))
        ok = error_set(&tool->err, "%s", later.text);
    if (means->opt->train.dev)
        records_set_close(&dev);
    if (ok)
        tell_training(means, &result);
    return ok;
}

/* By method: fill the plan, which is zeroed. */
static bool (*const decide_table[N_METHODS])(const struct means *means, struct plan *plan) = {
    [METHOD_LAYERS] = decide_layers,
    [METHOD_FISHER] = decide_units,
    [METHOD_IMPORTANCE] = decide_units,
    [METHOD_MAGNITUDE] = decide_units,
    [METHOD_SECOND_ORDER] = decide_second_order,
    [METHOD_MOVEMENT] = decide_movement,
    [METHOD_VOCABULARY] = decide_vocabulary,
};

static bool decide(struct tool *tool, const struct options *opt, struct model *model,
                   struct plan *plan)
{
    struct budget budget = {.share = opt->keep,
                            .speedup = opt->speedup,
                            .remeasure = opt->remeasure,
                            .progress = &tool->progress};
    struct means means = {.tool = tool, .opt = opt, .model = model, .budget = &budget};
    bool reads = opt->reads_stream, ok = true;
    struct records_set records;
    if (reads) {
        if (!records_set_open(&records, opt->path, opt->n_paths, &tool->err))
            return false;
        means.records = &records;
        ok = check_records(tool, model, &records);
    }
    if (ok && (reads || opt->speedup > 0)) {
        ok = tool_open_device(tool, &means.dev, &budget.team);
        budget.dev = means.dev;
    }
    ok = ok && decide_table[opt->method](&means, plan);
    if (ok)
        mprune_tell_speed(tool, opt, &budget);
    if (ok && plan->one_label)
        tool_note(tool, "all records of the sample have the same label; what matters for the "
                        "others is not seen");
    tool_close_device(means.dev, budget.team);
    budget_free(&budget);
    if (reads)
        records_set_close(&records);
    return ok;
}

static bool write_report(struct tool *tool, const struct options *opt, const struct plan *plan)
{
    if (!opt->report)
        return true;
    json_t *report = plan_report(plan, &tool->err);
    char *text = report ? jobject_dump(report, &tool->err) : NULL;
    struct output *output = text ? output_open(opt->report, false, &tool->err) : NULL;
    bool ok = output && output_write(output, text, strlen(text), &tool->err);
    if (ok)
        ok = output_commit(output, &tool->err);
    else
        output_abandon(output);
    free(text);
    json_decref(report);
    return ok;
}

static bool write_model(struct tool *tool, struct model *model, const struct plan *plan,
                        struct output *output)
{
    uint64_t fingerprint = 0;
    char text[HASH_TEXT_BYTES];
    if (!model_fingerprint(model, &fingerprint, &tool->err))
        return false;
    hash_text(fingerprint, text);
    json_t *stage = tool_stage(tool, text);
    json_t *pruned = plan_pruned(plan, &tool->err);
    if (stage && pruned)
        return compact_write(model, &plan->before, &plan->keep, plan->patch, plan->n_patches,
                             pruned, stage, output, &tool->err);
    json_decref(stage);
    json_decref(pruned);
    return error_set(&tool->err, "no memory for the history");
}

static void tell(const struct tool *tool, const struct plan *plan)
{
    size_t before = parts_parameters(&plan->before), after = parts_parameters(&plan->after);
    tool_note(tool,
              "%zu of %zu layers; %.3f of %.3f million parameters (%.1f%%); %.3f of %.3f million "
              "multiply-adds for %zu tokens (%.1f%%)",
              plan->after.n_layers, plan->before.n_layers, (double)after / 1e6,
              (double)before / 1e6, 100 * (double)after / (double)before, plan->macs_after / 1e6,
              plan->macs_before / 1e6, plan->n_tokens, 100 * plan->macs_after / plan->macs_before);
}

/* With -v: what stays of each layer. */
static void tell_layers(const struct tool *tool, const struct plan *plan)
{
    for (size_t i = 0; tool->verbose && i < plan->keep.n_layers; i++) {
        const struct keep_layer *layer = &plan->keep.layer[i];
        const struct layer_shape *before = &plan->before.layer[layer->layer];
        tool_note(tool, "layer %zu, was %zu: %zu of %zu heads, %zu of %zu neurons", i, layer->layer,
                  layer->n_heads, before->heads, layer->n_neurons, before->ffn);
    }
}

/* Before a method runs: a stream that does not fit, or a size that is too small, is told at
 * once. */
static bool trim(struct tool *tool, const struct options *opt, struct model *model,
                 struct vocabulary *vocabulary)
{
    struct shape shape;
    if (!opt->n_vocab_from)
        return true;
    if (!shape_from_model(&shape, model, &tool->err))
        return false;
    bool ok = vocabulary_open(vocabulary, model, &shape, opt->vocab_from, opt->n_vocab_from,
                              opt->vocab_size, &tool->err);
    shape_free(&shape);
    return ok;
}

static void tell_vocabulary(const struct tool *tool, const struct options *opt,
                            const struct plan *plan, const struct vocabulary *vocabulary)
{
    const struct vocabulary_trim *words = &vocabulary->trim;
    double row = (double)plan->before.embed * sizeof(float) / 1e6;
    if (opt->n_vocab_from)
        tool_note(tool,
                  "%zu of %zu rows of the word table, %.1f of %.1f MB as fp32; %zu had to stay; "
                  "%.3f%% of the stream's tokens stay as they are",
                  words->n_kept, vocabulary->n_rows, row * (double)words->n_kept,
                  row * (double)vocabulary->n_rows, words->n_least,
                  words->tokens ? 100 * (double)words->covered / (double)words->tokens : 100.0);
}

/* A model that is an n-gram part alone has nothing else to prune. */
static bool write_ngram(struct tool *tool, const struct options *opt, struct model *model,
                        struct output *output)
{
    uint64_t fingerprint = 0;
    char text[HASH_TEXT_BYTES];
    if (opt->method != METHOD_VOCABULARY || opt->n_vocab_from || opt->report)
        return error_set(&tool->err,
                         "%s: is an n-gram part alone; --ngram-keep is all that can be pruned",
                         model->name);
    if (!output || !model_fingerprint(model, &fingerprint, &tool->err))
        return !output;
    hash_text(fingerprint, text);
    json_t *extra = model_keep_extra(model, json_object(), &tool->err);
    if (!extra)
        return false;
    const struct model_writer_options options = {.from = model,
                                                 .config = model->config,
                                                 .tensor = model->tensor,
                                                 .n_tensors = model->n_tensors,
                                                 .stage = tool_stage(tool, text),
                                                 .extra = extra};
    return model_write(output, &options, &tool->err);
}

/* --ngram-keep, on the open model: what is written afterwards has the rows that stay. */
static bool cut_ngram(struct tool *tool, const struct options *opt, struct model *model)
{
    struct ngram_cut cut;
    if (!(opt->ngram_keep > 0))
        return true;
    if (!ngram_cut(model, opt->ngram_keep, &cut, &tool->err))
        return false;
    tool_note(tool, "%zu of %zu rows of the n-gram part", cut.after, cut.before);
    if (!ngram_alone(model) && cut.after < cut.before)
        tool_note(tool,
                  "those that stay weigh more than before; choose the gates between the parts "
                  "anew: mstudent -m PRUNED --epochs 0 --ngram=gate --dev DEV TRAIN");
    return true;
}

static bool takes_stdout(const char *path)
{
    return path && strcmp(path, "-") == 0;
}

static bool prune(struct tool *tool, const struct options *opt, struct output *output)
{
    struct model model;
    struct plan plan = {.n_tokens = 0};
    struct vocabulary vocabulary = {.n_rows = 0};
    if (!model_open(&model, opt->model, &tool->err))
        return false;
    if (ngram_alone(&model)) {
        bool written = cut_ngram(tool, opt, &model) && write_ngram(tool, opt, &model, output);
        model_close(&model);
        return written;
    }
    bool ok = cut_ngram(tool, opt, &model) && trim(tool, opt, &model, &vocabulary) &&
              decide(tool, opt, &model, &plan);
    if (ok) {
        if (opt->n_vocab_from)
            plan_vocabulary(&plan, &vocabulary);
        ok =
            (!output || write_model(tool, &model, &plan, output)) && write_report(tool, opt, &plan);
        if (ok && opt->dry_run && !takes_stdout(opt->report))
            ok = mprune_write_table(tool, &plan);
        if (ok) {
            tell_layers(tool, &plan);
            tell_vocabulary(tool, opt, &plan, &vocabulary);
            tell(tool, &plan);
        }
        plan_free(&plan);
    }
    vocabulary_close(&vocabulary);
    model_close(&model);
    return ok;
}

static void run(struct tool *tool, const struct options *opt)
{
    struct output *output = NULL;
    if (!opt->dry_run && !(output = output_open(tool->output, !tool->force, &tool->err)))
        return;
    /* A run that has its model needs no checkpoint, and the next one may use the name. */
    if (tool_end_output(tool, output, prune(tool, opt, output), true) &&
        opt->movement.train.checkpoint)
        unlink(opt->movement.train.checkpoint);
}

int main(int argc, char **argv)
{
    struct tool tool = {
        .name = "mprune",
        .purpose = "Make a model smaller by removing layers, attention heads, neurons and words.",
        .synopsis =
            "mprune -m MODEL --vocab-from STREAM [--vocab-size N] [-o FILE]\n"
            "mprune -m MODEL --ngram-keep SHARE [-o FILE]\n"
            "mprune -m MODEL --method layers (--keep SHARE | --speedup FACTOR) "
            "[--which RULE] [-o FILE]\n"
            "mprune -m MODEL --method layers --which LIST [-o FILE]\n"
            "mprune -m MODEL --method layers --which search (--keep SHARE | --speedup FACTOR) "
            "[-o FILE] [STREAM...]\n"
            "mprune -m MODEL --method magnitude (--keep SHARE | --speedup FACTOR) "
            "[-o FILE]\n"
            "mprune -m MODEL --method fisher|importance|second-order (--keep SHARE | --speedup "
            "FACTOR) "
            "[-o FILE] [STREAM...]\n"
            "mprune -m MODEL --method movement (--keep SHARE | --mask threshold --lambda X) "
            "[--kd KD] [options] [STREAM...]",
        .example = "mprune -m teacher.tar --method fisher --keep 50% --tune none train.taught |\n"
                   "    mstudent -m - --kd alpha=0.9,temperature=2 train.taught > half.tar",
        .option = mprune_option_table,
        .n_options = mprune_n_options,
    };
    struct options opt;
    tool_init(&tool, argc, argv,
              TOOL_OUTPUT | TOOL_DEVICE | TOOL_THREADS | TOOL_SEED | TOOL_PROGRESS | TOOL_FORCE |
                  TOOL_MEMORY | TOOL_PRECISION);
    mprune_parse(&tool, &opt);
    run(&tool, &opt);
    return tool_finish(&tool);
}
