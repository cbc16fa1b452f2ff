/* The trie of pieces against a list that is searched from its end. */
#include "text/piece_trie.h"

#include <stdlib.h>

#include "core/rng.h"
#include "tests/tap.h"
#include "text/utf8.h"

enum { MAX_PIECES = 3000, MAX_CODES = 12, PIECE_BYTES = MAX_CODES * UTF8_MAX_BYTES + 2 };

/* Few, so that pieces share beginnings and come twice; of every length in bytes. */
static const uint32_t alphabet[] = {'a', 'b', '#', 0xE9, 0x915, 0x93E, 0x1F600};

static char arena[MAX_PIECES * PIECE_BYTES + PIECES_PADDING];
static struct piece piece[MAX_PIECES];

/* Text number i of a seed: up to MAX_CODES code points, few of them most of the time. */
static size_t draw(char *text, uint64_t seed, uint64_t i)
{
    size_t n = 0, n_codes = 1 + rng_hash(seed, i) % (i % 8 ? 5 : MAX_CODES);
    for (size_t k = 0; k < n_codes; k++)
        n += utf8_put(alphabet[rng_hash(seed + 1 + k, i) % (sizeof alphabet / sizeof *alphabet)],
                      text + n);
    return n;
}

static struct pieces draw_pieces(size_t n)
{
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        piece[i] = (struct piece){used, 0};
        if (i % 50 == 7)
            continue; /* nobody has this id */
        if (i % 3 == 0)
            memcpy(arena + used, "##", 2);
        piece[i].n = (uint32_t)(i % 3 ? 0 : 2);
        if (i != 3) /* the mark alone */
            piece[i].n += (uint32_t)draw(arena + used + piece[i].n, 1, i);
        used += piece[i].n;
    }
    return (struct pieces){arena, piece, n};
}

static int32_t search(struct pieces pieces, const char *text, size_t n)
{
    size_t i = pieces.n;
    while (i-- > 0)
        if (pieces.piece[i].n == n && n && !memcmp(pieces.arena + pieces.piece[i].offset, text, n))
            return (int32_t)i;
    return -1;
}

static void test_search(const char *prefix, size_t n_pieces)
{
    struct error err = ERROR_INIT;
    struct piece_trie trie;
    struct pieces pieces = draw_pieces(n_pieces);
    size_t wrong = 0, absent = 0, distinct = 0;
    bool ok = piece_trie_open(&trie, pieces, prefix, &err);
    for (size_t i = 0; ok && i < n_pieces; i++) {
        const char *text = pieces.arena + piece[i].offset;
        int32_t last = search(pieces, text, piece[i].n);
        distinct += last == (int32_t)i;
        wrong += piece_trie_whole(&trie, prefix, text, piece[i].n) != last;
    }
    for (size_t i = 0; ok && i < n_pieces; i++) {
        char text[PIECE_BYTES];
        size_t n = draw(text, 99, i);
        int32_t last = search(pieces, text, n);
        absent += last < 0;
        wrong += piece_trie_whole(&trie, prefix, text, n) != last;
    }
    tap_ok(ok && !wrong && (absent || !n_pieces), "%zu pieces, mark %s: found, or not (%zu) %s",
           n_pieces, prefix ? prefix : "none", absent, err.text);
    tap_ok(trie.n_pieces == distinct, "%zu distinct texts of %zu", trie.n_pieces, distinct);
    piece_trie_free(&trie);
}

/* Every code point in one piece: more edges than the pieces' number lets expect, so the table is
 * built again until they fit. */
static void test_long(void)
{
    struct error err = ERROR_INIT;
    struct piece_trie trie;
    char *text = malloc((size_t)UTF8_LAST * UTF8_MAX_BYTES + PIECES_PADDING);
    size_t n = 0;
    for (uint32_t code = 1; code <= UTF8_LAST; code++)
        if (code < 0xD800 || code > 0xDFFF)
            n += utf8_put(code, text + n);
    memset(text + n, 0, PIECES_PADDING);
    const struct piece one[] = {{0, (uint32_t)n}, {0, 1}, {0, 0}};
    bool ok = piece_trie_open(&trie, (struct pieces){text, one, 3}, NULL, &err);
    tap_ok(ok && trie.n_edges == UTF8_LAST - 2048 && trie.n_pieces == 2 &&
               piece_trie_whole(&trie, NULL, text, n) == 0 &&
               piece_trie_whole(&trie, NULL, text, 1) == 1 &&
               piece_trie_whole(&trie, NULL, text, n - 4) == -1 &&
               piece_trie_whole(&trie, NULL, text, 0) == -1,
           "a piece of %zu code points %s", trie.n_edges, err.text);
    piece_trie_free(&trie);
    const struct piece many[] = {{0, (uint32_t)n}, {1, (uint32_t)n - 1}, {2, (uint32_t)n - 2}};
    ok = piece_trie_open(&trie, (struct pieces){text, many, 3}, NULL, &err);
    tap_ok(!ok && strstr(err.text, "more than 3145728 distinct beginnings"), "three such: %s",
           err.text);
    free(text);
}

int main(void)
{
    test_search("##", MAX_PIECES);
    test_search(NULL, MAX_PIECES);
    test_search("#", 100);
    test_search("##", 0);
    test_long();
    return tap_done();
}
