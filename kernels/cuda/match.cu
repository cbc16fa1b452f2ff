/* match.cu: rows of a student brought near rows of its teacher: a warp for each row leaves the
 * row's loss in working memory, a second kernel takes the means of sequences. So the order of a
 * sum depends on its sequence alone, not on the others or on how many blocks there are. */
#include "kernels/cuda/match.h"

constexpr unsigned MATCH_WARPS = 4;

/* dx and the losses of rows, at weight 1. A lane has every 32nd column; the second reading of a
 * row comes from the cache. */
template <class T>
static __global__ void __launch_bounds__(MATCH_WARPS *WARP)
    match_rows(const T *x, const T *target, const int32_t *__restrict__ offset, int kind,
               size_t cols, float factor, float *__restrict__ loss, T *dx)
{
    size_t first = (size_t)offset[blockIdx.x], end = (size_t)offset[blockIdx.x + 1];
    size_t lane = threadIdx.x % WARP;
    size_t row = first + blockIdx.y * (size_t)MATCH_WARPS + threadIdx.x / WARP;
    factor /= (float)(end - first);
    for (; row < end; row += gridDim.y * (size_t)MATCH_WARPS) {
        float xx = 0.0f, tt = 0.0f, xt = 0.0f, dd = 0.0f;
        for (size_t c = lane; c < cols; c += WARP) {
            float a = load(x + row * cols + c), b = load(target + row * cols + c);
            dd += (a - b) * (a - b);
            xx += a * a;
            tt += b * b;
            xt += a * b;
        }
        float of_x, of_t, value; /* dx = of_x x + of_t target, but for rounding */
        if (kind == MATCH_SQUARED) {
            value = warp_sum(dd) / (float)cols;
            of_x = 2.0f * factor / (float)cols;
            of_t = -of_x;
        } else {
            xx = warp_sum(xx);
            tt = warp_sum(tt);
            xt = warp_sum(xt);
            bool none = xx <= 0.0f || tt <= 0.0f; /* not where one is NaN: that is to show */
            float both = sqrtf(xx) * sqrtf(tt), cosine = none ? 1.0f : xt / both;
            value = 2.0f - 2.0f * cosine;
            of_x = none ? 0.0f : 2.0f * factor * cosine / xx;
            of_t = none ? 0.0f : -2.0f * factor / both;
        }
        for (size_t c = lane; c < cols; c += WARP) {
            float a = load(x + row * cols + c), b = load(target + row * cols + c);
            store(dx + row * cols + c,
                  kind == MATCH_SQUARED ? of_x * (a - b) : of_x * a + of_t * b);
        }
        if (lane == 0)
            loss[row] = value;
    }
}

/* A warp for each sequence. */
static __global__ void __launch_bounds__(CUDA_BLOCK)
    add_means(const float *__restrict__ part, size_t each, const int32_t *__restrict__ offset,
              size_t n, float weight, float *__restrict__ row_loss)
{
    size_t s = grid_first() / WARP, lane = threadIdx.x % WARP;
    if (s >= n)
        return; /* the whole warp; there is no block barrier */
    size_t first = (size_t)offset[s] * each, end = (size_t)offset[s + 1] * each;
    float sum = 0.0f;
    for (size_t i = first + lane; i < end; i += WARP)
        sum += part[i];
    sum = warp_sum(sum);
    if (lane == 0 && end > first)
        row_loss[s] += weight * sum / (float)(end - first);
}

void cuda_add_means(struct cuda *cuda, const char *operation, const struct seqs *seqs,
                    const float *part, size_t each, float weight, float *row_loss)
{
    CUDA_LAUNCH(cuda, operation, add_means, cuda_ceil(seqs->n, CUDA_BLOCK / WARP), CUDA_BLOCK, 0,
                part, each, seqs->offset, seqs->n, weight, row_loss);
}

void cuda_match(struct device *dev, const struct match *match, const act *x, const act *target,
                const struct seqs *seqs, size_t cols, float *row_loss, act *dx)
{
    struct cuda *cuda = cuda_of(dev);
    if (seqs->n == 0 || cols == 0)
        return;
    float *loss = (float *)cuda_scratch(cuda, "match", seqs->n_tokens * sizeof *loss);
    if (!loss)
        return;
    CUDA_PER_ACT(cuda, CUDA_LAUNCH(cuda, "match", match_rows<T>, cuda_grid_seqs(seqs, MATCH_WARPS),
                                   MATCH_WARPS * WARP, 0, cuda_values<T>(x), cuda_values<T>(target),
                                   seqs->offset, (int)match->kind, cols,
                                   match->weight * match->scale, loss, cuda_values<T>(dx)));
    cuda_add_means(cuda, "match", seqs, loss, 1, match->weight, row_loss);
}
