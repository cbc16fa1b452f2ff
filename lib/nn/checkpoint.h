/* checkpoint.h: the file of a checkpoint: a tar of tensors in parts and millet.json, of kind
 * "checkpoint", with "state" (an object, the run's own), checksums of everything and a seal. It
 * appears complete, or the earlier one stays. Knows nothing of what is in it.
 */
#ifndef MILLET_NN_CHECKPOINT_H
#define MILLET_NN_CHECKPOINT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "core/dtype.h"
#include "core/error.h"
#include "io/safetensors.h"

struct checkpoint_writer;

struct checkpoint_writer *checkpoint_create(const char *path, struct error *err) MUST_CHECK;
/* Tensors of a part, written at once: nothing need stay in memory. */
bool checkpoint_put(struct checkpoint_writer *writer, const char *part,
                    const struct tensor_view *tensor, size_t n, struct error *err) MUST_CHECK;
/* Synced and under its name. `state` is borrowed. Frees the writer in any case. */
bool checkpoint_commit(struct checkpoint_writer *writer, json_t *state,
                       struct error *err) MUST_CHECK;
void checkpoint_abandon(struct checkpoint_writer *writer); /* NULL is fine */

struct checkpoint;

struct checkpoint *checkpoint_open(const char *path, struct error *err) MUST_CHECK;
void checkpoint_close(struct checkpoint *checkpoint); /* NULL is fine */
const json_t *checkpoint_state(const struct checkpoint *checkpoint);
/* n elements of this type, verified, valid until the checkpoint is closed. */
const void *checkpoint_find(struct checkpoint *checkpoint, const char *part, const char *name,
                            enum dtype type, size_t n, struct error *err) MUST_CHECK;

#endif
