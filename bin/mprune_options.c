/* mprune_options.c: mprune's command line, from the tables of options and methods. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bin/mprune.h"
#include "core/number.h"

enum { SAMPLES = 2048, LAYERS_SAMPLES = 512, TUNE_SAMPLES = 1024, BATCH_TOKENS = 512 };

const struct tool_option mprune_option_table[] = {
    {'m', "model", "MODEL", "the model to prune (required)", OPTION_MODEL},
    {0, "method", "METHOD",
     "layers, fisher, importance, magnitude, second-order, movement (required)", OPTION_METHOD},
    {0, "keep", "SHARE", "how much stays: 75% or 0.75; of what, the method says", OPTION_KEEP},
    {0, "speedup", "FACTOR", "instead of --keep: how many times as fast on this machine, 2.56x",
     OPTION_SPEEDUP},
    {0, "remeasure", NULL, "speedup: time this machine anew, whatever the cache holds",
     OPTION_REMEASURE},
    {0, "explain", NULL, "speedup: print what heads, neurons and layers cost here", OPTION_EXPLAIN},
    {0, "which", "RULE", "layers: drop top, middle, bottom, alternate, search; or a list to keep",
     OPTION_WHICH},
    {0, "normalise", "HOW", "divide scores by their norm in a layer: none (default) or layer",
     OPTION_NORMALISE},
    {0, "no-rearrange", NULL, "fisher: do not exchange units after the search",
     OPTION_NO_REARRANGE},
    {0, "sensitivity", "HOW", "second-order: weigh layers by gradients (default) or variance",
     OPTION_SENSITIVITY},
    {0, "tune", "WHAT", "fisher, importance: refit weights (default), scales or none", OPTION_TUNE},
    {0, "ridge", "R", "how strongly --tune holds on to the weights there were (0.1)", OPTION_RIDGE},
    {0, "tune-samples", "N", "at most N records for --tune (1024)", OPTION_TUNE_SAMPLES},
    {0, "samples", "N", "at most N records of the stream (2048; layers 512)", OPTION_SAMPLES},
    {0, "batch-tokens", "N", "tokens that run at a time (512; movement 1024)", OPTION_BATCH_TOKENS},
    {0, "variant", "VARIANT", "movement: hybrid (default), struct, filled or unstructured",
     OPTION_VARIANT},
    {0, "block", "RxC", "movement: blocks of query, key and value (32x32)", OPTION_BLOCK},
    {0, "mask", "RULE", "movement: topk (default), global or threshold", OPTION_MASK},
    {0, "lambda", "X", "movement: penalty on scores, with --mask threshold", OPTION_LAMBDA},
    {0, "score-lr", "X", "movement: peak learning rate of scores (0.01)", OPTION_SCORE_LR},
    {0, "start", "X", "movement: share of steps before pruning begins (0.1)", OPTION_START},
    {0, "settle", "X", "movement: share of steps after it has ended (0.3)", OPTION_SETTLE},
    {0, "fill-epochs", "N", "movement: epochs of --variant filled without blocks (1)",
     OPTION_FILL_EPOCHS},
    {0, "kd", "KD", "movement: distil the logits: alpha=0.9,temperature=2", OPTION_KD},
    TOOL_TRAIN_TABLE("movement: ", "1e-4"),
    {0, "vocab-from", "STREAM", "trim the vocabulary to what occurs there; repeatable",
     OPTION_VOCAB_FROM},
    {0, "ngram-keep", "SHARE", "of the n-gram part's rows: those that say most", OPTION_NGRAM_KEEP},
    {0, "vocab-size", "N", "of that, at most N pieces, the most frequent", OPTION_VOCAB_SIZE},
    {0, "report", "FILE", "write what was kept, and figures, as JSON", OPTION_REPORT},
    {0, "dry-run", NULL, "print what would stay, write no model", OPTION_DRY_RUN},
};
const size_t mprune_n_options = sizeof mprune_option_table / sizeof *mprune_option_table;

#define BITS_TUNE                                                                                  \
    (OPTION_BIT(OPTION_TUNE) | OPTION_BIT(OPTION_RIDGE) | OPTION_BIT(OPTION_TUNE_SAMPLES))
#define BITS_SPEED                                                                                 \
    (OPTION_BIT(OPTION_SPEEDUP) | OPTION_BIT(OPTION_REMEASURE) | OPTION_BIT(OPTION_EXPLAIN))

const struct method_entry method_table[N_METHODS] = {
    [METHOD_LAYERS] = {"layers",
                       OPTION_BIT(OPTION_WHICH) | OPTION_BIT(OPTION_SAMPLES) |
                           OPTION_BIT(OPTION_BATCH_TOKENS) | BITS_SPEED,
                       false},
    [METHOD_FISHER] = {"fisher",
                       OPTION_BIT(OPTION_SAMPLES) | OPTION_BIT(OPTION_BATCH_TOKENS) |
                           OPTION_BIT(OPTION_NO_REARRANGE) | BITS_TUNE | BITS_SPEED |
                           OPTION_BIT(OPTION_NORMALISE),
                       true},
    [METHOD_IMPORTANCE] = {"importance",
                           OPTION_BIT(OPTION_SAMPLES) | OPTION_BIT(OPTION_BATCH_TOKENS) |
                               OPTION_BIT(OPTION_NORMALISE) | BITS_TUNE | BITS_SPEED,
                           true},
    [METHOD_MAGNITUDE] = {"magnitude", OPTION_BIT(OPTION_NORMALISE) | BITS_SPEED, false},
    [METHOD_SECOND_ORDER] = {"second-order",
                             OPTION_BIT(OPTION_SAMPLES) | OPTION_BIT(OPTION_BATCH_TOKENS) |
                                 OPTION_BIT(OPTION_SENSITIVITY) | BITS_SPEED,
                             true},
    [METHOD_MOVEMENT] = {"movement",
                         OPTION_BIT(OPTION_BATCH_TOKENS) | OPTION_BIT(OPTION_VARIANT) |
                             OPTION_BIT(OPTION_BLOCK) | OPTION_BIT(OPTION_MASK) |
                             OPTION_BIT(OPTION_LAMBDA) | OPTION_BIT(OPTION_SCORE_LR) |
                             OPTION_BIT(OPTION_START) | OPTION_BIT(OPTION_SETTLE) |
                             OPTION_BIT(OPTION_FILL_EPOCHS) | OPTION_BIT(OPTION_KD) |
                             OPTION_BIT(TOOL_TRAIN_DEV) | OPTION_BIT(TOOL_TRAIN_EPOCHS) |
                             OPTION_BIT(TOOL_TRAIN_LR) | OPTION_BIT(TOOL_TRAIN_WARMUP) |
                             OPTION_BIT(TOOL_TRAIN_LOG) | OPTION_BIT(TOOL_TRAIN_CURRICULUM) |
                             OPTION_BIT(TOOL_TRAIN_ACCUMULATE) | OPTION_BIT(TOOL_TRAIN_CHECKPOINT) |
                             OPTION_BIT(TOOL_TRAIN_CHECKPOINT_EVERY) |
                             OPTION_BIT(TOOL_TRAIN_RESUME),
                         true},
    [METHOD_VOCABULARY] = {"vocabulary", 0, false},
};

/* "layers, fisher or importance": the methods that take all of `takes`, into text. */
static const char *method_names(uint64_t takes, char *text, size_t size)
{
    size_t n = 0, at = 0, used = 0;
    for (size_t i = 0; i < N_METHODS; i++)
        n += (method_table[i].takes & takes) == takes;
    text[0] = '\0';
    for (size_t i = 0; i < N_METHODS && used < size; i++) {
        if ((method_table[i].takes & takes) != takes)
            continue;
        at++;
        int written = snprintf(text + used, size - used, "%s%s",
                               at == 1   ? ""
                               : at == n ? " or "
                                         : ", ",
                               method_table[i].name);
        used += written > 0 ? (size_t)written : 0;
    }
    return text;
}

