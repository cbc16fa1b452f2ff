/* learn_files.c: see learn_files.h. */
#include "text/learn_files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/jobject.h"
#include "io/model.h"
#include "text/utf8.h"

enum { MAX_LENGTH = 512, MAX_FILES = 3 };

/* BERT's */
enum { PAD, UNK, CLS, SEP, MASK };
const char *const learn_wordpiece_special[LEARN_N_SPECIAL] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]",
                                                              "[MASK]"};
/* XLM-R's */
enum { BOS_X, PAD_X, EOS_X, UNK_X, MASK_X };
const char *const learn_unigram_special[LEARN_N_SPECIAL] = {"<s>", "<pad>", "</s>", "<unk>",
                                                            "<mask>"};

/* An encoder of BERT's architecture, whatever its tokenizer (as multilingual-e5 is). */
static json_t *model_config(const struct learn_files_model *model, size_t vocabulary, int pad)
{
    const struct labels *labels = model->labels;
    json_t *config = json_pack("{s:s, s:I, s:i}", "model_type", "bert", "vocab_size",
                               (json_int_t)vocabulary, "pad_token_id", pad);
    json_t *id2label = json_object(), *label2id = json_object();
    for (size_t i = 0; i < labels->n; i++) {
        char id[24];
        snprintf(id, sizeof id, "%zu", i);
        json_object_set_new(id2label, id, json_string(labels->name[i]));
        json_object_set_new(label2id, labels->name[i], json_integer((json_int_t)i));
    }
    if (labels->n) {
        json_object_set(config, "id2label", id2label);
        json_object_set(config, "label2id", label2id);
    }
    if (model->multi_label)
        json_object_set_new(config, "problem_type",
                            json_string(model_problem_name(MODEL_MULTI_LABEL)));
    json_decref(id2label);
    json_decref(label2id);
    return config;
}

struct text_member {
    const char *name;
    json_t *json; /* stolen; NULL: no memory */
};

/* The model of a config, JSON files and, before them, vocab.txt where there is one. All but
 * `vocabulary` is stolen. */
static bool write(json_t *config, const struct bundle_member *vocabulary,
                  const struct text_member *member, size_t n, json_t *stage, struct output *output,
                  struct error *err)
{
    struct bundle_member file[MAX_FILES];
    char *text[MAX_FILES] = {NULL};
    size_t n_files = 0;
    bool ok = config != NULL;
    if (vocabulary)
        file[n_files++] = *vocabulary;
    for (size_t i = 0; i < n; i++) {
        text[i] = ok && member[i].json ? jobject_dump(member[i].json, err) : NULL;
        ok = ok && text[i];
        if (ok)
            file[n_files++] =
                (struct bundle_member){member[i].name, (const uint8_t *)text[i], strlen(text[i])};
    }
    if (ok) {
        const struct model_writer_options how = {
            .config = config, .file = file, .n_files = n_files, .stage = stage};
        ok = model_write(output, &how, err);
    } else {
        json_decref(stage);
        error_set(err, "no memory for the model's files");
    }
    for (size_t i = 0; i < n; i++) {
        free(text[i]);
        json_decref(member[i].json);
    }
    json_decref(config);
    return ok;
}

/* ---- WordPiece ---- */

static json_t *wordpiece_config(bool lower)
{
    const char *const *special = learn_wordpiece_special;
    return json_pack("{s:s, s:b, s:b, s:b, s:i, s:s, s:s, s:s, s:s, s:s}", "tokenizer_class",
                     "BertTokenizer", "do_lower_case", lower, "strip_accents", lower,
                     "tokenize_chinese_chars", true, "model_max_length", MAX_LENGTH, "pad_token",
                     special[PAD], "unk_token", special[UNK], "cls_token", special[CLS],
                     "sep_token", special[SEP], "mask_token", special[MASK]);
}

static json_t *special_tokens_map(void)
{
    const char *const *special = learn_wordpiece_special;
    return json_pack("{s:s, s:s, s:s, s:s, s:s}", "pad_token", special[PAD], "unk_token",
                     special[UNK], "cls_token", special[CLS], "sep_token", special[SEP],
                     "mask_token", special[MASK]);
}

bool learn_files_wordpiece(struct string_table *piece, bool lower,
                           const struct learn_files_model *model, struct output *output,
                           struct error *err)
{
    /* The arena holds the pieces in order of id, each ended by a NUL: with newlines it is
     * vocab.txt. */
    for (size_t i = 0; i < piece->n; i++)
        piece->arena[piece->item[i].offset + piece->item[i].n] = '\n';
    const struct bundle_member vocabulary = {"vocab.txt", (const uint8_t *)piece->arena,
                                             piece->n_arena};
    const struct text_member member[] = {
        {"tokenizer_config.json", wordpiece_config(lower)},
        {"special_tokens_map.json", special_tokens_map()},
    };
    return write(model_config(model, piece->n, PAD), &vocabulary, member, 2, model->stage, output,
                 err);
}

