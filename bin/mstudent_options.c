/* mstudent_options.c: the table of mstudent's options, and what is refused before a file is
 * opened. */
#include "bin/mstudent_options.h"

#include <stdio.h>
#include <string.h>

#include "bin/mstudent_mlm.h"
#include "core/memory.h"
#include "core/number.h"
#include "kernels/device.h"
#include "nn/shape.h"

enum option_id {
    OPTION_MODEL = TOOL_TRAIN_END,
    OPTION_SHAPE,
    OPTION_FROM_LAYERS,
    OPTION_HEADS,
    OPTION_FFN,
    OPTION_HIDDEN,
    OPTION_KD,
    OPTION_TEACHER,
    OPTION_MLM,
    OPTION_NGRAM,
    OPTION_BATCH_TOKENS,
    OPTION_HEAD_LR,
    OPTION_WEIGHT_DECAY,
    OPTION_CLIP,
    OPTION_DROPOUT,
    OPTION_QUANTISE,
    OPTION_NEW_HEAD,
    OPTION_POOL,
    OPTION_LOG_EVERY,
    OPTION_ATTENTION_DROPOUT,
    OPTION_BETA2,
    OPTION_PRECISION,
    OPTION_LABEL_SMOOTHING,
    OPTION_CLASS_WEIGHTS,
    OPTION_PATIENCE
};

#define OPTION_BIT(id) (UINT64_C(1) << ((id)-TOOL_TRAIN_DEV))

const struct tool_option mstudent_option[] = {
    {'m', "model", "MODEL", "start from MODEL; with --shape, only its tokenizer", OPTION_MODEL},
    {0, "shape", "SHAPE", "random weights: layers=4,hidden=256,heads=4,ffn=1024; or: ngram",
     OPTION_SHAPE},
    {0, "from-layers", "LAYERS", "start from so many layers of MODEL, or from these: 0,3,6,9",
     OPTION_FROM_LAYERS},
    {0, "heads", "N", "keep N attention heads of each layer", OPTION_HEADS},
    {0, "ffn", "N", "keep N feed-forward neurons of each layer", OPTION_FFN},
    {0, "hidden", "N", "keep N columns of the hidden states", OPTION_HIDDEN},
    {0, "kd", "KD", "distil: alpha=0.9,temperature=2; of --teacher: hidden=1,relations=1, ...",
     OPTION_KD},
    {0, "teacher", "MODEL", "learn from inside MODEL, too; see --kd", OPTION_TEACHER},
    {0, "mlm", NULL, "masked language model: learn from the texts alone, with no labels",
     OPTION_MLM},
    {0, "ngram", "[=KEYS]",
     "an n-gram part, too: apart (together, turn, gate), l2=1e-5, min-df=2, ...", OPTION_NGRAM},
    TOOL_TRAIN_TABLE("", "1e-4, from a shape 5e-4"),
    {0, "batch-tokens", "N", "tokens of one batch (1024)", OPTION_BATCH_TOKENS},
    {0, "head-lr", "X", "pooler and classifier learn X times faster (1)", OPTION_HEAD_LR},
    {0, "weight-decay", "X", "of matrices (0.01)", OPTION_WEIGHT_DECAY},
    {0, "clip", "X", "largest gradient norm (1); 0: any", OPTION_CLIP},
    {0, "dropout", "X", "all dropout rates (the model's)", OPTION_DROPOUT},
    {0, "quantise", "FORMAT", "train for the rounding of int8 weights", OPTION_QUANTISE},
    {0, "new-head", NULL, "start a new classifier for the records' labels", OPTION_NEW_HEAD},
    {0, "pool", "POOL", "the classifier sees: first, or the mean (the model's)", OPTION_POOL},
    {0, "log-every", "N", "steps between two log lines (10)", OPTION_LOG_EVERY},
    {0, "attention-dropout", "X", "of attention probabilities (as the others)",
     OPTION_ATTENTION_DROPOUT},
    {0, "beta2", "X", "of AdamW's second moment (0.999)", OPTION_BETA2},
    {0, "precision", "FORMAT", "of what products multiply: " DEVICE_PRECISIONS " (fp32)",
     OPTION_PRECISION},
    {0, "label-smoothing", "X", "share of a label's weight that all share (0)",
     OPTION_LABEL_SMOOTHING},
    {0, "class-weights", "LIST", "balanced, or a weight for each label: 1,2,0.5",
     OPTION_CLASS_WEIGHTS},
    {0, "patience", "N", "end after N epochs without a better dev score", OPTION_PATIENCE},
};

