/* search.c: rank, force one of each kind per layer, then try every number of heads. */
#include "prune/search.h"

#include <math.h>
#include <stdlib.h>

#include "core/memory.h"

/* Sums of tens of thousands of costs differ in their last bits by order; --keep 100% must still
 * keep all. */
static const double slack = 1e-9;

struct unit *search_units(const struct shape *shape, size_t n_tokens, size_t *n_units,
                          struct error *err)
{
    size_t n = 0;
    for (size_t l = 0; l < shape->n_layers; l++)
        n += shape->layer[l].heads + shape->layer[l].ffn;
    struct unit *unit = memory_zeroed(n, sizeof *unit, err), *next = unit;
    if (!unit)
        return NULL;
    double tokens = (double)n_tokens, hidden = (double)shape->hidden,
           size = (double)shape->head_size;
    for (size_t l = 0; l < shape->n_layers; l++) {
        double rows =
            shape_first_only(shape, l) ? 1 : tokens; /* of query, output and feed-forward */
        double projections = (2 * rows + 2 * tokens) * hidden * size;
        double products = 2 * rows * tokens * size; /* scores and weighted sum */
        for (size_t h = 0; h < shape->layer[l].heads; h++)
            *next++ = (struct unit){
                .kind = UNIT_HEAD, .layer = l, .index = h, .cost = projections + products};
        for (size_t f = 0; f < shape->layer[l].ffn; f++)
            *next++ = (struct unit){
                .kind = UNIT_NEURON, .layer = l, .index = f, .cost = 2 * rows * hidden};
    }
    *n_units = n;
    return unit;
}

double search_cost(const struct unit *unit, size_t n_units)
{
    double sum = 0;
    for (size_t i = 0; i < n_units; i++)
        sum += unit[i].cost;
    return sum;
}

double search_cost_kept(const struct unit *unit, size_t n_units)
{
    double sum = 0;
    for (size_t i = 0; i < n_units; i++)
        sum += unit[i].keep ? unit[i].cost : 0;
    return sum;
}

/* Best score per multiply-add first; addresses grow in layer order, which settles ties. */
static int compare_rank(const void *a, const void *b)
{
    const struct unit *x = *(struct unit *const *)a, *y = *(struct unit *const *)b;
    double rank_x = x->score / x->cost, rank_y = y->score / y->cost;
    if (rank_x != rank_y)
        return rank_x > rank_y ? -1 : 1;
    return x < y ? -1 : 1;
}

/* The units of one kind that are not forced, in rank order. */
struct ranking {
    struct unit **unit;
    size_t n;
};

/* Keep the best unit of each layer of this kind, leave the others in the ranking; adds up the cost
 * of the forced. */
static void force_best(struct ranking *ranking, bool *has, size_t n_layers, double *forced)
{
    size_t left = 0;
    for (size_t l = 0; l < n_layers; l++)
        has[l] = false;
    for (size_t i = 0; i < ranking->n; i++) {
        struct unit *unit = ranking->unit[i];
        if (has[unit->layer]) {
            ranking->unit[left++] = unit;
            continue;
        }
        has[unit->layer] = true;
        unit->keep = true;
        *forced += unit->cost;
    }
    ranking->n = left;
}

/* Take neurons by rank as long as they fit into `room`; returns their score. mark: set keep as
 * well. */
static double take_neurons(const struct ranking *neurons, double room, bool mark)
{
    double score = 0;
    for (size_t i = 0; i < neurons->n; i++) {
        struct unit *unit = neurons->unit[i];
        if (unit->cost > room)
            continue;
        room -= unit->cost;
        score += unit->score;
        if (mark)
            unit->keep = true;
    }
    return score;
}

static void try_all_counts(const struct ranking *heads, const struct ranking *neurons, double room)
{
    double best = -1, head_score = 0, left = room, best_left = room;
    size_t best_count = 0;
    for (size_t count = 0;; count++) {
        double score = head_score + take_neurons(neurons, left, false);
        if (score > best) {
            best = score;
            best_count = count;
            best_left = left;
        }
        if (count == heads->n || heads->unit[count]->cost > left)
            break;
        head_score += heads->unit[count]->score;
        left -= heads->unit[count]->cost;
    }
    for (size_t i = 0; i < best_count; i++)
        heads->unit[i]->keep = true;
    take_neurons(neurons, best_left, true);
}

static bool rank(struct unit *unit, size_t n_units, enum unit_kind kind, struct ranking *ranking,
                 struct error *err)
{
    ranking->n = 0;
    ranking->unit = memory_array(n_units, sizeof(struct unit *), err);
    if (!ranking->unit)
        return false;
    for (size_t i = 0; i < n_units; i++)
        if (unit[i].kind == kind)
            ranking->unit[ranking->n++] = &unit[i];
    qsort(ranking->unit, ranking->n, sizeof(struct unit *), compare_rank);
    return true;
}

static bool check_units(const struct unit *unit, size_t n_units, size_t *n_layers,
                        struct error *err)
{
    *n_layers = 0;
    for (size_t i = 0; i < n_units; i++) {
        if (!(unit[i].score >= 0) || !isfinite(unit[i].score))
            return error_set(err,
                             "layer %zu: the importance of %s %zu is %g, not a finite number; the "
                             "model's outputs on these records are not finite",
                             unit[i].layer, unit[i].kind == UNIT_HEAD ? "head" : "neuron",
                             unit[i].index, unit[i].score);
        if (unit[i].layer >= *n_layers)
            *n_layers = unit[i].layer + 1;
    }
    return true;
}

bool search_keep(struct unit *unit, size_t n_units, double budget, struct error *err)
{
    size_t n_layers = 0;
    double forced = 0;
    struct ranking heads = {NULL, 0}, neurons = {NULL, 0};
    if (!check_units(unit, n_units, &n_layers, err))
        return false;
    bool *has = memory_array(n_layers, sizeof *has, err);
    bool ok = has && rank(unit, n_units, UNIT_HEAD, &heads, err) &&
              rank(unit, n_units, UNIT_NEURON, &neurons, err);
    if (ok) {
        for (size_t i = 0; i < n_units; i++)
            unit[i].keep = false;
        force_best(&heads, has, n_layers, &forced);
        force_best(&neurons, has, n_layers, &forced);
        double all = search_cost(unit, n_units), room = budget + slack * all - forced;
        if (room < 0)
            ok =
                error_set(err,
                          "the budget of %.4g multiply-adds (%.2f%%) is less than one head and one "
                          "neuron in each of %zu layers cost; keep at least %.2f%%, or drop layers "
                          "first (--method layers)",
                          budget, 100 * budget / all, n_layers, 100 * forced / all + 0.005);
        else
            try_all_counts(&heads, &neurons, room);
    }
    free(heads.unit);
    free(neurons.unit);
    free(has);
    return ok;
}