/* ---- Unigram ---- */

static json_t *unigram_config(void)
{
    const char *const *special = learn_unigram_special;
    return json_pack("{s:s, s:i, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "tokenizer_class",
                     "PreTrainedTokenizerFast", "model_max_length", MAX_LENGTH, "bos_token",
                     special[BOS_X], "cls_token", special[BOS_X], "eos_token", special[EOS_X],
                     "sep_token", special[EOS_X], "pad_token", special[PAD_X], "unk_token",
                     special[UNK_X], "mask_token", special[MASK_X]);
}

/* <mask> takes the white space on its left, as XLM-R has it. */
static json_t *added_tokens(void)
{
    json_t *list = json_array();
    for (int i = 0; i < LEARN_N_SPECIAL; i++)
        json_array_append_new(list, json_pack("{s:i, s:s, s:b, s:b, s:b, s:b, s:b}", "id", i,
                                              "content", learn_unigram_special[i], "single_word",
                                              false, "lstrip", i == MASK_X, "rstrip", false,
                                              "normalized", false, "special", true));
    return list;
}

static json_t *metaspace(void)
{
    char mark[UTF8_MAX_BYTES + 1] = "";
    utf8_put(WORD_MARK, mark);
    return json_pack("{s:s, s:s, s:s, s:b}", "type", "Metaspace", "replacement", mark,
                     "prepend_scheme", "always", "split", true);
}

static json_t *token(const char *kind, const char *id, int type)
{
    return json_pack("{s:{s:s, s:i}}", kind, "id", id, "type_id", type);
}

/* <s> text </s>, and of a pair <s> text </s> </s> text </s>. */
static json_t *post_processor(void)
{
    const char *bos = learn_unigram_special[BOS_X], *eos = learn_unigram_special[EOS_X];
    return json_pack(
        "{s:s, s:[o,o,o], s:[o,o,o,o,o,o], s:{s:{s:s, s:[i], s:[s]}, s:{s:s, s:[i], s:[s]}}}",
        "type", "TemplateProcessing", "single", token("SpecialToken", bos, 0),
        token("Sequence", "A", 0), token("SpecialToken", eos, 0), "pair",
        token("SpecialToken", bos, 0), token("Sequence", "A", 0), token("SpecialToken", eos, 0),
        token("SpecialToken", eos, 0), token("Sequence", "B", 0), token("SpecialToken", eos, 0),
        "special_tokens", bos, "id", bos, "ids", BOS_X, "tokens", bos, eos, "id", eos, "ids", EOS_X,
        "tokens", eos);
}

static json_t *vocabulary_json(const struct unigram_words *words,
                               const struct unigram_pieces *pieces)
{
    json_t *list = json_array();
    for (int i = 0; i < LEARN_N_SPECIAL; i++)
        json_array_append_new(list, json_pack("[s, f]", learn_unigram_special[i], 0.0));
    for (size_t i = 0; i < pieces->n; i++) {
        const struct unigram_piece *piece = &pieces->piece[i];
        char text[UNIGRAM_PIECE_MAX * UTF8_MAX_BYTES];
        size_t n = 0;
        for (uint32_t k = 0; k < piece->n; k++)
            n += utf8_put(words->code[words->symbol[piece->at + k] - 1], text + n);
        json_array_append_new(list, json_pack("[s%, f]", text, n, piece->score));
    }
    return list;
}

/* NFKC strips nothing: vowel signs, joiners and non-joiners stay, and the two ways to write a
 * letter with a nukta become one. */
static json_t *unigram_json(const struct unigram_words *words, const struct unigram_pieces *pieces)
{
    return json_pack("{s:s, s:n, s:n, s:o, s:{s:s}, s:{s:s, s:[{s:s}, o]}, s:o, s:o, "
                     "s:{s:s, s:i, s:b, s:o}}",
                     "version", "1.0", "truncation", "padding", "added_tokens", added_tokens(),
                     "normalizer", "type", "NFKC", "pre_tokenizer", "type", "Sequence",
                     "pretokenizers", "type", "WhitespaceSplit", metaspace(), "post_processor",
                     post_processor(), "decoder", metaspace(), "model", "type", "Unigram", "unk_id",
                     UNK_X, "byte_fallback", false, "vocab", vocabulary_json(words, pieces));
}

bool learn_files_unigram(const struct unigram_words *words, const struct unigram_pieces *pieces,
                         const struct learn_files_model *model, struct output *output,
                         struct error *err)
{
    const struct text_member member[] = {
        {"tokenizer.json", unigram_json(words, pieces)},
        {"tokenizer_config.json", unigram_config()},
    };
    return write(model_config(model, LEARN_N_SPECIAL + pieces->n, PAD_X), NULL, member, 2,
                 model->stage, output, err);
}
