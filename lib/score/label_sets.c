/* label_sets.c: see label_sets.h. */
#include "score/label_sets.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

bool label_sets_open(struct label_sets *sets, size_t n_labels, struct error *err)
{
    *sets = (struct label_sets){.n_labels = n_labels, .n_bytes = n_labels / 8 + 1};
    sets->bits = memory_zeroed(sets->n_bytes, 1, err);
    return sets->bits != NULL;
}

void label_sets_close(struct label_sets *sets)
{
    string_table_free(&sets->table);
    free(sets->bits);
    *sets = (struct label_sets){0};
}

static void put(struct label_sets *sets, size_t label)
{
    sets->bits[label / 8] |= (uint8_t)(1U << label % 8);
}

/* The set in the making gets its number, and the next one begins empty. */
static int32_t finish(struct label_sets *sets, struct error *err)
{
    int32_t set = string_table_add(&sets->table, (const char *)sets->bits, sets->n_bytes, err);
    memset(sets->bits, 0, sets->n_bytes);
    return set;
}

int32_t label_sets_of_ids(struct label_sets *sets, const int32_t *id, size_t n, struct error *err)
{
    for (size_t i = 0; i < n; i++)
        put(sets, (size_t)id[i]);
    return finish(sets, err);
}

int32_t label_sets_of_logits(struct label_sets *sets, const float *logits, struct error *err)
{
    for (size_t c = 0; c < sets->n_labels; c++)
        if (logits[c] > 0)
            put(sets, c);
    return finish(sets, err);
}

bool label_sets_has(const struct label_sets *sets, int32_t set, size_t label)
{
    const uint8_t *bits = (const uint8_t *)string_table_text(&sets->table, set);
    return bits[label / 8] >> label % 8 & 1;
}
