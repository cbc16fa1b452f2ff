/* test_cuda_count.c: kernels, products and copies of a training step and of an inference pass as
 * tests/gpu/counting.h predicts them from the shape are those that the emulator is asked for. */
#include <dlfcn.h>

#include "tests/gpu/counting.h"
#include "tests/gpu/workload.h"
#include "tests/tap.h"

enum { KERNELS, PRODUCTS, COPIES, COUNTED };
typedef void (*counter)(unsigned long counted[COUNTED]);

static const struct {
    const char *shape;
    size_t records, length, vocab;
} cases[] = {
    {"layers=1,hidden=12,heads=3,ffn=7,positions=16", 3, 5, 24},
    {"layers=2,hidden=64,heads=4,ffn=128,positions=64", 4, 40, 100},
};

static bool passes(struct workload *w, bool training, struct error *err)
{
    return training ? workload_train(w, err) : workload_infer(w, err);
}

/* The second pass: buffers have grown, moments are there. */
static bool predict(size_t i, bool training, size_t act_bytes, unsigned long *counted,
                    struct error *err)
{
    struct workload w = {0};
    struct counting *c = counting_open(act_bytes);
    if (!c)
        return error_set(err, "no memory");
    bool ok = workload_open(&w, &c->device, cases[i].shape, cases[i].records, cases[i].length,
                            cases[i].vocab, training, err) &&
              passes(&w, training, err);
    memset(c->row, 0, sizeof c->row);
    ok = ok && passes(&w, training, err);
    memset(counted, 0, COUNTED * sizeof *counted);
    for (size_t k = 0; k < COUNT_KINDS; k++) {
        counted[KERNELS] += c->row[k].kernels;
        counted[PRODUCTS] += c->row[k].products;
        counted[COPIES] += c->row[k].copies;
    }
    workload_close(&w);
    c->device.op->close(&c->device);
    return ok;
}

static bool observe(size_t i, bool training, struct device *dev, counter count,
                    unsigned long *counted, struct error *err)
{
    struct workload w = {0};
    unsigned long before[COUNTED];
    bool ok = workload_open(&w, dev, cases[i].shape, cases[i].records, cases[i].length,
                            cases[i].vocab, training, err) &&
              passes(&w, training, err) && dev->op->sync(dev, err);
    count(before);
    ok = ok && passes(&w, training, err);
    count(counted);
    ok = ok && dev->op->sync(dev, err);
    for (size_t k = 0; k < COUNTED; k++)
        counted[k] -= before[k];
    workload_close(&w);
    return ok;
}

static void compare(size_t i, bool training, enum dtype type, counter count)
{
    struct error err = ERROR_INIT;
    unsigned long predicted[COUNTED], seen[COUNTED];
    struct device *dev = device_cuda_open(0, type, 0, &err);
    bool done = dev && predict(i, training, dev->act_bytes, predicted, &err) &&
                observe(i, training, dev, count, seen, &err);
    const char *pass = training ? "training step" : "inference";
    tap_ok(done, "%s, %s, %s: runs%s%s", cases[i].shape, pass, dtype_name(type), done ? "" : ": ",
           done ? "" : err.text);
    static const char *const what[COUNTED] = {"kernels", "products", "copies"};
    for (size_t k = 0; done && k < COUNTED; k++)
        tap_ok(predicted[k] == seen[k], "%s, %s, %s: %lu %s predicted, %lu seen", cases[i].shape,
               pass, dtype_name(type), predicted[k], what[k], seen[k]);
    if (dev)
        dev->op->close(dev);
}

/* One product with int8 weights: the rows quantised, the product, the results scaled. */
static void compare_int8(counter count)
{
    enum { ROWS = 3, IN = 20, OUT = 6 };
    static const int8_t codes[OUT * IN];
    static const float scales[OUT], host[ROWS * IN];
    struct error err = ERROR_INIT;
    const struct weight stored = {codes, DTYPE_I8, scales, OUT, IN, false};
    struct counting *c = counting_open(4);
    struct device *dev = device_cuda_open(0, DTYPE_F32, 0, &err);
    struct linear *linear = dev ? dev->op->linear_prepare(dev, &stored, NULL, 1, &err) : NULL;
    act *x = dev ? dev->op->alloc(dev, sizeof host, &err) : NULL;
    act *y = dev ? dev->op->alloc(dev, sizeof host, &err) : NULL;
    tap_ok(c && linear && x && y, "int8 weights are prepared");
    if (c && linear && x && y) {
        unsigned long before[COUNTED], after[COUNTED];
        const struct linear mine = {OUT, IN, false, true};
        dev->op->act_upload(dev, x, host, ROWS * IN);
        count(before);
        dev->op->linear(dev, linear, x, IN, ROWS, EPILOGUE_NONE, NULL, y, OUT);
        count(after);
        c->ops.linear(&c->device, &mine, x, IN, ROWS, EPILOGUE_NONE, NULL, y, OUT);
        tap_ok(dev->op->sync(dev, &err), "int8 product runs");
        unsigned long kernels = c->row[COUNT_QUANTISE].kernels + c->row[COUNT_FINISH].kernels;
        tap_ok(after[KERNELS] - before[KERNELS] == kernels &&
                   after[PRODUCTS] - before[PRODUCTS] == c->row[COUNT_PRODUCT].products,
               "an int8 product is %lu kernels and %lu product", kernels,
               c->row[COUNT_PRODUCT].products);
    }
    if (dev) {
        dev->op->linear_free(dev, linear);
        dev->op->free(dev, x);
        dev->op->free(dev, y);
        dev->op->close(dev);
    }
    if (c)
        c->device.op->close(&c->device);
}

int main(void)
{
    void *found = dlsym(RTLD_DEFAULT, "emu_counted");
    counter count;
    memcpy(&count, &found, sizeof count);
    if (!found) {
        tap_skip("launches of a step", "the emulator alone counts them");
        return tap_done();
    }
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        compare(i, true, DTYPE_F32, count);
        compare(i, true, DTYPE_F16, count);
        compare(i, false, DTYPE_BF16, count);
    }
    compare_int8(count);
    return tap_done();
}
