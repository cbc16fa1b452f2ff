/* pickle.c: a stack machine that builds values and calls nothing.
 *
 * Opcodes and their operands: the comments of Python's pickletools module. Values lie in one
 * array and name one another by index, so that a value may contain itself and freeing is one call.
 * Every opcode makes at most one value and moves values that other opcodes pushed, so all arrays
 * are bounded by the pickle's length; the memo's indices are, too, because it takes two bytes at
 * least to fill one.
 */
#include "io/pickle.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

enum { NAME_BYTES = 200, NO_VALUE = UINT32_MAX >> 1 };

struct machine {
    struct pickle *pickle;
    const char *place;
    const uint8_t *start, *at, *end;
    const char *const *global;
    size_t n_globals;
    size_t value_room, cell_room, stack_room, memo_room;
    uint32_t *stack, *memo;
    size_t n_stack, n_memo;
    size_t mark[PICKLE_MAX_MARKS];
    size_t n_marks;
    struct error *err;
};

/* Names as pickletools gives them, of all opcodes of protocols 0 to 5. */
static const char *opcode_name(uint8_t code)
{
    static const char *const name[256] = {
        ['I'] = "INT",
        ['J'] = "BININT",
        ['K'] = "BININT1",
        ['M'] = "BININT2",
        ['L'] = "LONG",
        [0x8a] = "LONG1",
        [0x8b] = "LONG4",
        ['S'] = "STRING",
        ['T'] = "BINSTRING",
        ['U'] = "SHORT_BINSTRING",
        ['B'] = "BINBYTES",
        ['C'] = "SHORT_BINBYTES",
        [0x8e] = "BINBYTES8",
        [0x96] = "BYTEARRAY8",
        [0x97] = "NEXT_BUFFER",
        [0x98] = "READONLY_BUFFER",
        ['N'] = "NONE",
        [0x88] = "NEWTRUE",
        [0x89] = "NEWFALSE",
        ['V'] = "UNICODE",
        [0x8c] = "SHORT_BINUNICODE",
        ['X'] = "BINUNICODE",
        [0x8d] = "BINUNICODE8",
        ['F'] = "FLOAT",
        ['G'] = "BINFLOAT",
        [']'] = "EMPTY_LIST",
        ['a'] = "APPEND",
        ['e'] = "APPENDS",
        ['l'] = "LIST",
        [')'] = "EMPTY_TUPLE",
        ['t'] = "TUPLE",
        [0x85] = "TUPLE1",
        [0x86] = "TUPLE2",
        [0x87] = "TUPLE3",
        ['}'] = "EMPTY_DICT",
        ['d'] = "DICT",
        ['s'] = "SETITEM",
        ['u'] = "SETITEMS",
        [0x8f] = "EMPTY_SET",
        [0x90] = "ADDITEMS",
        [0x91] = "FROZENSET",
        ['0'] = "POP",
        ['2'] = "DUP",
        ['('] = "MARK",
        ['1'] = "POP_MARK",
        ['g'] = "GET",
        ['h'] = "BINGET",
        ['j'] = "LONG_BINGET",
        ['p'] = "PUT",
        ['q'] = "BINPUT",
        ['r'] = "LONG_BINPUT",
        [0x94] = "MEMOIZE",
        [0x82] = "EXT1",
        [0x83] = "EXT2",
        [0x84] = "EXT4",
        ['c'] = "GLOBAL",
        [0x93] = "STACK_GLOBAL",
        ['R'] = "REDUCE",
        ['b'] = "BUILD",
        ['i'] = "INST",
        ['o'] = "OBJ",
        [0x81] = "NEWOBJ",
        [0x92] = "NEWOBJ_EX",
        [0x80] = "PROTO",
        ['.'] = "STOP",
        [0x95] = "FRAME",
        ['P'] = "PERSID",
        ['Q'] = "BINPERSID",
    };
    return name[code];
}

const char *pickle_kind_name(enum pickle_kind kind)
{
    static const char *const name[PICKLE_KINDS] = {
        "None",     "a truth value", "a number", "a number", "a number",  "a string",
        "a global", "a tuple",       "a list",   "a dict",   "an object", "a storage",
    };
    return name[kind];
}

/* ---- operands, values, stack ---- */

static bool fail(const struct machine *m, const char *what)
{
    return error_set(m->err, "%s: byte %td of its pickle: %s; it is damaged, or no state dict",
                     m->place, m->at - m->start, what);
}

