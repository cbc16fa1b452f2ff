/* test_ops_rows.c: a row's result does not depend on the rows beside it: what a record is given
 * does not change with the batch it came in. Whole arrays against row by row (sequence by
 * sequence), byte for byte, on every device; and what a NaN spoils. */
#include "tests/unit/ops_trial.h"

static struct device *dev;
static const char *name;

static void *pool[32];
static size_t n_pool;

/* n normal values on the device, as floats or as activations. */
static void *place(size_t n, uint64_t seed, bool floats)
{
    struct error err = ERROR_INIT;
    struct rng rng;
    float *host = calloc(n + 1, sizeof *host);
    rng_seed(&rng, seed);
    for (size_t i = 0; i < n; i++)
        host[i] = (float)rng_normal(&rng);
    void *memory = dev->op->alloc(dev, n * (floats ? sizeof *host : dev->act_bytes), &err);
    trial_must(memory && n_pool < sizeof pool / sizeof *pool, &err);
    if (floats)
        dev->op->upload(dev, memory, host, n * sizeof *host);
    else
        dev->op->act_upload(dev, memory, host, n);
    free(host);
    return pool[n_pool++] = memory;
}

static act *made(size_t n, uint64_t seed)
{
    return place(n, seed, false);
}

static float *made_floats(size_t n, uint64_t seed)
{
    return place(n, seed, true);
}

static void release(void)
{
    while (n_pool)
        dev->op->free(dev, pool[--n_pool]);
}

/* Equal bytes of n activations; says which row of `cols` differs first. */
static void same(const act *together, const act *alone, size_t n, size_t cols, const char *what)
{
    float *x = malloc(n * sizeof *x), *y = malloc(n * sizeof *y);
    dev->op->act_download(dev, x, together, n);
    dev->op->act_download(dev, y, alone, n);
    size_t i = 0;
    while (i < n && memcmp(x + i, y + i, sizeof *x) == 0)
        i++;
    if (!tap_ok(i == n, "%s: %s: rows alone and together", name, what))
        printf("# row %zu column %zu: together %.9g, alone %.9g\n", i / cols, i % cols,
               (double)x[i], (double)y[i]);
    free(x);
    free(y);
}

static void test_linear(enum dtype type, size_t in, size_t out)
{
    enum { ROWS = 37 };
    struct error err = ERROR_INIT;
    char what[64];
    float *values = malloc(out * in * sizeof *values), *scale = malloc(out * sizeof *scale);
    void *stored = malloc(out * in * dtype_bytes(type));
    for (size_t i = 0; i < out * in; i++)
        values[i] = (float)((int)(i * 7919 % 251) - 125) * (type == DTYPE_I8 ? 1.0F : 0.01F);
    for (size_t i = 0; i < out; i++)
        scale[i] = 0.01F;
    dtype_from_float(type, values, out * in, stored);
    struct weight weight = {stored, type, type == DTYPE_I8 ? scale : NULL, out, in, false};
    struct linear *linear = dev->op->linear_prepare(dev, &weight, NULL, 1, &err);
    trial_must(linear != NULL, &err);
    act *x = made(ROWS * in, 1), *together = made(ROWS * out, 0), *alone = made(ROWS * out, 0);
    dev->op->linear(dev, linear, x, in, ROWS, EPILOGUE_GELU, NULL, together, out);
    for (size_t r = 0; r < ROWS; r++)
        dev->op->linear(dev, linear, act_at(dev, x, r * in), in, 1, EPILOGUE_GELU, NULL,
                        act_at(dev, alone, r * out), out);
    snprintf(what, sizeof what, "linear %s %zu × %zu", dtype_name(type), in, out);
    same(together, alone, ROWS * out, out, what);
    dev->op->linear_free(dev, linear);
    free(values);
    free(scale);
    free(stored);
    release();
}

static void test_norm(size_t cols)
{
    enum { ROWS = 130 };
    const struct dropout none = {0, 0};
    act *x = made(ROWS * cols, 1), *residual = made(ROWS * cols, 2);
    float *gain = made_floats(cols, 3), *bias = made_floats(cols, 4);
    act *together = made(ROWS * cols, 0), *alone = made(ROWS * cols, 0);
    dev->op->add_norm(dev, NORM_LAYER, x, residual, none, gain, bias, 1e-12F, ROWS, cols, NULL,
                      NULL, together);
    for (size_t r = 0; r < ROWS; r++)
        dev->op->add_norm(dev, NORM_LAYER, act_at(dev, x, r * cols),
                          act_at(dev, residual, r * cols), none, gain, bias, 1e-12F, 1, cols, NULL,
                          NULL, act_at(dev, alone, r * cols));
    same(together, alone, ROWS * cols, cols, "add_norm");
    release();
}

