/* normaliser.c: see normaliser.h. */
#include "text/normaliser.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "text/base64.h"
#include "text/byte_level.h"
#include "text/charsmap.h"
#include "text/codepoint.h"
#include "text/text_find.h"
#include "text/utf8.h"

enum { MAX_STEPS = 64, MAX_DEPTH = 8 };

enum kind {
    BERT,
    FORM,
    LOWERCASE,
    STRIP_ACCENTS,
    STRIP,
    REPLACE,
    COLLAPSE, /* two or more spaces become the content */
    SQUEEZE,  /* two or more white spaces, or one \n, \r, \t */
    RUNS,     /* one or more white spaces */
    PREPEND,
    PRECOMPILED,
    NMT,
    BYTE_LEVEL
};

struct step {
    enum kind kind;
    enum unicode_form form;
    struct bert_options bert;
    bool left, right;        /* STRIP */
    char *pattern, *content; /* owned */
    size_t n_pattern, n_content;
    struct charsmap *map;
};

struct normaliser {
    struct step step[MAX_STEPS];
    size_t n;
    bool local;
};

/* Regular expressions that tokenizers of this family hold. */
static const struct {
    const char *pattern;
    enum kind kind;
} known_regex[] = {{" {2,}", COLLAPSE}, {"\\s{2,}|[\\n\\r\\t]", SQUEEZE}, {"\\s+", RUNS}};

/* ---- reading ---- */

static bool read_flag(const json_t *json, const char *key, bool *flag, struct error *err)
{
    const json_t *value = json_object_get(json, key);
    if (!json_is_boolean(value))
        return error_set(err, "normalizer: \"%s\" is neither true nor false", key);
    *flag = json_is_true(value);
    return true;
}

static bool read_text(const json_t *json, const char *key, char **text, size_t *n,
                      struct error *err)
{
    const json_t *value = json_object_get(json, key);
    if (!json_is_string(value))
        return error_set(err, "normalizer: \"%s\" is no string", key);
    *n = json_string_length(value);
    *text = memory_copy(json_string_value(value), *n, err);
    return *text != NULL;
}

static bool read_bert(struct step *step, const json_t *json, struct error *err)
{
    const json_t *strip = json_object_get(json, "strip_accents");
    step->kind = BERT;
    if (!read_flag(json, "clean_text", &step->bert.clean_text, err) ||
        !read_flag(json, "handle_chinese_chars", &step->bert.chinese, err) ||
        !read_flag(json, "lowercase", &step->bert.lowercase, err))
        return false;
    if (strip && !json_is_boolean(strip) && !json_is_null(strip))
        return error_set(err, "normalizer: \"strip_accents\" is neither true, false nor null");
    step->bert.strip_accents = json_is_boolean(strip) ? json_is_true(strip) : step->bert.lowercase;
    return true;
}

static bool read_replace(struct step *step, const json_t *json, struct error *err)
{
    const json_t *pattern = json_object_get(json, "pattern");
    const char *regex = json_string_value(json_object_get(pattern, "Regex"));
    if (!read_text(json, "content", &step->content, &step->n_content, err))
        return false;
    if (!regex) {
        step->kind = REPLACE;
        if (!read_text(pattern, "String", &step->pattern, &step->n_pattern, err))
            return false;
        return step->n_pattern || error_set(err, "normalizer: Replace of an empty pattern");
    }
    for (size_t i = 0; i < sizeof known_regex / sizeof *known_regex; i++)
        if (strcmp(regex, known_regex[i].pattern) == 0) {
            step->kind = known_regex[i].kind;
            return true;
        }
    return error_set(
        err, "normalizer: Replace with the regular expression \"%s\" is not known to Millet",
        regex);
}

static bool read_precompiled(struct step *step, const json_t *json, struct error *err)
{
    const json_t *value = json_object_get(json, "precompiled_charsmap");
    unsigned char *bytes = NULL;
    size_t n = 0;
    step->kind = PRECOMPILED;
    if (!json_is_string(value))
        return error_set(err, "normalizer: Precompiled has no \"precompiled_charsmap\"");
    if (!base64_decode(json_string_value(value), json_string_length(value), &bytes, &n, err))
        return error_at(err, "normalizer: precompiled_charsmap: ");
    step->map = charsmap_open(bytes, n, err);
    free(bytes);
    return step->map != NULL || error_at(err, "normalizer: precompiled_charsmap: ");
}

