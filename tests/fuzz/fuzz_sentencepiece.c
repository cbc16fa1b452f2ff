/* Fuzz target of the reader of SentencePiece models: what is accepted must be readable to its last
 * byte and make a segmentation that stays within the vocabulary, also as a class's tokenizer. See fuzz_safetensors.c. */
#include <stdint.h>
#include <stdlib.h>

#include "core/memory.h"
#include "fuzz_bundle.h"
#include "text/charsmap.h"
#include "text/sentencepiece.h"
#include "text/text_buffer.h"
#include "text/tokenizer.h"
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
    struct piece_trie trie = {0};
    const char padding[PIECES_PADDING] = {0};
    ok = ok && text_buffer_add(&arena, padding, sizeof padding, err) &&
         piece_trie_open(&trie, (struct pieces){arena.bytes, piece, model->n_pieces}, NULL, err);
    struct unigram *unigram =
        ok ? unigram_open(&trie, score, model->n_pieces, &options, err) : NULL;
    ok = unigram && segment(unigram, model->n_pieces, arena.bytes, arena.n - sizeof padding);
    unigram_close(unigram);
    piece_trie_free(&trie);
    text_buffer_free(&arena);
    free(piece);
    free(score);
    struct charsmap *map =
        ok && model->n_charsmap ? charsmap_open(model->charsmap, model->n_charsmap, err) : NULL;
    charsmap_close(map);
    return ok;
}

/* In place of tokenizer.json, for one of the classes. */
static bool open_class(const uint8_t *bytes, size_t n)
{
    static const struct {
        const char *config, *name;
    } class[] = {{"{\"tokenizer_class\": \"XLMRobertaTokenizer\"}", "sentencepiece.bpe.model"},
                 {"{\"tokenizer_class\": \"CamembertTokenizer\"}", "sentencepiece.bpe.model"},
                 {"{\"tokenizer_class\": \"AlbertTokenizer\"}", "spiece.model"}};
    const char *config = class[n % 3].config;
    const struct fuzz_file file[] = {{"tokenizer_config.json", config, strlen(config)},
                                     {class[n % 3].name, bytes, n}};
    static const char text[] = "a <mask>[CLS] \xE0\xA4\x95\xE0\xA4\xBC\xEF\xAC\x81";
    struct error err = ERROR_INIT;
    struct bundle *bundle = fuzz_bundle_open(file, 2, &err);
    struct tokenizer *tokenizer = bundle ? tokenizer_open(bundle, &err) : NULL;
    struct tokenizer_scratch *scratch = tokenizer ? tokenizer_scratch_open(tokenizer, &err) : NULL;
    const int32_t *id;
    size_t n_ids;
    bool ok = scratch &&
              tokenizer_encode(tokenizer, scratch, text, sizeof text - 1, 0, &id, &n_ids, &err);
    for (size_t i = 0; ok && i < n_ids; i++)
        ok = id[i] >= 0 && (size_t)id[i] < tokenizer_size(tokenizer);
    tokenizer_scratch_close(scratch);
    tokenizer_close(tokenizer);
    bundle_close(bundle);
    return ok || err.set;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    struct error err = ERROR_INIT;
    struct sentencepiece model;
    if (!sentencepiece_read(&model, bytes, n, &err))
        return err.set ? 0 : -1;
    bool ok = use_model(&model, &err) || err.set;
    sentencepiece_free(&model);
    return ok && open_class(bytes, n) ? 0 : -1;
}
