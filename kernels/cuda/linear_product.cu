/* linear_product.cu: products with weights, forward and backward, by cuBLAS; bias and activation
 * function in one kernel after it. */
#include "kernels/cuda/epilogue.h"
#include "kernels/cuda/linear.h"

/* ---- rounding ---- */

template <class T>
static __global__ void __launch_bounds__(CUDA_BLOCK)
    round_rows(T *__restrict__ to, const float *__restrict__ from, size_t stride, size_t rows,
               size_t cols)
{
    size_t col = grid_first();
    if (col >= cols)
        return;
    for (size_t row = blockIdx.y; row < rows; row += gridDim.y)
        store(to + row * cols + col, from[row * stride + col]);
}

void cuda_round_into(struct cuda *cuda, const char *operation, const struct linear *linear,
                     const act *x, size_t stride, size_t rows, size_t cols, void *to)
{
    const float *from = cuda_values<float>(x);
    if (rows == 0 || cols == 0)
        return;
    dim3 grid = cuda_grid_rows(rows, cols);
    if (linear->format == DTYPE_F16)
        CUDA_LAUNCH(cuda, operation, round_rows<__half>, grid, CUDA_BLOCK, 0, (__half *)to, from,
                    stride, rows, cols);
    else
        CUDA_LAUNCH(cuda, operation, round_rows<__nv_bfloat16>, grid, CUDA_BLOCK, 0,
                    (__nv_bfloat16 *)to, from, stride, rows, cols);
}

/* Activations are float, products are to multiply 16 bits. */
static bool rounds(const struct cuda *cuda, const struct linear *linear)
{
    return linear->format != cuda->precision;
}

/* ---- forward ---- */

/* sum [rows, out], of stride sum_stride, is the product; pre NULL or sum itself. */
template <class T>
static __global__ void __launch_bounds__(CUDA_BLOCK)
    finish(const T *sum, size_t sum_stride, const float *__restrict__ bias, int epilogue, T *pre,
           T *y, size_t y_stride, size_t rows, size_t out)
{
    size_t col = grid_first();
    if (col >= out)
        return;
    float b = bias ? bias[col] : 0.0f;
    for (size_t row = blockIdx.y; row < rows; row += gridDim.y) {
        float value = load(sum + row * sum_stride + col) + b;
        if (pre)
            store(pre + row * out + col, value);
        store(y + row * y_stride + col, epilogue_value((enum epilogue)epilogue, value));
    }
}

bool cuda_linear_plain(struct cuda *cuda, const struct linear *linear, const act *x,
                       size_t x_stride, size_t rows, act *y, size_t y_stride)
{
    struct cuda_product product = {};
    product.m = rows;
    product.n = linear->out;
    product.k = linear->in;
    product.type = linear->format;
    product.c_type = cuda->precision;
    product.a = x;
    product.a_stride = x_stride;
    product.b = linear->w;
    product.b_stride = linear->in;
    product.b_transposed = true;
    product.c = y;
    product.c_stride = y_stride;
    product.alpha = 1.0f;
    if (rounds(cuda, linear)) {
        void *rounded = cuda_scratch(cuda, "linear", rows * linear->in * sizeof(__half));
        if (!rounded)
            return false;
        cuda_round_into(cuda, "linear", linear, x, x_stride, rows, linear->in, rounded);
        product.a = rounded;
        product.a_stride = linear->in;
    }
    return cuda_blas_run(cuda, "linear", &product);
}

void cuda_linear(struct device *dev, const struct linear *linear, const act *x, size_t x_stride,
                 size_t rows, enum epilogue epilogue, act *pre, act *y, size_t y_stride)
{
    struct cuda *cuda = cuda_of(dev);
    if (rows == 0 || linear->out == 0)
        return;
    if (linear->kind == linear::LINEAR_INT8) {
        cuda_linear_int8(cuda, linear, x, x_stride, rows, epilogue, pre, y, y_stride);
        return;
    }
    act *sum = pre ? pre : y;
    size_t sum_stride = pre ? linear->out : y_stride;
    if (!cuda_linear_plain(cuda, linear, x, x_stride, rows, sum, sum_stride) ||
        (!linear->b && epilogue == EPILOGUE_NONE && !pre))
        return;
    CUDA_PER_ACT(cuda, CUDA_LAUNCH(cuda, "linear", finish<T>, cuda_grid_rows(rows, linear->out),
                                   CUDA_BLOCK, 0, cuda_values<T>(sum), sum_stride, linear->b,
                                   (int)epilogue, cuda_values<T>(pre), cuda_values<T>(y), y_stride,
                                   rows, linear->out));
}

