/* torch_file.h: the tensors of a state dict that torch.save() wrote (pytorch_model.bin).
 *
 * Two layouts: a zip file (since PyTorch 1.6) with data.pkl and one stored member per storage, or
 * several pickles one after another with the storages behind. The pickle is read as data
 * (pickle.h): nothing in it is run. A tensor that is contiguous in its storage is a view into the
 * file; a strided one (a transposed matrix) is copied into place. A state dict may be wrapped as
 * {"state_dict": …}, and "module." (torch's data parallel wrappers) is dropped from names where all
 * have it.
 */
#ifndef MILLET_IO_TORCH_FILE_H
#define MILLET_IO_TORCH_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "io/safetensors.h"

struct torch_file {
    struct tensor_view *tensor; /* sorted by name */
    size_t n_tensors;
    char *names; /* owned storage of the strings */
    /* Bytes that views point into and that do not lie in the file: unpacked or copied. Owned;
     * whoever takes one over sets its pointer to NULL. */
    struct torch_block {
        void *bytes;
        size_t n;
    } * block;
    size_t n_blocks;
};

/* Borrows `bytes`, the whole file. `place` names it in messages. */
bool torch_file_open(struct torch_file *file, const char *place, const uint8_t *bytes, size_t n,
                     struct error *err) MUST_CHECK;
void torch_file_free(struct torch_file *file); /* safe on a zeroed struct */

#endif
