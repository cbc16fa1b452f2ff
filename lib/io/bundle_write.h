/* bundle_write.h: a bundle as a tar, member by member, each hashed on its way; millet.json comes
 * last, because it holds the checksums of all others, and is sealed.
 */
#ifndef MILLET_IO_BUNDLE_WRITE_H
#define MILLET_IO_BUNDLE_WRITE_H

#include "io/bundle.h"
#include "io/output.h"
#include "io/safetensors.h"

struct bundle_writer;

/* Borrows the output; the caller commits it. */
struct bundle_writer *bundle_writer_open(struct output *output, struct error *err) MUST_CHECK;
/* A member at once. */
bool bundle_writer_add(struct bundle_writer *writer, const char *name, const void *bytes, size_t n,
                       struct error *err) MUST_CHECK;
/* A member of tensors. */
bool bundle_writer_tensors(struct bundle_writer *writer, const char *name,
                           const struct tensor_view *tensor, size_t n, const char *const *metadata,
                           size_t n_metadata, struct error *err) MUST_CHECK;
/* A member in pieces: begin with its size, put (a safetensors_sink, the writer its context),
 * end. */
bool bundle_writer_begin(struct bundle_writer *writer, const char *name, uint64_t bytes,
                         struct error *err) MUST_CHECK;
bool bundle_writer_put(void *writer, const void *bytes, size_t n, struct error *err) MUST_CHECK;
bool bundle_writer_end(struct bundle_writer *writer, struct error *err) MUST_CHECK;
/* `millet` (borrowed) with the checksums and the seal added is millet.json. Frees the writer in any
 * case. */
bool bundle_writer_finish(struct bundle_writer *writer, json_t *millet,
                          struct error *err) MUST_CHECK;
void bundle_writer_abandon(struct bundle_writer *writer); /* NULL is fine */

#endif
