/* trace.h: what each operation of a forward pass takes. While a trace is open, the operation tables
 * of a device and of its lanes are replaced by ones whose entries take the time, forward, and count
 * the work; so whoever computes knows nothing of it, and pays nothing when none is open. Operations
 * of other kinds than these are not looked at.
 *
 * Only of devices that work in the memory of the host and at once; elsewhere an operation returns
 * before it is done.
 */
#ifndef MILLET_KERNELS_TRACE_H
#define MILLET_KERNELS_TRACE_H

#include "kernels/kernels.h"

enum trace_kind {
    TRACE_EMBED,
    TRACE_LINEAR_F32, /* products, by the format of what is multiplied; with bias and epilogue */
    TRACE_LINEAR_BF16,
    TRACE_LINEAR_I8,
    TRACE_ATTENTION,
    TRACE_NORM,
    TRACE_SEQUENCE, /* first rows, means, trigrams */
    TRACE_BAG,
    TRACE_COPY, /* to and from activations */
    TRACE_KINDS
};
/* "embedding rows", "product, int8", … */
const char *trace_name(enum trace_kind kind);

struct trace_count {
    uint64_t calls;
    double seconds; /* of all threads together */
    /* A multiplication and an addition are two; of an exponential, a root or an erf nothing is
     * counted. 0: not known. */
    double operations;
    /* What must be read and written: operands once a call, table rows as floats. 0: not known. */
    double bytes;
};

struct trace;

/* Nothing may run on the device meanwhile. Fails on a device whose memory is elsewhere. */
struct trace *trace_open(struct device *dev, struct error *err) MUST_CHECK;
/* The tables are what they were. NULL is fine. Before the device is closed. */
void trace_close(struct trace *trace);
/* Since it was opened: the sum over device and lanes. */
void trace_sum(const struct trace *trace, struct trace_count count[TRACE_KINDS]);
/* The seconds that the operations of this kind would take at the device's peak, on all threads
 * together: by their operations or by their bytes, whatever takes longer (the roofline of Williams,
 * Waterman and Patterson 2009). 0: not known. *by_bytes: which. */
double trace_least_seconds(const struct trace *trace, const struct device_peak *peak,
                           enum trace_kind kind, const struct trace_count *count, bool *by_bytes);

#endif
