/* Trimmed vocabularies, on generated ones of each kind: texts whose pieces all stay are cut as
 * before, no text becomes unknown that was not, files and map agree; sizes and what is refused. */
#include "text/vocabulary_trim.h"

#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "core/rng.h"
#include "scratch.h"
#include "tests/tap.h"
#include "text/tokenizer.h"
#include "text/vocabulary_map.h"

enum { TEXTS = 120, MAX_PIECES = 260, SPECIAL = 5, LETTERS = 6, UNKNOWN = 3, BYTES = 40000 };

/* The last letter has no piece of its own in half of the vocabularies. */
static const char *const letter[LETTERS] = {"a", "b", "ক", "খ", "d", "q"};
static const char *const special[SPECIAL] = {"<s>", "<pad>", "</s>", "<unk>", "<mask>"};

enum kind { WORDPIECE_TXT, WORDPIECE, UNIGRAM, BPE, KINDS };
static const char *const kind_name[KINDS] = {"vocab.txt", "WordPiece", "Unigram", "BPE"};

struct made {
    char piece[MAX_PIECES][48];
    size_t n;
    char merges[BYTES];
    char text[TEXTS][64];
};

static void must(bool ok, const struct error *err)
{
    if (!ok) {
        printf("Bail out! %s\n", err->text);
        exit(1);
    }
}

static bool has(const struct made *made, const char *piece)
{
    for (size_t i = 0; i < made->n; i++)
        if (strcmp(made->piece[i], piece) == 0)
            return true;
    return false;
}

static void add(struct made *made, const char *piece)
{
    if (made->n < MAX_PIECES && !has(made, piece))
        snprintf(made->piece[made->n++], sizeof made->piece[0], "%s", piece);
}

static void random_word(struct rng *rng, size_t letters, size_t most, char *text, size_t size)
{
    text[0] = '\0';
    for (size_t n = 1 + rng_below(rng, most), i = 0; i < n; i++)
        strncat(text, letter[rng_below(rng, letters)], size - strlen(text) - 1);
}

static void make_pieces(struct made *made, enum kind kind, struct rng *rng)
{
    size_t letters = LETTERS - rng_below(rng, 2);
    char word[40], text[48];
    for (size_t i = 0; i < letters; i++) {
        add(made, letter[i]);
        snprintf(text, sizeof text, "##%s", letter[i]);
        if (kind <= WORDPIECE)
            add(made, text);
    }
    if (kind == UNIGRAM)
        add(made, "▁");
    for (size_t i = 0; i < 150 && kind != BPE; i++) {
        random_word(rng, letters, 4, word, sizeof word);
        snprintf(text, sizeof text, "%s%s",
                 !rng_below(rng, 2) ? ""
                 : kind == UNIGRAM  ? "▁"
                                    : "##",
                 word);
        add(made, text);
    }
    for (size_t i = 0; i < 150 && kind == BPE; i++) {
        const char *left = made->piece[SPECIAL + rng_below(rng, (uint32_t)(made->n - SPECIAL))];
        const char *right = made->piece[SPECIAL + rng_below(rng, (uint32_t)(made->n - SPECIAL))];
        if (snprintf(text, sizeof text, "%s%s", left, right) > 12)
            continue;
        size_t used = strlen(made->merges);
        char merge[64];
        snprintf(merge, sizeof merge, "\"%s %s\"", left, right);
        if (strstr(made->merges, merge))
            continue;
        snprintf(made->merges + used, sizeof made->merges - used, "%s%s", used ? "," : "", merge);
        add(made, text);
    }
}

static void make(struct made *made, enum kind kind, struct rng *rng)
{
    *made = (struct made){.n = 0};
    for (size_t i = 0; i < SPECIAL - 1; i++)
        add(made, special[i]);
    add(made, "<mask>");
    make_pieces(made, kind, rng);
    for (size_t t = 0; t < TEXTS; t++)
        for (size_t w = 1 + rng_below(rng, 3); w-- > 0;) {
            char word[40];
            random_word(rng, LETTERS, 5, word, sizeof word);
            size_t used = strlen(made->text[t]);
            snprintf(made->text[t] + used, sizeof made->text[t] - used, "%s%s", used ? " " : "",
                     word);
        }
}

