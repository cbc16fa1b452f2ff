/* checkpoint.c: see checkpoint.h. */
#include "nn/checkpoint.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "io/bundle_write.h"

enum { NAME_BYTES = 300 };

struct checkpoint_writer {
    struct output *output;
    struct bundle_writer *bundle;
};

struct checkpoint_writer *checkpoint_create(const char *path, struct error *err)
{
    struct checkpoint_writer *w = memory_zeroed(1, sizeof *w, err);
    if (!w)
        return NULL;
    w->output = output_open(path, true, err);
    w->bundle = w->output ? bundle_writer_open(w->output, err) : NULL;
    if (w->bundle)
        return w;
    checkpoint_abandon(w);
    return NULL;
}

static void member_name(const char *part, char name[NAME_BYTES])
{
    snprintf(name, NAME_BYTES, "%s.safetensors", part);
}

bool checkpoint_put(struct checkpoint_writer *writer, const char *part,
                    const struct tensor_view *tensor, size_t n, struct error *err)
{
    char name[NAME_BYTES];
    member_name(part, name);
    return bundle_writer_tensors(writer->bundle, name, tensor, n, NULL, 0, err);
}

bool checkpoint_commit(struct checkpoint_writer *writer, json_t *state, struct error *err)
{
    json_t *millet =
        json_pack("{s:i, s:s, s:O}", "millet", BUNDLE_FORMAT, "kind", "checkpoint", "state", state);
    bool ok = millet || error_set(err, "no memory for a checkpoint");
    if (ok) {
        ok = bundle_writer_finish(writer->bundle, millet, err);
        writer->bundle = NULL;
    }
    if (ok) {
        ok = output_commit(writer->output, err);
        writer->output = NULL;
    }
    json_decref(millet);
    checkpoint_abandon(writer);
    return ok;
}

void checkpoint_abandon(struct checkpoint_writer *writer)
{
    if (!writer)
        return;
    bundle_writer_abandon(writer->bundle);
    output_abandon(writer->output);
    free(writer);
}

/* ---- reading ---- */

struct checkpoint {
    struct bundle *bundle;
    const json_t *state;
};

struct checkpoint *checkpoint_open(const char *path, struct error *err)
{
    struct checkpoint *c = memory_zeroed(1, sizeof *c, err);
    if (!c)
        return NULL;
    c->bundle = bundle_open_kind(path, "checkpoint", err);
    if (c->bundle) {
        c->state = json_object_get(bundle_millet(c->bundle), "state");
        if (json_is_object(c->state))
            return c;
        error_set(err, "%s: is no checkpoint: it has no millet.json with a state", path);
    }
    checkpoint_close(c);
    return NULL;
}

void checkpoint_close(struct checkpoint *checkpoint)
{
    if (!checkpoint)
        return;
    bundle_close(checkpoint->bundle);
    free(checkpoint);
}

const json_t *checkpoint_state(const struct checkpoint *checkpoint)
{
    return checkpoint->state;
}

const void *checkpoint_find(struct checkpoint *checkpoint, const char *part, const char *name,
                            enum dtype type, size_t n, struct error *err)
{
    char member_of[NAME_BYTES];
    struct safetensors st;
    member_name(part, member_of);
    const struct bundle_member *member = bundle_require(checkpoint->bundle, member_of, err);
    if (!member || !safetensors_parse(&st, member_of, member->bytes, member->n, err))
        return NULL;
    const char *path = bundle_name(checkpoint->bundle);
    const struct tensor_view *view = safetensors_find(&st, name);
    const void *data = view ? view->data : NULL;
    if (!view)
        error_set(err, "%s: %s has no tensor %s", path, member_of, name);
    else if (view->type != type || tensor_view_elements(view) != n) {
        char found[100];
        tensor_view_describe(view, found, sizeof found);
        error_set(err, "%s: %s: tensor %s is %s, expected %zu of %s", path, member_of, name, found,
                  n, dtype_name(type));
        data = NULL;
    }
    safetensors_free(&st);
    return data;
}
