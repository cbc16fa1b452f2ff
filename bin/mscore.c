/* mscore.c: predict, measure, compare and report. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bin/mscore_memory.h"
#include "bin/tool.h"
#include "core/memory.h"
#include "io/output.h"
#include "io/records.h"
#include "io/source.h"
#include "score/energy.h"
#include "score/evaluate.h"
#include "score/predict.h"
#include "score/report.h"
#include "score/subject.h"

enum {
    OPTION_MODEL = 1000,
    OPTION_BASELINE,
    OPTION_BASELINE_STREAM,
    OPTION_MARGIN,
    OPTION_TIME,
    OPTION_EXPLAIN,
    OPTION_ROUNDS,
    OPTION_SECONDS,
    OPTION_WATTS,
    OPTION_GRID,
    OPTION_MEMORY,
    OPTION_JSON,
    OPTION_TSV,
    OPTION_PREDICT,
    OPTION_TOP,
    OPTION_TEXT,
    OPTION_UNBUFFERED
};

static const struct tool_option option_table[] = {
    {'m', "model", "MODEL", "model to score; without it, the logits the stream carries",
     OPTION_MODEL},
    {0, "baseline", "MODEL", "compare with this model on the same records", OPTION_BASELINE},
    {0, "baseline-stream", "STREAM",
     "the same texts of the baseline's tokenizer; alone: its logits", OPTION_BASELINE_STREAM},
    {0, "margin", "P", "with a baseline: show that the model is not worse by P points",
     OPTION_MARGIN},
    {0, "time", NULL, "measure texts/s and latency, model and baseline by turns", OPTION_TIME},
    {0, "explain", NULL, "with --time: where the time goes, against what the machine can do",
     OPTION_EXPLAIN},
    {0, "rounds", "N", "with --time: passes over all texts, at least (5)", OPTION_ROUNDS},
    {0, "seconds", "S", "with --time: go on for S seconds, at least (1)", OPTION_SECONDS},
    {0, "watts", "W", "with --time: the power of this machine, for energy and CO2", OPTION_WATTS},
    {0, "grid", "G", "with --time: gCO2e/kWh of the electricity (480, the world's mean)",
     OPTION_GRID},
    {0, "memory", NULL, "measure the peak memory of model and baseline, each by itself",
     OPTION_MEMORY},
    {0, "json", NULL, "report one JSON object instead of text", OPTION_JSON},
    {0, "tsv", NULL, "report name, tab, value, a line for each", OPTION_TSV},
    {0, "predict", NULL, "write label or labels and probability of each record instead",
     OPTION_PREDICT},
    {0, "top", "N", "with --predict: the N best labels of each record (1)", OPTION_TOP},
    {0, "text", NULL, "with --predict: append the record's text", OPTION_TEXT},
    {0, "unbuffered", NULL, "with --predict: write each line before the next record is looked at",
     OPTION_UNBUFFERED},
};

struct options {
    const char *model, *baseline, *baseline_stream;
    bool time, explain, memory, json, tsv, predict, text, unbuffered;
    double margin, watts, grid; /* < 0: not given */
    size_t top;                 /* 0: not given */
    size_t rounds;              /* 0: not given */
    double seconds;             /* < 0: not given */
    const char *const *path;
    size_t n_paths;
};

