/* The fuzz targets without an engine: their seeds, what fuzzing found (tests/fuzz/found), and both
 * damaged at random with a fixed seed. A sanitizer build makes it worth more. */
#include <dirent.h>

#include "charsmap_make.h"
#include "core/memory.h"
#include "core/rng.h"
#include "io/tar.h"
#include "scratch.h"
#include "tests/tap.h"

#define LLVMFuzzerTestOneInput fuzz_safetensors
#include "tests/fuzz/fuzz_safetensors.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_records
#include "tests/fuzz/fuzz_records.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_charsmap
#include "tests/fuzz/fuzz_charsmap.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_sentencepiece
#include "tests/fuzz/fuzz_sentencepiece.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_json
#include "tests/fuzz/fuzz_json.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_table
#include "tests/fuzz/fuzz_table.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_torch
#include "tests/fuzz/fuzz_torch.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_tokenizer
#include "tests/fuzz/fuzz_tokenizer.c"
#undef LLVMFuzzerTestOneInput

enum { ROUNDS = 3000, FILE_ROUNDS = 100, N = 5, T = 9, LABELS = 2 };

typedef int target(const uint8_t *bytes, size_t n);

/* A few edits: bytes changed, digits swapped for others, stretches copied over others. */
static size_t damage(struct rng *rng, uint8_t *bytes, size_t n)
{
    size_t edits = 1 + rng_below(rng, 4);
    for (size_t e = 0; e < edits; e++) {
        size_t at = rng_below(rng, n), from = rng_below(rng, n), length = rng_below(rng, 64);
        switch (rng_below(rng, 4)) {
        case 0:
            bytes[at] ^= (uint8_t)(1u << rng_below(rng, 8));
            break;
        case 1:
            for (size_t i = at; i < n; i++)
                if (bytes[i] >= '0' && bytes[i] <= '9') {
                    bytes[i] = (uint8_t)('0' + rng_below(rng, 10));
                    break;
                }
            break;
        case 2:
            if (at + length <= n && from + length <= n)
                memmove(bytes + at, bytes + from, length);
            break;
        default:
            return 1 + rng_below(rng, n);
        }
    }
    return n;
}

/* In exact allocations aligned as a map is, so that a step over the end is seen. */
static bool hold(target *run, const uint8_t *whole, size_t n, int rounds, uint64_t seed)
{
    struct rng rng;
    rng_seed(&rng, seed);
    bool ok = run(whole, n) >= 0;
    uint8_t *changed = malloc(n);
    for (int round = 0; round < rounds && ok; round++) {
        struct error err = ERROR_INIT;
        memcpy(changed, whole, n);
        size_t m = damage(&rng, changed, n);
        uint8_t *exact = memory_aligned(m, 1, &err);
        memcpy(exact, changed, m);
        ok = run(exact, m) >= 0;
        free(exact);
    }
    free(changed);
    return ok;
}

/* A stream whose checksums are right and whose fields are nonsense; with bad false, a good one. */
static uint8_t *make_stream(struct rng *rng, bool bad, size_t *n)
{
    struct error err = ERROR_INIT;
    static char *label[LABELS] = {(char *)"a", (char *)"b"};
    int64_t offset[N + 1] = {0, 2, 4, 4, 8, T}, text_offset[N + 1] = {0, 1, 2, 3, 4, 5};
    int32_t id[T] = {1, 2, 3}, number[N] = {0, 1, -1};
    float logits[N * LABELS] = {0};
    static const int64_t odd[] = {-1, 0, 1, T, T + 1, INT32_MAX, INT64_MAX, INT64_MIN};
    enum { N_ODD = sizeof odd / sizeof *odd };
    for (uint64_t edits = bad ? rng_below(rng, 3) : 0; edits > 0; edits--) {
        offset[rng_below(rng, N + 1)] = odd[rng_below(rng, N_ODD)];
        text_offset[rng_below(rng, N + 1)] = odd[rng_below(rng, N_ODD)];
        number[rng_below(rng, N)] = (int32_t)odd[rng_below(rng, 6)];
        id[rng_below(rng, T)] = (int32_t)odd[rng_below(rng, 6)];
    }
    struct tensor_view view[] = {
        tensor_view_1d("ids", DTYPE_I32, T - (bad ? rng_below(rng, 2) : 0), id),
        tensor_view_1d("offsets", DTYPE_I64, N + 1, offset),
        tensor_view_1d("label", DTYPE_I32, N, number),
        tensor_view_1d("text", DTYPE_U8, 5, "hello"),
        tensor_view_1d("text_offsets", DTYPE_I64, N + 1 - (bad ? rng_below(rng, 2) : 0),
                       text_offset),
        tensor_view_2d("logits", DTYPE_F32, N, LABELS, logits)};
    struct records_header header = {.label = label, .n_labels = LABELS, .max_tokens = 4};
    struct output *output = output_open(scratch_path("nonsense.tok"), true, &err);
    struct records_writer *writer = records_writer_open(output, &header, NULL, 0, NULL, &err);
    bool ok = writer && records_write(writer, view, 6, &err) &&
              records_write(writer, view, 3, &err) && records_writer_finish(writer, &err) &&
              output_commit(output, &err);
    uint8_t *bytes = ok ? scratch_read(scratch_path("nonsense.tok"), n) : NULL;
    unlink(scratch_path("nonsense.tok"));
    return bytes;
}

