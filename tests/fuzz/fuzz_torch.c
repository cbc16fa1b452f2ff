/* Fuzz target of the reader of pytorch_model.bin, zip, pickle and storages: whatever is accepted
 * must be readable to its last byte. What begins as a pickle is also read as that of a state dict
 * alone, which the checksums of a zip would hide from mutations. See fuzz_safetensors.c. */
#include <stdint.h>

#include "core/hash.h"
#include "io/torch_file.h"
#include "io/torch_state.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static bool use_pickle(const uint8_t *bytes, size_t n, struct error *err)
{
    struct pickle pickle = {0};
    struct torch_state state = {0};
    bool ok = torch_state_pickle(&pickle, "fuzz", bytes, n, err) &&
              torch_state_read(&state, &pickle, "fuzz", err);
    for (size_t i = 0; ok && i < state.n; i++)
        ok = state.tensor[i].view.rank <= SAFETENSORS_MAX_RANK;
    torch_state_free(&state);
    pickle_free(&pickle);
    return ok;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    struct error err = ERROR_INIT;
    struct torch_file file = {0};
    uint64_t sum = 0;
    if (n > 0 && bytes[0] == 0x80 && !use_pickle(bytes, n, &err) && !err.set)
        return -1;
    err = (struct error)ERROR_INIT;
    if (!torch_file_open(&file, "fuzz", bytes, n, &err))
        return err.set ? 0 : -1;
    for (size_t i = 0; i < file.n_tensors; i++)
        sum ^= hash_bytes(file.tensor[i].data, (size_t)file.tensor[i].bytes);
    torch_file_free(&file);
    return sum == 0x5bd1e995 ? 1 : 0; /* so that the reads are not optimised away */
}
