/* tokenizer_spec.c: see tokenizer_spec.h. */
#include "text/tokenizer_spec.h"

#include <stdlib.h>
#include <string.h>

#include "core/hash.h"
#include "core/memory.h"
#include "text/json_value.h"
#include "text/post_processor.h"
#include "text/utf8.h"

enum { MAX_WORD_DEFAULT = 100 /* Hugging Face's max_input_chars_per_word */, MAX_SHOWN = 60 };

void tokenizer_spec_init(struct tokenizer_spec *spec)
{
    *spec = (struct tokenizer_spec){.max_word = MAX_WORD_DEFAULT, .unknown = -1, .last_added = -1};
}

static void free_added(struct added_token *token)
{
    free(token->text);
    free(token->match);
}

void tokenizer_spec_free(struct tokenizer_spec *spec)
{
    json_decref(spec->normalizer);
    json_decref(spec->pre_tokenizer);
    json_decref(spec->post_processor);
    json_decref(spec->decoder_section);
    normaliser_close(spec->normaliser);
    pretokenizer_close(spec->pretokenizer);
    decoder_close(spec->decoder);
    for (size_t i = 0; i < spec->n_added; i++)
        free_added(&spec->added[i]);
    free(spec->added);
    free(spec->piece);
    free(spec->arena);
    free(spec->prefix);
    free(spec->score);
    free(spec->merge);
    free(spec->unknown_text);
    string_table_free(&spec->added_text);
    piece_trie_free(&spec->trie);
    piece_index_free(&spec->index);
    tokenizer_spec_init(spec);
}

/* ---- the model ---- */

/* As much of a text as a message has room for. */
static int shown(size_t n)
{
    return n < MAX_SHOWN ? (int)n : MAX_SHOWN;
}

static bool check_id(int64_t id, struct error *err)
{
    return (id >= 0 && id < TOKENIZER_ID_MAX) ||
           error_set(err, "token id %lld is outside 0 to %d", (long long)id, TOKENIZER_ID_MAX - 1);
}

bool tokenizer_spec_text(struct tokenizer_spec *spec, const char *text, size_t n, size_t *offset,
                         struct error *err)
{
    size_t begin = spec->n_arena + (spec->n_arena == 0); /* offset 0: no piece has the id */
    size_t need = begin + n + PIECES_PADDING;
    if (need > spec->arena_capacity &&
        !memory_grow(&spec->arena, &spec->arena_capacity, need, 1, err))
        return false;
    memcpy(spec->arena + begin, text, n);
    spec->n_arena = begin + n;
    *offset = begin;
    return true;
}

bool tokenizer_spec_slice(struct tokenizer_spec *spec, int64_t id, size_t offset, uint32_t n,
                          struct error *err)
{
    if (!check_id(id, err))
        return false;
    size_t need = (size_t)id + 1;
    if (need > spec->piece_capacity &&
        !memory_grow(&spec->piece, &spec->piece_capacity, need, sizeof *spec->piece, err))
        return false;
    while (spec->n_pieces < need)
        spec->piece[spec->n_pieces++] = (struct piece){0};
    struct piece *piece = &spec->piece[id];
    if (piece->offset)
        return error_set(err, "token id %lld has two texts: \"%.*s\" and \"%.*s\"", (long long)id,
                         shown(piece->n), spec->arena + piece->offset, shown(n),
                         spec->arena + offset);
    *piece = (struct piece){offset, n};
    spec->n_given++;
    return true;
}

bool tokenizer_spec_piece(struct tokenizer_spec *spec, int64_t id, const char *text, size_t n,
                          struct error *err)
{
    size_t offset;
    if (!check_id(id, err))
        return false;
    if (n > UINT32_MAX || utf8_valid_prefix(text, n) != n)
        return error_set(err, "the piece with id %lld is not valid UTF-8", (long long)id);
    return tokenizer_spec_text(spec, text, n, &offset, err) &&
           tokenizer_spec_slice(spec, id, offset, (uint32_t)n, err);
}

bool tokenizer_spec_scored(struct tokenizer_spec *spec, int64_t id, const char *text, size_t n,
                           double score, struct error *err)
{
    if (!tokenizer_spec_piece(spec, id, text, n, err) ||
        (spec->n_pieces > spec->score_capacity &&
         !memory_grow(&spec->score, &spec->score_capacity, spec->n_pieces, sizeof *spec->score,
                      err)))
        return false;
    spec->score[id] = score;
    return true;
}

