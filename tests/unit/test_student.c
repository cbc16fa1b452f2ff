/* A student cut out of a model: what scores nothing can go without changing an answer; every tensor
 * is the model's at the rows and columns that stay. */
#include "tests/tap.h"
#include "tests/unit/tiny.h"

#include <math.h>

#include "nn/layer_list.h"
#include "nn/student.h"

static const int64_t offset[] = {0, 5, 6, 13};
static const int32_t id[] = {2, 5, 9, 11, 3, 2, 2, 4, 6, 8, 10, 12, 3};
enum { N = 3 };

/* The student of a tiny model, opened. */
static bool make(struct tiny *tiny, const struct student_choice *choice, struct model *model,
                 struct shape *shape, struct error *err)
{
    tiny_model(tiny, model, "model.tar");
    tiny_must(shape_from_model(shape, model, err), err);
    return student_make(model, shape, choice, err);
}

static bool same_answers(struct model *model, const float *expected)
{
    float logits[N * TINY_LABELS];
    tiny_answer(model, offset, id, N, logits);
    for (size_t i = 0; i < N * TINY_LABELS; i++)
        if (!(fabs((double)logits[i] - (double)expected[i]) <= 1e-5))
            return false;
    return true;
}

/* Head 1 of layer 0 and its neurons 0 and 3 add nothing. */
static void silence(struct tiny *tiny)
{
    size_t a = tiny->layer[0].heads * TINY_HEAD_SIZE, f = tiny->layer[0].ffn;
    float *o = tiny_layer_values(tiny, 0, "attention.output.dense.weight");
    float *out = tiny_layer_values(tiny, 0, "output.dense.weight");
    for (size_t r = 0; r < TINY_HIDDEN; r++) {
        for (size_t c = TINY_HEAD_SIZE; c < (size_t)2 * TINY_HEAD_SIZE; c++)
            o[r * a + c] = 0;
        out[r * f] = out[r * f + 3] = 0;
    }
}

static void test_silent_units(void)
{
    struct error err = ERROR_INIT;
    struct tiny tiny;
    struct model model;
    struct shape shape;
    float expected[N * TINY_LABELS];
    tiny_make(&tiny, 5);
    tiny.layer[1] = tiny.layer[0];
    tiny_make(&tiny, 5);
    silence(&tiny);
    tiny_model(&tiny, &model, "whole.tar");
    tiny_answer(&model, offset, id, N, expected);
    model_close(&model);

    /* Layers 1 and 2 have 2 and 3 heads, 5 and 6 neurons: only the first is cut by 6. */
    bool ok = make(&tiny, &(struct student_choice){.ffn = 6}, &model, &shape, &err);
    tap_ok(ok, "--ffn 6: %s", err.text);
    tap_ok(shape.layer[0].ffn == 6 && shape.layer[1].ffn == 5 && shape.layer[2].ffn == 6,
           "the wide layer is cut, the others are narrow enough");
    tap_ok(same_answers(&model, expected), "a neuron that adds nothing goes, the answers stay");
    model_close(&model);
    shape_free(&shape);

    /* By scores given: the silent units of layer 0; in the others the last. */
    static const double head[] = {2, 0, 1}, two[] = {1, 1}, neuron[] = {0, 3, 4, 0, 5, 6, 7};
    static const double five[] = {5, 4, 3, 2, 1}, six[] = {6, 5, 4, 3, 2, 1};
    static const double *const heads[] = {head, two, head}, *const neurons[] = {neuron, five, six};
    ok = make(&tiny,
              &(struct student_choice){
                  .layers = "0", .heads = 2, .head_score = heads, .neuron_score = neurons},
              &model, &shape, &err);
    tap_ok(ok && shape.n_layers == 0, "scores may be given of layers that go");
    model_close(&model);
    shape_free(&shape);
    ok = make(&tiny,
              &(struct student_choice){
                  .layers = "0,", .heads = 2, .head_score = heads, .neuron_score = neurons},
              &model, &shape, &err);
    tap_ok(ok && shape.n_layers == 1 && shape.layer[0].heads == 2, "one layer with two heads");
    model_close(&model);
    shape_free(&shape);
}

/* Every value of `name` against rows and columns of the tiny model's `from`; NULL: all. */
static bool is_cut(const struct model *model, struct tiny *tiny, const char *name, const char *from,
                   const size_t *row, size_t rows, const size_t *col, size_t cols, size_t wide)
{
    const struct tensor_view *view = model_find(model, name);
    const float *values = tiny_values(tiny, from), *found = view ? view->data : NULL;
    if (!view || tensor_view_elements(view) != rows * cols)
        return false;
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < cols; c++) {
            float expected = values[(row ? row[r] : r) * wide + (col ? col[c] : c)];
            if (found[r * cols + c] < expected || found[r * cols + c] > expected)
                return false;
        }
    return true;
}

