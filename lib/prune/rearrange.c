/* rearrange.c: with sum[i] = sum over removed j of F[i][j] an exchange is judged in O(1). */
#include "prune/rearrange.h"

#include <stdint.h>
#include <stdlib.h>

#include "core/memory.h"

/* Rounds after which it stops all the same; each lowers the loss, and two or three do. */
enum { MAX_ROUNDS = 16 };

struct state {
    const float *fisher;
    size_t n;
    bool *keep;
    double *sum; /* [n] */
};

static void add_row(const struct state *state, size_t unit, double sign)
{
    const float *row = state->fisher + unit * state->n;
    for (size_t i = 0; i < state->n; i++)
        state->sum[i] += sign * (double)row[i];
}

/* Remove `unit`, which is kept, and bring back the removed unit whose return lowers the loss most;
 * true: that was another one. Bringing back j changes the loss by F[j][j] - 2 sum[j]. */
static bool exchange(const struct state *state, size_t unit)
{
    size_t n = state->n, back = unit;
    add_row(state, unit, 1);
    state->keep[unit] = false;
    /* The unit itself first: it must be beaten by more than rounding. */
    double self = (double)state->fisher[unit * n + unit], best = self - 2 * state->sum[unit];
    double slack = 1e-9 * (self < 0 ? -self : self);
    for (size_t j = 0; j < n; j++) {
        if (state->keep[j] || j == unit)
            continue;
        double change = (double)state->fisher[j * n + j] - 2 * state->sum[j];
        if (change < best - slack) {
            best = change;
            back = j;
        }
    }
    add_row(state, back, -1);
    state->keep[back] = true;
    return back != unit;
}

bool rearrange(const float *fisher, size_t n, bool *keep, struct error *err)
{
    struct state state = {fisher, n, keep, memory_zeroed(n, sizeof *state.sum, err)};
    if (!state.sum)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!keep[i])
            add_row(&state, i, 1);
    bool moved = true;
    for (size_t round = 0; moved && round < MAX_ROUNDS; round++) {
        moved = false;
        for (size_t i = 0; i < n; i++)
            if (keep[i] && exchange(&state, i))
                moved = true;
    }
    free(state.sum);
    return true;
}

double rearrange_loss(const float *fisher, size_t n, const bool *keep)
{
    double loss = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; !keep[i] && j < n; j++)
            loss += keep[j] ? 0 : (double)fisher[i * n + j];
    return loss;
}