static void parse_option(struct tool *tool, struct options *opt, int id)
{
    switch (id) {
    case OPTION_MODEL:
        tool_argument_once(tool, "-m", &opt->model);
        break;
    case OPTION_BASELINE:
        tool_argument_once(tool, "--baseline", &opt->baseline);
        break;
    case OPTION_TIME:
        opt->time = true;
        break;
    case OPTION_EXPLAIN:
        opt->explain = true;
        break;
    case OPTION_ROUNDS:
        opt->rounds = (size_t)tool_argument_integer(tool, "--rounds", 1, 1000000);
        break;
    case OPTION_SECONDS:
        opt->seconds = tool_argument_real(tool, "--seconds", 0, 86400);
        break;
    case OPTION_BASELINE_STREAM:
        tool_argument_once(tool, "--baseline-stream", &opt->baseline_stream);
        break;
    case OPTION_MARGIN:
        opt->margin = tool_argument_real(tool, "--margin", 0.001, 50);
        break;
    case OPTION_WATTS:
        opt->watts = tool_argument_real(tool, "--watts", 0.001, 1e6);
        break;
    case OPTION_GRID:
        opt->grid = tool_argument_real(tool, "--grid", 0, 5000);
        break;
    case OPTION_MEMORY:
        opt->memory = true;
        break;
    case OPTION_JSON:
        opt->json = true;
        break;
    case OPTION_TSV:
        opt->tsv = true;
        break;
    case OPTION_PREDICT:
        opt->predict = true;
        break;
    case OPTION_TOP:
        opt->top = (size_t)tool_argument_integer(tool, "--top", 1, 1000000);
        break;
    case OPTION_TEXT:
        opt->text = true;
        break;
    case OPTION_UNBUFFERED:
        opt->unbuffered = true;
        break;
    }
}

static bool is_stdin(const char *path)
{
    return path && strcmp(path, "-") == 0;
}

static bool has_baseline(const struct options *opt)
{
    return opt->baseline || opt->baseline_stream;
}

/* Combinations that cannot be meant; each is named. */
static void check_options(struct tool *tool, const struct options *opt)
{
    const char *of_report = opt->baseline          ? "--baseline"
                            : opt->baseline_stream ? "--baseline-stream"
                            : opt->time            ? "--time"
                            : opt->json            ? "--json"
                            : opt->tsv             ? "--tsv"
                            : opt->memory          ? "--memory"
                                                   : NULL;
    if (opt->predict && of_report)
        tool_usage_error(tool, "--predict writes lines, no report: drop %s", of_report);
    if (opt->json && opt->tsv)
        tool_usage_error(tool, "--json and --tsv exclude each other");
    if (opt->margin >= 0 && !has_baseline(opt))
        tool_usage_error(tool, "--margin needs --baseline: the model to compare with");
    if (opt->memory && !opt->model && !opt->baseline)
        tool_usage_error(tool, "--memory needs a model: give it with -m");
    if (opt->memory && (is_stdin(opt->model) || is_stdin(opt->baseline)))
        tool_usage_error(tool, "--memory opens the model twice: it cannot come from -");
    if (!opt->predict && (opt->top || opt->text || opt->unbuffered))
        tool_usage_error(tool, "%s needs --predict",
                         opt->top    ? "--top"
                         : opt->text ? "--text"
                                     : "--unbuffered");
    if (opt->time && !opt->model)
        tool_usage_error(tool, "--time needs a model to time: give it with -m");
    if (opt->explain && !opt->time)
        tool_usage_error(tool, "--explain needs --time");
    if (!opt->time && (opt->rounds || opt->seconds >= 0))
        tool_usage_error(tool, "%s needs --time", opt->rounds ? "--rounds" : "--seconds");
    if (!opt->time && (opt->watts >= 0 || opt->grid >= 0))
        tool_usage_error(tool, "%s needs --time", opt->watts >= 0 ? "--watts" : "--grid");
    tool_check_stdin(tool, true);
}

static void parse(struct tool *tool, struct options *opt)
{
    *opt = (struct options){.seconds = -1, .margin = -1, .watts = -1, .grid = -1};
    for (int id; (id = tool_next_option(tool)) >= 0;)
        parse_option(tool, opt, id);
    opt->path = tool_operands(tool, &opt->n_paths);
    check_options(tool, opt);
}

/* All that is open while the tool works. */
struct session {
    struct tool *tool;
    const struct options *opt;
    struct output *output;
    struct device *dev; /* NULL: no model, nothing to compute */
    struct threads *team;
    struct subject model, baseline;
    struct records_set set, baseline_set; /* of a report */
    double model_memory, baseline_memory;
};

