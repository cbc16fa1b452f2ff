/* Products of trainable matrices whose factors are rounded to bf16 or fp16, in every instruction set:
 * by rounding them beforehand, or by an instruction for pairs of bf16. Against the reference, which
 * rounds and sums in double; to the bit with 1, 2 and 3 threads and on a lane; at the edges of
 * bf16. */
#include <stdlib.h>

#include "core/memory.h"
#include "core/rng.h"
#include "kernels/kernels.h"
#include "tests/tap.h"

#define GUARD 12345.5F

static struct error err = ERROR_INIT;

static void need(bool ok)
{
    if (!ok) {
        printf("Bail out! %s\n", err.text);
        exit(1);
    }
}

static float *values(size_t n, uint64_t seed)
{
    struct rng rng;
    float *x = memory_array(n + 1, sizeof *x, &err);
    need(x != NULL);
    rng_seed(&rng, seed);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)rng_normal(&rng);
    x[n] = GUARD;
    return x;
}

/* ---- against the reference ---- */

struct problem {
    size_t rows, in, out, gap; /* gap: of each row of activations */
    enum dtype format;
    unsigned how;
};

enum { PRE, Y, DX, DW, DB, RESULTS };
static const char *const result_names[RESULTS] = {"pre", "y", "dx", "dw", "db"};

struct results {
    float *of[RESULTS];
    size_t n[RESULTS];
};

static struct results room(const struct problem *p)
{
    const size_t n[RESULTS] = {p->rows * p->out, p->rows * (p->out + p->gap),
                               p->rows * (p->in + p->gap), p->out * p->in, p->out};
    struct results r;
    for (size_t i = 0; i < RESULTS; i++) {
        r.n[i] = n[i];
        r.of[i] = values(n[i], 77 + i); /* of which dw, db and dx may be added to */
    }
    return r;
}

static void discard(struct results *r)
{
    for (size_t i = 0; i < RESULTS; i++)
        free(r->of[i]);
}

/* The format changes on the way: the last one counts. */
static struct results compute(struct device *dev, const struct problem *p)
{
    struct results r = room(p);
    size_t x_stride = p->in + p->gap, y_stride = p->out + p->gap;
    float *w = values(p->out * p->in, 1), *b = values(p->out, 2);
    float *x = values(p->rows * x_stride, 3), *dy = values(p->rows * y_stride, 4);
    struct linear *linear = dev->op->linear_bind(dev, w, b, p->out, p->in, &err);
    need(linear && dev->op->linear_round(dev, linear, DTYPE_F16, &err) &&
         dev->op->linear_round(dev, linear, DTYPE_BF16, &err) &&
         dev->op->linear_round(dev, linear, p->format, &err));
    w[0] = 0.3F;
    dev->op->linear_refresh(dev, linear);
    dev->op->linear(dev, linear, (const act *)x, x_stride, p->rows, EPILOGUE_GELU, (act *)r.of[PRE],
                    (act *)r.of[Y], y_stride);
    dev->op->linear_backward(dev, linear, (const act *)x, x_stride, (const act *)dy, y_stride,
                             p->rows, (act *)r.of[DX], x_stride, r.of[DW], r.of[DB], p->how);
    need(dev->op->sync(dev, &err));
    dev->op->linear_free(dev, linear);
    free(w);
    free(b);
    free(x);
    free(dy);
    return r;
}

/* n roundings of partial sums of size √n at most a few times, half a unit each; then GELU. */
static double tolerance(size_t terms)
{
    return (double)terms * sqrt((double)terms) * 0x1p-24 + 0x1p-20;
}

static void test_problem(struct device *const *dev, size_t n_devs, struct device *reference,
                         const struct problem *p, const char *set)
{
    const size_t terms[RESULTS] = {p->in, p->in, p->out, p->rows, p->rows};
    struct results right = compute(reference, p), first = compute(dev[0], p);
    tap_ok(true, "%s: %s, %zu rows, %zu to %zu, how %u", set, dtype_name(p->format), p->rows, p->in,
           p->out, p->how);
    for (size_t i = 0; i < RESULTS; i++) /* beside rows is what was there, guards included */
        tap_close(first.of[i], right.of[i], first.n[i] + 1, tolerance(terms[i]), result_names[i]);
    bool same = true;
    for (size_t d = 1; d < n_devs; d++) {
        struct results other = compute(dev[d], p);
        for (size_t i = 0; i < RESULTS; i++)
            same = same && memcmp(first.of[i], other.of[i], first.n[i] * sizeof *other.of[i]) == 0;
        discard(&other);
    }
    tap_ok(same, "… the same bytes from any number of threads");
    discard(&first);
    discard(&right);
}

static void test_problems(struct device *const *dev, size_t n_devs, struct device *reference,
                          const char *set)
{
    static const struct problem problems[] = {
        {1, 1, 1, 0, DTYPE_BF16, 0},
        {2, 3, 5, 1, DTYPE_BF16, 0},
        {9, 31, 33, 2, DTYPE_BF16, BACKWARD_SET_DW},
        {33, 32, 49, 0, DTYPE_BF16, BACKWARD_ADD_DX},
        {67, 130, 97, 3, DTYPE_BF16, BACKWARD_SET_DW | BACKWARD_ADD_DX},
        {193, 65, 385, 0, DTYPE_BF16, 0},
        {5, 2051, 7, 0, DTYPE_BF16, 0}, /* several blocks of k in turn */
        {7, 6, 2049, 1, DTYPE_BF16, 0},
        {2083, 17, 9, 0, DTYPE_BF16, 0},
        {0, 4, 3, 0, DTYPE_BF16, BACKWARD_SET_DW},
        {67, 130, 97, 3, DTYPE_F16, 0},
    };
    for (size_t i = 0; i < sizeof problems / sizeof *problems; i++)
        test_problem(dev, n_devs, reference, &problems[i], set);
}