static void put_model(FILE *out, const struct made *made, enum kind kind, struct rng *rng)
{
    static const char *const type[] = {"", "WordPiece", "Unigram", "BPE"};
    fprintf(out, "\"model\":{\"type\":\"%s\",", type[kind]);
    if (kind == UNIGRAM)
        fprintf(out, "\"unk_id\":%d,\"vocab\":[", UNKNOWN);
    else
        fprintf(out, "\"unk_token\":\"<unk>\",\"vocab\":{");
    for (size_t i = 0; i < made->n; i++)
        if (kind == UNIGRAM) /* few different scores: many ties */
            fprintf(out, "%s[\"%s\",%s%d.5]", i ? "," : "", made->piece[i], i < SPECIAL ? "" : "-",
                    i < SPECIAL ? 0 : (int)rng_below(rng, 6));
        else
            fprintf(out, "%s\"%s\":%zu", i ? "," : "", made->piece[i], i);
    fprintf(out, kind == UNIGRAM ? "]" : "}");
    if (kind == BPE)
        fprintf(out, ",\"merges\":[%s]", made->merges);
    fprintf(out, "}");
}

static void put_json(FILE *out, const struct made *made, enum kind kind, struct rng *rng)
{
    fprintf(out, "{\"version\":\"1.0\",\"padding\":{\"pad_id\":1},\"added_tokens\":[");
    for (size_t i = 0; i < SPECIAL; i++)
        fprintf(out, "%s{\"id\":%zu,\"content\":\"%s\",\"special\":true}", i ? "," : "", i,
                special[i]);
    /* Behind the model: its id moves. */
    fprintf(out, ",{\"id\":%zu,\"content\":\"<late>\",\"special\":true}],\"normalizer\":null,",
            made->n);
    fprintf(out, "\"pre_tokenizer\":{\"type\":\"%s\"%s},",
            kind == UNIGRAM ? "Metaspace" : "BertPreTokenizer",
            kind == UNIGRAM ? ",\"replacement\":\"▁\",\"add_prefix_space\":true" : "");
    fprintf(out,
            "\"post_processor\":{\"type\":\"BertProcessing\",\"sep\":[\"<late>\",%zu],"
            "\"cls\":[\"<s>\",0]},\"decoder\":null,",
            made->n);
    put_model(out, made, kind, rng);
    fprintf(out, "}\n");
}

static unsigned written; /* directories, made0 … */

static struct bundle *write_files(const struct made *made, enum kind kind, struct rng *rng)
{
    char name[40], file[80];
    struct error err = ERROR_INIT;
    snprintf(name, sizeof name, "made%u", written++);
    mkdir(scratch_path(name), 0777);
    snprintf(file, sizeof file, "%s/%s", name,
             kind == WORDPIECE_TXT ? "vocab.txt" : "tokenizer.json");
    FILE *out = fopen(scratch_path(file), "wb");
    for (size_t i = 0; kind == WORDPIECE_TXT && i < made->n; i++)
        fprintf(out, "%s\n", made->piece[i]);
    if (kind != WORDPIECE_TXT)
        put_json(out, made, kind, rng);
    fclose(out);
    static const char config[] =
        "{\"unk_token\": \"<unk>\", \"cls_token\": \"<s>\", \"sep_token\": \"</s>\", "
        "\"pad_token\": "
        "\"<pad>\", \"mask_token\": \"<mask>\", \"do_lower_case\": false%s}";
    char text[400];
    snprintf(text, sizeof text, config,
             kind == WORDPIECE_TXT ? "" : ", \"tokenizer_class\": \"PreTrainedTokenizerFast\"");
    snprintf(file, sizeof file, "%s/tokenizer_config.json", name);
    scratch_write(file, text, strlen(text));
    struct bundle *bundle = bundle_open(scratch_path(name), &err);
    must(bundle != NULL, &err);
    return bundle;
}

/* The trimmed tokenizer's files as a directory of their own. */
static struct bundle *write_trimmed(const struct vocabulary_trim *trim)
{
    static unsigned number;
    char name[40], file[120];
    struct error err = ERROR_INIT;
    snprintf(name, sizeof name, "trimmed%u", number++);
    mkdir(scratch_path(name), 0777);
    for (size_t i = 0; i < trim->n_files; i++) {
        snprintf(file, sizeof file, "%s/%s", name, trim->file[i].name);
        scratch_write(file, trim->file[i].bytes, trim->file[i].n);
    }
    struct bundle *bundle = bundle_open(scratch_path(name), &err);
    must(bundle != NULL, &err);
    return bundle;
}

struct ids {
    int32_t id[64];
    size_t n;
};

static void encode(struct bundle *bundle, const struct made *made, struct ids ids[TEXTS])
{
    struct error err = ERROR_INIT;
    struct tokenizer *t = tokenizer_open(bundle, &err);
    struct tokenizer_scratch *s = t ? tokenizer_scratch_open(t, &err) : NULL;
    must(s != NULL, &err);
    for (size_t i = 0; i < TEXTS; i++) {
        const int32_t *id;
        must(tokenizer_encode(t, s, made->text[i], strlen(made->text[i]), 64, &id, &ids[i].n, &err),
             &err);
        memcpy(ids[i].id, id, ids[i].n * sizeof *id);
    }
    tokenizer_scratch_close(s);
    tokenizer_close(t);
}

