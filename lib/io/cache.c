/* cache.c: an LMDB file of logits.
 *
 *     key    16 bytes: XXH3-128 of the token ids, seeded with the model's fingerprint; high half
 *            first, big-endian
 *     value  8 bytes: XXH3 of what follows, unseeded; then the floats, little-endian
 *     tag    key "millet-cache": the format's version, so that no other LMDB file is taken for a
 *            cache
 *
 * LMDB has no checksums of its own, hence the 8 bytes. Its map has a fixed size: when it is full
 * the transaction is undone, the map doubled and the transaction done again. Each commit is synced.
 * Beside FILE, LMDB keeps FILE-lock.
 */
#include "io/cache.h"

#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/memory.h"

enum {
    KEY_BYTES = 16,
    SUM_BYTES = 8,
    MAGIC_OFFSET = 16,         /* of LMDB's magic number in its first page */
    FIRST_MAP_BYTES = 16 << 20 /* grows by doubling */
};
static const uint32_t lmdb_magic = 0xBEEFC0DE;
static const char tag_key[] = "millet-cache", tag_value[] = "1";

struct cache {
    MDB_env *env;
    MDB_dbi db;
    char *path;
    uint8_t *value; /* one entry being put */
    size_t value_capacity;
};

/* ---- LMDB, with its manners ---- */

static bool failed(const struct cache *cache, int status, struct error *err)
{
    return error_set(err, "%s: %s", cache->path, mdb_strerror(status));
}

/* Another process may have grown the map since. */
static bool begin(struct cache *cache, unsigned flags, MDB_txn **txn, struct error *err)
{
    int status = mdb_txn_begin(cache->env, NULL, flags, txn);
    if (status == MDB_MAP_RESIZED) {
        mdb_env_set_mapsize(cache->env, 0); /* take over the size the file has now */
        status = mdb_txn_begin(cache->env, NULL, flags, txn);
    }
    return status == 0 || failed(cache, status, err);
}

static bool double_map(struct cache *cache, struct error *err)
{
    MDB_envinfo info;
    int status = mdb_env_info(cache->env, &info);
    if (status == 0 && info.me_mapsize > SIZE_MAX / 2)
        status = ENOMEM;
    if (status == 0)
        status = mdb_env_set_mapsize(cache->env, info.me_mapsize * 2);
    return status == 0 || failed(cache, status, err);
}

/* Is the file, when there is one, LMDB's? Asked before LMDB would put a lock file beside it. */
static bool check_magic(const char *path, struct error *err)
{
    uint8_t head[MAGIC_OFFSET + sizeof lmdb_magic];
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not hold us up */
    if (fd < 0)
        return errno == ENOENT || error_set_errno(err, "%s: cannot open the cache", path);
    if (fstat(fd, &st) == 0 && !S_ISREG(st.st_mode)) {
        close(fd);
        return error_set(err, "%s: is not a regular file; a cache must be one", path);
    }
    ssize_t n = read(fd, head, sizeof head);
    int why = errno;
    close(fd);
    if (n < 0) {
        errno = why;
        return error_set_errno(err, "%s: cannot read the cache", path);
    }
    if (n == 0 ||
        (n == sizeof head && memcmp(head + MAGIC_OFFSET, &lmdb_magic, sizeof lmdb_magic) == 0))
        return true;
    return error_set(err, "%s: is not a cache of teacher logits; name another file, or a new one",
                     path);
}

/* ---- opening ---- */

/* Look for the tag, and put it into a new file. */
static bool check_tag(struct cache *cache, struct error *err)
{
    MDB_txn *txn;
    MDB_stat stat;
    MDB_val key = {.mv_size = sizeof tag_key - 1, .mv_data = (void *)tag_key};
    MDB_val tag = {.mv_size = sizeof tag_value - 1, .mv_data = (void *)tag_value}, found;
    if (!begin(cache, 0, &txn, err))
        return false;
    int status = mdb_dbi_open(txn, NULL, 0, &cache->db);
    if (status == 0)
        status = mdb_get(txn, cache->db, &key, &found);
    if (status == 0 &&
        (found.mv_size != tag.mv_size || memcmp(found.mv_data, tag_value, tag.mv_size) != 0)) {
        mdb_txn_abort(txn);
        return error_set(err, "%s: is a cache of another format version; name a new file",
                         cache->path);
    }
    bool is_new = status == MDB_NOTFOUND;
    if (is_new)
        status = mdb_stat(txn, cache->db, &stat);
    if (is_new && status == 0 && stat.ms_entries != 0) {
        mdb_txn_abort(txn);
        return error_set(
            err, "%s: is an LMDB database, but not a cache of teacher logits; name another file",
            cache->path);
    }
    if (is_new && status == 0)
        status = mdb_put(txn, cache->db, &key, &tag, 0);
    if (status != 0) {
        mdb_txn_abort(txn);
        return failed(cache, status, err);
    }
    status = mdb_txn_commit(txn);
    return status == 0 || failed(cache, status, err);
}

static bool open_env(struct cache *cache, struct error *err)
{
    int dead, status = mdb_env_create(&cache->env);
    if (status == 0)
        status = mdb_env_set_mapsize(cache->env, FIRST_MAP_BYTES);
    if (status == 0)
        status = mdb_env_open(cache->env, cache->path, MDB_NOSUBDIR, 0666);
    if (status == 0)
        status = mdb_reader_check(cache->env, &dead); /* slots of processes that were killed */
    return status == 0 ||
           error_set(err, "%s: cannot open the cache: %s", cache->path, mdb_strerror(status));
}

