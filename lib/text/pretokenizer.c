/* pretokenizer.c: see pretokenizer.h. A step goes through the words of the step before: each is
 * cut at what the step matches, the matches treated by one of five behaviours. */
#include "text/pretokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "text/byte_level.h"
#include "text/codepoint.h"
#include "text/text_find.h"
#include "text/utf8.h"

enum { MAX_STEPS = 32, MAX_DEPTH = 8 };

enum kind { SPACES, WORDS, PUNCTUATION, DIGITS, LITERAL, METASPACE, BYTE_MAP };
enum behaviour { REMOVED, ISOLATED, MERGED_WITH_PREVIOUS, MERGED_WITH_NEXT, CONTIGUOUS };
enum scheme { NEVER, FIRST, ALWAYS };

struct step {
    enum kind kind;
    enum behaviour behaviour;
    bool invert;
    char *text; /* LITERAL: the pattern; METASPACE: the replacement; owned */
    size_t n;
    enum scheme scheme; /* METASPACE and BYTE_MAP: whether to put the replacement in front */
    bool split;         /* METASPACE, BYTE_MAP */
};

struct pretokenizer {
    struct step step[MAX_STEPS];
    size_t n;
    bool bert;
};

/* ---- reading ---- */

static const char place[] = "pre_tokenizer";

static bool read_flag(const json_t *json, const char *key, bool absent, bool *flag,
                      struct error *err)
{
    const json_t *value = json_object_get(json, key);
    *flag = absent;
    if (!value)
        return true;
    if (!json_is_boolean(value))
        return error_set(err, "%s: \"%s\" is neither true nor false", place, key);
    *flag = json_is_true(value);
    return true;
}

static bool read_behaviour(const json_t *json, enum behaviour *behaviour, struct error *err)
{
    static const char *const name[] = {"Removed", "Isolated", "MergedWithPrevious",
                                       "MergedWithNext", "Contiguous"};
    const json_t *value = json_object_get(json, "behavior");
    *behaviour = ISOLATED;
    if (!value)
        return true;
    for (size_t i = 0; i < sizeof name / sizeof *name; i++)
        if (json_is_string(value) && strcmp(json_string_value(value), name[i]) == 0) {
            *behaviour = (enum behaviour)i;
            return true;
        }
    return error_set(err, "%s: behavior \"%s\" is not known to Millet", place,
                     json_is_string(value) ? json_string_value(value) : "(no string)");
}

static bool read_metaspace(struct step *step, const json_t *json, struct error *err)
{
    static const char *const name[] = {"never", "first", "always"};
    const json_t *replacement = json_object_get(json, "replacement");
    const json_t *scheme = json_object_get(json, "prepend_scheme");
    bool prefix;
    size_t which = ALWAYS;
    step->kind = METASPACE;
    step->n = json_string_length(replacement);
    const char *text = json_string_value(replacement);
    if (!step->n || utf8_valid_prefix(text, step->n) != step->n)
        return error_set(err, "%s: the replacement of Metaspace is no character", place);
    step->text = memory_copy(text, step->n, err);
    if (!step->text || !read_flag(json, "split", true, &step->split, err) ||
        !read_flag(json, "add_prefix_space", true, &prefix, err))
        return false;
    if (json_is_string(scheme))
        for (which = 0; which < 3 && strcmp(json_string_value(scheme), name[which]); which++)
            ;
    if ((scheme && !json_is_string(scheme)) || which == 3)
        return error_set(err, "%s: prepend_scheme of Metaspace is not always, never or first",
                         place);
    if (!prefix && scheme && which != NEVER)
        return error_set(err, "%s: add_prefix_space false contradicts prepend_scheme \"%s\"", place,
                         name[which]);
    step->scheme = prefix ? (enum scheme)which : NEVER;
    return true;
}

static bool read_byte_level(struct step *step, const json_t *json, struct error *err)
{
    bool prefix;
    step->kind = BYTE_MAP;
    if (!read_flag(json, "add_prefix_space", true, &prefix, err) ||
        !read_flag(json, "use_regex", true, &step->split, err))
        return false;
    step->scheme = prefix ? ALWAYS : NEVER;
    step->text = memory_copy(" ", 1, err);
    step->n = 1;
    return step->text != NULL;
}

static bool read_literal(struct step *step, const json_t *value, struct error *err)
{
    step->kind = LITERAL;
    step->n = json_string_length(value);
    step->text = step->n ? memory_copy(json_string_value(value), step->n, err) : NULL;
    return step->text != NULL ||
           error_set(err, "%s: a pattern that is an empty string is not known to Millet", place);
}

