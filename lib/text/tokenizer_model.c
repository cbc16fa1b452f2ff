/* tokenizer_model.c: see tokenizer_model.h. Vocabulary and merges are scanned, not parsed into
 * objects: 250 000 entries take milliseconds; what is small is parsed by jansson. */
#include "text/tokenizer_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/number.h"

enum { MAX_WORD_CODES = 10000, MAX_NUMBER = 64 };

struct model {
    json_t *options;         /* all members but vocab and merges */
    struct json_scan merges; /* where they begin; at NULL: there are none */
    bool scored;             /* vocab is Unigram's array */
};

bool tokenizer_model_vocabulary(struct tokenizer_spec *spec, struct json_scan *scan,
                                struct error *err)
{
    struct json_text piece = {0};
    bool first = true;
    int more = -1;
    if (json_scan_enter(scan, '{', err))
        while ((more = json_scan_next(scan, &first, &piece, err)) > 0) {
            int64_t id;
            if (!json_scan_integer(scan, &id, err) ||
                !tokenizer_spec_piece(spec, id, piece.bytes, piece.n, err)) {
                more = -1;
                break;
            }
        }
    json_text_free(&piece);
    return more == 0;
}

/* Exactly rounded: 10 to the 22 and less are doubles. */
static double power_of_ten(int exponent)
{
    static const double power[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                   1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                   1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    char text[16];
    if ((size_t)exponent < sizeof power / sizeof *power)
        return power[exponent];
    snprintf(text, sizeof text, "1e%d", exponent);
    return strtod(text, NULL);
}

/* A number beyond these is as good as they are, and sums with it do not overflow. */
static int written_exponent(const char *digits)
{
    static const int most = 100000;
    long value = strtol(digits, NULL, 10);
    return value > most ? most : value < -most ? -most : (int)value;
}

/* A number as serde_json, which reads tokenizer.json for Hugging Face's tokenizers, takes it: its
 * digits as an integer, rounded, then times or by a power of ten, rounded again. That can be one
 * unit in the last place off, which decides between segmentations of equal score. */
static double twice_rounded(const char *p, const char *end)
{
    static const int most = 308; /* powers of ten that are doubles */
    bool negative = *p == '-', fraction = false;
    uint64_t digits = 0;
    int exponent = 0;
    for (p += negative; p < end && *p != 'e' && *p != 'E'; p++) {
        if (*p == '.') {
            fraction = true;
            continue;
        }
        uint64_t digit = (uint64_t)(*p - '0');
        if (digits > UINT64_MAX / 10 || (digits == UINT64_MAX / 10 && digit > UINT64_MAX % 10)) {
            exponent += !fraction; /* further digits do not count */
            continue;
        }
        digits = digits * 10 + digit;
        exponent -= fraction;
    }
    if (p < end)
        exponent += written_exponent(p + 1);
    double value = (double)digits;
    for (; exponent < -most && value > 0; exponent += most)
        value /= 1e308;
    if (exponent > most)
        value = value > 0 ? INFINITY : 0;
    else if (value > 0) {
        double power = power_of_ten(exponent < 0 ? -exponent : exponent);
        value = exponent < 0 ? value / power : value * power;
    }
    return negative ? -value : value;
}

/* The same for most numbers: few digits and no exponent. */
static bool quotient(const char *bytes, size_t n, double *value)
{
    bool negative;
    uint64_t digits;
    unsigned behind;
    if (!number_digits(bytes, n, &negative, &digits, &behind))
        return false;
    *value = (double)digits / power_of_ten((int)behind);
    *value = negative ? -*value : *value;
    return true;
}

/* bytes: of a JSON value. */
static bool read_number(const struct json_scan *scan, const char *bytes, size_t n, bool exact,
                        double *value, struct error *err)
{
    char text[MAX_NUMBER + 1];
    if (exact ? number_decimal(bytes, n, value) : quotient(bytes, n, value))
        return true;
    if (n > MAX_NUMBER || (*bytes != '-' && (*bytes < '0' || *bytes > '9')))
        return error_set(err, "column %zu: a score is no number of at most %d digits",
                         (size_t)(bytes - scan->begin) + 1, MAX_NUMBER);
    memcpy(text, bytes, n);
    text[n] = 0;
    *value = exact ? strtod(text, NULL) : twice_rounded(text, text + n);
    return isfinite(*value) || error_set(err, "column %zu: the score %s is not a finite number",
                                         (size_t)(bytes - scan->begin) + 1, text);
}

static bool scan_number(struct json_scan *scan, bool exact, double *value, struct error *err)
{
    const char *bytes;
    size_t n;
    return json_scan_skip(scan, &bytes, &n, err) && read_number(scan, bytes, n, exact, value, err);
}

/* ["piece", -3.25] */
static bool scan_scored(struct tokenizer_spec *spec, int64_t id, struct json_text *piece,
                        struct json_scan *scan, struct error *err)
{
    bool first = true;
    double score = 0;
    const char *number;
    size_t n;
    if (json_scan_pair(scan, piece, &number, &n))
        return read_number(scan, number, n, spec->exact_scores, &score, err) &&
               tokenizer_spec_scored(spec, id, piece->bytes, piece->n, score, err);
    if (!json_scan_enter(scan, '[', err))
        return false;
    if (json_scan_next(scan, &first, NULL, err) <= 0 || !json_scan_string(scan, piece, err) ||
        json_scan_next(scan, &first, NULL, err) <= 0 ||
        !scan_number(scan, spec->exact_scores, &score, err) ||
        json_scan_next(scan, &first, NULL, err) != 0)
        return error_set(err, "the vocabulary's item %lld is not a piece and its score",
                         (long long)id);
    return tokenizer_spec_scored(spec, id, piece->bytes, piece->n, score, err);
}

static bool scan_scores(struct tokenizer_spec *spec, struct json_scan *scan, struct error *err)
{
    struct json_text piece = {0};
    bool first = true;
    int more = -1;
    if (json_scan_enter(scan, '[', err))
        for (int64_t id = 0; (more = json_scan_next(scan, &first, NULL, err)) > 0; id++)
            if (!scan_scored(spec, id, &piece, scan, err)) {
                more = -1;
                break;
            }
    json_text_free(&piece);
    return more == 0;
}

/* "a b" */
static bool add_joined(struct tokenizer_spec *spec, const struct json_text *text, struct error *err)
{
    const char *space = memchr(text->bytes, ' ', text->n);
    size_t n = space ? (size_t)(space - text->bytes) : 0;
    if (!space || memchr(space + 1, ' ', text->n - n - 1))
        return error_set(err, "merge %zu is not two pieces with a space between",
                         spec->n_merges + 1);
    return tokenizer_spec_merge(spec, text->bytes, n, space + 1, text->n - n - 1, err);
}

/* ["a", "b"] */
static bool scan_pair(struct tokenizer_spec *spec, struct json_text part[2], struct json_scan *scan,
                      struct error *err)
{
    bool first = true;
    if (!json_scan_enter(scan, '[', err))
        return false;
    if (json_scan_next(scan, &first, NULL, err) <= 0 || !json_scan_string(scan, &part[0], err) ||
        json_scan_next(scan, &first, NULL, err) <= 0 || !json_scan_string(scan, &part[1], err) ||
        json_scan_next(scan, &first, NULL, err) != 0)
        return error_set(err, "merge %zu is not a pair of pieces", spec->n_merges + 1);
    return tokenizer_spec_merge(spec, part[0].bytes, part[0].n, part[1].bytes, part[1].n, err);
}

static bool scan_merges(struct tokenizer_spec *spec, struct json_scan *scan, struct error *err)
{
    struct json_text part[2] = {{0}, {0}};
    bool first = true;
    int more = -1;
    if (json_scan_enter(scan, '[', err))
        while ((more = json_scan_next(scan, &first, NULL, err)) > 0) {
            bool pair = json_scan_peek(scan) == '[';
            if (!(pair
                      ? scan_pair(spec, part, scan, err)
                      : json_scan_string(scan, &part[0], err) && add_joined(spec, &part[0], err))) {
                more = -1;
                break;
            }
        }
    json_text_free(&part[0]);
    json_text_free(&part[1]);
    return more == 0;
}

/* ---- members ---- */

static bool is(const struct json_text *key, const char *name)
{
    return key->n == strlen(name) && memcmp(key->bytes, name, key->n) == 0;
}

static bool scan_option(struct model *model, const struct json_text *key, struct json_scan *scan,
                        struct error *err)
{
    const char *bytes;
    size_t n;
    if (!json_scan_skip(scan, &bytes, &n, err))
        return false;
    json_t *value =
        json_loadb(bytes, n, JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, NULL);
    char *name = memory_copy(key->bytes, key->n, err);
    bool ok = name && value && json_object_set(model->options, name, value) == 0;
    if (name && !ok)
        error_set(err, "\"%s\" of the model cannot be read", name);
    free(name);
    json_decref(value);
    return ok;
}

static bool scan_members(struct tokenizer_spec *spec, struct model *model, struct json_scan *scan,
                         struct error *err)
{
    struct json_text key = {0};
    bool first = true;
    int more = -1;
    if (json_scan_enter(scan, '{', err))
        while ((more = json_scan_next(scan, &first, &key, err)) > 0) {
            bool ok;
            if (is(&key, "merges")) {
                json_scan_peek(scan);
                model->merges = *scan; /* read when the vocabulary is known */
                ok = json_scan_skip(scan, NULL, NULL, err);
            } else if (!is(&key, "vocab"))
                ok = scan_option(model, &key, scan, err);
            else {
                model->scored = json_scan_peek(scan) == '[';
                ok = model->scored ? scan_scores(spec, scan, err)
                                   : tokenizer_model_vocabulary(spec, scan, err);
            }
            if (!ok) {
                more = -1;
                break;
            }
        }
    json_text_free(&key);
    return more == 0;
}

/* ---- options ---- */

static bool read_kind(struct tokenizer_spec *spec, const struct model *model, struct error *err)
{
    static const char *const name[] = {"WordPiece", "Unigram", "BPE"};
    const json_t *type = json_object_get(model->options, "type");
    if (!type) { /* files of old versions have none */
        spec->kind = model->scored      ? TOKENIZER_UNIGRAM
                     : model->merges.at ? TOKENIZER_BPE
                                        : TOKENIZER_WORDPIECE;
        return true;
    }
    const char *found = json_is_string(type) ? json_string_value(type) : "(no string)";
    for (size_t i = 0; i < sizeof name / sizeof *name; i++)
        if (strcmp(found, name[i]) == 0) {
            spec->kind = (enum tokenizer_kind)i;
            if (model->scored == (spec->kind == TOKENIZER_UNIGRAM))
                return true;
            return error_set(err, "the vocabulary of a %s model is %s", found,
                             model->scored ? "an array, not an object"
                                           : "no array of pieces and scores");
        }
    return error_set(err, "the model is of type \"%s\"; Millet reads WordPiece, Unigram and BPE",
                     found);
}

/* Options that change what is learnt or drawn at random have to be off. */
static bool refuse_options(const struct tokenizer_spec *spec, const json_t *options,
                           struct error *err)
{
    static const char *const refused[] = {"dropout", "alpha", "nbest_size", "end_of_word_suffix",
                                          "continuing_subword_prefix"};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        const json_t *value = json_object_get(options, refused[i]);
        bool off = !value || json_is_null(value) ||
                   (json_is_string(value) && json_string_length(value) == 0) ||
                   (json_is_number(value) && json_number_value(value) == 0);
        bool prefix = spec->kind == TOKENIZER_WORDPIECE && i == 4;
        if (!off && !prefix)
            return error_set(err, "the model's \"%s\" is set, which Millet does not know",
                             refused[i]);
    }
    return true;
}

