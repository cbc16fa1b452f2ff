/* vocabulary_trim.c: which ids stay. */
#include "text/vocabulary_trim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "text/tokenizer_files.h"
#include "text/utf8.h"
#include "text/vocabulary_trim_files.h"

static const char word_start[] = "\xE2\x96\x81"; /* Metaspace's U+2581 */

/* The choice while it is made. */
struct choice {
    const struct tokenizer_spec *spec;
    const struct vocabulary_trim_options *options;
    bool *keep; /* [n_pieces] */
    size_t n;   /* of them true */
    /* BPE: the merges that make a piece, as a list: first[id], then next[merge]; -1 ends. */
    int32_t *first, *next;
    int32_t *stack; /* [n_pieces] */
};

static uint64_t count_of(const struct choice *choice, size_t id)
{
    return id < choice->options->n_counts ? choice->options->count[id] : 0;
}

static struct piece piece_of(const struct choice *choice, size_t id)
{
    return choice->spec->piece[id];
}

static int32_t find(const struct choice *choice, const char *text, size_t n)
{
    return piece_index_find(&choice->spec->index, tokenizer_spec_pieces(choice->spec), text, n);
}

/* ---- what makes a piece (BPE) ---- */

static bool list_merges(struct choice *choice, struct error *err)
{
    const struct tokenizer_spec *spec = choice->spec;
    char *text = NULL;
    size_t capacity = 0;
    bool ok = true;
    choice->next = memory_array(spec->n_merges, sizeof *choice->next, err);
    choice->first = memory_array(spec->n_pieces, sizeof *choice->first, err);
    choice->stack = memory_array(spec->n_pieces, sizeof *choice->stack, err);
    if (!choice->next || !choice->first || !choice->stack)
        return false;
    for (size_t id = 0; id < spec->n_pieces; id++)
        choice->first[id] = -1;
    for (size_t m = 0; ok && m < spec->n_merges; m++) {
        struct piece left = spec->piece[spec->merge[m].left];
        struct piece right = spec->piece[spec->merge[m].right];
        size_t n = (size_t)left.n + right.n;
        ok = memory_grow(&text, &capacity, n + 1, 1, err);
        if (!ok)
            break;
        memcpy(text, spec->arena + left.offset, left.n);
        memcpy(text + left.n, spec->arena + right.offset, right.n);
        int32_t id = find(choice, text, n);
        if (id >= 0) {
            choice->next[m] = choice->first[id];
            choice->first[id] = (int32_t)m;
        }
    }
    free(text);
    return ok;
}

/* The piece, and all that merges make it of, marked in keep. Returns how many are new; they are
 * choice->stack[0 …] then. */
static size_t take(struct choice *choice, size_t id)
{
    size_t n = 0, done = 0;
    if (choice->keep[id])
        return 0;
    choice->keep[id] = true;
    if (!choice->stack) {
        choice->n++;
        return 1;
    }
    choice->stack[n++] = (int32_t)id;
    while (done < n)
        for (int32_t m = choice->first[choice->stack[done++]]; m >= 0; m = choice->next[m]) {
            const int32_t part[] = {choice->spec->merge[m].left, choice->spec->merge[m].right};
            for (size_t i = 0; i < 2; i++)
                if (!choice->keep[part[i]]) {
                    choice->keep[part[i]] = true;
                    choice->stack[n++] = part[i];
                }
        }
    choice->n += n;
    return n;
}

static void untake(struct choice *choice, size_t id, size_t n)
{
    if (!choice->stack)
        choice->keep[id] = false;
    for (size_t i = 0; choice->stack && i < n; i++)
        choice->keep[choice->stack[i]] = false;
    choice->n -= n;
}

/* ---- what stays in any case ---- */

/* Where the characters of a piece begin: behind "##". */
static size_t prefix_bytes(const struct choice *choice, struct piece piece)
{
    const char *prefix = choice->spec->prefix;
    size_t n = choice->spec->kind == TOKENIZER_WORDPIECE && prefix ? strlen(prefix) : 0;
    bool has = n && piece.n > n && memcmp(choice->spec->arena + piece.offset, prefix, n) == 0;
    return has ? n : 0;
}

