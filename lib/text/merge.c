/* merge.c: see merge.h. */
#include "text/merge.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "text/merge_alphabet.h"

enum { PIECE_BYTES = 2 + WORD_MAX_CODES * UTF8_MAX_BYTES };

struct word {
    size_t begin; /* in `symbol` */
    uint32_t n;
    uint64_t count;
};

struct pair {
    uint64_t key;   /* left id << 32 | right id */
    int64_t count;  /* occurrences, weighted by the words' counts */
    uint32_t *word; /* words that hold or held it; may repeat */
    size_t n_words, capacity;
    bool queued; /* in `changed` */
};

struct candidate {
    int64_t count;
    uint64_t key;
    uint32_t pair;
};

struct merger {
    struct string_table *piece;
    int32_t *symbol; /* the words as piece ids */
    struct word *word;
    size_t n_words;
    struct pair *pair;
    size_t n_pairs, pair_capacity;
    uint32_t *slot; /* open addressing: pair index + 1; 0: free */
    size_t n_slots;
    struct candidate *heap; /* the greatest count, then the smallest key, first */
    size_t n_heap, heap_capacity;
    uint64_t merging;  /* key of the pair that is becoming a piece: its count is settled */
    uint32_t *changed; /* pairs whose count grew in the merge at hand */
    size_t n_changed, changed_capacity;
};

/* ---- heap ---- */

static bool before(const struct candidate *a, const struct candidate *b)
{
    return a->count != b->count ? a->count > b->count : a->key < b->key;
}

static bool push(struct merger *m, uint32_t pair, struct error *err)
{
    if (!memory_grow(&m->heap, &m->heap_capacity, m->n_heap + 1, sizeof *m->heap, err))
        return false;
    struct candidate added = {m->pair[pair].count, m->pair[pair].key, pair};
    size_t i = m->n_heap++;
    for (; i && before(&added, &m->heap[(i - 1) / 2]); i = (i - 1) / 2)
        m->heap[i] = m->heap[(i - 1) / 2];
    m->heap[i] = added;
    return true;
}

static struct candidate pop(struct merger *m)
{
    struct candidate top = m->heap[0], last = m->heap[--m->n_heap];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < m->n_heap; i = child) {
        if (child + 1 < m->n_heap && before(&m->heap[child + 1], &m->heap[child]))
            child++;
        if (!before(&m->heap[child], &last))
            break;
        m->heap[i] = m->heap[child];
    }
    m->heap[i] = last;
    return top;
}

/* ---- pairs ---- */

static size_t find_slot(const struct merger *m, uint64_t key)
{
    size_t i = (size_t)((key * 0x9E3779B97F4A7C15u) >> 20) & (m->n_slots - 1);
    while (m->slot[i] && m->pair[m->slot[i] - 1].key != key)
        i = (i + 1) & (m->n_slots - 1);
    return i;
}

static bool widen(struct merger *m, struct error *err)
{
    size_t n_slots = m->n_slots ? 2 * m->n_slots : 1 << 12;
    uint32_t *slot = memory_zeroed(n_slots, sizeof *slot, err);
    if (!slot)
        return false;
    free(m->slot);
    m->slot = slot;
    m->n_slots = n_slots;
    for (size_t i = 0; i < m->n_pairs; i++)
        slot[find_slot(m, m->pair[i].key)] = (uint32_t)i + 1;
    return true;
}

/* The pair's index + 1, made when it is new; 0: no memory. */
static uint32_t pair_of(struct merger *m, int32_t left, int32_t right, struct error *err)
{
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    if (2 * (m->n_pairs + 1) > m->n_slots && !widen(m, err))
        return 0;
    size_t i = find_slot(m, key);
    if (m->slot[i])
        return m->slot[i];
    if (!memory_grow(&m->pair, &m->pair_capacity, m->n_pairs + 1, sizeof *m->pair, err))
        return 0;
    m->pair[m->n_pairs++] = (struct pair){.key = key};
    return m->slot[i] = (uint32_t)m->n_pairs;
}

/* One more occurrence of the pair in a word. */
static bool gain(struct merger *m, int32_t left, int32_t right, uint32_t word, struct error *err)
{
    uint32_t index = pair_of(m, left, right, err);
    if (!index)
        return false;
    struct pair *pair = &m->pair[index - 1];
    pair->count += (int64_t)m->word[word].count;
    if (!pair->n_words || pair->word[pair->n_words - 1] != word) {
        if (!memory_grow(&pair->word, &pair->capacity, pair->n_words + 1, sizeof *pair->word, err))
            return false;
        pair->word[pair->n_words++] = word;
    }
    if (pair->queued)
        return true;
    if (!memory_grow(&m->changed, &m->changed_capacity, m->n_changed + 1, sizeof *m->changed, err))
        return false;
    pair->queued = true;
    m->changed[m->n_changed++] = index - 1;
    return true;
}

static void lose(struct merger *m, int32_t left, int32_t right, uint64_t count)
{
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    uint32_t index = m->slot[find_slot(m, key)];
    if (index && key != m->merging)
        m->pair[index - 1].count -= (int64_t)count;
}

/* Pairs that grew are candidates again; entries of the heap that are out of date are noticed when
 * popped. */
static bool push_changed(struct merger *m, struct error *err)
{
    bool ok = true;
    for (size_t i = 0; ok && i < m->n_changed; i++) {
        m->pair[m->changed[i]].queued = false;
        ok = push(m, m->changed[i], err);
    }
    m->n_changed = 0;
    return ok;
}

