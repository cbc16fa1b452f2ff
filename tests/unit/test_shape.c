/* Shapes: from a user's text, from a model's config and tensors, back to a config; Hugging Face
 * names, new and old. */
#include "nn/parts.h"
#include "tests/tap.h"
#include "tests/unit/scratch.h"
#include "tests/unit/tiny_model.h"

static bool says(const struct error *err, const char *text)
{
    bool ok = err->set && strstr(err->text, text);
    if (!ok)
        printf("# the error is: %s\n", err->set ? err->text : "(none)");
    return ok;
}

static void test_text(void)
{
    struct error err = ERROR_INIT;
    struct shape s;
    tiny_need(shape_from_text(&s, "", 100, 5, &err), &err);
    tap_ok(s.pad < 0, "from a text, every row of the tables learns");
    tap_ok(s.n_layers == 4 && s.hidden == 256 && s.head_size == 64 && s.layer[3].heads == 4 &&
               s.layer[0].ffn == 1024 && s.positions == 512 && s.vocab == 100 && s.n_labels == 5,
           "missing keys have their defaults");
    shape_free(&s);
    tiny_need(shape_from_text(&s, "heads=2,layers=12,hidden=96,ffn=10", 100, 5, &err), &err);
    tap_ok(s.n_layers == 12 && s.head_size == 48 && s.layer[11].ffn == 10, "keys in any order");
    tap_ok(fabsf(s.initializer_range - 0.02f * sqrtf(8)) < 1e-6f, "narrow models start wider");
    shape_free(&s);

    static const struct {
        const char *text, *message;
    } bad[] = {{"layers=-1", "--shape layers"},    {"layers=0,heads=2", "heads"},
               {"layers=0,ffn=2", "ffn"},          {"layers=x", "--shape layers"},
               {"hidden=100,heads=3", "multiple"}, {"depth=3", "unknown key \"depth\""},
               {"layers", "not KEY=NUMBER"},       {"layers=2,layers=3", "twice"},
               {"ffn=99999999999", "--shape ffn"}, {"layers=2,,hidden=64", "not KEY=NUMBER"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct error e = ERROR_INIT;
        bool ok = shape_from_text(&s, bad[i].text, 100, 5, &e);
        tap_ok(!ok && says(&e, bad[i].message), "\"%s\" is refused", bad[i].text);
    }
}

static void test_size(void)
{
    struct error err = ERROR_INIT;
    struct shape s;
    tiny_need(shape_from_text(&s, "layers=12,hidden=768,heads=12", 30522, 2, &err), &err);
    /* bert-base-uncased with two labels, as transformers counts it */
    tap_ok(parts_parameters(&s) == 109483778, "parameters of BERT-base: %zu", parts_parameters(&s));
    double full = 12 * (4.0 * 768 * 768 + 2 * 768 * 3072 + 2 * 20 * 768) * 20;
    tap_ok(shape_macs(&s, 20) < full && shape_macs(&s, 20) > full * 11.2 / 12,
           "the last layer costs little");
    shape_free(&s);
}

/* Write a tiny model, its tensors named by `rename` (NULL: drop the tensor). */
static const char *write_model(const char *file, const char *(*rename)(const char *name),
                               const json_t *config)
{
    struct error err = ERROR_INIT;
    const char *whole = scratch_path("whole.tar"), *path = scratch_path(file);
    struct device *dev = device_reference_open(&err);
    struct shape shape = tiny_shape(2);
    struct params params;
    struct model model;
    tiny_need(dev, &err);
    tiny_params(&params, &shape, dev);
    static char *label[] = {(char *)"a", (char *)"b", (char *)"c"};
    json_t *own = shape_config(&shape, NULL, label, &err);
    struct output *output = output_open(whole, true, &err);
    tiny_need(own && output && params_write(&params, NULL, own, NULL, output, &err) &&
                  output_commit(output, &err) && model_open(&model, whole, &err),
              &err);

    struct tensor_view tensor[64];
    size_t n = 0;
    for (size_t i = 0; i < model.n_tensors; i++) {
        const char *name = rename(model.tensor[i].name);
        if (!name)
            continue;
        tensor[n] = model.tensor[i];
        tensor[n++].name = name;
    }
    const struct model_writer_options options = {
        .config = config ? config : own, .tensor = tensor, .n_tensors = n};
    output = output_open(path, true, &err);
    tiny_need(output && model_write(output, &options, &err) && output_commit(output, &err), &err);
    model_close(&model);
    params_close(&params);
    shape_free(&shape);
    dev->op->close(dev);
    json_decref(own);
    return path;
}

static const char *as_it_is(const char *name)
{
    return name;
}

/* bert.encoder.…LayerNorm.weight → encoder.…LayerNorm.gamma, as TensorFlow checkpoints were
 * converted. */
static const char *old_style(const char *name)
{
    static char text[64][96];
    static size_t next;
    char *to = text[next++ % 64];
    snprintf(to, sizeof text[0], "%s", strncmp(name, "bert.", 5) == 0 ? name + 5 : name);
    char *norm = strstr(to, "LayerNorm.");
    if (norm)
        strcpy(norm + 10, strstr(name, "LayerNorm.bias") ? "beta" : "gamma");
    return to;
}

static const char *no_head(const char *name)
{
    bool head = strstr(name, "pooler") || strncmp(name, "classifier", 10) == 0;
    return head ? NULL : name;
}

static const char *no_key(const char *name)
{
    return strstr(name, "layer.1.attention.self.key.bias") ? NULL : name;
}

static void test_model(const char *(*rename)(const char *), bool head, const char *what)
{
    struct error err = ERROR_INIT;
    struct model model;
    struct shape s, expected = tiny_shape(2);
    tiny_need(model_open(&model, write_model("model.tar", rename, NULL), &err) &&
                  shape_from_model(&s, &model, &err),
              &err);
    tap_ok(s.n_layers == 2 && s.hidden == 12 && s.head_size == 4 && s.vocab == TINY_VOCAB &&
               s.positions == 16 && s.types == 2 && s.n_labels == 3 &&
               s.initializer_range == 0.4f && s.eps == 1e-12f &&
               memcmp(s.layer, expected.layer, 2 * sizeof *s.layer) == 0,
           "%s: shape as it was written, layer by layer", what);
    tap_ok(s.has_pooler == head && s.has_classifier == head, "%s: head is there or not", what);
    shape_free(&s);
    shape_free(&expected);
    model_close(&model);
}

static void refuse(const char *(*rename)(const char *), const json_t *config, const char *message)
{
    struct error err = ERROR_INIT, e = ERROR_INIT;
    struct model model;
    struct shape s;
    tiny_need(model_open(&model, write_model("bad.tar", rename, config), &err), &err);
    tap_ok(!shape_from_model(&s, &model, &e) && says(&e, message), "refused: %s", message);
    model_close(&model);
}

static void test_refusals(void)
{
    struct error err = ERROR_INIT;
    static const struct {
        const char *key, *json, *message;
    } bad[] = {
        {"num_hidden_layers", "[3]",
         "no tensor bert.encoder.layer.2.attention.self.query.weight, and config.json has "
         "\"num_hidden_layers\" 3"},
        {"num_hidden_layers", "[1]",
         "config.json: \"num_hidden_layers\" is 1, but there are weights"},
        {"hidden_size", "[24]",
         "word_embeddings.weight is [24, 12] F32, expected [24, 24], by \"vocab_size\" and "
         "\"hidden_size\" of config.json"},
        {"vocab_size", "[25]", "expected [25, 12]"},
        {"model_type", "[\"gpt2\"]", "\"model_type\" is \"gpt2\"; only \"bert\", \"distilbert\""},
        {"is_decoder", "[true]", "\"is_decoder\" is true; only false is known"},
        {"hidden_act", "[\"swish\"]", "\"hidden_act\" is \"swish\""},
        {"num_attention_heads", "[5]", "not a multiple"},
        {"hidden_dropout_prob", "[1.5]", "rate"},
        {"position_embedding_type", "[\"relative_key\"]", "only \"absolute\" is known"},
        {"hidden_size", "[-3]", "hidden_size"},
    };
    struct shape shape = tiny_shape(2);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        json_t *config = shape_config(&shape, NULL, NULL, &err);
        json_t *value = json_loads(bad[i].json, 0, NULL);
        tiny_need(config && value, &err);
        json_object_set(config, bad[i].key, json_array_get(value, 0));
        refuse(as_it_is, config, bad[i].message);
        json_decref(value);
        json_decref(config);
    }
    shape_free(&shape);
    refuse(no_key, NULL, "no tensor bert.encoder.layer.1.attention.self.key.bias");
}

