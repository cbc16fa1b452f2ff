/* ngram_fit.c: what a fit of the n-gram part is used for: the part, its description, answers out of
 * fold. */
#include "nn/ngram_fit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/jobject.h"
#include "core/memory.h"
#include "io/records_draw.h"
#include "nn/lbfgs.h"
#include "nn/ngram_problem.h"

enum { MAX_FOLDS = 1000, LOGISTIC_ITERATIONS = 60, HINGE_ITERATIONS = 200 };

/* ---- options ---- */

void ngram_fit_defaults(struct ngram_fit_options *options)
{
    *options = (struct ngram_fit_options){.l2 = NAN, .min_df = 2, .alpha = 0.7, .temperature = 3};
}

const char *ngram_loss_name(enum ngram_loss loss)
{
    return loss == NGRAM_HINGE ? "hinge" : "logistic";
}

json_t *ngram_fit_describe(const struct ngram_fit_options *o)
{
    json_t *object = json_pack("{s:s, s:I, s:I}", "loss", ngram_loss_name(o->loss), "min_df",
                               (json_int_t)o->min_df, "iterations", (json_int_t)o->iterations);
    bool ok = object &&
              (isnan(o->l2) || json_object_set_new(object, "l2", json_real(o->l2)) == 0) &&
              (!o->distil ||
               (json_object_set_new(object, "alpha", json_real(o->alpha)) == 0 &&
                json_object_set_new(object, "temperature", json_real(o->temperature)) == 0));
    if (ok)
        return object;
    json_decref(object);
    return NULL;
}

static bool recall_loss(struct ngram_fit_options *options, const json_t *described,
                        const char *place, struct error *err)
{
    const char *name = NULL;
    if (!jobject_string(described, place, "loss", false, &name, err))
        return false;
    for (enum ngram_loss loss = NGRAM_LOGISTIC; name && loss <= NGRAM_HINGE; loss++)
        if (strcmp(name, ngram_loss_name(loss)) == 0) {
            options->loss = loss;
            return true;
        }
    return !name ||
           error_set(err, "%s: \"loss\" is \"%s\", expected logistic or hinge", place, name);
}

bool ngram_fit_recall(struct ngram_fit_options *options, const json_t *described, const char *place,
                      struct error *err)
{
    int64_t min_df = (int64_t)options->min_df, iterations = (int64_t)options->iterations;
    if (!recall_loss(options, described, place, err) ||
        !jobject_number(described, place, "l2", false, &options->l2, err) ||
        !jobject_integer(described, place, "min_df", false, 1, INT32_MAX, &min_df, err) ||
        !jobject_integer(described, place, "iterations", false, 0, INT32_MAX, &iterations, err))
        return false;
    options->min_df = (size_t)min_df;
    options->iterations = (size_t)iterations;
    return isnan(options->l2) || (isfinite(options->l2) && options->l2 >= 0) ||
           error_set(err, "%s: \"l2\" is %g, expected 0 or more", place, options->l2);
}

/* ---- fits ---- */

bool ngram_fit(struct ngram_part *part, const struct records_set *set, const uint32_t *record,
               size_t n, const struct ngram_fit_options *options, struct ngram_fit_result *result,
               struct error *err)
{
    double start = progress_clock();
    size_t iterations = options->loss == NGRAM_HINGE ? HINGE_ITERATIONS : LOGISTIC_ITERATIONS;
    struct lbfgs_options descent = {.iterations =
                                        options->iterations ? options->iterations : iterations,
                                    .tolerance = 1e-7,
                                    .team = options->team,
                                    .progress = options->progress,
                                    .stage = "n-grams"};
    struct lbfgs_result fit = {0};
    struct ngram_problem *problem = ngram_problem_open(set, record, n, options, err);
    *part = (struct ngram_part){0};
    if (!problem)
        return false;
    float *w = memory_zeroed(ngram_problem_size(problem), sizeof *w, err);
    bool ok = w &&
              lbfgs_minimise(ngram_problem_value, problem, w, ngram_problem_size(problem), &descent,
                             &fit, err) &&
              ngram_problem_take(problem, w, part, err);
    part->described = ok ? ngram_fit_describe(options) : NULL;
    if (ok && !part->described)
        ok = error_set(err, "no memory for millet.json");
    if (result)
        *result = (struct ngram_fit_result){.records = ngram_problem_records(problem),
                                            .rows = ngram_problem_rows(problem),
                                            .iterations = fit.iterations,
                                            .loss = fit.value,
                                            .seconds = progress_clock() - start};
    if (!ok)
        ngram_part_free(part);
    free(w);
    ngram_problem_close(problem);
    return ok;
}

/* Answers to records record[0 … n) of the set, each where it belongs in logits [set->n,
 * classes]. */
static bool answer(const struct ngram_part *part, const struct records_set *set,
                   const uint32_t *record, size_t n, struct device *dev, float *logits,
                   struct error *err)
{
    struct ngram_scratch scratch = {.dev = dev};
    struct ngram *ngram = ngram_open(part, dev, err);
    bool ok = ngram != NULL;
    for (size_t i = 0; ok && i < n; i++) {
        size_t number = record ? record[i] : i;
        struct record r = records_get(set, number);
        const int64_t offset[] = {0, (int64_t)r.n_grams};
        ok = ngram_run(ngram, &scratch, r.gram, offset, 1, logits + number * part->classes, err);
    }
    ngram_scratch_free(&scratch);
    ngram_close(ngram);
    return ok;
}

bool ngram_fit_answer(const struct ngram_part *part, const struct records_set *set,
                      struct device *dev, float *logits, struct error *err)
{
    return answer(part, set, NULL, set->n, dev, logits, err);
}

/* One fold: fit on what is outside, answer what is inside. order: a shuffle of the set. */
static bool run_fold(const struct records_set *set, const uint32_t *order, size_t begin, size_t end,
                     const struct ngram_fit_options *options, struct device *dev, float *logits,
                     struct error *err)
{
    size_t n = set->n - (end - begin);
    struct ngram_part part;
    uint32_t *others = memory_array(n, sizeof *others, err);
    if (!others)
        return false;
    memcpy(others, order, begin * sizeof *others);
    memcpy(others + begin, order + end, (set->n - end) * sizeof *others);
    bool ok = ngram_fit(&part, set, others, n, options, NULL, err) &&
              answer(&part, set, order + begin, end - begin, dev, logits, err);
    ngram_part_free(&part);
    free(others);
    return ok;
}

bool ngram_fit_out_of_fold(const struct records_set *set, size_t n_folds, uint64_t seed,
                           const struct ngram_fit_options *options, struct device *dev,
                           float *logits, struct error *err)
{
    size_t n;
    if (n_folds < 2 || n_folds > MAX_FOLDS || n_folds > set->n)
        return error_set(err, "%zu records cannot be parted into %zu folds", set->n, n_folds);
    uint32_t *order = records_draw(set, false, set->n, seed, &n, err);
    bool ok = order != NULL;
    for (size_t k = 0; ok && k < n_folds; k++) {
        size_t begin, end;
        threads_share(set->n, k, n_folds, &begin, &end);
        ok = run_fold(set, order, begin, end, options, dev, logits, err) ||
             error_at(err, "fold %zu of %zu: ", k + 1, n_folds);
    }
    free(order);
    return ok;
}
