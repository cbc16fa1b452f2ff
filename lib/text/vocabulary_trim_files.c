/* vocabulary_trim_files.c: one function per kind of file. JSON is scanned and copied span by span;
 * only the small sections that hold ids are parsed. */
#include "text/vocabulary_trim_files.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/protobuf.h"
#include "text/json_scan.h"
#include "text/sentencepiece.h"
#include "text/text_buffer.h"
#include "text/vocabulary_map.h"

/* Ids in parsed JSON: collected, or replaced. */
struct visit {
    bool *must;            /* not NULL: collect */
    const int32_t *number; /* else: replace */
    size_t n;
};

/* What a rewriter has at hand. */
struct rewrite {
    const struct tokenizer_spec *spec;
    const int32_t *number;
    struct text_buffer out;
    struct error *err;
};

typedef bool rewriter(struct rewrite *to, const struct bundle_member *member);

static bool add(struct rewrite *to, const char *bytes, size_t n)
{
    return text_buffer_add(&to->out, bytes, n, to->err);
}

static bool add_text(struct rewrite *to, const char *text)
{
    return add(to, text, strlen(text));
}

static bool add_json(struct rewrite *to, const json_t *value)
{
    char *text = value ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    bool ok = text ? add_text(to, text) : error_set(to->err, "no memory for a tokenizer file");
    free(text);
    return ok;
}

static bool add_string(struct rewrite *to, const char *bytes, size_t n)
{
    json_t *text = json_stringn(bytes, n);
    bool ok = add_json(to, text);
    json_decref(text);
    return ok;
}

static bool add_number(struct rewrite *to, int64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)value);
    return add_text(to, text);
}

/* ",\n" between members. */
static bool add_between(struct rewrite *to, bool *first)
{
    bool ok = *first || add_text(to, ",\n");
    *first = false;
    return ok;
}

static int32_t find(const struct tokenizer_spec *spec, const char *text, size_t n)
{
    return piece_index_find(&spec->index, tokenizer_spec_pieces(spec), text, n);
}

/* -1: gone. A file beside the one that was read may have ids of its own. */
static int32_t new_id(const struct rewrite *to, uint64_t id)
{
    return id < to->spec->n_pieces ? to->number[id] : -1;
}

static bool stays(const struct rewrite *to, const char *text, size_t n)
{
    int32_t id = find(to->spec, text, n);
    return id >= 0 && to->number[id] >= 0;
}

/* ---- ids in sections ---- */

static void visit_id(const struct visit *visit, json_t *value)
{
    json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
    if (id < 0 || (uint64_t)id >= visit->n)
        return;
    if (visit->must)
        visit->must[id] = true;
    else
        json_integer_set(value, visit->number[id]);
}

static void visit_post_processor(const struct visit *visit, json_t *step)
{
    json_t *item;
    const char *name;
    size_t i, k;
    visit_id(visit, json_array_get(json_object_get(step, "cls"), 1));
    visit_id(visit, json_array_get(json_object_get(step, "sep"), 1));
    json_object_foreach(json_object_get(step, "special_tokens"), name, item)
    {
        json_t *ids = json_object_get(item, "ids");
        for (k = 0; k < json_array_size(ids); k++)
            visit_id(visit, json_array_get(ids, k));
    }
    json_array_foreach(json_object_get(step, "processors"), i, item)
    {
        visit_post_processor(visit, item);
    }
}

static void visit_section(const struct visit *visit, const char *name, json_t *section)
{
    json_t *item;
    size_t i;
    if (strcmp(name, "post_processor") == 0)
        visit_post_processor(visit, section);
    else if (strcmp(name, "padding") == 0)
        visit_id(visit, json_object_get(section, "pad_id"));
    else
        json_array_foreach(section, i, item)
        {
            visit_id(visit, json_object_get(item, "id"));
        }
}

