/* onnx_proto.c: keys, varints, lengths. */
#include "quant/onnx_proto.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

enum { WIRE_VARINT = 0, WIRE_BYTES = 2, WIRE_FOUR = 5, VARINT_BYTES = 10 };

struct onnx_proto onnx_proto_new(struct error *err)
{
    return (struct onnx_proto){.err = err};
}

void onnx_proto_free(struct onnx_proto *proto)
{
    free(proto->bytes);
    *proto = (struct onnx_proto){.err = proto->err};
}

void onnx_proto_clear(struct onnx_proto *proto)
{
    proto->n = 0;
}

static void put(struct onnx_proto *proto, const void *bytes, size_t n)
{
    if (proto->failed || n == 0)
        return;
    if (n > SIZE_MAX / 2 - proto->n)
        error_set(proto->err, "an ONNX graph of more than %zu bytes", proto->n);
    else if (memory_grow(&proto->bytes, &proto->capacity, proto->n + n, 1, proto->err)) {
        memcpy(proto->bytes + proto->n, bytes, n);
        proto->n += n;
        return;
    }
    proto->failed = true;
}

/* Seven bits a byte, the lowest first; the top bit says that more follow. */
static size_t varint(uint64_t value, uint8_t at[VARINT_BYTES])
{
    size_t n = 0;
    for (; value >= 0x80; value >>= 7)
        at[n++] = (uint8_t)(value | 0x80);
    at[n++] = (uint8_t)value;
    return n;
}

static void put_varint(struct onnx_proto *proto, uint64_t value)
{
    uint8_t bytes[VARINT_BYTES];
    put(proto, bytes, varint(value, bytes));
}

static uint64_t key(unsigned field, unsigned wire)
{
    return (uint64_t)field << 3 | wire;
}

/* A negative number is its two's complement in 64 bits, as int32 and int64 fields want it. */
void onnx_proto_integer(struct onnx_proto *proto, unsigned field, int64_t value)
{
    put_varint(proto, key(field, WIRE_VARINT));
    put_varint(proto, (uint64_t)value);
}

void onnx_proto_float(struct onnx_proto *proto, unsigned field, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    const uint8_t little[] = {(uint8_t)bits, (uint8_t)(bits >> 8), (uint8_t)(bits >> 16),
                              (uint8_t)(bits >> 24)};
    put_varint(proto, key(field, WIRE_FOUR));
    put(proto, little, sizeof little);
}

void onnx_proto_begin(struct onnx_proto *proto, unsigned field, uint64_t n)
{
    put_varint(proto, key(field, WIRE_BYTES));
    put_varint(proto, n);
}

void onnx_proto_bytes(struct onnx_proto *proto, unsigned field, const void *bytes, size_t n)
{
    onnx_proto_begin(proto, field, n);
    put(proto, bytes, n);
}

void onnx_proto_string(struct onnx_proto *proto, unsigned field, const char *text)
{
    onnx_proto_bytes(proto, field, text, strlen(text));
}

void onnx_proto_append(struct onnx_proto *proto, const struct onnx_proto *fields)
{
    proto->failed = proto->failed || fields->failed;
    put(proto, fields->bytes, fields->n);
}

void onnx_proto_message(struct onnx_proto *proto, unsigned field, const struct onnx_proto *message)
{
    onnx_proto_begin(proto, field, message->n);
    onnx_proto_append(proto, message);
}
