/* model_write.c: a model as a tar, streamed: config.json, tokenizer files, model.safetensors,
 * millet.json.
 *
 * Every member is hashed on its way; millet.json comes last because it holds the checksums of all
 * others.
 */
#include <stdlib.h>
#include <string.h>

#include "core/jobject.h"
#include "io/bundle_write.h"
#include "io/model.h"
#include "io/model_blocks.h"
#include "io/model_weights.h"

/* What a tokenizer of Hugging Face may consist of: copied from model to model as it is. */
static const char *const tokenizer_file[] = {
    "added_tokens.json",
    "merges.txt",
    "millet_vocabulary.json",
    "sentencepiece.bpe.model",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
};
enum { N_TOKENIZER_FILES = sizeof tokenizer_file / sizeof *tokenizer_file };

static bool write_config(struct bundle_writer *file, const json_t *config, struct error *err)
{
    char *text = jobject_dump(config, err);
    bool ok = text && bundle_writer_add(file, "config.json", text, strlen(text), err);
    free(text);
    return ok;
}

static const struct bundle_member *given_file(const struct model_writer_options *options,
                                              const char *name)
{
    for (size_t i = 0; i < options->n_files; i++)
        if (strcmp(options->file[i].name, name) == 0)
            return &options->file[i];
    return NULL;
}

/* Those given, then those of `from` that none given replaces. */
static bool write_files(struct bundle_writer *file, const struct model_writer_options *options,
                        struct error *err)
{
    for (size_t i = 0; i < options->n_files; i++) {
        const struct bundle_member *given = &options->file[i];
        if (!bundle_writer_add(file, given->name, given->bytes, given->n, err))
            return false;
    }
    for (size_t i = 0; options->from && i < N_TOKENIZER_FILES; i++) {
        const char *name = tokenizer_file[i];
        if (given_file(options, name) || !bundle_find(options->from->bundle, name))
            continue;
        const struct bundle_member *member = bundle_require(options->from->bundle, name, err);
        if (!member || !bundle_writer_add(file, name, member->bytes, member->n, err))
            return false;
    }
    return true;
}

/* Tensors passed on from the source model are verified first: damaged bytes must not get a fresh
 * checksum. */
static bool verify_tensors(const struct model_writer_options *options, struct error *err)
{
    const struct model *from = options->from;
    for (size_t i = 0; i < options->n_tensors; i++) {
        const struct tensor_view *view = &options->tensor[i];
        for (size_t s = 0; from && s < from->n_shards; s++) {
            const struct bundle_member *member = from->shard[s].member;
            uintptr_t start = (uintptr_t)member->bytes, at = (uintptr_t)view->data;
            if (at < start || at - start >= member->n)
                continue;
            if (!bundle_verify(from->bundle, view->data, (size_t)view->bytes, err))
                return false;
        }
    }
    return true;
}

static bool write_weights(struct bundle_writer *file, const struct model_writer_options *options,
                          struct error *err)
{
    /* transformers refuses a file that does not say which framework's layout it holds */
    static const char *const metadata[] = {"format", "pt"};
    static const char name[] = "model.safetensors";
    if (options->n_tensors == 0)
        return true;
    if (!verify_tensors(options, err))
        return false;
    struct model_blocks blocks;
    if (!model_blocks_pack(&blocks, options->extra, options->tensor, options->n_tensors, err))
        return false;
    bool ok = bundle_writer_tensors(file, name, blocks.tensor, blocks.n_tensors, metadata, 1, err);
    model_blocks_free(&blocks);
    return ok;
}

static bool write_stream(struct bundle_writer *file, const struct model_stream_file *stream,
                         struct error *err)
{
    if (!stream->name)
        return true;
    return bundle_writer_begin(file, stream->name, stream->bytes, err) &&
           stream->write(stream->context, bundle_writer_put, file, err) &&
           bundle_writer_end(file, err);
}

