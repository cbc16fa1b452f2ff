/* codepoint.c: see codepoint.h. */
#include "text/codepoint.h"

#include <utf8proc.h>

#define COUNT(array)    (sizeof(array) / sizeof *(array))
#define IN(array, code) codepoint_in(array, COUNT(array), code)

/* Punctuation assigned (or so classified) after Unicode 8: not set apart. */
static const struct codepoint_range young_punctuation[] = {
    {0x61D, 0x61D},     {0x9FD, 0x9FD},     {0xA76, 0xA76},     {0xC77, 0xC77},
    {0xC84, 0xC84},     {0x1B7D, 0x1B7E},   {0x2E43, 0x2E4F},   {0x2E52, 0x2E5D},
    {0x10EAD, 0x10EAD}, {0x10F55, 0x10F59}, {0x10F86, 0x10F89}, {0x1144B, 0x1144F},
    {0x1145A, 0x1145B}, {0x1145D, 0x1145D}, {0x11660, 0x1166C}, {0x116B9, 0x116B9},
    {0x1183B, 0x1183B}, {0x11944, 0x11946}, {0x119E2, 0x119E2}, {0x11A3F, 0x11A46},
    {0x11A9A, 0x11A9C}, {0x11A9E, 0x11AA2}, {0x11B00, 0x11B09}, {0x11C41, 0x11C45},
    {0x11C70, 0x11C71}, {0x11EF7, 0x11EF8}, {0x11F43, 0x11F4F}, {0x11FFF, 0x11FFF},
    {0x12FF1, 0x12FF2}, {0x16E97, 0x16E9A}, {0x16FE2, 0x16FE2}, {0x1E95E, 0x1E95F}};

/* Punctuation in Unicode 8 that was reclassified later. */
static const struct codepoint_range old_punctuation[] = {{0x166D, 0x166D}, {0x111C9, 0x111C9}};

/* The ranges of BERT's tokenize_chinese_chars; the fifth and sixth are as the original has them. */
static const struct codepoint_range chinese[] = {
    {0x3400, 0x4DBF},   {0x4E00, 0x9FFF},   {0xF900, 0xFAFF},  {0x20000, 0x2A6DF},
    {0x2A700, 0x2B81F}, {0x2B920, 0x2CEAF}, {0x2F800, 0x2FA1F}};

/* Marks younger than the tables of normalisation, which know neither category nor class. */
static const struct codepoint_range young_mark[] = {
    {0x7FD, 0x7FD},     {0x898, 0x89F},     {0x8CA, 0x8D3},     {0x9FE, 0x9FE},
    {0xAFA, 0xAFF},     {0xB55, 0xB55},     {0xC04, 0xC04},     {0xC3C, 0xC3C},
    {0xCF3, 0xCF3},     {0xD00, 0xD00},     {0xD3B, 0xD3C},     {0xD81, 0xD81},
    {0xEBA, 0xEBA},     {0xECE, 0xECE},     {0x1715, 0x1715},   {0x180F, 0x180F},
    {0x1ABF, 0x1ACE},   {0x1CF7, 0x1CF7},   {0x1DF6, 0x1DFA},   {0xA82C, 0xA82C},
    {0xA8FF, 0xA8FF},   {0x10D24, 0x10D27}, {0x10EAB, 0x10EAC}, {0x10EFD, 0x10EFF},
    {0x10F46, 0x10F50}, {0x10F82, 0x10F85}, {0x11070, 0x11070}, {0x11073, 0x11074},
    {0x110C2, 0x110C2}, {0x11145, 0x11146}, {0x111C9, 0x111C9}, {0x111CE, 0x111CF},
    {0x11241, 0x11241}, {0x1133B, 0x1133B}, {0x1145E, 0x1145E}, {0x1182C, 0x1183A},
    {0x11930, 0x11935}, {0x11937, 0x11938}, {0x1193B, 0x1193E}, {0x11940, 0x11940},
    {0x11942, 0x11943}, {0x119D1, 0x119D7}, {0x119DA, 0x119E0}, {0x119E4, 0x119E4},
    {0x11A01, 0x11A0A}, {0x11A33, 0x11A39}, {0x11A3B, 0x11A3E}, {0x11A47, 0x11A47},
    {0x11A51, 0x11A5B}, {0x11A8A, 0x11A99}, {0x11D31, 0x11D36}, {0x11D3A, 0x11D3A},
    {0x11D3C, 0x11D3D}, {0x11D3F, 0x11D45}, {0x11D47, 0x11D47}, {0x11D8A, 0x11D8E},
    {0x11D90, 0x11D91}, {0x11D93, 0x11D97}, {0x11EF3, 0x11EF6}, {0x11F00, 0x11F01},
    {0x11F03, 0x11F03}, {0x11F34, 0x11F3A}, {0x11F3E, 0x11F42}, {0x13440, 0x13440},
    {0x13447, 0x13455}, {0x16F4F, 0x16F4F}, {0x16F7F, 0x16F87}, {0x16FE4, 0x16FE4},
    {0x16FF0, 0x16FF1}, {0x1CF00, 0x1CF2D}, {0x1CF30, 0x1CF46}, {0x1E08F, 0x1E08F},
    {0x1E130, 0x1E136}, {0x1E2AE, 0x1E2AE}, {0x1E2EC, 0x1E2EF}, {0x1E4EC, 0x1E4EF}};

