/* onnx_proto.h: the wire format of Protocol Buffers, as far as a writer of ONNX needs it.
 *
 * Encoding: https://protobuf.dev/programming-guides/encoding/. A field is a key, number << 3 | wire
 * type, as a varint, then its value: a varint (type 0), four bytes (type 5), or a length and that
 * many bytes (type 2: strings, packed data and nested messages). A nested message is written to a
 * buffer of its own and then put into its parent, whose size is therefore known.
 *
 * Buffers keep their first failure; after it, nothing more is written to them and the functions do
 * nothing. Look at `failed` once, at the end.
 */
#ifndef MILLET_QUANT_ONNX_PROTO_H
#define MILLET_QUANT_ONNX_PROTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

struct onnx_proto {
    uint8_t *bytes; /* owned */
    size_t n, capacity;
    bool failed;
    struct error *err; /* borrowed; said what failed */
};

struct onnx_proto onnx_proto_new(struct error *err);
void onnx_proto_free(struct onnx_proto *proto);

/* Forget the content, keep the memory. */
void onnx_proto_clear(struct onnx_proto *proto);

void onnx_proto_integer(struct onnx_proto *proto, unsigned field, int64_t value);
void onnx_proto_float(struct onnx_proto *proto, unsigned field, float value);
void onnx_proto_bytes(struct onnx_proto *proto, unsigned field, const void *bytes, size_t n);
void onnx_proto_string(struct onnx_proto *proto, unsigned field, const char *text);
/* The content of `message`, which may be cleared afterwards; its failure becomes proto's. */
void onnx_proto_message(struct onnx_proto *proto, unsigned field, const struct onnx_proto *message);
/* Key and length alone: n bytes that are written elsewhere follow. */
void onnx_proto_begin(struct onnx_proto *proto, unsigned field, uint64_t n);
/* The bytes of another buffer as they are: fields that were written there. */
void onnx_proto_append(struct onnx_proto *proto, const struct onnx_proto *fields);

#endif
