/* mquant.c: a model in, the same model in another number format or of another shape or kind out. */
#include <stdlib.h>
#include <string.h>

#include "bin/tool.h"
#include "core/hash.h"
#include "io/model.h"
#include "io/output.h"
#include "io/records.h"
#include "quant/dense.h"
#include "quant/format.h"
#include "quant/onnx.h"

enum { OPTION_TO = 1000, OPTION_EMBEDDINGS, OPTION_DENSE };

static const struct tool_option option_table[] = {
    {0, "to", "FORMAT", "fp32, fp16, bf16, int8 or onnx", OPTION_TO},
    {0, "embeddings", "FORMAT", "of the embedding tables: fp32, fp16, bf16, int8 or int4",
     OPTION_EMBEDDINGS},
    {0, "dense", NULL, "pad with zeros to a shape that Hugging Face's classes hold", OPTION_DENSE},
};

enum job { JOB_NONE, JOB_FORMAT, JOB_ONNX, JOB_DENSE };

struct options {
    enum job job;
    struct format_plan plan; /* of JOB_FORMAT */
    const char *model;
};

/* What was done, for the note. */
union result {
    struct format_result format;
    struct onnx_result onnx;
    struct dense_result dense;
};

static void set_job(struct tool *tool, struct options *opt, enum job job)
{
    if (opt->job != JOB_NONE && (opt->job == JOB_DENSE) != (job == JOB_DENSE))
        tool_usage_error(tool,
                         "--dense and --to are two runs: mquant --dense ... | mquant --to ...");
    opt->job = job;
}

static void parse(struct tool *tool, struct options *opt)
{
    *opt = (struct options){.model = "-", .plan = {.to = FORMAT_AS_IS, .tables = FORMAT_AS_IS}};
    for (int id; (id = tool_next_option(tool)) >= 0;) {
        const char *name = tool_argument(tool);
        if (id == OPTION_DENSE)
            set_job(tool, opt, JOB_DENSE);
        else if (id == OPTION_TO && strcmp(name, "onnx") == 0)
            set_job(tool, opt, JOB_ONNX);
        else if (id == OPTION_TO && format_from_name(name, &opt->plan.to) &&
                 opt->plan.to != FORMAT_INT4)
            set_job(tool, opt, JOB_FORMAT);
        else if (id == OPTION_EMBEDDINGS && format_from_name(name, &opt->plan.tables))
            opt->job = opt->job == JOB_NONE ? JOB_FORMAT : opt->job;
        else if (id == OPTION_EMBEDDINGS)
            tool_usage_error(tool, "--embeddings: \"%s\" is not fp32, fp16, bf16, int8 or int4",
                             name);
        else if (id == OPTION_TO)
            tool_usage_error(tool, "--to: \"%s\" is not fp32, fp16, bf16, int8 or onnx", name);
    }
    size_t n = 0;
    const char *const *operand = tool_operands(tool, &n);
    if (opt->job == JOB_NONE)
        tool_usage_error(
            tool, "--to is missing (fp32, fp16, bf16, int8 or onnx), and so are --embeddings "
                  "and --dense");
    if (opt->plan.tables != FORMAT_AS_IS && opt->job != JOB_FORMAT)
        tool_usage_error(tool, "--embeddings and %s exclude each other",
                         opt->job == JOB_DENSE ? "--dense" : "--to onnx");
    if (n > 1)
        tool_usage_error(tool, "%zu models given; mquant takes one", n);
    if (n == 1)
        opt->model = operand[0];
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
    ok = ok && write_model(tool, opt, &model, stage, output, result);
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
                    "mquant --dense [-o FILE] [MODEL]",
        .example = "mquant --to int8 -o small.tar model.tar",
        .option = option_table,
        .n_options = sizeof option_table / sizeof *option_table,
    };
    struct options opt;
    tool_init(&tool, argc, argv, TOOL_OUTPUT | TOOL_FORCE);
    parse(&tool, &opt);
    run(&tool, &opt);
    return tool_finish(&tool);
}
