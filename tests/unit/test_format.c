/* Number formats: rounding, every conversion there and back, and what is refused. */
#include "quant/format.h"
#include "tests/tap.h"
#include "tests/unit/tiny.h"

/* ---- rows ---- */

static void rounding(void)
{
    /* scale 1: codes are the rounded values; halves go to the even neighbour. */
    const float row[] = {127, 0.5F, 1.5F, 2.5F, -0.5F, -1.5F, -127, 0.49F, 3.51F};
    const int8_t expected[] = {127, 0, 2, 2, 0, -2, -127, 0, 4};
    int8_t data[9];
    float scale = 0;
    format_quantise_rows(row, 1, 9, data, &scale);
    tap_ok(scale == 1 && memcmp(data, expected, sizeof data) == 0, "nearest, ties to even");
}

static void edges(void)
{
    float row[3][4] = {{0, -0.0F, 0, 0}, {1e-44F, 0, 0, 0}, {3e38F, -3e38F, 1e38F, 0}};
    int8_t data[3][4];
    float scale[3];
    format_quantise_rows(row[0], 3, 4, data[0], scale);
    tap_ok(scale[0] == 1 && data[0][0] == 0 && data[0][1] == 0, "a row of zeros");
    tap_ok(scale[1] == 1 && data[1][0] == 0, "a row below what a scale can be");
    tap_ok(isfinite(scale[2]) && data[2][0] == 127 && data[2][1] == -127 && data[2][2] == 42,
           "a row near the largest float");
}

static void error_bound(void)
{
    enum { ROWS = 64, COLS = 37 };
    static float w[ROWS * COLS];
    static int8_t data[ROWS * COLS];
    float scale[ROWS];
    struct rng rng;
    size_t bad = 0;
    rng_seed(&rng, 11);
    for (size_t i = 0; i < ROWS * COLS; i++)
        w[i] = (float)(rng_normal(&rng) * pow(10, (double)(i / COLS) / 8 - 4));
    format_quantise_rows(w, ROWS, COLS, data, scale);
    for (size_t i = 0; i < ROWS * COLS; i++) {
        double s = (double)scale[i / COLS], diff = fabs(s * data[i] - (double)w[i]);
        bad += !(diff <= 0.5 * s * (1 + 1e-5)) || data[i] == -128;
    }
    tap_ok(bad == 0, "no value is more than half a step off, no code is -128");
}

/* ---- models ---- */

static bool convert(struct model *from, enum format to, struct model *model, const char *file,
                    struct format_result *result, struct error *err)
{
    struct output *output = tiny_output(file);
    if (!format_write(from, to, json_object(), output, result, err)) {
        output_abandon(output);
        return false;
    }
    tiny_reopen(output, model, file);
    return true;
}

static bool same_tensors(const struct model *a, const struct model *b)
{
    bool same = a->n_tensors == b->n_tensors;
    for (size_t i = 0; same && i < a->n_tensors; i++) {
        const struct tensor_view *x = &a->tensor[i], *y = &b->tensor[i];
        same = strcmp(x->name, y->name) == 0 && x->type == y->type && x->bytes == y->bytes &&
               memcmp(x->data, y->data, (size_t)x->bytes) == 0;
    }
    return same;
}

static const char *config_text(const struct model *model, const char *key)
{
    const char *text = json_string_value(json_object_get(model->config, key));
    return text ? text : "(none)";
}

