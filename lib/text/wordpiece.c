/* wordpiece.c: see wordpiece.h. */
#include "text/wordpiece.h"

#include <stdlib.h>

#include "core/memory.h"
#include "text/piece_trie.h"

struct wordpiece {
    struct piece_trie trie;
};

struct wordpiece *wordpiece_open(struct pieces pieces, const char *prefix, struct error *err)
{
    struct wordpiece *wordpiece = memory_zeroed(1, sizeof *wordpiece, err);
    if (wordpiece && piece_trie_open(&wordpiece->trie, pieces, prefix, err))
        return wordpiece;
    wordpiece_close(wordpiece);
    return NULL;
}

void wordpiece_close(struct wordpiece *wordpiece)
{
    if (!wordpiece)
        return;
    piece_trie_free(&wordpiece->trie);
    free(wordpiece);
}

size_t wordpiece_match(const struct wordpiece *wordpiece, const uint32_t *code, size_t n,
                       int32_t *ids)
{
    const struct piece_trie *trie = &wordpiece->trie;
    size_t n_ids = 0, begin = 0;
    while (begin < n) {
        uint64_t node = begin ? PIECE_TRIE_CONTINUE : PIECE_TRIE_ROOT;
        size_t end = begin;
        int32_t best = -1, id;
        for (size_t i = begin; i < n && piece_trie_step(trie, &node, code[i], &id); i++)
            if (id >= 0) {
                best = id;
                end = i + 1;
            }
        if (best < 0)
            return 0;
        ids[n_ids++] = best;
        begin = end;
    }
    return n_ids;
}
