/* cuda_emu.h: the part of CUDA that kernels/cuda uses, for a plain C++17 compiler (g++, clang++).
 *
 * Kernels run on the CPU: blocks one after another, the threads of a block as fibres of one host
 * thread, so a fibre stops only in a barrier or warp collective. It is a checker first: what is
 * wrong but "works" on some GPU stops here with a message (list: README). Not supported on
 * purpose: partial warp masks, __device__ and __constant__ variables, textures, graphs,
 * cooperative groups. One host thread at a time.
 *
 * Environment, read once:
 *   EMU_ORDER=ascending|descending|random:SEED  order of threads and blocks
 *   EMU_STREAMS=lazy|eager  lazy (default): work runs only when something waits for it
 *   EMU_DEVICES=N           0: a machine without a GPU
 *   EMU_DRIVER=VERSION      of the driver, as CUDA counts: 12080; 0: none is installed
 *   EMU_CAPABILITY=75       of the devices
 *   EMU_MEMORY=BYTES        of a device; allocations fail beyond it
 *   EMU_FAIL_ALLOC=N        the Nth allocation fails, of device or pinned memory
 *   EMU_FAIL_LAUNCH=N       the Nth kernel or product fails when it runs, and all that follows
 *   EMU_LEAKS=1             memory that was not freed: a message, exit status 98
 *   EMU_STATS=1             print counts at exit
 */
#ifndef MILLET_TESTS_CUDA_EMU_H
#define MILLET_TESTS_CUDA_EMU_H

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <tuple>
#include <type_traits>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))

/* ---- vectors, indices ---- */
struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_)
    {
    }
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(8) float2 {
    float x, y;
};

/* ---- 16-bit floats: storage and conversion only; arithmetic is done in float ---- */
struct __half {
    uint16_t bits;
};
struct __nv_bfloat16 {
    uint16_t bits;
};
float __half2float(__half h);
__half __float2half(float f); /* round to nearest even, as __float2half_rn */
static inline float __bfloat162float(__nv_bfloat16 b)
{
    uint32_t u = (uint32_t)b.bits << 16;
    float f;
    memcpy(&f, &u, 4);
    return f;
}
static inline __nv_bfloat16 __float2bfloat16(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    if (f != f)
        return {0x7fff};
    return {(uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16)};
}

/* ---- runtime API subset; numeric values are NVIDIA's ---- */
enum cudaError_t {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInvalidConfiguration = 9,
    cudaErrorInsufficientDriver = 35,
    cudaErrorNoDevice = 100,
    cudaErrorInvalidDevice = 101,
    cudaErrorIllegalAddress = 700
};
enum cudaMemcpyKind {
    cudaMemcpyHostToHost,
    cudaMemcpyHostToDevice,
    cudaMemcpyDeviceToHost,
    cudaMemcpyDeviceToDevice,
    cudaMemcpyDefault
};
enum { cudaStreamDefault = 0, cudaStreamNonBlocking = 1 };
enum { cudaEventDefault = 0, cudaEventDisableTiming = 2 };
typedef struct CUstream_st *cudaStream_t;
typedef struct CUevent_st *cudaEvent_t;
struct cudaDeviceProp {
    char name[256];
    size_t totalGlobalMem;
    int major, minor, multiProcessorCount;
};

cudaError_t cudaDriverGetVersion(int *version);
cudaError_t cudaRuntimeGetVersion(int *version);
cudaError_t cudaGetDeviceCount(int *n);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *properties, int device);
cudaError_t cudaMemGetInfo(size_t *free, size_t *total);
cudaError_t cudaMalloc(void **p, size_t bytes);
template <class T> cudaError_t cudaMalloc(T **p, size_t n)
{
    return cudaMalloc((void **)p, n);
}
cudaError_t cudaFree(void *p);
cudaError_t cudaMallocHost(void **p, size_t bytes);
cudaError_t cudaFreeHost(void *p);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t n, cudaMemcpyKind, cudaStream_t);
cudaError_t cudaMemsetAsync(void *p, int byte, size_t n, cudaStream_t);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t s);
cudaError_t cudaStreamSynchronize(cudaStream_t s);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t e);
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s);
cudaError_t cudaEventSynchronize(cudaEvent_t e);
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t start, cudaEvent_t stop);
cudaError_t cudaGetLastError(void);
const char *cudaGetErrorString(cudaError_t e);

