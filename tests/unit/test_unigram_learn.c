/* Learning a Unigram vocabulary: words, seeds and lattices on cases small enough to do by hand or by
 * trying everything; whole runs for what must hold. */
#include "text/unigram_learn.h"

#include <math.h>
#include <stdlib.h>

#include "core/rng.h"
#include "tests/tap.h"
#include "text/unigram_lattice.h"
#include "text/utf8.h"

static bool open_words(struct unigram_words *words, const char *text, size_t most,
                       struct error *err)
{
    const struct bert_options normal = {true, true, false, false};
    struct word_count *counted = word_count_open(&normal, err);
    bool ok = counted && word_count_add_marked(counted, text, strlen(text), err) &&
              unigram_words_open(words, counted, most, 2, err);
    word_count_close(counted);
    return ok;
}

static void spell(const struct unigram_words *words, uint32_t at, uint32_t n, char *text)
{
    for (uint32_t i = 0; i < n; i++)
        text += utf8_put(words->code[words->symbol[at + i] - 1], text);
    *text = 0;
}

/* ---- words ---- */

static void test_counts(void)
{
    struct error err = ERROR_INIT;
    const struct bert_options normal = {true, true, false, false};
    struct word_count *w = word_count_open(&normal, &err);
    const char *text =
        " ab  ab\tcd\xC2\xA0ｃｄ\xE3\x80\x80क\u200dय\n\u0958 \u0915\u093c x▁y ▁z ▁▁ ";
    static const struct {
        const char *word;
        uint64_t count;
    } expected[] = {{"▁ab", 2}, {"▁cd", 2}, {"▁क\u200dय", 1}, {"▁\u0915\u093c", 2},
                    {"▁x", 1},  {"▁y", 1},  {"▁z", 1},        {"▁", 2}};
    enum { N = sizeof expected / sizeof *expected };
    tap_ok(w && word_count_add_marked(w, text, strlen(text), &err) && w->word.n == N,
           "%d distinct words", N);
    for (size_t i = 0; i < N; i++) {
        int32_t number = string_table_find(&w->word, expected[i].word, strlen(expected[i].word));
        tap_ok(number >= 0 && w->count[number] == expected[i].count, "%s", expected[i].word);
    }
    char longest[2 * WORD_MAX_CODES];
    memset(longest, 'x', sizeof longest);
    tap_ok(word_count_add_marked(w, longest, WORD_MAX_CODES, &err) && w->word.n == N + 1,
           "a word of the greatest length is counted");
    tap_ok(word_count_add_marked(w, longest, WORD_MAX_CODES + 1, &err) && w->word.n == N + 1,
           "a longer one is not");
    word_count_close(w);
}

static void test_words(void)
{
    struct error err = ERROR_INIT;
    struct unigram_words words;
    bool ok = open_words(&words, "abxab abxab aq", 100, &err);
    tap_ok(ok && words.n_codes == 4 && words.n_runs == 2, "q, which occurs once, ends a run");
    tap_ok(ok && words.run[0].n == 6 && words.run[0].count == 2 && words.run[1].n == 2 &&
               words.run[1].count == 1,
           "runs with their words' counts");
    unigram_words_free(&words);
    ok = open_words(&words, "abxab abxab aq", 2, &err);
    tap_ok(ok && words.n_codes == 2 && words.code[0] == 'a' && words.code[1] == 'b',
           "the most frequent characters");
    tap_ok(ok && words.n_runs == 3 && words.run[0].n == 2 && words.run[1].n == 2 &&
               words.run[2].n == 1,
           "others cut words into runs");
    unigram_words_free(&words);
}

/* ---- seeds ---- */

static void seeds(const char *text, size_t most, const char *expected, const char *what)
{
    struct error err = ERROR_INIT;
    struct unigram_words words = {0};
    struct unigram_pieces seed = {0};
    char found[500] = "";
    size_t used = 0;
    bool ok = open_words(&words, text, 100, &err) && unigram_seed(&words, most, &seed, &err);
    for (size_t i = 0; ok && i < seed.n; i++) {
        char piece[UNIGRAM_PIECE_MAX * UTF8_MAX_BYTES + 1];
        spell(&words, seed.piece[i].at, seed.piece[i].n, piece);
        used += (size_t)snprintf(found + used, sizeof found - used, "%s%s", i ? " " : "", piece);
    }
    tap_is(found, expected, what);
    free(seed.piece);
    unigram_words_free(&words);
}

