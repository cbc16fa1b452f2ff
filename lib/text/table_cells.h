/* table_cells.h: one row of CSV (RFC 4180) or TSV cut into cells.
 *
 * CSV: a cell that begins with a quote runs to the next single quote, over commas and newlines;
 * doubled quotes are quotes; what stands between the closing quote and the comma belongs to the
 * cell (as spreadsheets and Python's csv have it). TSV: the same, but a quoted cell must close on
 * its line; a quote that does not is an ordinary character, because much TSV is written without
 * quoting.
 */
#ifndef MILLET_TEXT_TABLE_CELLS_H
#define MILLET_TEXT_TABLE_CELLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

struct table_cell {
    const char *bytes; /* without the opening quote */
    size_t n;
    bool quoted;  /* began with a quote */
    bool escaped; /* holds doubled or closing quotes: table_cell_copy() resolves them */
};

struct table_cells {
    struct table_cell *cell;
    size_t n, capacity;
    size_t row_bytes; /* line end included */
    uint64_t n_lines;
};

enum table_scan { TABLE_SCAN_ROW, TABLE_SCAN_MORE, TABLE_SCAN_OPEN_QUOTE, TABLE_SCAN_FAILED };

/* The row at `at`. MORE: the row goes on beyond `end`. OPEN_QUOTE: the input is complete but a
 * quote is open. */
enum table_scan table_cells_scan(struct table_cells *cells, const char *at, const char *end,
                                 bool complete, char delimiter, struct error *err) MUST_CHECK;
void table_cells_free(struct table_cells *cells);

/* The cell's value with quotes resolved; out has room for n bytes. Returns the bytes. */
size_t table_cell_copy(const struct table_cell *cell, char *out);

#endif