static bool read_step(struct step *step, const json_t *json, struct error *err)
{
    static const struct {
        const char *name;
        enum kind kind;
        enum unicode_form form;
    } plain[] = {{"NFC", FORM, UNICODE_NFC},
                 {"NFD", FORM, UNICODE_NFD},
                 {"NFKC", FORM, UNICODE_NFKC},
                 {"NFKD", FORM, UNICODE_NFKD},
                 {"Lowercase", LOWERCASE, 0},
                 {"StripAccents", STRIP_ACCENTS, 0},
                 {"Nmt", NMT, 0},
                 {"ByteLevel", BYTE_LEVEL, 0}};
    const char *type = json_string_value(json_object_get(json, "type"));
    if (!type)
        return error_set(err, "normalizer: a step has no \"type\"");
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        if (strcmp(type, plain[i].name) == 0) {
            step->kind = plain[i].kind;
            step->form = plain[i].form;
            return true;
        }
    if (strcmp(type, "BertNormalizer") == 0)
        return read_bert(step, json, err);
    if (strcmp(type, "Replace") == 0)
        return read_replace(step, json, err);
    if (strcmp(type, "Precompiled") == 0)
        return read_precompiled(step, json, err);
    step->kind = PREPEND;
    if (strcmp(type, "Prepend") == 0)
        return read_text(json, "prepend", &step->content, &step->n_content, err);
    step->kind = STRIP;
    if (strcmp(type, "Strip") == 0)
        return read_flag(json, "strip_left", &step->left, err) &&
               read_flag(json, "strip_right", &step->right, err);
    return error_set(err, "normalizer: \"%s\" is not known to Millet", type);
}

static bool read_steps(struct normaliser *normaliser, const json_t *json, unsigned depth,
                       struct error *err)
{
    const char *type = json_string_value(json_object_get(json, "type"));
    if (type && strcmp(type, "Sequence") == 0) {
        const json_t *list = json_object_get(json, "normalizers");
        if (!json_is_array(list) || depth == MAX_DEPTH)
            return error_set(err, "normalizer: a Sequence without \"normalizers\", or too deep");
        for (size_t i = 0; i < json_array_size(list); i++)
            if (!read_steps(normaliser, json_array_get(list, i), depth + 1, err))
                return false;
        return true;
    }
    if (normaliser->n == MAX_STEPS)
        return error_set(err, "normalizer: more than %d steps", MAX_STEPS);
    return read_step(&normaliser->step[normaliser->n++], json, err);
}

static bool maps_space_to_itself(const struct charsmap *map, bool *same, struct error *err)
{
    struct text_buffer out = {NULL, 0, 0};
    bool ok = charsmap_run(map, " ", 1, &out, err);
    *same = ok && out.n == 1 && out.bytes[0] == ' ';
    text_buffer_free(&out);
    return ok;
}

/* Each step alone keeps the promise of normaliser_is_local(), so all of them do: a step changes no
 * space by itself, looks at nothing across a space that is clean, and what it looks at across one
 * space after another (COLLAPSE) needs the part before to end in ' '. */
static bool find_locality(struct normaliser *normaliser, struct error *err)
{
    normaliser->local = true;
    for (size_t i = 0; i < normaliser->n; i++) {
        const struct step *step = &normaliser->step[i];
        bool local = step->kind == BERT || step->kind == FORM || step->kind == LOWERCASE ||
                     step->kind == STRIP_ACCENTS || step->kind == NMT;
        if (step->kind == REPLACE)
            local = !memchr(step->pattern, ' ', step->n_pattern);
        if (step->kind == COLLAPSE)
            local = step->n_content == 1 && step->content[0] == ' ';
        if (step->kind == PRECOMPILED && !maps_space_to_itself(step->map, &local, err))
            return false;
        normaliser->local &= local;
    }
    return true;
}

struct normaliser *normaliser_open(const json_t *json, struct error *err)
{
    struct normaliser *normaliser = memory_zeroed(1, sizeof *normaliser, err);
    if (normaliser && ((json && !json_is_null(json) && !read_steps(normaliser, json, 0, err)) ||
                       !find_locality(normaliser, err))) {
        normaliser_close(normaliser);
        return NULL;
    }
    return normaliser;
}

void normaliser_close(struct normaliser *normaliser)
{
    if (!normaliser)
        return;
    for (size_t i = 0; i < normaliser->n; i++) {
        free(normaliser->step[i].pattern);
        free(normaliser->step[i].content);
        charsmap_close(normaliser->step[i].map);
    }
    free(normaliser);
}

