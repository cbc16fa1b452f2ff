/* bundle.c: members of a model, wherever they lie, and their checksums.
 *
 * Members are an array of entries sorted by name. Each may have block hashes from millet.json and a
 * flag per block: verified or not yet. Flags are set by whichever thread has hashed the block; two
 * doing so at once do no harm.
 */
#include "io/bundle.h"

#include <dirent.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/hash.h"
#include "core/jobject.h"
#include "core/memory.h"
#include "io/failure.h"

enum { RELEASE_BLOCKS = 16 };

static const char millet_name[] = "millet.json";

struct entry {
    struct bundle_member member;
    char *name;
    void *owned;           /* the bytes, when not mapped */
    struct source *source; /* of a directory's file; else NULL */
    int depth;             /* slashes in the tar's name */
    size_t n_blocks;
    uint64_t *block_hash; /* NULL: no checksums */
    atomic_uchar *verified;
};

struct bundle {
    char *name;
    struct source *source; /* of a tar; else NULL */
    struct entry *entry;
    size_t n, capacity;
    struct adopted {
        void *bytes;
        size_t n;
    } * adopted;
    size_t n_adopted, adopted_room;
    json_t *millet;
};

/* ---- members ---- */

static void entry_free(struct entry *entry)
{
    free(entry->name);
    free(entry->owned);
    free(entry->block_hash);
    free(entry->verified);
    source_close(entry->source);
}

/* A new entry under a copy of the name; NULL without memory. */
static struct entry *add_entry(struct bundle *bundle, const char *name, struct error *err)
{
    if (!memory_grow(&bundle->entry, &bundle->capacity, bundle->n + 1, sizeof *bundle->entry, err))
        return NULL;
    struct entry *entry = &bundle->entry[bundle->n];
    *entry = (struct entry){.name = memory_copy(name, strlen(name), err)};
    if (!entry->name)
        return NULL;
    bundle->n++;
    entry->member.name = entry->name;
    return entry;
}

static bool add_file(struct bundle *bundle, const char *path, const char *name, struct error *err)
{
    struct entry *entry = add_entry(bundle, name, err);
    if (!entry)
        return false;
    entry->source = source_open(path, false, err);
    if (!entry->source || !source_spool(entry->source, err))
        return false;
    entry->member.bytes = source_map(entry->source, &entry->member.n);
    return true;
}

/* Regular files of a directory, hidden ones and subdirectories left out. */
static bool read_directory(struct bundle *bundle, const char *path, struct error *err)
{
    DIR *directory = opendir(path);
    if (!directory)
        return error_set_errno(err, "%s: cannot open", path);
    bool ok = true;
    struct dirent *item;
    while (ok && (errno = 0, item = readdir(directory))) {
        struct stat st;
        if (item->d_name[0] == '.')
            continue;
        char *file = memory_format(err, "%s/%s", path, item->d_name);
        ok = file != NULL;
        if (ok && stat(file, &st) == 0 && S_ISREG(st.st_mode))
            ok = add_file(bundle, file, item->d_name, err);
        free(file);
    }
    if (ok && errno)
        ok = error_set_errno(err, "%s: cannot read the directory", path);
    closedir(directory);
    return ok;
}

/* "./dir/config.json" to "dir/config.json"; *depth counts the slashes left. */
static const char *plain_name(const char *name, int *depth)
{
    while (name[0] == '.' && name[1] == '/')
        name += 2 + strspn(name + 2, "/");
    *depth = 0;
    for (const char *c = name; *c; c++)
        *depth += *c == '/';
    return name;
}

