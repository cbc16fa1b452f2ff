/* mprune_speed.c: what is said of speed: the table of costs, and what the clock found. */
#include <stdio.h>

#include "bin/mprune.h"
#include "prune/budget.h"

/* "heads 1 4 12" on one line and the microseconds below. */
static void print_curve(const struct tool *tool, const char *what,
                        const struct latency_curve *curve)
{
    char line[16 * LATENCY_POINTS + 1];
    size_t used = 0;
    for (size_t i = 0; i < curve->n; i++)
        used += (size_t)snprintf(line + used, sizeof line - used, "  %zu: %.4g", curve->at[i],
                                 1e6 * curve->seconds[i]);
    tool_note(tool, "%s%s", what, line);
}

static void explain_units(const struct tool *tool, const struct budget *budget)
{
    const struct latency *latency = &budget->latency;
    tool_note(tool, "microseconds for one text of %lld tokens, %lld threads, %s, %s, %s",
              (long long)json_integer_value(json_object_get(budget->source.key, "text_tokens")),
              (long long)json_integer_value(json_object_get(budget->source.key, "threads")),
              json_string_value(json_object_get(budget->source.key, "format")),
              json_string_value(json_object_get(budget->source.key, "kernels")),
              json_string_value(json_object_get(budget->source.key, "processor")));
    tool_note(tool, "embeddings, classifier and a last layer of one head and one neuron: %.4g",
              1e6 * latency->fixed);
    tool_note(tool, "another layer of one head and one neuron: %.4g", 1e6 * latency->layer);
    print_curve(tool, "more for heads:", &latency->head[0]);
    print_curve(tool, "more for neurons:", &latency->neuron[0]);
    print_curve(tool, "more for heads of the last layer:", &latency->head[1]);
    print_curve(tool, "more for neurons of the last layer:", &latency->neuron[1]);
    if (budget->source.path)
        tool_note(tool, "%s %s", budget->source.measured ? "measured now, kept in" : "read from",
                  budget->source.path);
    else
        tool_note(tool, "measured now; there is no cache directory that can be written");
}

void mprune_tell_speed(const struct tool *tool, const struct options *opt,
                       const struct budget *budget)
{
    const struct speedup_result *result = &budget->result;
    if (!(result->asked > 0))
        return;
    if (opt->explain && budget->source.key)
        explain_units(tool, budget);
    else if (opt->explain)
        tool_note(tool,
                  "microseconds for one text: embeddings, classifier and the last layer %.4g, "
                  "another layer %.4g; measured now",
                  1e6 * budget->fixed_seconds, 1e6 * budget->layer_seconds);
    tool_note(tool, "asked to be %.3g times as fast; predicted %.2f, timed %.2f (%zu timed)",
              result->asked, result->predicted, result->measured, result->n_timed);
}
