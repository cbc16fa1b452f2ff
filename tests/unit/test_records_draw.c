/* Random samples of a record stream: which records can come, how many, in which order. */
#include "io/records_draw.h"

#include <stdlib.h>
#include <string.h>

#include "tests/tap.h"

/* Two parts of 5 and 4 records of one token; every third has a label. */
enum { FIRST = 5, N = 9 };
static const int64_t offset[N + 1] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
static const int32_t id[N] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
static const int32_t label[N] = {0, -1, -1, 1, -1, -1, 0, -1, -1},
                     none[N] = {-1, -1, -1, -1, -1, -1, -1, -1, -1};

static struct records_part part[2];
static size_t first[3] = {0, FIRST, N};

static struct records_set set_with(const int32_t *labels)
{
    part[0] = (struct records_part){
        .n = FIRST, .offset = offset, .id = id, .n_tokens = FIRST, .label = labels};
    part[1] = (struct records_part){
        .n = N - FIRST, .offset = offset, .id = id, .n_tokens = N - FIRST, .label = labels + FIRST};
    return (struct records_set){.part = part, .n_parts = 2, .first = first, .n = N};
}

/* Bit i: record i is in the sample; a record twice gives 0. */
static unsigned members(const uint32_t *list, size_t n)
{
    unsigned set = 0;
    for (size_t i = 0; i < n; i++) {
        if (list[i] >= N || set & 1U << list[i])
            return 0;
        set |= 1U << list[i];
    }
    return set;
}

static void test_all(void)
{
    struct records_set set = set_with(none);
    struct error err = ERROR_INIT;
    size_t n = 0, n_few = 0;
    uint32_t *all = records_draw(&set, false, 100, 7, &n, &err);
    uint32_t *few = records_draw(&set, false, 4, 7, &n_few, &err);
    tap_ok(all && n == N && members(all, n) == (1U << N) - 1, "all where fewer than asked for");
    tap_ok(few && n_few == 4 && memcmp(all, few, 4 * sizeof *few) == 0,
           "the same seed: the head of a longer sample");
    unsigned before = members(few, n_few);
    records_draw_sort(few, n_few);
    tap_ok(members(few, n_few) == before && few[0] < few[1] && few[1] < few[2] && few[2] < few[3],
           "sorted: the same records in order of the stream");
    free(all);
    free(few);
}

/* Every record comes about as often; 300 draws of 3 of 9: 100 each, deviation sqrt(300 · 2/9). */
static void test_even(void)
{
    struct records_set set = set_with(none);
    struct error err = ERROR_INIT;
    size_t count[N] = {0}, n, least = SIZE_MAX, most = 0;
    for (uint64_t seed = 0; seed < 300; seed++) {
        uint32_t *list = records_draw(&set, false, 3, seed, &n, &err);
        for (size_t i = 0; list && i < n; i++)
            count[list[i]]++;
        free(list);
    }
    for (size_t i = 0; i < N; i++) {
        least = count[i] < least ? count[i] : least;
        most = count[i] > most ? count[i] : most;
    }
    tap_ok(least > 60 && most < 140, "no record is favoured: %zu to %zu times", least, most);
}

static void test_labelled(void)
{
    struct records_set some = set_with(label);
    struct error err = ERROR_INIT;
    size_t n = 99;
    tap_ok(records_any_labelled(&some), "some have a label");
    uint32_t *list = records_draw(&some, true, 100, 1, &n, &err);
    tap_ok(list && n == 3 && members(list, n) == (1U << 0 | 1U << 3 | 1U << 6), "only these");
    free(list);
    struct records_set without = set_with(none);
    tap_ok(!records_any_labelled(&without), "none has a label");
    list = records_draw(&without, true, 100, 1, &n, &err);
    tap_ok(!list && n == 0 && strstr(err.text, "only records without a label"), "%s", err.text);
    error_clear(&err);
    list = records_draw(&(struct records_set){.n = 0}, false, 1, 1, &n, &err);
    tap_ok(!list && n == 0 && strstr(err.text, "no records"), "%s", err.text);
    error_clear(&err);
    list = records_draw(&(struct records_set){.n = (size_t)UINT32_MAX + 1}, false, 1, 1, &n, &err);
    tap_ok(!list && n == 0 && strstr(err.text, "cut the stream"), "%s", err.text);
}

int main(void)
{
    test_all();
    test_even();
    test_labelled();
    return tap_done();
}
