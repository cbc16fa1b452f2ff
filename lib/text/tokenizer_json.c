/* tokenizer_json.c: see tokenizer_json.h. */
#include "text/tokenizer_json.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "text/json_scan.h"
#include "text/json_value.h"
#include "text/tokenizer_model.h"

static const char place[] = "tokenizer.json";

static bool read_flag(const json_t *token, const char *key, bool absent)
{
    const json_t *value = json_object_get(token, key);
    return value ? json_is_true(value) : absent;
}

bool tokenizer_added_read(struct tokenizer_spec *spec, int64_t id, const json_t *token,
                          const char *where, struct error *err)
{
    const json_t *content = json_object_get(token, "content");
    if (!json_is_string(content) || json_string_length(content) == 0)
        return error_set(err, "%s: added token %lld has no \"content\"", where, (long long)id);
    struct added_token added = {.text = (char *)json_string_value(content),
                                .n = json_string_length(content),
                                .special = read_flag(token, "special", false),
                                .single_word = read_flag(token, "single_word", false),
                                .lstrip = read_flag(token, "lstrip", false),
                                .rstrip = read_flag(token, "rstrip", false)};
    added.normalized = read_flag(token, "normalized", !added.special);
    if (id < 0)
        return error_set(err, "%s: added token \"%s\" has token id %lld", where, added.text,
                         (long long)id);
    return tokenizer_spec_added(spec, id, &added, err) || error_at(err, "%s: ", where);
}

static bool read_added(struct tokenizer_spec *spec, const json_t *array, struct error *err)
{
    if (array && !json_is_null(array) && !json_is_array(array))
        return error_set(err, "%s: \"added_tokens\" is no array", place);
    for (size_t i = 0; i < json_array_size(array); i++) {
        const json_t *token = json_array_get(array, i);
        double id = json_number_value(json_object_get(token, "id"));
        if (!(id >= 0 && id < INT32_MAX))
            return error_set(err, "%s: added token %zu has an impossible id", place, i);
        if (!tokenizer_added_read(spec, (int64_t)id, token, place, err))
            return false;
    }
    return true;
}

/* A section's value, kept; numbers become reals. */
static bool scan_section(struct json_scan *scan, json_t **section, struct error *err)
{
    json_decref(*section);
    *section = json_value_read(scan, err);
    return *section != NULL;
}

static bool scan_top(struct tokenizer_spec *spec, json_t **added, struct json_scan *scan,
                     struct error *err)
{
    const struct {
        const char *name;
        json_t **section;
    } wanted[] = {{"normalizer", &spec->normalizer},
                  {"pre_tokenizer", &spec->pre_tokenizer},
                  {"post_processor", &spec->post_processor},
                  {"decoder", &spec->decoder_section},
                  {"added_tokens", added}};
    struct json_text key = {0};
    bool first = true;
    int more = -1;
    if (json_scan_enter(scan, '{', err))
        while ((more = json_scan_next(scan, &first, &key, err)) > 0) {
            json_t **section = NULL;
            for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
                if (strlen(wanted[i].name) == key.n && !memcmp(wanted[i].name, key.bytes, key.n))
                    section = wanted[i].section;
            bool model = key.n == 5 && memcmp(key.bytes, "model", 5) == 0;
            if (model && spec->n_pieces)
                error_set(err, "there are two models");
            if (err->set || !(model     ? tokenizer_model_read(spec, scan, err)
                              : section ? scan_section(scan, section, err)
                                        : json_scan_skip(scan, NULL, NULL, err))) {
                more = -1;
                break;
            }
        }
    json_text_free(&key);
    return more == 0;
}

bool tokenizer_json_read(struct tokenizer_spec *spec, const struct bundle_member *file,
                         bool with_added, struct error *err)
{
    struct json_scan scan = json_scan_of((const char *)file->bytes, file->n);
    json_t *added = NULL;
    bool ok = (scan_top(spec, &added, &scan, err) && json_scan_end(&scan, err)) ||
              error_at(err, "%s: ", place);
    if (ok && !spec->n_pieces)
        ok = error_set(err, "%s: there is no model with a vocabulary", place);
    ok = ok && (!with_added || read_added(spec, added, err));
    json_decref(added);
    return ok;
}
