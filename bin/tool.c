#include "bin/tool.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/memory.h"
#include "core/number.h"
#include "io/model.h"

enum common_id {
    ID_OUTPUT = 1,
    ID_DEVICE,
    ID_THREADS,
    ID_SEED,
    ID_PROGRESS,
    ID_FORCE,
    ID_QUIET,
    ID_VERBOSE,
    ID_HELP,
    ID_VERSION
};

enum { MAX_THREADS = 1024, HELP_COLUMN = 30, MESSAGE_BYTES = ERROR_TEXT_BYTES + 128 };

static const struct {
    struct tool_option option;
    unsigned needs; /* enum tool_common; 0: every tool has it */
} common_option[] = {
    {{'o', "output", "FILE", "write to FILE, which appears complete or not at all", ID_OUTPUT},
     TOOL_OUTPUT},
    {{0, "device", "NAME", "cpu, cuda[:N], reference or auto", ID_DEVICE}, TOOL_DEVICE},
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

/* SIGUSR1 asks for one line of progress; the next report answers. */
static volatile sig_atomic_t progress_wanted;

static void want_progress(int signal_number)
{
    (void)signal_number;
    progress_wanted = 1;
}

/* ---- messages ---- */

static void write_stderr(const char *text, size_t n)
{
    while (n > 0) {
        ssize_t wrote = write(STDERR_FILENO, text, n);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0)
            return; /* nowhere to complain */
        text += wrote;
        n -= (size_t)wrote;
    }
}

/* "mtok: text" as one write, so that the lines of six tools on one terminal do not mix. An open
 * progress line is wiped. */
static void say(const struct tool *tool, const char *text)
{
    char line[MESSAGE_BYTES];
    int n = snprintf(line, sizeof line, "%s%s: %s", tool->shown.on_line ? "\r\033[K" : "",
                     tool->name, text);
    size_t used = n < 0 ? 0 : (size_t)n < sizeof line - 1 ? (size_t)n : sizeof line - 2;
    line[used++] = '\n';
    write_stderr(line, used);
}

void tool_note(const struct tool *tool, const char *format, ...)
{
    struct error text = ERROR_INIT; /* for its printable text */
    char message[ERROR_TEXT_BYTES];
    if (tool->quiet)
        return;
    va_list list;
    va_start(list, format);
    vsnprintf(message, sizeof message, format, list);
    va_end(list);
    error_set(&text, "%s", message);
    say(tool, text.text);
}

void tool_usage_error(struct tool *tool, const char *format, ...)
{
    struct error text = ERROR_INIT;
    char message[ERROR_TEXT_BYTES];
    va_list list;
    va_start(list, format);
    vsnprintf(message, sizeof message, format, list);
    va_end(list);
    error_set(&text, "%s (%s --help lists the options)", message, tool->name);
    say(tool, text.text);
    exit(TOOL_USAGE);
}

/* ---- progress ---- */

static void describe_time(double seconds, char *text, size_t n)
{
    if (seconds < 90)
        snprintf(text, n, "%.0f s", seconds);
    else if (seconds < 5400)
        snprintf(text, n, "%.0f min", seconds / 60);
    else
        snprintf(text, n, "%.1f h", seconds / 3600);
}

/* "train 1200/5000 steps, loss 0.3456, 12.3 steps/s, 5 min left" */
static void describe_event(const struct progress_event *event, double seconds, char *text, size_t n)
{
    double rate = seconds > 0 ? (double)event->done / seconds : 0;
    int used = snprintf(text, n, "%s %llu", event->stage, (unsigned long long)event->done);
    if (event->total > 0)
        used += snprintf(text + used, n - (size_t)used, "/%llu", (unsigned long long)event->total);
    used += snprintf(text + used, n - (size_t)used, " %s", event->unit);
    if (!isnan(event->loss))
        used += snprintf(text + used, n - (size_t)used, ", loss %.4f", event->loss);
    if (rate > 0)
        used += snprintf(text + used, n - (size_t)used, rate < 10 ? ", %.2f %s/s" : ", %.0f %s/s",
                         rate, event->unit);
    if (rate > 0 && event->total > event->done) {
        char left[32];
        describe_time((double)(event->total - event->done) / rate, left, sizeof left);
        snprintf(text + used, n - (size_t)used, ", %s left", left);
    }
}

