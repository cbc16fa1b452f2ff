/* pytorch_model.bin: what torch.save() wrote equals what safetensors holds of it; hostile files are
 * refused for the right reason. Data: tests/golden/make_torch_files.py. */
#include <dirent.h>
#include <stdlib.h>

#include "core/memory.h"
#include "io/source.h"
#include "io/torch_file.h"
#include "tests/tap.h"

#define GOLDEN "tests/golden/torch/"

/* A file in an allocation of exactly its size, so that a sanitizer sees a step over its end. */
static uint8_t *read_all(const char *name, size_t *n)
{
    struct error err = ERROR_INIT;
    char *path = memory_format(&err, GOLDEN "%s", name);
    struct source *source = source_open(path, false, &err);
    const void *map = source ? source_map(source, n) : NULL;
    uint8_t *bytes = map ? memory_array(*n, 1, &err) : NULL;
    if (bytes)
        memcpy(bytes, map, *n);
    else
        printf("# %s\n", err.text);
    source_close(source);
    free(path);
    return bytes;
}

static bool same_tensor(const struct tensor_view *a, const struct tensor_view *b)
{
    return strcmp(a->name, b->name) == 0 && a->type == b->type && a->rank == b->rank &&
           memcmp(a->dim, b->dim, (size_t)a->rank * sizeof *a->dim) == 0 && a->bytes == b->bytes &&
           (a->bytes == 0 || memcmp(a->data, b->data, (size_t)a->bytes) == 0);
}

static void test_good(const char *name, const struct safetensors *expected)
{
    struct error err = ERROR_INIT;
    struct torch_file file;
    size_t n = 0, same = 0, inside = 0;
    uint8_t *bytes = read_all(name, &n);
    bool ok = torch_file_open(&file, name, bytes, n, &err);
    for (size_t i = 0; ok && i < file.n_tensors; i++) {
        const struct tensor_view *found = &file.tensor[i];
        const struct tensor_view *view = safetensors_find(expected, found->name);
        uintptr_t at = (uintptr_t)found->data;
        same += view && same_tensor(found, view);
        inside += at >= (uintptr_t)bytes && at <= (uintptr_t)bytes + n;
        if (!view || !same_tensor(found, view))
            printf("# %s differs\n", found->name);
    }
    tap_ok(ok && same == expected->n_tensors && file.n_tensors == same, "%s: %zu tensors %s", name,
           same, err.text);
    if (strcmp(name, "deflated.bin") != 0)
        tap_ok(inside == same - 3, "%s: all but the strided ones are views into the file", name);
    if (ok)
        torch_file_free(&file);
    free(bytes);
}

/* Every prefix of a good file is refused, and none is read beyond its end. */
static void test_cut(const char *name)
{
    size_t n = 0, refused = 0;
    uint8_t *bytes = read_all(name, &n);
    for (size_t cut = 0; cut < n; cut++) {
        struct error err = ERROR_INIT;
        struct torch_file file;
        uint8_t *exact = memory_array(cut, 1, &err);
        memcpy(exact, bytes, cut);
        if (!torch_file_open(&file, name, exact, cut, &err))
            refused += err.set;
        else
            torch_file_free(&file);
        free(exact);
    }
    tap_ok(refused == n, "%s cut to any of %zu lengths", name, n);
    free(bytes);
}

