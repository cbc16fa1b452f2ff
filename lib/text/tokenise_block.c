/* tokenise_block.c: see tokenise_block.h. */
#include "text/tokenise_block.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

/* What one member of the team has of its own. */
struct block_worker {
    struct tokenizer_scratch *scratch;
    struct grams *grams; /* NULL: none wanted */
    int32_t *gram;
    size_t n_grams, gram_capacity;
    int32_t *id;
    size_t n_ids, id_capacity;
    char *line;
    size_t n_line, line_capacity;
    uint64_t truncated, empty;
    bool failed;
    struct error err;
};

enum { ID_DIGITS = 11 }; /* of a 32-bit id and the separator */

struct tokenise_block *tokenise_block_open(const struct tokenizer *tokenizer, size_t max_tokens,
                                           bool as_text, const struct records_grams *grams,
                                           const struct threads *team, struct error *err)
{
    struct tokenise_block *b = memory_zeroed(1, sizeof *b, err);
    if (!b)
        return NULL;
    b->tokenizer = tokenizer;
    b->max_tokens = max_tokens;
    b->as_text = as_text;
    b->n_most = BLOCK_FIRST_ROWS;
    b->n_workers = team ? threads_count(team) : 1;
    b->worker = memory_zeroed(b->n_workers, sizeof *b->worker, err);
    for (size_t i = 0; b->worker && i < b->n_workers; i++)
        if (!(b->worker[i].scratch = tokenizer_scratch_open(tokenizer, err)) ||
            (grams->buckets && !(b->worker[i].grams = grams_open(grams, err)))) {
            tokenise_block_close(b);
            return NULL;
        }
    if (!b->worker) {
        free(b);
        return NULL;
    }
    return b;
}

void tokenise_block_close(struct tokenise_block *b)
{
    if (!b)
        return;
    for (size_t i = 0; i < b->n_workers; i++) {
        tokenizer_scratch_close(b->worker[i].scratch);
        grams_close(b->worker[i].grams);
        free(b->worker[i].gram);
        free(b->worker[i].id);
        free(b->worker[i].line);
    }
    free(b->worker);
    free(b->text);
    free(b->label_id);
    free(b->id);
    free(b->gram);
    free(b->line);
    free(b);
}

void tokenise_block_clear(struct tokenise_block *b)
{
    b->n = b->n_text = b->n_ids = b->n_line = b->n_label_ids = b->n_grams = 0;
    b->truncated = b->empty = 0;
    b->n_most = 2 * b->n_most < BLOCK_ROWS ? 2 * b->n_most : BLOCK_ROWS;
}

bool tokenise_block_full(const struct tokenise_block *b)
{
    return b->n == b->n_most || b->n_text >= BLOCK_BYTES;
}

bool tokenise_block_add(struct tokenise_block *b, const char *text, size_t n, int32_t label,
                        struct error *err)
{
    if (!memory_grow(&b->text, &b->text_capacity, b->n_text + n, 1, err))
        return false;
    if (n)
        memcpy(b->text + b->n_text, text, n);
    b->n_text += n;
    b->label[b->n++] = label;
    b->text_offset[b->n] = (int64_t)b->n_text;
    return true;
}

bool tokenise_block_label(struct tokenise_block *b, const int32_t *id, size_t n, struct error *err)
{
    if (!memory_grow(&b->label_id, &b->label_id_capacity, b->n_label_ids + n + 1,
                     sizeof *b->label_id, err))
        return false;
    if (n)
        memcpy(b->label_id + b->n_label_ids, id, n * sizeof *id);
    b->n_label_ids += n;
    b->label_offset[b->n] = (int64_t)b->n_label_ids;
    return true;
}

static char *put_id(char *out, int32_t id)
{
    char digit[ID_DIGITS];
    int n = 0;
    do
        digit[n++] = (char)('0' + id % 10);
    while (id /= 10);
    while (n)
        *out++ = digit[--n];
    return out;
}