/* {"millet", "kind", … extra …, "history"}; the writer adds "checksums" and "xxh3". */
static json_t *make_millet(const struct model_writer_options *options, struct error *err)
{
    const json_t *earlier =
        options->from ? json_object_get(options->from->millet, "history") : NULL;
    json_t *history = json_is_array(earlier) ? json_copy((json_t *)earlier) : json_array();
    json_t *object = json_pack("{s:i, s:s}", "millet", BUNDLE_FORMAT, "kind", "model");
    bool ok = history && object &&
              (!options->stage || json_array_append(history, options->stage) == 0) &&
              (!options->extra || json_object_update_missing(object, options->extra) == 0) &&
              json_object_set(object, "history", history) == 0;
    json_decref(history);
    if (ok)
        return object;
    json_decref(object);
    error_set(err, "no memory for millet.json");
    return NULL;
}

bool model_write(struct output *output, const struct model_writer_options *options,
                 struct error *err)
{
    struct bundle_writer *file = bundle_writer_open(output, err);
    json_t *millet = NULL;
    bool ok = file && write_config(file, options->config, err) && write_files(file, options, err) &&
              write_weights(file, options, err) && write_stream(file, &options->stream, err) &&
              (millet = make_millet(options, err));
    if (ok)
        ok = bundle_writer_finish(file, millet, err);
    else
        bundle_writer_abandon(file);
    json_decref(millet);
    json_decref(options->stage);
    json_decref(options->extra);
    return ok;
}

/* ---- what config.json and millet.json say of the weights ---- */

bool model_state_type(json_t *config, enum dtype type, struct error *err)
{
    const char *name = type == DTYPE_F16 ? "float16" : type == DTYPE_BF16 ? "bfloat16" : "float32";
    bool ok = json_object_set_new(config, "torch_dtype", json_string(name)) == 0;
    if (ok && json_object_get(config, "dtype"))
        ok = json_object_set_new(config, "dtype", json_string(name)) == 0;
    json_object_del(config, "quantization_config");
    return ok || error_set(err, "no memory for config.json");
}

json_t *model_keep_extra(const struct model *from, json_t *extra, struct error *err)
{
    static const char *const kept[] = {"format", "pruned", "dense", "ngram"};
    bool ok = extra != NULL;
    for (size_t i = 0; ok && i < sizeof kept / sizeof *kept; i++) {
        json_t *value = from ? json_object_get(from->millet, kept[i]) : NULL;
        if (strcmp(kept[i], "ngram") == 0 && from && !json_object_get(from->config, "millet_ngram"))
            value = NULL; /* it was taken out */
        if (value && !json_object_get(extra, kept[i]))
            ok = json_object_set(extra, kept[i], value) == 0;
    }
    if (ok)
        return extra;
    json_decref(extra);
    error_set(err, "no memory for millet.json");
    return NULL;
}

/* ---- history ---- */

/* -o FILE in any spelling: it names where the result goes, not how it was made; the same result
 * must have the same bytes in a file and in a pipe. *skip: the next argument belongs to it. */
static bool names_output(const char *argument, bool *skip)
{
    *skip = false;
    if (strncmp(argument, "--o", 3) == 0) {
        *skip = !strchr(argument, '=');
        return true;
    }
    if (argument[0] != '-')
        return false;
    const char *letter = argument + 1 + strspn(argument + 1, "qv"); /* flags may stand before it */
    *skip = letter[0] == 'o' && !letter[1];
    return letter[0] == 'o';
}

json_t *model_history_stage(const char *program, const char *version, int argc, char *const *argv,
                            const char *input_fingerprint)
{
    json_t *arguments = json_array();
    bool skip, options_over = false;
    for (int i = 1; i < argc; i++) {
        options_over = options_over || strcmp(argv[i], "--") == 0;
        if (!options_over && names_output(argv[i], &skip))
            i += skip;
        else
            json_array_append_new(arguments, jobject_text(argv[i]));
    }
    return json_pack("{s:s, s:s, s:o, s:s*}", "program", program, "version", version, "arguments",
                     arguments, "input", input_fingerprint);
}
