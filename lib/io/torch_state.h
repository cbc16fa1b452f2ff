/* torch_state.h: what the pickle of a state dict says about its tensors: names, types, storages,
 * strides. Of the pickle's values only those that torch.save() makes of tensors are understood.
 */
#ifndef MILLET_IO_TORCH_STATE_H
#define MILLET_IO_TORCH_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "io/pickle.h"
#include "io/safetensors.h"

/* Bytes of a tensor's name, of which real ones have 80; tensors, of which large models have
 * thousands. A pickle of kilobytes could ask for gigabytes of names. */
enum { TORCH_MAX_NAME = 256, TORCH_MAX_TENSORS = 1 << 16 };

/* A tensor within its storage. Offset and strides count elements. */
struct torch_tensor {
    struct tensor_view view;        /* without data; its name lies in the state's names */
    const struct pickle_value *key; /* text: which storage */
    uint64_t storage_elements;      /* what the pickle says of it */
    uint64_t offset;                /* checked: every element lies in the storage */
    uint64_t stride[SAFETENSORS_MAX_RANK];
};

struct torch_state {
    struct torch_tensor *tensor; /* sorted by name */
    size_t n;
    char *names; /* owned storage of the strings */
};

/* Read a pickle with the globals that state dicts use. */
bool torch_state_pickle(struct pickle *pickle, const char *place, const uint8_t *bytes, size_t n,
                        struct error *err) MUST_CHECK;
/* Borrows the pickle and the bytes it was read from. */
bool torch_state_read(struct torch_state *state, const struct pickle *pickle, const char *place,
                      struct error *err) MUST_CHECK;
void torch_state_free(struct torch_state *state);

/* True when the elements lie one after another in their storage. */
bool torch_tensor_contiguous(const struct torch_tensor *tensor);

#endif
