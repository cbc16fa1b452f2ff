#include "core/memory.h"

#include <stdlib.h>

#include "tests/tap.h"

static void test_sizes(void)
{
    size_t product = 7;
    tap_ok(memory_multiply(6, 7, &product) && product == 42, "6 × 7");
    tap_ok(!memory_multiply(SIZE_MAX / 2, 3, &product) && product == 42,
           "overflow leaves it alone");

    struct error err = ERROR_INIT;
    tap_ok(!memory_array(SIZE_MAX / 4, 8, &err) && err.set, "a size over SIZE_MAX is an error");
    error_clear(&err);
    tap_ok(!memory_zeroed(SIZE_MAX / 2 + 2, 1, &err) && err.set,
           "a size over PTRDIFF_MAX is an error");
    error_clear(&err);
    tap_ok(!memory_aligned(SIZE_MAX, 1, &err) && err.set, "aligned too");
    error_clear(&err);
    tap_ok(!memory_copy("x", SIZE_MAX, &err) && err.set, "and a copy");
}

static void test_arrays(void)
{
    struct error err = ERROR_INIT;
    void *none = memory_array(0, 8, &err), *aligned = memory_aligned(3, 5, &err);
    unsigned char *zeroed = memory_zeroed(1000, 1, &err);
    tap_ok(none != NULL, "no elements give a valid pointer");
    tap_ok(aligned && (uintptr_t)aligned % 64 == 0, "aligned to 64 bytes");
    int sum = 0;
    for (size_t i = 0; zeroed && i < 1000; i++)
        sum += zeroed[i];
    tap_ok(zeroed && sum == 0, "zeroed");
    free(none);
    free(aligned);
    free(zeroed);
}

static void test_grow(void)
{
    struct error err = ERROR_INIT;
    int *array = NULL;
    size_t capacity = 0, grown = 0;
    for (size_t n = 0; n < 10000; n++) {
        size_t before = capacity;
        if (!memory_grow(&array, &capacity, n + 1, sizeof *array, &err))
            break;
        grown += capacity != before;
        array[n] = (int)n;
    }
    bool kept = capacity >= 10000;
    for (int i = 0; kept && i < 10000; i++)
        kept = array[i] == i;
    tap_ok(kept, "10000 elements survive the growth");
    tap_ok(grown < 25, "in %zu steps, not one per element", grown);
    size_t before = capacity;
    tap_ok(!memory_grow(&array, &capacity, SIZE_MAX / 2, sizeof *array, &err) &&
               capacity == before && array[9999] == 9999,
           "a failure leaves array and capacity valid");
    free(array);
}

int main(void)
{
    struct error err = ERROR_INIT;
    test_sizes();
    test_arrays();
    test_grow();

    char *copy = memory_copy("a\0b", 3, &err), *text = memory_format(&err, "%d-%s", 5, "x");
    tap_ok(copy && memcmp(copy, "a\0b", 4) == 0, "a copy ends in NUL");
    tap_is(text, "5-x", "formatted");
    free(copy);
    free(text);

    size_t peak = memory_peak(), n = 64 << 20;
    char *big = malloc(n);
    for (size_t i = 0; big && i < n; i += 4096)
        ((volatile char *)big)[i] = 1;
    tap_ok(peak > 0 && memory_peak() >= peak + n / 2, "the peak follows use");
    free(big);
    return tap_done();
}
