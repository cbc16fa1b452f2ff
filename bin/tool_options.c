/* tool_options.c: the options of the tools: parsing, help and version. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bin/tool.h"
#include "core/number.h"
#include "kernels/device.h"

/* From 1, in the order of common_option. */
enum common_id {
    ID_OUTPUT = 1,
    ID_DEVICE,
    ID_MEMORY,
    ID_PRECISION,
    ID_THREADS,
    ID_SEED,
    ID_PROGRESS,
    ID_FORCE,
    ID_QUIET,
    ID_VERBOSE,
    ID_HELP,
    ID_VERSION
};

enum { HELP_COLUMN = 30 };

static const struct {
    struct tool_option option;
    unsigned needs; /* enum tool_common; 0: every tool has it */
} common_option[] = {
    {{'o', "output", "FILE", "write to FILE, which appears complete or not at all", ID_OUTPUT},
     TOOL_OUTPUT},
    {{0, "device", "NAME", "cpu, cuda[:N], reference or auto", ID_DEVICE}, TOOL_DEVICE},
    {{0, "max-memory", "SIZE", "use at most SIZE bytes of a GPU's memory: 6G, 500M", ID_MEMORY},
     TOOL_MEMORY},
    {{0, "precision", "FORMAT", "of numbers on a GPU: " DEVICE_PRECISIONS " (fp32)", ID_PRECISION},
     TOOL_PRECISION},
    {{'j', "threads", "N", "use N threads; default: all this process may use", ID_THREADS},
     TOOL_THREADS},
    {{0, "seed", "N", "seed of all random numbers; default 0", ID_SEED}, TOOL_SEED},
    {{0, "progress", NULL, "show progress also when standard error is no terminal", ID_PROGRESS},
     TOOL_PROGRESS},
    {{0, "force", NULL, "write binary data even to a terminal", ID_FORCE}, TOOL_FORCE},
    {{'q', "quiet", NULL, "no progress and no notes; errors stay", ID_QUIET}, 0},
    {{'v', "verbose", NULL, "say more: device, counts, time, memory", ID_VERBOSE}, 0},
    {{0, "help", NULL, "show this text", ID_HELP}, 0},
    {{0, "version", NULL, "show version, build and devices", ID_VERSION}, 0},
};
enum { N_COMMON = sizeof common_option / sizeof *common_option };

/* ---- help and version ---- */

static void help_option(const struct tool_option *option)
{
    char left[80], letter[5] = "    ";
    if (option->short_name)
        snprintf(letter, sizeof letter, "-%c, ", option->short_name);
    int n = snprintf(left, sizeof left, "  %s--%s%s%s", letter, option->long_name,
                     option->argument && option->argument[0] != '[' ? " " : "",
                     option->argument ? option->argument : "");
    if (n >= HELP_COLUMN)
        printf("%s\n%*s%s\n", left, HELP_COLUMN, "", option->help);
    else
        printf("%-*s%s\n", HELP_COLUMN, left, option->help);
}

/* Lines of a text: `first` in front of the first, `rest` in front of the others. */
static void help_lines(const char *first, const char *rest, const char *text)
{
    for (const char *prefix = first; text && *text; prefix = rest) {
        size_t n = strcspn(text, "\n");
        printf("%s%.*s\n", prefix, (int)n, text);
        text += n + (text[n] == '\n');
    }
}

static _Noreturn void show_help(struct tool *tool)
{
    static char whole[1 << 15]; /* one write, at the close, whose failure is told */
    setvbuf(stdout, whole, _IOFBF, sizeof whole);
    help_lines("usage: ", "       ", tool->synopsis);
    printf("\n%s\n\noptions:\n", tool->purpose);
    for (size_t i = 0; i < tool->n_options; i++)
        help_option(&tool->option[i]);
    for (size_t i = 0; i < N_COMMON; i++)
        if (!common_option[i].needs || (common_option[i].needs & tool->common))
            help_option(&common_option[i].option);
    if (tool->example) {
        printf("\nexample:\n");
        help_lines("  ", "  ", tool->example);
    }
    printf("\nExit status: 0 done, 1 failed, 2 usage. The manual: man %s, man millet.\n",
           tool->name);
    tool->verbose = false;
    exit(tool_finish(tool));
}