static bool read_unknown(struct tokenizer_spec *spec, const json_t *options, struct error *err)
{
    const json_t *id = json_object_get(options, "unk_id"),
                 *token = json_object_get(options, "unk_token");
    const char *usual = spec->kind == TOKENIZER_WORDPIECE ? "[UNK]" : NULL;
    if (spec->kind == TOKENIZER_UNIGRAM) {
        if (!id || json_is_null(id))
            return true;
        double value = json_number_value(id);
        if (!json_is_number(id) || !(value >= 0 && value < (double)spec->n_pieces))
            return error_set(err, "unk_id is not the id of a piece");
        spec->unknown = (int32_t)value;
        return true;
    }
    const char *text = json_is_string(token) ? json_string_value(token) : usual;
    if (!text)
        return true;
    spec->unknown = tokenizer_spec_find(spec, text, strlen(text));
    spec->unknown_text = memory_copy(text, strlen(text), err);
    if (!spec->unknown_text)
        return false;
    return spec->unknown >= 0 ||
           error_set(err, "the unknown token \"%s\" is not in the vocabulary", text);
}

static bool read_max_word(struct tokenizer_spec *spec, const json_t *options, struct error *err)
{
    const json_t *most = json_object_get(options, "max_input_chars_per_word");
    double codes = most ? json_number_value(most) : (double)spec->max_word;
    if (!(codes >= 1 && codes <= MAX_WORD_CODES))
        return error_set(err, "max_input_chars_per_word is %g; allowed is 1 to %d", codes,
                         MAX_WORD_CODES);
    spec->max_word = (size_t)codes;
    return true;
}

