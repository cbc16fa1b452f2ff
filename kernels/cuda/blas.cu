/* blas.cu: cuBLAS found by dlopen, and row-major products by it. */
#include "kernels/cuda/cuda.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdlib.h>
#include <type_traits>

/* dlsym is untyped: let the compiler compare with the header. In C++ the header overloads
 * cublasGemmEx, so that decltype alone does not do. */
typedef decltype(cuda_blas::gemm) Gemm;
static_assert(std::is_same<decltype(static_cast<Gemm>(&cublasGemmEx)), Gemm>::value,
              "cublasGemmEx has another type");
static_assert(
    std::is_same<decltype(&cublasSetWorkspace_v2), decltype(cuda_blas::set_workspace)>::value,
    "cublasSetWorkspace_v2 has another type");

static const size_t WORKSPACE_BYTES = (size_t)8 << 20;

/* NULL in *library: err says why. */
static void open_library(void **library, struct error *err)
{
    const char *name = getenv("MILLET_CUBLAS");
#ifdef CUDA_EMU
    (void)name;
    *library = dlopen(NULL, RTLD_NOW); /* the emulator's functions, in this very program */
#else
    char usual[32];
    snprintf(usual, sizeof usual, "libcublas.so.%d", CUBLAS_VER_MAJOR);
    *library = dlopen(name && *name ? name : usual, RTLD_NOW | RTLD_LOCAL);
#endif
    if (!*library)
        error_set(err,
                  "cuBLAS: %s: install the CUDA libraries (Debian: libcublas), put their directory "
                  "in LD_LIBRARY_PATH or the file's path in MILLET_CUBLAS, or use --device cpu",
                  dlerror());
}

static bool find_functions(struct cuda_blas *blas, struct error *err)
{
    const struct {
        void **to;
        const char *name; /* with _v2: the plain names are other, old functions */
    } wanted[] = {
        {(void **)&blas->create, "cublasCreate_v2"},
        {(void **)&blas->destroy, "cublasDestroy_v2"},
        {(void **)&blas->set_stream, "cublasSetStream_v2"},
        {(void **)&blas->set_workspace, "cublasSetWorkspace_v2"},
        {(void **)&blas->set_math, "cublasSetMathMode"},
        {(void **)&blas->gemm, "cublasGemmEx"},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        if (!(*wanted[i].to = dlsym(blas->library, wanted[i].name)))
            return error_set(err, "cuBLAS has no %s: a newer version is needed", wanted[i].name);
    return true;
}

bool cuda_blas_open(struct cuda *cuda, struct error *err)
{
    struct cuda_blas *blas = &cuda->blas;
    open_library(&blas->library, err);
    if (!blas->library || !find_functions(blas, err))
        return false;
    cudaError_t memory = cudaMalloc(&blas->workspace, WORKSPACE_BYTES);
    if (memory != cudaSuccess)
        return error_set(err, "cuBLAS: %zu bytes of working memory on %s: %s", WORKSPACE_BYTES,
                         cuda->name, cudaGetErrorString(memory));
    cublasStatus_t status = blas->create(&blas->handle);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = blas->set_stream(blas->handle, cuda->stream);
    if (status == CUBLAS_STATUS_SUCCESS) /* after the stream: that resets it */
        status = blas->set_workspace(blas->handle, blas->workspace, WORKSPACE_BYTES);
    if (status ==
        CUBLAS_STATUS_SUCCESS) /* no TF32 unasked; sums of 16-bit products are floats to the end */
        status = blas->set_math(blas->handle, CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION);
    return status == CUBLAS_STATUS_SUCCESS ||
           error_set(err, "cuBLAS does not start on %s: status %d", cuda->name, (int)status);
}

void cuda_blas_close(struct cuda *cuda)
{
    struct cuda_blas *blas = &cuda->blas;
    if (blas->handle)
        blas->destroy(blas->handle);
    cudaFree(blas->workspace);
    if (blas->library)
        dlclose(blas->library);
}

static cudaDataType data_type(enum dtype type)
{
    switch (type) {
    case DTYPE_F16:
        return CUDA_R_16F;
    case DTYPE_BF16:
        return CUDA_R_16BF;
    case DTYPE_I8:
        return CUDA_R_8I;
    case DTYPE_I32:
        return CUDA_R_32I;
    default:
        return CUDA_R_32F;
    }
}

static cublasComputeType_t compute_type(const struct cuda_blas *blas, const struct cuda_product *p)
{
    return p->type == DTYPE_I8                               ? CUBLAS_COMPUTE_32I
           : p->type == DTYPE_F32 && blas->tf32 && !p->plain ? CUBLAS_COMPUTE_32F_FAST_TF32
                                                             : CUBLAS_COMPUTE_32F;
}

/* Row-major c = a b is column-major cᵀ = bᵀ aᵀ: b comes first. */
bool cuda_blas_run(struct cuda *cuda, const char *operation, const struct cuda_product *p)
{
    if (p->m == 0 || p->n == 0)
        return true;
    if (p->m > INT_MAX || p->n > INT_MAX || p->k > INT_MAX || p->a_stride > INT_MAX ||
        p->b_stride > INT_MAX || p->c_stride > INT_MAX)
        return cuda_fail(cuda, "%s: a product of %zu × %zu × %zu; cuBLAS takes at most %d each way",
                         operation, p->m, p->k, p->n, INT_MAX);
    if (!cuda_enter(cuda))
        return false;
    bool whole = p->type == DTYPE_I8;
    const int32_t one = 1, zero = 0;
    cuda->latest = operation;
    cublasStatus_t status = cuda->blas.gemm(
        cuda->blas.handle, p->b_transposed ? CUBLAS_OP_T : CUBLAS_OP_N,
        p->a_transposed ? CUBLAS_OP_T : CUBLAS_OP_N, (int)p->n, (int)p->m, (int)p->k,
        whole ? (const void *)&one : &p->alpha, p->b, data_type(p->type), (int)p->b_stride, p->a,
        data_type(p->type), (int)p->a_stride, whole ? (const void *)&zero : &p->beta, p->c,
        data_type(p->c_type), (int)p->c_stride, compute_type(&cuda->blas, p), CUBLAS_GEMM_DEFAULT);
    return status == CUBLAS_STATUS_SUCCESS ||
           cuda_fail(cuda, "%s: a product of %zu × %zu × %zu on %s failed: cuBLAS status %d",
                     operation, p->m, p->k, p->n, cuda->name, (int)status);
}