const size_t mstudent_n_options = sizeof mstudent_option / sizeof mstudent_option[0];

static void parse_pool(struct tool *tool, struct train_options *train)
{
    const char *name = tool_argument(tool);
    bool mean = strcmp(name, "mean") == 0;
    if (!mean && strcmp(name, "first") != 0)
        tool_usage_error(tool, "--pool: \"%s\" is neither first nor mean", name);
    train->choose_pool = true;
    train->pool = mean ? SHAPE_MEAN : SHAPE_FIRST;
}

/* Everything but the vocabulary and labels, which the files say, can be refused before any is
 * opened. */
static void check_shape(struct tool *tool, const char *text)
{
    struct shape shape = {0};
    if (!shape_from_text(&shape, text, 1, 1, &tool->err))
        tool_usage_error(tool, "%s", tool->err.text);
    shape_free(&shape);
}

/* "balanced", or numbers with commas between. */
static void parse_class_weights(struct tool *tool, struct arguments *a)
{
    const char *at = tool_argument(tool);
    struct train_options *train = &a->train;
    size_t room = 0;
    train->n_class_weights = 0;
    train->balance_classes = strcmp(at, "balanced") == 0;
    train->class_weight = NULL;
    for (bool more = !train->balance_classes; more;) {
        char item[64];
        size_t n = strcspn(at, ",");
        snprintf(item, sizeof item, "%.*s", (int)(n < sizeof item ? n : sizeof item - 1), at);
        if (!memory_grow(&a->class_weight, &room, train->n_class_weights + 1,
                         sizeof *a->class_weight, &tool->err) ||
            !number_real(item, "--class-weights", 0, 1e6,
                         &a->class_weight[train->n_class_weights++], &tool->err))
            tool_usage_error(tool, "%s; expected \"balanced\", or a weight for each label: 1,2,0.5",
                             tool->err.text);
        train->class_weight = a->class_weight;
        more = at[n] == ',';
        at += n + more;
    }
}

static const char *long_name(int id)
{
    size_t i = 0;
    while (mstudent_option[i].id != id)
        i++;
    return mstudent_option[i].long_name;
}

/* One number within its range. */
struct number_option {
    enum option_id id;
    double min, max;
    double *real;
    size_t *integer; /* one of them */
};

/* false: the option is none of the numbers. */
static bool take_number(struct tool *tool, struct arguments *a, int id)
{
    struct train_options *train = &a->train;
    const struct number_option number[] = {
        {OPTION_HEADS, 1, 1 << 20, NULL, &a->student.heads},
        {OPTION_FFN, 1, 1 << 20, NULL, &a->student.ffn},
        {OPTION_HIDDEN, 1, 1 << 20, NULL, &a->student.hidden},
        {OPTION_BATCH_TOKENS, 1, 1 << 24, NULL, &train->batch_tokens},
        {OPTION_LOG_EVERY, 1, 1 << 30, NULL, &train->log_every},
        {OPTION_PATIENCE, 1, 100000, NULL, &train->patience},
        {OPTION_HEAD_LR, 0, 1e6, &train->head_lr_factor, NULL},
        {OPTION_WEIGHT_DECAY, 0, 10, &train->weight_decay, NULL},
        {OPTION_CLIP, 0, 1e9, &train->clip, NULL},
        {OPTION_DROPOUT, 0, 0.95, &train->dropout, NULL},
        {OPTION_ATTENTION_DROPOUT, 0, 0.95, &train->attention_dropout, NULL},
        {OPTION_BETA2, 0, 0.999999, &train->beta2, NULL},
        {OPTION_LABEL_SMOOTHING, 0, 0.99, &train->label_smoothing, NULL},
    };
    char what[40];
    snprintf(what, sizeof what, "--%s", long_name(id));
    for (size_t i = 0; i < sizeof number / sizeof *number; i++) {
        const struct number_option *n = &number[i];
        if ((int)n->id != id)
            continue;
        if (n->integer)
            *n->integer =
                (size_t)tool_argument_integer(tool, what, (int64_t)n->min, (int64_t)n->max);
        else
            *n->real = tool_argument_real(tool, what, n->min, n->max);
        return true;
    }
    return false;
}

