/* Counting words and merging them into pieces, on cases small enough to do by hand. */
#include "text/merge.h"

#include "tests/tap.h"

static void learns(const char *text, size_t n_pieces, size_t max_characters, const char *expected,
                   const char *what)
{
    const struct bert_options normal = {true, true, false, false};
    const struct merge_options how = {n_pieces, max_characters, 2};
    struct error err = ERROR_INIT;
    struct string_table piece = {0};
    char found[500] = "";
    size_t used = 0;
    struct word_count *words = word_count_open(&normal, &err);
    bool ok = words && word_count_add(words, text, strlen(text), &err) &&
              merge_pieces(words, &how, &piece, NULL, &err);
    for (size_t i = 0; ok && i < piece.n; i++)
        used += (size_t)snprintf(found + used, sizeof found - used, "%s%s", i ? " " : "",
                                 string_table_text(&piece, (int32_t)i));
    tap_is(found, expected, what);
    string_table_free(&piece);
    word_count_close(words);
}

static void test_counts(void)
{
    const struct bert_options lower = {true, true, true, true};
    struct error err = ERROR_INIT;
    struct word_count *words = word_count_open(&lower, &err);
    const char *text = "É e, e\u200d E.";
    tap_ok(word_count_add(words, text, strlen(text), &err) && words->word.n == 3,
           "three distinct words");
    int32_t e = string_table_find(&words->word, "e", 1),
            comma = string_table_find(&words->word, ",", 1);
    tap_ok(e >= 0 && words->count[e] == 4 && comma >= 0 && words->count[comma] == 1,
           "with their counts");
    char longest[2 * WORD_MAX_CODES];
    memset(longest, 'x', sizeof longest);
    tap_ok(word_count_add(words, longest, sizeof longest, &err) && words->word.n == 3,
           "a word too long for the tokenizer is left out");
    word_count_close(words);
}

int main(void)
{
    /* ab 4 times, abc 2: first (a ##b) 6, then (ab ##c) 2 */
    learns("ab ab abc ab ab abc", 20, 100, "a ##b ##c ab abc", "pairs by frequency");
    learns("ab ab abc ab ab abc", 4, 100, "a ##b ##c ab", "as many as wanted");
    learns("ab ab abc ab ab abc", 2, 100, "a ##b", "the alphabet comes first");
    learns("xy xy ab ab", 20, 100, "a ##b x ##y ab xy", "ties go to the smaller pair");
    learns("ab ab zq", 20, 100, "a ##b ab", "what occurs once is not learnt");
    learns("ab ab ab xb xb xy xy", 20, 2, "##b x xb",
           "words with a character that is no piece teach nothing");
    learns("aaaa aaaa", 20, 100, "a ##a ##aa aaa aaaa", "a pair of equals");
    learns("भाषा भाषा भाष", 20, 100, "##ा भ ##ष ##ाष भाष भाषा", "characters, not bytes");
    test_counts();
    return tap_done();
}