/* The sections of tokenizer.json that hold ids; NULL: another. */
static const char *section_of(const struct json_text *key)
{
    static const char *const name[] = {"added_tokens", "post_processor", "padding"};
    for (size_t i = 0; i < sizeof name / sizeof *name; i++)
        if (key->n == strlen(name[i]) && memcmp(key->bytes, name[i], key->n) == 0)
            return name[i];
    return NULL;
}

static json_t *parse(const char *bytes, size_t n, struct error *err)
{
    json_error_t why;
    json_t *value = json_loadb(bytes, n, JSON_DECODE_ANY | JSON_ALLOW_NUL, &why);
    if (!value)
        error_set(err, "%s", why.text);
    return value;
}

/* ---- tokenizer.json ---- */

/* {"piece": id, …}, also vocab.json. */
static bool put_vocabulary(struct rewrite *to, struct json_scan *scan)
{
    struct json_text piece = {0};
    bool first = true, none = true;
    int more = -1;
    if (add_text(to, "{") && json_scan_enter(scan, '{', to->err))
        while ((more = json_scan_next(scan, &first, &piece, to->err)) > 0) {
            int64_t id;
            bool ok = json_scan_integer(scan, &id, to->err);
            if (ok && id >= 0 && new_id(to, (uint64_t)id) >= 0)
                ok = add_between(to, &none) && add_string(to, piece.bytes, piece.n) &&
                     add_text(to, ":") && add_number(to, new_id(to, (uint64_t)id));
            if (!ok) {
                more = -1;
                break;
            }
        }
    json_text_free(&piece);
    return more == 0 && add_text(to, "}");
}

/* [["piece", score], …] */
static bool put_scores(struct rewrite *to, struct json_scan *scan)
{
    bool first = true, none = true;
    int more = -1;
    if (add_text(to, "[") && json_scan_enter(scan, '[', to->err))
        for (size_t id = 0; (more = json_scan_next(scan, &first, NULL, to->err)) > 0; id++) {
            const char *bytes;
            size_t n;
            bool ok = json_scan_skip(scan, &bytes, &n, to->err);
            if (ok && new_id(to, id) >= 0)
                ok = add_between(to, &none) && add(to, bytes, n);
            if (!ok) {
                more = -1;
                break;
            }
        }
    return more == 0 && add_text(to, "]");
}

/* Whether a merge's two parts, and what they make, stay. */
static bool merge_stays(struct rewrite *to, const char *left, size_t n_left, const char *right,
                        size_t n_right, bool *yes)
{
    char *text = NULL;
    *yes = stays(to, left, n_left) && stays(to, right, n_right);
    if (!*yes)
        return true;
    if (!(text = memory_array(n_left + n_right + 1, 1, to->err)))
        return false;
    memcpy(text, left, n_left);
    memcpy(text + n_left, right, n_right);
    *yes = stays(to, text, n_left + n_right);
    free(text);
    return true;
}

/* "a b" or ["a", "b"]; read and found good when the spec was read. */
static bool merge_at(struct rewrite *to, const char *bytes, size_t n, bool *yes)
{
    json_t *merge = parse(bytes, n, to->err), *a = json_array_get(merge, 0),
           *b = json_array_get(merge, 1);
    bool ok = merge != NULL;
    if (json_is_string(merge)) {
        const char *text = json_string_value(merge);
        size_t all = json_string_length(merge);
        const char *space = memchr(text, ' ', all);
        size_t left = space ? (size_t)(space - text) : all;
        ok = merge_stays(to, text, left, text + left + 1, space ? all - left - 1 : 0, yes);
    } else if (ok)
        ok = merge_stays(to, json_string_value(a), json_string_length(a), json_string_value(b),
                         json_string_length(b), yes);
    json_decref(merge);
    return ok;
}

static bool put_merges(struct rewrite *to, struct json_scan *scan)
{
    bool first = true, none = true;
    int more = -1;
    if (json_scan_peek(scan) != '[') { /* null */
        const char *bytes;
        size_t n;
        return json_scan_skip(scan, &bytes, &n, to->err) && add(to, bytes, n);
    }
    if (add_text(to, "[") && json_scan_enter(scan, '[', to->err))
        while ((more = json_scan_next(scan, &first, NULL, to->err)) > 0) {
            const char *bytes;
            size_t n;
            bool yes = false;
            if (!json_scan_skip(scan, &bytes, &n, to->err) || !merge_at(to, bytes, n, &yes) ||
                (yes && !(add_between(to, &none) && add(to, bytes, n)))) {
                more = -1;
                break;
            }
        }
    return more == 0 && add_text(to, "]");
}

