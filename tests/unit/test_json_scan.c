/* The JSON scanner: strings jansson refuses, spans, and errors with their column. */
#include "text/json_scan.h"

#include <stdlib.h>

#include "tests/tap.h"

static void reads(const char *json, const char *expected, size_t n_expected)
{
    struct error err = ERROR_INIT;
    struct json_scan scan = json_scan_of(json, strlen(json));
    struct json_text text = {0};
    bool ok = json_scan_string(&scan, &text, &err);
    tap_ok(ok && text.n == n_expected && memcmp(text.bytes, expected, n_expected) == 0, "%s", json);
    json_text_free(&text);
}

static void refuses(const char *json, const char *expected)
{
    struct error err = ERROR_INIT;
    struct json_scan scan = json_scan_of(json, strlen(json));
    bool ok = json_scan_skip(&scan, NULL, NULL, &err) && json_scan_end(&scan, &err);
    tap_ok(!ok && strstr(err.text, expected), "%s: %s", json, err.text);
}

static void test_object(void)
{
    const char *json = " { \"a\" : 1 , \"b\":[1, {\"c\":null}], \"d\": -12 } ";
    struct error err = ERROR_INIT;
    struct json_scan scan = json_scan_of(json, strlen(json));
    struct json_text key = {0};
    bool first = true;
    const char *span = NULL;
    size_t n = 0;
    int64_t value = 0;
    tap_ok(json_scan_enter(&scan, '{', &err) && json_scan_next(&scan, &first, &key, &err) == 1 &&
               json_scan_integer(&scan, &value, &err) && value == 1,
           "a first member");
    tap_ok(json_scan_next(&scan, &first, &key, &err) == 1 &&
               json_scan_skip(&scan, &span, &n, &err) && n == 15 &&
               memcmp(span, "[1, {\"c\":null}]", n) == 0,
           "a span");
    tap_ok(json_scan_next(&scan, &first, &key, &err) == 1 &&
               json_scan_integer(&scan, &value, &err) && value == -12,
           "a negative number");
    tap_ok(json_scan_next(&scan, &first, &key, &err) == 0 && json_scan_end(&scan, &err), "the end");
    json_text_free(&key);
}

/* At one go only what step by step is the same. Enough stands behind each for eight bytes. */
static void test_pair(void)
{
    static const char *const plain[][3] = {
        {"[\"abc\",-3.25]        ", "abc", "-3.25"},
        {" \n        [\n  \"\xE0\xA6\x95 word of many bytes\" ,\n\t0\r\n ] ",
         "\xE0\xA6\x95 word of many bytes", "0"},
        {"[\"\", 12.50]         ", "", "12.50"}};
    static const char *const other[] = {"",
                                        "[",
                                        "[\"abc",
                                        "[\"a\\\"b\", 1]       ",
                                        "[\"abc\", 1e3]        ",
                                        "[\"abc\"]   ",
                                        "[\"a\", 01]    ",
                                        "[\"a\", 1.]        ",
                                        "[\"a\", .5]           ",
                                        "[\"a\", -]    ",
                                        "[\"a\", 1, 2]       ",
                                        "{\"a\": 1}       ",
                                        "[\"a\x01\", 1]       ",
                                        "[1, \"a\"]     ",
                                        "[\"abc\", 1"};
    struct json_text text = {0};
    const char *number = NULL;
    size_t n = 0;
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        struct json_scan scan = json_scan_of(plain[i][0], strlen(plain[i][0]));
        bool ok = json_scan_pair(&scan, &text, &number, &n);
        tap_ok(ok && text.n == strlen(plain[i][1]) && !memcmp(text.bytes, plain[i][1], text.n) &&
                   n == strlen(plain[i][2]) && !memcmp(number, plain[i][2], n) &&
                   json_scan_peek(&scan) == 0,
               "a pair: %s", plain[i][1]);
    }
    for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
        struct json_scan scan = json_scan_of(other[i], strlen(other[i]));
        tap_ok(!json_scan_pair(&scan, &text, &number, &n) && scan.at == scan.begin,
               "left to others: %s", other[i]);
    }
}

int main(void)
{
    test_pair();
    reads("\"plain\"", "plain", 5);
    reads("\"a\\u0000b\"", "a\0b", 3);
    reads("\"\\ud83d\\ude00\"", "\xF0\x9F\x98\x80", 4);
    reads("\"\\ud83dx\"", "\xEF\xBF\xBDx", 4);
    reads("\"\\ude00\"", "\xEF\xBF\xBD", 3);
    reads("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t", 8);
    refuses("{\"a\":1,}", "column 8");
    refuses("{\"a\" 1}", "expected ':'");
    refuses("[1 2]", "expected ',' or ']'");
    refuses("\"abc", "closing");
    refuses("\"\\x\"", "escape");
    refuses("\"\\u12g4\"", "hexadecimal");
    refuses("\"a\tb\"", "control character");
    refuses("tru", "a value");
    refuses("01", "nothing more");
    refuses("1.", "a digit");
    refuses("{} x", "nothing more");
    refuses("", "a value");
    char deep[1001];
    memset(deep, '[', 1000);
    deep[1000] = 0;
    refuses(deep, "nested deeper");
    test_object();
    return tap_done();
}
