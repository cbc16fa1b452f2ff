/* The reader of SentencePiece models: a trained one, messages made by hand, hostile bytes. */
#include "text/sentencepiece.h"

#include <stdlib.h>

#include "core/memory.h"
#include "core/protobuf.h"
#include "io/source.h"
#include "tests/tap.h"
#include "text/charsmap.h"

static const char golden[] = "tests/golden/tokenizers/model-file-albert/spiece.model";

enum { MESSAGE = 256 };

/* A message that grows; fields of less than 128 bytes. */
struct message {
    unsigned char bytes[MESSAGE];
    size_t n;
};

static void put(struct message *message, unsigned char number, const void *bytes, size_t n)
{
    message->bytes[message->n++] = (unsigned char)(number << 3 | PROTOBUF_BYTES);
    message->bytes[message->n++] = (unsigned char)n;
    memcpy(message->bytes + message->n, bytes, n);
    message->n += n;
}

static void put_varint(struct message *message, unsigned char number, unsigned char value)
{
    message->bytes[message->n++] = (unsigned char)(number << 3 | PROTOBUF_VARINT);
    message->bytes[message->n++] = value;
}

static void put_float(struct message *message, unsigned char number, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    message->bytes[message->n++] = (unsigned char)(number << 3 | PROTOBUF_FIXED32);
    for (int k = 0; k < 4; k++)
        message->bytes[message->n++] = (unsigned char)(bits >> 8 * k);
}

static struct message piece(const char *text, float score, unsigned char type)
{
    struct message message = {.n = 0};
    put(&message, 1, text, strlen(text));
    put_float(&message, 2, score);
    put_varint(&message, 3, type);
    return message;
}

/* In an exact allocation, so that a step over the end is seen. */
static bool reads(const struct message *message, struct sentencepiece *model, char **copy,
                  struct error *err)
{
    error_clear(err);
    *copy = malloc(message->n ? message->n : 1);
    memcpy(*copy, message->bytes, message->n);
    return sentencepiece_read(model, *copy, message->n, err);
}

static void refused(const struct message *message, const char *expected, const char *what)
{
    struct error err = ERROR_INIT;
    struct sentencepiece model;
    char *copy;
    bool ok = reads(message, &model, &copy, &err);
    tap_is(ok ? "read" : err.text, expected, what);
    if (ok)
        sentencepiece_free(&model);
    free(copy);
}

static void test_made(void)
{
    struct error err = ERROR_INIT;
    struct sentencepiece model;
    struct message whole = {.n = 0}, first = piece("<unk>", 0, 2), second = piece("▁a", -1.5f, 1),
                   trainer = {.n = 0}, normalizer = {.n = 0}, bare = {.n = 0};
    put(&bare, 1, "b", 1); /* score 0, type NORMAL: what is absent */
    put_varint(&trainer, 3, 1);
    put_varint(&trainer, 40, 0);
    put(&normalizer, 1, "name", 4);
    put(&normalizer, 2, "map", 3);
    put(&whole, 1, first.bytes, first.n);
    put(&whole, 2, trainer.bytes, trainer.n);
    put(&whole, 1, second.bytes, second.n);
    put(&whole, 3, normalizer.bytes, normalizer.n);
    put_float(&whole, 9, 1); /* an unknown field */
    put(&whole, 1, bare.bytes, bare.n);
    char *copy;
    bool ok = reads(&whole, &model, &copy, &err);
    tap_ok(ok && model.n_pieces == 3 && model.n_charsmap == 3 && !memcmp(model.charsmap, "map", 3),
           "a model made by hand %s", err.text);
    const struct sentencepiece_piece *p = model.piece;
    tap_ok(ok && p[1].n == 4 && !memcmp(p[1].text, "▁a", 4) && p[1].score == -1.5 &&
               p[1].type == SENTENCEPIECE_NORMAL && p[0].type == SENTENCEPIECE_UNKNOWN &&
               p[2].n == 1 && p[2].score == 0 && p[2].type == SENTENCEPIECE_NORMAL,
           "its pieces");
    if (ok)
        sentencepiece_free(&model);
    free(copy);
    /* Cut off at every byte: an error, or fewer pieces at the end of a field. */
    size_t read = 0;
    for (struct message cut = whole; cut.n-- > 0;) {
        if (reads(&cut, &model, &copy, &err)) {
            read++;
            sentencepiece_free(&model);
        } else if (!err.set)
            read = MESSAGE;
        free(copy);
    }
    tap_is(read == 5 ? "5" : "other", "5", "beginnings of it that are models");
}

