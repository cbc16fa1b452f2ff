/* ops_trial.h: one set of cases run on every device, compared with the reference device.
 *
 * A case is a function that asks its trial for inputs (random, the same on every device) and
 * outputs (filled with POISON, with guard elements on both sides) and calls one operation.
 * trial_everywhere runs it on the reference, then twice on each device, and compares: values within
 * the tolerance of each output, guards untouched, no error, the second run equal to the first byte
 * for byte, and so are one thread, two and a lane. A tolerance is relative to max(1, |expected|);
 * each is derived where it is given, in units of EPSILON = 2^-24, the rounding error of one float
 * operation.
 *
 * A CUDA device is tried with float, bf16 and fp16 activations, where one can be opened: on a
 * machine with a GPU, or as the emulator of tests/cuda-emu. For 16-bit activations the reference
 * gets inputs rounded to the format, its activations are rounded afterwards, and outputs whose
 * tolerance is not 0 may be off by TRIAL_ROUNDINGS roundings of the format more.
 *
 * In the environment: TRIAL_ONLY=cuda tries no other device; TRIAL_SMALL=N leaves cases out whose
 * arrays have more than N elements in all, and second runs: for tools that make a thread some
 * hundred times slower.
 */
#ifndef MILLET_TESTS_OPS_TRIAL_H
#define MILLET_TESTS_OPS_TRIAL_H

#include <stdlib.h>

#include "core/dtype.h"
#include "core/rng.h"
#include "kernels/kernels.h"
#include "tests/tap.h"

#define EPSILON 0x1p-24
#define POISON  12288.0F /* exact in every format an activation may have */

enum {
    GUARD = 16,
    TRIAL_MAX = 32,
    TRIAL_ELEMENTS = 1 << 28
}; /* 16 floats keep the 64-byte alignment */

enum trial_kind { TRIAL_ACT, TRIAL_FLOAT, TRIAL_INT };

struct trial_array {
    enum trial_kind kind;
    bool output;
    size_t n;
    double tolerance;
    const char *name;
    char *base;   /* device memory, guards included */
    float *value; /* after the run, on the host: n elements */
};

struct trial {
    struct device *dev;
    enum dtype format; /* of activations, F32 F16 BF16, on whatever device */
    struct rng rng;
    struct trial_array array[TRIAL_MAX];
    size_t n_arrays;
    bool guards_ok;
};

typedef void trial_case(struct trial *trial, const void *context);

static inline void trial_must(bool ok, const struct error *err)
{
    if (!ok) {
        printf("Bail out! %s\n", err->text);
        exit(1);
    }
}

static inline size_t trial_bytes(const struct trial *t, enum trial_kind kind)
{
    return kind == TRIAL_ACT ? t->dev->act_bytes : sizeof(float);
}

/* x as activations hold it: for what becomes one, and for weights of products, which are in the
 * format of activations on a device where these have 16 bits. */
static inline void trial_round(const struct trial *t, float *x, size_t n)
{
    for (size_t i = 0; i < n && t->format != DTYPE_F32; i++) {
        uint16_t rounded;
        dtype_from_float(t->format, x + i, 1, &rounded);
        dtype_to_float(t->format, &rounded, 1, x + i);
    }
}

/* linear_bind, multiplying what a device with activations of the trial's format multiplies. */
static inline struct linear *trial_bind(struct trial *t, float *w, float *b, size_t out, size_t in,
                                        struct error *err)
{
    struct linear *linear = t->dev->op->linear_bind(t->dev, w, b, out, in, err);
    trial_must(linear != NULL, err);
    if (t->format != DTYPE_F32 && t->dev->act_bytes == sizeof(float))
        trial_must(t->dev->op->linear_round(t->dev, linear, t->format, err), err);
    t->dev->op->linear_refresh(t->dev, linear);
    return linear;
}