static bool same(const struct ids *before, const struct ids *after, const int32_t *number)
{
    bool equal = before->n == after->n;
    for (size_t i = 0; equal && i < before->n; i++)
        equal = after->id[i] == number[before->id[i]];
    return equal;
}

static bool has_id(const struct ids *ids, int32_t id)
{
    for (size_t i = 0; i < ids->n; i++)
        if (ids->id[i] == id)
            return true;
    return false;
}

static void count_texts(const struct ids ids[TEXTS], size_t n, uint64_t *count)
{
    memset(count, 0, (MAX_PIECES + 1) * sizeof *count);
    for (size_t t = 0; t < n; t++)
        for (size_t i = 0; i < ids[t].n; i++)
            count[ids[t].id[i]]++;
}

struct tally {
    size_t whole, changed, unknown, lost, pieces, kept;
};

/* Texts that are whole after trimming, and those that are not. */
static void compare(const struct ids *before, const struct ids *after,
                    const struct vocabulary_trim *trim, struct tally *tally)
{
    for (size_t t = 0; t < TEXTS; t++) {
        bool whole = true;
        for (size_t i = 0; i < before[t].n; i++)
            whole = whole && trim->number[before[t].id[i]] >= 0;
        tally->whole += whole;
        tally->changed += whole && !same(&before[t], &after[t], trim->number);
        bool was = has_id(&before[t], UNKNOWN);
        tally->unknown += was;
        tally->lost += !was && has_id(&after[t], trim->number[UNKNOWN]);
    }
    tally->pieces += trim->n_before;
    tally->kept += trim->n_kept;
}

static void trim_once(enum kind kind, struct rng *rng, struct tally *tally)
{
    static struct made made;
    static struct ids before[TEXTS], after[TEXTS];
    static uint64_t count[MAX_PIECES + 1];
    struct error err = ERROR_INIT;
    struct vocabulary_trim trim;
    make(&made, kind, rng);
    struct bundle *bundle = write_files(&made, kind, rng);
    encode(bundle, &made, before);
    count_texts((const struct ids *)before, TEXTS / 4, count);
    struct vocabulary_trim_options options = {.count = count, .n_counts = MAX_PIECES + 1};
    must(vocabulary_trim_open(&trim, bundle, &options, &err), &err);
    if (rng_below(rng, 2)) { /* room for half of what occurs */
        options.size = (trim.n_least + trim.n_kept) / 2;
        vocabulary_trim_free(&trim);
        must(vocabulary_trim_open(&trim, bundle, &options, &err), &err);
    }
    struct bundle *small = write_trimmed(&trim);
    encode(small, &made, after);
    compare(before, after, &trim, tally);
    bundle_close(small);
    bundle_close(bundle);
    vocabulary_trim_free(&trim);
}

static void test_properties(void)
{
    for (enum kind kind = 0; kind < KINDS; kind++) {
        struct tally tally = {0, 0, 0, 0, 0, 0};
        struct rng rng;
        rng_seed(&rng, 7 + (uint64_t)kind);
        for (int i = 0; i < 40; i++)
            trim_once(kind, &rng, &tally);
        tap_ok(tally.kept < tally.pieces && tally.whole > 1000 && tally.whole < 40 * TEXTS,
               "%s: %zu of %zu pieces, %zu of %d texts keep their pieces", kind_name[kind],
               tally.kept, tally.pieces, tally.whole, 40 * TEXTS);
        tap_ok(tally.changed == 0, "of these none is cut in another way (%zu)", tally.changed);
        tap_ok(tally.unknown > 0 && tally.lost == 0,
               "some texts were unknown (%zu), none becomes so (%zu)", tally.unknown, tally.lost);
    }
}

static void test_sizes(void)
{
    static struct made made;
    static struct ids before[TEXTS];
    static uint64_t count[MAX_PIECES + 1];
    struct error err = ERROR_INIT;
    struct vocabulary_trim trim;
    struct rng rng;
    rng_seed(&rng, 3);
    make(&made, UNIGRAM, &rng);
    struct bundle *bundle = write_files(&made, UNIGRAM, &rng);
    encode(bundle, &made, before);
    count_texts((const struct ids *)before, TEXTS, count);
    struct vocabulary_trim_options options = {.count = count, .n_counts = MAX_PIECES + 1};
    must(vocabulary_trim_open(&trim, bundle, &options, &err), &err);
    size_t least = trim.n_least;
    tap_ok(trim.covered == trim.tokens, "without a limit all that occurs stays");
    vocabulary_trim_free(&trim);
    options.size = least;
    tap_ok(vocabulary_trim_open(&trim, bundle, &options, &err) && trim.n_kept == least,
           "%zu pieces are enough for what must stay", least);
    vocabulary_trim_free(&trim);
    options.size = least - 1;
    char wanted[40];
    snprintf(wanted, sizeof wanted, "the least is %zu", least);
    tap_ok(!vocabulary_trim_open(&trim, bundle, &options, &err) && strstr(err.text, wanted),
           "one less is refused: %s", err.text);
    error_clear(&err);
    const int32_t want[] = {60, MAX_PIECES * 2, -1};
    options = (struct vocabulary_trim_options){.must = want, .n_must = 3};
    tap_ok(vocabulary_trim_open(&trim, bundle, &options, &err) && trim.number[60] >= 0 &&
               trim.n_kept == trim.n_least,
           "a piece that is asked for stays, without any that occur");
    vocabulary_trim_free(&trim);
    bundle_close(bundle);
}

