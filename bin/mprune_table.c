/* mprune_table.c: what would go, as a table for --dry-run. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bin/mprune.h"
#include "io/output.h"
#include "prune/plan.h"

/* A line for each layer of the model, those that go with zeros, and one for words where some go. */
static void put_table(FILE *stream, const struct plan *plan)
{
    const struct keep *keep = &plan->keep;
    fprintf(stream, "layer\theads\tof\tneurons\tof\n");
    for (size_t l = 0, at = 0; l < plan->before.n_layers; l++) {
        const struct layer_shape *before = &plan->before.layer[l];
        size_t heads = 0, neurons = 0;
        if (at < keep->n_layers && keep->layer[at].layer == l) {
            heads = keep->layer[at].n_heads;
            neurons = keep->layer[at].n_neurons;
            at++;
        }
        fprintf(stream, "%zu\t%zu\t%zu\t%zu\t%zu\n", l, heads, before->heads, neurons, before->ffn);
    }
    if (keep->vocabulary)
        fprintf(stream, "words\t%zu\t%zu\n", keep->vocabulary->trim.n_kept,
                keep->vocabulary->n_rows);
}

bool mprune_write_table(struct tool *tool, const struct plan *plan)
{
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    if (!stream)
        return error_set(&tool->err, "no memory for the table");
    put_table(stream, plan);
    bool ok = fclose(stream) == 0 || error_set(&tool->err, "no memory for the table");
    struct output *output = ok ? output_open("-", false, &tool->err) : NULL;
    ok = output && output_write(output, text, size, &tool->err);
    if (ok)
        ok = output_commit(output, &tool->err);
    else
        output_abandon(output);
    free(text);
    return ok;
}
