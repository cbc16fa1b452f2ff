/* linear.c: weights packed once, products over rows and panels. */
#include "kernels/cpu/linear.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "kernels/cpu/pack.h"
#include "kernels/cpu/packed_product.h"
#include "kernels/cpu/rounded.h"
#include "kernels/weight.h"

void cpu_linear_free(struct device *dev, struct linear *linear)
{
    (void)dev;
    if (!linear)
        return;
    rounded_free(linear->rounded);
    free(linear->panels);
    free(linear->bias);
    free(linear->w_scale);
    free(linear->surplus);
    free(linear->run);
    free(linear->run_first);
    free(linear);
}

void cpu_linear_size(const struct linear *linear, struct linear_size *size)
{
    *size = (struct linear_size){.out = linear->out,
                                 .in = linear->in,
                                 .format = linear->kind == LINEAR_INT8 ? DTYPE_I8
                                           : linear->rounded           ? linear->rounded->format
                                                                       : DTYPE_F32};
}

/* ---- preparation ---- */

/* Memory of the packed form; small arrays are filled up to whole panels with zeros. */
static bool allocate(struct linear *linear, size_t element, struct error *err)
{
    size_t n = linear->n_panels * linear->panel, bytes;
    if (!memory_multiply(n, linear->k, &bytes) || !memory_multiply(bytes, element, &bytes))
        return error_set(err, "linear: %zu × %zu weights are too many", linear->out, linear->in);
    linear->panels = cpu_memory(bytes, err);
    linear->bias = memory_zeroed(n, sizeof(float), err);
    if (!linear->panels || !linear->bias)
        return false;
    if (linear->kind != LINEAR_INT8)
        return true;
    linear->w_scale = memory_zeroed(n, sizeof(float), err);
    linear->surplus = memory_zeroed(n, sizeof(int32_t), err);
    return linear->w_scale && linear->surplus;
}

static void stack_vectors(struct linear *linear, const struct weight *part,
                          const float *const *bias, size_t n_parts)
{
    size_t row = 0;
    for (size_t i = 0; i < n_parts; row += part[i++].rows) {
        if (bias && bias[i])
            memcpy(linear->bias + row, bias[i], part[i].rows * sizeof(float));
        if (linear->kind == LINEAR_INT8)
            memcpy(linear->w_scale + row, part[i].scale, part[i].rows * sizeof(float));
    }
}

struct linear *cpu_linear_prepare(struct device *dev, const struct weight *part,
                                  const float *const *bias, size_t n_parts, struct error *err)
{
    struct cpu *cpu = cpu_of(dev);
    size_t out;
    if (!weight_check_parts(part, n_parts, &out, err))
        return NULL;
    struct linear *linear = memory_zeroed(1, sizeof *linear, err);
    if (!linear)
        return NULL;
    const struct product_int8 *int8 = ISA_PICK(product_int8, cpu->isa);
    bool is_int8 = part[0].type == DTYPE_I8;
    linear->kind = is_int8 ? LINEAR_INT8 : LINEAR_F32;
    linear->out = out;
    linear->in = part[0].cols;
    linear->panel = is_int8 ? int8->panel : ISA_PICK(product_f32, cpu->isa)->panel;
    linear->group = is_int8 ? int8->group : 1;
    linear->k = (linear->in + linear->group - 1) / linear->group * linear->group;
    linear->n_panels = (out + linear->panel - 1) / linear->panel;
    if (!allocate(linear, is_int8 ? 1 : sizeof(float), err)) {
        cpu_linear_free(dev, linear);
        return NULL;
    }
    stack_vectors(linear, part, bias, n_parts);
    pack_parts(cpu, linear, part, int8->offset);
    if (pack_runs(linear, err))
        return linear;
    cpu_linear_free(dev, linear);
    return NULL;
}

void cpu_linear_scale(struct device *dev, struct linear *linear, float scale)
{
    (void)dev;
    linear->x_scale = scale;
}

/* ---- products ---- */

enum { ITEM = 1 << 18 }; /* multiplications of an item: a microsecond of int8 */

/* A product cut into row blocks × runs of panels, which members take in turn. */
struct work {
    const struct linear_call *call;
    size_t x_stride;
    const void *x;        /* what the kernel reads: floats, or quantised rows */
    size_t x_bytes;       /* of one element of x */
    const float *x_scale; /* int8 */
    size_t n_blocks, n_runs;
    atomic_size_t next;
};

static void work_on(struct work *work, size_t item)
{
    const struct linear_call *call = work->call;
    const struct linear *linear = call->linear;
    size_t r0, r1, p0, p1;
    threads_share(call->rows, item / work->n_runs, work->n_blocks, &r0, &r1);
    threads_share(linear->n_panels, item % work->n_runs, work->n_runs, &p0, &p1);
    struct product product = {
        .x = (const char *)work->x + r0 * work->x_stride * work->x_bytes,
        .x_stride = work->x_stride,
        .rows = r1 - r0,
        .x_scale = work->x_scale ? work->x_scale + r0 : NULL,
        .panels = linear->panels,
        .k = linear->k,
        .out = linear->out,
        .begin = p0,
        .end = p1,
        .bias = linear->bias,
        .w_scale = linear->w_scale,
        .surplus = linear->surplus,
        .run = linear->run,
        .run_first = linear->run_first,
        .epilogue = call->epilogue,
        .pre = call->pre ? call->pre + r0 * linear->out : NULL,
        .pre_stride = linear->out,
        .y = call->y + r0 * call->y_stride,
        .y_stride = call->y_stride,
    };
    if (linear->kind == LINEAR_INT8)
        ISA_PICK(product_int8, call->cpu->isa)->run(&product);
    else
        ISA_PICK(product_f32, call->cpu->isa)->run(&product);
}

