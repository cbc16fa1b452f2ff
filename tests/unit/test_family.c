/* Names both ways, and what a config of each family is refused for. */
#include <string.h>

#include "core/jobject.h"
#include "nn/family.h"
#include "tests/tap.h"

static const char *const types[] = {"bert",      "distilbert", "roberta", "xlm-roberta",
                                    "camembert", "albert",     "electra", "mobilebert"};

/* Every role's name leads back to the role, with and without the prefix. */
static void test_round_trip(const struct family *family)
{
    bool ok = true;
    for (int role = 0; role < FAMILY_ROLES; role++) {
        if (!family->stem[role])
            continue;
        bool of_layer = role >= FAMILY_FIRST_OF_LAYER;
        bool numbered = of_layer && !family_shares_layers(family);
        char name[128];
        family_name(family, (enum family_role)role, 17, 2, "weight", name, sizeof name);
        const char *spelling[] = {name, family_unprefixed(name)};
        for (size_t i = 0; i < 2 && spelling[i]; i++) {
            struct family_tensor t;
            bool right = family_parse(family, spelling[i], &t) && (int)t.role == role &&
                         t.of_layer == of_layer && t.layer == (numbered ? 17 : 0) &&
                         strcmp(t.rest, "weight") == 0;
            if (right && numbered)
                right = t.number_end - t.number_begin == 2 &&
                        strncmp(spelling[i] + t.number_begin, "17", 2) == 0;
            if (right && strchr(family->stem[role], '#'))
                right = t.stack == 2;
            if (!right)
                printf("# %s\n", spelling[i]);
            ok = ok && right;
        }
    }
    tap_ok(ok, "%s: every name leads back to its role", family->model_type);
}

static void test_strangers(void)
{
    const struct family *bert = family_find("bert");
    struct family_tensor t;
    tap_ok(!family_parse(bert, "cls.predictions.bias", &t), "a language model's head has no role");
    tap_ok(!family_parse(bert, "bert.embeddings.position_ids", &t), "a buffer has no role");
    tap_ok(!family_parse(bert, "bert.encoder.layer.x.output.dense.bias", &t),
           "a layer's number must be one");
    tap_ok(family_parse(bert, "encoder.layer.3.adapter.weight", &t) && t.role == FAMILY_ROLES &&
               t.of_layer && t.layer == 3,
           "of an unknown tensor of a layer the layer is known");
    tap_ok(!family_find("gpt2") && !family_unprefixed("gpt2.wte.weight"), "gpt2 is no family");
}

static void test_of(const char *text, const char *type, const char *message)
{
    struct error err = ERROR_INIT;
    json_t *config = jobject_parse(text, strlen(text), "text", &err);
    const struct family *family = config ? family_of(config, "x.json", &err) : NULL;
    if (type)
        tap_ok(family && strcmp(family->model_type, type) == 0, "%s is %s", text, type);
    else
        tap_ok(!family && strstr(err.text, message) && strstr(err.text, "x.json"), "%s: %s", text,
               err.text);
    json_decref(config);
}

int main(void)
{
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        const struct family *family = family_find(types[i]);
        if (tap_ok(family != NULL, "%s is known", types[i]))
            test_round_trip(family);
    }
    test_strangers();
    test_of("{}", NULL, "key \"model_type\" is missing; \"bert\", ");
    test_of("{\"model_type\": \"camembert\", \"is_decoder\": false}", "camembert", NULL);
    test_of("{\"model_type\": \"gpt2\"}", NULL, "\"electra\" and \"mobilebert\" are known");
    test_of("{\"model_type\": 3}", NULL, "model_type");
    test_of("{\"model_type\": \"bert\", \"position_embedding_type\": \"relative_key\"}", NULL,
            "only \"absolute\" is known");
    test_of("{\"model_type\": \"xlm-roberta\", \"is_decoder\": true}", NULL, "is_decoder");
    test_of("{\"model_type\": \"albert\", \"num_hidden_groups\": 2}", NULL,
            "\"num_hidden_groups\" is 2; only 1");
    test_of("{\"model_type\": \"albert\", \"inner_group_num\": 3}", NULL, "inner_group_num");
    test_of("{\"model_type\": \"mobilebert\", \"use_bottleneck\": false}", NULL, "use_bottleneck");
    test_of("{\"model_type\": \"mobilebert\", \"normalization_type\": \"layer_norm\"}", NULL,
            "only \"no_norm\"");
    return tap_done();
}