static enum method method_argument(struct tool *tool)
{
    char names[256];
    for (size_t i = 0; i < N_METHODS; i++)
        if (strcmp(tool_argument(tool), method_table[i].name) == 0)
            return (enum method)i;
    tool_usage_error(tool, "--method: \"%s\" is not %s", tool_argument(tool),
                     method_names(0, names, sizeof names));
}

static void add_vocab_from(struct tool *tool, struct options *opt)
{
    if (opt->n_vocab_from == MAX_VOCAB_FROM)
        tool_usage_error(tool, "--vocab-from: more than %d streams; cat them into one",
                         MAX_VOCAB_FROM);
    opt->vocab_from[opt->n_vocab_from++] = tool_argument(tool);
}

/* "2.56x" or "2.56" */
static double speedup_argument(struct tool *tool)
{
    char text[32];
    double factor = 0;
    size_t n = strlen(tool_argument(tool));
    if (n > 0 && n < sizeof text) {
        memcpy(text, tool_argument(tool), n + 1);
        if (text[n - 1] == 'x')
            text[n - 1] = '\0';
        if (number_real(text, "--speedup", 1, 1000, &factor, &tool->err))
            return factor;
    }
    tool_usage_error(tool, "--speedup: \"%s\" is not a factor from 1x to 1000x, such as 2.56x",
                     tool_argument(tool));
}