static _Noreturn void show_version(struct tool *tool)
{
#if defined(__clang__)
    const char *compiler = "clang " __clang_version__;
#else
    const char *compiler = "gcc " __VERSION__;
#endif
#if defined(__x86_64__)
    const char *machine = "x86-64";
#elif defined(__aarch64__)
    const char *machine = "arm64";
#else
    const char *machine = "portable";
#endif
#if defined(__SANITIZE_ADDRESS__)
    const char *sanitizer = ", sanitized";
#else
    const char *sanitizer = "";
#endif
    char devices[400];
    device_list(devices, sizeof devices);
    printf("%s %s (build: %s, %s%s)\ndevices: %s\n", tool->name, tool_version, compiler, machine,
           sanitizer, devices);
    tool->verbose = false;
    exit(tool_finish(tool));
}

/* ---- options ---- */

static const struct tool_option *option_at(const struct tool *tool, size_t i)
{
    if (i < tool->n_options)
        return &tool->option[i];
    i -= tool->n_options;
    if (i >= N_COMMON)
        return NULL;
    unsigned needs = common_option[i].needs;
    static const struct tool_option absent = {0, "", NULL, "", 0};
    return !needs || (needs & tool->common) ? &common_option[i].option : &absent;
}

static const struct tool_option *find_short(struct tool *tool, char letter)
{
    const struct tool_option *option;
    for (size_t i = 0; (option = option_at(tool, i)); i++)
        if (option->id && option->short_name == letter)
            return option;
    tool_usage_error(tool, "unknown option -%c", letter);
}

/* An exact name, or the only one that begins so. */
static const struct tool_option *find_long(struct tool *tool, const char *name, size_t n)
{
    const struct tool_option *option, *found = NULL, *other = NULL;
    for (size_t i = 0; (option = option_at(tool, i)); i++) {
        if (!option->id || strncmp(option->long_name, name, n) != 0)
            continue;
        if (option->long_name[n] == '\0')
            return option;
        other = found;
        found = option;
    }
    if (!found || n == 0)
        tool_usage_error(tool, "unknown option --%.*s", (int)n, name);
    if (other)
        tool_usage_error(tool, "option --%.*s is ambiguous: --%s or --%s", (int)n, name,
                         other->long_name, found->long_name);
    return found;
}

static const char *next_argument(struct tool *tool, const struct tool_option *option)
{
    if (tool->next >= tool->argc)
        tool_usage_error(tool, "option --%s needs an argument: %s", option->long_name,
                         option->argument);
    return tool->argv[tool->next++];
}

/* The next option in argv with its argument; operands met on the way are set aside. NULL: no more.
 */
static const struct tool_option *scan(struct tool *tool)
{
    if (tool->cluster) {
        const struct tool_option *option = find_short(tool, *tool->cluster++);
        if (!option->argument) {
            if (!*tool->cluster)
                tool->cluster = NULL;
            return option;
        }
        tool->argument = *tool->cluster ? tool->cluster : next_argument(tool, option);
        tool->cluster = NULL;
        return option;
    }
    while (tool->next < tool->argc) {
        tool->option_at = tool->next;
        const char *word = tool->argv[tool->next++];
        if (tool->only_operands || word[0] != '-' || word[1] == '\0') {
            tool->operand[tool->n_operands++] = word;
        } else if (word[1] != '-') {
            tool->cluster = word + 1;
            return scan(tool);
        } else if (word[2] == '\0') {
            tool->only_operands = true;
        } else {
            const char *name = word + 2, *equals = strchr(name, '=');
            const struct tool_option *option =
                find_long(tool, name, equals ? (size_t)(equals - name) : strlen(name));
            if (equals && !option->argument)
                tool_usage_error(tool, "option --%s takes no argument", option->long_name);
            if (option->argument && option->argument[0] == '[')
                tool->argument = equals ? equals + 1 : NULL;
            else if (option->argument)
                tool->argument = equals ? equals + 1 : next_argument(tool, option);
            return option;
        }
    }
    return NULL;
}