static bool read_members(struct bundle *bundle, struct tar_reader *reader, struct error *err)
{
    struct tar_member member;
    int more;
    while ((more = tar_next(reader, &member, err)) > 0) {
        int depth;
        const char *name = plain_name(member.name, &depth);
        const char *slash = strrchr(name, '/'), *base = slash ? slash + 1 : name;
        if (strcmp(name, FAILURE_MEMBER) == 0)
            return failure_tell(bundle->name, member.bytes, member.n, err);
        if (strcmp(name, "stream.json") == 0)
            return error_set(err,
                             "%s: is a record stream; a model is expected here "
                             "(records are operands, models go with -m)",
                             bundle->name);
        if (depth > 1 || *base == '.' || !*base)
            continue;
        struct entry *entry = add_entry(bundle, name, err);
        if (!entry)
            return false;
        entry->depth = depth;
        entry->member.bytes = member.bytes;
        entry->member.n = member.n;
        entry->owned = tar_take(reader);
    }
    return more == 0;
}

/* With files at the top, those of subdirectories (1_Pooling/config.json) are not the model's. Else
 * all must lie in one directory, whose name is dropped. */
static bool choose_level(struct bundle *bundle, struct error *err)
{
    int level = 1;
    size_t n = 0;
    for (size_t i = 0; i < bundle->n; i++)
        if (bundle->entry[i].depth == 0)
            level = 0;
    for (size_t i = 0; i < bundle->n; i++) {
        struct entry *entry = &bundle->entry[i];
        if (entry->depth != level)
            entry_free(entry);
        else
            bundle->entry[n++] = *entry;
    }
    bundle->n = n;
    for (size_t i = 0; level == 1 && i < n; i++) {
        const char *name = bundle->entry[i].name, *first = bundle->entry[0].name;
        size_t directory = (size_t)(strchr(name, '/') - name) + 1;
        if (strncmp(name, first, directory) != 0)
            return error_set(err,
                             "%s: holds several directories (%.*s and another); "
                             "a model lies at the top or in one directory",
                             bundle->name, (int)directory, name);
        bundle->entry[i].member.name = name + directory;
    }
    return true;
}

static bool read_tar(struct bundle *bundle, const char *path, struct error *err)
{
    bundle->source = source_open(path, false, err);
    if (!bundle->source || !source_spool(bundle->source, err))
        return false;
    struct tar_reader *reader = tar_reader_open(bundle->source, 0, err);
    bool ok = reader && read_members(bundle, reader, err);
    tar_reader_close(reader);
    return ok && choose_level(bundle, err);
}

static int compare_names(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    return strcmp(x->member.name, y->member.name);
}

static bool sort_members(struct bundle *bundle, struct error *err)
{
    if (bundle->n)
        qsort(bundle->entry, bundle->n, sizeof *bundle->entry, compare_names);
    for (size_t i = 1; i < bundle->n; i++)
        if (compare_names(&bundle->entry[i - 1], &bundle->entry[i]) == 0)
            return error_set(err, "%s: has %s twice; is it two models one after another?",
                             bundle->name, bundle->entry[i].member.name);
    return true;
}

/* ---- millet.json ---- */

static struct entry *find_entry(const struct bundle *bundle, const char *name)
{
    for (size_t i = 0; i < bundle->n; i++)
        if (strcmp(bundle->entry[i].member.name, name) == 0)
            return &bundle->entry[i];
    return NULL;
}

static size_t blocks_of(size_t n)
{
    return n / BUNDLE_BLOCK_BYTES + (n % BUNDLE_BLOCK_BYTES != 0);
}

static bool take_checksums(struct entry *entry, const char *place, const json_t *sums,
                           struct error *err)
{
    int64_t bytes = 0, block = 0;
    const json_t *hashes = json_object_get(sums, "xxh3");
    if (!jobject_integer(sums, place, "bytes", true, 0, INT64_MAX, &bytes, err) ||
        !jobject_integer(sums, place, "block", true, BUNDLE_BLOCK_BYTES, BUNDLE_BLOCK_BYTES, &block,
                         err))
        return false;
    if ((uint64_t)bytes != entry->member.n)
        return error_set(
            err, "%s: has %zu bytes, but was written with %jd: it is cut short or was edited",
            place, entry->member.n, (intmax_t)bytes);
    entry->n_blocks = blocks_of(entry->member.n);
    if (json_array_size(hashes) != entry->n_blocks)
        return error_set(err, "%s: has %zu blocks, but millet.json %zu checksums", place,
                         entry->n_blocks, json_array_size(hashes));
    entry->block_hash = memory_array(entry->n_blocks, sizeof *entry->block_hash, err);
    entry->verified = memory_zeroed(entry->n_blocks, sizeof *entry->verified, err);
    if (!entry->block_hash || !entry->verified)
        return false;
    for (size_t i = 0; i < entry->n_blocks; i++) {
        const char *text = json_string_value(json_array_get(hashes, i));
        if (!text || !hash_parse(text, &entry->block_hash[i]))
            return error_set(err, "%s: checksum %zu in millet.json is not 16 hexadecimal digits",
                             place, i);
    }
    return true;
}