static bool predict_path(const struct session *session, const char *path, uint64_t *n_records)
{
    struct tool *tool = session->tool;
    const struct options *opt = session->opt;
    const struct predict_options how = {
        .top = opt->top, .text = opt->text, .unbuffered = opt->unbuffered};
    struct source *source = source_open(path, false, &tool->err);
    bool ok = source && predict_stream(&session->model, source, &how, &tool->progress,
                                       session->output, n_records, &tool->err);
    source_close(source);
    return ok;
}

static bool predict(const struct session *session)
{
    const struct options *opt = session->opt;
    uint64_t n_records = 0;
    bool ok = true;
    if (opt->n_paths == 0)
        ok = predict_path(session, "-", &n_records);
    for (size_t i = 0; i < opt->n_paths && ok; i++)
        ok = predict_path(session, opt->path[i], &n_records);
    return ok;
}

static char *name_stream(const struct options *opt, struct error *err)
{
    const char *first = opt->n_paths == 0 || is_stdin(opt->path[0]) ? "<stdin>" : opt->path[0];
    if (opt->n_paths > 1)
        return memory_format(err, "%s and %zu more", first, opt->n_paths - 1);
    return memory_format(err, "%s", first);
}

/* Counters of the processor say nothing of another device; nor does a guess. */
static void prepare_energy(const struct session *session, struct energy_meter *meter,
                           struct evaluate_options *how, struct report *report)
{
    const struct options *opt = session->opt;
    bool cpu = session->dev && strncmp(session->dev->name, "cuda", 4) != 0;
    *meter = (struct energy_meter){.failed = true};
    how->watts = opt->watts >= 0 ? opt->watts : NAN;
    how->watts_stated = opt->watts >= 0;
    report->grid = opt->grid >= 0 ? opt->grid : ENERGY_WORLD_GRID;
    report->grid_text = opt->grid >= 0 ? "--grid" : "the world's mean of 2023, Ember 2024";
    if (!opt->time || how->watts_stated)
        return;
    report->energy_text = cpu ? meter->text : "what this device takes is not measured";
    if (!cpu)
        return;
    if (energy_open(meter, "/sys", NULL))
        how->timing.meter = meter;
    how->watts = (double)ENERGY_THREAD_WATTS * (double)session->tool->threads;
}

static bool score_set(const struct session *session, const char *stream, struct report *report)
{
    const struct records_set *set = &session->set;
    struct tool *tool = session->tool;
    const struct options *opt = session->opt;
    struct device *dev = session->dev;
    struct evaluate_options how = {.time = opt->time,
                                   .explained = opt->explain ? dev : NULL,
                                   .margin = opt->margin >= 0 ? opt->margin / 100 : NAN,
                                   .seed = tool->seed};
    struct energy_meter meter;
    char device[256];
    timing_defaults(&how.timing);
    if (opt->baseline_stream) {
        how.baseline_set = &session->baseline_set;
        how.baseline_stream = opt->baseline_stream;
    }
    prepare_energy(session, &meter, &how, report);
    report->model.peak_memory = session->model_memory;
    report->baseline.peak_memory = session->baseline_memory;
    how.timing.rounds = opt->rounds ? opt->rounds : how.timing.rounds;
    how.timing.seconds = opt->seconds >= 0 ? opt->seconds : how.timing.seconds;
    bool ok = evaluate(&session->model, has_baseline(opt) ? &session->baseline : NULL, set, stream,
                       &how, &tool->progress, report, &tool->err);
    if (ok && dev) { /* only now it knows what it has used */
        dev->op->describe(dev, device, sizeof device);
        report->device = device;
    }
    ok = ok && (opt->json  ? report_json(report, session->output, &tool->err)
                : opt->tsv ? report_tsv(report, session->output, &tool->err)
                           : report_text(report, session->output, &tool->err));
    energy_close(&meter);
    return ok;
}

