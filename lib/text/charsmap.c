/* charsmap.c: see charsmap.h.
 *
 * Whether a text is taken by clusters or by code points matters only for clusters of two or three
 * code points in at most five bytes, so that one of them has one or two bytes ("short"). Code
 * points of the basic plane are looked up in a table that fills as they are met (a map is opened
 * often and met by few of them); clusters are only looked for where a short code point meets one
 * that may join it.
 */
#include "text/charsmap.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "core/memory.h"
#include "text/utf8.h"

enum {
    N_BASIC = 0x10000,
    MAX_CLUSTER = 5, /* bytes; longer ones are taken code point by code point */
    SHORT = 2,       /* bytes */
    HEADER = 4,
    UNIT = 4
};

/* What a code point does to its neighbours and what the map does to it. */
enum {
    CHANGED = 1,     /* the map replaces it */
    JOINS_LEFT = 2,  /* may belong to the cluster of what precedes it */
    JOINS_RIGHT = 4, /* may draw what follows it into its cluster */
    /* An entry of the table: these flags, KNOWN, and the offset of the replacement. */
    KNOWN = 8,
    OFFSET_SHIFT = 4
};

struct charsmap {
    uint32_t *unit; /* [n_units] double array */
    size_t n_units;
    char *text; /* [n_text] replacements, NUL after each */
    size_t n_text;
    /* [N_BASIC]; 0: not met yet. All threads write the same value into an entry. */
    _Atomic uint32_t *entry;
};

/* The replacement of the shortest key that key[0, n) begins with; false: none. The layout of a unit
 * is darts-clone's: label and "is a value" in 9 bits, has-leaf bit 8, offset in the bits from 10,
 * shifted by 8 where bit 9 is set. */
static bool find(const struct charsmap *map, const char *key, size_t n, uint32_t *offset)
{
    size_t at = 0;
    uint32_t unit = map->unit[0];
    for (size_t i = 0;; i++) {
        at ^= (size_t)(unit >> 10) << ((unit & 1u << 9) >> 6);
        if (at >= map->n_units)
            return false;
        if (i && unit >> 8 & 1) {
            *offset = map->unit[at] & 0x7FFFFFFF;
            /* In the middle of a character it would make invalid UTF-8. */
            return *offset <= map->n_text &&
                   (*offset == map->n_text || ((unsigned char)map->text[*offset] & 0xC0) != 0x80);
        }
        if (i == n || !key[i])
            return false;
        at ^= (unsigned char)key[i];
        if (at >= map->n_units)
            return false;
        unit = map->unit[at];
        if ((unit & (1u << 31 | 0xFF)) != (unsigned char)key[i])
            return false;
    }
}

/* Clusters are Hugging Face's, of Unicode 17; utf8proc's may be older. */
struct range {
    uint32_t first, last;
};

static bool in_ranges(const struct range *range, size_t n, uint32_t code)
{
    for (size_t i = 0; i < n; i++)
        if (code >= range[i].first && code <= range[i].last)
            return true;
    return false;
}

/* Extend or SpacingMark since Unicode 15.1 (GraphemeBreakProperty.txt). */
static bool is_newer_mark(uint32_t code)
{
    static const struct range range[] = {
        {0x897, 0x897},     {0x1ACF, 0x1ADD},   {0x1AE0, 0x1AEB},   {0x10D69, 0x10D6D},
        {0x10EFA, 0x10EFC}, {0x113B8, 0x113C0}, {0x113C2, 0x113C2}, {0x113C5, 0x113C5},
        {0x113C7, 0x113CA}, {0x113CC, 0x113D0}, {0x113D2, 0x113D2}, {0x113E1, 0x113E2},
        {0x11B60, 0x11B67}, {0x11F5A, 0x11F5A}, {0x1611E, 0x1612F}, {0x1E5EE, 0x1E5EF},
        {0x1E6E3, 0x1E6E3}, {0x1E6E6, 0x1E6E6}, {0x1E6EE, 0x1E6EF}, {0x1E6F5, 0x1E6F5}};
    return code >= range[0].first && in_ranges(range, sizeof range / sizeof *range, code);
}

/* Rule GB9c, new in Unicode 15.1: consonants joined by a virama are one cluster. Of the scripts
 * that have consonants which normalisation changes (DerivedCoreProperties.txt, InCB). */
static bool is_consonant(uint32_t code)
{
    static const struct range range[] = {
        {0x915, 0x939}, {0x958, 0x95F}, {0x978, 0x97F}, {0x995, 0x9A8}, {0x9AA, 0x9B0},
        {0x9B2, 0x9B2}, {0x9B6, 0x9B9}, {0x9DC, 0x9DD}, {0x9DF, 0x9DF}, {0x9F0, 0x9F1},
        {0xB15, 0xB28}, {0xB2A, 0xB30}, {0xB32, 0xB33}, {0xB35, 0xB39}, {0xB5C, 0xB5D},
        {0xB5F, 0xB5F}, {0xB71, 0xB71}};
    return in_ranges(range, sizeof range / sizeof *range, code);
}

