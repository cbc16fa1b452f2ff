/* test_cuda_device.c: life of a CUDA device on the emulator: why one does not open, memory and its
 * limits, transfers, and failures of every allocation and launch in turn. The emulator reads the
 * environment when the program starts, so each scenario is this program once more. */
#include "core/dtype.h"
#include "core/memory.h"
#include "kernels/kernels.h"
#include "tests/tap.h"
#include "tests/unit/again.h"

/* ---- scenarios, in a process of their own: print what happened; exit status 1 after an error ---- */

static int said(const struct error *err)
{
    printf("%s\n", err->set ? err->text : "done");
    return err->set;
}

static int scenario_open(const char *name, const char *precision)
{
    struct error err = ERROR_INIT;
    enum dtype type = DTYPE_F32;
    if (!dtype_from_name(precision, &type))
        return 2;
    struct device *dev = strncmp(name, "number ", 7) == 0
                             ? device_cuda_open(atoi(name + 7), type, 0, &err)
                             : device_open(name, 1, &err);
    if (dev) {
        char text[200];
        dev->op->describe(dev, text, sizeof text);
        printf("%s: %s; ", dev->name, text);
        dev->op->close(dev);
    }
    return said(&err);
}

/* A training step of one matrix, then its int8 form: every kind of call that can fail. */
static bool step(struct device *dev, struct error *err)
{
    enum { ROWS = 5, IN = 20, OUT = 12 };
    static const float host[IN * OUT];
    static const int8_t codes[OUT * IN];
    static const float scales[OUT];
    const struct weight stored = {codes, DTYPE_I8, scales, OUT, IN, false};
    const struct device_ops *op = dev->op;
    float *w = op->alloc(dev, sizeof host, err), *dw = op->alloc(dev, sizeof host, err);
    act *x = op->alloc(dev, ROWS * IN * dev->act_bytes, err);
    act *y = op->alloc(dev, ROWS * OUT * dev->act_bytes, err);
    struct linear *bound = NULL, *int8 = NULL;
    if (!err->set) {
        op->upload(dev, w, host, sizeof host);
        op->zero(dev, dw, sizeof host);
        op->act_upload(dev, x, host, ROWS * IN);
        bound = op->linear_bind(dev, w, NULL, OUT, IN, err);
    }
    if (bound)
        int8 = op->linear_prepare(dev, &stored, NULL, 1, err);
    if (int8) {
        float back[ROWS * OUT];
        op->linear(dev, bound, x, IN, ROWS, EPILOGUE_GELU, NULL, y, OUT);
        op->linear_backward(dev, bound, x, IN, y, OUT, ROWS, NULL, 0, dw, dw, 0);
        op->linear(dev, int8, x, IN, ROWS, EPILOGUE_NONE, NULL, y, OUT);
        op->act_download(dev, back, y, ROWS * OUT);
    }
    bool ok = !err->set && op->sync(dev, err);
    op->linear_free(dev, int8);
    op->linear_free(dev, bound);
    op->free(dev, y);
    op->free(dev, x);
    op->free(dev, dw);
    op->free(dev, w);
    return ok;
}

static int scenario_step(const char *precision)
{
    struct error err = ERROR_INIT;
    enum dtype type = DTYPE_F32;
    if (!dtype_from_name(precision, &type))
        return 2;
    struct device *dev = device_cuda_open(0, type, 0, &err);
    if (dev) {
        step(dev, &err);
        dev->op->close(dev);
    }
    return said(&err);
}

/* More than max_memory, then as much as there is of it, twice. */
static int scenario_limit(void)
{
    struct error err = ERROR_INIT, refused = ERROR_INIT;
    struct device *dev = device_cuda_open(0, DTYPE_F32, 1000000, &err);
    for (int i = 0; dev && i < 2; i++) {
        void *memory = dev->op->alloc(dev, 1000000, &err);
        if (dev->op->alloc(dev, 1, &refused))
            return 2;
        dev->op->free(dev, memory);
    }
    if (dev)
        dev->op->close(dev);
    return said(err.set ? &err : &refused);
}

