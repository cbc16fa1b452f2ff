/* bound.c: trainable matrices: forward and backward products by OpenBLAS, one thread of it in each
 * member of the team, each with its own part of the output. */
#include <limits.h>
#include <string.h>

#include "core/memory.h"
#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/linear.h"
#include "kernels/cpu/openblas.h"
#include "kernels/cpu/rounded.h"

struct linear *cpu_linear_bind(struct device *dev, float *w, float *b, size_t out, size_t in,
                               struct error *err)
{
    struct cpu *cpu = cpu_of(dev);
    if (out > INT_MAX || in > INT_MAX) {
        error_set(err, "linear: %zu × %zu weights; OpenBLAS takes at most %d each way", out, in,
                  INT_MAX);
        return NULL;
    }
    if (!cpu->openblas && !(cpu->openblas = openblas_open(err)))
        return NULL;
    struct linear *linear = memory_zeroed(1, sizeof *linear, err);
    if (linear)
        *linear = (struct linear){
            .out = out, .in = in, .kind = LINEAR_BOUND, .w = w, .b = b, .blas = cpu->openblas};
    return linear;
}

void cpu_linear_refresh(struct device *dev, struct linear *linear)
{
    struct rounded *rounded = linear->rounded;
    size_t room = linear->out * linear->in;
    if (rounded) /* else they are read where they lie */
        rounded_rows(cpu_of(dev), rounded->format, linear->w, linear->in, linear->out, linear->in,
                     &rounded->w, &room);
}

bool cpu_linear_round(struct device *dev, struct linear *linear, enum dtype format,
                      struct error *err)
{
    if (linear->kind != LINEAR_BOUND || (format != DTYPE_BF16 && format != DTYPE_F16))
        return error_set(err, "linear_round: %s; expected BF16 or F16, of bound weights",
                         dtype_name(format));
    if (!linear->rounded && !(linear->rounded = memory_zeroed(1, sizeof *linear->rounded, err)))
        return false;
    linear->rounded->format = format;
    if (!linear->rounded->w && !(linear->rounded->w = memory_array(
                                     linear->out * linear->in, sizeof *linear->rounded->w, err)))
        return false;
    cpu_linear_refresh(dev, linear);
    return true;
}

/* What products multiply. */
static const float *factor(const struct linear *linear)
{
    return linear->rounded ? linear->rounded->w : linear->w;
}

static bool fits(struct cpu *cpu, const char *operation, size_t rows, size_t x_stride,
                 size_t y_stride)
{
    if (rows <= INT_MAX && x_stride <= INT_MAX && y_stride <= INT_MAX)
        return true;
    cpu_fail(cpu, "%s: %zu rows with strides %zu and %zu; OpenBLAS takes at most %d", operation,
             rows, x_stride, y_stride, INT_MAX);
    return false;
}

/* Products this small are done by the caller alone. */
static void run(struct cpu *cpu, const struct linear *linear, size_t rows, threads_job *job,
                void *context)
{
    if (rows * linear->out * linear->in < LINEAR_ALONE)
        job(context, 0, 1);
    else
        cpu_run(cpu, job, context);
}

/* The share of one member in an output [rows, cols]: whichever side is longer is cut. */
struct part {
    size_t row, rows, col, cols;
};

static struct part part_of(size_t rows, size_t cols, size_t member, size_t n_members)
{
    size_t begin, end;
    if (rows >= cols) {
        threads_share(rows, member, n_members, &begin, &end);
        return (struct part){.row = begin, .rows = end - begin, .col = 0, .cols = cols};
    }
    threads_share(cols, member, n_members, &begin, &end);
    return (struct part){.row = 0, .rows = rows, .col = begin, .cols = end - begin};
}

/* ---- forward ---- */

static void forward(void *context, size_t member, size_t n_members)
{
    const struct linear_call *call = context;
    const struct linear *linear = call->linear;
    const struct elementwise *kernel = ISA_PICK(elementwise, call->cpu->isa);
    struct part part = part_of(call->rows, linear->out, member, n_members);
    float *sum = call->pre ? call->pre : call->y;
    size_t stride = call->pre ? linear->out : call->y_stride;
    for (size_t r = part.row; r < part.row + part.rows && linear->b; r++)
        memcpy(sum + r * stride + part.col, linear->b + part.col, part.cols * sizeof *sum);
    struct openblas_product product = {.b_transposed = true,
                                       .m = part.rows,
                                       .n = part.cols,
                                       .k = linear->in,
                                       .a = call->x + part.row * call->x_stride,
                                       .a_stride = call->x_stride,
                                       .b = factor(linear) + part.col * linear->in,
                                       .b_stride = linear->in,
                                       .beta = linear->b ? 1.0f : 0.0f,
                                       .c = sum + part.row * stride + part.col,
                                       .c_stride = stride};
    openblas_run(linear->blas, &product);
    if (call->epilogue == EPILOGUE_NONE && !call->pre)
        return;
    for (size_t r = part.row; r < part.row + part.rows; r++)
        kernel->epilogue(call->epilogue, sum + r * stride + part.col, part.cols,
                         call->y + r * call->y_stride + part.col);
}

