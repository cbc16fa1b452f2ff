/* pickle.h: the values that a pickle of a PyTorch state dict describes, read without running it.
 *
 * A pickle is a program for a stack machine. This one knows the opcodes that torch.save() of a
 * state dict uses (protocol 2: dicts, lists, tuples, numbers, strings, the memo, GLOBAL, REDUCE,
 * BINPERSID, BUILD) and refuses every other by name. Nothing is imported, looked up or called:
 * GLOBAL must name one of the caller's globals, and REDUCE leaves a value that says "this global
 * with these arguments" for the caller to understand. So a hostile pickle can only describe odd
 * values; it costs memory proportional to its length, within the limits below, and nothing here
 * recurses into values.
 */
#ifndef MILLET_IO_PICKLE_H
#define MILLET_IO_PICKLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

/* A state dict of 400 tensors takes 60 kB, 10 000 values, a stack of 4 000 and 5 open marks. */
enum {
    PICKLE_MAX_BYTES = 64 << 20,
    PICKLE_MAX_VALUES = 4 << 20,
    PICKLE_MAX_STACK = 1 << 16,
    PICKLE_MAX_MARKS = 64
};

enum pickle_kind {
    PICKLE_NONE,
    PICKLE_BOOL,       /* integer 0 or 1 */
    PICKLE_INTEGER,    /* integer */
    PICKLE_LONG,       /* an integer that does not fit 64 bits: text, its little-endian bytes */
    PICKLE_FLOAT,      /* its value is not kept */
    PICKLE_TEXT,       /* text, n bytes within the pickle, not NUL-terminated, may hold NUL */
    PICKLE_GLOBAL,     /* global */
    PICKLE_TUPLE,      /* items */
    PICKLE_LIST,       /* items */
    PICKLE_DICT,       /* items with keys */
    PICKLE_CALL,       /* global called with the tuple `argument`; items set on the result */
    PICKLE_PERSISTENT, /* the persistent id `argument` */
    PICKLE_KINDS
};

struct pickle_value {
    enum pickle_kind kind;
    uint32_t global;      /* index into the caller's list */
    uint32_t argument;    /* index of a value */
    uint32_t first, last; /* cells of the items; 0: none */
    uint32_t n;           /* items, or bytes of text */
    union {
        int64_t integer;
        const char *text;
    };
};

/* One item of a tuple, list or dict. */
struct pickle_cell {
    uint32_t key, value,
        next; /* values and a cell; key only in dicts and calls; next 0: the last */
};

struct pickle {
    struct pickle_value *value;
    size_t n_values;
    struct pickle_cell *cell; /* [0] is not used */
    size_t n_cells;
    uint32_t root; /* the value that the pickle is */
    size_t used;   /* bytes up to and with STOP */
};

/* Read one pickle at the beginning of the bytes, which it borrows and which may go on after it.
 * `global`: n_globals names like "collections.OrderedDict". */
bool pickle_read(struct pickle *pickle, const char *place, const uint8_t *bytes, size_t n,
                 const char *const *global, size_t n_globals, struct error *err) MUST_CHECK;
void pickle_free(struct pickle *pickle); /* safe on a zeroed struct */

/* Item i of a tuple or list, NULL when it has none such. */
const struct pickle_value *pickle_item(const struct pickle *pickle,
                                       const struct pickle_value *value, size_t i);
bool pickle_is_text(const struct pickle_value *value, const char *text);
const char *pickle_kind_name(enum pickle_kind kind); /* "a tuple" */

#endif
