/* weight.c: types that there are products and rows of, parts that agree. */
#include "kernels/weight.h"

#include "kernels/quantise.h"

bool weight_check_parts(const struct weight *part, size_t n_parts, size_t *rows, struct error *err)
{
    *rows = 0;
    for (size_t i = 0; i < n_parts; i++) {
        bool is_int8 = part[i].type == DTYPE_I8;
        if (part[i].cols != part[0].cols || is_int8 != (part[0].type == DTYPE_I8))
            return error_set(err,
                             "linear: part %zu is %s with %zu columns, part 0 is %s with %zu; "
                             "stacked parts must agree",
                             i, dtype_name(part[i].type), part[i].cols, dtype_name(part[0].type),
                             part[0].cols);
        if (part[i].rotated && !is_int8)
            return error_set(err, "linear: rotated weights of type %s; expected I8",
                             dtype_name(part[i].type));
        if (part[i].rotated != part[0].rotated)
            return error_set(err,
                             "linear: part %zu is%s rotated, part 0 is%s; stacked parts must agree",
                             i, part[i].rotated ? "" : " not", part[0].rotated ? "" : " not");
        if (!is_int8 && !dtype_is_float(part[i].type))
            return error_set(err, "linear: weights of type %s; expected F32, F16, BF16 or I8",
                             dtype_name(part[i].type));
        if (is_int8 && (!part[i].scale || part[i].cols > QUANTISE_MAX_COLUMNS))
            return error_set(err,
                             "linear: int8 weights need a scale for each row and at most %d "
                             "columns, found %zu columns",
                             (int)QUANTISE_MAX_COLUMNS, part[i].cols);
        *rows += part[i].rows;
    }
    return true;
}

bool weight_check_table(const struct weight *weight, struct error *err)
{
    bool codes = weight->type == DTYPE_I8 || weight->type == DTYPE_U8;
    if (weight->rotated && weight->type != DTYPE_I8)
        return error_set(err, "table: rotated weights of type %s; expected I8",
                         dtype_name(weight->type));
    if (dtype_is_float(weight->type) || (codes && weight->scale))
        return true;
    return error_set(err,
                     "table: weights of type %s; expected F32, F16, BF16, or I8 or U8 with scales",
                     dtype_name(weight->type));
}