static void floats(struct model *model, enum format to, enum dtype type, const char *torch,
                   const char *file)
{
    struct error err = ERROR_INIT;
    struct model there, again;
    struct format_result result;
    char name[64];
    snprintf(name, sizeof name, "again-%s", file);
    tiny_must(convert(model, to, &there, file, &result, &err), &err);
    bool all = there.n_tensors == model->n_tensors;
    for (size_t i = 0; i < there.n_tensors; i++)
        all = all && there.tensor[i].type == type;
    tap_ok(all && strcmp(config_text(&there, "torch_dtype"), torch) == 0,
           "%s: every tensor is %s, torch_dtype %s", format_name(to), dtype_name(type), torch);
    tap_ok(result.bytes_after * 2 == result.bytes_before &&
               result.weights * 2 == result.bytes_after,
           "%s: half the bytes", format_name(to));
    tiny_must(convert(&there, to, &again, name, NULL, &err), &err);
    tap_ok(same_tensors(&there, &again), "%s twice is %s once", format_name(to), format_name(to));
    model_close(&again);
    tiny_must(convert(&there, FORMAT_FP32, &again, name, NULL, &err), &err);
    double worst = 0, allowed = type == DTYPE_F16 ? 1.0 / 2048 : 1.0 / 256;
    for (size_t i = 0; i < again.n_tensors; i++)
        for (size_t k = 0; k < tensor_view_elements(&again.tensor[i]); k++) {
            float a, b;
            memcpy(&a, (const char *)again.tensor[i].data + 4 * k, 4);
            memcpy(&b, (const char *)model->tensor[i].data + 4 * k, 4);
            double relative = fabs((double)a - (double)b) / (fabs((double)b) + 1e-4);
            worst = relative > worst ? relative : worst;
        }
    tap_ok(worst <= allowed && strcmp(config_text(&again, "torch_dtype"), "float32") == 0,
           "%s and back to fp32 loses at most half a unit (%.2g)", format_name(to), worst);
    model_close(&again);
    model_close(&there);
}

static void int8(struct model *model)
{
    struct error err = ERROR_INIT;
    struct model there, again;
    struct format_result result;
    tiny_must(convert(model, FORMAT_INT8, &there, "int8", &result, &err), &err);
    size_t bad = 0, matrices = 0;
    for (size_t i = 0; i < model->n_tensors; i++) {
        const struct tensor_view *was = &model->tensor[i], *is = model_find(&there, was->name);
        char name[128];
        snprintf(name, sizeof name, "%s_scale", was->name);
        const struct tensor_view *scale = model_find(&there, name);
        bool codes = was->rank == 2 && !strstr(was->name, "token_type") &&
                     strcmp(was->name, "classifier.weight") != 0;
        matrices += codes;
        if (codes)
            bad += !is || is->type != DTYPE_I8 || !scale || scale->type != DTYPE_F32 ||
                   scale->rank != 1 || scale->dim[0] != was->dim[0];
        else
            bad += !is || is->type != DTYPE_F32 || scale;
    }
    tap_ok(bad == 0 && matrices == 21,
           "int8: matrices I8 with a scale per row; types, classifier and the rest F32");
    tap_ok(there.n_tensors == model->n_tensors + matrices, "int8: nothing more, nothing less");
    tap_ok(result.bytes_after < result.bytes_before / 2, "int8: smaller (%llu -> %llu)",
           (unsigned long long)result.bytes_before, (unsigned long long)result.bytes_after);
    tap_is(json_string_value(json_object_get(there.millet, "format")), "int8",
           "int8: millet.json says so");
    tap_is(json_string_value(json_object_get(json_object_get(there.config, "quantization_config"),
                                             "quant_method")),
           "millet-int8-rotated", "int8: config.json warns other programs");
    tiny_must(convert(&there, FORMAT_INT8, &again, "int8-again", NULL, &err), &err);
    tap_ok(same_tensors(&there, &again), "int8 of int8 changes nothing");
    model_close(&again);
    tiny_must(convert(&there, FORMAT_FP32, &again, "int8-fp32", NULL, &err), &err);
    bool plain = again.n_tensors == model->n_tensors &&
                 !json_object_get(again.config, "quantization_config");
    tap_ok(plain, "back to fp32: the tensors there were, and no warning left");
    const char *name = "bert.encoder.layer.1.intermediate.dense.weight";
    char scale_name[128];
    snprintf(scale_name, sizeof scale_name, "%s_scale", name);
    const struct tensor_view *codes = model_find(&there, name), *back = model_find(&again, name);
    const float *scale = model_find(&there, scale_name)->data;
    bool exact = true;
    for (size_t i = 0; i < tensor_view_elements(codes); i++)
        exact = exact && ((const float *)back->data)[i] ==
                             scale[i / codes->dim[1]] * (float)((const int8_t *)codes->data)[i];
    tap_ok(exact, "back to fp32: each weight is its code times its scale");
    model_close(&again);
    model_close(&there);
}

