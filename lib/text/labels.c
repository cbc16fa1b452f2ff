/* labels.c: see labels.h. */
#include "text/labels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/hash.h"
#include "core/memory.h"

static size_t find_slot(const struct labels *labels, const char *name, size_t n)
{
    size_t i = (size_t)hash_bytes(name, n) & (labels->n_slots - 1);
    while (labels->slot[i] >= 0) {
        const char *other = labels->name[labels->slot[i]];
        if (strlen(other) == n && memcmp(other, name, n) == 0)
            break;
        i = (i + 1) & (labels->n_slots - 1);
    }
    return i;
}

static bool rebuild(struct labels *labels, size_t n_slots, struct error *err)
{
    int32_t *slot = memory_array(n_slots, sizeof *slot, err);
    if (!slot)
        return false;
    memset(slot, 0xFF, n_slots * sizeof *slot); /* -1 */
    free(labels->slot);
    labels->slot = slot;
    labels->n_slots = n_slots;
    for (size_t i = 0; i < labels->n; i++)
        slot[find_slot(labels, labels->name[i], strlen(labels->name[i]))] = (int32_t)i;
    return true;
}

bool labels_add(struct labels *labels, const char *name, size_t n, struct error *err)
{
    if (labels_find(labels, name, n) >= 0)
        return true;
    if (labels->n == LABELS_MAX)
        return error_set(err, "more than %d different labels; is this the label column?",
                         LABELS_MAX);
    if (2 * (labels->n + 1) > labels->n_slots &&
        !rebuild(labels, labels->n_slots ? 2 * labels->n_slots : 64, err))
        return false;
    if (!memory_grow(&labels->name, &labels->capacity, labels->n + 1, sizeof *labels->name, err))
        return false;
    char *copy = memory_copy(name, n, err);
    if (!copy)
        return false;
    labels->slot[find_slot(labels, name, n)] = (int32_t)labels->n;
    labels->name[labels->n++] = copy;
    return true;
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

bool labels_sort(struct labels *labels, struct error *err)
{
    if (!labels->n)
        return true;
    qsort(labels->name, labels->n, sizeof *labels->name, by_bytes);
    return rebuild(labels, labels->n_slots, err);
}

int32_t labels_find(const struct labels *labels, const char *name, size_t n)
{
    return labels->n ? labels->slot[find_slot(labels, name, n)] : -1;
}

void labels_free(struct labels *labels)
{
    for (size_t i = 0; i < labels->n; i++)
        free(labels->name[i]);
    free(labels->name);
    free(labels->slot);
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