static void test_seeds(void)
{
    seeds("ab ab ac ac", 100, "a b c ▁ ▁a ▁ab ▁ac", "characters, inner nodes, whole words");
    seeds("xab yab xab yab", 100, "a ab b x y ▁ ▁xab ▁yab", "words end in different ways");
    seeds("abab abab", 100, "a ab b ▁ ▁abab", "the same substring twice in a word");
    seeds("ab ab ac ac", 2, "a b c ▁ ▁a ▁ab", "the best, among equals the first");
    seeds("abcdefghijklmnopqrs abcdefghijklmnopqrs", 100, "a b c d e f g h i j k l m n o p q r s ▁",
          "a word longer than a piece may be");

    struct error err = ERROR_INIT;
    struct unigram_words words = {0};
    struct unigram_pieces seed = {0};
    bool ok = open_words(&words, "ab ab ac ac", 100, &err) && unigram_seed(&words, 9, &seed, &err);
    double sum = 0;
    for (size_t i = 0; ok && i < seed.n; i++)
        sum += exp(seed.piece[i].score);
    tap_ok(fabs(sum - 1) < 1e-12, "their probabilities sum to 1");
    /* 4 a, 2 b, 2 c, 4 ▁; ▁a 4 × 2, ▁ab 2 × 3, ▁ac 2 × 3: of 32 */
    tap_ok(ok && fabs(exp(seed.piece[4].score) - 8.0 / 32) < 1e-12 &&
               fabs(exp(seed.piece[6].score) - 6.0 / 32) < 1e-12,
           "frequency times length");
    free(seed.piece);
    unigram_words_free(&words);
}

/* ---- lattices, against all segmentations ---- */

struct tally {
    double *expected;
    double total, best;
    int32_t path[UNIGRAM_RUN_MAX], best_path[UNIGRAM_RUN_MAX];
    size_t n_best;
};

static int32_t piece_of(const struct unigram_words *words, const struct unigram_pieces *pieces,
                        uint32_t at, uint32_t n)
{
    for (size_t i = 0; i < pieces->n; i++)
        if (pieces->piece[i].n == n && memcmp(words->symbol + pieces->piece[i].at,
                                              words->symbol + at, n * sizeof *words->symbol) == 0)
            return (int32_t)i;
    return -1;
}

static void try_all(const struct unigram_words *words, const struct unigram_pieces *pieces,
                    uint32_t at, uint32_t n, size_t depth, double score, struct tally *t)
{
    if (!n) {
        t->total += exp(score);
        for (size_t i = 0; i < depth; i++)
            t->expected[t->path[i]] += exp(score);
        if (score > t->best) {
            t->best = score;
            t->n_best = depth;
            memcpy(t->best_path, t->path, depth * sizeof *t->path);
        }
        return;
    }
    for (uint32_t k = 1; k <= n; k++) {
        int32_t id = piece_of(words, pieces, at, k);
        t->path[depth] = id;
        if (id >= 0)
            try_all(words, pieces, at + k, n - k, depth + 1, score + pieces->piece[id].score, t);
    }
}

static void add(void *context, int32_t piece, double probability)
{
    ((double *)context)[piece] += probability;
}

static bool run_agrees(const struct unigram_words *words, const struct unigram_pieces *pieces,
                       const struct unigram_trie *trie, const struct unigram_run *run)
{
    static struct unigram_lattice lattice;
    double found[200] = {0}, expected[200] = {0};
    struct tally t = {.expected = expected, .best = -INFINITY};
    int32_t path[UNIGRAM_RUN_MAX];
    try_all(words, pieces, run->begin, run->n, 0, 0, &t);
    unigram_lattice_fill(&lattice, trie, words->symbol + run->begin, run->n, true);
    unigram_lattice_expect(&lattice, add, found);
    size_t n = unigram_lattice_path(&lattice, path);
    bool ok = fabs(lattice.best[run->n] - t.best) < 1e-9 && n == t.n_best;
    for (size_t i = 0; ok && i < n; i++)
        ok = path[n - 1 - i] == t.best_path[i];
    for (size_t i = 0; i < pieces->n; i++)
        ok = ok && fabs(found[i] - expected[i] / t.total) < 1e-9;
    return ok;
}

