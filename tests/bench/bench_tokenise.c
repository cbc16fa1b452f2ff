/* bench_tokenise: how fast a tokenizer is opened and a table is read and tokenised, one thread, as
 * a tab-separated table on stdout; medians. Without arguments also how fast a large vocabulary, made
 * here, is opened.
 *
 * usage: bench_tokenise [MODEL FILE]   (default: the mBERT vocabulary and the Bengali headlines of
 * ../shared)
 *        bench_tokenise --once MODEL LINES   (for tests/peers/bench_tokenizers.py: processor time of
 * tokenising lines that lie in memory, with an empty word cache and again with a full one)
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/progress.h"
#include "core/rng.h"
#include "tests/unit/scratch.h"
#include "text/table.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

enum { RUNS = 9, LARGE = 200000 /* rows */, LONGEST = 12 /* code points */ };

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *value)
{
    qsort(value, RUNS, sizeof *value, by_value);
    return value[RUNS / 2];
}

static struct tokenizer *open_tokenizer(const char *model, struct error *err)
{
    struct bundle *bundle = bundle_open(model, err);
    struct tokenizer *tokenizer = bundle ? tokenizer_open(bundle, err) : NULL;
    bundle_close(bundle);
    return tokenizer;
}

/* The table once, tokenised when there is a scratch. */
static bool read_file(const char *path, const struct tokenizer *tokenizer,
                      struct tokenizer_scratch *scratch, size_t *bytes, size_t *tokens,
                      struct error *err)
{
    const struct table_options options = {.format = TABLE_GUESS};
    struct source *source = source_open(path, true, err);
    struct table *table = source ? table_open(source, &options, err) : NULL;
    struct table_row row;
    const int32_t *ids;
    size_t n = 0;
    int more = -1;
    *bytes = *tokens = 0;
    while (table && (more = table_next(table, &row, err)) > 0) {
        if (scratch &&
            !tokenizer_encode(tokenizer, scratch, row.text, row.n_text, 0, &ids, &n, err)) {
            more = -1;
            break;
        }
        *bytes += row.n_text;
        *tokens += n;
    }
    table_close(table);
    source_close(source);
    return more == 0;
}

static bool measure(const char *model, const char *path, struct error *err)
{
    double open_s[RUNS], read_s[RUNS], encode_s[RUNS];
    size_t bytes = 0, tokens = 0;
    bool ok = true;
    for (int run = 0; ok && run < RUNS; run++) {
        double start = progress_clock();
        struct tokenizer *tokenizer = open_tokenizer(model, err);
        open_s[run] = progress_clock() - start;
        /* A new scratch: its word cache begins empty, as in a program. */
        struct tokenizer_scratch *scratch =
            tokenizer ? tokenizer_scratch_open(tokenizer, err) : NULL;
        start = progress_clock();
        ok = scratch && read_file(path, tokenizer, NULL, &bytes, &tokens, err);
        read_s[run] = progress_clock() - start;
        start = progress_clock();
        ok = ok && read_file(path, tokenizer, scratch, &bytes, &tokens, err);
        encode_s[run] = progress_clock() - start;
        tokenizer_scratch_close(scratch);
        tokenizer_close(tokenizer);
    }
    if (ok)
        printf("open the tokenizer\t%.1f ms\nread the table\t%.1f MB/s\nread and tokenise\t%.1f "
               "MB/s\t%.2f "
               "million tokens/s\n",
               1e3 * median(open_s), (double)bytes / 1e6 / median(read_s),
               (double)bytes / 1e6 / median(encode_s), (double)tokens / 1e6 / median(encode_s));
    return ok;
}

/* The rows of a large vocabulary: as in one that was learnt, most pieces begin as others do. A
 * quarter continue a word; four scripts. */
