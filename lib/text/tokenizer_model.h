/* tokenizer_model.h: the "model" of a tokenizer.json: WordPiece, Unigram or BPE. */
#ifndef MILLET_TEXT_TOKENIZER_MODEL_H
#define MILLET_TEXT_TOKENIZER_MODEL_H

#include "text/json_scan.h"
#include "text/tokenizer_spec.h"

/* Read at the scanner's place; messages say the column. The spec has its kind, pieces (indexed),
 * scores, merges and options then. */
bool tokenizer_model_read(struct tokenizer_spec *spec, struct json_scan *scan,
                          struct error *err) MUST_CHECK;

/* {"piece": id, …}: BPE's vocab.json, too. */
bool tokenizer_model_vocabulary(struct tokenizer_spec *spec, struct json_scan *scan,
                                struct error *err) MUST_CHECK;

#endif