static void refused(struct model *model, enum format to, const char *text, const char *what)
{
    struct error err = ERROR_INIT;
    struct model never;
    bool ok = convert(model, to, &never, "refused", NULL, &err);
    if (ok)
        model_close(&never);
    tap_ok(!ok && strstr(err.text, text), "%s: %s", what, err.text);
    model_close(model);
}

/* A model with one tensor changed, added or left out; config may be NULL. */
static void odd_model(struct model *model, struct tensor_view extra, const char *key,
                      const char *method)
{
    struct error err = ERROR_INIT;
    struct tiny *tiny = malloc(sizeof *tiny);
    struct tensor_view tensor[TINY_TENSORS + 1];
    if (!tiny)
        exit(1);
    tiny_make(tiny, 2);
    json_t *config = shape_config(&tiny->shape, NULL, tiny_label, &err);
    if (key)
        json_object_set_new(config, key, json_pack("{s:s}", "quant_method", method));
    memcpy(tensor, tiny->tensor, sizeof tiny->tensor);
    tensor[tiny->n] = extra;
    tiny_store(tensor, tiny->n + 1, config, model, "odd");
    json_decref(config);
    free(tiny);
}

static void refusals(void)
{
    static struct tiny tiny;
    static float ones[40] = {1};
    static int8_t codes[24];
    static int64_t ids[4] = {0, 1, 2, 3};
    struct model model, result;
    struct error err = ERROR_INIT;

    tiny_make(&tiny, 5);
    tiny_layer_values(&tiny, 1, "output.dense.bias")[3] = (float)NAN;
    for (int to = FORMAT_FP32; to <= FORMAT_INT8; to++) {
        tiny_model(&tiny, &model, "nan");
        refused(&model, (enum format)to, "bert.encoder.layer.1.output.dense.bias\": value 3 is nan",
                "not a number");
    }
    tiny_make(&tiny, 5);
    tiny_values(&tiny, "classifier.weight")[TINY_HIDDEN] = -70000;
    tiny_model(&tiny, &model, "large");
    refused(&model, FORMAT_FP16, "\"classifier.weight\": row 1 holds the magnitude 70000",
            "too large for fp16");
    tiny_model(&tiny, &model, "large");
    tiny_must(convert(&model, FORMAT_BF16, &result, "large-bf16", NULL, &err), &err);
    tap_ok(true, "not too large for bf16");
    model_close(&result);
    model_close(&model);

    odd_model(&model, tensor_view_2d("odd.weight", DTYPE_I8, 4, 6, codes), NULL, NULL);
    refused(&model, FORMAT_FP32, "\"odd.weight\" is I8 but there is no \"odd.weight_scale\"",
            "codes without a scale");
    odd_model(&model, tensor_view_1d("bert.pooler.dense.weight_scale", DTYPE_F32, 3, ones), NULL,
              NULL);
    refused(&model, FORMAT_INT8, "there is a tensor \"bert.pooler.dense.weight_scale\" already",
            "a name that is taken");
    odd_model(&model, tensor_view_1d("odd", DTYPE_F32, 3, ones), "quantization_config", "gptq");
    refused(&model, FORMAT_INT8, "\"gptq\"", "another program's quantisation");

    odd_model(&model, tensor_view_1d("bert.embeddings.position_ids", DTYPE_I64, 4, ids), NULL,
              NULL);
    tiny_must(convert(&model, FORMAT_INT8, &result, "ids", NULL, &err), &err);
    const struct tensor_view *view = model_find(&result, "bert.embeddings.position_ids");
    tap_ok(view && view->type == DTYPE_I64 && memcmp(view->data, ids, sizeof ids) == 0,
           "other integers pass unchanged");
    model_close(&result);
    model_close(&model);
}

