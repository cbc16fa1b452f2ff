/* tool.c: messages, progress, and the life of a tool. */
#include "bin/tool.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/memory.h"
#include "core/number.h"
#include "io/records.h"
#include "kernels/device.h"

enum { MESSAGE_BYTES = ERROR_TEXT_BYTES + 128 };

/* SIGUSR1 asks for one line of progress; the next report answers. */
static volatile sig_atomic_t progress_wanted;

static void want_progress(int signal_number)
{
    (void)signal_number;
    progress_wanted = 1;
}

/* The signal that asked for an end. */
static volatile sig_atomic_t stop_wanted;

static void want_stop(int signal_number)
{
    stop_wanted = signal_number;
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
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

const volatile sig_atomic_t *tool_catch_stop(void)
{
    static const int stopping[] = {SIGTERM, SIGINT};
    for (size_t i = 0; i < sizeof stopping / sizeof *stopping; i++) {
        struct sigaction action;
        if (sigaction(stopping[i], NULL, &action) != 0 || action.sa_handler == SIG_IGN)
            continue;
        action = (struct sigaction){.sa_handler = want_stop, .sa_flags = SA_RESTART};
        sigaction(stopping[i], &action, NULL);
    }
    return &stop_wanted;
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
    tool->precision = DTYPE_F32;
    size_t n = argc > 0 ? (size_t)argc : 1;
    tool->operand = memory_zeroed(n, sizeof *tool->operand, &tool->err);
    tool->input = memory_zeroed(n, sizeof *tool->input, &tool->err);
    tool->unsaid = memory_zeroed(n, sizeof *tool->unsaid, &tool->err);
    if (!tool->operand || !tool->input || !tool->unsaid)
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
        if (!number_integer(threads, "MILLET_THREADS", 1, TOOL_MAX_THREADS, &value, &tool->err))
            tool_usage_error(tool, "%s", tool->err.text);
        tool->threads = (size_t)value;
    }
}

/* What only a GPU has is a mistake elsewhere; a limit is kept by "auto" where there is none. */
static bool check_device(struct tool *tool, const struct device *dev)
{
    bool cuda = device_is_cuda(dev->name);
    if (tool->max_memory && !cuda && strcmp(tool->device, "auto") != 0)
        return error_set(&tool->err, "--max-memory limits the memory of a GPU; device %s is none",
                         dev->name);
    if (tool->precision != DTYPE_F32 && !cuda && !tool->rounds)
        return error_set(&tool->err,
                         "--precision %s: device %s computes in fp32; it goes with --device cuda",
                         device_precision_name(tool->precision, false), dev->name);
    if (tool->tf32 && !cuda)
        return error_set(&tool->err,
                         "--precision tf32: device %s has no TF32; it goes with --device cuda",
                         dev->name);
    return true;
}

/* "auto" says what it took, if it took a GPU or was asked for by name. */
static struct device *choose_device(struct tool *tool)
{
    const struct device_choice choice = {.name = tool->device,
                                         .n_threads = tool->threads,
                                         .precision = tool->precision,
                                         .max_memory = tool->max_memory,
                                         .tf32 = tool->tf32};
    struct error why = ERROR_INIT;
    struct device *dev = device_choose(&choice, &why, &tool->err);
    if (!dev)
        return NULL;
    if (!check_device(tool, dev)) {
        dev->op->close(dev);
        return NULL;
    }
    char text[256];
    dev->op->describe(dev, text, sizeof text);
    if (strcmp(tool->device, "auto") == 0 && device_is_cuda(dev->name))
        tool_note(tool, "--device auto: %s, %s", dev->name, text);
    else if (tool->given & TOOL_DEVICE && why.set)
        tool_note(tool, "--device auto: %s; %s", dev->name, why.text);
    return dev;
}

bool tool_open_device(struct tool *tool, struct device **dev, struct threads **team)
{
    *dev = NULL;
    *team = threads_open(tool->threads, &tool->err);
    if (!*team)
        return false;
    *dev = choose_device(tool);
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

bool tool_end_output(struct tool *tool, struct output *output, bool ok, bool binary)
{
    if (!output)
        return false;
    if (ok)
        return output_commit(output, &tool->err);
    if (binary && output_bytes(output) == 0)
        records_write_failure(output, tool->name, &tool->err);
    output_abandon(output);
    return false;
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
    free(tool->unsaid);
    tool->unsaid = NULL;
    tool->operand = tool->input = NULL;
    if (tool->err.set && stop_wanted) {
        signal(stop_wanted, SIG_DFL);
        raise(stop_wanted);
    }
    return tool->err.set ? TOOL_FAILED : TOOL_OK;
}
