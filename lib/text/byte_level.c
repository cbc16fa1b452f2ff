/* byte_level.c: see byte_level.h. Letters, numbers and spaces are those of Oniguruma, the regex
 * engine of Hugging Face's tokenizers, in a table of our own: utf8proc's Unicode is older or newer,
 * depending on the system. */
#include "text/byte_level.h"

#include <stdint.h>

#include "text/byte_level_table.h"
#include "text/utf8.h"

enum class { CLASS_OTHER, CLASS_LETTER, CLASS_NUMBER, CLASS_SPACE };

static enum class class_of(uint32_t code) {
    if (code >= BYTE_LEVEL_END) return CLASS_OTHER;
    uint64_t bits = byte_level_block[byte_level_index[code >> 8]][code >> 5 & 7];
    return (enum class)(bits >> 2 * (code & 31) & 3);
}

/* Bytes of 's, 't, 're, 've, 'm, 'll or 'd at p; 0: none. */
static size_t contraction(const unsigned char *p, const unsigned char *end)
{
    if (end - p < 2)
        return 0;
    switch (p[1]) {
    case 's':
    case 't':
    case 'm':
    case 'd':
        return 2;
    case 'r':
    case 'v':
        return end - p > 2 && p[2] == 'e' ? 3 : 0;
    case 'l':
        return end - p > 2 && p[2] == 'l' ? 3 : 0;
    default:
        return 0;
    }
}

/* Where the run of one class that p is in ends; *last is where its last character begins. */
static const unsigned char *run(const unsigned char *p, const unsigned char *end, enum class class,
                                const unsigned char **last)
{
    while (p < end) {
        const unsigned char *next = p;
        if (class_of(utf8_next(&next)) != class)
            break;
        *last = p;
        p = next;
    }
    return p;
}

size_t byte_level_word(const unsigned char *p, const unsigned char *end)
{
    if (*p == '\'') {
        size_t n = contraction(p, end);
        if (n)
            return n;
    }
    /* One space may stand before a run that is no space. */
    const unsigned char *from = *p == ' ' && p + 1 < end ? p + 1 : p, *next = from, *last = p;
    enum class class = class_of(utf8_next(&next));
    if (class != CLASS_SPACE)
        return (size_t)(run(next, end, class, &last) - p);
    /* Spaces before something else leave their last one to it; a single one has none to leave. */
    const unsigned char *stop = run(p, end, CLASS_SPACE, &last);
    return (size_t)((stop < end && last > p ? last : stop) - p);
}

/* ---- bytes as characters: GPT-2's bytes_to_unicode ----
 *
 * Printable Latin-1 stands for itself; the other 68 bytes are numbered upwards from U+0100.
 */
enum { FIRST_MOVED = 0x100, N_MOVED = 68, AFTER_SPACE = 0x21, DELETE = 0x7F, NO_BREAK = 0xA0 };
enum { SOFT_HYPHEN = 0xAD };

static uint32_t code_of(unsigned char byte)
{
    if (byte < AFTER_SPACE)
        return FIRST_MOVED + (uint32_t)byte;
    if (byte >= DELETE && byte <= NO_BREAK)
        return FIRST_MOVED + AFTER_SPACE + (uint32_t)byte - DELETE;
    return byte == SOFT_HYPHEN ? FIRST_MOVED + N_MOVED - 1 : byte;
}

/* -1: no byte. */
static int byte_of(uint32_t code)
{
    if (code >= FIRST_MOVED + N_MOVED)
        return -1;
    if (code >= FIRST_MOVED) {
        uint32_t i = code - FIRST_MOVED;
        return i < AFTER_SPACE    ? (int)i
               : i == N_MOVED - 1 ? SOFT_HYPHEN
                                  : (int)(i - AFTER_SPACE + DELETE);
    }
    return code_of((unsigned char)code) == code ? (int)code : -1;
}

bool byte_level_map(const char *text, size_t n, struct text_buffer *out, struct error *err)
{
    size_t most;
    if (!memory_multiply(n, 2, &most))
        return error_set(err, "a text of %zu bytes is too long", n);
    if (!text_buffer_reserve(out, most, err))
        return false;
    char *to = out->bytes + out->n;
    for (size_t i = 0; i < n; i++) {
        unsigned char byte = (unsigned char)text[i];
        if (byte >= AFTER_SPACE && byte < DELETE)
            *to++ = (char)byte;
        else
            to += utf8_put(code_of(byte), to);
    }
    out->n = (size_t)(to - out->bytes);
    return true;
}

bool byte_level_unmap(const char *piece, size_t n, struct text_buffer *out, struct error *err)
{
    if (!text_buffer_reserve(out, n, err))
        return false;
    const unsigned char *p = (const unsigned char *)piece, *end = p + n;
    size_t before = out->n;
    while (p < end) {
        int byte = byte_of(utf8_next(&p));
        if (byte < 0) {
            out->n = before;
            return text_buffer_add(out, piece, n, err);
        }
        out->bytes[out->n++] = (char)byte;
    }
    return true;
}
