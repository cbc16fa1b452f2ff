/* decoder.c: see decoder.h. */
#include "text/decoder.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "text/byte_level.h"
#include "text/text_find.h"
#include "text/utf8.h"

enum { MAX_STEPS = 16, MAX_DEPTH = 8, BYTE_TOKEN = 6 /* "<0x41>" */ };

enum kind { WORDPIECE, METASPACE, BYTE_LEVEL, BYTE_FALLBACK, FUSE, STRIP, REPLACE, SUFFIX };

struct step {
    enum kind kind;
    char *text, *content; /* owned: prefix, replacement, pattern …; REPLACE: what it becomes */
    size_t n_text, n_content;
    bool keeps_first;   /* METASPACE: the first token's replacement becomes a space, too */
    bool cleanup;       /* WORDPIECE: English punctuation loses the space before it */
    size_t start, stop; /* STRIP: at most so many characters */
};

struct decoder {
    struct step step[MAX_STEPS];
    size_t n;
};

static const char place[] = "decoder";

/* ---- reading ---- */

static bool read_text(const json_t *json, const char *key, char **text, size_t *n,
                      struct error *err)
{
    const json_t *value = json_object_get(json, key);
    if (!json_is_string(value))
        return error_set(err, "%s: \"%s\" is no string", place, key);
    *n = json_string_length(value);
    *text = memory_copy(json_string_value(value), *n, err);
    return *text != NULL;
}

static bool read_replace(struct step *step, const json_t *json, struct error *err)
{
    const json_t *pattern = json_object_get(json, "pattern");
    if (!json_is_string(json_object_get(pattern, "String")))
        return error_set(err, "%s: Replace of another pattern than a string is not known to Millet",
                         place);
    return read_text(pattern, "String", &step->text, &step->n_text, err) &&
           (step->n_text || error_set(err, "%s: Replace of an empty pattern", place)) &&
           read_text(json, "content", &step->content, &step->n_content, err);
}

static bool read_wordpiece(struct step *step, const json_t *json, struct error *err)
{
    const json_t *cleanup = json_object_get(json, "cleanup");
    step->cleanup = json_is_true(cleanup);
    if (cleanup && !json_is_boolean(cleanup))
        return error_set(err, "%s: \"cleanup\" is neither true nor false", place);
    return read_text(json, "prefix", &step->text, &step->n_text, err);
}

static bool read_metaspace(struct step *step, const json_t *json, struct error *err)
{
    const char *scheme = json_string_value(json_object_get(json, "prepend_scheme"));
    step->keeps_first = json_is_false(json_object_get(json, "add_prefix_space")) ||
                        (scheme && strcmp(scheme, "never") == 0);
    return read_text(json, "replacement", &step->text, &step->n_text, err);
}

static bool read_strip(struct step *step, const json_t *json, struct error *err)
{
    double start = json_number_value(json_object_get(json, "start")),
           stop = json_number_value(json_object_get(json, "stop"));
    if (!(start >= 0 && start <= 1e6 && stop >= 0 && stop <= 1e6))
        return error_set(err, "%s: start or stop of Strip is outside 0 to 1000000", place);
    step->start = (size_t)start;
    step->stop = (size_t)stop;
    return read_text(json, "content", &step->text, &step->n_text, err);
}

static bool read_step(struct step *step, const char *type, const json_t *json, struct error *err)
{
    static const char *const name[] = {"WordPiece", "Metaspace", "ByteLevel", "ByteFallback",
                                       "Fuse",      "Strip",     "Replace",   "BPEDecoder"};
    size_t kind = 0;
    while (kind < sizeof name / sizeof *name && strcmp(type, name[kind]) != 0)
        kind++;
    step->kind = (enum kind)kind;
    switch (step->kind) {
    case WORDPIECE:
        return read_wordpiece(step, json, err);
    case METASPACE:
        return read_metaspace(step, json, err);
    case STRIP:
        return read_strip(step, json, err);
    case REPLACE:
        return read_replace(step, json, err);
    case SUFFIX:
        return read_text(json, "suffix", &step->text, &step->n_text, err);
    case BYTE_LEVEL:
    case BYTE_FALLBACK:
    case FUSE:
        return true;
    }
    return error_set(err, "%s: \"%s\" is not known to Millet", place, type);
}

static bool read_steps(struct decoder *decoder, const json_t *json, unsigned depth,
                       struct error *err)
{
    const char *type = json_string_value(json_object_get(json, "type"));
    if (!type)
        return error_set(err, "%s: a step has no \"type\"", place);
    if (strcmp(type, "Sequence") == 0) {
        const json_t *list = json_object_get(json, "decoders");
        if (!json_is_array(list) || depth == MAX_DEPTH)
            return error_set(err, "%s: a Sequence without \"decoders\", or too deep", place);
        for (size_t i = 0; i < json_array_size(list); i++)
            if (!read_steps(decoder, json_array_get(list, i), depth + 1, err))
                return false;
        return true;
    }
    if (decoder->n == MAX_STEPS)
        return error_set(err, "%s: more than %d steps", place, MAX_STEPS);
    return read_step(&decoder->step[decoder->n++], type, json, err);
}

