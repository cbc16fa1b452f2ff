/* Compaction: a model with units cut out answers as the whole model with these units' outputs
 * zeroed. */
#include "nn/parts.h"
#include "prune/compact.h"
#include "prune/plan.h"
#include "quant/format.h"
#include "tests/tap.h"
#include "tests/unit/tiny.h"

enum { RECORDS = 5 };
static const int64_t offset[RECORDS + 1] = {0, 1, 4, 9, 11, 23};
static const int32_t id[23] = {3, 1, 7,  2,  1,  19, 4,  4,  2,  0,  5, 1,
                               8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 2};

static void answer(struct model *model, float logits[RECORDS * TINY_LABELS])
{
    tiny_answer(model, offset, id, RECORDS, logits);
}

static void compact_patched(struct model *model, const struct shape *shape, const struct keep *keep,
                            const struct compact_patch *patch, size_t n_patches,
                            struct model *small, const char *file)
{
    struct error err = ERROR_INIT;
    struct output *output = tiny_output(file);
    tiny_must(compact_write(model, shape, keep, patch, n_patches,
                            json_pack("{s:s}", "method", "test"), json_object(), output, &err),
              &err);
    tiny_reopen(output, small, file);
}

static void compact(struct model *model, const struct shape *shape, const struct keep *keep,
                    struct model *small, const char *file)
{
    compact_patched(model, shape, keep, NULL, 0, small, file);
}

static void refused(struct model *model, const struct shape *shape, const struct keep *keep,
                    const struct compact_patch *patch, size_t n_patches, const char *text)
{
    struct error err = ERROR_INIT;
    struct output *output = tiny_output("refused");
    bool ok = compact_write(model, shape, keep, patch, n_patches,
                            json_pack("{s:s}", "method", "test"), json_object(), output, &err);
    tap_ok(!ok && strstr(err.text, text), "refused: %s", err.text);
    output_abandon(output);
}

/* Columns [first, first + n) of a matrix to zero: what comes out of these units no longer counts.
 */
static void silence(float *w, size_t rows, size_t cols, size_t first, size_t n)
{
    for (size_t r = 0; r < rows; r++)
        memset(w + r * cols + first, 0, n * sizeof *w);
}

/* Choose units at random, at least one of each kind a layer; silence the others in `tiny`. */
static struct keep choose(struct tiny *tiny, uint64_t seed)
{
    struct error err = ERROR_INIT;
    struct keep keep;
    struct rng rng;
    size_t n_units = 0;
    struct unit *unit = search_units(&tiny->shape, 8, &n_units, &err);
    tiny_must(unit != NULL, &err);
    rng_seed(&rng, seed);
    for (size_t i = 0; i < n_units; i++) {
        struct layer_shape *layer = &tiny->layer[unit[i].layer];
        unit[i].keep = unit[i].index == 1 || rng_below(&rng, 2);
        if (unit[i].keep)
            continue;
        if (unit[i].kind == UNIT_HEAD)
            silence(tiny_layer_values(tiny, unit[i].layer, "attention.output.dense.weight"),
                    TINY_HIDDEN, layer->heads * TINY_HEAD_SIZE, unit[i].index * TINY_HEAD_SIZE,
                    TINY_HEAD_SIZE);
        else
            silence(tiny_layer_values(tiny, unit[i].layer, "output.dense.weight"), TINY_HIDDEN,
                    layer->ffn, unit[i].index, 1);
    }
    tiny_must(keep_of_units(&keep, &tiny->shape, unit, n_units, &err), &err);
    free(unit);
    return keep;
}

static size_t file_size(const char *file)
{
    struct stat st;
    return stat(scratch_path(file), &st) == 0 ? (size_t)st.st_size : 0;
}

static void masked_equals_cut(void)
{
    static struct tiny tiny, silenced;
    float whole[RECORDS * TINY_LABELS], masked[RECORDS * TINY_LABELS], cut[RECORDS * TINY_LABELS];
    struct model model, small;
    struct shape shape, left;
    struct error err = ERROR_INIT;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        tiny_make(&tiny, seed);
        tiny_make(&silenced, seed);
        tiny_model(&tiny, &model, "whole");
        answer(&model, whole);
        struct keep keep = choose(&silenced, seed + 100);
        compact(&model, &tiny.shape, &keep, &small, "cut");
        model_close(&model);
        answer(&small, cut);
        tiny_model(&silenced, &model, "masked");
        answer(&model, masked);
        tap_close(cut, masked, RECORDS * TINY_LABELS, 1e-5, "cut out equals silenced");
        double change = 0;
        for (size_t i = 0; i < RECORDS * TINY_LABELS; i++)
            change += fabs((double)whole[i] - (double)cut[i]);
        tap_ok(change > 1e-2, "and it made a difference (%.3f)", change);
        tiny_must(shape_from_model(&shape, &small, &err) &&
                      keep_shape(&keep, &tiny.shape, &left, &err),
                  &err);
        bool same = shape.n_layers == left.n_layers;
        for (size_t l = 0; l < left.n_layers; l++)
            same = same && shape.layer[l].heads == left.layer[l].heads &&
                   shape.layer[l].ffn == left.layer[l].ffn;
        tap_ok(same && parts_parameters(&shape) < parts_parameters(&tiny.shape) &&
                   file_size("cut") < file_size("whole"),
               "the shape is the smaller one, and so is the file");
        shape_free(&shape);
        shape_free(&left);
        keep_free(&keep);
        model_close(&small);
        model_close(&model);
    }
}