/* The next n bytes; NULL when there are not so many. */
static const uint8_t *take(struct machine *m, size_t n)
{
    if (n > (size_t)(m->end - m->at)) {
        error_set(m->err,
                  "%s: byte %td of its pickle: %zu bytes are announced, but only %td follow: it "
                  "is cut short or damaged",
                  m->place, m->at - m->start, n, m->end - m->at);
        return NULL;
    }
    const uint8_t *bytes = m->at;
    m->at += n;
    return bytes;
}

/* A little-endian number of n <= 4 bytes. */
static bool take_number(struct machine *m, size_t n, uint32_t *number)
{
    const uint8_t *bytes = take(m, n);
    *number = 0;
    for (size_t i = n; bytes && i-- > 0;)
        *number = *number << 8 | bytes[i];
    return bytes != NULL;
}

static bool push(struct machine *m, uint32_t value)
{
    if (m->n_stack == PICKLE_MAX_STACK)
        return fail(m, "the stack is deeper than that of any state dict");
    if (!memory_grow(&m->stack, &m->stack_room, m->n_stack + 1, sizeof *m->stack, m->err))
        return false;
    m->stack[m->n_stack++] = value;
    return true;
}

static bool push_value(struct machine *m, struct pickle_value value)
{
    struct pickle *p = m->pickle;
    if (p->n_values == PICKLE_MAX_VALUES)
        return fail(m, "there are more values than in any state dict");
    if (!memory_grow(&p->value, &m->value_room, p->n_values + 1, sizeof *p->value, m->err))
        return false;
    p->value[p->n_values] = value;
    return push(m, (uint32_t)p->n_values++);
}

static bool push_integer(struct machine *m, enum pickle_kind kind, int64_t integer)
{
    return push_value(m, (struct pickle_value){.kind = kind, .integer = integer});
}

/* Where the topmost mark (or the stack) begins: values below it are out of reach. */
static size_t floor_of(const struct machine *m)
{
    return m->n_marks ? m->mark[m->n_marks - 1] : 0;
}

static bool pop(struct machine *m, uint32_t *value)
{
    if (m->n_stack == floor_of(m))
        return fail(m, "a value is taken from an empty stack");
    *value = m->stack[--m->n_stack];
    return true;
}

/* The value on top of the stack; NULL when there is none. */
static struct pickle_value *top(struct machine *m)
{
    if (m->n_stack == floor_of(m)) {
        fail(m, "a value is taken from an empty stack");
        return NULL;
    }
    return &m->pickle->value[m->stack[m->n_stack - 1]];
}

static bool pop_mark(struct machine *m, size_t *first)
{
    if (m->n_marks == 0)
        return fail(m, "a mark is missing");
    *first = m->mark[--m->n_marks];
    return true;
}

static bool append(struct machine *m, struct pickle_value *to, uint32_t key, uint32_t value)
{
    struct pickle *p = m->pickle;
    if (p->n_cells == PICKLE_MAX_VALUES)
        return fail(m, "there are more values than in any state dict");
    if (!memory_grow(&p->cell, &m->cell_room, p->n_cells + 1, sizeof *p->cell, m->err))
        return false;
    uint32_t at = (uint32_t)p->n_cells++;
    p->cell[at] = (struct pickle_cell){.key = key, .value = value};
    if (to->last)
        p->cell[to->last].next = at;
    else
        to->first = at;
    to->last = at;
    to->n++;
    return true;
}

/* ---- opcodes ---- */

/* Values from `first` of the stack become a tuple. */
static bool make_tuple(struct machine *m, size_t first)
{
    struct pickle_value tuple = {.kind = PICKLE_TUPLE};
    if (first < floor_of(m) || first > m->n_stack)
        return fail(m, "a tuple takes values from an empty stack");
    for (size_t i = first; i < m->n_stack; i++)
        if (!append(m, &tuple, 0, m->stack[i]))
            return false;
    m->n_stack = first;
    return push_value(m, tuple);
}

/* Values from `first` of the stack join the list, or in pairs the dict, below them. */
static bool add_items(struct machine *m, size_t first, bool pairs)
{
    size_t step = pairs ? 2 : 1, end = m->n_stack;
    if (first < floor_of(m) || first > end || (end - first) % step)
        return fail(m, "items are missing");
    m->n_stack = first;
    struct pickle_value *to = top(m);
    if (!to)
        return false;
    if (pairs ? to->kind != PICKLE_DICT && to->kind != PICKLE_CALL : to->kind != PICKLE_LIST)
        return fail(m, pairs ? "items are set in what is no dict" : "items join what is no list");
    for (size_t i = first; i < end; i += step)
        if (!append(m, to, pairs ? m->stack[i] : 0, m->stack[i + step - 1]))
            return false;
    return true;
}

static bool add_marked(struct machine *m, bool pairs)
{
    size_t first = 0;
    return pop_mark(m, &first) && add_items(m, first, pairs);
}

