/* mixed.c: groups, their changes, and what each costs. */
#include "quant/mixed.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "nn/family.h"
#include "quant/mixed_trial.h"

enum { NO_GROUP = -1 };

/* The model's tensors in the formats that they may get, all by tensor. */
struct variants {
    struct model *model;
    const struct family *family;
    int *group; /* NO_GROUP: no matrix of floats */
    size_t n_groups;
    struct format_made *rest, *int8, *int4; /* n 0: not made */
    size_t *entry_group;                    /* by entry */
    const struct format_made **list;        /* for a trial */
};

struct work {
    struct mixed *mixed;
    struct variants variants;
    struct mixed_trial trial;
    const struct progress *progress;
    size_t measured;
};

/* ---- groups ---- */

/* Query, key and value of a layer have one name, and so are one group. */
static void name_group(const struct family *family, const struct tensor_view *view, char *text,
                       size_t n)
{
    static const char *const role_name[FAMILY_ROLES] = {
        [FAMILY_WORD] = "words",
        [FAMILY_POSITION] = "positions",
        [FAMILY_TYPE] = "types",
        [FAMILY_EMBED_PROJECTION] = "embedding projection",
        [FAMILY_POOLER] = "pooler",
        [FAMILY_CLASSIFIER] = "classifier",
        [FAMILY_NARROW] = "bottleneck in",
        [FAMILY_SHARED] = "bottleneck shared",
        [FAMILY_QUERY] = "query, key, value",
        [FAMILY_KEY] = "query, key, value",
        [FAMILY_VALUE] = "query, key, value",
        [FAMILY_CONTEXT] = "attention output",
        [FAMILY_STACK_IN] = "stacked feed-forward in",
        [FAMILY_STACK_OUT] = "stacked feed-forward out",
        [FAMILY_FFN_IN] = "feed-forward in",
        [FAMILY_FFN_OUT] = "feed-forward out",
        [FAMILY_WIDEN] = "bottleneck out",
    };
    struct family_tensor tensor;
    const char *role = NULL;
    if (family_parse(family, view->name, &tensor) && tensor.role < FAMILY_ROLES)
        role = role_name[tensor.role];
    if (!role)
        snprintf(text, n, "%s", view->name);
    else if (tensor.of_layer && tensor.number_end > tensor.number_begin)
        snprintf(text, n, "layer %zu %s", tensor.layer, role);
    else
        snprintf(text, n, "%s", role);
}

static bool is_word_table(const struct variants *v, size_t i)
{
    struct family_tensor tensor;
    const struct tensor_view *view = &v->model->tensor[i];
    return family_parse(v->family, view->name, &tensor) && tensor.role == FAMILY_WORD &&
           view->dim[1] % 2 == 0;
}

static bool make(struct variants *v, size_t i, enum format to, struct format_made *made,
                 struct error *err)
{
    if (!format_make(v->model, &v->model->tensor[i], to, made, err))
        return false;
    for (size_t k = 0; k < made->n; k++) {
        if (!made->owned[k])
            continue;
        if (!bundle_adopt(v->model->bundle, made->owned[k], (size_t)made->tensor[k].bytes, err))
            return false;
        made->owned[k] = NULL; /* the bundle's from here on */
    }
    return true;
}

static void add_entry(struct work *work, size_t group, const char *name, enum format format)
{
    struct mixed_entry *entry = &work->mixed->entry[work->mixed->n];
    *entry = (struct mixed_entry){.format = format};
    snprintf(entry->name, sizeof entry->name, "%s", name);
    work->variants.entry_group[work->mixed->n++] = group;
}

static bool group_tensor(struct work *work, size_t i, struct error *err)
{
    struct variants *v = &work->variants;
    const struct tensor_view *view = &v->model->tensor[i];
    char name[sizeof work->mixed->entry->name];
    v->group[i] = NO_GROUP;
    if (view->rank != 2 || !dtype_is_float(view->type) || tensor_view_elements(view) == 0)
        return true;
    name_group(v->family, view, name, sizeof name);
    for (size_t e = 0; e < work->mixed->n && v->group[i] == NO_GROUP; e++)
        if (strcmp(work->mixed->entry[e].name, name) == 0)
            v->group[i] = (int)v->entry_group[e];
    if (v->group[i] == NO_GROUP) {
        v->group[i] = (int)v->n_groups++;
        add_entry(work, (size_t)v->group[i], name, FORMAT_INT8);
        if (is_word_table(v, i))
            add_entry(work, (size_t)v->group[i], name, FORMAT_INT4);
    }
    return make(v, i, FORMAT_INT8, &v->int8[i], err) &&
           (!is_word_table(v, i) || make(v, i, FORMAT_INT4, &v->int4[i], err));
}