static void show_progress(void *context, const struct progress_event *event)
{
    struct tool *tool = context;
    double now = progress_clock();
    if (tool->shown.stage != event->stage) {
        tool->shown.stage = event->stage;
        tool->shown.begun = tool->shown.shown = now;
    }
    bool terminal = isatty(STDERR_FILENO), asked = progress_wanted;
    bool due = tool->show_progress && now - tool->shown.shown >= (terminal ? 0.2 : 2.0);
    if (!due && !asked)
        return;
    progress_wanted = 0;
    tool->shown.shown = now;

    char text[400], line[500];
    describe_event(event, now - tool->shown.begun, text, sizeof text);
    if (!terminal || !tool->show_progress) {
        say(tool, text);
        return;
    }
    int n = snprintf(line, sizeof line, "\r\033[K%s: %s", tool->name, text);
    write_stderr(line, (size_t)n);
    tool->shown.on_line = true;
}

static void wipe_progress(struct tool *tool)
{
    if (tool->shown.on_line)
        write_stderr("\r\033[K", 4);
    tool->shown.on_line = false;
}

/* ---- life ---- */

/* A closed standard descriptor would be taken by the first file opened, and our output would land
 * in it. It is occupied in the wrong direction, so that using it stays the error it was. */
static void occupy_standard_descriptors(void)
{
    static const int flags[] = {O_WRONLY, O_RDONLY, O_WRONLY};
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", flags[fd]) != fd)
            _exit(TOOL_FAILED);
}

/* Signals keep their inherited actions but for SIGUSR1, unless the parent ignores it. */
static void catch_progress_signal(void)
{
    struct sigaction action;
    if (sigaction(SIGUSR1, NULL, &action) != 0 || action.sa_handler == SIG_IGN)
        return;
    action = (struct sigaction){.sa_handler = want_progress, .sa_flags = SA_RESTART};
    sigaction(SIGUSR1, &action, NULL);
}

void tool_init(struct tool *tool, int argc, char **argv, unsigned common)
{
    occupy_standard_descriptors();
    tool->started = progress_clock();
    tool->argc = argc;
    tool->argv = argv;
    tool->common = common;
    tool->next = 1;
    tool->err = (struct error)ERROR_INIT;
    size_t n = argc > 0 ? (size_t)argc : 1;
    tool->operand = memory_zeroed(n, sizeof *tool->operand, &tool->err);
    tool->input = memory_zeroed(n, sizeof *tool->input, &tool->err);
    if (!tool->operand || !tool->input)
        exit(tool_finish(tool));

    if (common & TOOL_PROGRESS)
        catch_progress_signal();
    tool->progress = (struct progress){.report = show_progress, .context = tool};
    if (common & TOOL_DEVICE) {
        const char *device = getenv("MILLET_DEVICE");
        tool->device = device && *device ? device : "auto";
    }
    const char *threads = getenv("MILLET_THREADS");
    if ((common & TOOL_THREADS) && threads && *threads) {
        int64_t value = 0;
        if (!number_integer(threads, "MILLET_THREADS", 1, MAX_THREADS, &value, &tool->err))
            tool_usage_error(tool, "%s", tool->err.text);
        tool->threads = (size_t)value;
    }
}

bool tool_open_device(struct tool *tool, struct device **dev, struct threads **team)
{
    *dev = NULL;
    *team = threads_open(tool->threads, &tool->err);
    if (!*team)
        return false;
    *dev = device_open(tool->device, tool->threads, &tool->err);
    if (!*dev) {
        threads_close(*team);
        *team = NULL;
        return false;
    }
    if (tool->verbose) {
        char text[256];
        (*dev)->op->describe(*dev, text, sizeof text);
        tool_note(tool, "device %s: %s", (*dev)->name, text);
    }
    return true;
}

void tool_close_device(struct device *dev, struct threads *team)
{
    if (dev)
        dev->op->close(dev);
    threads_close(team);
}