static bool read_checksums(struct bundle *bundle, struct error *err)
{
    const char *name;
    json_t *sums;
    json_object_foreach(json_object_get(bundle->millet, "checksums"), name, sums)
    {
        struct entry *entry = find_entry(bundle, name);
        if (!entry)
            return error_set(err, "%s: millet.json lists %s, which is missing", bundle->name, name);
        char *place = memory_format(err, "%s: %s", bundle->name, name);
        bool ok = place && take_checksums(entry, place, sums, err);
        free(place);
        if (!ok)
            return false;
    }
    return true;
}

static bool read_millet(struct bundle *bundle, const char *expected, struct error *err)
{
    const struct entry *entry = find_entry(bundle, millet_name);
    if (!entry)
        return true;
    char *place = memory_format(err, "%s: %s", bundle->name, millet_name);
    if (!place)
        return false;
    int64_t version = 0;
    const char *kind = NULL;
    bundle->millet = jobject_parse((const char *)entry->member.bytes, entry->member.n, place, err);
    bool ok = bundle->millet && jobject_integer(bundle->millet, place, "millet", true, INT64_MIN,
                                                INT64_MAX, &version, err);
    if (ok && version != BUNDLE_FORMAT)
        ok = error_set(
            err, "%s: format version %jd; this program reads version %d: use a matching Millet",
            place, (intmax_t)version, BUNDLE_FORMAT);
    ok = ok && jobject_check_seal(bundle->millet, place, err) &&
         jobject_string(bundle->millet, place, "kind", true, &kind, err);
    if (ok && strcmp(kind, expected) != 0)
        ok = error_set(err, "%s: is of kind \"%s\"; a %s is expected", place, kind, expected);
    free(place);
    return ok && read_checksums(bundle, err);
}

/* ---- the interface ---- */

struct bundle *bundle_open(const char *path, struct error *err)
{
    return bundle_open_kind(path, "model", err);
}

struct bundle *bundle_open_kind(const char *path, const char *kind, struct error *err)
{
    struct bundle *bundle = memory_zeroed(1, sizeof *bundle, err);
    if (!bundle)
        return NULL;
    const char *name = strcmp(path, "-") == 0 ? "<stdin>" : path;
    struct stat st;
    bool directory = name == path && stat(path, &st) == 0 && S_ISDIR(st.st_mode);
    bundle->name = memory_copy(name, strlen(name), err);
    if (bundle->name &&
        (directory ? read_directory(bundle, path, err) : read_tar(bundle, path, err)) &&
        sort_members(bundle, err) && read_millet(bundle, kind, err))
        return bundle;
    bundle_close(bundle);
    return NULL;
}

void bundle_close(struct bundle *bundle)
{
    if (!bundle)
        return;
    for (size_t i = 0; i < bundle->n; i++)
        entry_free(&bundle->entry[i]);
    for (size_t i = 0; i < bundle->n_adopted; i++)
        free(bundle->adopted[i].bytes);
    free(bundle->adopted);
    free(bundle->entry);
    source_close(bundle->source);
    json_decref(bundle->millet);
    free(bundle->name);
    free(bundle);
}

const char *bundle_name(const struct bundle *bundle)
{
    return bundle->name;
}

