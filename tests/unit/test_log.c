#include "core/log.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/progress.h"
#include "tests/tap.h"

static void remember(void *context, const struct progress_event *event)
{
    *(struct progress_event *)context = *event;
}

int main(void)
{
    struct error err = ERROR_INIT;
    char path[] = "/tmp/test_log.XXXXXX";
    int fd = mkstemp(path);
    struct log *log = log_open(path, &err);
    tap_ok(log != NULL, "opened");
    tap_ok(log_write(log, json_pack("{s:i, s:f}", "step", 1, "loss", 0.5), &err), "written");
    tap_ok(log_write(log, json_pack("{s:i}", "step", 2), &err), "again");
    tap_ok(log_close(log, &err) && !err.set, "closed");
    char text[200] = "";
    ssize_t n = read(fd, text, sizeof text - 1);
    tap_ok(n > 0, "the file has bytes");
    tap_is(text, "{\"step\":1,\"loss\":0.5}\n{\"step\":2}\n", "one object a line");

    log = log_continue(path, &err);
    tap_ok(log && log_bytes(log) == (uint64_t)n, "what was there stays");
    tap_ok(log_rewind(log, 22, &err) && log_bytes(log) == 22 && log_rewind(log, 500, &err) &&
               log_bytes(log) == 22,
           "cut, never made longer");
    tap_ok(log_write(log, json_pack("{s:i}", "step", 3), &err) && log_close(log, &err), "goes on");
    memset(text, 0, sizeof text);
    tap_ok(pread(fd, text, sizeof text - 1, 0) > 0, "read");
    tap_is(text, "{\"step\":1,\"loss\":0.5}\n{\"step\":3}\n", "after the cut");
    close(fd);
    unlink(path);

    tap_ok(log_write(NULL, json_object(), &err) && log_close(NULL, &err), "no log is fine");
    tap_ok(!log_open("/nonexistent/log", &err) && strstr(err.text, "/nonexistent/log"), "%s",
           err.text);
    error_clear(&err);
    log = log_open("/dev/full", &err);
    tap_ok(log && !log_write(log, json_object(), &err) && err.set, "a full disk is an error: %s",
           err.text);
    error_clear(&err);
    tap_ok(log_close(log, &err), "closed");

    struct progress_event seen = {.done = 0};
    struct progress progress = {.report = remember, .context = &seen};
    progress_report(&progress, &(struct progress_event){.stage = "teach", .done = 3, .loss = NAN});
    tap_ok(seen.done == 3, "progress calls back");
    progress_report(NULL, &seen);
    double clock = progress_clock();
    usleep(2000);
    double passed = progress_clock() - clock;
    tap_ok(passed > 0.001 && passed < 10, "the clock runs");
    return tap_done();
}
