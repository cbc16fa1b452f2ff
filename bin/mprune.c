/* mprune.c: a model in, a smaller model out: whole layers, or the heads and neurons that matter
 * least, are gone. */
#include <stdlib.h>
#include <string.h>

#include "bin/tool.h"
#include "core/hash.h"
#include "core/jobject.h"
#include "core/number.h"
#include "io/model.h"
#include "io/output.h"
#include "io/records.h"
#include "nn/parts.h"
#include "prune/compact.h"
#include "prune/plan.h"
#include "text/tokenizer.h"

enum {
    OPTION_MODEL = 1000,
    OPTION_METHOD,
    OPTION_KEEP,
    OPTION_WHICH,
    OPTION_SAMPLES,
    OPTION_BATCH_TOKENS,
    OPTION_REPORT,
    OPTION_DRY_RUN
};

enum { SAMPLES = 2048, BATCH_TOKENS = 512, MAX_COUNT = 1 << 30 };

static const struct tool_option option_table[] = {
    {'m', "model", "MODEL", "the model to prune (required)", OPTION_MODEL},
    {0, "method", "METHOD", "layers or importance (required)", OPTION_METHOD},
    {0, "keep", "SHARE", "how much stays: 75% or 0.75, of layers or multiply-adds", OPTION_KEEP},
    {0, "which", "RULE", "layers: drop top, middle, bottom, alternate; or a list to keep",
     OPTION_WHICH},
    {0, "samples", "N", "importance: at most N labelled records (2048)", OPTION_SAMPLES},
    {0, "batch-tokens", "N", "importance: tokens that run at a time (512)", OPTION_BATCH_TOKENS},
    {0, "report", "FILE", "write what was kept, and figures, as JSON", OPTION_REPORT},
    {0, "dry-run", NULL, "decide and report, write no model", OPTION_DRY_RUN},
};

enum method { METHOD_NONE, METHOD_LAYERS, METHOD_IMPORTANCE };

struct options {
    const char *model, *report;
    enum method method;
    double keep;       /* 0: not given */
    const char *which; /* NULL: not given */
    const char *list;  /* --which is a list */
    enum layers_rule rule;
    size_t samples, batch_tokens; /* 0: not given */
    bool dry_run;
    const char *const *path;
    size_t n_paths;
};

static enum method method_argument(struct tool *tool)
{
    if (strcmp(tool_argument(tool), "layers") == 0)
        return METHOD_LAYERS;
    if (strcmp(tool_argument(tool), "importance") == 0)
        return METHOD_IMPORTANCE;
    tool_usage_error(tool, "--method: \"%s\" is not layers or importance", tool_argument(tool));
}

static void parse_option(struct tool *tool, struct options *opt, int id)
{
    switch (id) {
    case OPTION_MODEL:
        tool_argument_once(tool, "-m", &opt->model);
        break;
    case OPTION_METHOD:
        opt->method = method_argument(tool);
        break;
    case OPTION_KEEP:
        if (!number_fraction(tool_argument(tool), "--keep", &opt->keep, &tool->err))
            tool_usage_error(tool, "%s", tool->err.text);
        break;
    case OPTION_WHICH:
        opt->which = tool_argument(tool);
        break;
    case OPTION_SAMPLES:
        opt->samples = (size_t)tool_argument_integer(tool, "--samples", 1, MAX_COUNT);
        break;
    case OPTION_BATCH_TOKENS:
        opt->batch_tokens = (size_t)tool_argument_integer(tool, "--batch-tokens", 1, MAX_COUNT);
        break;
    case OPTION_REPORT:
        opt->report = tool_argument(tool);
        break;
    case OPTION_DRY_RUN:
        opt->dry_run = true;
        break;
    }
}

static void check_which(struct tool *tool, struct options *opt)
{
    if (opt->which && !layers_rule_from_name(opt->which, &opt->rule)) {
        /* A word is a mistyped rule; whether a list fits the model is known when it is open. */
        if (opt->which[0] < '0' || opt->which[0] > '9')
            tool_usage_error(tool,
                             "--which: \"%s\" is not top, middle, bottom, alternate or a list of "
                             "layers to keep such as 0,2,5",
                             opt->which);
        opt->list = opt->which;
    }
    if (opt->list && opt->keep > 0)
        tool_usage_error(tool, "--which %s names the layers to keep; drop --keep", opt->list);
    if (!opt->list && !(opt->keep > 0))
        tool_usage_error(tool, "--keep is missing: how much stays, for example 50%%");
}

