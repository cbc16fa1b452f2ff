/* loss.c: classes are few, so the reference's loop over a row is used as it is, and rows are spread
 * over the team. */
#include "kernels/cpu/cpu.h"
#include "kernels/reference/reference.h"

enum { SMALL = 512 }; /* logits: less is not worth waking a thread */

struct loss_work {
    struct device *dev;
    const struct loss *loss;
    const float *logits;
    const int32_t *label;
    const float *target; /* of several labels */
    const float *teacher;
    size_t rows, classes;
    float *row_loss, *dlogits;
};

static void loss_job(void *context, size_t member, size_t n_members)
{
    const struct loss_work *work = context;
    size_t begin, end;
    threads_share(work->rows, member, n_members, &begin, &end);
    size_t at = begin * work->classes;
    reference_loss(work->dev, work->loss, (const act *)(work->logits + at),
                   work->label ? work->label + begin : NULL,
                   work->teacher ? work->teacher + at : NULL, end - begin, work->classes,
                   work->row_loss + begin, work->dlogits ? (act *)(work->dlogits + at) : NULL);
}

static void multi_label_job(void *context, size_t member, size_t n_members)
{
    const struct loss_work *work = context;
    size_t begin, end;
    threads_share(work->rows, member, n_members, &begin, &end);
    size_t at = begin * work->classes;
    reference_loss_multi_label(work->dev, work->loss, (const act *)(work->logits + at),
                               work->target ? work->target + at : NULL,
                               work->teacher ? work->teacher + at : NULL, end - begin,
                               work->classes, work->row_loss + begin,
                               work->dlogits ? (act *)(work->dlogits + at) : NULL);
}

static void share_rows(struct loss_work *work, threads_job *job)
{
    if (work->rows * work->classes <= SMALL)
        job(work, 0, 1);
    else
        cpu_run(cpu_of(work->dev), job, work);
}

void cpu_loss(struct device *dev, const struct loss *loss, const act *logits, const int32_t *label,
              const float *teacher, size_t rows, size_t classes, float *row_loss, act *dlogits)
{
    struct loss_work work = {.dev = dev,
                             .loss = loss,
                             .logits = (const float *)logits,
                             .label = label,
                             .teacher = teacher,
                             .rows = rows,
                             .classes = classes,
                             .row_loss = row_loss,
                             .dlogits = (float *)dlogits};
    share_rows(&work, loss_job);
}

void cpu_loss_multi_label(struct device *dev, const struct loss *loss, const act *logits,
                          const float *target, const float *teacher, size_t rows, size_t classes,
                          float *row_loss, act *dlogits)
{
    struct loss_work work = {.dev = dev,
                             .loss = loss,
                             .logits = (const float *)logits,
                             .target = target,
                             .teacher = teacher,
                             .rows = rows,
                             .classes = classes,
                             .row_loss = row_loss,
                             .dlogits = (float *)dlogits};
    share_rows(&work, multi_label_job);
}
