/* tokenise_decode.c: a record stream back to text (mtok --decode). */
#include <stdlib.h>

#include "text/tokenise.h"

static const char *const standard_input[] = {"-"};

static bool decode_record(const struct tokenizer *tokenizer, const int32_t *id, size_t n,
                          struct output *output, struct error *err)
{
    size_t length;
    char *text = tokenizer_decode(tokenizer, id, n, &length, err);
    if (!text)
        return false;
    text[length] = '\n'; /* in place of the NUL: one write a record */
    bool ok = output_write(output, text, length + 1, err);
    free(text);
    return ok;
}

static bool decode_part(const struct records_part *part, const struct tokenizer *tokenizer,
                        struct output *output, struct error *err)
{
    for (size_t i = 0; i < part->n; i++)
        if (!decode_record(tokenizer, part->id + part->offset[i],
                           (size_t)(part->offset[i + 1] - part->offset[i]), output, err))
            return false;
    return true;
}

static bool decode_source(struct source *source, const struct tokenizer *tokenizer,
                          struct output *output, struct error *err)
{
    struct records_reader *reader = records_reader_open(source, err);
    if (!reader)
        return false;
    int more = 1;
    if (records_reader_header(reader)->tokenizer != tokenizer_fingerprint(tokenizer)) {
        error_set(err,
                  "%s: the stream was made with another tokenizer than the model's; decode it with "
                  "the model given to mtok",
                  source_name(source));
        more = -1;
    }
    while (more > 0) {
        struct records_part part;
        more = records_next(reader, &part, err);
        if (more > 0) {
            if (!decode_part(&part, tokenizer, output, err))
                more = -1;
            records_part_free(&part);
        }
    }
    records_reader_close(reader);
    return more == 0;
}

bool tokenise_decode(const char *const *path, size_t n_paths, const struct tokenizer *tokenizer,
                     struct output *output, struct error *err)
{
    if (!n_paths) {
        path = standard_input;
        n_paths = 1;
    }
    for (size_t i = 0; i < n_paths; i++) {
        struct source *source = source_open(path[i], false, err);
        bool ok = source && decode_source(source, tokenizer, output, err);
        source_close(source);
        if (!ok)
            return false;
    }
    return true;
}
