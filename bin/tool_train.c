/* tool_train.c: the options of training. */
#include "bin/tool_train.h"

#include <stdio.h>
#include <string.h>

#include "core/log.h"
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

void tool_argument_kd(struct tool *tool, struct train_options *train,
                      const struct tool_kd_key *further, size_t n_further)
{
    struct tool_kd_key key[KD_KEYS] = {
        {.key = "alpha", .max = 1, .value = &train->alpha},
        {.key = "temperature", .min = 0.01, .max = 100, .value = &train->temperature}};
    train->distil = true;
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

/* "500" is steps, "30s" seconds (steps 0). */
static void parse_every(struct tool *tool, struct train_options *train)
{
    static const char what[] = "--checkpoint-every";
    const char *text = tool_argument(tool);
    char number[40];
    size_t n = strlen(text);
    train->checkpoint_steps = 0;
    if (n == 0 || text[n - 1] != 's') {
        train->checkpoint_steps = (size_t)tool_argument_integer(tool, what, 1, 1 << 30);
        return;
    }
    snprintf(number, sizeof number, "%.*s", (int)(n - 1 < 39 ? n - 1 : 39), text);
    if (!number_real(number, what, 0.001, 1e9, &train->checkpoint_seconds, &tool->err))
        tool_usage_error(tool, "%s", tool->err.text);
}

/* How the run is kept, not what it makes. */
static void take_checkpoint(struct tool *tool, int id, struct tool_train *given,
                            struct train_options *train)
{
    if (id == TOOL_TRAIN_CHECKPOINT)
        train->checkpoint = tool_argument(tool);
    else if (id == TOOL_TRAIN_RESUME)
        train->resume = true;
    else
        parse_every(tool, train);
    given->every |= id == TOOL_TRAIN_CHECKPOINT_EVERY;
    tool_leave_unsaid(tool);
}

bool tool_train_option(struct tool *tool, int id, struct tool_train *given,
                       struct train_options *train)
{
    if (id < TOOL_TRAIN_DEV || id >= TOOL_TRAIN_END)
        return false;
    switch ((enum tool_train_id)id) {
    case TOOL_TRAIN_DEV:
        given->dev = tool_argument(tool);
        break;
    case TOOL_TRAIN_EPOCHS:
        train->epochs =
            (size_t)tool_argument_integer(tool, "--epochs", (int64_t)given->least_epochs, 100000);
        break;
    case TOOL_TRAIN_LR:
        train->lr = tool_argument_real(tool, "--lr", 1e-12, 10);
        break;
    case TOOL_TRAIN_WARMUP:
        train->warmup = tool_argument_real(tool, "--warmup", 0, 1);
        break;
    case TOOL_TRAIN_LOG:
        given->log = tool_argument(tool);
        break;
    case TOOL_TRAIN_ACCUMULATE:
        train->accumulate = (size_t)tool_argument_integer(tool, "--accumulate", 1, 1 << 20);
        break;
    case TOOL_TRAIN_CURRICULUM:
        train->curriculum = true;
        break;
    default:
        take_checkpoint(tool, id, given, train);
    }
    return true;
}

void tool_train_check(struct tool *tool, const struct tool_train *given,
                      const struct train_options *train)
{
    const char *checkpoint = train->checkpoint;
    if (given->log)
        tool_check_written(tool, "--log", given->log);
    if (given->every && !checkpoint)
        tool_usage_error(tool, "--checkpoint-every needs --checkpoint FILE");
    if (train->resume && !checkpoint)
        tool_usage_error(tool, "--resume needs --checkpoint FILE: where to go on from");
    if (!checkpoint)
        return;
    if (strcmp(checkpoint, "-") == 0)
        tool_usage_error(tool, "--checkpoint needs a file: it is written again and again");
    tool_check_written(tool, "--checkpoint", checkpoint);
}

bool tool_train_log(struct tool *tool, const struct tool_train *given,
                    const struct train_options *train, struct log **log)
{
    *log = NULL;
    if (given->log)
        *log = train->checkpoint ? log_continue(given->log, &tool->err)
                                 : log_open(given->log, &tool->err);
    return *log || !given->log;
}

void tool_train_tell_resumed(const struct tool *tool, const struct train_options *train,
                             const struct train_result *result)
{
    if (train->resume && !result->resumed)
        tool_note(tool, "%s was not there; the run began at the beginning", train->checkpoint);
    if (result->other_device[0])
        tool_note(tool,
                  "the checkpoint was made by \"%s\": the weights may differ in their last bits "
                  "from a run that was not interrupted",
                  result->other_device);
}

void tool_train_tell_absent(const struct tool *tool, const struct train_result *result)
{
    if (result->n_absent)
        tool_note(tool, "%zu label%s no record to learn from: \"%s\"%s", result->n_absent,
                  result->n_absent > 1 ? "s have" : " has", result->absent,
                  result->n_absent > 1 ? ", ..." : "");
    if (result->n_absent_dev)
        tool_note(tool, "%zu label%s no dev record, and the score says nothing of %s: \"%s\"%s",
                  result->n_absent_dev, result->n_absent_dev > 1 ? "s have" : " has",
                  result->n_absent_dev > 1 ? "them" : "it", result->absent_dev,
                  result->n_absent_dev > 1 ? ", ..." : "");
}