static bool is_byte(const char *text, size_t n)
{
    return n == 6 && memcmp(text, "<0x", 3) == 0 && text[5] == '>';
}

/* One character, with or without the prefix; a byte. */
static bool is_single(const struct choice *choice, struct piece piece)
{
    size_t prefix = prefix_bytes(choice, piece);
    const unsigned char *at = (const unsigned char *)choice->spec->arena + piece.offset + prefix,
                        *end = at + piece.n - prefix;
    if (at == end)
        return false;
    if (is_byte((const char *)at, (size_t)(end - at)))
        return true;
    utf8_next(&at);
    return at == end;
}

/* Whether pieces of one character each could stand for the piece. */
static bool is_replaceable(const struct choice *choice, struct piece piece)
{
    const char *arena = choice->spec->arena;
    size_t prefix = prefix_bytes(choice, piece), marker = 0;
    const unsigned char *at = (const unsigned char *)arena + piece.offset + prefix,
                        *end = (const unsigned char *)arena + piece.offset + piece.n;
    char text[64];
    bool inside = prefix > 0;
    if (choice->spec->kind == TOKENIZER_WORDPIECE && choice->spec->prefix)
        marker = strlen(choice->spec->prefix);
    if (marker + UTF8_MAX_BYTES > sizeof text)
        return false;
    if (marker)
        memcpy(text, choice->spec->prefix, marker);
    while (at < end) {
        const unsigned char *begin = at;
        utf8_next(&at);
        size_t n = (size_t)(at - begin), front = inside ? marker : 0;
        memcpy(text + front, begin, n);
        if (find(choice, text, front + n) < 0)
            return false;
        if (!inside && marker)
            memcpy(text, choice->spec->prefix, marker);
        inside = true;
    }
    return true;
}

/* "▁x" for the characters of a piece that occurs. */
static void take_starts(struct choice *choice, struct piece piece)
{
    const unsigned char *at = (const unsigned char *)choice->spec->arena + piece.offset,
                        *end = at + piece.n;
    char text[sizeof word_start + UTF8_MAX_BYTES];
    size_t front = sizeof word_start - 1;
    memcpy(text, word_start, front);
    while (at < end) {
        const unsigned char *begin = at;
        utf8_next(&at);
        memcpy(text + front, begin, (size_t)(at - begin));
        int32_t id = find(choice, text, front + (size_t)(at - begin));
        if (id >= 0)
            take(choice, (size_t)id);
    }
}

/* The last of equal pieces is the one that is found. */
static bool is_found(const struct choice *choice, size_t id)
{
    struct piece piece = piece_of(choice, id);
    return piece.n && find(choice, choice->spec->arena + piece.offset, piece.n) == (int32_t)id;
}

static void take_least_score(struct choice *choice)
{
    const double *score = choice->spec->score;
    size_t least = 0;
    bool taken = false;
    for (size_t id = 0; id < choice->spec->n_slots; id++)
        least = score[id] < score[least] ? id : least;
    for (size_t id = 0; id < choice->spec->n_slots; id++)
        taken |= choice->keep[id] && score[id] <= score[least];
    if (!taken)
        take(choice, least);
}

static void take_musts(struct choice *choice, const bool *named)
{
    const struct tokenizer_spec *spec = choice->spec;
    const struct vocabulary_trim_options *options = choice->options;
    for (size_t i = 0; i < options->n_must; i++)
        if (options->must[i] >= 0 && (size_t)options->must[i] < spec->n_pieces)
            take(choice, (size_t)options->must[i]);
    for (size_t i = 0; i < spec->n_added; i++)
        take(choice, (size_t)spec->added[i].id);
    if (spec->unknown >= 0)
        take(choice, (size_t)spec->unknown);
    for (size_t id = 0; id < spec->n_pieces; id++) {
        bool model = id < spec->n_slots && is_found(choice, id);
        struct piece piece = piece_of(choice, id);
        if (named[id] || id >= spec->n_slots)
            take(choice, id);
        else if (model && (is_single(choice, piece) || !is_replaceable(choice, piece)))
            take(choice, id);
        if (model && spec->kind == TOKENIZER_UNIGRAM && count_of(choice, id))
            take_starts(choice, piece);
    }
    if (spec->kind == TOKENIZER_UNIGRAM && spec->n_slots)
        take_least_score(choice);
}

