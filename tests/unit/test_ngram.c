/* test_ngram.c: the n-gram part in model files, alone and beside an encoder: answers by hand,
 * logits of a hybrid as the sum of its parts, int8 codes, damaged files; and the gate. */
#include "nn/ngram.h"

#include "nn/ngram_gate.h"
#include "prune/ngram_cut.h"
#include "quant/format.h"
#include "tests/tap.h"
#include "tests/unit/tiny.h"
#include "tests/unit/tiny_grams.h"

enum { ROWS = 5, BUCKETS = 32, TEXTS = 3 };

static int32_t bucket[ROWS] = {3, 7, 8, 20, 31};
static float idf[ROWS] = {1, 1.5F, 2, 3, 1.25F}, bias[TINY_LABELS] = {0.1F, -0.2F, 0.3F};
static float weight[TINY_LABELS * ROWS] = {1, -1, 0.5F, 2, 0, 0, 1, 1, -2, 3, 0.25F, 0, -1, 1, 1};

/* Three texts of n-grams: with a repeated one, none that is kept, none at all. */
static const int32_t gram[] = {3, 7, 7, 9, 20, 4, 5};
static const int64_t gram_offset[] = {0, 5, 7, 7};
static const int64_t offset[] = {0, 2, 5, 6};
static const int32_t id[] = {2, 3, 2, 5, 3, 2};

static struct ngram_part made(double encoder_gate, double ngram_gate)
{
    return (struct ngram_part){.grams = {BUCKETS, 2, 3, 1},
                               .classes = TINY_LABELS,
                               .rows = ROWS,
                               .encoder_gate = encoder_gate,
                               .ngram_gate = ngram_gate,
                               .bucket = bucket,
                               .idf = idf,
                               .bias = bias,
                               .weight = weight,
                               .type = DTYPE_F32};
}

/* By the definition, in doubles. */
static void expect(float *logits)
{
    for (size_t t = 0; t < TEXTS; t++) {
        double x[ROWS] = {0}, length = 0;
        for (size_t r = 0; r < ROWS; r++) {
            double times = 0;
            for (int64_t k = gram_offset[t]; k < gram_offset[t + 1]; k++)
                times += gram[k] == bucket[r];
            x[r] = times > 0 ? (1 + log(times)) * (double)idf[r] : 0;
            length += x[r] * x[r];
        }
        for (size_t c = 0; c < TINY_LABELS; c++) {
            double sum = (double)bias[c];
            for (size_t r = 0; r < ROWS; r++)
                sum += length > 0 ? x[r] / sqrt(length) * (double)weight[c * ROWS + r] : 0;
            logits[t * TINY_LABELS + c] = (float)sum;
        }
    }
}

/* The model of the parts given, opened. */
static void store(const struct tiny *tiny, const struct ngram_part *part, struct model *model,
                  const char *file)
{
    struct error err = ERROR_INIT;
    struct tensor_view tensor[TINY_TENSORS + NGRAM_TENSORS];
    size_t n = 0;
    json_t *config = tiny ? shape_config(&tiny->shape, NULL, tiny_label, &err)
                          : ngram_part_config(part, tiny_label, false, &err);
    tiny_must(config && ngram_part_configure(part, config, &err), &err);
    for (; tiny && n < tiny->n; n++)
        tensor[n] = tiny->tensor[n];
    n += ngram_part_tensors(part, tensor + n);
    tiny_store(tensor, n, config, model, file);
    json_decref(config);
}

static bool answer(struct model *model, const struct classifier_texts *texts, float *logits,
                   struct error *err)
{
    struct device *dev = device_cpu_open(1, err);
    struct classifier *classifier = dev ? classifier_open(model, dev, NULL, 0, err) : NULL;
    bool ok = classifier && classifier_answer(classifier, texts, TEXTS, logits, err);
    classifier_close(classifier);
    if (dev)
        dev->op->close(dev);
    return ok;
}

static const struct classifier_texts texts = {
    .offset = offset, .id = id, .gram_offset = gram_offset, .gram = gram};

static void test_alone(void)
{
    struct error err = ERROR_INIT;
    struct model model;
    struct ngram_part part = made(1, 1);
    float expected[TEXTS * TINY_LABELS], logits[TEXTS * TINY_LABELS];
    expect(expected);
    store(NULL, &part, &model, "alone.tar");
    tap_ok(ngram_alone(&model) && ngram_of_model(&model), "a model that is an n-gram part alone");
    tiny_must(answer(&model, &texts, logits, &err), &err);
    tap_close(logits, expected, TEXTS * TINY_LABELS, 1e-6, "answers by the definition");
    struct error none = ERROR_INIT;
    const struct classifier_texts bare = {.offset = offset, .id = id};
    bool ok = answer(&model, &bare, logits, &none);
    tap_ok(!ok && strstr(none.text, "mtok -m"), "records without n-grams: %s", none.text);
    struct error far = ERROR_INIT;
    static const int32_t beyond[] = {3, 7, 7, 9, BUCKETS, 4, 5};
    struct classifier_texts strange = texts;
    strange.gram = beyond;
    ok = answer(&model, &strange, logits, &far);
    tap_ok(!ok && strstr(far.text, "outside"), "an n-gram beyond the buckets: %s", far.text);
    model_close(&model);
}

