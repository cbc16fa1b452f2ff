/* charsmap_make.h: a precompiled charsmap of a few pairs, for tests. */
#ifndef MILLET_TESTS_CHARSMAP_MAKE_H
#define MILLET_TESTS_CHARSMAP_MAKE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { MAKE_UNITS = 4096, MAKE_TEXT = 1024, MAKE_BYTES = 4 + 4 * MAKE_UNITS + MAKE_TEXT };

struct make_pair {
    const char *key, *value;
};

struct make_map {
    uint32_t unit[MAKE_UNITS];
    bool used[MAKE_UNITS];
    bool is_base[MAKE_UNITS];     /* two nodes of one base would share their children */
    const struct make_pair *pair; /* sorted by key */
    uint32_t value[64];           /* offsets of the values */
};

/* Units of the children of `at`, for pairs [begin, end) that share `depth` bytes. */
static void make_children(struct make_map *map, size_t begin, size_t end, size_t depth, uint32_t at)
{
    uint32_t base = 0;
    for (bool free = false; !free;) {
        free = !map->is_base[++base];
        for (size_t i = begin; i < end && free; i++)
            free = !map->used[base ^ (unsigned char)map->pair[i].key[depth]];
    }
    map->is_base[base] = true;
    map->unit[at] |= (base ^ at) << 10;
    for (size_t i = begin; i < end; i++)
        map->used[base ^ (unsigned char)map->pair[i].key[depth]] = true;
    for (size_t i = begin, next; i < end; i = next) {
        unsigned char label = (unsigned char)map->pair[i].key[depth];
        for (next = i + 1; next < end && (unsigned char)map->pair[next].key[depth] == label;)
            next++;
        if (!label) {
            map->unit[at] |= 1u << 8;
            map->unit[base] = map->value[i] | 1u << 31;
        } else {
            map->unit[base ^ label] = label;
            make_children(map, i, next, depth + 1, base ^ label);
        }
    }
}

/* Writes the map to bytes [MAKE_BYTES]; returns its length. */
static size_t make_charsmap(const struct make_pair *pair, size_t n, unsigned char *bytes)
{
    static struct make_map map;
    memset(&map, 0, sizeof map);
    map.pair = pair;
    map.used[0] = true;
    size_t used = 4 + 4 * MAKE_UNITS;
    for (size_t i = 0; i < n; i++) {
        map.value[i] = (uint32_t)(used - 4 - 4 * MAKE_UNITS);
        memcpy(bytes + used, pair[i].value, strlen(pair[i].value) + 1);
        used += strlen(pair[i].value) + 1;
    }
    make_children(&map, 0, n, 0, 0);
    uint32_t length = 4 * MAKE_UNITS;
    for (size_t k = 0; k < 4; k++)
        bytes[k] = (unsigned char)(length >> 8 * k);
    for (size_t i = 0; i < MAKE_UNITS; i++)
        for (size_t k = 0; k < 4; k++)
            bytes[4 + 4 * i + k] = (unsigned char)(map.unit[i] >> 8 * k);
    return used;
}

/* What nmt_nfkc does to these, and a key of one letter that Hugging Face applies to a cluster. */
static const struct make_pair make_nfkc[] = {{"\t", " "},
                                             {"\r", " "},
                                             {"\x7f", ""},
                                             {"A", "a"},
                                             {"e\xCC\x81", "é"},
                                             {"\xC2\xBD", "1⁄2"},
                                             {"\xE0\xA5\x98", "\xE0\xA4\x95\xE0\xA4\xBC"},
                                             {"\xE2\x80\x8D", " "},
                                             {"ﬁ", "fi"},
                                             {"\xF0\x9D\x91\x99", "l"}};
enum { MAKE_N_NFKC = sizeof make_nfkc / sizeof *make_nfkc };

#endif
