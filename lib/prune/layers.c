/* layers.c: see layers.h for what each rule keeps. */
#include "prune/layers.h"

#include <math.h>
#include <string.h>

#include "nn/layer_list.h"

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
        case LAYERS_ALTERNATE:
            keep[i] = layer_list_even(n_layers, k, i);
            break;
        }
}

bool layers_parse(const char *list, size_t n_layers, size_t **keep, size_t *k, struct error *err)
{
    return layer_list_parse(list, "--which", n_layers, keep, k, err);
}