static bool keep_ids(struct tokenise_block *b, struct block_worker *w, size_t row,
                     const int32_t *id, size_t n)
{
    if (b->as_text) {
        if (!memory_grow(&w->line, &w->line_capacity, w->n_line + n * ID_DIGITS + 1, 1, &w->err))
            return false;
        char *at = w->line + w->n_line;
        for (size_t i = 0; i < n; i++) {
            if (i)
                *at++ = ' ';
            at = put_id(at, id[i]);
        }
        *at++ = '\n';
        w->n_line = (size_t)(at - w->line);
        w->n_ids += n;
        return true;
    }
    if (!memory_grow(&w->id, &w->id_capacity, w->n_ids + n, sizeof *w->id, &w->err))
        return false;
    if (n)
        memcpy(w->id + w->n_ids, id, n * sizeof *id);
    w->n_ids += n;
    b->offset[row + 1] = (int64_t)n; /* lengths for now; summed up at the end */
    return true;
}

/* The n-grams of a row: of its whole text, however many of its tokens are kept. */
static bool keep_grams(struct tokenise_block *b, struct block_worker *w, size_t row)
{
    const int32_t *id;
    size_t n, at = (size_t)b->text_offset[row];
    if (!w->grams)
        return true;
    if (!grams_make(w->grams, b->text + at, (size_t)b->text_offset[row + 1] - at, &id, &n,
                    &w->err) ||
        !memory_grow(&w->gram, &w->gram_capacity, w->n_grams + n, sizeof *w->gram, &w->err))
        return false;
    if (n)
        memcpy(w->gram + w->n_grams, id, n * sizeof *id);
    w->n_grams += n;
    b->gram_offset[row + 1] = (int64_t)n; /* lengths for now, as with ids */
    return true;
}

static void work(void *context, size_t member, size_t n_members)
{
    struct tokenise_block *b = context;
    struct block_worker *w = &b->worker[member];
    size_t begin, end, special = tokenizer_special_count(b->tokenizer);
    threads_share(b->n, member, n_members, &begin, &end);
    w->n_ids = w->n_line = w->n_grams = 0;
    w->truncated = w->empty = 0;
    for (size_t i = begin; i < end && !w->failed; i++) {
        const int32_t *id;
        size_t n, at = (size_t)b->text_offset[i];
        w->failed = !tokenizer_encode(b->tokenizer, w->scratch, b->text + at,
                                      (size_t)b->text_offset[i + 1] - at, b->max_tokens, &id, &n,
                                      &w->err) ||
                    !keep_ids(b, w, i, id, n) || !keep_grams(b, w, i);
        if (w->failed)
            return;
        w->truncated += tokenizer_truncated(w->scratch);
        w->empty += n == special;
    }
}

/* A member's results behind those of the members before it. */
static bool gather(struct tokenise_block *b, const struct block_worker *w, struct error *err)
{
    if (!memory_grow(&b->id, &b->id_capacity, b->n_ids + (b->as_text ? 0 : w->n_ids) + 1,
                     sizeof *b->id, err) ||
        !memory_grow(&b->gram, &b->gram_capacity, b->n_grams + w->n_grams + 1, sizeof *b->gram,
                     err) ||
        !memory_grow(&b->line, &b->line_capacity, b->n_line + w->n_line + 1, 1, err))
        return false;
    if (!b->as_text && w->n_ids)
        memcpy(b->id + b->n_ids, w->id, w->n_ids * sizeof *w->id);
    if (w->n_grams)
        memcpy(b->gram + b->n_grams, w->gram, w->n_grams * sizeof *w->gram);
    if (w->n_line)
        memcpy(b->line + b->n_line, w->line, w->n_line);
    b->n_ids += w->n_ids;
    b->n_grams += w->n_grams;
    b->n_line += w->n_line;
    b->truncated += w->truncated;
    b->empty += w->empty;
    return true;
}

bool tokenise_block_run(struct tokenise_block *b, struct threads *team, struct error *err)
{
    if (!b->text && !memory_grow(&b->text, &b->text_capacity, 1, 1, err))
        return false; /* rows that are all empty still need an address */
    threads_run(team, work, b);
    for (size_t i = 0; i < b->n_workers; i++) {
        struct block_worker *w = &b->worker[i];
        if (w->failed)
            return error_set(err, "%s", w->err.text);
        if (!gather(b, w, err))
            return false;
    }
    b->offset[0] = b->gram_offset[0] = 0;
    for (size_t i = 0; i < b->n && !b->as_text; i++)
        b->offset[i + 1] += b->offset[i];
    for (size_t i = 0; i < b->n && b->worker[0].grams; i++)
        b->gram_offset[i + 1] += b->gram_offset[i];
    return true;
}