static bool normalise_argument(struct tool *tool)
{
    if (strcmp(tool_argument(tool), "layer") == 0)
        return true;
    if (strcmp(tool_argument(tool), "none") == 0)
        return false;
    tool_usage_error(tool, "--normalise: \"%s\" is not layer or none", tool_argument(tool));
}

static enum tune_what tune_argument(struct tool *tool)
{
    static const char *const name[] = {
        [TUNE_NONE] = "none", [TUNE_SCALES] = "scales", [TUNE_WEIGHTS] = "weights"};
    for (size_t i = 0; i < sizeof name / sizeof name[0]; i++)
        if (strcmp(tool_argument(tool), name[i]) == 0)
            return (enum tune_what)i;
    tool_usage_error(tool, "--tune: \"%s\" is not weights, scales or none", tool_argument(tool));
}

/* How units are scored and what is left is refitted. false: the option says something else. */
static bool take_scoring(struct tool *tool, struct options *opt, int id)
{
    switch (id) {
    case OPTION_SENSITIVITY:
        opt->by_variance = strcmp(tool_argument(tool), "variance") == 0;
        if (!opt->by_variance && strcmp(tool_argument(tool), "gradients") != 0)
            tool_usage_error(tool, "--sensitivity: \"%s\" is not variance or gradients",
                             tool_argument(tool));
        return true;
    case OPTION_TUNE:
        opt->tune = tune_argument(tool);
        return true;
    case OPTION_RIDGE:
        opt->ridge = tool_argument_real(tool, "--ridge", 0, 1e6);
        return true;
    case OPTION_TUNE_SAMPLES:
        opt->tune_samples =
            (size_t)tool_argument_integer(tool, "--tune-samples", 1, MPRUNE_MAX_COUNT);
        return true;
    case OPTION_NORMALISE:
        opt->normalise = normalise_argument(tool);
        return true;
    case OPTION_NO_REARRANGE:
        opt->no_rearrange = true;
        return true;
    default:
        return false;
    }
}