/* Working memory takes what is left, to the byte, where there is no room to grow ahead. */
static int scenario_scratch(void)
{
    enum { ROWS = 64, COLS = 512, LEFT = COLS * sizeof(double) };
    static const float ones[ROWS * COLS];
    struct error err = ERROR_INIT;
    struct device *dev =
        device_cuda_open(0, DTYPE_F32, (ROWS + 1) * COLS * sizeof(float) + LEFT, &err);
    if (dev) {
        act *d = dev->op->alloc(dev, ROWS * COLS * sizeof(float), &err);
        float *sum = dev->op->alloc(dev, COLS * sizeof(float), &err);
        if (!err.set) {
            dev->op->act_upload(dev, d, ones, ROWS * COLS);
            dev->op->zero(dev, sum, COLS * sizeof(float));
            dev->op->column_sum(dev, d, ROWS, COLS, sum);
            if (!dev->op->sync(dev, &err))
                printf("sync: ");
        }
        dev->op->free(dev, sum);
        dev->op->free(dev, d);
        dev->op->close(dev);
    }
    return said(&err);
}

/* Two devices in turn. */
static int scenario_two(void)
{
    struct error err = ERROR_INIT;
    struct device *one = device_cuda_open(0, DTYPE_F16, 0, &err);
    struct device *other = device_cuda_open(1, DTYPE_F32, 0, &err);
    for (int i = 0; one && other && !err.set && i < 2; i++)
        (void)(step(one, &err) && step(other, &err));
    if (one)
        one->op->close(one);
    if (other)
        other->op->close(other);
    return said(&err);
}

static int scenario(char **argument)
{
    if (strcmp(argument[1], "two") == 0)
        return scenario_two();
    if (strcmp(argument[1], "open") == 0)
        return scenario_open(argument[2], argument[3]);
    if (strcmp(argument[1], "step") == 0)
        return scenario_step(argument[2]);
    if (strcmp(argument[1], "scratch") == 0)
        return scenario_scratch();
    return scenario_limit();
}

/* ---- the test ---- */

static void expect(const char *setting, const char *device, const char *precision, int status,
                   const char *expected)
{
    const char *argument[] = {"test_cuda_device", "open", device, precision, NULL};
    char text[ERROR_TEXT_BYTES];
    int found = again_run(setting, argument, text, sizeof text);
    if (!tap_ok(found == status && strstr(text, expected), "%s, %s, %s: %s", setting, device,
                precision, text))
        printf("# status %d, expected %d and \"%s\"\n", found, status, expected);
}

static void test_opening(void)
{
    expect("EMU_DEVICES=1", "cuda", "F32", 0, "cuda:0: emulated GPU, sm_90");
    expect("EMU_DEVICES=2", "cuda:1", "F32", 0, "cuda:1: ");
    expect("EMU_CAPABILITY=75", "number 0", "F16", 0, "sm_75, 8.6 GB, fp16");
    expect("EMU_CAPABILITY=75", "number 0", "BF16", 1, "need 8.0 or newer: use fp16");
    expect("EMU_CAPABILITY=61", "cuda", "F32", 1, "compute capability 6.1; this build needs 7.5");
    expect("EMU_DRIVER=0", "cuda", "F32", 1, "no NVIDIA driver is installed");
    expect("EMU_DRIVER=12080", "cuda", "F32", 1, "is for CUDA 12.8, this build needs 13.0");
    expect("EMU_DEVICES=0", "cuda", "F32", 1, "no NVIDIA GPU is visible");
    expect("EMU_DEVICES=2", "cuda:2", "F32", 1, "the devices are cuda:0 to cuda:1");
    expect("EMU_DEVICES=1", "cuda:99999999999999", "F32", 1, "there is no such device");
    expect("EMU_DEVICES=1", "cuda:x", "F32", 1, "is not known");
    expect("EMU_DEVICES=1", "number 0", "I8", 1, "F32, F16 or BF16, not I8");
    expect("EMU_MEMORY=1000000", "cuda", "F32", 1, "out of memory");
    expect("EMU_DEVICES=1", "auto", "F32", 0, "cuda:0: ");
    expect("EMU_DEVICES=0", "auto", "F32", 0, "cpu: ");
}

