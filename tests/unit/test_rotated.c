/* int8 models whose rows are rotated, wide enough for blocks of all sizes: what is read back, there
 * and back, models of the method of before beside them, and what is refused. */
#include "kernels/rotate.h"
#include "nn/params.h"
#include "prune/compact.h"
#include "prune/keep.h"
#include "quant/calibrate.h"
#include "quant/format.h"
#include "tests/tap.h"
#include "tests/unit/tiny.h"

/* 84 = 64 + 16 + 4 columns; 20 = 16 + 4. */
enum { HIDDEN = 84, VOCAB = 20, RECORDS = 2 };
static const int64_t offset[] = {0, 3, 5};
static const int32_t id[] = {2, 7, 19, 4, 2};
static const char query[] = "bert.encoder.layer.0.attention.self.query.weight";

/* Of a random model of two layers: its tensors in memory of their own. */
struct made {
    struct shape shape;
    struct tensor_view tensor[96];
    char name[96][PARTS_NAME_BYTES + 8];
    void *owned[96];
    size_t n;
};

static void add(struct made *made, const char *name, struct tensor_view view, void *owned)
{
    snprintf(made->name[made->n], sizeof made->name[0], "%s", name);
    view.name = made->name[made->n];
    made->owned[made->n] = owned;
    made->tensor[made->n++] = view;
}

/* cols 0: a vector. One column is much larger than the others. */
static void add_random(struct made *made, struct rng *rng, const struct part *part,
                       const char *rest, size_t rows, size_t cols)
{
    char name[PARTS_NAME_BYTES];
    size_t wide = cols ? cols : 1;
    float *value = malloc(rows * wide * sizeof *value),
          mean = part->kind == PART_NORM && *rest == 'w';
    if (!value)
        abort();
    for (size_t i = 0; i < rows * wide; i++)
        value[i] = mean + (cols && i % wide == 3 ? 1.0F : 0.15F) * (float)rng_normal(rng);
    parts_name(&made->shape, part, rest, name);
    add(made, name,
        cols ? tensor_view_2d("", DTYPE_F32, rows, cols, value)
             : tensor_view_1d("", DTYPE_F32, rows, value),
        value);
}

static void make(struct made *made, struct model *model, const char *file)
{
    struct error err = ERROR_INIT;
    struct rng rng;
    size_t n = 0;
    *made = (struct made){.n = 0};
    rng_seed(&rng, 3);
    tiny_must(shape_from_text(&made->shape, "layers=2,hidden=84,heads=3,ffn=20,positions=16", VOCAB,
                              TINY_LABELS, &err),
              &err);
    struct part *part = parts_list(&made->shape, &n, &err);
    tiny_must(part != NULL, &err);
    for (size_t i = 0; i < n; i++) {
        const struct part *p = &part[i];
        bool norm = p->kind == PART_NORM;
        add_random(made, &rng, p, "weight", norm ? p->cols : p->rows, norm ? 0 : p->cols);
        if (p->kind != PART_TABLE)
            add_random(made, &rng, p, "bias", norm ? p->cols : p->rows, 0);
    }
    free(part);
    json_t *config = shape_config(&made->shape, NULL, tiny_label, &err);
    tiny_must(config != NULL, &err);
    tiny_store(made->tensor, made->n, config, model, file);
    json_decref(config);
}

static void made_free(struct made *made)
{
    for (size_t i = 0; i < made->n; i++)
        free(made->owned[i]);
    shape_free(&made->shape);
}

/* As the method of before has it: every matrix of rows as they are. `method`: what config.json
 * says. */