static bool read_split(struct step *step, const json_t *json, struct error *err)
{
    const json_t *pattern = json_object_get(json, "pattern");
    const char *regex = json_string_value(json_object_get(pattern, "Regex"));
    if (regex)
        return error_set(err, "%s: Split with the regular expression \"%s\" is not known to Millet",
                         place, regex);
    return read_behaviour(json, &step->behaviour, err) &&
           read_flag(json, "invert", false, &step->invert, err) &&
           read_literal(step, json_object_get(pattern, "String"), err);
}

static bool read_digits(struct step *step, const json_t *json, struct error *err)
{
    bool single;
    step->kind = DIGITS;
    if (!read_flag(json, "individual_digits", false, &single, err))
        return false;
    step->behaviour = single ? ISOLATED : CONTIGUOUS;
    return true;
}

static bool read_step(struct pretokenizer *p, const char *type, const json_t *json,
                      struct error *err)
{
    struct step *step = &p->step[p->n++];
    step->behaviour = REMOVED;
    if (strcmp(type, "BertPreTokenizer") == 0) {
        step->kind = SPACES;
        p->step[p->n++] = (struct step){.kind = PUNCTUATION, .behaviour = ISOLATED};
        return true;
    }
    step->kind = SPACES;
    if (strcmp(type, "WhitespaceSplit") == 0)
        return true;
    step->kind = WORDS;
    if (strcmp(type, "Whitespace") == 0)
        return true;
    step->kind = PUNCTUATION;
    if (strcmp(type, "Punctuation") == 0)
        return read_behaviour(json, &step->behaviour, err);
    if (strcmp(type, "CharDelimiterSplit") == 0)
        return read_literal(step, json_object_get(json, "delimiter"), err);
    if (strcmp(type, "Digits") == 0)
        return read_digits(step, json, err);
    if (strcmp(type, "Split") == 0)
        return read_split(step, json, err);
    if (strcmp(type, "Metaspace") == 0)
        return read_metaspace(step, json, err);
    if (strcmp(type, "ByteLevel") == 0)
        return read_byte_level(step, json, err);
    return error_set(err, "%s: \"%s\" is not known to Millet", place, type);
}

static bool read_steps(struct pretokenizer *p, const json_t *json, unsigned depth,
                       struct error *err)
{
    const char *type = json_string_value(json_object_get(json, "type"));
    if (!type)
        return error_set(err, "%s: a step has no \"type\"", place);
    if (strcmp(type, "Sequence") == 0) {
        const json_t *list = json_object_get(json, "pretokenizers");
        if (!json_is_array(list) || depth == MAX_DEPTH)
            return error_set(err, "%s: a Sequence without \"pretokenizers\", or too deep", place);
        for (size_t i = 0; i < json_array_size(list); i++)
            if (!read_steps(p, json_array_get(list, i), depth + 1, err))
                return false;
        return true;
    }
    if (p->n + 2 > MAX_STEPS)
        return error_set(err, "%s: more than %d steps", place, MAX_STEPS);
    p->bert = p->n == 0 && strcmp(type, "BertPreTokenizer") == 0;
    return read_step(p, type, json, err);
}

struct pretokenizer *pretokenizer_open(const json_t *json, struct error *err)
{
    struct pretokenizer *p = memory_zeroed(1, sizeof *p, err);
    if (p && json && !json_is_null(json) && !read_steps(p, json, 0, err)) {
        pretokenizer_close(p);
        return NULL;
    }
    return p;
}

void pretokenizer_close(struct pretokenizer *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->n; i++)
        free(p->step[i].text);
    free(p);
}

bool pretokenizer_is_bert(const struct pretokenizer *p)
{
    return p->bert && p->n == 2;
}

/* The first step decides: the ones after it look at single words. Metaspace begins a word at each
 * space, the byte-level pattern at each run of white space (its last space, if a word follows). */
enum pretokenizer_joint pretokenizer_joint(const struct pretokenizer *p)
{
    if (!p->n)
        return JOINT_NONE;
    const struct step *step = &p->step[0];
    if (step->kind == SPACES || step->kind == WORDS)
        return JOINT_FREE;
    return (step->kind == METASPACE || step->kind == BYTE_MAP) && step->split ? JOINT_SPACE
                                                                              : JOINT_NONE;
}

void pretokens_free(struct pretokens *words)
{
    free(words->word);
    free(words->spare);
    text_buffer_free(&words->own[0]);
    text_buffer_free(&words->own[1]);
    *words = (struct pretokens){0};
}

/* ---- cutting ---- */

