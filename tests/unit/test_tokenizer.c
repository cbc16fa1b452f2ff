/* The tokenizer against ids that Hugging Face gives (tests/golden/tokenizer), its files and
 * options, truncation, decoding. */
#include "text/tokenizer.h"

#include <jansson.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "scratch.h"
#include "tests/tap.h"

static const char golden[] = "tests/golden/tokenizer/";

static struct tokenizer *open_with(const char *name, const char *vocabulary, const char *config,
                                   const char *json, struct error *err)
{
    char path[100];
    mkdir(scratch_path(name), 0777);
    snprintf(path, sizeof path, "%s/vocab.txt", name);
    if (vocabulary)
        scratch_write(path, vocabulary, strlen(vocabulary));
    snprintf(path, sizeof path, "%s/tokenizer_config.json", name);
    if (config)
        scratch_write(path, config, strlen(config));
    snprintf(path, sizeof path, "%s/tokenizer.json", name);
    if (json)
        scratch_write(path, json, strlen(json));
    struct bundle *bundle = bundle_open(scratch_path(name), err);
    struct tokenizer *t = bundle ? tokenizer_open(bundle, err) : NULL;
    bundle_close(bundle);
    return t;
}

/* Ids of a text as "2 5 3"; "cut" is put behind when it was truncated. */
static const char *encode(const struct tokenizer *t, const char *text, size_t max_tokens)
{
    static char out[20000];
    struct error err = ERROR_INIT;
    struct tokenizer_scratch *s = tokenizer_scratch_open(t, &err);
    const int32_t *ids;
    size_t n, used = 0;
    out[0] = 0;
    if (!s || !tokenizer_encode(t, s, text, strlen(text), max_tokens, &ids, &n, &err))
        snprintf(out, sizeof out, "%s", err.text);
    else {
        for (size_t i = 0; i < n; i++)
            used +=
                (size_t)snprintf(out + used, sizeof out - used, "%s%d", i ? " " : "", (int)ids[i]);
        if (tokenizer_truncated(s))
            snprintf(out + used, sizeof out - used, " cut");
    }
    tokenizer_scratch_close(s);
    return out;
}

static char *read_text(const char *name)
{
    char path[200], *text = NULL;
    size_t n = 0, got;
    snprintf(path, sizeof path, "%s%s", golden, name);
    FILE *file = fopen(path, "rb");
    do {
        text = realloc(text, n + 65536);
        got = file ? fread(text + n, 1, 65535, file) : 0;
        n += got;
    } while (got);
    text[n] = 0;
    if (file)
        fclose(file);
    return text;
}

/* One setting of the options over all golden texts. */
static void test_golden(const char *vocabulary, const char *lower, const char *strip)
{
    char config[200], name[100];
    struct error err = ERROR_INIT;
    snprintf(config, sizeof config, "{\"do_lower_case\": %s, \"strip_accents\": %s}", lower, strip);
    snprintf(name, sizeof name, "lower-%s-strip-%s", lower, strip);
    struct tokenizer *t = open_with(name, vocabulary, config, NULL, &err);
    snprintf(name, sizeof name, "lower-%s-strip-%s.ids", lower, strip);
    char *texts = read_text("texts.jsonl"), *ids = read_text(name), *save_text, *save_ids;
    char *text = strtok_r(texts, "\n", &save_text), *expected = strtok_r(ids, "\n", &save_ids);
    size_t line = 0, wrong = 0;
    struct tokenizer_scratch *s = t ? tokenizer_scratch_open(t, &err) : NULL;
    for (; s && text && expected; line++) {
        json_t *object = json_loads(text, JSON_ALLOW_NUL, NULL),
               *value = json_object_get(object, "text");
        const int32_t *id;
        size_t n = 0;
        bool same = tokenizer_encode(t, s, json_string_value(value), json_string_length(value), 0,
                                     &id, &n, &err);
        char *next = expected;
        for (size_t i = 0; same && i < n; i++)
            same = strtol(next, &next, 10) == id[i];
        same = same && *next == 0;
        if (!same && ++wrong)
            printf("# line %zu differs: %s\n", line + 1, text);
        json_decref(object);
        text = strtok_r(NULL, "\n", &save_text);
        expected = strtok_r(NULL, "\n", &save_ids);
    }
    tap_ok(line > 40 && !wrong && !text && !expected, "%s: %zu texts as Hugging Face %s", name,
           line, err.text);
    tokenizer_scratch_close(s);
    tokenizer_close(t);
    free(texts);
    free(ids);
}

