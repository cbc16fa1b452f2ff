/* mquant.c: a model in, the same model in another number format or of another shape or kind out. */
#include <stdlib.h>
#include <string.h>

#include "bin/tool.h"
#include "core/hash.h"
#include "io/model.h"
#include "io/output.h"
#include "io/records.h"
#include "nn/ngram.h"
#include "quant/calibrate.h"
#include "quant/compensate.h"
#include "quant/dense.h"
#include "quant/encoder_alone.h"
#include "quant/format.h"
#include "quant/mixed.h"
#include "quant/onnx.h"
#include "text/tokenizer.h"

enum {
    OPTION_TO = 1000,
    OPTION_EMBEDDINGS,
    OPTION_BUDGET,
    OPTION_ON,
    OPTION_CALIBRATE,
    OPTION_COMPENSATE,
    OPTION_SAMPLES,
    OPTION_DENSE
};

enum { SAMPLES = 512, MAX_SAMPLES = 1 << 30 };

static const struct tool_option option_table[] = {
    {0, "to", "FORMAT", "fp32, fp16, bf16, int8 or onnx", OPTION_TO},
    {0, "embeddings", "FORMAT", "of the embedding tables: fp32, fp16, bf16, int8 or int4",
     OPTION_EMBEDDINGS},
    {0, "budget", "POINTS", "int8 for the matrices that together lose no more; needs --on",
     OPTION_BUDGET},
    {0, "on", "STREAM", "records that the loss is measured on: of --budget, or of n-grams left out",
     OPTION_ON},
    {0, "calibrate", "STREAM", "int8: scales of activations from these records, not from each text",
     OPTION_CALIBRATE},
    {0, "compensate", "STREAM", "int8: rounding that costs least on these records; needs --to int8",
     OPTION_COMPENSATE},
    {0, "samples", "N",
     "records for measuring one matrix (--budget), or --calibrate, --compensate (512)",
     OPTION_SAMPLES},
    {0, "dense", NULL, "pad with zeros to a shape that Hugging Face's classes hold", OPTION_DENSE},
};

enum job { JOB_NONE, JOB_FORMAT, JOB_ONNX, JOB_DENSE };

struct options {
    enum job job;
    struct format_plan plan; /* of JOB_FORMAT */
    const char *model;
    double budget;                           /* points; negative: not given */
    const char *on, *calibrate, *compensate; /* NULL: not given */
    size_t samples;                          /* 0: not given */
};

/* What was done, for the note. */
union result {
    struct format_result format;
    struct onnx_result onnx;
    struct dense_result dense;
};

/* Of a hybrid whose encoder alone is written. */
struct left_out {
    bool ngram, measured;
    struct encoder_alone loss;
};

static void set_job(struct tool *tool, struct options *opt, enum job job)
{
    if (opt->job != JOB_NONE && (opt->job == JOB_DENSE) != (job == JOB_DENSE))
        tool_usage_error(tool,
                         "--dense and --to are two runs: mquant --dense ... | mquant --to ...");
    opt->job = job;
}

static void parse_option(struct tool *tool, struct options *opt, int id)
{
    const char *name = tool_argument(tool);
    switch (id) {
    case OPTION_TO:
        if (strcmp(name, "onnx") == 0)
            set_job(tool, opt, JOB_ONNX);
        else if (format_from_name(name, &opt->plan.to) && opt->plan.to != FORMAT_INT4)
            set_job(tool, opt, JOB_FORMAT);
        else
            tool_usage_error(tool, "--to: \"%s\" is not fp32, fp16, bf16, int8 or onnx", name);
        break;
    case OPTION_EMBEDDINGS:
        if (!format_from_name(name, &opt->plan.tables))
            tool_usage_error(tool, "--embeddings: \"%s\" is not fp32, fp16, bf16, int8 or int4",
                             name);
        opt->job = opt->job == JOB_NONE ? JOB_FORMAT : opt->job;
        break;
    case OPTION_BUDGET:
        opt->budget = tool_argument_real(tool, "--budget", 0, 100);
        opt->job = opt->job == JOB_NONE ? JOB_FORMAT : opt->job;
        break;
    case OPTION_ON:
        tool_argument_once(tool, "--on", &opt->on);
        break;
    case OPTION_CALIBRATE:
        tool_argument_once(tool, "--calibrate", &opt->calibrate);
        opt->job = opt->job == JOB_NONE ? JOB_FORMAT : opt->job;
        break;
    case OPTION_COMPENSATE:
        tool_argument_once(tool, "--compensate", &opt->compensate);
        break;
    case OPTION_SAMPLES:
        opt->samples = (size_t)tool_argument_integer(tool, "--samples", 1, MAX_SAMPLES);
        break;
    case OPTION_DENSE:
        set_job(tool, opt, JOB_DENSE);
        break;
    }
}

