/* tokenizer_files.c: see tokenizer_files.h. */
#include "text/tokenizer_files.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "text/tokenizer_json.h"
#include "text/utf8.h"

enum {
    MAX_WORD_DEFAULT = 100,  /* Hugging Face's max_input_chars_per_word */
    SANE_MAX_TOKENS = 100000 /* model_max_length is written as 1e30 where there is none */
};

static const char config_place[] = "tokenizer_config.json";
static const char map_place[] = "special_tokens_map.json";

void tokenizer_spec_free(struct tokenizer_spec *spec)
{
    for (size_t i = 0; i < spec->n_added; i++)
        free(spec->added[i].text);
    free(spec->added);
    free(spec->piece);
    free(spec->arena);
    free(spec->prefix);
    *spec = (struct tokenizer_spec){0};
}

bool tokenizer_spec_piece(struct tokenizer_spec *spec, int64_t id, const char *text, size_t n,
                          struct error *err)
{
    if (id < 0 || id >= WORDPIECE_MAX)
        return error_set(err, "token id %lld is outside 0 to %d", (long long)id, WORDPIECE_MAX - 1);
    size_t need = (size_t)id + 1, old = spec->n_pieces;
    if (n > UINT32_MAX || utf8_valid_prefix(text, n) != n)
        return error_set(err, "the piece with id %lld is not valid UTF-8", (long long)id);
    if (!memory_grow(&spec->piece, &spec->piece_capacity, need, sizeof *spec->piece, err) ||
        !memory_grow(&spec->arena, &spec->arena_capacity, spec->n_arena + n, 1, err))
        return false;
    if (need > old) {
        memset(spec->piece + old, 0, (need - old) * sizeof *spec->piece);
        spec->n_pieces = need;
    }
    spec->piece[id] = (struct piece){spec->n_arena, (uint32_t)n};
    memcpy(spec->arena + spec->n_arena, text, n);
    spec->n_arena += n;
    return true;
}

int32_t tokenizer_spec_find(const struct tokenizer_spec *spec, const char *text, size_t n)
{
    for (size_t i = spec->n_pieces; n && i-- > 0;)
        if (spec->piece[i].n == n && memcmp(spec->arena + spec->piece[i].offset, text, n) == 0)
            return (int32_t)i;
    return -1;
}

bool tokenizer_spec_added(struct tokenizer_spec *spec, int64_t id, const char *text, size_t n,
                          bool special, struct error *err)
{
    for (size_t i = 0; i < spec->n_added; i++)
        if (spec->added[i].n == n && memcmp(spec->added[i].text, text, n) == 0)
            return true;
    if ((id < 0 || id >= (int64_t)spec->n_pieces || spec->piece[id].n == 0) &&
        !tokenizer_spec_piece(spec, id, text, n, err))
        return false;
    if (!memory_grow(&spec->added, &spec->added_capacity, spec->n_added + 1, sizeof *spec->added,
                     err))
        return false;
    char *copy = memory_copy(text, n, err);
    if (!copy)
        return false;
    spec->added[spec->n_added++] = (struct tokenizer_added){copy, n, (int32_t)id, special};
    return true;
}

/* What is read, verified. Messages about it get the name in front in tokenizer_spec_read(), so
 * bundle_require()'s, which have it, must not pass through there. */
struct files {
    const struct bundle_member *config, *map, *json, *vocabulary; /* NULL: absent */
};

static bool find_file(struct bundle *bundle, const char *name, const struct bundle_member **file,
                      struct error *err)
{
    *file = bundle_find(bundle, name);
    return !*file || (*file = bundle_require(bundle, name, err));
}

static bool find_files(struct bundle *bundle, struct files *files, struct error *err)
{
    return find_file(bundle, config_place, &files->config, err) &&
           find_file(bundle, map_place, &files->map, err) &&
           find_file(bundle, "tokenizer.json", &files->json, err) &&
           find_file(bundle, "vocab.txt", &files->vocabulary, err);
}

/* An optional JSON member. Numbers are read as reals: model_max_length may have 31 digits. *object
 * stays NULL when absent. */