static const struct {
    const char *name, *expected;
} hostile[] = {
    {"system", "names posix.system"},
    {"system-as-value", "names posix.system"},
    {"eval", "names __builtin__.eval"},
    {"stack-global", "opcode STACK_GLOBAL"},
    {"protocol-4", "protocol 4"},
    {"inst", "opcode INST"},
    {"newobj", "opcode NEWOBJ"},
    {"extension", "opcode EXT1"},
    {"reduce-text", "REDUCE of what is no global"},
    {"reduce-reduced", "REDUCE of what is no global"},
    {"build-dict", "BUILD of what is no object"},
    {"long-global", "name of a global is too long"},
    {"marks", "nested deeper"},
    {"stack", "stack is deeper"},
    {"tuples", "is a tuple; a state dict"},
    {"self", "\"state_dict\" is a dict, not a tensor"},
    {"self-tuple", "values are left over"},
    {"text", "4294967295 bytes are announced"},
    {"long", "255 bytes are announced"},
    {"long4", "opcode LONG4"},
    {"memo-index", "memo's index is larger"},
    {"memo-empty", "memo has nothing"},
    {"underflow", "items are missing"},
    {"mark-underflow", "from an empty stack"},
    {"no-stop", "is cut short"},
    {"empty", "is cut short"},
    {"left-over", "values are left over"},
    {"laughs", "is a list; a state dict"},
    {"storage-large", "has 16 bytes, but the pickle says 5 elements of 4"},
    {"storage-missing", "storage m/data/1 is missing"},
    {"storage-path", "storage m/data/../data/0 is missing"},
    {"storage-global", "names torch.UntypedStorage"},
    {"storage-none", "its storage is none"},
    {"storage-negative", "its storage is none"},
    {"offset-negative", "its offset is not a number of 0 or more"},
    {"offset-large", "does not fit its storage of 4 elements"},
    {"offset-overflow", "does not fit its storage of 4 elements"},
    {"stride-negative", "stride is not a number of 0 or more"},
    {"stride-overflow", "does not fit its storage of 4 elements"},
    {"stride-zero", "does not fit its storage of 4 elements"},
    {"size-negative", "size or stride is not a number of 0 or more"},
    {"size-overflow", "does not fit its storage of 4 elements"},
    {"size-long", "no two tuples of up to 8 numbers"},
    {"size-unlike-stride", "no two tuples of up to 8 numbers"},
    {"rebuild-nothing", "its storage is none"},
    {"parameter-nothing", "is None, not a tensor"},
    {"call-storage", "is an object, not a tensor"},
    {"not-tensor", "is a string, not a tensor"},
    {"name-number", "is no string of up to 256 bytes"},
    {"name-zero", "is no string of up to 256 bytes"},
    {"name-twice", "has tensor \"a\" twice"},
    {"list", "is a list; a state dict"},
    {"copies", "would take more memory than the file"},
    {"two-pickles", "has two pickles"},
    {"script", "TorchScript"},
    {"member-twice", "has two members m/data/0"},
    {"bomb-pickle", "its pickle has 83886080 bytes"},
    {"bomb-storage", "unpacks to more than its 16 bytes"},
    {"many-tensors", "has 65537 tensors"},
    {"bomb-honest", "more than 16 times the bytes of the file"},
    {"no-pickle", "has no data.pkl"},
    {"cut", "is a damaged zip file, or is cut short"},
    {"lfs", "git lfs pull"},
    {"html", "is no file of torch.save"},
    {"plain-pickle", "not as torch.save writes it"},
    {"old-cut", "is cut short"},
    {"old-big", "not little-endian"},
    {"old-system", "names posix.system"},
};
enum { N_HOSTILE = sizeof hostile / sizeof *hostile };

static void test_bad(const char *name, const char *expected)
{
    struct error err = ERROR_INIT;
    struct torch_file file;
    size_t n = 0;
    uint8_t *bytes = read_all(name, &n);
    bool ok = torch_file_open(&file, name, bytes, n, &err);
    tap_ok(!ok && strstr(err.text, expected), "%s", ok ? name : err.text);
    if (ok)
        torch_file_free(&file);
    free(bytes);
}

/* Every hostile file that is there is in the table. */
static void test_table(void)
{
    DIR *directory = opendir(GOLDEN);
    size_t n = 0;
    struct dirent *item;
    while (directory && (item = readdir(directory)))
        n += strncmp(item->d_name, "hostile-", 8) == 0;
    if (directory)
        closedir(directory);
    tap_ok(n == N_HOSTILE, "%zu hostile files, %d expected messages", n, (int)N_HOSTILE);
}

int main(void)
{
    static const char *const good[] = {"zip.bin",    "old.bin",     "dict.bin",
                                       "module.bin", "wrapped.bin", "deflated.bin"};
    struct error err = ERROR_INIT;
    struct safetensors expected;
    size_t n = 0;
    uint8_t *bytes = read_all("expected.safetensors", &n);
    if (!bytes || !safetensors_parse(&expected, "expected", bytes, n, &err)) {
        tap_ok(false, "expected.safetensors %s", err.text);
        return tap_done();
    }
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        test_good(good[i], &expected);
    test_cut("zip.bin");
    test_cut("old.bin");
    test_cut("deflated.bin");
    test_bad("big.bin", "byte order is \"big\"");
    test_bad("damaged.bin", "damaged");
    test_table();
    for (size_t i = 0; i < N_HOSTILE; i++) {
        char name[80];
        snprintf(name, sizeof name, "hostile-%s.bin", hostile[i].name);
        test_bad(name, hostile[i].expected);
    }
    safetensors_free(&expected);
    free(bytes);
    return tap_done();
}
