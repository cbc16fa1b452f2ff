/* torch_state.c: from a pickle's values to tensors.
 *
 * A tensor is _rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks[, metadata]),
 * a parameter _rebuild_parameter(tensor, requires_grad, hooks), a storage the persistent id
 * ("storage", type, key, location, number of elements[, view]).
 */
#include "io/torch_state.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

enum torch_global {
    ORDERED_DICT,
    REBUILD_TENSOR,
    REBUILD_PARAMETER,
    FIRST_STORAGE /* from here on the types of storages, in the order of storage_type */
};

static const char *const global_name[] = {
    "collections.OrderedDict",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_parameter",
    "torch.DoubleStorage",
    "torch.FloatStorage",
    "torch.HalfStorage",
    "torch.BFloat16Storage",
    "torch.LongStorage",
    "torch.IntStorage",
    "torch.ShortStorage",
    "torch.CharStorage",
    "torch.ByteStorage",
    "torch.BoolStorage",
};
static const enum dtype storage_type[] = {DTYPE_F64, DTYPE_F32, DTYPE_F16, DTYPE_BF16, DTYPE_I64,
                                          DTYPE_I32, DTYPE_I16, DTYPE_I8,  DTYPE_U8,   DTYPE_BOOL};
enum { N_GLOBALS = sizeof global_name / sizeof *global_name };
_Static_assert(N_GLOBALS == FIRST_STORAGE + sizeof storage_type / sizeof *storage_type,
               "one element type for each type of storage");

static const char module_prefix[] = "module.";
enum { PREFIX_BYTES = sizeof module_prefix - 1 };

struct reading {
    const struct pickle *pickle;
    const char *place;
    struct error *err;
};

bool torch_state_pickle(struct pickle *pickle, const char *place, const uint8_t *bytes, size_t n,
                        struct error *err)
{
    return pickle_read(pickle, place, bytes, n, global_name, N_GLOBALS, err);
}

/* ---- the dictionary ---- */

static const struct pickle_value *value_at(const struct reading *r, uint32_t index)
{
    return &r->pickle->value[index];
}

static bool is_call(const struct pickle_value *value, enum torch_global global)
{
    return value->kind == PICKLE_CALL && value->global == (uint32_t)global;
}

static bool is_dict(const struct pickle_value *value)
{
    return value->kind == PICKLE_DICT || is_call(value, ORDERED_DICT);
}

/* What a training checkpoint wraps, or the dict itself. */
static const struct pickle_value *find_dict(const struct reading *r)
{
    const struct pickle_value *root = value_at(r, r->pickle->root);
    if (!is_dict(root)) {
        error_set(r->err, "%s: is %s; a state dict (names with tensors) is expected", r->place,
                  pickle_kind_name(root->kind));
        return NULL;
    }
    for (uint32_t c = root->first; c; c = r->pickle->cell[c].next) {
        const struct pickle_value *key = value_at(r, r->pickle->cell[c].key);
        const struct pickle_value *value = value_at(r, r->pickle->cell[c].value);
        if (is_dict(value) &&
            (pickle_is_text(key, "state_dict") || pickle_is_text(key, "model_state_dict")))
            return value;
    }
    return root;
}