static bool is(const struct json_text *key, const char *name)
{
    return key->n == strlen(name) && memcmp(key->bytes, name, key->n) == 0;
}

static bool put_member(struct rewrite *to, const struct json_text *key, struct json_scan *scan)
{
    const char *bytes, *name = section_of(key);
    const struct visit visit = {.number = to->number, .n = to->spec->n_pieces};
    size_t n;
    if (is(key, "vocab"))
        return json_scan_peek(scan) == '[' ? put_scores(to, scan) : put_vocabulary(to, scan);
    if (is(key, "merges"))
        return put_merges(to, scan);
    if (!json_scan_skip(scan, &bytes, &n, to->err))
        return false;
    if (!name && !is(key, "unk_id"))
        return add(to, bytes, n);
    json_t *value = parse(bytes, n, to->err);
    if (!value)
        return false;
    if (name)
        visit_section(&visit, name, value);
    else
        visit_id(&visit, value);
    bool ok = add_json(to, value);
    json_decref(value);
    return ok;
}

/* An object whose members are put one by one; "model" is one inside it. */
static bool put_object(struct rewrite *to, struct json_scan *scan, bool top)
{
    struct json_text key = {0};
    bool first = true, none = true;
    int more = -1;
    if (add_text(to, "{") && json_scan_enter(scan, '{', to->err))
        while ((more = json_scan_next(scan, &first, &key, to->err)) > 0)
            if (!add_between(to, &none) || !add_string(to, key.bytes, key.n) ||
                !add_text(to, ":") ||
                !(top && is(&key, "model") ? put_object(to, scan, false)
                                           : put_member(to, &key, scan))) {
                more = -1;
                break;
            }
    json_text_free(&key);
    return more == 0 && add_text(to, "}");
}

static bool put_tokenizer(struct rewrite *to, const struct bundle_member *member)
{
    struct json_scan scan = json_scan_of((const char *)member->bytes, member->n);
    return put_object(to, &scan, true) && add_text(to, "\n");
}

static bool put_vocab_json(struct rewrite *to, const struct bundle_member *member)
{
    struct json_scan scan = json_scan_of((const char *)member->bytes, member->n);
    return put_vocabulary(to, &scan) && add_text(to, "\n");
}

/* ---- files of lines ---- */

/* The line at `at`: its bytes without the end of line, and where the next begins. */
static const char *line_at(const char *at, const char *end, size_t *n)
{
    const char *stop = memchr(at, '\n', (size_t)(end - at));
    *n = (size_t)((stop ? stop : end) - at);
    *n -= *n && at[*n - 1] == '\r';
    return stop ? stop + 1 : end;
}

static bool put_words(struct rewrite *to, const struct bundle_member *member)
{
    const char *at = (const char *)member->bytes, *end = at + member->n;
    size_t n;
    for (size_t id = 0; at < end && id < to->spec->n_pieces; id++) {
        const char *next = line_at(at, end, &n);
        if (to->number[id] >= 0 && !(add(to, at, n) && add_text(to, "\n")))
            return false;
        at = next;
    }
    return true;
}

static bool put_merge_lines(struct rewrite *to, const struct bundle_member *member)
{
    const char *at = (const char *)member->bytes, *end = at + member->n;
    size_t n;
    while (at < end) {
        const char *next = line_at(at, end, &n), *space = memchr(at, ' ', n);
        bool yes = n >= 8 && memcmp(at, "#version", 8) == 0;
        if (!yes && space &&
            !merge_stays(to, at, (size_t)(space - at), space + 1, (size_t)(at + n - space) - 1,
                         &yes))
            return false;
        if (yes && !(add(to, at, n) && add_text(to, "\n")))
            return false;
        at = next;
    }
    return true;
}

