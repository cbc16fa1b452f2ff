/* Fuzz target of the reader of SentencePiece models: what is accepted must be readable to its last
 * byte and make a segmentation that stays within the vocabulary. See fuzz_safetensors.c. */
#include <stdint.h>
#include <stdlib.h>

#include "core/memory.h"
#include "text/charsmap.h"
#include "text/sentencepiece.h"
#include "text/text_buffer.h"
#include "text/unigram.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static bool segment(const struct unigram *unigram, size_t n_pieces, const char *text, size_t n)
{
    struct error err = ERROR_INIT;
    struct unigram_scratch *scratch = unigram_scratch_open(&err);
    int32_t *ids = memory_array(n, sizeof *ids, &err);
    size_t n_ids = 0;
    bool ok = unigram_match(unigram, scratch, text, n, ids, &n_ids, &err) && n_ids <= n;
    for (size_t i = 0; ok && i < n_ids; i++)
        ok = ids[i] >= 0 && (size_t)ids[i] < n_pieces;
    free(ids);
    unigram_scratch_close(scratch);
    return ok;
}

static bool use_model(const struct sentencepiece *model, struct error *err)
{
    struct text_buffer arena = {NULL, 0, 0};
    struct piece *piece = memory_array(model->n_pieces, sizeof *piece, err);
    double *score = memory_array(model->n_pieces, sizeof *score, err);
    bool ok = piece && score;
    for (size_t i = 0; ok && i < model->n_pieces; i++) {
        piece[i] = (struct piece){arena.n, (uint32_t)model->piece[i].n};
        score[i] = model->piece[i].score;
        ok = text_buffer_add(&arena, model->piece[i].text, model->piece[i].n, err);
    }
    struct unigram_options options = {0, model->n_pieces % 2 == 0};
    struct unigram *unigram =
        ok ? unigram_open((struct pieces){arena.bytes, piece, model->n_pieces}, score, &options,
                          err)
           : NULL;
    ok = unigram && segment(unigram, model->n_pieces, arena.bytes, arena.n);
    unigram_close(unigram);
    text_buffer_free(&arena);
    free(piece);
    free(score);
    struct charsmap *map =
        ok && model->n_charsmap ? charsmap_open(model->charsmap, model->n_charsmap, err) : NULL;
    charsmap_close(map);
    return ok;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    struct error err = ERROR_INIT;
    struct sentencepiece model;
    if (!sentencepiece_read(&model, bytes, n, &err))
        return err.set ? 0 : -1;
    bool ok = use_model(&model, &err);
    sentencepiece_free(&model);
    return ok || err.set ? 0 : -1;
}
