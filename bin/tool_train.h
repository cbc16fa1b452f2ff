/* tool_train.h: the options that every tool that trains has, their rows in --help, how they are
 * read and what is refused. A tool's own ids follow TOOL_TRAIN_END.
 */
#ifndef MILLET_BIN_TOOL_TRAIN_H
#define MILLET_BIN_TOOL_TRAIN_H

#include "bin/tool.h"
#include "nn/train.h"

enum tool_train_id {
    TOOL_TRAIN_DEV = 1000,
    TOOL_TRAIN_EPOCHS,
    TOOL_TRAIN_LR,
    TOOL_TRAIN_WARMUP,
    TOOL_TRAIN_LOG,
    TOOL_TRAIN_CURRICULUM,
    TOOL_TRAIN_ACCUMULATE,
    TOOL_TRAIN_CHECKPOINT,
    TOOL_TRAIN_CHECKPOINT_EVERY,
    TOOL_TRAIN_RESUME,
    TOOL_TRAIN_END
};

/* Their rows of a tool's table; `of` stands before each help text ("movement: "), `rate` is the
 * default of --lr. */
#define TOOL_TRAIN_TABLE(of, rate)                                                                 \
    {0, "dev", "STREAM", of "score after each epoch, keep the best", TOOL_TRAIN_DEV},              \
        {0, "epochs", "N", of "passes over the records (3)", TOOL_TRAIN_EPOCHS},                   \
        {0, "lr", "X", of "peak learning rate of weights (" rate ")", TOOL_TRAIN_LR},              \
        {0, "warmup", "X", of "share of steps with rising rates (0.1)", TOOL_TRAIN_WARMUP},        \
        {0, "log", "FILE", of "one JSON object per logging step", TOOL_TRAIN_LOG},                 \
        {0, "curriculum", NULL, of "first pass from easy to hard, as the teacher finds",           \
         TOOL_TRAIN_CURRICULUM},                                                                   \
        {0, "accumulate", "N", of "batches of one step; their gradients add up (1)",               \
         TOOL_TRAIN_ACCUMULATE},                                                                   \
        {0, "checkpoint", "FILE", of "keep the state of the run in FILE", TOOL_TRAIN_CHECKPOINT},  \
        {0, "checkpoint-every", "N", of "steps between two, or 30s: seconds (60s)",                \
         TOOL_TRAIN_CHECKPOINT_EVERY},                                                             \
    {                                                                                              \
        0, "resume", NULL, of "go on from the checkpoint, if it is there", TOOL_TRAIN_RESUME       \
    }

/* What they say beside the options of train.h. */
struct tool_train {
    const char *dev, *log; /* NULL: not given */
    bool every;            /* --checkpoint-every was given */
    size_t least_epochs;   /* set before: 0 or 1 */
};

/* Take the option just returned. false: it is none of these. */
bool tool_train_option(struct tool *tool, int id, struct tool_train *given,
                       struct train_options *train);
/* Once all are read: exits 2 when --log or --checkpoint cannot be written, or --resume or
 * --checkpoint-every stand without --checkpoint. After tool_operands(). */
void tool_train_check(struct tool *tool, const struct tool_train *given,
                      const struct train_options *train);
/* --log, opened; a run with checkpoints goes on in the file there is. *log NULL: not given. */
bool tool_train_log(struct tool *tool, const struct tool_train *given,
                    const struct train_options *train, struct log **log) MUST_CHECK;
/* What is said of a run that --resume was given for: not there, or another device's. */
void tool_train_tell_resumed(const struct tool *tool, const struct train_options *train,
                             const struct train_result *result);

/* Labels that nothing is learnt of, or nothing said. */
void tool_train_tell_absent(const struct tool *tool, const struct train_result *result);

/* --kd: "alpha=0.9,temperature=2" of the option just returned, and what else a tool knows; a key
 * left out stays as it was. */
struct tool_kd_key {
    const char *key;
    double min, max, *value;
    const char **text; /* instead of a value: what follows, up to a comma or the end */
};
void tool_argument_kd(struct tool *tool, struct train_options *train,
                      const struct tool_kd_key *further, size_t n_further);

#endif