const json_t *bundle_millet(const struct bundle *bundle)
{
    return bundle->millet;
}

size_t bundle_count(const struct bundle *bundle)
{
    return bundle->n;
}

const struct bundle_member *bundle_member(const struct bundle *bundle, size_t i)
{
    return &bundle->entry[i].member;
}

const struct bundle_member *bundle_find(const struct bundle *bundle, const char *name)
{
    const struct entry *entry = find_entry(bundle, name);
    return entry ? &entry->member : NULL;
}

void bundle_list(const struct bundle *bundle, char *text, size_t n)
{
    size_t used = (size_t)snprintf(text, n, "%s", bundle->n ? "" : "nothing");
    for (size_t i = 0; i < bundle->n && used < n; i++)
        used += (size_t)snprintf(text + used, n - used, "%s%s", i ? ", " : "",
                                 bundle->entry[i].member.name);
}

const struct bundle_member *bundle_require(struct bundle *bundle, const char *name,
                                           struct error *err)
{
    const struct bundle_member *member = bundle_find(bundle, name);
    if (member)
        return bundle_verify(bundle, member->bytes, member->n, err) ? member : NULL;
    char list[400];
    bundle_list(bundle, list, sizeof list);
    error_set(err, "%s: has no %s; it has: %s", bundle->name, name, list);
    return NULL;
}

static bool verify_block(const struct bundle *bundle, struct entry *entry, size_t i,
                         struct error *err)
{
    if (atomic_load_explicit(&entry->verified[i], memory_order_acquire))
        return true;
    size_t begin = i * BUNDLE_BLOCK_BYTES, left = entry->member.n - begin;
    size_t n = left < BUNDLE_BLOCK_BYTES ? left : BUNDLE_BLOCK_BYTES;
    if (hash_bytes(entry->member.bytes + begin, n) != entry->block_hash[i])
        return error_set(
            err,
            "%s: %s: bytes %zu to %zu do not have the checksum that millet.json gives: "
            "the file is damaged, or was edited after it was written",
            bundle->name, entry->member.name, begin, begin + n - 1);
    atomic_store_explicit(&entry->verified[i], 1, memory_order_release);
    return true;
}

static bool lies_in(const void *range, size_t range_bytes, const void *bytes, size_t n)
{
    uintptr_t start = (uintptr_t)range, at = (uintptr_t)bytes;
    return at >= start && at - start <= range_bytes && n <= range_bytes - (at - start);
}

bool bundle_verify(struct bundle *bundle, const void *bytes, size_t n, struct error *err)
{
    uintptr_t at = (uintptr_t)bytes;
    if (n == 0)
        return true;
    for (size_t i = 0; i < bundle->n; i++) {
        struct entry *entry = &bundle->entry[i];
        uintptr_t start = (uintptr_t)entry->member.bytes;
        if (at < start || at - start >= entry->member.n)
            continue;
        size_t begin = at - start;
        if (n > entry->member.n - begin)
            break;
        if (!entry->block_hash)
            return true;
        for (size_t b = begin / BUNDLE_BLOCK_BYTES; b <= (begin + n - 1) / BUNDLE_BLOCK_BYTES; b++)
            if (!verify_block(bundle, entry, b, err))
                return false;
        return true;
    }
    for (size_t i = 0; i < bundle->n_adopted; i++)
        if (lies_in(bundle->adopted[i].bytes, bundle->adopted[i].n, bytes, n))
            return true;
    return error_set(err, "%s: %zu bytes to verify lie in none of its members", bundle->name, n);
}

bool bundle_adopt(struct bundle *bundle, void *bytes, size_t n, struct error *err)
{
    if (!memory_grow(&bundle->adopted, &bundle->adopted_room, bundle->n_adopted + 1,
                     sizeof *bundle->adopted, err))
        return false;
    bundle->adopted[bundle->n_adopted++] = (struct adopted){bytes, n};
    return true;
}

