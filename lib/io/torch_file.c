/* torch_file.c: a state dict with its storages: where the bytes of each tensor lie.
 *
 * First the pickle is read and every tensor checked against what it says of its storage, then each
 * storage against the bytes that are there; only then anything is unpacked or copied.
 */
#include "io/torch_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "io/torch_state.h"
#include "io/zip.h"

enum { LENGTH_BYTES = 8, OLD_PROTOCOL = 1001 };

/* Floats that are not all the same hardly compress, and torch.save does not even try: a zip file
 * may unpack to so many times its size, and a little. */
enum { MAX_RATIO = 16, FREE_BYTES = 4 << 20 };

/* The number that the old layout begins with, as a pickle holds it. */
static const uint8_t old_magic[] = {0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19};

struct storage {
    const struct pickle_value *key;
    const uint8_t *bytes;
    uint64_t n; /* elements */
    enum dtype type;
    struct zip_member *member; /* NULL in the old layout */
};

struct reader {
    struct torch_file *file;
    const char *place;
    const uint8_t *bytes;
    size_t n;
    struct torch_state state;
    struct storage *storage; /* [state.n], of each tensor */
    struct error *err;
};

/* ---- blocks ---- */

/* Takes the bytes over in any case. */
static bool keep_block(struct torch_file *file, void *bytes, size_t n, struct error *err)
{
    size_t room = file->n_blocks;
    struct torch_block *block = file->block;
    /* Grown to the power of two above: no capacity is kept. */
    if ((room & (room - 1)) == 0)
        block = realloc(file->block, (room ? 2 * room : 1) * sizeof *block);
    if (!bytes || !block) {
        free(bytes);
        return error_set(err, "no memory for %zu tensors", room + 1);
    }
    file->block = block;
    file->block[file->n_blocks++] = (struct torch_block){bytes, n};
    return true;
}

/* ---- views ---- */

/* The tensor's elements in order of its dimensions. */
static void gather(const struct torch_tensor *tensor, const uint8_t *storage, uint8_t *to)
{
    uint64_t index[SAFETENSORS_MAX_RANK] = {0}, at = tensor->offset;
    size_t width = dtype_bytes(tensor->view.type);
    for (uint64_t left = tensor_view_elements(&tensor->view); left > 0; left--, to += width) {
        memcpy(to, storage + at * width, width);
        for (int i = tensor->view.rank - 1; i >= 0; i--) {
            at += tensor->stride[i];
            if (++index[i] < tensor->view.dim[i])
                break;
            index[i] = 0;
            at -= tensor->stride[i] * tensor->view.dim[i];
        }
    }
}

static bool place_tensor(struct reader *r, size_t i, uint64_t *copied)
{
    const struct torch_tensor *tensor = &r->state.tensor[i];
    const struct storage *storage = &r->storage[i];
    struct tensor_view *view = &r->file->tensor[i];
    *view = tensor->view;
    view->data = storage->bytes;
    if (view->bytes == 0)
        return true;
    if (torch_tensor_contiguous(tensor)) {
        view->data = storage->bytes + tensor->offset * dtype_bytes(view->type);
        return true;
    }
    /* Many tensors may be strided over one storage: a small file must not fill the memory. */
    if (view->bytes > *copied)
        return error_set(r->err,
                         "%s: tensor \"%s\": copying strided tensors would take more memory than "
                         "the file has bytes; save the model as safetensors",
                         r->place, view->name);
    *copied -= view->bytes;
    uint8_t *bytes = memory_aligned((size_t)view->bytes, 1, r->err);
    if (!bytes)
        return false;
    gather(tensor, storage->bytes, bytes);
    view->data = bytes;
    return keep_block(r->file, bytes, (size_t)view->bytes, r->err);
}

static bool place_tensors(struct reader *r, uint64_t all_bytes)
{
    struct torch_file *file = r->file;
    file->tensor = memory_array(r->state.n, sizeof *file->tensor, r->err);
    if (!file->tensor)
        return false;
    for (size_t i = 0; i < r->state.n; i++)
        if (!place_tensor(r, i, &all_bytes))
            return false;
    file->n_tensors = r->state.n;
    file->names = r->state.names;
    r->state.names = NULL;
    return true;
}

static bool read_state(struct reader *r, const struct pickle *pickle)
{
    if (!torch_state_read(&r->state, pickle, r->place, r->err))
        return false;
    r->storage = memory_zeroed(r->state.n, sizeof *r->storage, r->err);
    for (size_t i = 0; r->storage && i < r->state.n; i++) {
        const struct torch_tensor *tensor = &r->state.tensor[i];
        r->storage[i] = (struct storage){
            .key = tensor->key, .n = tensor->storage_elements, .type = tensor->view.type};
    }
    return r->storage != NULL;
}