/* The last `n` values of the stack, wherever the mark is, begin here; too far down is refused by
 * who uses it. */
static size_t last_values(const struct machine *m, size_t n)
{
    return m->n_stack < n ? SIZE_MAX : m->n_stack - n;
}

static bool store(struct machine *m, uint32_t index)
{
    if (!top(m))
        return false;
    if (index >= (size_t)(m->end - m->start))
        return fail(m, "the memo's index is larger than the pickle");
    if (!memory_grow(&m->memo, &m->memo_room, (size_t)index + 1, sizeof *m->memo, m->err))
        return false;
    while (m->n_memo <= index)
        m->memo[m->n_memo++] = NO_VALUE;
    m->memo[index] = m->stack[m->n_stack - 1];
    return true;
}

static bool recall(struct machine *m, uint32_t index)
{
    if (index >= m->n_memo || m->memo[index] == NO_VALUE)
        return fail(m, "the memo has nothing at the index asked for");
    return push(m, m->memo[index]);
}

/* "module\nname\n": must be one of the caller's. */
static bool push_global(struct machine *m)
{
    char name[NAME_BYTES];
    size_t used = 0;
    for (int part = 0; part < 2; part++) {
        const uint8_t *line = m->at, *newline = memchr(line, '\n', (size_t)(m->end - line));
        if (!newline)
            return fail(m, "the name of a global does not end");
        size_t n = (size_t)(newline - line);
        if (n + 2 > sizeof name - used || memchr(line, 0, n))
            return fail(m, "the name of a global is too long, or has a zero byte");
        memcpy(name + used, line, n);
        used += n;
        name[used++] = part ? '\0' : '.';
        m->at = newline + 1;
    }
    for (size_t i = 0; i < m->n_globals; i++)
        if (strcmp(name, m->global[i]) == 0)
            return push_value(m,
                              (struct pickle_value){.kind = PICKLE_GLOBAL, .global = (uint32_t)i});
    return error_set(m->err,
                     "%s: its pickle names %s, which no state dict of a model needs; nothing of it "
                     "was run; save the model's state dict alone, as safetensors best",
                     m->place, name);
}

/* Callable and arguments become "a call". */
static bool reduce(struct machine *m)
{
    uint32_t callable, argument;
    if (!pop(m, &argument) || !pop(m, &callable))
        return false;
    const struct pickle_value *value = m->pickle->value;
    if (value[callable].kind != PICKLE_GLOBAL || value[argument].kind != PICKLE_TUPLE)
        return fail(m, "REDUCE of what is no global with a tuple of arguments");
    return push_value(m, (struct pickle_value){.kind = PICKLE_CALL,
                                               .global = value[callable].global,
                                               .argument = argument});
}

/* State of an object (the _metadata of a state dict): nothing we use. */
static bool build(struct machine *m)
{
    uint32_t state;
    if (!pop(m, &state))
        return false;
    const struct pickle_value *object = top(m);
    if (!object)
        return false;
    return object->kind == PICKLE_CALL || fail(m, "BUILD of what is no object");
}

static bool push_persistent(struct machine *m)
{
    uint32_t id;
    return pop(m, &id) &&
           push_value(m, (struct pickle_value){.kind = PICKLE_PERSISTENT, .argument = id});
}

static bool push_text(struct machine *m)
{
    uint32_t n;
    const uint8_t *bytes = take_number(m, 4, &n) ? take(m, n) : NULL;
    return bytes && push_value(m, (struct pickle_value){
                                      .kind = PICKLE_TEXT, .n = n, .text = (const char *)bytes});
}

/* Two's complement, little-endian, of n bytes. */
static bool push_long(struct machine *m)
{
    uint32_t n;
    const uint8_t *bytes = take_number(m, 1, &n) ? take(m, n) : NULL;
    if (!bytes)
        return false;
    if (n > 8)
        return push_value(
            m, (struct pickle_value){.kind = PICKLE_LONG, .n = n, .text = (const char *)bytes});
    uint64_t bits = n && bytes[n - 1] & 0x80 ? UINT64_MAX : 0;
    for (uint32_t i = n; i-- > 0;)
        bits = bits << 8 | bytes[i];
    return push_integer(m, PICKLE_INTEGER, (int64_t)bits);
}

static bool protocol(struct machine *m)
{
    uint32_t version;
    if (!take_number(m, 1, &version))
        return false;
    return version == 2 || error_set(m->err, "%s: is a pickle of protocol %u; torch.save writes 2",
                                     m->place, (unsigned)version);
}

static bool push_mark(struct machine *m)
{
    if (m->n_marks == PICKLE_MAX_MARKS)
        return fail(m, "values are nested deeper than in any state dict");
    m->mark[m->n_marks++] = m->n_stack;
    return true;
}

