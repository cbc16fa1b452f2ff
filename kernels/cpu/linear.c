/* linear.c: weights packed once, products over rows and panels. */
#include "kernels/cpu/linear.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "kernels/cpu/pack.h"
#include "kernels/cpu/packed_product.h"
#include "kernels/cpu/rotate_row.h"
#include "kernels/cpu/rounded.h"
#include "kernels/cpu/shares.h"
#include "kernels/weight.h"

/* ---- the ring of those prepared ---- */

static void ring_join(struct cpu *cpu, struct linear *linear)
{
    linear->next = cpu->latest ? cpu->latest->next : linear;
    if (cpu->latest)
        cpu->latest->next = linear;
    cpu->latest = linear;
}

static void ring_leave(struct cpu *cpu, struct linear *linear)
{
    struct linear *before = linear;
    while (before->next != linear)
        before = before->next;
    before->next = linear->next;
    if (cpu->latest == linear)
        cpu->latest = before == linear ? NULL : before;
}

void cpu_linear_free(struct device *dev, struct linear *linear)
{
    if (!linear)
        return;
    if (linear->next)
        ring_leave(cpu_of(dev), linear);
    rounded_free(linear->rounded);
    free(linear->panels);
    free(linear->bias);
    free(linear->w_scale);
    free(linear->w_sum);
    free(linear->run);
    free(linear->run_first);
    free(linear);
}

void cpu_linear_size(const struct linear *linear, struct linear_size *size)
{
    *size = (struct linear_size){.out = linear->out,
                                 .in = linear->in,
                                 .format = linear->kind == LINEAR_INT8   ? DTYPE_I8
                                           : linear->kind == LINEAR_BF16 ? DTYPE_BF16
                                           : linear->rounded             ? linear->rounded->format
                                                                         : DTYPE_F32};
}

/* ---- preparation ---- */

