/* tokenizer_spec.h: what decides a tokenizer's ids, as one plain object that the readers of the
 * files fill (tokenizer_files.h, tokenizer_json.h, sentencepiece.h). */
#ifndef MILLET_TEXT_TOKENIZER_SPEC_H
#define MILLET_TEXT_TOKENIZER_SPEC_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/decoder.h"
#include "text/normaliser.h"
#include "text/piece_index.h"
#include "text/piece_trie.h"
#include "text/pieces.h"
#include "text/pretokenizer.h"
#include "text/string_table.h"

enum tokenizer_kind { TOKENIZER_WORDPIECE, TOKENIZER_UNIGRAM, TOKENIZER_BPE };

enum {
    TOKENIZER_AROUND_MAX = 8,        /* special tokens before or after a text */
    TOKENIZER_ID_MAX = (1 << 21) - 1 /* ids are below this: the tries' limit */
};

struct tokenizer_spec {
    enum tokenizer_kind kind;
    /* The sections of tokenizer.json, or what stands for them; NULL: none. Owned. */
    json_t *normalizer, *pre_tokenizer, *post_processor, *decoder_section;
    /* Made of the sections by tokenizer_spec_finish(). */
    struct normaliser *normaliser;
    struct pretokenizer *pretokenizer;
    struct decoder *decoder;

    char *arena; /* the bytes of all pieces */
    size_t n_arena, arena_capacity;
    struct piece *piece; /* by id */
    size_t n_pieces, piece_capacity;
    size_t n_given;    /* ids that have a text, an empty one too */
    size_t n_again;    /* pieces of the model whose text another one has, too, less the first */
    size_t n_model;    /* its size as Hugging Face counts it: distinct texts; Unigram: all pieces */
    size_t n_slots;    /* ids of the model's pieces are below this */
    bool for_matching; /* words will be matched: stated before anything is read */
    /* Of the model's pieces, one of the two: the trie where WordPiece or Unigram will be matched,
     * which finds whole pieces as well; else the index, which is built sooner. */
    struct piece_trie trie;
    struct piece_index index;

    char *prefix;    /* WordPiece: "##" */
    size_t max_word; /* WordPiece: code points; a longer word is unknown */
    double *score;   /* Unigram: [n_pieces] by id */
    size_t score_capacity;
    bool exact_scores; /* they are read as Python does, not as Rust does (tokenizer_model.c) */
    struct bpe_merge *merge; /* BPE */
    size_t n_merges, merge_capacity;
    bool byte_fallback, fuse_unknown, ignore_merges;
    char *unknown_text; /* WordPiece and BPE: the text of the unknown token; NULL: none stated */
    int32_t unknown;    /* -1: none */

    struct added_token *added;
    size_t n_added, added_capacity;
    int32_t last_added;             /* the largest id of them; -1: none */
    struct string_table added_text; /* numbers are indices of `added` until it is sorted */
    int32_t before[TOKENIZER_AROUND_MAX], after[TOKENIZER_AROUND_MAX];
    size_t n_before, n_after;
    size_t max_tokens; /* model_max_length; 0: not stated */
};

void tokenizer_spec_init(struct tokenizer_spec *spec); /* then the spec can be freed */
void tokenizer_spec_free(struct tokenizer_spec *spec);

/* A piece of the model. An id that has a text already is an error. */
bool tokenizer_spec_piece(struct tokenizer_spec *spec, int64_t id, const char *text, size_t n,
                          struct error *err) MUST_CHECK;
/* The same of many at once: their valid UTF-8 first, then what stands at an offset in it. */
bool tokenizer_spec_text(struct tokenizer_spec *spec, const char *text, size_t n, size_t *offset,
                         struct error *err) MUST_CHECK;
bool tokenizer_spec_slice(struct tokenizer_spec *spec, int64_t id, size_t offset, uint32_t n,
                          struct error *err) MUST_CHECK;
/* A piece with its log-probability, for Unigram. */
bool tokenizer_spec_scored(struct tokenizer_spec *spec, int64_t id, const char *text, size_t n,
                           double score, struct error *err) MUST_CHECK;
/* A merge of two pieces of the model, next in rank; the model's pieces must be indexed. */
bool tokenizer_spec_merge(struct tokenizer_spec *spec, const char *left, size_t n_left,
                          const char *right, size_t n_right, struct error *err) MUST_CHECK;
/* All pieces of the model are there, its kind and prefix, too: from now on they can be found. Of
 * equal ones the last counts, as in Hugging Face's vocab.txt and Unigram models. */
bool tokenizer_spec_index(struct tokenizer_spec *spec, struct error *err) MUST_CHECK;
/* Ids of a vocabulary that states them: none missing, no text twice. After indexing. */
bool tokenizer_spec_check_ids(const struct tokenizer_spec *spec, struct error *err) MUST_CHECK;

/* Add a token, or give the one with the same text these settings. Its id is the model's where the
 * model has the text, else the next free one, as Hugging Face numbers them; `id` is what the file
 * states: another one is an error, -1 says nothing. */
bool tokenizer_spec_added(struct tokenizer_spec *spec, int64_t id, const struct added_token *token,
                          struct error *err) MUST_CHECK;
/* Until tokenizer_spec_finish(): whether a token is added; the id of a token, added or else the
 * model's (-1: none). */
bool tokenizer_spec_is_added(const struct tokenizer_spec *spec, const char *text, size_t n);
int32_t tokenizer_spec_find(const struct tokenizer_spec *spec, const char *text, size_t n);

/* From the sections to what runs; from the post-processor to the ids around a text. */
bool tokenizer_spec_finish(struct tokenizer_spec *spec, struct error *err) MUST_CHECK;
/* After that: the added token that has an id; NULL: none. */
const struct added_token *tokenizer_spec_added_with(const struct tokenizer_spec *spec, int32_t id);

/* Of everything that decides ids; model_max_length does not. */
bool tokenizer_spec_fingerprint(const struct tokenizer_spec *spec, uint64_t *fingerprint,
                                struct error *err) MUST_CHECK;

/* Whether it is BertNormalizer (or none), BertPreTokenizer and WordPiece with added tokens that are
 * matched before normalisation: what tokenizer_bert.h does fast. */
bool tokenizer_spec_is_bert(const struct tokenizer_spec *spec, struct bert_options *options);

static inline struct pieces tokenizer_spec_pieces(const struct tokenizer_spec *spec)
{
    return (struct pieces){spec->arena, spec->piece, spec->n_pieces};
}

#endif
