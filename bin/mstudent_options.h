/* mstudent_options.h: the command line of mstudent. */
#ifndef MILLET_BIN_MSTUDENT_OPTIONS_H
#define MILLET_BIN_MSTUDENT_OPTIONS_H

#include "bin/mstudent_ngram.h"
#include "bin/mstudent_teacher.h"
#include "bin/tool_train.h"
#include "nn/student.h"
#include "nn/train.h"

struct arguments {
    const char *model, *shape;
    struct tool_train kept;        /* --dev and --log, and what is said of checkpoints */
    struct student_choice student; /* all zero: the model as it is */
    struct train_options train;
    struct teacher_arguments teacher;
    struct ngram_arguments ngram;
    bool quantise;        /* --quantise int8 */
    uint64_t given;       /* which options, a bit each */
    double *class_weight; /* owned; train points to it */
};

extern const struct tool_option mstudent_option[];
extern const size_t mstudent_n_options;

/* All of argv; a mistake finishes the process. path [*n]: the operands. */
void mstudent_parse(struct tool *tool, struct arguments *arguments, const char *const **path,
                    size_t *n);

#endif
