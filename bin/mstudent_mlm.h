/* mstudent_mlm.h: --mlm: training on texts, whatever their labels. */
#ifndef MILLET_BIN_MSTUDENT_MLM_H
#define MILLET_BIN_MSTUDENT_MLM_H

#include "bin/mstudent_teacher.h"
#include "bin/tool_train.h"
#include "nn/mlm.h"
#include "nn/train.h"
#include "text/tokenizer.h"

/* After all options: what --mlm makes of --kd and --teacher. */
void mstudent_check_mlm(struct tool *tool, const struct teacher_arguments *arguments,
                        struct train_options *train);

/* Open the teacher, if one is given, and join the hook to the run. */
bool mstudent_mlm(struct tool *tool, const struct teacher_arguments *arguments,
                  const struct tokenizer *tokenizer, struct device *device, struct teacher *teacher,
                  struct train_options *train) MUST_CHECK;

/* A note of a word table that needs much memory where all its rows learn. */
void mstudent_tell_table(const struct tool *tool, const struct shape *shape);

/* What dev said of the best epoch. */
void mstudent_tell_mlm(const struct tool *tool, const struct train_result *result, size_t epochs);

#endif
