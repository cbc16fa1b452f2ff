/* blas.h: cuBLAS, opened at run time, when a CUDA device is: the programs start on machines without
 * it, and quickly (libcublas and libcublasLt are 600 MB). */
#ifndef MILLET_KERNELS_CUDA_BLAS_H
#define MILLET_KERNELS_CUDA_BLAS_H

struct cuda;

struct cuda_blas {
    void *library;
    cublasHandle_t handle;
    cublasStatus_t (*create)(cublasHandle_t *);
    cublasStatus_t (*destroy)(cublasHandle_t);
    cublasStatus_t (*set_stream)(cublasHandle_t, cudaStream_t);
    cublasStatus_t (*set_workspace)(cublasHandle_t, void *, size_t);
    cublasStatus_t (*set_math)(cublasHandle_t, cublasMath_t);
    /* Types are written out, and compared with the header in blas.cu. */
    cublasStatus_t (*gemm)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int m, int n,
                           int k, const void *alpha, const void *a, cudaDataType, int lda,
                           const void *b, cudaDataType, int ldb, const void *beta, void *c,
                           cudaDataType, int ldc, cublasComputeType_t, cublasGemmAlgo_t);
    /* Working memory of our own, for this handle and its one stream. What cuBLAS computes may depend,
     * in the last bits, on the workspace it finds: its own is a pool, of a size that differs between
     * GPUs and with CUBLAS_WORKSPACE_CONFIG, out of which all streams in use take; the same bytes
     * from run to run are promised beside other streams only with a workspace of the user's for each
     * (cuBLAS documentation, "Results reproducibility"). And what is allocated is known beforehand. */
    void *workspace;
    bool tf32; /* asked for: device_cuda_tf32() */
};

/* A row-major product c [m, n] = alpha a b + beta c on the device's stream; a is [m, k] or, when
 * a_transposed, stored [k, m]; b [k, n], or stored [n, k]. Strides are those of the rows as stored.
 * Sums are float (int32 for I8, where alpha is 1 and beta 0). */
struct cuda_product {
    size_t m, n, k;
    bool a_transposed, b_transposed;
    bool plain;              /* in floats, also where TF32 was asked for */
    enum dtype type, c_type; /* of a and b: F32 F16 BF16 (c: the same or F32); I8 (c: I32) */
    const void *a, *b;
    void *c;
    size_t a_stride, b_stride, c_stride;
    float alpha, beta;
};

bool cuda_blas_open(struct cuda *cuda, struct error *err) MUST_CHECK;
void cuda_blas_close(struct cuda *cuda);

/* A failure is kept with the operation's name; false then. Nothing is done for empty results. */
bool cuda_blas_run(struct cuda *cuda, const char *operation, const struct cuda_product *product);

#endif