static void test_types(void)
{
    static const double wide[4] = {1, 2, 3, 4};
    struct error err = ERROR_INIT;
    struct tensor_view view = tensor_view_2d("w", DTYPE_F64, 2, 2, wide);
    const struct model model = {.name = "m", .tensor = &view, .n_tensors = 1};
    tap_ok(!parts_require_tensor(&model, "w", 2, 2, &err) &&
               says(&err, "is [2, 2] F64; only F32, F16") && says(&err, "mquant --to fp32"),
           "F64 is refused with the remedy: %s", err.text);
}

static void test_config(void)
{
    struct error err = ERROR_INIT;
    struct shape shape = tiny_shape(2);
    static char *label[] = {(char *)"अ", (char *)"b", (char *)"c"};
    json_t *base = json_pack("{s:s, s:i}", "summary_type", "first", "hidden_size", 768);
    json_t *config = shape_config(&shape, base, label, &err);
    tiny_need(config, &err);
    tap_is(json_string_value(json_object_get(config, "summary_type")), "first",
           "keys of base stay");
    tap_ok(json_integer_value(json_object_get(config, "hidden_size")) == 12 &&
               json_integer_value(json_object_get(config, "intermediate_size")) == 10 &&
               json_integer_value(json_object_get(config, "num_attention_heads")) == 3,
           "sizes are the shape's: the widest layer, the unpruned heads");
    tap_is(json_string_value(json_object_get(json_object_get(config, "id2label"), "0")), "अ",
           "labels by id");
    tap_ok(json_integer_value(json_object_get(json_object_get(config, "label2id"), "c")) == 2,
           "ids by label");
    tap_ok(json_real_value(json_object_get(config, "hidden_dropout_prob")) == 0.1,
           "rates as people write them");
    json_decref(config);
    json_decref(base);
    shape_free(&shape);
}

int main(void)
{
    scratch_open();
    test_text();
    test_size();
    test_model(as_it_is, true, "own names");
    test_model(old_style, true, "old names");
    test_model(no_head, false, "no head");
    test_refusals();
    test_types();
    test_config();
    return tap_done();
}