static void check_sample(struct tool *tool, const struct options *opt)
{
    bool sampled = opt->budget >= 0 || opt->calibrate || opt->compensate;
    if (opt->samples && !sampled)
        tool_usage_error(tool, "--samples needs --budget, --calibrate or --compensate");
    if ((tool->given & TOOL_SEED) && !sampled)
        tool_usage_error(tool,
                         "--seed needs --budget, --calibrate or --compensate, which draw a sample");
    if ((tool->given & (TOOL_DEVICE | TOOL_THREADS)) && !opt->on && !sampled)
        tool_usage_error(
            tool, "--%s needs --on, --calibrate or --compensate: no model is run without records",
            tool->given & TOOL_DEVICE ? "device" : "threads");
}

static void check_options(struct tool *tool, const struct options *opt)
{
    const char *job = opt->job == JOB_DENSE ? "--dense" : "--to onnx";
    bool budget = opt->budget >= 0;
    if (opt->job == JOB_NONE)
        tool_usage_error(tool, "--to is missing (fp32, fp16, bf16, int8 or onnx), and so are "
                               "--embeddings, --budget, --calibrate and --dense");
    if (opt->plan.tables != FORMAT_AS_IS && opt->job != JOB_FORMAT)
        tool_usage_error(tool, "--embeddings and %s exclude each other", job);
    if (budget && opt->job != JOB_FORMAT)
        tool_usage_error(tool, "--budget and %s exclude each other", job);
    if (budget && opt->plan.to == FORMAT_INT8)
        tool_usage_error(tool, "--budget says which matrices become int8; --to is for the rest: "
                               "fp32, fp16 or bf16");
    if (budget && opt->plan.tables != FORMAT_AS_IS)
        tool_usage_error(tool, "--budget decides on the embeddings, too; drop --embeddings");
    if (budget && !opt->on)
        tool_usage_error(tool, "--budget needs --on STREAM: records to measure the loss on");
    if (opt->calibrate && opt->job != JOB_FORMAT)
        tool_usage_error(tool, "--calibrate and %s exclude each other", job);
    if (opt->calibrate && !budget && opt->plan.to != FORMAT_INT8 && opt->plan.to != FORMAT_AS_IS)
        tool_usage_error(tool, "--calibrate is for int8 matrices; --to %s has none",
                         format_name(opt->plan.to));
    if (opt->compensate && (opt->job != JOB_FORMAT || opt->plan.to != FORMAT_INT8))
        tool_usage_error(tool, "--compensate is for matrices that become int8: it needs --to int8");
    if (!budget && opt->on && opt->job == JOB_FORMAT)
        tool_usage_error(tool, "--on needs --budget, --dense or --to onnx");
    check_sample(tool, opt);
}

static void parse(struct tool *tool, struct options *opt)
{
    *opt = (struct options){
        .model = "-", .plan = {.to = FORMAT_AS_IS, .tables = FORMAT_AS_IS}, .budget = -1};
    for (int id; (id = tool_next_option(tool)) >= 0;)
        parse_option(tool, opt, id);
    size_t n = 0;
    const char *const *operand = tool_operands(tool, &n);
    check_options(tool, opt);
    if (n > 1)
        tool_usage_error(tool, "%zu models given; mquant takes one", n);
    if (n == 1)
        opt->model = operand[0];
    tool_check_stdin(tool, true);
}

