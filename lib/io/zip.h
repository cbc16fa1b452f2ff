/* zip.h: the members of a zip file in memory, over libarchive: the container of pytorch_model.bin.
 *
 * A member that is stored (not compressed) is a pointer into the file: nothing is copied and no
 * page of it is touched. The others, and those whose checksum is wanted, are unpacked on demand,
 * never beyond the size that the zip's directory states for them.
 */
#ifndef MILLET_IO_ZIP_H
#define MILLET_IO_ZIP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

struct zip_member {
    const char *name;     /* owned by the zip */
    uint64_t n;           /* bytes, as the directory states */
    const uint8_t *bytes; /* NULL: not in place; zip_unpack() it */
    void *owned;          /* what was unpacked: freed with the zip unless taken (set to NULL) */
    bool wanted;          /* set by the caller: zip_unpack() is to read it and check its CRC-32 */
};

struct zip {
    struct zip_member *member; /* sorted by name */
    size_t n;
    const char *place;    /* borrowed, as the bytes are */
    const uint8_t *bytes; /* the whole file */
    size_t n_bytes;
};

/* True when the bytes begin like a zip file. */
bool zip_detect(const uint8_t *bytes, size_t n);
/* Borrows bytes and place. Names that repeat are an error: programs differ in which they take. */
bool zip_open(struct zip *zip, const char *place, const uint8_t *bytes, size_t n,
              struct error *err) MUST_CHECK;
struct zip_member *zip_find(const struct zip *zip, const char *name); /* NULL: absent */
/* Read all wanted members into memory, in one pass. */
bool zip_unpack(struct zip *zip, struct error *err) MUST_CHECK;
void zip_free(struct zip *zip); /* safe on a zeroed struct */

#endif
