/* Compensated codes of a whole model: of which matrices, in the file, at work; what is refused. */
#include "quant/compensate.h"

#include "tests/tap.h"
#include "tests/unit/tiny.h"

enum { RECORDS = 30, LENGTH = 9 };

static int64_t offset[RECORDS + 1];
static int32_t id[RECORDS * LENGTH], label[RECORDS];

static void make_records(struct records_set *set)
{
    struct rng rng;
    rng_seed(&rng, 8);
    for (size_t i = 0; i < RECORDS; i++) {
        offset[i + 1] = offset[i] + LENGTH;
        label[i] = -1;
        for (size_t t = 0; t < LENGTH; t++)
            id[i * LENGTH + t] = (int32_t)rng_below(&rng, TINY_VOCAB);
    }
    tiny_records(set, offset, id, label, NULL, RECORDS);
}

static void written(struct model *from, const struct compensate *c, struct model *to,
                    const char *file)
{
    struct error err = ERROR_INIT;
    struct output *output = tiny_output(file);
    const struct format_plan plan = {.to = FORMAT_INT8,
                                     .tables = FORMAT_FP32,
                                     .codes = c ? c->codes : NULL,
                                     .n_codes = c ? c->n : 0};
    tiny_must(format_write_plan(from, &plan, json_object(), output, NULL, &err), &err);
    tiny_reopen(output, to, file);
}

static bool same(const struct compensate *a, const struct compensate *b)
{
    bool is = a->n == b->n;
    for (size_t i = 0; is && i < a->n; i++) {
        const struct format_codes *x = &a->codes[i], *y = &b->codes[i];
        is = strcmp(x->name, y->name) == 0 && x->rows == y->rows && x->cols == y->cols &&
             memcmp(x->data, y->data, x->rows * x->cols) == 0 &&
             memcmp(x->scale, y->scale, x->rows * sizeof *x->scale) == 0;
    }
    return is;
}

/* Mean square of what the answers are off. */
static double error_of(struct model *model, const float *expected)
{
    static float logits[RECORDS * TINY_LABELS];
    double sum = 0;
    tiny_answer(model, offset, id, RECORDS, logits);
    for (size_t i = 0; i < RECORDS * TINY_LABELS; i++)
        sum += pow((double)logits[i] - (double)expected[i], 2);
    return sum / (RECORDS * TINY_LABELS);
}

static void in_files(const struct compensate *c, struct model *model)
{
    static float before[RECORDS * TINY_LABELS];
    struct model plain, better;
    struct error err = ERROR_INIT;
    written(model, NULL, &plain, "plain");
    written(model, c, &better, "better");
    tiny_answer(model, offset, id, RECORDS, before);
    double of_plain = error_of(&plain, before), of_better = error_of(&better, before);
    tap_ok(of_better > 0 && of_better < 2 * of_plain && of_better < 1e-2,
           "the answers, off by %.3g, are about as near as those of plain rounding, %.3g",
           of_better, of_plain);
    const char *name = c->codes[0].name;
    const struct tensor_view *codes = model_find(&better, name);
    tap_ok(codes && codes->type == DTYPE_I8 &&
               memcmp(codes->data, c->codes[0].data, (size_t)codes->bytes) == 0,
           "the codes are in the file");
    struct format_codes wrong = c->codes[0];
    wrong.rows--;
    const struct format_plan plan = {
        .to = FORMAT_INT8, .tables = FORMAT_AS_IS, .codes = &wrong, .n_codes = 1};
    struct output *output = tiny_output("none");
    tap_ok(!format_write_plan(model, &plan, json_object(), output, NULL, &err) &&
               strstr(err.text, "its codes are"),
           "%s", err.text);
    output_abandon(output);
    model_close(&plain);
    model_close(&better);
}

static void refuses(struct tiny *tiny, struct records_set *set, struct device *dev)
{
    struct model model, codes;
    struct compensate c;
    struct error err = ERROR_INIT;
    tiny_model(tiny, &model, "floats");
    written(&model, NULL, &codes, "codes");
    tap_ok(!compensate_make(&c, &codes, set, 100, 0, dev, NULL, NULL, &err) &&
               strstr(err.text, "int8 codes already"),
           "%s", err.text);
    error_clear(&err);
    model_close(&codes);
    model_close(&model);
    tiny_values(tiny, "bert.embeddings.word_embeddings.weight")[(size_t)id[3] * TINY_HIDDEN] = NAN;
    tiny_model(tiny, &model, "nan");
    tap_ok(!compensate_make(&c, &model, set, 100, 0, dev, NULL, NULL, &err) &&
               strstr(err.text, "not finite"),
           "%s", err.text);
    error_clear(&err);
    set->n = 0;
    tap_ok(!compensate_make(&c, &model, set, 100, 0, dev, NULL, NULL, &err), "%s", err.text);
    model_close(&model);
}

int main(void)
{
    static struct tiny tiny;
    struct model model;
    struct compensate c, of_two;
    struct records_set set;
    struct error err = ERROR_INIT;
    struct threads *team = threads_open(2, &err);
    struct device *one = device_cpu_open(1, &err), *two = device_cpu_open(2, &err);
    tiny_must(team && one && two, &err);
    make_records(&set);
    tiny_make(&tiny, 5);
    tiny_model(&tiny, &model, "model");
    tiny_must(compensate_make(&c, &model, &set, 20, 0, one, NULL, NULL, &err), &err);
    tiny_must(compensate_make(&of_two, &model, &set, 20, 0, two, team, NULL, &err), &err);
    tap_ok(c.n_records == 20 && c.n == 6 * TINY_LAYERS + 1,
           "codes of %zu matrices, the classifier's not among them", c.n);
    tap_ok(same(&c, &of_two), "the same with two threads");
    in_files(&c, &model);
    compensate_free(&c);
    compensate_free(&of_two);
    refuses(&tiny, &set, one);
    records_set_close(&set);
    model_close(&model);
    one->op->close(one);
    two->op->close(two);
    threads_close(team);
    return tap_done();
}
