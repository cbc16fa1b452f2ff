/* text_find.h: memmem() that looks no further ahead than it must: in windows, each twice as long as
 * the last. Where a text is searched match by match, what checks all bytes that a call may read
 * (AddressSanitizer's memmem) would take the square of the text's length. */
#ifndef MILLET_TEXT_TEXT_FIND_H
#define MILLET_TEXT_TEXT_FIND_H

#include <stddef.h>
#include <string.h>

enum { TEXT_FIND_WINDOW = 256 }; /* places in the first window */

/* The first place of what[0, n_what) in text[0, n), NULL: none; text itself when n_what is 0. Time
 * in step with n, and with n_what for each doubling. */
static inline const char *text_find(const char *text, size_t n, const char *what, size_t n_what)
{
    size_t window = TEXT_FIND_WINDOW;
    if (n_what > n)
        return NULL;
    for (size_t places = n - n_what + 1; places; window *= 2) {
        size_t now = places < window ? places : window;
        const char *found = memmem(text, now - 1 + n_what, what, n_what);
        if (found)
            return found;
        text += now;
        places -= now;
    }
    return NULL;
}

#endif
