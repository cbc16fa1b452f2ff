/* pack_runs.c: where packed weights are not zero: what products can leave out after pruning by
 * blocks. */
#include <stdlib.h>

#include "core/memory.h"
#include "kernels/cpu/pack.h"
#include "kernels/cpu/packed_product.h"

enum { SHORTEST_GAP = 16 }; /* slices of zeros; fewer cost more to step over than to multiply */

/* Below this share of zeros a product by runs is not faster. Measured
 * (tests/bench/bench_blocks.c). */
static const double worth = 0.1;

static bool is_zero(const char *slice, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (slice[i])
            return false;
    return true;
}

struct runs {
    struct product_run *run;
    size_t n, room;
    size_t left; /* slices in them */
};

/* Runs of the slices of a panel, gaps below SHORTEST_GAP included; in slices. */
static bool add_panel(struct runs *runs, const char *panel, size_t n_slices, size_t bytes,
                      struct error *err)
{
    for (size_t i = 0; i < n_slices;) {
        while (i < n_slices && is_zero(panel + i * bytes, bytes))
            i++;
        if (i == n_slices)
            break;
        size_t begin = i, end = i + 1; /* of what is not zero */
        for (i = end; i < n_slices && i - end < SHORTEST_GAP; i++)
            if (!is_zero(panel + i * bytes, bytes))
                end = i + 1;
        if (!memory_grow(&runs->run, &runs->room, runs->n + 1, sizeof *runs->run, err))
            return false;
        runs->run[runs->n++] = (struct product_run){begin, end};
        runs->left += end - begin;
    }
    return true;
}

bool pack_runs(struct linear *linear, struct error *err)
{
    size_t n_slices = linear->k / linear->group;
    size_t bytes = linear->panel * linear->group * linear_element(linear);
    struct runs runs = {.run = NULL};
    size_t *first = memory_array(linear->n_panels + 1, sizeof *first, err);
    bool ok = first != NULL;
    for (size_t p = 0; ok && p < linear->n_panels; p++) {
        first[p] = runs.n;
        ok = add_panel(&runs, (const char *)linear->panels + p * n_slices * bytes, n_slices, bytes,
                       err);
    }
    size_t all = linear->n_panels * n_slices;
    if (ok && (double)(all - runs.left) >= worth * (double)all && all > 0) {
        first[linear->n_panels] = runs.n;
        for (size_t r = 0; r < runs.n; r++) {
            runs.run[r].begin *= linear->group;
            runs.run[r].end *= linear->group;
        }
        if (!runs.run) /* nothing but zeros: NULL would say that there are none */
            runs.run = memory_zeroed(1, sizeof *runs.run, err);
        linear->run = runs.run;
        linear->run_first = first;
        return linear->run != NULL;
    }
    free(runs.run);
    free(first);
    return ok;
}
