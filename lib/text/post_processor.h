/* post_processor.h: the "post_processor" of a tokenizer.json: which special tokens stand before and
 * after a single text. TemplateProcessing, BertProcessing, RobertaProcessing, ByteLevel (none) and
 * their Sequence; a template that gives a single text other token types than 0 is refused. */
#ifndef MILLET_TEXT_POST_PROCESSOR_H
#define MILLET_TEXT_POST_PROCESSOR_H

#include "text/tokenizer_spec.h"

/* Fills before and after. json NULL or JSON null: nothing stands around a text. */
bool post_processor_read(struct tokenizer_spec *spec, const json_t *json,
                         struct error *err) MUST_CHECK;

#endif
