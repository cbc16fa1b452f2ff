/* Rows from every format, from memory and from a pipe. */
#include "text/table.h"

#include <stdlib.h>
#include <unistd.h>

#include "scratch.h"
#include "tests/tap.h"

/* All rows as "line:label|text\n"; '!' marks stray headers, "#n" replaced bytes, errors are put
 * behind "error ". */
static char *rows_of(struct source *source, const struct table_options *options)
{
    struct error err = ERROR_INIT;
    struct table_row row;
    size_t n = 0;
    char *out = malloc(1 << 22);
    struct table *table = source ? table_open(source, options, &err) : NULL;
    int more = table ? 1 : -1;
    out[0] = 0;
    while (table && (more = table_next(table, &row, &err)) != 0) {
        if (more < 0) {
            n += (size_t)sprintf(out + n, "error %s\n", err.text);
            if (!table_recoverable(table))
                break;
            error_clear(&err);
            continue;
        }
        n += (size_t)sprintf(out + n, "%llu:%.*s%s|%.*s", (unsigned long long)row.line,
                             row.label ? (int)row.n_label : 1, row.label ? row.label : "-",
                             row.stray_header ? "!" : "", (int)row.n_text, row.text);
        if (row.n_invalid)
            n += (size_t)sprintf(out + n, "#%zu", row.n_invalid);
        n += (size_t)sprintf(out + n, "\n");
    }
    if (!table)
        sprintf(out, "error %s\n", err.text);
    table_close(table);
    return out;
}

static void reads_n(const char *bytes, size_t n, const struct table_options *options,
                    const char *expected, const char *what)
{
    struct error err = ERROR_INIT;
    struct source *source = source_open_memory("data", bytes, n, &err);
    char *found = rows_of(source, options);
    tap_is(found, expected, what);
    source_close(source);
    free(found);
}

static void reads(enum table_format format, const char *bytes, const char *expected,
                  const char *what)
{
    reads_n(bytes, strlen(bytes), &(struct table_options){.format = format}, expected, what);
}

static void columns(const char *text, const char *label, const char *bytes, const char *expected,
                    const char *what)
{
    struct table_options options = {
        .format = TABLE_CSV, .text_column = text, .label_column = label};
    reads_n(bytes, strlen(bytes), &options, expected, what);
}

