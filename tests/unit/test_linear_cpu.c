/* The CPU device's products: packing of any size and type, integer sums that are the same in every
 * instruction set, bf16 by bf16 where a set has it, results that depend neither on the rows beside them nor on the number of
 * threads, and bound matrices against the reference. */
#include <stdlib.h>

#include "core/memory.h"
#include "kernels/kernels.h"
#include "tests/tap.h"

#define GUARD 12345.5f

static struct error err = ERROR_INIT;

static float *values(size_t n, uint64_t seed, double range)
{
    float *x = memory_array(n, sizeof *x, &err);
    uint64_t state = seed * 0x9E3779B97F4A7C15u + 1;
    for (size_t i = 0; x && i < n; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        x[i] = (float)(range * ((double)(state >> 11) / 4503599627370496.0 - 1));
    }
    return x;
}

static float *filled(size_t n)
{
    float *y = memory_array(n, sizeof *y, &err);
    for (size_t i = 0; y && i < n; i++)
        y[i] = GUARD;
    return y;
}

/* One product: weights in memory of any type, stacked in two parts of which the second has no bias.
 */
struct problem {
    size_t out, in, rows, x_stride, y_stride;
    enum dtype type;
    enum epilogue epilogue;
    void *w;
    float *scale, *bias, *x;
};

static struct problem make(size_t out, size_t in, size_t rows, enum dtype type)
{
    struct problem p = {.out = out, .in = in, .rows = rows, .x_stride = in + 3, .type = type};
    p.y_stride = out + 5;
    p.epilogue = (enum epilogue)((out + in) % (EPILOGUE_TANH + 1));
    float *w = values(out * in, out * 31 + in, type == DTYPE_I8 ? 127.4 : 1.0);
    char *raw = malloc(out * in * dtype_bytes(type) + 1);
    p.w = raw;
    dtype_from_float(type, w, out * in, raw + 1); /* unaligned on purpose */
    free(w);
    p.scale = values(out, 5, 0.01);
    p.bias = values(out, 6, 1.0);
    p.x = values(rows * p.x_stride, 7, 2.0);
    return p;
}

/* x as products with BF16 weights see it: rounded, in the sets that multiply bf16 by bf16. */
static void round_x(struct problem *p, const char *set)
{
    if (p->type != DTYPE_BF16 || strcmp(set, "avx512bf16") != 0)
        return;
    for (size_t i = 0; i < p->rows * p->x_stride; i++)
        p->x[i] = dtype_bf16_to_float(dtype_float_to_bf16(p->x[i]));
}

static void discard(struct problem *p)
{
    free(p->w);
    free(p->scale);
    free(p->bias);
    free(p->x);
}

static struct linear *prepare(struct device *dev, const struct problem *p)
{
    size_t first = (p->out + 1) / 2;
    const char *raw = (const char *)p->w + 1;
    bool is_int8 = p->type == DTYPE_I8;
    struct weight part[2] = {
        {raw, p->type, is_int8 ? p->scale : NULL, first, p->in, false},
        {raw + first * p->in * dtype_bytes(p->type), p->type, is_int8 ? p->scale + first : NULL,
         p->out - first, p->in, false},
    };
    const float *bias[2] = {p->bias, NULL};
    return dev->op->linear_prepare(dev, part, bias, 2, &err);
}

/* rows of the problem from `from` on; y [rows, y_stride] and pre [rows, out] + 1 come back with
 * guards. */
static bool apply(struct device *dev, const struct linear *linear, const struct problem *p,
                  size_t from, size_t rows, float **pre, float **y)
{
    *pre = filled(rows * p->out + 1);
    *y = filled(rows * p->y_stride);
    dev->op->linear(dev, linear, (const act *)(p->x + from * p->x_stride), p->x_stride, rows,
                    p->epilogue, (act *)*pre, (act *)*y, p->y_stride);
    return dev->op->sync(dev, &err);
}