bool normaliser_is_bert(const struct normaliser *normaliser, struct bert_options *options)
{
    *options = (struct bert_options){false, false, false, false};
    if (normaliser->n == 1 && normaliser->step[0].kind == BERT)
        *options = normaliser->step[0].bert;
    return normaliser->n == 0 || (normaliser->n == 1 && normaliser->step[0].kind == BERT);
}

bool normaliser_is_local(const struct normaliser *normaliser)
{
    return normaliser->local;
}

void normaliser_scratch_free(struct normaliser_scratch *s)
{
    text_buffer_free(&s->text[0]);
    text_buffer_free(&s->text[1]);
    unicode_form_scratch_free(&s->form);
    free(s->code);
    *s = (struct normaliser_scratch){0};
}

/* ---- steps: each appends its result to out, which is empty ---- */

static bool is_ascii(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)text[i] >= 0x80)
            return false;
    return true;
}

/* The marks that stay after accents are stripped were ordered by the decomposition. */
static bool run_bert(const struct step *step, struct normaliser_scratch *s, const char *text,
                     size_t n, struct text_buffer *out, bool *head, struct error *err)
{
    const unsigned char *p = (const unsigned char *)text, *end = p + n;
    size_t used = 0;
    bool ordered = false;
    while (p < end) {
        struct bert_mapping m;
        bool first = (const char *)p == text;
        uint32_t code = utf8_next(&p);
        if (!memory_grow(&s->code, &s->n_codes, used + BERT_MAPPED_MAX + 2, sizeof *s->code, err))
            return false;
        bert_map(&step->bert, code, &m);
        bool apart = step->bert.chinese && m.n && codepoint_is_chinese(code);
        if (apart)
            s->code[used++] = ' ';
        memcpy(s->code + used, m.code, m.n * sizeof *m.code);
        used += m.n;
        if (apart)
            s->code[used++] = ' ';
        ordered |= m.ordered;
        if (first && !m.n)
            *head = false;
    }
    if (ordered)
        bert_order(s->code, used);
    if (!text_buffer_reserve(out, used * UTF8_MAX_BYTES, err))
        return false;
    for (size_t i = 0; i < used; i++)
        out->n += utf8_put(s->code[i], out->bytes + out->n);
    return true;
}

static bool run_lowercase(const char *text, size_t n, struct text_buffer *out, struct error *err)
{
    const unsigned char *p = (const unsigned char *)text, *end = p + n;
    if (!text_buffer_reserve(out, n * 3, err)) /* U+2126 and others: 2 bytes at most become 3 */
        return false;
    while (p < end) {
        if (*p < 0x80) {
            out->bytes[out->n++] = (char)(*p >= 'A' && *p <= 'Z' ? *p + 32 : *p);
            p++;
            continue;
        }
        uint32_t lower[CODEPOINT_LOWER_MAX];
        size_t parts = codepoint_lower(utf8_next(&p), lower);
        for (size_t i = 0; i < parts; i++)
            out->n += utf8_put(lower[i], out->bytes + out->n);
    }
    return true;
}