static void test_csv(void)
{
    reads(TABLE_CSV, "text,label\na,x\n\"b,c\",y\n", "2:x|a\n3:y|b,c\n", "quotes keep commas");
    reads(TABLE_CSV, "text,label\r\na,x\r\n\"b\",y\r\n", "2:x|a\n3:y|b\n", "CRLF");
    reads(TABLE_CSV, "text,label\na,x\nb,y", "2:x|a\n3:y|b\n", "no newline at the end");
    reads(TABLE_CSV, "text,label\na,\"x\"\r", "2:x|a\n", "a quoted cell, CR and the end");
    reads(TABLE_CSV, "\xEF\xBB\xBFtext,label\na,x\n", "2:x|a\n", "a byte order mark");
    reads(TABLE_CSV, "text,label\n\"two\nlines\",x\nb,y\n", "2:x|two\nlines\n4:y|b\n",
          "a newline in a cell counts as a line");
    reads(TABLE_CSV, "text,label\n\"say \"\"hi\"\"\",x\n", "2:x|say \"hi\"\n", "doubled quotes");
    reads(TABLE_CSV, "text,label\n\"a\"b,x\n", "2:x|ab\n", "text behind a closing quote");
    reads(TABLE_CSV, "text,label\na \"q\" b,x\n", "2:x|a \"q\" b\n", "quotes inside a plain cell");
    reads(TABLE_CSV, "LABEL,id,Text\nx,1,a\n", "2:x|a\n", "another order and case");
    reads(TABLE_CSV, "labels,text\nx,a\n", "2:x|a\n", "labels");
    reads(TABLE_CSV, "\"text\",\"label\"\na,x\n", "2:x|a\n", "a quoted header");
    reads(TABLE_CSV, "headline\na\nb\n", "2:-|a\n3:-|b\n", "the only column");
    reads(TABLE_CSV, "text,label\na,x\n\ntext,label\nb,\n", "2:x|a\n4:label!|text\n5:-|b\n",
          "blank lines, stray headers, empty labels");
    reads(TABLE_CSV, "text,label\na,\"\n x \n\"\n", "2:x|a\n", "white space around a label");
    reads(TABLE_CSV, "text,label\na\nb,y\n",
          "error data:2: the row has 1 cell, but column 2 is the label\n3:y|b\n",
          "too few cells; the next row is read");
    reads(TABLE_CSV, "text,label\na,x\n\"open,y\nmore\n",
          "2:x|a\nerror data:3: a quoted cell of the row that begins here never ends; close it, or "
          "write a quote inside a cell twice\n",
          "an open quote names the line it begins on");
    reads(
        TABLE_CSV, "one,two\na,b\n",
        "error data:1: there is no text column \"text\"; the columns are: one, two (name one with "
        "--text COLUMN)\n",
        "columns are listed");
    reads(TABLE_CSV, "text,label\na\xFF\xE0\xA4z,x\n", "2:x|a\xEF\xBF\xBD\xEF\xBF\xBDz#2\n",
          "invalid UTF-8 is replaced and counted");
    reads(TABLE_CSV, "", "error data: the input is empty; expected rows of text\n", "empty");
    reads_n("\xFF\xFEt\0", 4, &(struct table_options){.format = TABLE_CSV},
            "error data: the input is UTF-16; convert it with: iconv -f UTF-16 -t UTF-8\n",
            "UTF-16");
    reads(TABLE_CSV, "\x1F\x8B\x08",
          "error data: the input is compressed; pipe it through: gzip -dc\n", "gzip");
    reads(TABLE_GUESS, "PK\x03\x04",
          "error data: the input is a zip archive or a spreadsheet; save it as CSV\n",
          "a spreadsheet");
    reads_n("text,label\na,x\0y\nb,z\n", 20, &(struct table_options){.format = TABLE_CSV},
            "error data:2: the label holds a NUL byte\n3:z|b\n", "a NUL in a label");
}

static void test_columns(void)
{
    columns("2", "1", "x,a\ny,b\n", "1:x|a\n2:y|b\n", "numbers without a header");
    columns("2", "1", "label,text\ny,b\n", "2:y|b\n", "numbers with a header");
    columns("2", NULL, "x,a\n\"y\",\"b\"\n", "1:-|a\n2:-|b\n", "the text alone by number");
    columns("Topic", "KIND", "topic,kind\na,x\n", "2:x|a\n", "names in any case");
    columns("3", "1", "x,a\n", "error data:1: there is no text column 3; the row has 2 cells\n",
            "too large");
    columns("text", "text", "text,label\na,x\n",
            "error data:1: column 1 cannot be both text and label\n", "one column twice");
    columns(
        "text", "kind", "text,label\na,x\n",
        "error data:1: there is no label column \"kind\"; the columns are: text, label (name one "
        "with --label COLUMN)\n",
        "no such label column");
}

