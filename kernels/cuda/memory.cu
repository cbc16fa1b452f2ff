/* memory.cu: device memory within its limit, working memory of operations, and the ways of data to
 * and from the host. */
#include "kernels/cuda/cuda.h"

#include <stdlib.h>

#include "core/int4.h"

static const size_t HALF_BYTES = (size_t)1 << 20;

/* "7.90 GB", "1.05 MB" into text [16]. */
static const char *size_text(size_t bytes, char *text)
{
    bool large = bytes >= 1000000000;
    snprintf(text, 16, "%.2f %s", (double)bytes / (large ? 1e9 : 1e6), large ? "GB" : "MB");
    return text;
}

/* What the limit and other programs leave. */
static size_t bytes_left(struct cuda *cuda)
{
    const struct cuda_memory *memory = &cuda->memory;
    size_t left = 0, total = 0;
    if (cuda_enter(cuda))
        cudaMemGetInfo(&left, &total);
    return memory->most > 0 && memory->most - memory->used < left ? memory->most - memory->used
                                                                  : left;
}

void cuda_memory_told(struct device *dev, struct device_memory *told)
{
    const struct cuda_memory *memory = &cuda_of(dev)->memory;
    *told = {bytes_left(cuda_of(dev)), memory->used, memory->most_used, memory->allocations};
}

static bool refuse(struct cuda *cuda, size_t bytes, struct error *err)
{
    char wanted[16], left[16], used[16];
    size_t free = bytes_left(cuda);
    cudaGetLastError(); /* it was reported; the next call is not to find it again */
    return error_set(err,
                     "%s: out of memory: %s more are needed, %s are free (%s in use here): try a "
                     "smaller --batch-tokens, or a smaller model",
                     cuda->name, size_text(bytes, wanted), size_text(free, left),
                     size_text(cuda->memory.used, used));
}

void *cuda_alloc(struct device *dev, size_t bytes, struct error *err)
{
    struct cuda *cuda = cuda_of(dev);
    struct cuda_memory *memory = &cuda->memory;
    void *address = NULL;
    if (!memory_grow(&memory->block, &memory->room, memory->n_blocks + 1, sizeof *memory->block,
                     err))
        return NULL;
    if (!cuda_enter(cuda)) {
        error_pass(err, &cuda->error);
        return NULL;
    }
    bytes = bytes > 0 ? bytes : 1;
    if ((memory->most > 0 && bytes > memory->most - memory->used) ||
        cudaMalloc(&address, bytes) != cudaSuccess) {
        refuse(cuda, bytes, err);
        return NULL;
    }
    memory->used += bytes;
    memory->most_used = memory->used > memory->most_used ? memory->used : memory->most_used;
    memory->allocations++;
    memory->block[memory->n_blocks++] = {address, bytes};
    return address;
}

void cuda_free(struct device *dev, void *address)
{
    struct cuda *cuda = cuda_of(dev);
    struct cuda_memory *memory = &cuda->memory;
    if (!address)
        return;
    size_t i = memory->n_blocks;
    while (i > 0 && memory->block[i - 1].address != address)
        i--;
    if (i == 0) {
        cuda_fail(cuda, "%s: free of memory that is not the device's", cuda->name);
        return;
    }
    memory->used -= memory->block[i - 1].bytes;
    memory->block[i - 1] = memory->block[--memory->n_blocks];
    cuda_check(cuda, "free", cudaFree(address));
}

void *cuda_scratch(struct cuda *cuda, const char *operation, size_t bytes)
{
    struct cuda_memory *memory = &cuda->memory;
    struct error err = {};
    if (memory->scratch && bytes <= memory->scratch_bytes)
        return memory->scratch;
    cuda_free(&cuda->device, memory->scratch); /* waits for what still uses it */
    memory->scratch_bytes = bytes + bytes / 4; /* grow ahead: batches grow in small steps */
    if (memory->scratch_bytes > bytes_left(cuda))
        memory->scratch_bytes = bytes;
    memory->scratch = cuda_alloc(&cuda->device, memory->scratch_bytes, &err);
    if (!memory->scratch) {
        memory->scratch_bytes = 0;
        cuda_fail(cuda, "%s: %s", operation, err.text);
    }
    return memory->scratch;
}

