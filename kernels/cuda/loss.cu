/* loss.cu: cross-entropy and distillation of logits, of one label or several; formulas in
 * kernels/reference/reference_loss.c. A block for each row: a warp where classes are few, more for
 * a vocabulary. A row is read twice: once for maxima and sums of exponentials side by side, once
 * for losses and gradients; sums are taken in an order that the width alone decides.
 */
#include "kernels/cuda/cuda.h"

/* Threads for a row; the shuffles and barriers of more are not worth it for a few classes. */
static unsigned row_threads(size_t classes)
{
    return classes <= 128 ? WARP : classes <= 1024 ? 4 * WARP : 8 * WARP;
}
constexpr unsigned MOST_THREADS = 8 * WARP;

/* A running log-sum-exp: the largest value so far, the sum of exp((x - largest) / temperature). */
struct running {
    float largest, sum;
};

static __device__ inline void take(struct running *r, float x, float temperature)
{
    if (x > r->largest) {
        r->sum = r->sum * expf((r->largest - x) / temperature) + 1.0f;
        r->largest = x;
    } else
        r->sum += x > -INFINITY ? expf((x - r->largest) / temperature) : isnan(x) ? x : 0.0f;
}

/* The log-sum-exp of x / temperature over what all threads of the block have taken. */
static __device__ inline float finish(struct running r, float temperature, float *partial)
{
    float largest = block_max(r.largest, partial);
    float share = r.sum > 0.0f ? r.sum * expf((r.largest - largest) / temperature) : r.sum;
    return largest / temperature + logf(block_sum(share, partial));
}

/* ---- one label ---- */

/* logits, teacher and dlogits [rows, classes]; class_weight [classes]; teacher NULL: no
 * distillation, alpha 0 and temperature 1. */
template <class T>
static __global__ void __launch_bounds__(MOST_THREADS)
    loss_rows(const T *logits, const int32_t *__restrict__ label, const float *__restrict__ teacher,
              const float *__restrict__ class_weight, float alpha, float temperature,
              float smoothing, float scale, const struct loss_scale *__restrict__ scaled,
              size_t classes, float *__restrict__ row_loss, T *dlogits, struct cuda_fault *fault)
{
    SHARED(float, partial, [WARP]);
    size_t row = blockIdx.x, at = row * classes;
    int32_t wanted = label ? label[row] : -1;
    if (wanted >= 0 && (size_t)wanted >= classes) {
        if (threadIdx.x == 0)
            report(fault, CUDA_FAULT_LABEL, wanted, classes);
        return; /* the whole block */
    }
    scale = scaled ? scale * scaled->scale : scale;
    struct running plain = {-INFINITY, 0.0f}, soft = plain, taught = plain;
    for (size_t c = threadIdx.x; c < classes; c += blockDim.x) {
        float x = load(logits + at + c);
        take(&plain, x, 1.0f);
        if (teacher) {
            take(&soft, x, temperature);
            take(&taught, teacher[at + c], temperature);
        }
    }
    float norm = finish(plain, 1.0f, partial), norm_s = 0.0f, norm_t = 0.0f;
    if (teacher) {
        norm_s = finish(soft, temperature, partial);
        norm_t = finish(taught, temperature, partial);
    }
    float share = (1.0f - alpha) * (wanted >= 0 && class_weight ? class_weight[wanted] : 1.0f);
    float even = smoothing / (float)classes, total = 0.0f;
    for (size_t c = threadIdx.x; c < classes; c += blockDim.x) {
        float x = load(logits + at + c), slope = 0.0f;
        if (teacher) {
            float log_s = x / temperature - norm_s, log_t = teacher[at + c] / temperature - norm_t;
            float p = expf(log_t);
            total += alpha * temperature * temperature * p * (log_t - log_s);
            slope = alpha * temperature * (expf(log_s) - p);
        }
        if (wanted >= 0) {
            float y = ((size_t)wanted == c ? 1.0f - smoothing : 0.0f) + even;
            total += y > 0.0f ? share * y * (norm - x) : 0.0f;
            slope += share * (expf(x - norm) - y);
        }
        if (dlogits)
            store(dlogits + at + c, slope * scale);
    }
    total = block_sum(total, partial);
    if (threadIdx.x == 0)
        row_loss[row] = total;
}

