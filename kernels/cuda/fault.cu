/* fault.cu: what kernels report of their input. A kernel cannot return an error, and nothing waits
 * for it; so it leaves a report in device memory, which sync looks at. */
#include "kernels/cuda/cuda.h"

bool cuda_fault_open(struct cuda *cuda, struct error *err)
{
    void *memory = NULL;
    cudaError_t status = cudaMalloc(&memory, sizeof *cuda->fault);
    cuda->fault = (struct cuda_fault *)memory;
    if (status == cudaSuccess)
        status = cudaMemsetAsync(memory, 0, sizeof *cuda->fault, cuda->stream);
    return status == cudaSuccess ||
           error_set(err, "%s: memory for reports: %s", cuda->name, cudaGetErrorString(status));
}

void cuda_fault_close(struct cuda *cuda)
{
    cudaFree(cuda->fault);
}

bool cuda_fault_check(struct cuda *cuda)
{
    struct cuda_fault *seen = &cuda->seen;
    if (!cuda_check(cuda, "sync",
                    cudaMemcpyAsync(seen, cuda->fault, sizeof *seen, cudaMemcpyDeviceToHost,
                                    cuda->stream)) ||
        !cuda_check(cuda, "sync", cudaStreamSynchronize(cuda->stream)))
        return false;
    if (seen->reports == 0)
        return true;
    switch ((enum cuda_fault_kind)seen->kind) {
    case CUDA_FAULT_TOKEN:
        return cuda_fail(cuda, "embed: token id %d, the table has %d rows", seen->value,
                         seen->limit);
    case CUDA_FAULT_PLACE:
        return cuda_fail(cuda, "embed: position %d, the table has %d rows; cut sequences shorter",
                         seen->value, seen->limit);
    case CUDA_FAULT_FEATURE:
        return cuda_fail(cuda, "bag: feature %d, the table has %d", seen->value, seen->limit);
    case CUDA_FAULT_LABEL:
        return cuda_fail(cuda, "loss: label %d of %d classes", seen->value, seen->limit);
    case CUDA_FAULT_SEQUENCE:
        return cuda_fail(cuda,
                         "attention: a sequence of %d tokens in a batch whose longest was said to "
                         "have %d",
                         seen->value, seen->limit - 1);
    }
    return cuda_fail(cuda, "%s: a report of no known kind, %d", cuda->name, seen->kind);
}
