/* The unigram model's segmentation: sums, ties, unknown characters, byte fallback. What is expected
 * was compared with Hugging Face's tokenizers 0.23 on random vocabularies. */
#include "text/unigram.h"

#include <stdlib.h>

#include "tests/tap.h"

struct entry {
    const char *text;
    double score;
};

enum { MAX_PIECES = 70000, LONG = 30000 };

static struct piece piece[MAX_PIECES];
static double score[MAX_PIECES];
static char arena[MAX_PIECES * 16];
static struct piece_trie built;

static struct unigram *build(const struct entry *entry, size_t n, int32_t unknown, bool fallback,
                             struct error *err)
{
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        size_t length = strlen(entry[i].text);
        piece[i] = (struct piece){used, (uint32_t)length};
        score[i] = entry[i].score;
        memcpy(arena + used, entry[i].text, length);
        used += length;
    }
    struct unigram_options options = {unknown, fallback};
    piece_trie_free(&built);
    return piece_trie_open(&built, (struct pieces){arena, piece, n}, NULL, err)
               ? unigram_open(&built, score, n, &options, err)
               : NULL;
}

static void matches(const struct unigram *unigram, const char *word, const char *expected)
{
    struct error err = ERROR_INIT;
    struct unigram_scratch *scratch = unigram_scratch_open(&err);
    char found[2048] = "";
    int32_t ids[64];
    size_t n = 0, used = 0;
    if (!unigram_match(unigram, scratch, word, strlen(word), ids, &n, &err))
        snprintf(found, sizeof found, "%s", err.text);
    for (size_t i = 0; i < n; i++)
        used +=
            (size_t)snprintf(found + used, sizeof found - used, "%s%d", i ? " " : "", (int)ids[i]);
    tap_is(found, expected, word);
    unigram_scratch_close(scratch);
}

static void test_sums(void)
{
    struct error err = ERROR_INIT;
    static const struct entry entry[] = {
        {"<unk>", 0}, {"a", -1}, {"b", -1}, {"ab", -2}, {"abc", -9},  {"cd", -2}, {"d", -3},
        {"पु", -3},    {"णे", -1}, {"प", -1}, {"ab", -4}, {"bc", -2.5}, {"", -1},   {"fg", -100}};
    struct unigram *unigram = build(entry, sizeof entry / sizeof *entry, 0, false, &err);
    matches(unigram, "", "");
    matches(unigram, "ab", "1 2");     /* of two equal pieces the last one's score counts */
    matches(unigram, "abcd", "1 2 5"); /* -4, not abc + d = -12 */
    matches(unigram, "abc", "1 11");
    matches(unigram, "पुणे", "7 8");
    matches(unigram, "xyza", "0 1");      /* neighbouring unknowns are one */
    matches(unigram, "xay", "0 1 0");     /* not fused across a piece */
    matches(unigram, "<unk>x<unk>", "0"); /* the unknown token's own text is unknown as well */
    matches(unigram, "c", "0");           /* no piece of one character */
    matches(unigram, "fg", "13");         /* -100 is above two unknowns: 2 * (-100 - 10) */
    unigram_close(unigram);
    static const struct entry tie[] = {{"<unk>", 0}, {"a", -1}, {"aa", -2}, {"aaa", -3}};
    unigram = build(tie, 4, 0, false, &err);
    matches(unigram, "aaa", "3"); /* equal sums: the longest last piece */
    matches(unigram, "aaaaa", "2 3");
    unigram_close(unigram);
    /* With positive scores unknowns may beat a piece; their text is still its. */
    static const struct entry high[] = {{"<unk>", 50}, {"xy", 45}, {"z", 50}};
    unigram = build(high, 3, 0, false, &err);
    matches(unigram, "xy", "1");
    matches(unigram, "xyy", "0");
    unigram_close(unigram);
}

static void test_unknown(void)
{
    struct error err = ERROR_INIT;
    static const struct entry bytes[] = {{"<unk>", 0},   {"a", -1},   {"<0xC3>", 0}, {"<0xA9>", 0},
                                         {"<0x7A>", -1}, {"<0x", -1}, {"C3>", -1}};
    struct unigram *unigram = build(bytes, 7, 0, true, &err);
    matches(unigram, "aéza", "1 2 3 4 1");
    matches(unigram, "aéqa", "1 0 1"); /* one byte of the run has no piece: one unknown */
    matches(unigram, "<0xC3>", "2");
    unigram_close(unigram);
    unigram = build(bytes, 7, -1, true, &err);
    matches(unigram, "aa", "1 1");
    matches(unigram, "aé",
            "\"aé\" has a character that no piece of the vocabulary holds, and the "
            "tokenizer names no unknown token");
    unigram_close(unigram);
    static const struct entry infinite[] = {{"a", 0}, {"b", -INFINITY}};
    tap_ok(!build(infinite, 2, -1, false, &err), "an infinite score");
    tap_is(err.text, "the score of piece 1 is not a finite number", "its message");
    error_clear(&err);
    tap_ok(!build(bytes, 7, 7, false, &err), "an unknown token outside the vocabulary");
    tap_is(err.text, "the id of the unknown token is 7, but the vocabulary has 7 pieces",
           "its message");
    error_clear(&err);
    unigram = build(bytes, 0, -1, false, &err);
    matches(unigram, "a",
            "\"a\" has a character that no piece of the vocabulary holds, and the "
            "tokenizer names no unknown token");
    unigram_close(unigram);
}

/* A vocabulary of many pieces, every one found; a long word is one run of them. */
static void test_many(void)
{
    static char text[MAX_PIECES][16], word[LONG];
    static struct entry entry[MAX_PIECES];
    static int32_t ids[LONG];
    struct error err = ERROR_INIT;
    for (size_t i = 0; i < MAX_PIECES; i++) {
        snprintf(text[i], sizeof text[i], "%zx.", i * 2654435761u % 4294967291u);
        entry[i] = (struct entry){text[i], -1};
    }
    struct unigram *unigram = build(entry, MAX_PIECES, 0, false, &err);
    struct unigram_scratch *scratch = unigram_scratch_open(&err);
    bool all = true;
    size_t n = 0;
    for (size_t i = 0; i < MAX_PIECES && all; i++)
        all = unigram_match(unigram, scratch, text[i], strlen(text[i]), ids, &n, &err) && n == 1 &&
              ids[0] == (int32_t)i;
    tap_ok(all, "every one of %d pieces is found again", MAX_PIECES);
    size_t used = 0, count = 0;
    while (used + 16 < LONG) {
        used += (size_t)snprintf(word + used, 16, "%s", text[count * 7]);
        count++;
    }
    all = unigram_match(unigram, scratch, word, used, ids, &n, &err) && n == count;
    for (size_t i = 0; i < n && all; i++)
        all = ids[i] == (int32_t)(i * 7);
    tap_ok(all, "a word of %zu bytes", used);
    unigram_scratch_close(scratch);
    unigram_close(unigram);
}

int main(void)
{
    test_sums();
    test_unknown();
    test_many();
    return tap_done();
}
