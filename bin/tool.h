/* tool.h: the manners all six tools share: names, options, help, messages, progress, exit status
 * (STYLE sections 4 and 5).
 *
 * A tool's main() is five steps: tool_init, parse, open, work, tool_finish. Exit status: 0 done, 1
 * failed, 2 usage.
 */
#ifndef MILLET_BIN_TOOL_H
#define MILLET_BIN_TOOL_H

#include <jansson.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/progress.h"
#include "core/threads.h"
#include "io/output.h"
#include "kernels/kernels.h"

enum { TOOL_MAX_THREADS = 1024 };
enum tool_status { TOOL_OK = 0, TOOL_FAILED = 1, TOOL_USAGE = 2 };

/* One option; the table is the one source for parsing, --help and the test against the man page. */
struct tool_option {
    int short_name;        /* 'm', or 0 */
    const char *long_name; /* "model" */
    const char *argument;  /* "MODEL"; NULL: a flag; "[=SEP]": may be left out */
    const char *help;      /* one line */
    int id; /* what tool_next_option() returns; unique, from 1000 in the tools' own tables */
};

struct tool {
    const char *name;     /* "mtok" */
    const char *purpose;  /* one line for --help */
    const char *synopsis; /* lines after "usage: " */
    const char *example;  /* lines */
    const struct tool_option *option;
    size_t n_options;
    int argc;
    char **argv;
    /* set by the common options */
    bool quiet, verbose, show_progress, force;
    const char *output;   /* -o; NULL: standard output */
    const char *device;   /* --device, MILLET_DEVICE, "auto" */
    enum dtype precision; /* of activations on a GPU; F32 */
    bool tf32;            /* --precision tf32; precision is F32 then */
    bool rounds; /* set by the tool: it rounds to `precision` itself where activations are floats */
    size_t max_memory; /* --max-memory; 0: all there is */
    size_t threads;    /* -j, MILLET_THREADS, else threads_available() */
    uint64_t seed;     /* --seed; 0 */
    unsigned given;    /* enum tool_common: which stand on the command line */
    struct error err;
    struct progress progress;
    /* private to tool*.c */
    unsigned common;
    const char *argument;
    const char **operand,
        **input; /* owned; input: arguments of options that name a MODEL or STREAM */
    size_t n_operands, n_inputs;
    bool *unsaid;        /* owned, [argc]: words that histories leave out */
    int next;            /* place in argv */
    int option_at;       /* of the option just returned */
    const char *cluster; /* rest of "-vq", NULL between arguments */
    bool only_operands;  /* after -- */
    double started;
    struct {
        const char *stage;
        double begun, shown;
        bool on_line; /* an unfinished line stands on the terminal */
    } shown;
};

/* The common options are handled inside; a tool lists in `common` which of these it has, so that
 * none is accepted and ignored. -q --quiet, -v --verbose, --help and --version are everywhere. */
enum tool_common {
    TOOL_OUTPUT = 1,     /* -o --output */
    TOOL_DEVICE = 2,     /* --device */
    TOOL_THREADS = 4,    /* -j --threads */
    TOOL_SEED = 8,       /* --seed */
    TOOL_PROGRESS = 16,  /* --progress */
    TOOL_FORCE = 32,     /* --force: binary to a terminal */
    TOOL_MEMORY = 64,    /* --max-memory */
    TOOL_PRECISION = 128 /* --precision; a tool with an option of its own sets tool->precision */
};

/* Call with name, purpose, synopsis, example and options set. Standard descriptors that are closed
 * are occupied, so that no file opened later lands on them. */
void tool_init(struct tool *tool, int argc, char **argv, unsigned common);
/* Next option's id, or -1 when only operands are left. --help and --version finish the process (0);
 * a mistake does too (2), with nothing on stdout. Long options may be abbreviated to a unique
 * prefix, `--name=value` and `--name value` both work, `--` ends options. */
int tool_next_option(struct tool *tool);
const char *
tool_argument(const struct tool *tool); /* of the option just returned; NULL: left out */
/* The operands, once tool_next_option() has returned -1. Exits 2 when the output is the same file
 * as an operand, standard input or an option's MODEL or STREAM. */
const char *const *tool_operands(struct tool *tool, size_t *n);
/* Refuse standard input asked for more than once, by operands and by options that take a MODEL or
 * STREAM; default_stdin: it is read, too, when there are no operands. After tool_operands(). */
void tool_check_stdin(struct tool *tool, bool default_stdin);
/* The argument of the option just returned, as a number in [min, max], or kept in *value, which
 * must be NULL before; a mistake finishes the process (2) and names `what`. */
int64_t tool_argument_integer(struct tool *tool, const char *what, int64_t min, int64_t max);
/* fp32, bf16 or fp16; tf32 is fp32, and sets tool->tf32. */
enum dtype tool_argument_precision(struct tool *tool);
double tool_argument_real(struct tool *tool, const char *what, double min, double max);
void tool_argument_once(struct tool *tool, const char *what, const char **value);
/* The option just returned says how a run is kept, not what it makes: histories leave it out. */
void tool_leave_unsaid(struct tool *tool);
/* For a second file that a tool writes (--log, --report, --cache): exits 2 when it is the output,
 * an operand, standard input or an option's MODEL or STREAM. Call after tool_operands(). */
void tool_check_written(struct tool *tool, const char *option, const char *path);
/* Say what is wrong with the usage and exit 2. */
_Noreturn void tool_usage_error(struct tool *tool, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* A message that is not an error ("auto: no GPU here, using cpu"), unless -q; one write. */
void tool_note(const struct tool *tool, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Device and team as the options ask; what "auto" chose is said. false: tool->err set, both NULL. */
bool tool_open_device(struct tool *tool, struct device **dev, struct threads **team);
void tool_close_device(struct device *dev, struct threads *team); /* NULL is fine */
/* This run as a stage of a history (io/model.h): its options without -o and without operands, which
 * the fingerprint of the input stands for; so a file and a pipe give the same bytes. After
 * tool_operands(). NULL: no memory. */
json_t *tool_stage(const struct tool *tool, const char *input_fingerprint);
/* The end of an output: appears when ok; else it is given up, and where it is a stream (`binary`)
 * of which nothing is written yet, the next tool of the pipe gets our message instead of "empty
 * input". output NULL: it could not be opened. true: all is written. */
bool tool_end_output(struct tool *tool, struct output *output, bool ok, bool binary);
/* From now on the first SIGTERM or SIGINT (unless the parent has it ignored) only sets what is
 * returned; a second one ends the process. tool_finish() of a run that failed after it dies of it,
 * as shells expect: status 128 + its number. */
const volatile sig_atomic_t *tool_catch_stop(void);
/* Report tool->err if set, close stdout with its errors looked at, return the exit status. The last
 * call of every main(). A reader that left (EPIPE) is a failure without a message. */
int tool_finish(struct tool *tool);

/* 0.1.0, from the file VERSION. */
extern const char tool_version[];

#endif