static void parse_option(struct tool *tool, struct options *opt, int id)
{
    if (take_scoring(tool, opt, id) || mprune_train_option(tool, opt, id))
        return;
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
    case OPTION_SPEEDUP:
        opt->speedup = speedup_argument(tool);
        break;
    case OPTION_REMEASURE:
        opt->remeasure = true;
        break;
    case OPTION_EXPLAIN:
        opt->explain = true;
        break;
    case OPTION_WHICH:
        opt->which = tool_argument(tool);
        break;
    case OPTION_SAMPLES:
        opt->samples = (size_t)tool_argument_integer(tool, "--samples", 1, MPRUNE_MAX_COUNT);
        break;
    case OPTION_BATCH_TOKENS:
        opt->batch_tokens =
            (size_t)tool_argument_integer(tool, "--batch-tokens", 1, MPRUNE_MAX_COUNT);
        break;
    case OPTION_REPORT:
        opt->report = tool_argument(tool);
        break;
    case OPTION_VOCAB_FROM:
        add_vocab_from(tool, opt);
        break;
    case OPTION_NGRAM_KEEP:
        if (!number_fraction(tool_argument(tool), "--ngram-keep", &opt->ngram_keep, &tool->err))
            tool_usage_error(tool, "%s", tool->err.text);
        break;
    case OPTION_VOCAB_SIZE:
        opt->vocab_size = (size_t)tool_argument_integer(tool, "--vocab-size", 1, MPRUNE_MAX_COUNT);
        break;
    case OPTION_DRY_RUN:
        opt->dry_run = true;
        break;
    }
}