struct cache *cache_open(const char *path, struct error *err)
{
    if (!check_magic(path, err))
        return NULL;
    struct cache *cache = memory_zeroed(1, sizeof *cache, err);
    if (!cache)
        return NULL;
    cache->path = memory_copy(path, strlen(path), err);
    if (cache->path && open_env(cache, err) && check_tag(cache, err))
        return cache;
    mdb_env_close(cache->env);
    free(cache->path);
    free(cache);
    return NULL;
}

bool cache_close(struct cache *cache, struct error *err)
{
    if (!cache)
        return true;
    int status = mdb_env_sync(cache->env, 1);
    bool ok = status == 0 || failed(cache, status, err);
    mdb_env_close(cache->env);
    free(cache->path);
    free(cache->value);
    free(cache);
    return ok;
}

/* ---- entries ---- */

struct hash128 cache_key(uint64_t model_fingerprint, const int32_t *id, size_t n_ids)
{
    return hash128_seeded(id, n_ids * sizeof *id, model_fingerprint);
}

struct hash128 cache_key_grams(struct hash128 key, const int32_t *gram, size_t n_grams)
{
    struct hash128 grams = hash128_seeded(gram, n_grams * sizeof *gram, key.low);
    return (struct hash128){.high = grams.high ^ key.high, .low = grams.low};
}

static void key_bytes(struct hash128 key, uint8_t bytes[KEY_BYTES])
{
    for (int i = 0; i < 8; i++) {
        bytes[i] = (uint8_t)(key.high >> (56 - 8 * i));
        bytes[8 + i] = (uint8_t)(key.low >> (56 - 8 * i));
    }
}

static bool take_value(const struct cache *cache, const MDB_val *found, size_t n_values,
                       float *values, struct error *err)
{
    size_t expected = SUM_BYTES + n_values * sizeof *values;
    if (found->mv_size != expected)
        return error_set(
            err, "%s: an entry has %zu bytes, expected %zu: the cache is damaged; remove it",
            cache->path, found->mv_size, expected);
    const uint8_t *bytes = found->mv_data;
    uint64_t sum;
    memcpy(&sum, bytes, SUM_BYTES);
    if (sum != hash_bytes(bytes + SUM_BYTES, n_values * sizeof *values))
        return error_set(err,
                         "%s: an entry does not have its checksum: the cache is damaged; remove it",
                         cache->path);
    memcpy(values, bytes + SUM_BYTES, n_values * sizeof *values);
    return true;
}

bool cache_get_many(struct cache *cache, const struct hash128 *key, size_t n, size_t n_values,
                    float *values, bool *found, struct error *err)
{
    MDB_txn *txn;
    bool ok = begin(cache, MDB_RDONLY, &txn, err);
    if (!ok)
        return false;
    for (size_t i = 0; i < n && ok; i++) {
        uint8_t bytes[KEY_BYTES];
        MDB_val name = {.mv_size = KEY_BYTES, .mv_data = bytes}, value;
        key_bytes(key[i], bytes);
        int status = mdb_get(txn, cache->db, &name, &value);
        found[i] = status == 0;
        if (status == 0)
            ok = take_value(cache, &value, n_values, values + i * n_values, err);
        else if (status != MDB_NOTFOUND)
            ok = failed(cache, status, err);
    }
    mdb_txn_abort(txn);
    return ok;
}

struct batch {
    const struct hash128 *key;
    size_t n, n_values;
    const float *values;
    const bool *take;
};

/* One transaction; an LMDB status. */
static int put_batch(struct cache *cache, const struct batch *batch, MDB_txn *txn)
{
    size_t float_bytes = batch->n_values * sizeof *batch->values;
    int status = 0;
    for (size_t i = 0; i < batch->n && status == 0; i++) {
        uint8_t bytes[KEY_BYTES];
        MDB_val name = {.mv_size = KEY_BYTES, .mv_data = bytes};
        MDB_val value = {.mv_size = SUM_BYTES + float_bytes, .mv_data = cache->value};
        if (batch->take && !batch->take[i])
            continue;
        key_bytes(batch->key[i], bytes);
        memcpy(cache->value + SUM_BYTES, batch->values + i * batch->n_values, float_bytes);
        uint64_t sum = hash_bytes(cache->value + SUM_BYTES, float_bytes);
        memcpy(cache->value, &sum, SUM_BYTES);
        status = mdb_put(txn, cache->db, &name, &value, 0);
    }
    if (status == 0)
        return mdb_txn_commit(txn);
    mdb_txn_abort(txn);
    return status;
}

bool cache_put_many(struct cache *cache, const struct hash128 *key, size_t n, size_t n_values,
                    const float *values, const bool *take, struct error *err)
{
    const struct batch batch = {
        .key = key, .n = n, .n_values = n_values, .values = values, .take = take};
    if (!memory_grow(&cache->value, &cache->value_capacity, SUM_BYTES + n_values * sizeof *values,
                     1, err))
        return false;
    for (;;) {
        MDB_txn *txn;
        if (!begin(cache, 0, &txn, err))
            return false;
        int status = put_batch(cache, &batch, txn);
        if (status == 0)
            return true;
        if (status != MDB_MAP_FULL)
            return failed(cache, status, err);
        if (!double_map(cache, err))
            return false;
    }
}
