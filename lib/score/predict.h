/* predict.h: a record stream in, one line per record out, in order, part by part: what a production
 * pipe runs.
 *
 *     label<TAB>probability[<TAB>label<TAB>probability …][<TAB>text]
 *
 * or, where records have any number of labels, those with a probability above one half, in order of
 * their numbers, and these, both joined by the stream's separator (both empty: none):
 *
 *     label|label<TAB>probability|probability[<TAB>text]
 *
 * Probabilities are the softmax of the logits, and of any number of labels their sigmoids. Tabs and
 * line breaks inside labels and text become spaces, so that the columns hold. Memory: one part of
 * the stream and its logits, whatever the length of the stream.
 */
#ifndef MILLET_SCORE_PREDICT_H
#define MILLET_SCORE_PREDICT_H

#include "core/error.h"
#include "core/progress.h"
#include "io/output.h"
#include "io/source.h"
#include "score/subject.h"

struct predict_options {
    /* Pairs per line, best first; 0: the best, or all labels that hold; more than there are labels:
     * all of them. */
    size_t top;
    bool text;       /* append the record's text; a stream without it is an error */
    bool unbuffered; /* each record by itself: its line is out before the next is looked at */
};

/* One source (several streams may lie in it one after another). Lines of a part are flushed before
 * the next part is read. *n_records is added to. */
bool predict_stream(const struct subject *subject, struct source *source,
                    const struct predict_options *options, const struct progress *progress,
                    struct output *output, uint64_t *n_records, struct error *err) MUST_CHECK;

#endif
