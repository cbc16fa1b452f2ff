/* test_ops_int8.c: the int8 product gives the same integers on every device: quantised rows,
 * products and sums are defined by kernels/quantise.h to the last bit. */
#include "kernels/quantise.h"
#include "tests/unit/ops_trial.h"

/* What is put into x: */
enum filling {
    TIES, /* multiples of ½ up to 127 with 127 among them, so that the scale is 1: y is the integer
             itself */
    EXTREME, /* every product ±127 × 127 or 127 × -128: pairs overflow 16 bits, signed sums do not
                saturate */
    RANDOM,
    FILLINGS
};

struct int8_shape {
    size_t rows, in, out;
    enum filling filling;
    bool exact; /* weight scales 1, no bias */
};

static float fill_x(struct trial *t, enum filling filling, size_t column)
{
    switch (filling) {
    case TIES:
        return column == 0 ? 127.0F : (float)rng_below(&t->rng, 509) * 0.5F - 127.0F;
    case EXTREME:
        return rng_below(&t->rng, 8) ? 127.0F : -127.0F;
    default:
        return (float)rng_normal(&t->rng);
    }
}

static int8_t fill_w(struct trial *t, enum filling filling)
{
    if (filling == EXTREME)
        return rng_below(&t->rng, 8) ? 127 : -128;
    return (int8_t)((int)rng_below(&t->rng, 256) - 128);
}

/* When exact, sums stay below 2^24 (127 × 128 × 1000 columns) and are exact as floats, so the
 * tolerance is 0. Otherwise three roundings that every device makes in the same order. */
static void int8_case(struct trial *t, const void *context)
{
    const struct int8_shape *s = context;
    struct error err = ERROR_INIT;
    float *x = malloc(s->rows * s->in * sizeof *x), *scale = malloc(s->out * sizeof *scale),
          *bias = malloc(s->out * sizeof *bias);
    int8_t *w = malloc(s->out * s->in);
    for (size_t i = 0; i < s->rows * s->in; i++)
        x[i] = fill_x(t, s->filling, i % s->in);
    for (size_t i = 0; i < s->out * s->in; i++)
        w[i] = fill_w(t, s->filling);
    for (size_t i = 0; i < s->out; i++) {
        scale[i] = s->exact ? 1.0F : (float)(0.01 + 0.01 * rng_uniform(&t->rng));
        bias[i] = (float)rng_normal(&t->rng);
    }
    struct weight weight = {w, DTYPE_I8, scale, s->out, s->in};
    const float *biases[] = {bias};
    act *from = trial_place(t, TRIAL_ACT, x, s->rows * s->in);
    act *y = trial_out(t, "y", s->rows * s->out, s->exact ? 0 : EPSILON);
    struct linear *linear =
        t->dev->op->linear_prepare(t->dev, &weight, s->exact ? NULL : biases, 1, &err);
    trial_must(linear != NULL, &err);
    t->dev->op->linear(t->dev, linear, from, s->in, s->rows, EPILOGUE_NONE, NULL, y, s->out);
    t->dev->op->linear_free(t->dev, linear);
    free(x);
    free(scale);
    free(bias);
    free(w);
}

static void test_products(void)
{
    static const size_t sizes[][3] = {{1, 1, 1},     {3, 17, 33},   {17, 33, 3},  {100, 100, 17},
                                      {1, 768, 100}, {33, 300, 65}, {7, 1000, 64}};
    static const char *const names[] = {"ties", "extremes", "random values"};
    for (size_t f = 0; f < FILLINGS; f++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            struct int8_shape s = {sizes[i][0], sizes[i][1], sizes[i][2], (enum filling)f,
                                   f != RANDOM};
            char what[80];
            snprintf(what, sizeof what, "int8 %zu × %zu × %zu, %s", s.rows, s.in, s.out, names[f]);
            trial_everywhere(int8_case, &s, what);
        }
}

/* Rows: zeros; below QUANTISE_SMALLEST; a NaN; an infinity; ordinary. Bad rows give NaN and leave
 * the others alone. */