static bool put(struct pretokens *words, size_t begin, size_t n, bool head, struct error *err)
{
    if (!n)
        return true;
    if (words->n_spare == words->spare_capacity &&
        !memory_grow(&words->spare, &words->spare_capacity, words->n_spare + 1,
                     sizeof *words->spare, err))
        return false;
    words->spare[words->n_spare++] = (struct pretoken){begin, n, head};
    return true;
}

/* What one word becomes, piece after piece. */
struct cutting {
    struct pretokens *words;
    struct pretoken whole;
    enum behaviour behaviour;
    size_t first;   /* in spare: pieces before it are of other words */
    bool was_match; /* the piece before */
    bool waiting;   /* MERGED_WITH_NEXT: a match that may join the next piece */
    size_t waiting_begin, waiting_n;
    struct error *err;
};

static bool put_piece(struct cutting *c, size_t begin, size_t n)
{
    return put(c->words, begin, n, c->whole.head && begin == c->whole.begin, c->err);
}

static bool flush(struct cutting *c)
{
    bool waits = c->waiting;
    c->waiting = false;
    return !waits || put_piece(c, c->waiting_begin, c->waiting_n);
}

static bool add(struct cutting *c, size_t begin, size_t n, bool match)
{
    struct pretokens *words = c->words;
    bool had = words->n_spare > c->first, was_match = c->was_match;
    if (!n)
        return true;
    c->was_match = match;
    switch (c->behaviour) {
    case REMOVED:
        return match || put_piece(c, begin, n);
    case ISOLATED:
        break;
    case MERGED_WITH_PREVIOUS:
        if (match && !was_match && had) {
            words->spare[words->n_spare - 1].n += n;
            return true;
        }
        break;
    case CONTIGUOUS:
        if (match == was_match && had) {
            words->spare[words->n_spare - 1].n += n;
            return true;
        }
        break;
    case MERGED_WITH_NEXT:
        if (match) {
            if (!flush(c))
                return false;
            c->waiting = true;
            c->waiting_begin = begin;
            c->waiting_n = n;
            return true;
        }
        if (c->waiting) {
            c->waiting = false;
            return put_piece(c, c->waiting_begin, c->waiting_n + n);
        }
        break;
    }
    return put_piece(c, begin, n);
}

static bool is_match(enum kind kind, uint32_t code)
{
    return kind == SPACES        ? codepoint_is_space(code)
           : kind == PUNCTUATION ? codepoint_is_punctuation(code)
                                 : codepoint_is_numeric(code);
}

/* At single characters of a class. */
static bool cut_at_class(struct cutting *c, enum kind kind)
{
    const unsigned char *text = (const unsigned char *)c->words->text;
    const unsigned char *p = text + c->whole.begin, *end = p + c->whole.n, *begin = p;
    while (p < end) {
        const unsigned char *at = p;
        if (!is_match(kind, utf8_next(&p)))
            continue;
        if (!add(c, (size_t)(begin - text), (size_t)(at - begin), false) ||
            !add(c, (size_t)(at - text), (size_t)(p - at), true))
            return false;
        begin = p;
    }
    return add(c, (size_t)(begin - text), (size_t)(end - begin), false);
}

/* Whitespace: runs of word characters and runs of others stay, white space goes. */
static bool cut_words(struct cutting *c)
{
    const unsigned char *text = (const unsigned char *)c->words->text;
    const unsigned char *p = text + c->whole.begin, *end = p + c->whole.n, *begin = p;
    int class = 0;
    while (p < end) {
        const unsigned char *at = p;
        uint32_t code = utf8_next(&p);
        int this = codepoint_is_space(code) ? 0 : codepoint_is_word(code) ? 1 : 2;
        if (this != class) {
            if (class && !put_piece(c, (size_t)(begin - text), (size_t)(at - begin)))
                return false;
            begin = at;
            class = this;
        }
    }
    return !class || put_piece(c, (size_t)(begin - text), (size_t)(end - begin));
}

static bool cut_at_text(struct cutting *c, const struct step *step, bool invert)
{
    const char *text = c->words->text, *p = text + c->whole.begin, *end = p + c->whole.n, *found;
    while (p < end && (found = text_find(p, (size_t)(end - p), step->text, step->n))) {
        if (!add(c, (size_t)(p - text), (size_t)(found - p), invert) ||
            !add(c, (size_t)(found - text), step->n, !invert))
            return false;
        p = found + step->n;
    }
    return add(c, (size_t)(p - text), (size_t)(end - p), invert);
}

