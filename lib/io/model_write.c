/* model_write.c: a model as a tar, streamed: config.json, tokenizer files, model.safetensors,
 * millet.json.
 *
 * Every member is hashed on its way; millet.json comes last because it holds the checksums of all
 * others.
 */
#include <stdlib.h>
#include <string.h>

#include "core/jobject.h"
#include "core/memory.h"
#include "io/model.h"
#include "io/model_weights.h"
#include "io/tar.h"

/* What a tokenizer of Hugging Face may consist of: copied from model to model as it is. */
static const char *const tokenizer_file[] = {
    "added_tokens.json", "merges.txt",     "sentencepiece.bpe.model", "special_tokens_map.json",
    "spiece.model",      "tokenizer.json", "tokenizer.model",         "tokenizer_config.json",
    "vocab.json",        "vocab.txt",
};
enum { N_TOKENIZER_FILES = sizeof tokenizer_file / sizeof *tokenizer_file };

struct model_file {
    struct tar_writer *tar;
    struct bundle_sums *sums; /* of the member being written */
    json_t *checksums;
};

static bool end_member(struct model_file *file, const char *name, bool ok, struct error *err)
{
    if (!ok) {
        bundle_sums_abandon(file->sums);
        return false;
    }
    json_t *sums = bundle_sums_finish(file->sums, err);
    if (!sums)
        return false;
    if (json_object_set_new(file->checksums, name, sums) != 0)
        return error_set(err, "no memory for checksums");
    return true;
}

static bool put(void *context, const void *bytes, size_t n, struct error *err)
{
    struct model_file *file = context;
    return bundle_sums_add(file->sums, bytes, n, err) && tar_put(file->tar, bytes, n, err);
}

static bool write_member(struct model_file *file, const char *name, const void *bytes, size_t n,
                         struct error *err)
{
    file->sums = bundle_sums_open(err);
    return file->sums &&
           end_member(file, name, tar_begin(file->tar, name, n, err) && put(file, bytes, n, err),
                      err);
}

static bool write_config(struct model_file *file, const json_t *config, struct error *err)
{
    char *text = jobject_dump(config, err);
    bool ok = text && write_member(file, "config.json", text, strlen(text), err);
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
static bool write_files(struct model_file *file, const struct model_writer_options *options,
                        struct error *err)
{
    for (size_t i = 0; i < options->n_files; i++) {
        const struct bundle_member *given = &options->file[i];
        if (!write_member(file, given->name, given->bytes, given->n, err))
            return false;
    }
    for (size_t i = 0; options->from && i < N_TOKENIZER_FILES; i++) {
        const char *name = tokenizer_file[i];
        if (given_file(options, name) || !bundle_find(options->from->bundle, name))
            continue;
        const struct bundle_member *member = bundle_require(options->from->bundle, name, err);
        if (!member || !write_member(file, name, member->bytes, member->n, err))
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

static bool write_weights(struct model_file *file, const struct model_writer_options *options,
                          struct error *err)
{
    /* transformers refuses a file that does not say which framework's layout it holds */
    static const char *const metadata[] = {"format", "pt"};
    static const char name[] = "model.safetensors";
    uint64_t bytes = 0;
    if (options->n_tensors == 0)
        return true;
    if (!verify_tensors(options, err) ||
        !safetensors_size(options->tensor, options->n_tensors, metadata, 1, &bytes, err))
        return false;
    file->sums = bundle_sums_open(err);
    return file->sums && end_member(file, name,
                                    tar_begin(file->tar, name, bytes, err) &&
                                        safetensors_write(options->tensor, options->n_tensors,
                                                          metadata, 1, put, file, err),
                                    err);
}

static bool write_stream(struct model_file *file, const struct model_stream_file *stream,
                         struct error *err)
{
    if (!stream->name)
        return true;
    file->sums = bundle_sums_open(err);
    return file->sums && end_member(file, stream->name,
                                    tar_begin(file->tar, stream->name, stream->bytes, err) &&
                                        stream->write(stream->context, put, file, err),
                                    err);
}

/* {"millet", "kind", … extra …, "history", "checksums", "xxh3"}. */
static bool write_millet(struct model_file *file, const struct model_writer_options *options,
                         struct error *err)
{
    const json_t *earlier =
        options->from ? json_object_get(options->from->millet, "history") : NULL;
    json_t *history = json_is_array(earlier) ? json_copy((json_t *)earlier) : json_array();
    json_t *object = json_pack("{s:i, s:s}", "millet", BUNDLE_FORMAT, "kind", "model");
    bool ok = history && object &&
              (!options->stage || json_array_append(history, options->stage) == 0) &&
              (!options->extra || json_object_update_missing(object, options->extra) == 0) &&
              json_object_set(object, "history", history) == 0 &&
              json_object_set(object, "checksums", file->checksums) == 0;
    if (!ok)
        error_set(err, "no memory for millet.json");
    char *text = ok && jobject_seal(object, err) ? jobject_dump(object, err) : NULL;
    ok = text && tar_write(file->tar, "millet.json", text, strlen(text), err);
    free(text);
    json_decref(history);
    json_decref(object);
    return ok;
}

bool model_write(struct output *output, const struct model_writer_options *options,
                 struct error *err)
{
    struct model_file file = {.tar = tar_writer_open(output, err), .checksums = json_object()};
    if (!file.checksums)
        error_set(err, "no memory for checksums");
    bool ok = file.tar && file.checksums && write_config(&file, options->config, err) &&
              write_files(&file, options, err) && write_weights(&file, options, err) &&
              write_stream(&file, &options->stream, err) && write_millet(&file, options, err);
    if (ok)
        ok = tar_writer_finish(file.tar, err);
    else
        tar_writer_abandon(file.tar);
    json_decref(file.checksums);
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
    static const char *const kept[] = {"format", "pruned", "dense"};
    bool ok = extra != NULL;
    for (size_t i = 0; ok && i < sizeof kept / sizeof *kept; i++) {
        json_t *value = from ? json_object_get(from->millet, kept[i]) : NULL;
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
