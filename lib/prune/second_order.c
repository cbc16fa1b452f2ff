/* second_order.c: orders, scores, weights: the matrices of all layers, shared out among threads. */
#include "prune/second_order.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "core/dtype.h"
#include "core/memory.h"
#include "nn/parts.h"
#include "prune/surgeon.h"

enum { SLOPES = 256 };              /* records for sensitivities, a number for each matrix */
static const double damping = 0.01; /* of the mean variance, as in SparseGPT and ZipLM */

/* One matrix whose columns go, group by group: a layer's output projection or second feed-forward
 * matrix. */
struct matrix {
    struct surgeon surgeon;
    const struct tensor_view *weight, *bias; /* the model's */
    float *w;                                /* [rows, cols] */
    size_t *order;                           /* [n_groups] */
    double *error;                           /* [n_groups] */
    double energy;                           /* tr(W H Wᵀ) */
    double sensitivity; /* of the loss to the squared error of what the matrix gives */
    size_t n_groups;
    const size_t *kept; /* the keep's */
    size_t n_kept;
    float *new_w, *new_bias; /* the plan's patches */
};

struct job {
    const struct moments *moments;
    struct matrix *matrix; /* as the places of moments */
    size_t n;
    bool (*run)(const struct job *job, size_t i, struct error *err);
    atomic_size_t next;
    struct error *err; /* [n] */
    atomic_bool failed;
};

static void work(void *context, size_t member, size_t n_members)
{
    struct job *job = context;
    (void)member;
    (void)n_members;
    for (size_t i; (i = atomic_fetch_add(&job->next, 1)) < job->n && !atomic_load(&job->failed);)
        if (!job->run(job, i, &job->err[i]))
            atomic_store(&job->failed, true);
}

/* run() of every matrix. */
static bool run_all(struct job *job, struct threads *team, struct error *err)
{
    job->err = memory_zeroed(job->n, sizeof *job->err, err);
    if (!job->err)
        return false;
    atomic_store(&job->next, 0);
    atomic_store(&job->failed, false);
    threads_run(team, work, job);
    for (size_t i = 0; i < job->n; i++)
        if (job->err[i].set)
            error_pass(err, &job->err[i]);
    free(job->err);
    return !atomic_load(&job->failed);
}

/* ---- reading ---- */

static bool find(struct matrix *matrix, const struct model *model, const struct shape *shape,
                 size_t layer, enum encoder_place place, struct error *err)
{
    char name[PARTS_NAME_BYTES];
    bool heads = place == ENCODER_HEADS;
    enum family_role role = heads ? FAMILY_CONTEXT : FAMILY_FFN_OUT;
    size_t group = heads ? shape->head_size : 1;
    size_t cols = heads ? shape->layer[layer].heads * group : shape->layer[layer].ffn;
    family_name(shape->family, role, layer, 0, "weight", name, sizeof name);
    matrix->weight = parts_require_tensor(model, name, shape->hidden, cols, err);
    if (!matrix->weight)
        return false;
    if (!dtype_is_float(matrix->weight->type))
        return error_set(err,
                         "%s: tensor %s is %s; second-order adjusts weights, which codes cannot "
                         "follow; prune before mquant --to int8",
                         model->name, name, dtype_name(matrix->weight->type));
    family_name(shape->family, role, layer, 0, "bias", name, sizeof name);
    matrix->bias = parts_require_tensor(model, name, shape->hidden, 0, err);
    matrix->n_groups = cols / group;
    matrix->w = memory_array(shape->hidden * cols, sizeof(float), err);
    matrix->order = memory_array(matrix->n_groups, sizeof *matrix->order, err);
    matrix->error = memory_array(matrix->n_groups, sizeof *matrix->error, err);
    if (!matrix->bias || !matrix->w || !matrix->order || !matrix->error)
        return false;
    dtype_to_float(matrix->weight->type, matrix->weight->data, shape->hidden * cols, matrix->w);
    matrix->surgeon = (struct surgeon){
        .w = matrix->w, .rows = shape->hidden, .cols = cols, .group = group, .damping = damping};
    return true;
}

/* ---- scores ---- */

static bool run_order(const struct job *job, size_t i, struct error *err)
{
    struct matrix *matrix = &job->matrix[i];
    matrix->surgeon.h = job->moments->place[i].covariance;
    matrix->surgeon.floor = job->moments->place[i].rounding;
    return surgeon_order(&matrix->surgeon, matrix->order, matrix->error, &matrix->energy, err);
}

