#include "core/dtype.h"

#include "tests/tap.h"

/* The definition of IEEE binary16, in doubles: every half is exact in a double. */
static double half_by_definition(unsigned half)
{
    int exponent = (int)(half >> 10 & 0x1F);
    double fraction = (double)(half & 0x3FF), sign = half & 0x8000 ? -1 : 1;
    if (exponent == 31)
        return fraction != 0 ? (double)NAN : sign * (double)INFINITY;
    return exponent ? sign * ldexp(1024 + fraction, exponent - 25) : sign * ldexp(fraction, -24);
}

static void test_all_halves(void)
{
    int wrong = 0, lost = 0;
    for (unsigned h = 0; h < 65536; h++) {
        float value = dtype_half_to_float((uint16_t)h);
        double expected = half_by_definition(h);
        wrong += isnan(expected)
                     ? !isnan(value)
                     : !((double)value == expected && !signbit(value) == !signbit(expected));
        uint16_t back = dtype_float_to_half(value);
        /* A signalling NaN may come back quiet. */
        lost += back != h && !(isnan(value) && back == (h | 0x200));
    }
    tap_ok(wrong == 0, "all 65536 halves have their defined value (%d wrong)", wrong);
    tap_ok(lost == 0, "all 65536 halves survive the round trip (%d lost)", lost);
}

/* Between two neighbouring halves: below the middle goes down, above goes up, the middle to the
 * even one. */
static void test_half_rounding(void)
{
    int wrong = 0;
    for (unsigned h = 0; h < 0x7BFF; h++) {
        float low = dtype_half_to_float((uint16_t)h), high = dtype_half_to_float((uint16_t)(h + 1));
        float middle = (low + high) / 2; /* exact: one more bit than a half has */
        unsigned even = h & 1 ? h + 1 : h;
        wrong += dtype_float_to_half(nextafterf(middle, 0)) != h;
        wrong += dtype_float_to_half(middle) != even;
        wrong += dtype_float_to_half(nextafterf(middle, INFINITY)) != h + 1;
        wrong += dtype_float_to_half(-middle) != (even | 0x8000);
    }
    tap_ok(wrong == 0, "rounding to nearest even between all halves (%d wrong)", wrong);
    tap_ok(dtype_float_to_half(65519.996f) == 0x7BFF, "just under 65520 is the largest half");
    tap_ok(dtype_float_to_half(65520.0f) == 0x7C00, "65520 rounds to infinity");
    tap_ok(dtype_float_to_half(-1e30f) == 0xFC00, "too large becomes infinity");
    tap_ok(dtype_float_to_half(1e-30f) == 0, "too small becomes zero");
    tap_ok(isnan(dtype_half_to_float(dtype_float_to_half(NAN))), "NaN stays NaN");
}

static void test_bf16(void)
{
    int lost = 0, wrong = 0;
    for (unsigned b = 0; b < 65536; b++) {
        uint16_t back = dtype_float_to_bf16(dtype_bf16_to_float((uint16_t)b));
        lost += back != b && !(isnan(dtype_bf16_to_float((uint16_t)b)) && back == (b | 0x40));
    }
    tap_ok(lost == 0, "all 65536 bf16 survive the round trip (%d lost)", lost);
    for (unsigned b = 0; b < 0x7F7F; b++) {
        float low = dtype_bf16_to_float((uint16_t)b), high = dtype_bf16_to_float((uint16_t)(b + 1));
        float middle = low + (high - low) / 2;
        wrong += dtype_float_to_bf16(nextafterf(middle, 0)) != b;
        wrong += dtype_float_to_bf16(middle) != (b & 1 ? b + 1 : b);
        wrong += dtype_float_to_bf16(nextafterf(middle, INFINITY)) != b + 1;
    }
    tap_ok(wrong == 0, "rounding to nearest even between all bf16 (%d wrong)", wrong);
    tap_ok(dtype_float_to_bf16(3.4e38f) == 0x7F80, "too large becomes infinity");
    uint32_t bits = 0x7F800001; /* a NaN whose upper half reads as infinity */
    float nan;
    memcpy(&nan, &bits, sizeof nan);
    tap_ok(isnan(dtype_bf16_to_float(dtype_float_to_bf16(nan))), "NaN stays NaN");
}

static void test_arrays(void)
{
    static const float value[] = {0, 1, -2.5f, 3.5f, 127.4f, -200, 300, 1e30f, -1e30f, NAN};
    enum { N = sizeof value / sizeof *value };
    char raw[8 * N + 1];
    char *unaligned = raw + 1;
    int8_t i8[N];
    uint8_t u8[N], boolean[N];
    int64_t i64[N];
    dtype_from_float(DTYPE_I8, value, N, i8);
    static const int8_t expected8[N] = {0, 1, -2, 4, 127, -128, 127, 127, -128, 0};
    tap_ok(memcmp(i8, expected8, sizeof i8) == 0, "I8 rounds to even, saturates, NaN is 0");
    dtype_from_float(DTYPE_U8, value, N, u8);
    static const uint8_t expected_u8[N] = {0, 1, 0, 4, 127, 0, 255, 255, 0, 0};
    tap_ok(memcmp(u8, expected_u8, sizeof u8) == 0, "U8 too");
    dtype_from_float(DTYPE_I64, value, N, i64);
    tap_ok(i64[7] == INT64_MAX && i64[8] == INT64_MIN && i64[6] == 300, "I64 too");
    dtype_from_float(DTYPE_BOOL, value, N, boolean);
    tap_ok(boolean[0] == 0 && boolean[1] == 1 && boolean[2] == 1, "BOOL is 0 or 1");

    for (int t = 0; t < DTYPE_COUNT; t++) {
        static const float small[] = {0, 1, 1, 0, 1};
        float back[5];
        dtype_from_float((enum dtype)t, small, 5, unaligned);
        dtype_to_float((enum dtype)t, unaligned, 5, back);
        tap_ok(memcmp(small, back, sizeof back) == 0, "%s round trip, unaligned",
               dtype_name((enum dtype)t));
        enum dtype found = DTYPE_COUNT;
        tap_ok(dtype_from_name(dtype_name((enum dtype)t), &found) && found == (enum dtype)t,
               "%s is found by name", dtype_name((enum dtype)t));
    }
    enum dtype found;
    tap_ok(!dtype_from_name("F8_E4M3", &found), "an unknown name is refused");
    tap_ok(dtype_is_float(DTYPE_BF16) && !dtype_is_float(DTYPE_I8), "floats are known");
    tap_ok(dtype_bytes(DTYPE_F64) == 8 && dtype_bytes(DTYPE_BOOL) == 1, "sizes are known");
}

int main(void)
{
    test_all_halves();
    test_half_rounding();
    test_bf16();
    test_arrays();
    return tap_done();
}
