#include "quant/compensate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "kernels/rotate.h"
#include "quant/feedback.h"
#include "quant/inputs.h"

static const size_t most_bytes = (size_t)1 << 30; /* of sums at a time */

struct work {
    struct compensate *to;
    struct model *model;
    struct inputs inputs;
    struct part *part; /* of the shape */
    size_t n_parts;
    float **gram;      /* [places] device [cols, cols], NULL: not of this pass */
    size_t begin, end; /* places of this pass */
    struct device *dev;
    struct threads *team;
    const struct progress *progress;
};

/* ---- sums ---- */

/* The matrices of a place that become int8. */
static bool wanted(const struct work *work, const struct part *part)
{
    return part->kind == PART_MATRIX && !family_stays_float(part->role) &&
           inputs_place(&work->inputs, part) < work->inputs.n;
}

/* The next part of a place from part[*i] on, or NULL. */
static const struct part *next_of(const struct work *work, size_t place, size_t *i)
{
    while (*i < work->n_parts) {
        const struct part *part = &work->part[(*i)++];
        if (wanted(work, part) && inputs_place(&work->inputs, part) == place)
            return part;
    }
    return NULL;
}

/* What the matrices of a place have; 0: none is wanted. */
static size_t cols_of(const struct work *work, size_t place)
{
    size_t i = 0;
    const struct part *part = next_of(work, place, &i);
    return part ? part->cols : 0;
}

static const struct tensor_view *find(const struct work *work, const struct part *part,
                                      char name[PARTS_NAME_BYTES])
{
    parts_name(&work->inputs.shape, part, "weight", name);
    return parts_find_tensor(work->model, name);
}

static bool see(void *context, struct device *dev, size_t place, const act *x, size_t rows,
                size_t cols, struct error *err)
{
    const struct work *work = context;
    (void)err;
    if (work->gram[place])
        dev->op->gram(dev, x, rows, cols, work->gram[place]);
    return true;
}

/* Sums of places from `begin` on, as many as there is room for. */
static bool open_sums(struct work *work, struct error *err)
{
    size_t total = 0;
    for (work->end = work->begin; work->end < work->inputs.n; work->end++) {
        size_t cols = cols_of(work, work->end), values = 0, bytes = 0;
        if (!memory_multiply(cols, cols, &values) ||
            !memory_multiply(values, sizeof(float), &bytes))
            return error_set(err, "a matrix of %zu columns is too wide for this machine", cols);
        if (total > 0 && bytes > most_bytes - total)
            break;
        if (cols == 0)
            continue;
        total += bytes < most_bytes - total ? bytes : most_bytes - total;
        if (!(work->gram[work->end] = work->dev->op->alloc(work->dev, bytes, err)))
            return false;
        work->dev->op->zero(work->dev, work->gram[work->end], bytes);
    }
    return true;
}

static void close_sums(struct work *work)
{
    for (size_t i = 0; work->gram && i < work->inputs.n; i++)
        if (work->gram[i]) {
            work->dev->op->free(work->dev, work->gram[i]);
            work->gram[i] = NULL;
        }
}

/* sum of x xᵀ to that of x R: R is symmetric. */
static void rotate_sums(float *gram, size_t n)
{
    for (size_t pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < n; i++)
            rotate_row(gram + i * n, n);
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < i; j++) {
                float swap = gram[i * n + j];
                gram[i * n + j] = gram[j * n + i];
                gram[j * n + i] = swap;
            }
    }
}

/* Those of a part's place, to the host and rotated. free(). */
static float *take_sums(const struct work *work, const struct part *part, struct error *err)
{
    char name[PARTS_NAME_BYTES];
    size_t n = part->cols * part->cols, finite = 0;
    float *gram = memory_array(n, sizeof *gram, err);
    if (!gram)
        return NULL;
    work->dev->op->download(work->dev, gram, work->gram[inputs_place(&work->inputs, part)],
                            n * sizeof *gram);
    bool ok = work->dev->op->sync(work->dev, err);
    if (ok)
        rotate_sums(gram, part->cols);
    while (ok && finite < n && isfinite(gram[finite]))
        finite++;
    if (ok && finite == n)
        return gram;
    if (ok) {
        parts_name(&work->inputs.shape, part, "weight", name);
        ok = error_set(err,
                       "%s: what %s multiplies is not finite; the model is damaged or its training "
                       "diverged",
                       work->model->name, name);
    }
    free(gram);
    return NULL;
}

/* ---- codes ---- */

