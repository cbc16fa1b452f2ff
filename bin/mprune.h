/* mprune.h: what mprune's files share: the methods, each with the options it takes, and what
 * the command line says (mprune_options.c reads it, mprune.c does it,
 * mprune_speed.c explains what speed costs, mprune_table.c tells what would go).
 *
 * A new method: a name in enum method, a row in method_table (mprune_options.c), a function in
 * decide_table (mprune.c). A new option: an id, a row in option_table, a member of struct options,
 * a case in parse_option(), and its bit in the rows of the methods that take it; an option in no
 * row goes with every method.
 */
#ifndef MILLET_BIN_MPRUNE_H
#define MILLET_BIN_MPRUNE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bin/tool_train.h"
#include "prune/layers.h"
#include "prune/movement.h"
#include "prune/tune.h"

enum mprune_option {
    OPTION_MODEL = TOOL_TRAIN_END,
    OPTION_METHOD,
    OPTION_KEEP,
    OPTION_SPEEDUP,
    OPTION_REMEASURE,
    OPTION_EXPLAIN,
    OPTION_WHICH,
    OPTION_SAMPLES,
    OPTION_BATCH_TOKENS,
    OPTION_VOCAB_FROM,
    OPTION_VOCAB_SIZE,
    OPTION_NGRAM_KEEP,
    OPTION_REPORT,
    OPTION_DRY_RUN,
    OPTION_NORMALISE,
    OPTION_NO_REARRANGE,
    OPTION_SENSITIVITY,
    OPTION_VARIANT,
    OPTION_BLOCK,
    OPTION_MASK,
    OPTION_LAMBDA,
    OPTION_SCORE_LR,
    OPTION_START,
    OPTION_SETTLE,
    OPTION_FILL_EPOCHS,
    OPTION_KD,
    OPTION_TUNE,
    OPTION_RIDGE,
    OPTION_TUNE_SAMPLES
};

enum method {
    METHOD_LAYERS,
    METHOD_FISHER,
    METHOD_IMPORTANCE,
    METHOD_MAGNITUDE,
    METHOD_SECOND_ORDER,
    METHOD_MOVEMENT,
    METHOD_VOCABULARY,
    N_METHODS
};

enum { MAX_VOCAB_FROM = 64 };

struct method_entry {
    const char *name;
    uint64_t takes;    /* OPTION_BIT()s of the options that are not every method's */
    bool reads_stream; /* layers: only with --which search */
};
extern const struct method_entry method_table[N_METHODS];
#define OPTION_BIT(id) (UINT64_C(1) << ((id)-TOOL_TRAIN_DEV))

struct options {
    const char *model, *report;
    enum method method; /* N_METHODS: not given */
    uint64_t given;     /* OPTION_BIT()s of all that was said */
    double keep;        /* 0: not given */
    double speedup;     /* 0: not given */
    bool remeasure, explain;
    const char *which; /* NULL: not given */
    const char *list;  /* --which is a list */
    bool searches;     /* --which search */
    bool reads_stream; /* operands are STREAMs, standard input without any */
    enum layers_rule rule;
    size_t samples, batch_tokens;
    bool dry_run, no_rearrange, normalise, by_variance;
    struct movement_options movement;
    struct tool_train train; /* of methods that train */
    enum tune_what tune;
    double ridge;
    size_t tune_samples;
    const char *vocab_from[MAX_VOCAB_FROM];
    size_t n_vocab_from, vocab_size; /* vocab_size 0: not given */
    double ngram_keep;               /* 0: not given */
    const char *const *path;
    size_t n_paths;
};

extern const struct tool_option mprune_option_table[];
extern const size_t mprune_n_options;

enum { MPRUNE_MAX_COUNT = 1 << 30 };

/* mprune_train.c: an option of the methods that train; false: it is none. */
bool mprune_train_option(struct tool *tool, struct options *opt, int id);
/* Once all is read, for a method that trains. */
void mprune_train_check(struct tool *tool, struct options *opt);

/* After tool_init(). A mistake finishes the process (2). */
void mprune_parse(struct tool *tool, struct options *opt);

/* What a speed-up asked for was predicted and timed to be; with --explain, the costs. */
struct budget;
void mprune_tell_speed(const struct tool *tool, const struct options *opt,
                       const struct budget *budget);

/* mprune_table.c: on standard output, what would stay of each layer and of the words. */
struct plan;
bool mprune_write_table(struct tool *tool, const struct plan *plan);

#endif
