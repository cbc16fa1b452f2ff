/* Values read as jansson reads them, and written to the byte as it writes them. */
#include "text/json_value.h"

#include <stdlib.h>

#include "tests/tap.h"

static void test_same(const char *text)
{
    struct error err = ERROR_INIT;
    struct json_scan scan = json_scan_of(text, strlen(text));
    struct text_buffer found = {0};
    const size_t flags = JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL;
    json_t *value = json_value_read(&scan, &err), *theirs = json_loads(text, flags, NULL);
    char *expected = json_dumps(theirs, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS);
    bool ok = value && expected && json_equal(value, theirs) &&
              json_value_write(value, &found, &err) && text_buffer_add(&found, "", 1, &err);
    tap_ok(ok, "%s is read: %s", text, err.text);
    if (ok)
        tap_is(found.bytes, expected, "and written the same");
    text_buffer_free(&found);
    free(expected);
    json_decref(theirs);
    json_decref(value);
}

static void test_refused(const char *text, const char *why)
{
    struct error err = ERROR_INIT;
    struct json_scan scan = json_scan_of(text, strlen(text));
    json_t *value = json_value_read(&scan, &err);
    tap_ok(!value && strstr(err.text, why), "%.20s is refused: %s", text, err.text);
    json_decref(value);
}

int main(void)
{
    static const char *const same[] = {
        "null",
        "true",
        "false",
        "0",
        "-1.5e-3",
        "12345678901234567890",
        "\"\"",
        "\"text\"",
        "\"a \\\"quoted\\\" \\\\ / \\/ \\n\\t\\u0001\\u0000 \\u00e9 \\ud83d\\ude00\"",
        "\"\xE0\xA6\x95\x7F\"",
        "[]",
        "{}",
        "[1, [2, {\"x\": []}], \"y\"]",
        "{\"b\": 1, \"a\": {\"d\": null, \"c\": [true]}, \"\": 0, \"ab\": \"z\", \"b\": 2}"};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        test_same(same[i]);
    test_refused("", "a value");
    test_refused("[1,]", "a value");
    test_refused("{\"a\" 1}", "':'");
    test_refused("\"\xFF\"", "UTF-8");
    test_refused("{\"\\u0000\": 1}", "U+0000");
    test_refused("1e999", "too large");
    char deep[600];
    memset(deep, '[', sizeof deep);
    deep[sizeof deep - 1] = '\0';
    test_refused(deep, "nested deeper");
    return tap_done();
}
