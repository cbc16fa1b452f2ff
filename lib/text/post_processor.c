/* post_processor.c: see post_processor.h. */
#include "text/post_processor.h"

#include <string.h>

enum { MAX_DEPTH = 8 };

static const char place[] = "post_processor";

/* In a sequence each step puts its tokens around what the steps before it made. */
static bool put(struct tokenizer_spec *spec, bool after, const int32_t *id, size_t n,
                struct error *err)
{
    int32_t *list = after ? spec->after : spec->before;
    size_t *used = after ? &spec->n_after : &spec->n_before;
    if (*used + n > TOKENIZER_AROUND_MAX)
        return error_set(err, "%s: more than %d special tokens on a side", place,
                         TOKENIZER_AROUND_MAX);
    if (!after)
        memmove(list + n, list, *used * sizeof *list);
    memcpy(list + (after ? *used : 0), id, n * sizeof *list);
    *used += n;
    return true;
}

static bool read_id(const struct tokenizer_spec *spec, const json_t *value, int32_t *id,
                    struct error *err)
{
    double number = json_number_value(value);
    if (!json_is_number(value) || !(number >= 0 && number < (double)spec->n_pieces))
        return error_set(err, "%s names a token that the vocabulary lacks", place);
    *id = (int32_t)number;
    return true;
}

/* "cls": ["[CLS]", 2] */
static bool read_pair(struct tokenizer_spec *spec, const json_t *json, const char *key, bool after,
                      struct error *err)
{
    int32_t id;
    return read_id(spec, json_array_get(json_object_get(json, key), 1), &id, err) &&
           put(spec, after, &id, 1, err);
}

static bool is_type_0(const json_t *item)
{
    const json_t *type = json_object_get(item, "type_id");
    return !type || json_number_value(type) == 0;
}

static bool read_special(const struct tokenizer_spec *spec, const json_t *special,
                         const json_t *item, int32_t *id, size_t *n, struct error *err)
{
    const char *name = json_string_value(json_object_get(item, "id"));
    const json_t *ids = name ? json_object_get(json_object_get(special, name), "ids") : NULL;
    if (!json_array_size(ids) || *n + json_array_size(ids) > TOKENIZER_AROUND_MAX)
        return error_set(err, "%s: the special token \"%s\" of \"single\" is not understood", place,
                         name ? name : "(none)");
    for (size_t i = 0; i < json_array_size(ids); i++)
        if (!read_id(spec, json_array_get(ids, i), &id[(*n)++], err))
            return false;
    return true;
}

static bool read_template(struct tokenizer_spec *spec, const json_t *json, struct error *err)
{
    const json_t *single = json_object_get(json, "single"), *item;
    const json_t *special = json_object_get(json, "special_tokens");
    int32_t id[2][TOKENIZER_AROUND_MAX];
    size_t n[2] = {0, 0}, n_texts = 0;
    for (size_t i = 0; i < json_array_size(single); i++) {
        const json_t *entry = json_array_get(single, i);
        const json_t *text = json_object_get(entry, "Sequence");
        item = text ? text : json_object_get(entry, "SpecialToken");
        if (!item)
            return error_set(err, "%s: item %zu of \"single\" is not understood", place, i);
        if (!is_type_0(item))
            return error_set(err,
                             "%s: item %zu of \"single\" has another token type than 0, which "
                             "Millet does not know",
                             place, i);
        n_texts += text != NULL;
        if (!text && !read_special(spec, special, item, id[n_texts > 0], &n[n_texts > 0], err))
            return false;
    }
    if (n_texts != 1)
        return error_set(err, "%s: \"single\" holds the text %zu times, not once", place, n_texts);
    return put(spec, false, id[0], n[0], err) && put(spec, true, id[1], n[1], err);
}

static bool read_step(struct tokenizer_spec *spec, const json_t *json, unsigned depth,
                      struct error *err)
{
    const char *type = json_string_value(json_object_get(json, "type"));
    if (!type)
        return error_set(err, "%s: a step has no \"type\"", place);
    if (strcmp(type, "BertProcessing") == 0 || strcmp(type, "RobertaProcessing") == 0)
        return read_pair(spec, json, "cls", false, err) && read_pair(spec, json, "sep", true, err);
    if (strcmp(type, "TemplateProcessing") == 0)
        return read_template(spec, json, err);
    if (strcmp(type, "ByteLevel") == 0)
        return true; /* it moves offsets, which are not kept here */
    const json_t *list = json_object_get(json, "processors");
    if (strcmp(type, "Sequence") != 0 || !json_is_array(list) || depth == MAX_DEPTH)
        return error_set(err, "%s \"%s\" is not known to Millet", place, type);
    for (size_t i = 0; i < json_array_size(list); i++)
        if (!read_step(spec, json_array_get(list, i), depth + 1, err))
            return false;
    return true;
}

bool post_processor_read(struct tokenizer_spec *spec, const json_t *json, struct error *err)
{
    spec->n_before = spec->n_after = 0;
    return !json || json_is_null(json) || read_step(spec, json, 0, err);
}
