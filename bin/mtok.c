/* mtok.c: text in, a record stream out; or ids as text, a stream back to text, a vocabulary learnt
 * from text, a report on the data. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bin/tool.h"
#include "core/hash.h"
#include "core/jobject.h"
#include "io/model.h"
#include "io/output.h"
#include "io/records.h"
#include "text/audit.h"
#include "text/grams.h"
#include "text/learn.h"
#include "text/remap.h"
#include "text/tokenise.h"
#include "text/tokenizer.h"

enum {
    OPTION_MODEL = 1000,
    OPTION_TEXT,
    OPTION_LABEL,
    OPTION_MULTI_LABEL,
    OPTION_NEW_LABELS,
    OPTION_FORMAT,
    OPTION_MAX_TOKENS,
    OPTION_IDS,
    OPTION_DECODE,
    OPTION_LEARN,
    OPTION_ALGORITHM,
    OPTION_LOWER,
    OPTION_AUDIT,
    OPTION_JSON,
    OPTION_KEEP_TEXT,
    OPTION_NGRAMS,
    OPTION_AUGMENT,
    OPTION_SKIP_BAD,
    OPTION_REMAP,
    OPTION_UNBUFFERED
};

enum { MAX_TOKENS = 1000000, MIN_VOCABULARY = 10, MAX_VOCABULARY = 1000000, MAX_STAGE_WORDS = 32 };

static const struct tool_option option_table[] = {
    {'m', "model", "MODEL", "the tokenizer: a model's directory, tar or -", OPTION_MODEL},
    {0, "text", "COLUMN", "text column: a name in any case, or a number", OPTION_TEXT},
    {0, "label", "COLUMN", "label column: a name in any case, or a number", OPTION_LABEL},
    {0, "multi-label", "[=SEP]", "a text may have several labels, with SEP (|) between them",
     OPTION_MULTI_LABEL},
    {0, "new-labels", NULL, "number the data's labels anew, whatever the model's are",
     OPTION_NEW_LABELS},
    {0, "format", "FORMAT", "csv, tsv, jsonl, plain or fasttext; default: guessed", OPTION_FORMAT},
    {0, "max-tokens", "N", "cut texts to N tokens, special tokens included", OPTION_MAX_TOKENS},
    {0, "ids", NULL, "print ids as text, one record a line", OPTION_IDS},
    {0, "decode", NULL, "turn record streams back to text", OPTION_DECODE},
    {0, "remap", NULL, "renumber record streams for a model whose vocabulary was trimmed",
     OPTION_REMAP},
    {0, "learn", "N", "learn a vocabulary of N pieces; write a model", OPTION_LEARN},
    {0, "algorithm", "NAME", "with --learn: wordpiece or unigram; wordpiece", OPTION_ALGORITHM},
    {0, "lower", NULL, "with --learn: lower-case and strip accents", OPTION_LOWER},
    {0, "audit", NULL, "report the defects of the data", OPTION_AUDIT},
    {0, "json", NULL, "with --audit: the report as JSON", OPTION_JSON},
    {0, "keep-text", NULL, "records carry their text", OPTION_KEEP_TEXT},
    {0, "ngrams", "[=SPEC]", "records carry hashed n-grams; buckets=262144,chars=2-5,words=2",
     OPTION_NGRAMS},
    {0, "augment", "N", "add N altered copies of each text; N,mask=0.1,ngram=0.25,labels=drop",
     OPTION_AUGMENT},
    {0, "skip-bad", NULL, "skip and count bad rows and unknown labels", OPTION_SKIP_BAD},
    {0, "unbuffered", NULL, "write each record before the next line is read", OPTION_UNBUFFERED},
};

enum mode { MODE_RECORDS, MODE_IDS, MODE_DECODE, MODE_LEARN, MODE_AUDIT, MODE_REMAP };
static const char default_separator[] = "|";
static const char *const mode_option[] = {NULL,      "--ids",   "--decode",
                                          "--learn", "--audit", "--remap"};

struct options {
    enum mode mode;
    const char *model;
    const char *format_name; /* NULL: guessed */
    struct table_options table;
    size_t max_tokens, vocabulary; /* 0: not given */
    const char *algorithm;         /* NULL: not given */
    bool lower, json, keep_text, skip_bad, new_labels, unbuffered;
    bool ngrams;                /* --ngrams; without SPEC, grams has no buckets */
    struct records_grams grams; /* as SPEC says */
    const char *augment_text;   /* NULL: not given */
    struct augment_options augment;
    const char *const *path;
    size_t n_paths;
};

