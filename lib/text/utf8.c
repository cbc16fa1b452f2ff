/* utf8.c: see utf8.h. Well-formed sequences are those of the Unicode Standard, table 3-7. */
#include "text/utf8.h"

#include <stdbool.h>
#include <string.h>

static bool continues(unsigned char byte)
{
    return (byte & 0xC0) == 0x80;
}

/* Bytes of the sequence at p: its length when valid; else 0 and *bad = bytes of the maximal invalid
 * part (at least 1). */
static size_t sequence(const unsigned char *p, size_t n, size_t *bad)
{
    size_t length = p[0] < 0x80   ? 1
                    : p[0] < 0xC2 ? 0
                    : p[0] < 0xE0 ? 2
                    : p[0] < 0xF0 ? 3
                    : p[0] < 0xF5 ? 4
                                  : 0;
    *bad = 1;
    if (length <= 1)
        return length;
    unsigned char
        low = 0x80,
        high = 0xBF; /* the second byte's range excludes overlong forms, surrogates, > U+10FFFF */
    if (p[0] == 0xE0)
        low = 0xA0;
    else if (p[0] == 0xED)
        high = 0x9F;
    else if (p[0] == 0xF0)
        low = 0x90;
    else if (p[0] == 0xF4)
        high = 0x8F;
    if (n < 2 || p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++)
        if (i >= n || !continues(p[i])) {
            *bad = i;
            return 0;
        }
    return length;
}

/* Of p[0, n), from i, where a character begins, to `stop` or the character that lies there; less
 * than that: the first that is invalid. */
static size_t step_through(const unsigned char *p, size_t i, size_t stop, size_t n)
{
    while (i < stop) {
        uint64_t word;
        if (n - i >= sizeof word) {
            memcpy(&word, p + i, sizeof word);
            if (!(word & 0x8080808080808080u)) {
                i += sizeof word;
                continue;
            }
        }
        if (p[i] < 0x80) {
            i++;
            continue;
        }
        if (p[i] >= 0xC2 && p[i] < 0xE0 && n - i >= 2 && continues(p[i + 1])) {
            i += 2;
            continue;
        }
        /* The bulk of Indic text is three bytes a character: no table, no branch that depends on
         * the script. */
        if (n - i >= 3 && (p[i] & 0xF0) == 0xE0 && continues(p[i + 1]) && continues(p[i + 2])) {
            const unsigned char *at = p + i;
            uint32_t code = utf8_next(&at);
            if (code >= 0x800 && (code & 0xF800) != 0xD800) {
                i += 3;
                continue;
            }
        }
        size_t bad, length = sequence(p + i, n - i, &bad);
        if (!length)
            return i;
        i += length;
    }
    return i;
}

/* ---- sixteen bytes at a time, without a branch that depends on the script ---- */

typedef uint8_t block __attribute__((vector_size(16)));

enum { BLOCK = sizeof(block), BEFORE = 3 /* bytes that decide what may follow */ };

static block block_at(const unsigned char *p)
{
    block bytes;
    memcpy(&bytes, p, sizeof bytes);
    return bytes;
}

/* Every byte against the three before it: a continuation stands where one is due, and nowhere else;
 * no byte is one that never occurs; the second byte's range is right. */
static bool block_is_valid(const unsigned char *p)
{
    block byte = block_at(p), last = block_at(p - 1), second = block_at(p - 2),
          third = block_at(p - 3);
    block due = (block)(last >= 0xC0) | (block)(second >= 0xE0) | (block)(third >= 0xF0);
    block wrong = due ^ (block)((byte & 0xC0) == 0x80);
    wrong |= (block)((byte & 0xFE) == 0xC0) | (block)(byte >= 0xF5);
    wrong |= (block)(last == 0xE0) & (block)(byte < 0xA0);
    wrong |= (block)(last == 0xED) & (block)(byte >= 0xA0);
    wrong |= (block)(last == 0xF0) & (block)(byte < 0x90);
    wrong |= (block)(last == 0xF4) & (block)(byte >= 0x90);
    uint64_t half[2];
    memcpy(half, &wrong, sizeof half);
    return !(half[0] | half[1]);
}

/* From i, before which BEFORE valid bytes lie, over valid blocks; then back to where a character
 * begins. */
static size_t step_over_blocks(const unsigned char *p, size_t i, size_t n)
{
    while (n - i >= BLOCK && block_is_valid(p + i))
        i += BLOCK;
    return p[i - 1] >= 0xC0 ? i - 1 : p[i - 2] >= 0xE0 ? i - 2 : p[i - 3] >= 0xF0 ? i - 3 : i;
}

size_t utf8_valid_prefix(const char *bytes, size_t n)
{
    const unsigned char *p = (const unsigned char *)bytes;
    size_t i = 0;
    if (n >= 2 * BLOCK) {
        i = step_through(p, 0, BEFORE, n);
        if (i < BEFORE)
            return i;
        i = step_over_blocks(p, i, n);
    }
    return step_through(p, i, n, n);
}

size_t utf8_repair(const char *bytes, size_t n, char *out, size_t *n_invalid)
{
    size_t written = 0, i = 0;
    while (i < n) {
        size_t good = utf8_valid_prefix(bytes + i, n - i), bad;
        memcpy(out + written, bytes + i, good);
        written += good;
        i += good;
        if (i == n)
            break;
        sequence((const unsigned char *)bytes + i, n - i, &bad);
        written += utf8_put(UTF8_REPLACEMENT, out + written);
        ++*n_invalid;
        i += bad;
    }
    return written;
}

size_t utf8_put(uint32_t code, char *out)
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xC0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3F));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xE0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 0x3F));
        out[2] = (char)(0x80 | (code & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 0x3F));
    out[2] = (char)(0x80 | (code >> 6 & 0x3F));
    out[3] = (char)(0x80 | (code & 0x3F));
    return 4;
}
