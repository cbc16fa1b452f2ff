/* bert_normalise.c: see bert_normalise.h.
 *
 * Hugging Face's normaliser takes general categories from tables of Unicode 8 and lower case from
 * Rust's current ones; utf8proc has one newer version. The ranges below are where the two differ,
 * found by comparing all 1 112 064 code points with tokenizers 0.23.2.
 */
#include "text/bert_normalise.h"

#include <utf8proc.h>

#include "text/codepoint.h"

/* Format characters assigned after Unicode 8: not removed by clean text. */
static const struct codepoint_range young_format[] = {
    {0x890, 0x891}, {0x8E2, 0x8E2}, {0x110CD, 0x110CD}, {0x13430, 0x1343F}};

/* Marks and decompositions younger than Unicode 8: left alone by strip accents. */
static const struct codepoint_range young_mark[] = {
    {0x7FD, 0x7FD},     {0x898, 0x89F},     {0x8CA, 0x8E1},     {0x9FE, 0x9FE},
    {0xAFA, 0xAFF},     {0xB55, 0xB55},     {0xC04, 0xC04},     {0xC3C, 0xC3C},
    {0xD00, 0xD00},     {0xD3B, 0xD3C},     {0xD81, 0xD81},     {0xEBA, 0xEBA},
    {0xECE, 0xECE},     {0x180F, 0x180F},   {0x1885, 0x1886},   {0x1ABF, 0x1ACE},
    {0x1DF6, 0x1DFB},   {0xA82C, 0xA82C},   {0xA8C5, 0xA8C5},   {0xA8FF, 0xA8FF},
    {0xA9BD, 0xA9BD},   {0x10D24, 0x10D27}, {0x10EAB, 0x10EAC}, {0x10EFD, 0x10EFF},
    {0x10F46, 0x10F50}, {0x10F82, 0x10F85}, {0x11070, 0x11070}, {0x11073, 0x11074},
    {0x110C2, 0x110C2}, {0x111C9, 0x111C9}, {0x111CF, 0x111CF}, {0x1123E, 0x1123E},
    {0x11241, 0x11241}, {0x1133B, 0x1133B}, {0x11438, 0x1143F}, {0x11442, 0x11444},
    {0x11446, 0x11446}, {0x1145E, 0x1145E}, {0x1182F, 0x11837}, {0x11839, 0x1183A},
    {0x11938, 0x11938}, {0x1193B, 0x1193C}, {0x1193E, 0x1193E}, {0x11943, 0x11943},
    {0x119D4, 0x119D7}, {0x119DA, 0x119DB}, {0x119E0, 0x119E0}, {0x11A01, 0x11A0A},
    {0x11A33, 0x11A38}, {0x11A3B, 0x11A3E}, {0x11A47, 0x11A47}, {0x11A51, 0x11A56},
    {0x11A59, 0x11A5B}, {0x11A8A, 0x11A96}, {0x11A98, 0x11A99}, {0x11C30, 0x11C36},
    {0x11C38, 0x11C3D}, {0x11C3F, 0x11C3F}, {0x11C92, 0x11CA7}, {0x11CAA, 0x11CB0},
    {0x11CB2, 0x11CB3}, {0x11CB5, 0x11CB6}, {0x11D31, 0x11D36}, {0x11D3A, 0x11D3A},
    {0x11D3C, 0x11D3D}, {0x11D3F, 0x11D45}, {0x11D47, 0x11D47}, {0x11D90, 0x11D91},
    {0x11D95, 0x11D95}, {0x11D97, 0x11D97}, {0x11EF3, 0x11EF4}, {0x11F00, 0x11F01},
    {0x11F36, 0x11F3A}, {0x11F40, 0x11F40}, {0x11F42, 0x11F42}, {0x13440, 0x13440},
    {0x13447, 0x13455}, {0x16F4F, 0x16F4F}, {0x16FE4, 0x16FE4}, {0x1CF00, 0x1CF2D},
    {0x1CF30, 0x1CF46}, {0x1E000, 0x1E006}, {0x1E008, 0x1E018}, {0x1E01B, 0x1E021},
    {0x1E023, 0x1E024}, {0x1E026, 0x1E02A}, {0x1E08F, 0x1E08F}, {0x1E130, 0x1E136},
    {0x1E2AE, 0x1E2AE}, {0x1E2EC, 0x1E2EF}, {0x1E4EC, 0x1E4EF}, {0x1E944, 0x1E94A}};

#define COUNT(array)    (sizeof(array) / sizeof *(array))
#define IN(array, code) codepoint_in(array, COUNT(array), code)

static utf8proc_category_t category(uint32_t code)
{
    return utf8proc_category((utf8proc_int32_t)code);
}

static int combining_class(uint32_t code)
{
    return utf8proc_get_property((utf8proc_int32_t)code)->combining_class;
}

static bool is_control(uint32_t code)
{
    if (code == '\t' || code == '\n' || code == '\r')
        return false;
    utf8proc_category_t c = category(code);
    return (c == UTF8PROC_CATEGORY_CC || c == UTF8PROC_CATEGORY_CF || c == UTF8PROC_CATEGORY_CO) &&
           !IN(young_format, code);
}

/* U+1734 was a nonspacing mark in Unicode 8. */
static bool is_mark(uint32_t code)
{
    return category(code) == UTF8PROC_CATEGORY_MN || code == 0x1734;
}

static size_t strip_accents(uint32_t code, uint32_t *out)
{
    utf8proc_int32_t part[BERT_MAPPED_MAX];
    if (IN(young_mark, code)) {
        out[0] = code;
        return 1;
    }
    utf8proc_ssize_t n = utf8proc_decompose_char((utf8proc_int32_t)code, part, BERT_MAPPED_MAX / 2,
                                                 UTF8PROC_DECOMPOSE, NULL);
    size_t kept = 0;
    for (utf8proc_ssize_t i = 0; i < n; i++)
        if (!is_mark((uint32_t)part[i]))
            out[kept++] = (uint32_t)part[i];
    return kept;
}

static enum bert_class classify(uint32_t code)
{
    return codepoint_is_space(code)         ? BERT_SPACE
           : codepoint_is_punctuation(code) ? BERT_ALONE
                                            : BERT_KEEP;
}

void bert_map(const struct bert_options *options, uint32_t code, struct bert_mapping *mapping)
{
    *mapping = (struct bert_mapping){.class = BERT_DROP};
    if (options->clean_text) {
        if (code == 0 || code == 0xFFFD || is_control(code))
            return;
        if (codepoint_is_space(code))
            code = ' ';
    }
    bool alone = options->chinese && codepoint_is_chinese(code);
    uint32_t part[BERT_MAPPED_MAX / 2] = {code};
    size_t n_parts = options->strip_accents ? strip_accents(code, part) : 1;
    for (size_t i = 0; i < n_parts; i++)
        if (options->lowercase)
            mapping->n += codepoint_lower(part[i], mapping->code + mapping->n);
        else
            mapping->code[mapping->n++] = part[i];
    for (size_t i = 0; i < mapping->n && options->strip_accents; i++)
        mapping->ordered |= combining_class(mapping->code[i]) != 0;
    if (mapping->n)
        mapping->class = alone             ? BERT_ALONE
                         : mapping->n == 1 ? classify(mapping->code[0])
                                           : BERT_KEEP;
}

void bert_order(uint32_t *code, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        uint32_t moved = code[i];
        int class = combining_class(moved);
        size_t j = i;
        while (class && j > 0 && combining_class(code[j - 1]) > class) {
            code[j] = code[j - 1];
            j--;
        }
        code[j] = moved;
    }
}