static void set_mode(struct tool *tool, struct options *opt, enum mode mode)
{
    if (opt->mode != MODE_RECORDS && opt->mode != mode)
        tool_usage_error(tool, "%s and %s exclude each other", mode_option[opt->mode],
                         mode_option[mode]);
    opt->mode = mode;
}

/* What is to be done, where that is not records. false: the option says something else. */
static bool take_mode(struct tool *tool, struct options *opt, int id)
{
    switch (id) {
    case OPTION_IDS:
        set_mode(tool, opt, MODE_IDS);
        return true;
    case OPTION_DECODE:
        set_mode(tool, opt, MODE_DECODE);
        return true;
    case OPTION_REMAP:
        set_mode(tool, opt, MODE_REMAP);
        return true;
    case OPTION_LEARN:
        set_mode(tool, opt, MODE_LEARN);
        opt->vocabulary =
            (size_t)tool_argument_integer(tool, "--learn", MIN_VOCABULARY, MAX_VOCABULARY);
        return true;
    case OPTION_AUDIT:
        set_mode(tool, opt, MODE_AUDIT);
        return true;
    default:
        return false;
    }
}

static void parse_option(struct tool *tool, struct options *opt, int id)
{
    if (take_mode(tool, opt, id))
        return;
    switch (id) {
    case OPTION_MODEL:
        tool_argument_once(tool, "-m", &opt->model);
        break;
    case OPTION_TEXT:
        opt->table.text_column = tool_argument(tool);
        break;
    case OPTION_LABEL:
        opt->table.label_column = tool_argument(tool);
        break;
    case OPTION_MULTI_LABEL:
        opt->table.separator = tool_argument(tool) ? tool_argument(tool) : default_separator;
        if (!records_check_separator(opt->table.separator, &tool->err))
            tool_usage_error(tool, "--multi-label: %s", tool->err.text);
        break;
    case OPTION_NEW_LABELS:
        opt->new_labels = true;
        break;
    case OPTION_FORMAT:
        opt->format_name = tool_argument(tool);
        if (!table_format_from_name(opt->format_name, &opt->table.format))
            tool_usage_error(tool, "--format: \"%s\" is not csv, tsv, jsonl, plain or fasttext",
                             opt->format_name);
        break;
    case OPTION_MAX_TOKENS:
        opt->max_tokens = (size_t)tool_argument_integer(tool, "--max-tokens", 1, MAX_TOKENS);
        break;
    case OPTION_ALGORITHM:
        opt->algorithm = tool_argument(tool);
        if (strcmp(opt->algorithm, "wordpiece") != 0 && strcmp(opt->algorithm, "unigram") != 0)
            tool_usage_error(tool, "--algorithm: \"%s\" is neither wordpiece nor unigram",
                             opt->algorithm);
        break;
    case OPTION_LOWER:
        opt->lower = true;
        break;
    case OPTION_JSON:
        opt->json = true;
        break;
    case OPTION_KEEP_TEXT:
        opt->keep_text = true;
        break;
    case OPTION_NGRAMS:
        opt->ngrams = true;
        if (tool_argument(tool) && !grams_parse(tool_argument(tool), &opt->grams, &tool->err))
            tool_usage_error(tool, "--ngrams: %s", tool->err.text);
        break;
    case OPTION_AUGMENT:
        opt->augment_text = tool_argument(tool);
        if (!augment_parse(opt->augment_text, &opt->augment, &tool->err))
            tool_usage_error(tool, "--augment: %s", tool->err.text);
        break;
    case OPTION_SKIP_BAD:
        opt->skip_bad = true;
        break;
    case OPTION_UNBUFFERED:
        opt->unbuffered = opt->table.live = true;
        break;
    }
}