static void make_plain(const struct made *from, const char *method, struct model *model,
                       const char *file)
{
    struct error err = ERROR_INIT;
    static struct made to;
    to = (struct made){.shape = from->shape};
    for (size_t i = 0; i < from->n; i++) {
        const struct tensor_view *view = &from->tensor[i];
        char name[PARTS_NAME_BYTES + 8];
        size_t rows = (size_t)view->dim[0], cols = (size_t)view->dim[1];
        if (view->rank != 2) {
            add(&to, view->name, *view, NULL);
            continue;
        }
        int8_t *data = malloc(rows * cols);
        float *scale = malloc(rows * sizeof *scale);
        if (!data || !scale)
            abort();
        format_quantise_rows(view->data, rows, cols, data, scale);
        add(&to, view->name, tensor_view_2d("", DTYPE_I8, rows, cols, data), data);
        snprintf(name, sizeof name, "%s_scale", view->name);
        add(&to, name, tensor_view_1d("", DTYPE_F32, rows, scale), scale);
    }
    json_t *config = shape_config(&from->shape, NULL, tiny_label, &err);
    tiny_must(config != NULL, &err);
    json_object_set_new(config, "quantization_config", json_pack("{s:s}", "quant_method", method));
    tiny_store(to.tensor, to.n, config, model, file);
    json_decref(config);
    for (size_t i = 0; i < to.n; i++)
        free(to.owned[i]);
}

static void convert(struct model *from, struct format_plan plan, struct model *to, const char *file)
{
    struct error err = ERROR_INIT;
    struct output *output = tiny_output(file);
    tiny_must(format_write_plan(from, &plan, json_object(), output, NULL, &err), &err);
    tiny_reopen(output, to, file);
}

static struct format_plan all(enum format to)
{
    return (struct format_plan){.to = to, .tables = FORMAT_AS_IS};
}

static const float *scales(const struct model *model, const char *name)
{
    char text[PARTS_NAME_BYTES + 8];
    snprintf(text, sizeof text, "%s_scale", name);
    return model_find(model, text)->data;
}

/* The codes of a matrix are those of its rows, rotated or not. */
static bool codes_are(const struct model *model, const struct model *floats, const char *name,
                      bool rotated)
{
    const struct tensor_view *view = model_find(model, name), *was = model_find(floats, name);
    size_t rows = (size_t)was->dim[0], cols = (size_t)was->dim[1], n = rows * cols;
    float *w = malloc(n * sizeof *w), *scale = malloc(rows * sizeof *scale);
    int8_t *data = malloc(n);
    if (!w || !scale || !data)
        abort();
    memcpy(w, was->data, n * sizeof *w);
    for (size_t r = 0; rotated && r < rows; r++)
        rotate_row(w + r * cols, cols);
    format_quantise_rows(w, rows, cols, data, scale);
    bool same = view->type == DTYPE_I8 && memcmp(view->data, data, n) == 0 &&
                memcmp(scales(model, name), scale, rows * sizeof *scale) == 0;
    free(w);
    free(scale);
    free(data);
    return same;
}

static bool says(const struct model *model, const char *method)
{
    const char *found = parts_int8_method(model);
    return method && found ? strcmp(method, found) == 0 : method == found;
}

static bool same_codes(const struct model *a, const struct model *b)
{
    bool same = a->n_tensors == b->n_tensors;
    for (size_t i = 0; same && i < a->n_tensors; i++) {
        const struct tensor_view *x = &a->tensor[i], *y = model_find(b, x->name);
        same = y && x->type == y->type &&
               (x->type != DTYPE_I8 || memcmp(x->data, y->data, (size_t)x->bytes) == 0);
    }
    return same;
}

static double furthest(const float *a, const float *b, size_t n)
{
    double worst = 0;
    for (size_t i = 0; i < n; i++)
        worst = fmax(worst, fabs((double)a[i] - (double)b[i]));
    return worst;
}

