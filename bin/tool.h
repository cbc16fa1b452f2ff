/* tool.h: the manners all six tools share: names, options, help, messages, progress, exit status (STYLE sections 4 and 5).
 *
 * A tool's main() is five steps: tool_init, parse, open, work, tool_finish. Exit status: 0 done, 1 failed, 2 usage.
 */
#ifndef MILLET_BIN_TOOL_H
#define MILLET_BIN_TOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/progress.h"
#include "core/threads.h"
#include "kernels/kernels.h"

enum tool_status { TOOL_OK = 0, TOOL_FAILED = 1, TOOL_USAGE = 2 };

/* One option; the table is the one source for parsing, --help and the test against the man page. */
struct tool_option {
    int short_name;         /* 'm', or 0 */
    const char *long_name;  /* "model" */
    const char *argument;   /* "MODEL"; NULL: a flag */
    const char *help;       /* one line */
    int id;                 /* what tool_next_option() returns; unique, from 1000 in the tools' own tables */
};

struct tool {
    const char *name;       /* "mtok" */
    const char *purpose;    /* one line for --help */
    const char *synopsis;   /* lines after "usage: " */
    const char *example;    /* lines */
    const struct tool_option *option;
    size_t n_options;
    int argc;
    char **argv;
    /* set by the common options */
    bool quiet, verbose, show_progress, force;
    const char *output;     /* -o; NULL: standard output */
    const char *device;     /* --device, MILLET_DEVICE, "auto" */
    size_t threads;         /* -j, MILLET_THREADS, else threads_available() */
    uint64_t seed;          /* --seed; 0 */
    struct error err;
    struct progress progress;
    /* private to tool.c */
    int next, first_operand;
    const char *argument;
    double progress_shown;
    bool progress_open;
};

/* The common options (-o --output, --device, -j --threads, --seed, -q --quiet, -v --verbose, --progress, --force, --help, --version) are handled
 * inside; a tool lists in `common` which it has, so that none is accepted and ignored. */
enum tool_common {
    TOOL_OUTPUT = 1,
    TOOL_DEVICE = 2,
    TOOL_THREADS = 4,
    TOOL_SEED = 8,
    TOOL_PROGRESS = 16,
    TOOL_FORCE = 32
};

void tool_init(struct tool *tool, int argc, char **argv, unsigned common);
/* Next option's id, or -1 when only operands are left. --help and --version finish the process (0); a mistake does too (2), with nothing on stdout. Long
 * options may be abbreviated to a unique prefix, `--name=value` and `--name value` both work, `--` ends options. */
int tool_next_option(struct tool *tool);
const char *tool_argument(const struct tool *tool);     /* of the option just returned */
const char *const *tool_operands(struct tool *tool, size_t *n);
/* Say what is wrong with the usage and exit 2. */
_Noreturn void tool_usage_error(struct tool *tool, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* A message that is not an error ("auto: no GPU here, using cpu"), unless -q; one write. */
void tool_note(const struct tool *tool, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Device and team as the options ask. false: tool->err set. */
bool tool_open_device(struct tool *tool, struct device **dev, struct threads **team);
/* Report tool->err if set, close stdout with its errors looked at, return the exit status. The last call of every main(). */
int tool_finish(struct tool *tool);

/* 0.1.0, from the file VERSION. */
extern const char tool_version[];

#endif