static bool is_unigram(const struct options *opt)
{
    return opt->algorithm && strcmp(opt->algorithm, "unigram") == 0;
}

/* Options that mean nothing in a mode are refused there. */
static void check_options(struct tool *tool, const struct options *opt)
{
    enum mode mode = opt->mode;
    bool table = opt->table.text_column || opt->table.label_column || opt->format_name;
    const char *with = mode == MODE_RECORDS ? "a record stream" : mode_option[mode];
    if (mode == MODE_LEARN && opt->model)
        tool_usage_error(tool, "--learn makes a tokenizer; drop -m");
    if (!opt->model && mode != MODE_LEARN && mode != MODE_AUDIT)
        tool_usage_error(tool, "-m is missing: the model whose tokenizer to use");
    if (opt->lower && mode != MODE_LEARN)
        tool_usage_error(tool, "--lower needs --learn; %s takes it from the model", with);
    if (opt->algorithm && mode != MODE_LEARN)
        tool_usage_error(tool, "--algorithm needs --learn");
    if (opt->lower && is_unigram(opt))
        tool_usage_error(tool, "--lower and --algorithm unigram exclude each other");
    if (opt->json && mode != MODE_AUDIT)
        tool_usage_error(tool, "--json needs --audit");
    if (opt->keep_text && mode != MODE_RECORDS)
        tool_usage_error(tool, "--keep-text and %s exclude each other", with);
    if (opt->ngrams && mode != MODE_RECORDS)
        tool_usage_error(tool, "--ngrams and %s exclude each other", with);
    if (opt->augment_text && mode != MODE_RECORDS)
        tool_usage_error(tool, "--augment and %s exclude each other", with);
    bool streams = mode == MODE_DECODE || mode == MODE_REMAP;
    if (opt->skip_bad && (mode == MODE_AUDIT || streams))
        tool_usage_error(tool, "--skip-bad and %s exclude each other", with);
    if (opt->table.separator && mode != MODE_RECORDS && mode != MODE_LEARN)
        tool_usage_error(tool, "--multi-label and %s exclude each other", with);
    if (opt->new_labels && mode != MODE_RECORDS)
        tool_usage_error(tool, "--new-labels and %s exclude each other", with);
    if (opt->unbuffered && mode != MODE_RECORDS && mode != MODE_IDS)
        tool_usage_error(tool, "--unbuffered and %s exclude each other", with);
    if (opt->unbuffered && opt->new_labels)
        tool_usage_error(tool, "--unbuffered and --new-labels exclude each other: labels are "
                               "collected from the whole input first");
    if (opt->max_tokens && (mode == MODE_LEARN || streams))
        tool_usage_error(tool, "--max-tokens and %s exclude each other", with);
    if (streams && table)
        tool_usage_error(tool, "%s reads record streams: drop --text, --label and --format", with);
    tool_check_stdin(tool, true);
}

static void parse(struct tool *tool, struct options *opt)
{
    *opt = (struct options){.mode = MODE_RECORDS};
    for (int id; (id = tool_next_option(tool)) >= 0;)
        parse_option(tool, opt, id);
    opt->path = tool_operands(tool, &opt->n_paths);
    check_options(tool, opt);
}

/* What goes into the history: the options that decide the result, and not -j or -o, so that the
 * same work gives the same bytes. */
