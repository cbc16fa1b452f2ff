/* test_ops_int8.c: the int8 product gives the same integers on every device: quantised rows,
 * products and sums are defined by kernels/quantise.h to the last bit. */
#include "kernels/quantise.h"
#include "tests/unit/ops_trial.h"

/* What is put into x: */
enum filling {
    TIES, /* multiples of ½ from -127 to 128, both among them where there is room, so that the scale
                is 1: y is the integer itself */
    EXTREME, /* rows of ±127, -127 alone and 127 alone: codes of ±255 and ±128, weights 127 and -128:
                pairs overflow 16 bits, signed sums do not saturate */
    RANDOM,
    FILLINGS
};

struct int8_shape {
    size_t rows, in, out;
    enum filling filling;
    bool exact; /* weight scales 1, no bias */
    bool rotated;
};

static float fill_x(struct trial *t, enum filling filling, size_t row, size_t column)
{
    switch (filling) {
    case TIES:
        return column == 0   ? 128.0F
               : column == 1 ? -127.0F
                             : (float)rng_below(&t->rng, 511) * 0.5F - 127.0F;
    case EXTREME:
        return row % 3 == 1 || (row % 3 == 0 && rng_below(&t->rng, 8)) ? 127.0F : -127.0F;
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

/* The operations are rounded one by one and in the same order everywhere, so the tolerance is 0; in
 * 16 bits, with a bias, the reference rounds where devices may do so earlier. */
static void int8_case(struct trial *t, const void *context)
{
    const struct int8_shape *s = context;
    struct error err = ERROR_INIT;
    float *x = malloc(s->rows * s->in * sizeof *x), *scale = malloc(s->out * sizeof *scale),
          *bias = malloc(s->out * sizeof *bias);
    int8_t *w = malloc(s->out * s->in);
    for (size_t i = 0; i < s->rows * s->in; i++)
        x[i] = fill_x(t, s->filling, i / s->in, i % s->in);
    for (size_t i = 0; i < s->out * s->in; i++)
        w[i] = fill_w(t, s->filling);
    for (size_t i = 0; i < s->out; i++) {
        scale[i] = s->exact ? 1.0F : (float)(0.01 + 0.01 * rng_uniform(&t->rng));
        bias[i] = (float)rng_normal(&t->rng);
    }
    struct weight weight = {w, DTYPE_I8, scale, s->out, s->in, s->rotated};
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
    static const size_t sizes[][3] = {{1, 1, 1},     {3, 17, 33},   {17, 33, 3},   {100, 100, 17},
                                      {1, 768, 100}, {33, 300, 65}, {7, 1000, 64}, {2, 1100, 5}};
    static const char *const names[] = {"ties", "extremes", "random values"};
    for (size_t f = 0; f < FILLINGS; f++)
        for (size_t i = 0; i < 2 * (sizeof sizes / sizeof *sizes); i++) {
            const size_t *size = sizes[i / 2];
            struct int8_shape s = {size[0], size[1], size[2], (enum filling)f, f != RANDOM, i % 2};
            char what[80];
            snprintf(what, sizeof what, "int8 %zu × %zu × %zu, %s%s", s.rows, s.in, s.out, names[f],
                     s.rotated ? ", rotated" : "");
            trial_everywhere(int8_case, &s, what);
        }
}

/* ---- rows of every kind ---- */

enum kind {
    POSITIVE,
    NEGATIVE,
    SAME, /* all one value */
    SAME_NEGATIVE,
    LOPSIDED, /* as GELU leaves them */
    OUTLIER,
    BALANCED, /* both ends half codes: the highest is cut */
    HUGE_BOTH,
    HUGE_ONE,
    SMALL, /* just not nothing, with subnormal values among them */
    NOTHING,
    MINUS_ZERO,
    KINDS
};

static float kind_of_x(struct trial *t, enum kind kind, size_t column)
{
    float x = (float)rng_normal(&t->rng), most = t->format == DTYPE_F32 ? FLT_MAX : 60000.0F;
    switch (kind) {
    case POSITIVE:
        return fabsf(x);
    case NEGATIVE:
        return -fabsf(x);
    case SAME:
        return 0.3F;
    case SAME_NEGATIVE:
        return -0.3F;
    case LOPSIDED:
        return x > 0 ? x : 0.05F * x;
    case OUTLIER:
        return column == 3 ? 1000.0F : x;
    case BALANCED:
        return column % 3 == 0 ? 1.0F : column % 3 == 1 ? -1.0F : x / 8;
    case HUGE_BOTH:
        return column % 2 ? most : -most;
    case HUGE_ONE:
        return column % 2 ? -most : x;
    case SMALL:
        return column % 3 == 0 ? 1.1e-30F : column % 3 == 1 ? -1e-40F * x : x * 3e-31F;
    case NOTHING:
        return 0.9e-30F * (column % 2 ? 1.0F : -1.0F);
    default:
        return -0.0F;
    }
}

/* Weights of 1 and 0: y is x as the codes hold it. */
static void kinds_case(struct trial *t, const void *context)
{
    const size_t n = *(const size_t *)context, rows = 2 * (size_t)KINDS;
    struct error err = ERROR_INIT;
    float *x = malloc(rows * n * sizeof *x), *scale = malloc(n * sizeof *scale);
    int8_t *w = calloc(n * n, 1);
    for (size_t i = 0; i < rows * n; i++)
        x[i] = kind_of_x(t, (enum kind)(i / n % KINDS), i % n);
    for (size_t i = 0; i < n; i++) {
        w[i * n + i] = 1;
        scale[i] = 1;
    }
    struct weight weight = {w, DTYPE_I8, scale, n, n, false};
    act *from = trial_place(t, TRIAL_ACT, x, rows * n);
    act *y = trial_out(t, "y", rows * n, 0);
    struct linear *linear = t->dev->op->linear_prepare(t->dev, &weight, NULL, 1, &err);
    trial_must(linear != NULL, &err);
    t->dev->op->linear(t->dev, linear, from, n, rows, EPILOGUE_NONE, NULL, y, n);
    t->dev->op->linear_free(t->dev, linear);
    free(x);
    free(scale);
    free(w);
}

static void test_kinds(void)
{
    static const size_t n[] = {1, 2, 5, 15, 16, 17, 31, 37, 64, 67, 130};
    for (size_t i = 0; i < sizeof n / sizeof *n; i++) {
        char what[80];
        snprintf(what, sizeof what, "int8: rows of every kind, %zu columns", n[i]);
        trial_everywhere(kinds_case, &n[i], what);
    }
}

/* Rows: zeros; below QUANTISE_SMALLEST; a NaN; an infinity; ordinary; a NaN with a sign; the other
 * infinity. Bad rows give NaN and leave the others alone. */
static void test_special_rows(void)
{
    enum { IN = 40, OUT = 3, ROWS = 7 };
    int8_t w[OUT * IN];
    const float scale[OUT] = {1, 1, 1}, bias[OUT] = {1, 2, 3}, *biases[] = {bias};
    float x[ROWS * IN] = {0}, y[ROWS * OUT];
    memset(w, 1, sizeof w);
    x[IN + 5] = 1e-31F;
    x[2 * IN + 39] = NAN;
    x[3 * IN] = -INFINITY;
    x[4 * IN] = 127.0F;
    x[5 * IN + 2] = -NAN;
    x[6 * IN + 20] = INFINITY;
    for (size_t i = 0; i < trial_n_devices; i++) {
        struct device *dev = trial_devices[i].dev;
        struct error err = ERROR_INIT;
        if (!dev)
            continue;
        struct weight weight = {w, DTYPE_I8, scale, OUT, IN, false};
        struct linear *linear = dev->op->linear_prepare(dev, &weight, biases, 1, &err);
        act *from = dev->op->alloc(dev, ROWS * IN * dev->act_bytes, &err);
        act *to = dev->op->alloc(dev, ROWS * OUT * dev->act_bytes, &err);
        trial_must(linear && from && to, &err);
        dev->op->act_upload(dev, from, x, ROWS * IN);
        dev->op->linear(dev, linear, from, IN, ROWS, EPILOGUE_NONE, NULL, to, OUT);
        dev->op->act_download(dev, y, to, ROWS * OUT);
        bool zeros = memcmp(y, bias, sizeof bias) == 0 && memcmp(y + OUT, bias, sizeof bias) == 0;
        tap_ok(zeros, "%s: rows of nothing give the bias", trial_devices[i].name);
        bool bad = true;
        for (size_t o = 0; o < OUT; o++)
            bad = bad && isnan(y[2 * OUT + o]) && isnan(y[3 * OUT + o]) && isnan(y[5 * OUT + o]) &&
                  isnan(y[6 * OUT + o]);
        tap_ok(bad, "%s: NaN and infinity give NaN", trial_devices[i].name);
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
        struct weight weight = {w, DTYPE_I8, scale, 1, IN, false},
                      longer = {w, DTYPE_I8, scale, 1, IN + 1, false};
        struct linear *linear = dev->op->linear_prepare(dev, &weight, NULL, 1, &err);
        act *from = dev->op->alloc(dev, IN * dev->act_bytes, &err);
        act *to = dev->op->alloc(dev, dev->act_bytes, &err);
        trial_must(linear && from && to, &err);
        dev->op->act_upload(dev, from, x, IN);
        dev->op->linear(dev, linear, from, IN, 1, EPILOGUE_NONE, NULL, to, 1);
        dev->op->act_download(dev, &found, to, 1);
        const char *name = i < trial_n_devices ? trial_devices[i].name : "reference";
        struct trial as = {.format = i < trial_n_devices ? trial_devices[i].format : DTYPE_F32};
        float largest = 255.0F * 128.0F * IN * (63.5F / 127.5F);
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
    const float row[] = {-127, 2.5F, 3.5F, -2.5F, 126.5F, 128}, small[] = {1e-31F, -1e-32F};
    const int16_t expected[] = {-127, 2, 4, -2, 126, 128};
    int16_t code[6];
    float scale = quantise_row(row, 6, code);
    tap_ok(scale == 1.0F && memcmp(code, expected, sizeof code) == 0, "ties go to even");
    tap_ok(quantise_row(small, 2, code) == 0.0F && code[0] == 0 && code[1] == 0,
           "tiny rows are zero");
    const float bad[] = {1, NAN, 3}, infinite[] = {1, 2, -INFINITY};
    tap_ok(isnan(quantise_row(bad, 3, code)) && code[0] == 0 && code[2] == 0,
           "a NaN makes the scale NaN");
    tap_ok(isnan(quantise_row(infinite, 3, code)) && code[0] == 0, "and so does an infinity");
    const float huge[] = {FLT_MAX, -FLT_MAX, 0}, both[] = {1, -1, 0};
    scale = quantise_row(huge, 3, code);
    tap_ok(scale == FLT_MAX / 127.5F && code[0] == 127 && code[1] == -128 && code[2] == 0,
           "the largest floats on both sides; the highest code is cut");
    scale = quantise_row(both, 3, code);
    tap_ok(scale == 1 / 127.5F && code[0] == 127 && code[1] == -128, "and so it is of 1 and -1");
    const float up[] = {255, 0.5F, 1.5F}, down[] = {-255, -0.5F, -1.5F};
    scale = quantise_row(up, 3, code);
    tap_ok(scale == 1 && code[0] == 255 && code[1] == 0 && code[2] == 2,
           "a row above zero has all codes");
    scale = quantise_row(down, 3, code);
    tap_ok(scale == 1 && code[0] == -255 && code[1] == 0 && code[2] == -2,
           "and so has one below zero");
}

/* 255 steps span the row, and each value is within half a step of its code, a whole one where the
 * highest code is cut; here a bit more, for the roundings. */
static void test_steps(void)
{
    enum { N = 50, ROWS = 2000 };
    struct trial t = {.format = DTYPE_F32};
    rng_seed(&t.rng, 3);
    bool near = true, within = true, zero = true;
    for (size_t r = 0; r < ROWS; r++) {
        float x[N], low = 0, high = 0;
        int16_t code[N], least = 0, most = 0;
        double shift = 3 * rng_normal(&t.rng), size = exp(8 * rng_normal(&t.rng));
        for (size_t i = 0; i < N; i++) {
            x[i] = i ? (float)(size * (shift + rng_normal(&t.rng))) : 0;
            low = fminf(low, x[i]);
            high = fmaxf(high, x[i]);
        }
        double scale = (double)quantise_row(x, N, code), step = ((double)high - (double)low) / 255;
        within = within && fabs(scale - step) <= 3 * EPSILON * step;
        for (size_t i = 0; i < N; i++) {
            double off = fabs((double)x[i] - code[i] * scale) / step;
            near = near && off <= (x[i] == high ? 1.0001 : 0.5001);
            least = code[i] < least ? code[i] : least;
            most = code[i] > most ? code[i] : most;
        }
        within = within && most - least <= QUANTISE_CODES && most - least >= QUANTISE_CODES - 1;
        zero = zero && code[0] == 0;
    }
    tap_ok(near, "values are near their codes");
    tap_ok(within, "255 steps from the lowest to the highest");
    tap_ok(zero, "zero is zero");
}

int main(void)
{
    test_definition();
    test_steps();
    trial_open_devices();
    trial_report_devices();
    test_products();
    test_kinds();
    test_special_rows();
    test_longest_row();
    trial_close_devices();
    return tap_done();
}