/* The tables of a model of `plan`: the word table's type, the others', and an encoder matrix's. */
static bool types_are(const struct model *model, enum dtype word, enum dtype place,
                      enum dtype matrix)
{
    return model_find(model, "bert.embeddings.word_embeddings.weight")->type == word &&
           model_find(model, "bert.embeddings.position_embeddings.weight")->type == place &&
           model_find(model, "bert.encoder.layer.0.output.dense.weight")->type == matrix;
}

static void convert_plan(struct model *from, struct format_plan plan, struct model *model,
                         const char *file)
{
    struct error err = ERROR_INIT;
    struct output *output = tiny_output(file);
    tiny_must(format_write_plan(from, &plan, json_object(), output, NULL, &err), &err);
    tiny_reopen(output, model, file);
}

static void tables(struct model *model)
{
    static const int64_t offset[] = {0, 3, 5};
    static const int32_t id[] = {2, 7, 19, 4, 2};
    struct model there, plain, again;
    float by_codes[2 * TINY_LABELS], by_floats[2 * TINY_LABELS];
    convert_plan(model, (struct format_plan){.to = FORMAT_AS_IS, .tables = FORMAT_INT4}, &there,
                 "tables");
    tap_ok(types_are(&there, DTYPE_U8, DTYPE_I8, DTYPE_F32),
           "int4 embeddings: words int4, positions int8, the encoder as it was");
    convert_plan(&there, (struct format_plan){.to = FORMAT_FP32, .tables = FORMAT_AS_IS}, &plain,
                 "tables-fp32");
    tap_ok(types_are(&plain, DTYPE_F32, DTYPE_F32, DTYPE_F32) &&
               model_find(&plain, "bert.embeddings.word_embeddings.weight")->dim[1] == TINY_HIDDEN,
           "and back, of the full width");
    tiny_answer(&there, offset, id, 2, by_codes);
    tiny_answer(&plain, offset, id, 2, by_floats);
    tap_close(by_codes, by_floats, 2 * TINY_LABELS, 1e-5, "codes answer as their values do");
    convert_plan(&there, (struct format_plan){.to = FORMAT_INT8, .tables = FORMAT_AS_IS}, &again,
                 "tables-int8");
    tap_ok(types_are(&again, DTYPE_I8, DTYPE_I8, DTYPE_I8), "int4 to int8");
    model_close(&again);
    model_close(&plain);
    const struct format_choice choice[] = {
        {"bert.encoder.layer.0.output.dense.weight", FORMAT_BF16}};
    convert_plan(&there,
                 (struct format_plan){
                     .to = FORMAT_INT8, .tables = FORMAT_INT4, .choice = choice, .n_choices = 1},
                 &again, "mixed");
    tap_ok(types_are(&again, DTYPE_U8, DTYPE_I8, DTYPE_BF16) &&
               model_find(&again, "bert.encoder.layer.1.output.dense.weight")->type == DTYPE_I8,
           "a matrix by name, the rest as planned");
    model_close(&again);
    model_close(&there);
}

int main(void)
{
    static struct tiny tiny;
    struct model model;
    scratch_open();
    rounding();
    edges();
    error_bound();
    tiny_make(&tiny, 1);
    tiny_model(&tiny, &model, "model");
    floats(&model, FORMAT_FP16, DTYPE_F16, "float16", "fp16");
    floats(&model, FORMAT_BF16, DTYPE_BF16, "bfloat16", "bf16");
    int8(&model);
    tables(&model);
    model_close(&model);
    refusals();
    return tap_done();
}
