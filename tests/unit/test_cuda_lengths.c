/* test_cuda_lengths.c: sequences that are longer than seqs.longest says, or whose offsets fall, are
 * an error of attention on a GPU, forward and backward, not rows left out in silence. */
#include <stdlib.h>

#include "kernels/kernels.h"
#include "tests/tap.h"

enum { TOKENS = 40, WIDTH = 8, SEQUENCES = 2 };

/* What sync says of attention over sequences with these offsets. */
static bool attend(enum dtype type, const int32_t *offsets, size_t longest, bool backward,
                   struct error *said)
{
    struct error err = ERROR_INIT;
    struct device *dev = device_cuda_open(0, type, 0, &err);
    if (!dev)
        return error_pass(said, &err);
    const struct device_ops *op = dev->op;
    const size_t n = TOKENS * WIDTH;
    act *x = op->alloc(dev, 5 * n * dev->act_bytes, said);
    float *lse = op->alloc(dev, TOKENS * sizeof *lse, said);
    int32_t *offset = op->alloc(dev, (SEQUENCES + 1) * sizeof *offset, said);
    if (!said->set) {
        const struct attention attention = {.seqs = {SEQUENCES, TOKENS, longest, offset},
                                            .heads = 1,
                                            .head_size = WIDTH,
                                            .scale = 1,
                                            .q_stride = WIDTH,
                                            .kv_stride = WIDTH,
                                            .out_stride = WIDTH};
        act *out = act_at(dev, x, n), *dx = act_at(dev, x, 2 * n);
        op->zero(dev, x, 5 * n * dev->act_bytes);
        op->zero(dev, lse, TOKENS * sizeof *lse);
        op->upload(dev, offset, offsets, (SEQUENCES + 1) * sizeof *offset);
        if (backward)
            op->attention_backward(dev, &attention, x, x, x, out, lse, out, dx, act_at(dev, dx, n),
                                   act_at(dev, dx, 2 * n));
        else
            op->attention(dev, &attention, x, x, x, out, lse);
        op->sync(dev, said);
    }
    op->free(dev, offset);
    op->free(dev, lse);
    op->free(dev, x);
    op->close(dev);
    return !said->set;
}

static void expect(enum dtype type, const int32_t *offsets, size_t longest, const char *expected)
{
    for (int backward = 0; backward < 2; backward++) {
        struct error err = ERROR_INIT;
        bool ok = attend(type, offsets, longest, backward, &err);
        tap_ok(expected ? !ok && strstr(err.text, expected) : ok,
               "%s of lengths %d and %d, longest %zu%s%s", backward ? "backward" : "attention",
               (int)(offsets[1] - offsets[0]), (int)(offsets[2] - offsets[1]), longest,
               err.set ? ": " : "", err.text);
    }
}

int main(void)
{
    static const int32_t rising[] = {0, 5, TOKENS}, falling[] = {0, TOKENS, 5};
    struct error err = ERROR_INIT;
    struct device *dev = device_cuda_open(0, DTYPE_F32, 0, &err);
    if (!dev) {
        tap_skip("lengths of sequences", err.text);
        return tap_done();
    }
    dev->op->close(dev);
    expect(DTYPE_F32, rising, TOKENS - 5, NULL);
    expect(DTYPE_F16, rising, TOKENS, NULL);
    expect(DTYPE_F32, rising, TOKENS - 6, "a sequence of 35 tokens in a batch whose longest was");
    expect(DTYPE_F16, rising, 1, "was said to have 1");
    expect(DTYPE_F32, falling, TOKENS, "was said to have 40");
    return tap_done();
}