static json_t *make_stage(struct tool *tool, const struct options *opt, uint64_t fingerprint)
{
    char number[24], text[HASH_TEXT_BYTES], several[16 + RECORDS_SEPARATOR_BYTES];
    char ngrams[16 + RECORDS_GRAMS_TEXT] = "--ngrams=";
    char *word[MAX_STAGE_WORDS];
    int n = 0;
    const struct {
        const char *name, *value; /* value NULL: a flag; name NULL: not given */
    } given[] = {
        {opt->model ? "-m" : NULL, opt->model},
        {opt->vocabulary ? "--learn" : NULL, number},
        {opt->algorithm ? "--algorithm" : NULL, opt->algorithm},
        {opt->max_tokens ? "--max-tokens" : NULL, number},
        {opt->table.text_column ? "--text" : NULL, opt->table.text_column},
        {opt->table.label_column ? "--label" : NULL, opt->table.label_column},
        {opt->table.separator ? several : NULL, NULL},
        {opt->new_labels ? "--new-labels" : NULL, NULL},
        {opt->format_name ? "--format" : NULL, opt->format_name},
        {opt->lower ? "--lower" : NULL, NULL},
        {opt->keep_text ? "--keep-text" : NULL, NULL},
        {opt->ngrams ? ngrams : NULL, NULL},
        {opt->augment_text ? "--augment" : NULL, opt->augment_text},
        {opt->skip_bad ? "--skip-bad" : NULL, NULL},
        {opt->mode == MODE_REMAP ? "--remap" : NULL, NULL},
    };
    snprintf(number, sizeof number, "%zu", opt->vocabulary ? opt->vocabulary : opt->max_tokens);
    snprintf(several, sizeof several, "--multi-label=%s",
             opt->table.separator ? opt->table.separator : "");
    records_grams_text(&opt->grams, ngrams + strlen(ngrams));
    if (!opt->grams.buckets)
        strcpy(ngrams, "--ngrams");
    word[n++] = (char *)tool->name;
    for (size_t i = 0; i < sizeof given / sizeof *given; i++) {
        if (given[i].name)
            word[n++] = (char *)given[i].name;
        if (given[i].name && given[i].value)
            word[n++] = (char *)given[i].value;
    }
    hash_text(fingerprint, text);
    json_t *stage =
        model_history_stage(tool->name, tool_version, n, word, opt->model ? text : NULL);
    if (!stage)
        error_set(&tool->err, "no memory for the history");
    return stage;
}

/* The tokenizer and, where there is a config, the labels. Tokenizer files alone will do. */
struct source_model {
    struct bundle *bundle; /* of tokenizer files without config.json; else NULL */
    struct model model;
    bool has_config;
    struct tokenizer *tokenizer;
};

/* Without this, the first text with such an id would fail, somewhere down the pipe. */
static bool check_vocabulary(const struct source_model *from, struct error *err)
{
    int64_t rows = INT64_MAX;
    size_t ids = tokenizer_size(from->tokenizer);
    if (!from->has_config || !json_object_get(from->model.config, "vocab_size"))
        return true;
    return jobject_integer(from->model.config, from->model.name, "vocab_size", true, 1, INT64_MAX,
                           &rows, err) &&
           (ids <= (uint64_t)rows ||
            error_set(
                err,
                "%s: its tokenizer has token ids up to %zu, but config.json says \"vocab_size\" "
                "%jd: ids from there on have no embedding; use the tokenizer that the model "
                "was trained with",
                from->model.name, ids - 1, (intmax_t)rows));
}

static bool open_tokenizer(struct tool *tool, const char *path, struct source_model *from)
{
    *from = (struct source_model){.bundle = bundle_open(path, &tool->err)};
    if (!from->bundle)
        return false;
    if (bundle_find(from->bundle, "config.json")) {
        struct bundle *bundle = from->bundle;
        from->bundle = NULL;
        from->has_config = model_open_bundle(&from->model, bundle, &tool->err);
        if (!from->has_config)
            return false;
    }
    from->tokenizer = tokenizer_open(from->bundle ? from->bundle : from->model.bundle, &tool->err);
    return from->tokenizer && check_vocabulary(from, &tool->err);
}