static void multiply(void *context, size_t member, size_t n_members)
{
    struct work *work = context;
    (void)member;
    (void)n_members;
    size_t item;
    while ((item = atomic_fetch_add_explicit(&work->next, 1, memory_order_relaxed)) <
           work->n_blocks * work->n_runs)
        work_on(work, item);
}

struct quantising {
    const struct linear_call *call;
    const struct product_int8 *kernel;
    char *q;      /* [rows, k] */
    float *scale; /* [rows] */
};

static void quantise(void *context, size_t member, size_t n_members)
{
    const struct quantising *job = context;
    const struct linear *linear = job->call->linear;
    size_t begin, end;
    threads_share(job->call->rows, member, n_members, &begin, &end);
    for (size_t r = begin; r < end; r++)
        job->scale[r] =
            job->kernel->quantise(job->call->x + r * job->call->x_stride, linear->in, linear->k,
                                  linear->x_scale, job->q + r * linear->k * job->kernel->x_bytes);
}

static bool quantise_rows(const struct linear_call *call, bool alone, struct work *work)
{
    const struct product_int8 *kernel = ISA_PICK(product_int8, call->cpu->isa);
    size_t q_bytes = (call->rows * call->linear->k * kernel->x_bytes + 63) / 64 * 64;
    char *memory = cpu_scratch_shared(call->cpu, q_bytes + call->rows * sizeof(float));
    if (!memory)
        return false;
    struct quantising job = {
        .call = call, .kernel = kernel, .q = memory, .scale = (float *)(void *)(memory + q_bytes)};
    if (alone)
        quantise(&job, 0, 1);
    else
        cpu_run(call->cpu, quantise, &job);
    work->x = job.q;
    work->x_stride = call->linear->k;
    work->x_bytes = kernel->x_bytes;
    work->x_scale = job.scale;
    return true;
}

/* Into how many runs of panels each block of rows is cut: several items for each member, so that one
 * that is held up does not hold up all, and that none waits long for the last; but not small ones. */
static size_t n_runs(const struct linear_call *call, size_t n_blocks)
{
    const struct linear *linear = call->linear;
    size_t members = call->cpu->n_members;
    size_t of_size = call->rows * linear->out * linear->in / ITEM / n_blocks;
    size_t least = (4 * members + n_blocks - 1) / n_blocks;
    size_t most = (16 * members + n_blocks - 1) / n_blocks;
    size_t wanted = of_size < least ? least : of_size < most ? of_size : most;
    return wanted < linear->n_panels ? wanted : linear->n_panels;
}

static struct work work_of(const struct linear_call *call)
{
    return (struct work){.call = call,
                         .x = call->x,
                         .x_stride = call->x_stride,
                         .x_bytes = sizeof(float),
                         .n_blocks = (call->rows + PRODUCT_BLOCK_ROWS - 1) / PRODUCT_BLOCK_ROWS,
                         .n_runs = 1};
}

/* Block after block: what is quantised is multiplied while it is in a near cache. */
static void run_alone(const struct linear_call *all)
{
    size_t n_blocks = (all->rows + PRODUCT_BLOCK_ROWS - 1) / PRODUCT_BLOCK_ROWS;
    for (size_t b = 0; b < n_blocks; b++) {
        struct linear_call call = *all;
        size_t begin, end;
        threads_share(all->rows, b, n_blocks, &begin, &end);
        call.rows = end - begin;
        call.x += begin * call.x_stride;
        call.y += begin * call.y_stride;
        if (call.pre)
            call.pre += begin * call.linear->out;
        struct work work = work_of(&call);
        if (call.linear->kind == LINEAR_INT8 && !quantise_rows(&call, true, &work))
            return;
        multiply(&work, 0, 1);
    }
}

static void run_packed(const struct linear_call *call)
{
    const struct linear *linear = call->linear;
    if (call->cpu->n_members == 1 || call->rows * linear->out * linear->in < LINEAR_ALONE) {
        run_alone(call);
        return;
    }
    struct work work = work_of(call);
    if (linear->kind == LINEAR_INT8 && !quantise_rows(call, false, &work))
        return;
    work.n_runs = n_runs(call, work.n_blocks);
    cpu_run(call->cpu, multiply, &work);
}

void cpu_linear(struct device *dev, const struct linear *linear, const act *x, size_t x_stride,
                size_t rows, enum epilogue epilogue, act *pre, act *y, size_t y_stride)
{
    struct linear_call call = {.cpu = cpu_of(dev),
                               .linear = linear,
                               .x = (const float *)x,
                               .x_stride = x_stride,
                               .rows = rows,
                               .epilogue = epilogue,
                               .pre = (float *)pre,
                               .y = (float *)y,
                               .y_stride = y_stride};
    if (rows == 0 || linear->out == 0)
        return;
    if (linear->kind == LINEAR_BOUND)
        linear_bound_run(&call);
    else
        run_packed(&call);
}
