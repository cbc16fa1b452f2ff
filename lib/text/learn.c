/* learn.c: see learn.h: count the words of all files, merge them into pieces, write the model's
 * files. */
#include "text/learn.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/jobject.h"
#include "io/model.h"
#include "text/labels.h"
#include "text/merge.h"
#include "text/word_count.h"

enum {
    N_SPECIAL = 5,
    MIN_FREQUENCY = 2,
    MIN_CHARACTERS =
        1000, /* Hugging Face's limit_alphabet; a quarter of the vocabulary when that is more */
    REPORT_ROWS = 4096
};

static const char *const special[N_SPECIAL] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
static const char *const standard_input[] = {"-"};

struct learner {
    const struct learn_options *options;
    struct word_count *words;
    struct labels labels;
    uint64_t rows;
};

static bool take_row(struct learner *l, const struct table_row *row, struct error *err)
{
    const char *at = row->label, *name;
    size_t left = row->label ? row->n_label : 0, n;
    while (labels_next(&at, &left, l->options->table.separator, &name, &n))
        if (!labels_add(&l->labels, name, n, err))
            return false;
    return word_count_add(l->words, row->text, row->n_text, err);
}

static bool read_table(struct learner *l, struct table *table, const char *name,
                       const struct progress *progress, struct error *err)
{
    struct table_row row;
    for (;;) {
        int more = table_next(table, &row, err);
        if (more < 0 && l->options->skip_bad && table_recoverable(table)) {
            error_clear(err);
            continue;
        }
        if (more <= 0)
            return more == 0;
        if (!row.stray_header && !take_row(l, &row, err))
            return error_at(err, "%s:%llu: ", name, (unsigned long long)row.line);
        if (++l->rows % REPORT_ROWS == 0)
            progress_report(progress,
                            &(struct progress_event){
                                .stage = "count", .done = l->rows, .unit = "rows", .loss = NAN});
    }
}

static bool read_file(struct learner *l, const char *path, const struct progress *progress,
                      struct error *err)
{
    struct source *source = source_open(path, true, err);
    struct table *table = source ? table_open(source, &l->options->table, err) : NULL;
    bool ok = table && read_table(l, table, source_name(source), progress, err);
    table_close(table);
    source_close(source);
    return ok;
}

static bool find_pieces(const struct learner *l, struct string_table *piece,
                        const struct progress *progress, struct error *err)
{
    size_t wanted = l->options->vocabulary;
    const struct merge_options how = {
        .n_pieces = wanted,
        .max_characters = wanted / 4 > MIN_CHARACTERS ? wanted / 4 : MIN_CHARACTERS,
        .min_frequency = l->options->min_frequency ? l->options->min_frequency : MIN_FREQUENCY,
    };
    for (size_t i = 0; i < N_SPECIAL; i++)
        if (string_table_add(piece, special[i], strlen(special[i]), err) == STRING_NONE)
            return false;
    if (!merge_pieces(l->words, &how, piece, progress, err))
        return false;
    return piece->n > N_SPECIAL ||
           error_set(
               err,
               "no character occurs %llu times in the %llu rows: there is nothing to learn from",
               (unsigned long long)how.min_frequency, (unsigned long long)l->rows);
}

/* ---- files ---- */

/* The arena holds the pieces in order of id, each ended by a NUL: with newlines it is vocab.txt. */
static void make_vocabulary(struct string_table *piece)
{
    for (size_t i = 0; i < piece->n; i++)
        piece->arena[piece->item[i].offset + piece->item[i].n] = '\n';
}

static json_t *tokenizer_config(bool lower)
{
    return json_pack("{s:s, s:b, s:b, s:b, s:i, s:s, s:s, s:s, s:s, s:s}", "tokenizer_class",
                     "BertTokenizer", "do_lower_case", lower, "strip_accents", lower,
                     "tokenize_chinese_chars", true, "model_max_length", 512, "pad_token",
                     special[0], "unk_token", special[1], "cls_token", special[2], "sep_token",
                     special[3], "mask_token", special[4]);
}

static json_t *special_tokens_map(void)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:s}", "pad_token", special[0], "unk_token", special[1],
                     "cls_token", special[2], "sep_token", special[3], "mask_token", special[4]);
}

static json_t *model_config(const struct learner *l, size_t vocabulary)
{
    json_t *config = json_pack("{s:s, s:I, s:i}", "model_type", "bert", "vocab_size",
                               (json_int_t)vocabulary, "pad_token_id", 0);
    json_t *id2label = json_object(), *label2id = json_object();
    for (size_t i = 0; i < l->labels.n; i++) {
        char id[24];
        snprintf(id, sizeof id, "%zu", i);
        json_object_set_new(id2label, id, json_string(l->labels.name[i]));
        json_object_set_new(label2id, l->labels.name[i], json_integer((json_int_t)i));
    }
    if (l->labels.n) {
        json_object_set(config, "id2label", id2label);
        json_object_set(config, "label2id", label2id);
    }
    if (l->options->table.separator)
        json_object_set_new(config, "problem_type",
                            json_string(model_problem_name(MODEL_MULTI_LABEL)));
    json_decref(id2label);
    json_decref(label2id);
    return config;
}

static bool write_model(struct learner *l, struct string_table *piece, struct output *output,
                        struct error *err)
{
    json_t *config = model_config(l, piece->n), *tokenizer = tokenizer_config(l->options->lower);
    json_t *map = special_tokens_map();
    char *tokenizer_text = tokenizer ? jobject_dump(tokenizer, err) : NULL;
    char *map_text = map ? jobject_dump(map, err) : NULL;
    bool ok = config && tokenizer_text && map_text;
    if (ok) {
        make_vocabulary(piece);
        const struct bundle_member file[] = {
            {"vocab.txt", (const uint8_t *)piece->arena, piece->n_arena},
            {"tokenizer_config.json", (const uint8_t *)tokenizer_text, strlen(tokenizer_text)},
            {"special_tokens_map.json", (const uint8_t *)map_text, strlen(map_text)},
        };
        const struct model_writer_options how = {
            .config = config, .file = file, .n_files = 3, .stage = l->options->stage};
        ok = model_write(output, &how, err);
    } else {
        json_decref(l->options->stage);
        error_set(err, "no memory for the model's files");
    }
    free(tokenizer_text);
    free(map_text);
    json_decref(config);
    json_decref(tokenizer);
    json_decref(map);
    return ok;
}

bool learn_wordpiece(const char *const *path, size_t n_paths, const struct learn_options *options,
                     const struct progress *progress, struct output *output, struct error *err)
{
    const struct bert_options normal = {.clean_text = true,
                                        .chinese = true,
                                        .strip_accents = options->lower,
                                        .lowercase = options->lower};
    struct learner l = {.options = options, .words = word_count_open(&normal, err)};
    struct string_table piece = {0};
    bool ok = l.words != NULL;
    if (!n_paths) {
        path = standard_input;
        n_paths = 1;
    }
    for (size_t i = 0; ok && i < n_paths; i++)
        ok = read_file(&l, path[i], progress, err);
    if (ok && labels_close(&l.labels, true, err) && find_pieces(&l, &piece, progress, err)) {
        ok = write_model(&l, &piece, output, err);
    } else {
        json_decref(options->stage);
        ok = false;
    }
    string_table_free(&piece);
    labels_free(&l.labels);
    word_count_close(l.words);
    return ok;
}