/* Codes answer as their values do, but for activations, which are rounded beside codes. */
static void there_and_back(struct model *model)
{
    struct model there, back, again;
    float exact[RECORDS * TINY_LABELS], codes[RECORDS * TINY_LABELS], values[RECORDS * TINY_LABELS];
    convert(model, all(FORMAT_INT8), &there, "there");
    tap_ok(says(&there, PARTS_INT8_ROTATED) && codes_are(&there, model, query, true) &&
               codes_are(&there, model, "bert.embeddings.word_embeddings.weight", true) &&
               codes_are(&there, model, "bert.encoder.layer.1.output.dense.weight", true),
           "matrices and tables are rounded rotated, and the model says so");
    tap_ok(model_find(&there, "bert.embeddings.token_type_embeddings.weight")->type == DTYPE_F32 &&
               model_find(&there, "classifier.weight")->type == DTYPE_F32,
           "types and classifier stay F32");
    convert(&there, all(FORMAT_FP32), &back, "back");
    const struct tensor_view *was = model_find(model, query), *is = model_find(&back, query);
    double step = 0, off = furthest(was->data, is->data, HIDDEN * HIDDEN);
    for (size_t r = 0; r < HIDDEN; r++)
        step = fmax(step, (double)scales(&there, query)[r]);
    /* 64 errors of half a step meet in a value, each divided by 8. */
    tap_ok(says(&back, NULL) && off > 0 && off < 4 * step, "fp32 of it is not rotated: %g off",
           off);
    convert(&back, all(FORMAT_INT8), &again, "again");
    tap_ok(same_codes(&there, &again), "int8 of that has the same codes");
    model_close(&again);
    tiny_answer(model, offset, id, RECORDS, exact);
    tiny_answer(&there, offset, id, RECORDS, codes);
    tiny_answer(&back, offset, id, RECORDS, values);
    tap_close(codes, values, RECORDS * TINY_LABELS, 0.05, "codes answer as their values do");
    tap_close(codes, exact, RECORDS * TINY_LABELS, 0.3, "and nearly as the model of before");
    model_close(&back);
    model_close(&there);
}

static void of_before(const struct made *made, struct model *model)
{
    struct error err = ERROR_INIT;
    struct model old, floats, again, mixed;
    float codes[RECORDS * TINY_LABELS], values[RECORDS * TINY_LABELS];
    make_plain(made, PARTS_INT8, &old, "old");
    convert(&old, all(FORMAT_FP32), &floats, "old-fp32");
    const struct tensor_view *view = model_find(&floats, query);
    const int8_t *data = model_find(&old, query)->data;
    const float *scale = scales(&old, query), *value = view->data;
    size_t bad = 0;
    for (size_t i = 0; i < HIDDEN * HIDDEN; i++)
        bad += value[i] != (float)data[i] * scale[i / HIDDEN];
    tap_ok(bad == 0 && codes_are(&old, model, query, false),
           "the method of before: a weight is its code times its scale");
    tiny_answer(&old, offset, id, RECORDS, codes);
    tiny_answer(&floats, offset, id, RECORDS, values);
    tap_close(codes, values, RECORDS * TINY_LABELS, 0.05, "its codes answer as their values do");
    convert(&old, all(FORMAT_INT8), &again, "old-again");
    tap_ok(says(&again, PARTS_INT8) && same_codes(&old, &again),
           "int8 again: all stays, types and classifier, too");
    model_close(&again);
    static const struct format_choice floats_first[] = {{query, FORMAT_FP32}};
    struct format_plan plan = all(FORMAT_INT8);
    plan.choice = floats_first;
    plan.n_choices = 1;
    convert(&old, plan, &mixed, "old-mixed");
    convert(&mixed, all(FORMAT_INT8), &again, "old-mixed-again");
    tap_ok(model_find(&mixed, query)->type == DTYPE_F32 && says(&again, PARTS_INT8) &&
               codes_are(&again, &mixed, query, false),
           "a matrix that joins codes of before is rounded as they were");
    model_close(&again);
    model_close(&mixed);
    model_close(&floats);
    model_close(&old);
    make_plain(made, "millet-int9", &old, "strange");
    struct output *output = tiny_output("never");
    tap_ok(!format_write(&old, FORMAT_FP32, json_object(), output, NULL, &err) &&
               strstr(err.text, "\"millet-int9\""),
           "%s", err.text);
    output_abandon(output);
    error_clear(&err);
    struct device *dev = device_reference_open(&err);
    tap_ok(!classifier_open(&old, dev, NULL, 0, &err) && strstr(err.text, "\"millet-int9\""),
           "nor does it run: %s", err.text);
    dev->op->close(dev);
    model_close(&old);
}

