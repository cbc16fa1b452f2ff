/* device.cu: life of a CUDA device, failures, and the operation table. Nothing of CUDA is called
 * before a device is opened. */
#include "kernels/cuda/cuda.h"

#include <stdarg.h>
#include <stdlib.h>

extern "C" {
#include "kernels/device.h"
}

enum { OLDEST_CAPABILITY = 75, BF16_CAPABILITY = 80, TF32_CAPABILITY = 80 };

bool cuda_fail(struct cuda *cuda, const char *format, ...)
{
    char text[ERROR_TEXT_BYTES];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    return error_set(&cuda->error, "%s", text);
}

bool cuda_enter(struct cuda *cuda)
{
    return !cuda->error.set && cuda_check(cuda, "device", cudaSetDevice(cuda->index));
}

/* Failures inside a kernel show at some later call, so the message names both. */
bool cuda_check(struct cuda *cuda, const char *operation, cudaError_t status)
{
    if (status == cudaSuccess)
        return true;
    cudaGetLastError(); /* kept here from now on */
    return cuda_fail(cuda,
                     "%s: %s: %s (error %d; launched last: %s; with CUDA_LAUNCH_BLOCKING=1 in the "
                     "environment the operation itself is named)",
                     cuda->name, operation, cudaGetErrorString(status), (int)status,
                     cuda->latest ? cuda->latest : "nothing");
}

bool cuda_launched(struct cuda *cuda, const char *operation, cudaError_t status)
{
    if (status == cudaSuccess)
        cuda->latest = operation;
    return cuda_check(cuda, operation, status);
}

/* ---- opening ---- */

/* The reason for which there is no device at all. */
static bool no_device(cudaError_t status, struct error *err)
{
    int driver = 0, needed = 0;
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&needed);
    if (driver == 0)
        return error_set(err,
                         "no NVIDIA driver is installed: install one for CUDA %d.%d or newer, "
                         "or use --device cpu",
                         needed / 1000, needed % 1000 / 10);
    if (status == cudaErrorInsufficientDriver)
        return error_set(err,
                         "the NVIDIA driver is for CUDA %d.%d, this build needs %d.%d: update the "
                         "driver, or use --device cpu",
                         driver / 1000, driver % 1000 / 10, needed / 1000, needed % 1000 / 10);
    if (status == cudaErrorNoDevice || status == cudaSuccess)
        return error_set(err, "no NVIDIA GPU is visible%s%s: use --device cpu",
                         visible ? "; CUDA_VISIBLE_DEVICES is " : "", visible ? visible : "");
    return error_set(err, "%s (CUDA error %d): use --device cpu", cudaGetErrorString(status),
                     (int)status);
}

static bool choose(struct cuda *cuda, struct error *err)
{
    int count = 0;
    cudaError_t status = cudaGetDeviceCount(&count);
    if (status != cudaSuccess || count == 0)
        return no_device(status, err);
    if (cuda->index < 0 || cuda->index >= count)
        return error_set(err, "there is no such device; the devices are cuda:0 to cuda:%d",
                         count - 1);
    struct cudaDeviceProp properties;
    if ((status = cudaSetDevice(cuda->index)) != cudaSuccess ||
        (status = cudaGetDeviceProperties(&properties, cuda->index)) != cudaSuccess)
        return error_set(err, "the device does not start: %s", cudaGetErrorString(status));
    int capability = properties.major * 10 + properties.minor;
    cuda->capability = capability;
    snprintf(cuda->model, sizeof cuda->model, "%.64s, sm_%d, %.1f GB", properties.name, capability,
             (double)properties.totalGlobalMem / 1e9);
    if (capability < OLDEST_CAPABILITY)
        return error_set(err,
                         "%s has compute capability %d.%d; this build needs %d.%d or newer "
                         "(Turing): use --device cpu",
                         properties.name, properties.major, properties.minor,
                         OLDEST_CAPABILITY / 10, OLDEST_CAPABILITY % 10);
    if (cuda->precision == DTYPE_BF16 && capability < BF16_CAPABILITY)
        return error_set(err,
                         "%s has compute capability %d.%d; products in bf16 need %d.%d or newer: "
                         "use fp16",
                         properties.name, properties.major, properties.minor, BF16_CAPABILITY / 10,
                         BF16_CAPABILITY % 10);
    return true;
}

static bool start(struct cuda *cuda, struct error *err)
{
    if (!choose(cuda, err))
        return false;
    cudaError_t status = cudaStreamCreateWithFlags(&cuda->stream, cudaStreamNonBlocking);
    if (status != cudaSuccess)
        return error_set(err, "the device does not start: %s", cudaGetErrorString(status));
    return cuda_blas_open(cuda, err) && cuda_memory_open(cuda, err) && cuda_fault_open(cuda, err);
}

static void cuda_close(struct device *dev)
{
    struct cuda *cuda = cuda_of(dev);
    if (cuda->stream && cudaSetDevice(cuda->index) == cudaSuccess)
        cudaStreamSynchronize(cuda->stream);
    cuda_fault_close(cuda);
    cuda_memory_close(cuda);
    cuda_blas_close(cuda);
    if (cuda->stream)
        cudaStreamDestroy(cuda->stream);
    free(cuda->blocks);
    free(cuda);
}

static struct device *cuda_lane(struct device *dev, size_t lane)
{
    (void)lane; /* the device is one lane: work is queued, and its threads are inside it */
    return dev;
}

