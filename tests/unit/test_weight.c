/* What weights must be before a device prepares them. */
#include "kernels/weight.h"

#include <string.h>

#include "tests/tap.h"

static const float scale[8];

static void refused(struct weight second, const char *expected, const char *name)
{
    struct weight part[2] = {{.type = DTYPE_F32, .rows = 3, .cols = 5}, second};
    struct error err = ERROR_INIT;
    size_t rows;
    tap_ok(!weight_check_parts(part, 2, &rows, &err) && strstr(err.text, expected), "%s: %s", name,
           err.text);
}

int main(void)
{
    const struct weight good[] = {{.type = DTYPE_F32, .rows = 3, .cols = 5},
                                  {.type = DTYPE_BF16, .rows = 4, .cols = 5}};
    const struct weight int8[] = {{.type = DTYPE_I8, .rows = 3, .cols = 5, .scale = scale}};
    struct error err = ERROR_INIT;
    size_t rows;
    tap_ok(weight_check_parts(good, 2, &rows, &err) && rows == 7, "floats of two formats stack");
    tap_ok(weight_check_parts(int8, 1, &rows, &err) && rows == 3, "int8 with its scales");
    refused((struct weight){.type = DTYPE_F32, .rows = 4, .cols = 6},
            "part 1 is F32 with 6 columns, part 0 is F32 with 5", "other columns");
    refused((struct weight){.type = DTYPE_I8, .rows = 4, .cols = 5, .scale = scale},
            "part 1 is I8 with 5 columns, part 0 is F32", "int8 on float");
    refused((struct weight){.type = DTYPE_I64, .rows = 4, .cols = 5}, "weights of type I64",
            "integers");

    struct weight bare = {.type = DTYPE_I8, .rows = 1, .cols = 5};
    tap_ok(!weight_check_parts(&bare, 1, &rows, &err) && strstr(err.text, "need a scale"),
           "int8 without scales: %s", err.text);
    struct weight wide = {.type = DTYPE_I8, .rows = 1, .cols = 132001, .scale = scale};
    error_clear(&err);
    tap_ok(!weight_check_parts(&wide, 1, &rows, &err) && strstr(err.text, "132001 columns"),
           "int8 rows whose sums could overflow: %s", err.text);
    return tap_done();
}
