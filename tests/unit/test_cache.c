#include <lmdb.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "io/cache.h"
#include "scratch.h"
#include "tests/tap.h"

enum { BATCH = 64, VALUES = 3 };

/* Keys and values of batch b, made from its number. */
static void fill(uint64_t b, struct hash128 key[BATCH], float value[BATCH * VALUES])
{
    for (int i = 0; i < BATCH; i++) {
        int32_t id[3] = {101, (int32_t)b, i};
        key[i] = cache_key(42, id, 3);
        for (int v = 0; v < VALUES; v++)
            value[i * VALUES + v] = (float)b + (float)(i * VALUES + v) / 256;
    }
}

/* Entries of batch b found with the right values; -1: an error or a wrong value. */
static int count(struct cache *cache, uint64_t b)
{
    struct error err = ERROR_INIT;
    struct hash128 key[BATCH];
    float expected[BATCH * VALUES], value[BATCH * VALUES];
    bool found[BATCH];
    int n = 0;
    fill(b, key, expected);
    if (!cache_get_many(cache, key, BATCH, VALUES, value, found, &err)) {
        printf("# %s\n", err.text);
        return -1;
    }
    for (int i = 0; i < BATCH; i++) {
        n += found[i];
        if (found[i] && memcmp(&value[i * VALUES], &expected[i * VALUES], VALUES * sizeof *value))
            return -1;
    }
    return n;
}

static bool put(struct cache *cache, uint64_t b, const bool *take)
{
    struct error err = ERROR_INIT;
    struct hash128 key[BATCH];
    float value[BATCH * VALUES];
    fill(b, key, value);
    bool ok = cache_put_many(cache, key, BATCH, VALUES, value, take, &err);
    if (!ok)
        printf("# %s\n", err.text);
    return ok;
}

static void test_entries(void)
{
    struct error err = ERROR_INIT;
    const char *path = scratch_path("a.cache");
    struct cache *cache = cache_open(path, &err);
    if (!tap_ok(cache, "a new cache %s", err.text))
        return;
    bool take[BATCH] = {true, false, true};
    tap_ok(count(cache, 0) == 0 && put(cache, 0, NULL) && count(cache, 0) == BATCH, "put and get");
    tap_ok(put(cache, 1, take) && count(cache, 1) == 2, "only those taken");
    tap_ok(cache_close(cache, &err), "closed");
    cache = cache_open(path, &err);
    tap_ok(cache && count(cache, 0) == BATCH && count(cache, 1) == 2 && count(cache, 2) == 0,
           "opened again %s", err.text);
    struct hash128 key[BATCH];
    float value[BATCH * VALUES];
    bool found[BATCH];
    fill(0, key, value);
    tap_ok(!cache_get_many(cache, key, 1, 2, value, found, &err) && strstr(err.text, "expected 16"),
           "%s", err.text);
    error_clear(&err);
    int32_t id[2] = {1, 2};
    struct hash128 one = cache_key(1, id, 2), other = cache_key(2, id, 2),
                   shorter = cache_key(1, id, 1);
    tap_ok(memcmp(&one, &other, sizeof one) && memcmp(&one, &shorter, sizeof one), "keys differ");
    struct hash128 none = cache_key_grams(one, id, 0), grams = cache_key_grams(one, id, 2),
                   elsewhere = cache_key_grams(other, id, 2), again = cache_key_grams(one, id, 2);
    tap_ok(memcmp(&one, &none, sizeof one) && memcmp(&none, &grams, sizeof one) &&
               memcmp(&grams, &elsewhere, sizeof one) && memcmp(&grams, &again, sizeof one) == 0,
           "so do those of records with n-grams");
    if (!cache_close(cache, &err))
        printf("# %s\n", err.text);
}

/* Entries large enough that the first map does not hold them. */
static void test_growth(void)
{
    struct error err = ERROR_INIT;
    enum { N = 40, BIG = 1 << 18 };
    static float value[BIG];
    struct cache *cache = cache_open(scratch_path("big.cache"), &err);
    bool ok = cache != NULL, found = false;
    for (int i = 0; i < N && ok; i++) {
        struct hash128 key = cache_key(7, &(int32_t){i}, 1);
        value[0] = (float)i;
        ok = cache_put_many(cache, &key, 1, BIG, value, NULL, &err);
    }
    struct hash128 last = cache_key(7, &(int32_t){N - 1}, 1);
    ok = ok && cache_get_many(cache, &last, 1, BIG, value, &found, &err);
    tap_ok(ok && found && value[0] == N - 1, "the map grows %s", err.text);
    if (cache && !cache_close(cache, &err))
        printf("# %s\n", err.text);
    remove(scratch_path("big.cache"));
}

