/* protobuf.h: reading messages of the protocol buffers wire format, field by field. Lengths are
 * checked, nothing is copied or allocated; nested messages are read by a reader over their bytes.
 *
 *     struct protobuf_reader reader = {bytes, n, 0};
 *     struct protobuf_field field;
 *     while ((more = protobuf_next(&reader, &field, err)) > 0) …
 */
#ifndef MILLET_CORE_PROTOBUF_H
#define MILLET_CORE_PROTOBUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

enum protobuf_wire {
    PROTOBUF_VARINT = 0,
    PROTOBUF_FIXED64 = 1,
    PROTOBUF_BYTES = 2, /* strings and nested messages as well */
    PROTOBUF_FIXED32 = 5
};

struct protobuf_reader {
    const unsigned char *bytes;
    size_t n, at;
};

struct protobuf_field {
    uint32_t number;
    enum protobuf_wire wire;
    uint64_t value;             /* of the numbers, bits as they are in the file */
    const unsigned char *bytes; /* [n], borrowed from the reader's */
    size_t n;
};

/* 1: *field is set; 0: the message ends here; -1: error (cut off, a varint of more than ten bytes,
 * groups and other wire types; the text names the offset). */
int protobuf_next(struct protobuf_reader *reader, struct protobuf_field *field,
                  struct error *err) MUST_CHECK;

float protobuf_float(const struct protobuf_field *field); /* of PROTOBUF_FIXED32 */

#endif
