/* labels.c: see labels.h. */
#include "text/labels.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

bool labels_add(struct labels *labels, const char *name, size_t n, struct error *err)
{
    if (labels->set.n >= LABELS_MAX && string_table_find(&labels->set, name, n) == STRING_NONE)
        return error_set(err, "more than %d different labels; is this the label column?",
                         LABELS_MAX);
    return string_table_add(&labels->set, name, n, err) != STRING_NONE;
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

bool labels_next(const char **at, size_t *n, const char *separator, const char **name,
                 size_t *n_name)
{
    size_t n_separator = separator ? strlen(separator) : 0;
    while (*n) {
        const char *stop = separator ? memmem(*at, *n, separator, n_separator) : NULL;
        const char *begin = *at, *end = stop ? stop : *at + *n;
        *n -= (size_t)(end - *at) + (stop ? n_separator : 0);
        *at = stop ? stop + n_separator : end;
        while (begin < end && isspace((unsigned char)*begin))
            begin++;
        while (begin < end && isspace((unsigned char)end[-1]))
            end--;
        *name = begin;
        *n_name = (size_t)(end - begin);
        if (begin < end)
            return true;
    }
    return false;
}

bool labels_close(struct labels *labels, bool sorted, struct error *err)
{
    labels->n = labels->set.n;
    labels->name = memory_array(labels->n, sizeof *labels->name, err);
    labels->id = memory_array(labels->n, sizeof *labels->id, err);
    if (!labels->name || !labels->id)
        return false;
    for (size_t i = 0; i < labels->n; i++)
        labels->name[i] = labels->set.arena + labels->set.item[i].offset;
    if (sorted && labels->n)
        qsort(labels->name, labels->n, sizeof *labels->name, by_bytes);
    for (size_t i = 0; i < labels->n; i++) {
        const char *name = labels->name[i];
        labels->id[string_table_find(&labels->set, name, strlen(name))] = (int32_t)i;
    }
    return true;
}

int32_t labels_find(const struct labels *labels, const char *name, size_t n)
{
    int32_t number = string_table_find(&labels->set, name, n);
    return number == STRING_NONE ? -1 : labels->id[number];
}

void labels_free(struct labels *labels)
{
    string_table_free(&labels->set);
    free(labels->name);
    free(labels->id);
    *labels = (struct labels){0};
}

void labels_list(const struct labels *labels, char *text, size_t n)
{
    size_t used = 0;
    text[0] = 0;
    for (size_t i = 0; i < labels->n; i++) {
        size_t need = strlen(labels->name[i]) + 2;
        if (used + need + 8 > n) { /* room for ", …" */
            snprintf(text + used, n - used, ", …");
            return;
        }
        used += (size_t)snprintf(text + used, n - used, "%s%s", i ? ", " : "", labels->name[i]);
    }
}

bool labels_equal(char *const *a, size_t n_a, char *const *b, size_t n_b)
{
    bool equal = n_a == n_b;
    for (size_t i = 0; equal && i < n_a; i++)
        equal = strcmp(a[i], b[i]) == 0;
    return equal;
}

bool labels_are_generic(char *const *name, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char generic[32];
        snprintf(generic, sizeof generic, "LABEL_%zu", i);
        if (strcmp(name[i], generic) != 0)
            return false;
    }
    return true;
}
