/* bert_table.c: see bert_table.h. */
#include "text/bert_table.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

static uint32_t make_entry(const struct bert_table *table, uint32_t code)
{
    struct bert_mapping m;
    bert_map(&table->options, code, &m);
    uint32_t entry = m.class == BERT_DROP    ? BERT_IS_DROPPED
                     : m.class == BERT_SPACE ? BERT_IS_SPACE
                     : m.class == BERT_ALONE ? BERT_IS_ALONE
                     : m.n > 1               ? BERT_IS_MANY
                                             : 0;
    if (m.n == 1)
        entry |= m.code[0];
    if (m.ordered)
        entry |= BERT_IS_ORDERED;
    for (size_t i = 0; i < table->n_marked; i++)
        if (table->marked[i] == code)
            entry |= BERT_IS_MARKED;
    return entry;
}

uint32_t bert_table_fill(struct bert_table *table, uint32_t code)
{
    const uint32_t n = 1 << BERT_BLOCK_BITS, first = code & ~(n - 1);
    uint32_t *block = memory_array(n, sizeof *block, table->err);
    if (!block) {
        table->failed = true;
        return BERT_IS_SPACE;
    }
    for (uint32_t i = 0; i < n; i++)
        block[i] = make_entry(table, first + i);
    table->block[code >> BERT_BLOCK_BITS] = block;
    return block[code - first];
}

void bert_table_free(struct bert_table *table)
{
    for (size_t i = 0; i < BERT_N_BLOCKS; i++)
        free(table->block[i]);
}

size_t bert_table_word(struct bert_table *table, const unsigned char *p, const unsigned char *end,
                       uint32_t *word, size_t most)
{
    size_t n = 0;
    uint32_t seen = 0;
    while (p < end && n <= most) {
        uint32_t code = utf8_next(&p), entry = bert_table_entry(table, code);
        seen |= entry;
        if (entry & BERT_IS_MANY) {
            struct bert_mapping m;
            bert_map(&table->options, code, &m);
            memcpy(word + n, m.code, m.n * sizeof *m.code);
            n += m.n;
        } else if (!(entry & BERT_IS_DROPPED))
            word[n++] = entry & BERT_CODE;
    }
    if (seen & BERT_IS_ORDERED && n <= most)
        bert_order(word, n);
    return n;
}
