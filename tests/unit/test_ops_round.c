/* Weights rounded as int8 holds them: the reference against what mquant writes, every device
 * against the reference, bit for bit. */
#include <math.h>
#include <string.h>

#include "quant/format.h"
#include "tests/unit/ops_trial.h"

struct round_shape {
    size_t rows, cols;
};

/* Division, rounding and product are each exactly rounded: nothing may differ. */
static void round_case(struct trial *t, const void *context)
{
    const struct round_shape *s = context;
    const float *from = trial_floats(t, s->rows * s->cols, 1, 0);
    float *to = trial_out_floats(t, "to", s->rows * s->cols, 0);
    float *both = trial_change_floats(t, "in place", s->rows * s->cols, 0);
    t->dev->op->round_rows(t->dev, from, s->rows, s->cols, to);
    t->dev->op->round_rows(t->dev, both, s->rows, s->cols, both);
}

static void test_against_codes(void)
{
    enum { ROWS = 12, COLS = 33 };
    struct rng rng;
    float w[ROWS * COLS], rounded[ROWS * COLS], again[ROWS * COLS], scale[ROWS];
    int8_t code[ROWS * COLS], code_again[ROWS * COLS];
    size_t bad = 0;
    rng_seed(&rng, 3);
    for (size_t i = 0; i < ROWS * COLS; i++)
        w[i] = (float)(rng_normal(&rng) * pow(10, (double)(i / COLS) - 6));
    memset(w, 0, COLS * sizeof *w);
    w[COLS] = 1e-44F;
    trial_reference->op->round_rows(trial_reference, w, ROWS, COLS, rounded);
    format_quantise_rows(w, ROWS, COLS, code, scale);
    for (size_t i = 0; i < ROWS * COLS; i++)
        bad += rounded[i] != (float)code[i] * scale[i / COLS];
    tap_ok(bad == 0, "what comes out is what the codes of mquant are worth");
    format_quantise_rows(rounded, ROWS, COLS, code_again, scale);
    trial_reference->op->round_rows(trial_reference, rounded, ROWS, COLS, again);
    for (size_t i = 0; i < ROWS * COLS; i++)
        bad += !(fabsf(again[i] - rounded[i]) <= 1e-6F * fabsf(rounded[i]));
    tap_ok(bad == 0 && memcmp(code, code_again, sizeof code) == 0, "rounded again: the same codes");
}

int main(void)
{
    static const struct round_shape shapes[] = {{1, 1}, {3, 17}, {33, 1}, {129, 300}, {5, 4097}};
    trial_open_devices();
    trial_report_devices();
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        char what[64];
        snprintf(what, sizeof what, "round %zu x %zu", shapes[i].rows, shapes[i].cols);
        trial_everywhere(round_case, &shapes[i], what);
    }
    test_against_codes();
    trial_close_devices();
    return tap_done();
}
