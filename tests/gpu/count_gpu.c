/* count_gpu: what a training step and an inference pass cost the CUDA engine: launches, bytes moved
 * and needed, arithmetic intensity, and the least time they take on two cards, whose speeds are
 * those that pages about them repeat; from the shape alone (counting.h). --measure: also the time of
 * the same steps on this machine's GPU. A tab-separated table on stdout.
 *
 * usage: count_gpu [--measure] [SHAPE [RECORDS [LENGTH [VOCAB]]]]
 *        (layers=12,hidden=768,heads=12,ffn=3072 64 32 30522: BERT-base)
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "tests/gpu/counting.h"
#include "tests/gpu/workload.h"

struct task {
    const char *shape;
    size_t records, length, vocab;
};
enum precision { FP32, FP16, INT8, PRECISIONS };
static const char *const precision_names[PRECISIONS] = {"fp32", "fp16 or bf16", "int8"};

static void report_row(const char *name, const struct counting_row *row)
{
    printf("%s\t%lu\t%lu\t%lu\t%.2f\t%.1f\t%.1f\t%.2f\t%.1f", name, row->kernels, row->products,
           row->copies, row->flops * 1e-9, row->moved * 1e-6, row->least * 1e-6,
           row->least > 0 ? row->moved / row->least : 0,
           row->moved > 0 ? row->flops / row->moved : 0);
    for (size_t i = 0; i < COUNTING_CARDS; i++)
        printf("\t%.1f", row->seconds[i] * 1e6);
    printf("\n");
}

static void report(const struct counting *c, const char *what, enum precision precision)
{
    struct counting_row all = {0};
    double products[COUNTING_CARDS] = {0};
    printf("# %s, %s\nkind\tkernels\tproducts\tcopies\tGFLOP\tMB moved\tMB least\tratio\t"
           "FLOP per byte",
           what, precision_names[precision]);
    for (size_t i = 0; i < COUNTING_CARDS; i++)
        printf("\t%s us", counting_card[i].name);
    printf("\n");
    for (size_t k = 0; k < COUNT_KINDS; k++) {
        const struct counting_row *row = &c->row[k];
        all.kernels += row->kernels;
        all.products += row->products;
        all.copies += row->copies;
        all.flops += row->flops;
        all.moved += row->moved;
        all.least += row->least;
        for (size_t i = 0; i < COUNTING_CARDS; i++) {
            all.seconds[i] += row->seconds[i];
            products[i] += counting_is_product((enum counting_kind)k) ? row->seconds[i] : 0;
        }
        if (row->kernels + row->products + row->copies > 0)
            report_row(counting_name[k], row);
    }
    report_row("all", &all);
    for (size_t i = 0; i < COUNTING_CARDS; i++)
        printf("%s: at least %.2f ms, %.0f %% outside %s\n", counting_card[i].name,
               all.seconds[i] * 1e3, 100 * (1 - products[i] / all.seconds[i]),
               precision == FP32 ? "products" : "tensor cores");
}

static bool open_work(struct workload *w, struct device *dev, const struct task *task,
                      bool training, struct error *err)
{
    return workload_open(w, dev, task->shape, task->records, task->length, task->vocab, training,
                         err);
}

static bool pass(struct workload *w, bool training, struct error *err)
{
    return training ? workload_train(w, err) : workload_infer(w, err);
}

/* The second step: in the first, buffers grow. */
static bool count(const struct task *task, bool training, enum precision precision,
                  struct error *err)
{
    struct workload w = {0};
    struct counting *c = counting_open(precision == FP32 ? 4 : 2);
    if (!c)
        return error_set(err, "no memory");
    c->int8 = precision == INT8;
    bool ok = open_work(&w, &c->device, task, training, err) && pass(&w, training, err);
    memset(c->row, 0, sizeof c->row);
    ok = ok && pass(&w, training, err);
    if (ok)
        report(c, training ? "training step" : "inference", precision);
    workload_close(&w);
    c->device.op->close(&c->device);
    return ok;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Prints the milliseconds of a step on the GPU. */
static bool measure(const struct task *task, bool training, enum dtype type, struct error *err)
{
    enum { WARM = 3, RUNS = 20 };
    struct workload w = {0};
    struct device *dev = device_cuda_open(0, type, 0, err);
    double start = 0;
    if (!dev)
        return false;
    bool ok = open_work(&w, dev, task, training, err);
    for (int i = 0; ok && i < WARM + RUNS; i++) {
        if (i == WARM) {
            ok = dev->op->sync(dev, err);
            start = now();
        }
        ok = ok && pass(&w, training, err);
    }
    ok = ok && dev->op->sync(dev, err);
    if (ok)
        printf("%s\t%s\t%.3f\n", training ? "training step" : "inference", dtype_name(type),
               (now() - start) / RUNS * 1e3);
    workload_close(&w);
    dev->op->close(dev);
    return ok;
}

static bool measure_all(const struct task *task, struct error *err)
{
    static const enum dtype type[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16};
    char text[200];
    struct device *dev = device_cuda_open(0, DTYPE_F32, 0, err);
    if (!dev)
        return false;
    dev->op->describe(dev, text, sizeof text);
    dev->op->close(dev);
    printf("# measured on %s\npass\tprecision\tms\n", text);
    for (size_t i = 0; i < 3; i++)
        for (int training = 1; training >= 0; training--) {
            struct error failure = ERROR_INIT;
            if (measure(task, training, type[i], &failure))
                continue;
            if (type[i] != DTYPE_BF16) /* which Turing does not have */
                return error_set(err, "%s", failure.text);
            printf("# BF16: %s\n", failure.text);
        }
    return true;
}

int main(int argc, char **argv)
{
    struct error err = ERROR_INIT;
    bool measured = argc > 1 && strcmp(argv[1], "--measure") == 0;
    argc -= measured;
    argv += measured;
    struct task task = {argc > 1 ? argv[1] : "layers=12,hidden=768,heads=12,ffn=3072", 64, 32,
                        30522};
    size_t *number[] = {&task.records, &task.length, &task.vocab};
    for (int i = 2; i < argc && i < 5; i++)
        *number[i - 2] = strtoul(argv[i], NULL, 10);
    if (argc > 5 || task.length < 1 || task.length > 512 || task.records < 1 ||
        task.records > 1 << 16 || task.vocab < 16 || task.vocab > 1 << 24) {
        fprintf(stderr, "usage: count_gpu [--measure] [SHAPE [RECORDS [LENGTH [VOCAB]]]]\n");
        return 2;
    }
    printf("# %s, %zu records of %zu tokens\n", task.shape, task.records, task.length);
    for (size_t i = 0; i < COUNTING_CARDS; i++)
        printf(
            "# %s: %.0f TFLOP/s in 16 bits, %.0f TOP/s in int8, %.1f TFLOP/s in fp32, %.0f GB/s; "
            "figures of secondary pages, not measured\n",
            counting_card[i].name, counting_card[i].tensor16 * 1e-12,
            counting_card[i].tensor8 * 1e-12, counting_card[i].single * 1e-12,
            counting_card[i].bytes * 1e-9);
    bool ok = count(&task, true, FP16, &err) && count(&task, true, FP32, &err) &&
              count(&task, false, FP16, &err) && count(&task, false, INT8, &err) &&
              (!measured || measure_all(&task, &err));
    if (!ok)
        fprintf(stderr, "count_gpu: %s\n", err.text);
    return ok ? 0 : 1;
}