namespace emu
{
struct Thread { /* one CUDA thread of the block that is running */
    uint3 tid;
    unsigned lane, warp;
    unsigned round;      /* warp collectives done; selects the exchange buffer */
    struct Fibre *fibre; /* its stack, once it has started */
    const char *file;    /* where it waits; null = runs or has ended */
    int line;
};
struct Grid {
    dim3 grid_dim, block_dim;
    uint3 block;
};
extern Thread *cur;
extern Grid grid;

void sync_block(const char *file, int line);
/* Leaves `value` for the others, waits for all 32 lanes, returns what each lane left. */
const uint64_t *warp_exchange(const char *what, unsigned mask, uint64_t value, const char *file,
                              int line);
/* One address per block and key; key null: the launch's dynamic memory. */
void *shared_memory(const void *key, size_t bytes);
void check_argument(const char *kernel, int index, const void *p);
cudaError_t enqueue_kernel(const char *name, dim3 grid, dim3 block, size_t shmem, cudaStream_t s,
                           std::function<void()> thread_body);

/* Arguments are converted to the parameter types and copied at once, as <<<>>> does; every pointer
 * among them must be null or point into live device memory. */
template <class... P, class... A>
cudaError_t launch(const char *name, void (*kernel)(P...), dim3 grid, dim3 block, size_t shmem,
                   cudaStream_t s, A &&...a)
{
    std::tuple<P...> args{static_cast<P>(a)...};
    int i = 0;
    auto check = [&](const auto &arg) {
        i++;
        if constexpr (std::is_pointer_v<std::decay_t<decltype(arg)>>)
            check_argument(name, i, arg);
    };
    std::apply([&](const auto &...arg) { (check(arg), ...); }, args);
    return enqueue_kernel(name, grid, block, shmem, s, [=] { std::apply(kernel, args); });
}
} // namespace emu

#define LAUNCH(kernel, grid, block, shmem, stream, ...)                                            \
    emu::launch(#kernel, kernel, (grid), (block), (shmem), (stream), __VA_ARGS__)
#define SHARED(type, name, dims)                                                                   \
    typedef type name##_type dims;                                                                 \
    static const char name##_key{};                                                                \
    name##_type &name = *(name##_type *)emu::shared_memory(&name##_key, sizeof(name##_type))
#define SHARED_DYNAMIC(type, name) type *name = (type *)emu::shared_memory(nullptr, 0)

/* ---- inside kernels ---- */
#define threadIdx (emu::cur->tid)
#define blockIdx  (emu::grid.block)
#define blockDim  (emu::grid.block_dim)
#define gridDim   (emu::grid.grid_dim)
constexpr int warpSize = 32;

#define EMU_SITE const char *file = __builtin_FILE(), int line = __builtin_LINE()
static inline void __syncthreads(EMU_SITE)
{
    emu::sync_block(file, line);
}
static inline void __syncwarp(unsigned mask = ~0u, EMU_SITE)
{
    emu::warp_exchange("__syncwarp", mask, 0, file, line);
}
static inline unsigned __ballot_sync(unsigned mask, int vote, EMU_SITE)
{
    const uint64_t *votes = emu::warp_exchange("__ballot_sync", mask, vote != 0, file, line);
    unsigned bits = 0;
    for (int i = 0; i < 32; i++)
        bits |= (unsigned)votes[i] << i;
    return bits;
}
template <class T> T emu_shuffle(unsigned mask, T v, int from, const char *file, int line)
{
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "CUDA shuffles 4 or 8 bytes");
    uint64_t bits = 0;
    memcpy(&bits, &v, sizeof v);
    bits = emu::warp_exchange("shuffle", mask, bits, file, line)[from];
    memcpy(&v, &bits, sizeof v);
    return v;
}
/* `width` splits the warp into groups of that many lanes; a source outside the group is oneself. */
template <class T> T __shfl_sync(unsigned mask, T v, int src, int width = 32, EMU_SITE)
{
    int lane = (int)emu::cur->lane, first = lane & ~(width - 1);
    return emu_shuffle(mask, v, first + (src & (width - 1)), file, line);
}
template <class T> T __shfl_xor_sync(unsigned mask, T v, int bits, int width = 32, EMU_SITE)
{
    int lane = (int)emu::cur->lane, src = lane ^ bits;
    return emu_shuffle(mask, v, src > (lane | (width - 1)) ? lane : src, file, line);
}
template <class T> T __shfl_down_sync(unsigned mask, T v, unsigned delta, int width = 32, EMU_SITE)
{
    int lane = (int)emu::cur->lane, src = lane + (int)delta;
    return emu_shuffle(mask, v, src > (lane | (width - 1)) ? lane : src, file, line);
}

