#include "quant/calibrate.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "kernels/rotate.h"
#include "quant/inputs.h"

struct work {
    struct inputs inputs;
    float *largest; /* [places] |x| seen, NaN or infinity once seen */
    bool rotate;    /* what is watched, as it will be where it is rounded */
    float *host;
    size_t host_capacity;
};

static bool see(void *context, struct device *dev, size_t place, const act *x, size_t rows,
                size_t cols, struct error *err)
{
    struct work *work = context;
    size_t n = rows * cols;
    float largest = work->largest[place];
    if (isnan(largest))
        return true;
    if (!memory_grow(&work->host, &work->host_capacity, n, sizeof *work->host, err))
        return false;
    dev->op->act_download(dev, work->host, x, n);
    if (!dev->op->sync(dev, err))
        return false;
    for (size_t i = 0; work->rotate && i < rows; i++)
        rotate_row(work->host + i * cols, cols);
    for (size_t i = 0; i < n; i++) {
        float magnitude = fabsf(work->host[i]);
        largest = magnitude <= largest ? largest : magnitude;
        if (isnan(largest))
            break;
    }
    work->largest[place] = largest;
    return true;
}

static bool add_input(struct calibrate *calibrate, const struct work *work, const struct part *part,
                      const struct model *model, struct error *err)
{
    const struct inputs *inputs = &work->inputs;
    char name[PARTS_NAME_BYTES];
    parts_name(&inputs->shape, part, "weight", name);
    const struct tensor_view *view = parts_find_tensor(model, name);
    size_t place = inputs_place(inputs, part);
    if (!view || place == inputs->n)
        return error_set(err, "%s: %s was not used", model->name, name);
    if (!(work->largest[place] <= FLT_MAX))
        return error_set(err,
                         "%s: what %s multiplies is not finite; the model is damaged or its "
                         "training diverged",
                         model->name, view->name);
    struct format_input *to = &calibrate->input[calibrate->n];
    to->scale = work->largest[place] / 127;
    if (to->scale < FLT_MIN)
        return true; /* zeros alone say nothing of other texts */
    to->name = memory_copy(view->name, strlen(view->name), err);
    calibrate->n += to->name != NULL;
    return to->name != NULL;
}

static bool list_inputs(struct calibrate *calibrate, const struct work *work,
                        const struct model *model, struct error *err)
{
    size_t n = 0;
    struct part *part = parts_list(&work->inputs.shape, &n, err);
    calibrate->input = part ? memory_zeroed(n, sizeof *calibrate->input, err) : NULL;
    bool ok = calibrate->input != NULL;
    for (size_t i = 0; ok && i < n; i++)
        ok = part[i].kind != PART_MATRIX || add_input(calibrate, work, &part[i], model, err);
    free(part);
    return ok;
}

bool calibrate_measure(struct calibrate *calibrate, struct model *model,
                       const struct records_set *records, size_t samples, uint64_t seed,
                       struct device *dev, const struct progress *progress, struct error *err)
{
    struct work work = {.rotate = format_rotates(model)};
    *calibrate = (struct calibrate){.n = 0};
    bool ok = inputs_open(&work.inputs, model, records, samples, seed, dev, err) &&
              (work.largest = memory_zeroed(work.inputs.n, sizeof *work.largest, err)) &&
              inputs_run(&work.inputs, &(struct inputs_watch){see, &work}, progress, err) &&
              list_inputs(calibrate, &work, model, err);
    calibrate->n_records = work.inputs.n_records;
    inputs_close(&work.inputs);
    free(work.largest);
    free(work.host);
    if (!ok)
        calibrate_free(calibrate);
    return ok;
}

void calibrate_free(struct calibrate *calibrate)
{
    for (size_t i = 0; i < calibrate->n; i++)
        free(calibrate->input[i].name);
    free(calibrate->input);
    *calibrate = (struct calibrate){.n = 0};
}
