/* format.c: row by row through one buffer of floats: any stored type in, any format out. */
#include "quant/format.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/dtype.h"
#include "core/int4.h"
#include "core/memory.h"
#include "io/model_blocks.h"
#include "kernels/quantise.h"
#include "kernels/rotate.h"
#include "nn/family.h"
#include "nn/ngram.h"
#include "nn/parts.h"

static const struct {
    const char *name;
    enum dtype type; /* of what is not an I8 matrix; torch_dtype in config.json */
} known[] = {
    [FORMAT_FP32] = {"fp32", DTYPE_F32},  [FORMAT_FP16] = {"fp16", DTYPE_F16},
    [FORMAT_BF16] = {"bf16", DTYPE_BF16}, [FORMAT_INT8] = {"int8", DTYPE_F32},
    [FORMAT_INT4] = {"int4", DTYPE_F32},  [FORMAT_AS_IS] = {"as it was", DTYPE_F32},
};

bool format_from_name(const char *name, enum format *format)
{
    for (size_t i = 0; i < FORMAT_AS_IS; i++)
        if (strcmp(name, known[i].name) == 0) {
            *format = (enum format)i;
            return true;
        }
    return false;
}

const char *format_name(enum format format)
{
    return known[format].name;
}

static const char input_suffix[] = "_input_scale";

void format_quantise_rows(const float *w, size_t rows, size_t cols, int8_t *data, float *scale)
{
    for (size_t r = 0; r < rows; r++, w += cols, data += cols) {
        float s = quantise_weight_scale(w, cols);
        if (!(s > 0)) {
            scale[r] = 1;
            memset(data, 0, cols);
            continue;
        }
        scale[r] = s;
        /* |w| / s may round to just above 127, never to 127.5, so the code cannot leave the range.
         */
        for (size_t c = 0; c < cols; c++)
            data[c] = (int8_t)lrintf(w[c] / s);
    }
}

bool format_encode_rows(float *w, size_t rows, size_t cols, bool rotated, int8_t *data,
                        float *scale)
{
    for (size_t r = 0; rotated && r < rows; r++) {
        rotate_row(w + r * cols, cols);
        for (size_t c = 0; c < cols; c++)
            if (!isfinite(w[r * cols + c]))
                return false;
    }
    format_quantise_rows(w, rows, cols, data, scale);
    return true;
}

bool format_rotates(const struct model *model)
{
    for (size_t i = 0; i < model->n_tensors; i++) {
        const struct tensor_view *view = &model->tensor[i];
        if (view->type == DTYPE_I8 && !ngram_owns(view->name))
            return parts_rotated(model, view);
    }
    return !model_blocks_wanted(model->millet);
}

/* The tensors of the result, with what they own. */
struct batch {
    struct tensor_view *tensor;
    void **owned; /* per tensor: data made here, or NULL */
    char **name;  /* per tensor: name made here, or NULL */
    size_t n;
    float *row; /* one row of the tensor at hand */
    size_t row_capacity;
};

/* A tensor seen as rows: a matrix as it is, anything else as one row. */
struct rows {
    const struct tensor_view *view;
    const uint8_t *scale; /* of an I8 or U8 matrix: F32, any alignment */
    size_t rows, cols;
    bool rotated;
};

static bool batch_open(struct batch *batch, size_t n_tensors, struct error *err)
{
    size_t n = 0;
    *batch = (struct batch){.n = 0};
    if (!memory_multiply(n_tensors, 3, &n)) /* itself, its scales, the scale of its input */
        return error_set(err, "%zu tensors are more than this machine can hold", n_tensors);
    batch->tensor = memory_zeroed(n, sizeof *batch->tensor, err);
    batch->owned = memory_zeroed(n, sizeof *batch->owned, err);
    batch->name = memory_zeroed(n, sizeof *batch->name, err);
    return batch->tensor && batch->owned && batch->name;
}

static void batch_free(struct batch *batch)
{
    for (size_t i = 0; i < batch->n; i++) {
        free(batch->owned[i]);
        free(batch->name[i]);
    }
    free(batch->tensor);
    free(batch->owned);
    free(batch->name);
    free(batch->row);
}

/* owned and name may be NULL; both are the batch's from here on. */
static void batch_add(struct batch *batch, struct tensor_view view, void *owned, char *name)
{
    batch->owned[batch->n] = owned;
    batch->name[batch->n] = name;
    batch->tensor[batch->n++] = view;
}