/* Device memory for `from` [n] (floats, or 32-bit integers) with guards around. */
static inline void *trial_place(struct trial *t, enum trial_kind kind, const void *from, size_t n)
{
    struct error err = ERROR_INIT;
    size_t all = n + 2 * (size_t)GUARD, bytes = trial_bytes(t, kind);
    float *host = malloc(all * sizeof *host);
    char *base = t->dev->op->alloc(t->dev, all * bytes, &err);
    trial_must(base && host && t->n_arrays < TRIAL_MAX, &err);
    if (n > TRIAL_ELEMENTS)
        exit(1);
    for (size_t i = 0; i < all; i++)
        host[i] = POISON;
    memcpy(host + GUARD, from, n * sizeof *host);
    if (kind == TRIAL_ACT)
        trial_round(t, host + GUARD, n);
    if (kind == TRIAL_ACT)
        t->dev->op->act_upload(t->dev, (act *)(void *)base, host, all);
    else
        t->dev->op->upload(t->dev, base, host, all * bytes);
    free(host);
    t->array[t->n_arrays++] = (struct trial_array){.kind = kind, .n = n, .base = base};
    return base + GUARD * bytes;
}

static inline void *trial_made(struct trial *t, enum trial_kind kind, size_t n, double size,
                               double middle)
{
    float *host = calloc(n + 1, sizeof *host);
    for (size_t i = 0; i < n; i++)
        host[i] = (float)(middle + size * rng_normal(&t->rng));
    void *place = trial_place(t, kind, host, n);
    free(host);
    return place;
}

static inline void trial_expect(struct trial *t, const char *name, double tolerance)
{
    struct trial_array *array = &t->array[t->n_arrays - 1];
    array->output = true;
    array->name = name;
    array->tolerance = tolerance;
}

/* Normal inputs of the given size. */
static inline act *trial_act(struct trial *t, size_t n, double size)
{
    return trial_made(t, TRIAL_ACT, n, size, 0);
}
static inline float *trial_floats(struct trial *t, size_t n, double size, double middle)
{
    return trial_made(t, TRIAL_FLOAT, n, size, middle);
}
static inline int32_t *trial_ints(struct trial *t, const int32_t *from, size_t n)
{
    return trial_place(t, TRIAL_INT, from, n);
}

/* What an operation writes: POISON before. */
static inline act *trial_out(struct trial *t, const char *name, size_t n, double tolerance)
{
    act *place = trial_made(t, TRIAL_ACT, n, 0, (double)POISON);
    trial_expect(t, name, tolerance);
    return place;
}
static inline float *trial_out_floats(struct trial *t, const char *name, size_t n, double tolerance)
{
    float *place = trial_made(t, TRIAL_FLOAT, n, 0, (double)POISON);
    trial_expect(t, name, tolerance);
    return place;
}
/* What an operation adds to or changes in place. */
static inline act *trial_change(struct trial *t, const char *name, size_t n, double tolerance)
{
    act *place = trial_act(t, n, 1);
    trial_expect(t, name, tolerance);
    return place;
}
static inline float *trial_change_floats(struct trial *t, const char *name, size_t n,
                                         double tolerance)
{
    float *place = trial_floats(t, n, 1, 0);
    trial_expect(t, name, tolerance);
    return place;
}

static inline void trial_fetch(struct trial *t)
{
    t->guards_ok = true;
    for (size_t a = 0; a < t->n_arrays; a++) {
        struct trial_array *array = &t->array[a];
        size_t all = array->n + 2 * (size_t)GUARD;
        float *host = malloc(all * sizeof *host);
        if (array->kind == TRIAL_ACT)
            t->dev->op->act_download(t->dev, host, (act *)(void *)array->base, all);
        else
            t->dev->op->download(t->dev, host, array->base, all * sizeof *host);
        for (size_t i = 0; i < GUARD; i++)
            t->guards_ok &= host[i] == POISON && host[GUARD + array->n + i] == POISON;
        memmove(host, host + GUARD, array->n * sizeof *host);
        if (array->kind == TRIAL_ACT)
            trial_round(t, host, array->n);
        array->value = host;
        t->dev->op->free(t->dev, array->base);
    }
}

static inline void trial_run(struct trial *t, struct device *dev, enum dtype format,
                             trial_case *run, const void *context)
{
    *t = (struct trial){.dev = dev, .format = format};
    rng_seed(&t->rng, 2026);
    run(t, context);
    trial_fetch(t);
}

static inline void trial_release(struct trial *t)
{
    for (size_t a = 0; a < t->n_arrays; a++)
        free(t->array[a].value);
}

