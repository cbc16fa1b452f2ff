/* latency_cache.c: cost tables kept between runs, one sealed JSON file for each machine and shape.
 * A file that is absent, damaged, of another version or of another key is as good as none. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/hash.h"
#include "core/jobject.h"
#include "core/memory.h"
#include "io/output.h"
#include "prune/latency.h"
#include "prune/pace.h"

enum { VERSION = 1, MOST_BYTES = 1 << 16 };

/* ---- the table as JSON ---- */

static json_t *curve_json(const struct latency_curve *curve)
{
    json_t *list = json_array();
    for (size_t i = 0; list && i < curve->n; i++)
        json_array_append_new(list,
                              json_pack("[I, f]", (json_int_t)curve->at[i], curve->seconds[i]));
    return list;
}

json_t *latency_json(const struct latency *latency, struct error *err)
{
    json_t *json = json_pack(
        "{s:f, s:f, s:o, s:o, s:o, s:o}", "fixed", latency->fixed, "layer", latency->layer, "heads",
        curve_json(&latency->head[0]), "last_heads", curve_json(&latency->head[1]), "neurons",
        curve_json(&latency->neuron[0]), "last_neurons", curve_json(&latency->neuron[1]));
    if (!json)
        error_set(err, "no memory for the table of costs");
    return json;
}

/* false: not what latency_json() makes. */
static bool curve_read(const json_t *list, struct latency_curve *curve)
{
    curve->n = json_array_size(list);
    if (curve->n < 1 || curve->n > LATENCY_POINTS)
        return false;
    for (size_t i = 0; i < curve->n; i++) {
        const json_t *point = json_array_get(list, i);
        json_int_t at = json_integer_value(json_array_get(point, 0));
        curve->seconds[i] = json_number_value(json_array_get(point, 1));
        if (at < 1 || (i > 0 && (size_t)at <= curve->at[i - 1]) || !(curve->seconds[i] >= 0) ||
            (i > 0 && curve->seconds[i] < curve->seconds[i - 1]))
            return false;
        curve->at[i] = (size_t)at;
    }
    return true;
}

static bool latency_read(const json_t *json, struct latency *latency)
{
    latency->fixed = json_number_value(json_object_get(json, "fixed"));
    latency->layer = json_number_value(json_object_get(json, "layer"));
    return latency->fixed > 0 && latency->layer >= 0 &&
           curve_read(json_object_get(json, "heads"), &latency->head[0]) &&
           curve_read(json_object_get(json, "last_heads"), &latency->head[1]) &&
           curve_read(json_object_get(json, "neurons"), &latency->neuron[0]) &&
           curve_read(json_object_get(json, "last_neurons"), &latency->neuron[1]);
}

/* ---- what a table depends on ---- */

/* "AMD EPYC …", as the kernel calls it; "" where it does not. */
static void processor_name(char *text, size_t n)
{
    char line[512];
    FILE *file = fopen("/proc/cpuinfo", "re");
    text[0] = '\0';
    while (file && text[0] == '\0' && fgets(line, sizeof line, file)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !colon)
            continue;
        snprintf(text, n, "%s", colon + 1 + strspn(colon + 1, " \t"));
        text[strcspn(text, "\n")] = '\0';
    }
    if (file)
        fclose(file);
}

static json_t *make_key(const struct shape *shape, const struct latency_options *options,
                        const struct device *dev, const struct threads *team, struct error *err)
{
    char processor[256], kernels[160];
    json_int_t heads = 0, ffn = 0;
    for (size_t l = 0; l < shape->n_layers; l++) {
        heads =
            (json_int_t)shape->layer[l].heads > heads ? (json_int_t)shape->layer[l].heads : heads;
        ffn = (json_int_t)shape->layer[l].ffn > ffn ? (json_int_t)shape->layer[l].ffn : ffn;
    }
    processor_name(processor, sizeof processor);
    dev->op->describe(dev, kernels, sizeof kernels);
    kernels[strcspn(kernels, ",")] = '\0'; /* what follows is of training */
    json_t *key =
        json_pack("{s:o, s:s, s:s, s:I, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:s, s:I, s:I}",
                  "processor", jobject_text(processor), "device", dev->name, "kernels", kernels,
                  "threads", (json_int_t)(team ? threads_count(team) : 1), "architecture",
                  shape->family->model_type, "hidden", (json_int_t)shape->hidden, "embedding",
                  (json_int_t)shape->embed, "head_size", (json_int_t)shape->head_size, "heads",
                  heads, "neurons", ffn, "labels", (json_int_t)shape->n_labels,
                  "all_rows_in_the_last_layer", !shape_first_only(shape, shape->n_layers - 1),
                  "format", options->int8 ? "int8 rotated" : "fp32", "text_tokens",
                  (json_int_t)options->n_tokens, "run_tokens", (json_int_t)PACE_RUN_TOKENS);
    if (!key)
        error_set(err, "no memory for the table of costs");
    return key;
}

