/* Normalisation by a precompiled map: clusters, code points, hostile maps. What is expected of
 * clusters was compared with Hugging Face's tokenizers 0.23 on all code points and pairs. */
#include "text/charsmap.h"

#include <stdlib.h>

#include "charsmap_make.h"
#include "tests/tap.h"
#include "text/utf8.h"

static unsigned char map_bytes[MAKE_BYTES];

static void becomes(const struct charsmap *map, const char *text, const char *expected,
                    const char *what)
{
    struct error err = ERROR_INIT;
    struct text_buffer out = {NULL, 0, 0};
    /* In an exact allocation, so that a step over the end is seen. */
    size_t n = strlen(text);
    char *exact = memory_copy(text, n, &err), *found = NULL;
    if (charsmap_run(map, exact, n, &out, &err))
        found = memory_copy(out.bytes, out.n, &err);
    tap_is(found, expected, what);
    text_buffer_free(&out);
    free(found);
    free(exact);
}

static void test_clusters(const struct charsmap *map)
{
    becomes(map, "", "", "nothing");
    becomes(map, "plain text", "plain text", "kept");
    becomes(map, "a\tb\x7f", "a b", "replaced, removed");
    becomes(map, "\r\n", " ", "CR LF is one cluster");
    becomes(map, "\r\r\nA", "  a", "a CR before it is not of it");
    becomes(map, "cafe\xCC\x81s", "cafés", "a key of two code points");
    becomes(map, "e\xCC\x81\xCC\x81", "é", "a cluster that begins with a key is replaced whole");
    becomes(map, "e\xCC\xA3\xCC\x81", "e\xCC\xA3\xCC\x81", "a key with a mark in between");
    becomes(map, "ﬁ\xCC\xA3", "fi", "five bytes");
    becomes(map, "ﬁ\xCC\xA3\xCC\xA3", "fi\xCC\xA3\xCC\xA3", "seven bytes: by code points");
    becomes(map, "A\xF0\x9F\x8F\xBB!", "a!", "a mark of four bytes");
    becomes(map, "\xF0\x9D\x91\x99x", "lx", "a key of four bytes");
    becomes(map, "\xF0\x9D\x91\x99\xCC\xA3x", "l\xCC\xA3x", "and a mark: six bytes");
    becomes(map, "½\xE1\xAB\x94", "1⁄2", "a mark of Unicode 17");
    becomes(map, "½\xE2\x80\x8D½", "1⁄21⁄2", "ZWJ after no picture");
    becomes(map, "\xE0\xA5\x98\xCC\xA3", "\xE0\xA4\x95\xE0\xA4\xBC",
            "a consonant and a mark of two bytes");
    becomes(map, "क\xE0\xA5\x8D\xE0\xA5\x98\xCC\xA3",
            "क\xE0\xA5\x8D\xE0\xA4\x95\xE0\xA4\xBC\xCC\xA3",
            "a consonant after a virama does not begin a cluster");
    becomes(map, "किताब की दुकान", "किताब की दुकान", "Devanagari");
    becomes(map,
            "\xD8\x80"
            "A\xCC\xA3",
            "\xD8\x80"
            "a\xCC\xA3",
            "five bytes that are no key: by code points");
}

static void test_hostile(void)
{
    struct error err = ERROR_INIT;
    static const struct {
        const char *bytes;
        size_t n;
        const char *error;
    } bad[] = {{"", 0,
                "a map of 0 bytes says that its trie has 0; expected at least 4 and "
                "no more than follow"},
               {"\x08\0\0\0\0\0\0\0", 8,
                "a map of 8 bytes says that its trie has 8; expected at least 4 and "
                "no more than follow"},
               {"\xFF\xFF\xFF\xFF\0\0\0\0", 8,
                "a map of 8 bytes says that its trie has 4294967295; expected at "
                "least 4 and no more than follow"},
               {"\x04\0\0\0\0\0\0\0\xFF", 9, "the replacements are not valid UTF-8"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        tap_ok(!charsmap_open(bad[i].bytes, bad[i].n, &err), "bad map %zu", i);
        tap_is(err.text, bad[i].error, "its message");
        error_clear(&err);
    }
    /* Every code point leads to itself or to far away. */
    static const char loop[] = "\x04\0\0\0\0\0\0\0", far[] = "\x04\0\0\0\0\xFE\xFF\xFF";
    struct charsmap *map = charsmap_open(loop, 8, &err);
    becomes(map, "abc\xCC\xA3", "abc\xCC\xA3", "a trie of one unit");
    charsmap_close(map);
    map = charsmap_open(far, 8, &err);
    becomes(map, "abc\xCC\xA3", "abc\xCC\xA3", "a trie that points outside");
    charsmap_close(map);
    /* Values outside the replacements, and in the middle of a character. */
    static const struct make_pair pair[] = {{"a", "x"}, {"b", "é"}};
    size_t n = make_charsmap(pair, 2, map_bytes);
    for (size_t i = 4; i < 4 + 4 * MAKE_UNITS; i += 4)
        if (map_bytes[i + 3] & 0x80)
            map_bytes[map_bytes[i] ? i : i + 2]++;
    map = charsmap_open(map_bytes, n, &err);
    becomes(map, "abc", "abc", "replacements outside and in the middle of a character");
    charsmap_close(map);
}

int main(void)
{
    struct error err = ERROR_INIT;
    size_t n = make_charsmap(make_nfkc, MAKE_N_NFKC, map_bytes);
    struct charsmap *map = charsmap_open(map_bytes, n, &err);
    if (tap_ok(map != NULL, "opens"))
        test_clusters(map);
    charsmap_close(map);
    test_hostile();
    return tap_done();
}