/* ---- what occurs ---- */

struct seen {
    uint64_t count;
    int32_t id;
};

static int by_count(const void *a, const void *b)
{
    const struct seen *x = a, *y = b;
    if (x->count != y->count)
        return x->count < y->count ? 1 : -1;
    return (x->id > y->id) - (x->id < y->id);
}

/* Most frequent first; what does not fit with its parts is left out, a smaller one may fit. */
static bool take_seen(struct choice *choice, struct error *err)
{
    size_t n = 0, room = choice->options->size, n_pieces = choice->spec->n_pieces;
    struct seen *seen = memory_array(n_pieces, sizeof *seen, err);
    if (!seen)
        return false;
    for (size_t id = 0; id < n_pieces; id++)
        if (count_of(choice, id) && !choice->keep[id])
            seen[n++] = (struct seen){count_of(choice, id), (int32_t)id};
    if (n)
        qsort(seen, n, sizeof *seen, by_count);
    for (size_t i = 0; i < n && (!room || choice->n < room); i++) {
        size_t id = (size_t)seen[i].id, taken = take(choice, id);
        if (room && choice->n > room)
            untake(choice, id, taken);
    }
    free(seen);
    return true;
}

static bool choose(struct choice *choice, struct bundle *bundle, struct vocabulary_trim *trim,
                   struct error *err)
{
    const struct tokenizer_spec *spec = choice->spec;
    size_t size = choice->options->size;
    bool *named = memory_zeroed(spec->n_pieces, sizeof *named, err);
    choice->keep = memory_zeroed(spec->n_pieces, sizeof *choice->keep, err);
    bool ok = named && choice->keep && (spec->kind != TOKENIZER_BPE || list_merges(choice, err)) &&
              vocabulary_trim_named(spec, bundle, named, err);
    if (ok) {
        take_musts(choice, named);
        trim->n_least = choice->n;
    }
    free(named);
    if (ok && size && size < trim->n_least)
        return error_set(err,
                         "a vocabulary of %zu pieces cannot hold what must stay; the least is %zu: "
                         "special tokens and every single character",
                         size, trim->n_least);
    return ok && take_seen(choice, err);
}

static bool number(const struct choice *choice, struct vocabulary_trim *trim, struct error *err)
{
    size_t n = choice->spec->n_pieces;
    trim->n_before = n;
    trim->kept = memory_array(choice->n, sizeof *trim->kept, err);
    trim->number = memory_array(n, sizeof *trim->number, err);
    if (!trim->kept || !trim->number)
        return false;
    for (size_t id = 0; id < n; id++) {
        trim->tokens += count_of(choice, id);
        trim->number[id] = -1;
        if (!choice->keep[id])
            continue;
        trim->covered += count_of(choice, id);
        trim->number[id] = (int32_t)trim->n_kept;
        trim->kept[trim->n_kept++] = (int32_t)id;
    }
    return true;
}

bool vocabulary_trim_open(struct vocabulary_trim *trim, struct bundle *bundle,
                          const struct vocabulary_trim_options *options, struct error *err)
{
    struct tokenizer_spec spec;
    *trim = (struct vocabulary_trim){.n_kept = 0};
    if (!tokenizer_spec_read(&spec, bundle, false, err))
        return false;
    struct choice choice = {.spec = &spec, .options = options};
    bool ok = tokenizer_spec_fingerprint(&spec, &trim->fingerprint, err) &&
              ((choose(&choice, bundle, trim, err) && number(&choice, trim, err) &&
                vocabulary_trim_rewrite(&spec, bundle, trim, err)) ||
               error_at(err, "%s: ", bundle_name(bundle)));
    free(choice.keep);
    free(choice.first);
    free(choice.next);
    free(choice.stack);
    tokenizer_spec_free(&spec);
    if (!ok)
        vocabulary_trim_free(trim);
    return ok;
}

void vocabulary_trim_free(struct vocabulary_trim *trim)
{
    for (size_t i = 0; i < trim->n_files; i++)
        free((void *)(uintptr_t)trim->file[i].bytes);
    free(trim->file);
    free(trim->kept);
    free(trim->number);
    *trim = (struct vocabulary_trim){.n_kept = 0};
}
