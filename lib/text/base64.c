/* base64.c: see base64.h. */
#include "text/base64.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static int value_of(char c)
{
    const char *found = c ? strchr(digit, c) : NULL;
    return found ? (int)(found - digit) : -1;
}

bool base64_decode(const char *text, size_t n, unsigned char **bytes, size_t *n_bytes,
                   struct error *err)
{
    signed char value[256];
    for (int c = 0; c < 256; c++)
        value[c] = (signed char)value_of((char)c);
    size_t padding = 0, used = 0;
    while (padding < 2 && padding < n && text[n - 1 - padding] == '=')
        padding++;
    if (n % 4)
        return error_set(err, "base64 text of %zu characters is not whole groups of four", n);
    unsigned char *out = memory_array(n / 4 * 3 + 1, 1, err);
    if (!out)
        return false;
    unsigned group = 0;
    size_t i = 0;
    for (; i + 4 <= n - padding; i += 4) {
        const unsigned char *at = (const unsigned char *)text + i;
        int a = value[at[0]], b = value[at[1]], c = value[at[2]], d = value[at[3]];
        if ((a | b | c | d) < 0)
            break; /* found below */
        group = (unsigned)(a << 18 | b << 12 | c << 6 | d);
        out[used++] = (unsigned char)(group >> 16);
        out[used++] = (unsigned char)(group >> 8);
        out[used++] = (unsigned char)group;
    }
    for (; i < n - padding; i++) {
        int v = value[(unsigned char)text[i]];
        if (v < 0) {
            free(out);
            return error_set(err, "character %zu is no base64 digit", i + 1);
        }
        group = group << 6 | (unsigned)v;
        if (i % 4) /* each digit but a group's first completes a byte */
            out[used++] = (unsigned char)(group >> (6 - 2 * (i % 4)));
    }
    *bytes = out;
    *n_bytes = used;
    return true;
}

char *base64_encode(const unsigned char *bytes, size_t n, struct error *err)
{
    size_t used = 0;
    char *text = memory_array(n / 3 + 2, 4, err); /* the NUL as well */
    if (!text)
        return NULL;
    for (size_t i = 0; i < n; i += 3) {
        unsigned group = 0;
        for (size_t k = i; k < i + 3; k++)
            group = group << 8 | (k < n ? bytes[k] : 0);
        for (size_t k = 0; k < 4; k++)
            text[used++] = i + k <= n ? digit[group >> (18 - 6 * k) & 63] : '=';
    }
    text[used] = 0;
    return text;
}