bool tokenizer_spec_index(struct tokenizer_spec *spec, struct error *err)
{
    struct pieces pieces = tokenizer_spec_pieces(spec);
    size_t n_texts = 0;
    bool trie = spec->for_matching && spec->kind != TOKENIZER_BPE;
    if (spec->n_arena) /* what is read behind the last text is the same each time */
        memset(spec->arena + spec->n_arena, 0, PIECES_PADDING);
    if (!(trie ? piece_trie_open(&spec->trie, pieces, spec->prefix, err)
               : piece_index_open(&spec->index, pieces, err)))
        return false;
    for (size_t id = 0; id < pieces.n; id++)
        n_texts += pieces.piece[id].n > 0;
    spec->n_slots = pieces.n;
    size_t n_distinct = trie ? spec->trie.n_pieces : spec->index.n;
    spec->n_again = n_texts - n_distinct;
    spec->n_model = spec->score ? pieces.n : n_distinct + (spec->n_given > n_texts);
    return true;
}

/* Two ids have the same text. */
static bool refuse_again(const struct tokenizer_spec *spec, struct error *err)
{
    struct pieces pieces = tokenizer_spec_pieces(spec);
    struct piece_index index;
    if (!piece_index_open(&index, pieces, err))
        return false;
    const struct piece *piece = &pieces.piece[index.duplicate];
    const char *text = pieces.arena + piece->offset;
    error_set(err, "vocab: the token \"%.*s\" has two ids, %d and %d; expected one",
              shown(piece->n), text, (int)index.duplicate,
              (int)piece_index_find(&index, pieces, text, piece->n));
    piece_index_free(&index);
    return false;
}

bool tokenizer_spec_check_ids(const struct tokenizer_spec *spec, struct error *err)
{
    if (spec->n_given < spec->n_pieces) {
        size_t id = 0;
        while (spec->piece[id].offset)
            id++;
        return error_set(err,
                         "vocab: no token has the id %zu, but ids go up to %zu; expected each id "
                         "from 0 on once",
                         id, spec->n_pieces - 1);
    }
    return !spec->n_again || refuse_again(spec, err);
}

static int32_t find_piece(const struct tokenizer_spec *spec, const char *text, size_t n)
{
    if (spec->trie.edge)
        return piece_trie_whole(&spec->trie, spec->prefix, text, n);
    return piece_index_find(&spec->index, tokenizer_spec_pieces(spec), text, n);
}

bool tokenizer_spec_merge(struct tokenizer_spec *spec, const char *left, size_t n_left,
                          const char *right, size_t n_right, struct error *err)
{
    struct bpe_merge merge = {find_piece(spec, left, n_left), find_piece(spec, right, n_right)};
    if (merge.left < 0 || merge.right < 0)
        return error_set(err, "merge %zu: \"%.*s\" is not in the vocabulary", spec->n_merges + 1,
                         shown(merge.left < 0 ? n_left : n_right), merge.left < 0 ? left : right);
    if (!memory_grow(&spec->merge, &spec->merge_capacity, spec->n_merges + 1, sizeof *spec->merge,
                     err))
        return false;
    spec->merge[spec->n_merges++] = merge;
    return true;
}

/* ---- added tokens ---- */

static struct added_token *find_added(const struct tokenizer_spec *spec, const char *text, size_t n)
{
    int32_t number = string_table_find(&spec->added_text, text, n);
    return number < 0 ? NULL : &spec->added[number];
}

bool tokenizer_spec_is_added(const struct tokenizer_spec *spec, const char *text, size_t n)
{
    return find_added(spec, text, n) != NULL;
}

int32_t tokenizer_spec_find(const struct tokenizer_spec *spec, const char *text, size_t n)
{
    const struct added_token *added = find_added(spec, text, n);
    return added ? added->id : find_piece(spec, text, n);
}

/* Behind the model and all tokens that were added there. */
static int64_t next_id(const struct tokenizer_spec *spec)
{
    int64_t behind = (int64_t)spec->last_added + 1;
    return behind > (int64_t)spec->n_model ? behind : (int64_t)spec->n_model;
}