static void test_hostile(void)
{
    struct message message = {.n = 0}, inner = piece("a", 0, 9);
    refused(&message, "a SentencePiece model without pieces", "nothing");
    put(&message, 1, inner.bytes, inner.n);
    refused(&message, "piece 0: its type is 9, expected 1 to 6", "an unknown type");
    message.n = 0, inner = piece("", 0, 1);
    put(&message, 1, inner.bytes, inner.n);
    refused(&message, "piece 0: its text is empty", "an empty piece");
    message.n = 0, inner = piece("\xE0\xA4", 0, 1);
    put(&message, 1, inner.bytes, inner.n);
    refused(&message, "piece 0: its text is not valid UTF-8", "a piece that is not UTF-8");
    message.n = 0, inner = piece("a", -INFINITY, 1);
    put(&message, 1, inner.bytes, inner.n);
    refused(&message, "piece 0: its score is not a finite number", "an infinite score");
    message.n = 0, inner.n = 0;
    put_varint(&inner, 1, 1);
    put(&message, 1, inner.bytes, inner.n);
    refused(&message,
            "piece 0: its text has wire type 0, expected 2: is this a SentencePiece model?",
            "a number for a text");
    message.n = 0, inner.n = 0;
    put_varint(&inner, 3, 2);
    put(&message, 2, inner.bytes, inner.n);
    refused(&message,
            "trainer_spec: model_type is BPE, expected UNIGRAM; load the tokenizer with "
            "transformers and save it, which writes tokenizer.json",
            "a BPE model");
    static const struct {
        const char *bytes;
        size_t n;
    } bad[] = {{"\x0A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01", 11}, /* 2^64 - 1 bytes */
               {"\x0A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x02", 11}, /* 65 bits */
               {"\x0A\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 12},
               {"\x0B\x0C", 2}, /* a group */
               {"\x02\x00", 2}, /* field 0 */
               {"\x0D\x00\x00\x00", 4}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char expected[100], what[40];
        memcpy(message.bytes, bad[i].bytes, bad[i].n);
        message.n = bad[i].n;
        snprintf(expected, sizeof expected,
                 "the field at byte 0 of %zu is cut off or not protocol buffers", bad[i].n);
        snprintf(what, sizeof what, "bad bytes %zu", i);
        refused(&message, expected, what);
    }
}

/* tests/golden/make_tokenizers.py says how it was trained. */
static void test_trained(void)
{
    struct error err = ERROR_INIT;
    size_t n = 0, user = 0;
    struct source *source = source_open(golden, false, &err);
    const char *bytes = source ? source_map(source, &n) : NULL;
    struct sentencepiece model;
    if (tap_ok(bytes && sentencepiece_read(&model, bytes, n, &err), "%s %s", golden, err.text)) {
        static const char *const text[] = {"<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"};
        bool same = model.n_pieces > 100;
        for (size_t i = 0; i < 5 && same; i++)
            same = model.piece[i].n == strlen(text[i]) &&
                   !memcmp(model.piece[i].text, text[i], model.piece[i].n);
        for (size_t i = 0; i < model.n_pieces; i++)
            user += model.piece[i].type == SENTENCEPIECE_USER_DEFINED;
        tap_ok(same && user == 3 && model.piece[0].type == SENTENCEPIECE_CONTROL &&
                   model.piece[1].type == SENTENCEPIECE_UNKNOWN && model.piece[50].score < -1,
               "its pieces");
        struct charsmap *map = charsmap_open(model.charsmap, model.n_charsmap, &err);
        struct text_buffer out = {NULL, 0, 0};
        tap_ok(map && charsmap_run(map, "\xEF\xAC\x81x", 4, &out, &err) && out.n == 3 &&
                   !memcmp(out.bytes, "fix", 3),
               "its map");
        text_buffer_free(&out);
        charsmap_close(map);
        sentencepiece_free(&model);
    }
    source_close(source);
}

int main(void)
{
    test_made();
    test_hostile();
    test_trained();
    return tap_done();
}
