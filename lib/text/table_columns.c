/* table_columns.c: see table_columns.h. */
#include "text/table_columns.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/memory.h"

bool table_name_equal(const char *cell, size_t n, const char *name)
{
    while (n && isspace((unsigned char)cell[0]))
        cell++, n--;
    while (n && isspace((unsigned char)cell[n - 1]))
        n--;
    return strlen(name) == n && strncasecmp(cell, name, n) == 0;
}

bool table_is_text_name(const char *name, size_t n)
{
    return table_name_equal(name, n, "text");
}

bool table_is_label_name(const char *name, size_t n)
{
    return table_name_equal(name, n, "label") || table_name_equal(name, n, "labels");
}

/* A column given by number, 1-based; -1: it is a name. */
static long number_of(const char *column)
{
    size_t digits = strspn(column, "0123456789");
    return digits && digits < 7 && !column[digits] ? strtol(column, NULL, 10) : -1;
}

/* Whether the first row looks like a header when both columns are given by number: it has a cell
 * that data do not have. */
static bool looks_like_header(const struct table_cells *first)
{
    static const char *const usual[] = {"text",     "label", "labels",   "category",  "class",
                                        "sentence", "title", "headline", "headlines", "topic",
                                        "target",   "id",    "index",    "index_id",  "split"};
    for (size_t i = 0; i < first->n; i++)
        for (size_t k = 0; k < sizeof usual / sizeof *usual; k++)
            if (table_name_equal(first->cell[i].bytes, first->cell[i].n, usual[k]))
                return true;
    return false;
}

/* "text, label" for messages. */
static char *list_columns(const struct table_cells *first, struct error *err)
{
    char *list = memory_copy("", 0, err);
    for (size_t i = 0; list && i < first->n && i < 20; i++) {
        char *longer = memory_format(err, "%s%s%.*s", list, i ? ", " : "",
                                     (int)(first->cell[i].n < 40 ? first->cell[i].n : 40),
                                     first->cell[i].bytes);
        free(list);
        list = longer;
    }
    return list;
}

static bool missing(const char *place, const char *what, const char *option, const char *wanted,
                    const struct table_cells *first, struct error *err)
{
    char *list = list_columns(first, err);
    if (list)
        error_set(err,
                  "%s: there is no %s column \"%s\"; the columns are: %s (name one with %s COLUMN)",
                  place, what, wanted, list, option);
    free(list);
    return false;
}

static bool by_number(long number, const char *what, const struct table_cells *first,
                      const char *place, long *column, struct error *err)
{
    if (number < 1 || (size_t)number > first->n)
        return error_set(err, "%s: there is no %s column %ld; the row has %zu cells", place, what,
                         number, first->n);
    *column = number - 1;
    return true;
}

static long by_name(const struct table_cells *first, const char *name)
{
    for (size_t i = 0; i < first->n; i++) /* an exact name before one in another case */
        if (first->cell[i].n == strlen(name) &&
            !memcmp(first->cell[i].bytes, name, first->cell[i].n))
            return (long)i;
    for (size_t i = 0; i < first->n; i++)
        if (table_name_equal(first->cell[i].bytes, first->cell[i].n, name))
            return (long)i;
    return TABLE_NO_COLUMN;
}

static bool find_text(struct table_columns *c, const struct table_cells *first, const char *wanted,
                      const char *place, struct error *err)
{
    if (wanted && number_of(wanted) >= 0)
        return by_number(number_of(wanted), "text", first, place, &c->text, err);
    c->text = by_name(first, wanted ? wanted : "text");
    if (c->text == TABLE_NO_COLUMN && !wanted && first->n == 1)
        c->text = 0;
    return c->text != TABLE_NO_COLUMN ||
           missing(place, "text", "--text", wanted ? wanted : "text", first, err);
}

static bool find_label(struct table_columns *c, const struct table_cells *first, const char *wanted,
                       const char *place, struct error *err)
{
    if (wanted && number_of(wanted) >= 0)
        return by_number(number_of(wanted), "label", first, place, &c->label, err);
    c->label = by_name(first, wanted ? wanted : "label");
    if (c->label == TABLE_NO_COLUMN && !wanted)
        c->label = by_name(first, "labels");
    return c->label != TABLE_NO_COLUMN || !wanted ||
           missing(place, "label", "--label", wanted, first, err);
}

static char *cell_text(const struct table_cell *cell, struct error *err)
{
    const char *begin = cell->bytes;
    size_t n = cell->n;
    while (n && isspace((unsigned char)begin[0]))
        begin++, n--;
    while (n && isspace((unsigned char)begin[n - 1]))
        n--;
    return memory_copy(begin, n, err);
}

bool table_columns_find(struct table_columns *c, const struct table_cells *first,
                        const struct table_options *options, const char *place, struct error *err)
{
    const char *text = options->text_column, *label = options->label_column;
    *c = (struct table_columns){.text = TABLE_NO_COLUMN, .label = TABLE_NO_COLUMN};
    if (!find_text(c, first, text, place, err) || !find_label(c, first, label, place, err))
        return false;
    if (c->text == c->label)
        return error_set(err, "%s: column %ld cannot be both text and label", place, c->text + 1);
    bool numbers = text && number_of(text) >= 0 && (!label || number_of(label) >= 0);
    c->header = !numbers || looks_like_header(first);
    if (!c->header)
        return true;
    c->text_name = cell_text(&first->cell[c->text], err);
    if (c->label != TABLE_NO_COLUMN)
        c->label_name = cell_text(&first->cell[c->label], err);
    return c->text_name && (c->label == TABLE_NO_COLUMN || c->label_name);
}

void table_columns_free(struct table_columns *c)
{
    free(c->text_name);
    free(c->label_name);
    *c = (struct table_columns){0};
}