static bool guards_kept(const struct problem *p, size_t rows, const float *pre, const float *y)
{
    bool kept = pre[rows * p->out] == GUARD;
    for (size_t r = 0; r < rows; r++)
        for (size_t i = p->out; i < p->y_stride; i++)
            kept = kept && y[r * p->y_stride + i] == GUARD;
    return kept;
}

/* Sums of `in` products of size up to 2 differ by rounding: about in * 2^-24 * 2, less in practice.
 * Products of two bf16 are exact in a float; their sums are rounded as others are. */
static void compare(struct device *dev, struct device *reference, size_t out, size_t in,
                    size_t rows, enum dtype type, const char *set)
{
    struct problem p = make(out, in, rows, type);
    struct linear *ours = prepare(dev, &p), *theirs = prepare(reference, &p);
    float *pre, *y, *right_pre, *right_y;
    bool ran = ours && theirs && apply(dev, ours, &p, 0, rows, &pre, &y);
    round_x(&p, set);
    ran = ran && apply(reference, theirs, &p, 0, rows, &right_pre, &right_y);
    char what[128];
    snprintf(what, sizeof what, "%s: %s %zu × %zu, %zu rows, epilogue %d", set, dtype_name(type),
             out, in, rows, (int)p.epilogue);
    if (!tap_ok(ran, "%s runs", what)) {
        printf("# %s\n", err.text);
        exit(tap_done());
    }
    if (type == DTYPE_I8)
        tap_ok(memcmp(pre, right_pre, rows * out * sizeof *pre) == 0, "%s: same bits", what);
    else
        tap_close(pre, right_pre, rows * out, 1e-7 * (double)in + 1e-6, what);
    tap_close(y, right_y, rows * p.y_stride, 2e-7 * (double)in + 2e-6, "… after the epilogue");
    tap_ok(guards_kept(&p, rows, pre, y), "… and nothing beside it is touched");
    free(pre);
    free(y);
    free(right_pre);
    free(right_y);
    dev->op->linear_free(dev, ours);
    reference->op->linear_free(reference, theirs);
    discard(&p);
}

/* Activations of bf16 products are rounded to the nearest bf16: each is off by 2^-9 of itself, so a
 * sum by at most Σ |x w| 2^-9, and the error of summing it as before. */
static void test_rounding(struct device *dev, struct device *reference, const char *set)
{
    enum { OUT = 61, IN = 515, ROWS = 19 };
    struct problem p = make(OUT, IN, ROWS, DTYPE_BF16);
    struct linear *ours = prepare(dev, &p), *theirs = prepare(reference, &p);
    float *pre, *y, *right, *right_y, *w = values(OUT * IN, 0, 1);
    bool near = ours && theirs && apply(dev, ours, &p, 0, ROWS, &pre, &y) &&
                apply(reference, theirs, &p, 0, ROWS, &right, &right_y);
    double most = 0;
    dtype_to_float(DTYPE_BF16, (const char *)p.w + 1, OUT * IN, w);
    for (size_t i = 0; near && i < ROWS * OUT; i++) {
        double sum = 0, off = fabs((double)pre[i] - (double)right[i]);
        for (size_t k = 0; k < IN; k++)
            sum += fabs((double)p.x[i / OUT * p.x_stride + k] * (double)w[i % OUT * IN + k]);
        near = off <= sum * 0x1p-9 + 1e-7 * IN + 1e-6;
        most = off > most ? off : most;
    }
    bool rounded = strcmp(set, "avx512bf16") == 0;
    tap_ok(near && rounded == (most > 1e-3), "%s: activations of BF16 are %s: %g off at most", set,
           rounded ? "rounded" : "not rounded", most);
    free(pre);
    free(y);
    free(right);
    free(right_y);
    free(w);
    dev->op->linear_free(dev, ours);
    reference->op->linear_free(reference, theirs);
    discard(&p);
}

