/* Fuzz target of the table readers: CSV, TSV, JSON lines, plain lines, fastText. The first byte
 * picks the format and the columns. See fuzz_safetensors.c. */
#include <stdint.h>

#include "text/table.h"
#include "text/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static const struct table_options choice[] = {
    {.format = TABLE_GUESS},
    {.format = TABLE_CSV},
    {.format = TABLE_TSV},
    {.format = TABLE_JSONL},
    {.format = TABLE_PLAIN},
    {.format = TABLE_FASTTEXT},
    {.format = TABLE_CSV, .text_column = "1", .label_column = "2"},
    {.format = TABLE_JSONL, .text_column = "a", .label_column = "b"}};
enum { CHOICES = sizeof choice / sizeof *choice };

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    struct error err = ERROR_INIT;
    if (n == 0)
        return 0;
    struct source *source = source_open_memory("fuzz", bytes + 1, n - 1, &err);
    struct table *table = source ? table_open(source, &choice[bytes[0] % CHOICES], &err) : NULL;
    struct table_row row;
    uint64_t sum = 0, line = 0;
    int more = table ? 1 : -1, result = 0;
    while (more > 0 || (more < 0 && table && table_recoverable(table))) {
        err = (struct error)ERROR_INIT;
        more = table_next(table, &row, &err);
        if (more > 0 && (row.line < line || utf8_valid_prefix(row.text, row.n_text) != row.n_text))
            result = -1;
        for (size_t i = 0; more > 0 && i < row.n_text; i++)
            sum += (uint8_t)row.text[i];
        for (size_t i = 0; more > 0 && row.label && i < row.n_label; i++)
            sum += (uint8_t)row.label[i];
        if (more > 0)
            line = row.line;
    }
    if (more < 0 && !err.set)
        result = -1;
    table_close(table);
    source_close(source);
    return result ? result : sum == 0x5bd1e995 ? 1 : 0;
}
