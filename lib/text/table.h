/* table.h: rows of text and label from the formats people have: CSV (RFC 4180), TSV, JSON lines,
 * plain lines and fastText. One row at a time, memory flat in the size of the input.
 *
 * Met here: CRLF and LF, a byte order mark, quoted cells with newlines and doubled quotes, columns
 * by name (any case, any order) or by number, header rows that repeat inside the data (rows whose
 * label cell is literally the header's name are reported as TABLE_STRAY_HEADER). Every message has
 * file and line. Invalid UTF-8 becomes U+FFFD, counted in `n_invalid`.
 */
#ifndef MILLET_TEXT_TABLE_H
#define MILLET_TEXT_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "io/source.h"

enum table_format { TABLE_GUESS, TABLE_CSV, TABLE_TSV, TABLE_JSONL, TABLE_PLAIN, TABLE_FASTTEXT };
bool table_format_from_name(const char *name, enum table_format *format);

struct table_options {
    enum table_format format;
    const char *text_column; /* name or 1-based number; NULL: "text" in any case, else the only
                                column, else an error that lists them */
    /* NULL: "label" or "labels" in any case when there, else unlabelled. */
    const char *label_column;
    /* Borrowed; not NULL: a row may have several labels, told apart by it; lists (JSON arrays,
     * several __label__) are joined with it. */
    const char *separator;
    /* The rows of a pipe are wanted as they come: its first line is enough to tell the format. */
    bool live;
};

struct table_row {
    const char *text; /* valid UTF-8, not NUL-terminated; until the next call */
    size_t n_text;
    const char *label; /* NULL: no label column or an empty cell */
    size_t n_label;
    bool no_label; /* the label cell is there, and empty */
    uint64_t line; /* 1-based line the row begins on */
    bool stray_header;
    size_t n_invalid; /* invalid UTF-8 sequences replaced in this row */
};

struct table;

/* Borrows the source. Reads the header where the format has one. */
struct table *table_open(struct source *source, const struct table_options *options,
                         struct error *err) MUST_CHECK;
/* 1: a row, 0: end, -1: failed. An empty input is an error. */
int table_next(struct table *table, struct table_row *row, struct error *err) MUST_CHECK;
/* After -1: whether only that row was bad (too few cells, a line that is no JSON …), so that the
 * caller may go on with the next. */
bool table_recoverable(const struct table *table);
/* Whether rows may have labels; for JSON lines and fastText that shows only row by row. */
bool table_has_labels(const struct table *table);
void table_close(struct table *table);

#endif
