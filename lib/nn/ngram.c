/* ngram.c: features of a text, and their product with the weights. */
#include "nn/ngram.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

/* ---- features ---- */

enum { AHEAD = 16 }; /* n-grams: how far memory is asked for beforehand */

bool ngram_index_open(struct ngram_index *index, uint32_t buckets, const int32_t *bucket,
                      size_t rows, const float *idf, struct error *err)
{
    *index = (struct ngram_index){.buckets = buckets, .idf = idf};
    index->row = memory_array(buckets, sizeof *index->row, err);
    if (!index->row)
        return false;
    memset(index->row, 0xFF, buckets * sizeof *index->row); /* -1 */
    for (size_t r = 0; r < rows; r++)
        index->row[bucket[r]] = (int32_t)r;
    return true;
}

void ngram_index_close(struct ngram_index *index)
{
    free(index->row);
    *index = (struct ngram_index){0};
}

size_t ngram_features(const struct ngram_index *index, const int32_t *gram, size_t n,
                      int32_t *feature, float *value)
{
    size_t count = 0;
    double squares = 0;
    for (size_t i = 0, end; i < n; i = end) {
        end = i + 1;
        if (i + AHEAD < n) /* the index is large, and its entries are met in no order */
            __builtin_prefetch(&index->row[gram[i + AHEAD]]);
        while (end < n && gram[end] == gram[i])
            end++;
        int32_t row = index->row[gram[i]];
        if (row < 0)
            continue;
        float times = (float)(end - i);
        float x = (times > 1 ? 1 + logf(times) : 1) * index->idf[row];
        feature[count] = row;
        value[count++] = x;
        squares += (double)x * (double)x;
    }
    float factor = squares > 0 ? (float)(1 / sqrt(squares)) : 0;
    for (size_t i = 0; i < count; i++)
        value[i] *= factor;
    return count;
}

/* ---- on a device ---- */

struct ngram {
    const struct ngram_part *part;
    struct device *dev;
    struct ngram_index index;
    struct bag_weights *bag;
};

struct ngram *ngram_open(const struct ngram_part *part, struct device *dev, struct error *err)
{
    const struct weight weight = {.data = part->weight,
                                  .type = part->type,
                                  .scale = part->scale,
                                  .rows = part->classes,
                                  .cols = part->rows};
    struct ngram *ngram = memory_zeroed(1, sizeof *ngram, err);
    if (!ngram)
        return NULL;
    ngram->part = part;
    ngram->dev = dev;
    ngram->bag = dev->op->bag_prepare(dev, &weight, err);
    if (ngram->bag && ngram_index_open(&ngram->index, part->grams.buckets, part->bucket, part->rows,
                                       part->idf, err))
        return ngram;
    ngram_close(ngram);
    return NULL;
}

void ngram_close(struct ngram *ngram)
{
    if (!ngram)
        return;
    ngram_index_close(&ngram->index);
    if (ngram->bag)
        ngram->dev->op->bag_free(ngram->dev, ngram->bag);
    free(ngram);
}

size_t ngram_bytes(const struct ngram_part *part, const struct device *dev)
{
    enum dtype type = part->type == DTYPE_I8 ? DTYPE_I8 : DTYPE_F32;
    return dev->op->weight_bytes(dev, type, part->classes, part->rows, true);
}

void ngram_scratch_free(struct ngram_scratch *scratch)
{
    free(scratch->feature);
    free(scratch->value);
    free(scratch->offset);
    if (scratch->block)
        scratch->dev->op->free(scratch->dev, scratch->block);
    *scratch = (struct ngram_scratch){.dev = scratch->dev};
}

/* Features of all records into the scratch's arrays. */
static bool collect(const struct ngram *ngram, struct ngram_scratch *s, const int32_t *gram,
                    const int64_t *gram_offset, size_t n, struct error *err)
{
    size_t room = (size_t)(gram_offset[n] - gram_offset[0]), used = 0;
    if (room > INT32_MAX)
        return error_set(err, "%zu n-grams at once are too many; cut the stream into smaller parts",
                         room);
    if (!memory_grow(&s->feature, &s->room_features, room, sizeof *s->feature, err) ||
        !memory_grow(&s->value, &s->room_values, room, sizeof *s->value, err) ||
        !memory_grow(&s->offset, &s->room_offsets, n + 1, sizeof *s->offset, err))
        return false;
    s->offset[0] = 0;
    for (size_t i = 0; i < n; i++) {
        const int32_t *at = gram + gram_offset[i];
        size_t count = (size_t)(gram_offset[i + 1] - gram_offset[i]);
        for (size_t k = 0; k < count; k++)
            if (at[k] < 0 || (uint32_t)at[k] >= ngram->index.buckets)
                return error_set(err,
                                 "record %zu: n-gram %" PRId32 " is outside the model's %" PRIu32
                                 " buckets; make the stream with mtok -m of this model",
                                 i + 1, at[k], ngram->index.buckets);
        used += ngram_features(&ngram->index, at, count, s->feature + used, s->value + used);
        s->offset[i + 1] = (int32_t)used;
    }
    return true;
}

static size_t aligned(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

/* Features and their values, offsets, logits. */
struct run_layout {
    size_t features, offsets, all;
};
static struct run_layout run_layout(const struct ngram_part *part, const struct device *dev,
                                    size_t n_features, size_t n)
{
    struct run_layout bytes = {.features = aligned(n_features * sizeof(int32_t)),
                               .offsets = aligned((n + 1) * sizeof(int32_t))};
    bytes.all = 2 * bytes.features + bytes.offsets + n * part->classes * dev->act_bytes;
    return bytes;
}

size_t ngram_run_bytes(const struct ngram_part *part, const struct device *dev, size_t n_grams,
                       size_t n)
{
    return run_layout(part, dev, n_grams, n).all;
}

bool ngram_run(const struct ngram *ngram, struct ngram_scratch *scratch, const int32_t *gram,
               const int64_t *gram_offset, size_t n, float *logits, struct error *err)
{
    struct device *dev = scratch->dev;
    const struct device_ops *op = dev->op;
    size_t classes = ngram->part->classes;
    if (!collect(ngram, scratch, gram, gram_offset, n, err))
        return false;
    size_t used = (size_t)scratch->offset[n];
    const struct run_layout bytes = run_layout(ngram->part, dev, used, n);
    if (bytes.all > scratch->block_bytes) {
        if (scratch->block)
            op->free(dev, scratch->block);
        scratch->block_bytes = 0;
        scratch->block = op->alloc(dev, bytes.all, err);
        if (!scratch->block)
            return false;
        scratch->block_bytes = bytes.all;
    }
    char *feature = scratch->block, *value = feature + bytes.features;
    char *offset = value + bytes.features;
    act *out = (act *)(void *)(offset + bytes.offsets);
    for (size_t i = 0; i < n; i++)
        memcpy(logits + i * classes, ngram->part->bias, classes * sizeof *logits);
    op->upload(dev, feature, scratch->feature, used * sizeof *scratch->feature);
    op->upload(dev, value, scratch->value, used * sizeof *scratch->value);
    op->upload(dev, offset, scratch->offset, (n + 1) * sizeof *scratch->offset);
    op->act_upload(dev, out, logits, n * classes);
    op->bag(dev, ngram->bag, (const int32_t *)(const void *)feature,
            (const float *)(const void *)value, (const int32_t *)(const void *)offset, n, out);
    op->act_download(dev, logits, out, n * classes);
    return op->sync(dev, err);
}
