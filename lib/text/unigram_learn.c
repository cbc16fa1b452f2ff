/* unigram_learn.c: see unigram_learn.h.
 *
 * Pieces stay in alphabetical order until the end: the trie of each round is built from them in one
 * pass, and ties are resolved by it.
 */
#include "text/unigram_learn.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "text/unigram_lattice.h"

enum {
    MAX_SEEDS = 1000000, /* Hugging Face's and SentencePiece's number */
    EM_STEPS = 2,        /* between two prunings */
    FRACTION_BITS = 24   /* of expected counts: sums of integers do not depend on their order */
};

static const double SHRINK = 0.75;        /* pieces left by a pruning */
static const double MIN_EXPECTED = 0.5;   /* a piece expected less often goes */
static const double SURPLUS = 1.1;        /* of the pieces wanted, before the last pruning */
static const double MAX_SYMBOLS = 0x1p38; /* read in all, so that sums fit */

struct learner {
    const struct unigram_words *words;
    struct unigram_pieces *pieces;
    struct threads *team;
    struct unigram_trie trie;
    size_t n_members;
    struct unigram_lattice *lattice; /* [n_members] */
    uint64_t *sum;                   /* [n_members, pieces]; the first row gets the total */
    size_t n_sums;                   /* pieces there is room for */
    double *loss;                    /* [pieces] */
    const struct progress *progress;
    uint64_t done, total;
};

/* ---- sums over all runs ---- */

struct expectation {
    uint64_t *sum;
    double scale;
};

static void expect(void *context, int32_t piece, double probability)
{
    const struct expectation *x = context;
    x->sum[piece] += (uint64_t)llrint(probability * x->scale);
}

static uint64_t *clear_sums(struct learner *l, size_t member)
{
    uint64_t *sum = l->sum + member * l->n_sums;
    memset(sum, 0, l->pieces->n * sizeof *sum);
    return sum;
}

static void fill(struct learner *l, size_t member, size_t run)
{
    const struct unigram_run *r = &l->words->run[run];
    unigram_lattice_fill(&l->lattice[member], &l->trie, l->words->symbol + r->begin, r->n, true);
}

static void expect_share(void *context, size_t member, size_t n_members)
{
    struct learner *l = context;
    struct expectation x = {.sum = clear_sums(l, member)};
    size_t begin, end;
    threads_share(l->words->n_runs, member, n_members, &begin, &end);
    for (size_t i = begin; i < end; i++) {
        x.scale = (double)l->words->run[i].count * (1 << FRACTION_BITS);
        fill(l, member, i);
        unigram_lattice_expect(&l->lattice[member], expect, &x);
    }
}

static void best_share(void *context, size_t member, size_t n_members)
{
    struct learner *l = context;
    uint64_t *sum = clear_sums(l, member);
    int32_t path[UNIGRAM_RUN_MAX];
    size_t begin, end;
    threads_share(l->words->n_runs, member, n_members, &begin, &end);
    for (size_t i = begin; i < end; i++) {
        fill(l, member, i);
        for (size_t n = unigram_lattice_path(&l->lattice[member], path); n-- > 0;)
            sum[path[n]] += l->words->run[i].count;
    }
}

static void sum_over_runs(struct learner *l, threads_job *share)
{
    threads_run(l->team, share, l);
    for (size_t m = 1; m < l->n_members; m++)
        for (size_t i = 0; i < l->pieces->n; i++)
            l->sum[i] += l->sum[m * l->n_sums + i];
}

static bool build_trie(struct learner *l, struct error *err)
{
    unigram_trie_free(&l->trie);
    return unigram_trie_open(&l->trie, l->words->symbol, l->pieces, err);
}

/* ---- expectation maximisation ---- */

/* Derivative of the logarithm of the gamma function: its recurrence up to where the asymptotic
 * series is exact to 1e-12 (Abramowitz and Stegun 6.3.5, 6.3.18). */
