/* learn.c: see learn.h: count the words of all files, make pieces of them, write the model's files.
 */
#include "text/learn.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "text/labels.h"
#include "text/learn_files.h"
#include "text/merge.h"
#include "text/unigram_learn.h"
#include "text/word_count.h"

enum {
    MIN_FREQUENCY = 2,
    MIN_CHARACTERS =
        1000, /* Hugging Face's limit_alphabet; a quarter of the vocabulary when that is more */
    REPORT_ROWS = 4096
};

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
    bool marked = l->options->algorithm == LEARN_UNIGRAM;
    return marked ? word_count_add_marked(l->words, row->text, row->n_text, err)
                  : word_count_add(l->words, row->text, row->n_text, err);
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

/* How many distinct characters may become pieces. */
static size_t max_characters(const struct learner *l)
{
    size_t quarter = l->options->vocabulary / 4;
    return quarter > MIN_CHARACTERS ? quarter : MIN_CHARACTERS;
}

static bool nothing_learnt(const struct learner *l, struct error *err)
{
    return error_set(
        err, "no character occurs %d times in the %llu rows: there is nothing to learn from",
        MIN_FREQUENCY, (unsigned long long)l->rows);
}

static bool merge_wordpiece(const struct learner *l, struct string_table *piece,
                            const struct progress *progress, struct error *err)
{
    const struct merge_options how = {.n_pieces = l->options->vocabulary,
                                      .max_characters = max_characters(l),
                                      .min_frequency = MIN_FREQUENCY};
    for (size_t i = 0; i < LEARN_N_SPECIAL; i++) {
        const char *special = learn_wordpiece_special[i];
        if (string_table_add(piece, special, strlen(special), err) == STRING_NONE)
            return false;
    }
    return merge_pieces(l->words, &how, piece, progress, err) &&
           (piece->n > LEARN_N_SPECIAL || nothing_learnt(l, err));
}

static struct learn_files_model model_of(const struct learner *l)
{
    return (struct learn_files_model){.labels = &l->labels,
                                      .multi_label = l->options->table.separator != NULL,
                                      .stage = l->options->stage};
}

/* Both take over the history's stage. */
static bool learn_wordpiece(struct learner *l, const struct progress *progress,
                            struct output *output, struct error *err)
{
    struct string_table piece = {0};
    bool ok = merge_wordpiece(l, &piece, progress, err);
    struct learn_files_model model = model_of(l);
    if (ok)
        ok = learn_files_wordpiece(&piece, l->options->lower, &model, output, err);
    else
        json_decref(l->options->stage);
    string_table_free(&piece);
    return ok;
}

static bool learn_unigram(struct learner *l, const struct progress *progress, struct output *output,
                          struct error *err)
{
    const struct unigram_learn_options how = {.n_pieces = l->options->vocabulary - LEARN_N_SPECIAL,
                                              .team = l->options->team};
    size_t most = max_characters(l) < how.n_pieces ? max_characters(l) : how.n_pieces;
    struct unigram_words words = {0};
    struct unigram_pieces pieces = {0};
    bool ok = unigram_words_open(&words, l->words, most, MIN_FREQUENCY, err) &&
              (words.n_runs || nothing_learnt(l, err)) &&
              unigram_learn(&words, &how, &pieces, progress, err);
    struct learn_files_model model = model_of(l);
    if (ok)
        ok = learn_files_unigram(&words, &pieces, &model, output, err);
    else
        json_decref(l->options->stage);
    free(pieces.piece);
    unigram_words_free(&words);
    return ok;
}

bool learn_vocabulary(const char *const *path, size_t n_paths, const struct learn_options *options,
                      const struct progress *progress, struct output *output, struct error *err)
{
    const struct bert_options normal = {.clean_text = true,
                                        .chinese = true,
                                        .strip_accents = options->lower,
                                        .lowercase = options->lower};
    struct learner l = {.options = options, .words = word_count_open(&normal, err)};
    bool ok = l.words != NULL;
    if (!n_paths) {
        path = standard_input;
        n_paths = 1;
    }
    for (size_t i = 0; ok && i < n_paths; i++)
        ok = read_file(&l, path[i], progress, err);
    ok = ok && labels_close(&l.labels, true, err);
    if (!ok)
        json_decref(options->stage);
    else if (options->algorithm == LEARN_UNIGRAM)
        ok = learn_unigram(&l, progress, output, err);
    else
        ok = learn_wordpiece(&l, progress, output, err);
    labels_free(&l.labels);
    word_count_close(l.words);
    return ok;
}
