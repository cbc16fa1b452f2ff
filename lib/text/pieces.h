/* pieces.h: the pieces of a vocabulary as its model sees them: texts in one arena, by id. */
#ifndef MILLET_TEXT_PIECES_H
#define MILLET_TEXT_PIECES_H

#include <stddef.h>
#include <stdint.h>

/* The text of a piece in the arena; its number is its id. n 0: no piece has this id. */
struct piece {
    size_t offset;
    uint32_t n;
};

/* So many bytes behind the last text can be read, whatever they are: short texts are copied and
 * decoded without asking where they end. */
enum { PIECES_PADDING = 16 };

/* A borrowed view. Texts are valid UTF-8 and not NUL-terminated. */
struct pieces {
    const char *arena;
    const struct piece *piece;
    size_t n;
};

#endif