/* The records must be in the model's own tokens and labels. */
static bool check_records(struct model *model, const struct records_set *records, struct error *err)
{
    const char *name = source_name(records->source[0]);
    uint64_t tokenizer = 0;
    return tokenizer_fingerprint_of(model->bundle, &tokenizer, err) &&
           records_check_model(&records->header, name, tokenizer, model->label, model->n_labels,
                               model->name, err) &&
           model_check_problem(model, err) &&
           records_check_kind(&records->header, name, model->problem == MODEL_MULTI_LABEL,
                              model->name, err);
}

/* A stream of a model's own, and a device to run it on. */
struct trial_of {
    struct records_set records;
    struct device *dev;
    struct threads *team;
};

static void close_trial(struct trial_of *trial)
{
    tool_close_device(trial->dev, trial->team);
    records_set_close(&trial->records);
}

static bool open_trial(struct tool *tool, const char *path, struct model *model,
                       struct trial_of *trial)
{
    const char *const paths[] = {path};
    *trial = (struct trial_of){.dev = NULL};
    if (!records_set_open(&trial->records, paths, 1, &tool->err))
        return false;
    if (check_records(model, &trial->records, &tool->err) &&
        tool_open_device(tool, &trial->dev, &trial->team))
        return true;
    close_trial(trial);
    return false;
}

/* What each matrix saves and costs, and what was decided. */
static void tell_mixed(const struct tool *tool, const struct mixed *mixed)
{
    const char *what = mixed->labelled ? "accuracy" : "agreement";
    tool_note(tool, "%-32s %-5s %10s %12s %8s  %s", "matrix", "to", "saves kB", "divergence",
              "points", "taken");
    for (size_t e = 0; e < mixed->n; e++) {
        const struct mixed_entry *entry = &mixed->entry[e];
        tool_note(tool, "%-32s %-5s %10.1f %12.3g %8.2f  %s", entry->name,
                  format_name(entry->format), (double)entry->change.saved / 1e3, entry->divergence,
                  entry->points, entry->change.chosen ? "yes" : "no");
    }
    tool_note(tool, "together: %.3f points of %s lost on %zu records", mixed->points, what,
              mixed->n_records);
    if (mixed->one_label)
        tool_note(tool, "all of these records have the same label; what the others lose is not "
                        "seen");
}

/* Which matrices become int8, into mixed. */
static bool decide(struct tool *tool, const struct options *opt, struct model *model,
                   struct mixed *mixed)
{
    const struct mixed_options how = {.budget = opt->budget,
                                      .samples = opt->samples ? opt->samples : SAMPLES,
                                      .seed = tool->seed,
                                      .rest = opt->plan.to};
    struct trial_of trial;
    if (!open_trial(tool, opt->on, model, &trial))
        return false;
    bool ok = mixed_decide(mixed, model, &trial.records, &how, trial.dev, trial.team,
                           &tool->progress, &tool->err);
    close_trial(&trial);
    return ok;
}

/* The scales of what int8 matrices multiply, into calibrate. */
static bool calibrate(struct tool *tool, const struct options *opt, struct model *model,
                      struct calibrate *scales)
{
    struct trial_of trial;
    if (!open_trial(tool, opt->calibrate, model, &trial))
        return false;
    bool ok =
        calibrate_measure(scales, model, &trial.records, opt->samples ? opt->samples : SAMPLES,
                          tool->seed, trial.dev, &tool->progress, &tool->err);
    close_trial(&trial);
    return ok;
}

