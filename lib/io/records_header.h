/* records_header.h: stream.json, between reader and writer of record streams. */
#ifndef MILLET_IO_RECORDS_HEADER_H
#define MILLET_IO_RECORDS_HEADER_H

#include "io/records.h"

#define RECORDS_FIRST_MEMBER "stream.json"
#define RECORDS_LAST_MEMBER  "end.json"
#define RECORDS_PART_FORMAT  "part-%08zu.safetensors"
enum { RECORDS_PART_NAME_BYTES = 48 };

/* Version, seal and kind of an object of ours, in this order: another version may seal in another
 * way. */
bool records_header_check(const json_t *object, const char *place, const char *kind,
                          struct error *err) MUST_CHECK;
bool records_header_parse(struct records_header *header, const char *place, const uint8_t *bytes,
                          size_t n, struct error *err) MUST_CHECK;
/* Text of stream.json, to be freed. Steals stage. */
char *records_header_dump(const struct records_header *header, const char *const *field,
                          size_t n_fields, json_t *stage, struct error *err) MUST_CHECK;
/* Same tokenizer and labels? Else an error that names both places. */
bool records_header_match(const struct records_header *first, const char *first_place,
                          const struct records_header *other, const char *other_place,
                          struct error *err) MUST_CHECK;

#endif
