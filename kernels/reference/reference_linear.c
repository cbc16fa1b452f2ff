/* reference_linear.c: y = epilogue(x Wᵀ + b) and its gradients. Weights are widened to float, or
 * kept int8 and multiplied in integers as quantise.h defines. */
#include "kernels/reference/reference.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "kernels/quantise.h"
#include "kernels/rotate.h"
#include "kernels/weight.h"

struct linear {
    size_t out, in;
    float *w;                                        /* [out, in]; NULL when int8 */
    float *b;                                        /* [out] or NULL */
    int8_t *q;                                       /* [out, in]; NULL when float */
    float *q_scale;                                  /* [out] */
    float x_scale;                                   /* of all x; 0: each row's own */
    bool rotated;                                    /* q is, so x will be */
    bool borrowed;                                   /* w and b belong to the caller (bind) */
    enum { ROUND_NOT, ROUND_BF16, ROUND_F16 } round; /* what is multiplied */
};

void reference_linear_size(const struct linear *linear, struct linear_size *size)
{
    *size = (struct linear_size){.out = linear->out,
                                 .in = linear->in,
                                 .format = linear->q                     ? DTYPE_I8
                                           : linear->round == ROUND_BF16 ? DTYPE_BF16
                                           : linear->round == ROUND_F16  ? DTYPE_F16
                                                                         : DTYPE_F32};
}

void reference_linear_free(struct device *dev, struct linear *linear)
{
    (void)dev;
    if (!linear)
        return;
    if (!linear->borrowed) {
        free(linear->w);
        free(linear->b);
    }
    free(linear->q);
    free(linear->q_scale);
    free(linear);
}

static bool linear_fill(struct linear *linear, const struct weight *part, const float *const *bias,
                        size_t n_parts, bool any_bias, struct error *err)
{
    size_t n;
    if (!memory_multiply(linear->out, linear->in, &n))
        return error_set(err, "linear: %zu × %zu weights are too many", linear->out, linear->in);
    bool is_int8 = part[0].type == DTYPE_I8;
    if (is_int8 && (!(linear->q = memory_array(n, 1, err)) ||
                    !(linear->q_scale = memory_array(linear->out, sizeof(float), err))))
        return false;
    if (!is_int8 && !(linear->w = memory_array(n, sizeof(float), err)))
        return false;
    if (any_bias && !(linear->b = memory_zeroed(linear->out, sizeof(float), err)))
        return false;
    size_t row = 0;
    for (size_t i = 0; i < n_parts; row += part[i].rows, i++) {
        size_t count = part[i].rows * part[i].cols;
        if (is_int8) {
            memcpy(linear->q + row * linear->in, part[i].data, count);
            memcpy(linear->q_scale + row, part[i].scale, part[i].rows * sizeof(float));
        } else
            dtype_to_float(part[i].type, part[i].data, count, linear->w + row * linear->in);
        if (bias && bias[i])
            memcpy(linear->b + row, bias[i], part[i].rows * sizeof(float));
    }
    return true;
}

struct linear *reference_linear_prepare(struct device *dev, const struct weight *part,
                                        const float *const *bias, size_t n_parts, struct error *err)
{
    size_t out;
    bool any_bias = false;
    if (!weight_check_parts(part, n_parts, &out, err))
        return NULL;
    for (size_t i = 0; bias && i < n_parts; i++)
        any_bias |= bias[i] != NULL;
    struct linear *linear = memory_zeroed(1, sizeof *linear, err);
    if (!linear)
        return NULL;
    linear->out = out;
    linear->in = part[0].cols;
    linear->rotated = part[0].rotated;
    if (!linear_fill(linear, part, bias, n_parts, any_bias, err)) {
        reference_linear_free(dev, linear);
        return NULL;
    }
    return linear;
}

void reference_linear_scale(struct device *dev, struct linear *linear, float scale)
{
    (void)dev;
    linear->x_scale = scale;
}

struct linear *reference_linear_bind(struct device *dev, float *w, float *b, size_t out, size_t in,
                                     struct error *err)
{
    (void)dev;
    struct linear *linear = memory_zeroed(1, sizeof *linear, err);
    if (linear)
        *linear = (struct linear){.out = out, .in = in, .w = w, .b = b, .borrowed = true};
    return linear;
}

void reference_linear_refresh(struct device *dev, struct linear *linear)
{
    (void)dev;
    (void)linear; /* the weights are read where they lie */
}