void cuda_loss(struct device *dev, const struct loss *loss, const act *logits, const int32_t *label,
               const float *teacher, size_t rows, size_t classes, float *row_loss, act *dlogits)
{
    struct cuda *cuda = cuda_of(dev);
    bool distil = loss->kind == LOSS_DISTIL && teacher;
    if (rows == 0 || classes == 0)
        return;
    CUDA_PER_ACT(cuda, CUDA_LAUNCH(cuda, "loss", loss_rows<T>, cuda_ceil(rows, 1),
                                   row_threads(classes), 0, cuda_values<T>(logits), label,
                                   distil ? teacher : NULL, loss->class_weight,
                                   distil ? loss->alpha : 0.0f, distil ? loss->temperature : 1.0f,
                                   loss->smoothing, loss->scale, loss->scaled, classes, row_loss,
                                   cuda_values<T>(dlogits), cuda->fault));
}

/* ---- several labels ---- */

static __device__ inline float softplus(float x)
{
    return (x > 0.0f ? x : 0.0f) + log1pf(expf(-fabsf(x)));
}

static __device__ inline float sigmoid(float x)
{
    return x >= 0.0f ? 1.0f / (1.0f + expf(-x)) : expf(x) / (1.0f + expf(x));
}

/* KL(σ(t) ‖ σ(x)). */
static __device__ inline float bernoulli_divergence(float t, float x)
{
    return sigmoid(t) * (softplus(-x) - softplus(-t)) + sigmoid(-t) * (softplus(x) - softplus(t));
}

/* softplus(x) - x y, without the difference of two large numbers: y is 0 to 1. */
static __device__ inline float binary_entropy(float x, float y)
{
    return (x > 0.0f ? x * (1.0f - y) : -x * y) + log1pf(expf(-fabsf(x)));
}

template <class T>
static __global__ void __launch_bounds__(MOST_THREADS)
    multi_label_rows(const T *logits, const float *__restrict__ target,
                     const float *__restrict__ teacher, float alpha, float temperature,
                     float smoothing, float scale, const struct loss_scale *__restrict__ scaled,
                     size_t classes, float *__restrict__ row_loss, T *dlogits)
{
    SHARED(float, partial, [WARP]);
    size_t row = blockIdx.x, at = row * classes;
    bool labelled = target && target[at] >= 0.0f;
    float total = 0.0f;
    scale = scaled ? scale * scaled->scale : scale;
    for (size_t c = threadIdx.x; c < classes; c += blockDim.x) {
        float x = load(logits + at + c), slope = 0.0f;
        if (teacher) {
            float soft = x / temperature, t = teacher[at + c] / temperature;
            total += alpha * temperature * temperature * bernoulli_divergence(t, soft);
            slope = alpha * temperature * (sigmoid(soft) - sigmoid(t));
        }
        if (labelled) {
            float wanted = (1.0f - smoothing) * target[at + c] + smoothing / 2.0f;
            total += (1.0f - alpha) * binary_entropy(x, wanted);
            slope += (1.0f - alpha) * (sigmoid(x) - wanted);
        }
        if (dlogits)
            store(dlogits + at + c, slope * scale / (float)classes);
    }
    total = block_sum(total, partial);
    if (threadIdx.x == 0)
        row_loss[row] = total / (float)classes;
}

void cuda_loss_multi_label(struct device *dev, const struct loss *loss, const act *logits,
                           const float *target, const float *teacher, size_t rows, size_t classes,
                           float *row_loss, act *dlogits)
{
    struct cuda *cuda = cuda_of(dev);
    bool distil = loss->kind == LOSS_DISTIL && teacher;
    if (rows == 0 || classes == 0)
        return;
    CUDA_PER_ACT(cuda,
                 CUDA_LAUNCH(cuda, "loss_multi_label", multi_label_rows<T>, cuda_ceil(rows, 1),
                             row_threads(classes), 0, cuda_values<T>(logits), target,
                             distil ? teacher : NULL, distil ? loss->alpha : 0.0f,
                             distil ? loss->temperature : 1.0f, loss->smoothing, loss->scale,
                             loss->scaled, classes, row_loss, cuda_values<T>(dlogits)));
}