static void close_tokenizer(struct source_model *from)
{
    tokenizer_close(from->tokenizer);
    bundle_close(from->bundle);
    if (from->has_config)
        model_close(&from->model);
}

static void tell(const struct tool *tool, const struct tokenise_counts *c, double seconds)
{
#define TELL(count, text)                                                                          \
    if (count)                                                                                     \
    tool_note(tool, "%llu " text, (unsigned long long)(count))
    TELL(c->stray_headers, "stray header rows inside the data were left out");
    TELL(c->skipped, "bad rows were skipped");
    TELL(c->empty, "texts are empty: their records hold special tokens only");
    TELL(c->invalid_utf8, "invalid UTF-8 sequences became U+FFFD");
    TELL(c->altered, "altered copies of texts are among the records (--augment)");
    TELL(c->truncated, "texts were cut to the longest length (--max-tokens)");
#undef TELL
    if (tool->verbose)
        tool_note(tool, "%llu records, %llu tokens, %.1f MB of text in %.2f s: %.1f MB/s",
                  (unsigned long long)c->records, (unsigned long long)c->tokens,
                  (double)c->bytes / 1e6, seconds, (double)c->bytes / 1e6 / seconds);
}

/* What records carry: what --ngrams says, else what the model counts. */
static bool decide_grams(struct tool *tool, const struct options *opt,
                         const struct source_model *from, struct records_grams *grams)
{
    *grams = opt->grams;
    if (grams->buckets || opt->mode != MODE_RECORDS)
        return true;
    if (from->has_config &&
        !grams_of_config(from->model.config, from->model.name, grams, &tool->err))
        return false;
    return grams->buckets || !opt->ngrams || grams_parse("", grams, &tool->err);
}

static bool tokenise_text(struct tool *tool, const struct options *opt,
                          const struct source_model *from, struct output *output)
{
    struct tokenise_counts counts = {0};
    const struct model *model = from->has_config && !opt->new_labels ? &from->model : NULL;
    struct tokenise_options how = {
        .table = opt->table,
        .output = opt->mode == MODE_IDS ? TOKENISE_IDS : TOKENISE_RECORDS,
        .max_tokens = opt->max_tokens,
        .keep_text = opt->keep_text,
        .augment = opt->augment,
        .label = model ? model->label : NULL,
        .n_labels = model ? model->n_labels : 0,
        .skip_bad = opt->skip_bad,
        .unbuffered = opt->unbuffered,
    };
    /* A model of several labels wants them. */
    if (model && model->problem == MODEL_MULTI_LABEL && !how.table.separator)
        how.table.separator = default_separator;
    if (!decide_grams(tool, opt, from, &how.grams))
        return false;
    how.stage = make_stage(tool, opt, tokenizer_fingerprint(from->tokenizer));
    size_t n_threads = opt->unbuffered ? 1 : tool->threads; /* a row at a time */
    struct threads *team = how.stage ? threads_open(n_threads, &tool->err) : NULL;
    if (!team) {
        json_decref(how.stage);
        return false;
    }
    double start = progress_clock();
    bool ok = tokenise(opt->path, opt->n_paths, from->tokenizer, &how, team, &tool->progress,
                       output, &counts, &tool->err);
    threads_close(team);
    if (ok)
        tell(tool, &counts, progress_clock() - start);
    return ok;
}

static bool learn(struct tool *tool, const struct options *opt, struct output *output)
{
    struct learn_options how = {.algorithm = is_unigram(opt) ? LEARN_UNIGRAM : LEARN_WORDPIECE,
                                .table = opt->table,
                                .vocabulary = opt->vocabulary,
                                .lower = opt->lower,
                                .skip_bad = opt->skip_bad,
                                .stage = make_stage(tool, opt, 0)};
    if (!how.stage)
        return false;
    how.team = threads_open(tool->threads, &tool->err);
    if (!how.team) {
        json_decref(how.stage);
        return false;
    }
    bool ok = learn_vocabulary(opt->path, opt->n_paths, &how, &tool->progress, output, &tool->err);
    threads_close(how.team);
    return ok;
}