/* added_tokens.json beside tokenizer.json: a token that tokenizer.json does not list may go, and one
 * that no row is of stays nowhere. */
static void test_added(void)
{
    static struct made made;
    struct error err = ERROR_INIT;
    struct vocabulary_trim trim;
    struct rng rng;
    char text[200], wanted[40];
    rng_seed(&rng, 5);
    make(&made, WORDPIECE, &rng);
    bundle_close(write_files(&made, WORDPIECE, &rng));
    size_t gone = made.n - 1; /* does not occur; of several letters */
    snprintf(text, sizeof text, "{\"<late>\": %zu, \"%s\": %zu, \"<far>\": 90000}", made.n,
             made.piece[gone], gone);
    char file[80];
    snprintf(file, sizeof file, "made%u/added_tokens.json", written - 1);
    scratch_write(file, text, strlen(text));
    file[strcspn(file, "/")] = '\0';
    struct bundle *bundle = bundle_open(scratch_path(file), &err);
    must(bundle != NULL, &err);
    must(vocabulary_trim_open(&trim, bundle, &(struct vocabulary_trim_options){.size = 0}, &err),
         &err);
    snprintf(wanted, sizeof wanted, "{\"<late>\":%d}", (int)trim.number[made.n]);
    const struct bundle_member *added = NULL;
    for (size_t i = 0; i < trim.n_files; i++)
        if (strcmp(trim.file[i].name, "added_tokens.json") == 0)
            added = &trim.file[i];
    tap_ok(trim.number[gone] < 0 && added && added->n == strlen(wanted) &&
               memcmp(added->bytes, wanted, added->n) == 0,
           "added_tokens.json has only what stays: %.*s", added ? (int)added->n : 0,
           added ? (const char *)added->bytes : "");
    vocabulary_trim_free(&trim);
    bundle_close(bundle);
}

static void test_map(void)
{
    static struct made made;
    static struct ids before[TEXTS], after[TEXTS];
    static uint64_t count[MAX_PIECES + 1];
    struct error err = ERROR_INIT;
    struct vocabulary_trim first, second;
    struct vocabulary_map map;
    struct rng rng;
    rng_seed(&rng, 11);
    make(&made, BPE, &rng);
    struct bundle *bundle = write_files(&made, BPE, &rng);
    tap_ok(!vocabulary_map_read(&map, bundle, &err) && strstr(err.text, "was not trimmed"),
           "a tokenizer that was not trimmed has no map: %s", err.text);
    error_clear(&err);
    encode(bundle, &made, before);
    count_texts((const struct ids *)before, TEXTS, count);
    struct vocabulary_trim_options options = {.count = count, .n_counts = MAX_PIECES + 1};
    must(vocabulary_trim_open(&first, bundle, &options, &err), &err);
    struct bundle *once = write_trimmed(&first);
    encode(once, &made, after);
    count_texts((const struct ids *)after, TEXTS / 4, count);
    must(vocabulary_trim_open(&second, once, &options, &err), &err);
    struct bundle *twice = write_trimmed(&second);
    must(vocabulary_map_read(&map, twice, &err), &err);
    bool composed = map.n_before == first.n_before && map.tokenizer == first.fingerprint;
    for (size_t id = 0; composed && id < map.n_before; id++)
        composed = map.number[id] == (first.number[id] < 0 ? -1 : second.number[first.number[id]]);
    tap_ok(composed && second.n_kept < first.n_kept,
           "trimmed twice, the map is from the first tokenizer's ids");
    uint64_t fingerprint = 0;
    must(tokenizer_fingerprint_of(once, &fingerprint, &err), &err);
    tap_ok(fingerprint == second.fingerprint && fingerprint != first.fingerprint,
           "fingerprints are those of the files");
    vocabulary_map_free(&map);
    vocabulary_trim_free(&first);
    vocabulary_trim_free(&second);
    bundle_close(twice);
    bundle_close(once);
    bundle_close(bundle);
}

int main(void)
{
    scratch_open();
    test_properties();
    test_sizes();
    test_added();
    test_map();
    return tap_done();
}
