/* mprune_train.c: options of the methods that train. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bin/mprune.h"
#include "core/number.h"

/* "32x16" */
static void parse_block(struct tool *tool, struct movement_options *movement)
{
    const char *text = tool_argument(tool), *x = strchr(text, 'x');
    char rows[16];
    int64_t down = 0, across = 0;
    bool ok = x && (size_t)(x - text) < sizeof rows;
    if (ok) {
        snprintf(rows, sizeof rows, "%.*s", (int)(x - text), text);
        ok = number_integer(rows, "--block", 1, MPRUNE_MAX_COUNT, &down, &tool->err) &&
             number_integer(x + 1, "--block", 1, MPRUNE_MAX_COUNT, &across, &tool->err);
    }
    if (!ok)
        tool_usage_error(tool, "--block: \"%s\" is not ROWSxCOLUMNS, as in 32x32", text);
    movement->block_rows = (size_t)down;
    movement->block_cols = (size_t)across;
}

bool mprune_train_option(struct tool *tool, struct options *opt, int id)
{
    struct movement_options *movement = &opt->movement;
    switch (id) {
    case OPTION_VARIANT:
        if (!movement_variant_from_name(tool_argument(tool), &movement->variant))
            tool_usage_error(tool,
                             "--variant: \"%s\" is not hybrid, struct, filled or unstructured",
                             tool_argument(tool));
        break;
    case OPTION_BLOCK:
        parse_block(tool, movement);
        break;
    case OPTION_MASK:
        if (!movement_rule_from_name(tool_argument(tool), &movement->schedule.rule))
            tool_usage_error(tool, "--mask: \"%s\" is not topk, global or threshold",
                             tool_argument(tool));
        break;
    case OPTION_LAMBDA:
        movement->schedule.lambda = tool_argument_real(tool, "--lambda", 0, 1e6);
        break;
    case OPTION_SCORE_LR:
        movement->schedule.score_lr = tool_argument_real(tool, "--score-lr", 1e-12, 10);
        break;
    case OPTION_START:
        movement->schedule.start = tool_argument_real(tool, "--start", 0, 1);
        break;
    case OPTION_SETTLE:
        movement->schedule.settle = tool_argument_real(tool, "--settle", 0, 1);
        break;
    case OPTION_FILL_EPOCHS:
        movement->fill_epochs = (size_t)tool_argument_integer(tool, "--fill-epochs", 1, 100000);
        break;
    case OPTION_KD:
        tool_argument_kd(tool, &movement->train, NULL, 0);
        break;
    default:
        return tool_train_option(tool, id, &opt->train, &movement->train);
    }
    return true;
}

/* What only some variant or rule has. */
static void check_variant(struct tool *tool, const struct options *opt)
{
    const struct movement_options *movement = &opt->movement;
    bool blocks = movement->variant == MOVEMENT_HYBRID || movement->variant == MOVEMENT_FILLED;
    if (!blocks && opt->given & OPTION_BIT(OPTION_BLOCK))
        tool_usage_error(tool, "--block: variant %s has no blocks; drop one of them",
                         movement_variant_name(movement->variant));
    if (movement->variant != MOVEMENT_FILLED && opt->given & OPTION_BIT(OPTION_FILL_EPOCHS))
        tool_usage_error(tool, "--fill-epochs needs --variant filled");
}

void mprune_train_check(struct tool *tool, struct options *opt)
{
    struct movement_options *movement = &opt->movement;
    bool threshold = movement->schedule.rule == MOVEMENT_THRESHOLD;
    check_variant(tool, opt);
    if (threshold && opt->keep > 0)
        tool_usage_error(tool, "--mask threshold: --lambda says how much goes; drop --keep");
    if (threshold != ((opt->given & OPTION_BIT(OPTION_LAMBDA)) != 0))
        tool_usage_error(tool, threshold ? "--mask threshold needs --lambda, for example 10"
                                         : "--lambda needs --mask threshold");
    if (movement->schedule.start + movement->schedule.settle > 1)
        tool_usage_error(tool, "--start and --settle are together more than all steps");
    if (opt->dry_run)
        tool_usage_error(tool, "--dry-run: --method movement decides by training; drop --dry-run");
    tool_train_check(tool, &opt->train, &movement->train);
    movement->schedule.keep = opt->keep;
    movement->train.seed = tool->seed;
    if (opt->given & OPTION_BIT(OPTION_BATCH_TOKENS))
        movement->train.batch_tokens = opt->batch_tokens;
}