static const struct tensor_view *find_scale(const struct model *model, const char *name,
                                            struct error *err)
{
    char *text = memory_format(err, "%s_scale", name);
    const struct tensor_view *scale = text ? model_find(model, text) : NULL;
    free(text);
    return scale;
}

static bool is_codes(const struct tensor_view *view)
{
    return view->type == DTYPE_I8 || view->type == DTYPE_U8;
}

/* "x_scale" or "x_input_scale" where x is I8 or U8: it travels with x. */
static bool is_scale(const struct model *model, const struct tensor_view *view, bool *yes,
                     struct error *err)
{
    static const char *const suffix[] = {"_scale", input_suffix};
    size_t n = strlen(view->name);
    *yes = false;
    for (size_t i = 0; i < 2 && !*yes; i++) {
        size_t tail = strlen(suffix[i]);
        if (n <= tail || strcmp(view->name + n - tail, suffix[i]) != 0)
            continue;
        char *base = memory_copy(view->name, n - tail, err);
        if (!base)
            return false;
        const struct tensor_view *of = model_find(model, base);
        *yes = of && is_codes(of);
        free(base);
    }
    return true;
}

static bool rows_of(struct model *model, const struct tensor_view *view, struct rows *rows,
                    struct error *err)
{
    *rows = (struct rows){.view = view, .rows = 1, .cols = (size_t)tensor_view_elements(view)};
    if (view->rank == 2 && rows->cols > 0) {
        rows->rows = (size_t)view->dim[0];
        rows->cols = (size_t)view->dim[1];
    }
    if (!is_codes(view))
        return true;
    const struct tensor_view *scale = find_scale(model, view->name, err);
    if (!scale)
        return error_set(err, "%s: tensor \"%s\" is %s but there is no \"%s_scale\" beside it",
                         model->name, view->name, dtype_name(view->type), view->name);
    bool int4 = view->type == DTYPE_U8;
    rows->cols *= int4 ? 2 : 1;
    size_t groups = int4 ? int4_groups(rows->cols) : 1;
    if (view->rank != 2 || scale->type != DTYPE_F32 ||
        tensor_view_elements(scale) != view->dim[0] * groups)
        return error_set(err,
                         "%s: tensor \"%s\": an %s matrix of %zu rows needs a scale F32 [rows%s]; "
                         "\"%s\" is %s with %llu values",
                         model->name, view->name, dtype_name(view->type), rows->rows,
                         int4 ? ", columns / 64" : "", scale->name, dtype_name(scale->type),
                         (unsigned long long)tensor_view_elements(scale));
    rows->scale = scale->data;
    rows->rotated = parts_rotated(model, view);
    return bundle_verify(model->bundle, scale->data, (size_t)scale->bytes, err);
}

/* Row r of a table of 4-bit codes. */
static bool read_int4(struct batch *batch, const struct rows *rows, size_t r, struct error *err)
{
    size_t groups = int4_groups(rows->cols);
    float *scale = memory_array(groups, sizeof *scale, err);
    if (!scale)
        return false;
    memcpy(scale, rows->scale + r * groups * sizeof *scale, groups * sizeof *scale);
    int4_decode((const uint8_t *)rows->view->data + r * int4_row_bytes(rows->cols), scale, 0,
                rows->cols, batch->row);
    free(scale);
    return true;
}

/* Row r as floats into batch->row; false when a value is not finite. */
static bool read_row(const struct model *model, struct batch *batch, const struct rows *rows,
                     size_t r, struct error *err)
{
    const struct tensor_view *view = rows->view;
    if (view->type == DTYPE_U8) {
        if (!read_int4(batch, rows, r, err))
            return false;
    } else {
        const uint8_t *from =
            (const uint8_t *)view->data + r * rows->cols * dtype_bytes(view->type);
        dtype_to_float(view->type, from, rows->cols, batch->row);
    }
    if (rows->scale && view->type != DTYPE_U8) {
        float scale;
        memcpy(&scale, rows->scale + r * sizeof scale, sizeof scale);
        for (size_t c = 0; c < rows->cols; c++)
            batch->row[c] *= scale;
    }
    if (rows->rotated)
        rotate_row(batch->row, rows->cols);
    for (size_t c = 0; c < rows->cols; c++)
        if (!isfinite(batch->row[c]))
            return error_set(
                err,
                "%s: tensor \"%s\": value %zu is %g, not a finite number that fp32 can "
                "hold; the model is damaged or its training diverged",
                model->name, view->name, r * rows->cols + c, (double)batch->row[c]);
    return true;
}

