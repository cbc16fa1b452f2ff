/* labels.h: a set of label names: collected from data, then in sorted order, or given by a model.
 */
#ifndef MILLET_TEXT_LABELS_H
#define MILLET_TEXT_LABELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "text/string_table.h"

enum { LABELS_MAX = 1 << 16 }; /* more distinct labels mean that the column is not a label */

struct labels { /* all zero is an empty set */
    struct string_table set;
    char **name; /* after labels_close(): by id, NUL-terminated, in the set's arena */
    int32_t *id; /* by number in the set */
    size_t n;
};

/* Adds a name (no NUL inside) unless it is there. */
bool labels_add(struct labels *labels, const char *name, size_t n, struct error *err) MUST_CHECK;
/* The set is complete: ids are given in byte order of the names, or in order of arrival. */
bool labels_close(struct labels *labels, bool sorted, struct error *err) MUST_CHECK;
/* The next name of a cell: NULL separator: the cell is one name. White space around names, and
 * empty names, do not count. *at and *n move behind it. */
bool labels_next(const char **at, size_t *n, const char *separator, const char **name,
                 size_t *n_name);
/* Id in a closed set, or -1. */
int32_t labels_find(const struct labels *labels, const char *name, size_t n);
void labels_free(struct labels *labels);

/* "a, b, c, …" for messages, at most n bytes. */
void labels_list(const struct labels *labels, char *text, size_t n);

/* The same names in the same order? */
bool labels_equal(char *const *a, size_t n_a, char *const *b, size_t n_b);

/* Whether all names are Hugging Face's place holders LABEL_0, LABEL_1 … */
bool labels_are_generic(char *const *name, size_t n);

#endif
