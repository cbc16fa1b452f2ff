/* shape_text.c: a shape from a user's words. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/number.h"
#include "nn/shape.h"
#include "nn/shape_config.h"

struct text_keys {
    int64_t layers, hidden, heads, ffn, positions;
};

static bool read_key(struct text_keys *keys, const char *key, const char *value, struct error *err)
{
    const struct {
        const char *name;
        int64_t min, max;
        int64_t *to;
    } known[] = {{"layers", 0, SHAPE_MAX_LAYERS, &keys->layers},
                 {"hidden", 1, SHAPE_MAX_HIDDEN, &keys->hidden},
                 {"heads", 1, SHAPE_MAX_HEADS, &keys->heads},
                 {"ffn", 1, SHAPE_MAX_FFN, &keys->ffn},
                 {"positions", 1, SHAPE_MAX_POSITIONS, &keys->positions}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(key, known[i].name) != 0)
            continue;
        char what[32];
        snprintf(what, sizeof what, "--shape %s", key);
        if (*known[i].to >= 0)
            return error_set(err, "%s is given twice", what);
        return number_integer(value, what, known[i].min, known[i].max, known[i].to, err);
    }
    return error_set(
        err, "--shape: unknown key \"%s\"; expected layers, hidden, heads, ffn or positions", key);
}

static bool read_keys(struct text_keys *keys, char *text, struct error *err)
{
    char *rest = text;
    while (rest && *rest) {
        char *item = rest, *comma = strchr(rest, ',');
        rest = comma ? comma + 1 : NULL;
        if (comma)
            *comma = '\0';
        char *equals = strchr(item, '=');
        if (!equals)
            return error_set(err, "--shape: \"%s\" is not KEY=NUMBER, as in layers=4,hidden=256",
                             item);
        *equals = '\0';
        if (!read_key(keys, item, equals + 1, err))
            return false;
    }
    return true;
}

/* What is not given. */
static bool fill_keys(struct text_keys *keys, struct error *err)
{
    if (keys->layers == 0 && (keys->heads >= 0 || keys->ffn >= 0))
        return error_set(err, "--shape: without layers (layers=0) there are no %s",
                         keys->heads >= 0 ? "heads" : "feed-forward networks (ffn)");
    keys->layers = keys->layers >= 0 ? keys->layers : 4;
    keys->hidden = keys->hidden >= 0 ? keys->hidden : 256;
    keys->positions = keys->positions >= 0 ? keys->positions : 512;
    keys->ffn = keys->ffn >= 0 ? keys->ffn : 4 * keys->hidden;
    if (keys->heads < 0)
        keys->heads = keys->layers && keys->hidden / 64 ? keys->hidden / 64 : 1;
    if (keys->hidden % keys->heads == 0)
        return true;
    return error_set(err, "--shape: hidden=%" PRId64 " is not a multiple of heads=%" PRId64,
                     keys->hidden, keys->heads);
}

bool shape_from_text(struct shape *shape, const char *text, size_t vocab, size_t n_labels,
                     struct error *err)
{
    struct text_keys keys = {-1, -1, -1, -1, -1};
    shape_defaults(shape, family_find("bert"));
    char *copy = memory_copy(text, strlen(text), err);
    bool ok = copy && read_keys(&keys, copy, err) && fill_keys(&keys, err);
    free(copy);
    if (!ok)
        return false;
    if (vocab < 1 || vocab > SHAPE_MAX_VOCAB || n_labels < 1 || n_labels > SHAPE_MAX_FFN)
        return error_set(err, "--shape: a vocabulary of %zu and %zu labels cannot be trained",
                         vocab, n_labels);
    shape->vocab = vocab;
    shape->pad = -1; /* the tokenizer's id 0 may be a text's first token: its row must learn */
    shape->n_labels = n_labels;
    shape->hidden = shape->embed = shape->width = (size_t)keys.hidden;
    shape->head_size = (size_t)(keys.hidden / keys.heads);
    /* 0.02 is for 768 columns. The same deviation in a narrow model shrinks every product, so that
     * its first steps see almost no difference between texts: keep the variance of a sum instead.
     */
    shape->initializer_range = (float)(0.02 * sqrt(768.0 / (double)keys.hidden));
    shape->positions = (size_t)keys.positions;
    shape->classifier_dropout = shape->hidden_dropout;
    shape->n_layers = (size_t)keys.layers;
    if (shape->n_layers == 0) {
        shape->pool = SHAPE_MEAN;
        shape->no_pooler = shape->has_pooler = true;
    }
    shape->layer = memory_zeroed(shape->n_layers, sizeof *shape->layer, err);
    if (!shape->layer)
        return false;
    for (size_t l = 0; l < shape->n_layers; l++)
        shape->layer[l] =
            (struct layer_shape){.heads = (size_t)keys.heads, .ffn = (size_t)keys.ffn};
    return true;
}
