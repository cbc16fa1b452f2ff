/* table_guess.c: see table_guess.h. What is not clearly something else is plain lines. */
#include "text/table_guess.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "text/table_cells.h"
#include "text/table_columns.h"

static enum table_format by_extension(const char *name)
{
    static const struct {
        const char *extension;
        enum table_format format;
    } known[] = {{".csv", TABLE_CSV},     {".tsv", TABLE_TSV},      {".tab", TABLE_TSV},
                 {".jsonl", TABLE_JSONL}, {".ndjson", TABLE_JSONL}, {".json", TABLE_JSONL}};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof known / sizeof *known; i++)
        if (strcasecmp(dot, known[i].extension) == 0)
            return known[i].format;
    return TABLE_GUESS;
}

/* A first line that, cut at `delimiter`, holds the text column's name (or, for a column by number,
 * is cut at all). */
static bool has_text_column(const char *line, size_t n, char delimiter, const char *wanted)
{
    struct table_cells cells = {0};
    struct error ignored = ERROR_INIT;
    bool found = false;
    if (table_cells_scan(&cells, line, line + n, true, delimiter, &ignored) == TABLE_SCAN_ROW) {
        if (wanted && wanted[strspn(wanted, "0123456789")] == 0)
            found = cells.n > 1;
        for (size_t i = 0; i < cells.n && !found; i++)
            found =
                table_name_equal(cells.cell[i].bytes, cells.cell[i].n, wanted ? wanted : "text");
    }
    table_cells_free(&cells);
    return found;
}

enum table_format table_guess(const struct table_window *window,
                              const struct table_options *options)
{
    enum table_format format = by_extension(source_name(window->source));
    if (format != TABLE_GUESS)
        return format;
    const char *at = window->at, *stop;
    while (at < window->end && strchr(" \t\r\n", *at) && *at)
        at++;
    size_t left = (size_t)(window->end - at);
    if (left && *at == '{')
        return TABLE_JSONL;
    if (left >= 9 && memcmp(at, "__label__", 9) == 0)
        return TABLE_FASTTEXT;
    stop = left ? memchr(at, '\n', left) : NULL;
    size_t n = stop ? (size_t)(stop - at) : left;
    if (has_text_column(at, n, '\t', options->text_column))
        return TABLE_TSV;
    if (has_text_column(at, n, ',', options->text_column))
        return TABLE_CSV;
    return TABLE_PLAIN;
}
