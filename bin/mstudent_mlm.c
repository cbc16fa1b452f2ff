#include "bin/mstudent_mlm.h"

#include <math.h>

void mstudent_check_mlm(struct tool *tool, const struct teacher_arguments *arguments,
                        struct train_options *train)
{
    const struct distil_options *o = &arguments->options;
    if (o->hidden > 0 || o->patient > 0 || o->relations > 0 || o->map || o->relation_layer ||
        o->relation_heads)
        tool_usage_error(tool, "--kd: with --mlm there are alpha, temperature and cosine; hidden, "
                               "patient and relations are for labelled records");
    if (train->distil && !arguments->model)
        tool_usage_error(tool, "--kd: with --mlm it needs the teacher itself, a masked language "
                               "model: --teacher MODEL");
    train->mlm = true;
    train->distil = false;
}

bool mstudent_mlm(struct tool *tool, const struct teacher_arguments *arguments,
                  const struct tokenizer *tokenizer, struct device *device, struct teacher *teacher,
                  struct train_options *train)
{
    const struct mlm_options options = {.rate = 0.15,
                                        .seed = tool->seed,
                                        .alpha = train->alpha,
                                        .temperature = train->temperature,
                                        .cosine = arguments->cosine};
    if (!mstudent_open_teacher(tool, arguments, tokenizer_fingerprint(tokenizer), teacher))
        return false;
    teacher->mlm = mlm_open(tokenizer, teacher->has_model ? &teacher->model : NULL, &options,
                            device, &tool->err);
    if (!teacher->mlm)
        return false;
    teacher->hook = mlm_hook(teacher->mlm);
    train->hook = &teacher->hook;
    train->n_hooks = 1;
    return true;
}

void mstudent_tell_table(const struct tool *tool, const struct shape *shape)
{
    static const double gib = 1073741824;
    double bytes = 16 * (double)shape->vocab * (double)shape->embed;
    if (bytes > gib)
        tool_note(tool,
                  "all %zu rows of the word table learn: %.1f GiB of memory with gradients and "
                  "moments; mprune --vocab-from makes it smaller",
                  shape->vocab, bytes / gib);
}

void mstudent_tell_mlm(const struct tool *tool, const struct train_result *result, size_t epochs)
{
    tool_note(tool, "dev cross-entropy %.4f of masked tokens (perplexity %.4g), epoch %zu of %zu",
              -result->dev_score, exp(-result->dev_score), result->best_epoch, epochs);
}