/* Memory of the packed form; small arrays are filled up to whole panels with zeros. */
static bool allocate(struct linear *linear, struct error *err)
{
    size_t n = linear->n_panels * linear->panel, bytes;
    if (!memory_multiply(n, linear->k, &bytes) ||
        !memory_multiply(bytes, linear_element(linear), &bytes))
        return error_set(err, "linear: %zu × %zu weights are too many", linear->out, linear->in);
    linear->panels = cpu_memory(bytes, err);
    linear->bias = memory_zeroed(n, sizeof(float), err);
    if (!linear->panels || !linear->bias)
        return false;
    if (linear->kind != LINEAR_INT8)
        return true;
    linear->w_scale = memory_zeroed(n, sizeof(float), err);
    linear->w_sum = memory_zeroed(n, sizeof(int32_t), err);
    return linear->w_scale && linear->w_sum;
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

/* Whether products of weights of this type are of bf16. */
static const struct product_bf16 *bf16_of(const struct cpu *cpu, enum dtype type)
{
    return type == DTYPE_BF16 ? product_bf16_of(cpu->isa) : NULL;
}

/* Kind, panel and group. */
static void choose_form(const struct cpu *cpu, const struct weight *part, size_t n_parts,
                        struct linear *linear)
{
    const struct product_bf16 *bf16 = bf16_of(cpu, part[0].type);
    for (size_t i = 1; i < n_parts && bf16; i++)
        bf16 = bf16_of(cpu, part[i].type);
    if (part[0].type == DTYPE_I8) {
        const struct product_int8 *int8 = ISA_PICK(product_int8, cpu->isa);
        linear->kind = LINEAR_INT8;
        linear->panel = int8->panel;
        linear->group = int8->group;
    } else if (bf16) {
        linear->kind = LINEAR_BF16;
        linear->panel = bf16->panel;
        linear->group = bf16->group;
    } else {
        linear->kind = LINEAR_F32;
        linear->panel = ISA_PICK(product_f32, cpu->isa)->panel;
        linear->group = 1;
    }
}

size_t cpu_weight_bytes(const struct device *dev, enum dtype type, size_t rows, size_t cols,
                        bool table)
{
    const struct cpu *cpu = (const struct cpu *)dev;
    size_t element = type == DTYPE_I8 ? sizeof(int8_t) : sizeof(float);
    if (bf16_of(cpu, type))
        element = sizeof(uint16_t);
    return table ? 0 : rows * (cols * element + sizeof(float));
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
    linear->out = out;
    linear->in = part[0].cols;
    linear->rotated = part[0].rotated;
    choose_form(cpu, part, n_parts, linear);
    linear->k = (linear->in + linear->group - 1) / linear->group * linear->group;
    linear->n_panels = (out + linear->panel - 1) / linear->panel;
    if (!allocate(linear, err)) {
        cpu_linear_free(dev, linear);
        return NULL;
    }
    stack_vectors(linear, part, bias, n_parts);
    pack_parts(cpu, linear, part);
    if (!pack_runs(linear, err)) {
        cpu_linear_free(dev, linear);
        return NULL;
    }
    if (linear->n_panels > 0)
        ring_join(cpu, linear);
    return linear;
}

void cpu_linear_scale(struct device *dev, struct linear *linear, float scale)
{
    (void)dev;
    linear->x_scale = scale;
}

/* ---- products ---- */

enum { ITEM = 1 << 18 }; /* multiplications of an item: a microsecond of int8 */

/* Rows as the kernel reads them. */
struct narrowing {
    const struct linear_call *call;
    size_t x_bytes;
    char *to;      /* [rows, k] of x_bytes */
    float *scale;  /* int8: [rows] */
    int32_t *zero; /* int8: [rows] */
};

enum { OWN_ROWS = 6, OWN_WEIGHTS = 1 << 20 /* bytes */ };

/* A product cut into row blocks × runs of panels. */
struct work {
    const struct linear_call *call;
    const struct linear *next; /* of which panels are probably wanted after the last item */
    size_t x_stride;
    const void *x;         /* what the kernel reads: floats, rounded or quantised rows */
    size_t x_bytes;        /* of one element of x */
    const float *x_scale;  /* int8 */
    const int32_t *x_zero; /* int8 */
    size_t n_blocks, n_runs;
    struct narrowing narrowing;
    struct shares shares;
};

/* Into how many runs of panels each block of rows is cut: several items for each member, so that one
 * that is held up does not hold up all, and that none waits long for the last; but not small ones. */
static size_t n_runs(const struct linear *linear, size_t rows, size_t n_blocks, size_t members)
{
    size_t of_size = rows * linear->out * linear->in / ITEM / n_blocks;
    size_t least = (4 * members + n_blocks - 1) / n_blocks;
    size_t most = (16 * members + n_blocks - 1) / n_blocks;
    size_t wanted = of_size < least ? least : of_size < most ? of_size : most;
    return wanted < linear->n_panels ? wanted : linear->n_panels;
}

/* The panels that come after an item of a share: those of the next one or, when there is none, the
 * first of this share of what is probably the next product. */
static const void *panels_after(const struct work *work, size_t owner, size_t item)
{
    const struct linear *linear = work->call->linear;
    size_t runs = work->n_runs, next = item + 1, begin, end;
    if (next == work->shares.share[owner].end) {
        linear = work->next;
        if (runs > 1)
            runs = n_runs(linear, work->call->rows, work->n_blocks, work->call->cpu->n_members);
        threads_share(work->n_blocks * runs, owner, work->shares.n, &next, &end);
    }
    threads_share(linear->n_panels, next % runs, runs, &begin, &end);
    return (const char *)linear->panels +
           begin * linear->panel * linear->k * linear_element(linear);
}

static void multiply_item(void *context, size_t owner, size_t item)
{
    const struct work *work = context;
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
        .x_zero = work->x_zero ? work->x_zero + r0 : NULL,
        .panels = linear->panels,
        .k = linear->k,
        .out = linear->out,
        .begin = p0,
        .end = p1,
        .after = panels_after(work, owner, item),
        .bias = linear->bias,
        .w_scale = linear->w_scale,
        .w_sum = linear->w_sum,
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
    else if (linear->kind == LINEAR_BF16)
        product_bf16_of(call->cpu->isa)->run(&product);
    else
        ISA_PICK(product_f32, call->cpu->isa)->run(&product);
}

static void multiply(void *context, size_t member, size_t n_members)
{
    struct work *work = context;
    (void)n_members;
    shares_work(&work->shares, member, multiply_item, work);
}

static void narrow(void *context, size_t member, size_t n_members)
{
    const struct narrowing *job = context;
    const struct linear_call *call = job->call;
    const struct linear *linear = call->linear;
    const struct product_int8 *int8 = ISA_PICK(product_int8, call->cpu->isa);
    const struct product_bf16 *bf16 = product_bf16_of(call->cpu->isa);
    const struct rotate_row *rotate = ISA_PICK(rotate_row, call->cpu->isa);
    float *rotated = NULL;
    size_t begin, end;
    if (linear->rotated &&
        !(rotated = cpu_scratch(call->cpu, member, linear->in * sizeof *rotated)))
        return;
    threads_share(call->rows, member, n_members, &begin, &end);
    for (size_t r = begin; r < end; r++) {
        const float *x = call->x + r * call->x_stride;
        void *to = job->to + r * linear->k * job->x_bytes;
        if (linear->kind == LINEAR_BF16) {
            bf16->round(x, linear->in, linear->k, to);
            continue;
        }
        if (rotated)
            rotate->run(x, linear->in, rotated);
        job->scale[r] = int8->quantise(rotated ? rotated : x, linear->in, linear->k,
                                       linear->x_scale, to, &job->zero[r]);
    }
}

/* Room for them: after narrow() the product is of these. */
static bool place_rows(const struct linear_call *call, struct work *work)
{
    const struct linear *linear = call->linear;
    bool is_int8 = linear->kind == LINEAR_INT8;
    size_t x_bytes =
        is_int8 ? ISA_PICK(product_int8, call->cpu->isa)->x_bytes : linear_element(linear);
    size_t bytes = (call->rows * linear->k * x_bytes + 63) / 64 * 64;
    char *memory =
        cpu_scratch_shared(call->cpu, bytes + call->rows * (sizeof(float) + sizeof(int32_t)));
    if (!memory)
        return false;
    float *scale = (float *)(void *)(memory + bytes);
    int32_t *zero = (int32_t *)(void *)(scale + call->rows);
    work->narrowing = (struct narrowing){
        .call = call, .x_bytes = x_bytes, .to = memory, .scale = scale, .zero = zero};
    work->x = memory;
    work->x_stride = linear->k;
    work->x_bytes = x_bytes;
    work->x_scale = is_int8 ? scale : NULL;
    work->x_zero = is_int8 ? zero : NULL;
    return true;
}

static struct work work_of(const struct linear_call *call)
{
    return (struct work){.call = call,
                         .next = call->linear->next,
                         .x = call->x,
                         .x_stride = call->x_stride,
                         .x_bytes = sizeof(float),
                         .n_blocks = (call->rows + PRODUCT_BLOCK_ROWS - 1) / PRODUCT_BLOCK_ROWS,
                         .n_runs = 1};
}

/* Block after block: what is narrowed is multiplied while it is in a near cache. */
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
        if (b + 1 < n_blocks)
            work.next = call.linear;
        if (call.linear->kind != LINEAR_F32) {
            if (!place_rows(&call, &work))
                return;
            narrow(&work.narrowing, 0, 1);
        }
        shares_deal(&work.shares, work.n_blocks * work.n_runs, 1, true);
        multiply(&work, 0, 1);
    }
}