static bool load(const struct bundle_member *member, json_t **object, struct error *err)
{
    json_error_t why;
    if (!member)
        return true;
    *object = json_loadb((const char *)member->bytes, member->n,
                         JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL, &why);
    if (!*object)
        return error_set(err, "%s:%d:%d: not valid JSON: %s", member->name, why.line, why.column,
                         why.text);
    if (!json_is_object(*object))
        return error_set(err, "%s: expected a JSON object", member->name);
    return true;
}

static bool read_vocabulary(struct tokenizer_spec *spec, const struct bundle_member *file,
                            struct error *err)
{
    const char *at = (const char *)file->bytes, *end = at + file->n;
    for (int64_t id = 0; at < end; id++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        const char *next = stop ? stop + 1 : end;
        size_t n = (size_t)((stop ? stop : end) - at);
        if (n && at[n - 1] == '\r')
            n--;
        if (!tokenizer_spec_piece(spec, id, at, n, err))
            return error_at(err, "vocab.txt:%lld: ", (long long)id + 1);
        at = next;
    }
    return spec->n_pieces ? true : error_set(err, "vocab.txt: the vocabulary is empty");
}

/* Class names whose options transformers resolves as BertTokenizer does. */
static bool is_bert_class(const char *name)
{
    static const char *const known[] = {"Bert", "DistilBert", "Electra", "MobileBert"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        size_t n = strlen(known[i]);
        if (strncmp(name, known[i], n) == 0 &&
            (strcmp(name + n, "Tokenizer") == 0 || strcmp(name + n, "TokenizerFast") == 0))
            return true;
    }
    return false;
}

static bool read_class(const json_t *config, bool has_json, bool *options_count, struct error *err)
{
    const char *name = json_string_value(json_object_get(config, "tokenizer_class"));
    *options_count = true;
    if (!name || is_bert_class(name))
        return true;
    if (has_json &&
        (strcmp(name, "PreTrainedTokenizerFast") == 0 || strcmp(name, "TokenizersBackend") == 0)) {
        *options_count = false;
        return true;
    }
    return error_set(
        err,
        "%s: tokenizer_class \"%s\" is not known to Millet, which reads BERT's WordPiece "
        "(BertTokenizer)",
        config_place, name);
}

static bool read_options(const json_t *config, struct tokenizer_stated *stated, struct error *err)
{
    enum tokenizer_tristate basic = TOKENIZER_UNSTATED;
    if (!tokenizer_stated_read(config, config_place, "do_lower_case", &stated->lowercase, err) ||
        !tokenizer_stated_read(config, config_place, "strip_accents", &stated->strip_accents,
                               err) ||
        !tokenizer_stated_read(config, config_place, "tokenize_chinese_chars", &stated->chinese,
                               err) ||
        !tokenizer_stated_read(config, config_place, "do_basic_tokenize", &basic, err))
        return false;
    if (basic == TOKENIZER_FALSE)
        return error_set(err, "%s: do_basic_tokenize false is not known to Millet", config_place);
    if (json_array_size(json_object_get(config, "never_split")))
        return error_set(err, "%s: never_split is not known to Millet", config_place);
    return true;
}

static void resolve(struct tokenizer_spec *spec, const struct tokenizer_stated *stated)
{
    /* BERT's defaults are true; null means the default, but for strip_accents. */
    spec->normal.clean_text = stated->clean_text != TOKENIZER_FALSE;
    spec->normal.chinese = stated->chinese != TOKENIZER_FALSE;
    spec->normal.lowercase = stated->lowercase != TOKENIZER_FALSE;
    spec->normal.strip_accents =
        stated->strip_accents == TOKENIZER_TRUE ||
        (stated->strip_accents != TOKENIZER_FALSE && spec->normal.lowercase);
}

static const char *token_text(const json_t *value)
{
    return json_string_value(json_is_object(value) ? json_object_get(value, "content") : value);
}

/* The text of a named special token ("cls_token"): config, then special_tokens_map.json, then the
 * usual one. */
static const char *special_text(const json_t *config, const json_t *map, const char *key,
                                const char *usual)
{
    const char *text = token_text(json_object_get(config, key));
    if (!text)
        text = token_text(json_object_get(map, key));
    return text ? text : usual;
}

/* Special tokens the small files name join those of tokenizer.json. `id` gets the token's id, -1
 * when it is not in the vocabulary. */
