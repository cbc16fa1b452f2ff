#include "nn/lbfgs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

enum { BLOCK = 1 << 15, DEFAULT_MEMORY = 10, MAX_TRIALS = 30 };

/* Armijo's and Wolfe's constants of the line search. */
static const double descent = 1e-4, curvature = 0.9;

/* Vectors of n floats, worked on by the team. */
struct vectors {
    size_t n, n_blocks;
    struct threads *team;
    double *partial; /* [n_blocks] */
};

struct vector_work {
    const struct vectors *vectors;
    const float *a, *b;
    float *to; /* to = factor * a + b (either may be NULL); NULL: the product of a and b */
    double factor;
};

/* What the compiler makes instructions of. */
typedef float group __attribute__((vector_size(16), aligned(4), may_alias));
typedef double wide __attribute__((vector_size(32)));

static double dot_block(const float *a, const float *b, size_t n)
{
    enum { LANES = 4 };
    wide sum = {0}, more = {0};
    size_t i = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        sum += __builtin_convertvector(*(const group *)(a + i), wide) *
               __builtin_convertvector(*(const group *)(b + i), wide);
        more += __builtin_convertvector(*(const group *)(a + i + LANES), wide) *
                __builtin_convertvector(*(const group *)(b + i + LANES), wide);
    }
    double rest = 0;
    for (; i < n; i++)
        rest += (double)a[i] * (double)b[i];
    sum += more;
    return sum[0] + sum[1] + sum[2] + sum[3] + rest;
}

/* to = factor * a + b; to may be a or b. */
static void combine_block(float factor, const float *a, const float *b, size_t n, float *to)
{
    enum { LANES = 4 };
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        *(group *)(to + i) = factor * *(const group *)(a + i) + *(const group *)(b + i);
    for (; i < n; i++)
        to[i] = factor * a[i] + b[i];
}

static void vector_job(void *context, size_t member, size_t n_members)
{
    const struct vector_work *work = context;
    const struct vectors *v = work->vectors;
    size_t begin, end;
    threads_share(v->n_blocks, member, n_members, &begin, &end);
    for (size_t block = begin; block < end; block++) {
        size_t first = block * BLOCK, n = v->n - first < BLOCK ? v->n - first : BLOCK;
        if (!work->to) {
            v->partial[block] = dot_block(work->a + first, work->b + first, n);
            continue;
        }
        float *to = work->to + first, factor = (float)work->factor;
        const float *a = work->a + first;
        if (work->b)
            combine_block(factor, a, work->b + first, n, to);
        for (size_t i = 0; !work->b && i < n; i++)
            to[i] = factor * a[i];
    }
}

static double dot(const struct vectors *v, const float *a, const float *b)
{
    struct vector_work work = {.vectors = v, .a = a, .b = b};
    threads_run(v->n_blocks > 1 ? v->team : NULL, vector_job, &work);
    double sum = 0;
    for (size_t i = 0; i < v->n_blocks; i++)
        sum += v->partial[i];
    return sum;
}

/* to = factor * a + b; b NULL: 0. */
static void combine(const struct vectors *v, double factor, const float *a, const float *b,
                    float *to)
{
    struct vector_work work = {.vectors = v, .a = a, .b = b, .to = to, .factor = factor};
    threads_run(v->n_blocks > 1 ? v->team : NULL, vector_job, &work);
}

struct lbfgs {
    struct vectors vectors;
    lbfgs_function *function;
    void *context;
    size_t memory, n_pairs, newest;
    float *block;    /* owned: everything below that is a vector */
    float **step;    /* [memory] differences of x */
    float **change;  /* [memory] differences of the gradient */
    double *inverse; /* [memory] 1 / (step · change) */
    double *share;   /* [memory] scratch of direction() */
    float *direction, *gradient, *next_x, *next_gradient;
    size_t evaluations;
};

static bool set_up(struct lbfgs *l, size_t n, size_t memory, struct error *err)
{
    size_t all;
    l->vectors.n = n;
    l->vectors.n_blocks = (n + BLOCK - 1) / BLOCK;
    l->memory = memory;
    if (!memory_multiply(2 * memory + 4, n, &all))
        return error_set(err, "%zu variables are more than this machine can hold", n);
    l->block = memory_array(all, sizeof *l->block, err);
    l->step = memory_zeroed(2 * memory, sizeof *l->step, err);
    l->inverse = memory_zeroed(2 * memory, sizeof *l->inverse, err);
    l->vectors.partial = memory_array(l->vectors.n_blocks, sizeof(double), err);
    if (!l->block || !l->step || !l->inverse || !l->vectors.partial)
        return false;
    l->change = l->step + memory;
    l->share = l->inverse + memory;
    for (size_t i = 0; i < 2 * memory; i++)
        l->step[i] = l->block + i * n;
    l->direction = l->block + 2 * memory * n;
    l->gradient = l->direction + n;
    l->next_x = l->gradient + n;
    l->next_gradient = l->next_x + n;
    return true;
}