/* The codes of int8 matrices, into made. */
static bool compensate(struct tool *tool, const struct options *opt, struct model *model,
                       struct compensate *made)
{
    struct trial_of trial;
    if (!open_trial(tool, opt->compensate, model, &trial))
        return false;
    bool ok = compensate_make(made, model, &trial.records, opt->samples ? opt->samples : SAMPLES,
                              tool->seed, trial.dev, trial.team, &tool->progress, &tool->err);
    close_trial(&trial);
    return ok;
}

/* What an export without the n-gram part loses on the records of --on. */
static bool measure_loss(struct tool *tool, const struct options *opt, struct model *model,
                         struct left_out *left)
{
    struct trial_of trial;
    if (!open_trial(tool, opt->on, model, &trial))
        return false;
    left->measured = encoder_alone_measure(model, &trial.records, trial.dev, trial.team,
                                           &left->loss, &tool->err);
    close_trial(&trial);
    return left->measured;
}

static void tell_left_out(const struct tool *tool, const struct left_out *left)
{
    if (left->measured)
        tool_note(tool,
                  "the n-gram part is left out: %.2f points lost (%.2f with it, %.2f the encoder "
                  "alone)",
                  100 * (left->loss.both - left->loss.encoder), 100 * left->loss.both,
                  100 * left->loss.encoder);
    else if (left->ngram)
        tool_note(tool, "the n-gram part is left out: the answers are the encoder's alone; --on "
                        "STREAM measures what that loses");
}

/* Steals stage. */
static bool write_model(struct tool *tool, const struct options *opt, struct model *model,
                        json_t *stage, struct output *output, union result *result)
{
    switch (opt->job) {
    case JOB_ONNX:
        return onnx_write(model, tool_version, stage, output, &result->onnx, &tool->err);
    case JOB_DENSE:
        return dense_write(model, stage, output, &result->dense, &tool->err);
    case JOB_FORMAT:
    case JOB_NONE:
        break;
    }
    return format_write_plan(model, &opt->plan, stage, output, &result->format, &tool->err);
}

/* What records say of a model before it is written. */
struct found {
    struct left_out left;
    struct mixed mixed;
    struct calibrate scales;
    struct compensate made;
};

/* Into found, and to the plan what is in it, which lends it. */
static bool find(struct tool *tool, const struct options *opt, struct model *model,
                 struct found *found, struct format_plan *plan)
{
    if (opt->job != JOB_FORMAT && opt->on && !measure_loss(tool, opt, model, &found->left))
        return false;
    if (opt->budget >= 0) {
        if (!decide(tool, opt, model, &found->mixed))
            return false;
        plan->choice = found->mixed.choice;
        plan->n_choices = found->mixed.n_choices;
    }
    if (opt->calibrate) {
        if (!calibrate(tool, opt, model, &found->scales))
            return false;
        plan->input = found->scales.input;
        plan->n_inputs = found->scales.n;
    }
    if (opt->compensate) {
        if (!compensate(tool, opt, model, &found->made))
            return false;
        plan->codes = found->made.codes;
        plan->n_codes = found->made.n;
    }
    return true;
}

static void tell_found(const struct tool *tool, const struct options *opt,
                       const struct found *found)
{
    if (opt->budget >= 0)
        tell_mixed(tool, &found->mixed);
    tell_left_out(tool, &found->left);
    if (opt->calibrate)
        tool_note(tool, "activations: scales from %zu records for %zu matrices",
                  found->scales.n_records, found->scales.n);
    if (opt->compensate)
        tool_note(tool, "rounding: made good on %zu records for %zu matrices",
                  found->made.n_records, found->made.n);
}

static void close_found(struct found *found)
{
    mixed_free(&found->mixed);
    calibrate_free(&found->scales);
    compensate_free(&found->made);
}