static void check_report(struct tool *tool, const struct options *opt)
{
    if (!opt->report)
        return;
    if (strcmp(opt->report, "-") == 0) {
        if ((!tool->output || strcmp(tool->output, "-") == 0) && !opt->dry_run)
            tool_usage_error(tool, "--report and the model cannot both go to standard output; "
                                   "use -o");
        return;
    }
    tool_check_written(tool, "--report", opt->report);
}

static void check_options(struct tool *tool, struct options *opt)
{
    if (!opt->model)
        tool_usage_error(tool, "-m is missing: the model to prune");
    if (opt->method == METHOD_NONE)
        tool_usage_error(tool, "--method is missing: layers or importance");
    bool layers = opt->method == METHOD_LAYERS;
    if (!layers && opt->which)
        tool_usage_error(tool, "--which needs --method layers");
    if (layers && (opt->samples || opt->batch_tokens))
        tool_usage_error(tool, "%s needs --method importance",
                         opt->samples ? "--samples" : "--batch-tokens");
    if (layers && opt->n_paths > 0)
        tool_usage_error(tool, "--method layers reads no STREAM; drop %s", opt->path[0]);
    if (opt->dry_run && tool->output)
        tool_usage_error(tool, "--dry-run writes no model; drop -o");
    check_report(tool, opt);
    check_which(tool, opt);
    tool_check_stdin(tool, !layers);
}

static void parse(struct tool *tool, struct options *opt)
{
    *opt = (struct options){.rule = LAYERS_TOP};
    for (int id; (id = tool_next_option(tool)) >= 0;)
        parse_option(tool, opt, id);
    opt->path = tool_operands(tool, &opt->n_paths);
    check_options(tool, opt);
}

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

static bool decide_importance(struct tool *tool, const struct options *opt, struct model *model,
                              struct plan *plan)
{
    const struct importance_options how = {
        .samples = opt->samples ? opt->samples : SAMPLES,
        .batch_tokens = opt->batch_tokens ? opt->batch_tokens : BATCH_TOKENS,
        .seed = tool->seed,
    };
    struct device *dev = NULL;
    struct threads *team = NULL;
    struct records_set records;
    if (!records_set_open(&records, opt->path, opt->n_paths, &tool->err))
        return false;
    bool ok =
        check_records(tool, model, &records) && tool_open_device(tool, &dev, &team) &&
        plan_importance(plan, model, &records, opt->keep, &how, dev, &tool->progress, &tool->err);
    tool_close_device(dev, team);
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
        return compact_write(model, &plan->before, &plan->keep, pruned, stage, output, &tool->err);
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

static bool prune(struct tool *tool, const struct options *opt, struct output *output)
{
    struct model model;
    struct plan plan;
    if (!model_open(&model, opt->model, &tool->err))
        return false;
    bool ok = opt->method == METHOD_LAYERS
                  ? plan_layers(&plan, &model, opt->keep, opt->rule, opt->list, &tool->err)
                  : decide_importance(tool, opt, &model, &plan);
    if (ok) {
        ok =
            (!output || write_model(tool, &model, &plan, output)) && write_report(tool, opt, &plan);
        if (ok) {
            tell_layers(tool, &plan);
            tell(tool, &plan);
        }
        plan_free(&plan);
    }
    model_close(&model);
    return ok;
}

static void run(struct tool *tool, const struct options *opt)
{
    struct output *output = NULL;
    if (!opt->dry_run && !(output = output_open(tool->output, !tool->force, &tool->err)))
        return;
    tool_end_output(tool, output, prune(tool, opt, output), true);
}

int main(int argc, char **argv)
{
    struct tool tool = {
        .name = "mprune",
        .purpose = "Make a model smaller by removing layers, attention heads and neurons.",
        .synopsis = "mprune -m MODEL --method layers (--keep SHARE [--which RULE] | --which LIST) "
                    "[-o FILE]\n"
                    "mprune -m MODEL --method importance --keep SHARE [-o FILE] [STREAM...]",
        .example = "mprune -m teacher.tar --method importance --keep 50% train.taught |\n"
                   "    mstudent -m - --kd alpha=0.9,temperature=2 train.taught > half.tar",
        .option = option_table,
        .n_options = sizeof option_table / sizeof *option_table,
    };
    struct options opt;
    tool_init(&tool, argc, argv,
              TOOL_OUTPUT | TOOL_DEVICE | TOOL_THREADS | TOOL_SEED | TOOL_PROGRESS | TOOL_FORCE);
    parse(&tool, &opt);
    run(&tool, &opt);
    return tool_finish(&tool);
}