static void test_hybrid(void)
{
    struct error err = ERROR_INIT;
    struct tiny tiny;
    struct model model, hybrid;
    struct ngram_part part = made(0.5, 2);
    enum { N = TEXTS * TINY_LABELS };
    float encoder[N], ngram[N], sum[N], logits[N], given[N];
    tiny_make(&tiny, 3);
    tiny_model(&tiny, &model, "encoder.tar");
    store(&tiny, &part, &hybrid, "hybrid.tar");
    tiny_must(answer(&model, &texts, encoder, &err) && answer(&hybrid, &texts, logits, &err), &err);
    expect(ngram);
    for (size_t i = 0; i < N; i++)
        sum[i] = 0.5F * encoder[i] + 2 * ngram[i];
    tap_close(logits, sum, N, 2e-6, "a hybrid's logits are the gated sum of its parts'");
    struct classifier_texts others = texts;
    for (size_t i = 0; i < N; i++) {
        given[i] = (float)i;
        sum[i] = 0.5F * encoder[i] + 2 * given[i];
    }
    others.gram = NULL;
    others.ngram = given;
    tiny_must(answer(&hybrid, &others, logits, &err), &err);
    tap_close(logits, sum, N, 2e-6, "n-gram logits may be given instead");
    model_close(&hybrid);
    model_close(&model);
}

static void test_int8(void)
{
    struct error err = ERROR_INIT;
    struct model model, small;
    struct ngram_part part = made(1, 1), read;
    float expected[TEXTS * TINY_LABELS], logits[TEXTS * TINY_LABELS];
    store(NULL, &part, &model, "full.tar");
    struct output *output = tiny_output("int8.tar");
    tiny_must(format_write(&model, FORMAT_INT8, NULL, output, NULL, &err), &err);
    tiny_reopen(output, &small, "int8.tar");
    tiny_must(ngram_part_read(&read, &small, &err), &err);
    tap_ok(read.type == DTYPE_I8 && read.scale && read.rows == ROWS,
           "mquant's int8: codes with a scale per class");
    tap_ok(model_find(&small, "millet.ngram.idf")->type == DTYPE_F16 &&
               model_find(&small, "millet.ngram.bias")->type == DTYPE_F32,
           "... idf of two bytes");
    tap_close(read.idf, idf, ROWS, 0, "... which these fit into");
    expect(expected);
    tiny_must(answer(&small, &texts, logits, &err), &err);
    /* Codes are off by half a scale, 3/127/2 at most, and a text's features sum to under √5. */
    tap_close(logits, expected, TEXTS * TINY_LABELS, 0.03, "int8 answers are near");
    ngram_part_free(&read);
    model_close(&small);
    model_close(&model);
}

/* Where most buckets have a row, a bit for each takes less than the list: what is read is the same,
 * after a cut, too, and what a map cannot be is refused. */
