#include "text/grams.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#define XXH_INLINE_ALL /* a few bytes each: the call would cost as much as the hash */
#include <xxhash.h>

#include "core/memory.h"
#include "core/number.h"
#include "text/codepoint.h"
#include "text/utf8.h"

enum { SEED_CHARS = 1, SEED_WORDS = 2 };
enum { BLOCK_BITS = 8, BLOCK_CODES = 1 << BLOCK_BITS, N_BLOCKS = (UTF8_LAST + 1) >> BLOCK_BITS };
enum { FOLDED_MAX = 2 * CODEPOINT_DECOMPOSED_MAX };
enum { RADIX_BITS = 9, SHORT_BITS = 6, SHORT = 600, FEW = 32 }; /* of sorting */

/* An entry of the table of folded code points: the code point it becomes, and what it is. */
enum {
    FOLD_CODE = (1 << 21) - 1,
    FOLD_DROPPED = 1 << 21,
    FOLD_MANY = 1 << 22, /* becomes several code points: ask fold() */
    FOLD_SPACE = 1 << 23,
    FOLD_PUNCTUATION = 1 << 24
};

struct grams {
    struct records_grams spec;
    uint32_t *block[N_BLOCKS]; /* entries by code point, filled a block at a time on first use */
    char *word;                /* the word at hand, a space on either side */
    size_t n_word, word_capacity;
    size_t *start; /* where its code points begin */
    size_t n_codes, start_capacity;
    size_t letters, letters_end; /* its bytes without punctuation at the ends; 0, 0: none */
    char *line;                  /* those of the words so far, with one space between */
    size_t n_line, line_capacity;
    size_t line_start[RECORDS_GRAMS_MAX_WORDS]; /* where the last words begin in it, by number */
    size_t n_words;
    int32_t *id, *other; /* other: for sorting */
    size_t n, capacity, other_capacity;
    char *repaired;
    size_t repaired_capacity;
};

/* ---- which n-grams ---- */

static const struct records_grams defaults = {
    .buckets = 1 << 18, .char_min = 2, .char_max = 5, .word_max = 2};

static bool parse_chars(const char *value, struct records_grams *grams, struct error *err)
{
    char first[8];
    const char *dash = strchr(value, '-');
    size_t n = dash ? (size_t)(dash - value) : strlen(value);
    int64_t min, max;
    if (n >= sizeof first)
        return error_set(err, "\"chars=%s\": expected two numbers, as in chars=2-5", value);
    memcpy(first, value, n);
    first[n] = '\0';
    if (!number_integer(first, "chars", 0, RECORDS_GRAMS_MAX_CHARS, &min, err) ||
        !number_integer(dash ? dash + 1 : first, "chars", 0, RECORDS_GRAMS_MAX_CHARS, &max, err))
        return false;
    grams->char_min = (uint32_t)min;
    grams->char_max = (uint32_t)max;
    return true;
}

static bool parse_key(const char *key, const char *value, struct records_grams *grams,
                      struct error *err)
{
    int64_t number = 0;
    if (strcmp(key, "chars") == 0)
        return parse_chars(value, grams, err);
    if (strcmp(key, "words") == 0) {
        bool ok = number_integer(value, "words", 0, RECORDS_GRAMS_MAX_WORDS, &number, err);
        grams->word_max = (uint32_t)number;
        return ok;
    }
    if (strcmp(key, "buckets") == 0) {
        bool ok = number_integer(value, "buckets", RECORDS_GRAMS_MIN_BUCKETS,
                                 RECORDS_GRAMS_MAX_BUCKETS, &number, err);
        grams->buckets = (uint32_t)number;
        return ok;
    }
    return error_set(err, "\"%s\" is not buckets, chars or words", key);
}

bool grams_parse(const char *text, struct records_grams *grams, struct error *err)
{
    char *copy = memory_copy(text, strlen(text), err), *rest = NULL;
    bool ok = copy != NULL;
    *grams = defaults;
    for (char *key = ok ? strtok_r(copy, ",", &rest) : NULL; key && ok;
         key = strtok_r(NULL, ",", &rest)) {
        char *value = strchr(key, '=');
        if (value) {
            *value = '\0';
            ok = parse_key(key, value + 1, grams, err);
        } else
            ok = error_set(err, "\"%s\": expected buckets=N, chars=N-N or words=N", key);
    }
    free(copy);
    return ok && records_grams_check(grams, err);
}

bool grams_of_config(const json_t *config, const char *place, struct records_grams *grams,
                     struct error *err)
{
    const json_t *object = json_object_get(config, "millet_ngram");
    *grams = (struct records_grams){0};
    return !object || records_grams_from_json(object, "\"millet_ngram\"", grams, err) ||
           error_at(err, "%s: ", place);
}

/* ---- folding ---- */

/* Joiners, marks of direction, selectors of variants: nothing that is seen. */
static bool is_invisible(uint32_t code)
{
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)code);
    return c == UTF8PROC_CATEGORY_CC || c == UTF8PROC_CATEGORY_CF ||
           utf8proc_get_property((utf8proc_int32_t)code)->ignorable;
}