/* What each group's going added, in order, averaged where it would fall: the slopes of the largest
 * convex function below the errors. In place. */
static void make_convex(double *error, size_t n, size_t *size)
{
    size_t blocks = 0;
    double last = 0;
    for (size_t k = 0; k < n; k++) {
        double added = error[k] - last;
        last = error[k];
        error[blocks] = added;
        size[blocks++] = 1;
        while (blocks > 1 && error[blocks - 2] > error[blocks - 1]) {
            double sum = error[blocks - 2] * (double)size[blocks - 2] +
                         error[blocks - 1] * (double)size[blocks - 1];
            size[blocks - 2] += size[blocks - 1];
            error[blocks - 2] = sum / (double)size[blocks - 2];
            blocks--;
        }
    }
    for (size_t k = n; blocks-- > 0;)
        for (size_t i = 0; i < size[blocks]; i++)
            error[--k] = error[blocks];
}

/* What the matrix gives loses, summed over groups, when each goes alone and nothing moves. */
static double alone(const struct matrix *matrix)
{
    const struct surgeon *s = &matrix->surgeon;
    size_t n = s->cols, b = s->group;
    double sum = 0;
    for (size_t r = 0; r < s->rows; r++)
        for (size_t i = 0; i < n; i++)
            for (size_t j = i / b * b; j < i / b * b + b; j++)
                sum += (double)s->w[r * n + i] * (double)s->h[i * n + j] * (double)s->w[r * n + j];
    return sum;
}

/* From gradients: what masking the units one by one would do to the loss, its diagonal Fisher
 * information, for each unit of squared error that it makes in what the matrix gives. Without:
 * errors count relative to the variance of what the matrix gives. */
static void set_sensitivity(struct matrix *matrix, const struct unit *unit, bool gradients)
{
    double fisher = 0, error = gradients ? alone(matrix) : matrix->energy;
    for (size_t i = 0; gradients && i < matrix->n_groups; i++)
        fisher += unit[i].score;
    matrix->sensitivity = error > 0 ? (gradients ? fisher : 1) / error : 0;
}

/* units: those of the matrix, in order of their index. */
static bool score(const struct matrix *matrix, struct unit *unit, struct error *err)
{
    enum { TIES = 1000000000 };
    size_t n = matrix->n_groups;
    double *slope = memory_array(n, sizeof *slope, err);
    size_t *size = memory_array(n, sizeof *size, err);
    bool ok = slope && size;
    if (ok) {
        memcpy(slope, matrix->error, n * sizeof *slope);
        make_convex(slope, n, size);
        for (size_t k = 0; k < n; k++) {
            double value = slope[k] * matrix->sensitivity;
            /* Among equals, the last to go is the best. */
            unit[matrix->order[k]].score = value * (1 + (double)k / TIES);
        }
    }
    free(slope);
    free(size);
    return ok;
}

/* ---- weights ---- */

static bool run_weights(const struct job *job, size_t i, struct error *err)
{
    struct matrix *matrix = &job->matrix[i];
    const struct surgeon *s = &matrix->surgeon;
    if (!matrix->new_w)
        return true;
    if (!surgeon_weights(s, matrix->kept, matrix->n_kept, matrix->new_w, err))
        return false;
    const float *mean = job->moments->place[i].mean;
    for (size_t r = 0; r < s->rows; r++) {
        double sum = (double)matrix->new_bias[r];
        for (size_t c = 0; c < s->cols; c++)
            sum += ((double)s->w[r * s->cols + c] - (double)matrix->new_w[r * s->cols + c]) *
                   (double)mean[c];
        matrix->new_bias[r] = (float)sum;
    }
    return true;
}

/* Room in the plan for the matrices that lose something. */
static bool make_patches(struct plan *plan, struct matrix *matrix, struct error *err)
{
    for (size_t i = 0; i < 2 * plan->keep.n_layers; i++) {
        const struct keep_layer *layer = &plan->keep.layer[i / 2];
        struct matrix *m = &matrix[2 * layer->layer + i % 2];
        m->kept = i % 2 ? layer->neuron : layer->head;
        m->n_kept = i % 2 ? layer->n_neurons : layer->n_heads;
        if (m->n_kept == m->n_groups)
            continue;
        m->new_w = plan_patch(plan, m->weight->name, m->surgeon.rows * m->surgeon.cols, err);
        m->new_bias = plan_patch(plan, m->bias->name, m->surgeon.rows, err);
        if (!m->new_w || !m->new_bias)
            return false;
        dtype_to_float(m->bias->type, m->bias->data, m->surgeon.rows, m->new_bias);
    }
    return true;
}

