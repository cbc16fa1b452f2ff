/* pretokenizer.h: the "pre_tokenizer" of a tokenizer.json as a list of steps that cut a normalised
 * text into the words its model sees, each as Hugging Face's tokenizers do it.
 *
 * Immutable after reading and shared by threads; words lie in a scratch, one a thread.
 */
#ifndef MILLET_TEXT_PRETOKENIZER_H
#define MILLET_TEXT_PRETOKENIZER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "text/text_buffer.h"

struct pretokenizer;

/* json: the object, JSON null or NULL for none; what is not understood is refused by name. */
struct pretokenizer *pretokenizer_open(const json_t *json, struct error *err) MUST_CHECK;
void pretokenizer_close(struct pretokenizer *pretokenizer); /* NULL is fine */

/* Whether it is BertPreTokenizer and nothing else. */
bool pretokenizer_is_bert(const struct pretokenizer *pretokenizer);

/* What cutting the text before a ' ' that follows another character than white space does to the
 * words: nothing (JOINT_FREE: white space is dropped, however much there is; JOINT_SPACE: provided
 * the part before does not end in white space), or it may change them (JOINT_NONE). */
enum pretokenizer_joint { JOINT_NONE, JOINT_SPACE, JOINT_FREE };
enum pretokenizer_joint pretokenizer_joint(const struct pretokenizer *pretokenizer);

struct pretoken {
    size_t begin, n;
    bool head; /* its first character is the first of the whole text */
};

struct pretokens {    /* all zero at first */
    const char *text; /* where the words lie: `own`, or what was given */
    struct pretoken *word;
    size_t n_words, capacity;
    struct pretoken *spare; /* of the step at work */
    size_t n_spare, spare_capacity;
    struct text_buffer own[2];
};
void pretokens_free(struct pretokens *words);

/* Cut n bytes of valid UTF-8 into words (none is empty). head: the text begins the whole text. */
bool pretokenizer_run(const struct pretokenizer *pretokenizer, const char *text, size_t n,
                      bool head, struct pretokens *words, struct error *err) MUST_CHECK;

#endif