struct decoder *decoder_open(const json_t *json, struct error *err)
{
    struct decoder *decoder = memory_zeroed(1, sizeof *decoder, err);
    if (decoder && json && !json_is_null(json) && !read_steps(decoder, json, 0, err)) {
        decoder_close(decoder);
        return NULL;
    }
    return decoder;
}

void decoder_close(struct decoder *decoder)
{
    if (!decoder)
        return;
    for (size_t i = 0; i < decoder->n; i++) {
        free(decoder->step[i].text);
        free(decoder->step[i].content);
    }
    free(decoder);
}

void decoder_tokens_free(struct decoder_tokens *tokens)
{
    text_buffer_free(&tokens->text);
    free(tokens->token);
    *tokens = (struct decoder_tokens){0};
}

/* A token begins where the text ends. */
static bool begin_token(struct decoder_tokens *tokens, struct error *err)
{
    if (!memory_grow(&tokens->token, &tokens->capacity, tokens->n + 1, sizeof *tokens->token, err))
        return false;
    tokens->token[tokens->n++] = (struct decoder_token){tokens->text.n, 0};
    return true;
}

static void end_token(struct decoder_tokens *tokens)
{
    struct decoder_token *last = &tokens->token[tokens->n - 1];
    last->n = tokens->text.n - last->begin;
}

bool decoder_tokens_add(struct decoder_tokens *tokens, const char *text, size_t n,
                        struct error *err)
{
    if (!begin_token(tokens, err) || !text_buffer_add(&tokens->text, text, n, err))
        return false;
    end_token(tokens);
    return true;
}

/* ---- steps ---- */

static bool replace(const char *p, size_t n, const char *pattern, size_t n_pattern,
                    const char *content, size_t n_content, struct text_buffer *out,
                    struct error *err)
{
    const char *end = p + n, *found;
    while (n_pattern && p < end && (found = text_find(p, (size_t)(end - p), pattern, n_pattern))) {
        if (!text_buffer_add(out, p, (size_t)(found - p), err) ||
            !text_buffer_add(out, content, n_content, err))
            return false;
        p = found + n_pattern;
    }
    return text_buffer_add(out, p, (size_t)(end - p), err);
}

static bool starts_with(const struct step *step, const char *p, size_t n)
{
    return step->n_text && n >= step->n_text && memcmp(p, step->text, step->n_text) == 0;
}

static bool run_strip(const struct step *step, const char *p, size_t n, struct text_buffer *out,
                      struct error *err)
{
    for (size_t i = 0; i < step->start && starts_with(step, p, n); i++) {
        p += step->n_text;
        n -= step->n_text;
    }
    for (size_t i = 0; i < step->stop && n >= step->n_text &&
                       starts_with(step, p + n - step->n_text, step->n_text);
         i++)
        n -= step->n_text;
    return text_buffer_add(out, p, n, err);
}

/* English punctuation and contractions as Hugging Face's tokenizers rewrite them, one after the
 * other; nothing gets longer. Returns what is left of n bytes. */
