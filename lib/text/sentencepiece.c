/* sentencepiece.c: see sentencepiece.h. Field numbers are those of sentencepiece_model.proto. */
#include "text/sentencepiece.h"

#include <math.h>
#include <stdlib.h>

#include "core/memory.h"
#include "core/protobuf.h"
#include "text/utf8.h"

enum { MODEL_PIECES = 1, MODEL_TRAINER = 2, MODEL_NORMALIZER = 3 };
enum { PIECE_TEXT = 1, PIECE_SCORE = 2, PIECE_TYPE = 3 };
enum { TRAINER_MODEL_TYPE = 3, TYPE_UNIGRAM = 1 };
enum { NORMALIZER_CHARSMAP = 2 };

static bool expect(const struct protobuf_field *field, enum protobuf_wire wire, const char *name,
                   struct error *err)
{
    return field->wire == wire ||
           error_set(err, "%s has wire type %d, expected %d: is this a SentencePiece model?", name,
                     (int)field->wire, (int)wire);
}

static bool read_piece_field(struct sentencepiece_piece *piece, const struct protobuf_field *field,
                             struct error *err)
{
    switch (field->number) {
    case PIECE_TEXT:
        if (!expect(field, PROTOBUF_BYTES, "its text", err))
            return false;
        piece->text = (const char *)field->bytes;
        piece->n = field->n;
        return utf8_valid_prefix(piece->text, piece->n) == piece->n ||
               error_set(err, "its text is not valid UTF-8");
    case PIECE_SCORE:
        piece->score = (double)protobuf_float(field);
        return expect(field, PROTOBUF_FIXED32, "its score", err) &&
               (isfinite(piece->score) || error_set(err, "its score is not a finite number"));
    case PIECE_TYPE:
        if (!expect(field, PROTOBUF_VARINT, "its type", err))
            return false;
        if (field->value < SENTENCEPIECE_NORMAL || field->value > SENTENCEPIECE_BYTE)
            return error_set(err, "its type is %llu, expected %d to %d",
                             (unsigned long long)field->value, (int)SENTENCEPIECE_NORMAL,
                             (int)SENTENCEPIECE_BYTE);
        piece->type = (enum sentencepiece_type)field->value;
        return true;
    default:
        return true;
    }
}

static bool read_piece(struct sentencepiece *model, const struct protobuf_field *message,
                       struct error *err)
{
    struct protobuf_reader reader = {message->bytes, message->n, 0};
    struct protobuf_field field;
    struct sentencepiece_piece piece = {NULL, 0, 0, SENTENCEPIECE_NORMAL};
    int more;
    while ((more = protobuf_next(&reader, &field, err)) > 0)
        if (!read_piece_field(&piece, &field, err))
            break;
    if (more == 0 && !piece.n)
        error_set(err, "its text is empty");
    if (more || !piece.n)
        return error_at(err, "piece %zu: ", model->n_pieces);
    if (!memory_grow(&model->piece, &model->piece_capacity, model->n_pieces + 1,
                     sizeof *model->piece, err))
        return false;
    model->piece[model->n_pieces++] = piece;
    return true;
}

/* A Unigram model is the only kind that has the ids of these files' tokenizers. */
static bool read_trainer(const struct protobuf_field *message, struct error *err)
{
    static const char *const name[] = {"0", "UNIGRAM", "BPE", "WORD", "CHAR"};
    struct protobuf_reader reader = {message->bytes, message->n, 0};
    struct protobuf_field field;
    int more;
    while ((more = protobuf_next(&reader, &field, err)) > 0) {
        if (field.number != TRAINER_MODEL_TYPE)
            continue;
        if (!expect(&field, PROTOBUF_VARINT, "model_type", err))
            return false;
        if (field.value != TYPE_UNIGRAM)
            return error_set(err,
                             "model_type is %s, expected UNIGRAM; load the tokenizer with "
                             "transformers and save it, which writes tokenizer.json",
                             field.value < sizeof name / sizeof *name ? name[field.value]
                                                                      : "not a known one");
    }
    return more == 0;
}

static bool read_normalizer(struct sentencepiece *model, const struct protobuf_field *message,
                            struct error *err)
{
    struct protobuf_reader reader = {message->bytes, message->n, 0};
    struct protobuf_field field;
    int more;
    while ((more = protobuf_next(&reader, &field, err)) > 0) {
        if (field.number != NORMALIZER_CHARSMAP)
            continue;
        if (!expect(&field, PROTOBUF_BYTES, "precompiled_charsmap", err))
            return false;
        model->charsmap = field.bytes;
        model->n_charsmap = field.n;
    }
    return more == 0;
}

static bool read_model_field(struct sentencepiece *model, const struct protobuf_field *field,
                             struct error *err)
{
    switch (field->number) {
    case MODEL_PIECES:
        return expect(field, PROTOBUF_BYTES, "pieces", err) && read_piece(model, field, err);
    case MODEL_TRAINER:
        return (expect(field, PROTOBUF_BYTES, "trainer_spec", err) && read_trainer(field, err)) ||
               error_at(err, "trainer_spec: ");
    case MODEL_NORMALIZER:
        return (expect(field, PROTOBUF_BYTES, "normalizer_spec", err) &&
                read_normalizer(model, field, err)) ||
               error_at(err, "normalizer_spec: ");
    default:
        return true;
    }
}

bool sentencepiece_read(struct sentencepiece *model, const void *bytes, size_t n, struct error *err)
{
    struct protobuf_reader reader = {bytes, n, 0};
    struct protobuf_field field;
    int more;
    *model = (struct sentencepiece){NULL, 0, 0, NULL, 0};
    while ((more = protobuf_next(&reader, &field, err)) > 0)
        if (!read_model_field(model, &field, err))
            break;
    if (more == 0 && !model->n_pieces)
        error_set(err, "a SentencePiece model without pieces");
    if (more == 0 && model->n_pieces)
        return true;
    sentencepiece_free(model);
    return false;
}

void sentencepiece_free(struct sentencepiece *model)
{
    free(model->piece);
    *model = (struct sentencepiece){NULL, 0, 0, NULL, 0};
}