/* What the student is made of. false: the option says something else. */
static bool take_start(struct tool *tool, struct arguments *a, int id)
{
    switch (id) {
    case OPTION_MODEL:
        tool_argument_once(tool, "-m", &a->model);
        return true;
    case OPTION_SHAPE:
        a->shape = mstudent_parse_shape(tool, &a->ngram, tool_argument(tool));
        if (a->shape)
            check_shape(tool, a->shape);
        return true;
    case OPTION_FROM_LAYERS:
        a->student.layers = tool_argument(tool);
        if (!student_check_layers(a->student.layers, &tool->err))
            tool_usage_error(tool, "%s", tool->err.text);
        return true;
    case OPTION_NGRAM:
        mstudent_parse_ngram(tool, &a->ngram);
        return true;
    case OPTION_NEW_HEAD:
        a->train.new_head = true;
        return true;
    case OPTION_POOL:
        parse_pool(tool, &a->train);
        return true;
    default:
        return false;
    }
}

static void take_option(struct tool *tool, struct arguments *a, int id)
{
    struct train_options *train = &a->train;
    if (take_number(tool, a, id) || take_start(tool, a, id) ||
        tool_train_option(tool, id, &a->kept, train))
        return;
    switch (id) {
    case OPTION_TEACHER:
        tool_argument_once(tool, "--teacher", &a->teacher.model);
        break;
    case OPTION_KD:
        mstudent_parse_kd(tool, &a->teacher, train);
        break;
    case OPTION_MLM:
        train->mlm = true;
        break;
    case OPTION_QUANTISE:
        if (strcmp(tool_argument(tool), "int8") != 0)
            tool_usage_error(tool, "--quantise: \"%s\" is not int8", tool_argument(tool));
        a->quantise = true;
        break;
    case OPTION_PRECISION:
        train->precision = tool->precision = tool_argument_precision(tool);
        train->tf32 = tool->tf32;
        tool->rounds = true;
        break;
    case OPTION_CLASS_WEIGHTS:
        parse_class_weights(tool, a);
        break;
    }
}

/* An n-gram part alone is fitted, not trained: what steers the training of an encoder is
 * refused. */