/* Copies of the names one after another; without the prefix when all have it. */
static bool take_names(const struct reading *r, const struct pickle_value *dict,
                       struct torch_state *state)
{
    size_t bytes = 1;
    bool prefixed = true;
    if (dict->n > TORCH_MAX_TENSORS)
        return error_set(r->err, "%s: has %zu tensors; at most %d are accepted", r->place,
                         (size_t)dict->n, TORCH_MAX_TENSORS);
    for (uint32_t c = dict->first; c; c = r->pickle->cell[c].next) {
        const struct pickle_value *key = value_at(r, r->pickle->cell[c].key);
        if (key->kind != PICKLE_TEXT || key->n > TORCH_MAX_NAME || memchr(key->text, 0, key->n))
            return error_set(r->err, "%s: the name of a tensor is no string of up to %d bytes",
                             r->place, TORCH_MAX_NAME);
        bytes += key->n + 1;
        prefixed = prefixed && key->n > PREFIX_BYTES &&
                   memcmp(key->text, module_prefix, PREFIX_BYTES) == 0;
    }
    state->names = memory_array(bytes, 1, r->err);
    state->tensor = memory_zeroed(dict->n, sizeof *state->tensor, r->err);
    if (!state->names || !state->tensor)
        return false;
    char *room = state->names;
    for (uint32_t c = dict->first; c; c = r->pickle->cell[c].next) {
        const struct pickle_value *key = value_at(r, r->pickle->cell[c].key);
        size_t skip = prefixed ? PREFIX_BYTES : 0;
        state->tensor[state->n++].view.name = room;
        memcpy(room, key->text + skip, key->n - skip);
        room[key->n - skip] = '\0';
        room += key->n - skip + 1;
    }
    return true;
}

/* ---- one tensor ---- */

static bool bad(const struct reading *r, const struct torch_tensor *tensor, const char *what)
{
    return error_set(r->err, "%s: tensor \"%s\": %s; the file is damaged, or no state dict",
                     r->place, tensor->view.name, what);
}

static const struct pickle_value *argument_of(const struct reading *r,
                                              const struct pickle_value *call, size_t i)
{
    return pickle_item(r->pickle, value_at(r, call->argument), i);
}

/* A number of 0 or more. */
static bool take_count(const struct pickle_value *value, uint64_t *count)
{
    if (!value || value->kind != PICKLE_INTEGER || value->integer < 0)
        return false;
    *count = (uint64_t)value->integer;
    return true;
}

static bool take_storage(const struct reading *r, const struct pickle_value *id,
                         struct torch_tensor *tensor)
{
    const struct pickle_value *tuple =
        id && id->kind == PICKLE_PERSISTENT ? value_at(r, id->argument) : NULL;
    if (!tuple || tuple->kind != PICKLE_TUPLE || tuple->n < 5 || tuple->n > 6)
        return bad(r, tensor, "its storage is none that torch.save writes");
    const struct pickle_value *type = pickle_item(r->pickle, tuple, 1);
    const struct pickle_value *view = pickle_item(r->pickle, tuple, 5);
    tensor->key = pickle_item(r->pickle, tuple, 2);
    if (!pickle_is_text(pickle_item(r->pickle, tuple, 0), "storage") ||
        type->kind != PICKLE_GLOBAL || type->global < FIRST_STORAGE ||
        tensor->key->kind != PICKLE_TEXT || tensor->key->n > TORCH_MAX_NAME ||
        !take_count(pickle_item(r->pickle, tuple, 4), &tensor->storage_elements) ||
        (view && view->kind != PICKLE_NONE))
        return bad(r, tensor, "its storage is none that torch.save writes");
    tensor->view.type = storage_type[type->global - FIRST_STORAGE];
    return true;
}

static bool take_shape(const struct reading *r, const struct pickle_value *size,
                       const struct pickle_value *stride, struct torch_tensor *tensor)
{
    if (!size || !stride || size->kind != PICKLE_TUPLE || stride->kind != PICKLE_TUPLE ||
        size->n != stride->n || size->n > SAFETENSORS_MAX_RANK)
        return bad(r, tensor, "its size and stride are no two tuples of up to 8 numbers");
    tensor->view.rank = (int)size->n;
    for (size_t i = 0; i < size->n; i++)
        if (!take_count(pickle_item(r->pickle, size, i), &tensor->view.dim[i]) ||
            !take_count(pickle_item(r->pickle, stride, i), &tensor->stride[i]))
            return bad(r, tensor, "its size or stride is not a number of 0 or more");
    return true;
}