static bool add_special(struct tokenizer_spec *spec, const char *text, int32_t *id,
                        struct error *err)
{
    *id = tokenizer_spec_find(spec, text, strlen(text));
    return *id < 0 || tokenizer_spec_added(spec, *id, text, strlen(text), true, err);
}

static bool add_additional(struct tokenizer_spec *spec, const json_t *object, const char *where,
                           struct error *err)
{
    const json_t *array = json_object_get(object, "additional_special_tokens");
    for (size_t i = 0; i < json_array_size(array); i++) {
        const char *text = token_text(json_array_get(array, i));
        int32_t id = -1;
        if (!text || !*text)
            return error_set(err, "%s: additional_special_tokens: item %zu is not a token", where,
                             i);
        if (!add_special(spec, text, &id, err))
            return false;
        if (id < 0)
            return error_set(err, "%s: the special token \"%s\" is not in the vocabulary", where,
                             text);
    }
    return true;
}

static bool add_decoder(struct tokenizer_spec *spec, const json_t *config, struct error *err)
{
    const char *key;
    json_t *token;
    json_object_foreach(json_object_get(config, "added_tokens_decoder"), key, token)
    {
        char *end;
        long long id = strtoll(key, &end, 10);
        if (end == key || *end)
            return error_set(err, "%s: added_tokens_decoder: \"%s\" is not an id", config_place,
                             key);
        if (!tokenizer_added_read(spec, id, token, config_place, err))
            return false;
    }
    return true;
}

static bool read_special(struct tokenizer_spec *spec, const json_t *config, const json_t *map,
                         bool has_json, struct error *err)
{
    static const struct {
        const char *key, *usual;
    } named[] = {{"unk_token", "[UNK]"},
                 {"cls_token", "[CLS]"},
                 {"sep_token", "[SEP]"},
                 {"pad_token", "[PAD]"},
                 {"mask_token", "[MASK]"}};
    int32_t id[5];
    if (!add_decoder(spec, config, err))
        return false;
    for (size_t i = 0; i < 5; i++) {
        const char *text =
            special_text(config, map, named[i].key, has_json ? NULL : named[i].usual);
        id[i] = -1;
        if (text && !add_special(spec, text, &id[i], err))
            return false;
        if (i < 3 && !has_json && id[i] < 0)
            return error_set(err, "vocab.txt: the %s \"%s\" is not in the vocabulary", named[i].key,
                             text);
    }
    if (!has_json) {
        spec->unknown = id[0];
        spec->before[spec->n_before++] = id[1];
        spec->after[spec->n_after++] = id[2];
    }
    return add_additional(spec, config, config_place, err) &&
           add_additional(spec, map, map_place, err);
}

static bool read_files(struct tokenizer_spec *spec, const struct files *files, const json_t *config,
                       const json_t *map, struct error *err)
{
    struct tokenizer_stated stated = {0};
    bool has_json = files->json != NULL, options_count;
    if (!read_class(config, has_json, &options_count, err))
        return false;
    if (!has_json && !files->vocabulary)
        return error_set(err, "has no tokenizer: neither tokenizer.json nor vocab.txt");
    if (!(has_json ? tokenizer_json_read(spec, &stated, files->json, err)
                   : read_vocabulary(spec, files->vocabulary, err)))
        return false;
    if (options_count && !read_options(config, &stated, err))
        return false;
    resolve(spec, &stated);
    double most = json_number_value(json_object_get(config, "model_max_length"));
    if (most >= 1 && most <= SANE_MAX_TOKENS)
        spec->max_tokens = (size_t)most;
    return read_special(spec, config, map, has_json, err);
}

bool tokenizer_spec_read(struct tokenizer_spec *spec, struct bundle *bundle, struct error *err)
{
    json_t *config = NULL, *map = NULL;
    *spec = (struct tokenizer_spec){.max_word = MAX_WORD_DEFAULT, .unknown = -1};
    spec->prefix = memory_copy("##", 2, err);
    struct files files;
    if (!spec->prefix || !find_files(bundle, &files, err)) {
        tokenizer_spec_free(spec);
        return false;
    }
    bool ok = load(files.config, &config, err) && load(files.map, &map, err) &&
              read_files(spec, &files, config, map, err);
    json_decref(config);
    json_decref(map);
    if (!ok)
        tokenizer_spec_free(spec);
    return ok || error_at(err, "%s: ", bundle_name(bundle));
}
