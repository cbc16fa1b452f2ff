/* table.c: see table.h. table_window.c holds the bytes, table_cells.c cuts rows, table_columns.c
 * finds the columns; here the five formats become rows. */
#include "text/table.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "text/json_scan.h"
#include "text/table_cells.h"
#include "text/table_columns.h"
#include "text/table_guess.h"
#include "text/table_window.h"
#include "text/utf8.h"

struct buffer {
    char *bytes;
    size_t capacity;
};

struct table {
    struct table_window window;
    enum table_format format;
    struct table_options options; /* columns are copies */
    struct table_columns columns;
    struct table_cells cells;
    struct json_text key, text, label;
    struct buffer text_out, label_out; /* resolved quotes, then repaired UTF-8 */
    struct buffer text_fixed, label_fixed;
    bool has_labels;
    bool recoverable;
};

static const char label_mark[] = "__label__";

bool table_format_from_name(const char *name, enum table_format *format)
{
    static const struct {
        const char *name;
        enum table_format format;
    } known[] = {{"csv", TABLE_CSV},
                 {"tsv", TABLE_TSV},
                 {"jsonl", TABLE_JSONL},
                 {"plain", TABLE_PLAIN},
                 {"fasttext", TABLE_FASTTEXT}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(name, known[i].name) == 0) {
            *format = known[i].format;
            return true;
        }
    return false;
}

static const char *name_of(const struct table *t)
{
    return source_name(t->window.source);
}

/* An error of one row: the reader stands behind it already. */
static int bad_row(struct table *t, const struct table_row *row, struct error *err)
{
    t->recoverable = true;
    error_at(err, "%s:%llu: ", name_of(t), (unsigned long long)row->line);
    return -1;
}

/* Valid UTF-8 for a cell: a view when it is, a repaired copy when not. */
static bool repair(struct buffer *out, const char **bytes, size_t *n, size_t *n_invalid,
                   struct error *err)
{
    if (utf8_valid_prefix(*bytes, *n) == *n)
        return true;
    if (!memory_grow(&out->bytes, &out->capacity, 3 * *n, 1, err))
        return false;
    *n = utf8_repair(*bytes, *n, out->bytes, n_invalid);
    *bytes = out->bytes;
    return true;
}

/* White space around a label is never meant. An empty label is none, which is something else than
 * no cell for one where a row may have any number. */
static void trim_label(struct table_row *row)
{
    while (row->n_label && isspace((unsigned char)row->label[0]))
        row->label++, row->n_label--;
    while (row->n_label && isspace((unsigned char)row->label[row->n_label - 1]))
        row->n_label--;
    row->no_label = !row->n_label;
    if (!row->n_label)
        row->label = NULL;
}

static int finish_row(struct table *t, struct table_row *row, struct error *err)
{
    if (!repair(&t->text_fixed, &row->text, &row->n_text, &row->n_invalid, err))
        return -1;
    if (!row->label)
        return 1;
    trim_label(row);
    if (row->label && !repair(&t->label_fixed, &row->label, &row->n_label, &row->n_invalid, err))
        return -1;
    if (row->label && memchr(row->label, 0, row->n_label)) {
        error_set(err, "the label holds a NUL byte");
        return bad_row(t, row, err);
    }
    return 1;
}

/* ---- CSV and TSV ---- */