static bool score(const struct session *session)
{
    struct tool *tool = session->tool;
    const struct options *opt = session->opt;
    struct report report = {.version = tool_version, .threads = tool->threads};
    char *stream = name_stream(opt, &tool->err);
    bool ok = stream && score_set(session, stream, &report);
    report_free(&report);
    free(stream);
    return ok;
}

static bool open_sets(struct session *session)
{
    const struct options *opt = session->opt;
    struct error *err = &session->tool->err;
    if (session->set.source) /* open since the memory was measured */
        return true;
    return records_set_open(&session->set, opt->path, opt->n_paths, err) &&
           (!opt->baseline_stream ||
            records_set_open(&session->baseline_set, &opt->baseline_stream, 1, err));
}

/* Before anything else is opened: see mscore_memory.h. */
static bool measure_memory(struct session *session)
{
    const struct options *opt = session->opt;
    session->model_memory = session->baseline_memory = NAN;
    if (!opt->memory)
        return true;
    if (!open_sets(session))
        return false;
    if (opt->model)
        session->model_memory = mscore_memory(session->tool, opt->model, &session->set);
    if (opt->baseline)
        session->baseline_memory =
            mscore_memory(session->tool, opt->baseline,
                          opt->baseline_stream ? &session->baseline_set : &session->set);
    return true;
}

static bool open_subjects(struct session *session)
{
    struct tool *tool = session->tool;
    const struct options *opt = session->opt;
    if ((opt->model || opt->baseline) && !tool_open_device(tool, &session->dev, &session->team))
        return false;
    return subject_open(&session->model, opt->model, session->dev, session->team, &tool->err) &&
           subject_open(&session->baseline, opt->baseline, session->dev, session->team, &tool->err);
}

/* The output is opened first: a name that cannot be written is known before long work, not after.
 * Then the models, so that they load while the tool in front is still at work; the stream last. */
static bool run(struct tool *tool, const struct options *opt)
{
    struct session session = {.tool = tool, .opt = opt};
    session.output = output_open(tool->output, false, &tool->err);
    bool ok = session.output && measure_memory(&session) && open_subjects(&session) &&
              (opt->predict ? predict(&session) : open_sets(&session) && score(&session));
    subject_close(&session.baseline);
    subject_close(&session.model);
    tool_close_device(session.dev, session.team);
    records_set_close(&session.set);
    records_set_close(&session.baseline_set);
    if (ok)
        return output_commit(session.output, &tool->err);
    output_abandon(session.output);
    return false;
}

int main(int argc, char **argv)
{
    struct tool tool = {
        .name = "mscore",
        .purpose = "predict labels, measure quality and speed, compare with a baseline",
        .synopsis =
            "mscore [-m MODEL] [--baseline MODEL] [--baseline-stream STREAM] [--margin P]\n"
            "       [--time [--explain]] [--memory] [--json | --tsv] [-o FILE] [STREAM ...]\n"
            "mscore [-m MODEL] --predict [--top N] [--text] [--unbuffered] [-o FILE] [STREAM ...]",
        .example =
            "mtok -m student.tar test.csv | mscore -m student.tar --baseline teacher --time\n"
            "mtok -m student.tar < lines.txt | mscore -m student.tar --predict",
        .option = option_table,
        .n_options = sizeof option_table / sizeof *option_table,
    };
    struct options opt;
    tool_init(&tool, argc, argv,
              TOOL_OUTPUT | TOOL_DEVICE | TOOL_THREADS | TOOL_SEED | TOOL_PROGRESS | TOOL_MEMORY |
                  TOOL_PRECISION);
    parse(&tool, &opt);
    bool ok = run(&tool, &opt);
    int status = tool_finish(&tool);
    return ok ? status : TOOL_FAILED;
}
