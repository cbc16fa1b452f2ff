/* faults.cu: kernels with one defect each, to prove that the emulator notices. `faults NAME` runs
 * one and exits 0 if nothing did; faults.sh runs all in every build and compares with the table
 * faults.txt. */
#include "kernels/cuda/gpu.h"

#include <stdio.h>
#include <stdlib.h>

enum { N = 256 };
typedef void Kernel(float *, const float *);
#define KERNEL(name)                                                                               \
    static __global__ void name(float *__restrict__ out, const float *__restrict__ in)
#define I (blockIdx.x * blockDim.x + threadIdx.x)
#define T threadIdx.x

KERNEL(no_barrier_write_read)
{
    SHARED(float, a, [64]);
    a[T] = in[I];
    out[I] = a[(T + 1) % 64]; /* before its owner has written it */
}
KERNEL(no_barrier_read_write)
{
    SHARED(float, a, [64]);
    for (int pass = 0; pass < 2; pass++) {
        a[T] = in[I] + pass;
        __syncthreads();
        out[I] = (pass ? out[I] : 0) +
                 a[(T + 33) % 64]; /* pass 1 overwrites what a slower thread still reads */
    }
}
KERNEL(no_syncwarp)
{
    SHARED(float, a, [64]);
    a[T] = in[I];
    out[I] = __shfl_sync(FULL_WARP, a[T], T ^ 1) + a[T ^ 1]; /* a shuffle is no memory fence */
}
KERNEL(race_between_blocks)
{
    out[I] = in[I];
    if (T == 0)
        out[N - 1] = in[I];
}
KERNEL(barrier_in_branch)
{
    if (T < 32)
        __syncthreads();
    else
        out[I] = in[I];
}
KERNEL(shuffle_in_branch)
{
    out[I] = T % 32 < 16 ? __shfl_xor_sync(FULL_WARP, in[I], 1) : 0;
}
KERNEL(early_return)
{
    if (T == 5)
        return;
    out[I] = __shfl_xor_sync(FULL_WARP, in[I], 1);
}
KERNEL(write_past_end)
{
    out[I + 1] = in[I];
}
KERNEL(read_past_end)
{
    out[I] = in[I + 1] * 0 + in[I];
}
KERNEL(read_far)
{
    out[I] = in[I + (1 << 20)];
}
KERNEL(shared_past_end)
{
    SHARED(float, a, [64]);
    a[T + 1] = in[I];
    __syncthreads();
    out[I] = in[I];
}
KERNEL(shared_unwritten)
{
    SHARED(float, a, [64]);
    if (T)
        a[T] = in[I];
    __syncthreads();
    out[I] = a[T];
}
KERNEL(copy)
{
    out[I] = in[I];
}

static const struct {
    const char *name;
    Kernel *kernel;
} kernels[] = {
#define K(name)                                                                                    \
    {                                                                                              \
#name, name                                                                                \
    }
    K(no_barrier_write_read),
    K(no_barrier_read_write),
    K(no_syncwarp),
    K(race_between_blocks),
    K(barrier_in_branch),
    K(shuffle_in_branch),
    K(early_return),
    K(write_past_end),
    K(read_past_end),
    K(read_far),
    K(shared_past_end),
    K(shared_unwritten),
    K(copy)};

static const char *defect = "copy";
static cudaStream_t stream;

static bool is(const char *name)
{
    return strcmp(defect, name) == 0;
}

/* int8 products whose rows are not 4 bytes apart are refused, which nobody looks at here. */
static void product_int8(float *out, const float *in, int step)
{
    cublasHandle_t blas;
    const int32_t one = 1, zero = 0;
    cublasCreate_v2(&blas);
    cublasSetStream_v2(blas, stream);
    cublasGemmEx(blas, CUBLAS_OP_T, CUBLAS_OP_N, 4, 4, 4, &one, in, CUDA_R_8I, step, in, CUDA_R_8I,
                 step, &zero, out, CUDA_R_32I, 4, CUBLAS_COMPUTE_32I, CUBLAS_GEMM_DEFAULT);
    cublasDestroy_v2(blas);
}

static bool run(float *in, float *out, float *host, float *result)
{
    const size_t bytes = N * sizeof(float);
    Kernel *kernel = copy;
    bool bad = false;
    for (auto &k : kernels)
        if (is(k.name))
            kernel = k.kernel;
    if (!is("device_unwritten"))
        cudaMemcpyAsync(in, host, bytes, cudaMemcpyHostToDevice, stream);
    if (is("pinned_reused")) /* before the copy has run */
        memset(host, 0, bytes);
    if (is("use_after_free"))
        cudaFree(in);
    if (is("host_touches_device"))
        out[0] = 1;
    if (is("int8_step"))
        product_int8(out, in, 6);
    else
        LAUNCH(kernel, N / 64, 64, 0, is("default_stream") ? NULL : stream, out,
               is("host_pointer") ? host : in);
    if (is("copy_too_long"))
        bad |=
            cudaMemcpyAsync(result, out, bytes + 4, cudaMemcpyDeviceToHost, stream) != cudaSuccess;
    cudaMemcpyAsync(result, out, bytes, cudaMemcpyDeviceToHost, stream);
    if (!is("no_stream_sync"))
        bad |= cudaStreamSynchronize(stream) != cudaSuccess;
    for (int i = 0; i < N; i++)
        bad |= !(result[i] >= 1 && result[i] <= 6); /* right ones do */
    if (!is("use_after_free"))
        cudaFree(in);
    if (is("double_free"))
        bad |= cudaFree(in) != cudaSuccess;
    return bad;
}

int main(int argc, char **argv)
{
    float result[N] = {}, *in, *out, *host;
    double sum = 0;
    defect = argc > 1 ? argv[1] : defect;
    cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
    cudaMalloc(&in, sizeof result);
    cudaMalloc(&out, sizeof result);
    cudaMallocHost((void **)&host, sizeof result);
    for (int i = 0; i < N; i++)
        host[i] = 1 + (float)i / N;
    bool bad = run(in, out, host, result);
    for (int i = 0; i < N; i++)
        sum += i * (double)result[i];
    if (!is("memory_leak"))
        cudaFree(out);
    cudaFreeHost(host);
    cudaStreamDestroy(stream);
    printf("%.17g\n", sum);
    return bad;
}