/* Weights and activations at the edges of bf16: what is not finite shows in its own rows alone; the
 * largest numbers and the subnormal ones, which may become 0. */
static void test_bf16_edges(struct device *dev, const char *set)
{
    enum { IN = 37, OUT = 50, ROWS = 6 };
    uint16_t w[OUT * IN];
    float x[ROWS * IN] = {0}, y[ROWS * OUT];
    for (size_t i = 0; i < OUT * IN; i++)
        w[i] = dtype_float_to_bf16(1.0F);
    x[0 * IN + 36] = NAN;
    x[1 * IN + 35] = -INFINITY;
    x[2 * IN + 36] = 3.3e38F;
    x[3 * IN + 1] = 1e-40F;
    x[4 * IN + 36] = 1.0F + 0x1p-8F; /* a tie: to the even 1 */
    x[5 * IN + 36] = 1.0F + 0x3p-8F; /* to the even 1 + 2^-6 */
    struct weight part = {w, DTYPE_BF16, NULL, OUT, IN, false};
    struct linear *linear = dev->op->linear_prepare(dev, &part, NULL, 1, &err);
    dev->op->linear(dev, linear, (const act *)x, IN, ROWS, EPILOGUE_NONE, NULL, (act *)y, OUT);
    bool shown = true, kept = true, tie = true, rounded = strcmp(set, "avx512bf16") == 0;
    for (size_t o = 0; o < OUT; o++) {
        shown = shown && isnan(y[o]) && y[OUT + o] == -INFINITY;
        kept = kept && y[2 * OUT + o] > 3.2e38F && isfinite(y[2 * OUT + o]) &&
               fabsf(y[3 * OUT + o]) <= 1e-40F;
        tie = tie && y[4 * OUT + o] == (rounded ? 1.0F : x[4 * IN + 36]) &&
              y[5 * OUT + o] == (rounded ? 1.0F + 0x1p-6F : x[5 * IN + 36]);
    }
    tap_ok(shown, "%s: BF16: NaN and infinity are not hidden, nor passed to other rows", set);
    tap_ok(kept, "%s: BF16: the largest numbers stay, the smallest may go", set);
    tap_ok(tie, "%s: BF16: ties go to even where activations are rounded", set);
    dev->op->linear_free(dev, linear);
}

static void test_shapes(struct device *dev, struct device *reference, const char *set)
{
    static const size_t shape[][3] = {/* out, in, rows */
                                      {1, 1, 1},    {3, 5, 2},      {48, 64, 8},   {49, 7, 3},
                                      {47, 66, 4},  {16, 3, 5},     {100, 33, 9},  {97, 130, 13},
                                      {5, 1500, 7}, {130, 1030, 1}, {64, 48, 200}, {200, 96, 385}};
    static const enum dtype type[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16, DTYPE_I8};
    for (size_t t = 0; t < sizeof type / sizeof *type; t++)
        for (size_t s = 0; s < sizeof shape / sizeof *shape; s++)
            compare(dev, reference, shape[s][0], shape[s][1], shape[s][2], type[t], set);
}

/* Every row of every batch size, on every view of the device, has the bits it had in the batch of
 * all. */
static void test_rows(struct device *dev, const char *set, enum dtype type)
{
    enum { ALL = 200 };
    struct problem p = make(101, 1100, ALL, type);
    p.epilogue = EPILOGUE_GELU;
    struct device *lane = dev->op->lane(dev, 0);
    struct linear *linear = prepare(dev, &p);
    float *pre, *y, *all_pre = NULL, *all_y = NULL;
    bool same = linear && apply(dev, linear, &p, 0, ALL, &all_pre, &all_y);
    for (size_t rows = 1; same && rows <= 40; rows++) {
        size_t from = rows * 3 % (ALL - rows);
        same = apply(rows % 2 ? dev : lane, linear, &p, from, rows, &pre, &y) &&
               memcmp(pre, all_pre + from * p.out, rows * p.out * sizeof *pre) == 0;
        for (size_t r = 0; r < rows; r++)
            same = same && memcmp(y + r * p.y_stride, all_y + (from + r) * p.y_stride,
                                  p.out * sizeof *y) == 0;
        free(pre);
        free(y);
    }
    tap_ok(same, "%s: %s rows do not depend on the rows beside them", set, dtype_name(type));
    free(all_pre);
    free(all_y);
    dev->op->linear_free(dev, linear);
    discard(&p);
}

