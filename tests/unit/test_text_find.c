/* Search in windows against a slow one. */
#include "text/text_find.h"

#include <stdbool.h>
#include <stdlib.h>

#include "tests/tap.h"

static const char *slow(const char *text, size_t n, const char *what, size_t n_what)
{
    for (size_t i = 0; i + n_what <= n; i++)
        if (memcmp(text + i, what, n_what) == 0)
            return text + i;
    return NULL;
}

/* A needle of each length at each place around the windows' ends, in memory that ends with the
 * text; the text before it is all but the needle. */
static void test_places(void)
{
    static const size_t place[] = {0, 1, 254, 255, 256, 257, 511, 766, 767, 768, 769, 1791, 1793};
    bool found = true, none = true;
    for (size_t n_what = 1; n_what < 600; n_what += n_what < 20 ? 1 : 97)
        for (size_t i = 0; i < sizeof place / sizeof *place; i++) {
            size_t n = place[i] + n_what;
            char *text = malloc(n), *what = malloc(n_what);
            memset(text, 'a', n);
            memset(what, 'a', n_what);
            text[n - 1] = what[n_what - 1] = 'b';
            found &= text_find(text, n, what, n_what) == text + place[i];
            text[n - 1] = 'c';
            none &= text_find(text, n, what, n_what) == NULL;
            free(text);
            free(what);
        }
    tap_ok(found, "found around the ends of windows");
    tap_ok(none, "and not where its last byte differs");
}

static void test_random(void)
{
    enum { N = 3000 };
    char text[N], what[8];
    unsigned state = 1;
    bool same = true;
    for (int round = 0; round < 2000; round++) {
        for (size_t i = 0; i < N; i++)
            text[i] = (char)('a' + ((state = state * 1103515245u + 12345u) >> 24) % 3);
        size_t n_what = (size_t)round % (sizeof what + 1), n = (size_t)round * 7 % N;
        for (size_t i = 0; i < n_what; i++)
            what[i] = (char)('a' + ((state = state * 1103515245u + 12345u) >> 24) % 3);
        same &= text_find(text, n, what, n_what) == slow(text, n, what, n_what);
    }
    tap_ok(same, "as a slow search in texts of three letters");
    tap_ok(text_find(text, 3, "abcd", 4) == NULL, "none that is longer than the text");
    tap_ok(text_find(text, 0, "", 0) == text, "nothing is found at once, even in nothing");
}

int main(void)
{
    test_places();
    test_random();
    return tap_done();
}
