/* mstudent_teacher.h: --teacher: the model whose inside a student learns from. */
#ifndef MILLET_BIN_MSTUDENT_TEACHER_H
#define MILLET_BIN_MSTUDENT_TEACHER_H

#include "bin/tool_train.h"
#include "io/model.h"
#include "io/records.h"
#include "nn/distil.h"
#include "nn/mlm.h"
#include "nn/train.h"

enum { TEACHER_MAP = 1024 };

struct teacher_arguments {
    const char *model;
    struct distil_options options;
    double cosine; /* with --mlm */
    size_t map[TEACHER_MAP];
};

/* All of it may be absent. */
struct teacher {
    struct model model;
    bool has_model;
    struct distil *distil; /* or, with --mlm: */
    struct mlm *mlm;
    const struct trainer_hook *hook;
};

/* --kd of the option just returned: its keys for logits and those for a teacher at hand. */
void mstudent_parse_kd(struct tool *tool, struct teacher_arguments *arguments,
                       struct train_options *train);
/* After all options. */
void mstudent_check_teacher(struct tool *tool, const struct teacher_arguments *arguments);

/* The teacher as a model, of the tokenizer that has this fingerprint. Nothing without --teacher. */
bool mstudent_open_teacher(struct tool *tool, const struct teacher_arguments *arguments,
                           uint64_t tokenizer, struct teacher *teacher) MUST_CHECK;
/* Open the teacher for a student of this shape, and join its hook to the run. Nothing without
 * --teacher. */
bool mstudent_teacher(struct tool *tool, struct teacher_arguments *arguments,
                      const struct shape *student, const struct records_set *records,
                      uint64_t tokenizer, struct device *device, struct teacher *teacher,
                      struct train_options *train) MUST_CHECK;
void mstudent_teacher_close(struct teacher *teacher);

#endif
