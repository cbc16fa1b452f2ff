/* bundle.h: a model as a set of named members: a directory, a tar (compressed or not), or "-".
 *
 * Members of a directory and of an uncompressed tar file are mapped. When the bundle has a
 * millet.json with checksums (one XXH3 per MiB block of each member), bytes are verified where they
 * are used: bundle_verify() hashes the blocks of a range once. So a 950 MB model is opened by
 * reading its header, and a flipped byte is still noticed before it can matter.
 */
#ifndef MILLET_IO_BUNDLE_H
#define MILLET_IO_BUNDLE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "io/tar.h"

enum { BUNDLE_FORMAT = 1, BUNDLE_BLOCK_BYTES = 1 << 20 };

struct bundle_member {
    const char *name; /* base name: "config.json" */
    const uint8_t *bytes;
    size_t n;
};

struct bundle;

/* path: directory, tar file or "-". Only base names are kept; a directory's subdirectories are
 * ignored, a tar may have one leading directory. */
struct bundle *bundle_open(const char *path, struct error *err) MUST_CHECK;
/* The same of files that millet.json says are of another kind than "model": "checkpoint". */
struct bundle *bundle_open_kind(const char *path, const char *kind, struct error *err) MUST_CHECK;
void bundle_close(struct bundle *bundle);

const char *bundle_name(const struct bundle *bundle);
const json_t *
bundle_millet(const struct bundle *bundle); /* millet.json, seal checked; NULL: none */
size_t bundle_count(const struct bundle *bundle);
const struct bundle_member *bundle_member(const struct bundle *bundle, size_t i);

/* The members' names, "a, b, c" or "nothing", for messages; cut when they are too long. */
void bundle_list(const struct bundle *bundle, char *text, size_t n);
/* NULL when absent. The bytes are not verified yet. */
const struct bundle_member *bundle_find(const struct bundle *bundle, const char *name);
/* Find and verify the whole member; NULL with `err` when absent (naming what the bundle has) or
 * damaged. */
const struct bundle_member *bundle_require(struct bundle *bundle, const char *name,
                                           struct error *err) MUST_CHECK;
/* Verify the blocks that overlap [bytes, bytes + n), which must lie in a member. Thread-safe; true
 * at once where there are no checksums. */
bool bundle_verify(struct bundle *bundle, const void *bytes, size_t n,
                   struct error *err) MUST_CHECK;

/* Take over bytes made of members (unpacked, put in order) that tensors point into: they count as
 * verified and are freed with the bundle. On failure they stay the caller's. */
bool bundle_adopt(struct bundle *bundle, void *bytes, size_t n, struct error *err) MUST_CHECK;
/* What was read has been copied: the memory of all mapped members is given back to the system,
 * which reads the files again where they are used after all. All of them, because the system maps
 * pages around those that are used. Thread-safe; does nothing to members that are not mapped. */
void bundle_release(const struct bundle *bundle);
/* A few rows of these bytes will be used: nothing is to be read ahead there, until called with
 * `yes` false. */
void bundle_scattered(const struct bundle *bundle, const void *bytes, size_t n, bool yes);

/* Identity of a member's bytes: XXH3 of its block hashes (little-endian), which come from
 * millet.json when there (nothing is read), else are computed. */
bool bundle_member_hash(const struct bundle *bundle, const struct bundle_member *member,
                        uint64_t *hash, struct error *err) MUST_CHECK;

/* Checksums while writing: feed a member's bytes in order, then put the object that comes out under
 * the member's name into "checksums" of millet.json: {"bytes": n, "block": 1048576, "xxh3":
 * ["0123456789abcdef", …]}. */
struct bundle_sums;
struct bundle_sums *bundle_sums_open(struct error *err) MUST_CHECK;
bool bundle_sums_add(struct bundle_sums *sums, const void *bytes, size_t n,
                     struct error *err) MUST_CHECK;
json_t *bundle_sums_finish(struct bundle_sums *sums, struct error *err) MUST_CHECK; /* frees sums */
void bundle_sums_abandon(struct bundle_sums *sums); /* NULL is fine */

#endif
