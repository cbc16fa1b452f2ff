/* The rules of layer dropping and the list people type. */
#include <stdlib.h>

#include "prune/layers.h"
#include "tests/tap.h"

static const char *text_of(const size_t *keep, size_t k)
{
    static char text[256];
    size_t n = 0;
    text[0] = '\0';
    for (size_t i = 0; i < k && n < sizeof text; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%zu", i ? " " : "", keep[i]);
    return text;
}

static void rule(const char *name, size_t n, size_t k, const char *expected)
{
    size_t keep[32];
    char what[64];
    enum layers_rule rule = LAYERS_TOP;
    bool known = layers_rule_from_name(name, &rule);
    snprintf(what, sizeof what, "%s: %zu of %zu", name, k, n);
    layers_choose(n, k, rule, keep);
    tap_is(known ? text_of(keep, k) : NULL, expected, what);
}

static void list(const char *text, const char *expected)
{
    struct error err = ERROR_INIT;
    size_t *keep = NULL, k = 0;
    bool ok = layers_parse(text, 6, &keep, &k, &err);
    tap_is(ok ? text_of(keep, k) : NULL, expected, text);
    free(keep);
}

static void refused(const char *text, const char *why)
{
    struct error err = ERROR_INIT;
    size_t *keep = NULL, k = 0;
    bool ok = layers_parse(text, 6, &keep, &k, &err);
    tap_ok(!ok && strstr(err.text, why), "\"%s\" is refused: %s", text, err.text);
}

int main(void)
{
    rule("top", 12, 6, "0 1 2 3 4 5");
    rule("bottom", 12, 6, "6 7 8 9 10 11");
    rule("middle", 12, 6, "0 1 2 9 10 11");
    rule("middle", 12, 5, "0 1 2 10 11");
    rule("alternate", 12, 6, "0 2 4 7 9 11");
    rule("alternate", 4, 2, "0 3");
    rule("alternate", 12, 12, "0 1 2 3 4 5 6 7 8 9 10 11");
    rule("alternate", 5, 1, "0");
    rule("middle", 3, 1, "0");
    enum layers_rule any;
    tap_ok(!layers_rule_from_name("0,2", &any), "a list is no rule");

    bool distinct = true;
    for (size_t n = 1; n <= 24; n++)
        for (size_t k = 1; k <= n; k++) {
            size_t keep[24];
            layers_choose(n, k, LAYERS_ALTERNATE, keep);
            for (size_t i = 0; i < k; i++)
                distinct = distinct && keep[i] < n && (i == 0 || keep[i] > keep[i - 1]);
        }
    tap_ok(distinct, "alternate: ascending and in range for all sizes to 24");

    tap_ok(layers_count(12, 0.5) == 6 && layers_count(12, 0.01) == 1 && layers_count(12, 1) == 12 &&
               layers_count(3, 0.5) == 2 && layers_count(12, 0.3) == 4,
           "shares round to the nearest layer, at least one");

    list("0,2,5", "0 2 5");
    list("5,0,2", "0 2 5");
    list("3", "3");
    refused("0,6", "--which");
    refused("1,1", "twice");
    refused("-1", "--which");
    refused("", "not a list");
    refused("1,", "not a list");
    refused("1,,2", "--which");
    refused("uppermost", "--which");
    return tap_done();
}
