/* mojibake.h: text that was UTF-8, was read as CP866 or CP1252 and was encoded as UTF-8 again
 * ("тАЛрдпрдВ…", "cafÃ©"). */
#ifndef MILLET_TEXT_MOJIBAKE_H
#define MILLET_TEXT_MOJIBAKE_H

#include <stddef.h>

enum mojibake { MOJIBAKE_NONE, MOJIBAKE_CP866, MOJIBAKE_CP1252 };

/* A valid UTF-8 text is mojibake when all its characters outside ASCII are bytes of the code page,
 * the bytes are valid UTF-8, and what they give is not a chance: for CP866 at least two characters
 * (one could be a Russian word of three letters). */
enum mojibake mojibake_find(const char *text, size_t n);

/* "CP866", "CP1252" */
const char *mojibake_name(enum mojibake kind);

#endif