bool reference_linear_round(struct device *dev, struct linear *linear, enum dtype format,
                            struct error *err)
{
    (void)dev;
    if (format != DTYPE_BF16 && format != DTYPE_F16)
        return error_set(err, "linear_round: %s; expected BF16 or F16", dtype_name(format));
    linear->round = format == DTYPE_BF16 ? ROUND_BF16 : ROUND_F16;
    return true;
}

static double rounded(const struct linear *linear, float x)
{
    if (linear->round == ROUND_BF16)
        return (double)dtype_bf16_to_float(dtype_float_to_bf16(x));
    if (linear->round == ROUND_F16)
        return (double)dtype_half_to_float(dtype_float_to_half(x));
    return (double)x;
}

/* x · row o of W, before the bias. */
static double linear_dot(const struct linear *linear, const float *x, size_t o)
{
    double sum = 0;
    for (size_t i = 0; i < linear->in; i++)
        sum += rounded(linear, x[i]) * rounded(linear, linear->w[o * linear->in + i]);
    return sum;
}

static float linear_dot_int8(const struct linear *linear, const int16_t *code, float scale,
                             size_t o)
{
    int32_t sum = 0;
    for (size_t i = 0; i < linear->in; i++)
        sum += code[i] * linear->q[o * linear->in + i];
    return (float)sum * scale * linear->q_scale[o];
}

/* Rotated if W is. */
static bool linear_quantise(const struct linear *linear, const float *x, int16_t *code,
                            float *scale, struct error *err)
{
    float *row = memory_array(linear->in, sizeof *row, err);
    if (!row)
        return false;
    memcpy(row, x, linear->in * sizeof *row);
    if (linear->rotated)
        rotate_row(row, linear->in);
    *scale = linear->x_scale > 0 ? quantise_row_fixed(row, linear->in, linear->x_scale, code)
                                 : quantise_row(row, linear->in, code);
    free(row);
    return true;
}

void reference_linear(struct device *dev, const struct linear *linear, const act *x,
                      size_t x_stride, size_t rows, enum epilogue epilogue, act *pre, act *y,
                      size_t y_stride)
{
    int16_t *code = NULL;
    if (linear->q && !(code = memory_array(linear->in, sizeof *code, reference_error(dev))))
        return;
    for (size_t r = 0; r < rows; r++) {
        const float *from = reference_read(x) + r * x_stride;
        float scale = 0;
        if (code && !linear_quantise(linear, from, code, &scale, reference_error(dev)))
            break;
        for (size_t o = 0; o < linear->out; o++) {
            double bias = linear->b ? (double)linear->b[o] : 0;
            float value = code ? linear_dot_int8(linear, code, scale, o) + (float)bias
                               : (float)(linear_dot(linear, from, o) + bias);
            if (pre)
                reference_values(pre)[r * linear->out + o] = value;
            reference_values(y)[r * y_stride + o] =
                (float)reference_epilogue(epilogue, (double)value);
        }
    }
    free(code);
}

static void linear_backward_x(const struct linear *linear, const float *dy, size_t dy_stride,
                              size_t rows, bool add, float *dx, size_t dx_stride)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < linear->in; i++) {
            double sum = 0;
            for (size_t o = 0; o < linear->out; o++)
                sum += rounded(linear, dy[r * dy_stride + o]) *
                       rounded(linear, linear->w[o * linear->in + i]);
            dx[r * dx_stride + i] = (float)(sum + (add ? (double)dx[r * dx_stride + i] : 0));
        }
}

void reference_linear_backward(struct device *dev, const struct linear *linear, const act *x,
                               size_t x_stride, const act *dy, size_t dy_stride, size_t rows,
                               act *dx, size_t dx_stride, float *dw, float *db, unsigned how)
{
    const float *xs = reference_read(x), *dys = reference_read(dy);
    if (dx && !linear->w) {
        error_set(reference_error(dev), "linear_backward: int8 weights have no gradient");
        return;
    }
    for (size_t o = 0; o < linear->out && (dw || db); o++) {
        for (size_t i = 0; i < linear->in && dw; i++) {
            double sum = 0;
            for (size_t r = 0; r < rows; r++)
                sum +=
                    rounded(linear, dys[r * dy_stride + o]) * rounded(linear, xs[r * x_stride + i]);
            float before = how & BACKWARD_SET_DW ? 0 : dw[o * linear->in + i];
            dw[o * linear->in + i] = before + (float)sum;
        }
        double sum = 0;
        for (size_t r = 0; r < rows && db; r++)
            sum += (double)dys[r * dy_stride + o];
        if (db)
            db[o] += (float)sum;
    }
    if (dx)
        linear_backward_x(linear, dys, dy_stride, rows, how & BACKWARD_ADD_DX, reference_values(dx),
                          dx_stride);
}
