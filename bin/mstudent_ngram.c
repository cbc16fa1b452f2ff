/* mstudent_ngram.c: the keys of --ngram, and what is said of the part that came out. */
#include "bin/mstudent_ngram.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/number.h"

enum { ITEM_BYTES = 64 };

/* The next item of a list with commas; false: no more. */
static bool next_item(const char **at, char item[ITEM_BYTES])
{
    if (!**at)
        return false;
    size_t n = strcspn(*at, ",");
    snprintf(item, ITEM_BYTES, "%.*s", (int)(n < ITEM_BYTES ? n : ITEM_BYTES - 1), *at);
    *at += n + ((*at)[n] == ',');
    return true;
}

static bool take_mode(struct ngram_arguments *ngram, const char *name)
{
    for (enum hybrid_mode mode = HYBRID_APART; mode <= HYBRID_GATE; mode++)
        if (strcmp(name, hybrid_mode_name(mode)) == 0) {
            ngram->hybrid.mode = mode;
            return true;
        }
    return false;
}

static void take_loss(struct tool *tool, struct ngram_arguments *ngram, const char *name)
{
    enum ngram_loss loss = NGRAM_LOGISTIC;
    while (loss <= NGRAM_HINGE && strcmp(name, ngram_loss_name(loss)) != 0)
        loss++;
    if (loss > NGRAM_HINGE)
        tool_usage_error(tool, "--ngram loss: \"%s\" is neither logistic nor hinge", name);
    ngram->loss = true;
    ngram->hybrid.fit.loss = loss;
}

static void take_key(struct tool *tool, struct ngram_arguments *ngram, const char *key,
                     const char *text)
{
    struct ngram_fit_options *fit = &ngram->hybrid.fit;
    int64_t n = 0;
    bool ok = false;
    ngram->keys = true;
    if (strcmp(key, "loss") == 0) {
        take_loss(tool, ngram, text);
        return;
    }
    if (strcmp(key, "l2") == 0) {
        ok = number_real(text, "--ngram l2", 0, 1e6, &fit->l2, &tool->err);
    } else if (strcmp(key, "min-df") == 0) {
        ok = number_integer(text, "--ngram min-df", 1, INT32_MAX, &n, &tool->err);
        fit->min_df = (size_t)n;
    } else if (strcmp(key, "iterations") == 0) {
        ok = number_integer(text, "--ngram iterations", 1, 1000000, &n, &tool->err);
        fit->iterations = (size_t)n;
    } else if (strcmp(key, "alpha") == 0) {
        ngram->alpha = ok = number_real(text, "--ngram alpha", 0, 1, &fit->alpha, &tool->err);
    } else if (strcmp(key, "temperature") == 0) {
        ngram->temperature = ok =
            number_real(text, "--ngram temperature", 0.01, 100, &fit->temperature, &tool->err);
    } else
        tool_usage_error(tool,
                         "--ngram: unknown key \"%s\"; expected loss, l2, min-df, iterations, "
                         "alpha or temperature",
                         key);
    if (!ok)
        tool_usage_error(tool, "%s", tool->err.text);
}

void mstudent_parse_ngram(struct tool *tool, struct ngram_arguments *ngram)
{
    const char *at = tool_argument(tool);
    char item[ITEM_BYTES];
    ngram->wanted = true;
    while (at && next_item(&at, item)) {
        char *equals = strchr(item, '=');
        if (equals) {
            *equals = '\0';
            take_key(tool, ngram, item, equals + 1);
        } else if (!take_mode(ngram, item))
            tool_usage_error(
                tool,
                "--ngram: \"%s\" is neither apart, together, turn nor gate, nor KEY=NUMBER as in "
                "l2=1e-5",
                item);
    }
}

const char *mstudent_parse_shape(struct tool *tool, struct ngram_arguments *ngram,
                                 const char *shape)
{
    char item[ITEM_BYTES];
    const char *at = shape;
    size_t n = 0;
    ngram->alone = strcmp(shape, "ngram") == 0;
    if (ngram->alone)
        return NULL;
    if (strlen(shape) >= sizeof ngram->shape)
        tool_usage_error(tool, "--shape: \"%.40s...\" is too long", shape);
    while (next_item(&at, item)) {
        if (strcmp(item, "ngram=on") == 0) {
            ngram->wanted = true;
            continue;
        }
        n +=
            (size_t)snprintf(ngram->shape + n, sizeof ngram->shape - n, "%s%s", n ? "," : "", item);
    }
    return ngram->shape;
}

void mstudent_join_ngram(struct tool *tool, struct ngram_arguments *ngram, bool distil,
                         double alpha, double temperature)
{
    struct ngram_fit_options *fit = &ngram->hybrid.fit;
    bool turn = ngram->hybrid.mode == HYBRID_TURN, keys = ngram->alpha || ngram->temperature;
    if (!ngram->loss && !turn && !keys && !(ngram->alone && distil))
        fit->loss = NGRAM_HINGE;
    bool hinge = fit->loss == NGRAM_HINGE;
    if (hinge && keys)
        tool_usage_error(tool,
                         "--ngram: alpha and temperature are for a part that is distilled, and "
                         "loss=hinge learns from labels alone; drop one");
    if (hinge && turn)
        tool_usage_error(tool, "--ngram=turn fits what the encoder's logits lack, which hinges "
                               "cannot; take loss=logistic");
    fit->distil = distil && !hinge;
    if (ngram->alone && fit->distil) {
        fit->alpha = ngram->alpha ? fit->alpha : alpha;
        fit->temperature = ngram->temperature ? fit->temperature : temperature;
    }
}

void mstudent_tell_ngram(const struct tool *tool, const struct hybrid_result *result, bool several)
{
    const struct ngram_gate *gate = &result->gate;
    const char *score = several ? "micro-F1" : "accuracy";
    if (result->gated && result->on_training)
        tool_note(tool, "the gate between encoder and n-grams was chosen on the training records, "
                        "n-grams out of fold: they flatter the encoder; give --dev");
    if (result->gated && (gate->encoder == 0 || gate->ngram == 0))
        tool_note(tool,
                  "the gate is shut for the %s: on the records it was chosen on, the other "
                  "part does better alone",
                  gate->ngram == 0 ? "n-grams" : "encoder");
    if (!tool->verbose)
        return;
    if (result->fitted)
        tool_note(tool, "n-grams: %zu rows from %zu records, %zu iterations in %.1f s, loss %.4f",
                  result->fit.rows, result->fit.records, result->fit.iterations,
                  result->fit.seconds, result->fit.loss);
    if (result->gated)
        tool_note(tool, "%s %s: encoder %.4f, n-grams %.4f, both %.4f; the encoder's share %.2f",
                  result->on_training ? "training" : "dev", score, gate->encoder_score,
                  gate->ngram_score, gate->score, gate->share);
    else if (!isnan(result->score))
        tool_note(tool, "dev %s %.4f", score, result->score);
}
