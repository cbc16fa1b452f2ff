/* emu_blas.cc: cuBLAS as plain loops, and conversion of 16-bit floats. */
#include "tests/cuda-emu/emu.h"

#include <algorithm>
#include <vector>

using namespace emu;

/* ---- half: bit for bit what cuda_fp16.h computes ---- */

float __half2float(__half h)
{
    uint32_t s = (uint32_t)(h.bits & 0x8000) << 16, e = h.bits >> 10 & 31, m = h.bits & 1023, u;
    float f = (float)m * 0x1p-24f;
    memcpy(&u, &f, 4);
    if (e)
        u = (e == 31 ? 0x7f800000 : (e + 112) << 23) | m << 13;
    u |= s;
    memcpy(&f, &u, 4);
    return f;
}

__half __float2half(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    uint16_t s = u >> 16 & 0x8000;
    u &= 0x7fffffff;
    if (u > 0x7f800000)
        return {0x7fff};
    if (u >= 0x477ff000)
        return {(uint16_t)(s | 0x7c00)}; /* 65520 and more: infinity */
    if (u >= 0x38800000)
        return {(uint16_t)(s | ((u - 0x38000000 + 0xfff + (u >> 13 & 1)) >> 13))};
    f = fabsf(f) + 0.5f; /* subnormal: lets the CPU round at the right bit */
    memcpy(&u, &f, 4);
    return {(uint16_t)(s | (u - 0x3f000000))};
}

/* ---- cuBLAS ---- */

struct cublasContext {
    cudaStream_t stream;
};

/* What TF32 keeps of a float: 11 significant bits, to the nearest. */
static float tf32(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    if ((u & 0x7f800000) != 0x7f800000)
        u = (u + 0x1000) & ~0x1fffu;
    memcpy(&f, &u, 4);
    return f;
}

/* One matrix of a product. */
struct Matrix {
    const void *p;
    cudaDataType type;
    int ld;
    long long stride;
    bool transposed, rounded; /* rounded: to TF32 */

    size_t width() const
    {
        return type == CUDA_R_8I ? 1 : type == CUDA_R_16F || type == CUDA_R_16BF ? 2 : 4;
    }
    bool lies(int rows, int cols, int batches) const
    {
        return inside(p, (size_t)(stride * (batches - 1) + (long long)ld * (cols - 1) + rows) *
                             width());
    }
    /* int8: cuBLAS wants 4-byte steps. */
    bool aligned() const
    {
        return type != CUDA_R_8I || (ld % 4 == 0 && (uintptr_t)p % 4 == 0 && stride % 4 == 0);
    }
    float at(size_t i) const
    {
        return type == CUDA_R_32F   ? rounded ? tf32(((const float *)p)[i]) : ((const float *)p)[i]
                 : type == CUDA_R_8I ? (float)((const int8_t *)p)[i]
               : type == CUDA_R_16F ? __half2float(((const __half *)p)[i])
                                    : __bfloat162float(((const __nv_bfloat16 *)p)[i]);
    }
    void set(size_t i, float v)
    {
        void *to = const_cast<void *>(p);
        if (type == CUDA_R_32F)
            ((float *)to)[i] = v;
        else if (type == CUDA_R_16F)
            ((__half *)to)[i] = __float2half(v);
        else
            ((__nv_bfloat16 *)to)[i] = __float2bfloat16(v);
    }
    Matrix batch(long long n) const
    {
        Matrix m = *this;
        m.p = (const char *)p + n * stride * (long long)width();
        return m;
    }
};