/* Keeping layers 0 and 2 gives the model that has their weights under the numbers 0 and 1. */
static void layers(void)
{
    static struct tiny tiny;
    static const char *const from = "bert.encoder.layer.2.", *const to = "bert.encoder.layer.1.";
    float expected[RECORDS * TINY_LABELS], found[RECORDS * TINY_LABELS];
    struct tensor_view tensor[TINY_TENSORS];
    char name[TINY_TENSORS][96];
    struct model model, small;
    struct plan plan;
    struct error err = ERROR_INIT;
    size_t n = 0;
    tiny_make(&tiny, 9);
    tiny_model(&tiny, &model, "whole");
    tiny_must(plan_layers(&plan, &model, 0, LAYERS_TOP, "2,0", &err), &err);
    compact(&model, &plan.before, &plan.keep, &small, "layers");
    answer(&small, found);
    for (size_t i = 0; i < tiny.n; i++) {
        if (strncmp(tiny.name[i], to, strlen(to)) == 0)
            continue;
        bool moved = strncmp(tiny.name[i], from, strlen(from)) == 0;
        snprintf(name[n], sizeof name[n], "%s%s", moved ? to : "",
                 tiny.name[i] + (moved ? strlen(from) : 0));
        tensor[n] = tiny.tensor[i];
        tensor[n].name = name[n];
        n++;
    }
    model_close(&model);
    tiny.shape.n_layers = 2;
    tiny.layer[1] = tiny.layer[2];
    json_t *config = shape_config(&tiny.shape, NULL, tiny_label, &err);
    tiny_store(tensor, n, config, &model, "expected");
    json_decref(config);
    answer(&model, expected);
    tap_close(found, expected, RECORDS * TINY_LABELS, 0, "layers 0 and 2 become 0 and 1");
    tap_ok(plan.after.n_layers == 2 && plan.macs_after < plan.macs_before,
           "with fewer multiply-adds");
    plan_free(&plan);
    model_close(&small);
    model_close(&model);
}

static void to_format(struct model *model, enum format to, struct model *there, const char *file)
{
    struct error err = ERROR_INIT;
    struct output *output = tiny_output(file);
    tiny_must(format_write(model, to, json_object(), output, NULL, &err), &err);
    tiny_reopen(output, there, file);
}

/* Whole units of codes cannot be cut, as their columns are rotated. Layers can: cutting codes and
 * scales, then weights = cutting the weights. */
static void int8(void)
{
    static struct tiny tiny;
    struct model model, codes, cut_codes, one, weights, other;
    tiny_make(&tiny, 4);
    tiny_model(&tiny, &model, "whole");
    struct keep keep = choose(&tiny, 104);
    to_format(&model, FORMAT_INT8, &codes, "codes");
    refused(&codes, &tiny.shape, &keep, NULL, 0, "mquant --to fp32 first");
    keep_free(&keep);
    static const size_t outer[] = {0, 2};
    struct error err = ERROR_INIT;
    tiny_must(keep_of_layers(&keep, &tiny.shape, outer, 2, &err), &err);
    compact(&codes, &tiny.shape, &keep, &cut_codes, "cut-codes");
    to_format(&cut_codes, FORMAT_FP32, &one, "one");
    to_format(&codes, FORMAT_FP32, &weights, "weights");
    compact(&weights, &tiny.shape, &keep, &other, "other");
    bool same = one.n_tensors == other.n_tensors;
    for (size_t i = 0; same && i < one.n_tensors; i++)
        same = strcmp(one.tensor[i].name, other.tensor[i].name) == 0 &&
               one.tensor[i].bytes == other.tensor[i].bytes &&
               memcmp(one.tensor[i].data, other.tensor[i].data, (size_t)one.tensor[i].bytes) == 0;
    tap_ok(same, "int8: scales go with their rows");
    tap_is(json_string_value(json_object_get(cut_codes.millet, "format")), "int8",
           "int8: millet.json still says so");
    keep_free(&keep);
    struct model *all[] = {&model, &codes, &cut_codes, &one, &weights, &other};
    for (size_t i = 0; i < 6; i++)
        model_close(all[i]);
}

