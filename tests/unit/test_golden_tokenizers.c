/* test_golden_tokenizers.c: tokenizers of every kind against the ids that Hugging Face gives
 * (tests/golden/make_tokenizers.py), on hard texts and on words of 10 000 characters. */
#include <dirent.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/tap.h"
#include "text/table.h"
#include "text/tokenizer.h"

static const char root[] = "tests/golden/tokenizers";
enum { KINDS = 64, NAME = 64, SHOWN = 5, PATH = 256 };

/* One line of ids. Leaves *next behind its newline. */
static bool same_ids(const char **next, const int32_t *id, size_t n)
{
    bool same = true;
    size_t i = 0;
    const char *p = *next;
    for (; *p && *p != '\n'; i++) {
        char *end;
        long value = strtol(p, &end, 10);
        if (end == p)
            return false;
        same = same && i < n && value == id[i];
        p = end;
    }
    *next = p + (*p == '\n');
    return same && i == n;
}

/* What is expected and what came, for a person to look at. */
static void show(uint64_t line, const char *expected, const int32_t *id, size_t n)
{
    printf("# line %u: expected %.*s\n#   found", (unsigned)line, (int)strcspn(expected, "\n"),
           expected);
    for (size_t i = 0; i < n && i < 200; i++)
        printf(" %d", (int)id[i]);
    printf("\n");
}

static void compare(const char *kind, const struct tokenizer *tokenizer, const char *texts,
                    const char *ids)
{
    char path[PATH];
    struct error err = ERROR_INIT;
    struct table_options options = {.format = TABLE_JSONL};
    size_t bytes = 0, lines = 0, wrong = 0, n = 0;
    snprintf(path, sizeof path, "%s/%s", root, texts);
    struct source *source = source_open(path, false, &err);
    struct table *table = source ? table_open(source, &options, &err) : NULL;
    snprintf(path, sizeof path, "%s/%s/%s", root, kind, ids);
    struct source *golden = source_open(path, false, &err);
    const char *expected = golden ? source_map(golden, &bytes) : NULL;
    char *copy = calloc(1, bytes + 1); /* so that it ends with NUL */
    if (expected)
        memcpy(copy, expected, bytes);
    const char *next = copy;
    struct tokenizer_scratch *scratch = tokenizer_scratch_open(tokenizer, &err);
    struct table_row row;
    const int32_t *id = NULL;
    while (table && scratch && table_next(table, &row, &err) > 0) {
        const char *line = next;
        lines++;
        if (!tokenizer_encode(tokenizer, scratch, row.text, row.n_text, 0, &id, &n, &err))
            break;
        if (!same_ids(&next, id, n) && wrong++ < SHOWN)
            show(row.line, line, id, n);
    }
    tap_ok(!err.set && lines > 3 && wrong == 0 && next == copy + bytes,
           "%s: %zu of %zu texts of %s as Hugging Face %s", kind, lines - wrong, lines, texts,
           err.text);
    tokenizer_scratch_close(scratch);
    table_close(table);
    source_close(source);
    source_close(golden);
    free(copy);
}

/* Ids back to text. */
static void decode(const char *kind, const struct tokenizer *tokenizer)
{
    char path[2][PATH];
    struct error err = ERROR_INIT;
    struct table_options options = {.format = TABLE_JSONL};
    struct source *source[2] = {NULL, NULL};
    struct table *table[2] = {NULL, NULL};
    struct table_row row[2] = {{.line = 0}, {.line = 0}};
    size_t lines = 0, wrong = 0;
    snprintf(path[0], PATH, "%s/texts.jsonl", root);
    snprintf(path[1], PATH, "%s/%s/decoded.jsonl", root, kind);
    for (int i = 0; i < 2 && !err.set; i++) {
        source[i] = source_open(path[i], false, &err);
        table[i] = source[i] ? table_open(source[i], &options, &err) : NULL;
    }
    struct tokenizer_scratch *scratch = tokenizer_scratch_open(tokenizer, &err);
    while (scratch && !err.set && table_next(table[0], &row[0], &err) > 0) {
        const int32_t *id;
        size_t n_ids, n = 0;
        if (!tokenizer_encode(tokenizer, scratch, row[0].text, row[0].n_text, 0, &id, &n_ids, &err))
            break;
        char *text = tokenizer_decode(tokenizer, id, n_ids, &n, &err);
        bool same = text && table_next(table[1], &row[1], &err) > 0 && n == row[1].n_text &&
                    memcmp(text, row[1].text, n) == 0;
        lines++;
        if (!same && wrong++ < SHOWN)
            printf("# line %zu: expected %.*s\n#   found %s\n", lines, (int)row[1].n_text,
                   row[1].text, text ? text : err.text);
        free(text);
    }
    tap_ok(!err.set && lines > 100 && wrong == 0, "%s: %zu of %zu texts decoded as Hugging Face %s",
           kind, lines - wrong, lines, err.text);
    tokenizer_scratch_close(scratch);
    for (int i = 0; i < 2; i++) {
        table_close(table[i]);
        source_close(source[i]);
    }
}

static void test_kind(const char *kind)
{
    char path[PATH];
    struct error err = ERROR_INIT;
    snprintf(path, sizeof path, "%s/%s", root, kind);
    struct bundle *bundle = bundle_open(path, &err);
    struct tokenizer *tokenizer = bundle ? tokenizer_open(bundle, &err) : NULL;
    if (tap_ok(tokenizer != NULL, "%s opens %s", kind, err.text)) {
        compare(kind, tokenizer, "texts.jsonl", "ids");
        snprintf(path, sizeof path, "%s/%s/long.ids", root, kind);
        if (access(path, F_OK) == 0)
            compare(kind, tokenizer, "long.jsonl", "long.ids");
        snprintf(path, sizeof path, "%s/%s/decoded.jsonl", root, kind);
        if (access(path, F_OK) == 0)
            decode(kind, tokenizer);
    }
    tokenizer_close(tokenizer);
    bundle_close(bundle);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

int main(void)
{
    static char name[KINDS][NAME];
    size_t n = 0;
    DIR *dir = opendir(root);
    for (const struct dirent *entry; dir && n < KINDS && (entry = readdir(dir));)
        if (entry->d_name[0] != '.' && !strstr(entry->d_name, ".jsonl"))
            snprintf(name[n++], NAME, "%.*s", NAME - 1, entry->d_name);
    if (dir)
        closedir(dir);
    qsort(name, n, NAME, by_name);
    tap_ok(n >= 22, "%zu golden tokenizers are there", n);
    for (size_t i = 0; i < n; i++)
        test_kind(name[i]);
    return tap_done();
}
