#include "core/hash.h"
#include "io/safetensors.h"
#include "scratch.h"
#include "tests/tap.h"

struct buffer {
    uint8_t bytes[4096];
    size_t n;
};

static bool append(void *context, const void *bytes, size_t n, struct error *err)
{
    struct buffer *buffer = context;
    if (n > sizeof buffer->bytes - buffer->n)
        return error_set(err, "buffer is full");
    memcpy(buffer->bytes + buffer->n, bytes, n);
    buffer->n += n;
    return true;
}

static void test_round_trip(void)
{
    static const float weight[6] = {1, 2, 3, 4, 5, 6};
    static const int64_t offset[2] = {0, 7};
    static const uint8_t text[3] = {'a', 'b', 'c'};
    struct tensor_view view[] = {tensor_view_1d("text", DTYPE_U8, 3, text),
                                 tensor_view_2d("weight", DTYPE_F32, 2, 3, weight),
                                 tensor_view_1d("offset \"q\"", DTYPE_I64, 2, offset),
                                 tensor_view_1d("none", DTYPE_F16, 0, NULL)};
    const char *const metadata[] = {"xxh3", "0123456789abcdef", "format", "pt"};
    struct error err = ERROR_INIT;
    struct buffer file = {.n = 0};
    uint64_t size = 0, hash = 0;
    tap_ok(safetensors_size(view, 4, metadata, 2, &size, &err) &&
               safetensors_write(view, 4, metadata, 2, append, &file, &err) && file.n == size,
           "written, in the size foretold");
    struct safetensors st;
    if (!tap_ok(safetensors_parse(&st, "t", file.bytes, file.n, &err), "parsed %s", err.text))
        return;
    const struct tensor_view *found = safetensors_find(&st, "weight");
    tap_ok(st.n_tensors == 4 && found && found->rank == 2 && found->dim[0] == 2 &&
               found->dim[1] == 3 && memcmp(found->data, weight, sizeof weight) == 0,
           "a matrix comes back");
    found = safetensors_find(&st, "offset \"q\"");
    tap_ok(found && (size_t)((const uint8_t *)found->data - file.bytes) % 64 == 0,
           "the widest comes first, at a multiple of 64");
    found = safetensors_find(&st, "none");
    tap_ok(found && found->bytes == 0 && !safetensors_find(&st, "absent"),
           "empty and absent differ");
    tap_is(safetensors_metadata(&st, "format"), "pt", "metadata");
    tap_ok(!safetensors_metadata(&st, "absent"), "absent metadata");
    tap_ok(safetensors_data_hash(view, 4, &hash, &err) &&
               hash == hash_bytes(st.data, st.data_bytes),
           "the hash is that of the data area");
    char shape[64];
    tensor_view_describe(&view[1], shape, sizeof shape);
    tap_is(shape, "[2, 3] F32", "described");
    safetensors_free(&st);

    view[3].name = "text";
    tap_ok(!safetensors_size(view, 4, NULL, 0, &size, &err) && strstr(err.text, "twice"),
           "a name given twice is not written: %s", err.text);
}

/* Parse a header with n_data bytes behind it; in an exact allocation, so that ASan sees a step over
 * its end. */
static void expect(const char *header, size_t n_data, const char *expected)
{
    struct error err = ERROR_INIT;
    size_t length = strlen(header), n = 8 + length + n_data;
    uint8_t *bytes = calloc(n, 1);
    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)((uint64_t)length >> (8 * i));
    memcpy(bytes + 8, header, length);
    struct safetensors st;
    bool ok = safetensors_parse(&st, "t", bytes, n, &err);
    if (ok)
        safetensors_free(&st);
    tap_ok(expected ? !ok && strstr(err.text, expected) : ok, "%.90s -> %s", header,
           ok ? "accepted" : err.text);
    free(bytes);
}

static void test_bad(void)
{
    static const char *const types[] = {"F64", "F32", "F16", "BF16", "I64",
                                        "I32", "I16", "I8",  "U8",   "BOOL"};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        enum dtype type = DTYPE_F64;
        char header[128];
        bool known = dtype_from_name(types[i], &type);
        snprintf(header, sizeof header,
                 "{\"a\":{\"dtype\":\"%s\",\"shape\":[3],\"data_offsets\":[0,%zu]}}", types[i],
                 3 * dtype_bytes(type));
        expect(header, 3 * dtype_bytes(type), known ? NULL : "known");
    }
#define ONE(dtype, shape, begin, end)                                                              \
    "{\"a\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" begin "," end "]}}"
    expect("{}", 0, NULL);
    expect("{}   ", 0, NULL);
    expect(ONE("F32", "[]", "0", "4"), 4, NULL);
    expect("{}", 4, "follow the last tensor");
    expect(ONE("F32", "[2]", "0", "8"), 7, "cut short");
    expect(ONE("F32", "[2]", "4", "12"), 12, "gap");
    expect(ONE("F32", "[3]", "0", "8"), 8, "does not fit");
    expect(ONE("F32", "[2]", "8", "0"), 8, "do not lie");
    expect(ONE("F32", "[2]", "-8", "0"), 8, "do not lie");
    expect(ONE("F32", "[-2]", "0", "8"), 8, "0 or more");
    expect(ONE("F32", "[1.5]", "0", "8"), 8, "0 or more");
    expect(ONE("F32", "[4611686018427387904,4,0]", "0", "0"), 0, "does not fit");
    expect(ONE("F32", "[4611686018427387904,1]", "0", "0"), 0, "does not fit");
    expect(ONE("F32", "[1,1,1,1,1,1,1,1,1]", "0", "4"), 4, "at most 8");
    expect(ONE("F32", "99", "0", "4"), 4, "shape");
    expect(ONE("F8_E4M3", "[4]", "0", "4"), 4, "F8_E4M3");
    expect("{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "dtype");
    expect("{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, "data_offsets");
    expect("{\"a\":3}", 1, "dtype");
    expect("{\"__metadata__\":{\"a\":1}}", 0, "not a string");
    expect("{\"__metadata__\":[]}", 0, "not an object");
    expect("[1]", 0, "object");
    expect("{\"a\":", 0, "JSON");
    expect("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
           "\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}",
           2, "JSON");
    expect("{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
           "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]}}",
           3, "overlaps");
}

static void test_short(void)
{
    static const uint8_t huge[16] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    static const uint8_t cut[16] = {100};
    struct error err = ERROR_INIT;
    struct safetensors st;
    tap_ok(!safetensors_parse(&st, "t", huge, 16, &err) && strstr(err.text, "no safetensors"), "%s",
           err.text);
    error_clear(&err);
    tap_ok(!safetensors_parse(&st, "t", cut, 16, &err) && strstr(err.text, "cut short"), "%s",
           err.text);
    error_clear(&err);
    tap_ok(!safetensors_parse(&st, "t", cut, 7, &err) && strstr(err.text, "at least 8"), "%s",
           err.text);
}

int main(void)
{
    test_round_trip();
    test_bad();
    test_short();
    return tap_done();
}