/* What a code point becomes; 0: nothing. */
static size_t fold(uint32_t code, uint32_t out[FOLDED_MAX])
{
    utf8proc_int32_t many[FOLDED_MAX];
    int boundary = 0;
    utf8proc_ssize_t n =
        is_invisible(code)
            ? 0
            : utf8proc_decompose_char((utf8proc_int32_t)code, many, FOLDED_MAX,
                                      UTF8PROC_DECOMPOSE | UTF8PROC_CASEFOLD, &boundary);
    if (n < 0 || n > FOLDED_MAX) { /* what utf8proc does not know stays as it is */
        out[0] = code;
        return 1;
    }
    n = utf8proc_normalize_utf32(many, n, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    for (utf8proc_ssize_t i = 0; i < n; i++)
        out[i] = (uint32_t)many[i];
    return n > 0 ? (size_t)n : 0;
}

static uint32_t make_entry(uint32_t code)
{
    uint32_t folded[FOLDED_MAX];
    if (codepoint_is_space(code))
        return FOLD_SPACE;
    size_t n = fold(code, folded);
    if (n == 0)
        return FOLD_DROPPED;
    uint32_t entry = n == 1 ? folded[0] : FOLD_MANY;
    return codepoint_is_punctuation(code) ? entry | FOLD_PUNCTUATION : entry;
}

static bool fill_block(struct grams *g, uint32_t code, struct error *err)
{
    uint32_t first = code & ~(uint32_t)(BLOCK_CODES - 1);
    uint32_t *block = memory_array(BLOCK_CODES, sizeof *block, err);
    for (uint32_t i = 0; block && i < BLOCK_CODES; i++)
        block[i] = make_entry(first + i);
    g->block[code >> BLOCK_BITS] = block;
    return block != NULL;
}

/* ---- ids ---- */

/* buckets is a power of two more often than not, but a division by any costs little beside the
 * hash. */
static void add_id(struct grams *g, const char *bytes, size_t n, uint64_t seed)
{
    g->id[g->n++] = (int32_t)(XXH3_64bits_withSeed(bytes, n, seed) % g->spec.buckets);
}

static bool add_char_grams(struct grams *g, struct error *err)
{
    size_t orders = g->spec.char_max - g->spec.char_min + 1, n_codes = g->n_codes, most;
    if (!g->spec.char_max)
        return true;
    if (!memory_multiply(n_codes, orders, &most) || SIZE_MAX - most < g->n)
        return error_set(err, "a word of %zu characters is too long", n_codes);
    if (g->capacity - g->n < most &&
        !memory_grow(&g->id, &g->capacity, g->n + most, sizeof *g->id, err))
        return false;
    for (size_t n = g->spec.char_min; n <= g->spec.char_max; n++) {
        if (n_codes <= n) { /* the whole, and no larger one */
            add_id(g, g->word, g->n_word, SEED_CHARS);
            break;
        }
        for (size_t i = 0; i + n <= n_codes; i++)
            add_id(g, g->word + g->start[i], g->start[i + n] - g->start[i], SEED_CHARS);
    }
    return true;
}

static bool add_word_grams(struct grams *g, struct error *err)
{
    size_t n = g->letters_end - g->letters, orders = g->spec.word_max;
    if (!orders || !n)
        return true;
    if (!memory_grow(&g->line, &g->line_capacity, g->n_line + n + 1, 1, err) ||
        !memory_grow(&g->id, &g->capacity, g->n + orders, sizeof *g->id, err))
        return false;
    if (g->n_words)
        g->line[g->n_line++] = ' ';
    g->line_start[g->n_words++ % RECORDS_GRAMS_MAX_WORDS] = g->n_line;
    memcpy(g->line + g->n_line, g->word + g->letters, n);
    g->n_line += n;
    for (size_t k = 1; k <= orders && k <= g->n_words; k++) {
        size_t begin = g->line_start[(g->n_words - k) % RECORDS_GRAMS_MAX_WORDS];
        add_id(g, g->line + begin, g->n_line - begin, SEED_WORDS);
    }
    return true;
}

/* ---- words ---- */

/* One code point of the word; keeps room for the space after it, and for where that ends. */
static inline bool add_code(struct grams *g, uint32_t code, struct error *err)
{
    if (g->word_capacity - g->n_word < UTF8_MAX_BYTES + 1 &&
        !memory_grow(&g->word, &g->word_capacity, g->n_word + UTF8_MAX_BYTES + 1, 1, err))
        return false;
    if (g->start_capacity - g->n_codes < 3 &&
        !memory_grow(&g->start, &g->start_capacity, g->n_codes + 3, sizeof *g->start, err))
        return false;
    g->start[g->n_codes++] = g->n_word;
    g->n_word += utf8_put(code, g->word + g->n_word);
    return true;
}

static bool add_entry(struct grams *g, uint32_t code, uint32_t entry, struct error *err)
{
    uint32_t folded[FOLDED_MAX];
    if (!g->n_codes && !add_code(g, ' ', err))
        return false;
    size_t before = g->n_word;
    if (entry & FOLD_MANY) {
        size_t n = fold(code, folded);
        for (size_t i = 0; i < n; i++)
            if (!add_code(g, folded[i], err))
                return false;
    } else if (!add_code(g, entry & FOLD_CODE, err))
        return false;
    if (!(entry & FOLD_PUNCTUATION)) {
        if (!g->letters_end)
            g->letters = before;
        g->letters_end = g->n_word;
    }
    return true;
}

static bool end_word(struct grams *g, struct error *err)
{
    if (!g->n_codes)
        return true;
    if (!add_code(g, ' ', err))
        return false;
    g->start[g->n_codes] = g->n_word;
    bool ok = add_char_grams(g, err) && add_word_grams(g, err);
    g->n_word = g->n_codes = g->letters = g->letters_end = 0;
    return ok;
}

static bool add_text(struct grams *g, const char *text, size_t n, struct error *err)
{
    const unsigned char *at = (const unsigned char *)text, *end = at + n;
    while (at < end) {
        uint32_t code = utf8_next(&at);
        if (!g->block[code >> BLOCK_BITS] && !fill_block(g, code, err))
            return false;
        uint32_t entry = g->block[code >> BLOCK_BITS][code & (BLOCK_CODES - 1)];
        if (entry & FOLD_SPACE) {
            if (!end_word(g, err))
                return false;
        } else if (!(entry & FOLD_DROPPED) && !add_entry(g, code, entry, err))
            return false;
    }
    return end_word(g, err);
}

/* ---- order ---- */

static void sort_few(int32_t *id, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        int32_t value = id[i];
        size_t k = i;
        for (; k > 0 && id[k - 1] > value; k--)
            id[k] = id[k - 1];
        id[k] = value;
    }
}