static void test_limit(void)
{
    const char *argument[] = {"test_cuda_device", "limit", NULL};
    char text[ERROR_TEXT_BYTES];
    tap_ok(again_run("EMU_DEVICES=1", argument, text, sizeof text) == 1 &&
               strstr(text, "0.00 MB are free (1.00 MB in use here): try a smaller --batch-tokens"),
           "max_memory is a limit: %s", text);
    argument[1] = "scratch";
    tap_ok(again_run("EMU_DEVICES=1", argument, text, sizeof text) == 0,
           "working memory fits in the last of it: %s", text);
}

static void test_two(void)
{
    const char *argument[] = {"test_cuda_device", "two", NULL};
    char text[ERROR_TEXT_BYTES];
    tap_ok(again_run("EMU_DEVICES=2", argument, text, sizeof text) == 0, "two devices at once: %s",
           text);
}

/* The nth allocation or launch fails, for all n there are: a message, and nothing is leaked. */
static void test_failures(const char *what, const char *precision, const char *expected)
{
    const char *argument[] = {"test_cuda_device", "step", precision, NULL};
    char setting[40], text[ERROR_TEXT_BYTES];
    int n = 0, status = 1;
    while (status == 1 && n < 100) {
        snprintf(setting, sizeof setting, "%s=%d", what, ++n);
        status = again_run(setting, argument, text, sizeof text);
        if (status == 1 && !tap_ok(strstr(text, expected) != NULL, "%s: %s", setting, text))
            return;
    }
    tap_ok(status == 0 && n > 3 && strcmp(text, "done") == 0, "%s, %s: %d in all; then: %s", what,
           precision, n - 1, text);
}

/* Through the halves of the staging memory and back, the source gone at once. */
static void test_transfers(enum dtype precision)
{
    const size_t n = 700001;
    struct error err = ERROR_INIT;
    struct device *dev = device_cuda_open(0, precision, 0, &err);
    float *value = memory_array(n, sizeof *value, &err), *back = memory_zeroed(n, 4, &err);
    act *x = dev ? dev->op->alloc(dev, n * dev->act_bytes, &err) : NULL;
    size_t bad = 0;
    for (int round = 0; x && round < 2; round++) {
        for (size_t i = 0; i < n; i++)
            value[i] = (float)(i % 251); /* exact in all formats */
        if (round == 0)
            dev->op->act_upload(dev, x, value, n);
        else
            dev->op->upload(dev, x, value, n / 4 * dev->act_bytes);
        memset(value, 0, n * sizeof *value);
        if (round == 0)
            dev->op->act_download(dev, back, x, n);
        else
            dev->op->download(dev, back, x, n / 4 * dev->act_bytes);
        for (size_t i = 0; i < (round == 0 ? n : n / 4 * dev->act_bytes / 4); i++)
            bad += back[i] != (float)(i % 251);
    }
    tap_ok(x && bad == 0 && dev->op->sync(dev, &err), "%s there and back %s", dtype_name(precision),
           err.text);
    if (dev) {
        dev->op->free(dev, x);
        dev->op->close(dev);
    }
    free(value);
    free(back);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        return scenario(argv);
    if (strcmp(device_cuda_build(), "cuda emulated") != 0)
        tap_skip("life of a CUDA device", "on the emulator only");
    else {
        test_opening();
        test_limit();
        test_two();
        test_failures("EMU_FAIL_ALLOC", "F32", "memory");
        test_failures("EMU_FAIL_ALLOC", "F16", "memory");
        test_failures("EMU_FAIL_LAUNCH", "F32", "launched last: linear");
        test_failures("EMU_FAIL_LAUNCH", "BF16", "launched last: linear");
        test_transfers(DTYPE_F32);
        test_transfers(DTYPE_F16);
        test_transfers(DTYPE_BF16);
    }
    return tap_done();
}
