/* Fuzz target of the safetensors reader: whatever is accepted must be readable to its last byte.
 * `make fuzz` runs all targets with clang's libFuzzer; without an engine tests/unit/test_fuzz.c
 * feeds them. A target returns -1 when the parser broke its contract, e.g. failed without saying
 * why. */
#include <stdint.h>

#include "core/hash.h"
#include "io/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    struct error err = ERROR_INIT;
    struct safetensors st;
    uint64_t sum = 0;
    if (!safetensors_parse(&st, "fuzz", bytes, n, &err))
        return err.set ? 0 : -1;
    for (size_t i = 0; i < st.n_tensors; i++)
        sum ^= hash_bytes(st.tensor[i].data, (size_t)st.tensor[i].bytes);
    for (size_t i = 0; i < st.n_metadata; i++)
        sum ^= (uint8_t)safetensors_metadata(&st, st.metadata[2 * i])[0];
    safetensors_free(&st);
    return sum == 0x5bd1e995 ? 1 : 0; /* so that the reads are not optimised away */
}