/* Bytes a tensor has now, in the format `rest`, and in an entry's. */
static uint64_t bytes_of(const struct format_made *made, const struct tensor_view *view)
{
    uint64_t sum = 0;
    for (size_t k = 0; k < made->n; k++)
        sum += made->tensor[k].bytes;
    return made->n ? sum : view->bytes;
}

static const struct format_made *variant(const struct variants *v, size_t i, enum format format)
{
    return format == FORMAT_INT4 ? &v->int4[i] : &v->int8[i];
}

static bool variants_open(struct work *work, struct model *model, enum format rest,
                          struct error *err)
{
    struct variants *v = &work->variants;
    size_t n = model->n_tensors;
    v->model = model;
    v->family = family_of(model->config, model->name, err);
    v->group = memory_array(n, sizeof *v->group, err);
    v->rest = memory_zeroed(n, sizeof *v->rest, err);
    v->int8 = memory_zeroed(n, sizeof *v->int8, err);
    v->int4 = memory_zeroed(n, sizeof *v->int4, err);
    v->entry_group = memory_array(2 * n, sizeof *v->entry_group, err);
    v->list = memory_zeroed(n, sizeof *v->list, err);
    work->mixed->entry = memory_zeroed(2 * n, sizeof *work->mixed->entry, err);
    bool ok = v->family && v->group && v->rest && v->int8 && v->int4 && v->entry_group && v->list &&
              work->mixed->entry;
    for (size_t i = 0; ok && i < n; i++)
        ok = bundle_verify(model->bundle, model->tensor[i].data, (size_t)model->tensor[i].bytes,
                           err) &&
             (rest == FORMAT_AS_IS || !dtype_is_float(model->tensor[i].type) ||
              make(v, i, rest, &v->rest[i], err)) &&
             group_tensor(work, i, err);
    for (size_t e = 0; ok && e < work->mixed->n; e++)
        for (size_t i = 0; i < n; i++)
            if (v->group[i] == (int)v->entry_group[e])
                work->mixed->entry[e].change.saved +=
                    bytes_of(&v->rest[i], &model->tensor[i]) -
                    bytes_of(variant(v, i, work->mixed->entry[e].format), &model->tensor[i]);
    return ok;
}

static void variants_free(struct variants *v)
{
    for (size_t i = 0; v->rest && v->int8 && v->int4 && i < v->model->n_tensors; i++) {
        format_made_free(&v->rest[i]);
        format_made_free(&v->int8[i]);
        format_made_free(&v->int4[i]);
    }
    free(v->group);
    free(v->rest);
    free(v->int8);
    free(v->int4);
    free(v->entry_group);
    free(v->list);
}

/* ---- measuring ---- */

static void apply(struct work *work, size_t e)
{
    struct variants *v = &work->variants;
    for (size_t i = 0; i < v->model->n_tensors; i++)
        if (v->group[i] == (int)v->entry_group[e])
            v->list[i] = variant(v, i, work->mixed->entry[e].format);
}

static void apply_rest(struct work *work)
{
    struct variants *v = &work->variants;
    for (size_t i = 0; i < v->model->n_tensors; i++)
        v->list[i] = v->rest[i].n ? &v->rest[i] : NULL;
}

static void tell(struct work *work, const char *stage, size_t total, double points)
{
    const struct progress_event event = {.stage = stage,
                                         .done = ++work->measured,
                                         .total = total,
                                         .unit = "measurements",
                                         .loss = points};
    progress_report(work->progress, &event);
}

static bool measure_alone(struct work *work, size_t samples, struct error *err)
{
    struct mixed *mixed = work->mixed;
    size_t n = work->trial.n < samples ? work->trial.n : samples;
    for (size_t e = 0; e < mixed->n; e++) {
        struct mixed_entry *entry = &mixed->entry[e];
        apply_rest(work);
        apply(work, e);
        if (!mixed_trial_run(&work->trial, work->variants.list, n, &entry->divergence,
                             &entry->points, err))
            return false;
        entry->change.cost = entry->divergence;
        tell(work, "alone", mixed->n, entry->points);
    }
    return true;
}

