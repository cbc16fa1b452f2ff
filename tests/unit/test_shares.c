/* Items dealt out to the members of a team. */
#include "kernels/cpu/shares.h"

#include <string.h>

#include "core/threads.h"
#include "tests/tap.h"

enum { MOST_ITEMS = 1000, ROUNDS = 200 };

struct done {
    struct shares shares;
    atomic_uint times[MOST_ITEMS];
    atomic_bool astray; /* an item that its owner does not have */
    size_t n_items;
};

static void do_item(void *context, size_t owner, size_t item)
{
    struct done *done = context;
    size_t begin, end;
    threads_share(done->n_items, owner, done->shares.n, &begin, &end);
    if (item < begin || item >= end)
        atomic_store(&done->astray, true);
    else
        atomic_fetch_add(&done->times[item], 1);
}

static void work(void *context, size_t member, size_t n_members)
{
    struct done *done = context;
    (void)n_members;
    shares_work(&done->shares, member, do_item, done);
}

static bool each_once(struct done *done)
{
    bool once = !atomic_load(&done->astray);
    for (size_t i = 0; i < MOST_ITEMS; i++)
        once = once && atomic_load(&done->times[i]) == (i < done->n_items);
    memset(done->times, 0, sizeof done->times);
    return once;
}

static void test_team(size_t n_members)
{
    static const size_t n_items[] = {0, 1, 2, 7, 40, MOST_ITEMS};
    static struct done done;
    struct error err = ERROR_INIT;
    struct threads *team = threads_open(n_members, &err);
    bool once = team != NULL;
    for (int round = 0; round < ROUNDS && once; round++)
        for (size_t i = 0; i < sizeof n_items / sizeof n_items[0] && once; i++) {
            done.n_items = n_items[i];
            shares_deal(&done.shares, done.n_items, n_members, true);
            threads_run(team, work, &done);
            once = each_once(&done);
        }
    tap_ok(once, "%zu members: every item is done once, as its owner's", n_members);
    threads_close(team);
}

/* One member alone does all that is open, and leaves the rest. */
static void test_closed(void)
{
    static struct done done;
    done.n_items = 10;
    shares_deal(&done.shares, done.n_items, 3, false);
    work(&done, 0, 3);
    bool none = true;
    for (size_t i = 0; i < done.n_items; i++)
        none = none && atomic_load(&done.times[i]) == 0;
    tap_ok(none, "closed shares are left alone");
    shares_open(&done.shares, 1);
    work(&done, 0, 3);
    size_t begin, end;
    threads_share(done.n_items, 1, 3, &begin, &end);
    bool own = true;
    for (size_t i = 0; i < done.n_items; i++)
        own = own && atomic_load(&done.times[i]) == (i >= begin && i < end);
    tap_ok(own, "a member helps with a share that has been opened, and with no other");
    shares_open(&done.shares, 0);
    shares_open(&done.shares, 2);
    work(&done, 2, 3);
    tap_ok(each_once(&done), "what was done is not done again");
}

int main(void)
{
    static const size_t teams[] = {1, 2, 5, SHARES_MOST + 3};
    for (size_t i = 0; i < sizeof teams / sizeof teams[0]; i++)
        test_team(teams[i]);
    test_closed();
    return tap_done();
}