/* Marks there that were reclassified later. */
static const struct codepoint_range old_mark[] = {{0x1CF2, 0x1CF3}};

/* Decompositions younger than those tables. */
static const struct codepoint_range young_decomposition[] = {
    {0x32FF, 0x32FF},   {0xA7F2, 0xA7F4},   {0xAB69, 0xAB69},   {0x10781, 0x10785},
    {0x10787, 0x107B0}, {0x107B2, 0x107BA}, {0x11938, 0x11938}, {0x1E030, 0x1E06D},
    {0x1F16C, 0x1F16C}, {0x1FBF0, 0x1FBF9}};

/* Numbers and word characters younger than utf8proc's. */
static const struct codepoint_range young_number[] = {
    {0x10D40, 0x10D49}, {0x116D0, 0x116E3}, {0x11BF0, 0x11BF9},
    {0x11DE0, 0x11DE9}, {0x16130, 0x16139}, {0x16D70, 0x16D79},
    {0x16FF4, 0x16FF6}, {0x1CCF0, 0x1CCF9}, {0x1E5F1, 0x1E5FA}};
static const struct codepoint_range young_word[] = {
    {0x897, 0x897},     {0x1C89, 0x1C8A},   {0xA7CB, 0xA7CD},   {0xA7DA, 0xA7DC},
    {0x105C0, 0x105F3}, {0x10D40, 0x10D65}, {0x10D69, 0x10D6D}, {0x10D6F, 0x10D85},
    {0x10EC2, 0x10EC4}, {0x10EFC, 0x10EFC}, {0x11380, 0x11389}, {0x1138B, 0x1138B},
    {0x1138E, 0x1138E}, {0x11390, 0x113B5}, {0x113B7, 0x113C0}, {0x113C2, 0x113C2},
    {0x113C5, 0x113C5}, {0x113C7, 0x113CA}, {0x113CC, 0x113D3}, {0x113E1, 0x113E2},
    {0x116D0, 0x116E3}, {0x11BC0, 0x11BE0}, {0x11BF0, 0x11BF9}, {0x11F5A, 0x11F5A},
    {0x13460, 0x143FA}, {0x16100, 0x16139}, {0x16D40, 0x16D6C}, {0x16D70, 0x16D79},
    {0x18CFF, 0x18CFF}, {0x1CCF0, 0x1CCF9}, {0x1E5D0, 0x1E5FA}, {0x2EBF0, 0x2EE5D}};

/* Other_Alphabetic that is no mark: circled and squared letters. */
static const struct codepoint_range symbol_letter[] = {
    {0x24B6, 0x24E9}, {0x1F130, 0x1F149}, {0x1F150, 0x1F169}, {0x1F170, 0x1F189}};

/* Lower case that utf8proc does not know yet: first to last by `step` go to code + delta. */
static const struct {
    uint32_t first, last;
    int32_t delta;
} young_lower[] = {{0x1C89, 0x1C89, 1},      {0xA7CB, 0xA7CB, 0x264 - 0xA7CB},
                   {0xA7CC, 0xA7CC, 1},      {0xA7CE, 0xA7CE, 1},
                   {0xA7D2, 0xA7D2, 1},      {0xA7D4, 0xA7D4, 1},
                   {0xA7DA, 0xA7DA, 1},      {0xA7DC, 0xA7DC, 0x19B - 0xA7DC},
                   {0x10D50, 0x10D65, 0x20}, {0x16EA0, 0x16EB8, 0x1B}};