static bool write_row(const struct model *model, const struct batch *batch, const struct rows *rows,
                      size_t r, enum dtype type, uint8_t *to, struct error *err)
{
    const float *row = batch->row;
    float largest = 0;
    uint16_t half = 0;
    dtype_from_float(type, row, rows->cols, to);
    if (type == DTYPE_F32)
        return true;
    for (size_t c = 0; c < rows->cols; c++)
        largest = fmaxf(largest, fabsf(row[c]));
    dtype_from_float(type, &largest, 1, &half);
    if (isfinite(type == DTYPE_F16 ? dtype_half_to_float(half) : dtype_bf16_to_float(half)))
        return true;
    return error_set(err,
                     "%s: tensor \"%s\": row %zu holds the magnitude %g, too large for %s; use %s",
                     model->name, rows->view->name, r, (double)largest, dtype_name(type),
                     type == DTYPE_F16 ? "--to bf16" : "--to fp32");
}

/* A floating-point tensor, or an I8 matrix, to plain `type`. */
static bool convert_plain(const struct model *model, struct batch *batch, const struct rows *rows,
                          enum dtype type, struct error *err)
{
    struct tensor_view made = *rows->view;
    bool copy = made.type != type;
    uint8_t *data = NULL;
    if (copy) {
        data = memory_aligned(rows->rows * rows->cols, dtype_bytes(type), err);
        if (!data)
            return error_at(err, "%s: tensor \"%s\": ", model->name, made.name);
        made.type = type;
        made.data = data;
        if (made.rank == 2)
            made.dim[1] = rows->cols; /* codes may lie closer */
        made.bytes = tensor_view_elements(&made) * dtype_bytes(type);
    }
    bool ok = true;
    for (size_t r = 0; ok && r < rows->rows; r++) {
        ok = read_row(model, batch, rows, r, err);
        if (ok && copy)
            ok = write_row(model, batch, rows, r, type, data + r * rows->cols * dtype_bytes(type),
                           err);
    }
    if (!ok) {
        free(data);
        return false;
    }
    batch_add(batch, made, data, NULL);
    return true;
}

static bool refuse_scale(const struct model *model, const char *name, struct error *err)
{
    return error_set(err, "%s: there is a tensor \"%s_scale\" already; it must be renamed",
                     model->name, name);
}

/* A matrix to codes of 8 or 4 bits, and its scales. */
static bool convert_codes(const struct model *model, struct batch *batch, const struct rows *rows,
                          bool int4, struct error *err)
{
    const char *name = rows->view->name;
    size_t n = rows->rows, cols = rows->cols, row = int4 ? int4_row_bytes(cols) : cols;
    size_t groups = int4 ? int4_groups(cols) : 1;
    if (!is_codes(rows->view) && find_scale(model, name, err))
        return refuse_scale(model, name, err);
    char *scale_name = memory_format(err, "%s_scale", name);
    uint8_t *data = memory_aligned(n, row, err);
    float *scale = memory_aligned(n * groups, sizeof *scale, err);
    bool ok = scale_name && data && scale, rotate = format_rotates(model) && !ngram_owns(name);
    for (size_t r = 0; ok && r < n; r++) {
        ok = read_row(model, batch, rows, r, err);
        if (ok && int4)
            int4_encode_row(batch->row, cols, data + r * row, scale + r * groups);
        else if (ok)
            ok = format_encode_rows(batch->row, 1, cols, rotate, (int8_t *)data + r * cols,
                                    scale + r) ||
                 error_set(err, "%s: tensor \"%s\": row %zu is too large to be int8; use --to fp32",
                           model->name, name, r);
    }
    if (!ok) {
        free(scale_name);
        free(data);
        free(scale);
        return false;
    }
    batch_add(batch, tensor_view_2d(name, int4 ? DTYPE_U8 : DTYPE_I8, n, row, data), data, NULL);
    batch_add(batch,
              int4 ? tensor_view_2d(scale_name, DTYPE_F32, n, groups, scale)
                   : tensor_view_1d(scale_name, DTYPE_F32, n, scale),
              scale, scale_name);
    return true;
}