static bool remap_streams(struct tool *tool, const struct options *opt,
                          const struct source_model *from, struct output *output)
{
    struct remap_counts counts;
    json_t *stage = make_stage(tool, opt, tokenizer_fingerprint(from->tokenizer));
    bool ok =
        stage && remap(opt->path, opt->n_paths, from->bundle ? from->bundle : from->model.bundle,
                       from->tokenizer, stage, output, &counts, &tool->err);
    if (ok && counts.tokenised)
        tool_note(tool, "%llu of %llu records hold pieces that are gone: tokenised again",
                  (unsigned long long)counts.tokenised, (unsigned long long)counts.records);
    return ok;
}

static bool work(struct tool *tool, const struct options *opt, const struct source_model *from,
                 struct output *output)
{
    switch (opt->mode) {
    case MODE_DECODE:
        return tokenise_decode(opt->path, opt->n_paths, from->tokenizer, output, &tool->err);
    case MODE_REMAP:
        return remap_streams(tool, opt, from, output);
    case MODE_LEARN:
        return learn(tool, opt, output);
    case MODE_AUDIT: {
        struct audit_options how = {.table = opt->table,
                                    .tokenizer = from->tokenizer,
                                    .max_tokens = opt->max_tokens,
                                    .json = opt->json};
        return audit(opt->path, opt->n_paths, &how, output, &tool->err);
    }
    case MODE_RECORDS:
    case MODE_IDS:
        break;
    }
    return tokenise_text(tool, opt, from, output);
}

static void run(struct tool *tool, const struct options *opt)
{
    bool binary = opt->mode != MODE_IDS && opt->mode != MODE_DECODE && opt->mode != MODE_AUDIT;
    struct source_model from = {0};
    struct output *output = output_open(tool->output, binary && !tool->force, &tool->err);
    if (!output)
        return;
    bool ok =
        (!opt->model || open_tokenizer(tool, opt->model, &from)) && work(tool, opt, &from, output);
    close_tokenizer(&from);
    tool_end_output(tool, output, ok, binary);
}

int main(int argc, char **argv)
{
    struct tool tool = {
        .name = "mtok",
        .purpose = "Turn labelled text into tokens; learn a vocabulary; audit the data.",
        .synopsis = "mtok -m MODEL [--text COLUMN] [--label COLUMN] [--multi-label[=SEP]]\n"
                    "     [--new-labels] [--format FORMAT] [--max-tokens N]\n"
                    "     [--ids | --keep-text] [--ngrams[=SPEC]] [--augment N] [--skip-bad]\n"
                    "     [--unbuffered] [-j N] [-o FILE] [FILE...]\n"
                    "mtok -m MODEL --decode [-o FILE] [STREAM...]\n"
                    "mtok -m MODEL --remap [-o FILE] [STREAM...]\n"
                    "mtok --learn N [--algorithm NAME] [--lower] [--multi-label[=SEP]]\n"
                    "     [--skip-bad] [-j N] [-o FILE] [FILE...]\n"
                    "mtok --audit [-m MODEL] [--json] [-o FILE] [FILE...]",
        .example = "mtok --learn 8000 train.csv > vocab.tar\n"
                   "mtok -m vocab.tar train.csv | mstudent -m vocab.tar > student.tar",
        .option = option_table,
        .n_options = sizeof option_table / sizeof *option_table,
    };
    struct options opt;
    tool_init(&tool, argc, argv, TOOL_OUTPUT | TOOL_THREADS | TOOL_PROGRESS | TOOL_FORCE);
    parse(&tool, &opt);
    run(&tool, &opt);
    return tool_finish(&tool);
}
