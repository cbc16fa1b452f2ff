/* tokenizer.c: see tokenizer.h. Which of the two ways a tokenizer goes is decided when it is
 * opened. */
#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "text/tokenizer_bert.h"
#include "text/tokenizer_files.h"
#include "text/tokenizer_general.h"

struct tokenizer {
    struct tokenizer_spec spec;
    struct tokenizer_bert *bert; /* one of the two is NULL */
    struct tokenizer_general *general;
    uint64_t fingerprint;
};

struct tokenizer_scratch {
    struct tokenizer_bert_scratch *bert;
    struct tokenizer_general_scratch *general;
    struct token_ids ids;
    bool truncated;
};

bool tokenizer_fingerprint_of(struct bundle *bundle, uint64_t *fingerprint, struct error *err)
{
    struct tokenizer_spec spec;
    if (!tokenizer_spec_read(&spec, bundle, false, err))
        return false;
    bool ok = tokenizer_spec_fingerprint(&spec, fingerprint, err);
    tokenizer_spec_free(&spec);
    return ok;
}

struct tokenizer *tokenizer_open(struct bundle *bundle, struct error *err)
{
    struct tokenizer *t = memory_zeroed(1, sizeof *t, err);
    struct bert_options options;
    if (!t)
        return NULL;
    if (!tokenizer_spec_read(&t->spec, bundle, true, err)) {
        free(t);
        return NULL;
    }
    if (tokenizer_spec_is_bert(&t->spec, &options))
        t->bert = tokenizer_bert_open(&t->spec, &options, err);
    else
        t->general = tokenizer_general_open(&t->spec, err);
    if (!(t->bert || t->general)) {
        error_at(err, "%s: ", bundle_name(bundle));
        tokenizer_close(t);
        return NULL;
    }
    if (!tokenizer_spec_fingerprint(&t->spec, &t->fingerprint, err)) {
        tokenizer_close(t);
        return NULL;
    }
    return t;
}

void tokenizer_close(struct tokenizer *t)
{
    if (!t)
        return;
    tokenizer_bert_close(t->bert);
    tokenizer_general_close(t->general);
    tokenizer_spec_free(&t->spec);
    free(t);
}

size_t tokenizer_size(const struct tokenizer *t)
{
    return t->spec.n_pieces;
}

uint64_t tokenizer_fingerprint(const struct tokenizer *t)
{
    return t->fingerprint;
}

size_t tokenizer_max_tokens(const struct tokenizer *t)
{
    return t->spec.max_tokens;
}

size_t tokenizer_special_count(const struct tokenizer *t)
{
    return t->spec.n_before + t->spec.n_after;
}

bool tokenizer_is_special(const struct tokenizer *t, int32_t id)
{
    const struct added_token *token = tokenizer_spec_added_with(&t->spec, id);
    return token && token->special;
}

int32_t tokenizer_mask(const struct tokenizer *t)
{
    for (size_t i = 0; i < t->spec.n_added; i++) {
        const struct added_token *token = &t->spec.added[i];
        if (token->special &&
            (strcmp(token->text, "[MASK]") == 0 || strcmp(token->text, "<mask>") == 0))
            return token->id;
    }
    return -1;
}

struct tokenizer_scratch *tokenizer_scratch_open(const struct tokenizer *t, struct error *err)
{
    struct tokenizer_scratch *s = memory_zeroed(1, sizeof *s, err);
    if (!s)
        return NULL;
    if (t->bert)
        s->bert = tokenizer_bert_scratch_open(t->bert, err);
    else
        s->general = tokenizer_general_scratch_open(t->general, err);
    if (!s->bert && !s->general) {
        tokenizer_scratch_close(s);
        return NULL;
    }
    return s;
}

void tokenizer_scratch_close(struct tokenizer_scratch *s)
{
    if (!s)
        return;
    tokenizer_bert_scratch_close(s->bert);
    tokenizer_general_scratch_close(s->general);
    free(s->ids.id);
    free(s);
}

bool tokenizer_encode(const struct tokenizer *t, struct tokenizer_scratch *s, const char *text,
                      size_t n, size_t max_tokens, const int32_t **id, size_t *n_ids,
                      struct error *err)
{
    const struct tokenizer_spec *spec = &t->spec;
    struct token_ids *ids = &s->ids;
    size_t special = spec->n_before + spec->n_after;
    if (max_tokens && max_tokens < special)
        return error_set(err, "%zu tokens a text cannot hold the %zu special tokens", max_tokens,
                         special);
    ids->n = 0;
    ids->limit = max_tokens ? max_tokens - spec->n_after : SIZE_MAX;
    ids->failed = false;
    ids->err = err;
    if (!token_ids_reserve(ids, special + 1))
        return false;
    memcpy(ids->id, spec->before, spec->n_before * sizeof *ids->id);
    ids->n = spec->n_before;
    if (t->bert)
        tokenizer_bert_encode(t->bert, s->bert, text, n, ids);
    else
        tokenizer_general_encode(t->general, s->general, text, n, ids);
    s->truncated = ids->n > ids->limit;
    if (s->truncated)
        ids->n = ids->limit;
    if (ids->failed || !token_ids_reserve(ids, spec->n_after))
        return false;
    memcpy(ids->id + ids->n, spec->after, spec->n_after * sizeof *ids->id);
    ids->n += spec->n_after;
    *id = ids->id;
    *n_ids = ids->n;
    return true;
}

bool tokenizer_truncated(const struct tokenizer_scratch *s)
{
    return s->truncated;
}

/* The text of a token for the decoder: an added one's as it was matched. Special ones are left out
 * by that text, as in Hugging Face's tokenizers: one that normalisation changes stays. */
static bool add_token(const struct tokenizer_spec *spec, int32_t id, struct decoder_tokens *tokens,
                      struct error *err)
{
    const struct added_token *added = tokenizer_spec_added_with(spec, id);
    if (id < 0 || (size_t)id >= spec->n_pieces)
        return error_set(err, "token id %d is not below %zu, the size of the vocabulary", (int)id,
                         spec->n_pieces);
    if (added) {
        const char *text = added->match ? added->match : added->text;
        size_t n = added->match ? added->n_match : added->n;
        bool same = n == added->n && memcmp(text, added->text, n) == 0;
        return (added->special && same) || decoder_tokens_add(tokens, text, n, err);
    }
    return decoder_tokens_add(tokens, spec->arena + spec->piece[id].offset, spec->piece[id].n, err);
}

char *tokenizer_decode(const struct tokenizer *t, const int32_t *ids, size_t n_ids, size_t *n,
                       struct error *err)
{
    struct decoder_tokens tokens = {0};
    struct text_buffer out = {NULL, 0, 0};
    bool ok = true;
    for (size_t i = 0; ok && i < n_ids; i++)
        ok = add_token(&t->spec, ids[i], &tokens, err);
    ok =
        ok && decoder_run(t->spec.decoder, &tokens, &out, err) && text_buffer_add(&out, "", 1, err);
    decoder_tokens_free(&tokens);
    *n = ok ? out.n - 1 : 0;
    if (ok)
        return out.bytes;
    text_buffer_free(&out);
    return NULL;
}