/* ---- the zip layout ---- */

/* The member that ends in "/data.pkl"; *root bytes of it are the directory with its slash. */
static struct zip_member *find_pickle(const struct zip *zip, size_t *root, struct error *err)
{
    static const char name[] = "/data.pkl";
    struct zip_member *found = NULL;
    for (size_t i = 0; i < zip->n; i++) {
        const char *slash = strchr(zip->member[i].name, '/');
        if (!slash || strcmp(slash, name) != 0)
            continue;
        if (found) {
            error_set(err, "%s: has two pickles, %s and %s", zip->place, found->name,
                      zip->member[i].name);
            return NULL;
        }
        found = &zip->member[i];
        *root = (size_t)(slash - found->name) + 1;
    }
    if (!found)
        error_set(err, "%s: is a zip file, but has no data.pkl as torch.save writes it",
                  zip->place);
    return found;
}

/* Member `name` (n bytes) of the directory that the pickle lies in. */
static struct zip_member *find_beside(const struct zip *zip, const struct zip_member *pickle,
                                      size_t root, const char *directory, const char *name,
                                      size_t n, struct error *err)
{
    char *path = memory_format(err, "%.*s%s%.*s", (int)root, pickle->name, directory, (int)n, name);
    struct zip_member *member = path ? zip_find(zip, path) : NULL;
    free(path);
    return member;
}

/* Programs and other byte orders look like state dicts from afar. */
static bool check_archive(struct zip *zip, struct zip_member *pickle, size_t root,
                          struct error *err)
{
    static const char constants[] = "constants.pkl", order[] = "byteorder", little[] = "little";
    struct zip_member *byteorder = find_beside(zip, pickle, root, "", order, sizeof order - 1, err);
    if (find_beside(zip, pickle, root, "", constants, sizeof constants - 1, err))
        return error_set(err,
                         "%s: is a TorchScript program, not a state dict; save the model with "
                         "save_pretrained",
                         zip->place);
    if (pickle->n > PICKLE_MAX_BYTES || (byteorder && byteorder->n > 16))
        return error_set(err, "%s: its pickle has %" PRIu64 " bytes; at most %d are accepted",
                         zip->place, pickle->n, PICKLE_MAX_BYTES);
    pickle->wanted = true;
    if (byteorder)
        byteorder->wanted = true;
    if (err->set || !zip_unpack(zip, err))
        return false;
    if (!byteorder || (byteorder->n == sizeof little - 1 &&
                       memcmp(byteorder->bytes, little, sizeof little - 1) == 0))
        return true;
    return error_set(err,
                     "%s: its byte order is \"%.*s\"; only \"little\" is read: save the model "
                     "as safetensors where it was made",
                     zip->place, (int)byteorder->n, (const char *)byteorder->bytes);
}

/* No more memory for what is unpacked than a file of this size is likely to hold. */
static bool check_unpacked(const struct reader *r, const struct zip *zip)
{
    uint64_t room = (uint64_t)r->n * MAX_RATIO + FREE_BYTES;
    for (size_t i = 0; i < zip->n; i++) {
        const struct zip_member *member = &zip->member[i];
        if (!member->wanted || member->owned)
            continue;
        if (member->n > room)
            return error_set(r->err,
                             "%s: its compressed members hold more than %d times the bytes of the "
                             "file; save the model with save_pretrained",
                             r->place, MAX_RATIO);
        room -= member->n;
    }
    return true;
}

/* The member of every tensor's storage, those that are compressed unpacked. */
static bool find_storages(struct reader *r, struct zip *zip, const struct zip_member *pickle,
                          size_t root)
{
    bool unpack = false;
    for (size_t i = 0; i < r->state.n; i++) {
        const struct torch_tensor *tensor = &r->state.tensor[i];
        struct zip_member *member =
            find_beside(zip, pickle, root, "data/", tensor->key->text, tensor->key->n, r->err);
        if (!member)
            return error_set(r->err, "%s: tensor \"%s\": its storage %.*sdata/%.*s is missing",
                             r->place, tensor->view.name, (int)root, pickle->name,
                             (int)tensor->key->n, tensor->key->text);
        size_t width = dtype_bytes(tensor->view.type);
        if (member->n / width != tensor->storage_elements || member->n % width != 0)
            return error_set(r->err,
                             "%s: tensor \"%s\": its storage %s has %" PRIu64
                             " bytes, but the pickle says %" PRIu64 " elements of %zu",
                             r->place, tensor->view.name, member->name, member->n,
                             tensor->storage_elements, width);
        member->wanted = member->bytes == NULL;
        unpack = unpack || member->wanted;
        r->storage[i].member = member;
    }
    if (unpack && !(check_unpacked(r, zip) && zip_unpack(zip, r->err)))
        return false;
    for (size_t i = 0; i < r->state.n; i++)
        r->storage[i].bytes = r->storage[i].member->bytes;
    return true;
}

