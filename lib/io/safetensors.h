/* safetensors.h: reader and writer of the safetensors format (8-byte little-endian header length,
 * JSON header, data).
 *
 * The reader checks everything before any use: header length, JSON shape, known types, products of
 * dimensions, offsets that tile the data area without gap or overlap, names that repeat. Tensor
 * data is not copied: views point into the bytes.
 */
#ifndef MILLET_IO_SAFETENSORS_H
#define MILLET_IO_SAFETENSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/dtype.h"
#include "core/error.h"

enum {
    SAFETENSORS_MAX_RANK = 8,
    SAFETENSORS_MAX_HEADER = 100 << 20
}; /* the format's own limit: 100 MB */

/* A named array. Row-major. data may lie at any alignment in foreign files; ours are aligned to
 * their element. */
struct tensor_view {
    const char *name;
    enum dtype type;
    int rank;
    uint64_t dim[SAFETENSORS_MAX_RANK];
    const void *data;
    uint64_t bytes;
};

uint64_t tensor_view_elements(const struct tensor_view *view);
/* "[12, 768] F32" into text, for messages. */
void tensor_view_describe(const struct tensor_view *view, char *text, size_t n);
/* Fill a view, computing `bytes`. Products are the caller's to have checked. name is borrowed. */
struct tensor_view tensor_view_1d(const char *name, enum dtype type, uint64_t n, const void *data);
struct tensor_view tensor_view_2d(const char *name, enum dtype type, uint64_t rows, uint64_t cols,
                                  const void *data);

struct safetensors {
    struct tensor_view *tensor; /* in file order */
    size_t n_tensors;
    char **metadata;     /* key, value, key, value … of __metadata__ */
    size_t n_metadata;   /* pairs */
    const uint8_t *data; /* the data area */
    uint64_t data_bytes;
    void *names; /* owned storage of the strings */
};

/* Borrows `bytes`. `place` names the file or member in messages. */
bool safetensors_parse(struct safetensors *st, const char *place, const uint8_t *bytes, size_t n,
                       struct error *err) MUST_CHECK;
void safetensors_free(struct safetensors *st);
/* Bytes of length and header alone, checked against n: for who verifies a header before parsing it.
 * Reads the first 8 bytes. */
bool safetensors_header_bytes(const char *place, const uint8_t *bytes, size_t n,
                              size_t *header_bytes, struct error *err) MUST_CHECK;
const struct tensor_view *safetensors_find(const struct safetensors *st, const char *name);
const char *safetensors_metadata(const struct safetensors *st, const char *key); /* NULL: absent */

/* Where a writer puts its bytes, in order. */
typedef bool safetensors_sink(void *context, const void *bytes, size_t n, struct error *err);

/* Serialise: widest element type first (so that every tensor is aligned to its element), stable
 * within a type; the header is padded so that the data area starts at a multiple of 64. `metadata`:
 * n_metadata key/value pairs. safetensors_size: bytes of the whole file, for a container that wants
 * the size first. */
bool safetensors_size(const struct tensor_view *tensor, size_t n, const char *const *metadata,
                      size_t n_metadata, uint64_t *bytes, struct error *err) MUST_CHECK;
bool safetensors_write(const struct tensor_view *tensor, size_t n, const char *const *metadata,
                       size_t n_metadata, safetensors_sink *sink, void *context,
                       struct error *err) MUST_CHECK;
/* XXH3 of the data area as safetensors_write() would lay it out: parts carry it in
 * __metadata__.xxh3. */
bool safetensors_data_hash(const struct tensor_view *tensor, size_t n, uint64_t *hash,
                           struct error *err) MUST_CHECK;

#endif