static void test_lattice(void)
{
    struct error err = ERROR_INIT;
    struct unigram_words words = {0};
    struct unigram_pieces pieces = {0};
    struct unigram_trie trie = {0};
    bool ok =
        open_words(&words, "banana bananas ananas banana abnaabn nabnab saabnana", 100, &err) &&
        unigram_seed(&words, 100, &pieces, &err) && pieces.n <= 200;
    struct rng rng;
    rng_seed(&rng, 3);
    for (size_t i = 0; ok && i < pieces.n; i++)
        pieces.piece[i].score = -1 - 9 * rng_uniform(&rng);
    ok = ok && unigram_trie_open(&trie, words.symbol, &pieces, &err);
    size_t agree = 0;
    for (size_t i = 0; ok && i < words.n_runs; i++)
        agree += run_agrees(&words, &pieces, &trie, &words.run[i]);
    tap_ok(ok && agree == words.n_runs && words.n_runs == 6,
           "expectations and best paths of %zu runs as of all segmentations", agree);
    static struct unigram_lattice lattice;
    int32_t path[UNIGRAM_RUN_MAX];
    for (size_t i = 0; i < pieces.n; i++)
        pieces.piece[i].score = -1;
    unigram_lattice_fill(&lattice, &trie, words.symbol, words.run[0].n, true);
    tap_ok(unigram_lattice_path(&lattice, path) == 1, "a word that is a piece");
    unigram_lattice_fill(&lattice, &trie, words.symbol, words.run[0].n, false);
    tap_ok(unigram_lattice_path(&lattice, path) > 1, "and without that piece");
    unigram_trie_free(&trie);
    free(pieces.piece);
    unigram_words_free(&words);
}

/* ---- learning ---- */

enum { N_WORDS = 3000, WANTED = 150 };

/* Words of two to five syllables, some much more often than others. */
static char *make_text(bool reversed)
{
    static const char *const syllable[] = {"का",  "मा", "री", "त्र", "लो", "ने", "ब", "शि",
                                           "ग्रा", "ठी", "ल",  "र",  "सं",  "पु", "णे", "हा"};
    char *text = malloc(N_WORDS * 100), *word[N_WORDS];
    size_t used = 0;
    struct rng rng;
    rng_seed(&rng, 11);
    for (size_t i = 0; i < N_WORDS; i++) {
        char buffer[100] = "";
        uint64_t kind = rng_below(&rng, 1 + rng_below(&rng, 400)), n = 2 + kind % 4;
        for (uint64_t k = 0; k < n; k++)
            strcat(buffer, syllable[rng_hash(kind, k) % 16]);
        word[i] = strdup(buffer);
    }
    for (size_t i = 0; i < N_WORDS; i++)
        used += (size_t)sprintf(text + used, "%s ", word[reversed ? N_WORDS - 1 - i : i]);
    for (size_t i = 0; i < N_WORDS; i++)
        free(word[i]);
    return text;
}

/* One line a piece. */
static char *learn(bool reversed, size_t n_threads, size_t wanted, struct error *err)
{
    char *text = make_text(reversed), *lines = calloc(1, 100000);
    struct threads *team = threads_open(n_threads, err);
    struct unigram_learn_options options = {.n_pieces = wanted, .team = team};
    struct unigram_words words = {0};
    struct unigram_pieces pieces = {0};
    size_t used = 0;
    if (open_words(&words, text, 100, err) && unigram_learn(&words, &options, &pieces, NULL, err))
        for (size_t i = 0; i < pieces.n; i++) {
            char piece[UNIGRAM_PIECE_MAX * UTF8_MAX_BYTES + 1];
            spell(&words, pieces.piece[i].at, pieces.piece[i].n, piece);
            used += (size_t)sprintf(lines + used, "%s %a\n", piece, pieces.piece[i].score);
        }
    free(pieces.piece);
    unigram_words_free(&words);
    threads_close(team);
    free(text);
    return lines;
}

static void test_learning(void)
{
    struct error err = ERROR_INIT;
    char *one = learn(false, 1, WANTED, &err), *three = learn(false, 3, WANTED, &err),
         *reversed = learn(true, 2, WANTED, &err);
    tap_is(three, one, "three threads learn what one learns");
    tap_is(reversed, one, "the order of the words means nothing");
    size_t n = 0, characters = 0;
    double sum = 0, last = 0;
    bool descending = true;
    for (char *line = strtok(one, "\n"); line; line = strtok(NULL, "\n"), n++) {
        char *space = strchr(line, ' ');
        double score = strtod(space, NULL);
        const unsigned char *p = (const unsigned char *)line;
        utf8_next(&p);
        characters += p == (const unsigned char *)space;
        descending = descending && score <= last;
        last = score;
        sum += exp(score);
    }
    tap_ok(n == WANTED, "as many pieces as wanted: %zu", n);
    tap_ok(characters == 23, "all %zu characters are among them", characters);
    tap_ok(descending, "the most probable first");
    tap_ok(sum > 0.8 && sum < 1.01, "a distribution, with what the prior takes: %.3f", sum);
    free(one);
    free(three);
    free(reversed);
    char *none = learn(false, 1, 20, &err);
    tap_ok(err.set && strstr(err.text, "23 characters do not fit in a vocabulary of 20"), "%s",
           err.text);
    free(none);
}

int main(void)
{
    test_counts();
    test_words();
    test_seeds();
    test_lattice();
    test_learning();
    return tap_done();
}