static bool read_prefix(struct tokenizer_spec *spec, const json_t *options, struct error *err)
{
    const json_t *prefix = json_object_get(options, "continuing_subword_prefix");
    free(spec->prefix);
    spec->prefix = json_is_string(prefix)
                       ? memory_copy(json_string_value(prefix), json_string_length(prefix), err)
                       : memory_copy("##", 2, err);
    return spec->prefix != NULL;
}

static bool read_flag(const json_t *options, const char *key, bool *flag, struct error *err)
{
    const json_t *value = json_object_get(options, key);
    *flag = json_is_true(value);
    return !value || json_is_null(value) || json_is_boolean(value) ||
           error_set(err, "the model's \"%s\" is neither true nor false", key);
}

static bool read_options(struct tokenizer_spec *spec, const struct model *model, struct error *err)
{
    const json_t *options = model->options;
    if (!read_kind(spec, model, err) || !refuse_options(spec, options, err))
        return false;
    if (!spec->n_pieces)
        return error_set(err, "there is no model with a vocabulary");
    if ((spec->kind == TOKENIZER_WORDPIECE && !read_prefix(spec, options, err)) ||
        !tokenizer_spec_index(spec, err) ||
        (!model->scored && !tokenizer_spec_check_ids(spec, err)) ||
        !read_unknown(spec, options, err) ||
        !read_flag(options, "byte_fallback", &spec->byte_fallback, err) ||
        !read_flag(options, "fuse_unk", &spec->fuse_unknown, err) ||
        !read_flag(options, "ignore_merges", &spec->ignore_merges, err))
        return false;
    if (spec->kind == TOKENIZER_WORDPIECE)
        return read_max_word(spec, options, err);
    struct json_scan merges = model->merges;
    return spec->kind != TOKENIZER_BPE || !merges.at || scan_merges(spec, &merges, err);
}

bool tokenizer_model_read(struct tokenizer_spec *spec, struct json_scan *scan, struct error *err)
{
    struct model model = {.options = json_object()};
    bool ok = model.options
                  ? scan_members(spec, &model, scan, err) && read_options(spec, &model, err)
                  : error_set(err, "no memory for the tokenizer's model");
    json_decref(model.options);
    return ok;
}