static bool cut_bytes(struct cutting *c)
{
    const unsigned char *text = (const unsigned char *)c->words->text;
    const unsigned char *p = text + c->whole.begin, *end = p + c->whole.n;
    while (p < end) {
        size_t n = byte_level_word(p, end);
        if (!put_piece(c, (size_t)(p - text), n))
            return false;
        p += n;
    }
    return true;
}

static bool cut(const struct step *step, struct cutting *c)
{
    c->behaviour = step->behaviour;
    switch (step->kind) {
    case SPACES:
    case PUNCTUATION:
    case DIGITS:
        return cut_at_class(c, step->kind) && flush(c);
    case WORDS:
        return cut_words(c);
    case LITERAL:
        return cut_at_text(c, step, step->invert) && flush(c);
    case BYTE_MAP:
        return step->split ? cut_bytes(c) : put_piece(c, c->whole.begin, c->whole.n);
    case METASPACE:
        c->behaviour = MERGED_WITH_NEXT;
        return step->split ? cut_at_text(c, step, false) && flush(c)
                           : put_piece(c, c->whole.begin, c->whole.n);
    }
    return false;
}

static void swap(struct pretokens *words)
{
    struct pretoken *word = words->word;
    size_t capacity = words->capacity;
    words->word = words->spare;
    words->n_words = words->n_spare;
    words->capacity = words->spare_capacity;
    words->spare = word;
    words->spare_capacity = capacity;
    words->n_spare = 0;
}

static bool cut_all(const struct step *step, struct pretokens *words, struct error *err)
{
    words->n_spare = 0;
    for (size_t i = 0; i < words->n_words; i++) {
        struct cutting c = {
            .words = words, .whole = words->word[i], .first = words->n_spare, .err = err};
        if (!cut(step, &c))
            return false;
    }
    swap(words);
    return true;
}

/* ---- changing ---- */

/* Metaspace's spaces become its replacement. */
static bool add_metaspace(const struct step *step, const char *p, size_t n, struct text_buffer *to,
                          struct error *err)
{
    const char *end = p + n;
    while (p < end) {
        const char *space = memchr(p, ' ', (size_t)(end - p)), *stop = space ? space : end;
        if (!text_buffer_add(to, p, (size_t)(stop - p), err) ||
            (space && !text_buffer_add(to, step->text, step->n, err)))
            return false;
        p = space ? space + 1 : end;
    }
    return true;
}

static bool starts_with(const struct step *step, const char *p, size_t n)
{
    return (n && *p == ' ') || (n >= step->n && memcmp(p, step->text, step->n) == 0);
}

/* Each word is copied into the other buffer, changed by METASPACE or (after cutting) BYTE_MAP. */
enum change { CHANGE_PREFIX, CHANGE_METASPACE, CHANGE_BYTES };

static bool change(const struct step *step, enum change how, struct pretokens *words,
                   struct error *err)
{
    struct text_buffer *to = &words->own[words->own[0].bytes && words->text == words->own[0].bytes];
    to->n = 0;
    for (size_t i = 0; i < words->n_words; i++) {
        struct pretoken *word = &words->word[i];
        const char *p = words->text + word->begin;
        size_t begin = to->n;
        bool prefix = step->scheme == ALWAYS || (step->scheme == FIRST && word->head);
        if (how != CHANGE_BYTES && prefix && !starts_with(step, p, word->n) &&
            !text_buffer_add(to, step->text, step->n, err))
            return false;
        if (!(how == CHANGE_BYTES       ? byte_level_map(p, word->n, to, err)
              : how == CHANGE_METASPACE ? add_metaspace(step, p, word->n, to, err)
                                        : text_buffer_add(to, p, word->n, err)))
            return false;
        word->begin = begin;
        word->n = to->n - begin;
    }
    words->text = to->bytes ? to->bytes : "";
    return true;
}

static bool run_step(const struct step *step, struct pretokens *words, struct error *err)
{
    if (step->kind == METASPACE && !change(step, CHANGE_METASPACE, words, err))
        return false;
    if (step->kind == BYTE_MAP && step->scheme != NEVER && !change(step, CHANGE_PREFIX, words, err))
        return false;
    return cut_all(step, words, err) &&
           (step->kind != BYTE_MAP || change(step, CHANGE_BYTES, words, err));
}

bool pretokenizer_run(const struct pretokenizer *p, const char *text, size_t n, bool head,
                      struct pretokens *words, struct error *err)
{
    words->text = text;
    words->n_spare = 0;
    if (!put(words, 0, n, head, err))
        return false;
    swap(words);
    for (size_t i = 0; i < p->n; i++)
        if (!run_step(&p->step[i], words, err))
            return false;
    return true;
}
