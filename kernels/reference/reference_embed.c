/* reference_embed.c: tables of rows: the sum of embeddings, gradients of touched rows. */
#include "kernels/reference/reference.h"

#include "core/int4.h"
#include "kernels/host.h"
#include "kernels/rotate.h"

static double stored_value(const struct table_weights *table, size_t row, size_t column)
{
    const struct weight *weight = &table->weight;
    size_t i = row * weight->cols + column;
    float value;
    if (weight->type == DTYPE_U8) {
        const uint8_t *codes = weight->data;
        unsigned pair = codes[row * int4_row_bytes(weight->cols) + column / 2];
        int code = (int)(column % 2 ? pair >> 4 : pair & 15) - 8;
        size_t group = row * int4_groups(weight->cols) + column / INT4_GROUP;
        return (double)((float)code * weight->scale[group]);
    }
    dtype_to_float(weight->type, (const char *)weight->data + i * dtype_bytes(weight->type), 1,
                   &value);
    return weight->type == DTYPE_I8 ? (double)(value * weight->scale[row]) : (double)value;
}

/* A column of a rotated row: that of its block, rotated back. */
static double table_value(const struct table_weights *table, size_t row, size_t column)
{
    size_t cols = table->weight.cols, at = 0, block = 0;
    float value[ROTATE_BLOCK];
    if (!table->weight.rotated)
        return stored_value(table, row, column);
    for (; at + (block = rotate_block(cols - at)) <= column; at += block)
        ;
    for (size_t i = 0; i < block; i++)
        value[i] = (float)stored_value(table, row, at + i);
    rotate_row(value, block);
    return (double)value[column - at];
}

static bool embed_check(struct device *dev, const char *what, const struct table_weights *table,
                        size_t row, size_t cols)
{
    if (table && (row >= table->weight.rows || cols != table->weight.cols)) {
        error_set(reference_error(dev),
                  "embed: %s row %zu of %zu columns wanted, the table is %zu × %zu", what, row,
                  cols, table->weight.rows, table->weight.cols);
        return false;
    }
    return true;
}

void reference_embed(struct device *dev, const struct table_weights *word,
                     const struct table_weights *position, const struct table_weights *type,
                     const int32_t *id, const int32_t *place, size_t n_tokens, size_t cols,
                     act *out)
{
    for (size_t t = 0; t < n_tokens; t++) {
        size_t word_row = word ? (size_t)id[t] : 0; /* negative: beyond any table */
        size_t position_row = position ? (size_t)place[t] : 0;
        if (!embed_check(dev, "word", word, word_row, cols) ||
            !embed_check(dev, "position", position, position_row, cols) ||
            !embed_check(dev, "type", type, 0, cols))
            return;
        for (size_t c = 0; c < cols; c++) {
            float *to = reference_values(out) + t * cols + c;
            double sum = word ? table_value(word, word_row, c) : (double)*to;
            sum += position ? table_value(position, position_row, c) : 0;
            sum += type ? table_value(type, 0, c) : 0;
            *to = (float)sum;
        }
    }
}

void reference_rows_sum(struct device *dev, const act *d, const int32_t *order,
                        const int32_t *bound, size_t n_slots, size_t cols, float *grad)
{
    (void)dev;
    for (size_t slot = 0; slot < n_slots; slot++)
        for (size_t c = 0; c < cols; c++) {
            double sum = 0;
            for (int32_t i = bound[slot]; i < bound[slot + 1]; i++)
                sum += (double)reference_read(d)[(size_t)order[i] * cols + c];
            grad[slot * cols + c] += (float)sum;
        }
}