static bool is_virama(uint32_t code)
{
    return code == 0x94D || code == 0x9CD || code == 0xB4D;
}

static uint8_t joins(uint32_t code)
{
    if (is_newer_mark(code))
        return JOINS_LEFT;
    switch (utf8proc_get_property((utf8proc_int32_t)code)->boundclass) {
    case UTF8PROC_BOUNDCLASS_EXTEND:
    case UTF8PROC_BOUNDCLASS_SPACINGMARK:
        return JOINS_LEFT;
    case UTF8PROC_BOUNDCLASS_ZWJ: /* right: pictures */
        return JOINS_LEFT | JOINS_RIGHT;
    case UTF8PROC_BOUNDCLASS_LF:
        return JOINS_LEFT;
    case UTF8PROC_BOUNDCLASS_CR:
    case UTF8PROC_BOUNDCLASS_PREPEND:
        return JOINS_RIGHT;
    default:
        return 0;
    }
}

/* What the map does to one code point, of n bytes at `at`; the offset where it is CHANGED. */
static uint8_t flags_of(const struct charsmap *map, uint32_t code, const unsigned char *at,
                        size_t n, uint32_t *offset)
{
    uint32_t entry = 0;
    *offset = 0;
    if (code < N_BASIC)
        entry = atomic_load_explicit(&map->entry[code], memory_order_relaxed);
    if (entry) {
        *offset = entry >> OFFSET_SHIFT;
        return entry & (CHANGED | JOINS_LEFT | JOINS_RIGHT);
    }
    uint8_t flags = joins(code);
    if (find(map, (const char *)at, n, offset))
        flags |= CHANGED;
    entry = *offset << OFFSET_SHIFT | KNOWN | flags;
    if (code < N_BASIC)
        atomic_store_explicit(&map->entry[code], entry, memory_order_relaxed);
    return flags;
}

static bool is_plain_ascii(const struct charsmap *map, const unsigned char *at)
{
    uint32_t offset;
    return !flags_of(map, *at, at, 1, &offset);
}