static bool measure_together(void *context, const struct mixed_change *change, size_t n,
                             double *cost, struct error *err)
{
    struct work *work = context;
    double divergence;
    apply_rest(work);
    for (size_t e = 0; e < n; e++)
        if (change[e].chosen)
            apply(work, e);
    if (!mixed_trial_run(&work->trial, work->variants.list, work->trial.n, &divergence, cost, err))
        return false;
    tell(work, "together", 0, *cost);
    return true;
}

static bool search(struct work *work, const struct mixed_options *options, struct error *err)
{
    struct mixed *mixed = work->mixed;
    struct mixed_change *change = memory_array(mixed->n, sizeof *change, err);
    if (!change)
        return false;
    for (size_t e = 0; e < mixed->n; e++)
        change[e] = mixed->entry[e].change;
    work->measured = 0;
    bool ok = mixed_search(change, mixed->n, options->budget, measure_together, work,
                           &mixed->points, err);
    size_t least = 0, chosen = 0;
    for (size_t e = 0; e < mixed->n; e++) {
        mixed->entry[e].change = change[e];
        chosen += change[e].chosen;
        least = change[e].cost < change[least].cost ? e : least;
    }
    const char *what = mixed->labelled ? "accuracy" : "agreement";
    if (ok && !(mixed->points <= options->budget))
        ok = error_set(err,
                       "%s: %s alone costs %.3f points of %s on %zu records; the budget is %g: "
                       "the nearest is %.3f, or drop --to",
                       work->variants.model->name, format_name(options->rest), mixed->points, what,
                       mixed->n_records, options->budget, mixed->points);
    else if (ok && mixed->n == 0)
        ok = error_set(err, "%s: there is no matrix of floats left to quantise",
                       work->variants.model->name);
    else if (ok && !chosen) {
        double points = 0;
        change[least].chosen = true;
        ok = measure_together(work, change, mixed->n, &points, err) &&
             error_set(err,
                       "%s: no change fits a budget of %g points of %s on %zu records; the nearest "
                       "is %.3f: %s as %s",
                       work->variants.model->name, options->budget, what, mixed->n_records, points,
                       mixed->entry[least].name, format_name(mixed->entry[least].format));
    }
    free(change);
    return ok;
}

/* int4 of a table comes behind its int8 and wins in a format_plan. */
static bool list_choices(struct work *work, struct error *err)
{
    struct mixed *mixed = work->mixed;
    const struct variants *v = &work->variants;
    size_t n = v->model->n_tensors;
    mixed->choice = memory_array(2 * n, sizeof *mixed->choice, err);
    for (size_t e = 0; mixed->choice && e < mixed->n; e++)
        for (size_t i = 0; i < n; i++)
            if (mixed->entry[e].change.chosen && v->group[i] == (int)v->entry_group[e])
                mixed->choice[mixed->n_choices++] =
                    (struct format_choice){v->model->tensor[i].name, mixed->entry[e].format};
    return mixed->choice != NULL;
}

static bool one_label(const struct mixed_trial *trial)
{
    bool same = trial->labelled && trial->n > 0;
    for (size_t i = 1; same && i < trial->n; i++)
        same = trial->truth[i] == trial->truth[0];
    return same;
}

bool mixed_decide(struct mixed *mixed, struct model *model, const struct records_set *records,
                  const struct mixed_options *options, struct device *dev, struct threads *team,
                  const struct progress *progress, struct error *err)
{
    struct work work = {.mixed = mixed, .progress = progress};
    *mixed = (struct mixed){.n = 0};
    bool ok = model_check_weights(model, err) && model_check_problem(model, err) &&
              variants_open(&work, model, options->rest, err) &&
              mixed_trial_open(&work.trial, model, records, options->seed, dev, team, err);
    mixed->labelled = work.trial.labelled;
    mixed->one_label = ok && one_label(&work.trial);
    mixed->n_records = work.trial.n;
    ok = ok && measure_alone(&work, options->samples, err) && search(&work, options, err) &&
         list_choices(&work, err);
    mixed_trial_close(&work.trial);
    variants_free(&work.variants);
    if (!ok)
        mixed_free(mixed);
    return ok;
}

void mixed_free(struct mixed *mixed)
{
    free(mixed->entry);
    free(mixed->choice);
    *mixed = (struct mixed){.n = 0};
}