/* The same bits from devices with different numbers of threads. */
static void test_threads(struct device *one, struct device *more, const char *set, enum dtype type)
{
    struct problem p = make(770, 300, 250, type);
    float *pre[2], *y[2];
    struct device *dev[2] = {one, more};
    bool ran = true;
    for (size_t i = 0; i < 2; i++) {
        struct linear *linear = prepare(dev[i], &p);
        ran = linear && apply(dev[i], linear, &p, 0, p.rows, &pre[i], &y[i]) && ran;
        dev[i]->op->linear_free(dev[i], linear);
    }
    tap_ok(ran && memcmp(pre[0], pre[1], p.rows * p.out * sizeof(float)) == 0 &&
               memcmp(y[0], y[1], p.rows * p.y_stride * sizeof(float)) == 0,
           "%s: %s: 1 and %zu threads give the same bits", set, dtype_name(type), more->n_lanes);
    for (size_t i = 0; i < 2; i++) {
        free(pre[i]);
        free(y[i]);
    }
    discard(&p);
}

/* Matrices of one device, of which each knows the next, freed in any order: the products of those
 * that are left stay as they were. Empty ones are among them. */
static void test_neighbours(struct device *dev, const char *set, enum dtype type)
{
    enum { N = 5 };
    static const size_t out[N] = {40, 200, 0, 7, 96}, order[N] = {1, 4, 2, 0, 3};
    struct problem p[N];
    struct linear *linear[N];
    float *pre[N] = {NULL}, *y[N] = {NULL};
    bool same = true;
    for (size_t i = 0; i < N; i++) {
        p[i] = make(out[i], 64 + 3 * i, 9, type);
        linear[i] = prepare(dev, &p[i]);
        same = linear[i] && apply(dev, linear[i], &p[i], 0, p[i].rows, &pre[i], &y[i]) && same;
    }
    for (size_t gone = 0; gone < N && same; gone++) {
        for (size_t j = gone; j < N; j++) {
            size_t i = order[j];
            float *again, *pre_again;
            same = apply(dev, linear[i], &p[i], 0, p[i].rows, &pre_again, &again) && same &&
                   memcmp(again, y[i], p[i].rows * p[i].y_stride * sizeof *again) == 0;
            free(again);
            free(pre_again);
        }
        dev->op->linear_free(dev, linear[order[gone]]);
    }
    tap_ok(same, "%s: %s: matrices that come and go leave the others' products alone", set,
           dtype_name(type));
    for (size_t i = 0; i < N; i++) {
        free(pre[i]);
        free(y[i]);
        discard(&p[i]);
    }
}

/* Memory that is said to be taken: of bf16 half as much where it is multiplied as it is. */
static void test_bytes(struct device *dev, const char *set)
{
    size_t wide = dev->op->weight_bytes(dev, DTYPE_F32, 96, 64, false);
    size_t half = dev->op->weight_bytes(dev, DTYPE_BF16, 96, 64, false);
    size_t expected = strcmp(set, "avx512bf16") == 0 ? 96 * 64 * sizeof(uint16_t) : 0;
    tap_ok(wide == (96 * 64 + 96) * sizeof(float) && half == wide - expected,
           "%s: bytes of weights are counted", set);
}