static size_t clean_up(char *text, size_t n)
{
    static const char *const rewrite[][2] = {
        {" .", "."},   {" ?", "?"},     {" !", "!"},    {" ,", ","},
        {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},  {" do not", " don't"},
        {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
    for (size_t i = 0; i < sizeof rewrite / sizeof *rewrite; i++) {
        const char *from = rewrite[i][0], *to = rewrite[i][1];
        char *at = text, *put = text, *end = text + n;
        const char *found;
        while ((found = text_find(at, (size_t)(end - at), from, strlen(from)))) {
            memmove(put, at, (size_t)(found - at));
            put += found - at;
            memcpy(put, to, strlen(to));
            put += strlen(to);
            at += (size_t)(found - at) + strlen(from);
        }
        memmove(put, at, (size_t)(end - at));
        n = (size_t)(put - text) + (size_t)(end - at);
    }
    return n;
}

static bool run_wordpiece(const struct step *step, bool first, const char *p, size_t n,
                          struct text_buffer *out, struct error *err)
{
    size_t begin = out->n, mark = !first && starts_with(step, p, n) ? step->n_text : 0;
    if ((!first && !mark && !text_buffer_add(out, " ", 1, err)) ||
        !text_buffer_add(out, p + mark, n - mark, err))
        return false;
    if (step->cleanup && out->n > begin)
        out->n = begin + clean_up(out->bytes + begin, out->n - begin);
    return true;
}

/* Steps that treat each token by itself. */
static bool run_token(const struct step *step, size_t i, size_t n_tokens, const char *p, size_t n,
                      struct text_buffer *out, struct error *err)
{
    switch (step->kind) {
    case WORDPIECE:
        return run_wordpiece(step, i == 0, p, n, out, err);
    case METASPACE:
        return replace(p, n, step->text, step->n_text, " ", i || step->keeps_first, out, err);
    case SUFFIX:
        return replace(p, n, step->text, step->n_text, " ", i + 1 < n_tokens, out, err);
    case REPLACE:
        return replace(p, n, step->text, step->n_text, step->content, step->n_content, out, err);
    case STRIP:
        return run_strip(step, p, n, out, err);
    case BYTE_LEVEL:
    case BYTE_FALLBACK:
    case FUSE:
        break;
    }
    return text_buffer_add(out, p, n, err);
}

/* The byte of "<0x41>"; -1: it is another token. */
static int byte_of(const char *p, size_t n)
{
    char digits[3] = {0};
    char *end;
    if (n != BYTE_TOKEN || memcmp(p, "<0x", 3) != 0 || p[5] != '>')
        return -1;
    memcpy(digits, p + 3, 2);
    long value = strtol(digits, &end, 16);
    return *end || digits[0] == ' ' || digits[0] == '-' ? -1 : (int)value;
}

/* Bytes in a row become one token, or as many U+FFFD as they are. */
static bool put_bytes(struct decoder_tokens *to, const char *bytes, size_t n, struct error *err)
{
    char replacement[UTF8_MAX_BYTES];
    size_t length = utf8_put(UTF8_REPLACEMENT, replacement);
    if (!n)
        return true;
    if (utf8_valid_prefix(bytes, n) == n)
        return decoder_tokens_add(to, bytes, n, err);
    for (size_t i = 0; i < n; i++)
        if (!decoder_tokens_add(to, replacement, length, err))
            return false;
    return true;
}

static bool run_bytes(const struct decoder_tokens *from, struct decoder_tokens *to,
                      struct error *err)
{
    struct text_buffer bytes = {NULL, 0, 0};
    bool ok = true;
    for (size_t i = 0; ok && i <= from->n; i++) {
        const char *p = i < from->n ? from->text.bytes + from->token[i].begin : "";
        size_t n = i < from->n ? from->token[i].n : 0;
        int byte = byte_of(p, n);
        if (byte >= 0) {
            ok = text_buffer_add(&bytes, &(char){(char)byte}, 1, err);
            continue;
        }
        ok = put_bytes(to, bytes.bytes, bytes.n, err) &&
             (i == from->n || decoder_tokens_add(to, p, n, err));
        bytes.n = 0;
    }
    text_buffer_free(&bytes);
    return ok;
}

/* All tokens' bytes in one token, mended where they are no UTF-8. */
static bool run_byte_level(const struct decoder_tokens *from, struct decoder_tokens *to,
                           struct error *err)
{
    struct text_buffer bytes = {NULL, 0, 0};
    size_t n_invalid = 0;
    bool ok = begin_token(to, err);
    for (size_t i = 0; ok && i < from->n; i++)
        ok = byte_level_unmap(from->text.bytes + from->token[i].begin, from->token[i].n, &bytes,
                              err);
    ok = ok && text_buffer_reserve(&to->text, 3 * bytes.n, err);
    if (ok && bytes.n)
        to->text.n += utf8_repair(bytes.bytes, bytes.n, to->text.bytes + to->text.n, &n_invalid);
    if (ok)
        end_token(to);
    text_buffer_free(&bytes);
    return ok;
}

static bool run_step(const struct step *step, const struct decoder_tokens *from,
                     struct decoder_tokens *to, struct error *err)
{
    if (step->kind == BYTE_LEVEL)
        return run_byte_level(from, to, err);
    if (step->kind == BYTE_FALLBACK)
        return run_bytes(from, to, err);
    if (step->kind == FUSE)
        return decoder_tokens_add(to, from->text.bytes, from->text.n, err);
    for (size_t i = 0; i < from->n; i++) {
        if (!begin_token(to, err) ||
            !run_token(step, i, from->n, from->text.bytes + from->token[i].begin, from->token[i].n,
                       &to->text, err))
            return false;
        end_token(to);
    }
    return true;
}

bool decoder_run(const struct decoder *decoder, struct decoder_tokens *tokens,
                 struct text_buffer *out, struct error *err)
{
    for (size_t i = 0; tokens->n && i < decoder->n; i++) {
        struct decoder_tokens to = {0};
        bool ok = run_step(&decoder->step[i], tokens, &to, err);
        decoder_tokens_free(tokens);
        *tokens = to;
        if (!ok)
            return false;
    }
    for (size_t i = 0; i < tokens->n; i++)
        if ((i && !decoder->n && !text_buffer_add(out, " ", 1, err)) ||
            (tokens->token[i].n && /* where all are empty there are no bytes to point into */
             !text_buffer_add(out, tokens->text.bytes + tokens->token[i].begin, tokens->token[i].n,
                              err)))
            return false;
    return true;
}
