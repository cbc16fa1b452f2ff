#include "bin/mscore_memory.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/memory.h"
#include "score/subject.h"

static bool classify(const struct subject *subject, const struct records_set *set,
                     struct error *err)
{
    size_t n_labels = subject_n_labels(subject, &set->header);
    for (size_t p = 0; p < set->n_parts; p++) {
        const struct records_part *part = &set->part[p];
        size_t n_values;
        if (!memory_multiply(part->n, n_labels, &n_values))
            return false;
        float *logits = memory_array(n_values, sizeof *logits, err);
        bool ok = logits && subject_logits(subject, part, (struct subject_place){"", set->first[p]},
                                           n_labels, logits, err);
        free(logits);
        if (!ok)
            return false;
    }
    return true;
}

/* The other process: its peak goes to the pipe. Its messages would be those of the real run, which
 * follows. */
static _Noreturn void child(const struct tool *tool, const char *model,
                            const struct records_set *set, int pipe)
{
    struct tool mine = *tool;
    struct subject subject;
    struct device *dev;
    struct threads *team;
    mine.verbose = false;
    mine.quiet = true;
    bool ok = tool_open_device(&mine, &dev, &team) &&
              subject_open(&subject, model, dev, team, &mine.err) &&
              subject_check(&subject, &set->header, "", &mine.err) &&
              classify(&subject, set, &mine.err);
    size_t peak = memory_peak();
    ok = ok && write(pipe, &peak, sizeof peak) == (ssize_t)sizeof peak;
    _exit(ok ? 0 : 1); /* exit() would flush what the parent has buffered */
}

double mscore_memory(const struct tool *tool, const char *model, const struct records_set *set)
{
    int ends[2], status = 0;
    size_t peak = 0;
    pid_t process = pipe(ends) == 0 ? fork() : -1;
    if (process == 0) {
        close(ends[0]);
        child(tool, model, set, ends[1]);
    }
    bool ok = process > 0;
    if (ok) {
        close(ends[1]);
        ok = read(ends[0], &peak, sizeof peak) == (ssize_t)sizeof peak;
        close(ends[0]);
        while (waitpid(process, &status, 0) < 0 && errno == EINTR)
            ;
    }
    if (ok && status == 0)
        return (double)peak;
    tool_note(tool, "%s: its peak memory is unknown: the process that was to measure it %s", model,
              process < 0           ? "could not be started"
              : WIFSIGNALED(status) ? "was killed"
                                    : "failed");
    return NAN;
}
