#include "nn/layer_list.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/number.h"

/* One number of the list into in[]; *text moves behind it and its comma. */
static bool parse_one(const char **text, const char *what, bool *in, size_t n_layers,
                      struct error *err)
{
    size_t n = strcspn(*text, ",");
    int64_t layer = 0;
    char *word = memory_copy(*text, n, err);
    bool ok = word && number_integer(word, what, 0, (int64_t)n_layers - 1, &layer, err);
    free(word);
    if (!ok)
        return false;
    if (in[layer])
        return error_set(err, "%s: layer %lld stands in the list twice", what, (long long)layer);
    in[layer] = true;
    *text += n + ((*text)[n] == ',');
    return true;
}

bool layer_list_parse(const char *list, const char *what, size_t n_layers, size_t **keep, size_t *k,
                      struct error *err)
{
    bool *in = memory_zeroed(n_layers, sizeof *in, err);
    size_t *kept = memory_array(n_layers, sizeof *kept, err);
    bool ok = in && kept;
    const char *text = list;
    if (ok && (*list == '\0' || list[strlen(list) - 1] == ','))
        ok = error_set(err, "%s: \"%s\" is not a list of layers such as 0,2,5", what, list);
    while (ok && *text)
        ok = parse_one(&text, what, in, n_layers, err);
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

size_t layer_list_even(size_t n_layers, size_t k, size_t i)
{
    return k == 1 ? 0 : (2 * i * (n_layers - 1) + (k - 1)) / (2 * (k - 1));
}