static double digamma(double x)
{
    double value = 0;
    for (; x < 10; x++)
        value -= 1 / x;
    double y = 1 / (x * x);
    return value + log(x) - 0.5 / x -
           y * (1.0 / 12 - y * (1.0 / 120 - y * (1.0 / 252 - y * (1.0 / 240 - y / 132))));
}

/* drop: pieces that are hardly expected go. Characters stay in any case. */
static bool maximise(struct learner *l, bool drop, struct error *err)
{
    if (!build_trie(l, err))
        return false;
    sum_over_runs(l, expect_share);
    struct unigram_piece *piece = l->pieces->piece;
    size_t kept = 0;
    double sum = 0;
    for (size_t i = 0; i < l->pieces->n; i++) {
        double expected = ldexp((double)l->sum[i], -FRACTION_BITS);
        if (drop && piece[i].n > 1 && expected < MIN_EXPECTED)
            continue;
        expected = fmax(expected, MIN_EXPECTED);
        piece[kept] = piece[i];
        piece[kept++].score = digamma(expected);
        sum += expected;
    }
    l->pieces->n = kept;
    for (size_t i = 0; i < kept; i++)
        piece[i].score -= digamma(sum);
    progress_report(
        l->progress,
        &(struct progress_event){
            .stage = "learn", .done = ++l->done, .total = l->total, .unit = "steps", .loss = NAN});
    return true;
}

/* ---- pruning ---- */

/* How much the likelihood falls, but for a constant factor, when the piece goes and each of its
 * places in the best segmentations becomes the best segmentation of its own text without it.
 * -infinity: it is in no best segmentation. */
static double loss_of(const struct learner *l, struct unigram_lattice *lattice, size_t id,
                      double total)
{
    const struct unigram_piece *piece = &l->pieces->piece[id];
    double frequency = (double)l->sum[id];
    if (l->sum[id] == 0)
        return -INFINITY;
    int32_t path[UNIGRAM_RUN_MAX];
    unigram_lattice_fill(lattice, &l->trie, l->words->symbol + piece->at, piece->n, false);
    size_t n = unigram_lattice_path(lattice, path);
    double without = log(total + frequency * (double)(n - 1)), change = log(frequency) - log(total);
    for (size_t i = n; i-- > 0;)
        change -= log((double)l->sum[path[i]] + frequency) - without;
    return frequency * change;
}

static void loss_share(void *context, size_t member, size_t n_members)
{
    struct learner *l = context;
    double total = 0;
    for (size_t i = 0; i < l->pieces->n; i++)
        total += (double)l->sum[i];
    size_t begin, end;
    threads_share(l->pieces->n, member, n_members, &begin, &end);
    for (size_t i = begin; i < end; i++)
        l->loss[i] =
            l->pieces->piece[i].n == 1 ? INFINITY : loss_of(l, &l->lattice[member], i, total);
}

struct candidate {
    double value; /* loss, or score */
    uint32_t id;
};

static int descending(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    if (x->value < y->value || x->value > y->value)
        return x->value < y->value ? 1 : -1;
    return (x->id > y->id) - (x->id < y->id);
}

