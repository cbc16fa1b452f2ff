/* wordpiece.c: see wordpiece.h. */
#include "text/wordpiece.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "text/piece_trie.h"
#include "text/utf8.h"

struct wordpiece {
    const struct piece_trie *trie;
    uint32_t *prefix; /* owned: the continuation mark */
    size_t n_prefix;
};

static bool decode_prefix(struct wordpiece *wordpiece, const char *prefix, struct error *err)
{
    const unsigned char *at = (const unsigned char *)prefix, *end = at + strlen(prefix);
    wordpiece->prefix = memory_zeroed(strlen(prefix) + 1, sizeof *wordpiece->prefix, err);
    while (wordpiece->prefix && at < end)
        wordpiece->prefix[wordpiece->n_prefix++] = utf8_next(&at);
    return wordpiece->prefix != NULL;
}

struct wordpiece *wordpiece_open(const struct piece_trie *trie, const char *prefix,
                                 struct error *err)
{
    struct wordpiece *wordpiece = memory_zeroed(1, sizeof *wordpiece, err);
    if (wordpiece && decode_prefix(wordpiece, prefix, err)) {
        wordpiece->trie = trie;
        return wordpiece;
    }
    wordpiece_close(wordpiece);
    return NULL;
}

void wordpiece_close(struct wordpiece *wordpiece)
{
    if (!wordpiece)
        return;
    free(wordpiece->prefix);
    free(wordpiece);
}

/* The longest piece that begins at `from`, below a root; -1: none. *end is where it ends. */
static int32_t longest(const struct piece_trie *trie, uint64_t node, const uint32_t *code,
                       size_t from, size_t n, size_t *end)
{
    int32_t best = -1, id;
    for (size_t i = from; i < n && piece_trie_step(trie, &node, code[i], &id); i++)
        if (id >= 0) {
            best = id;
            *end = i + 1;
        }
    return best;
}

/* A word that is written with the mark ("##ing") finds the pieces that have it, as text like any
 * other. */
static int32_t longest_marked(const struct wordpiece *wordpiece, const uint32_t *code, size_t n,
                              size_t *end)
{
    size_t n_prefix = wordpiece->n_prefix;
    if (n <= n_prefix || !n_prefix || memcmp(code, wordpiece->prefix, n_prefix * sizeof *code) != 0)
        return -1;
    return longest(wordpiece->trie, PIECE_TRIE_CONTINUE, code, n_prefix, n, end);
}

size_t wordpiece_match(const struct wordpiece *wordpiece, const uint32_t *code, size_t n,
                       int32_t *ids)
{
    size_t n_ids = 0, end = 0;
    for (size_t begin = 0; begin < n; begin = end) {
        int32_t best = longest(wordpiece->trie, begin ? PIECE_TRIE_CONTINUE : PIECE_TRIE_ROOT, code,
                               begin, n, &end);
        if (begin == 0 && code[0] == wordpiece->prefix[0]) {
            size_t marked_end = 0;
            int32_t marked = longest_marked(wordpiece, code, n, &marked_end);
            if (marked >= 0 && marked_end > (best < 0 ? 0 : end)) {
                best = marked;
                end = marked_end;
            }
        }
        if (best < 0)
            return 0;
        ids[n_ids++] = best;
    }
    return n_ids;
}
