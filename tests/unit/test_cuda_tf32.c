/* test_cuda_tf32.c: TF32 is asked for by products of floats with weights, when it was asked of the
 * device, and by nothing else. The emulator rounds as tensor cores do. */
#include <stdlib.h>

#include "kernels/device.h"
#include "tests/tap.h"

/* 2^-13 is half of the last of 11 bits of numbers from 1 on: to TF32 it is not there. */
static const float rounded = 1 + 0x1p-13f;

/* rounded times 1 as a product with weights, forward and backward, and as a Gram matrix. */
static bool products(struct device *dev, float *y, float *dx, float *dw, float *g,
                     struct error *err)
{
    static const float one = 1;
    const struct device_ops *op = dev->op;
    float *memory = op->alloc(dev, 6 * 64, err);
    if (!memory)
        return false;
    float *w = memory + 16, *sum = memory + 32, *gram = memory + 48;
    act *x = (act *)memory, *out = (act *)(memory + 64), *back = (act *)(memory + 80);
    op->zero(dev, memory, 6 * 64);
    op->upload(dev, x, &rounded, sizeof rounded);
    op->upload(dev, w, &one, sizeof one);
    struct linear *linear = op->linear_bind(dev, w, NULL, 1, 1, err);
    if (linear) {
        op->linear(dev, linear, x, 1, 1, EPILOGUE_NONE, NULL, out, 1);
        op->linear_backward(dev, linear, x, 1, x, 1, 1, back, 1, sum, NULL, 0);
        op->gram(dev, x, 1, 1, gram);
        op->download(dev, y, out, sizeof *y);
        op->download(dev, dx, back, sizeof *dx);
        op->download(dev, dw, sum, sizeof *dw);
        op->download(dev, g, gram, sizeof *g);
    }
    bool ok = linear && op->sync(dev, err);
    op->linear_free(dev, linear);
    op->free(dev, memory);
    return ok;
}

static void test_asked(bool asked)
{
    struct error err = ERROR_INIT;
    const struct device_choice choice = {.name = "cuda", .precision = DTYPE_F32, .tf32 = asked};
    struct device *dev = device_choose(&choice, &err, &err);
    float y = 0, dx = 0, dw = 0, g = 0, square = rounded * rounded;
    char text[200] = "";
    bool done = dev && products(dev, &y, &dx, &dw, &g, &err);
    tap_ok(done, "%s: products run%s%s", asked ? "tf32" : "fp32", done ? "" : ": ", err.text);
    tap_ok(y == (asked ? 1 : rounded), "forward: %a", (double)y);
    tap_ok(dx == (asked ? 1 : rounded) && dw == (asked ? 1 : square), "backward: %a and %a",
           (double)dx, (double)dw);
    tap_ok(g == square, "a Gram matrix is never rounded: %a", (double)g);
    if (dev) {
        dev->op->describe(dev, text, sizeof text);
        dev->op->close(dev);
    }
    tap_ok(strstr(text, asked ? ", tf32," : ", fp32,"), "it says so: %s", text);
}

static void test_16_bits(void)
{
    struct error err = ERROR_INIT;
    const struct device_choice choice = {.name = "cuda", .precision = DTYPE_F16, .tf32 = true};
    struct device *dev = device_choose(&choice, &err, &err);
    tap_ok(!dev && strstr(err.text, "TF32 is for products of floats"), "not with 16 bits: %s",
           err.text);
}

int main(void)
{
    if (strcmp(device_cuda_build(), "cuda emulated") != 0) {
        tap_skip("TF32", "on the emulator only");
        return tap_done();
    }
    test_asked(false);
    test_asked(true);
    test_16_bits();
    return tap_done();
}