static void test_others(void)
{
    reads(TABLE_TSV, "index\tcategory\ttext\n1\tx\ta, b\n", "2:-|a, b\n", "TSV");
    reads(TABLE_TSV, "text\tlabel\n\"a\tb\n\"c\"\ty\n\"d\"\"e\"\tz\n", "2:b|\"a\n3:y|c\n4:z|d\"e\n",
          "quotes in TSV, closed and open");
    reads(
        TABLE_JSONL,
        "{\"text\": \"a\", \"label\": \"x\"}\n\n{\"Label\": 3, \"id\": [1], \"text\": \"b\\n\"}\n",
        "1:x|a\n3:3|b\n\n", "JSON lines");
    reads(TABLE_JSONL, "{\"text\": \"a\\ud800\", \"label\": null}\n", "1:-|a\xEF\xBF\xBD\n",
          "a lone surrogate");
    reads(TABLE_JSONL, "{\"text\": 1}\n{\"a\": \"b\"}\n{\"text\": \"c\"\n{\"text\": \"d\"}\n",
          "error data:1: the text: column 10: found '1', expected a string\n"
          "error data:2: the object has no key \"text\" (name another with --text KEY)\n"
          "error data:3: column 13: JSON ends where ',' or '}' was expected\n4:-|d\n",
          "bad JSON names its line");
    reads(TABLE_PLAIN, "a,b\r\n\nc\n", "1:-|a,b\n2:-|\n3:-|c\n",
          "plain lines, an empty one among them");
    reads(TABLE_FASTTEXT, "__label__x a b\n__label__y\tc\nd\n__label__x __label__y e\n",
          "1:x|a b\n2:y|c\n3:-|d\nerror data:4: the line has two labels; with --multi-label a text "
          "may have any number\n",
          "fastText");
    columns("text", NULL, "", "error data: the input is empty; expected rows of text\n",
            "empty with a column");
    reads_n("a\n", 2, &(struct table_options){.format = TABLE_PLAIN, .text_column = "text"},
            "error data: plain text has no columns to name with --text or --label; is it another "
            "--format?\n",
            "plain text has no columns");
}

static void test_guess(void)
{
    reads(TABLE_GUESS, "{\"text\": \"a\"}\n", "1:-|a\n", "guess: JSON lines");
    reads(TABLE_GUESS, "__label__x a\n", "1:x|a\n", "guess: fastText");
    reads(TABLE_GUESS, "Text,Label\na,x\n", "2:x|a\n", "guess: CSV");
    reads(TABLE_GUESS, "text\tlabel\na\tx\n", "2:x|a\n", "guess: TSV");
    reads(TABLE_GUESS, "one, two\nthree\n", "1:-|one, two\n2:-|three\n", "guess: plain");
}

/* The same rows whether mapped or through a pipe, cells beyond the first buffer included. */
static void test_pipe(void)
{
    enum { ROWS = 400, CELL = 9000 };
    struct error err = ERROR_INIT;
    char *bytes = malloc(ROWS * (CELL + 40) + 20);
    size_t n = (size_t)sprintf(bytes, "text,label\n");
    for (int i = 0; i < ROWS; i++) {
        n += (size_t)sprintf(bytes + n, "\"%d ", i);
        for (int k = 0; k < CELL - i; k++)
            bytes[n++] = k % 97 == 0 ? '\n' : k % 89 == 0 ? ',' : 'a';
        n += (size_t)sprintf(bytes + n, "\"\"\",x%d\r\n", i);
    }
    const char *path = scratch_write("big.csv", bytes, n);
    const struct table_options options = {.format = TABLE_CSV};
    struct source *mapped = source_open(path, true, &err);
    char *from_map = rows_of(mapped, &options);
    int saved = dup(STDIN_FILENO);
    char command[700];
    snprintf(command, sizeof command, "cat '%s'", path);
    FILE *pipe = popen(command, "r");
    dup2(fileno(pipe), STDIN_FILENO);
    struct source *piped = source_open("-", true, &err);
    char *from_pipe = rows_of(piped, &options);
    tap_ok(strcmp(from_map, from_pipe) == 0 && strlen(from_map) > ROWS * (CELL - ROWS),
           "%zu bytes of rows, mapped and through a pipe", strlen(from_map));
    source_close(piped);
    source_close(mapped);
    dup2(saved, STDIN_FILENO);
    close(saved);
    pclose(pipe);
    free(from_map);
    free(from_pipe);
    free(bytes);
}

int main(void)
{
    scratch_open();
    test_csv();
    test_columns();
    test_others();
    test_guess();
    test_pipe();
    return tap_done();
}
