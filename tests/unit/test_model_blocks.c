/* Matrices stored by blocks: what comes back is what went in, of every type and with blocks that the
 * matrix cuts off; an index that lies is refused. */
#include <stdlib.h>
#include <string.h>

#include "tests/tap.h"
#include "tests/unit/scratch.h"

#include "core/rng.h"
#include "io/model.h"
#include "io/model_blocks.h"

static struct error fatal = ERROR_INIT;

static void need(bool ok)
{
    if (!ok) {
        printf("Bail out! %s\n", fatal.text);
        exit(1);
    }
}

static json_t *millet(size_t rows, size_t cols)
{
    return json_pack("{s:{s:[I, I]}}", "pruned", "block", (json_int_t)rows, (json_int_t)cols);
}

/* Write, open; bytes of the file. */
static size_t store(const struct tensor_view *tensor, size_t n, json_t *extra, const char *file,
                    struct model *model, struct error *err)
{
    json_t *config = json_pack("{s:s}", "model_type", "bert");
    struct output *output = output_open(scratch_path(file), true, &fatal);
    const struct model_writer_options options = {
        .config = config, .tensor = tensor, .n_tensors = n, .extra = extra};
    need(output && model_write(output, &options, &fatal) && output_commit(output, &fatal));
    json_decref(config);
    FILE *stream = fopen(scratch_path(file), "rb");
    need(stream && fseek(stream, 0, SEEK_END) == 0);
    long size = ftell(stream);
    fclose(stream);
    *model = (struct model){.name = NULL};
    if (!model_open(model, scratch_path(file), err))
        model->name = NULL;
    return (size_t)size;
}

/* [rows, cols] with a quarter of the blocks. */
static void fill(char *data, size_t rows, size_t cols, size_t block_rows, size_t block_cols,
                 size_t element)
{
    size_t across = (cols + block_cols - 1) / block_cols;
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < cols; c++)
            for (size_t b = 0; b < element; b++) {
                bool kept = rng_hash(4, r / block_rows * across + c / block_cols) % 4 == 0;
                data[(r * cols + c) * element + b] = (char)(kept ? 1 + (r + c + b) % 100 : 0);
            }
}

static void test(enum dtype type, size_t rows, size_t cols, size_t block_rows, size_t block_cols,
                 bool turned)
{
    struct error err = ERROR_INIT;
    struct model sparse, dense;
    size_t bytes = rows * cols * dtype_bytes(type);
    char *data = malloc(bytes);
    fill(data, rows, cols, block_rows, block_cols, dtype_bytes(type));
    const struct tensor_view tensor[] = {
        tensor_view_1d("a.bias", DTYPE_F32, 2, "12345678"),
        tensor_view_2d("a.weight", type, rows, cols, data),
        tensor_view_2d("a.weight_scale", type, 1, 3, "abcdefghijklmnopqrstuvwxyz"),
    };
    size_t all = store(tensor, 3, NULL, "dense.tar", &dense, &err);
    size_t few =
        store(tensor, 3, turned ? millet(block_cols, block_rows) : millet(block_rows, block_cols),
              "sparse.tar", &sparse, &err);
    const struct tensor_view *found = model_find(&sparse, "a.weight");
    tap_ok(few < all, "%s %zu x %zu by %zu x %zu: %zu bytes instead of %zu", dtype_name(type), rows,
           cols, block_rows, block_cols, few, all);
    tap_ok(found && sparse.n_tensors == 3 && found->type == type && found->rank == 2 &&
               found->dim[0] == rows && found->dim[1] == cols &&
               memcmp(found->data, data, bytes) == 0 &&
               bundle_verify(sparse.bundle, found->data, bytes, &err),
           "and the same matrix %s", err.text);
    model_close(&sparse);
    model_close(&dense);
    free(data);
}

/* "dense" of millet.json, matrices that are full, and those of nothing but zeros stay whole. */
static void test_whole(void)
{
    static float full[64 * 64], zero[64 * 64];
    struct error err = ERROR_INIT;
    struct model model;
    for (size_t i = 0; i < 64 * 64; i++)
        full[i] = 1;
    const struct tensor_view tensor[] = {tensor_view_2d("full", DTYPE_F32, 64, 64, full),
                                         tensor_view_2d("zero", DTYPE_F32, 64, 64, zero)};
    size_t size = store(tensor, 2, millet(8, 8), "x.tar", &model, &err);
    tap_ok(size > sizeof full + sizeof zero && model_find(&model, "full") &&
               model_find(&model, "zero"),
           "full matrices, and zeros alone, stay whole");
    model_close(&model);
    full[0] = 0;
    memset(full, 0, sizeof full / 2);
    json_t *extra = millet(8, 8);
    json_object_set_new(extra, "dense", json_object());
    size = store(tensor, 1, extra, "x.tar", &model, &err);
    tap_ok(size > sizeof full, "a model for other programs has no blocks");
    model_close(&model);
}

static void refuse(const int32_t *index, size_t n, uint64_t n_blocks, const char *what)
{
    static const float values[64];
    struct error err = ERROR_INIT;
    struct model model;
    const struct tensor_view tensor[] = {
        {.name = "w_blocks",
         .type = DTYPE_F32,
         .rank = 3,
         .dim = {n_blocks, 2, 2},
         .data = values,
         .bytes = n_blocks * 16},
        tensor_view_1d("w_blocks_index", DTYPE_I32, n, index),
    };
    store(tensor, 2, NULL, "bad.tar", &model, &err);
    tap_ok(err.text[0] && strstr(err.text, "w_blocks"), "%s: %s", what, err.text);
}

int main(void)
{
    static const int32_t good[] = {4, 4, 0, 3}, falling[] = {4, 4, 3, 0}, twice[] = {4, 4, 1, 1};
    static const int32_t beyond[] = {4, 4, 0, 4}, negative[] = {4, 4, -1, 2}, none[] = {0, 4, 0, 1};
    static const int32_t huge[] = {INT32_MAX, INT32_MAX, 0, 1};
    test(DTYPE_F32, 64, 96, 8, 16, false);
    test(DTYPE_F32, 96, 64, 16, 8, true);
    test(DTYPE_F16, 61, 97, 8, 16, false);
    test(DTYPE_BF16, 33, 70, 32, 3, false);
    test(DTYPE_I8, 130, 100, 32, 32, false);
    test_whole();
    refuse(good, 4, 3, "more blocks than numbers");
    refuse(good, 1, 2, "no columns");
    refuse(falling, 4, 2, "numbers that fall");
    refuse(twice, 4, 2, "a block twice");
    refuse(beyond, 4, 2, "a block outside");
    refuse(negative, 4, 2, "a negative number");
    refuse(none, 4, 2, "no rows");
    refuse(huge, 4, 2, "a matrix that no memory holds");
    return tap_done();
}
