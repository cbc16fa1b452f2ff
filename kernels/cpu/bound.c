/* bound.c: trainable matrices: forward and backward products of weights that change each step. */
#include "core/memory.h"
#include "kernels/cpu/dense.h"
#include "kernels/cpu/linear.h"
#include "kernels/cpu/rounded.h"

struct linear *cpu_linear_bind(struct device *dev, float *w, float *b, size_t out, size_t in,
                               struct error *err)
{
    (void)dev;
    struct linear *linear = memory_zeroed(1, sizeof *linear, err);
    if (linear)
        *linear = (struct linear){.out = out, .in = in, .kind = LINEAR_BOUND, .w = w, .b = b};
    return linear;
}

void cpu_linear_refresh(struct device *dev, struct linear *linear)
{
    struct rounded *rounded = linear->rounded;
    size_t room = linear->out * linear->in;
    if (rounded && !rounded->by_products) /* else they are read where they lie */
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
    struct rounded *rounded = linear->rounded;
    rounded->format = format;
    rounded->by_products = format == DTYPE_BF16 && dense_bf16_of(cpu_of(dev)->isa);
    if (rounded->by_products)
        return true;
    if (!rounded->w &&
        !(rounded->w = memory_array(linear->out * linear->in, sizeof *rounded->w, err)))
        return false;
    cpu_linear_refresh(dev, linear);
    return true;
}

/* Factors are rounded before a product, or by it. */
static bool is_rounded(const struct linear *linear)
{
    return linear->rounded && !linear->rounded->by_products;
}

static bool rounds(const struct linear *linear)
{
    return linear->rounded && linear->rounded->by_products;
}

/* What products multiply. */
static const float *factor(const struct linear *linear)
{
    return is_rounded(linear) ? linear->rounded->w : linear->w;
}

/* Products this small are done by the caller alone. */
static bool is_small(const struct linear *linear, size_t rows)
{
    return rows * linear->out * linear->in < LINEAR_ALONE;
}

/* ---- forward ---- */

void linear_bound_run(const struct linear_call *call)
{
    const struct linear *linear = call->linear;
    struct rounded *rounded = linear->rounded;
    bool kept = call->pre != NULL;
    struct dense dense = {.m = call->rows,
                          .n = linear->out,
                          .k = linear->in,
                          .a = {call->x, call->x_stride, 1},
                          .b = {factor(linear), linear->in, 1},
                          .bf16 = rounds(linear),
                          .bias = linear->b,
                          .c = kept ? call->pre : call->y,
                          .c_stride = kept ? linear->out : call->y_stride,
                          .epilogue = call->epilogue,
                          .y = kept || call->epilogue != EPILOGUE_NONE ? call->y : NULL,
                          .y_stride = call->y_stride};
    if (is_rounded(linear)) {
        dense.a.at = rounded_rows(call->cpu, rounded->format, call->x, call->x_stride, call->rows,
                                  linear->in, &rounded->x, &rounded->room_x);
        dense.a.row = linear->in;
    }
    if (dense.a.at)
        dense_run(call->cpu, &dense, is_small(linear, call->rows));
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
static void backward_x(const struct backward *call)
{
    const struct linear *linear = call->linear;
    const struct dense dense = {.m = call->rows,
                                .n = linear->in,
                                .k = linear->out,
                                .a = {call->dy, call->dy_stride, 1},
                                .b = {factor(linear), 1, linear->in},
                                .bf16 = rounds(linear),
                                .add = call->how & BACKWARD_ADD_DX,
                                .c = call->dx,
                                .c_stride = call->dx_stride};
    dense_run(call->cpu, &dense, is_small(linear, call->rows));
}

/* dw [out, in] += (or =) dyᵀ x */
static void backward_w(const struct backward *call)
{
    const struct linear *linear = call->linear;
    const struct dense dense = {.m = linear->out,
                                .n = linear->in,
                                .k = call->rows,
                                .a = {call->dy, 1, call->dy_stride},
                                .b = {call->x, 1, call->x_stride},
                                .bf16 = rounds(linear),
                                .add = !(call->how & BACKWARD_SET_DW),
                                .c = call->dw,
                                .c_stride = linear->in};
    dense_run(call->cpu, &dense, is_small(linear, call->rows));
}

/* db [out] += column sums of dy, in double: a batch has thousands of rows. */
static void backward_b(void *context, size_t member, size_t n_members)
{
    const struct backward *call = context;
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
    if (!is_rounded(call->linear) || call->rows == 0)
        return true;
    call->x = rounded_rows(call->cpu, rounded->format, call->x, call->x_stride, call->rows,
                           call->linear->in, &rounded->x, &rounded->room_x);
    call->dy = rounded_rows(call->cpu, rounded->format, call->dy, call->dy_stride, call->rows,
                            call->linear->out, &rounded->dy, &rounded->room_dy);
    call->x_stride = call->linear->in;
    call->dy_stride = call->linear->out;
    return call->x && call->dy;
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
    if (linear->kind != LINEAR_BOUND) {
        cpu_fail(call.cpu, "linear_backward: the weights were packed for inference, not bound");
        return;
    }
    if (!round_inputs(&call))
        return;
    if (dx)
        backward_x(&call);
    if (dw)
        backward_w(&call);
    if (db && is_small(linear, rows))
        backward_b(&call, 0, 1);
    else if (db)
        cpu_run(call.cpu, backward_b, &call);
}