/* The largest sums there are, and rows that cannot be quantised. */
static void test_extremes(struct device *dev, const char *set)
{
    enum { IN = 3001, OUT = 50, ROWS = 4 };
    int8_t *w = malloc(IN * OUT);
    float scale[OUT], *x = values(IN * ROWS, 1, 1), y[ROWS * OUT];
    for (size_t i = 0; i < IN * OUT; i++)
        w[i] = i / IN % 2 ? -127 : 127;
    for (size_t o = 0; o < OUT; o++)
        scale[o] = 1;
    for (size_t i = 0; i < IN; i++) {
        x[i] = -8;
        x[IN + i] = 0;
    }
    x[2 * IN + IN / 2] = NAN;
    x[3 * IN + IN - 1] = INFINITY;
    struct weight part = {w, DTYPE_I8, scale, OUT, IN, false};
    struct linear *linear = dev->op->linear_prepare(dev, &part, NULL, 1, &err);
    dev->op->linear(dev, linear, (const act *)x, IN, ROWS, EPILOGUE_NONE, NULL, (act *)y, OUT);
    float largest = (float)(255 * 127 * IN) * (4.0f / 127.5f);
    bool sums = true, zeros = true, bad = true;
    for (size_t o = 0; o < OUT; o++) {
        sums = sums && y[o] == (o % 2 ? largest : -largest);
        zeros = zeros && y[OUT + o] == 0;
        bad = bad && isnan(y[2 * OUT + o]) && isnan(y[3 * OUT + o]);
    }
    tap_ok(sums, "%s: int8: the largest sums are exact", set);
    tap_ok(zeros, "%s: int8: a row of zeros gives zeros", set);
    tap_ok(bad, "%s: int8: NaN and infinity are not hidden", set);
    dev->op->linear_free(dev, linear);
    free(w);
    free(x);
}

/* Forward and backward of a trainable matrix. */
static void test_bound(struct device *dev, struct device *reference, size_t out, size_t in,
                       size_t rows, bool bias)
{
    struct device *both[2] = {dev, reference};
    float *x = values(rows * (in + 1), 1, 1), *w = values(out * in, 2, 1), *b = values(out, 3, 1);
    float *dy = values(rows * (out + 2), 4, 1);
    float *y[2], *pre[2], *dx[2], *dw[2], *db[2];
    bool ran = true;
    for (size_t i = 0; i < 2; i++) {
        struct device *d = both[i];
        y[i] = filled(rows * (out + 3));
        pre[i] = filled(rows * out);
        dx[i] = filled(rows * (in + 4));
        dw[i] = values(out * in, 9, 1);
        db[i] = values(out, 8, 1);
        struct linear *linear = d->op->linear_bind(d, w, bias ? b : NULL, out, in, &err);
        ran = ran && linear;
        if (!linear)
            continue;
        d->op->linear_refresh(d, linear);
        d->op->linear(d, linear, (const act *)x, in + 1, rows, EPILOGUE_GELU, (act *)pre[i],
                      (act *)y[i], out + 3);
        d->op->linear_backward(d, linear, (const act *)x, in + 1, (const act *)dy, out + 2, rows,
                               (act *)dx[i], in + 4, dw[i], bias ? db[i] : NULL, 0);
        ran = d->op->sync(d, &err) && ran;
        d->op->linear_free(d, linear);
    }
    if (tap_ok(ran, "bound %zu × %zu, %zu rows, %zu lanes", out, in, rows, dev->n_lanes)) {
        double longest = (double)(out > in ? out > rows ? out : rows : in > rows ? in : rows);
        double tolerance = 1e-7 * longest + 1e-6;
        tap_close(pre[0], pre[1], rows * out, tolerance, "… before the epilogue");
        tap_close(y[0], y[1], rows * (out + 3), tolerance, "… after it");
        tap_close(dx[0], dx[1], rows * (in + 4), tolerance, "… dx");
        tap_close(dw[0], dw[1], out * in, tolerance, "… dw is added to");
        tap_close(db[0], db[1], out, tolerance, "… db is added to");
    } else
        printf("# %s\n", err.text);
    for (size_t i = 0; i < 2; i++) {
        free(y[i]);
        free(pre[i]);
        free(dx[i]);
        free(dw[i]);
        free(db[i]);
    }
    free(x);
    free(w);
    free(b);
    free(dy);
}

