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
        for (size_t i = grid_first(); i < cols; i += grid_stride()) {
            float g = grad[from + i] * by;
            float mean = step.beta1 * m[moment + i] + (1.0f - step.beta1) * g;
            float square = step.beta2 * v[moment + i] + (1.0f - step.beta2) * g * g;
            float root = sqrtf(square) * step.root_correction + step.eps;
            m[moment + i] = mean;
            v[moment + i] = square;
            w[at + i] = w[at + i] * step.decay - step.rate * mean / root;
        }
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
    constexpr unsigned MOST = 4096; /* each works its step out once */
    unsigned blocks = cuda_blocks(n);
    if (n > 0)
        run(cuda_of(dev), "adamw", blocks < MOST ? blocks : MOST, adamw, factor, NULL, 1, n, NULL,
            grad, m, v, w);
}

void cuda_adamw_rows(struct device *dev, const struct adamw *adamw, const float *factor,
                     const int32_t *row, size_t n_rows, size_t cols, const int32_t *place,
                     const float *grad, float *m, float *v, float *w)
{
    if (n_rows > 0 && cols > 0)
        run(cuda_of(dev), "adamw_rows", cuda_grid_rows(n_rows, cols), adamw, factor, row, n_rows,
            cols, place, grad, m, v, w);
}