static const struct format_codes *codes_of(const struct format_plan *plan, const char *name)
{
    for (size_t i = 0; i < plan->n_codes; i++)
        if (strcmp(plan->codes[i].name, name) == 0)
            return &plan->codes[i];
    return NULL;
}

/* Codes made beforehand. */
static bool take_codes(const struct model *model, struct batch *batch, const struct rows *rows,
                       const struct format_codes *codes, struct error *err)
{
    const char *name = rows->view->name;
    if (codes->rows != rows->rows || codes->cols != rows->cols)
        return error_set(err, "%s: tensor \"%s\" is [%zu, %zu], its codes are [%zu, %zu]",
                         model->name, name, rows->rows, rows->cols, codes->rows, codes->cols);
    if (find_scale(model, name, err))
        return refuse_scale(model, name, err);
    char *scale_name = memory_format(err, "%s_scale", name);
    if (!scale_name)
        return false;
    batch_add(batch, tensor_view_2d(name, DTYPE_I8, codes->rows, codes->cols, codes->data), NULL,
              NULL);
    batch_add(batch, tensor_view_1d(scale_name, DTYPE_F32, codes->rows, codes->scale), NULL,
              scale_name);
    return true;
}

/* Codes that stay what they are: quantising again could only lose. */
static bool keep_codes(struct model *model, struct batch *batch, const struct rows *rows,
                       struct error *err)
{
    for (size_t r = 0; r < rows->rows; r++)
        if (!read_row(model, batch, rows, r, err))
            return false;
    batch_add(batch, *rows->view, NULL, NULL);
    batch_add(batch, *find_scale(model, rows->view->name, err), NULL, NULL);
    return true;
}

/* Of a tensor that nobody named. */
static enum format usual(const struct format_plan *plan, const struct rows *rows,
                         const struct family_tensor *tensor)
{
    enum family_role role = tensor->role;
    bool table = role <= FAMILY_TYPE && plan->tables != FORMAT_AS_IS;
    enum format to = table ? plan->tables : plan->to;
    if (table && to == FORMAT_INT4 && role != FAMILY_WORD)
        to = FORMAT_INT8;
    if (family_stays_float(role) && to == FORMAT_INT8 && !is_codes(rows->view))
        to = plan->to == FORMAT_INT8 ? FORMAT_FP32 : plan->to;
    return to;
}

/* What a matrix becomes. */
static bool target_of(const struct model *model, const struct format_plan *plan,
                      const struct rows *rows, enum format *to, struct error *err)
{
    const struct tensor_view *view = rows->view;
    struct family_tensor tensor = {.role = FAMILY_ROLES};
    bool same = plan->to == FORMAT_AS_IS && plan->tables == FORMAT_AS_IS && !plan->n_choices;
    *to = plan->to;
    if (!same && !ngram_owns(view->name)) {
        const struct family *family = family_of(model->config, model->name, err);
        if (!family)
            return false;
        if (family_parse(family, view->name, &tensor))
            *to = usual(plan, rows, &tensor);
    }
    for (size_t i = 0; i < plan->n_choices; i++)
        if (strcmp(plan->choice[i].name, view->name) == 0)
            *to = plan->choice[i].format;
    if (*to != FORMAT_INT4 || (tensor.role == FAMILY_WORD && rows->cols % 2 == 0))
        return true;
    return error_set(err,
                     "%s: tensor \"%s\" [%zu, %zu] cannot be int4: only tables of words with an "
                     "even number of columns can; take int8",
                     model->name, view->name, rows->rows, rows->cols);
}

/* The type of what holds no codes. The n-gram part's idf are as many as its codes of one label, and
 * need no more digits than those have. */
static enum dtype plain_type(const struct tensor_view *view, enum format to)
{
    bool idf = strcmp(view->name, NGRAM_PREFIX "idf") == 0;
    return idf && to == FORMAT_INT8 ? DTYPE_F16 : known[to].type;
}