void bundle_release(const struct bundle *bundle)
{
    if (bundle->source)
        source_release(bundle->source);
    for (size_t i = 0; i < bundle->n; i++)
        if (bundle->entry[i].source)
            source_release(bundle->entry[i].source);
}

void bundle_scattered(const struct bundle *bundle, const void *bytes, size_t n, bool yes)
{
    for (size_t i = 0; i < bundle->n; i++) {
        const struct entry *entry = &bundle->entry[i];
        const struct source *source = entry->source ? entry->source : bundle->source;
        if (!entry->owned && lies_in(entry->member.bytes, entry->member.n, bytes, n))
            source_scattered(source, bytes, n, yes);
    }
}

bool bundle_member_hash(const struct bundle *bundle, const struct bundle_member *member,
                        uint64_t *hash, struct error *err)
{
    const struct entry *entry = find_entry(bundle, member->name);
    struct hash_stream *stream = hash_stream_open();
    if (!entry || !stream) {
        hash_stream_close(stream);
        return error_set(err, "%s: %s: cannot be hashed: no memory", bundle->name, member->name);
    }
    for (size_t i = 0; i < blocks_of(member->n); i++) {
        size_t begin = i * BUNDLE_BLOCK_BYTES, left = member->n - begin;
        size_t n = left < BUNDLE_BLOCK_BYTES ? left : BUNDLE_BLOCK_BYTES;
        hash_stream_add_number(stream, entry->block_hash ? entry->block_hash[i]
                                                         : hash_bytes(member->bytes + begin, n));
        /* A file is read through here, which must not make all of it resident. */
        if (!entry->block_hash && i % RELEASE_BLOCKS == RELEASE_BLOCKS - 1)
            bundle_release(bundle);
    }
    *hash = hash_stream_value(stream);
    hash_stream_close(stream);
    return true;
}

/* ---- checksums while writing ---- */

struct bundle_sums {
    json_t *hashes;
    struct hash_stream *block; /* NULL: none begun */
    size_t in_block;
    uint64_t total;
};

struct bundle_sums *bundle_sums_open(struct error *err)
{
    struct bundle_sums *sums = memory_zeroed(1, sizeof *sums, err);
    if (sums && !(sums->hashes = json_array())) {
        free(sums);
        sums = NULL;
        error_set(err, "no memory for checksums");
    }
    return sums;
}

static bool end_block(struct bundle_sums *sums)
{
    char text[HASH_TEXT_BYTES];
    hash_text(hash_stream_value(sums->block), text);
    hash_stream_close(sums->block);
    sums->block = NULL;
    sums->in_block = 0;
    return json_array_append_new(sums->hashes, json_string(text)) == 0;
}

bool bundle_sums_add(struct bundle_sums *sums, const void *bytes, size_t n, struct error *err)
{
    const uint8_t *next = bytes;
    sums->total += n;
    while (n) {
        if (!sums->block && !(sums->block = hash_stream_open()))
            return error_set(err, "no memory for checksums");
        size_t left = BUNDLE_BLOCK_BYTES - sums->in_block, take = n < left ? n : left;
        hash_stream_add(sums->block, next, take);
        sums->in_block += take;
        next += take;
        n -= take;
        if (sums->in_block == BUNDLE_BLOCK_BYTES && !end_block(sums))
            return error_set(err, "no memory for checksums");
    }
    return true;
}

json_t *bundle_sums_finish(struct bundle_sums *sums, struct error *err)
{
    json_t *object = NULL;
    if (!sums->block || end_block(sums))
        object = json_pack("{s:I, s:i, s:O}", "bytes", (json_int_t)sums->total, "block",
                           (int)BUNDLE_BLOCK_BYTES, "xxh3", sums->hashes);
    if (!object)
        error_set(err, "no memory for checksums");
    bundle_sums_abandon(sums);
    return object;
}

void bundle_sums_abandon(struct bundle_sums *sums)
{
    if (!sums)
        return;
    hash_stream_close(sums->block);
    json_decref(sums->hashes);
    free(sums);
}
