/* layers.c: see layers.h for what each rule keeps. */
#include "prune/layers.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/number.h"

static const char *const rule_name[] = {
    [LAYERS_TOP] = "top",
    [LAYERS_MIDDLE] = "middle",
    [LAYERS_BOTTOM] = "bottom",
    [LAYERS_ALTERNATE] = "alternate",
};

bool layers_rule_from_name(const char *name, enum layers_rule *rule)
{
    for (size_t i = 0; i < sizeof rule_name / sizeof rule_name[0]; i++)
        if (strcmp(name, rule_name[i]) == 0) {
            *rule = (enum layers_rule)i;
            return true;
        }
    return false;
}

const char *layers_rule_name(enum layers_rule rule)
{
    return rule_name[rule];
}

size_t layers_count(size_t n_layers, double share)
{
    size_t k = (size_t)floor(share * (double)n_layers + 0.5);
    if (k < 1)
        return 1;
    return k < n_layers ? k : n_layers;
}

void layers_choose(size_t n_layers, size_t k, enum layers_rule rule, size_t *keep)
{
    size_t dropped = n_layers - k;
    for (size_t i = 0; i < k; i++)
        switch (rule) {
        case LAYERS_TOP:
            keep[i] = i;
            break;
        case LAYERS_BOTTOM:
            keep[i] = i + dropped;
            break;
        case LAYERS_MIDDLE:
            keep[i] = i < (k + 1) / 2 ? i : i + dropped;
            break;
        case LAYERS_ALTERNATE: /* (i (n-1) + (k-1)/2) / (k-1): rounded quotient */
            keep[i] = k == 1 ? 0 : (2 * i * (n_layers - 1) + (k - 1)) / (2 * (k - 1));
            break;
        }
}

/* One number of the list into in[]; *text moves behind it and its comma. */
static bool parse_one(const char **text, bool *in, size_t n_layers, struct error *err)
{
    size_t n = strcspn(*text, ",");
    int64_t layer = 0;
    char *word = memory_copy(*text, n, err);
    bool ok = word && number_integer(word, "--which", 0, (int64_t)n_layers - 1, &layer, err);
    free(word);
    if (!ok)
        return false;
    if (in[layer])
        return error_set(err, "--which: layer %lld stands in the list twice", (long long)layer);
    in[layer] = true;
    *text += n + ((*text)[n] == ',');
    return true;
}

bool layers_parse(const char *list, size_t n_layers, size_t **keep, size_t *k, struct error *err)
{
    bool *in = memory_zeroed(n_layers, sizeof *in, err);
    size_t *kept = memory_array(n_layers, sizeof *kept, err);
    bool ok = in && kept;
    const char *text = list;
    if (ok && (*list == '\0' || list[strlen(list) - 1] == ','))
        ok = error_set(err, "--which: \"%s\" is not a list of layers such as 0,2,5", list);
    while (ok && *text)
        ok = parse_one(&text, in, n_layers, err);
    if (ok) {
        *k = 0;
        for (size_t l = 0; l < n_layers; l++)
            if (in[l])
                kept[(*k)++] = l;
        *keep = kept;
    } else {
        free(kept);
    }
    free(in);
    return ok;
}