/* ---- JSON objects of added tokens ---- */

/* {"<mask>": 250001}. Tokens that the tokenizer read does not have, or that went, have no row. */
static bool put_added(struct rewrite *to, const struct bundle_member *member)
{
    json_t *before = parse((const char *)member->bytes, member->n, to->err), *value;
    json_t *after = before ? json_object() : NULL;
    const char *name;
    bool ok = after != NULL;
    json_object_foreach(before, name, value)
    {
        json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
        int32_t number = id >= 0 ? new_id(to, (uint64_t)id) : -1;
        if (number >= 0)
            ok = json_object_set_new(after, name, json_integer(number)) == 0 && ok;
    }
    ok = ok && add_json(to, after);
    json_decref(after);
    json_decref(before);
    return ok || error_set(to->err, "no memory for %s", member->name);
}

/* {…, "added_tokens_decoder": {"250001": {…}}}. */
static bool put_config(struct rewrite *to, const struct bundle_member *member)
{
    json_t *object = parse((const char *)member->bytes, member->n, to->err), *value;
    json_t *before = json_object_get(object, "added_tokens_decoder"), *after = json_object();
    const char *name;
    bool ok = object && after;
    json_object_foreach(before, name, value)
    {
        char text[24];
        long long id = strtoll(name, NULL, 10);
        int32_t number = id >= 0 && (size_t)id < to->spec->n_pieces ? to->number[id] : -1;
        snprintf(text, sizeof text, "%d", (int)number);
        if (number >= 0)
            ok = json_object_set(after, text, value) == 0 && ok;
    }
    if (ok && json_is_object(before))
        ok = json_object_set(object, "added_tokens_decoder", after) == 0;
    ok = ok && add_json(to, object);
    json_decref(after);
    json_decref(object);
    return ok || error_set(to->err, "no memory for %s", member->name);
}

/* ---- SentencePiece models ---- */

/* A SentencePiece message: whether it is a plain piece, and its text. */
static bool read_piece(const struct protobuf_field *field, bool *normal,
                       struct protobuf_field *text, struct error *err)
{
    struct protobuf_reader reader = {field->bytes, field->n, 0};
    struct protobuf_field part;
    int more;
    *normal = true;
    *text = (struct protobuf_field){.n = 0};
    while ((more = protobuf_next(&reader, &part, err)) > 0) {
        if (part.number == 1 && part.wire == PROTOBUF_BYTES)
            *text = part;
        if (part.number == 3 && part.wire == PROTOBUF_VARINT)
            *normal = part.value == SENTENCEPIECE_NORMAL;
    }
    return more == 0;
}

/* Fields as they are, without the plain pieces that go. The trainer's settings, its vocabulary size
 * among them, stay what they were: they tell how the model was made. */
static bool put_sentencepiece(struct rewrite *to, const struct bundle_member *member)
{
    struct protobuf_reader reader = {member->bytes, member->n, 0};
    struct protobuf_field field, text;
    for (int more;;) {
        size_t begin = reader.at;
        bool normal = false;
        if ((more = protobuf_next(&reader, &field, to->err)) <= 0)
            return more == 0;
        if (field.number == 1 && field.wire == PROTOBUF_BYTES &&
            !read_piece(&field, &normal, &text, to->err))
            return false;
        if (normal && !stays(to, (const char *)text.bytes, text.n))
            continue;
        if (!add(to, (const char *)reader.bytes + begin, reader.at - begin))
            return false;
    }
}

/* Where the ids come from a SentencePiece model, all that is no plain piece of it stays: its own
 * special pieces, and those that transformers puts in front. */