/* Cells of the row at the window; 1, 0 at the end, -1 failed. Moves the window behind it. */
static int next_cells(struct table *t, uint64_t *line, struct error *err)
{
    struct table_window *w = &t->window;
    char delimiter = t->format == TABLE_CSV ? ',' : '\t';
    for (;;) {
        if (w->at == w->end && w->complete)
            return 0;
        enum table_scan result = w->at == w->end ? TABLE_SCAN_MORE
                                                 : table_cells_scan(&t->cells, w->at, w->end,
                                                                    w->complete, delimiter, err);
        *line = w->line;
        if (result == TABLE_SCAN_OPEN_QUOTE)
            return error_set(err,
                             "%s:%llu: a quoted cell of the row that begins here never ends; "
                             "close it, or write a quote inside a cell twice",
                             name_of(t), (unsigned long long)*line),
                   -1;
        if (result == TABLE_SCAN_FAILED)
            return error_at(err, "%s:%llu: ", name_of(t), (unsigned long long)*line), -1;
        if (result == TABLE_SCAN_ROW && t->cells.row_bytes <= TABLE_MAX_ROW) {
            w->at += t->cells.row_bytes;
            w->line += t->cells.n_lines;
            return 1;
        }
        if (result == TABLE_SCAN_ROW)
            return error_set(err, "%s:%llu: a row of more than %d MiB; is a closing quote missing?",
                             name_of(t), (unsigned long long)*line, TABLE_MAX_ROW >> 20),
                   -1;
        if (!table_window_more(w, err))
            return -1;
    }
}

static bool cell_value(const struct table_cell *cell, struct buffer *out, const char **bytes,
                       size_t *n, struct error *err)
{
    *bytes = cell->bytes;
    *n = cell->n;
    if (!cell->escaped)
        return true;
    if (!memory_grow(&out->bytes, &out->capacity, cell->n, 1, err))
        return false;
    *n = table_cell_copy(cell, out->bytes);
    *bytes = out->bytes;
    return true;
}

/* A header that stands among the data (files joined by cat). */
static bool is_stray_header(const struct table *t, const struct table_row *row)
{
    const struct table_columns *c = &t->columns;
    if (!c->header)
        return false;
    if (c->label_name)
        return row->label && table_name_equal(row->label, row->n_label, c->label_name);
    return table_name_equal(row->text, row->n_text, c->text_name);
}

static int next_delimited(struct table *t, struct table_row *row, struct error *err)
{
    const struct table_cells *cells = &t->cells;
    const struct table_columns *c = &t->columns;
    int more;
    do /* a blank line is no row */
        more = next_cells(t, &row->line, err);
    while (more > 0 && cells->n == 1 && cells->cell[0].n == 0 && !cells->cell[0].quoted);
    if (more <= 0)
        return more;
    long last = c->text > c->label ? c->text : c->label;
    if ((size_t)last >= cells->n) {
        error_set(err, "the row has %zu %s, but column %ld is the %s", cells->n,
                  cells->n == 1 ? "cell" : "cells", last + 1, last == c->text ? "text" : "label");
        return bad_row(t, row, err);
    }
    if (!cell_value(&cells->cell[c->text], &t->text_out, &row->text, &row->n_text, err))
        return -1;
    if (c->label != TABLE_NO_COLUMN &&
        !cell_value(&cells->cell[c->label], &t->label_out, &row->label, &row->n_label, err))
        return -1;
    row->stray_header = is_stray_header(t, row);
    return finish_row(t, row, err);
}

static bool open_delimited(struct table *t, struct error *err)
{
    struct table_window *w = &t->window;
    uint64_t line;
    char place[512];
    int more = next_cells(t, &line, err);
    if (more <= 0)
        return more == 0 ? error_set(err, "%s: there is no header row", name_of(t)) : false;
    snprintf(place, sizeof place, "%s:%llu", name_of(t), (unsigned long long)line);
    if (!table_columns_find(&t->columns, &t->cells, &t->options, place, err))
        return false;
    t->has_labels = t->columns.label != TABLE_NO_COLUMN;
    if (!t->columns.header) { /* the first row is data: it is read again */
        w->at -= t->cells.row_bytes;
        w->line = line;
    }
    return true;
}

/* ---- JSON lines ---- */

static bool key_is(const struct json_text *key, const char *wanted,
                   bool (*usual)(const char *, size_t))
{
    return wanted ? table_name_equal(key->bytes, key->n, wanted) : usual(key->bytes, key->n);
}