static int by_id(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

/* At most `most` pieces are left. */
static bool prune(struct learner *l, size_t most, struct error *err)
{
    if (!build_trie(l, err))
        return false;
    struct candidate *candidate = memory_array(l->pieces->n, sizeof *candidate, err);
    if (!candidate)
        return false;
    sum_over_runs(l, best_share);
    threads_run(l->team, loss_share, l);
    size_t n = 0;
    for (size_t i = 0; i < l->pieces->n; i++)
        if (l->loss[i] > -INFINITY)
            candidate[n++] = (struct candidate){l->loss[i], (uint32_t)i};
    qsort(candidate, n, sizeof *candidate, descending);
    n = n < most ? n : most;
    qsort(candidate, n, sizeof *candidate, by_id);
    for (size_t i = 0; i < n; i++)
        l->pieces->piece[i] = l->pieces->piece[candidate[i].id];
    l->pieces->n = n;
    free(candidate);
    return true;
}

/* ---- rounds ---- */

static bool allocate(struct learner *l, struct error *err)
{
    double symbols = 0;
    for (size_t i = 0; i < l->words->n_runs; i++)
        symbols += (double)l->words->run[i].count * l->words->run[i].n;
    if (!(symbols < MAX_SYMBOLS))
        return error_set(err, "%.3g characters are more than can be learnt from (%.3g)", symbols,
                         MAX_SYMBOLS);
    l->n_sums = l->pieces->n;
    l->lattice = memory_array(l->n_members, sizeof *l->lattice, err);
    size_t n;
    if (!memory_multiply(l->n_members, l->n_sums, &n))
        return error_set(err, "%zu pieces are too many", l->n_sums);
    l->sum = memory_array(n, sizeof *l->sum, err);
    l->loss = memory_array(l->n_sums, sizeof *l->loss, err);
    return l->lattice && l->sum && l->loss;
}

/* The steps to come: those of this round, of the prunings down to `desired`, and the last ones. */
static void estimate(struct learner *l, size_t desired)
{
    double n_prunings = ceil(log((double)desired / (double)l->pieces->n) / log(SHRINK));
    l->total = l->done + EM_STEPS * (2 + (n_prunings > 0 ? (uint64_t)n_prunings : 0));
}

static bool rounds(struct learner *l, size_t wanted, struct error *err)
{
    size_t desired = (size_t)((double)wanted * SURPLUS), before = SIZE_MAX;
    for (;;) {
        estimate(l, desired);
        for (int i = 0; i < EM_STEPS; i++)
            if (!maximise(l, true, err))
                return false;
        if (l->pieces->n <= desired || l->pieces->n >= before)
            break;
        before = l->pieces->n;
        size_t most = (size_t)((double)l->pieces->n * SHRINK);
        if (!prune(l, most > desired ? most : desired, err))
            return false;
    }
    if (l->pieces->n > wanted && !prune(l, wanted, err))
        return false;
    for (int i = 0; i < EM_STEPS; i++)
        if (!maximise(l, false, err))
            return false;
    return true;
}

/* The most probable first; equals stay in alphabetical order. */
static bool order(struct unigram_pieces *pieces, struct error *err)
{
    struct candidate *candidate = memory_array(pieces->n, sizeof *candidate, err);
    struct unigram_piece *sorted = memory_array(pieces->n, sizeof *sorted, err);
    bool ok = candidate && sorted;
    for (size_t i = 0; ok && i < pieces->n; i++)
        candidate[i] = (struct candidate){pieces->piece[i].score, (uint32_t)i};
    if (ok) {
        qsort(candidate, pieces->n, sizeof *candidate, descending);
        for (size_t i = 0; i < pieces->n; i++)
            sorted[i] = pieces->piece[candidate[i].id];
        free(pieces->piece);
        pieces->piece = sorted;
        pieces->capacity = pieces->n;
    } else
        free(sorted);
    free(candidate);
    return ok;
}

bool unigram_learn(const struct unigram_words *words, const struct unigram_learn_options *options,
                   struct unigram_pieces *pieces, const struct progress *progress,
                   struct error *err)
{
    if (words->n_codes > options->n_pieces)
        return error_set(err, "%zu characters do not fit in a vocabulary of %zu pieces",
                         words->n_codes, options->n_pieces);
    struct learner l = {.words = words,
                        .pieces = pieces,
                        .team = options->team,
                        .n_members = options->team ? threads_count(options->team) : 1,
                        .progress = progress};
    bool ok = unigram_seed(words, MAX_SEEDS, pieces, err) && allocate(&l, err) &&
              rounds(&l, options->n_pieces, err);
    unigram_trie_free(&l.trie);
    free(l.lattice);
    free(l.sum);
    free(l.loss);
    return ok && order(pieces, err);
}