cublasStatus_t cublasCreate_v2(cublasHandle_t *h)
{
    *h = new cublasContext{};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasDestroy_v2(cublasHandle_t h)
{
    delete h;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetStream_v2(cublasHandle_t h, cudaStream_t s)
{
    h->stream = s;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetWorkspace_v2(cublasHandle_t, void *workspace, size_t bytes)
{
    return !workspace || inside(workspace, bytes) ? CUBLAS_STATUS_SUCCESS
                                                  : CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasSetMathMode(cublasHandle_t, cublasMath_t)
{
    return CUBLAS_STATUS_SUCCESS;
}

/* C = alpha op(A) op(B) + beta C, sums in float. */
static void product_float(int m, int n, int k, float alpha, const Matrix &A, const Matrix &B,
                          float beta, Matrix C)
{
    std::vector<float> a((size_t)m * k), col(m); /* op(A) and a column of the result */
    for (size_t p = 0; p < (size_t)k; p++)
        for (size_t i = 0; i < (size_t)m; i++)
            a[p * m + i] = A.at(A.transposed ? i * A.ld + p : p * A.ld + i);
    for (size_t j = 0; j < (size_t)n; j++) {
        std::fill(col.begin(), col.end(), 0.0f);
        for (size_t p = 0; p < (size_t)k; p++) {
            float b = B.at(B.transposed ? p * B.ld + j : j * B.ld + p);
            for (size_t i = 0; i < (size_t)m; i++)
                col[i] += a[p * m + i] * b;
        }
        for (size_t c = j * C.ld, i = 0; i < (size_t)m; i++, c++)
            C.set(c, alpha * col[i] + (beta != 0 ? beta * C.at(c) : 0));
    }
}

static void product_int8(int m, int n, int k, int32_t alpha, const Matrix &A, const Matrix &B,
                         int32_t beta, const Matrix &C)
{
    const int8_t *a = (const int8_t *)A.p, *b = (const int8_t *)B.p;
    for (size_t j = 0; j < (size_t)n; j++)
        for (size_t i = 0; i < (size_t)m; i++) {
            int32_t *c = (int32_t *)const_cast<void *>(C.p) + j * C.ld + i, sum = 0;
            for (size_t p = 0; p < (size_t)k; p++)
                sum += a[A.transposed ? i * A.ld + p : p * A.ld + i] *
                       b[B.transposed ? p * B.ld + j : j * B.ld + p];
            *c = alpha * sum + (beta ? beta * *c : 0);
        }
}

static bool types_fit(cublasComputeType_t compute, cudaDataType at, cudaDataType bt,
                      cudaDataType ct)
{
    if (compute == CUBLAS_COMPUTE_32I)
        return at == CUDA_R_8I && bt == CUDA_R_8I && ct == CUDA_R_32I;
    if (compute == CUBLAS_COMPUTE_32F_FAST_TF32)
        return at == CUDA_R_32F && bt == CUDA_R_32F && ct == CUDA_R_32F;
    return compute == CUBLAS_COMPUTE_32F && at == bt && at != CUDA_R_8I && at != CUDA_R_32I &&
           (ct == at || ct == CUDA_R_32F);
}

cublasStatus_t cublasGemmStridedBatchedEx(cublasHandle_t h, cublasOperation_t ta,
                                          cublasOperation_t tb, int m, int n, int k,
                                          const void *alpha, const void *A, cudaDataType at,
                                          int lda, long long sa, const void *B, cudaDataType bt,
                                          int ldb, long long sb, const void *beta, void *C,
                                          cudaDataType ct, int ldc, long long sc, int batches,
                                          cublasComputeType_t compute, cublasGemmAlgo_t)
{
    bool round = compute == CUBLAS_COMPUTE_32F_FAST_TF32;
    Matrix a = {A, at, lda, sa, ta != CUBLAS_OP_N, round},
           b = {B, bt, ldb, sb, tb != CUBLAS_OP_N, round}, c = {C, ct, ldc, sc, false, false};
    int ra = ta ? k : m, rb = tb ? n : k; /* rows of A and B as stored */
    if (!types_fit(compute, at, bt, ct) || !a.aligned() || !b.aligned())
        return CUBLAS_STATUS_NOT_SUPPORTED;
    if (m < 1 || n < 1 || k < 1 || batches < 1 || lda < ra || ldb < rb || ldc < m)
        return CUBLAS_STATUS_INVALID_VALUE;
    if (!a.lies(ra, ta ? m : k, batches) || !b.lies(rb, tb ? k : n, batches) ||
        !c.lies(m, n, batches))
        die("cuBLAS: a matrix is not within one device allocation (m %d, n %d, k %d)", m, n, k);
    bool whole = compute == CUBLAS_COMPUTE_32I;
    if (whole && (m % 4 || k % 4))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    union {
        float f;
        int32_t i;
    } al, be;
    memcpy(&al, alpha, sizeof al);
    memcpy(&be, beta, sizeof be);
    counts.products++;
    cudaError_t status = enqueue(h->stream, true, [=] {
        for (long long i = 0; i < batches; i++)
            whole ? product_int8(m, n, k, al.i, a.batch(i), b.batch(i), be.i, c.batch(i))
                  : product_float(m, n, k, al.f, a.batch(i), b.batch(i), be.f, c.batch(i));
    });
    return status ? CUBLAS_STATUS_EXECUTION_FAILED : CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGemmEx(cublasHandle_t h, cublasOperation_t ta, cublasOperation_t tb, int m,
                            int n, int k, const void *alpha, const void *A, cudaDataType at,
                            int lda, const void *B, cudaDataType bt, int ldb, const void *beta,
                            void *C, cudaDataType ct, int ldc, cublasComputeType_t c,
                            cublasGemmAlgo_t g)
{
    return cublasGemmStridedBatchedEx(h, ta, tb, m, n, k, alpha, A, at, lda, 0, B, bt, ldb, 0, beta,
                                      C, ct, ldc, 0, 1, c, g);
}