void linear_bound_run(const struct linear_call *call)
{
    struct linear_call copy = *call;
    struct rounded *rounded = call->linear->rounded;
    if (rounded) {
        copy.x = rounded_rows(call->cpu, rounded->format, call->x, call->x_stride, call->rows,
                              call->linear->in, &rounded->x, &rounded->room_x);
        copy.x_stride = call->linear->in;
    }
    if (copy.x && fits(call->cpu, "linear", call->rows, call->x_stride, call->y_stride))
        run(call->cpu, call->linear, call->rows, forward, &copy);
}

/* ---- backward ---- */

struct backward {
    struct cpu *cpu;
    const struct linear *linear;
    const float *x, *dy, *bias_dy; /* bias_dy: never rounded */
    size_t x_stride, dy_stride, bias_dy_stride, rows;
    float *dx; /* NULL: not wanted, as dw and db */
    size_t dx_stride;
    float *dw, *db;
    unsigned how;
};

/* dx [rows, in] = (or +=) dy [rows, out] W */
static void backward_x(const struct backward *call, size_t member, size_t n_members)
{
    const struct linear *linear = call->linear;
    struct part part = part_of(call->rows, linear->in, member, n_members);
    struct openblas_product product = {.m = part.rows,
                                       .n = part.cols,
                                       .k = linear->out,
                                       .a = call->dy + part.row * call->dy_stride,
                                       .a_stride = call->dy_stride,
                                       .b = factor(linear) + part.col,
                                       .b_stride = linear->in,
                                       .beta = call->how & BACKWARD_ADD_DX ? 1.0f : 0.0f,
                                       .c = call->dx + part.row * call->dx_stride + part.col,
                                       .c_stride = call->dx_stride};
    openblas_run(linear->blas, &product);
}

/* dw [out, in] += (or =) dyᵀ x */
static void backward_w(const struct backward *call, size_t member, size_t n_members)
{
    const struct linear *linear = call->linear;
    struct part part = part_of(linear->out, linear->in, member, n_members);
    struct openblas_product product = {.a_transposed = true,
                                       .m = part.rows,
                                       .n = part.cols,
                                       .k = call->rows,
                                       .a = call->dy + part.row,
                                       .a_stride = call->dy_stride,
                                       .b = call->x + part.col,
                                       .b_stride = call->x_stride,
                                       .beta = call->how & BACKWARD_SET_DW ? 0.0f : 1.0f,
                                       .c = call->dw + part.row * linear->in + part.col,
                                       .c_stride = linear->in};
    openblas_run(linear->blas, &product);
}

/* db [out] += column sums of dy, in double: a batch has thousands of rows. */
static void backward_b(const struct backward *call, size_t member, size_t n_members)
{
    enum { CHUNK = 64 };
    size_t begin, end;
    threads_share(call->linear->out, member, n_members, &begin, &end);
    for (size_t o = begin; o < end; o += CHUNK) {
        size_t n = end - o < CHUNK ? end - o : CHUNK;
        double sum[CHUNK] = {0};
        for (size_t r = 0; r < call->rows; r++)
            for (size_t i = 0; i < n; i++)
                sum[i] += (double)call->bias_dy[r * call->bias_dy_stride + o + i];
        for (size_t i = 0; i < n; i++)
            call->db[o + i] += (float)sum[i];
    }
}

/* false: no memory for the rounded rows. */
static bool round_inputs(struct backward *call)
{
    struct rounded *rounded = call->linear->rounded;
    if (!rounded)
        return true;
    call->x = rounded_rows(call->cpu, rounded->format, call->x, call->x_stride, call->rows,
                           call->linear->in, &rounded->x, &rounded->room_x);
    call->dy = rounded_rows(call->cpu, rounded->format, call->dy, call->dy_stride, call->rows,
                            call->linear->out, &rounded->dy, &rounded->room_dy);
    call->x_stride = call->linear->in;
    call->dy_stride = call->linear->out;
    return call->x && call->dy;
}

static void backward(void *context, size_t member, size_t n_members)
{
    const struct backward *call = context;
    if (call->dx)
        backward_x(call, member, n_members);
    if (call->dw)
        backward_w(call, member, n_members);
    if (call->db)
        backward_b(call, member, n_members);
}

void cpu_linear_backward(struct device *dev, const struct linear *linear, const act *x,
                         size_t x_stride, const act *dy, size_t dy_stride, size_t rows, act *dx,
                         size_t dx_stride, float *dw, float *db, unsigned how)
{
    struct backward call = {.cpu = cpu_of(dev),
                            .linear = linear,
                            .x = (const float *)x,
                            .dy = (const float *)dy,
                            .x_stride = x_stride,
                            .dy_stride = dy_stride,
                            .bias_dy = (const float *)dy,
                            .bias_dy_stride = dy_stride,
                            .rows = rows,
                            .dx = (float *)dx,
                            .dx_stride = dx_stride,
                            .dw = dw,
                            .db = db,
                            .how = how};
    if (linear->kind != LINEAR_BOUND)
        cpu_fail(call.cpu, "linear_backward: the weights were packed for inference, not bound");
    else if (rows == 0 && dw && how & BACKWARD_SET_DW)
        memset(dw, 0, linear->out * linear->in * sizeof *dw);
    else if (fits(call.cpu, "linear_backward", rows, x_stride, dy_stride) &&
             fits(call.cpu, "linear_backward", rows, dx_stride, dy_stride) && round_inputs(&call))
        run(call.cpu, linear, rows, backward, &call);
}
