/* mixed_search.c: see mixed_search.h. */
#include "quant/mixed_search.h"

#include <math.h>
#include <stdlib.h>

#include "core/memory.h"

struct entry {
    size_t index;
    double worth;
};

static int by_worth(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->worth != y->worth)
        return x->worth < y->worth ? 1 : -1;
    return (x->index > y->index) - (x->index < y->index);
}

struct search {
    struct mixed_change *change;
    size_t n;
    struct entry *order;
    double budget, cost; /* cost: of the choice so far */
    mixed_measure *measure;
    void *context;
};

/* Try [begin, end) of the order beside what is chosen; *fits: they stay chosen. */
static bool try(struct search *s, size_t begin, size_t end, bool *fits, struct error *err)
{
    double cost = 0;
    for (size_t i = begin; i < end; i++)
        s->change[s->order[i].index].chosen = true;
    if (!s->measure(s->context, s->change, s->n, &cost, err))
        return false;
    *fits = cost <= s->budget; /* a NaN does not */
    if (*fits)
        s->cost = cost;
    for (size_t i = begin; !*fits && i < end; i++)
        s->change[s->order[i].index].chosen = false;
    return true;
}

/* As many as fit from `at` on; *next: the one that does not, n: there is none. */
static bool take(struct search *s, size_t at, size_t *next, struct error *err)
{
    size_t low = at, high = s->n; /* up to low fits and is chosen; up to high does not */
    bool fits;
    if (!try(s, at, s->n, &fits, err))
        return false;
    if (fits) {
        *next = s->n;
        return true;
    }
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (!try(s, low, middle, &fits, err))
            return false;
        if (fits)
            low = middle;
        else
            high = middle;
    }
    *next = low;
    return true;
}

bool mixed_search(struct mixed_change *change, size_t n, double budget, mixed_measure *measure,
                  void *context, double *cost, struct error *err)
{
    struct search s = {.change = change,
                       .n = n,
                       .order = memory_array(n, sizeof *s.order, err),
                       .budget = budget,
                       .measure = measure,
                       .context = context};
    if (!s.order)
        return false;
    for (size_t i = 0; i < n; i++) {
        double price = fmax(change[i].cost, 1e-12); /* what costs nothing goes by its bytes */
        s.order[i] = (struct entry){i, (double)change[i].saved / price};
        change[i].chosen = false;
    }
    if (n)
        qsort(s.order, n, sizeof *s.order, by_worth);
    bool ok = measure(context, change, n, &s.cost, err);
    size_t at = 0;
    for (size_t skips = 0; ok && at < n && skips <= MIXED_SKIPS && s.cost <= budget; skips++) {
        size_t next = n;
        ok = take(&s, at, &next, err);
        at = next + 1;
    }
    free(s.order);
    *cost = s.cost;
    return ok;
}