bool tokenizer_spec_added(struct tokenizer_spec *spec, int64_t id, const struct added_token *token,
                          struct error *err)
{
    struct added_token *known = find_added(spec, token->text, token->n);
    int64_t given = known ? known->id : find_piece(spec, token->text, token->n);
    bool is_new = given < 0;
    if (is_new)
        given = next_id(spec);
    if (id != -1 && id != given)
        return error_set(
            err,
            "added token \"%s\" has token id %lld, but Hugging Face's tokenizers would "
            "give it %lld: its text is in the vocabulary, or ids are missing",
            token->text, (long long)id, (long long)given);
    if (known) {
        known->special |= token->special;
        known->single_word = token->single_word;
        known->lstrip = token->lstrip;
        known->rstrip = token->rstrip;
        known->normalized = token->normalized;
        return true;
    }
    if ((is_new && !tokenizer_spec_piece(spec, given, token->text, token->n, err)) ||
        !memory_grow(&spec->added, &spec->added_capacity, spec->n_added + 1, sizeof *spec->added,
                     err))
        return false;
    struct added_token *added = &spec->added[spec->n_added];
    *added = *token;
    added->match = NULL;
    added->id = (int32_t)given;
    added->text = memory_copy(token->text, token->n, err);
    if (!added->text)
        return false;
    spec->n_added++;
    if (given > spec->last_added)
        spec->last_added = (int32_t)given;
    return string_table_add(&spec->added_text, token->text, token->n, err) != STRING_NONE;
}

/* What a token that is normalised matches. */
static bool normalise_added(struct tokenizer_spec *spec, struct error *err)
{
    struct normaliser_scratch scratch = {0};
    bool ok = true, head;
    for (size_t i = 0; ok && i < spec->n_added; i++) {
        struct added_token *token = &spec->added[i];
        const char *text;
        if (!token->normalized)
            continue;
        ok = normaliser_run(spec->normaliser, &scratch, token->text, token->n, &text,
                            &token->n_match, &head, err) &&
             (token->match = memory_copy(text, token->n_match, err));
        if (ok && !token->n_match) /* Hugging Face's matcher breaks down */
            ok = error_set(err, "added token \"%s\" is nothing after normalisation", token->text);
    }
    normaliser_scratch_free(&scratch);
    return ok;
}