/* One pass: id to other, in order of `bits` bits from `shift` on. */
static void sort_digit(const int32_t *id, int32_t *other, size_t n, unsigned shift, unsigned bits)
{
    uint32_t next[1 << RADIX_BITS], sum = 0, mask = (1u << bits) - 1;
    memset(next, 0, (size_t)(mask + 1) * sizeof *next);
    for (size_t i = 0; i < n; i++)
        next[((uint32_t)id[i] >> shift) & mask]++;
    for (uint32_t d = 0; d <= mask; d++) {
        uint32_t count = next[d];
        next[d] = sum;
        sum += count;
    }
    for (size_t i = 0; i < n; i++)
        other[next[((uint32_t)id[i] >> shift) & mask]++] = id[i];
}

/* By the lowest digit first; every id is below buckets, so few digits do. For a short text the sums
 * over all values of a digit would cost more than another pass. */
static bool sort(struct grams *g, struct error *err)
{
    unsigned bits = g->n < SHORT ? SHORT_BITS : RADIX_BITS;
    if (g->n <= FEW) {
        sort_few(g->id, g->n);
        return true;
    }
    if (!memory_grow(&g->other, &g->other_capacity, g->n, sizeof *g->other, err))
        return false;
    for (unsigned shift = 0; (g->spec.buckets - 1) >> shift; shift += bits) {
        sort_digit(g->id, g->other, g->n, shift, bits);
        int32_t *sorted = g->other;
        size_t capacity = g->other_capacity;
        g->other = g->id;
        g->other_capacity = g->capacity;
        g->id = sorted;
        g->capacity = capacity;
    }
    return true;
}

/* ---- the interface ---- */

struct grams *grams_open(const struct records_grams *spec, struct error *err)
{
    struct grams *g = records_grams_check(spec, err) ? memory_zeroed(1, sizeof *g, err) : NULL;
    if (!g)
        return NULL;
    g->spec = *spec;
    if (memory_grow(&g->id, &g->capacity, 1, sizeof *g->id, err))
        return g;
    grams_close(g);
    return NULL;
}

void grams_close(struct grams *g)
{
    if (!g)
        return;
    for (size_t i = 0; i < N_BLOCKS; i++)
        free(g->block[i]);
    free(g->word);
    free(g->start);
    free(g->line);
    free(g->id);
    free(g->other);
    free(g->repaired);
    free(g);
}

bool grams_make(struct grams *g, const char *text, size_t n, const int32_t **id, size_t *n_ids,
                struct error *err)
{
    size_t n_invalid = 0, most;
    g->n = g->n_line = g->n_words = 0;
    g->n_word = g->n_codes = g->letters = g->letters_end = 0;
    if (utf8_valid_prefix(text, n) < n) {
        if (!memory_multiply(n, 3, &most))
            return error_set(err, "a text of %zu bytes is too long", n);
        if (!memory_grow(&g->repaired, &g->repaired_capacity, most, 1, err))
            return false;
        n = utf8_repair(text, n, g->repaired, &n_invalid);
        text = g->repaired;
    }
    if (!add_text(g, text, n, err))
        return false;
    if (g->n > INT32_MAX)
        return error_set(err, "a text has %zu n-grams, more than fit", g->n);
    if (!sort(g, err))
        return false;
    *id = g->id;
    *n_ids = g->n;
    return true;
}