static void clean_up(struct lbfgs *l)
{
    free(l->block);
    free(l->step);
    free(l->inverse);
    free(l->vectors.partial);
}

/* direction = -H gradient, by the two-loop recursion. */
static void find_direction(struct lbfgs *l)
{
    const struct vectors *v = &l->vectors;
    combine(v, -1, l->gradient, NULL, l->direction);
    for (size_t k = 0; k < l->n_pairs; k++) {
        size_t i = (l->newest + l->memory - k) % l->memory;
        l->share[i] = l->inverse[i] * dot(v, l->step[i], l->direction);
        combine(v, -l->share[i], l->change[i], l->direction, l->direction);
    }
    if (l->n_pairs) {
        size_t i = l->newest;
        double scale = 1 / (l->inverse[i] * dot(v, l->change[i], l->change[i]));
        combine(v, scale, l->direction, NULL, l->direction);
    }
    for (size_t k = l->n_pairs; k-- > 0;) {
        size_t i = (l->newest + l->memory - k) % l->memory;
        double back = l->inverse[i] * dot(v, l->change[i], l->direction);
        combine(v, l->share[i] - back, l->step[i], l->direction, l->direction);
    }
}

/* What is kept of a step: pairs without positive curvature would spoil the matrix. */
static void keep_pair(struct lbfgs *l, const float *x)
{
    const struct vectors *v = &l->vectors;
    size_t i = l->n_pairs ? (l->newest + 1) % l->memory : 0;
    combine(v, -1, x, l->next_x, l->step[i]);
    combine(v, -1, l->gradient, l->next_gradient, l->change[i]);
    double product = dot(v, l->step[i], l->change[i]);
    if (!(product > 1e-12 * dot(v, l->change[i], l->change[i]))) {
        l->n_pairs -= l->n_pairs == l->memory; /* the oldest lay there */
        return;
    }
    l->inverse[i] = 1 / product;
    l->newest = i;
    l->n_pairs += l->n_pairs < l->memory;
}

/* A step along the direction into next_x, next_gradient and *value; *found false: no descent. */
static bool search(struct lbfgs *l, const float *x, double length, double *value, bool *found,
                   struct error *err)
{
    const struct vectors *v = &l->vectors;
    double slope = dot(v, l->gradient, l->direction), start = *value, low = 0, high = INFINITY;
    *found = false;
    if (!(slope < 0))
        return true;
    for (size_t trial = 0; trial < MAX_TRIALS; trial++) {
        double at;
        combine(v, length, l->direction, x, l->next_x);
        l->evaluations++;
        if (!l->function(l->context, l->next_x, &at, l->next_gradient, err))
            return false;
        bool fell = at <= start + descent * length * slope; /* false for NaN */
        if (!fell)
            high = length;
        else if (dot(v, l->next_gradient, l->direction) < curvature * slope)
            low = length;
        if (fell && low != length) {
            *value = at;
            *found = true;
            return true;
        }
        length = isinf(high) ? 2 * length : (low + high) / 2;
    }
    return true;
}

static bool run(struct lbfgs *l, float *x, const struct lbfgs_options *options,
                struct lbfgs_result *result, struct error *err)
{
    const struct vectors *v = &l->vectors;
    double value;
    l->evaluations++;
    if (!l->function(l->context, x, &value, l->gradient, err))
        return false;
    if (!isfinite(value))
        return error_set(err, "the function to minimise is not finite where it starts");
    for (;;) {
        double norm = sqrt(dot(v, l->gradient, l->gradient)), size = sqrt(dot(v, x, x));
        bool found = false;
        result->value = value;
        result->gradient_norm = norm;
        progress_report(options->progress,
                        &(struct progress_event){.stage = options->stage ? options->stage : "fit",
                                                 .done = result->iterations,
                                                 .total = options->iterations,
                                                 .unit = "steps",
                                                 .loss = value});
        if (norm <= options->tolerance * fmax(1, size) || result->iterations >= options->iterations)
            return true;
        find_direction(l);
        if (!search(l, x, l->n_pairs ? 1 : 1 / norm, &value, &found, err))
            return false;
        if (!found && l->n_pairs == 0)
            return true;
        if (!found) { /* forget, and try the gradient itself */
            l->n_pairs = 0;
            continue;
        }
        keep_pair(l, x);
        memcpy(x, l->next_x, v->n * sizeof *x);
        memcpy(l->gradient, l->next_gradient, v->n * sizeof *x);
        result->iterations++;
    }
}

bool lbfgs_minimise(lbfgs_function *function, void *context, float *x, size_t n,
                    const struct lbfgs_options *options, struct lbfgs_result *result,
                    struct error *err)
{
    struct lbfgs l = {.vectors = {.team = options->team}, .function = function, .context = context};
    *result = (struct lbfgs_result){0};
    bool ok = set_up(&l, n, options->memory ? options->memory : DEFAULT_MEMORY, err) &&
              run(&l, x, options, result, err);
    result->evaluations = l.evaluations;
    clean_up(&l);
    return ok;
}