bool cuda_reserve(struct device *dev, size_t work_bytes, struct error *err)
{
    struct cuda_memory *memory = &cuda_of(dev)->memory;
    if (work_bytes <= memory->scratch_bytes)
        return true;
    cuda_free(dev, memory->scratch);
    memory->scratch_bytes = 0;
    memory->scratch = cuda_alloc(dev, work_bytes, err);
    memory->scratch_bytes = memory->scratch ? work_bytes : 0;
    return memory->scratch != NULL;
}

/* A product whose factors are rounded first. */
static bool rounds(const struct cuda *cuda, enum dtype format)
{
    return cuda->precision == DTYPE_F32 && (format == DTYPE_BF16 || format == DTYPE_F16);
}

size_t cuda_work_bytes(const struct device *dev, const struct device_job *job)
{
    const struct cuda *cuda = (const struct cuda *)(const void *)dev;
    size_t rows = job->rows, cols = job->cols, inner = job->inner, bytes, rounded;
    switch (job->work) {
    case WORK_LINEAR:
        if (job->format == DTYPE_I8)
            return cuda_int8_bytes(rows, (cols + 15) / 16 * 16, (inner + 15) / 16 * 16);
        return rounds(cuda, job->format) ? rows * inner * sizeof(__half) : 0;
    case WORK_LINEAR_BACKWARD:
        bytes = cuda_column_sum_bytes(rows, cols);
        rounded = rounds(cuda, job->format) ? rows * (inner + cols) * sizeof(__half) : 0;
        return bytes > rounded ? bytes : rounded;
    case WORK_ADD_NORM_BACKWARD:
        return cuda_norm_backward_bytes(rows, cols);
    case WORK_ATTENTION_BACKWARD:
        return rows * cols * sizeof(float);
    case WORK_COLUMN_SUM:
        return cuda_column_sum_bytes(rows, cols);
    case WORK_SUM_SQUARES:
        return cuda_sum_squares_bytes();
    case WORK_MATCH:
        return rows * sizeof(float);
    case WORK_RELATION:
        return cuda_relation_bytes(rows, inner, cols);
    }
    return 0;
}

/* As upload_table() in rows.cu, upload_float() and upload_int8() in linear.cu. */
size_t cuda_weight_bytes(const struct device *dev, enum dtype type, size_t rows, size_t cols,
                         bool table)
{
    size_t scales = type == DTYPE_I8 ? rows * sizeof(float) : 0, bias = rows * sizeof(float);
    if (table && type == DTYPE_U8)
        return rows * (int4_row_bytes(cols) + int4_groups(cols) * sizeof(float));
    if (table)
        return rows * cols * dtype_bytes(type == DTYPE_F64 ? DTYPE_F32 : type) + scales;
    if (type == DTYPE_I8)
        return (rows + 15) / 16 * 16 * ((cols + 15) / 16 * 16) + scales + rows * sizeof(int32_t) +
               bias;
    return rows * cols * dev->act_bytes + bias;
}

/* ---- life ---- */

bool cuda_memory_open(struct cuda *cuda, struct error *err)
{
    struct cuda_memory *memory = &cuda->memory;
    void *staging = NULL;
    cudaError_t status = cudaMallocHost(&staging, 2 * HALF_BYTES);
    memory->staging = (char *)staging;
    for (int i = 0; i < 2 && status == cudaSuccess; i++) {
        memory->waited[i] = true;
        status = cudaEventCreateWithFlags(&memory->emptied[i], cudaEventDisableTiming);
    }
    return status == cudaSuccess ||
           error_set(err, "%s: memory for transfers: %s", cuda->name, cudaGetErrorString(status));
}

