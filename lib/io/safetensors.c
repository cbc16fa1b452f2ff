/* safetensors.c: the safetensors format. The header is JSON: {"name": {"dtype", "shape",
 * "data_offsets"}, …, "__metadata__": {…}}.
 *
 * Reading fills an array in header order, then sorts it by position in the data area, where the
 * tensors must tile.
 */
#include "io/safetensors.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/hash.h"
#include "core/jobject.h"
#include "core/memory.h"

enum {
    LENGTH_BYTES = 8, /* of the header's length */
    DATA_ALIGN = 64   /* our files' data area starts at a multiple of this */
};

static const char metadata_key[] = "__metadata__";

/* ---- views ---- */

uint64_t tensor_view_elements(const struct tensor_view *view)
{
    uint64_t n = 1;
    for (int i = 0; i < view->rank; i++)
        n *= view->dim[i];
    return n;
}

void tensor_view_describe(const struct tensor_view *view, char *text, size_t n)
{
    size_t used = 0;
    if (n == 0)
        return;
    text[0] = '\0';
    for (int i = 0; i < view->rank && used < n; i++)
        used += (size_t)snprintf(text + used, n - used, "%s%" PRIu64, i ? ", " : "[", view->dim[i]);
    if (used < n)
        snprintf(text + used, n - used, "%s %s", view->rank ? "]" : "[]", dtype_name(view->type));
}

struct tensor_view tensor_view_1d(const char *name, enum dtype type, uint64_t n, const void *data)
{
    return (struct tensor_view){.name = name,
                                .type = type,
                                .rank = 1,
                                .dim = {n},
                                .data = data,
                                .bytes = n * dtype_bytes(type)};
}

struct tensor_view tensor_view_2d(const char *name, enum dtype type, uint64_t rows, uint64_t cols,
                                  const void *data)
{
    return (struct tensor_view){.name = name,
                                .type = type,
                                .rank = 2,
                                .dim = {rows, cols},
                                .data = data,
                                .bytes = rows * cols * dtype_bytes(type)};
}

/* Bytes of the dimensions; false when the product does not fit. */
static bool view_bytes(const struct tensor_view *view, uint64_t *bytes)
{
    uint64_t n = dtype_bytes(view->type);
    for (int i = 0; i < view->rank; i++)
        if (__builtin_mul_overflow(n, view->dim[i], &n))
            return false;
    *bytes = n;
    return true;
}

/* ---- reading ---- */

/* Copies of strings one after another in st->names. */
static char *keep(char **room, const char *text, size_t n)
{
    char *copy = *room;
    memcpy(copy, text, n);
    copy[n] = '\0';
    *room += n + 1;
    return copy;
}

static bool parse_dims(struct tensor_view *view, const char *place, const json_t *shape,
                       struct error *err)
{
    size_t rank = json_array_size(shape);
    if (!json_is_array(shape) || rank > SAFETENSORS_MAX_RANK)
        return error_set(err,
                         "%s: tensor \"%s\": \"shape\" must be an array of at most %d dimensions",
                         place, view->name, SAFETENSORS_MAX_RANK);
    view->rank = (int)rank;
    for (size_t i = 0; i < rank; i++) {
        const json_t *dim = json_array_get(shape, i);
        if (!json_is_integer(dim) || json_integer_value(dim) < 0)
            return error_set(err, "%s: tensor \"%s\": dimension %zu is not a number of 0 or more",
                             place, view->name, i);
        view->dim[i] = (uint64_t)json_integer_value(dim);
    }
    return true;
}

/* "data_offsets": [begin, end] within the data area. */
static bool parse_range(struct tensor_view *view, const struct safetensors *st, const char *place,
                        const json_t *offsets, struct error *err)
{
    const json_t *first = json_array_get(offsets, 0), *last = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(first) || !json_is_integer(last))
        return error_set(err, "%s: tensor \"%s\": \"data_offsets\" must be two numbers", place,
                         view->name);
    int64_t begin = json_integer_value(first), end = json_integer_value(last);
    if (begin < 0 || end < begin || (uint64_t)end > st->data_bytes)
        return error_set(err,
                         "%s: tensor \"%s\": bytes %" PRId64 " to %" PRId64
                         " do not lie in the data area of %" PRIu64
                         " bytes: the file is cut short or damaged",
                         place, view->name, begin, end, st->data_bytes);
    uint64_t wanted;
    view->data = st->data + begin;
    view->bytes = (uint64_t)(end - begin);
    if (view_bytes(view, &wanted) && wanted == view->bytes)
        return true;
    char shape[160];
    tensor_view_describe(view, shape, sizeof shape);
    return error_set(err, "%s: tensor \"%s\": %s does not fit its %" PRIu64 " bytes", place,
                     view->name, shape, view->bytes);
}

