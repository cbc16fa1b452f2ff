/* rows.cu: tables of rows on the device, the sum of embeddings and the gradient of touched rows.
 * A block for each row, its threads over the columns: loads and stores of a warp are side by side.
 */
#include "kernels/cuda/rows.h"

#include "kernels/cuda/rotate.h"

#include <stdlib.h>

extern "C" {
#include "core/int4.h"
}

/* ---- tables ---- */

struct table_weights {
    enum dtype type; /* F32 F16 BF16 I8 U8: as in the file, but for F64, which becomes F32 */
    size_t rows, cols;
    void *data;
    float *scale; /* I8: [rows]; U8: [rows, int4_groups(cols)]; else NULL */
    bool rotated; /* as struct weight says */
    bool bound;   /* data is the caller's */
};

/* n doubles as floats. */
static bool upload_narrow(struct device *dev, void *to, const double *from, size_t n,
                          struct error *err)
{
    constexpr size_t CHUNK = 1 << 16;
    float *narrow = (float *)memory_array(CHUNK, sizeof *narrow, err);
    if (!narrow)
        return false;
    for (size_t done = 0, count; done < n; done += count) {
        count = n - done < CHUNK ? n - done : CHUNK;
        dtype_to_float(DTYPE_F64, (const char *)from + done * sizeof *from, count, narrow);
        cuda_upload(dev, (float *)to + done, narrow, count * sizeof *narrow);
    }
    free(narrow);
    return true;
}

static bool upload_table(struct device *dev, struct table_weights *table,
                         const struct weight *weight, struct error *err)
{
    bool pairs = weight->type == DTYPE_U8;
    size_t width = pairs ? int4_row_bytes(weight->cols) : weight->cols, n, bytes, scales;
    size_t groups = pairs ? int4_groups(weight->cols) : 1;
    if (!memory_multiply(weight->rows, width, &n) ||
        !memory_multiply(n, dtype_bytes(table->type), &bytes) ||
        !memory_multiply(weight->rows, groups * sizeof(float), &scales))
        return error_set(err, "table: %zu × %zu weights are too many", weight->rows, weight->cols);
    if (!(table->data = cuda_alloc(dev, bytes, err)))
        return false;
    if (weight->type == DTYPE_F64)
        return upload_narrow(dev, table->data, (const double *)weight->data, n, err);
    cuda_upload(dev, table->data, weight->data, bytes);
    if (dtype_is_float(weight->type))
        return true;
    if (!(table->scale = (float *)cuda_alloc(dev, scales, err)))
        return false;
    cuda_upload(dev, table->scale, weight->scale, scales);
    return true;
}

struct table_weights *cuda_table_prepare(struct device *dev, const struct weight *weight,
                                         struct error *err)
{
    if (!weight_check_table(weight, err))
        return NULL;
    struct table_weights *table = (struct table_weights *)memory_zeroed(1, sizeof *table, err);
    if (!table)
        return NULL;
    table->type = weight->type == DTYPE_F64 ? DTYPE_F32 : weight->type;
    table->rows = weight->rows;
    table->cols = weight->cols;
    table->rotated = weight->rotated;
    if (upload_table(dev, table, weight, err))
        return table;
    cuda_table_free(dev, table);
    return NULL;
}

struct table_weights *cuda_table_bind(struct device *dev, float *w, size_t rows, size_t cols,
                                      struct error *err)
{
    (void)dev;
    struct table_weights *table = (struct table_weights *)memory_zeroed(1, sizeof *table, err);
    if (table)
        *table = {DTYPE_F32, rows, cols, w, NULL, false, true};
    return table;
}

void cuda_table_free(struct device *dev, struct table_weights *table)
{
    if (!table)
        return;
    if (!table->bound)
        cuda_free(dev, table->data);
    cuda_free(dev, table->scale);
    free(table);
}

/* ---- embeddings ---- */

/* The type is the same for all threads: no divergence. */
static __device__ float table_value(const void *__restrict__ data, const float *__restrict__ scale,
                                    int type, size_t cols, size_t row, size_t c)
{
    size_t i = row * cols + c;
    switch (type) {
    case DTYPE_F16:
        return load((const __half *)data + i);
    case DTYPE_BF16:
        return load((const __nv_bfloat16 *)data + i);
    case DTYPE_I8:
        return (float)((const int8_t *)data)[i] * scale[row];
    case DTYPE_U8: { /* core/int4.h */
        unsigned pair = ((const uint8_t *)data)[row * ((cols + 1) / 2) + c / 2];
        int code = (int)(c % 2 ? pair >> 4 : pair & 15) - 8;
        return (float)code * scale[row * ((cols + INT4_GROUP - 1) / INT4_GROUP) + c / INT4_GROUP];
    }
    default:
        return ((const float *)data)[i];
    }
}

/* Of the ROTATE_BLOCK columns from `at` on the lane's own and the one WARP further, where there are
 * such, added to *first and *second; for whole warps. */
static __device__ void add_columns(const void *__restrict__ data, const float *__restrict__ scale,
                                   int type, bool rotated, size_t cols, size_t row, size_t at,
                                   float *first, float *second)
{
    size_t c = at + threadIdx.x % WARP;
    float x = c < cols ? table_value(data, scale, type, cols, row, c) : 0.0f;
    float y = c + WARP < cols ? table_value(data, scale, type, cols, row, c + WARP) : 0.0f;
    if (rotated)
        rotate_columns(cols - at, &x, &y);
    *first += x;
    *second += y;
}

