/* test_added_tokens.c: where added tokens are found. The text between them stands in brackets. */
#include "text/added_tokens.h"

#include <stdlib.h>

#include "tests/tap.h"

static struct added_token token(const char *text, int32_t id)
{
    return (struct added_token){.text = (char *)text, .n = strlen(text), .id = id};
}

static const char *find(const struct added_token *list, size_t n, const char *text)
{
    static char out[1000];
    struct error err = ERROR_INIT;
    struct added_tokens *tokens = added_tokens_open(list, n, false, &err);
    struct added_search search = {.text = text, .n = strlen(text)};
    size_t used = 0, begin, stop;
    int32_t id;
    bool more = true;
    out[0] = 0;
    while (more) {
        more = added_tokens_next(tokens, &search, &begin, &stop, &id);
        if (stop > begin)
            used += (size_t)snprintf(out + used, sizeof out - used, "[%.*s]", (int)(stop - begin),
                                     text + begin);
        if (more)
            used += (size_t)snprintf(out + used, sizeof out - used, "%d", (int)id);
    }
    added_tokens_close(tokens);
    return out;
}

static void test_matching(void)
{
    struct added_token list[] = {token("<x>", 1), token("<xy>", 2), token("<x><x>", 3),
                                 token("a", 4)};
    tap_is(find(list, 4, "b<xy><x>c"), "[b]21[c]", "tokens in a row");
    tap_is(find(list, 4, "<x><x><x>"), "31", "the longest at the leftmost place");
    tap_is(find(list, 4, "<xz>"), "[<xz>]", "none");
    tap_is(find(list, 4, ""), "", "an empty text");
    tap_is(find(list, 4, "xa"), "[x]4", "inside a word");
    tap_is(find(NULL, 0, "a<x>"), "[a<x>]", "no tokens at all");
}

static void test_settings(void)
{
    struct added_token left = token("<l>", 1), right = token("<r>", 2), word = token("w", 3);
    left.lstrip = right.rstrip = word.single_word = true;
    struct added_token list[] = {left, right, word};
    tap_is(find(list, 3, "a \t<l> b"), "[a]1[ b]", "lstrip takes white space in front");
    tap_is(find(list, 3, "a <r>\xC2\xA0 b"), "[a ]2[b]", "rstrip that behind");
    tap_is(find(list, 3, "<r>  <l>"), "21", "both the same white space");
    tap_is(find(list, 3, "w aw wa w-w \xE0\xA4\x95w"), "3[ aw wa ]3[-]3[ \xE0\xA4\x95w]",
           "single_word");
    list[2].normalized = true;
    tap_is(find(list, 3, "w<l>"), "[w]1", "those of normalised text are not found in raw text");
}

static void test_many(void)
{
    enum { N = 5000 };
    static struct added_token list[N];
    static char text[N][16];
    char many[40];
    for (int i = 0; i < N; i++) {
        snprintf(text[i], sizeof text[i], "<t%d>", i);
        list[i] = token(text[i], i);
    }
    snprintf(many, sizeof many, "x<t4999><t0><t50><t5><t5000>");
    tap_is(find(list, N, many), "[x]49990505[<t5000>]", "thousands of tokens");
}

int main(void)
{
    test_matching();
    test_settings();
    test_many();
    return tap_done();
}
