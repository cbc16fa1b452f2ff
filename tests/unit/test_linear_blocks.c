/* Products with weights of which blocks are zero: those left out change no bit. Few rows are computed
 * without leaving anything out, and a row's result does not depend on the rows beside it: so row by row
 * and all at once must agree to the bit. Integers agree with the reference as they are. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/rng.h"
#include "kernels/kernels.h"
#include "tests/tap.h"

enum { ROWS = 37 };

struct form {
    size_t out, in, block_rows, block_cols;
    unsigned kept; /* of 100 */
};

static struct error err = ERROR_INIT;

static void need(bool ok)
{
    if (!ok) {
        printf("Bail out! %s\n", err.text);
        exit(1);
    }
}

/* Weights as floats, blocks of them zero; as int8 they are whole numbers. */
static float *weights(const struct form *f, bool whole)
{
    float *w = memory_array(f->out * f->in, sizeof *w, &err);
    size_t across = (f->in + f->block_cols - 1) / f->block_cols;
    need(w != NULL);
    for (size_t r = 0; r < f->out; r++)
        for (size_t c = 0; c < f->in; c++) {
            size_t block = r / f->block_rows * across + c / f->block_cols;
            double value = (double)(rng_hash(r, c) % 255) - 127;
            bool kept = rng_hash(77, block) % 100 < f->kept;
            w[r * f->in + c] = kept ? (float)(whole ? value : value / 99) : 0;
        }
    return w;
}

static struct linear *prepare(struct device *dev, const struct form *f, enum dtype type)
{
    float *w = weights(f, type == DTYPE_I8), *scale = memory_array(f->out, sizeof *scale, &err);
    char *raw = malloc(f->out * f->in * dtype_bytes(type));
    need(scale && raw);
    for (size_t i = 0; i < f->out; i++)
        scale[i] = 0.01F + (float)(i % 7) / 1000;
    dtype_from_float(type, w, f->out * f->in, raw);
    const struct weight part = {raw, type, type == DTYPE_I8 ? scale : NULL, f->out, f->in, false};
    struct linear *linear = dev->op->linear_prepare(dev, &part, NULL, 1, &err);
    need(linear != NULL);
    free(w);
    free(scale);
    free(raw);
    return linear;
}

static void test(struct device *dev, struct device *reference, const struct form *f,
                 enum dtype type, const char *isa)
{
    struct linear *ours = prepare(dev, f, type), *theirs = prepare(reference, f, type);
    float *x = memory_array(ROWS * f->in, sizeof *x, &err);
    float *all = memory_array(3 * ROWS * f->out, sizeof *all, &err);
    need(x && all);
    float *each = all + ROWS * f->out, *right = each + ROWS * f->out;
    for (size_t i = 0; i < ROWS * f->in; i++) /* bf16 has them, too: as products may round them */
        x[i] = (float)(rng_hash(9, i) % 257) / 128 - 1;
    dev->op->linear(dev, ours, (const act *)x, f->in, ROWS, EPILOGUE_NONE, NULL, (act *)all,
                    f->out);
    for (size_t r = 0; r < ROWS; r++)
        dev->op->linear(dev, ours, (const act *)(x + r * f->in), f->in, 1, EPILOGUE_NONE, NULL,
                        (act *)(each + r * f->out), f->out);
    reference->op->linear(reference, theirs, (const act *)x, f->in, ROWS, EPILOGUE_NONE, NULL,
                          (act *)right, f->out);
    need(dev->op->sync(dev, &err));
    bool close = true;
    for (size_t i = 0; i < ROWS * f->out; i++) /* sums of products up to 1.3: in 2^-24 1.3 in */
        close = close &&
                fabs((double)all[i] - (double)right[i]) <= (double)(f->in * f->in) * 1.3 * 0x1p-24;
    size_t bytes = ROWS * f->out * sizeof *all;
    tap_ok(memcmp(all, each, bytes) == 0, "%s %s %zu x %zu, %u %% of %zu x %zu: to the bit", isa,
           dtype_name(type), f->out, f->in, f->kept, f->block_rows, f->block_cols);
    tap_ok(type == DTYPE_I8 ? memcmp(all, right, bytes) == 0 : close,
           "and as the reference has it");
    free(x);
    free(all);
    dev->op->linear_free(dev, ours);
    reference->op->linear_free(reference, theirs);
}

int main(void)
{
    static const struct form forms[] = {
        {384, 384, 32, 32, 50}, {384, 384, 32, 32, 10}, {100, 2100, 32, 32, 30},
        {50, 70, 48, 20, 50},   {96, 128, 96, 128, 0},  {70, 300, 70, 40, 60},
        {33, 65, 32, 32, 90},   {64, 64, 1, 1, 5},
    };
    static const char *const isa[] = {"portable", "avx2", "avx512", "avx512bf16"};
    struct device *reference = device_reference_open(&err);
    need(reference != NULL);
    for (size_t i = 0; i < sizeof isa / sizeof isa[0]; i++) {
        struct error absent = ERROR_INIT;
        setenv("MILLET_ISA", isa[i], 1);
        struct device *dev = device_cpu_open(2, &absent);
        if (!dev) {
            tap_skip(isa[i], "not an instruction set of this machine");
            continue;
        }
        for (size_t f = 0; f < sizeof forms / sizeof forms[0]; f++) {
            test(dev, reference, &forms[f], DTYPE_F32, isa[i]);
            test(dev, reference, &forms[f], DTYPE_BF16, isa[i]);
            test(dev, reference, &forms[f], DTYPE_I8, isa[i]);
        }
        dev->op->close(dev);
    }
    reference->op->close(reference);
    return tap_done();
}