static bool convert_tensor(struct model *model, struct batch *batch, const struct tensor_view *view,
                           const struct format_plan *plan, uint64_t *weights, struct error *err)
{
    bool scale = false;
    struct rows rows;
    if (!is_scale(model, view, &scale, err))
        return false;
    if (scale)
        return true;
    if (!bundle_verify(model->bundle, view->data, (size_t)view->bytes, err))
        return false;
    /* U8 without scales is something of another program's. */
    bool codes = view->type == DTYPE_I8 ||
                 (view->type == DTYPE_U8 && find_scale(model, view->name, err) != NULL);
    if (!dtype_is_float(view->type) && !codes) {
        *weights += tensor_view_elements(view);
        batch_add(batch, *view, NULL, NULL);
        return true;
    }
    if (!rows_of(model, view, &rows, err) ||
        !memory_grow(&batch->row, &batch->row_capacity, rows.cols, sizeof *batch->row, err))
        return false;
    *weights += rows.rows * rows.cols;
    bool matrix = view->rank == 2 && rows.cols > 0;
    enum format to = plan->to;
    if (matrix && !target_of(model, plan, &rows, &to, err))
        return false;
    if (to == FORMAT_AS_IS && !codes)
        return convert_plain(model, batch, &rows, view->type, err);
    if (codes && (to == FORMAT_AS_IS || (to == FORMAT_INT8 && view->type == DTYPE_I8) ||
                  (to == FORMAT_INT4 && view->type == DTYPE_U8)))
        return keep_codes(model, batch, &rows, err);
    const struct format_codes *made =
        matrix && to == FORMAT_INT8 ? codes_of(plan, view->name) : NULL;
    if (made)
        return take_codes(model, batch, &rows, made, err);
    if (matrix && (to == FORMAT_INT8 || to == FORMAT_INT4))
        return convert_codes(model, batch, &rows, to == FORMAT_INT4, err);
    return convert_plain(model, batch, &rows, plain_type(view, to), err);
}

bool format_make(struct model *model, const struct tensor_view *view, enum format to,
                 struct format_made *made, struct error *err)
{
    const struct format_choice choice = {view->name, to};
    const struct format_plan plan = {.to = view->rank == 2 ? FORMAT_AS_IS : to,
                                     .tables = FORMAT_AS_IS,
                                     .choice = &choice,
                                     .n_choices = 1};
    struct batch batch;
    uint64_t weights = 0;
    *made = (struct format_made){.n = 0};
    bool ok =
        batch_open(&batch, 1, err) && convert_tensor(model, &batch, view, &plan, &weights, err);
    for (size_t i = 0; ok && i < batch.n; i++) {
        made->tensor[i] = batch.tensor[i];
        made->owned[i] = batch.owned[i];
        made->name[i] = batch.name[i];
    }
    made->n = ok ? batch.n : 0;
    batch.n = ok ? 0 : batch.n;
    batch_free(&batch);
    return ok;
}

void format_made_free(struct format_made *made)
{
    for (size_t i = 0; i < made->n; i++) {
        free(made->owned[i]);
        free(made->name[i]);
    }
    made->n = 0;
}

/* A model that another program quantised has tensors whose meaning is not ours to guess. */
static bool refuse_foreign(const struct model *model, struct error *err)
{
    const char *method = parts_int8_method(model);
    if (!method || parts_int8_known(method))
        return true;
    return error_set(
        err,
        "%s: config.json: quantization_config names the method \"%s\", expected none, \"%s\" or "
        "\"%s\"; start from the model before it was quantised",
        model->name, method, PARTS_INT8, PARTS_INT8_ROTATED);
}

/* config.json with the new type. "quant_method" makes transformers say that it does not know the
 * format; without it the codes would be loaded as if they were weights. */
static json_t *config_of(const struct model *model, const struct batch *batch, enum format to,
                         struct error *err)
{
    json_t *config = json_deep_copy(model->config);
    bool codes = false, rotated = false, ok = config != NULL;
    for (size_t i = 0; i < batch->n; i++) {
        const struct tensor_view *view = &batch->tensor[i];
        codes |= is_codes(view);
        rotated |= view->type == DTYPE_I8 && !ngram_owns(view->name);
    }
    rotated &= format_rotates(model);
    if (ok && to != FORMAT_AS_IS)
        ok = model_state_type(config, known[to].type, err);
    if (ok && codes)
        ok = json_object_set_new(config, "quantization_config",
                                 json_pack("{s:s}", "quant_method",
                                           rotated ? PARTS_INT8_ROTATED : PARTS_INT8)) == 0;
    if (ok)
        return config;
    json_decref(config);
    error_set(err, "no memory for config.json");
    return NULL;
}

