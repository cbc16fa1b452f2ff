/* bert_normalise.c: see bert_normalise.h.
 *
 * Hugging Face's normaliser takes general categories from tables of Unicode 8 and lower case from
 * Rust's current ones; utf8proc has one newer version. The ranges below are where the two differ,
 * found by comparing all 1 112 064 code points with tokenizers 0.23.2.
 */
#include "text/bert_normalise.h"

#include <utf8proc.h>

struct range {
    uint32_t first, last;
};

/* Format characters assigned after Unicode 8: not removed by clean text. */
static const struct range young_format[] = {
    {0x890, 0x891}, {0x8E2, 0x8E2}, {0x110CD, 0x110CD}, {0x13430, 0x1343F}};

/* Punctuation assigned (or so classified) after Unicode 8: not set apart. */
static const struct range young_punctuation[] = {
    {0x61D, 0x61D},     {0x9FD, 0x9FD},     {0xA76, 0xA76},     {0xC77, 0xC77},
    {0xC84, 0xC84},     {0x1B7D, 0x1B7E},   {0x2E43, 0x2E4F},   {0x2E52, 0x2E5D},
    {0x10EAD, 0x10EAD}, {0x10F55, 0x10F59}, {0x10F86, 0x10F89}, {0x1144B, 0x1144F},
    {0x1145A, 0x1145B}, {0x1145D, 0x1145D}, {0x11660, 0x1166C}, {0x116B9, 0x116B9},
    {0x1183B, 0x1183B}, {0x11944, 0x11946}, {0x119E2, 0x119E2}, {0x11A3F, 0x11A46},
    {0x11A9A, 0x11A9C}, {0x11A9E, 0x11AA2}, {0x11B00, 0x11B09}, {0x11C41, 0x11C45},
    {0x11C70, 0x11C71}, {0x11EF7, 0x11EF8}, {0x11F43, 0x11F4F}, {0x11FFF, 0x11FFF},
    {0x12FF1, 0x12FF2}, {0x16E97, 0x16E9A}, {0x16FE2, 0x16FE2}, {0x1E95E, 0x1E95F}};

/* Punctuation in Unicode 8 that was reclassified later. */
static const struct range old_punctuation[] = {{0x166D, 0x166D}, {0x111C9, 0x111C9}};

/* Marks and decompositions younger than Unicode 8: left alone by strip accents. */
static const struct range young_mark[] = {
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

/* The ranges of BERT's tokenize_chinese_chars; the fifth and sixth are as the original has them. */
static const struct range chinese[] = {{0x3400, 0x4DBF},   {0x4E00, 0x9FFF},   {0xF900, 0xFAFF},
                                       {0x20000, 0x2A6DF}, {0x2A700, 0x2B81F}, {0x2B920, 0x2CEAF},
                                       {0x2F800, 0x2FA1F}};

/* Lower case that utf8proc does not know yet: first to last by `step` go to code + delta. */
static const struct {
    uint32_t first, last;
    int32_t delta;
} young_lower[] = {{0x1C89, 0x1C89, 1},      {0xA7CB, 0xA7CB, 0x264 - 0xA7CB},
                   {0xA7CC, 0xA7CC, 1},      {0xA7CE, 0xA7CE, 1},
                   {0xA7D2, 0xA7D2, 1},      {0xA7D4, 0xA7D4, 1},
                   {0xA7DA, 0xA7DA, 1},      {0xA7DC, 0xA7DC, 0x19B - 0xA7DC},
                   {0x10D50, 0x10D65, 0x20}, {0x16EA0, 0x16EB8, 0x1B}};

#define COUNT(array)    (sizeof(array) / sizeof *(array))
#define IN(array, code) in_ranges(array, COUNT(array), code)

static bool in_ranges(const struct range *range, size_t n, uint32_t code)
{
    size_t low = 0, high = n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (code > range[middle].last)
            low = middle + 1;
        else
            high = middle;
    }
    return low < n && code >= range[low].first;
}

static utf8proc_category_t category(uint32_t code)
{
    return utf8proc_category((utf8proc_int32_t)code);
}

static int combining_class(uint32_t code)
{
    return utf8proc_get_property((utf8proc_int32_t)code)->combining_class;
}

static bool is_space(uint32_t code)
{
    if (code < 0x80)
        return code == ' ' || (code >= 9 && code <= 13);
    utf8proc_category_t c = category(code);
    return code == 0x85 || c == UTF8PROC_CATEGORY_ZS || c == UTF8PROC_CATEGORY_ZL ||
           c == UTF8PROC_CATEGORY_ZP;
}

static bool is_control(uint32_t code)
{
    if (code == '\t' || code == '\n' || code == '\r')
        return false;
    utf8proc_category_t c = category(code);
    return (c == UTF8PROC_CATEGORY_CC || c == UTF8PROC_CATEGORY_CF || c == UTF8PROC_CATEGORY_CO) &&
           !IN(young_format, code);
}

static bool is_punctuation(uint32_t code)
{
    if (code < 0x80) /* BERT counts all ASCII symbols ($, +, <, ^ …) as punctuation */
        return (code >= 33 && code <= 47) || (code >= 58 && code <= 64) ||
               (code >= 91 && code <= 96) || (code >= 123 && code <= 126);
    utf8proc_category_t c = category(code);
    if (c >= UTF8PROC_CATEGORY_PC && c <= UTF8PROC_CATEGORY_PO)
        return !IN(young_punctuation, code);
    return IN(old_punctuation, code);
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

static size_t lower(uint32_t code, uint32_t *out)
{
    out[0] = (uint32_t)utf8proc_tolower((utf8proc_int32_t)code);
    if (code == 0x130) { /* the one unconditional two-character lower case: i with a dot above */
        out[0] = 'i';
        out[1] = 0x307;
        return 2;
    }
    for (size_t i = 0; out[0] == code && i < COUNT(young_lower); i++)
        if (code >= young_lower[i].first && code <= young_lower[i].last)
            out[0] = (uint32_t)((int32_t)code + young_lower[i].delta);
    return 1;
}

static enum bert_class classify(uint32_t code)
{
    return is_space(code) ? BERT_SPACE : is_punctuation(code) ? BERT_ALONE : BERT_KEEP;
}

void bert_map(const struct bert_options *options, uint32_t code, struct bert_mapping *mapping)
{
    *mapping = (struct bert_mapping){.class = BERT_DROP};
    if (options->clean_text) {
        if (code == 0 || code == 0xFFFD || is_control(code))
            return;
        if (is_space(code))
            code = ' ';
    }
    bool alone = options->chinese && IN(chinese, code);
    uint32_t part[BERT_MAPPED_MAX / 2] = {code};
    size_t n_parts = options->strip_accents ? strip_accents(code, part) : 1;
    for (size_t i = 0; i < n_parts; i++)
        if (options->lowercase)
            mapping->n += lower(part[i], mapping->code + mapping->n);
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
