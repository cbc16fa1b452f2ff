/* mstudent_ngram.h: mstudent's n-gram part: --ngram, --shape ngram and --shape …,ngram=on. */
#ifndef MILLET_BIN_MSTUDENT_NGRAM_H
#define MILLET_BIN_MSTUDENT_NGRAM_H

#include <stdbool.h>

#include "bin/tool.h"
#include "nn/hybrid.h"

enum { MSTUDENT_SHAPE_BYTES = 256 };

struct ngram_arguments {
    bool wanted, alone;            /* beside an encoder; alone */
    bool keys;                     /* of a fit were given */
    bool loss, alpha, temperature; /* among them */
    struct hybrid_options hybrid;
    char shape[MSTUDENT_SHAPE_BYTES]; /* --shape without "ngram=on" */
};

/* The argument of --ngram (may be left out); a mistake finishes the process. */
void mstudent_parse_ngram(struct tool *tool, struct ngram_arguments *ngram);
/* --shape: "ngram" gives NULL, another is returned without "ngram=on". */
const char *mstudent_parse_shape(struct tool *tool, struct ngram_arguments *ngram,
                                 const char *shape);
/* The loss that fits the rest, hinges where nothing else was said; what --kd says holds for a
 * logistic part, too. A clash finishes the process. */
void mstudent_join_ngram(struct tool *tool, struct ngram_arguments *ngram, bool distil,
                         double alpha, double temperature);
/* What came of it. */
void mstudent_tell_ngram(const struct tool *tool, const struct hybrid_result *result, bool several);

#endif