int tool_finish(struct tool *tool)
{
    wipe_progress(tool);
    if (fclose(stdout) != 0)
        error_set_errno(&tool->err, "<stdout>: cannot write");
    if (tool->err.set && tool->err.number != EPIPE)
        say(tool, tool->err.text);
    else if (tool->verbose && !tool->err.set)
        tool_note(tool, "done in %.1f s, at most %.0f MB of memory",
                  progress_clock() - tool->started, (double)memory_peak() / 1e6);
    free(tool->operand);
    free(tool->input);
    tool->operand = tool->input = NULL;
    return tool->err.set ? TOOL_FAILED : TOOL_OK;
}

/* ---- help and version ---- */

static void help_option(const struct tool_option *option)
{
    char left[80], letter[5] = "    ";
    if (option->short_name)
        snprintf(letter, sizeof letter, "-%c, ", option->short_name);
    int n = snprintf(left, sizeof left, "  %s--%s%s%s", letter, option->long_name,
                     option->argument ? " " : "", option->argument ? option->argument : "");
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
            if (option->argument)
                tool->argument = equals ? equals + 1 : next_argument(tool, option);
            return option;
        }
    }
    return NULL;
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
    case ID_THREADS:
        tool->threads = (size_t)tool_argument_integer(tool, "--threads", 1, MAX_THREADS);
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

/* ---- operands ---- */

static bool is_standard(const char *path)
{
    return !path || strcmp(path, "-") == 0;
}

static bool is_input(const struct stat *written, const char *input)
{
    struct stat found;
    bool there = is_standard(input) ? fstat(STDIN_FILENO, &found) == 0 : stat(input, &found) == 0;
    return there && S_ISREG(found.st_mode) && found.st_dev == written->st_dev &&
           found.st_ino == written->st_ino;
}

/* The first input that is the regular file `written`; NULL: none. */
static const char *find_input(const struct tool *tool, const struct stat *written)
{
    if (is_input(written, "-"))
        return "<stdin>";
    for (size_t i = 0; i < tool->n_operands; i++)
        if (is_input(written, tool->operand[i]))
            return tool->operand[i];
    for (size_t i = 0; i < tool->n_inputs; i++)
        if (is_input(written, tool->input[i]))
            return tool->input[i];
    return NULL;
}

const char *const *tool_operands(struct tool *tool, size_t *n)
{
    struct stat output;
    bool there = is_standard(tool->output) ? fstat(STDOUT_FILENO, &output) == 0
                                           : stat(tool->output, &output) == 0;
    const char *input = there ? find_input(tool, &output) : NULL;
    if (input)
        tool_usage_error(tool, "%s is both input and output; write to another file", input);
    *n = tool->n_operands;
    return tool->operand;
}

void tool_check_written(struct tool *tool, const char *option, const char *path)
{
    struct stat written;
    bool there = stat(path, &written) == 0 && S_ISREG(written.st_mode);
    bool is_output =
        tool->output && !is_standard(tool->output) &&
        (strcmp(path, tool->output) == 0 || (there && is_input(&written, tool->output)));
    if (is_output || (there && find_input(tool, &written)))
        tool_usage_error(tool, "%s %s would overwrite the model, a stream or the output", option,
                         path);
}

static bool is_operand(const struct tool *tool, const char *argument)
{
    for (size_t i = 0; i < tool->n_operands; i++)
        if (tool->operand[i] == argument)
            return true;
    return false;
}

json_t *tool_stage(const struct tool *tool, const char *input_fingerprint)
{
    struct error err = ERROR_INIT;
    char **kept = memory_array((size_t)tool->argc + 1, sizeof *kept, &err);
    if (!kept)
        return NULL;
    int n = 0;
    for (int i = 0; i < tool->argc; i++)
        if (!is_operand(tool, tool->argv[i]))
            kept[n++] = tool->argv[i];
    json_t *stage = model_history_stage(tool->name, tool_version, n, kept, input_fingerprint);
    free(kept);
    return stage;
}

void tool_check_stdin(struct tool *tool, bool default_stdin)
{
    size_t n = default_stdin && tool->n_operands == 0;
    for (size_t i = 0; i < tool->n_operands; i++)
        n += is_standard(tool->operand[i]);
    for (size_t i = 0; i < tool->n_inputs; i++)
        n += is_standard(tool->input[i]);
    if (n > 1)
        tool_usage_error(tool, "standard input is asked for %zu times; name files instead", n);
}
