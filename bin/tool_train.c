/* tool_train.c: options that every tool that trains has: --kd, --checkpoint. */
#include <stdio.h>
#include <string.h>

#include "bin/tool.h"
#include "core/number.h"

/* "alpha=0.9,temperature=2", either key may be left out. */
void tool_argument_kd(struct tool *tool, double *alpha, double *temperature)
{
    static const struct {
        const char *key, *what;
        double min, max;
    } known[] = {{"alpha", "--kd alpha", 0, 1}, {"temperature", "--kd temperature", 0.01, 100}};
    double *to[] = {alpha, temperature};
    const char *at = tool_argument(tool);
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

void tool_argument_every(struct tool *tool, const char *what, size_t *steps, double *seconds)
{
    const char *text = tool_argument(tool);
    char number[40];
    size_t n = strlen(text);
    *steps = 0;
    if (n == 0 || text[n - 1] != 's') {
        *steps = (size_t)tool_argument_integer(tool, what, 1, 1 << 30);
        return;
    }
    snprintf(number, sizeof number, "%.*s", (int)(n - 1 < 39 ? n - 1 : 39), text);
    if (!number_real(number, what, 0.001, 1e9, seconds, &tool->err))
        tool_usage_error(tool, "%s", tool->err.text);
}

void tool_check_checkpoint(struct tool *tool, const char *checkpoint, bool resume)
{
    if (resume && !checkpoint)
        tool_usage_error(tool, "--resume needs --checkpoint FILE: where to go on from");
    if (!checkpoint)
        return;
    if (strcmp(checkpoint, "-") == 0)
        tool_usage_error(tool, "--checkpoint needs a file: it is written again and again");
    tool_check_written(tool, "--checkpoint", checkpoint);
}