static bool name_sentencepiece(const struct tokenizer_spec *spec,
                               const struct bundle_member *member, bool *must, struct error *err)
{
    struct protobuf_reader reader = {member->bytes, member->n, 0};
    struct protobuf_field field, text;
    bool *plain = memory_zeroed(spec->n_pieces, sizeof *plain, err);
    int more = -1;
    while (plain && (more = protobuf_next(&reader, &field, err)) > 0) {
        bool normal = false;
        if (field.number != 1 || field.wire != PROTOBUF_BYTES)
            continue;
        if (!read_piece(&field, &normal, &text, err)) {
            more = -1;
            break;
        }
        int32_t id = normal ? find(spec, (const char *)text.bytes, text.n) : -1;
        if (id >= 0)
            plain[id] = true;
    }
    for (size_t id = 0; plain && id < spec->n_pieces; id++)
        must[id] |= !plain[id];
    free(plain);
    return more == 0;
}

/* ---- all of them ---- */

static const struct {
    const char *name;
    rewriter *put;
    bool sentencepiece;
} known[] = {
    {"tokenizer.json", put_tokenizer, false},
    {"vocab.txt", put_words, false},
    {"vocab.json", put_vocab_json, false},
    {"merges.txt", put_merge_lines, false},
    {"tokenizer_config.json", put_config, false},
    {"added_tokens.json", put_added, false},
    {"sentencepiece.bpe.model", put_sentencepiece, true},
    {"spiece.model", put_sentencepiece, true},
    {"tokenizer.model", put_sentencepiece, true},
};
enum { N_KNOWN = sizeof known / sizeof *known };

static bool collect(const struct tokenizer_spec *spec, const struct bundle_member *file, bool *must,
                    struct error *err)
{
    const struct visit visit = {.must = must, .n = spec->n_pieces};
    struct json_scan scan = json_scan_of((const char *)file->bytes, file->n);
    struct json_text key = {0};
    bool first = true;
    int more = -1;
    if (json_scan_enter(&scan, '{', err))
        while ((more = json_scan_next(&scan, &first, &key, err)) > 0) {
            const char *bytes, *name = section_of(&key);
            size_t n;
            json_t *value = NULL;
            if (!json_scan_skip(&scan, &bytes, &n, err) ||
                (name && !(value = parse(bytes, n, err)))) {
                more = -1;
                break;
            }
            if (name)
                visit_section(&visit, name, value);
            json_decref(value);
        }
    json_text_free(&key);
    return more == 0;
}

bool vocabulary_trim_named(const struct tokenizer_spec *spec, struct bundle *bundle, bool *must,
                           struct error *err)
{
    const struct bundle_member *json = bundle_find(bundle, "tokenizer.json");
    if (json)
        return collect(spec, json, must, err);
    for (size_t i = 0; i < N_KNOWN; i++) {
        const struct bundle_member *file =
            known[i].sentencepiece ? bundle_find(bundle, known[i].name) : NULL;
        if (file && !bundle_find(bundle, "vocab.txt") && !bundle_find(bundle, "vocab.json"))
            return name_sentencepiece(spec, file, must, err);
    }
    return true;
}

bool vocabulary_trim_rewrite(const struct tokenizer_spec *spec, struct bundle *bundle,
                             struct vocabulary_trim *trim, struct error *err)
{
    trim->file = memory_zeroed(N_KNOWN + 1, sizeof *trim->file, err);
    for (size_t i = 0; trim->file && i < N_KNOWN; i++) {
        struct rewrite to = {.spec = spec, .number = trim->number, .err = err};
        if (!bundle_find(bundle, known[i].name))
            continue;
        const struct bundle_member *member = bundle_require(bundle, known[i].name, err);
        if (!member)
            return false;
        if (!known[i].put(&to, member)) {
            text_buffer_free(&to.out);
            return error_at(err, "%s: ", known[i].name);
        }
        trim->file[trim->n_files++] = (struct bundle_member){
            .name = known[i].name, .bytes = (const uint8_t *)to.out.bytes, .n = to.out.n};
    }
    char *map = trim->file ? vocabulary_map_text(trim, bundle, err) : NULL;
    if (map)
        trim->file[trim->n_files++] = (struct bundle_member){
            .name = VOCABULARY_MAP_FILE, .bytes = (const uint8_t *)map, .n = strlen(map)};
    return map != NULL;
}
