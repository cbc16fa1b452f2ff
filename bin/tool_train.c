/* tool_train.c: options that every tool that trains has: --kd, --checkpoint. */
#include <stdio.h>
#include <string.h>

#include "bin/tool.h"
#include "core/number.h"

enum { KD_KEYS = 16, ITEM_BYTES = 512 };

/* "alpha, temperature, map" for a message. */
static void list_keys(const struct tool_kd_key *key, size_t n, char *text, size_t bytes)
{
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < n && used < bytes; i++) {
        const char *before = i == 0 ? "" : i + 1 == n ? " or " : ", ";
        used += (size_t)snprintf(text + used, bytes - used, "%s%s", before, key[i].key);
    }
}

/* One KEY=VALUE; `at` is where it stands in the argument. */
static void take_kd_item(struct tool *tool, const struct tool_kd_key *key, size_t n,
                         const char *item, const char *at)
{
    const char *equals = strchr(item, '=');
    char what[40], known[160];
    size_t i = 0;
    if (!equals)
        tool_usage_error(tool, "--kd: \"%s\" is not KEY=NUMBER, as in alpha=0.9,temperature=2",
                         item);
    size_t length = (size_t)(equals - item);
    while (i < n && (strncmp(item, key[i].key, length) != 0 || key[i].key[length] != '\0'))
        i++;
    list_keys(key, n, known, sizeof known);
    if (i == n)
        tool_usage_error(tool, "--kd: unknown key \"%.*s\"; expected %s", (int)length, item, known);
    snprintf(what, sizeof what, "--kd %s", key[i].key);
    if (key[i].text)
        *key[i].text = at + length + 1;
    else if (!number_real(equals + 1, what, key[i].min, key[i].max, key[i].value, &tool->err))
        tool_usage_error(tool, "%s", tool->err.text);
}

void tool_argument_kd(struct tool *tool, double *alpha, double *temperature,
                      const struct tool_kd_key *further, size_t n_further)
{
    struct tool_kd_key key[KD_KEYS] = {
        {.key = "alpha", .max = 1, .value = alpha},
        {.key = "temperature", .min = 0.01, .max = 100, .value = temperature}};
    size_t n = 2;
    while (n_further-- && n < KD_KEYS)
        key[n++] = *further++;
    const char *at = tool_argument(tool);
    while (*at) {
        char item[ITEM_BYTES];
        size_t length = strcspn(at, ",");
        snprintf(item, sizeof item, "%.*s", (int)(length < sizeof item ? length : sizeof item - 1),
                 at);
        take_kd_item(tool, key, n, item, at);
        at += length + (at[length] == ',');
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

void tool_check_checkpoint(struct tool *tool, const char *checkpoint, bool resume, bool every)
{
    if (every && !checkpoint)
        tool_usage_error(tool, "--checkpoint-every needs --checkpoint FILE");
    if (resume && !checkpoint)
        tool_usage_error(tool, "--resume needs --checkpoint FILE: where to go on from");
    if (!checkpoint)
        return;
    if (strcmp(checkpoint, "-") == 0)
        tool_usage_error(tool, "--checkpoint needs a file: it is written again and again");
    tool_check_written(tool, "--checkpoint", checkpoint);
}
