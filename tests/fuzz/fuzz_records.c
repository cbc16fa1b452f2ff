/* Fuzz target of the record stream reader, tar and JSON included; see fuzz_safetensors.c. Fields of
 * an accepted part must be usable without further checks. */
#include <stdint.h>

#include "io/records.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static uint64_t use_part(const struct records_part *part, size_t n_labels)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < part->n; i++) {
        for (int64_t t = part->offset[i]; t < part->offset[i + 1]; t++)
            sum += (uint64_t)part->id[t];
        for (int64_t t = part->text ? part->text_offset[i] : 0;
             part->text && t < part->text_offset[i + 1]; t++)
            sum += part->text[t];
        for (size_t l = 0; part->logits && l < n_labels; l++)
            sum += part->logits[i * n_labels + l] > 0;
        sum += (uint64_t)part->label[i];
    }
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    struct error err = ERROR_INIT;
    struct source *source = source_open_memory("fuzz", bytes, n, &err);
    struct records_reader *reader = source ? records_reader_open(source, &err) : NULL;
    struct records_part part;
    uint64_t sum = 0;
    int more = reader ? 1 : -1;
    while (more > 0 && (more = records_next(reader, &part, &err)) > 0) {
        sum += use_part(&part, records_reader_header(reader)->n_labels);
        records_part_free(&part);
    }
    records_reader_close(reader);
    source_close(source);
    if (more < 0)
        return err.set ? 0 : -1;
    return sum == 0x5bd1e995 ? 1 : 0;
}
