/* faults.cu - kernels with one defect each. `faults NAME` runs one and exits 0 if nothing noticed;
 * faults.sh runs all in every build and prints which check catches which defect. */
#include "gpu.h"
#include <stdio.h>
#include <stdlib.h>

enum { N = 256 };
typedef void Kernel(float *, const float *);
#define KERNEL(name) __global__ void name(float *__restrict__ out, const float *__restrict__ in)
#define I            (blockIdx.x * blockDim.x + threadIdx.x)
#define T            threadIdx.x

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

static int bad;
int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        Kernel *kernel;
    } kernels[] = {
#define K(name) {#name, name}
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
    const char *name = argc > 1 ? argv[1] : "copy";
    auto is = [=](const char *s) { return !strcmp(name, s); };
    float host[N], result[N] = {}, *in, *out;
    cudaStream_t s;
    Kernel *kernel = copy;
    for (auto &k : kernels)
        if (is(k.name))
            kernel = k.kernel;
    for (int i = 0; i < N; i++)
        host[i] = 1 + (float)i / N; /* right results lie in 1 ... 6 */
    cudaStreamCreate(&s);
    cudaMalloc(&in, sizeof host);
    cudaMalloc(&out, sizeof host);
    if (!is("device_unwritten"))
        cudaMemcpyAsync(in, host, sizeof host, cudaMemcpyHostToDevice, s);
    if (is("use_after_free"))
        cudaFree(in);
    if (is("host_touches_device"))
        out[0] = 1;
    LAUNCH(kernel, N / 64, 64, 0, s, out, is("host_pointer") ? host : in);
    if (is("copy_too_long"))
        bad |= cudaMemcpyAsync(result, out, sizeof host + 4, cudaMemcpyDeviceToHost, s);
    cudaMemcpyAsync(result, out, sizeof host, cudaMemcpyDeviceToHost, s);
    if (!is("no_stream_sync"))
        cudaStreamSynchronize(s);
    for (int i = 0; i < N; i++)
        if (!(result[i] >= 1 && result[i] <= 6))
            bad = 1;
    if (!is("use_after_free"))
        cudaFree(in);
    cudaFree(out);
    cudaStreamDestroy(s);
    double sum = 0;
    for (int i = 0; i < N; i++)
        sum += i * (double)result[i];
    printf("%.17g\n", sum);
    return bad;
}