static bool convert(struct tool *tool, const struct options *opt, struct output *output,
                    union result *result)
{
    struct model model;
    uint64_t fingerprint = 0;
    char text[HASH_TEXT_BYTES];
    json_t *stage = NULL;
    if (!model_open(&model, opt->model, &tool->err))
        return false;
    bool ok = model_fingerprint(&model, &fingerprint, &tool->err);
    if (ok) {
        hash_text(fingerprint, text);
        stage = tool_stage(tool, text);
        ok = stage || error_set(&tool->err, "no memory for the history");
    }
    bool apart = opt->budget >= 0 || opt->plan.tables != FORMAT_AS_IS;
    if (ok && apart && ngram_alone(&model))
        ok = error_set(&tool->err,
                       "%s: is an n-gram part alone, one matrix without tables of embeddings; --to "
                       "int8 is all there is to choose",
                       model.name);
    struct options with = *opt;
    struct found found = {.left.ngram = opt->job != JOB_FORMAT && ngram_of_model(&model) &&
                                        !ngram_alone(&model)};
    ok = ok && find(tool, opt, &model, &found, &with.plan);
    if (ok)
        ok = write_model(tool, &with, &model, stage, output, result);
    else
        json_decref(stage);
    if (ok)
        tell_found(tool, opt, &found);
    close_found(&found);
    model_close(&model);
    return ok;
}

static void tell_dense(const struct tool *tool, const struct dense_result *dense)
{
    if (dense->heads == 0 && dense->neurons == 0)
        tool_note(tool, "dense: Hugging Face's class holds this shape as it is; nothing was added");
    else
        tool_note(tool,
                  "dense: %zu heads and %zu neurons of zeros added: %llu weights -> %llu (%llu "
                  "zeros), %.2f MB -> %.2f MB",
                  dense->heads, dense->neurons, (unsigned long long)dense->weights_before,
                  (unsigned long long)dense->weights_after,
                  (unsigned long long)(dense->weights_after - dense->weights_before),
                  (double)dense->bytes_before / 1e6, (double)dense->bytes_after / 1e6);
}

static void tell(const struct tool *tool, const struct options *opt, const union result *result)
{
    const struct format_result *format = &result->format;
    const struct onnx_result *onnx = &result->onnx;
    bool tables = opt->plan.tables != FORMAT_AS_IS;
    switch (opt->job) {
    case JOB_DENSE:
        tell_dense(tool, &result->dense);
        break;
    case JOB_ONNX:
        tool_note(tool, "onnx: %zu nodes, %llu weights, %.2f MB", onnx->nodes,
                  (unsigned long long)onnx->weights, (double)onnx->bytes / 1e6);
        break;
    case JOB_FORMAT:
    case JOB_NONE:
        tool_note(tool, "%s%s%s: %llu weights, %.2f MB -> %.2f MB (%.1f%% of the size)",
                  format_name(opt->plan.to), tables ? ", embeddings " : "",
                  tables ? format_name(opt->plan.tables) : "", (unsigned long long)format->weights,
                  (double)format->bytes_before / 1e6, (double)format->bytes_after / 1e6,
                  100 * (double)format->bytes_after / (double)format->bytes_before);
    }
}

static void run(struct tool *tool, const struct options *opt)
{
    union result result;
    struct output *output = output_open(tool->output, !tool->force, &tool->err);
    if (!output)
        return;
    if (tool_end_output(tool, output, convert(tool, opt, output, &result), true))
        tell(tool, opt, &result);
}

int main(int argc, char **argv)
{
    struct tool tool = {
        .name = "mquant",
        .purpose = "Change the number format or the form of a model.",
        .synopsis = "mquant --to FORMAT [--embeddings FORMAT] [-o FILE] [MODEL]\n"
                    "mquant --embeddings FORMAT [-o FILE] [MODEL]\n"
                    "mquant --budget POINTS --on STREAM [--to FORMAT] [-o FILE] [MODEL]\n"
                    "mquant [--to int8] --calibrate STREAM [-o FILE] [MODEL]\n"
                    "mquant --to int8 --compensate STREAM [-o FILE] [MODEL]\n"
                    "mquant --dense [--on STREAM] [-o FILE] [MODEL]",
        .example = "mquant --to int8 -o small.tar model.tar",
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
