/* test_ops_scale.c: dynamic loss scaling on every device: what is clipped is the true gradient, a
 * step that overflows changes nothing, and the scale adapts without the host. */
#include <math.h>

#include "kernels/loss_scale.h"
#include "tests/unit/ops_trial.h"

static struct device *dev;
static const char *name;
static double *sum;
static float *factor;
static struct loss_scale *scaled;

/* clip_factor with this sum and state; the three afterwards. */
static void clip(double of, float max_norm, struct loss_scale *state, double *sum_after, float *by)
{
    dev->op->upload(dev, sum, &of, sizeof of);
    dev->op->upload(dev, scaled, state, sizeof *state);
    dev->op->clip_factor(dev, sum, max_norm, scaled, factor);
    dev->op->download(dev, sum_after, sum, sizeof *sum_after);
    dev->op->download(dev, by, factor, sizeof *by);
    dev->op->download(dev, state, scaled, sizeof *state);
}

static bool is(const struct loss_scale *state, float scale, uint32_t age, uint32_t skipped)
{
    return state->scale == scale && state->age == age && state->skipped == skipped;
}

static void test_clip(void)
{
    struct loss_scale state = {1024, 5, 2};
    double after = -1;
    float by = 0;
    clip(9.0 * 1024 * 1024, 1, &state, &after, &by);
    tap_ok(after == 9 && by == (float)(1.0 / 3) / 1024 && is(&state, 1024, 6, 2),
           "%s: a norm of 3 after the scale is out: %g, factor %g", name, after, (double)by);
    clip(9.0 * 1024 * 1024, 0, &state, &after, &by);
    tap_ok(by == 1.0F / 1024 && is(&state, 1024, 7, 2), "%s: without clipping the scale alone",
           name);
    const double bad[] = {INFINITY, NAN};
    for (size_t i = 0; i < 2; i++) {
        state = (struct loss_scale){1024, 5, 2};
        clip(bad[i], 1, &state, &after, &by);
        tap_ok(after == 0 && by < 0 && is(&state, 512, 0, 3), "%s: %g: skipped, and half the scale",
               name, bad[i]);
    }
    state = (struct loss_scale){1024, LOSS_SCALE_PATIENCE - 1, 2};
    clip(1, 1, &state, &after, &by);
    tap_ok(by == 1.0F / 1024 && is(&state, 2048, 0, 2), "%s: it doubles for the next step", name);
    state = (struct loss_scale){LOSS_SCALE_MOST, LOSS_SCALE_PATIENCE - 1, 0};
    clip(1, 1, &state, &after, &by);
    tap_ok(is(&state, LOSS_SCALE_MOST, LOSS_SCALE_PATIENCE, 0), "%s: up to a limit", name);
}

enum { N = 1000, COLS = 10, ROWS = 3 };

struct arrays {
    float *grad, *m, *v, *w;
};

/* The weights after one call of adamw, and of adamw_rows on the first rows. */
static void update(const struct arrays *a, uint64_t step, bool with, float *w, float *of_rows)
{
    static const int32_t row[ROWS] = {0, 1, 2};
    static const float zeros[N];
    struct error err = ERROR_INIT;
    float host[N];
    int32_t *rows = dev->op->alloc(dev, sizeof row, &err);
    trial_must(rows != NULL, &err);
    dev->op->upload(dev, rows, row, sizeof row);
    for (size_t i = 0; i < N; i++)
        host[i] = (float)((int)(i % 17) - 8) / 8;
    for (int which = 0; which < 2; which++) {
        const struct adamw adamw = {.lr = 0.01F,
                                    .beta1 = 0.9F,
                                    .beta2 = 0.999F,
                                    .eps = 1e-6F,
                                    .weight_decay = 0.1F,
                                    .step = step,
                                    .scaled = with ? scaled : NULL};
        dev->op->upload(dev, a->grad, host, sizeof host);
        dev->op->upload(dev, a->w, host, sizeof host);
        dev->op->upload(dev, a->m, zeros, sizeof zeros);
        dev->op->upload(dev, a->v, zeros, sizeof zeros);
        if (which)
            dev->op->adamw_rows(dev, &adamw, factor, rows, ROWS, COLS, NULL, a->grad, a->m, a->v,
                                a->w);
        else
            dev->op->adamw(dev, &adamw, factor, N, a->grad, a->m, a->v, a->w);
        dev->op->download(dev, which ? of_rows : w, a->w, sizeof host);
    }
    dev->op->free(dev, rows);
}

static void test_update(void)
{
    struct error err = ERROR_INIT;
    struct arrays a;
    float **array[] = {&a.grad, &a.m, &a.v, &a.w};
    float w[N], rows[N], again[N], rows_again[N], by = 1.0F / 64;
    struct loss_scale state = {64, 0, 3};
    for (size_t i = 0; i < 4; i++)
        trial_must((*array[i] = dev->op->alloc(dev, N * sizeof(float), &err)) != NULL, &err);
    dev->op->upload(dev, factor, &by, sizeof by);
    dev->op->upload(dev, scaled, &state, sizeof state);
    update(&a, 4, false, w, rows);
    update(&a, 7, true, again, rows_again);
    tap_ok(memcmp(w, again, sizeof w) == 0 && memcmp(rows, rows_again, sizeof rows) == 0,
           "%s: step 7 of which 3 were skipped is step 4", name);
    by = -1;
    dev->op->upload(dev, factor, &by, sizeof by);
    update(&a, 7, true, again, rows_again);
    size_t bad = 0;
    for (size_t i = 0; i < N; i++) {
        float was = (float)((int)(i % 17) - 8) / 8;
        bad += again[i] != was || rows_again[i] != was;
    }
    tap_ok(bad == 0, "%s: a factor below 0: nothing happens", name);
    for (size_t i = 0; i < 4; i++)
        dev->op->free(dev, *array[i]);
}

static void test_device(struct device *device, const char *device_name)
{
    struct error err = ERROR_INIT;
    dev = device;
    name = device_name;
    sum = dev->op->alloc(dev, sizeof *sum, &err);
    factor = sum ? dev->op->alloc(dev, sizeof *factor, &err) : NULL;
    scaled = factor ? dev->op->alloc(dev, sizeof *scaled, &err) : NULL;
    trial_must(scaled != NULL, &err);
    test_clip();
    test_update();
    dev->op->free(dev, scaled);
    dev->op->free(dev, factor);
    dev->op->free(dev, sum);
    tap_ok(dev->op->sync(dev, &err), "%s: no error %s", name, err.text);
}

int main(void)
{
    trial_open_devices();
    trial_report_devices();
    test_device(trial_reference, "reference");
    for (size_t i = 0; i < trial_n_devices; i++)
        if (trial_devices[i].dev)
            test_device(trial_devices[i].dev, trial_devices[i].name);
    trial_close_devices();
    return tap_done();
}