static const char small[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n##a\nab\n##b\nc\nA\n.\n##ab\n";

static void test_limits(void)
{
    struct error err = ERROR_INIT;
    char word[102];
    struct tokenizer *t = open_with(
        "limits", small, "{\"do_lower_case\": false, \"model_max_length\": 77}", NULL, &err);
    memset(word, 'a', 101);
    word[100] = 0;
    tap_ok(strncmp(encode(t, word, 0), "2 5 6 6", 7) == 0, "a word of 100 characters");
    word[100] = 'a';
    word[101] = 0;
    tap_is(encode(t, word, 0), "2 1 3", "a word of 101 characters is unknown");
    tap_is(encode(t, "c c c c", 0), "2 9 9 9 9 3", "no limit");
    tap_is(encode(t, "c c c c", 6), "2 9 9 9 9 3", "as long as the limit: not cut");
    tap_is(encode(t, "c c c c", 5), "2 9 9 9 3 cut", "cut at the end, special tokens kept");
    tap_is(encode(t, "c c c c", 2), "2 3 cut", "only special tokens");
    tap_is(encode(t, "c c", 1), "1 tokens a text cannot hold the 2 special tokens",
           "too small a limit");
    tap_is(encode(t, "", 0), "2 3", "an empty text");
    tap_is(encode(t, "[MASK]c[SEP].", 0), "2 4 9 3 11 3", "special tokens in the text");
    tap_is(encode(t, "[mask]", 0), "2 1 1 1 3", "not in another case");
    tap_ok(tokenizer_max_tokens(t) == 77 && tokenizer_size(t) == 13 &&
               tokenizer_special_count(t) == 2,
           "figures");
    tokenizer_close(t);
}

/* Words wait for their places in the cache, some dozens at a time: texts of every number of words
 * around that, of each kind, and every limit. */
static void test_many_words(void)
{
    enum { WORDS = 150, LONG = 57, ROOM = WORDS * LONG };
    static const char *const part[] = {"c ", "ab ", ".", "[SEP]", "aab ", "", "\xE0\xA6\x95 "};
    static const int32_t expected[][3] = {{9, -1},     {7, -1}, {11, -1}, {3, -1},
                                          {5, 12, -1}, {-1},    {1, -1}};
    struct error err = ERROR_INIT;
    struct tokenizer *t = open_with("many", small, "{\"do_lower_case\": false}", NULL, &err);
    struct tokenizer_scratch *s = t ? tokenizer_scratch_open(t, &err) : NULL;
    char *text = malloc(ROOM);
    int32_t *wanted = malloc(ROOM * sizeof *wanted);
    size_t n = 0, n_wanted = 1;
    bool good = s != NULL, cut = good;
    wanted[0] = 2;
    for (size_t i = 0; good && cut && i < WORDS; i++) {
        const int32_t *id;
        size_t kind = i % 7, n_ids;
        if (kind == 5) { /* too long for the cache */
            memset(text + n, 'a', LONG);
            text[n + LONG] = ' ';
            n += LONG + 1;
            for (int j = 0; j < LONG; j++)
                wanted[n_wanted++] = j ? 6 : 5;
        }
        n += (size_t)sprintf(text + n, "%s", part[kind]);
        for (const int32_t *e = expected[kind]; *e >= 0; e++)
            wanted[n_wanted++] = *e;
        wanted[n_wanted] = 3;
        good = tokenizer_encode(t, s, text, n, 0, &id, &n_ids, &err) && n_ids == n_wanted + 1 &&
               memcmp(id, wanted, n_ids * sizeof *id) == 0;
        for (size_t limit = 2; i > 60 && i < 70 && cut && limit <= n_wanted; limit++)
            cut = tokenizer_encode(t, s, text, n, limit, &id, &n_ids, &err) && n_ids == limit &&
                  tokenizer_truncated(s) && memcmp(id, wanted, (limit - 1) * sizeof *id) == 0;
    }
    tap_ok(good, "texts of 1 to %d words of all kinds %s", WORDS, err.text);
    tap_ok(cut, "cut anywhere %s", err.text);
    free(wanted);
    free(text);
    tokenizer_scratch_close(s);
    tokenizer_close(t);
}

static void test_decode(void)
{
    struct error err = ERROR_INIT;
    struct tokenizer *t = open_with("decode", small, NULL, NULL, &err);
    const int32_t ids[] = {2, 7, 8, 6, 9, 11, 4, 3}, first[] = {8, 9}, wrong[] = {13};
    size_t n = 0;
    char *text = tokenizer_decode(t, ids, 8, &n, &err);
    tap_is(text, "abba c.", "pieces are joined, special tokens left out, a space before '.' too");
    tap_ok(n == 7, "and the length is told");
    free(text);
    text = tokenizer_decode(t, first, 2, &n, &err);
    tap_is(text, "##b c", "a first piece keeps its mark, as Hugging Face has it");
    free(text);
    text = tokenizer_decode(t, wrong, 1, &n, &err);
    tap_ok(!text && strstr(err.text, "13 is not below 13"), "a foreign id: %s", err.text);
    tokenizer_close(t);
}

static uint64_t fingerprint(const char *name, const char *vocabulary, const char *config,
                            const char *json)
{
    struct error err = ERROR_INIT;
    struct tokenizer *t = open_with(name, vocabulary, config, json, &err);
    uint64_t value = t ? tokenizer_fingerprint(t) : 0;
    if (!t)
        printf("# %s\n", err.text);
    tokenizer_close(t);
    return value;
}

static const char small_json[] =
    "{\"added_tokens\": [{\"id\": 0, \"content\": \"[PAD]\", \"special\": true, \"normalized\": "
    "false},"
    "{\"id\": 1, \"content\": \"[UNK]\", \"special\": true}, {\"id\": 2, \"content\": \"[CLS]\", "
    "\"special\": true},"
    "{\"id\": 3, \"content\": \"[SEP]\", \"special\": true}, {\"id\": 4, \"content\": \"[MASK]\", "
    "\"special\": true}],"
    "\"normalizer\": {\"type\": \"BertNormalizer\", \"clean_text\": true, "
    "\"handle_chinese_chars\": true,"
    "\"strip_accents\": null, \"lowercase\": %s}, \"pre_tokenizer\": {\"type\": \"%s\"},"
    "\"post_processor\": {\"type\": \"BertProcessing\", \"sep\": [\"[SEP]\", 3], \"cls\": "
    "[\"[CLS]\", 2]},"
    "\"model\": {\"type\": \"WordPiece\", \"unk_token\": \"[UNK]\", \"max_input_chars_per_word\": "
    "100, \"vocab\": {"
    "\"[PAD]\":0,\"[UNK]\":1,\"[CLS]\":2,\"[SEP]\":3,\"[MASK]\":4,\"a\":5,\"##\\u0061\":6,\"ab\":7,"
    "\"##b\":8,\"c\":9,"
    "\"A\":10,\".\":11,\"##ab\":12}}}";

static void test_files(void)
{
    char cased[2000], uncased[2000], foreign[2000];
    struct error err = ERROR_INIT;
    snprintf(cased, sizeof cased, small_json, "false", "BertPreTokenizer");
    snprintf(uncased, sizeof uncased, small_json, "true", "BertPreTokenizer");
    snprintf(foreign, sizeof foreign, small_json, "true", "FixedLength");
    uint64_t from_vocabulary = fingerprint("f1", small, "{\"do_lower_case\": false}", NULL);
    tap_ok(from_vocabulary == fingerprint("f2", NULL, "{\"do_lower_case\": false}", cased),
           "vocab.txt and tokenizer.json of the same tokenizer have one fingerprint");
    tap_ok(from_vocabulary == fingerprint("f3", NULL, NULL, cased),
           "options from tokenizer.json alone");
    tap_ok(from_vocabulary == fingerprint("f4", NULL, "{\"do_lower_case\": false}", uncased),
           "tokenizer_config.json wins where it states an option");
    tap_ok(from_vocabulary != fingerprint("f5", small, NULL, NULL), "the default is to lower-case");
    tap_ok(fingerprint("f5", small, NULL, NULL) == fingerprint("f6", NULL, NULL, uncased),
           "as in tokenizer.json");
    tap_ok(fingerprint("f7", NULL,
                       "{\"do_lower_case\": false, \"tokenizer_class\": "
                       "\"PreTrainedTokenizerFast\"}",
                       uncased) == fingerprint("f6", NULL, NULL, uncased),
           "with PreTrainedTokenizerFast only tokenizer.json counts");
    struct tokenizer *t = open_with("f8", NULL, NULL, foreign, &err);
    tap_ok(!t && strstr(err.text, "\"FixedLength\""), "refused by name: %s", err.text);
    err = (struct error)ERROR_INIT;
    t = open_with("f9", small, "{\"tokenizer_class\": \"XLMRobertaTokenizer\"}", NULL, &err);
    tap_ok(!t && strstr(err.text, "XLMRobertaTokenizer"), "another model than the class: %s",
           err.text);
    err = (struct error)ERROR_INIT;
    t = open_with("f10", "[PAD]\n[UNK]\na\n", NULL, NULL, &err);
    tap_ok(!t && strstr(err.text, "[CLS]"), "a special token is missing: %s", err.text);
    err = (struct error)ERROR_INIT;
    t = open_with("f11", "[UNK]\n\xFF\n", NULL, NULL, &err);
    tap_ok(!t && strstr(err.text, "vocab.txt:2"), "no UTF-8: %s", err.text);
    err = (struct error)ERROR_INIT;
    t = open_with("f12", small, "{\"model_max_length\": 1000000000000000019884624838656}", NULL,
                  &err);
    tap_ok(t && tokenizer_max_tokens(t) == 0, "Hugging Face's very large number is no limit %s",
           err.text);
    tokenizer_close(t);
}

/* Lines and ids that stand twice, or not at all. */
static void test_vocabulary(void)
{
    struct error err = ERROR_INIT;
    static const char special[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n";
    static const struct {
        const char *words, *config, *expected, *what;
    } table[] = {
        {"a\nb\na\nc\n", "{\"do_lower_case\": false}", "2 7 6 8 3 (9)",
         "vocab.txt with a line twice: the last counts"},
        {"a\nb\nc\n\n\n", "{\"do_lower_case\": false}", "2 5 6 7 3 (8)",
         "empty lines at the end give no ids"},
        {"a\n\nb\nc\n", "{\"do_lower_case\": false}", "2 5 7 8 3 (9)",
         "an empty line within has its number"},
        {"a\r\nb\r\n\r\nc", "{\"do_lower_case\": false}", "2 5 6 8 3 (9)",
         "lines of Windows, the last without an end"},
        {"a\n\xE0\xA4\nc\n", NULL, "vocab.txt:7: the piece with id 6 is not valid UTF-8",
         "a character that the line's end cuts"},
        {"a\nb\nc\n\n\n",
         "{\"do_lower_case\": false, \"added_tokens_decoder\": {\"9\": {\"content\": \"<x>\"}}}",
         "2 5 6 7 3 (10)", "a token is added behind the empty one"},
        {"a\nb\na\nc\n", "{\"added_tokens_decoder\": {\"8\": {\"content\": \"<x>\"}}}",
         "has two texts: \"c\" and \"<x>\"", "an added token with the id of another"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char words[200], found[200] = "";
        snprintf(words, sizeof words, "%s%s", special, table[i].words);
        struct tokenizer *t = open_with("v1", words, table[i].config, NULL, &err);
        if (t)
            snprintf(found, sizeof found, "%s (%zu)", encode(t, "a b c", 0), tokenizer_size(t));
        tap_ok(t ? strcmp(found, table[i].expected) == 0
                 : strstr(err.text, table[i].expected) != NULL,
               "%s: %s%s", table[i].what, found, err.text);
        tokenizer_close(t);
        error_clear(&err);
    }
    static const char *const json[][2] = {
        {"\"a\": 5, \"b\": 5", "token id 5 has two texts: \"a\" and \"b\""},
        {"\"a\": 6, \"b\": 5, \"a\": 7", "vocab: the token \"a\" has two ids, 6 and 7"},
        {"\"a\": 5, \"b\": 7, \"c\": 9", "vocab: no token has the id 6, but ids go up to 9"},
        {"\"a\": 5, \"b\": 99999999", "token id 99999999 is outside 0 to "},
        {"\"a\": -1", "token id -1 is outside 0 to "},
    };
    for (size_t i = 0; i < sizeof json / sizeof *json; i++) {
        char text[500];
        snprintf(text, sizeof text,
                 "{\"model\": {\"type\": \"WordPiece\", \"unk_token\": \"[UNK]\", \"vocab\": "
                 "{\"[PAD]\": 0, \"[UNK]\": 1, \"[CLS]\": 2, \"[SEP]\": 3, \"[MASK]\": 4, %s}}}",
                 json[i][0]);
        struct tokenizer *t = open_with("v2", NULL, NULL, text, &err);
        tap_ok(!t && strstr(err.text, json[i][1]) && strstr(err.text, "tokenizer.json: "),
               "tokenizer.json: %s", err.text);
        tokenizer_close(t);
        error_clear(&err);
    }
}

/* Words that normalisation empties join the part before them; that must not cost the square. */
static void test_emptied_words(void)
{
    enum { WORDS = 300000 };
    struct error err = ERROR_INIT;
    static const char json[] =
        "{\"normalizer\": {\"type\": \"Nmt\"}, \"pre_tokenizer\": {\"type\": \"Metaspace\", "
        "\"replacement\": \"\xE2\x96\x81\", \"prepend_scheme\": \"always\"}, \"model\": {\"type\": "
        "\"Unigram\", \"unk_id\": 0, \"vocab\": [[\"u\", 0], [\"\xE2\x96\x81\", -1], [\"a\", "
        "-2]]}}";
    struct tokenizer *t =
        open_with("e1", NULL, "{\"tokenizer_class\": \"PreTrainedTokenizerFast\"}", json, &err);
    struct tokenizer_scratch *s = t ? tokenizer_scratch_open(t, &err) : NULL;
    char *text = malloc(2 * WORDS + 1);
    const int32_t *id = NULL;
    size_t n = 0;
    for (size_t i = 0; i < WORDS; i++)
        memcpy(text + 2 * i, "\1 ", 2);
    text[2 * WORDS] = 'a';
    bool ok = s && tokenizer_encode(t, s, text, 2 * WORDS + 1, 0, &id, &n, &err);
    tap_ok(ok && n == WORDS + 1 && id[0] == 1 && id[WORDS - 1] == 1 && id[WORDS] == 2,
           "%d words of a control character each, quickly: %zu ids %s", WORDS, n, err.text);
    free(text);
    tokenizer_scratch_close(s);
    tokenizer_close(t);
}

/* Parts of the wrong type, twice, or behind the end. */
static void test_malformed(void)
{
    struct error err = ERROR_INIT;
#define MODEL "\"model\": {\"type\": \"WordPiece\", \"unk_token\": \"u\", \"vocab\": {\"u\": 0}}"
    static const char plain[] = "{\"tokenizer_class\": \"PreTrainedTokenizerFast\"}";
    static const char *const table[][3] = {
        {"{" MODEL "} x", plain, "tokenizer.json: column "},
        {"{" MODEL ", " MODEL "}", plain, "tokenizer.json: there are two models"},
        {"{\"added_tokens\": {\"a\": 1}, " MODEL "}", plain, "\"added_tokens\" is no array"},
        {"{" MODEL "}", "{\"added_tokens_decoder\": []}", "\"added_tokens_decoder\" is no object"},
        {"{" MODEL "}", "{\"extra_special_tokens\": {\"image\": \"<i>\"}}",
         "the special token \"<i>\" is not in the vocabulary"},
        {"{" MODEL "}", "{\"extra_special_tokens\": [7]}", "an item is not a token"},
        {"{\"normalizer\": [], " MODEL "}", plain, "normalizer: a step has no \"type\""},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct tokenizer *t = open_with("m1", NULL, table[i][1], table[i][0], &err);
        tap_ok(!t && strstr(err.text, table[i][2]), "malformed: %s", err.text);
        tokenizer_close(t);
        error_clear(&err);
    }
    struct tokenizer *t = open_with("m2", NULL, "{\"extra_special_tokens\": {\"image\": \"u\"}}",
                                    "{" MODEL "}", &err);
    tap_is(t ? encode(t, "u", 0) : err.text, "0", "an object of extra special tokens");
    tokenizer_close(t);
}

/* A tokenizer.json that makes a short text enormous, step by step. */
static void test_growth(void)
{
    struct error err = ERROR_INIT;
    char steps[2000] = "", text[3000];
    for (int i = 0; i < 12; i++)
        snprintf(steps + strlen(steps), sizeof steps - strlen(steps),
                 "%s{\"type\": \"Replace\", \"pattern\": {\"String\": \"a\"}, \"content\": "
                 "\"aaaaaaaaaa\"}",
                 i ? ", " : "");
    snprintf(text, sizeof text,
             "{\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [%s]}, \"model\": "
             "{\"type\": \"WordPiece\", \"unk_token\": \"u\", \"vocab\": {\"u\": 0, \"a\": 1}}}",
             steps);
    struct tokenizer *t =
        open_with("g1", NULL, "{\"tokenizer_class\": \"PreTrainedTokenizerFast\"}", text, &err);
    const char *found = t ? encode(t, "a", 0) : err.text;
    tap_ok(t && strstr(found, "grows beyond 256 MiB"), "a text that becomes enormous: %s", found);
    tokenizer_close(t);
}

/* Tokens added behind the vocabulary, as transformers writes them into tokenizer_config.json. */
static void test_added(void)
{
    struct error err = ERROR_INIT;
    struct tokenizer *t = open_with("a1", small,
                                    "{\"do_lower_case\": false, \"added_tokens_decoder\": {"
                                    "\"2\": {\"content\": \"[CLS]\", \"special\": true},"
                                    "\"14\": {\"content\": \"<x>\", \"special\": true},"
                                    "\"13\": {\"content\": \"<xy>\", \"special\": false}}}",
                                    NULL, &err);
    tap_is(t ? encode(t, "a<x>c <xy><", 0) : err.text, "2 5 14 9 13 1 3",
           "the longest added token counts");
    tap_ok(t && tokenizer_size(t) == 15, "and has an id behind the vocabulary");
    const int32_t ids[] = {5, 14, 13};
    size_t n;
    char *text = t ? tokenizer_decode(t, ids, 3, &n, &err) : NULL;
    tap_is(text, "a <xy>", "only special ones are left out of the text");
    free(text);
    tokenizer_close(t);
    t = open_with(
        "a2", small,
        "{\"added_tokens_decoder\": {\"13\": {\"content\": \"<x>\", \"normalized\": true}}}", NULL,
        &err);
    tap_is(t ? encode(t, "a<X>c", 0) : err.text, "2 5 13 9 3", "matched after normalisation");
    tokenizer_close(t);
    t = open_with("a5", small,
                  "{\"added_tokens_decoder\": {\"13\": {\"content\": \"<X>\", \"special\": true, "
                  "\"normalized\": true}}}",
                  NULL, &err);
    text = t ? tokenizer_decode(t, ids, 3, &n, &err) : NULL;
    tap_ok(!text, "an id that nobody has: %s", err.text);
    error_clear(&err);
    text = t ? tokenizer_decode(t, (const int32_t[]){5, 13}, 2, &n, &err) : NULL;
    tap_is(text, "a <x>", "a special one that normalisation changes stays, as Hugging Face has it");
    free(text);
    tokenizer_close(t);
    t = open_with("a4", small, "{\"added_tokens_decoder\": {\"15\": {\"content\": \"<x>\"}}}", NULL,
                  &err);
    tap_ok(!t && strstr(err.text, "would give it 13"), "an id that leaves a gap: %s", err.text);
    tokenizer_close(t);
    error_clear(&err);
    t = open_with("a6", small,
                  "{\"added_tokens_decoder\": {\"13\": {\"content\": \"aba\", \"special\": true}}}",
                  NULL, &err);
    tap_is(t ? encode(t, "aba ABA", 0) : err.text, "2 13 7 6 3",
           "what is no piece of the model is not matched in normalised words");
    tokenizer_close(t);
    t = open_with("a3", small, "{\"added_tokens_decoder\": {\"-7\": {\"content\": \"<x>\"}}}", NULL,
                  &err);
    tap_ok(!t && strstr(err.text, "token id -7"), "an id below 0 is refused: %s", err.text);
    tokenizer_close(t);
}

int main(void)
{
    static const char *const value[] = {"true", "false", "null"};
    scratch_open();
    char *vocabulary = read_text("vocab.txt");
    for (size_t lower = 0; lower < 2; lower++)
        for (size_t strip = 0; strip < 3; strip++)
            test_golden(vocabulary, value[lower], value[strip]);
    free(vocabulary);
    test_limits();
    test_many_words();
    test_decode();
    test_files();
    test_added();
    test_vocabulary();
    test_growth();
    test_emptied_words();
    test_malformed();
    return tap_done();
}
