/* Merges of a word, against a plain search over all pairs. */
#include "text/bpe.h"

#include <stdlib.h>

#include "core/rng.h"
#include "tests/tap.h"
#include "text/utf8.h"

enum { MAX_PIECES = 4000, MAX_MERGES = 4000, ARENA = 1 << 18, LONG = 20000 };

static struct piece piece[MAX_PIECES];
static struct bpe_merge merge[MAX_MERGES];
static char arena[ARENA];
static size_t n_pieces, n_merges, n_arena;

static void clear(void)
{
    n_pieces = n_merges = n_arena = 0;
}

static int32_t add(const char *text, size_t n)
{
    for (size_t i = 0; i < n_pieces; i++)
        if (piece[i].n == n && memcmp(arena + piece[i].offset, text, n) == 0)
            return (int32_t)i;
    piece[n_pieces] = (struct piece){n_arena, (uint32_t)n};
    memcpy(arena + n_arena, text, n);
    n_arena += n;
    return (int32_t)n_pieces++;
}

static int32_t put(const char *text)
{
    return add(text, strlen(text));
}

static void join(const char *left, const char *right)
{
    merge[n_merges++] = (struct bpe_merge){put(left), put(right)};
}

static struct bpe *build(struct bpe_options options, struct error *err)
{
    return bpe_open((struct pieces){arena, piece, n_pieces}, merge, n_merges, &options, err);
}

/* ids as text; "failed". */
static void matches(const struct bpe *bpe, const char *word, const char *expected)
{
    struct error err = ERROR_INIT;
    struct bpe_scratch *scratch = bpe_scratch_open(&err);
    int32_t ids[64];
    char found[400] = "";
    size_t n = 0, used = 0;
    if (!scratch || !bpe_match(bpe, scratch, word, strlen(word), ids, &n, &err))
        strcpy(found, "failed");
    for (size_t i = 0; i < n; i++)
        used += (size_t)snprintf(found + used, sizeof found - used, "%s%.*s", i ? " " : "",
                                 (int)piece[ids[i]].n, arena + piece[ids[i]].offset);
    tap_is(found, expected, word);
    bpe_scratch_close(scratch);
}

static const struct bpe_options plain = {.unknown = -1};

static void test_words(void)
{
    struct error err = ERROR_INIT;
    clear();
    for (const char *p = "abcdq"; *p; p++)
        add(p, 1);
    put("ab");
    put("bc");
    put("abc");
    put("aa");
    put("<unk>");
    put("abcq"); /* a piece that no merge makes */
    put("ठी");
    put("ठ");
    put("ी");
    join("b", "c");
    join("a", "b");
    join("a", "bc");
    join("a", "a");
    join("ठ", "ी");
    struct bpe *bpe = build(plain, &err);
    tap_ok(bpe != NULL, "opens: %s", err.text);
    matches(bpe, "abc", "abc");
    matches(bpe, "abd", "ab d");
    matches(bpe, "aaa", "aa a");
    matches(bpe, "aaaaa", "aa aa a");
    matches(bpe, "aab", "a ab"); /* the lesser rank, though it stands to the right */
    matches(bpe, "ठीठ", "ठी ठ");
    matches(bpe, "abcq", "abc q");
    matches(bpe, "axb", "ab"); /* a character without a piece is left out before merging */
    matches(bpe, "", "");
    matches(bpe, "x", "");
    bpe_close(bpe);

    struct bpe_options options = {.unknown = put("<unk>"), .ignore_merges = true};
    bpe = build(options, &err);
    matches(bpe, "abcq", "abcq");
    matches(bpe, "abcqa", "abc q a");
    matches(bpe, "axxb", "a <unk> <unk> b");
    matches(bpe, "xxमx", "<unk> <unk> <unk> <unk>");
    bpe_close(bpe);
    options.fuse_unknown = true;
    bpe = build(options, &err);
    matches(bpe, "axxbx", "a <unk> b <unk>");
    bpe_close(bpe);
}

static void test_bytes(void)
{
    struct error err = ERROR_INIT;
    clear();
    put("a");
    put("<unk>");
    put("<0xC3>");
    put("<0xA9>");
    put("<0xC3><0xA9>");
    struct bpe_options options = {.unknown = 1, .byte_fallback = true};
    struct bpe *bpe = build(options, &err);
    matches(bpe, "aé", "a <0xC3> <0xA9>");
    matches(bpe, "êa", "<unk> a");
    matches(bpe, "êéa", "<0xC3> <0xA9> <unk> a"); /* Hugging Face's order */
    bpe_close(bpe);
    join("<0xC3>", "<0xA9>");
    bpe = build(options, &err);
    matches(bpe, "é", "<0xC3><0xA9>");
    bpe_close(bpe);
}

