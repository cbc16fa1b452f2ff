/* reference_device.c: opening the reference device: memory is ordinary memory, every operation is
 * done when it returns. */
#include "kernels/reference/reference.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "kernels/host.h"

static void reference_close(struct device *dev)
{
    free(dev);
}

static struct device *reference_lane(struct device *dev, size_t lane)
{
    (void)lane; /* there is one, and nothing in it to be kept apart */
    return dev;
}

static void *reference_alloc(struct device *dev, size_t bytes, struct error *err)
{
    (void)dev;
    return memory_aligned(bytes, 1, err);
}

static void reference_free(struct device *dev, void *memory)
{
    (void)dev;
    free(memory);
}

static void reference_zero(struct device *dev, void *memory, size_t bytes)
{
    (void)dev;
    memset(memory, 0, bytes);
}

static void reference_copy(struct device *dev, void *to, const void *from, size_t bytes)
{
    (void)dev;
    memcpy(to, from, bytes);
}

static void reference_act_upload(struct device *dev, act *to, const float *from_host, size_t n)
{
    reference_copy(dev, to, from_host, n * sizeof *from_host);
}

static void reference_act_download(struct device *dev, float *to_host, const act *from, size_t n)
{
    reference_copy(dev, to_host, from, n * sizeof *to_host);
}

static bool reference_sync(struct device *dev, struct error *err)
{
    const struct error *first = reference_error(dev);
    return !first->set || error_set(err, "%s", first->text);
}

static void reference_describe(const struct device *dev, char *text, size_t n)
{
    (void)dev;
    snprintf(text, n, "plain loops, 1 thread");
}

static const struct device_ops reference_ops = {
    .close = reference_close,
    .lane = reference_lane,
    .alloc = reference_alloc,
    .free = reference_free,
    .zero = reference_zero,
    .upload = reference_copy,
    .download = reference_copy,
    .act_upload = reference_act_upload,
    .act_download = reference_act_download,
    .sync = reference_sync,
    .memory = host_memory,
    .work_bytes = host_work_bytes,
    .weight_bytes = host_weight_bytes,
    .reserve = host_reserve,
    .describe = reference_describe,
    .peak = host_peak,
    .linear_prepare = reference_linear_prepare,
    .linear_scale = reference_linear_scale,
    .linear_bind = reference_linear_bind,
    .linear_refresh = reference_linear_refresh,
    .block_bind = host_block_bind,
    .block_unbind = host_block_unbind,
    .linear_round = reference_linear_round,
    .linear_free = reference_linear_free,
    .linear_size = reference_linear_size,
    .table_prepare = host_table_prepare,
    .table_bind = host_table_bind,
    .table_free = host_table_free,
    .bag_prepare = reference_bag_prepare,
    .bag_free = reference_bag_free,
    .bag = reference_bag,
    .embed = reference_embed,
    .linear = reference_linear,
    .add_norm = reference_add_norm,
    .linear_norm = host_linear_norm,
    .attention = reference_attention,
    .gather_first = reference_gather_first,
    .trigram = reference_trigram,
    .trigram_backward = reference_trigram_backward,
    .mean_pool = reference_mean_pool,
    .mean_pool_backward = reference_mean_pool_backward,
    .dropout = reference_dropout,
    .linear_backward = reference_linear_backward,
    .epilogue_backward = reference_epilogue_backward,
    .add_norm_backward = reference_add_norm_backward,
    .attention_backward = reference_attention_backward,
    .scatter_first_add = reference_scatter_first_add,
    .add = reference_add,
    .rows_sum = reference_rows_sum,
    .column_sum = reference_column_sum,
    .loss = reference_loss,
    .loss_multi_label = reference_loss_multi_label,
    .sum_squares = reference_sum_squares,
    .clip_factor = reference_clip_factor,
    .adamw = reference_adamw,
    .adamw_block = host_adamw_block,
    .adamw_rows = reference_adamw_rows,
    .match = reference_match,
    .relation = reference_relation,
    .unit_slope = reference_unit_slope,
    .solve = reference_solve,
    .gram = reference_gram,
    .block_mask = reference_block_mask,
    .round_rows = reference_round_rows,
    .rotate_rows = reference_rotate_rows,
    .block_sum = reference_block_sum,
};

struct device *device_reference_open(struct error *err)
{
    struct reference *reference = memory_zeroed(1, sizeof *reference, err);
    if (!reference)
        return NULL;
    reference->device = (struct device){.op = &reference_ops,
                                        .name = "reference",
                                        .act_bytes = sizeof(float),
                                        .n_lanes = 1,
                                        .pass_tokens = 256};
    return &reference->device;
}