/* ---- edges ---- */

/* What is not finite shows in its own row of y, or its own column of dw, alone; the largest numbers
 * stay, subnormal ones may go, ties go to even. All other weights and gradients are 1, k is odd. */
static void test_edges(struct device *dev, const char *set)
{
    enum { IN = 37, OUT = 50, ROWS = 7 };
    float w[OUT * IN], x[ROWS * IN] = {0}, dy[ROWS * OUT], y[ROWS * OUT], dw[OUT * IN];
    for (size_t i = 0; i < OUT * IN; i++)
        w[i] = 1;
    for (size_t i = 0; i < ROWS * OUT; i++)
        dy[i] = 1;
    x[0 * IN + 36] = NAN;
    x[1 * IN + 35] = -INFINITY;
    x[2 * IN + 34] = 3.3e38F;
    x[3 * IN + 1] = 1e-40F;
    x[4 * IN + 33] = 1.0F + 0x1p-8F; /* a tie: to the even 1 */
    x[5 * IN + 32] = 1.0F + 0x3p-8F; /* to the even 1 + 2^-6 */
    x[6 * IN + 31] = 1.0F + 0x1.8p-8F;
    struct linear *linear = dev->op->linear_bind(dev, w, NULL, OUT, IN, &err);
    need(linear && dev->op->linear_round(dev, linear, DTYPE_BF16, &err));
    dev->op->linear(dev, linear, (const act *)x, IN, ROWS, EPILOGUE_NONE, NULL, (act *)y, OUT);
    dev->op->linear_backward(dev, linear, (const act *)x, IN, (const act *)dy, OUT, ROWS, NULL, IN,
                             dw, NULL, BACKWARD_SET_DW);
    need(dev->op->sync(dev, &err));
    bool shown = true, kept = true, even = true, columns = true;
    for (size_t o = 0; o < OUT; o++) {
        const float *row = dw + o * IN;
        shown = shown && isnan(y[o]) && y[OUT + o] == -INFINITY;
        kept = kept && y[2 * OUT + o] > 3.2e38F && isfinite(y[2 * OUT + o]) &&
               fabsf(y[3 * OUT + o]) <= 1.01e-40F;
        even = even && y[4 * OUT + o] == 1 && y[5 * OUT + o] == 1 + 0x1p-6F &&
               y[6 * OUT + o] == 1 + 0x1p-7F;
        columns = columns && isnan(row[36]) && row[35] == -INFINITY && row[34] > 3.2e38F &&
                  row[33] == 1 && row[32] == 1 + 0x1p-6F && row[0] == 0;
    }
    tap_ok(shown, "%s: NaN and infinity are not hidden, nor passed to other rows", set);
    tap_ok(kept, "%s: the largest numbers stay, the smallest may go", set);
    tap_ok(even, "%s: to the nearest, ties to even", set);
    tap_ok(columns, "%s: dw has each in its column", set);
    dev->op->linear_free(dev, linear);
}

/* dx of NaN in dy, and what it weighs. */
static void test_edges_dx(struct device *dev, const char *set)
{
    enum { IN = 19, OUT = 33, ROWS = 3 };
    float w[OUT * IN], dy[ROWS * OUT] = {0}, dx[ROWS * IN];
    for (size_t i = 0; i < OUT * IN; i++)
        w[i] = (float)(i / IN);
    dy[0 * OUT + 32] = NAN;
    dy[1 * OUT + 32] = 2;
    dy[2 * OUT + 31] = -INFINITY;
    struct linear *linear = dev->op->linear_bind(dev, w, NULL, OUT, IN, &err);
    need(linear && dev->op->linear_round(dev, linear, DTYPE_BF16, &err));
    dev->op->linear_backward(dev, linear, (const act *)dx, IN, (const act *)dy, OUT, ROWS,
                             (act *)dx, IN, NULL, NULL, 0);
    need(dev->op->sync(dev, &err));
    bool right = true;
    for (size_t i = 0; i < IN; i++)
        right = right && isnan(dx[i]) && dx[IN + i] == 64 && dx[2 * IN + i] == -INFINITY;
    tap_ok(right, "%s: dx has each in its row", set);
    struct linear_size size;
    dev->op->linear_size(linear, &size);
    tap_ok(size.out == OUT && size.in == IN && size.format == DTYPE_BF16,
           "%s: BF16 is what is multiplied", set);
    dev->op->linear_free(dev, linear);
}

int main(void)
{
    static const char *const sets[] = {"portable", "avx2", "avx512", "avx512bf16"};
    enum { DEVICES = 4 };
    struct device *reference = device_reference_open(&err);
    need(reference != NULL);
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        struct device *dev[DEVICES] = {NULL};
        setenv("MILLET_ISA", sets[i], 1);
        for (size_t d = 0; d < 3; d++)
            dev[d] = device_cpu_open(d + 1, &err);
        if (!dev[0]) {
            tap_skip(sets[i], "this machine does not have it");
            error_clear(&err);
            continue;
        }
        need(dev[1] && dev[2]);
        dev[3] = dev[1]->op->lane(dev[1], 1);
        test_problems(dev, DEVICES, reference, sets[i]);
        test_edges(dev[1], sets[i]);
        test_edges_dx(dev[1], sets[i]);
        for (size_t d = 0; d < 3; d++)
            dev[d]->op->close(dev[d]);
    }
    reference->op->close(reference);
    return tap_done();
}