/* One more label of a row that may have several, joined to those before it. */
static bool join_label(struct table *t, struct table_row *row, const char *name, size_t n,
                       struct error *err)
{
    const char *separator = t->options.separator;
    size_t n_before = row->label ? row->n_label : 0, n_separator = strlen(separator);
    if (n && memmem(name, n, separator, n_separator))
        return error_set(err,
                         "label \"%.*s\" holds \"%s\", which separates labels; choose another "
                         "separator with --multi-label=SEP",
                         n < 80 ? (int)n : 80, name, separator);
    if (!memory_grow(&t->label_out.bytes, &t->label_out.capacity, n_before + n_separator + n + 1, 1,
                     err))
        return false;
    char *at = t->label_out.bytes + n_before;
    if (n_before) {
        memcpy(at, separator, n_separator);
        at += n_separator;
    }
    if (n)
        memcpy(at, name, n);
    row->label = t->label_out.bytes;
    row->n_label = (size_t)(at - t->label_out.bytes) + n;
    return true;
}

/* ["a", "b"]: a row with any number of labels. */
static bool json_labels(struct table *t, struct json_scan *scan, struct table_row *row,
                        struct error *err)
{
    bool first = true, ok = json_scan_enter(scan, '[', err) && join_label(t, row, "", 0, err);
    int more = 0;
    while (ok && (more = json_scan_next(scan, &first, NULL, err)) > 0)
        ok = json_scan_string(scan, &t->label, err) &&
             join_label(t, row, t->label.bytes, t->label.n, err);
    return ok && more == 0;
}

/* A label may be a string, a number or a boolean (taken as written); null is none. */
static bool json_label(struct table *t, struct json_scan *scan, struct table_row *row,
                       struct error *err)
{
    char c = json_scan_peek(scan);
    row->label = NULL;
    if (c == '"') {
        if (!json_scan_string(scan, &t->label, err))
            return false;
        row->label = t->label.bytes;
        row->n_label = t->label.n;
        return true;
    }
    if (c == '[' && t->options.separator)
        return json_labels(t, scan, row, err);
    if (c == '{' || c == '[')
        return error_set(err, "the label is an object or an array; expected a string or a number");
    if (!json_scan_skip(scan, &row->label, &row->n_label, err))
        return false;
    if (c == 'n')
        row->label = NULL;
    return true;
}

static bool json_row(struct table *t, const char *line, size_t n, struct table_row *row,
                     struct error *err)
{
    struct json_scan scan = json_scan_of(line, n);
    bool first = true, has_text = false;
    int more;
    if (!json_scan_enter(&scan, '{', err))
        return false;
    while ((more = json_scan_next(&scan, &first, &t->key, err)) > 0) {
        bool ok;
        if (key_is(&t->key, t->options.text_column, table_is_text_name)) {
            ok = json_scan_string(&scan, &t->text, err) || error_at(err, "the text: ");
            row->text = t->text.bytes;
            row->n_text = t->text.n;
            has_text = true;
        } else if (key_is(&t->key, t->options.label_column, table_is_label_name)) {
            ok = json_label(t, &scan, row, err);
        } else
            ok = json_scan_skip(&scan, NULL, NULL, err);
        if (!ok)
            return false;
    }
    if (more < 0 || !json_scan_end(&scan, err))
        return false;
    const char *wanted = t->options.text_column ? t->options.text_column : "text";
    return has_text ||
           error_set(err, "the object has no key \"%s\" (name another with --text KEY)", wanted);
}

static int next_json(struct table *t, struct table_row *row, struct error *err)
{
    struct table_window *w = &t->window;
    const char *next;
    size_t n;
    int more;
    for (;;) {
        if ((more = table_window_line(w, &n, &next, err)) <= 0)
            return more;
        struct json_scan scan = json_scan_of(w->at, n);
        bool blank = json_scan_peek(&scan) == 0 && scan.at == scan.end;
        const char *line = w->at;
        row->line = w->line++;
        w->at = next;
        if (blank)
            continue;
        return json_row(t, line, n, row, err) ? finish_row(t, row, err) : bad_row(t, row, err);
    }
}