/* ---- files ---- */

char *latency_directory(struct error *err)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (cache && cache[0] == '/') /* a relative one is to be ignored, says the XDG specification */
        return memory_format(err, "%s/millet", cache);
    return home && home[0] == '/' ? memory_format(err, "%s/.cache/millet", home) : NULL;
}

static char *make_path(const json_t *key, const char *directory, struct error *err)
{
    char *own = directory ? NULL : latency_directory(err), hash[HASH_TEXT_BYTES];
    char *text = json_dumps(key, JSON_COMPACT | JSON_SORT_KEYS), *path = NULL;
    const char *in = directory ? directory : own;
    if (!text)
        error_set(err, "no memory for the table of costs");
    if (text && in) {
        hash_text(hash_bytes(text, strlen(text)), hash);
        path = memory_format(err, "%s/latency-%s.json", in, hash);
    }
    free(text);
    free(own);
    return path;
}

static bool read_file(const char *path, const json_t *key, struct latency *latency)
{
    struct error ignored = ERROR_INIT;
    FILE *file = fopen(path, "re");
    char *text = file ? memory_array(MOST_BYTES, 1, &ignored) : NULL;
    size_t n = text ? fread(text, 1, MOST_BYTES, file) : 0;
    json_t *json = n > 0 && n < MOST_BYTES ? jobject_parse(text, n, path, &ignored) : NULL;
    bool ok = json && jobject_check_seal(json, path, &ignored) &&
              json_integer_value(json_object_get(json, "millet_latency")) == VERSION &&
              json_equal(json_object_get(json, "key"), key) &&
              latency_read(json_object_get(json, "seconds"), latency);
    json_decref(json);
    free(text);
    if (file)
        fclose(file);
    return ok;
}

/* Every directory of a path to a file. */
static void make_directories(const char *path, struct error *err)
{
    char *copy = memory_format(err, "%s", path);
    for (char *slash = copy ? strchr(copy + 1, '/') : NULL; slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(copy, 0700); /* XDG's mode; one that is there, or cannot be made, shows on opening */
        *slash = '/';
    }
    free(copy);
}

static bool write_file(const char *path, json_t *key, const struct latency *latency,
                       struct error *err)
{
    json_t *table = latency_json(latency, err);
    json_t *json = table ? json_pack("{s:i, s:O, s:o}", "millet_latency", VERSION, "key", key,
                                     "seconds", table)
                         : NULL;
    make_directories(path, err);
    char *text = json && jobject_seal(json, err) ? jobject_dump(json, err) : NULL;
    struct output *output = text ? output_open(path, false, err) : NULL;
    bool ok = output && output_write(output, text, strlen(text), err);
    if (ok)
        ok = output_commit(output, err);
    else
        output_abandon(output);
    free(text);
    json_decref(json);
    return ok;
}

void latency_source_free(struct latency_source *source)
{
    free(source->path);
    json_decref(source->key);
    *source = (struct latency_source){.path = NULL};
}

bool latency_open(struct latency *latency, const struct shape *shape,
                  const struct latency_options *options, struct device *dev, struct threads *team,
                  const struct progress *progress, struct latency_source *source, struct error *err)
{
    *source = (struct latency_source){.path = NULL};
    source->key = make_key(shape, options, dev, team, err);
    if (!source->key)
        return false;
    source->path = make_path(source->key, options->directory, err);
    if (source->path && !options->remeasure && read_file(source->path, source->key, latency))
        return true;
    source->measured = true;
    if (err->set || !latency_measure(latency, shape, options, dev, team, progress, err)) {
        latency_source_free(source);
        return false;
    }
    struct error ignored = ERROR_INIT;
    if (source->path && !write_file(source->path, source->key, latency, &ignored)) {
        free(source->path);
        source->path = NULL;
    }
    return true;
}
