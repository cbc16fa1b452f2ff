#include "core/hash.h"

#include <stdlib.h>

#include "tests/tap.h"

int main(void)
{
    char text[HASH_TEXT_BYTES];
    hash_text(hash_bytes("", 0), text);
    tap_is(text, "2d06800538d394c2", "XXH3 of nothing, the published value");
    struct hash128 nothing = hash128_bytes("", 0);
    tap_ok(nothing.high == 0x99aa06d3014798d8 && nothing.low == 0x6001c324468d497f,
           "XXH3-128 of nothing, the published value");

    uint64_t value = 0;
    tap_ok(hash_parse("2d06800538d394c2", &value) && value == hash_bytes("", 0), "parsed back");
    static const char *const junk[] = {"",
                                       "2d06800538d394c",
                                       "2d06800538d394c22",
                                       "2D06800538D394C2",
                                       "2d06800538d394cg",
                                       " 2d06800538d394c"};
    for (size_t i = 0; i < sizeof junk / sizeof *junk; i++)
        tap_ok(!hash_parse(junk[i], &value), "\"%s\" is refused", junk[i]);

    unsigned char bytes[5000];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i * i);
    bool same = true;
    for (size_t step = 1; step < sizeof bytes; step = step * 3 + 1) {
        struct hash_stream *stream = hash_stream_open();
        for (size_t i = 0; stream && i < sizeof bytes; i += step)
            hash_stream_add(stream, bytes + i, sizeof bytes - i < step ? sizeof bytes - i : step);
        same = same && stream && hash_stream_value(stream) == hash_bytes(bytes, sizeof bytes);
        hash_stream_close(stream);
    }
    tap_ok(same, "pieces of any size give the hash of the whole");

    struct hash128 a = hash128_seeded(bytes, 100, 1), b = hash128_seeded(bytes, 100, 2);
    tap_ok(a.high != b.high && a.low != b.low, "the seed matters");
    struct hash128 zero = hash128_seeded(bytes, 100, 0), plain = hash128_bytes(bytes, 100);
    tap_ok(zero.high == plain.high && zero.low == plain.low, "seed 0 is no seed");
    return tap_done();
}