/* Bytes: "6G", "1.5G", "500M", "1000000"; thousands as makers of memory count them. */
static size_t argument_size(struct tool *tool, const char *what)
{
    static const char letters[] = "KMG";
    char text[32];
    size_t n = strlen(tool->argument);
    const char *letter = n > 1 ? strchr(letters, tool->argument[n - 1]) : NULL;
    double value = 0, unit = letter ? pow(1000, (double)(letter - letters + 1)) : 1;
    struct error err = ERROR_INIT;
    snprintf(text, sizeof text, "%.*s", (int)(letter ? n - 1 : n), tool->argument);
    if (n >= sizeof text || !number_real(text, what, 0, 1e15, &value, &err) ||
        !(value * unit >= 1 && value * unit <= 1e15))
        tool_usage_error(tool, "%s: \"%s\" is not a number of bytes, as in 6G or 500M", what,
                         tool->argument);
    return (size_t)(value * unit);
}

static void take_common(struct tool *tool, int id)
{
    switch ((enum common_id)id) {
    case ID_OUTPUT:
        tool->output = tool->argument;
        break;
    case ID_DEVICE:
        tool->device = tool->argument;
        break;
    case ID_MEMORY:
        tool->max_memory = argument_size(tool, "--max-memory");
        tool_leave_unsaid(tool);
        break;
    case ID_PRECISION:
        tool->precision = tool_argument_precision(tool);
        break;
    case ID_THREADS:
        tool->threads = (size_t)tool_argument_integer(tool, "--threads", 1, TOOL_MAX_THREADS);
        break;
    case ID_SEED:
        tool->seed = (uint64_t)tool_argument_integer(tool, "--seed", 0, INT64_MAX);
        break;
    case ID_PROGRESS:
        tool->show_progress = true;
        break;
    case ID_FORCE:
        tool->force = true;
        break;
    case ID_QUIET:
        tool->quiet = true;
        break;
    case ID_VERBOSE:
        tool->verbose = true;
        break;
    case ID_HELP:
        show_help(tool);
    case ID_VERSION:
        show_version(tool);
    }
}

void tool_leave_unsaid(struct tool *tool)
{
    for (int i = tool->option_at; i < tool->next; i++)
        tool->unsaid[i] = true;
}

int tool_next_option(struct tool *tool)
{
    const struct tool_option *option;
    while ((option = scan(tool))) {
        if (option->id >= 1000) {
            if (option->argument &&
                (strcmp(option->argument, "MODEL") == 0 || strcmp(option->argument, "STREAM") == 0))
                tool->input[tool->n_inputs++] = tool->argument;
            return option->id;
        }
        take_common(tool, option->id);
        tool->given |= common_option[option->id - 1].needs;
    }
    /* By itself only where it can disturb nothing: results on the same terminal would mix with it.
     */
    if (isatty(STDERR_FILENO) && (tool->output || !isatty(STDOUT_FILENO)))
        tool->show_progress = true;
    if (tool->quiet)
        tool->show_progress = false;
    if (tool->threads == 0)
        tool->threads = tool->common & TOOL_THREADS ? threads_available() : 1;
    return -1;
}

enum dtype tool_argument_precision(struct tool *tool)
{
    const struct device_precision *known = device_precision_find(tool->argument);
    if (known) {
        tool->tf32 = known->tf32;
        return known->type;
    }
    tool_usage_error(tool, "--precision: \"%s\" is not " DEVICE_PRECISIONS, tool->argument);
}

const char *tool_argument(const struct tool *tool)
{
    return tool->argument;
}

int64_t tool_argument_integer(struct tool *tool, const char *what, int64_t min, int64_t max)
{
    int64_t value = 0;
    struct error err = ERROR_INIT;
    if (!number_integer(tool->argument, what, min, max, &value, &err))
        tool_usage_error(tool, "%s", err.text);
    return value;
}

double tool_argument_real(struct tool *tool, const char *what, double min, double max)
{
    double value = 0;
    struct error err = ERROR_INIT;
    if (!number_real(tool->argument, what, min, max, &value, &err))
        tool_usage_error(tool, "%s", err.text);
    return value;
}

void tool_argument_once(struct tool *tool, const char *what, const char **value)
{
    if (*value)
        tool_usage_error(tool, "%s given twice; %s takes one", what, tool->name);
    *value = tool->argument;
}