static void test_special_rows(void)
{
    enum { IN = 40, OUT = 3, ROWS = 5 };
    int8_t w[OUT * IN];
    const float scale[OUT] = {1, 1, 1}, bias[OUT] = {1, 2, 3}, *biases[] = {bias};
    float x[ROWS * IN] = {0}, y[ROWS * OUT];
    memset(w, 1, sizeof w);
    x[IN + 5] = 1e-31F;
    x[2 * IN + 39] = NAN;
    x[3 * IN] = -INFINITY;
    x[4 * IN] = 127.0F;
    for (size_t i = 0; i < trial_n_devices; i++) {
        struct device *dev = trial_devices[i].dev;
        struct error err = ERROR_INIT;
        if (!dev)
            continue;
        struct weight weight = {w, DTYPE_I8, scale, OUT, IN};
        struct linear *linear = dev->op->linear_prepare(dev, &weight, biases, 1, &err);
        act *from = dev->op->alloc(dev, ROWS * IN * dev->act_bytes, &err);
        act *to = dev->op->alloc(dev, ROWS * OUT * dev->act_bytes, &err);
        trial_must(linear && from && to, &err);
        dev->op->act_upload(dev, from, x, ROWS * IN);
        dev->op->linear(dev, linear, from, IN, ROWS, EPILOGUE_NONE, NULL, to, OUT);
        dev->op->act_download(dev, y, to, ROWS * OUT);
        bool zeros = memcmp(y, bias, sizeof bias) == 0 && memcmp(y + OUT, bias, sizeof bias) == 0;
        tap_ok(zeros, "%s: rows of nothing give the bias", trial_devices[i].name);
        tap_ok(isnan(y[2 * OUT]) && isnan(y[3 * OUT + 2]), "%s: NaN and infinity give NaN",
               trial_devices[i].name);
        tap_ok(y[4 * OUT] == 128.0F && y[4 * OUT + 2] == 130.0F, "%s: the row after is right",
               trial_devices[i].name);
        dev->op->linear_free(dev, linear);
        dev->op->free(dev, from);
        dev->op->free(dev, to);
    }
}

/* The longest row there may be, with the largest sum; and one more column. */
static void test_longest_row(void)
{
    enum { IN = QUANTISE_MAX_COLUMNS };
    static float x[IN];
    static int8_t w[IN + 1];
    const float scale[1] = {1};
    memset(w, -128, sizeof w);
    for (size_t i = 0; i < IN; i++)
        x[i] = -127.0F;
    for (size_t i = 0; i <= trial_n_devices; i++) {
        struct device *dev = i < trial_n_devices ? trial_devices[i].dev : trial_reference;
        struct error err = ERROR_INIT, refused = ERROR_INIT;
        float found = 0;
        if (!dev)
            continue;
        struct weight weight = {w, DTYPE_I8, scale, 1, IN},
                      longer = {w, DTYPE_I8, scale, 1, IN + 1};
        struct linear *linear = dev->op->linear_prepare(dev, &weight, NULL, 1, &err);
        act *from = dev->op->alloc(dev, IN * dev->act_bytes, &err);
        act *to = dev->op->alloc(dev, dev->act_bytes, &err);
        trial_must(linear && from && to, &err);
        dev->op->act_upload(dev, from, x, IN);
        dev->op->linear(dev, linear, from, IN, 1, EPILOGUE_NONE, NULL, to, 1);
        dev->op->act_download(dev, &found, to, 1);
        const char *name = i < trial_n_devices ? trial_devices[i].name : "reference";
        struct trial as = {.format = i < trial_n_devices ? trial_devices[i].format : DTYPE_F32};
        float largest = 127.0F * 128.0F * IN;
        trial_round(&as, &largest, 1); /* infinity as F16, as it is to be */
        tap_ok(found == largest, "%s: the largest sum, %.0f, fits", name, (double)found);
        tap_ok(!dev->op->linear_prepare(dev, &longer, NULL, 1, &refused) &&
                   strstr(refused.text, "at most"),
               "%s: one column more is refused", name);
        dev->op->linear_free(dev, linear);
        dev->op->free(dev, from);
        dev->op->free(dev, to);
    }
}

static void test_definition(void)
{
    const float row[] = {-127, 2.5F, 3.5F, -2.5F, 126.5F, 0}, small[] = {1e-31F, -1e-32F};
    const int8_t expected[] = {-127, 2, 4, -2, 126, 0};
    int8_t q[6];
    float scale = quantise_row(row, 6, q);
    tap_ok(scale == 1.0F && memcmp(q, expected, sizeof q) == 0, "ties go to even");
    tap_ok(quantise_row(small, 2, q) == 0.0F && q[0] == 0 && q[1] == 0, "tiny rows are zero");
    const float bad[] = {1, NAN, 3};
    tap_ok(isnan(quantise_row(bad, 3, q)) && q[0] == 0 && q[2] == 0, "a NaN makes the scale NaN");
}

int main(void)
{
    test_definition();
    trial_open_devices();
    trial_report_devices();
    test_products();
    test_special_rows();
    test_longest_row();
    trial_close_devices();
    return tap_done();
}