/* A block for each token, its warps over ROTATE_BLOCK columns each. Tables that are NULL add
 * nothing. */
template <class T>
static __global__ void __launch_bounds__(ROW_BLOCK)
    embed(const void *word, const float *word_scale, int word_type, bool word_rotated,
          size_t word_rows, const void *position, const float *position_scale, int position_type,
          bool position_rotated, size_t position_rows, const void *type, const float *type_scale,
          int type_type, bool type_rotated, const int32_t *__restrict__ id,
          const int32_t *__restrict__ place, size_t cols, T *__restrict__ out,
          struct cuda_fault *fault)
{
    size_t t = blockIdx.x;
    size_t word_row = word ? (size_t)id[t] : 0; /* negative: beyond any table */
    size_t position_row = position ? (size_t)place[t] : 0;
    bool no_word = word && word_row >= word_rows;
    if (no_word || (position && position_row >= position_rows)) {
        if (threadIdx.x == 0)
            report(fault, no_word ? CUDA_FAULT_TOKEN : CUDA_FAULT_PLACE, no_word ? id[t] : place[t],
                   no_word ? word_rows : position_rows);
        return;
    }
    for (size_t at = threadIdx.x / WARP * ROTATE_BLOCK; at < cols; at += 2 * ROW_BLOCK) {
        size_t c = at + threadIdx.x % WARP;
        T *to = out + t * cols + c;
        float first = !word && c < cols ? load(to) : 0.0f;
        float second = !word && c + WARP < cols ? load(to + WARP) : 0.0f;
        if (word)
            add_columns(word, word_scale, word_type, word_rotated, cols, word_row, at, &first,
                        &second);
        if (position)
            add_columns(position, position_scale, position_type, position_rotated, cols,
                        position_row, at, &first, &second);
        if (type)
            add_columns(type, type_scale, type_type, type_rotated, cols, 0, at, &first, &second);
        if (c < cols)
            store(to, first);
        if (c + WARP < cols)
            store(to + WARP, second);
    }
}

void cuda_embed(struct device *dev, const struct table_weights *word,
                const struct table_weights *position, const struct table_weights *type,
                const int32_t *id, const int32_t *place, size_t n_tokens, size_t cols, act *out)
{
    static const struct table_weights none = {};
    struct cuda *cuda = cuda_of(dev);
    const struct table_weights *tables[] = {word, position, type};
    for (size_t i = 0; i < 3; i++)
        if (tables[i] && (tables[i]->cols != cols || tables[i]->rows == 0)) {
            cuda_fail(cuda, "embed: a table of %zu rows of %zu columns, wanted are rows of %zu",
                      tables[i]->rows, tables[i]->cols, cols);
            return;
        }
    if (n_tokens == 0 || cols == 0)
        return;
    word = word ? word : &none;
    position = position ? position : &none;
    type = type ? type : &none;
    CUDA_PER_ACT(cuda, CUDA_LAUNCH(cuda, "embed", embed<T>, cuda_ceil(n_tokens, 1), ROW_BLOCK, 0,
                                   word->data, word->scale, (int)word->type, word->rotated,
                                   word->rows, position->data, position->scale, (int)position->type,
                                   position->rotated, position->rows, type->data, type->scale,
                                   (int)type->type, type->rotated, id, place, cols,
                                   cuda_values<T>(out), cuda->fault));
}

/* ---- sums of rows ---- */

/* A block for each slot and ROW_BLOCK columns, a thread for each column: the rows of a slot are
 * added in order. Most slots have one row; that of [CLS] has one of every sequence, so that its
 * columns are spread over blocks. */
template <class T>
static __global__ void __launch_bounds__(ROW_BLOCK)
    rows_sum(const T *__restrict__ d, const int32_t *__restrict__ order,
             const int32_t *__restrict__ bound, size_t cols, float *__restrict__ grad)
{
    size_t slot = blockIdx.x, c = blockIdx.y * (size_t)ROW_BLOCK + threadIdx.x;
    int32_t end = bound[slot + 1];
    float sum = 0.0f;
    if (c >= cols)
        return;
    for (int32_t i = bound[slot]; i < end; i++)
        sum += load(d + (size_t)order[i] * cols + c);
    grad[slot * cols + c] += sum;
}

void cuda_rows_sum(struct device *dev, const act *d, const int32_t *order, const int32_t *bound,
                   size_t n_slots, size_t cols, float *grad)
{
    struct cuda *cuda = cuda_of(dev);
    if (n_slots == 0 || cols == 0)
        return;
    dim3 grid(cuda_ceil(n_slots, 1), cuda_ceil(cols, ROW_BLOCK));
    CUDA_PER_ACT(cuda, CUDA_LAUNCH(cuda, "rows_sum", rows_sum<T>, grid, ROW_BLOCK, 0,
                                   cuda_values<T>(d), order, bound, cols, grad));
}

/* ---- addition ---- */

template <class T>
static __global__ void __launch_bounds__(CUDA_BLOCK)
    add(const T *__restrict__ x, size_t n, T *__restrict__ y)
{
    for (size_t i = grid_first(); i < n; i += grid_stride())
        store(y + i, load(y + i) + load(x + i));
}

void cuda_add(struct device *dev, const act *x, size_t n, act *y)
{
    struct cuda *cuda = cuda_of(dev);
    if (n > 0)
        CUDA_PER_ACT(cuda, CUDA_LAUNCH(cuda, "add", add<T>, cuda_blocks(n), CUDA_BLOCK, 0,
                                       cuda_values<T>(x), n, cuda_values<T>(y)));
}