static void check_which(struct tool *tool, struct options *opt)
{
    opt->searches = opt->which && strcmp(opt->which, "search") == 0;
    if (opt->which && !opt->searches && !layers_rule_from_name(opt->which, &opt->rule)) {
        /* A word is a mistyped rule; whether a list fits the model is known when it is open. */
        if (opt->which[0] < '0' || opt->which[0] > '9')
            tool_usage_error(tool,
                             "--which: \"%s\" is not top, middle, bottom, alternate, search or a "
                             "list of layers to keep such as 0,2,5",
                             opt->which);
        opt->list = opt->which;
    }
    if (opt->keep > 0 && opt->speedup > 0)
        tool_usage_error(tool, "--keep and --speedup both say how much stays; give one");
    if (opt->list && (opt->keep > 0 || opt->speedup > 0))
        tool_usage_error(tool, "--which %s names the layers to keep; drop --%s", opt->list,
                         opt->keep > 0 ? "keep" : "speedup");
    bool trained = opt->movement.schedule.rule == MOVEMENT_THRESHOLD; /* --lambda says how much */
    if (!opt->list && !trained && !(opt->keep > 0) && !(opt->speedup > 0))
        tool_usage_error(tool, "--keep is missing: how much stays, for example 50%%; or --speedup, "
                               "for example 2x");
    if ((opt->remeasure || opt->explain) && !(opt->speedup > 0))
        tool_usage_error(tool, "--%s needs --speedup", opt->explain ? "explain" : "remeasure");
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

/* What some methods take, and this one does not. */
static void check_taken(struct tool *tool, const struct options *opt)
{
    char names[256];
    uint64_t any = 0, here = method_table[opt->method].takes;
    for (size_t i = 0; i < N_METHODS; i++)
        any |= method_table[i].takes;
    for (size_t i = 0; i < mprune_n_options; i++) {
        uint64_t bit = OPTION_BIT(mprune_option_table[i].id);
        if (opt->given & any & ~here & bit)
            tool_usage_error(tool, "--%s needs --method %s", mprune_option_table[i].long_name,
                             method_names(bit, names, sizeof names));
    }
}

/* Trimming goes with every method, and without one it is all that is done. */
static void check_vocabulary(struct tool *tool, struct options *opt)
{
    if (opt->vocab_size && !opt->n_vocab_from)
        tool_usage_error(tool, "--vocab-size needs --vocab-from STREAM, which says what occurs");
    if (opt->method == N_METHODS && (opt->n_vocab_from || opt->ngram_keep > 0))
        opt->method = METHOD_VOCABULARY;
    if (opt->method != METHOD_VOCABULARY)
        return;
    if (!opt->n_vocab_from && !(opt->ngram_keep > 0))
        tool_usage_error(tool, "--method vocabulary needs --vocab-from STREAM");
    if (opt->keep > 0 && !opt->n_vocab_from)
        tool_usage_error(tool, "--keep needs a --method");
    if (opt->keep > 0)
        tool_usage_error(tool, "--keep needs a --method; --vocab-size N says how many pieces stay");
}

/* Does it read one? */
static void check_stream(struct tool *tool, struct options *opt)
{
    const struct method_entry *method = &method_table[opt->method];
    bool layers = opt->method == METHOD_LAYERS;
    opt->reads_stream = method->reads_stream || opt->searches;
    if (layers && opt->searches && !(opt->given & OPTION_BIT(OPTION_SAMPLES)))
        opt->samples = LAYERS_SAMPLES;
    if (opt->reads_stream)
        return;
    if (opt->n_paths > 0)
        tool_usage_error(tool, "--method %s%s reads no STREAM; drop %s", method->name,
                         layers ? " without --which search" : "", opt->path[0]);
    if (layers && opt->given & (OPTION_BIT(OPTION_SAMPLES) | OPTION_BIT(OPTION_BATCH_TOKENS)))
        tool_usage_error(tool, "--%s needs --which search",
                         opt->given & OPTION_BIT(OPTION_SAMPLES) ? "samples" : "batch-tokens");
    if (tool->given & TOOL_SEED)
        tool_usage_error(tool, "--seed: --method %s draws nothing; drop it", method->name);
    if (!(opt->speedup > 0) && tool->given & TOOL_DEVICE)
        tool_usage_error(tool, "--device: --method %s runs no model; drop it", method->name);
    if (!(opt->speedup > 0) && tool->given & (TOOL_MEMORY | TOOL_PRECISION))
        tool_usage_error(tool, "--%s: --method %s runs no model; drop it",
                         tool->given & TOOL_MEMORY ? "max-memory" : "precision", method->name);
}

/* Gradients of fp16 would have to be scaled. */
static void check_precision(struct tool *tool, struct options *opt)
{
    if (tool->precision == DTYPE_F16)
        tool_usage_error(tool, "--precision fp16: the gradients that pruning reads are too small "
                               "for it; use bf16");
    opt->movement.train.precision = tool->precision;
    opt->movement.train.tf32 = tool->tf32;
    tool->rounds = opt->method == METHOD_MOVEMENT;
}

static void check_options(struct tool *tool, struct options *opt)
{
    char names[256];
    check_precision(tool, opt);
    if (!opt->model)
        tool_usage_error(tool, "-m is missing: the model to prune");
    check_vocabulary(tool, opt);
    if (opt->method == N_METHODS)
        tool_usage_error(tool, "--method is missing: %s", method_names(0, names, sizeof names));
    check_taken(tool, opt);
    if (opt->dry_run && tool->output)
        tool_usage_error(tool, "--dry-run writes no model; drop -o");
    check_report(tool, opt);
    if (opt->method != METHOD_VOCABULARY)
        check_which(tool, opt);
    check_stream(tool, opt);
    if (opt->method == METHOD_MOVEMENT)
        mprune_train_check(tool, opt);
    tool_check_stdin(tool, opt->reads_stream);
}

void mprune_parse(struct tool *tool, struct options *opt)
{
    *opt = (struct options){.method = N_METHODS,
                            .rule = LAYERS_TOP,
                            .tune = TUNE_WEIGHTS,
                            .tune_samples = TUNE_SAMPLES,
                            .samples = SAMPLES,
                            .batch_tokens = BATCH_TOKENS,
                            .train = {.least_epochs = 1}};
    movement_defaults(&opt->movement);
    for (int id; (id = tool_next_option(tool)) >= 0;) {
        opt->given |= OPTION_BIT(id);
        parse_option(tool, opt, id);
    }
    opt->path = tool_operands(tool, &opt->n_paths);
    check_options(tool, opt);
}