static void test_map(void)
{
    enum { KEPT = 6, ALL = 20 };
    static int32_t mapped[KEPT] = {0, 3, 8, 9, 17, 19};
    static float value[KEPT] = {1, 2, 3, 4, 5, 6}, zero[TINY_LABELS];
    struct ngram_part part = {.grams = {.buckets = ALL, .char_min = 2, .char_max = 3},
                              .classes = TINY_LABELS,
                              .rows = KEPT,
                              .encoder_gate = 1,
                              .ngram_gate = 1,
                              .bucket = mapped,
                              .idf = value,
                              .bias = zero,
                              .type = DTYPE_F32};
    static float weights[TINY_LABELS * KEPT];
    static uint8_t stray[] = {0x09, 0x03, 0x1A}, few[] = {0x09, 0x03};
    struct error err = ERROR_INIT;
    struct model model;
    struct ngram_part read;
    struct ngram_cut cut;
    struct tensor_view tensor[NGRAM_TENSORS];
    for (size_t i = 0; i < TINY_LABELS * KEPT; i++)
        weights[i] = (float)(i % KEPT);
    part.weight = weights;
    tiny_must(ngram_part_pack(&part, &err), &err);
    store(NULL, &part, &model, "map.tar");
    tiny_must(ngram_part_read(&read, &model, &err), &err);
    tap_ok(model_find(&model, "millet.ngram.kept") && !model_find(&model, "millet.ngram.bucket") &&
               read.rows == KEPT && memcmp(read.bucket, mapped, sizeof mapped) == 0,
           "a map of the buckets that are kept");
    ngram_part_free(&read);
    tiny_must(ngram_cut(&model, 0.5, &cut, &err) && ngram_part_read(&read, &model, &err), &err);
    tap_ok(read.rows == 3 && memcmp(read.bucket, mapped + 3, 3 * sizeof *mapped) == 0,
           "after a cut, those of the rows that are left");
    ngram_part_free(&read);
    model_close(&model);
    for (size_t i = 0; i < 2; i++) {
        json_t *config = ngram_part_config(&part, tiny_label, false, &err);
        size_t n = ngram_part_tensors(&part, tensor);
        tensor[1] = i ? tensor_view_1d("millet.ngram.kept", DTYPE_U8, sizeof few, few)
                      : tensor_view_1d("millet.ngram.kept", DTYPE_U8, sizeof stray, stray);
        tiny_store(tensor, n, config, &model, "map.tar");
        tap_ok(!ngram_part_read(&read, &model, &err) && strstr(err.text, "20 \"buckets\""), "%s",
               err.text);
        error_clear(&err);
        json_decref(config);
        model_close(&model);
    }
    free(part.kept);
}

static void test_damage(void)
{
    static const char *const what[] = {"ascending", "expected [5] of floats", "not finite",
                                       "3 labels", "NaN"};
    for (size_t i = 0; i < 5; i++) {
        struct error err = ERROR_INIT;
        struct model model;
        struct ngram_part part = made(1, 1), read;
        int32_t order[ROWS] = {3, 7, 7, 20, 31};
        float broken[ROWS] = {1, NAN, 1, 1, 1};
        struct tensor_view tensor[NGRAM_TENSORS];
        size_t n = ngram_part_tensors(&part, tensor);
        json_t *config = ngram_part_config(&part, tiny_label, false, &err);
        if (i == 0)
            tensor[1].data = order;
        if (i == 1)
            tensor[2] = tensor_view_1d("millet.ngram.idf", DTYPE_F32, ROWS - 1, idf);
        if (i == 2)
            json_object_set_new(json_object_get(config, NGRAM_KEY), "ngram_gate",
                                json_string("wide"));
        if (i == 3) {
            tensor[0] = tensor_view_2d("millet.ngram.weight", DTYPE_F32, 2, ROWS, weight);
            tensor[3] = tensor_view_1d("millet.ngram.bias", DTYPE_F32, 2, bias);
        }
        if (i == 4)
            tensor[2].data = broken;
        tiny_store(tensor, n, config, &model, "damaged.tar");
        bool ok = ngram_part_read(&read, &model, &err);
        tap_ok(!ok && (strstr(err.text, what[i]) || i == 2), "refused: %s", err.text);
        json_decref(config);
        model_close(&model);
    }
}

/* An encoder that is right on even records and an n-gram part that is right on odd ones, each
 * faintly wrong elsewhere: together they are right everywhere. */
static void test_gate(void)
{
    struct error err = ERROR_INIT;
    static struct tiny_grams records;
    struct ngram_gate gate;
    float encoder[TINY_GRAMS_RECORDS * 3], ngram[TINY_GRAMS_RECORDS * 3];
    tiny_grams_make(&records, false);
    for (size_t i = 0; i < TINY_GRAMS_RECORDS; i++)
        for (size_t c = 0; c < 3; c++) {
            bool truth = c == i % 3, next = c == (i + 1) % 3;
            encoder[3 * i + c] = i % 2 == 0 ? (truth ? 30.0F : 0) : (next ? 10.0F : 0);
            ngram[3 * i + c] = i % 2 == 1 ? (truth ? 0.3F : 0) : (next ? 0.1F : 0);
        }
    tiny_must(ngram_gate_choose(&gate, &records.set, encoder, ngram, &err), &err);
    tap_ok(gate.score > 0.999 && gate.encoder_score < 0.6 && gate.ngram_score < 0.6,
           "encoder %.2f, n-grams %.2f, both %.2f", gate.encoder_score, gate.ngram_score,
           gate.score);
    double ratio = 30 * gate.encoder / (0.3 * gate.ngram);
    tap_ok(ratio > 1.0 / 3 && ratio < 3, "parts of other scales get gates of other sizes: %.3g",
           ratio);
}

int main(void)
{
    scratch_open();
    test_alone();
    test_hybrid();
    test_int8();
    test_map();
    test_damage();
    test_gate();
    return tap_done();
}
