/* family.h: what differs between the architectures of the BERT family, in one table: the names of
 * their tensors by role, the keys of their config.json, and traits of what they compute. All else
 * in the code asks for a role or a trait, never for an architecture's name.
 *
 * A tensor's name is a stem and ".weight" or ".bias"; a stem is a role's, of a layer and, for
 * MobileBERT's stacked feed-forward networks, of a number in the stack.
 */
#ifndef MILLET_NN_FAMILY_H
#define MILLET_NN_FAMILY_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "kernels/kernels.h"

enum family_role {
    /* of the whole model */
    FAMILY_WORD, /* tables: no bias */
    FAMILY_POSITION,
    FAMILY_TYPE,
    FAMILY_EMBED_NORM,
    FAMILY_EMBED_PROJECTION, /* from the width of the word table to the hidden width */
    FAMILY_POOLER,           /* the dense layer before the classifier */
    FAMILY_CLASSIFIER,
    /* of a layer */
    FAMILY_NARROW, /* MobileBERT: the layer's input at the width of the bottleneck */
    FAMILY_NARROW_NORM,
    FAMILY_SHARED, /* MobileBERT: what query and key are computed from */
    FAMILY_SHARED_NORM,
    FAMILY_QUERY,
    FAMILY_KEY,
    FAMILY_VALUE,
    FAMILY_CONTEXT, /* attention's output projection */
    FAMILY_NORM1,
    FAMILY_STACK_IN, /* MobileBERT: feed-forward networks before the last, numbered */
    FAMILY_STACK_OUT,
    FAMILY_STACK_NORM,
    FAMILY_FFN_IN, /* the (last) feed-forward network */
    FAMILY_FFN_OUT,
    FAMILY_NORM2,
    FAMILY_WIDEN, /* MobileBERT: back to the hidden width */
    FAMILY_WIDEN_NORM,
    FAMILY_ROLES,
    FAMILY_FIRST_OF_LAYER = FAMILY_NARROW
};

enum family_positions {
    FAMILY_FROM_ZERO, /* token t of a text has row t */
    /* create_position_ids_from_input_ids of transformers: row pad + 1 + number of tokens before it
     * that are not padding; padding inside a text has row pad */
    FAMILY_AFTER_PAD
};

enum family_embedding {
    FAMILY_PLAIN,    /* word + position + type, norm, dropout; all of hidden width */
    FAMILY_FACTORED, /* the same at the width of the tables, then the projection (always) */
    FAMILY_FACTORED_IF_NARROW, /* the projection only where the widths differ */
    /* projection of three neighbouring word rows, + position + type, norm, dropout */
    FAMILY_TRIGRAM
};

/* The head of a masked language model: dense, activation, norm, and a decoder that is the word
 * table with a bias of its own. Stems and a whole name; dense NULL: a head that we do not know. */
struct family_mlm {
    const char *class_name, *dense, *norm, *bias;
    const char *decoder; /* where files repeat the table and the bias, if they do */
    bool gelu;           /* the activation is GELU whatever the config says */
};

/* A value that a config must have, if the key is there, for us to compute what it means: compact
 * JSON. */
struct family_demand {
    const char *key, *value;
};

/* Names of config keys that are not everywhere the same; NULL: no such key. */
struct family_keys {
    const char *hidden, *embed, *layers, *heads, *ffn, *types, *activation, *eps;
    const char *hidden_dropout, *attention_dropout, *classifier_dropout;
};

struct family {
    const char *model_type, *class_name;
    const char *prefix; /* of the encoder's tensors; may be missing in a file */
    const char *layers; /* stem of a layer, '#' for its number; none: all layers share it */
    const char *stem[FAMILY_ROLES]; /* of a layer: after `layers`; '#' the number in a stack */
    struct family_keys keys;
    const struct family_demand *demand; /* ended by a NULL key */
    struct family_mlm mlm;
    /* what is not in the config, or taken when its key is missing */
    size_t types;
    enum epilogue activation;
    float eps, hidden_dropout, attention_dropout;
    float classifier_dropout; /* negative: as hidden_dropout */
    int32_t pad;              /* default of pad_token_id */
    /* traits */
    enum family_embedding embedding;
    enum family_positions positions;
    enum norm norm;
    bool bottleneck; /* intra_bottleneck_size, num_feedforward_networks, classifier_activation */
    enum epilogue head_activation; /* after the pooler */
    bool head_dropout;             /* dropout before the pooler, too */
    bool ffn_undropped;            /* no dropout after the feed-forward network */
};

/* By "model_type"; NULL: unknown. */
const struct family *family_find(const char *model_type);
/* The family of a config; without one that is known, refused with the known ones' names; what the
 * family demands of the config is checked. `place` names the file. */
const struct family *family_of(const json_t *config, const char *place,
                               struct error *err) MUST_CHECK;
/* What int8 models leave as it is unless it is named: it is tiny, and every token meets the one, every
 * logit the other. */
static inline bool family_stays_float(enum family_role role)
{
    return role == FAMILY_TYPE || role == FAMILY_CLASSIFIER;
}
static inline bool family_shares_layers(const struct family *family)
{
    for (const char *at = family->layers; *at; at++)
        if (*at == '#')
            return false;
    return true;
}

/* "bert.encoder.layer.3.output.dense.weight": role FAMILY_FFN_OUT, layer 3, `rest` "weight". layer
 * and stack are ignored where a role has none. */
void family_name(const struct family *family, enum family_role role, size_t layer, size_t stack,
                 const char *rest, char *text, size_t n);

/* What a tensor's name says. */
struct family_tensor {
    enum family_role role; /* FAMILY_ROLES: none that is known */
    bool of_layer;         /* layer is set; also without a known role */
    size_t layer, stack;
    size_t number_begin, number_end; /* the layer's number in the name; equal: not in it */
    const char *rest;                /* after the stem: "weight", "bias", "weight_scale", … */
};
/* With or without the prefix. false: neither a role nor of a layer. */
bool family_parse(const struct family *family, const char *name, struct family_tensor *tensor);

/* Whether a tensor is of the head of a masked language model. */
bool family_owns_mlm(const struct family *family, const char *name);

/* `name` without the prefix of a family; NULL: it has none. */
const char *family_unprefixed(const char *name);

#endif