static bool refuse(const struct machine *m, uint8_t code)
{
    const char *name = opcode_name(code);
    char number[16] = "";
    if (!name)
        for (int digit = 0; digit < 2; digit++)
            number[digit] = "0123456789abcdef"[digit ? code & 15 : code >> 4];
    return error_set(m->err,
                     "%s: byte %td of its pickle: opcode %s%s is none that a state dict needs; "
                     "nothing of it was run; save the model as safetensors",
                     m->place, m->at - m->start - 1, name ? name : "0x", number);
}

/* One opcode other than STOP. */
static bool step(struct machine *m, uint8_t code)
{
    uint32_t number = 0;
    size_t first = 0;
    switch (code) {
    case 0x80:
        return protocol(m);
    case '(':
        return push_mark(m);
    case 'N':
        return push_integer(m, PICKLE_NONE, 0);
    case 0x88:
    case 0x89:
        return push_integer(m, PICKLE_BOOL, code == 0x88);
    case 'J':
        return take_number(m, 4, &number) && push_integer(m, PICKLE_INTEGER, (int32_t)number);
    case 'K':
    case 'M':
        return take_number(m, code == 'K' ? 1 : 2, &number) &&
               push_integer(m, PICKLE_INTEGER, number);
    case 0x8a:
        return push_long(m);
    case 'G':
        return take(m, 8) && push_integer(m, PICKLE_FLOAT, 0);
    case 'X':
        return push_text(m);
    case 'c':
        return push_global(m);
    case ']':
    case '}':
        return push_integer(m, code == ']' ? PICKLE_LIST : PICKLE_DICT, 0);
    case ')':
        return make_tuple(m, m->n_stack);
    case 't':
        return pop_mark(m, &first) && make_tuple(m, first);
    case 0x85:
    case 0x86:
    case 0x87:
        return make_tuple(m, last_values(m, code - 0x84u));
    case 'a':
    case 's':
        return add_items(m, last_values(m, code == 's' ? 2 : 1), code == 's');
    case 'e':
    case 'u':
        return add_marked(m, code == 'u');
    case 'q':
    case 'r':
        return take_number(m, code == 'q' ? 1 : 4, &number) && store(m, number);
    case 'h':
    case 'j':
        return take_number(m, code == 'h' ? 1 : 4, &number) && recall(m, number);
    case 'R':
        return reduce(m);
    case 'Q':
        return push_persistent(m);
    case 'b':
        return build(m);
    default:
        return refuse(m, code);
    }
}

/* ---- the interface ---- */

static bool run(struct machine *m)
{
    const uint8_t *code;
    while ((code = take(m, 1)) && *code != '.')
        if (!step(m, *code))
            return false;
    if (!code || !pop(m, &m->pickle->root))
        return false;
    m->pickle->used = (size_t)(m->at - m->start);
    return (m->n_stack == 0 && m->n_marks == 0) || fail(m, "values are left over at its end");
}

bool pickle_read(struct pickle *pickle, const char *place, const uint8_t *bytes, size_t n,
                 const char *const *global, size_t n_globals, struct error *err)
{
    *pickle = (struct pickle){.n_cells = 1};
    if (n > PICKLE_MAX_BYTES)
        n = PICKLE_MAX_BYTES; /* what follows a pickle may be large; longer ones end here */
    struct machine m = {.pickle = pickle,
                        .place = place,
                        .start = bytes,
                        .at = bytes,
                        .end = bytes + n,
                        .global = global,
                        .n_globals = n_globals,
                        .err = err};
    bool ok = memory_grow(&pickle->cell, &m.cell_room, 1, sizeof *pickle->cell, err) && run(&m);
    free(m.stack);
    free(m.memo);
    if (!ok)
        pickle_free(pickle);
    return ok;
}

void pickle_free(struct pickle *pickle)
{
    free(pickle->value);
    free(pickle->cell);
    *pickle = (struct pickle){0};
}

const struct pickle_value *pickle_item(const struct pickle *pickle,
                                       const struct pickle_value *value, size_t i)
{
    if ((value->kind != PICKLE_TUPLE && value->kind != PICKLE_LIST) || i >= value->n)
        return NULL;
    uint32_t cell = value->first;
    while (i--)
        cell = pickle->cell[cell].next;
    return &pickle->value[pickle->cell[cell].value];
}

bool pickle_is_text(const struct pickle_value *value, const char *text)
{
    size_t n = strlen(text);
    return value && value->kind == PICKLE_TEXT && value->n == n &&
           memcmp(value->text, text, n) == 0;
}