static int by_id(const void *a, const void *b)
{
    const struct added_token *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

bool tokenizer_spec_finish(struct tokenizer_spec *spec, struct error *err)
{
    string_table_free(&spec->added_text); /* its numbers end here */
    if (spec->n_added)
        qsort(spec->added, spec->n_added, sizeof *spec->added, by_id);
    spec->normaliser = normaliser_open(spec->normalizer, err);
    spec->pretokenizer = spec->normaliser ? pretokenizer_open(spec->pre_tokenizer, err) : NULL;
    spec->decoder = spec->pretokenizer ? decoder_open(spec->decoder_section, err) : NULL;
    return spec->decoder && normalise_added(spec, err) &&
           post_processor_read(spec, spec->post_processor, err);
}

const struct added_token *tokenizer_spec_added_with(const struct tokenizer_spec *spec, int32_t id)
{
    const struct added_token key = {.id = id};
    return spec->n_added ? bsearch(&key, spec->added, spec->n_added, sizeof key, by_id) : NULL;
}

bool tokenizer_spec_is_bert(const struct tokenizer_spec *spec, struct bert_options *options)
{
    for (size_t i = 0; i < spec->n_added; i++)
        if (spec->added[i].normalized || spec->added[i].single_word)
            return false; /* lstrip and rstrip take white space, which gives no token anyway */
    return spec->kind == TOKENIZER_WORDPIECE && pretokenizer_is_bert(spec->pretokenizer) &&
           normaliser_is_bert(spec->normaliser, options);
}

/* ---- the fingerprint ---- */

static void add_text(struct hash_stream *hash, const char *text, size_t n)
{
    hash_stream_add(hash, &n, sizeof n);
    hash_stream_add(hash, text, n);
}

/* Each piece's length and text, collected on a stage: most are shorter than what a call costs. */
static void add_pieces(struct hash_stream *hash, const struct tokenizer_spec *spec)
{
    enum { STAGE = 4096, LONG = 1024 };
    char stage[STAGE];
    size_t used = 0;
    for (size_t i = 0; i < spec->n_pieces; i++) {
        const char *text = spec->arena + spec->piece[i].offset;
        uint32_t n = spec->piece[i].n;
        if (used > STAGE - LONG - sizeof n) {
            hash_stream_add(hash, stage, used);
            used = 0;
        }
        memcpy(stage + used, &n, sizeof n);
        used += sizeof n;
        if (n <= PIECES_PADDING) {
            memcpy(stage + used, text, PIECES_PADDING);
            used += n;
        } else if (n <= LONG) {
            memcpy(stage + used, text, n);
            used += n;
        } else {
            hash_stream_add(hash, stage, used);
            hash_stream_add(hash, text, n);
            used = 0;
        }
    }
    hash_stream_add(hash, stage, used);
}

static void add_around(struct hash_stream *hash, const struct tokenizer_spec *spec)
{
    hash_stream_add(hash, spec->before, spec->n_before * sizeof *spec->before);
    hash_stream_add(hash, spec->after, spec->n_after * sizeof *spec->after);
}

static void add_bert(struct hash_stream *hash, const struct tokenizer_spec *spec,
                     const struct bert_options *options)
{
    const uint8_t flag[] = {options->clean_text, options->chinese, options->strip_accents,
                            options->lowercase};
    const uint64_t number[] = {spec->max_word,      (uint64_t)spec->unknown, spec->n_before,
                               spec->n_after,       spec->n_pieces,          spec->n_added,
                               strlen(spec->prefix)};
    hash_stream_add(hash, "wordpiece 1", 11);
    hash_stream_add(hash, flag, sizeof flag);
    hash_stream_add(hash, number, sizeof number);
    hash_stream_add(hash, spec->prefix, strlen(spec->prefix));
    add_around(hash, spec);
    add_pieces(hash, spec);
    for (size_t i = 0; i < spec->n_added; i++) {
        const int32_t pair[] = {spec->added[i].id, spec->added[i].special};
        hash_stream_add(hash, pair, sizeof pair);
        hash_stream_add(hash, spec->added[i].text, spec->added[i].n + 1);
    }
}

static bool add_section(struct hash_stream *hash, const json_t *section, struct error *err)
{
    struct text_buffer text = {0};
    bool ok =
        section ? json_value_write(section, &text, err) : text_buffer_add(&text, "null", 4, err);
    if (ok)
        add_text(hash, text.bytes, text.n);
    text_buffer_free(&text);
    return ok;
}

static bool add_general(struct hash_stream *hash, const struct tokenizer_spec *spec,
                        struct error *err)
{
    const uint8_t flag[] = {(uint8_t)spec->kind, spec->byte_fallback, spec->fuse_unknown,
                            spec->ignore_merges};
    const uint64_t number[] = {spec->max_word, (uint64_t)spec->unknown, spec->n_before,
                               spec->n_after,  spec->n_pieces,          spec->n_model,
                               spec->n_added,  spec->n_merges};
    const char *prefix = spec->prefix ? spec->prefix : "";
    hash_stream_add(hash, "general 1", 9);
    hash_stream_add(hash, flag, sizeof flag);
    hash_stream_add(hash, number, sizeof number);
    add_text(hash, prefix, strlen(prefix));
    add_around(hash, spec);
    add_pieces(hash, spec);
    if (spec->score)
        hash_stream_add(hash, spec->score, spec->n_slots * sizeof *spec->score);
    hash_stream_add(hash, spec->merge, spec->n_merges * sizeof *spec->merge);
    for (size_t i = 0; i < spec->n_added; i++) {
        const struct added_token *token = &spec->added[i];
        const int32_t setting[] = {token->id,     token->special, token->single_word,
                                   token->lstrip, token->rstrip,  token->normalized};
        hash_stream_add(hash, setting, sizeof setting);
        add_text(hash, token->text, token->n);
    }
    return add_section(hash, spec->normalizer, err) && add_section(hash, spec->pre_tokenizer, err);
}

bool tokenizer_spec_fingerprint(const struct tokenizer_spec *spec, uint64_t *fingerprint,
                                struct error *err)
{
    struct hash_stream *hash = hash_stream_open();
    struct bert_options options;
    bool ok = true;
    if (!hash)
        return error_set(err, "out of memory");
    if (tokenizer_spec_is_bert(spec, &options))
        add_bert(hash, spec, &options);
    else
        ok = add_general(hash, spec, err);
    *fingerprint = hash_stream_value(hash);
    hash_stream_close(hash);
    return ok;
}
