/* The trie of pieces and the greedy match. */
#include "text/wordpiece.h"

#include <stdlib.h>

#include "tests/tap.h"
#include "text/utf8.h"

enum { MAX_PIECES = 70000 };

static struct piece piece[MAX_PIECES];
static char arena[MAX_PIECES * 16];
static size_t n_arena;
static struct piece_trie built;

static struct wordpiece *build(const char *const *text, size_t n)
{
    struct error err = ERROR_INIT;
    n_arena = 0;
    for (size_t i = 0; i < n; i++) {
        size_t length = strlen(text[i]);
        piece[i] = (struct piece){n_arena, (uint32_t)length};
        memcpy(arena + n_arena, text[i], length);
        n_arena += length;
    }
    piece_trie_free(&built);
    return piece_trie_open(&built, (struct pieces){arena, piece, n}, "##", &err)
               ? wordpiece_open(&built, "##", &err)
               : NULL;
}

static void matches(const struct wordpiece *trie, const char *word, const char *expected)
{
    uint32_t code[64];
    int32_t ids[64];
    char found[400] = "";
    size_t n = 0, used = 0;
    for (const unsigned char *p = (const unsigned char *)word; *p;)
        code[n++] = utf8_next(&p);
    size_t n_ids = wordpiece_match(trie, code, n, ids);
    for (size_t i = 0; i < n_ids; i++)
        used +=
            (size_t)snprintf(found + used, sizeof found - used, "%s%d", i ? " " : "", (int)ids[i]);
    tap_is(found, expected, word);
}

static void test_many(void)
{
    static char text[MAX_PIECES][16];
    static const char *list[MAX_PIECES];
    bool all = true;
    for (size_t i = 0; i < MAX_PIECES; i++) {
        snprintf(text[i], sizeof text[i], "%s%zx", i % 2 ? "##" : "",
                 i * 2654435761u % 4294967291u);
        list[i] = text[i];
    }
    struct wordpiece *trie = build(list, MAX_PIECES);
    for (size_t i = 0; i < MAX_PIECES; i += 2) {
        uint32_t code[16];
        int32_t ids[16];
        size_t n = strlen(text[i]);
        for (size_t k = 0; k < n; k++)
            code[k] = (unsigned char)text[i][k];
        all = all && wordpiece_match(trie, code, n, ids) == 1 && ids[0] == (int32_t)i;
    }
    tap_ok(all, "every one of %d pieces is found again", MAX_PIECES / 2);
    wordpiece_close(trie);
}

int main(void)
{
    const char *const text[] = {"un", "##aff", "##able", "##a", "u", "##",
                                "",   "प",     "##ुणे",    "un",  "#"};
    struct wordpiece *trie = build(text, 11);
    matches(trie, "unaffable", "9 1 2"); /* of two equal pieces the later */
    matches(trie, "unaffa", "9 1 3");
    matches(trie, "unaffx", ""); /* one unknown part makes the word unknown */
    matches(trie, "u", "4");
    matches(trie, "पुणे", "7 8");
    matches(trie, "able", "");
    matches(trie, "#", "10");
    wordpiece_close(trie);
    struct wordpiece *none = build(text, 0);
    matches(none, "u", "");
    wordpiece_close(none);
    test_many();
    return tap_done();
}