/* A member narrows its rows and multiplies them, then helps where others are behind. */
static void own_rows(void *context, size_t member, size_t n_members)
{
    struct work *work = context;
    narrow(&work->narrowing, member, n_members);
    shares_open(&work->shares, member);
    multiply(work, member, n_members);
}

/* Of small int8 matrices, which each member's caches hold, members take rows, always the same: one
 * wait for a product, and values stay with who made them. */
static bool run_own_rows(struct work *work)
{
    const struct linear_call *call = work->call;
    const struct linear *linear = call->linear;
    size_t members = call->cpu->n_members;
    if (linear->kind != LINEAR_INT8 || members > SHARES_MOST || call->rows < OWN_ROWS * members ||
        call->rows > PRODUCT_BLOCK_ROWS * members || linear->out * linear->k > OWN_WEIGHTS)
        return false;
    work->n_blocks = members;
    work->n_runs = n_runs(linear, call->rows, members, members);
    shares_deal(&work->shares, members * work->n_runs, members, false);
    cpu_run(call->cpu, own_rows, work);
    return true;
}

static void run_packed(const struct linear_call *call)
{
    const struct linear *linear = call->linear;
    if (call->cpu->n_members == 1 || call->rows * linear->out * linear->in < LINEAR_ALONE) {
        run_alone(call);
        return;
    }
    struct work work = work_of(call);
    if (linear->kind != LINEAR_F32) {
        if (!place_rows(call, &work) || run_own_rows(&work))
            return;
        cpu_run(call->cpu, narrow, &work.narrowing);
    }
    work.n_runs = n_runs(linear, call->rows, work.n_blocks, call->cpu->n_members);
    shares_deal(&work.shares, work.n_blocks * work.n_runs, call->cpu->n_members, true);
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
