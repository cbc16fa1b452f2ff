/* Label sets and the table of strings under them. */
#include "text/labels.h"

#include <stdio.h>

#include "tests/tap.h"

static void test_many_strings(void)
{
    struct string_table table = {0};
    struct error err = ERROR_INIT;
    bool numbered = true, found = true;
    for (int i = 0; i < 5000; i++) {
        char text[20];
        int n = snprintf(text, sizeof text, "s%d", i * 7);
        numbered = numbered && string_table_add(&table, text, (size_t)n, &err) == i &&
                   string_table_add(&table, text, (size_t)n, &err) == i;
    }
    for (int i = 0; i < 5000; i++) {
        char text[20];
        int n = snprintf(text, sizeof text, "s%d", i * 7);
        found = found && string_table_find(&table, text, (size_t)n) == i &&
                strcmp(string_table_text(&table, i), text) == 0;
    }
    tap_ok(numbered && table.n == 5000, "strings are numbered as they come, each once");
    tap_ok(found && string_table_find(&table, "s1", 2) == STRING_NONE, "and found again");
    string_table_free(&table);
}

int main(void)
{
    struct labels labels = {0};
    struct error err = ERROR_INIT;
    char list[40];
    char *const generic[] = {"LABEL_0", "LABEL_1"}, *const named[] = {"LABEL_0", "x"};
    tap_ok(labels_add(&labels, "sport", 5, &err) &&
               labels_add(&labels, "क्रीडा", strlen("क्रीडा"), &err) &&
               labels_add(&labels, "art", 3, &err) && labels_add(&labels, "sport", 5, &err) &&
               labels_close(&labels, true, &err),
           "labels are added");
    tap_ok(labels.n == 3 && strcmp(labels.name[0], "art") == 0 &&
               strcmp(labels.name[1], "sport") == 0,
           "sorted by bytes, each once");
    tap_ok(labels_find(&labels, "sport", 5) == 1 && labels_find(&labels, "spor", 4) == -1,
           "found by name");
    labels_list(&labels, list, sizeof list);
    tap_is(list, "art, sport, क्रीडा", "a list for messages");
    labels_list(&labels, list, 20);
    tap_is(list, "art, sport, …", "cut where it gets long");
    labels_free(&labels);
    tap_ok(labels_are_generic(generic, 2) && !labels_are_generic(named, 2) &&
               labels_are_generic(NULL, 0),
           "place holders are recognised");
    tap_ok(labels_equal(named, 2, named, 2) && labels_equal(NULL, 0, NULL, 0) &&
               !labels_equal(named, 2, generic, 2) && !labels_equal(named, 2, named, 1),
           "the same names, in the same number");
    bool ok = true;
    for (int i = 0; ok && i < LABELS_MAX; i++) {
        char name[20];
        int n = snprintf(name, sizeof name, "%d", i);
        ok = labels_add(&labels, name, (size_t)n, &err);
    }
    tap_ok(ok && labels_add(&labels, "0", 1, &err) && !labels_add(&labels, "one more", 8, &err),
           "too many: %s", err.text);
    labels_free(&labels);
    test_many_strings();
    return tap_done();
}