static bool parse_tensor(struct tensor_view *view, const struct safetensors *st, const char *place,
                         const json_t *entry, struct error *err)
{
    const char *type = json_string_value(json_object_get(entry, "dtype"));
    if (!type)
        return error_set(err, "%s: tensor \"%s\": has no \"dtype\"", place, view->name);
    if (!dtype_from_name(type, &view->type))
        return error_set(err,
                         "%s: tensor \"%s\": element type \"%s\" is not supported "
                         "(F64 F32 F16 BF16 I64 I32 I16 I8 U8 BOOL are)",
                         place, view->name, type);
    return parse_dims(view, place, json_object_get(entry, "shape"), err) &&
           parse_range(view, st, place, json_object_get(entry, "data_offsets"), err);
}

static bool parse_metadata(struct safetensors *st, const char *place, json_t *pairs, char **room,
                           struct error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach(pairs, key, value)
    {
        if (!json_is_string(value))
            return error_set(err, "%s: \"__metadata__\": \"%s\" is not a string", place, key);
        st->metadata[2 * st->n_metadata] = keep(room, key, strlen(key));
        st->metadata[2 * st->n_metadata + 1] =
            keep(room, json_string_value(value), json_string_length(value));
        st->n_metadata++;
    }
    return true;
}

/* By position; empty tensors before the one that starts at the same byte. */
static int compare_position(const void *a, const void *b)
{
    const struct tensor_view *x = a, *y = b;
    if (x->data != y->data)
        return (uintptr_t)x->data < (uintptr_t)y->data ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

static bool check_tiling(const struct safetensors *st, const char *place, struct error *err)
{
    const uint8_t *next = st->data;
    for (size_t i = 0; i < st->n_tensors; i++) {
        const struct tensor_view *view = &st->tensor[i];
        if (view->data != next)
            return error_set(
                err, "%s: tensor \"%s\": %s its neighbour at byte %td of the data area", place,
                view->name,
                (uintptr_t)view->data < (uintptr_t)next ? "overlaps" : "leaves a gap to",
                next - st->data);
        next += view->bytes;
    }
    if (next != st->data + st->data_bytes)
        return error_set(
            err, "%s: %td bytes follow the last tensor; the header does not belong to the data",
            place, st->data + st->data_bytes - next);
    return true;
}

/* Bytes of all strings that will be kept, NULs included. */
static size_t names_bytes(json_t *header, json_t *pairs)
{
    size_t n = 1;
    const char *key;
    json_t *value;
    json_object_foreach(header, key, value) n += strlen(key) + 1;
    json_object_foreach(pairs, key, value) n += strlen(key) + 1 + json_string_length(value) + 1;
    return n;
}

static bool parse_header(struct safetensors *st, const char *place, json_t *header,
                         struct error *err)
{
    json_t *pairs = json_object_get(header, metadata_key);
    if (pairs && !json_is_object(pairs))
        return error_set(err, "%s: \"__metadata__\" is not an object", place);
    st->names = memory_array(names_bytes(header, pairs), 1, err);
    st->tensor = memory_zeroed(json_object_size(header), sizeof *st->tensor, err);
    st->metadata = memory_zeroed(2 * json_object_size(pairs), sizeof *st->metadata, err);
    if (!st->names || !st->tensor || !st->metadata)
        return false;
    char *room = st->names;
    if (!parse_metadata(st, place, pairs, &room, err))
        return false;
    const char *key;
    json_t *entry;
    json_object_foreach(header, key, entry)
    {
        if (strcmp(key, metadata_key) == 0)
            continue;
        struct tensor_view *view = &st->tensor[st->n_tensors++];
        view->name = keep(&room, key, strlen(key));
        if (!parse_tensor(view, st, place, entry, err))
            return false;
    }
    if (st->n_tensors)
        qsort(st->tensor, st->n_tensors, sizeof *st->tensor, compare_position);
    return check_tiling(st, place, err);
}

bool safetensors_header_bytes(const char *place, const uint8_t *bytes, size_t n,
                              size_t *header_bytes, struct error *err)
{
    if (n < LENGTH_BYTES)
        return error_set(err, "%s: has %zu bytes; a safetensors file has at least %d", place, n,
                         LENGTH_BYTES);
    uint64_t length = 0;
    for (int i = LENGTH_BYTES - 1; i >= 0; i--)
        length = length << 8 | bytes[i];
    if (length > SAFETENSORS_MAX_HEADER)
        return error_set(err,
                         "%s: is no safetensors file: its header would have %" PRIu64
                         " bytes (at most %d are allowed)",
                         place, length, SAFETENSORS_MAX_HEADER);
    if (length > n - LENGTH_BYTES)
        return error_set(err,
                         "%s: is cut short: its header has %" PRIu64
                         " bytes, but only %zu follow its length",
                         place, length, n - LENGTH_BYTES);
    *header_bytes = LENGTH_BYTES + (size_t)length;
    return true;
}

bool safetensors_parse(struct safetensors *st, const char *place, const uint8_t *bytes, size_t n,
                       struct error *err)
{
    size_t header_bytes;
    *st = (struct safetensors){0};
    if (!safetensors_header_bytes(place, bytes, n, &header_bytes, err))
        return false;
    st->data = bytes + header_bytes;
    st->data_bytes = n - header_bytes;
    json_t *header =
        jobject_parse((const char *)bytes + LENGTH_BYTES, header_bytes - LENGTH_BYTES, place, err);
    bool ok = header && parse_header(st, place, header, err);
    json_decref(header);
    if (!ok)
        safetensors_free(st);
    return ok;
}

void safetensors_free(struct safetensors *st)
{
    free(st->tensor);
    free(st->metadata);
    free(st->names);
    *st = (struct safetensors){0};
}

const struct tensor_view *safetensors_find(const struct safetensors *st, const char *name)
{
    for (size_t i = 0; i < st->n_tensors; i++)
        if (strcmp(st->tensor[i].name, name) == 0)
            return &st->tensor[i];
    return NULL;
}

const char *safetensors_metadata(const struct safetensors *st, const char *key)
{
    for (size_t i = 0; i < st->n_metadata; i++)
        if (strcmp(st->metadata[2 * i], key) == 0)
            return st->metadata[2 * i + 1];
    return NULL;
}

/* ---- writing ---- */

/* Element sizes from the widest: each pass over the tensors writes those of one size. */
static const size_t width[] = {8, 4, 2, 1};
enum { N_WIDTHS = sizeof width / sizeof width[0] };

static bool describe(json_t *header, const struct tensor_view *view, uint64_t *at,
                     struct error *err)
{
    uint64_t bytes, begin = *at;
    if (!view_bytes(view, &bytes) || bytes != view->bytes ||
        __builtin_add_overflow(begin, bytes, at) || *at > INT64_MAX)
        return error_set(err, "tensor \"%s\": its shape does not fit its %" PRIu64 " bytes",
                         view->name, view->bytes);
    if (json_object_get(header, view->name) || strcmp(view->name, metadata_key) == 0)
        return error_set(err, "tensor \"%s\": is given twice, or has a name that is not free",
                         view->name);
    json_t *shape = json_array();
    for (int i = 0; i < view->rank; i++)
        json_array_append_new(shape, json_integer((json_int_t)view->dim[i]));
    json_t *entry = json_pack("{s:s, s:o, s:[I, I]}", "dtype", dtype_name(view->type), "shape",
                              shape, "data_offsets", (json_int_t)begin, (json_int_t)*at);
    if (json_object_set_new(header, view->name, entry) != 0)
        return error_set(err, "tensor \"%s\": no memory for its header, or its name is not UTF-8",
                         view->name);
    return true;
}

static bool fill_header(json_t *header, const struct tensor_view *tensor, size_t n,
                        const char *const *metadata, size_t n_metadata, uint64_t *data_bytes,
                        struct error *err)
{
    if (n_metadata) {
        json_t *pairs = json_object();
        for (size_t i = 0; i < n_metadata; i++)
            if (json_object_set_new(pairs, metadata[2 * i], json_string(metadata[2 * i + 1])) !=
                0) {
                json_decref(pairs);
                return error_set(err, "metadata \"%s\": no memory, or not UTF-8", metadata[2 * i]);
            }
        if (json_object_set_new(header, metadata_key, pairs) != 0)
            return error_set(err, "no memory for metadata");
    }
    *data_bytes = 0;
    for (size_t w = 0; w < N_WIDTHS; w++)
        for (size_t i = 0; i < n; i++)
            if (dtype_bytes(tensor[i].type) == width[w] &&
                !describe(header, &tensor[i], data_bytes, err))
                return false;
    return true;
}

/* Length, JSON and padding, as they stand in the file; release with free(). */
static uint8_t *make_header(const struct tensor_view *tensor, size_t n, const char *const *metadata,
                            size_t n_metadata, size_t *bytes, uint64_t *data_bytes,
                            struct error *err)
{
    json_t *header = json_object();
    char *text = NULL;
    uint8_t *all = NULL;
    if (header && fill_header(header, tensor, n, metadata, n_metadata, data_bytes, err)) {
        text = json_dumps(header, JSON_COMPACT);
        size_t length = text ? strlen(text) : 0;
        *bytes = (LENGTH_BYTES + length + DATA_ALIGN - 1) / DATA_ALIGN * DATA_ALIGN;
        if (text && *bytes - LENGTH_BYTES > SAFETENSORS_MAX_HEADER)
            error_set(err, "%zu tensors need a header of %zu bytes; the format allows %d", n,
                      length, SAFETENSORS_MAX_HEADER);
        else if (text)
            all = memory_array(*bytes, 1, err);
        if (all) {
            memset(all, ' ', *bytes);
            for (int i = 0; i < LENGTH_BYTES; i++)
                all[i] = (uint8_t)((uint64_t)(*bytes - LENGTH_BYTES) >> (8 * i));
            memcpy(all + LENGTH_BYTES, text, length);
        }
    }
    if (!all && !err->set)
        error_set(err, "no memory for the header of %zu tensors", n);
    free(text);
    json_decref(header);
    return all;
}

bool safetensors_size(const struct tensor_view *tensor, size_t n, const char *const *metadata,
                      size_t n_metadata, uint64_t *bytes, struct error *err)
{
    size_t header_bytes;
    uint64_t data_bytes;
    uint8_t *header = make_header(tensor, n, metadata, n_metadata, &header_bytes, &data_bytes, err);
    if (!header)
        return false;
    free(header);
    *bytes = header_bytes + data_bytes;
    return true;
}

bool safetensors_write(const struct tensor_view *tensor, size_t n, const char *const *metadata,
                       size_t n_metadata, safetensors_sink *sink, void *context, struct error *err)
{
    size_t header_bytes;
    uint64_t data_bytes;
    uint8_t *header = make_header(tensor, n, metadata, n_metadata, &header_bytes, &data_bytes, err);
    if (!header)
        return false;
    bool ok = sink(context, header, header_bytes, err);
    free(header);
    for (size_t w = 0; w < N_WIDTHS; w++)
        for (size_t i = 0; i < n && ok; i++)
            if (dtype_bytes(tensor[i].type) == width[w] && tensor[i].bytes)
                ok = sink(context, tensor[i].data, (size_t)tensor[i].bytes, err);
    return ok;
}

bool safetensors_data_hash(const struct tensor_view *tensor, size_t n, uint64_t *hash,
                           struct error *err)
{
    struct hash_stream *stream = hash_stream_open();
    if (!stream)
        return error_set(err, "no memory for a checksum");
    for (size_t w = 0; w < N_WIDTHS; w++)
        for (size_t i = 0; i < n; i++)
            if (dtype_bytes(tensor[i].type) == width[w] && tensor[i].bytes)
                hash_stream_add(stream, tensor[i].data, (size_t)tensor[i].bytes);
    *hash = hash_stream_value(stream);
    hash_stream_close(stream);
    return true;
}
