/* unigram_seed.c: see unigram_seed.h.
 *
 * The suffixes of all runs are sorted from their first symbol on (as radix sort does): a range of
 * suffixes that share their first `depth` symbols is one node of the suffix tree, met in
 * alphabetical order.
 */
#include "text/unigram_seed.h"

#include <math.h>
#include <stdlib.h>

#include "core/memory.h"

enum { MIN_FREQUENCY = 2, FEW = 24 };

struct seeder {
    const struct unigram_words *words;
    uint32_t *at; /* where suffixes begin */
    size_t n_at;
    uint32_t *run_of; /* of each place of words->symbol */
    struct unigram_pieces *seed;
    struct error *err;
};

static uint32_t symbol_at(const struct seeder *s, size_t i, uint32_t depth)
{
    return s->words->symbol[s->at[i] + depth];
}

static const struct unigram_run *run_at(const struct seeder *s, size_t i)
{
    return &s->words->run[s->run_of[s->at[i]]];
}

/* score: frequency times length; the logarithm comes later. */
static bool add_seed(struct seeder *s, uint32_t at, uint32_t n, uint64_t frequency)
{
    struct unigram_pieces *seed = s->seed;
    if (!memory_grow(&seed->piece, &seed->capacity, seed->n + 1, sizeof *seed->piece, s->err))
        return false;
    seed->piece[seed->n++] = (struct unigram_piece){at, n, (double)frequency * n};
    return true;
}

static void swap(uint32_t *a, uint32_t *b)
{
    uint32_t t = *a;
    *a = *b;
    *b = t;
}

/* Suffixes [lo, hi) by the symbol at `depth`; the order among equals means nothing. */
static void sort(struct seeder *s, size_t lo, size_t hi, uint32_t depth)
{
    while (hi - lo > FEW) {
        uint32_t pivot = symbol_at(s, lo + (hi - lo) / 2, depth);
        size_t less = lo, more = hi;
        for (size_t i = lo; i < more;) {
            uint32_t symbol = symbol_at(s, i, depth);
            if (symbol < pivot)
                swap(&s->at[less++], &s->at[i++]);
            else if (symbol > pivot)
                swap(&s->at[i], &s->at[--more]);
            else
                i++;
        }
        if (less - lo < hi - more) { /* the smaller part: a stack of few frames for any input */
            sort(s, lo, less, depth);
            lo = more;
        } else {
            sort(s, more, hi, depth);
            hi = less;
        }
    }
    for (size_t i = lo + 1; i < hi; i++) {
        uint32_t at = s->at[i], symbol = s->words->symbol[at + depth];
        size_t k = i;
        for (; k > lo && symbol_at(s, k - 1, depth) > symbol; k--)
            s->at[k] = s->at[k - 1];
        s->at[k] = at;
    }
}

/* A suffix whose beginning occurs nowhere else: a seed when it is a whole word seen more than once.
 */
static bool visit_single(struct seeder *s, size_t i)
{
    const struct unigram_run *run = run_at(s, i);
    return run->begin != s->at[i] || run->n < 2 || run->n > UNIGRAM_PIECE_MAX ||
           run->count < MIN_FREQUENCY || add_seed(s, run->begin, run->n, run->count);
}

/* The node of the suffixes [lo, hi), which share `depth` symbols, and those below it. */
static bool visit(struct seeder *s, size_t lo, size_t hi, uint32_t depth)
{
    if (hi - lo == 1)
        return visit_single(s, lo);
    sort(s, lo, hi, depth);
    /* Ends of words differ from one another, so they branch, too. */
    uint32_t first = symbol_at(s, lo, depth);
    if (depth > 1 && (!first || first != symbol_at(s, hi - 1, depth))) {
        uint64_t frequency = 0;
        for (size_t i = lo; i < hi; i++)
            frequency += run_at(s, i)->count;
        if (!add_seed(s, s->at[lo], depth, frequency))
            return false;
    }
    while (lo < hi && !symbol_at(s, lo, depth))
        lo++;
    for (size_t end; lo < hi && depth < UNIGRAM_PIECE_MAX; lo = end) {
        uint32_t symbol = symbol_at(s, lo, depth);
        for (end = lo + 1; end < hi && symbol_at(s, end, depth) == symbol;)
            end++;
        if (!visit(s, lo, end, depth + 1))
            return false;
    }
    return true;
}

/* Suffixes by their first symbol, and a node for each symbol. */
static bool visit_all(struct seeder *s, size_t *end)
{
    const struct unigram_words *words = s->words;
    for (size_t r = 0; r < words->n_runs; r++)
        for (uint32_t i = 0; i < words->run[r].n; i++) {
            s->run_of[words->run[r].begin + i] = (uint32_t)r;
            end[words->symbol[words->run[r].begin + i]]++;
        }
    for (size_t symbol = 1; symbol <= words->n_codes; symbol++)
        end[symbol] += end[symbol - 1];
    for (size_t place = words->n; place-- > 0;)
        if (words->symbol[place])
            s->at[--end[words->symbol[place]]] = (uint32_t)place; /* now: where they begin */
    s->n_at = words->n - words->n_runs;
    for (size_t symbol = 1; symbol <= words->n_codes; symbol++) {
        size_t lo = end[symbol], hi = symbol < words->n_codes ? end[symbol + 1] : s->n_at;
        if (!add_seed(s, s->at[lo], 1, words->frequency[symbol - 1]) || !visit(s, lo, hi, 1))
            return false;
    }
    return true;
}

static int descending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

/* The best `most` seeds of more than one symbol stay, among equals the first. */
static bool limit(struct unigram_pieces *seed, size_t most, struct error *err)
{
    double *score = memory_array(seed->n, sizeof *score, err);
    if (!score)
        return false;
    size_t n = 0;
    for (size_t i = 0; i < seed->n; i++)
        if (seed->piece[i].n > 1)
            score[n++] = seed->piece[i].score;
    if (n > most) {
        qsort(score, n, sizeof *score, descending);
        double least = score[most];
        size_t better = 0, kept = 0;
        while (score[better] > least)
            better++;
        for (size_t i = 0, equals = most - better; i < seed->n; i++) {
            const struct unigram_piece *piece = &seed->piece[i];
            bool equal = piece->n > 1 && !(piece->score > least) && !(piece->score < least);
            if (piece->n == 1 || piece->score > least || (equal && equals))
                seed->piece[kept++] = *piece;
            equals -= equal && equals;
        }
        seed->n = kept;
    }
    free(score);
    return true;
}

bool unigram_seed(const struct unigram_words *words, size_t most, struct unigram_pieces *seed,
                  struct error *err)
{
    struct seeder s = {.words = words, .seed = seed, .err = err};
    s.at = memory_array(words->n, sizeof *s.at, err);
    s.run_of = memory_array(words->n, sizeof *s.run_of, err);
    size_t *end = memory_zeroed(words->n_codes + 1, sizeof *end, err);
    bool ok = s.at && s.run_of && end && visit_all(&s, end);
    free(s.at);
    free(s.run_of);
    free(end);
    if (!ok || !limit(seed, most, err))
        return false;
    double sum = 0;
    for (size_t i = 0; i < seed->n; i++)
        sum += seed->piece[i].score;
    for (size_t i = 0; i < seed->n; i++)
        seed->piece[i].score = log(seed->piece[i].score / sum);
    return true;
}