/* ---- all ---- */

static bool plan_from_moments(struct plan *plan, struct model *model, const struct moments *moments,
                              struct matrix *matrix, struct unit *unit, size_t n_units,
                              bool gradients, struct budget *budget, struct error *err)
{
    struct job job = {
        .moments = moments, .matrix = matrix, .n = moments->n_places, .run = run_order};
    bool ok = run_all(&job, budget->team, err);
    struct unit *first = unit; /* search_units() goes layer by layer, heads before neurons */
    for (size_t i = 0; ok && i < job.n; first += matrix[i++].n_groups) {
        set_sensitivity(&matrix[i], first, gradients);
        ok = score(&matrix[i], first, err);
    }
    ok = ok && budget_keep(budget, model, &plan->before, plan->n_tokens, unit, n_units, err) &&
         keep_of_units(&plan->keep, &plan->before, unit, n_units, err) &&
         make_patches(plan, matrix, err);
    job.run = run_weights;
    return ok && run_all(&job, budget->team, err);
}

static bool find_all(struct matrix *matrix, const struct model *model, const struct shape *shape,
                     struct error *err)
{
    bool ok = shape->n_layers > 0 || error_set(err, "%s has no layers to prune", model->name);
    for (size_t i = 0; ok && i < 2 * shape->n_layers; i++)
        ok = find(&matrix[i], model, shape, i / 2, i % 2 ? ENCODER_NEURONS : ENCODER_HEADS, err);
    return ok;
}

static void free_matrices(struct matrix *matrix, size_t n)
{
    for (size_t i = 0; matrix && i < n; i++) {
        free(matrix[i].w);
        free(matrix[i].order);
        free(matrix[i].error);
    }
    free(matrix);
}

static bool tell_how(struct plan *plan, const struct moments *moments,
                     const struct second_order_options *options, const struct budget *budget,
                     struct error *err)
{
    plan->how = json_pack("{s:s, s:s, s:I, s:I, s:I}", "method", "second-order", "sensitivity",
                          options->weight == SECOND_ORDER_GRADIENTS ? "gradients" : "variance",
                          "samples", (json_int_t)moments->n_records, "sample_tokens",
                          (json_int_t)moments->n_tokens, "seed", (json_int_t)options->sample.seed);
    if (!plan->how || !budget_tell(budget, plan->how))
        return error_set(err, "no memory for the report");
    return plan_finish(plan, err);
}

bool second_order_plan(struct plan *plan, struct model *model, const struct records_set *records,
                       struct budget *budget, const struct second_order_options *options,
                       struct error *err)
{
    struct moments moments = {.place = NULL};
    struct importance_result found = {.n_labels = 0};
    struct unit *unit = NULL;
    size_t n_units = 0;
    bool gradients = options->weight == SECOND_ORDER_GRADIENTS;
    const struct moments_options *sample = &options->sample;
    const struct importance_options slopes = {.measure = IMPORTANCE_FISHER,
                                              .samples = sample->samples < SLOPES ? sample->samples
                                                                                  : SLOPES,
                                              .seed = sample->seed,
                                              .batch_tokens = sample->batch_tokens};
    *plan = (struct plan){.n_tokens = plan_tokens(records)};
    bool ok =
        shape_from_model(&plan->before, model, err) && plan_check_units(&plan->before, model, err);
    if (ok)
        unit = search_units(&plan->before, plan->n_tokens, &n_units, err);
    struct matrix *matrix =
        ok ? memory_zeroed(2 * plan->before.n_layers, sizeof *matrix, err) : NULL;
    ok = unit && matrix && find_all(matrix, model, &plan->before, err) &&
         moments_gather(&moments, model, &plan->before, records, sample, budget->dev,
                        budget->progress, err) &&
         (!gradients || importance_score(model, &plan->before, records, &slopes, budget->dev,
                                         budget->progress, unit, n_units, &found, err)) &&
         plan_from_moments(plan, model, &moments, matrix, unit, n_units, gradients, budget, err) &&
         tell_how(plan, &moments, options, budget, err);
    plan->one_label = found.n_labels == 1;
    free_matrices(matrix, 2 * plan->before.n_layers);
    moments_free(&moments);
    free(unit);
    if (!ok)
        plan_free(plan);
    return ok;
}