static void test_refusals(struct device *dev)
{
    float w[4] = {0}, dx[2];
    struct weight part[2] = {{w, DTYPE_F32, NULL, 2, 2, false}, {w, DTYPE_F32, NULL, 1, 3, false}};
    tap_ok(!dev->op->linear_prepare(dev, part, NULL, 2, &err) && strstr(err.text, "must agree"),
           "parts of different width are refused");
    error_clear(&err);
    part[0].type = DTYPE_I32;
    tap_ok(!dev->op->linear_prepare(dev, part, NULL, 1, &err) && strstr(err.text, "I32"),
           "weights of a type that is no weight are refused");
    error_clear(&err);
    part[0].type = DTYPE_F32;
    part[0].rotated = true;
    tap_ok(!dev->op->linear_prepare(dev, part, NULL, 1, &err) && strstr(err.text, "rotated"),
           "rotated weights that are not int8 are refused");
    error_clear(&err);
    part[0].rotated = false;
    struct linear *linear = dev->op->linear_prepare(dev, part, NULL, 1, &err);
    dev->op->linear_backward(dev, linear, (const act *)w, 2, (const act *)w, 2, 1, (act *)dx, 2,
                             NULL, NULL, 0);
    tap_ok(!dev->op->sync(dev, &err) && strstr(err.text, "linear_backward"),
           "packed weights have no gradient");
    error_clear(&err);
    dev->op->linear_free(dev, linear);
}

static void test_device(struct device *dev, struct device *reference, const char *set)
{
    test_shapes(dev, reference, set);
    test_rows(dev, set, DTYPE_F32);
    test_rows(dev, set, DTYPE_BF16);
    test_rows(dev, set, DTYPE_I8);
    test_rounding(dev, reference, set);
    test_bf16_edges(dev, set);
    test_extremes(dev, set);
    test_bytes(dev, set);
}

int main(void)
{
    static const char *const sets[] = {"portable", "avx2", "avx512", "avx512bf16"};
    struct device *reference = device_reference_open(&err);
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        setenv("MILLET_ISA", sets[i], 1);
        struct device *one = device_cpu_open(1, &err), *three = device_cpu_open(3, &err);
        struct device *eight = device_cpu_open(8, &err); /* most likely more than processors */
        if (one && three && eight) {
            test_device(one, reference, sets[i]);
            test_device(three, reference, sets[i]);
            test_threads(one, three, sets[i], DTYPE_F32);
            test_threads(one, three, sets[i], DTYPE_BF16);
            test_threads(one, three, sets[i], DTYPE_I8);
            test_threads(one, eight, sets[i], DTYPE_I8);
            test_neighbours(one, sets[i], DTYPE_F32);
            test_neighbours(three, sets[i], DTYPE_I8);
        } else
            tap_skip(sets[i], "this machine does not have it");
        error_clear(&err);
        if (one)
            one->op->close(one);
        if (three)
            three->op->close(three);
        if (eight)
            eight->op->close(eight);
    }
    unsetenv("MILLET_ISA");
    for (size_t threads = 1; threads <= 3; threads++) {
        struct device *dev = device_cpu_open(threads, &err);
        test_bound(dev, reference, 64, 48, 100, true);
        test_bound(dev, reference, 100, 130, 7, false);
        test_bound(dev, reference, 3, 5, 1, true);
        test_bound(dev, reference, 96, 64, 33, true);
        if (threads == 1)
            test_refusals(dev);
        char text[200];
        dev->op->describe(dev, text, sizeof text);
        tap_ok(strstr(text, "own kernels") && strstr(text, "OpenBLAS not loaded"),
               "described as \"%s\"", text);
        dev->op->close(dev);
    }
    reference->op->close(reference);
    return tap_done();
}
