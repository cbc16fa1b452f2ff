/* table_columns.h: which column is the text and which the label: by name in any case, by number, or
 * by the usual names. */
#ifndef MILLET_TEXT_TABLE_COLUMNS_H
#define MILLET_TEXT_TABLE_COLUMNS_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"
#include "text/table.h"
#include "text/table_cells.h"

enum { TABLE_NO_COLUMN = -1 };

struct table_columns {
    long text, label;             /* indexes; label may be TABLE_NO_COLUMN */
    bool header;                  /* the first row names the columns */
    char *text_name, *label_name; /* owned; of the header, NULL without one */
};

/* Decide from the first row. `place` is "file:line". */
bool table_columns_find(struct table_columns *columns, const struct table_cells *first,
                        const struct table_options *options, const char *place,
                        struct error *err) MUST_CHECK;
void table_columns_free(struct table_columns *columns);

/* Whether a cell (white space around it aside) is this name, ASCII case ignored. */
bool table_name_equal(const char *cell, size_t n, const char *name);
/* The usual names: "text"; "label" or "labels". */
bool table_is_text_name(const char *name, size_t n);
bool table_is_label_name(const char *name, size_t n);

#endif