static void check_ngram(struct tool *tool, struct arguments *a)
{
    static const int fits[] = {OPTION_MODEL, OPTION_SHAPE, OPTION_KD, OPTION_NGRAM, TOOL_TRAIN_DEV};
    uint64_t others = a->given;
    for (size_t i = 0; i < sizeof fits / sizeof *fits; i++)
        others &= ~OPTION_BIT(fits[i]);
    for (size_t i = 0; a->ngram.alone && i < mstudent_n_options; i++)
        if (others & OPTION_BIT(mstudent_option[i].id))
            tool_usage_error(tool, "--%s is for encoders; --shape ngram has none",
                             mstudent_option[i].long_name);
    if (a->ngram.alone && a->ngram.hybrid.mode != HYBRID_APART)
        tool_usage_error(
            tool, "--ngram: together, turn and gate need an encoder; --shape ngram has none");
    if (a->ngram.hybrid.mode == HYBRID_GATE && a->ngram.keys)
        tool_usage_error(tool, "--ngram=gate fits nothing: it has no loss, l2, min-df, iterations, "
                               "alpha or temperature; drop them");
    if ((a->ngram.alpha || a->ngram.temperature) && !a->train.distil)
        tool_usage_error(tool, "--ngram: alpha and temperature are for a part that is distilled; "
                               "add --kd");
    if (!a->ngram.wanted && !a->ngram.alone && a->train.epochs == 0)
        tool_usage_error(tool, "--epochs 0 trains nothing; it is for --ngram on a trained model");
    if (a->ngram.hybrid.mode == HYBRID_TOGETHER && a->train.epochs == 0)
        tool_usage_error(tool, "--ngram=together trains the encoder; --epochs 0 does not");
    mstudent_join_ngram(tool, &a->ngram, a->train.distil, a->train.alpha, a->train.temperature);
    if (a->train.distil && a->train.epochs == 0 && !a->ngram.hybrid.fit.distil)
        tool_usage_error(tool,
                         "--kd has nothing to do: --epochs 0 trains no encoder, and the n-gram "
                         "part learns from labels; drop it, or take --ngram=loss=logistic");
    if (a->ngram.wanted && !a->ngram.alone)
        a->train.hybrid = &a->ngram.hybrid;
}

/* What steers learning from labels is refused. */
static void check_mlm(struct tool *tool, struct arguments *a)
{
    static const int labelled[] = {
        OPTION_NGRAM,           OPTION_NEW_HEAD,      OPTION_POOL,          OPTION_QUANTISE,
        OPTION_LABEL_SMOOTHING, OPTION_CLASS_WEIGHTS, TOOL_TRAIN_CURRICULUM};
    for (size_t i = 0; i < sizeof labelled / sizeof *labelled; i++)
        if (a->given & OPTION_BIT(labelled[i]))
            tool_usage_error(tool, "--mlm and --%s clash: --mlm learns from texts, not from labels",
                             long_name(labelled[i]));
    if (a->ngram.wanted || a->ngram.alone)
        tool_usage_error(tool, "--mlm and an n-gram part clash: --mlm learns from texts, not from "
                               "labels");
    mstudent_check_mlm(tool, &a->teacher, &a->train);
}

void mstudent_parse(struct tool *tool, struct arguments *a, const char *const **path, size_t *n)
{
    int id;
    train_defaults(&a->train);
    ngram_fit_defaults(&a->ngram.hybrid.fit);
    while ((id = tool_next_option(tool)) >= 0) {
        take_option(tool, a, id);
        a->given |= OPTION_BIT(id);
    }
    *path = tool_operands(tool, n);
    tool_train_check(tool, &a->kept, &a->train);
    a->train.seed = tool->seed;
    if (!a->model)
        tool_usage_error(tool,
                         "-m MODEL is missing: the model to start from, or whose tokenizer to use");
    const struct student_choice *cut = &a->student;
    if (a->shape && (cut->layers || cut->heads || cut->ffn || cut->hidden))
        tool_usage_error(tool, "--shape and %s clash: a shape starts at random, %s from a model",
                         cut->layers  ? "--from-layers"
                         : cut->heads ? "--heads"
                         : cut->ffn   ? "--ffn"
                                      : "--hidden",
                         cut->layers ? "layers come" : "a narrower student comes");
    if (a->train.patience && !a->kept.dev)
        tool_usage_error(tool, "--patience needs --dev STREAM: what to score on");
    if (a->shape && a->train.new_head)
        tool_usage_error(tool,
                         "--shape and --new-head clash: with a shape everything starts at random");
    if (a->train.mlm)
        check_mlm(tool, a);
    else
        mstudent_check_teacher(tool, &a->teacher);
    check_ngram(tool, a);
    tool_check_stdin(tool, true);
}
