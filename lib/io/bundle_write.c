/* bundle_write.c: see bundle_write.h. */
#include "io/bundle_write.h"

#include <stdlib.h>
#include <string.h>

#include "core/jobject.h"
#include "core/memory.h"
#include "io/tar.h"

struct bundle_writer {
    struct tar_writer *tar;
    json_t *checksums;
    char *name; /* of the member being written, and its sums */
    struct bundle_sums *sums;
};

struct bundle_writer *bundle_writer_open(struct output *output, struct error *err)
{
    struct bundle_writer *w = memory_zeroed(1, sizeof *w, err);
    if (!w)
        return NULL;
    w->checksums = json_object();
    if (!w->checksums)
        error_set(err, "no memory for checksums");
    w->tar = w->checksums ? tar_writer_open(output, err) : NULL;
    if (w->tar)
        return w;
    bundle_writer_abandon(w);
    return NULL;
}

static void release(struct bundle_writer *w)
{
    bundle_sums_abandon(w->sums);
    json_decref(w->checksums);
    free(w->name);
    free(w);
}

bool bundle_writer_begin(struct bundle_writer *writer, const char *name, uint64_t bytes,
                         struct error *err)
{
    writer->name = memory_copy(name, strlen(name), err);
    writer->sums = writer->name ? bundle_sums_open(err) : NULL;
    return writer->sums && tar_begin(writer->tar, name, bytes, err);
}

bool bundle_writer_put(void *writer, const void *bytes, size_t n, struct error *err)
{
    struct bundle_writer *w = writer;
    return bundle_sums_add(w->sums, bytes, n, err) && tar_put(w->tar, bytes, n, err);
}

bool bundle_writer_end(struct bundle_writer *writer, struct error *err)
{
    json_t *sums = bundle_sums_finish(writer->sums, err);
    writer->sums = NULL;
    if (!sums)
        return false;
    bool ok = json_object_set_new(writer->checksums, writer->name, sums) == 0;
    free(writer->name);
    writer->name = NULL;
    return ok || error_set(err, "no memory for checksums");
}

bool bundle_writer_add(struct bundle_writer *writer, const char *name, const void *bytes, size_t n,
                       struct error *err)
{
    return bundle_writer_begin(writer, name, n, err) && bundle_writer_put(writer, bytes, n, err) &&
           bundle_writer_end(writer, err);
}

bool bundle_writer_tensors(struct bundle_writer *writer, const char *name,
                           const struct tensor_view *tensor, size_t n, const char *const *metadata,
                           size_t n_metadata, struct error *err)
{
    uint64_t bytes = 0;
    return safetensors_size(tensor, n, metadata, n_metadata, &bytes, err) &&
           bundle_writer_begin(writer, name, bytes, err) &&
           safetensors_write(tensor, n, metadata, n_metadata, bundle_writer_put, writer, err) &&
           bundle_writer_end(writer, err);
}

bool bundle_writer_finish(struct bundle_writer *writer, json_t *millet, struct error *err)
{
    bool ok = json_object_set(millet, "checksums", writer->checksums) == 0 ||
              error_set(err, "no memory for millet.json");
    char *text = ok && jobject_seal(millet, err) ? jobject_dump(millet, err) : NULL;
    ok = text && tar_write(writer->tar, "millet.json", text, strlen(text), err);
    free(text);
    if (ok)
        ok = tar_writer_finish(writer->tar, err);
    else
        tar_writer_abandon(writer->tar);
    release(writer);
    return ok;
}

void bundle_writer_abandon(struct bundle_writer *writer)
{
    if (!writer)
        return;
    if (writer->tar)
        tar_writer_abandon(writer->tar);
    release(writer);
}