static void test_two_writers(void)
{
    struct error err = ERROR_INIT;
    const char *path = scratch_path("shared.cache");
    pid_t child[2];
    for (uint64_t c = 0; c < 2; c++) {
        child[c] = fork();
        if (child[c] == 0) {
            struct cache *cache = cache_open(path, &err);
            bool ok = cache != NULL;
            for (uint64_t b = 0; b < 20 && ok; b++)
                ok = put(cache, 2 * b + c, NULL) && count(cache, 2 * b + c) == BATCH;
            ok = ok && cache_close(cache, &err);
            _exit(ok ? 0 : 1);
        }
    }
    int status[2] = {1, 1};
    for (int c = 0; c < 2; c++)
        waitpid(child[c], &status[c], 0);
    struct cache *cache = cache_open(path, &err);
    int n = 0;
    for (uint64_t b = 0; b < 40; b++)
        n += count(cache, b);
    tap_ok(status[0] == 0 && status[1] == 0 && n == 40 * BATCH, "two processes share one cache");
    tap_ok(cache_close(cache, &err), "closed");
}

/* A writer killed at some moment, again and again: whole batches stay, the cache is sound. */
static void test_killed(void)
{
    struct error err = ERROR_INIT;
    const char *path = scratch_path("killed.cache");
    bool sound = true;
    uint64_t most = 0;
    for (int round = 0; round < 8 && sound; round++) {
        pid_t child = fork();
        if (child == 0) {
            struct cache *cache = cache_open(path, &err);
            uint64_t b = most;
            while (cache && put(cache, b, NULL))
                b++;
            _exit(1);
        }
        nanosleep(&(struct timespec){.tv_nsec = 3000000 + round * 7000000}, NULL);
        kill(child, SIGKILL);
        int status = 0;
        waitpid(child, &status, 0);
        sound = WIFSIGNALED(status);
        struct cache *cache = cache_open(path, &err);
        int n = BATCH;
        for (uint64_t b = 0; cache && n == BATCH; b++) {
            n = count(cache, b);
            most = b;
        }
        sound = sound && cache && n == 0 && put(cache, most, NULL);
        sound = cache_close(cache, &err) && sound;
    }
    tap_ok(sound && most > 0, "killed in the middle: %ju whole batches %s", (uintmax_t)most,
           err.text);
}

static void test_foreign(void)
{
    struct error err = ERROR_INIT;
    const char *path = scratch_write("text", "text,label\nsome text that is no database,1\n", 43);
    tap_ok(!cache_open(path, &err) && strstr(err.text, "is not a cache") &&
               access(scratch_path("text-lock"), F_OK) != 0,
           "%s", err.text);
    error_clear(&err);
    path = scratch_path("fifo");
    tap_ok(mkfifo(path, 0600) == 0 && !cache_open(path, &err) &&
               strstr(err.text, "is not a regular file"),
           "a FIFO holds nobody up: %s", err.text);
    error_clear(&err);
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi db;
    MDB_val a = {.mv_size = 1, .mv_data = (void *)"a"}, b = a;
    mdb_env_create(&env);
    bool ok = mdb_env_open(env, scratch_path("other.db"), MDB_NOSUBDIR, 0666) == 0 &&
              mdb_txn_begin(env, NULL, 0, &txn) == 0 && mdb_dbi_open(txn, NULL, 0, &db) == 0 &&
              mdb_put(txn, db, &a, &b, 0) == 0 && mdb_txn_commit(txn) == 0;
    mdb_env_close(env);
    tap_ok(ok && !cache_open(scratch_path("other.db"), &err) &&
               strstr(err.text, "LMDB database, but not"),
           "%s", err.text);
    error_clear(&err);
    tap_ok(!cache_open(scratch_directory, &err), "%s", err.text);
    error_clear(&err);
    tap_ok(!cache_open(scratch_path("absent/file"), &err) && strstr(err.text, "No such file"), "%s",
           err.text);
}

/* A flipped byte in an entry is noticed. */
static void test_damage(void)
{
    struct error err = ERROR_INIT;
    const char *path = scratch_path("flip.cache");
    struct cache *cache = cache_open(path, &err);
    bool ok = cache && put(cache, 5, NULL) && cache_close(cache, &err);
    size_t n = 0;
    uint8_t *bytes = scratch_read(path, &n);
    struct hash128 key[BATCH];
    float value[BATCH * VALUES];
    bool found[BATCH];
    fill(5, key, value);
    int flipped = 0;
    for (size_t i = 0; ok && i + VALUES * sizeof *value <= n; i++)
        if (memcmp(bytes + i, value, VALUES * sizeof *value) == 0) {
            bytes[i + 4] ^= 1; /* every copy: old pages keep theirs */
            flipped++;
        }
    unlink(path);
    scratch_write("flip.cache", bytes, n);
    cache = cache_open(path, &err);
    tap_ok(cache && flipped && !cache_get_many(cache, key, 1, VALUES, value, found, &err) &&
               strstr(err.text, "checksum"),
           "%s", err.text);
    if (!cache_close(cache, &err))
        printf("# %s\n", err.text);
    free(bytes);
}

int main(void)
{
    scratch_open();
    test_entries();
    test_growth();
    test_two_writers();
    test_killed();
    test_foreign();
    test_damage();
    return tap_done();
}