static void test_narrow(void)
{
    struct error err = ERROR_INIT;
    struct tiny tiny;
    struct model model;
    struct shape shape;
    tiny_make(&tiny, 6);
    /* The columns 1 3 4 5 8 9 10 11 are read with a hundredfold weight by layer 2, which stays. */
    static const size_t kept[] = {1, 3, 4, 5, 8, 9, 10, 11};
    float *query = tiny_layer_values(&tiny, 2, "attention.self.query.weight");
    float *gain = tiny_layer_values(&tiny, 1, "output.LayerNorm.weight");
    for (size_t i = 0; i < 8; i++) {
        gain[kept[i]] = 1;
        for (size_t r = 0; r < (size_t)3 * TINY_HEAD_SIZE; r++)
            query[r * TINY_HIDDEN + kept[i]] = 100;
    }
    bool ok =
        make(&tiny, &(struct student_choice){.layers = "2,1", .hidden = 8}, &model, &shape, &err);
    tap_ok(ok, "--from-layers 2,1 --hidden 8: %s", err.text);
    tap_ok(shape.n_layers == 2 && shape.hidden == 8 && shape.embed == 8 && shape.width == 8 &&
               shape.layer[0].heads == 2 && shape.layer[1].heads == 2,
           "two layers of 8 columns, which is room for two heads");
    tap_ok(is_cut(&model, &tiny, "bert.embeddings.word_embeddings.weight",
                  "bert.embeddings.word_embeddings.weight", NULL, TINY_VOCAB, kept, 8,
                  TINY_HIDDEN) &&
               is_cut(&model, &tiny, "bert.embeddings.LayerNorm.bias",
                      "bert.embeddings.LayerNorm.bias", NULL, 1, kept, 8, TINY_HIDDEN),
           "the tables lose columns");
    tap_ok(is_cut(&model, &tiny, "bert.encoder.layer.1.intermediate.dense.weight",
                  "bert.encoder.layer.2.intermediate.dense.weight", NULL, 6, kept, 8,
                  TINY_HIDDEN) &&
               is_cut(&model, &tiny, "bert.encoder.layer.1.output.dense.weight",
                      "bert.encoder.layer.2.output.dense.weight", kept, 8, NULL, 6, 6) &&
               is_cut(&model, &tiny, "bert.encoder.layer.0.output.dense.bias",
                      "bert.encoder.layer.1.output.dense.bias", kept, 8, NULL, 1, 1),
           "layers are renumbered; what reads loses columns, what writes rows");
    tap_ok(is_cut(&model, &tiny, "bert.pooler.dense.weight", "bert.pooler.dense.weight", kept, 8,
                  kept, 8, TINY_HIDDEN) &&
               is_cut(&model, &tiny, "classifier.weight", "classifier.weight", NULL, TINY_LABELS,
                      kept, 8, TINY_HIDDEN),
           "so does the head");
    struct shape again;
    ok = shape_from_model(&again, &model, &err);
    tap_ok(ok && again.hidden == 8 && again.head_size == TINY_HEAD_SIZE && again.n_layers == 2,
           "config.json is of the student: %s", err.text);
    float logits[N * TINY_LABELS];
    tiny_answer(&model, offset, id, N, logits);
    tap_ok(isfinite(logits[0]), "and it answers");
    shape_free(&again);
    model_close(&model);
    shape_free(&shape);
}

static void test_bag(void)
{
    struct error err = ERROR_INIT;
    struct tiny tiny;
    struct model model;
    struct shape shape, again;
    tiny_make(&tiny, 7);
    bool ok = make(&tiny, &(struct student_choice){.layers = "0"}, &model, &shape, &err);
    tap_ok(ok && shape_from_model(&again, &model, &err) && again.n_layers == 0 &&
               again.pool == SHAPE_MEAN && !again.has_classifier && again.has_pooler,
           "no layers: the mean of the embeddings, the classifier starts anew: %s", err.text);
    tap_ok(model.n_tensors == 5, "only tables and their norm are left");
    shape_free(&again);
    model_close(&model);
    shape_free(&shape);
}

static void test_refusals(void)
{
    static const struct {
        struct student_choice choice;
        const char *text;
    } bad[] = {
        {{.layers = "4"}, "--from-layers"},     {{.layers = "0,3"}, "--from-layers"},
        {{.layers = "1,1"}, "twice"},           {{.heads = 4}, "no more than 3 heads"},
        {{.ffn = 8}, "no more than 7"},         {{.hidden = 16}, "no more than 12"},
        {{.hidden = 7}, "nearest are 4 and 8"},
    };
    struct tiny tiny;
    tiny_make(&tiny, 8);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct error err = ERROR_INIT;
        struct model model;
        struct shape shape;
        bool ok = make(&tiny, &bad[i].choice, &model, &shape, &err);
        tap_ok(!ok && strstr(err.text, bad[i].text), "refused: %s", err.text);
        error_clear(&err);
        model_close(&model);
        shape_free(&shape);
    }
    struct error err = ERROR_INIT;
    tap_ok(student_check_layers("4", &err) && student_check_layers("0,3", &err) &&
               student_check_layers("5,", &err),
           "a number and lists are choices");
    tap_ok(!student_check_layers("x", &err) && !student_check_layers(",", &err), "words are not");
    tap_ok(layer_list_even(12, 6, 2) == 4 && layer_list_even(12, 6, 5) == 11,
           "six of twelve lie evenly");
}

int main(void)
{
    test_silent_units();
    test_narrow();
    test_bag();
    test_refusals();
    return tap_done();
}
