/* tool_operands.c: the files a tool reads and writes: none is both, standard input is read once. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bin/tool.h"
#include "core/memory.h"
#include "io/model.h"

static bool is_standard(const char *path)
{
    return !path || strcmp(path, "-") == 0;
}

static bool is_input(const struct stat *written, const char *input)
{
    struct stat found;
    bool there = is_standard(input) ? fstat(STDIN_FILENO, &found) == 0 : stat(input, &found) == 0;
    return there && S_ISREG(found.st_mode) && found.st_dev == written->st_dev &&
           found.st_ino == written->st_ino;
}

/* The first input that is the regular file `written`; NULL: none. */
static const char *find_input(const struct tool *tool, const struct stat *written)
{
    if (is_input(written, "-"))
        return "<stdin>";
    for (size_t i = 0; i < tool->n_operands; i++)
        if (is_input(written, tool->operand[i]))
            return tool->operand[i];
    for (size_t i = 0; i < tool->n_inputs; i++)
        if (is_input(written, tool->input[i]))
            return tool->input[i];
    return NULL;
}

const char *const *tool_operands(struct tool *tool, size_t *n)
{
    struct stat output;
    bool there = is_standard(tool->output) ? fstat(STDOUT_FILENO, &output) == 0
                                           : stat(tool->output, &output) == 0;
    const char *input = there ? find_input(tool, &output) : NULL;
    if (input)
        tool_usage_error(tool, "%s is both input and output; write to another file", input);
    *n = tool->n_operands;
    return tool->operand;
}

void tool_check_written(struct tool *tool, const char *option, const char *path)
{
    struct stat written;
    bool there = stat(path, &written) == 0 && S_ISREG(written.st_mode);
    bool is_output =
        tool->output && !is_standard(tool->output) &&
        (strcmp(path, tool->output) == 0 || (there && is_input(&written, tool->output)));
    if (is_output || (there && find_input(tool, &written)))
        tool_usage_error(tool, "%s %s would overwrite the model, a stream or the output", option,
                         path);
}

static bool is_operand(const struct tool *tool, const char *argument)
{
    for (size_t i = 0; i < tool->n_operands; i++)
        if (tool->operand[i] == argument)
            return true;
    return false;
}

json_t *tool_stage(const struct tool *tool, const char *input_fingerprint)
{
    struct error err = ERROR_INIT;
    char **kept = memory_array((size_t)tool->argc + 1, sizeof *kept, &err);
    if (!kept)
        return NULL;
    int n = 0;
    for (int i = 0; i < tool->argc; i++)
        if (!tool->unsaid[i] && !is_operand(tool, tool->argv[i]))
            kept[n++] = tool->argv[i];
    json_t *stage = model_history_stage(tool->name, tool_version, n, kept, input_fingerprint);
    free(kept);
    return stage;
}

void tool_check_stdin(struct tool *tool, bool default_stdin)
{
    size_t n = default_stdin && tool->n_operands == 0;
    for (size_t i = 0; i < tool->n_operands; i++)
        n += is_standard(tool->operand[i]);
    for (size_t i = 0; i < tool->n_inputs; i++)
        n += is_standard(tool->input[i]);
    if (n > 1)
        tool_usage_error(tool, "standard input is asked for %zu times; name files instead", n);
}
