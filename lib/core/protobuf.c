/* protobuf.c: see protobuf.h. */
#include "core/protobuf.h"

#include <string.h>

enum { VARINT_BYTES = 10, NUMBER_MAX = (1 << 29) - 1 };

static bool read_varint(struct protobuf_reader *reader, uint64_t *value)
{
    *value = 0;
    for (unsigned i = 0; i < VARINT_BYTES && reader->at < reader->n; i++) {
        unsigned char byte = reader->bytes[reader->at++];
        *value |= (uint64_t)(byte & 0x7F) << 7 * i;
        if (byte < 0x80)
            return i < VARINT_BYTES - 1 || byte < 2; /* the tenth byte holds one bit */
    }
    return false;
}

static bool read_fixed(struct protobuf_reader *reader, size_t n, uint64_t *value)
{
    if (reader->n - reader->at < n)
        return false;
    *value = 0;
    for (size_t i = 0; i < n; i++)
        *value |= (uint64_t)reader->bytes[reader->at + i] << 8 * i;
    reader->at += n;
    return true;
}

static bool read_bytes(struct protobuf_reader *reader, struct protobuf_field *field)
{
    uint64_t n;
    if (!read_varint(reader, &n) || n > reader->n - reader->at)
        return false;
    field->bytes = reader->bytes + reader->at;
    field->n = (size_t)n;
    reader->at += field->n;
    return true;
}

int protobuf_next(struct protobuf_reader *reader, struct protobuf_field *field, struct error *err)
{
    size_t begin = reader->at;
    uint64_t key;
    bool ok = false;
    if (begin == reader->n)
        return 0;
    *field = (struct protobuf_field){0, PROTOBUF_VARINT, 0, NULL, 0};
    if (read_varint(reader, &key) && key >> 3 && key >> 3 <= NUMBER_MAX) {
        field->number = (uint32_t)(key >> 3);
        field->wire = (enum protobuf_wire)(key & 7);
        switch (field->wire) {
        case PROTOBUF_VARINT:
            ok = read_varint(reader, &field->value);
            break;
        case PROTOBUF_FIXED64:
            ok = read_fixed(reader, 8, &field->value);
            break;
        case PROTOBUF_FIXED32:
            ok = read_fixed(reader, 4, &field->value);
            break;
        case PROTOBUF_BYTES:
            ok = read_bytes(reader, field);
            break;
        }
    }
    if (ok)
        return 1;
    error_set(err, "the field at byte %zu of %zu is cut off or not protocol buffers", begin,
              reader->n);
    return -1;
}

float protobuf_float(const struct protobuf_field *field)
{
    uint32_t bits = (uint32_t)field->value;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}
