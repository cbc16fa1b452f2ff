/* optimizer.cu: gradient norm, clipping and AdamW. The norm is summed in double, by blocks into the
 * scratch and then by one block, in an order that depends on nothing but the number of elements. */
#include "kernels/cuda/linear.h"

constexpr size_t RUN = 16 * CUDA_BLOCK, MOST_RUNS = 1024;

static __global__ void __launch_bounds__(CUDA_BLOCK)
    squares(const float *__restrict__ x, size_t n, double *__restrict__ partial)
{
    SHARED(double, warps, [WARP]);
    double sum = 0;
    for (size_t i = grid_first(); i < n; i += grid_stride())
        sum += (double)x[i] * (double)x[i];
    sum = block_sum(sum, warps);
    if (threadIdx.x == 0)
        partial[blockIdx.x] = sum;
}

/* One block. */
static __global__ void __launch_bounds__(CUDA_BLOCK)
    add_squares(const double *__restrict__ partial, unsigned n, double *__restrict__ sum)
{
    SHARED(double, warps, [WARP]);
    double total = 0;
    for (unsigned i = threadIdx.x; i < n; i += CUDA_BLOCK)
        total += partial[i];
    total = block_sum(total, warps);
    if (threadIdx.x == 0)
        *sum += total;
}

size_t cuda_sum_squares_bytes(void)
{
    return MOST_RUNS * sizeof(double);
}

void cuda_sum_squares(struct device *dev, const float *x, size_t n, double *sum)
{
    struct cuda *cuda = cuda_of(dev);
    size_t runs = (n + RUN - 1) / RUN;
    unsigned blocks = (unsigned)(runs < MOST_RUNS ? runs : MOST_RUNS);
    double *partial =
        n > 0 ? (double *)cuda_scratch(cuda, "sum_squares", cuda_sum_squares_bytes()) : NULL;
    if (partial && CUDA_LAUNCH(cuda, "sum_squares", squares, blocks, CUDA_BLOCK, 0, x, n, partial))
        CUDA_LAUNCH(cuda, "sum_squares", add_squares, 1, CUDA_BLOCK, 0, partial, blocks, sum);
}

static __global__ void clip(double *sum, float max_norm, struct loss_scale *scaled, float *factor)
{
    if (threadIdx.x == 0)
        *factor = loss_scale_clip(sum, max_norm, scaled);
}

void cuda_clip_factor(struct device *dev, double *sum, float max_norm, struct loss_scale *scaled,
                      float *factor)
{
    CUDA_LAUNCH(cuda_of(dev), "clip_factor", clip, 1, WARP, 0, sum, max_norm, scaled, factor);
}

constexpr unsigned MOST_UPDATES = 4096; /* blocks: each works its step out once */

/* What is the same for all elements. */
struct adamw_step {
    float beta1, beta2;
    float rate;            /* lr / (1 - beta1^step) */
    float root_correction; /* 1 / sqrt(1 - beta2^step) */
    float eps, decay;      /* decay = 1 - lr * weight_decay */
};

/* On the device: which step it is, only the device knows where some were skipped. */
static __device__ void work_out(struct adamw_step *step, float lr, float beta1, float beta2,
                                float eps, float weight_decay, uint64_t n,
                                const struct loss_scale *scaled)
{
    double done = (double)loss_scale_step(n, scaled);
    step->beta1 = beta1;
    step->beta2 = beta2;
    step->rate = (float)((double)lr / (1 - pow((double)beta1, done)));
    step->root_correction = (float)(1 / sqrt(1 - pow((double)beta2, done)));
    step->eps = eps;
    step->decay = (float)(1 - (double)lr * (double)weight_decay);
}

static __device__ inline void learn(const struct adamw_step &step, float g, float *m, float *v,
                                    float *w)
{
    float mean = step.beta1 * *m + (1.0f - step.beta1) * g;
    float square = step.beta2 * *v + (1.0f - step.beta2) * g * g;
    float root = sqrtf(square) * step.root_correction + step.eps;
    *m = mean;
    *v = square;
    *w = *w * step.decay - step.rate * mean / root;
}

/* Rows of `cols`; row NULL: those of grad; place NULL: moments lie as w does. */
static __global__ void __launch_bounds__(CUDA_BLOCK)
    update(float lr, float beta1, float beta2, float eps, float weight_decay, uint64_t n,
           const struct loss_scale *__restrict__ scaled, const float *__restrict__ factor,
           const int32_t *__restrict__ row, size_t n_rows, size_t cols,
           const int32_t *__restrict__ place, const float *__restrict__ grad, float *__restrict__ m,
           float *__restrict__ v, float *__restrict__ w)
{
    SHARED(struct adamw_step, shared, [1]);
    float by = *factor;
    if (by < 0) /* all blocks: the step is skipped */
        return;
    if (threadIdx.x == 0)
        work_out(shared, lr, beta1, beta2, eps, weight_decay, n, scaled);
    __syncthreads();
    const struct adamw_step step = shared[0];
    for (size_t r = blockIdx.y; r < n_rows; r += gridDim.y) {
        size_t of = row ? (size_t)row[r] : r, from = r * cols, at = of * cols;
        size_t moment = place ? (size_t)place[of] * cols : at;
        for (size_t i = grid_first(); i < cols; i += grid_stride())
            learn(step, grad[from + i] * by, m + moment + i, v + moment + i, w + at + i);
    }
}