/* Roundings to a 16-bit format on the way to one output, the last aside, which the reference makes,
 * too: of a product before its bias, and of that sum as the larger of its terms may be. */
enum { TRIAL_ROUNDINGS = 4 };
static inline double trial_unit(enum dtype format) /* half the distance of 1 to the next */
{
    return format == DTYPE_F16 ? 0x1p-11 : format == DTYPE_BF16 ? 0x1p-8 : 0;
}

/* Prints what is wrong; false then. Inputs must come out as they went in, so they are compared as
 * well. */
static inline bool trial_agrees(const struct trial *found, const struct trial *expected)
{
    for (size_t a = 0; a < found->n_arrays; a++) {
        const struct trial_array *x = &found->array[a], *y = &expected->array[a];
        for (size_t i = 0; i < x->n && x->kind != TRIAL_INT; i++) {
            double value = (double)y->value[i], size = fabs(value) > 1 ? fabs(value) : 1;
            double limit = x->output ? x->tolerance * size : 0;
            if (x->output && x->tolerance > 0 && x->kind == TRIAL_ACT)
                limit += TRIAL_ROUNDINGS * trial_unit(found->format) * size;
            if (x->value[i] == y->value[i]) /* infinities, too */
                continue;
            if (!(fabs((double)x->value[i] - value) <= limit)) {
                printf("# %s: element %zu of %zu: found %.9g, expected %.9g, tolerance %.3g\n",
                       x->output ? x->name : "input", i, x->n, (double)x->value[i], value, limit);
                return false;
            }
        }
    }
    if (!found->guards_ok)
        printf("# memory beside an array was written\n");
    return found->guards_ok;
}

static inline bool trial_repeats(const struct trial *found, const struct trial *again,
                                 const char *how)
{
    for (size_t a = 0; a < found->n_arrays; a++)
        if (memcmp(found->array[a].value, again->array[a].value,
                   found->array[a].n * sizeof(float)) != 0) {
            printf("# array %zu (%s): %s gave other bytes\n", a,
                   found->array[a].output ? found->array[a].name : "input", how);
            return false;
        }
    return true;
}

/* ---- devices ---- */
struct trial_device {
    struct device *dev; /* NULL: not on this machine */
    struct device *close;
    enum dtype format;
    bool alone; /* not one of a group */
    char name[48];
    char why[ERROR_TEXT_BYTES]; /* it is not */
};

/* Each instruction set with one thread, with two, and as a lane: one group, whose results are equal
 * byte for byte. */
enum { TRIAL_GROUP = 3, TRIAL_DEVICES = 4 * TRIAL_GROUP + 3 };
static struct device *trial_reference;
static struct trial_device trial_devices[TRIAL_DEVICES];
static size_t trial_n_devices;
static uint64_t trial_hash = 1; /* of all that came out of devices that are alone */

static inline void trial_add_cuda(enum dtype format)
{
    struct error err = ERROR_INIT;
    if (strcmp(device_cuda_build(), "no cuda") == 0)
        return;
    struct trial_device *d = &trial_devices[trial_n_devices++];
    d->format = format;
    d->alone = true;
    d->close = d->dev = device_cuda_open(0, format, 0, &err);
    snprintf(d->name, sizeof d->name, "%s, activations %s", device_cuda_build(),
             dtype_name(format));
    snprintf(d->why, sizeof d->why, "%s", err.text);
}

static inline void trial_add_device(const char *isa, size_t n_threads, bool lane)
{
    struct error err = ERROR_INIT;
    struct trial_device *d = &trial_devices[trial_n_devices++];
    setenv("MILLET_ISA", isa, 1);
    d->close = d->dev = device_cpu_open(n_threads, &err);
    if (lane && d->dev)
        d->dev = d->close->op->lane(d->close, 1);
    d->format = DTYPE_F32;
    snprintf(d->name, sizeof d->name, "cpu %s, %zu threads%s", isa, n_threads,
             lane ? ", lane" : "");
    snprintf(d->why, sizeof d->why, "not an instruction set of this machine");
    unsetenv("MILLET_ISA");
}