/* ---- backward ---- */

struct factors {
    const void *x, *dy; /* as products take them */
    size_t x_stride, dy_stride;
};

static bool backward_x(struct cuda *cuda, const struct linear *linear, const struct factors *from,
                       size_t rows, bool add, act *dx, size_t dx_stride)
{
    struct cuda_product product = {};
    product.beta = add ? 1.0f : 0.0f;
    product.m = rows;
    product.n = linear->in;
    product.k = linear->out;
    product.type = linear->format;
    product.c_type = cuda->precision;
    product.a = from->dy;
    product.a_stride = from->dy_stride;
    product.b = linear->w;
    product.b_stride = linear->in;
    product.c = dx;
    product.c_stride = dx_stride;
    product.alpha = 1.0f;
    return cuda_blas_run(cuda, "linear_backward", &product);
}

/* dw [out, in] += (set: =) dyᵀ x */
static bool backward_w(struct cuda *cuda, const struct linear *linear, const struct factors *from,
                       size_t rows, bool set, float *dw)
{
    struct cuda_product product = {};
    product.m = linear->out;
    product.n = linear->in;
    product.k = rows;
    product.type = linear->format;
    product.c_type = DTYPE_F32;
    product.a = from->dy;
    product.a_stride = from->dy_stride;
    product.a_transposed = true;
    product.b = from->x;
    product.b_stride = from->x_stride;
    product.c = dw;
    product.c_stride = linear->in;
    product.alpha = 1.0f;
    product.beta = set ? 0.0f : 1.0f;
    return cuda_blas_run(cuda, "linear_backward", &product);
}

/* false: no memory for the rounded rows. */
static bool round_factors(struct cuda *cuda, const struct linear *linear, size_t rows, const act *x,
                          const act *dy, bool with_x, struct factors *from)
{
    const char *name = "linear_backward";
    char *room = (char *)cuda_scratch(cuda, name, rows * (linear->in + linear->out) * 2);
    if (!room)
        return false;
    cuda_round_into(cuda, name, linear, dy, from->dy_stride, rows, linear->out, room);
    from->dy = room;
    from->dy_stride = linear->out;
    if (with_x) {
        room += rows * linear->out * 2;
        cuda_round_into(cuda, name, linear, x, from->x_stride, rows, linear->in, room);
        from->x = room;
        from->x_stride = linear->in;
    }
    return true;
}

void cuda_linear_backward(struct device *dev, const struct linear *linear, const act *x,
                          size_t x_stride, const act *dy, size_t dy_stride, size_t rows, act *dx,
                          size_t dx_stride, float *dw, float *db, unsigned how)
{
    struct cuda *cuda = cuda_of(dev);
    if (linear->kind != linear::LINEAR_BOUND) {
        cuda_fail(cuda, "linear_backward: the weights were prepared for inference, not bound");
        return;
    }
    bool set = how & BACKWARD_SET_DW;
    if (rows == 0) {
        if (dw && set)
            cuda_zero(dev, dw, linear->out * linear->in * sizeof *dw);
        return;
    }
    struct factors from = {x, dy, x_stride, dy_stride};
    if (rounds(cuda, linear) && !round_factors(cuda, linear, rows, x, dy, dw != NULL, &from))
        return;
    if (dx && !backward_x(cuda, linear, &from, rows, how & BACKWARD_ADD_DX, dx, dx_stride))
        return;
    if (dw && !backward_w(cuda, linear, &from, rows, set, dw))
        return;
    if (db)
        cuda_column_sum_of(cuda, "linear_backward", dy, dy_stride, rows, linear->out, db);
}