static void run(struct cuda *cuda, const char *operation, dim3 grid, const struct adamw *adamw,
                const float *factor, const int32_t *row, size_t n_rows, size_t cols,
                const int32_t *place, const float *grad, float *m, float *v, float *w)
{
    CUDA_LAUNCH(cuda, operation, update, grid, CUDA_BLOCK, 0, adamw->lr, adamw->beta1, adamw->beta2,
                adamw->eps, adamw->weight_decay, adamw->step, adamw->scaled, factor, row, n_rows,
                cols, place, grad, m, v, w);
}

void cuda_adamw(struct device *dev, const struct adamw *adamw, const float *factor, size_t n,
                const float *grad, float *m, float *v, float *w)
{
    unsigned blocks = cuda_blocks(n);
    if (n > 0)
        run(cuda_of(dev), "adamw", blocks < MOST_UPDATES ? blocks : MOST_UPDATES, adamw, factor,
            NULL, 1, n, NULL, grad, m, v, w);
}

/* struct adamw_group, as kernels take them. */
struct update_groups {
    size_t end[ADAMW_MAX_GROUPS];
    float lr[ADAMW_MAX_GROUPS], weight_decay[ADAMW_MAX_GROUPS];
    unsigned n;
};

/* copy: NULL, or what products multiply, which is made anew of weights that did not change, too. */
template <class T>
static __global__ void __launch_bounds__(CUDA_BLOCK)
    update_block(struct update_groups groups, float beta1, float beta2, float eps, uint64_t n,
                 const struct loss_scale *__restrict__ scaled, const float *__restrict__ factor,
                 const float *__restrict__ grad, float *__restrict__ m, float *__restrict__ v,
                 float *__restrict__ w, T *__restrict__ copy)
{
    SHARED(struct adamw_step, step, [ADAMW_MAX_GROUPS]);
    float by = *factor;
    if (by < 0 && !copy) /* all blocks */
        return;
    if (threadIdx.x < groups.n)
        work_out(step + threadIdx.x, groups.lr[threadIdx.x], beta1, beta2, eps,
                 groups.weight_decay[threadIdx.x], n, scaled);
    __syncthreads();
    unsigned group = 0;
    for (size_t i = grid_first(); i < groups.end[groups.n - 1]; i += grid_stride()) {
        while (i >= groups.end[group])
            group++;
        if (by >= 0)
            learn(step[group], grad[i] * by, m + i, v + i, w + i);
        if (copy)
            store(copy + i, w[i]);
    }
}

void cuda_adamw_block(struct device *dev, const struct adamw *adamw,
                      const struct adamw_group *group, size_t n_groups, const float *factor,
                      const float *grad, float *m, float *v, float *w, struct linear *const *linear,
                      size_t n_linears)
{
    struct cuda *cuda = cuda_of(dev);
    struct update_groups groups = {};
    size_t n = n_groups > 0 ? group[n_groups - 1].end : 0;
    if (n_groups > ADAMW_MAX_GROUPS) {
        cuda_fail(cuda, "adamw_block: %zu groups; at most %d", n_groups, (int)ADAMW_MAX_GROUPS);
        return;
    }
    groups.n = (unsigned)n_groups;
    for (size_t g = 0; g < n_groups; g++) {
        groups.end[g] = group[g].end;
        groups.lr[g] = group[g].lr;
        groups.weight_decay[g] = group[g].weight_decay;
    }
    void *copy = cuda_block_copy(cuda, w, n);
    unsigned blocks = cuda_blocks(n);
    if (n > 0)
        CUDA_PER_ACT(cuda, CUDA_LAUNCH(cuda, "adamw_block", update_block<T>,
                                       blocks < MOST_UPDATES ? blocks : MOST_UPDATES, CUDA_BLOCK, 0,
                                       groups, adamw->beta1, adamw->beta2, adamw->eps, adamw->step,
                                       adamw->scaled, factor, grad, m, v, w, (T *)copy));
    for (size_t i = 0; i < n_linears; i++)
        if (!copy || !linear[i]->of_block)
            cuda_linear_refresh(dev, linear[i]);
}

void cuda_adamw_rows(struct device *dev, const struct adamw *adamw, const float *factor,
                     const int32_t *row, size_t n_rows, size_t cols, const int32_t *place,
                     const float *grad, float *m, float *v, float *w)
{
    if (n_rows > 0 && cols > 0)
        run(cuda_of(dev), "adamw_rows", cuda_grid_rows(n_rows, cols), adamw, factor, row, n_rows,
            cols, place, grad, m, v, w);
}
