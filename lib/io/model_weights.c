/* model_weights.c: weights in one file or in the shards that an index names, in either format. */
#include "io/model_weights.h"

#include <stdlib.h>
#include <string.h>

#include "core/jobject.h"
#include "core/memory.h"
#include "io/model_blocks.h"

/* Where weights may lie, best first. */
static const struct layout {
    const char *file, *index;
    bool torch;
} layout[] = {{"model.safetensors", "model.safetensors.index.json", false},
              {"pytorch_model.bin", "pytorch_model.bin.index.json", true}};
enum { N_LAYOUTS = sizeof layout / sizeof *layout };

/* ---- shards ---- */

static bool open_safetensors(struct model *model, struct model_shard *shard, const char *place,
                             struct error *err)
{
    const struct bundle_member *member = shard->member;
    size_t first = member->n < 8 ? member->n : 8, header_bytes;
    return bundle_verify(model->bundle, member->bytes, first, err) &&
           safetensors_header_bytes(place, member->bytes, member->n, &header_bytes, err) &&
           bundle_verify(model->bundle, member->bytes, header_bytes, err) &&
           safetensors_parse(&shard->safetensors, place, member->bytes, member->n, err);
}

/* What had to be unpacked or copied goes to the bundle, for which it is as good as verified: with
 * checksums, the whole file is verified first. */
static bool open_torch(struct model *model, struct model_shard *shard, const char *place,
                       struct error *err)
{
    const struct bundle_member *member = shard->member;
    struct torch_file *file = &shard->torch;
    bool ok = bundle_verify(model->bundle, member->bytes, member->n, err) &&
              torch_file_open(file, place, member->bytes, member->n, err);
    for (size_t i = 0; i < file->n_blocks && ok; i++) {
        ok = bundle_adopt(model->bundle, file->block[i].bytes, file->block[i].n, err);
        file->block[i].bytes = ok ? NULL : file->block[i].bytes;
    }
    return ok;
}

static bool open_shard(struct model *model, const struct bundle_member *member, bool torch,
                       struct error *err)
{
    struct model_shard *shard = &model->shard[model->n_shards++];
    char *place = memory_format(err, "%s: %s", model->name, member->name);
    shard->member = member;
    bool ok = place && (torch ? open_torch : open_safetensors)(model, shard, place, err);
    free(place);
    return ok;
}

static int compare_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The distinct files of an index, sorted: strings borrowed from it. */
static const char **index_files(const json_t *map, const char *place, size_t *n, struct error *err)
{
    const char **file = memory_array(json_object_size(map), sizeof *file, err);
    const char *tensor;
    json_t *value;
    *n = 0;
    if (!file)
        return NULL;
    json_object_foreach((json_t *)map, tensor, value)
    {
        file[*n] = json_string_value(value);
        if (!file[(*n)++]) {
            error_set(err, "%s: the file of tensor \"%s\" is not a string", place, tensor);
            free(file);
            return NULL;
        }
    }
    if (*n)
        qsort(file, *n, sizeof *file, compare_text);
    size_t kept = 0;
    for (size_t i = 0; i < *n; i++)
        if (i == 0 || strcmp(file[i], file[kept - 1]) != 0)
            file[kept++] = file[i];
    *n = kept;
    return file;
}

static bool open_index(struct model *model, const json_t *map, const char *place, bool torch,
                       struct error *err)
{
    if (json_object_size(map) == 0)
        return error_set(err, "%s: has no \"weight_map\" object of tensors and their files", place);
    size_t n;
    const char **file = index_files(map, place, &n, err);
    if (!file)
        return false;
    model->shard = memory_zeroed(n, sizeof *model->shard, err);
    bool ok = model->shard != NULL;
    for (size_t i = 0; i < n && ok; i++) {
        const struct bundle_member *member = bundle_find(model->bundle, file[i]);
        if (!member)
            ok = error_set(err, "%s: its weights are in %zu files, of which %s is missing", place,
                           n, file[i]);
        else
            ok = open_shard(model, member, torch, err);
    }
    free(file);
    return ok;
}

/* ---- tensors ---- */

static const struct tensor_view *shard_tensors(const struct model_shard *shard, size_t *n)
{
    *n = shard->safetensors.n_tensors + shard->torch.n_tensors;
    return shard->safetensors.n_tensors ? shard->safetensors.tensor : shard->torch.tensor;
}

static int compare_tensors(const void *a, const void *b)
{
    const struct tensor_view *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static bool collect_tensors(struct model *model, struct error *err)
{
    size_t n = 0, of_shard;
    for (size_t s = 0; s < model->n_shards; s++) {
        (void)shard_tensors(&model->shard[s], &of_shard);
        n += of_shard;
    }
    model->tensor = memory_array(n, sizeof *model->tensor, err);
    if (!model->tensor)
        return false;
    for (size_t s = 0; s < model->n_shards; s++) {
        const struct tensor_view *tensor = shard_tensors(&model->shard[s], &of_shard);
        if (of_shard)
            memcpy(model->tensor + model->n_tensors, tensor, of_shard * sizeof *tensor);
        model->n_tensors += of_shard;
    }
    if (n)
        qsort(model->tensor, n, sizeof *model->tensor, compare_tensors);
    for (size_t i = 1; i < n; i++)
        if (compare_tensors(&model->tensor[i - 1], &model->tensor[i]) == 0)
            return error_set(err, "%s: two of its files hold tensor \"%s\"", model->name,
                             model->tensor[i].name);
    return true;
}

static bool check_index(const struct model *model, const json_t *map, const char *place,
                        struct error *err)
{
    const char *tensor;
    json_t *file;
    json_object_foreach((json_t *)map, tensor, file)
    {
        if (!model_find(model, tensor))
            return error_set(err, "%s: says that %s holds tensor \"%s\", but no file does", place,
                             json_string_value(file), tensor);
    }
    return true;
}

/* ---- the interface ---- */

static bool open_sharded(struct model *model, const struct layout *from, struct error *err)
{
    const struct bundle_member *member = bundle_require(model->bundle, from->index, err);
    char *place = member ? memory_format(err, "%s: %s", model->name, from->index) : NULL;
    json_t *index =
        place ? jobject_parse((const char *)member->bytes, member->n, place, err) : NULL;
    const json_t *map = json_object_get(index, "weight_map");
    bool ok = index && open_index(model, map, place, from->torch, err) &&
              collect_tensors(model, err) && check_index(model, map, place, err);
    json_decref(index);
    free(place);
    return ok;
}

static bool open_any(struct model *model, struct error *err)
{
    for (size_t i = 0; i < N_LAYOUTS; i++) {
        const struct bundle_member *member = bundle_find(model->bundle, layout[i].file);
        if (member) {
            model->shard = memory_zeroed(1, sizeof *model->shard, err);
            return model->shard && open_shard(model, member, layout[i].torch, err) &&
                   collect_tensors(model, err);
        }
        if (bundle_find(model->bundle, layout[i].index))
            return open_sharded(model, &layout[i], err);
    }
    return collect_tensors(model, err);
}

bool model_weights_open(struct model *model, struct error *err)
{
    return open_any(model, err) && model_blocks_expand(model, err);
}

void model_weights_close(struct model *model)
{
    for (size_t i = 0; i < model->n_shards; i++) {
        safetensors_free(&model->shard[i].safetensors);
        torch_file_free(&model->shard[i].torch);
    }
    free(model->shard);
    free(model->tensor);
}
