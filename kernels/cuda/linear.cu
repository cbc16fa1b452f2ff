/* linear.cu: matrices of weights on the device: prepared from a file, or bound to trainable memory
 * with a copy in the format of the products. */
#include "kernels/cuda/linear.h"

#include <stdlib.h>

/* ---- preparation ---- */

/* n elements of each part in turn, as activations. */
static bool upload_float(struct cuda *cuda, struct linear *linear, const struct weight *part,
                         size_t n_parts, struct error *err)
{
    constexpr size_t CHUNK = 1 << 16;
    size_t bytes, at = 0;
    if (!memory_multiply(linear->out, linear->in, &bytes) ||
        !memory_multiply(bytes, cuda->device.act_bytes, &bytes))
        return error_set(err, "linear: %zu × %zu weights are too many", linear->out, linear->in);
    float *widened = (float *)memory_array(CHUNK, sizeof *widened, err);
    if (!widened || !(linear->w = cuda_alloc(&cuda->device, bytes, err))) {
        free(widened);
        return false;
    }
    for (size_t i = 0; i < n_parts; i++) {
        const char *from = (const char *)part[i].data;
        size_t n = part[i].rows * part[i].cols, width = dtype_bytes(part[i].type);
        for (size_t done = 0, count; done < n; done += count, at += count) {
            count = n - done < CHUNK ? n - done : CHUNK;
            dtype_to_float(part[i].type, from + done * width, count, widened);
            cuda_act_upload(&cuda->device, act_at(&cuda->device, (act *)linear->w, at), widened,
                            count);
        }
    }
    free(widened);
    return true;
}

static size_t round_up(size_t n, size_t step)
{
    return (n + step - 1) / step * step;
}

/* cuBLAS demands steps of 4 in rows and columns of int8 factors and is quicker with 16. */
static bool upload_int8(struct cuda *cuda, struct linear *linear, const struct weight *part,
                        size_t n_parts, struct error *err)
{
    struct device *dev = &cuda->device;
    size_t bytes;
    linear->in_room = round_up(linear->in, 16);
    linear->out_room = round_up(linear->out, 16);
    if (!memory_multiply(linear->out_room, linear->in_room, &bytes))
        return error_set(err, "linear: %zu × %zu weights are too many", linear->out, linear->in);
    int8_t *filled = (int8_t *)memory_zeroed(bytes, 1, err);
    int32_t *sum = (int32_t *)memory_zeroed(linear->out, sizeof *sum, err);
    if (!filled || !sum || !(linear->q = (int8_t *)cuda_alloc(dev, bytes, err)) ||
        !(linear->q_scale = (float *)cuda_alloc(dev, linear->out * sizeof(float), err)) ||
        !(linear->q_sum = (int32_t *)cuda_alloc(dev, linear->out * sizeof *sum, err))) {
        free(filled);
        free(sum);
        return false;
    }
    for (size_t i = 0, row = 0; i < n_parts; row += part[i++].rows) {
        for (size_t r = 0; r < part[i].rows; r++) {
            const int8_t *from = (const int8_t *)part[i].data + r * part[i].cols;
            memcpy(filled + (row + r) * linear->in_room, from, part[i].cols);
            for (size_t c = 0; c < part[i].cols; c++)
                sum[row + r] += from[c];
        }
        cuda_upload(dev, linear->q_scale + row, part[i].scale, part[i].rows * sizeof(float));
    }
    cuda_upload(dev, linear->q, filled, bytes);
    cuda_upload(dev, linear->q_sum, sum, linear->out * sizeof *sum);
    free(filled);
    free(sum);
    return true;
}

static bool upload_bias(struct cuda *cuda, struct linear *linear, const struct weight *part,
                        const float *const *bias, size_t n_parts, struct error *err)
{
    struct device *dev = &cuda->device;
    bool any = false;
    for (size_t i = 0; i < n_parts; i++)
        any |= bias && bias[i];
    if (!any)
        return true;
    if (!(linear->b = (float *)cuda_alloc(dev, linear->out * sizeof(float), err)))
        return false;
    for (size_t i = 0, row = 0; i < n_parts; row += part[i++].rows)
        if (bias[i])
            cuda_upload(dev, linear->b + row, bias[i], part[i].rows * sizeof(float));
        else
            cuda_zero(dev, linear->b + row, part[i].rows * sizeof(float));
    return true;
}

struct linear *cuda_linear_prepare(struct device *dev, const struct weight *part,
                                   const float *const *bias, size_t n_parts, struct error *err)
{
    struct cuda *cuda = cuda_of(dev);
    size_t out;
    if (!weight_check_parts(part, n_parts, &out, err))
        return NULL;
    struct linear *linear = (struct linear *)memory_zeroed(1, sizeof *linear, err);
    if (!linear)
        return NULL;
    bool is_int8 = part[0].type == DTYPE_I8;
    linear->kind = is_int8 ? linear::LINEAR_INT8 : linear::LINEAR_PREPARED;
    linear->out = out;
    linear->in = part[0].cols;
    linear->rotated = part[0].rotated;
    linear->format = cuda->precision;
    bool ok = is_int8 ? upload_int8(cuda, linear, part, n_parts, err)
                      : upload_float(cuda, linear, part, n_parts, err);
    if (ok && upload_bias(cuda, linear, part, bias, n_parts, err))
        return linear;
    cuda_linear_free(dev, linear);
    return NULL;
}

void cuda_linear_scale(struct device *dev, struct linear *linear, float scale)
{
    (void)dev;
    linear->x_scale = scale;
}