static uint32_t little_endian(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static bool read_map(struct charsmap *map, const unsigned char *bytes, size_t n, struct error *err)
{
    size_t length = n < HEADER ? 0 : little_endian(bytes);
    if (n < HEADER || length > n - HEADER || length < UNIT)
        return error_set(err,
                         "a map of %zu bytes says that its trie has %zu; "
                         "expected at least %d and no more than follow",
                         n, length, UNIT);
    map->n_units = length / UNIT;
    const char *text = (const char *)bytes + HEADER + map->n_units * UNIT;
    map->n_text = n - HEADER - map->n_units * UNIT;
    if (map->n_text >> (32 - OFFSET_SHIFT))
        return error_set(err, "%zu bytes of replacements are more than %d", map->n_text,
                         1 << (32 - OFFSET_SHIFT));
    if (utf8_valid_prefix(text, map->n_text) != map->n_text)
        return error_set(err, "the replacements are not valid UTF-8");
    map->unit = memory_array(map->n_units, sizeof *map->unit, err);
    map->text = memory_copy(text, map->n_text, err);
    map->entry = memory_zeroed(N_BASIC, sizeof *map->entry, err);
    if (!map->unit || !map->text || !map->entry)
        return false;
    for (size_t i = 0; i < map->n_units; i++)
        map->unit[i] = little_endian(bytes + HEADER + i * UNIT);
    return true;
}

struct charsmap *charsmap_open(const void *bytes, size_t n, struct error *err)
{
    struct charsmap *map = memory_zeroed(1, sizeof *map, err);
    if (map && read_map(map, bytes, n, err))
        return map;
    charsmap_close(map);
    return NULL;
}

void charsmap_close(struct charsmap *map)
{
    if (!map)
        return;
    free(map->unit);
    free(map->text);
    free(map->entry);
    free(map);
}

/* A text on its way: [from, at) is kept and not yet copied; `sure` is a boundary of clusters at or
 * before `at`. */
struct run {
    const struct charsmap *map;
    const unsigned char *from, *at, *sure, *end;
    struct text_buffer *out;
    struct error *err;
};

/* Replaces [at, at + n) by the text at `offset`. */
static bool replace(struct run *run, size_t n, uint32_t offset)
{
    const char *text = run->map->text + offset;
    const unsigned char *from = run->from;
    size_t n_kept = (size_t)(run->at - from);
    run->at += n;
    run->from = run->at;
    return text_buffer_add(run->out, (const char *)from, n_kept, run->err) &&
           text_buffer_add(run->out, text, strnlen(text, run->map->n_text - offset), run->err);
}

/* [at, end) code point by code point. */
static bool take_codes(struct run *run, const unsigned char *end)
{
    while (run->at < end) {
        const unsigned char *next = run->at;
        uint32_t offset, code = utf8_next(&next);
        size_t n = (size_t)(next - run->at);
        if (flags_of(run->map, code, run->at, n, &offset) & CHANGED) {
            if (!replace(run, n, offset))
                return false;
        } else
            run->at = next;
    }
    return true;
}

enum conjunct { CONJUNCT_NONE, CONJUNCT_CONSONANT, CONJUNCT_VIRAMA };

struct cluster_state {
    utf8proc_int32_t grapheme;
    enum conjunct conjunct;
};

/* Whether a cluster ends between two code points. */
static bool breaks(struct cluster_state *state, uint32_t code, uint32_t following)
{
    const int class = utf8proc_get_property((utf8proc_int32_t)code)->boundclass;
    bool control = class == UTF8PROC_BOUNDCLASS_CONTROL || class == UTF8PROC_BOUNDCLASS_CR ||
                   class == UTF8PROC_BOUNDCLASS_LF;
    bool extends =
        class == UTF8PROC_BOUNDCLASS_ZWJ || (class == UTF8PROC_BOUNDCLASS_EXTEND && code != 0x200C);
    if (is_consonant(code))
        state->conjunct = CONJUNCT_CONSONANT;
    else if (state->conjunct && is_virama(code))
        state->conjunct = CONJUNCT_VIRAMA;
    else if (!extends)
        state->conjunct = CONJUNCT_NONE;
    bool joined = (!control && is_newer_mark(following)) ||
                  (state->conjunct == CONJUNCT_VIRAMA && is_consonant(following));
    return utf8proc_grapheme_break_stateful((utf8proc_int32_t)code, (utf8proc_int32_t)following,
                                            &state->grapheme) &&
           !joined;
}

/* The cluster that holds `at`: *begin and its end. */
static const unsigned char *cluster(const struct run *run, const unsigned char **begin)
{
    const unsigned char *end = run->sure;
    struct cluster_state state = {0, CONJUNCT_NONE};
    uint32_t code = utf8_next(&end);
    *begin = run->sure;
    while (end < run->end) {
        const unsigned char *next = end;
        uint32_t following = utf8_next(&next);
        if (breaks(&state, code, following)) {
            if (end > run->at)
                break;
            *begin = end;
            state = (struct cluster_state){0, CONJUNCT_NONE};
        }
        code = following;
        end = next;
    }
    return end;
}

/* The rest of the cluster around `at`, whole where it may be. */
static bool take_cluster(struct run *run)
{
    const unsigned char *begin, *end = cluster(run, &begin);
    size_t n = (size_t)(end - begin);
    uint32_t offset;
    bool whole =
        begin == run->at && n <= MAX_CLUSTER && find(run->map, (const char *)begin, n, &offset);
    run->sure = end;
    return whole ? replace(run, n, offset) : take_codes(run, end);
}

/* One code point, or a cluster where it matters. */
static bool take(struct run *run)
{
    const unsigned char *next = run->at, *after;
    uint32_t offset, ignored, code = utf8_next(&next);
    size_t n = (size_t)(next - run->at);
    uint8_t flags = flags_of(run->map, code, run->at, n, &offset);
    bool boundary = true;
    if (next < run->end) {
        after = next;
        code = utf8_next(&after);
        size_t n_after = (size_t)(after - next);
        /* Two long ones are taken alone, in whatever clusters they are. */
        boundary = n <= SHORT || n_after <= SHORT;
        if (boundary && ((flags & JOINS_RIGHT) ||
                         (flags_of(run->map, code, next, n_after, &ignored) & JOINS_LEFT)))
            return take_cluster(run);
    }
    if (flags & CHANGED) {
        if (!replace(run, n, offset))
            return false;
    } else
        run->at = next;
    if (boundary)
        run->sure = next;
    return true;
}

bool charsmap_run(const struct charsmap *map, const char *text, size_t n, struct text_buffer *out,
                  struct error *err)
{
    const unsigned char *begin = (const unsigned char *)text, *end = begin + n;
    struct run run = {map, begin, begin, begin, end, out, err};
    while (run.at < end) {
        /* ASCII before ASCII that the map keeps, but for carriage returns. */
        while (end - run.at > 1 && (run.at[0] | run.at[1]) < 0x80 && is_plain_ascii(map, run.at))
            run.sure = ++run.at;
        if (!take(&run))
            return false;
    }
    return text_buffer_add(out, (const char *)run.from, (size_t)(end - run.from), err);
}