bool codepoint_in(const struct codepoint_range *range, size_t n, uint32_t code)
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

bool codepoint_is_space(uint32_t code)
{
    if (code < 0x80)
        return code == ' ' || (code >= 9 && code <= 13);
    utf8proc_category_t c = category(code);
    return code == 0x85 || c == UTF8PROC_CATEGORY_ZS || c == UTF8PROC_CATEGORY_ZL ||
           c == UTF8PROC_CATEGORY_ZP;
}

bool codepoint_is_punctuation(uint32_t code)
{
    if (code < 0x80)
        return (code >= 33 && code <= 47) || (code >= 58 && code <= 64) ||
               (code >= 91 && code <= 96) || (code >= 123 && code <= 126);
    utf8proc_category_t c = category(code);
    if (c >= UTF8PROC_CATEGORY_PC && c <= UTF8PROC_CATEGORY_PO)
        return !IN(young_punctuation, code);
    return IN(old_punctuation, code);
}

bool codepoint_is_chinese(uint32_t code)
{
    return IN(chinese, code);
}

bool codepoint_is_numeric(uint32_t code)
{
    utf8proc_category_t c = category(code);
    return (c >= UTF8PROC_CATEGORY_ND && c <= UTF8PROC_CATEGORY_NO) || IN(young_number, code);
}

bool codepoint_is_word(uint32_t code)
{
    utf8proc_category_t c = category(code);
    return (c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_NL) || c == UTF8PROC_CATEGORY_PC ||
           code == 0x200C || code == 0x200D || IN(symbol_letter, code) || IN(young_word, code);
}

bool codepoint_is_mark(uint32_t code)
{
    utf8proc_category_t c = category(code);
    return c >= UTF8PROC_CATEGORY_MN && c <= UTF8PROC_CATEGORY_ME ? !IN(young_mark, code)
                                                                  : IN(old_mark, code);
}

bool codepoint_extends(uint32_t code)
{
    if (code < 0x300)
        return code == 0xAD;
    const utf8proc_property_t *property = utf8proc_get_property((utf8proc_int32_t)code);
    return (property->category >= UTF8PROC_CATEGORY_MN &&
            property->category <= UTF8PROC_CATEGORY_ME) ||
           property->category == UTF8PROC_CATEGORY_CF ||
           property->boundclass == UTF8PROC_BOUNDCLASS_EXTEND ||
           property->boundclass == UTF8PROC_BOUNDCLASS_SPACINGMARK ||
           property->boundclass == UTF8PROC_BOUNDCLASS_ZWJ;
}

bool codepoint_prepends(uint32_t code)
{
    return code >= 0x300 &&
           utf8proc_get_property((utf8proc_int32_t)code)->boundclass == UTF8PROC_BOUNDCLASS_PREPEND;
}

unsigned codepoint_combining(uint32_t code)
{
    if (code < 0x300)
        return 0;
    unsigned class = (unsigned)utf8proc_get_property((utf8proc_int32_t)code)->combining_class;
    return class && IN(young_mark, code) ? 0 : class;
}

bool codepoint_is_young(uint32_t code)
{
    return IN(young_mark, code);
}

size_t codepoint_decompose(uint32_t code, bool compatible, uint32_t *out)
{
    utf8proc_int32_t part[CODEPOINT_DECOMPOSED_MAX];
    out[0] = code;
    if (code < 0xA0 || IN(young_decomposition, code))
        return 1;
    utf8proc_ssize_t n = utf8proc_decompose_char(
        (utf8proc_int32_t)code, part, CODEPOINT_DECOMPOSED_MAX,
        compatible ? UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT : UTF8PROC_DECOMPOSE, NULL);
    if (n < 1 || n > CODEPOINT_DECOMPOSED_MAX)
        return 1;
    for (utf8proc_ssize_t i = 0; i < n; i++)
        out[i] = (uint32_t)part[i];
    return (size_t)n;
}

size_t codepoint_lower(uint32_t code, uint32_t out[CODEPOINT_LOWER_MAX])
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
