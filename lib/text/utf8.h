/* utf8.h: decoding, encoding, checking and repairing UTF-8. Surrogates, overlong forms and values
 * above U+10FFFF are invalid. */
#ifndef MILLET_TEXT_UTF8_H
#define MILLET_TEXT_UTF8_H

#include <stddef.h>
#include <stdint.h>

enum { UTF8_REPLACEMENT = 0xFFFD, UTF8_LAST = 0x10FFFF, UTF8_MAX_BYTES = 4 };

/* Bytes of the longest valid beginning of bytes[0, n). */
size_t utf8_valid_prefix(const char *bytes, size_t n);

/* Copy with every invalid sequence (a maximal part of a character, as Unicode 3.9 and the WHATWG
 * describe) replaced by U+FFFD. `out` has room for 3 * n bytes. Returns the bytes written and adds
 * the replacements to *n_invalid. */
size_t utf8_repair(const char *bytes, size_t n, char *out, size_t *n_invalid);

/* Writes a code point (not a surrogate) to out[4]; returns its bytes. */
size_t utf8_put(uint32_t code, char *out);

/* Next code point of *valid* UTF-8; advances *at. Inline: it is the inner loop of the tokenizer. */
static inline uint32_t utf8_next(const unsigned char **at)
{
    const unsigned char *p = *at;
    if (p[0] < 0x80) {
        *at = p + 1;
        return p[0];
    }
    if (p[0] < 0xE0) {
        *at = p + 2;
        return ((uint32_t)(p[0] & 0x1F) << 6) | (p[1] & 0x3F);
    }
    if (p[0] < 0xF0) {
        *at = p + 3;
        return ((uint32_t)(p[0] & 0x0F) << 12) | ((uint32_t)(p[1] & 0x3F) << 6) | (p[2] & 0x3F);
    }
    *at = p + 4;
    return ((uint32_t)(p[0] & 0x07) << 18) | ((uint32_t)(p[1] & 0x3F) << 12) |
           ((uint32_t)(p[2] & 0x3F) << 6) | (p[3] & 0x3F);
}

/* The same without a branch, for runs of mixed scripts; three more bytes can be read behind it. */
static inline uint32_t utf8_next_wide(const unsigned char **at)
{
    static const struct {
        uint32_t mask;
        uint8_t n, shift; /* bytes; bits of those that follow */
    } by_lead[16] = {{0x7F, 1, 18},  {0x7F, 1, 18},  {0x7F, 1, 18},  {0x7F, 1, 18},
                     {0x7F, 1, 18},  {0x7F, 1, 18},  {0x7F, 1, 18},  {0x7F, 1, 18},
                     {0x7F, 1, 18},  {0x7F, 1, 18},  {0x7F, 1, 18},  {0x7F, 1, 18},
                     {0x7FF, 2, 12}, {0x7FF, 2, 12}, {0xFFFF, 3, 6}, {0x1FFFFF, 4, 0}};
    const unsigned char *p = *at;
    unsigned lead = p[0] >> 4;
    uint32_t bits = (uint32_t)p[0] << 18 | (uint32_t)(p[1] & 0x3F) << 12 |
                    (uint32_t)(p[2] & 0x3F) << 6 | (p[3] & 0x3F);
    *at = p + by_lead[lead].n;
    return bits >> by_lead[lead].shift & by_lead[lead].mask;
}

#endif
