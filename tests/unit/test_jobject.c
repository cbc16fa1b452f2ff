#include "core/jobject.h"

#include <stdlib.h>

#include "tests/tap.h"

static json_t *parse(const char *text, struct error *err)
{
    return jobject_parse(text, strlen(text), "config.json", err);
}

static void test_parse(void)
{
    static const struct {
        const char *text, *says;
    } bad[] = {{"", "config.json:1:"},
               {"{\"a\": 1,\n \"b\" 2}", "config.json:2:"},
               {"[1]", "config.json: expected a JSON object"},
               {"{\"a\":1, \"a\":2}", "duplicate"},
               {"{} x", "config.json:1:"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct error err = ERROR_INIT;
        json_t *object = parse(bad[i].text, &err);
        tap_ok(!object && strstr(err.text, bad[i].says), "refused: %s", err.text);
        json_decref(object);
    }
    struct error err = ERROR_INIT;
    json_t *object = parse("{\"b\": 1, \"a\": [true]}", &err);
    char *text = object ? jobject_dump(object, &err) : NULL;
    tap_is(text, "{\n  \"b\": 1,\n  \"a\": [\n    true\n  ]\n}\n",
           "dumped in order with a newline");
    free(text);
    json_decref(object);
}

static void test_look_up(void)
{
    struct error err = ERROR_INIT;
    json_t *object = parse("{\"i\": 5, \"r\": 0.5, \"b\": true, \"s\": \"x\", \"n\": null}", &err);
    int64_t integer = -7;
    double number = 0;
    const char *string = NULL;
    tap_ok(jobject_integer(object, "c", "i", true, 0, 9, &integer, &err) && integer == 5,
           "integer");
    tap_ok(jobject_number(object, "c", "i", true, &number, &err) && number == 5,
           "integer as number");
    tap_ok(jobject_number(object, "c", "r", true, &number, &err) && number == 0.5, "number");
    tap_ok(jobject_string(object, "c", "s", true, &string, &err) && strcmp(string, "x") == 0,
           "string");
    tap_ok(jobject_integer(object, "c", "none", false, 0, 9, &integer, &err) && integer == 5 &&
               !err.set,
           "a missing key that is not required leaves the value");

    tap_ok(!jobject_integer(object, "c", "none", true, 0, 9, &integer, &err),
           "a required one fails");
    tap_is(err.text, "c: key \"none\" is missing", "and is named");
    error_clear(&err);
    tap_ok(!jobject_integer(object, "c", "i", false, 6, 9, &integer, &err) && integer == 5,
           "range");
    tap_is(err.text, "c: \"i\" is 5; expected 6 to 9", "is named");
    error_clear(&err);
    tap_ok(!jobject_integer(object, "c", "r", false, 0, 9, &integer, &err), "type");
    tap_is(err.text, "c: \"r\" is a number with a fraction; expected a whole number", "is named");
    error_clear(&err);
    tap_ok(!jobject_string(object, "c", "n", false, &string, &err), "null is not a string");
    error_clear(&err);
    tap_ok(!jobject_number(object, "c", "s", false, &number, &err), "\"x\" is not a number");
    json_decref(object);
}

static void test_seal(void)
{
    struct error err = ERROR_INIT;
    json_t *object = parse("{\"z\": 0.1, \"name\": \"ळ\", \"list\": [1, 2.0, null]}", &err);
    tap_ok(!jobject_check_seal(object, "end.json", &err), "an object without a seal is refused");
    error_clear(&err);
    tap_ok(object && jobject_seal(object, &err), "sealed");
    char *text = jobject_dump(object, &err);
    json_t *back = text ? jobject_parse(text, strlen(text), "end.json", &err) : NULL;
    tap_ok(back && jobject_check_seal(back, "end.json", &err),
           "the seal holds through dump and parse");
    tap_ok(jobject_seal(object, &err) && json_equal(object, back), "sealing again changes nothing");

    /* Every byte flipped: the text no longer parses, or the seal breaks, or the value is the same.
     */
    size_t n = text ? strlen(text) : 0;
    int passed = 0;
    for (size_t i = 0; i < n; i++) {
        struct error flip = ERROR_INIT;
        text[i] ^= 1;
        json_t *damaged = jobject_parse(text, n, "end.json", &flip);
        if (damaged && jobject_check_seal(damaged, "end.json", &flip) &&
            !json_equal(damaged, object))
            passed++;
        json_decref(damaged);
        text[i] ^= 1;
    }
    tap_ok(n > 0 && passed == 0, "no flipped bit passes (%d did)", passed);
    free(text);
    json_decref(back);
    json_decref(object);
}

int main(void)
{
    test_parse();
    test_look_up();
    test_seal();
    return tap_done();
}