/* ---- lines ---- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* "__label__sports text …": the labels stand first. */
static bool fasttext_row(struct table *t, struct table_row *row, struct error *err)
{
    const size_t n_mark = sizeof label_mark - 1;
    const char *at = row->text, *end = at + row->n_text;
    for (;;) {
        while (at < end && is_blank(*at))
            at++;
        if ((size_t)(end - at) < n_mark || memcmp(at, label_mark, n_mark) != 0)
            break;
        const char *begin = at + n_mark;
        for (at = begin; at < end && !is_blank(*at);)
            at++;
        if (t->options.separator) {
            if (!join_label(t, row, begin, (size_t)(at - begin), err))
                return false;
            continue;
        }
        if (row->label)
            return error_set(err, "the line has two labels; with --multi-label a text may have any "
                                  "number");
        row->label = begin;
        row->n_label = (size_t)(at - begin);
    }
    row->text = at;
    row->n_text = (size_t)(end - at);
    return true;
}

static int next_line(struct table *t, struct table_row *row, struct error *err)
{
    struct table_window *w = &t->window;
    const char *next;
    int more = table_window_line(w, &row->n_text, &next, err);
    if (more <= 0)
        return more;
    row->text = w->at;
    row->line = w->line++;
    w->at = next;
    if (t->format == TABLE_FASTTEXT && !fasttext_row(t, row, err))
        return bad_row(t, row, err);
    return finish_row(t, row, err);
}

static bool open_lines(struct table *t, struct error *err)
{
    t->has_labels = t->format == TABLE_FASTTEXT;
    if (t->options.text_column || t->options.label_column)
        return error_set(
            err, "%s: %s has no columns to name with --text or --label; is it another --format?",
            name_of(t), t->format == TABLE_PLAIN ? "plain text" : "fastText's format");
    return true;
}

/* ---- all ---- */

static bool open_format(struct table *t, struct error *err)
{
    if (t->format == TABLE_CSV || t->format == TABLE_TSV)
        return open_delimited(t, err);
    if (t->format != TABLE_JSONL)
        return open_lines(t, err);
    t->has_labels = true; /* any object may have one */
    return true;
}

static bool copy_options(struct table *t, const struct table_options *options, struct error *err)
{
    const char *text = options->text_column, *label = options->label_column;
    t->options.separator = options->separator;
    if (text && !(t->options.text_column = memory_copy(text, strlen(text), err)))
        return false;
    return !label || (t->options.label_column = memory_copy(label, strlen(label), err));
}

struct table *table_open(struct source *source, const struct table_options *options,
                         struct error *err)
{
    struct table *t = memory_zeroed(1, sizeof *t, err);
    if (!t)
        return NULL;
    if (table_window_open(&t->window, source, options->live, err) &&
        copy_options(t, options, err)) {
        t->format =
            options->format == TABLE_GUESS ? table_guess(&t->window, options) : options->format;
        if (open_format(t, err))
            return t;
    }
    table_close(t);
    return NULL;
}

int table_next(struct table *t, struct table_row *row, struct error *err)
{
    *row = (struct table_row){.text = "", .line = t->window.line};
    t->recoverable = false;
    if (t->format == TABLE_CSV || t->format == TABLE_TSV)
        return next_delimited(t, row, err);
    return t->format == TABLE_JSONL ? next_json(t, row, err) : next_line(t, row, err);
}

bool table_recoverable(const struct table *t)
{
    return t->recoverable;
}

bool table_has_labels(const struct table *t)
{
    return t->has_labels;
}

void table_close(struct table *t)
{
    if (!t)
        return;
    struct buffer *const buffer[] = {&t->text_out, &t->label_out, &t->text_fixed, &t->label_fixed};
    for (size_t i = 0; i < sizeof buffer / sizeof *buffer; i++)
        free(buffer[i]->bytes);
    json_text_free(&t->key);
    json_text_free(&t->text);
    json_text_free(&t->label);
    table_columns_free(&t->columns);
    table_cells_free(&t->cells);
    table_window_close(&t->window);
    free((char *)t->options.text_column);
    free((char *)t->options.label_column);
    free(t);
}