/* Every element lies in the storage; fills view.bytes. */
static bool check_bounds(const struct reading *r, struct torch_tensor *tensor)
{
    struct tensor_view *view = &tensor->view;
    uint64_t elements = 1, last = tensor->offset, step;
    bool fits = true, empty = false;
    for (int i = 0; i < view->rank; i++)
        empty = empty || view->dim[i] == 0;
    for (int i = 0; i < view->rank && !empty; i++)
        fits = fits && !__builtin_mul_overflow(elements, view->dim[i], &elements) &&
               !__builtin_mul_overflow(view->dim[i] - 1, tensor->stride[i], &step) &&
               !__builtin_add_overflow(last, step, &last);
    if (empty) {
        view->bytes = 0;
        return true;
    }
    if (fits && last < tensor->storage_elements && elements <= tensor->storage_elements &&
        !__builtin_mul_overflow(elements, dtype_bytes(view->type), &view->bytes))
        return true;
    char shape[200];
    tensor_view_describe(view, shape, sizeof shape);
    return error_set(r->err,
                     "%s: tensor \"%s\": %s from element %" PRIu64
                     " on, with its strides, does not fit its storage of %" PRIu64 " elements",
                     r->place, view->name, shape, tensor->offset, tensor->storage_elements);
}

static bool take_tensor(const struct reading *r, const struct pickle_value *value,
                        struct torch_tensor *tensor)
{
    if (is_call(value, REBUILD_PARAMETER))
        value = argument_of(r, value, 0);
    if (!value || !is_call(value, REBUILD_TENSOR))
        return error_set(
            r->err, "%s: \"%s\" is %s, not a tensor; save the model's state dict alone", r->place,
            tensor->view.name, pickle_kind_name(value ? value->kind : PICKLE_NONE));
    return take_storage(r, argument_of(r, value, 0), tensor) &&
           (take_count(argument_of(r, value, 1), &tensor->offset) ||
            bad(r, tensor, "its offset is not a number of 0 or more")) &&
           take_shape(r, argument_of(r, value, 2), argument_of(r, value, 3), tensor) &&
           check_bounds(r, tensor);
}

bool torch_tensor_contiguous(const struct torch_tensor *tensor)
{
    uint64_t expected = 1;
    for (int i = tensor->view.rank - 1; i >= 0; i--) {
        if (tensor->view.dim[i] != 1 && tensor->stride[i] != expected)
            return false;
        expected *= tensor->view.dim[i];
    }
    return true;
}

/* ---- the whole ---- */

static int compare_names(const void *a, const void *b)
{
    const struct torch_tensor *x = a, *y = b;
    return strcmp(x->view.name, y->view.name);
}

static bool read_state(struct torch_state *state, const struct reading *r)
{
    const struct pickle_value *dict = find_dict(r);
    if (!dict || !take_names(r, dict, state))
        return false;
    size_t i = 0;
    for (uint32_t c = dict->first; c; c = r->pickle->cell[c].next)
        if (!take_tensor(r, value_at(r, r->pickle->cell[c].value), &state->tensor[i++]))
            return false;
    if (state->n)
        qsort(state->tensor, state->n, sizeof *state->tensor, compare_names);
    for (i = 1; i < state->n; i++)
        if (compare_names(&state->tensor[i - 1], &state->tensor[i]) == 0)
            return error_set(r->err, "%s: has tensor \"%s\" twice", r->place,
                             state->tensor[i].view.name);
    return true;
}

bool torch_state_read(struct torch_state *state, const struct pickle *pickle, const char *place,
                      struct error *err)
{
    const struct reading r = {pickle, place, err};
    *state = (struct torch_state){0};
    if (read_state(state, &r))
        return true;
    torch_state_free(state);
    return false;
}

void torch_state_free(struct torch_state *state)
{
    free(state->tensor);
    free(state->names);
    *state = (struct torch_state){0};
}
