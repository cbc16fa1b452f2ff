/* model.h: a model stream: Hugging Face files in a bundle, seen as a config, named tensors and
 * tokenizer files.
 *
 * Reading accepts model.safetensors or pytorch_model.bin, each in one file or in shards that an
 * index names, or no weights at all (what mtok --learn writes). Writing gives a tar: config.json,
 * the tokenizer files as they were, model.safetensors, and millet.json last (history, checksums,
 * and what `extra` says).
 */
#ifndef MILLET_IO_MODEL_H
#define MILLET_IO_MODEL_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "io/bundle.h"
#include "io/output.h"
#include "io/safetensors.h"

/* What the outputs of the classifier mean: config.json's "problem_type". */
enum model_problem {
    MODEL_SINGLE_LABEL, /* one of the labels holds: softmax; also when the config says nothing */
    MODEL_MULTI_LABEL,  /* each label holds or not: sigmoids */
    MODEL_REGRESSION    /* a number: none of Millet's tools can use the classifier */
};

struct model {
    const char *name;           /* for messages: path or <stdin> */
    struct bundle *bundle;      /* owned */
    json_t *config;             /* owned: config.json */
    const json_t *millet;       /* borrowed: millet.json, NULL when the model is not from Millet */
    struct tensor_view *tensor; /* all tensors of all shards, sorted by name */
    size_t n_tensors;           /* 0: a model without weights */
    struct model_shard *shard;  /* owned: the files that hold weights, see model_weights.h */
    size_t n_shards;
    enum model_problem problem;
    char **label;    /* owned; config.id2label in order of id; NULL names are refused */
    size_t n_labels; /* 0: the config has none */
};

bool model_open(struct model *model, const char *path, struct error *err) MUST_CHECK;
/* The same of a bundle that is open already (a pipe can be read once only). Takes the bundle over
 * in any case. */
bool model_open_bundle(struct model *model, struct bundle *bundle, struct error *err) MUST_CHECK;
void model_close(struct model *model);

/* false, with what to do about it, when the model has no weights that can be read. */
bool model_check_weights(const struct model *model, struct error *err) MUST_CHECK;
/* false, with file and key, when the classifier does not tell labels apart. */
bool model_check_problem(const struct model *model, struct error *err) MUST_CHECK;
/* The name of a kind in config.json. */
const char *model_problem_name(enum model_problem problem);
const struct tensor_view *model_find(const struct model *model, const char *name);
/* Identity of weights and config (not of where they lie): from the checksums in millet.json when
 * there, else by hashing. */
bool model_fingerprint(struct model *model, uint64_t *fingerprint, struct error *err) MUST_CHECK;

/* config.json of weights that are now of this type: F32, F16 or BF16 in "torch_dtype" (and "dtype",
 * where there is one), nothing in "quantization_config". */
bool model_state_type(json_t *config, enum dtype type, struct error *err) MUST_CHECK;

/* `extra` with what millet.json of `from` (may be NULL) says was done to the model and `extra` does
 * not say itself: "format", "pruned", "dense", "ngram". Steals `extra` (NULL: failed before). New
 * reference, NULL: failed. */
json_t *model_keep_extra(const struct model *from, json_t *extra, struct error *err);

/* One stage of a history: program, version, arguments, fingerprint of its input. New reference. */
json_t *model_history_stage(const char *program, const char *version, int argc, char *const *argv,
                            const char *input_fingerprint);

/* A large file of another kind (model.onnx), written in order as tensors are. */
struct model_stream_file {
    const char *name; /* NULL: none */
    uint64_t bytes;   /* exactly as many as write() puts into the sink */
    bool (*write)(void *context, safetensors_sink *sink, void *sink_context, struct error *err);
    void *context;
};

struct model_writer_options {
    const struct model *from;         /* tokenizer files and history come from here; may be NULL */
    const json_t *config;             /* borrowed */
    const struct tensor_view *tensor; /* data must be readable until the call returns */
    size_t n_tensors;                 /* 0: no model.safetensors */
    const struct bundle_member
        *file; /* files that replace or add to those of `from` (a new vocab.txt …) */
    size_t n_files;
    struct model_stream_file stream;
    json_t *stage; /* appended to the history; stolen */
    json_t *extra; /* keys that join millet.json ("format", "pruned", …); stolen; may be NULL */
};

/* Writes the tar to `output` (the caller commits it). */
bool model_write(struct output *output, const struct model_writer_options *options,
                 struct error *err) MUST_CHECK;

#endif