/* A model cut with patches is the patched model, cut; what does not fit is refused. */
static void patches(void)
{
    static struct tiny tiny, changed;
    static const char *const names[] = {"bert.encoder.layer.1.output.dense.weight",
                                        "bert.encoder.layer.0.attention.output.dense.bias",
                                        "classifier.bias"};
    float found[RECORDS * TINY_LABELS], expected[RECORDS * TINY_LABELS];
    struct compact_patch patch[3];
    struct model model, other, half, small;
    tiny_make(&tiny, 12);
    tiny_make(&changed, 12);
    tiny_model(&tiny, &model, "whole");
    for (size_t i = 0; i < 3; i++) {
        float *values = tiny_values(&changed, names[i]);
        patch[i] = (struct compact_patch){
            names[i], values, (size_t)tensor_view_elements(model_find(&model, names[i]))};
        for (size_t k = 0; k < patch[i].n; k++)
            values[k] = values[k] * 1.5F + 0.25F;
    }
    struct keep keep = choose(&changed, 112);
    tiny_model(&changed, &other, "changed");
    answer(&other, expected);
    compact_patched(&model, &tiny.shape, &keep, patch, 3, &small, "patched");
    answer(&small, found);
    tap_close(found, expected, RECORDS * TINY_LABELS, 1e-5, "patched and cut");
    model_close(&small);
    to_format(&model, FORMAT_BF16, &half, "half");
    compact_patched(&half, &tiny.shape, &keep, patch, 3, &small, "patched");
    tap_ok(model_find(&small, names[0])->type == DTYPE_F32 &&
               model_find(&small, "bert.pooler.dense.weight")->type == DTYPE_BF16,
           "a bf16 model: the patched tensor is F32, others stay");
    model_close(&small);
    struct compact_patch wrong = patch[0];
    wrong.name = "bert.encoder.layer.1.output.dense.wait";
    refused(&model, &tiny.shape, &keep, &wrong, 1, "there is no tensor");
    wrong = patch[0];
    wrong.n--;
    refused(&model, &tiny.shape, &keep, &wrong, 1, "new values");
    const struct compact_patch twice[2] = {patch[0], patch[0]};
    refused(&model, &tiny.shape, &keep, twice, 2, "twice");
    struct model codes;
    to_format(&model, FORMAT_INT8, &codes, "codes");
    refused(&codes, &tiny.shape, &keep, patch, 1, "mquant --to fp32");
    keep_free(&keep);
    struct model *all[] = {&model, &other, &half, &codes};
    for (size_t i = 0; i < 4; i++)
        model_close(all[i]);
}

static void what_is_said(void)
{
    static struct tiny tiny;
    struct model model, small, smaller;
    struct error err = ERROR_INIT;
    struct plan plan;
    tiny_make(&tiny, 6);
    tiny_model(&tiny, &model, "whole");
    tiny_must(
        plan_layers(&plan, &model, &(struct budget){.share = 0.67}, LAYERS_BOTTOM, NULL, &err),
        &err);
    json_t *report = plan_report(&plan, &err), *layer = NULL;
    tiny_must(report != NULL, &err);
    layer = json_array_get(json_object_get(report, "layers"), 0);
    tap_ok(json_integer_value(json_object_get(layer, "layer")) == 1,
           "report: the layer's old number");
    tap_is(json_string_value(json_object_get(layer, "heads")), "0-1", "report: its heads");
    tap_is(json_string_value(json_object_get(layer, "neurons")), "0-4", "report: its neurons");
    tap_ok(json_integer_value(json_object_get(json_object_get(report, "before"), "parameters")) ==
                   (json_int_t)parts_parameters(&plan.before) &&
               json_integer_value(json_object_get(json_object_get(report, "after"), "neurons")) ==
                   11,
           "report: the figures");
    json_decref(report);
    compact(&model, &plan.before, &plan.keep, &small, "small");
    plan_free(&plan);
    tiny_must(plan_layers(&plan, &small, &(struct budget){.share = 0.5}, LAYERS_TOP, NULL, &err),
              &err);
    compact(&small, &plan.before, &plan.keep, &smaller, "smaller");
    tap_ok(json_object_get(json_object_get(smaller.millet, "pruned"), "before") != NULL,
           "pruned twice: the first time is told too");
    tap_ok(json_array_size(json_object_get(smaller.millet, "history")) == 2,
           "two stages of history");
    plan_free(&plan);
    model_close(&model);
    model_close(&small);
    model_close(&smaller);
}

int main(void)
{
    scratch_open();
    masked_equals_cut();
    layers();
    int8();
    patches();
    what_is_said();
    return tap_done();
}