/* "int8", "int8, embeddings int4", "fp32 and int8 by matrix" …: what millet.json calls it. */
static json_t *format_text(const struct model *model, const struct format_plan *plan)
{
    const char *before = json_string_value(json_object_get(model->millet, "format"));
    const char *to = plan->to != FORMAT_AS_IS ? known[plan->to].name : before ? before : "fp32";
    bool tables = plan->tables != FORMAT_AS_IS;
    return json_sprintf("%s%s%s%s", to, plan->n_choices ? ", by matrix" : "",
                        tables ? ", embeddings " : "", tables ? known[plan->tables].name : "");
}

static bool write_batch(struct model *model, const struct batch *batch,
                        const struct format_plan *plan, json_t *stage, struct output *output,
                        struct error *err)
{
    json_t *config = config_of(model, batch, plan->to, err);
    json_t *extra =
        config
            ? model_keep_extra(model, json_pack("{s:o}", "format", format_text(model, plan)), err)
            : NULL;
    if (!extra) {
        json_decref(config);
        json_decref(stage);
        return false;
    }
    struct model_writer_options options = {
        .from = model,
        .config = config,
        .tensor = batch->tensor,
        .n_tensors = batch->n,
        .stage = stage,
        .extra = extra,
    };
    bool ok = model_write(output, &options, err);
    json_decref(config);
    return ok;
}

/* The scale of what an I8 matrix multiplies, found now or before, as `name`; *is false: each row
 * has its own. */
static bool input_of(struct model *model, const struct format_plan *plan, const char *matrix,
                     const char *name, struct tensor_view *scale, bool *is, struct error *err)
{
    *is = true;
    for (size_t i = 0; i < plan->n_inputs; i++)
        if (strcmp(plan->input[i].name, matrix) == 0) {
            *scale = tensor_view_1d(name, DTYPE_F32, 1, &plan->input[i].scale);
            return true;
        }
    const struct tensor_view *before = model_find(model, name);
    *is = before != NULL;
    if (before)
        *scale = *before;
    return !before || bundle_verify(model->bundle, before->data, (size_t)before->bytes, err);
}

static bool add_inputs(struct model *model, struct batch *batch, const struct format_plan *plan,
                       struct error *err)
{
    size_t n = batch->n;
    for (size_t i = 0; i < n; i++) {
        const struct tensor_view *view = &batch->tensor[i];
        struct tensor_view scale;
        bool is = false;
        if (view->type != DTYPE_I8)
            continue;
        char *name = memory_format(err, "%s%s", view->name, input_suffix);
        if (!name || !input_of(model, plan, view->name, name, &scale, &is, err)) {
            free(name);
            return false;
        }
        scale.name = name;
        if (is)
            batch_add(batch, scale, NULL, name);
        else
            free(name);
    }
    return batch->n > n || !plan->n_inputs ||
           error_set(err,
                     "%s: none of its matrices is int8, so scales of what they multiply are of no "
                     "use; add --to int8",
                     model->name);
}

bool format_write_plan(struct model *model, const struct format_plan *plan, json_t *stage,
                       struct output *output, struct format_result *result, struct error *err)
{
    struct format_result sizes = {0, 0, 0};
    struct batch batch;
    bool ok = batch_open(&batch, model->n_tensors, err) && model_check_weights(model, err) &&
              refuse_foreign(model, err);
    for (size_t i = 0; ok && i < model->n_tensors; i++) {
        sizes.bytes_before += model->tensor[i].bytes;
        ok = convert_tensor(model, &batch, &model->tensor[i], plan, &sizes.weights, err);
    }
    ok = ok && add_inputs(model, &batch, plan, err);
    for (size_t i = 0; ok && i < batch.n; i++)
        sizes.bytes_after += batch.tensor[i].bytes;
    if (ok)
        ok = write_batch(model, &batch, plan, stage, output, err);
    else
        json_decref(stage);
    batch_free(&batch);
    if (ok && result)
        *result = sizes;
    return ok;
}

bool format_write(struct model *model, enum format to, json_t *stage, struct output *output,
                  struct format_result *result, struct error *err)
{
    const struct format_plan plan = {.to = to, .tables = FORMAT_AS_IS};
    return format_write_plan(model, &plan, stage, output, result, err);
}
