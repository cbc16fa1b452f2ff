/* table_window.c: see table_window.h. */
#include "text/table_window.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

enum { READ_BYTES = 1 << 20 };

static const char *name(const struct table_window *window)
{
    return source_name(window->source);
}

bool table_window_more(struct table_window *w, struct error *err)
{
    size_t kept = (size_t)(w->end - w->at);
    if (w->complete)
        return true;
    if (kept > TABLE_MAX_ROW)
        return error_set(
            err, "%s:%llu: a row of more than %d MiB begins here; is a closing quote missing?",
            name(w), (unsigned long long)w->line, TABLE_MAX_ROW >> 20);
    if (kept && w->at != w->buffer)
        memmove(w->buffer, w->at, kept);
    size_t want = kept > READ_BYTES ? kept : READ_BYTES; /* doubling keeps repeated scans linear */
    if (!memory_grow(&w->buffer, &w->capacity, kept + want, 1, err))
        return false;
    ssize_t got = source_read(w->source, w->buffer + kept, want, err);
    if (got < 0)
        return false;
    w->at = w->buffer;
    w->end = w->buffer + kept + got;
    w->complete = got == 0;
    return true;
}

/* Files that people take for text, by their first bytes. */
static bool refuse_foreign(const struct table_window *w, struct error *err)
{
    static const struct {
        size_t at, n;
        const char *magic, *what;
    } known[] = {
        {0, 2, "\xFF\xFE", "UTF-16; convert it with: iconv -f UTF-16 -t UTF-8"},
        {0, 2, "\xFE\xFF", "UTF-16; convert it with: iconv -f UTF-16 -t UTF-8"},
        {0, 2, "\x1F\x8B", "compressed; pipe it through: gzip -dc"},
        {0, 4, "\x28\xB5\x2F\xFD", "compressed; pipe it through: zstd -dc"},
        {0, 5, "\xFD\x37zXZ", "compressed; pipe it through: xz -dc"},
        {0, 4, "PK\x03\x04", "a zip archive or a spreadsheet; save it as CSV"},
        {257, 5, "ustar", "a tar (a stream or a model?), not text"},
    };
    size_t left = (size_t)(w->end - w->at);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (left >= known[i].at + known[i].n &&
            memcmp(w->at + known[i].at, known[i].magic, known[i].n) == 0)
            return error_set(err, "%s: the input is %s", name(w), known[i].what);
    return true;
}

/* Is there a line that is not blank? */
static bool has_line(const struct table_window *w)
{
    const char *at = w->at;
    while (at < w->end && memchr(" \t\r\n", *at, 4))
        at++;
    return memchr(at, '\n', (size_t)(w->end - at));
}

bool table_window_open(struct table_window *w, struct source *source, bool live, struct error *err)
{
    size_t n = 0;
    *w = (struct table_window){.source = source, .line = 1};
    w->at = source_map(source, &n);
    if (w->at) {
        w->end = w->at + n;
        w->complete = true;
    } else
        do { /* enough to tell the format */
            w->at = w->buffer;
            if (!table_window_more(w, err))
                return false;
        } while (!w->complete && w->end - w->at < 4096 && !(live && has_line(w)));
    if (w->end == w->at)
        return error_set(err, "%s: the input is empty; expected rows of text", name(w));
    size_t left = (size_t)(w->end - w->at);
    if (!refuse_foreign(w, err))
        return false;
    if (left >= 3 && memcmp(w->at, "\xEF\xBB\xBF", 3) == 0)
        w->at += 3;
    return true;
}

void table_window_close(struct table_window *w)
{
    free(w->buffer);
    *w = (struct table_window){0};
}

int table_window_line(struct table_window *w, size_t *n, const char **next, struct error *err)
{
    const char *stop;
    while (!(stop = w->at < w->end ? memchr(w->at, '\n', (size_t)(w->end - w->at)) : NULL) &&
           !w->complete)
        if (!table_window_more(w, err))
            return -1;
    if (w->at == w->end)
        return 0;
    *next = stop ? stop + 1 : w->end;
    *n = (size_t)((stop ? stop : w->end) - w->at);
    if (*n > TABLE_MAX_ROW) {
        error_set(err, "%s:%llu: a line of more than %d MiB", name(w), (unsigned long long)w->line,
                  TABLE_MAX_ROW >> 20);
        return -1;
    }
    if (*n && w->at[*n - 1] == '\r')
        --*n;
    return 1;
}