static void test_refusals(void)
{
    struct error err = ERROR_INIT;
    clear();
    put("a");
    put("b");
    join("a", "b");
    tap_ok(!build(plain, &err) && strstr(err.text, "merge 1 makes \"ab\""), "%s", err.text);
    error_clear(&err);
    put("ab");
    merge[n_merges++] = (struct bpe_merge){1, 3};
    tap_ok(!build(plain, &err) && strstr(err.text, "merge 2 joins the ids 1 and 3"), "%s",
           err.text);
    error_clear(&err);
    merge[1] = (struct bpe_merge){-1, 0};
    tap_ok(!build(plain, &err) && err.set, "%s", err.text);
    error_clear(&err);
    n_merges = 1;
    tap_ok(!build((struct bpe_options){.unknown = 3}, &err) && strstr(err.text, "unknown"), "%s",
           err.text);
    error_clear(&err);
    piece[1].n = 0; /* no piece has this id */
    tap_ok(!build(plain, &err) && err.set, "%s", err.text);
}

/* ---- random vocabularies ---- */

static int32_t rank_of(int32_t left, int32_t right)
{
    for (size_t i = n_merges; i-- > 0;)
        if (merge[i].left == left && merge[i].right == right)
            return (int32_t)i;
    return -1;
}

static int32_t joined(int32_t left, int32_t right)
{
    char text[4096];
    const struct piece *l = &piece[left], *r = &piece[right];
    memcpy(text, arena + l->offset, l->n);
    memcpy(text + l->n, arena + r->offset, r->n);
    return add(text, (size_t)l->n + r->n);
}

/* By definition: of all pairs the first of the least rank, until none merges. */
static size_t reference(int32_t *ids, size_t n)
{
    for (;;) {
        int32_t best = -1;
        size_t at = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            int32_t rank = rank_of(ids[i], ids[i + 1]);
            if (rank >= 0 && (best < 0 || rank < best)) {
                best = rank;
                at = i;
            }
        }
        if (best < 0)
            return n;
        ids[at] = joined(ids[at], ids[at + 1]);
        n--;
        memmove(&ids[at + 1], &ids[at + 2], (n - at - 1) * sizeof *ids);
    }
}

static const char alphabet[] = "abcdefgh";

static void random_vocabulary(struct rng *rng, size_t letters, size_t merges)
{
    clear();
    for (size_t i = 0; i < letters; i++)
        add(&alphabet[i], 1);
    while (n_merges < merges) {
        int32_t left = (int32_t)rng_below(rng, n_pieces), right = (int32_t)rng_below(rng, n_pieces);
        if (piece[left].n + piece[right].n > 12)
            continue;
        joined(left, right);
        merge[n_merges++] = (struct bpe_merge){left, right}; /* some twice */
    }
}

static void test_random(void)
{
    struct error err = ERROR_INIT;
    struct rng rng;
    rng_seed(&rng, 5);
    struct bpe_scratch *scratch = bpe_scratch_open(&err);
    size_t wrong = 0, words = 0;
    for (size_t trial = 0; trial < 40; trial++) {
        size_t letters = 1 + rng_below(&rng, 6);
        random_vocabulary(&rng, letters, 4 + rng_below(&rng, 60));
        struct bpe *bpe = build(plain, &err);
        for (size_t k = 0; bpe && k < 20; k++, words++) {
            char text[160];
            int32_t ids[160], expected[160];
            size_t n = 1 + rng_below(&rng, sizeof text - 1), n_ids = 0;
            for (size_t i = 0; i < n; i++) {
                expected[i] = (int32_t)rng_below(&rng, letters);
                text[i] = alphabet[expected[i]];
            }
            size_t n_expected = reference(expected, n);
            bool ok = bpe_match(bpe, scratch, text, n, ids, &n_ids, &err);
            wrong += !ok || n_ids != n_expected || memcmp(ids, expected, n_ids * sizeof *ids) != 0;
        }
        bpe_close(bpe);
    }
    tap_ok(words == 800 && !wrong, "%zu random words, short and long, %zu wrong", words, wrong);
    bpe_scratch_close(scratch);
}

static void test_long(void)
{
    struct error err = ERROR_INIT;
    clear();
    static char text[LONG];
    static int32_t ids[LONG];
    memset(text, 'a', LONG);
    for (size_t n = 1; n <= 8; n *= 2) { /* a, aa, aaaa, … each made of two halves */
        int32_t half = add("aaaaaaaaaaaaaaaa", n);
        add("aaaaaaaaaaaaaaaa", 2 * n);
        merge[n_merges++] = (struct bpe_merge){half, half};
    }
    struct bpe *bpe = build(plain, &err);
    struct bpe_scratch *scratch = bpe_scratch_open(&err);
    size_t n = 0;
    bool ok = bpe && bpe_match(bpe, scratch, text, LONG, ids, &n, &err);
    tap_ok(ok && n == LONG / 16 && ids[0] == 4 && ids[n - 1] == 4, "a word of %d characters", LONG);
    bpe_scratch_close(scratch);
    bpe_close(bpe);
}

int main(void)
{
    test_words();
    test_bytes();
    test_refusals();
    test_random();
    test_long();
    return tap_done();
}