static void test_sentencepiece(void)
{
    static unsigned char map[MAKE_BYTES];
    size_t n = make_charsmap(make_nfkc, MAKE_N_NFKC, map);
    tap_ok(hold(fuzz_charsmap, map, n, ROUNDS, 5), "damaged charsmaps");
    n = 0;
    uint8_t *model =
        scratch_read("tests/golden/tokenizers/model-file-xlmr/sentencepiece.bpe.model", &n);
    tap_ok(model && hold(fuzz_sentencepiece, model, n, ROUNDS, 6), "damaged SentencePiece models");
    free(model);
}

/* All files of a directory, as they are and damaged; how many, 0 when one does not hold. */
static size_t hold_files(target *run, const char *directory)
{
    char path[512];
    size_t n = 0, held = 0;
    DIR *dir = opendir(directory);
    bool ok = true;
    for (const struct dirent *entry; dir && ok && (entry = readdir(dir));) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
        uint8_t *bytes = scratch_read(path, &n);
        ok = bytes && hold(run, bytes, n, FILE_ROUNDS, ++held);
        free(bytes);
        if (!ok)
            printf("# %s does not hold\n", path);
    }
    if (dir)
        closedir(dir);
    return ok ? held : 0;
}

static void test_files(void)
{
    static const struct {
        const char *directory;
        target *run;
    } set[] = {
        {"tests/fuzz/seed/safetensors", fuzz_safetensors},
        {"tests/fuzz/seed/records", fuzz_records},
        {"tests/fuzz/seed/json", fuzz_json},
        {"tests/fuzz/seed/table", fuzz_table},
        {"tests/fuzz/seed/charsmap", fuzz_charsmap},
        {"tests/fuzz/seed/sentencepiece", fuzz_sentencepiece},
        {"tests/fuzz/seed/torch", fuzz_torch},
        {"tests/golden/torch", fuzz_torch},
        {"tests/fuzz/seed/tokenizer", fuzz_tokenizer},
        {"tests/fuzz/found/tokenizer", fuzz_tokenizer},
    };
    for (size_t i = 0; i < sizeof set / sizeof *set; i++)
        tap_ok(hold_files(set[i].run, set[i].directory) > 0, "%s", set[i].directory);
}

int main(void)
{
    struct rng rng;
    size_t n = 0;
    scratch_open();
    rng_seed(&rng, 1);
    bool ok = true;
    for (int round = 0; round < 300 && ok; round++) {
        struct error err = ERROR_INIT;
        uint8_t *bytes = make_stream(&rng, true, &n),
                *exact = bytes ? memory_aligned(n, 1, &err) : NULL;
        ok = exact != NULL;
        if (ok) {
            memcpy(exact, bytes, n);
            ok = fuzz_records(exact, n) >= 0;
        }
        free(exact);
        free(bytes);
    }
    tap_ok(ok, "record streams of nonsense with good checksums");
    rng_seed(&rng, 2);
    uint8_t *bytes = make_stream(&rng, false, &n);
    struct error err = ERROR_INIT;
    uint8_t *stream = memory_aligned(n, 1, &err);
    memcpy(stream, bytes, n);
    tap_ok(hold(fuzz_records, stream, n, ROUNDS, 3), "damaged record streams");
    struct source *source = source_open_memory("stream", stream, n, &err);
    struct tar_reader *reader = tar_reader_open(source, 0, &err);
    struct tar_member member;
    tap_ok(tar_next(reader, &member, &err) == 1 && tar_next(reader, &member, &err) == 1 &&
               hold(fuzz_safetensors, member.bytes, member.n, ROUNDS, 4),
           "damaged safetensors");
    tar_reader_close(reader);
    source_close(source);
    free(stream);
    free(bytes);
    test_sentencepiece();
    test_files();
    return tap_done();
}
