/* bag.cu: a linear classifier on sparse features. W is turned, [features, classes]: a text's
 * features lie at random places, and each costs one run of memory for all classes. */
#include "kernels/cuda/cuda.h"

#include <stdlib.h>

constexpr unsigned BAG_BLOCK = 128;

struct bag_weights {
    size_t features, classes;
    float *w;     /* [features, classes], or */
    int8_t *code; /* [features, classes] with */
    float *scale; /* [classes] */
};

/* n features of each class, from `first` on, side by side in `turned`. */
static void turn(const struct weight *weight, size_t first, size_t n, void *turned)
{
    constexpr size_t PIECE = 256;
    float piece[PIECE];
    size_t classes = weight->rows, element = dtype_bytes(weight->type);
    for (size_t c = 0; c < classes; c++) {
        const char *row = (const char *)weight->data + (c * weight->cols + first) * element;
        if (weight->type == DTYPE_I8) {
            for (size_t f = 0; f < n; f++)
                ((int8_t *)turned)[f * classes + c] = ((const int8_t *)row)[f];
            continue;
        }
        for (size_t f = 0, count; f < n; f += count) {
            count = n - f < PIECE ? n - f : PIECE;
            dtype_to_float(weight->type, row + f * element, count, piece);
            for (size_t i = 0; i < count; i++)
                ((float *)turned)[(f + i) * classes + c] = piece[i];
        }
    }
}

static bool upload_turned(struct device *dev, const struct weight *weight, void *to,
                          struct error *err)
{
    constexpr size_t FEATURES = 4096; /* at a time */
    size_t element = weight->type == DTYPE_I8 ? 1 : sizeof(float), bytes;
    if (!memory_multiply(FEATURES * element, weight->rows, &bytes))
        return error_set(err, "bag: %zu classes are too many", weight->rows);
    void *turned = memory_array(bytes, 1, err);
    if (!turned)
        return false;
    size_t step = weight->rows * element;
    for (size_t first = 0, n; first < weight->cols; first += n) {
        n = weight->cols - first < FEATURES ? weight->cols - first : FEATURES;
        turn(weight, first, n, turned);
        cuda_upload(dev, (char *)to + first * step, turned, n * step);
    }
    free(turned);
    return true;
}

static bool upload_bag(struct device *dev, struct bag_weights *bag, const struct weight *weight,
                       struct error *err)
{
    bool codes = weight->type == DTYPE_I8;
    size_t n;
    if (!memory_multiply(weight->rows, weight->cols, &n) ||
        !memory_multiply(n, codes ? 1 : sizeof(float), &n))
        return error_set(err, "bag: %zu classes of %zu features are too many", weight->rows,
                         weight->cols);
    void *to = cuda_alloc(dev, n, err);
    bag->code = codes ? (int8_t *)to : NULL;
    bag->w = codes ? NULL : (float *)to;
    if (!to || !upload_turned(dev, weight, to, err))
        return false;
    if (!codes)
        return true;
    if (!(bag->scale = (float *)cuda_alloc(dev, weight->rows * sizeof(float), err)))
        return false;
    cuda_upload(dev, bag->scale, weight->scale, weight->rows * sizeof(float));
    return true;
}

struct bag_weights *cuda_bag_prepare(struct device *dev, const struct weight *weight,
                                     struct error *err)
{
    bool codes = weight->type == DTYPE_I8 && weight->scale;
    if (!codes && !dtype_is_float(weight->type)) {
        error_set(err, "bag: weights of type %s; expected F32, F16, BF16 or I8 with scales",
                  dtype_name(weight->type));
        return NULL;
    }
    struct bag_weights *bag = (struct bag_weights *)memory_zeroed(1, sizeof *bag, err);
    if (!bag)
        return NULL;
    bag->features = weight->cols;
    bag->classes = weight->rows;
    if (upload_bag(dev, bag, weight, err))
        return bag;
    cuda_bag_free(dev, bag);
    return NULL;
}

void cuda_bag_free(struct device *dev, struct bag_weights *bag)
{
    if (!bag)
        return;
    cuda_free(dev, bag->w);
    cuda_free(dev, bag->code);
    cuda_free(dev, bag->scale);
    free(bag);
}

/* A block for each text and `side` classes (a power of two, at most BAG_BLOCK): BAG_BLOCK / side
 * features at a time, each thread one class; then the threads of a class are added in order. W is
 * float with scale NULL, or int8_t. */
template <class T, class W>
static __global__ void __launch_bounds__(BAG_BLOCK)
    sum_features(const W *__restrict__ w, const float *__restrict__ scale, size_t features,
                 size_t classes, unsigned side, const int32_t *__restrict__ feature,
                 const float *__restrict__ value, const int32_t *__restrict__ offset,
                 T *__restrict__ out, struct cuda_fault *fault)
{
    SHARED(float, partial, [BAG_BLOCK]);
    size_t text = blockIdx.x, c = blockIdx.y * (size_t)side + threadIdx.x % side;
    int32_t end = offset[text + 1], step = (int32_t)(BAG_BLOCK / side);
    float sum = 0.0f;
    for (int32_t k = offset[text] + (int32_t)(threadIdx.x / side); k < end; k += step) {
        size_t f = (size_t)feature[k]; /* negative: beyond any table */
        if (f >= features)
            report(fault, CUDA_FAULT_FEATURE, feature[k], features);
        else if (c < classes)
            sum += value[k] * (float)w[f * classes + c];
    }
    partial[threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.x >= side || c >= classes)
        return;
    for (unsigned i = threadIdx.x + side; i < BAG_BLOCK; i += side)
        sum += partial[i];
    T *to = out + text * classes + c;
    store(to, load(to) + (scale ? sum * scale[c] : sum));
}

void cuda_bag(struct device *dev, const struct bag_weights *bag, const int32_t *feature,
              const float *value, const int32_t *offset, size_t n, act *out)
{
    struct cuda *cuda = cuda_of(dev);
    unsigned side = 1;
    if (n == 0 || bag->classes == 0)
        return;
    while (side < bag->classes && side < BAG_BLOCK)
        side *= 2;
    dim3 grid(cuda_ceil(n, 1), cuda_ceil(bag->classes, side));
    if (bag->code)
        CUDA_PER_ACT(cuda, CUDA_LAUNCH(cuda, "bag", (sum_features<T, int8_t>), grid, BAG_BLOCK, 0,
                                       bag->code, bag->scale, bag->features, bag->classes, side,
                                       feature, value, offset, cuda_values<T>(out), cuda->fault));
    else
        CUDA_PER_ACT(cuda, CUDA_LAUNCH(cuda, "bag", (sum_features<T, float>), grid, BAG_BLOCK, 0,
                                       bag->w, bag->scale, bag->features, bag->classes, side,
                                       feature, value, offset, cuda_values<T>(out), cuda->fault));
}