static void by_name(struct model *model)
{
    static const struct format_choice tiny_ones[] = {
        {"classifier.weight", FORMAT_INT8},
        {"bert.embeddings.token_type_embeddings.weight", FORMAT_INT8}};
    struct format_plan plan = all(FORMAT_BF16);
    struct model to;
    float exact[RECORDS * TINY_LABELS], codes[RECORDS * TINY_LABELS];
    plan.choice = tiny_ones;
    plan.n_choices = 2;
    convert(model, plan, &to, "named");
    tiny_answer(model, offset, id, RECORDS, exact);
    tiny_answer(&to, offset, id, RECORDS, codes);
    tap_ok(says(&to, PARTS_INT8_ROTATED) && codes_are(&to, model, "classifier.weight", true) &&
               codes_are(&to, model, "bert.embeddings.token_type_embeddings.weight", true),
           "types and classifier are int8 when named");
    tap_close(codes, exact, RECORDS * TINY_LABELS, 0.3, "and work");
    model_close(&to);
    convert(model, (struct format_plan){.to = FORMAT_AS_IS, .tables = FORMAT_INT8}, &to, "tables");
    tap_ok(model_find(&to, "bert.embeddings.position_embeddings.weight")->type == DTYPE_I8 &&
               model_find(&to, "bert.embeddings.token_type_embeddings.weight")->type == DTYPE_F32,
           "tables int8: words and positions");
    model_close(&to);
}

/* What starts from it starts from the rows as they were. */
static void trained_from(struct model *model)
{
    struct error err = ERROR_INIT;
    struct model there, back;
    struct params codes, floats;
    struct shape shape;
    struct device *dev = device_reference_open(&err);
    convert(model, all(FORMAT_INT8), &there, "start");
    convert(&there, all(FORMAT_FP32), &back, "start-fp32");
    tiny_must(dev && shape_from_model(&shape, &there, &err) &&
                  params_open(&codes, &shape, &there, false, 1, dev, &err) &&
                  params_open(&floats, &shape, &back, false, 1, dev, &err),
              &err);
    size_t words = codes.word.rows * codes.word.cols;
    tap_ok(memcmp(codes.w, floats.w, codes.n * sizeof *codes.w) == 0 &&
               memcmp(codes.word.w, floats.word.w, words * sizeof *codes.word.w) == 0,
           "training starts from the values of codes");
    params_close(&codes);
    params_close(&floats);
    shape_free(&shape);
    dev->op->close(dev);
    model_close(&back);
    model_close(&there);
}

/* Rows may go, columns not. */
static void cut(struct model *model)
{
    struct error err = ERROR_INIT;
    struct model there, small;
    struct shape shape;
    struct keep keep;
    convert(model, all(FORMAT_INT8), &there, "whole");
    static const size_t both[] = {0, 1};
    tiny_must(shape_from_model(&shape, &there, &err) &&
                  keep_of_layers(&keep, &shape, both, 2, &err),
              &err);
    keep.layer[0].n_heads = 2;
    struct compact *compact = compact_open(&there, &shape, &keep, &small, &err);
    tap_ok(!compact && strstr(err.text, "rotated") && strstr(err.text, "mquant --to fp32"), "%s",
           err.text);
    compact_close(compact);
    keep_free(&keep);
    shape_free(&shape);
    model_close(&there);
}

int main(void)
{
    static struct made made;
    struct model model;
    scratch_open();
    make(&made, &model, "model");
    there_and_back(&model);
    of_before(&made, &model);
    by_name(&model);
    trained_from(&model);
    cut(&model);
    model_close(&model);
    made_free(&made);
    return tap_done();
}
