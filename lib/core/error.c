#include "core/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Control characters, C1 ones in UTF-8 (C2 80 … C2 9F) included, become '?'. */
static void make_printable(char *text)
{
    for (unsigned char *c = (unsigned char *)text; *c; c++) {
        if (*c < 0x20 || *c == 0x7f)
            *c = '?';
        else if (*c == 0xC2 && c[1] >= 0x80 && c[1] < 0xA0)
            c[0] = c[1] = '?';
    }
}

/* A text that filled its buffer may end inside a UTF-8 sequence: cut that off. */
static void trim_partial(char *text)
{
    size_t n = strlen(text), tail = n;
    if (n + 1 < ERROR_TEXT_BYTES)
        return;
    while (tail > 0 && n - tail < 3 && ((unsigned char)text[tail - 1] & 0xC0) == 0x80)
        tail--;
    if (tail > 0 && (unsigned char)text[tail - 1] >= 0xC0)
        text[tail - 1] = '\0';
}

__attribute__((format(printf, 2, 0))) static void set_text(struct error *err, const char *format,
                                                           va_list list)
{
    vsnprintf(err->text, sizeof err->text, format, list);
    trim_partial(err->text);
    make_printable(err->text);
    err->set = true;
}

bool error_set(struct error *err, const char *format, ...)
{
    if (!err || err->set)
        return false;
    va_list list;
    va_start(list, format);
    set_text(err, format, list);
    va_end(list);
    return false;
}

bool error_set_errno(struct error *err, const char *format, ...)
{
    int number = errno;
    if (!err || err->set)
        return false;
    va_list list;
    va_start(list, format);
    set_text(err, format, list);
    va_end(list);
    err->number = number;

    char reason[128];
    size_t n = strlen(err->text);
    /* The GNU strerror_r: thread-safe, may return a string of its own. */
    snprintf(err->text + n, sizeof err->text - n, ": %s",
             strerror_r(number, reason, sizeof reason));
    return false;
}

bool error_at(struct error *err, const char *format, ...)
{
    if (!err || !err->set)
        return false;
    struct error old = *err;
    va_list list;
    va_start(list, format);
    set_text(err, format, list);
    va_end(list);
    size_t n = strlen(err->text);
    snprintf(err->text + n, sizeof err->text - n, "%s", old.text);
    trim_partial(err->text);
    return false;
}

bool error_pass(struct error *err, const struct error *cause)
{
    if (err && !err->set)
        *err = *cause;
    return false;
}

void error_clear(struct error *err)
{
    err->set = false;
    err->number = 0;
    err->text[0] = '\0';
}
