/* again.h: the program once more, in another environment, for what an environment decides when a
 * process starts and for what may end it. */
#ifndef MILLET_TESTS_AGAIN_H
#define MILLET_TESTS_AGAIN_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Exit status of the program with these arguments (argument[0] to NULL), NAME=VALUE in its
 * environment, and memory of the emulated device that it leaves behind counted; -1 where a signal
 * ended it. The first line that it says goes into text [n]. */
static inline int again_run(const char *setting, const char *const *argument, char *text, size_t n)
{
    int channel[2], status = -1;
    fflush(stdout);
    pid_t child = pipe(channel) == 0 ? fork() : -1;
    if (child == 0) {
        char *copy = strdup(setting), *value = copy ? strchr(copy, '=') : NULL;
        if (!value || dup2(channel[1], STDOUT_FILENO) < 0 || dup2(channel[1], STDERR_FILENO) < 0)
            _exit(3);
        *value = '\0';
        if (setenv(copy, value + 1, 1) != 0 || setenv("EMU_LEAKS", "1", 1) != 0)
            _exit(3);
        execv("/proc/self/exe", (char *const *)(const void *)argument);
        _exit(3);
    }
    close(channel[1]);
    size_t length = 0;
    for (ssize_t got = 1; got > 0 && length + 1 < n; length += (size_t)got)
        if ((got = read(channel[0], text + length, n - 1 - length)) < 0)
            break;
    text[length] = '\0';
    text[strcspn(text, "\n")] = '\0';
    close(channel[0]);
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status))
        return -1;
    return WEXITSTATUS(status);
}

#endif