void cuda_linear_free(struct device *dev, struct linear *linear)
{
    if (!linear)
        return;
    if (linear->w != linear->master && !linear->of_block)
        cuda_free(dev, linear->w);
    if (linear->kind != linear::LINEAR_BOUND)
        cuda_free(dev, linear->b);
    cuda_free(dev, linear->q);
    cuda_free(dev, linear->q_scale);
    cuda_free(dev, linear->q_sum);
    free(linear);
}

void cuda_linear_size(const struct linear *linear, struct linear_size *size)
{
    size->out = linear->out;
    size->in = linear->in;
    size->format = linear->kind == linear::LINEAR_INT8 ? DTYPE_I8 : linear->format;
}

/* ---- trainable ---- */

template <class T>
static __global__ void __launch_bounds__(CUDA_BLOCK)
    narrow(T *__restrict__ to, const float *__restrict__ from, size_t n)
{
    for (size_t i = grid_first(); i < n; i += grid_stride())
        store(to + i, from[i]);
}

bool cuda_block_bind(struct device *dev, float *w, size_t n, struct error *err)
{
    struct cuda *cuda = cuda_of(dev);
    size_t bytes;
    if (cuda->precision == DTYPE_F32)
        return true;
    if (!memory_multiply(n, dev->act_bytes, &bytes))
        return error_set(err, "%zu weights are too many", n);
    if (!memory_grow(&cuda->blocks, &cuda->room_blocks, cuda->n_blocks + 1, sizeof *cuda->blocks,
                     err))
        return false;
    void *copy = cuda_alloc(dev, bytes, err);
    if (copy)
        cuda->blocks[cuda->n_blocks++] = {w, n, copy};
    return copy != NULL;
}

void cuda_block_unbind(struct device *dev, float *w)
{
    struct cuda *cuda = cuda_of(dev);
    for (size_t i = 0; i < cuda->n_blocks; i++)
        if (cuda->blocks[i].w == w) {
            cuda_free(dev, cuda->blocks[i].copy);
            cuda->blocks[i] = cuda->blocks[--cuda->n_blocks];
            return;
        }
}

void *cuda_block_copy(const struct cuda *cuda, const float *w, size_t n)
{
    for (size_t i = 0; i < cuda->n_blocks; i++) {
        const struct cuda_weights *block = &cuda->blocks[i];
        uintptr_t begin = (uintptr_t)block->w, at = (uintptr_t)w;
        size_t first = (at - begin) / sizeof *w;
        if (at >= begin && first <= block->n && n <= block->n - first)
            return (char *)block->copy + first * cuda->device.act_bytes;
    }
    return NULL;
}

/* The copy that is multiplied, in linear->format. */
static bool make_copy(struct device *dev, struct linear *linear, struct error *err)
{
    size_t bytes;
    if (!memory_multiply(linear->out, linear->in, &bytes) ||
        !memory_multiply(bytes, dtype_bytes(linear->format), &bytes))
        return error_set(err, "linear: %zu × %zu weights are too many", linear->out, linear->in);
    linear->w = cuda_alloc(dev, bytes, err);
    if (linear->w)
        cuda_linear_refresh(dev, linear);
    return linear->w != NULL;
}

struct linear *cuda_linear_bind(struct device *dev, float *w, float *b, size_t out, size_t in,
                                struct error *err)
{
    struct linear *linear = (struct linear *)memory_zeroed(1, sizeof *linear, err);
    if (!linear)
        return NULL;
    linear->kind = linear::LINEAR_BOUND;
    linear->out = out;
    linear->in = in;
    linear->format = cuda_of(dev)->precision;
    linear->master = w;
    linear->w = w;
    linear->b = b;
    void *copy = cuda_block_copy(cuda_of(dev), w, out * in);
    if (copy) {
        linear->of_block = true;
        linear->w = copy;
        cuda_linear_refresh(dev, linear);
    }
    if (copy || linear->format == DTYPE_F32 || make_copy(dev, linear, err))
        return linear;
    cuda_linear_free(dev, linear);
    return NULL;
}

void cuda_linear_refresh(struct device *dev, struct linear *linear)
{
    struct cuda *cuda = cuda_of(dev);
    size_t n = linear->out * linear->in;
    if (n == 0 || linear->w == linear->master)
        return;
    if (linear->format == DTYPE_F16)
        CUDA_LAUNCH(cuda, "linear_refresh", narrow<__half>, cuda_blocks(n), CUDA_BLOCK, 0,
                    (__half *)linear->w, linear->master, n);
    else
        CUDA_LAUNCH(cuda, "linear_refresh", narrow<__nv_bfloat16>, cuda_blocks(n), CUDA_BLOCK, 0,
                    (__nv_bfloat16 *)linear->w, linear->master, n);
}

bool cuda_linear_round(struct device *dev, struct linear *linear, enum dtype format,
                       struct error *err)
{
    struct cuda *cuda = cuda_of(dev);
    if (linear->kind != linear::LINEAR_BOUND || (format != DTYPE_BF16 && format != DTYPE_F16))
        return error_set(err, "linear_round: %s; expected BF16 or F16, of bound weights",
                         dtype_name(format));
    if (cuda->precision != DTYPE_F32 && cuda->precision != format)
        return error_set(err, "linear_round: %s, but the activations of %s are %s",
                         dtype_name(format), cuda->name, dtype_name(cuda->precision));
    if (linear->format == format)
        return true;
    if (linear->w != linear->master)
        cuda_free(dev, linear->w);
    linear->format = format;
    return make_copy(dev, linear, err);
}
