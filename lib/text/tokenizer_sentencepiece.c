/* tokenizer_sentencepiece.c: see tokenizer_sentencepiece.h. transformers 5.23's
 * convert_slow_tokenizer.py is the reference. */
#include "text/tokenizer_sentencepiece.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "text/base64.h"
#include "text/sentencepiece.h"

/* What stands in front of a model's pieces: a text, or the special token that a key names. */
struct front {
    const char *key, *text;
    double score;
};

enum { FRONT_MAX = 5 };

static const struct layout {
    enum tokenizer_class class;
    const char *name;
    struct front front[FRONT_MAX];
    size_t n_front, n_left_out; /* of the model's first pieces */
    bool mask_last;
} layouts[] = {{TOKENIZER_CLASS_XLM_ROBERTA,
                "sentencepiece.bpe.model",
                {{"bos_token", NULL, 0},
                 {"pad_token", NULL, 0},
                 {"eos_token", NULL, 0},
                 {"unk_token", NULL, 0}},
                4,
                3,
                true},
               {TOKENIZER_CLASS_CAMEMBERT,
                "sentencepiece.bpe.model",
                {{NULL, "<s>NOTUSED", 0},
                 {"pad_token", NULL, 0},
                 {NULL, "</s>NOTUSED", 0},
                 {"unk_token", NULL, 0},
                 {NULL, "<unk>NOTUSED", -100}},
                5,
                1,
                true},
               {TOKENIZER_CLASS_ALBERT, "spiece.model", {{NULL, NULL, 0}}, 0, 0, false}};

static const struct layout *layout_of(enum tokenizer_class class)
{
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++)
        if (layouts[i].class == class)
            return &layouts[i];
    return NULL;
}

const char *tokenizer_sentencepiece_name(enum tokenizer_class class)
{
    const struct layout *layout = layout_of(class);
    return layout ? layout->name : NULL;
}

static const char *special_text(const json_t *value, enum tokenizer_class class, const char *key)
{
    const char *text = tokenizer_class_text(value);
    return text && *text ? text : tokenizer_class_token(class, key);
}

static bool add_front(struct tokenizer_spec *spec, const struct front *front,
                      enum tokenizer_class class, const json_t *options, struct error *err)
{
    const char *text = front->key
                           ? special_text(json_object_get(options, front->key), class, front->key)
                           : front->text;
    return tokenizer_spec_scored(spec, (int64_t)spec->n_pieces, text, strlen(text), front->score,
                                 err);
}

static bool add_pieces(struct tokenizer_spec *spec, const struct sentencepiece *model,
                       enum tokenizer_class class, const json_t *options, struct error *err)
{
    static const struct front mask = {"mask_token", NULL, 0};
    const struct layout *layout = layout_of(class);
    for (size_t i = 0; i < layout->n_front; i++)
        if (!add_front(spec, &layout->front[i], class, options, err))
            return false;
    for (size_t i = layout->n_left_out; i < model->n_pieces; i++)
        if (!tokenizer_spec_scored(spec, (int64_t)spec->n_pieces, model->piece[i].text,
                                   model->piece[i].n, model->piece[i].score, err))
            return false;
    return (!layout->mask_last || add_front(spec, &mask, class, options, err)) &&
           tokenizer_spec_index(spec, err);
}

static bool set_charsmap(struct tokenizer_spec *spec, const struct sentencepiece *model,
                         struct error *err)
{
    if (!model->n_charsmap)
        return true;
    char *text = base64_encode(model->charsmap, model->n_charsmap, err);
    if (!text)
        return false;
    json_decref(spec->normalizer);
    spec->normalizer = json_pack("{s:s, s:s}", "type", "Precompiled", "precompiled_charsmap", text);
    free(text);
    return spec->normalizer || error_set(err, "no memory for the model's charsmap");
}

bool tokenizer_sentencepiece_read(struct tokenizer_spec *spec, const struct bundle_member *file,
                                  enum tokenizer_class class, const json_t *options,
                                  struct error *err)
{
    struct sentencepiece model;
    spec->kind = TOKENIZER_UNIGRAM;
    if (!sentencepiece_read(&model, file->bytes, file->n, err))
        return error_at(err, "%s: ", file->name);
    bool ok = add_pieces(spec, &model, class, options, err) && set_charsmap(spec, &model, err);
    sentencepiece_free(&model);
    return ok || error_at(err, "%s: ", file->name);
}

static bool add_once(struct tokenizer_spec *spec, struct added_token token, struct error *err)
{
    return tokenizer_spec_is_added(spec, token.text, token.n) ||
           tokenizer_spec_added(spec, -1, &token, err);
}

/* In the order in which transformers adds them. A token given as an object has settings of its own;
 * Camembert's mask takes the space before it. */
static bool add_named(struct tokenizer_spec *spec, enum tokenizer_class class,
                      const json_t *options, struct error *err)
{
    static const char *const key[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                      "pad_token", "cls_token", "mask_token"};
    for (size_t i = 0; i < sizeof key / sizeof *key; i++) {
        const json_t *value = json_object_get(options, key[i]);
        const char *text = special_text(value, class, key[i]);
        struct added_token token = {
            .text = (char *)text,
            .n = strlen(text),
            .special = true,
            .single_word = json_is_true(json_object_get(value, "single_word")),
            .lstrip = json_is_true(json_object_get(value, "lstrip")),
            .rstrip = json_is_true(json_object_get(value, "rstrip")),
            .normalized = json_is_true(json_object_get(value, "normalized"))};
        if (class == TOKENIZER_CLASS_CAMEMBERT && !json_is_object(value))
            token.lstrip = strcmp(key[i], "mask_token") == 0;
        if (!add_once(spec, token, err))
            return false;
    }
    return true;
}

static bool add_piece(struct tokenizer_spec *spec, const struct sentencepiece_piece *piece,
                      struct error *err)
{
    bool control = piece->type == SENTENCEPIECE_CONTROL;
    if (!control && piece->type != SENTENCEPIECE_USER_DEFINED)
        return true;
    struct added_token token = {
        .text = memory_copy(piece->text, piece->n, err), .n = piece->n, .special = control};
    bool ok = token.text && add_once(spec, token, err);
    free(token.text);
    return ok;
}

bool tokenizer_sentencepiece_added(struct tokenizer_spec *spec, const struct bundle_member *file,
                                   enum tokenizer_class class, const json_t *options,
                                   struct error *err)
{
    struct sentencepiece model;
    if (!sentencepiece_read(&model, file->bytes, file->n, err))
        return error_at(err, "%s: ", file->name);
    bool ok = add_named(spec, class, options, err);
    for (size_t i = 0; ok && i < model.n_pieces; i++)
        ok = add_piece(spec, &model.piece[i], err);
    sentencepiece_free(&model);
    return ok || error_at(err, "%s: ", file->name);
}