static bool write_large(const char *path)
{
    static const uint32_t first_letter[] = {'a', 0x430, 0x915, 0x995};
    static uint32_t code[LARGE][LONGEST];
    static size_t length[LARGE];
    FILE *file = fopen(path, "w");
    struct rng rng;
    if (!file)
        return false;
    rng_seed(&rng, 1);
    fputs("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n", file);
    for (size_t i = 0; i < LARGE - 5; i++) {
        size_t like = i < 400 ? i : i % 4 + 4 * rng_below(&rng, i / 4), n = length[like];
        n = n > LONGEST - 3 ? 1 + rng_below(&rng, 3) : n;
        memcpy(code[i], code[like], n * sizeof *code[i]);
        for (size_t more = 1 + rng_below(&rng, 3); more--;)
            code[i][n++] = first_letter[i % 4] + (uint32_t)rng_below(&rng, 26);
        length[i] = n;
        fputs(rng_below(&rng, 4) ? "" : "##", file);
        for (size_t k = 0; k < n; k++) {
            char bytes[UTF8_MAX_BYTES];
            fwrite(bytes, 1, utf8_put(code[i][k], bytes), file);
        }
        fputc('\n', file);
    }
    return fclose(file) == 0;
}

static bool measure_large(struct error *err)
{
    double open_s[RUNS];
    scratch_open();
    if (!write_large(scratch_path("vocab.txt")))
        return error_set(err, "%s cannot be written", scratch_path("vocab.txt"));
    for (int run = 0; run < RUNS; run++) {
        double start = progress_clock();
        struct tokenizer *tokenizer = open_tokenizer(scratch_path(""), err);
        open_s[run] = progress_clock() - start;
        if (!tokenizer)
            return false;
        tokenizer_close(tokenizer);
    }
    printf("open a vocabulary of %d rows\t%.1f ms\n", LARGE, 1e3 * median(open_s));
    return true;
}

static double processor_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Every line of the bytes; *tokens counts. */
static bool encode_lines(const struct tokenizer *tokenizer, struct tokenizer_scratch *scratch,
                         const char *bytes, size_t n, size_t *tokens, struct error *err)
{
    const int32_t *ids;
    size_t n_ids;
    *tokens = 0;
    for (const char *at = bytes, *end = bytes + n, *newline; at < end; at = newline + 1) {
        newline = memchr(at, '\n', (size_t)(end - at));
        newline = newline ? newline : end;
        if (!tokenizer_encode(tokenizer, scratch, at, (size_t)(newline - at), 0, &ids, &n_ids, err))
            return false;
        *tokens += n_ids;
    }
    return true;
}

static bool measure_once(const char *model, const char *path, struct error *err)
{
    size_t n = 0, tokens = 0;
    struct source *source = source_open(path, true, err);
    const char *map = source ? source_map(source, &n) : NULL;
    char *bytes = map ? malloc(n) : NULL;
    struct tokenizer *tokenizer = bytes ? open_tokenizer(model, err) : NULL;
    struct tokenizer_scratch *scratch = tokenizer ? tokenizer_scratch_open(tokenizer, err) : NULL;
    double pass[2] = {0};
    bool ok = scratch != NULL;
    if (ok)
        memcpy(bytes, map, n);
    for (int i = 0; ok && i < 2; i++) {
        double start = processor_s();
        ok = encode_lines(tokenizer, scratch, bytes, n, &tokens, err);
        pass[i] = processor_s() - start;
    }
    if (ok)
        printf("%.6f\t%.6f\t%zu\n", pass[0], pass[1], tokens);
    tokenizer_scratch_close(scratch);
    tokenizer_close(tokenizer);
    free(bytes);
    source_close(source);
    return ok;
}

int main(int argc, char **argv)
{
    bool once = argc == 4 && strcmp(argv[1], "--once") == 0, given = argc > 2;
    const char *model = given ? argv[1] : "../shared/data/vocab";
    const char *path = given ? argv[2] : "../shared/data/bengali-shc/Bengal_SHC_Train.csv";
    struct error err = ERROR_INIT;
    bool ok = given || measure_large(&err);
    if (ok && !given && (access(model, R_OK) != 0 || access(path, R_OK) != 0)) {
        printf("tokenise\tskipped: no data in ../shared\n");
        return 0;
    }
    if (ok && (once ? measure_once(argv[2], argv[3], &err) : measure(model, path, &err)))
        return 0;
    fprintf(stderr, "bench_tokenise: %s\n", err.text);
    return 1;
}
