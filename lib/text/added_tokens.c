/* added_tokens.c: see added_tokens.h. The tokens lie in order of their bytes; a match narrows the
 * range of those that agree byte by byte, so thousands of tokens cost what a few do, and a table of
 * first bytes skips the rest of a text. */
#include "text/added_tokens.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "text/codepoint.h"
#include "text/utf8.h"

struct added_tokens {
    const struct added_token **token; /* [n] by what is matched; equal ones only once */
    size_t n;
    bool local;
    bool begins[256]; /* some token's first byte */
};

static const char *matched(const struct added_token *token, size_t *n)
{
    *n = token->match ? token->n_match : token->n;
    return token->match ? token->match : token->text;
}

static int compare(const void *a, const void *b)
{
    const struct added_token *x = *(const struct added_token *const *)a,
                             *y = *(const struct added_token *const *)b;
    size_t n, m;
    const char *p = matched(x, &n), *q = matched(y, &m);
    int order = memcmp(p, q, n < m ? n : m);
    if (order || n != m)
        return order ? order : n < m ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

static bool holds_space(const char *text, size_t n)
{
    const unsigned char *p = (const unsigned char *)text, *end = p + n;
    while (p < end)
        if (codepoint_is_space(utf8_next(&p)))
            return true;
    return false;
}

static void add(struct added_tokens *tokens, const struct added_token *token)
{
    size_t n, n_last = 0;
    const char *text = matched(token, &n),
               *last = tokens->n ? matched(tokens->token[tokens->n - 1], &n_last) : NULL;
    if (!n || (last && n == n_last && memcmp(text, last, n) == 0))
        return;
    tokens->token[tokens->n++] = token;
    tokens->begins[(unsigned char)*text] = true;
    tokens->local &= !token->lstrip && !token->rstrip && !holds_space(text, n);
}

struct added_tokens *added_tokens_open(const struct added_token *token, size_t n, bool normalized,
                                       struct error *err)
{
    size_t wanted = 0;
    for (size_t i = 0; i < n; i++)
        wanted += token[i].normalized == normalized;
    if (!wanted)
        return NULL;
    struct added_tokens *tokens = memory_zeroed(1, sizeof *tokens, err);
    const struct added_token **sorted = memory_array(wanted, sizeof *sorted, err);
    if (!tokens || !sorted) {
        free(tokens);
        free(sorted);
        return NULL;
    }
    size_t used = 0;
    for (size_t i = 0; i < n; i++)
        if (token[i].normalized == normalized)
            sorted[used++] = &token[i];
    qsort(sorted, used, sizeof *sorted, compare);
    tokens->token = sorted;
    tokens->local = true;
    for (size_t i = 0; i < used; i++)
        add(tokens, sorted[i]); /* moves them to the front, in place */
    return tokens;
}

void added_tokens_close(struct added_tokens *tokens)
{
    if (!tokens)
        return;
    free(tokens->token);
    free(tokens);
}

bool added_tokens_are_local(const struct added_tokens *tokens)
{
    return !tokens || tokens->local;
}

/* First of [low, high) whose byte at `depth` is at least `byte`; shorter tokens come first. */
static size_t bound(const struct added_tokens *tokens, size_t low, size_t high, size_t depth,
                    unsigned byte)
{
    while (low < high) {
        size_t middle = (low + high) / 2, n;
        const unsigned char *text = (const unsigned char *)matched(tokens->token[middle], &n);
        if (n <= depth || text[depth] < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const struct added_token *added_tokens_at(const struct added_tokens *tokens, const char *p,
                                          size_t n)
{
    const struct added_token *best = NULL;
    size_t low = 0, high = tokens->n;
    for (size_t i = 0; i < n && low < high; i++) {
        unsigned byte = (unsigned char)p[i];
        low = bound(tokens, low, high, i, byte);
        high = bound(tokens, low, high, i, byte + 1);
        size_t length;
        if (low < high) {
            matched(tokens->token[low], &length);
            if (length == i + 1)
                best = tokens->token[low];
        }
    }
    return best;
}

static size_t last_begin(const char *text, size_t end)
{
    do
        end--;
    while (((unsigned char)text[end] & 0xC0) == 0x80);
    return end;
}

static uint32_t code_at(const char *text, size_t at, size_t *next)
{
    const unsigned char *p = (const unsigned char *)text + at;
    uint32_t code = utf8_next(&p);
    *next = (size_t)((const char *)p - text);
    return code;
}

static bool stands_alone(const struct added_search *s, size_t begin, size_t end)
{
    size_t next;
    if (begin && codepoint_is_word(code_at(s->text, last_begin(s->text, begin), &next)))
        return false;
    return end == s->n || !codepoint_is_word(code_at(s->text, end, &next));
}

bool added_tokens_next(const struct added_tokens *tokens, struct added_search *s, size_t *begin,
                       size_t *stop, int32_t *id)
{
    const struct added_token *found = NULL;
    *begin = s->done;
    while (tokens && s->at < s->n) {
        if (!tokens->begins[(unsigned char)s->text[s->at]] ||
            !(found = added_tokens_at(tokens, s->text + s->at, s->n - s->at))) {
            s->at++;
            continue;
        }
        size_t from = s->at, to, next, n;
        matched(found, &n);
        to = s->at += n; /* a match that is refused below still uses its text up */
        if (found->single_word && !stands_alone(s, from, to))
            continue;
        while (found->lstrip && from > s->done &&
               codepoint_is_space(code_at(s->text, last_begin(s->text, from), &next)))
            from = last_begin(s->text, from);
        while (found->rstrip && to < s->n && codepoint_is_space(code_at(s->text, to, &next)))
            to = next;
        *stop = from > s->done ? from : s->done;
        s->done = to;
        *id = found->id;
        return true;
    }
    *stop = s->n > s->done ? s->n : s->done;
    return false;
}
