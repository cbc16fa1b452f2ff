/* table_cells.c: see table_cells.h. */
#include "text/table_cells.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

enum { MAX_CELLS = 1 << 16 };

void table_cells_free(struct table_cells *cells)
{
    free(cells->cell);
    *cells = (struct table_cells){0};
}

static bool ends_cell(char c, char delimiter)
{
    return c == delimiter || c == '\n';
}

/* Where an unquoted cell ends. */
static const char *plain_end(const char *at, const char *end, char delimiter)
{
    while (at < end && !ends_cell(*at, delimiter))
        at++;
    return at;
}

/* The closing quote of the cell whose content begins at `at`; NULL: none up to `end`. */
static const char *closing(const char *at, const char *end, bool *escaped)
{
    while (at < end && (at = memchr(at, '"', (size_t)(end - at)))) {
        if (at + 1 == end || at[1] != '"')
            return at;
        *escaped = true;
        at += 2;
    }
    return NULL;
}

/* One cell at *at; *stop gets its delimiter, newline or `end`. */
static enum table_scan scan_cell(struct table_cell *cell, const char *at, const char *end,
                                 bool complete, char delimiter, const char **stop)
{
    *cell = (struct table_cell){.bytes = at};
    if (at < end && *at == '"') {
        bool escaped = false;
        const char *limit = end, *close;
        if (delimiter == '\t') {
            limit = memchr(at, '\n', (size_t)(end - at));
            if (!limit && !complete)
                return TABLE_SCAN_MORE;
            limit = limit ? limit : end;
        }
        close = closing(at + 1, limit, &escaped);
        bool tight = close && (close + 1 == limit || close[1] == delimiter || close[1] == '\r');
        if (!close && delimiter != '\t')
            return complete ? TABLE_SCAN_OPEN_QUOTE : TABLE_SCAN_MORE;
        if (close && (delimiter != '\t' || tight)) {
            *stop = plain_end(close + 1, end, delimiter);
            cell->bytes = at + 1;
            cell->quoted = true;
            cell->n = (size_t)(*stop - cell->bytes);
            const char *last = *stop;
            if (last > close + 1 && last[-1] == '\r' && (last == end || *last == '\n'))
                last--; /* CRLF */
            cell->escaped = escaped || last != close + 1;
            if (!cell->escaped)
                cell->n = (size_t)(close - cell->bytes);
            return TABLE_SCAN_ROW;
        }
    }
    *stop = plain_end(at, end, delimiter);
    cell->n = (size_t)(*stop - at);
    return TABLE_SCAN_ROW;
}

enum table_scan table_cells_scan(struct table_cells *cells, const char *at, const char *end,
                                 bool complete, char delimiter, struct error *err)
{
    const char *begin = at, *stop = at;
    cells->n = 0;
    for (bool more = true; more; at = stop + 1) {
        if (cells->n == MAX_CELLS) {
            error_set(err, "a row has more than %d cells", MAX_CELLS);
            return TABLE_SCAN_FAILED;
        }
        if (!memory_grow(&cells->cell, &cells->capacity, cells->n + 1, sizeof *cells->cell, err))
            return TABLE_SCAN_FAILED;
        struct table_cell *cell = &cells->cell[cells->n];
        enum table_scan result = scan_cell(cell, at, end, complete, delimiter, &stop);
        if (result != TABLE_SCAN_ROW)
            return result;
        if (stop == end && !complete)
            return TABLE_SCAN_MORE;
        more = stop < end && *stop == delimiter;
        if (!more && cell->n && cell->bytes + cell->n == stop && stop[-1] == '\r')
            cell->n--; /* CRLF */
        cells->n++;
    }
    stop += stop < end;
    cells->row_bytes = (size_t)(stop - begin);
    cells->n_lines = 0;
    for (const char *p = begin; p < stop && (p = memchr(p, '\n', (size_t)(stop - p))); p++)
        cells->n_lines++;
    return TABLE_SCAN_ROW;
}

size_t table_cell_copy(const struct table_cell *cell, char *out)
{
    size_t n = 0;
    bool inside = cell->quoted; /* between the quotes */
    for (size_t i = 0; i < cell->n; i++) {
        if (inside && cell->bytes[i] == '"') {
            if (i + 1 < cell->n && cell->bytes[i + 1] == '"')
                i++;
            else {
                inside = false;
                continue;
            }
        }
        out[n++] = cell->bytes[i];
    }
    return n;
}