/* Real atomics, so that ThreadSanitizer knows them as such. */
template <class T> T atomicAdd(T *p, T v)
{
    T old, sum;
    __atomic_load(p, &old, __ATOMIC_RELAXED);
    do
        sum = old + v;
    while (!__atomic_compare_exchange(p, &old, &sum, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return old;
}
template <class T> T __ldg(const T *p)
{
    return *p;
}
static inline float rsqrtf(float x)
{
    return 1.0f / sqrtf(x);
}
/* One rounding each, never fused: what must agree with the CPU to the last bit. */
static inline float __fadd_rn(float a, float b)
{
    return a + b;
}
static inline float __fsub_rn(float a, float b)
{
    return a - b;
}
static inline float __fmul_rn(float a, float b)
{
    return a * b;
}
static inline float __fdiv_rn(float a, float b)
{
    return a / b;
}
static inline float __fsqrt_rn(float x)
{
    return sqrtf(x);
}
static inline int min(int a, int b)
{
    return a < b ? a : b;
}
static inline int max(int a, int b)
{
    return a > b ? a : b;
}

/* ---- cuBLAS subset (column-major, like the real one) ---- */
enum cublasStatus_t {
    CUBLAS_STATUS_SUCCESS = 0,
    CUBLAS_STATUS_NOT_INITIALIZED = 1,
    CUBLAS_STATUS_ALLOC_FAILED = 3,
    CUBLAS_STATUS_INVALID_VALUE = 7,
    CUBLAS_STATUS_EXECUTION_FAILED = 13,
    CUBLAS_STATUS_NOT_SUPPORTED = 15
};
enum cublasOperation_t { CUBLAS_OP_N = 0, CUBLAS_OP_T = 1 };
enum cudaDataType {
    CUDA_R_32F = 0,
    CUDA_R_16F = 2,
    CUDA_R_8I = 3,
    CUDA_R_32I = 10,
    CUDA_R_16BF = 14
};
enum cublasComputeType_t {
    CUBLAS_COMPUTE_32F = 68,
    CUBLAS_COMPUTE_32I = 72,
    CUBLAS_COMPUTE_32F_FAST_TF32 = 77
};
enum cublasGemmAlgo_t { CUBLAS_GEMM_DEFAULT = -1 };
enum cublasMath_t {
    CUBLAS_DEFAULT_MATH = 0,
    CUBLAS_TF32_TENSOR_OP_MATH = 3,
    CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION = 16
};
typedef struct cublasContext *cublasHandle_t;
/* Found by dlsym in the running program itself: link with -rdynamic. */
#pragma GCC visibility push(default)
extern "C" {
cublasStatus_t cublasCreate_v2(cublasHandle_t *h);
cublasStatus_t cublasDestroy_v2(cublasHandle_t h);
cublasStatus_t cublasSetStream_v2(cublasHandle_t h, cudaStream_t s);
cublasStatus_t cublasSetWorkspace_v2(cublasHandle_t h, void *workspace, size_t bytes);
cublasStatus_t cublasSetMathMode(cublasHandle_t h, cublasMath_t mode);
cublasStatus_t cublasGemmStridedBatchedEx(cublasHandle_t, cublasOperation_t ta,
                                          cublasOperation_t tb, int m, int n, int k,
                                          const void *alpha, const void *A, cudaDataType at,
                                          int lda, long long sa, const void *B, cudaDataType bt,
                                          int ldb, long long sb, const void *beta, void *C,
                                          cudaDataType ct, int ldc, long long sc, int batches,
                                          cublasComputeType_t, cublasGemmAlgo_t);
cublasStatus_t cublasGemmEx(cublasHandle_t, cublasOperation_t ta, cublasOperation_t tb, int m,
                            int n, int k, const void *alpha, const void *A, cudaDataType at,
                            int lda, const void *B, cudaDataType bt, int ldb, const void *beta,
                            void *C, cudaDataType ct, int ldc, cublasComputeType_t,
                            cublasGemmAlgo_t);
}
#pragma GCC visibility pop
#endif