static bool keep_unpacked(struct reader *r, struct zip *zip, const struct zip_member *pickle)
{
    for (size_t i = 0; i < zip->n; i++) {
        struct zip_member *member = &zip->member[i];
        void *owned = member == pickle ? NULL : member->owned;
        if (!owned)
            continue;
        member->owned = NULL;
        if (!keep_block(r->file, owned, (size_t)member->n, r->err))
            return false;
    }
    return true;
}

static bool read_zip(struct reader *r)
{
    struct zip zip;
    struct pickle pickle = {0};
    size_t root = 0;
    uint64_t all_bytes = 0;
    if (!zip_open(&zip, r->place, r->bytes, r->n, r->err))
        return false;
    struct zip_member *member = find_pickle(&zip, &root, r->err);
    bool ok = member && check_archive(&zip, member, root, r->err) &&
              torch_state_pickle(&pickle, r->place, member->bytes, (size_t)member->n, r->err) &&
              read_state(r, &pickle) && find_storages(r, &zip, member, root);
    for (size_t i = 0; i < zip.n && ok; i++)
        all_bytes += zip.member[i].n;
    ok = ok && place_tensors(r, all_bytes) && keep_unpacked(r, &zip, member);
    pickle_free(&pickle);
    zip_free(&zip);
    return ok;
}

/* ---- the old layout ---- */

/* Five pickles (magic number, version, byte order, the state dict, its storages' keys), then each
 * storage in the order of the keys: its number of elements (8 bytes) and they. */

static int compare_keys(const struct pickle_value *a, const struct pickle_value *b)
{
    size_t n = a->n < b->n ? a->n : b->n;
    int order = memcmp(a->text, b->text, n);
    return order ? order : (a->n > b->n) - (a->n < b->n);
}

static int compare_storages(const void *a, const void *b)
{
    const struct storage *const *x = a, *const *y = b;
    return compare_keys((*x)->key, (*y)->key);
}

/* The first of the sorted storages with this key; n when there is none. */
static size_t find_key(struct storage *const *sorted, size_t n, const struct pickle_value *key)
{
    size_t begin = 0, end = n;
    while (begin < end) {
        size_t middle = begin + (end - begin) / 2;
        if (compare_keys(sorted[middle]->key, key) < 0)
            begin = middle + 1;
        else
            end = middle;
    }
    return begin < n && compare_keys(sorted[begin]->key, key) == 0 ? begin : n;
}

/* The storage at byte *at belongs to all tensors from `first` on that have its key. */
static bool place_storage(struct reader *r, struct storage **sorted, size_t first, size_t *at)
{
    const struct storage *one = sorted[first];
    size_t width = dtype_bytes(one->type), left = r->n - *at;
    uint64_t elements = 0;
    for (int i = LENGTH_BYTES; i-- > 0 && left >= LENGTH_BYTES;)
        elements = elements << 8 | r->bytes[*at + (size_t)i];
    if (left < LENGTH_BYTES || elements != one->n || elements > (left - LENGTH_BYTES) / width)
        return error_set(r->err,
                         "%s: storage %.*s at byte %zu should have %" PRIu64
                         " elements: the file is cut short or damaged",
                         r->place, (int)one->key->n, one->key->text, *at, one->n);
    for (size_t i = first; i < r->state.n && compare_storages(&sorted[i], &sorted[first]) == 0;
         i++) {
        if (sorted[i]->bytes || sorted[i]->type != one->type || sorted[i]->n != elements)
            return error_set(r->err, "%s: storage %.*s is there twice, or has two types", r->place,
                             (int)one->key->n, one->key->text);
        sorted[i]->bytes = r->bytes + *at + LENGTH_BYTES;
    }
    *at += LENGTH_BYTES + (size_t)elements * width;
    return true;
}

