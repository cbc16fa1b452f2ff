/* mteach: a record stream in, the same stream with a teacher's logits out. */
#include <stdlib.h>

#include "bin/tool.h"
#include "core/memory.h"
#include "io/model.h"
#include "io/output.h"
#include "io/records.h"
#include "nn/teach.h"

enum { OPTION_MODEL = 1000, OPTION_CACHE, OPTION_FOLDS };

static const struct tool_option option[] = {
    {'m', "model", "MODEL", "a teacher: directory, tar or -; repeat for an ensemble", OPTION_MODEL},
    {0, "cache", "FILE", "look logits up in FILE first, keep new ones there", OPTION_CACHE},
    {0, "folds", "N", "n-gram parts answer out of N folds, each fitted on the labels of the others",
     OPTION_FOLDS},
};

static const struct tool mteach = {
    .name = "mteach",
    .purpose = "Add the logits of one or more teacher models to a record stream.",
    .synopsis = "mteach -m MODEL [-m MODEL ...] [--cache FILE] [--folds N] [-o FILE] [STREAM ...]",
    .example = "mtok -m teacher train.csv | mteach -m teacher --cache logits.db -o train.taught",
    .option = option,
    .n_options = sizeof option / sizeof *option,
};

static void parse(struct tool *tool, const char **model, struct teach_options *options,
                  const char *const **path, size_t *n_paths)
{
    for (int id; (id = tool_next_option(tool)) != -1;) {
        if (id == OPTION_MODEL)
            model[options->n_models++] = tool_argument(tool);
        else if (id == OPTION_CACHE)
            options->cache = tool_argument(tool);
        else if (id == OPTION_FOLDS)
            options->folds = (size_t)tool_argument_integer(tool, "--folds", 2, 1000);
    }
    options->seed = tool->seed;
    *path = tool_operands(tool, n_paths);
    if (options->n_models == 0)
        tool_usage_error(tool, "no teacher given; name one with -m MODEL");
    if (!options->folds && (tool->given & TOOL_SEED))
        tool_usage_error(tool, "--seed needs --folds, which shuffle the records");
    tool_check_stdin(tool, true);
    if (options->cache)
        tool_check_written(tool, "--cache", options->cache);
    options->model = model;
}

static bool work(struct tool *tool, struct teach_options *options, const char *const *path,
                 size_t n_paths, struct output *output)
{
    struct device *dev;
    struct threads *team;
    struct teach_counts counts;
    if (!tool_open_device(tool, &dev, &team))
        return false;
    options->stage = tool_stage(tool, NULL);
    bool ok =
        teach(path, n_paths, options, dev, team, &tool->progress, output, &counts, &tool->err);
    if (ok && tool->verbose)
        tool_note(tool, "%llu records; logits: cached %llu, computed %llu",
                  (unsigned long long)counts.records, (unsigned long long)counts.cached,
                  (unsigned long long)counts.computed);
    tool_close_device(dev, team);
    return ok;
}

/* The output appears when all went well; a failure is in tool->err. */
static bool run(struct tool *tool, struct teach_options *options, const char *const *path,
                size_t n_paths)
{
    struct output *output = output_open(tool->output, !tool->force, &tool->err);
    return output &&
           tool_end_output(tool, output, work(tool, options, path, n_paths, output), true);
}

int main(int argc, char **argv)
{
    struct tool tool = mteach;
    struct teach_options options = {.program = mteach.name};
    const char *const *path;
    size_t n_paths;
    tool_init(&tool, argc, argv,
              TOOL_OUTPUT | TOOL_DEVICE | TOOL_THREADS | TOOL_SEED | TOOL_PROGRESS | TOOL_FORCE |
                  TOOL_MEMORY | TOOL_PRECISION);
    const char **model = memory_zeroed((size_t)argc + 1, sizeof *model, &tool.err);
    if (model) {
        parse(&tool, model, &options, &path, &n_paths);
        run(&tool, &options, path, n_paths);
    }
    free(model);
    return tool_finish(&tool);
}
