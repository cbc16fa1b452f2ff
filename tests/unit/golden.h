/* golden.h: a directory of tests/golden/models as the tests want it: the model and, from its
 * golden.safetensors, the values that transformers gives for it. */
#ifndef MILLET_TESTS_GOLDEN_H
#define MILLET_TESTS_GOLDEN_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/model.h"
#include "io/safetensors.h"
#include "io/source.h"

static const char golden_root[] = "tests/golden/models";
enum { GOLDEN_MODELS = 64, GOLDEN_NAME = 64 };

struct golden {
    const char *name; /* of the directory */
    char path[256];
    struct source *source;
    struct safetensors value;
    struct model model;
    size_t n, n_tokens;
    const int64_t *offset;
    const int32_t *id;
};

static inline int golden_compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* Names of all directories, sorted; how many. */
static inline size_t golden_list(char name[GOLDEN_MODELS][GOLDEN_NAME])
{
    size_t n = 0;
    DIR *dir = opendir(golden_root);
    for (const struct dirent *entry; dir && n < GOLDEN_MODELS && (entry = readdir(dir));)
        if (entry->d_name[0] != '.')
            snprintf(name[n++], GOLDEN_NAME, "%.*s", GOLDEN_NAME - 1, entry->d_name);
    if (dir)
        closedir(dir);
    qsort(name, n, GOLDEN_NAME, golden_compare);
    return n;
}

/* A tensor of the golden file; *n (may be NULL) its elements. NULL: not there, or of another type. */
static inline const void *golden_tensor(const struct golden *g, const char *name, enum dtype type,
                                        size_t *n)
{
    const struct tensor_view *view = safetensors_find(&g->value, name);
    if (!view || view->type != type)
        return NULL;
    if (n)
        *n = (size_t)tensor_view_elements(view);
    return view->data;
}

static inline const float *golden_floats(const struct golden *g, const char *name, size_t *n)
{
    return golden_tensor(g, name, DTYPE_F32, n);
}

static inline void golden_close(struct golden *g)
{
    if (g->model.name)
        model_close(&g->model);
    safetensors_free(&g->value);
    source_close(g->source);
    memset(g, 0, sizeof *g);
}

static inline bool golden_open(struct golden *g, const char *name, struct error *err)
{
    char path[512];
    size_t bytes = 0, n = 0;
    memset(g, 0, sizeof *g);
    g->name = name;
    snprintf(g->path, sizeof g->path, "%s/%s", golden_root, name);
    snprintf(path, sizeof path, "%s/golden.safetensors", g->path);
    g->source = source_open(path, false, err);
    if (!g->source)
        return false;
    const void *map = source_map(g->source, &bytes);
    if (!safetensors_parse(&g->value, path, map, bytes, err) ||
        !model_open(&g->model, g->path, err))
        return false;
    g->offset = golden_tensor(g, "offsets", DTYPE_I64, &n);
    g->id = golden_tensor(g, "ids", DTYPE_I32, &g->n_tokens);
    if (!g->offset || !g->id || n < 2)
        return error_set(err, "%s: no ids and offsets", path);
    g->n = n - 1;
    return true;
}

#endif
