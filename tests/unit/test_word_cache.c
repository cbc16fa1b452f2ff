/* The word cache: what fits, which word gives way, where words go. */
#include "text/word_cache.h"

#include "tests/tap.h"

static struct error err = ERROR_INIT;

/* Keeps a word with n_ids ids, the first one given, the others counting up. */
static void keep(struct word_cache *cache, uint8_t kind, const char *p, size_t n, int32_t first,
                 size_t n_ids)
{
    int32_t id[WORD_CACHE_IDS + 2] = {-1};
    for (size_t i = 0; i < n_ids; i++)
        id[i + 1] = first + (int32_t)i;
    struct token_ids ids = {.id = id, .n = n_ids + 1, .capacity = WORD_CACHE_IDS + 2, .err = &err};
    word_cache_keep(word_cache_set(cache, p, n), kind, p, n, &ids, 1);
}

/* The ids behind one that stood there before: -1: the word is not held, -2: not those expected. */
static int take(struct word_cache *cache, uint8_t kind, const char *p, size_t n, int32_t first)
{
    struct token_ids ids = {.err = &err};
    token_ids_add(&ids, 77);
    bool held = word_cache_take(word_cache_set(cache, p, n), kind, p, n, &ids);
    int found = held ? (int)ids.n - 1 : -1;
    bool good = ids.id[0] == 77 && (held || ids.n == 1);
    for (size_t i = 1; i < ids.n; i++)
        good &= ids.id[i] == first + (int32_t)i - 1;
    free(ids.id);
    return good ? found : -2;
}

/* Every length, in memory that ends with the word, with as many ids as fit and one more. */
static void test_lengths(void)
{
    struct word_cache cache;
    bool fits = true, refuses = true, told_apart = true;
    if (!tap_ok(word_cache_open(&cache, 8, &err), "a cache of 256 words"))
        return;
    tap_ok((uintptr_t)cache.entry % (WORD_CACHE_WAYS * sizeof *cache.entry) == 0,
           "whose sets are on pairs of lines");
    for (size_t n = 0; n <= WORD_CACHE_KEY; n++) {
        size_t most = (WORD_CACHE_ROOM - n) / 4;
        char *word = memory_array(n, 1, &err);
        for (size_t i = 0; i < n; i++)
            word[i] = (char)('a' + i % 26);
        keep(&cache, 1, word, n, 5, most + 1);
        refuses &= take(&cache, 1, word, n, 5) == -1;
        keep(&cache, 1, word, n, 1000, most);
        fits &= take(&cache, 1, word, n, 1000) == (int)most;
        for (size_t i = 0; i < n; i++) {
            word[i] = (char)(word[i] ^ 1);
            told_apart &= take(&cache, 1, word, n, 1000) == -1;
            word[i] = (char)(word[i] ^ 1);
        }
        told_apart &= take(&cache, 2, word, n, 1000) == -1;
        free(word);
    }
    tap_ok(fits, "a word of 0 to %d bytes with as many ids as its line has room for",
           WORD_CACHE_KEY);
    tap_ok(refuses, "not with one more");
    tap_ok(told_apart, "words that differ in a byte or in their kind are different");
    word_cache_free(&cache);
}

/* Four words of one set. */
static void test_set(void)
{
    struct word_cache cache;
    char word[4][16];
    size_t n = 0;
    if (!tap_ok(word_cache_open(&cache, 2, &err), "a cache of two sets"))
        return;
    for (int i = 0; n < 4; i++) {
        snprintf(word[n], sizeof word[n], "w%05d", i);
        n += word_cache_set(&cache, word[n], 6) == cache.entry;
    }
    keep(&cache, 1, word[0], 6, 100, 2);
    keep(&cache, 1, word[1], 6, 200, 3);
    tap_ok(take(&cache, 1, word[0], 6, 100) == 2 && take(&cache, 1, word[1], 6, 200) == 3,
           "a set holds two words");
    keep(&cache, 1, word[2], 6, 300, 0);
    tap_ok(take(&cache, 1, word[0], 6, 100) == -1 && take(&cache, 1, word[2], 6, 300) == 0,
           "a third one takes the place of the one that was not read last");
    keep(&cache, 1, word[3], 6, 400, 1);
    keep(&cache, 1, word[0], 6, 500, 1);
    tap_ok(take(&cache, 1, word[2], 6, 300) == 0 && take(&cache, 1, word[3], 6, 400) == -1 &&
               take(&cache, 1, word[0], 6, 500) == 1,
           "words that were read once do not push out one that was read again");
    word_cache_free(&cache);
}

/* How many of 1 << 10 places are used by as many words that have but two letters which differ: near
 * 1 - 1/e of the sets of two when spread by chance. */
static void test_spread(void)
{
    static const char *const form[] = {"%c%c", "বাংলা%c%c", "%c%cবাংলা", "বাং%cলার ভাষ%c"};
    struct word_cache cache;
    if (!tap_ok(word_cache_open(&cache, 11, &err), "a cache of 1024 sets"))
        return;
    for (size_t f = 0; f < sizeof form / sizeof *form; f++) {
        bool used[1024] = {false};
        int n_used = 0;
        for (int i = 0; i < 1024; i++) {
            char word[64];
            int n = snprintf(word, sizeof word, form[f], '@' + i % 32, '@' + i / 32);
            size_t set = (size_t)(word_cache_set(&cache, word, (size_t)n) - cache.entry) / 2;
            n_used += !used[set];
            used[set] = true;
        }
        tap_ok(n_used > 580, "1024 words like %s use %d of 1024 sets", form[f], n_used);
    }
    word_cache_free(&cache);
}

int main(void)
{
    test_lengths();
    test_set();
    test_spread();
    return tap_done();
}
