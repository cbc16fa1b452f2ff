/* A traced device gives the same bytes, counts what was asked of it, and is afterwards what it was. */
#include "kernels/trace.h"

#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "tests/tap.h"

enum { TOKENS = 7, SEQUENCES = 2, HIDDEN = 24, HEADS = 2, LABELS = 3 };

static struct error err = ERROR_INIT;

static void need(bool ok)
{
    if (!ok) {
        printf("Bail out! %s\n", err.text);
        exit(1);
    }
}

static float *random_floats(struct device *dev, size_t n, uint64_t seed)
{
    float *x = dev->op->alloc(dev, n * sizeof *x, &err);
    need(x != NULL);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(rng_hash(seed, i) % 2001) / 1000 - 1;
    return x;
}

static struct linear *prepare(struct device *dev, enum dtype type)
{
    float w[HIDDEN * HIDDEN], scale[HIDDEN];
    char raw[sizeof w];
    for (size_t i = 0; i < HIDDEN * HIDDEN; i++)
        w[i] = (float)(rng_hash(5, i) % 255) - 127;
    for (size_t i = 0; i < HIDDEN; i++)
        scale[i] = 0.01F;
    dtype_from_float(type, w, HIDDEN * HIDDEN, raw);
    const struct weight part = {raw, type, type == DTYPE_I8 ? scale : NULL, HIDDEN, HIDDEN, false};
    struct linear *linear = dev->op->linear_prepare(dev, &part, NULL, 1, &err);
    need(linear != NULL);
    return linear;
}

/* Some operations of a forward pass into out [2, TOKENS, HIDDEN]. */
static void forward(struct device *dev, struct linear *const linear[2], float *out)
{
    static const int32_t offset[] = {0, 3, TOKENS};
    const struct attention attention = {.seqs = {SEQUENCES, TOKENS, 4, offset},
                                        .heads = HEADS,
                                        .head_size = HIDDEN / HEADS,
                                        .scale = 0.25F,
                                        .q_stride = HIDDEN,
                                        .kv_stride = HIDDEN,
                                        .out_stride = HIDDEN};
    size_t n = TOKENS * HIDDEN;
    float *x = random_floats(dev, n, 1), *y = random_floats(dev, n, 2);
    float *gain = random_floats(dev, HIDDEN, 3), *bias = random_floats(dev, HIDDEN, 4);
    const struct device_ops *op = dev->op;
    op->linear(dev, linear[0], (act *)x, HIDDEN, TOKENS, EPILOGUE_GELU, NULL, (act *)y, HIDDEN);
    op->linear_norm(dev, linear[1], (act *)y, HIDDEN, TOKENS, (act *)out, NORM_LAYER, (act *)x,
                    (struct dropout){0}, gain, bias, 1e-6F, HIDDEN, NULL, NULL, (act *)x);
    op->attention(dev, &attention, (act *)x, (act *)x, (act *)x, (act *)y, NULL);
    op->act_download(dev, out, (act *)x, n);
    op->act_download(dev, out + n, (act *)y, n);
    need(op->sync(dev, &err));
    float *all[] = {x, y, gain, bias};
    for (size_t i = 0; i < 4; i++)
        op->free(dev, all[i]);
}

static bool near(double found, double expected)
{
    return fabs(found - expected) <= 1e-9 * expected;
}

static void test_counts(const struct trace *trace, const char *name)
{
    struct trace_count count[TRACE_KINDS];
    struct device_peak peak = {.f32 = 1e9, .int8 = 4e9, .bytes = 1e12};
    bool by_bytes;
    double product = 2.0 * TOKENS * HIDDEN * HIDDEN, n = TOKENS * HIDDEN;
    trace_sum(trace, count);
    const struct trace_count *f32 = &count[TRACE_LINEAR_F32], *int8 = &count[TRACE_LINEAR_I8];
    tap_ok(f32->calls == 1 && near(f32->operations, product) &&
               near(f32->bytes, 4 * (2 * n + HIDDEN * HIDDEN)),
           "%s: the product of floats", name);
    tap_ok(int8->calls == 1 && near(int8->operations, product) &&
               near(int8->bytes, 4 * 2 * n + HIDDEN * HIDDEN),
           "%s: the product of int8, inside linear_norm", name);
    tap_ok(count[TRACE_NORM].calls == 1 && near(count[TRACE_NORM].bytes, 4 * 3 * n), "%s: its norm",
           name);
    tap_ok(count[TRACE_ATTENTION].calls == 1 &&
               near(count[TRACE_ATTENTION].operations, 4 * HIDDEN * (3.0 * 3 + 4 * 4)) &&
               near(count[TRACE_ATTENTION].bytes, 4 * 4 * n),
           "%s: attention: each sequence with itself", name);
    tap_ok(count[TRACE_COPY].calls == 2 && count[TRACE_EMBED].calls == 0,
           "%s: copies, and nothing that was not there", name);
    tap_ok(f32->seconds > 0, "%s: it took time", name);
    double least = trace_least_seconds(trace, &peak, TRACE_LINEAR_I8, int8, &by_bytes);
    tap_ok(least > 0 && !by_bytes, "%s: a product is bound by its operations", name);
    peak.bytes = 1e6;
    tap_ok(trace_least_seconds(trace, &peak, TRACE_LINEAR_I8, int8, &by_bytes) > least && by_bytes,
           "%s: or by its bytes", name);
    peak.int8 = 0;
    tap_ok(trace_least_seconds(trace, &peak, TRACE_LINEAR_I8, int8, &by_bytes) == 0,
           "%s: without a peak there is no bound", name);
}

static void test_device(struct device *dev)
{
    enum { N = 2 * TOKENS * HIDDEN };
    float plain[N], traced[N];
    const struct device_ops *table = dev->op;
    struct device *lane = dev->op->lane(dev, 0);
    const struct device_ops *lane_table = lane->op;
    struct linear *linear[2] = {prepare(dev, DTYPE_F32), prepare(dev, DTYPE_I8)};
    forward(lane, linear, plain);
    struct trace *trace = trace_open(dev, &err);
    need(trace != NULL);
    forward(lane, linear, traced);
    tap_ok(memcmp(plain, traced, sizeof plain) == 0, "%s: the same bytes", dev->name);
    test_counts(trace, dev->name);
    trace_close(trace);
    tap_ok(dev->op == table && lane->op == lane_table, "%s: its own tables are back", dev->name);
    for (size_t i = 0; i < 2; i++)
        dev->op->linear_free(dev, linear[i]);
}

static void test_peak(struct device *dev)
{
    struct device_peak peak;
    dev->op->peak(dev, &peak);
    tap_ok(peak.f32 > 0 && peak.bytes > 0 && peak.int8 >= 0, "peak: %.0f GFLOP/s, %.0f GB/s",
           peak.f32 * 1e-9, peak.bytes * 1e-9);
}

int main(void)
{
    struct device *reference = device_reference_open(&err);
    struct device *cpu = reference ? device_cpu_open(2, &err) : NULL;
    need(cpu != NULL);
    test_device(reference);
    test_device(cpu);
    test_peak(cpu);
    struct device elsewhere = {.name = "cuda"};
    struct error refusal = ERROR_INIT;
    tap_ok(!trace_open(&elsewhere, &refusal) && strstr(refusal.text, "cuda"),
           "a device of its own memory is refused");
    cpu->op->close(cpu);
    reference->op->close(reference);
    return tap_done();
}