enum { SEQUENCES = 5, TOKENS = 154, HEADS = 3 };
static const int32_t offset[SEQUENCES + 1] = {0, 1, 4, 21, 54, 154};

static void attention(size_t size, size_t first, size_t n, const act *qkv, act *out)
{
    struct error err = ERROR_INIT;
    int32_t host[SEQUENCES + 1], *at = dev->op->alloc(dev, sizeof host, &err);
    trial_must(at != NULL, &err);
    size_t width = HEADS * size, longest = 0;
    for (size_t i = 0; i <= n; i++) {
        host[i] = offset[first + i] - offset[first];
        if (i > 0 && (size_t)(host[i] - host[i - 1]) > longest)
            longest = (size_t)(host[i] - host[i - 1]);
    }
    dev->op->upload(dev, at, host, sizeof host);
    struct attention a = {.seqs = {n, (size_t)host[n], longest, at},
                          .heads = HEADS,
                          .head_size = size,
                          .scale = 0.2F,
                          .q_stride = 3 * width,
                          .kv_stride = 3 * width,
                          .out_stride = width};
    size_t row = (size_t)offset[first];
    qkv = act_at_const(dev, qkv, row * 3 * width);
    dev->op->attention(dev, &a, qkv, act_at_const(dev, qkv, width),
                       act_at_const(dev, qkv, 2 * width), act_at(dev, out, row * width), NULL);
    dev->op->free(dev, at);
}

static void test_attention(size_t size)
{
    size_t width = HEADS * size;
    act *qkv = made(TOKENS * 3 * width, 1);
    act *together = made(TOKENS * width, 0), *alone = made(TOKENS * width, 0);
    attention(size, 0, SEQUENCES, qkv, together);
    for (size_t s = 0; s < SEQUENCES; s++)
        attention(size, s, 1, qkv, alone);
    same(together, alone, TOKENS * width, width, "attention");
    release();
}

/* A NaN in one sequence, or one row, is seen in all of its results and in no other's. */
static void test_nan(void)
{
    enum { SIZE = 16, WIDTH = HEADS * SIZE, ROW = 10 }; /* row 10 lies in sequence 2, rows 4 … 20 */
    static float x[TOKENS * 3 * WIDTH], y[TOKENS * WIDTH];
    const struct dropout none = {0, 0};
    const float nan_value = NAN;
    act *qkv = made(TOKENS * 3 * WIDTH, 1), *out = made(TOKENS * WIDTH, 0);
    float *gain = made_floats(WIDTH, 3), *bias = made_floats(WIDTH, 4);
    dev->op->act_upload(dev, act_at(dev, qkv, ROW * 3 * WIDTH + WIDTH), &nan_value, 1);
    attention(SIZE, 0, SEQUENCES, qkv, out); /* the NaN is in a key, head 0 */
    dev->op->act_download(dev, y, out, TOKENS * WIDTH);
    size_t wrong = 0;
    for (size_t t = 0; t < TOKENS; t++)
        for (size_t c = 0; c < WIDTH; c++)
            wrong += (t >= 4 && t < 21 && c < SIZE) != (bool)isnan(y[t * WIDTH + c]);
    tap_ok(wrong == 0, "%s: a NaN key spoils its head and sequence, nothing else", name);
    dev->op->add_norm(dev, NORM_LAYER, qkv, NULL, none, gain, bias, 1e-12F, TOKENS * 3, WIDTH, NULL,
                      NULL, qkv);
    dev->op->act_download(dev, x, qkv, TOKENS * 3 * WIDTH);
    wrong = 0;
    for (size_t r = 0; r < TOKENS * 3; r++)
        for (size_t c = 0; c < WIDTH; c++)
            wrong += (r == ROW * 3 + 1) != (bool)isnan(x[r * WIDTH + c]);
    tap_ok(wrong == 0, "%s: a NaN spoils its row of add_norm, nothing else", name);
    release();
}

int main(void)
{
    static const enum dtype types[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16, DTYPE_I8};
    trial_open_devices();
    trial_report_devices();
    for (size_t i = 0; i < trial_n_devices; i++) {
        dev = trial_devices[i].dev;
        name = trial_devices[i].name;
        if (!dev)
            continue;
        for (size_t k = 0; k < 4; k++) {
            test_linear(types[k], 64, 96);
            test_linear(types[k], 300, 33);
        }
        test_norm(33);
        test_norm(256);
        test_attention(8);
        test_attention(20);
        test_attention(64);
        test_nan();
    }
    trial_close_devices();
    return tap_done();
}
