/* tokenizer_files.c: see tokenizer_files.h. */
#include "text/tokenizer_files.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "text/tokenizer_class.h"
#include "text/tokenizer_json.h"
#include "text/tokenizer_model.h"
#include "text/tokenizer_sentencepiece.h"
#include "text/utf8.h"

enum { SANE_MAX_TOKENS = 100000 /* model_max_length is written as 1e30 where there is none */ };

static const char config_place[] = "tokenizer_config.json";
static const char map_place[] = "special_tokens_map.json";

/* What is read, verified. Messages about it get the name in front in tokenizer_spec_read(), so
 * bundle_require()'s, which have it, must not pass through there. */
struct files {
    const struct bundle_member *config, *map, *model, *json; /* NULL: absent */
    const struct bundle_member *words, *vocabulary, *merges; /* vocab.txt, vocab.json, merges.txt */
    const struct bundle_member *fairseq, *pieces; /* sentencepiece.bpe.model, spiece.model */
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
           find_file(bundle, "config.json", &files->model, err) &&
           find_file(bundle, "tokenizer.json", &files->json, err) &&
           find_file(bundle, "vocab.txt", &files->words, err) &&
           find_file(bundle, "vocab.json", &files->vocabulary, err) &&
           find_file(bundle, "merges.txt", &files->merges, err) &&
           find_file(bundle, "sentencepiece.bpe.model", &files->fairseq, err) &&
           find_file(bundle, "spiece.model", &files->pieces, err);
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

/* The ids are the lines' numbers; a line that is empty counts, but its id is never given. */
static bool read_words(struct tokenizer_spec *spec, const struct bundle_member *file,
                       struct error *err)
{
    const char *begin = (const char *)file->bytes, *at = begin, *end = begin + file->n;
    const char *invalid = begin + utf8_valid_prefix(begin, file->n);
    bool blank = false;
    size_t offset;
    if (!tokenizer_spec_text(spec, begin, (size_t)(invalid - begin), &offset, err))
        return false;
    for (int64_t id = 0; at < end; id++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        const char *next = stop ? stop + 1 : end;
        size_t n = (size_t)((stop ? stop : end) - at);
        if (n && at[n - 1] == '\r')
            n--;
        blank |= n == 0;
        bool valid = at + n <= invalid && n <= UINT32_MAX;
        if (n && !(valid ? tokenizer_spec_slice(spec, id, offset + (size_t)(at - begin),
                                                (uint32_t)n, err)
                         : tokenizer_spec_piece(spec, id, at, n, err)))
            return error_at(err, "vocab.txt:%lld: ", (long long)id + 1);
        at = next;
    }
    spec->kind = TOKENIZER_WORDPIECE;
    spec->prefix = memory_copy("##", 2, err);
    if (!spec->n_pieces)
        return error_set(err, "vocab.txt: the vocabulary is empty");
    if (!spec->prefix || !tokenizer_spec_index(spec, err))
        return false;
    spec->n_model += blank; /* Hugging Face counts an empty token, too */
    return true;
}

/* "a b" a line; the first may be "#version: 0.2". */
static bool read_merges(struct tokenizer_spec *spec, const struct bundle_member *file,
                        struct error *err)
{
    const char *at = (const char *)file->bytes, *end = at + file->n;
    for (size_t line = 1; at < end; line++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t n = (size_t)((stop ? stop : end) - at);
        const char *next = stop ? stop + 1 : end;
        n -= n && at[n - 1] == '\r';
        const char *space = memchr(at, ' ', n);
        size_t left = space ? (size_t)(space - at) : n;
        bool comment = n >= 8 && memcmp(at, "#version", 8) == 0;
        if (n && !comment && (!space || memchr(space + 1, ' ', n - left - 1)))
            return error_set(err, "merges.txt:%zu: not two pieces with a space between", line);
        if (n && !comment && !tokenizer_spec_merge(spec, at, left, space + 1, n - left - 1, err))
            return error_at(err, "merges.txt:%zu: ", line);
        at = next;
    }
    return true;
}

static bool read_bpe(struct tokenizer_spec *spec, const struct files *files, struct error *err)
{
    struct json_scan scan =
        json_scan_of((const char *)files->vocabulary->bytes, files->vocabulary->n);
    if (!files->merges)
        return error_set(err, "has vocab.json without merges.txt");
    spec->kind = TOKENIZER_BPE;
    if (!tokenizer_model_vocabulary(spec, &scan, err) || !json_scan_end(&scan, err))
        return error_at(err, "vocab.json: ");
    if (!tokenizer_spec_index(spec, err) || !tokenizer_spec_check_ids(spec, err))
        return error_at(err, "vocab.json: ");
    return read_merges(spec, files->merges, err);
}

/* What BertTokenizer can be told and Millet does not do. */
static bool check_options(const json_t *config, struct error *err)
{
    if (json_is_false(json_object_get(config, "do_basic_tokenize")))
        return error_set(err, "%s: do_basic_tokenize false is not known to Millet", config_place);
    if (json_array_size(json_object_get(config, "never_split")))
        return error_set(err, "%s: never_split is not known to Millet", config_place);
    return true;
}

/* ---- special tokens ---- */

/* The text of a named special token ("cls_token"): config, then special_tokens_map.json, then the
 * usual one. */
static const char *special_text(const json_t *config, const json_t *map, const char *key,
                                const char *usual)
{
    const char *text = tokenizer_class_text(json_object_get(config, key));
    if (!text)
        text = tokenizer_class_text(json_object_get(map, key));
    return text ? text : usual;
}

/* Special tokens the small files name join those of tokenizer.json, which keep their settings. *id
 * gets the token's id, -1 when it is not in the vocabulary. */
static bool add_special(struct tokenizer_spec *spec, const char *text, int32_t *id,
                        struct error *err)
{
    struct added_token token = {.text = (char *)text, .n = strlen(text), .special = true};
    *id = tokenizer_spec_find(spec, text, token.n);
    return *id < 0 || tokenizer_spec_is_added(spec, text, token.n) ||
           tokenizer_spec_added(spec, -1, &token, err);
}

static bool add_item(struct tokenizer_spec *spec, const json_t *item, const char *where,
                     const char *key, struct error *err)
{
    const char *text = tokenizer_class_text(item);
    int32_t id = -1;
    if (!text || !*text)
        return error_set(err, "%s: %s: an item is not a token", where, key);
    return add_special(spec, text, &id, err) &&
           (id >= 0 ||
            error_set(err, "%s: the special token \"%s\" is not in the vocabulary", where, text));
}

/* A list of tokens, or an object that names them. */
static bool add_additional(struct tokenizer_spec *spec, json_t *object, const char *where,
                           struct error *err)
{
    static const char *const key[] = {"additional_special_tokens", "extra_special_tokens"};
    for (size_t k = 0; k < 2; k++) {
        json_t *items = json_object_get(object, key[k]), *item;
        const char *name;
        size_t i;
        json_array_foreach(items, i, item)
        {
            if (!add_item(spec, item, where, key[k], err))
                return false;
        }
        json_object_foreach(items, name, item)
        {
            if (!add_item(spec, item, where, key[k], err))
                return false;
        }
    }
    return true;
}

static int by_id(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* In order of their ids, as they were added. */
static bool add_decoder(struct tokenizer_spec *spec, const json_t *config, struct error *err)
{
    json_t *decoder = json_object_get(config, "added_tokens_decoder"), *token;
    const char *key;
    size_t n = 0;
    if (decoder && !json_is_null(decoder) && !json_is_object(decoder))
        return error_set(err, "%s: \"added_tokens_decoder\" is no object", config_place);
    int64_t *id = memory_array(json_object_size(decoder), sizeof *id, err);
    bool ok = id != NULL;
    json_object_foreach(decoder, key, token)
    {
        char *end;
        if (ok)
            id[n++] = strtoll(key, &end, 10);
        if (ok && (end == key || *end))
            ok = error_set(err, "%s: added_tokens_decoder: \"%s\" is not an id", config_place, key);
    }
    if (ok && n)
        qsort(id, n, sizeof *id, by_id);
    for (size_t i = 0; ok && i < n; i++) {
        char text[24];
        snprintf(text, sizeof text, "%lld", (long long)id[i]);
        ok = tokenizer_added_read(spec, id[i], json_object_get(decoder, text), config_place, err);
    }
    free(id);
    return ok;
}

/* In the order in which transformers adds them. */
static bool add_named(struct tokenizer_spec *spec, enum tokenizer_class class, const json_t *config,
                      const json_t *map, bool has_json, struct error *err)
{
    static const char *const key[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                      "pad_token", "cls_token", "mask_token"};
    bool usual = !has_json || class != TOKENIZER_CLASS_BERT;
    for (size_t i = 0; i < sizeof key / sizeof *key; i++) {
        const char *text =
            special_text(config, map, key[i], usual ? tokenizer_class_token(class, key[i]) : NULL);
        int32_t id = -1;
        if (text && *text && !add_special(spec, text, &id, err))
            return false;
        if (strcmp(key[i], "unk_token") == 0 && !has_json && spec->kind == TOKENIZER_WORDPIECE) {
            spec->unknown = id;
            if (id < 0)
                return error_set(err, "vocab.txt: the unk_token \"%s\" is not in the vocabulary",
                                 text);
        }
    }
    return true;
}

/* ---- all of it ---- */

/* The class's SentencePiece model, where it stands for tokenizer.json; NULL: none. */
static const struct bundle_member *sentencepiece_of(const struct files *files,
                                                    enum tokenizer_class class)
{
    const struct bundle_member *file =
        class == TOKENIZER_CLASS_ALBERT ? files->pieces : files->fairseq;
    return files->json || !tokenizer_sentencepiece_name(class) ? NULL : file;
}

static bool read_vocabulary(struct tokenizer_spec *spec, const struct files *files,
                            enum tokenizer_class class, const json_t *options, bool with_added,
                            struct error *err)
{
    if (files->json)
        return tokenizer_json_read(spec, files->json, with_added, err);
    if (sentencepiece_of(files, class))
        return tokenizer_sentencepiece_read(spec, sentencepiece_of(files, class), class, options,
                                            err);
    if (files->words)
        return read_words(spec, files->words, err);
    if (files->vocabulary)
        return read_bpe(spec, files, err);
    const char *name = tokenizer_sentencepiece_name(class);
    return error_set(err,
                     "has no tokenizer: neither tokenizer.json nor vocab.txt, nor vocab.json with "
                     "merges.txt%s%s",
                     name ? ", nor " : "; a SentencePiece model needs its tokenizer_class",
                     name ? name : "");
}

/* Named tokens of special_tokens_map.json stand for those that tokenizer_config.json leaves out. */
static json_t *join(const json_t *config, const json_t *map, struct error *err)
{
    json_t *joined = config ? json_copy((json_t *)config) : json_object();
    if (joined && (!map || json_object_update_missing(joined, (json_t *)map) == 0))
        return joined;
    json_decref(joined);
    error_set(err, "no memory for the tokenizer's options");
    return NULL;
}

/* The file that a part of the pipeline comes from, in front of what is wrong with it. */
static bool name_file(const struct files *files, const struct bundle_member *pieces,
                      struct error *err)
{
    const struct bundle_member *file = files->json ? files->json : pieces;
    return file ? error_at(err, "%s: ", file->name) : false;
}

/* options: config and map joined. */
static bool read_files(struct tokenizer_spec *spec, const struct files *files,
                       const json_t *options, json_t *config, json_t *map, const json_t *model,
                       struct error *err)
{
    bool has_json = files->json != NULL;
    enum tokenizer_class class;
    if (!tokenizer_class_find(config, model, &class, err))
        return false;
    bool rebuilt = class > TOKENIZER_CLASS_BERT; /* with the tokens that config lists, if it does */
    bool with_added = !rebuilt || !json_object_get(config, "added_tokens_decoder");
    const struct bundle_member *pieces = sentencepiece_of(files, class);
    spec->exact_scores = rebuilt; /* transformers reads them then, not the Rust library */
    if (!read_vocabulary(spec, files, class, options, with_added, err))
        return false;
    if (class == TOKENIZER_CLASS_NONE || (class == TOKENIZER_CLASS_FILE && !has_json))
        class = spec->kind == TOKENIZER_WORDPIECE          ? TOKENIZER_CLASS_BERT
                : spec->kind == TOKENIZER_BPE && !has_json ? TOKENIZER_CLASS_ROBERTA
                                                           : TOKENIZER_CLASS_FILE;
    if (!tokenizer_class_check(class, spec, err) ||
        (class == TOKENIZER_CLASS_BERT && !check_options(config, err)))
        return false;
    double most = json_number_value(json_object_get(config, "model_max_length"));
    if (most >= 1 && most <= SANE_MAX_TOKENS)
        spec->max_tokens = (size_t)most;
    return add_decoder(spec, config, err) &&
           (!pieces || tokenizer_sentencepiece_added(spec, pieces, class, options, err)) &&
           add_named(spec, class, config, map, has_json, err) &&
           add_additional(spec, config, config_place, err) &&
           add_additional(spec, map, map_place, err) &&
           tokenizer_class_apply(class, options, has_json, spec, err) &&
           (tokenizer_spec_finish(spec, err) || name_file(files, pieces, err));
}

bool tokenizer_spec_read(struct tokenizer_spec *spec, struct bundle *bundle, bool for_matching,
                         struct error *err)
{
    json_t *config = NULL, *map = NULL, *model = NULL, *options = NULL;
    struct files files;
    tokenizer_spec_init(spec);
    spec->for_matching = for_matching;
    if (!find_files(bundle, &files, err))
        return false;
    bool ok = load(files.config, &config, err) && load(files.map, &map, err) &&
              load(files.model, &model, err) && (options = join(config, map, err)) != NULL &&
              read_files(spec, &files, options, config, map, model, err);
    json_decref(options);
    json_decref(config);
    json_decref(map);
    json_decref(model);
    if (!ok)
        tokenizer_spec_free(spec);
    return ok || error_at(err, "%s: ", bundle_name(bundle));
}