static bool make_codes(struct work *work, const struct part *part, const struct feedback *feedback,
                       struct error *err)
{
    struct format_codes *to = &work->to->codes[work->to->n++];
    char name[PARTS_NAME_BYTES];
    const struct tensor_view *view = find(work, part, name);
    if (!view)
        return error_set(err, "%s: %s is missing", work->model->name, name);
    *to = (struct format_codes){.rows = part->rows, .cols = part->cols};
    to->name = memory_copy(view->name, strlen(view->name), err);
    to->data = memory_aligned(part->rows, part->cols, err);
    to->scale = memory_aligned(part->rows, sizeof *to->scale, err);
    float *w = memory_array(part->rows * part->cols, sizeof *w, err);
    bool ok = to->name && to->data && to->scale && w;
    if (ok) {
        parts_read_rows(work->model, view, part->cols, 0, part->rows, w);
        for (size_t r = 0; r < part->rows; r++)
            rotate_row(w + r * part->cols, part->cols);
        ok = feedback_round(feedback, w, part->rows, work->team, to->data, to->scale, err);
    }
    free(w);
    return ok;
}

/* All matrices of a place, the first of which is `first`. */
static bool round_place(struct work *work, size_t place, const struct part *first,
                        struct error *err)
{
    struct feedback feedback = {.n = 0};
    float *gram = take_sums(work, first, err);
    bool ok = gram && feedback_open(&feedback, gram, first->cols, work->team, err);
    size_t i = 0;
    free(gram);
    for (const struct part *part; ok && (part = next_of(work, place, &i));)
        ok = make_codes(work, part, &feedback, err);
    feedback_close(&feedback);
    return ok;
}

static bool run_pass(struct work *work, struct error *err)
{
    if (!open_sums(work, err) ||
        !inputs_run(&work->inputs, &(struct inputs_watch){see, work}, work->progress, err))
        return false;
    for (size_t place = work->begin; place < work->end; place++) {
        size_t i = 0;
        const struct part *first = next_of(work, place, &i);
        if (first && !round_place(work, place, first, err))
            return false;
        progress_report(work->progress, &(struct progress_event){.stage = "compensate",
                                                                 .done = place + 1,
                                                                 .total = work->inputs.n,
                                                                 .unit = "matrices",
                                                                 .loss = NAN});
    }
    close_sums(work);
    return true;
}

/* Codes cannot be made better than they are, and zeros in blocks would be filled. */
static bool refuse(const struct work *work, struct error *err)
{
    for (size_t i = 0; i < work->n_parts; i++) {
        char name[PARTS_NAME_BYTES];
        const struct part *part = &work->part[i];
        const struct tensor_view *view = part->kind == PART_NORM ? NULL : find(work, part, name);
        if (view && view->type == DTYPE_I8)
            return error_set(err,
                             "%s: tensor \"%s\" is of int8 codes already, expected floats; start "
                             "from the model before it was quantised",
                             work->model->name, view->name);
    }
    return format_rotates(work->model) ||
           error_set(
               err,
               "%s: its zeros lie in blocks, and rounding that makes up for errors would fill "
               "them; quantise it without --compensate",
               work->model->name);
}

bool compensate_make(struct compensate *compensate, struct model *model,
                     const struct records_set *records, size_t samples, uint64_t seed,
                     struct device *dev, struct threads *team, const struct progress *progress,
                     struct error *err)
{
    struct work work = {
        .to = compensate, .model = model, .dev = dev, .team = team, .progress = progress};
    *compensate = (struct compensate){.n = 0};
    bool ok = inputs_open(&work.inputs, model, records, samples, seed, dev, err) &&
              (work.part = parts_list(&work.inputs.shape, &work.n_parts, err)) &&
              refuse(&work, err) &&
              (compensate->codes = memory_zeroed(work.n_parts, sizeof *compensate->codes, err)) &&
              (work.gram = memory_zeroed(work.inputs.n, sizeof *work.gram, err));
    for (work.begin = 0; ok && work.begin < work.inputs.n; work.begin = work.end)
        ok = run_pass(&work, err);
    compensate->n_records = work.inputs.n_records;
    close_sums(&work);
    inputs_close(&work.inputs);
    free(work.gram);
    free(work.part);
    if (!ok)
        compensate_free(compensate);
    return ok;
}

void compensate_free(struct compensate *compensate)
{
    for (size_t i = 0; i < compensate->n; i++) {
        free(compensate->codes[i].name);
        free(compensate->codes[i].data);
        free(compensate->codes[i].scale);
    }
    free(compensate->codes);
    *compensate = (struct compensate){.n = 0};
}