static bool place_storages(struct reader *r, const struct pickle *keys, size_t at)
{
    const struct pickle_value *list = &keys->value[keys->root];
    struct storage **sorted = memory_array(r->state.n, sizeof *sorted, r->err);
    bool ok = sorted && (list->kind == PICKLE_LIST ||
                         error_set(r->err, "%s: has no list of storages", r->place));
    for (size_t i = 0; i < r->state.n && ok; i++)
        sorted[i] = &r->storage[i];
    if (ok && r->state.n)
        qsort(sorted, r->state.n, sizeof *sorted, compare_storages);
    for (uint32_t c = ok ? list->first : 0; c && ok; c = keys->cell[c].next) {
        const struct pickle_value *key = &keys->value[keys->cell[c].value];
        size_t first = key->kind == PICKLE_TEXT ? find_key(sorted, r->state.n, key) : r->state.n;
        if (first == r->state.n)
            ok = error_set(r->err, "%s: has a storage that belongs to no tensor", r->place);
        else
            ok = place_storage(r, sorted, first, &at);
    }
    for (size_t i = 0; i < r->state.n && ok; i++)
        if (!r->storage[i].bytes)
            ok = error_set(r->err, "%s: tensor \"%s\": its storage is missing", r->place,
                           r->state.tensor[i].view.name);
    free(sorted);
    return ok;
}

/* Value of a key of a dict; NULL: none. */
static const struct pickle_value *entry_of(const struct pickle *pickle, const char *key)
{
    const struct pickle_value *root = &pickle->value[pickle->root], *found = NULL;
    for (uint32_t c = root->kind == PICKLE_DICT ? root->first : 0; c; c = pickle->cell[c].next)
        if (pickle_is_text(&pickle->value[pickle->cell[c].key], key))
            found = &pickle->value[pickle->cell[c].value];
    return found;
}

/* The first pickle tells whether torch.save() wrote the others, too. */
static bool check_magic(const struct reader *r, const struct pickle *pickle)
{
    const struct pickle_value *magic = &pickle->value[pickle->root];
    return (magic->kind == PICKLE_LONG && magic->n == sizeof old_magic &&
            memcmp(magic->text, old_magic, sizeof old_magic) == 0) ||
           error_set(r->err,
                     "%s: is a pickle, but not as torch.save writes it; save the model with "
                     "save_pretrained",
                     r->place);
}

static bool check_version(const struct reader *r, const struct pickle *pickle)
{
    const struct pickle_value *version = &pickle->value[pickle->root];
    return (version->kind == PICKLE_INTEGER && version->integer == OLD_PROTOCOL) ||
           error_set(r->err, "%s: is of another version of torch.save's format than %d", r->place,
                     OLD_PROTOCOL);
}

static bool check_order(const struct reader *r, const struct pickle *pickle)
{
    const struct pickle_value *little = entry_of(pickle, "little_endian");
    return (little && little->kind == PICKLE_BOOL && little->integer) ||
           error_set(r->err,
                     "%s: its byte order is not little-endian; save the model as safetensors "
                     "where it was made",
                     r->place);
}

static bool read_old(struct reader *r)
{
    enum { STATE = 3, KEYS = 4, N_PICKLES = 5 };
    static bool (*const check[STATE])(const struct reader *, const struct pickle *) = {
        check_magic, check_version, check_order};
    struct pickle part[N_PICKLES] = {0};
    size_t at = 0;
    bool ok = true;
    for (size_t i = 0; i < N_PICKLES && ok; i++) {
        ok = torch_state_pickle(&part[i], r->place, r->bytes + at, r->n - at, r->err) &&
             (i >= STATE || check[i](r, &part[i]));
        at += part[i].used;
    }
    ok = ok && read_state(r, &part[STATE]) && place_storages(r, &part[KEYS], at) &&
         place_tensors(r, r->n);
    for (size_t i = 0; i < N_PICKLES; i++)
        pickle_free(&part[i]);
    return ok;
}

/* ---- the interface ---- */

bool torch_file_open(struct torch_file *file, const char *place, const uint8_t *bytes, size_t n,
                     struct error *err)
{
    static const char lfs[] = "version https://git-lfs";
    *file = (struct torch_file){0};
    struct reader r = {.file = file, .place = place, .bytes = bytes, .n = n, .err = err};
    bool ok = false;
    if (n >= sizeof lfs - 1 && memcmp(bytes, lfs, sizeof lfs - 1) == 0)
        error_set(err, "%s: is a Git LFS pointer, not the file itself; fetch it with git lfs pull",
                  place);
    else if (zip_detect(bytes, n))
        ok = read_zip(&r);
    else if (n > 1 && bytes[0] == 0x80)
        ok = read_old(&r);
    else
        error_set(err, "%s: is no file of torch.save (neither a zip file nor a pickle)", place);
    free(r.storage);
    torch_state_free(&r.state);
    if (!ok)
        torch_file_free(file);
    return ok;
}

void torch_file_free(struct torch_file *file)
{
    for (size_t i = 0; i < file->n_blocks; i++)
        free(file->block[i].bytes);
    free(file->block);
    free(file->tensor);
    free(file->names);
    *file = (struct torch_file){0};
}
