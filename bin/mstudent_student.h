/* mstudent_student.h: the model that mstudent starts from, cut down before it is trained. */
#ifndef MILLET_BIN_MSTUDENT_STUDENT_H
#define MILLET_BIN_MSTUDENT_STUDENT_H

#include "bin/mstudent_options.h"
#include "bin/tool.h"
#include "io/model.h"
#include "io/records.h"

/* --from-layers, --heads, --ffn and --hidden; --shape layers=0 where the model's tables fit, in
 * which case arguments->shape is NULL afterwards. Nothing when none was given. */
bool mstudent_student(struct tool *tool, struct arguments *arguments, struct model *model,
                      size_t vocab, const struct records_set *records,
                      struct device *device) MUST_CHECK;
/* What was asked for, for the run's checkpoints. New reference; NULL: no memory. */
json_t *mstudent_start(const struct arguments *arguments);

#endif