/* A group. */
static inline void trial_add_set(const char *isa)
{
    const char *only = getenv("TRIAL_ONLY"); /* "cuda": the CPU is tried elsewhere */
    if (only && strcmp(only, "cuda") == 0)
        return;
    trial_add_device(isa, 1, false);
    trial_add_device(isa, 2, false);
    trial_add_device(isa, 2, true);
}

/* Without avx512bf16, which rounds what is multiplied with weights of BF16. */
static inline void trial_open_devices(void)
{
    struct error err = ERROR_INIT;
    trial_reference = device_reference_open(&err);
    trial_must(trial_reference != NULL, &err);
    trial_add_set("portable");
    trial_add_set("avx2");
    trial_add_set("avx512");
    trial_add_cuda(DTYPE_F32);
    trial_add_cuda(DTYPE_BF16);
    trial_add_cuda(DTYPE_F16);
}

static inline void trial_close_devices(void)
{
    struct error err = ERROR_INIT;
    for (size_t i = 0; i < trial_n_devices; i++)
        if (trial_devices[i].close)
            trial_devices[i].close->op->close(trial_devices[i].close);
    printf("# hash of the results of CUDA: %016llx\n", (unsigned long long)trial_hash);
    tap_ok(trial_reference->op->sync(trial_reference, &err), "the reference had no error %s",
           err.text);
    trial_reference->op->close(trial_reference);
}

static inline void trial_mix(const struct trial *t)
{
    for (size_t a = 0; a < t->n_arrays; a++)
        for (size_t i = 0; i < t->array[a].n; i++) {
            uint32_t bits;
            memcpy(&bits, &t->array[a].value[i], sizeof bits);
            trial_hash = rng_hash(trial_hash, bits);
        }
}

/* One device against what the reference gave. `first`: of the CPU devices of one instruction set. */
static inline void trial_on(size_t i, trial_case *run, const void *context,
                            const struct trial *expected, struct trial *first, const char *what)
{
    static struct trial now, again;
    struct trial_device *d = &trial_devices[i];
    struct error err = ERROR_INIT;
    bool twice = !getenv("TRIAL_SMALL");
    trial_run(&now, d->dev, d->format, run, context);
    if (twice)
        trial_run(&again, d->dev, d->format, run, context);
    if (d->alone || i % TRIAL_GROUP == 0)
        *first = now;
    if (d->alone)
        trial_mix(&now);
    bool ok =
        trial_agrees(&now, expected) && (!twice || trial_repeats(&now, &again, "a second run")) &&
        trial_repeats(&now, first, "another number of threads") && d->dev->op->sync(d->dev, &err);
    tap_ok(ok, "%s: %s %s", d->name, what, err.text);
    if (twice)
        trial_release(&again);
    if (!d->alone && i % TRIAL_GROUP)
        trial_release(&now);
    if (d->alone || i % TRIAL_GROUP == TRIAL_GROUP - 1)
        trial_release(first);
}

static inline bool trial_too_large(const struct trial *t, const char *what)
{
    const char *limit = getenv("TRIAL_SMALL");
    size_t n = 0;
    for (size_t a = 0; a < t->n_arrays; a++)
        n += t->array[a].n;
    if (!limit || n <= strtoul(limit, NULL, 10))
        return false;
    printf("# left out, %zu elements: %s\n", n, what);
    return true;
}

static inline void trial_everywhere(trial_case *run, const void *context, const char *what)
{
    struct trial expected, first = {.dev = NULL};
    enum dtype format = DTYPE_F32;
    trial_run(&expected, trial_reference, format, run, context);
    if (trial_too_large(&expected, what)) {
        trial_release(&expected);
        return;
    }
    for (size_t i = 0; i < trial_n_devices; i++) {
        if (!trial_devices[i].dev)
            continue; /* said once, by trial_report_devices */
        if (trial_devices[i].format != format) {
            trial_release(&expected);
            format = trial_devices[i].format;
            trial_run(&expected, trial_reference, format, run, context);
        }
        trial_on(i, run, context, &expected, &first, what);
    }
    trial_release(&expected);
}

static inline void trial_report_devices(void)
{
    for (size_t i = 0; i < trial_n_devices; i++)
        if (!trial_devices[i].dev)
            tap_skip(trial_devices[i].name, trial_devices[i].why);
        else
            tap_ok(true, "%s opens", trial_devices[i].name);
}

#endif