/* What SentencePiece's nmt rules do before NFKC: some controls go, some become spaces. */
static uint32_t nmt(uint32_t c)
{
    if ((c >= 1 && c <= 8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F || c == 0x8F ||
        c == 0x9F)
        return UINT32_MAX;
    bool space = c == 9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 ||
                 (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
                 c == 0xFEFF || c == 0xFFFD;
    return space ? ' ' : c;
}

/* Steps that keep, drop or change single characters for no more than as many bytes. */
static bool run_filter(enum kind kind, const char *text, size_t n, struct text_buffer *out,
                       bool *head, struct error *err)
{
    const unsigned char *p = (const unsigned char *)text, *end = p + n;
    if (!text_buffer_reserve(out, n, err))
        return false;
    while (p < end) {
        bool first = (const char *)p == text;
        uint32_t code = utf8_next(&p);
        if (kind == NMT)
            code = nmt(code);
        else if (codepoint_is_mark(code))
            code = UINT32_MAX;
        if (code != UINT32_MAX)
            out->n += utf8_put(code, out->bytes + out->n);
        else if (first)
            *head = false;
    }
    return true;
}

static bool run_strip(const struct step *step, const char *text, size_t n, struct text_buffer *out,
                      bool *head, struct error *err)
{
    const unsigned char *p = (const unsigned char *)text, *end = p + n, *next = p;
    while (step->left && p < end && (codepoint_is_space(utf8_next(&next))))
        p = next;
    while (step->right && p < end) {
        const unsigned char *last = end - 1;
        while ((*last & 0xC0) == 0x80)
            last--;
        next = last;
        if (!codepoint_is_space(utf8_next(&next)))
            break;
        end = last;
    }
    if ((const char *)p != text)
        *head = false;
    return text_buffer_add(out, (const char *)p, (size_t)(end - p), err);
}

/* What stands for a match stems, to Hugging Face, from the match's last character. */
static void note_match(const struct step *step, size_t n_characters, bool *head)
{
    if (step->n_content == 0 || n_characters > 1)
        *head = false;
}

static bool run_replace(const struct step *step, const char *text, size_t n,
                        struct text_buffer *out, bool *head, struct error *err)
{
    const char *p = text, *end = text + n, *found;
    const unsigned char *next = (const unsigned char *)step->pattern;
    utf8_next(&next);
    if (n >= step->n_pattern && memcmp(text, step->pattern, step->n_pattern) == 0)
        note_match(step, (const char *)next < step->pattern + step->n_pattern ? 2 : 1, head);
    while (p < end && (found = text_find(p, (size_t)(end - p), step->pattern, step->n_pattern))) {
        if (!text_buffer_add(out, p, (size_t)(found - p), err) ||
            !text_buffer_add(out, step->content, step->n_content, err))
            return false;
        p = found + step->n_pattern;
    }
    return text_buffer_add(out, p, (size_t)(end - p), err);
}

static bool run_runs(const struct step *step, const char *text, size_t n, struct text_buffer *out,
                     bool *head, struct error *err)
{
    const unsigned char *p = (const unsigned char *)text, *end = p + n;
    while (p < end) {
        const unsigned char *begin = p, *next = p;
        size_t count = 0;
        bool line = *p == '\n' || *p == '\r' || *p == '\t';
        for (; p < end; p = next, count++) {
            uint32_t code = utf8_next(&next);
            if (step->kind == COLLAPSE ? code != ' ' : !codepoint_is_space(code))
                break;
        }
        if (!count)
            p = next; /* not of a run */
        bool matched = count >= (step->kind == RUNS ? 1u : 2u) ||
                       (count == 1 && step->kind == SQUEEZE && line);
        if (matched && (const char *)begin == text)
            note_match(step, count, head);
        if (!(matched ? text_buffer_add(out, step->content, step->n_content, err)
                      : text_buffer_add(out, (const char *)begin, (size_t)(p - begin), err)))
            return false;
    }
    return true;
}

static bool run_step(const struct step *step, struct normaliser_scratch *s, const char *text,
                     size_t n, struct text_buffer *out, bool *head, struct error *err)
{
    switch (step->kind) {
    case BERT:
        return run_bert(step, s, text, n, out, head, err);
    case FORM:
        return unicode_form_run(step->form, text, n, &s->form, out, err);
    case LOWERCASE:
        return run_lowercase(text, n, out, err);
    case STRIP_ACCENTS:
    case NMT:
        return run_filter(step->kind, text, n, out, head, err);
    case STRIP:
        return run_strip(step, text, n, out, head, err);
    case REPLACE:
        return run_replace(step, text, n, out, head, err);
    case COLLAPSE:
    case SQUEEZE:
    case RUNS:
        return run_runs(step, text, n, out, head, err);
    case PREPEND:
        return text_buffer_add(out, step->content, n ? step->n_content : 0, err) &&
               text_buffer_add(out, text, n, err);
    case PRECOMPILED:
        return charsmap_run(step->map, text, n, out, err);
    case BYTE_LEVEL:
        return byte_level_map(text, n, out, err);
    }
    return false;
}

/* Steps that leave a text of ASCII as it is. */
static bool is_idle(const struct step *step, bool ascii)
{
    return ascii && (step->kind == FORM || step->kind == STRIP_ACCENTS);
}

bool normaliser_run(const struct normaliser *normaliser, struct normaliser_scratch *s,
                    const char *text, size_t n, const char **out, size_t *n_out, bool *head,
                    struct error *err)
{
    bool ascii = is_ascii(text, n);
    unsigned which = 0;
    *head = true;
    for (size_t i = 0; i < normaliser->n; i++) {
        const struct step *step = &normaliser->step[i];
        if (is_idle(step, ascii))
            continue;
        struct text_buffer *to = &s->text[which];
        to->n = 0;
        if (!run_step(step, s, text, n, to, head, err))
            return false;
        text = to->n ? to->bytes : "";
        n = to->n;
        ascii = is_ascii(text, n);
        which = !which;
    }
    *out = text;
    *n_out = n;
    return true;
}