void cuda_memory_close(struct cuda *cuda)
{
    struct cuda_memory *memory = &cuda->memory;
    cuda_free(&cuda->device, memory->scratch);
    for (int i = 0; i < 2; i++)
        if (memory->emptied[i])
            cudaEventDestroy(memory->emptied[i]);
    cudaFreeHost(memory->staging);
    free(memory->block);
}

/* ---- data ---- */

void cuda_zero(struct device *dev, void *memory, size_t bytes)
{
    struct cuda *cuda = cuda_of(dev);
    if (bytes > 0 && cuda_enter(cuda))
        cuda_check(cuda, "zero", cudaMemsetAsync(memory, 0, bytes, cuda->stream));
}

/* Room for n <= HALF_BYTES bytes on their way to the device. */
static char *stage(struct cuda *cuda, size_t n)
{
    struct cuda_memory *memory = &cuda->memory;
    if (memory->at + n > HALF_BYTES) {
        cuda_check(cuda, "upload", cudaEventRecord(memory->emptied[memory->half], cuda->stream));
        memory->waited[memory->half] = false;
        memory->half = 1 - memory->half;
        memory->at = 0;
        if (!memory->waited[memory->half])
            cuda_check(cuda, "upload", cudaEventSynchronize(memory->emptied[memory->half]));
        memory->waited[memory->half] = true;
    }
    char *room = memory->staging + memory->half * HALF_BYTES + memory->at;
    memory->at += (n + 15) / 16 * 16;
    return room;
}

void cuda_upload(struct device *dev, void *to, const void *from_host, size_t bytes)
{
    struct cuda *cuda = cuda_of(dev);
    for (size_t done = 0, n; done < bytes && cuda_enter(cuda); done += n) {
        n = bytes - done < HALF_BYTES ? bytes - done : HALF_BYTES;
        char *room = stage(cuda, n);
        memcpy(room, (const char *)from_host + done, n);
        cuda_check(
            cuda, "upload",
            cudaMemcpyAsync((char *)to + done, room, n, cudaMemcpyHostToDevice, cuda->stream));
    }
}

/* What could not be fetched is 0, and sync tells. */
void cuda_download(struct device *dev, void *to_host, const void *from, size_t bytes)
{
    struct cuda *cuda = cuda_of(dev);
    if (bytes == 0)
        return;
    if (!cuda_enter(cuda) ||
        !cuda_check(cuda, "download",
                    cudaMemcpyAsync(to_host, from, bytes, cudaMemcpyDeviceToHost, cuda->stream)) ||
        !cuda_check(cuda, "download", cudaStreamSynchronize(cuda->stream)))
        memset(to_host, 0, bytes);
}

void cuda_act_upload(struct device *dev, act *to, const float *from_host, size_t n)
{
    struct cuda *cuda = cuda_of(dev);
    const size_t most = HALF_BYTES / dev->act_bytes;
    for (size_t done = 0, count; done < n && cuda_enter(cuda); done += count) {
        count = n - done < most ? n - done : most;
        char *room = stage(cuda, count * dev->act_bytes);
        dtype_from_float(cuda->precision, from_host + done, count, room);
        cuda_check(cuda, "upload",
                   cudaMemcpyAsync(act_at(dev, to, done), room, count * dev->act_bytes,
                                   cudaMemcpyHostToDevice, cuda->stream));
    }
}

void cuda_act_download(struct device *dev, float *to_host, const act *from, size_t n)
{
    struct cuda *cuda = cuda_of(dev);
    const size_t most = HALF_BYTES / dev->act_bytes;
    if (cuda->precision == DTYPE_F32) {
        cuda_download(dev, to_host, from, n * sizeof(float));
        return;
    }
    for (size_t done = 0, count; done < n; done += count) {
        count = n - done < most ? n - done : most;
        char *room = stage(cuda, count * dev->act_bytes);
        cuda_download(dev, room, act_at_const(dev, from, done), count * dev->act_bytes);
        dtype_to_float(cuda->precision, room, count, to_host + done);
    }
}