/* ---- words ---- */

/* The word as ids of its characters; n 0: it holds a character that is no piece, and can teach
 * nothing. */
static size_t spell(const struct merger *m, const char *text, size_t n, int32_t *symbol)
{
    const unsigned char *p = (const unsigned char *)text, *end = p + n;
    size_t n_symbols = 0;
    while (p < end) {
        char piece[2 + UTF8_MAX_BYTES] = "##";
        size_t skip = n_symbols ? 2 : 0;
        size_t length = utf8_put(utf8_next(&p), piece + skip);
        int32_t id = string_table_find(m->piece, piece, skip + length);
        if (id == STRING_NONE)
            return 0;
        symbol[n_symbols++] = id;
    }
    return n_symbols;
}

static bool read_words(struct merger *m, const struct word_count *words, struct error *err)
{
    size_t n_symbols = 0, n = words->word.n;
    m->symbol = memory_array(words->word.n_arena, sizeof *m->symbol, err);
    m->word = memory_array(n, sizeof *m->word, err);
    if (!m->symbol || !m->word)
        return false;
    for (size_t i = 0; i < n; i++) {
        int32_t *symbol = m->symbol + n_symbols;
        size_t length =
            spell(m, string_table_text(&words->word, (int32_t)i), words->word.item[i].n, symbol);
        if (length < 2)
            continue;
        m->word[m->n_words] = (struct word){n_symbols, (uint32_t)length, words->count[i]};
        n_symbols += length;
        for (size_t k = 0; k + 1 < length; k++)
            if (!gain(m, symbol[k], symbol[k + 1], (uint32_t)m->n_words, err))
                return false;
        m->n_words++;
    }
    return true;
}

/* Replace the pair by `merged` wherever it stands in the word. */
static bool merge_in_word(struct merger *m, uint32_t index, int32_t left, int32_t right,
                          int32_t merged, struct error *err)
{
    struct word *w = &m->word[index];
    int32_t *s = m->symbol + w->begin;
    for (uint32_t i = 0; i + 1 < w->n; i++) {
        if (s[i] != left || s[i + 1] != right)
            continue;
        if (i > 0)
            lose(m, s[i - 1], left, w->count);
        if (i + 2 < w->n)
            lose(m, right, s[i + 2], w->count);
        s[i] = merged;
        memmove(s + i + 1, s + i + 2, (w->n - i - 2) * sizeof *s);
        w->n--;
        if (i > 0 && !gain(m, s[i - 1], merged, index, err))
            return false;
        if (i + 1 < w->n && !gain(m, merged, s[i + 1], index, err))
            return false;
    }
    return true;
}

/* ---- merging ---- */

/* Left's text and right's without its "##". */
static int32_t join(struct merger *m, int32_t left, int32_t right, struct error *err)
{
    char text[PIECE_BYTES];
    size_t n = m->piece->item[left].n, more = m->piece->item[right].n - 2;
    memcpy(text, string_table_text(m->piece, left), n);
    memcpy(text + n, string_table_text(m->piece, right) + 2, more);
    return string_table_add(m->piece, text, n + more, err);
}

static bool merge_pair(struct merger *m, uint32_t index, struct error *err)
{
    int32_t left = (int32_t)(m->pair[index].key >> 32), right = (int32_t)m->pair[index].key;
    int32_t merged = join(m, left, right, err);
    if (merged == STRING_NONE)
        return false;
    uint32_t *word = m->pair[index].word; /* taken: m->pair may move */
    size_t n = m->pair[index].n_words;
    m->pair[index].word = NULL;
    m->pair[index].n_words = m->pair[index].capacity = 0;
    m->pair[index].count = 0;
    m->merging = m->pair[index].key;
    bool ok = true;
    for (size_t i = 0; ok && i < n; i++)
        ok = merge_in_word(m, word[i], left, right, merged, err);
    free(word);
    return ok && push_changed(m, err);
}

static bool merge_all(struct merger *m, const struct merge_options *options,
                      const struct progress *progress, struct error *err)
{
    while (m->n_heap && m->piece->n < options->n_pieces) {
        struct candidate top = pop(m);
        int64_t now = m->pair[top.pair].count;
        if (now != top.count) { /* out of date: a smaller count comes again later, a greater one
                                   stands elsewhere */
            if (now < top.count && now > 0 && !push(m, top.pair, err))
                return false;
            continue;
        }
        if (now < (int64_t)options->min_frequency || now <= 0)
            break;
        if (!merge_pair(m, top.pair, err))
            return false;
        progress_report(progress, &(struct progress_event){.stage = "merge",
                                                           .done = m->piece->n,
                                                           .total = options->n_pieces,
                                                           .unit = "pieces",
                                                           .loss = NAN});
    }
    return true;
}

bool merge_pieces(const struct word_count *words, const struct merge_options *options,
                  struct string_table *piece, const struct progress *progress, struct error *err)
{
    struct merger m = {.piece = piece};
    bool ok = merge_alphabet(words, options, piece, err) && read_words(&m, words, err) &&
              push_changed(&m, err) && merge_all(&m, options, progress, err);
    for (size_t i = 0; i < m.n_pairs; i++)
        free(m.pair[i].word);
    free(m.pair);
    free(m.slot);
    free(m.heap);
    free(m.changed);
    free(m.symbol);
    free(m.word);
    return ok;
}
