/* records_draw.c: the head of a shuffled list of those that may be drawn. */
#include "io/records_draw.h"

#include <inttypes.h>
#include <stdlib.h>

#include "core/memory.h"
#include "core/rng.h"

uint32_t *records_draw(const struct records_set *set, bool labelled, size_t samples, uint64_t seed,
                       size_t *n, struct error *err)
{
    struct rng rng;
    size_t usable = 0;
    *n = 0;
    if (set->n > UINT32_MAX) {
        error_set(err,
                  "%zu records are more than the %" PRIu32 " that can be drawn from; cut the "
                  "stream",
                  set->n, UINT32_MAX);
        return NULL;
    }
    uint32_t *list = memory_array(set->n, sizeof *list, err);
    for (size_t i = 0; list && i < set->n; i++)
        if (!labelled || records_get(set, i).labelled)
            list[usable++] = (uint32_t)i;
    if (list && usable == 0) {
        error_set(err, "the stream has %s records%s to draw from", set->n ? "only" : "no",
                  set->n ? " without a label" : "");
        free(list);
        return NULL;
    }
    if (!list)
        return NULL;
    rng_seed(&rng, seed);
    rng_shuffle(&rng, list, usable);
    *n = samples < usable ? samples : usable;
    return list;
}

static int ascending(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

void records_draw_sort(uint32_t *index, size_t n)
{
    qsort(index, n, sizeof *index, ascending);
}
