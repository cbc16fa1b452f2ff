/* mquant.c: a model in, the same model in another number format out. */
#include <stdlib.h>

#include "bin/tool.h"
#include "core/hash.h"
#include "io/model.h"
#include "io/output.h"
#include "io/records.h"
#include "quant/format.h"

enum { OPTION_TO = 1000 };

static const struct tool_option option_table[] = {
    {0, "to", "FORMAT", "fp32, fp16, bf16 or int8 (required)", OPTION_TO},
};

struct options {
    bool has_format;
    enum format to;
    const char *model;
};

static void parse(struct tool *tool, struct options *opt)
{
    *opt = (struct options){.model = "-"};
    for (int id; (id = tool_next_option(tool)) >= 0;)
        if (id == OPTION_TO) {
            if (!format_from_name(tool_argument(tool), &opt->to))
                tool_usage_error(tool, "--to: \"%s\" is not fp32, fp16, bf16 or int8",
                                 tool_argument(tool));
            opt->has_format = true;
        }
    size_t n = 0;
    const char *const *operand = tool_operands(tool, &n);
    if (!opt->has_format)
        tool_usage_error(tool, "--to is missing: fp32, fp16, bf16 or int8");
    if (n > 1)
        tool_usage_error(tool, "%zu models given; mquant takes one", n);
    if (n == 1)
        opt->model = operand[0];
}

static bool convert(struct tool *tool, const struct options *opt, struct output *output,
                    struct format_result *result)
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
    ok = ok && format_write(&model, opt->to, stage, output, result, &tool->err);
    model_close(&model);
    return ok;
}

static void run(struct tool *tool, const struct options *opt)
{
    struct format_result result;
    struct output *output = output_open(tool->output, !tool->force, &tool->err);
    if (!output)
        return;
    if (!convert(tool, opt, output, &result)) {
        /* The next tool of a pipe shows our message instead of "empty input". */
        if (output_bytes(output) == 0)
            records_write_failure(output, tool->name, &tool->err);
        output_abandon(output);
        return;
    }
    if (output_commit(output, &tool->err))
        tool_note(tool, "%s: %llu weights, %.2f MB -> %.2f MB (%.1f%% of the size)",
                  format_name(opt->to), (unsigned long long)result.weights,
                  (double)result.bytes_before / 1e6, (double)result.bytes_after / 1e6,
                  100 * (double)result.bytes_after / (double)result.bytes_before);
}

int main(int argc, char **argv)
{
    struct tool tool = {
        .name = "mquant",
        .purpose = "Change the number format of a model's weights.",
        .synopsis = "mquant --to FORMAT [-o FILE] [MODEL]",
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
