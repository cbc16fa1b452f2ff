/* vocabulary_trim.h: a tokenizer with fewer pieces: which ids stay, and the tokenizer's files
 * rewritten for them. Ids keep their order: the new number of a piece is its place among those that
 * stay (Abdaoui et al. 2020, "Load What You Need"; Ushio et al. 2023, "Vocabulary Trimming").
 *
 * What stays in any case:
 *   - special and added tokens, the unknown token, every id that a file or the caller names;
 *   - every piece of a single character ("x", "##x", "<0x41>"): so a text whose characters the
 *     vocabulary has one by one never becomes unknown, whatever goes; and pieces with a character
 *     that has no piece of its own;
 *   - Unigram: "▁x" of each character that occurs, and one piece of the least score, of which the
 *     price of an unknown character is made.
 * Then pieces that occur, most frequent first, as far as there is room.
 *
 * A text whose pieces all stay is cut as before. WordPiece: the longest match among fewer pieces is
 * no longer than before, and the one of before is still there. Unigram: the best path is still
 * there with the same sum, and all others are as before or gone; ties fall alike, since what stood
 * behind the best path stands behind it still. BPE: a piece stays with all pieces that merges make
 * it of, and all merges whose three pieces stay; each step takes the applicable merge of lowest
 * rank, which is the one of before, for those that went were not taken then.
 */
#ifndef MILLET_TEXT_VOCABULARY_TRIM_H
#define MILLET_TEXT_VOCABULARY_TRIM_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "io/bundle.h"

struct vocabulary_trim_options {
    const uint64_t *count; /* [n_counts] how often each id occurs; ids beyond do not */
    size_t n_counts;
    size_t size;         /* at most so many pieces; 0: all that occur */
    const int32_t *must; /* ids that stay besides; those that no piece has do not matter */
    size_t n_must;
};

struct vocabulary_trim {
    int32_t *kept;   /* [n_kept] old ids, ascending; owned */
    size_t n_kept;   /* ids of the trimmed tokenizer are below this */
    int32_t *number; /* [n_before] new id, -1: gone; owned */
    size_t n_before;
    size_t n_least;             /* what stays in any case */
    uint64_t covered, tokens;   /* counts of the pieces that stay, and of all */
    uint64_t fingerprint;       /* of the tokenizer before */
    struct bundle_member *file; /* [n_files] rewritten; names are literals, bytes owned */
    size_t n_files;
};

/* From the tokenizer files of a model. A size below what must stay is refused with the least that
 * can be. Memory: the vocabulary and its new files. */
bool vocabulary_trim_open(struct vocabulary_trim *trim, struct bundle *bundle,
                          const struct vocabulary_trim_options *options,
                          struct error *err) MUST_CHECK;
void vocabulary_trim_free(struct vocabulary_trim *trim); /* safe on a zeroed struct */

#endif