static bool cuda_sync(struct device *dev, struct error *err)
{
    struct cuda *cuda = cuda_of(dev);
    if (cuda_enter(cuda))
        cuda_fault_check(cuda);
    return !cuda->error.set || error_set(err, "%s", cuda->error.text);
}

static void cuda_describe(const struct device *dev, char *text, size_t n)
{
    const struct cuda *cuda = (const struct cuda *)(const void *)dev;
    snprintf(text, n, "%s, %s, own kernels, cuBLAS", cuda->model,
             device_precision_name(cuda->precision, cuda->blas.tf32));
}

/* Not measured. */
static void cuda_peak(struct device *, struct device_peak *peak)
{
    *peak = {};
}

static const struct device_ops operations = {
    .close = cuda_close,
    .lane = cuda_lane,
    .alloc = cuda_alloc,
    .free = cuda_free,
    .zero = cuda_zero,
    .upload = cuda_upload,
    .download = cuda_download,
    .act_upload = cuda_act_upload,
    .act_download = cuda_act_download,
    .sync = cuda_sync,
    .memory = cuda_memory_told,
    .work_bytes = cuda_work_bytes,
    .weight_bytes = cuda_weight_bytes,
    .reserve = cuda_reserve,
    .describe = cuda_describe,
    .peak = cuda_peak,
    .linear_prepare = cuda_linear_prepare,
    .linear_scale = cuda_linear_scale,
    .linear_bind = cuda_linear_bind,
    .linear_refresh = cuda_linear_refresh,
    .block_bind = cuda_block_bind,
    .block_unbind = cuda_block_unbind,
    .linear_round = cuda_linear_round,
    .linear_free = cuda_linear_free,
    .linear_size = cuda_linear_size,
    .table_prepare = cuda_table_prepare,
    .table_bind = cuda_table_bind,
    .table_free = cuda_table_free,
    .bag_prepare = cuda_bag_prepare,
    .bag_free = cuda_bag_free,
    .embed = cuda_embed,
    .trigram = cuda_trigram,
    .linear = cuda_linear,
    .add_norm = cuda_add_norm,
    .linear_norm = cuda_linear_norm,
    .attention = cuda_attention,
    .gather_first = cuda_gather_first,
    .mean_pool = cuda_mean_pool,
    .dropout = cuda_dropout,
    .bag = cuda_bag,
    .linear_backward = cuda_linear_backward,
    .epilogue_backward = cuda_epilogue_backward,
    .add_norm_backward = cuda_add_norm_backward,
    .attention_backward = cuda_attention_backward,
    .scatter_first_add = cuda_scatter_first_add,
    .trigram_backward = cuda_trigram_backward,
    .mean_pool_backward = cuda_mean_pool_backward,
    .add = cuda_add,
    .rows_sum = cuda_rows_sum,
    .column_sum = cuda_column_sum,
    .loss = cuda_loss,
    .loss_multi_label = cuda_loss_multi_label,
    .match = cuda_match,
    .relation = cuda_relation,
    .sum_squares = cuda_sum_squares,
    .clip_factor = cuda_clip_factor,
    .adamw = cuda_adamw,
    .adamw_block = cuda_adamw_block,
    .adamw_rows = cuda_adamw_rows,
    .unit_slope = cuda_unit_slope,
    .gram = cuda_gram,
    .solve = cuda_solve,
    .block_mask = cuda_block_mask,
    .block_sum = cuda_block_sum,
    .round_rows = cuda_round_rows,
    .rotate_rows = cuda_rotate_rows,
};

extern "C" const char *device_cuda_build(void)
{
    return "cuda " CUDA_ARCHITECTURES;
}

extern "C" struct device *device_cuda_open(int index, enum dtype precision, size_t max_memory,
                                           struct error *err)
{
    if (precision != DTYPE_F32 && precision != DTYPE_F16 && precision != DTYPE_BF16) {
        error_set(err, "a CUDA device computes in F32, F16 or BF16, not %s", dtype_name(precision));
        return NULL;
    }
    struct cuda *cuda = (struct cuda *)memory_zeroed(1, sizeof *cuda, err);
    if (!cuda)
        return NULL;
    snprintf(cuda->name, sizeof cuda->name, "cuda:%d", index);
    cuda->device.op = &operations;
    cuda->device.name = cuda->name;
    cuda->device.act_bytes = dtype_bytes(precision);
    cuda->device.n_lanes = 1;
    cuda->device.pass_tokens = 512;
    cuda->index = index;
    cuda->precision = precision;
    cuda->memory.most = max_memory;
    if (start(cuda, err))
        return &cuda->device;
    error_at(err, "device %s: ", cuda->name);
    cuda_close(&cuda->device);
    return NULL;
}

extern "C" bool device_cuda_tf32(struct device *dev, struct error *err)
{
    struct cuda *cuda = cuda_of(dev);
    if (cuda->precision != DTYPE_F32)
        return error_set(err, "device %s: TF32 is for products of floats; its activations are %s",
                         cuda->name, device_precision_name(cuda->precision, false));
    if (cuda->capability < TF32_CAPABILITY)
        return error_set(err,
                         "device %s: %s has compute capability %d.%d; products in tf32 need %d.%d "
                         "or newer: use fp32 or fp16",
                         cuda->name, cuda->model, cuda->capability / 10, cuda->capability % 10,
                         TF32_CAPABILITY / 10, TF32_CAPABILITY % 10);
    cuda->blas.tf32 = true;
    return true;
}
