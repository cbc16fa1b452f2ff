/* vocabulary_map.c: see vocabulary_map.h. */
#include "text/vocabulary_map.h"

#include <jansson.h>
#include <stdlib.h>

#include "core/hash.h"
#include "core/jobject.h"
#include "core/memory.h"
#include "text/tokenizer_spec.h"

static const char place[] = VOCABULARY_MAP_FILE;

/* The object, checked: *kept is its list. NULL: failed. */
static json_t *load(struct bundle *bundle, uint64_t *tokenizer, int64_t *before, json_t **kept,
                    struct error *err)
{
    const struct bundle_member *file = bundle_require(bundle, place, err);
    json_t *object = file ? jobject_parse((const char *)file->bytes, file->n, place, err) : NULL;
    const char *text = NULL;
    int64_t last = -1;
    bool ok = object && jobject_string(object, place, "tokenizer", true, &text, err) &&
              jobject_integer(object, place, "before", true, 0, TOKENIZER_ID_MAX, before, err) &&
              (hash_parse(text, tokenizer) ||
               error_set(err, "%s: \"tokenizer\" is no fingerprint", place));
    *kept = json_object_get(object, "kept");
    if (ok && !json_is_array(*kept))
        ok = error_set(err, "%s: \"kept\" is no list of ids", place);
    for (size_t i = 0; ok && i < json_array_size(*kept); i++) {
        const json_t *item = json_array_get(*kept, i);
        int64_t id = json_is_integer(item) ? json_integer_value(item) : -1;
        ok =
            (id > last && id < *before) ||
            error_set(err, "%s: \"kept\": item %zu is not an id above the one before it", place, i);
        last = id;
    }
    if (ok)
        return object;
    json_decref(object);
    return NULL;
}

bool vocabulary_map_read(struct vocabulary_map *map, struct bundle *bundle, struct error *err)
{
    int64_t before = 0;
    json_t *kept = NULL;
    *map = (struct vocabulary_map){.n_kept = 0};
    if (!bundle_find(bundle, place))
        return error_set(err,
                         "%s: there is no %s: the vocabulary was not trimmed by mprune "
                         "--vocab-from, and ids of another tokenizer mean nothing to it",
                         bundle_name(bundle), place);
    json_t *object = load(bundle, &map->tokenizer, &before, &kept, err);
    if (object) {
        map->n_before = (size_t)before;
        map->n_kept = json_array_size(kept);
        map->number = memory_array(map->n_before, sizeof *map->number, err);
    }
    for (size_t id = 0; map->number && id < map->n_before; id++)
        map->number[id] = -1;
    for (size_t i = 0; map->number && i < map->n_kept; i++)
        map->number[json_integer_value(json_array_get(kept, i))] = (int32_t)i;
    json_decref(object);
    return map->number || error_at(err, "%s: ", bundle_name(bundle));
}

void vocabulary_map_free(struct vocabulary_map *map)
{
    free(map->number);
    *map = (struct vocabulary_map){.n_kept = 0};
}

char *vocabulary_map_text(const struct vocabulary_trim *trim, struct bundle *bundle,
                          struct error *err)
{
    uint64_t tokenizer = trim->fingerprint;
    int64_t before = (int64_t)trim->n_before;
    json_t *earlier = NULL, *object = NULL, *kept = json_array();
    bool again = bundle_find(bundle, place) != NULL, ok = kept != NULL;
    if (again && !(object = load(bundle, &tokenizer, &before, &earlier, err))) {
        json_decref(kept);
        return NULL;
    }
    for (size_t i = 0; ok && i < trim->n_kept; i++) {
        const json_t *first = again ? json_array_get(earlier, (size_t)trim->kept[i]) : NULL;
        if (again && !first)
            ok = error_set(err, "%s: %zu ids, but the tokenizer has more", place,
                           json_array_size(earlier));
        else
            ok = json_array_append_new(
                     kept, json_integer(again ? json_integer_value(first) : trim->kept[i])) == 0;
    }
    char hex[HASH_TEXT_BYTES], *text = NULL;
    hash_text(tokenizer, hex);
    json_t *map = ok ? json_pack("{s:s, s:I, s:O}", "tokenizer", hex, "before", (json_int_t)before,
                                 "kept", kept)
                     : NULL;
    if (map)
        text = json_dumps(map, JSON_COMPACT);
    if (!text)
        error_set(err, "no memory for %s", place);
    json_decref(map);
    json_decref(kept);
    json_decref(object);
    return text;
}
