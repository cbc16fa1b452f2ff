"""Write lib/text/byte_level_table.h: which code points GPT-2's pattern takes for letters, numbers
and spaces, asked of Hugging Face's tokenizers one by one (they use Oniguruma's tables, which follow
another version of Unicode than an installed utf8proc).

    python make_classes.py > ../../../lib/text/byte_level_table.h      (tokenizers 0.23.3)
"""
from tokenizers import __version__, pre_tokenizers

OTHER, LETTER, NUMBER, SPACE = range(4)
BLOCK = 256

split = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True).pre_tokenize_str


def one_word(text):
    return len(split(text)) == 1


def class_of(code):
    if 0xD800 <= code < 0xE000:
        return OTHER
    if one_word("a" + chr(code)):
        return LETTER
    if one_word("1" + chr(code)):
        return NUMBER
    return OTHER if one_word("!" + chr(code)) else SPACE


classes = [class_of(code) for code in range(0x110000)]
while classes[-BLOCK:] == [OTHER] * BLOCK:
    del classes[-BLOCK:]

blocks, index = [], []
for first in range(0, len(classes), BLOCK):
    block = classes[first : first + BLOCK]
    words = tuple(
        sum(c << 2 * i for i, c in enumerate(block[at : at + 32])) for at in range(0, BLOCK, 32)
    )
    if words not in blocks:
        blocks.append(words)
    index.append(blocks.index(words))
assert len(blocks) <= 256


def rows(values, each, form):
    return "\n".join(
        "    " + " ".join(form % v + "," for v in values[i : i + each])
        for i in range(0, len(values), each)
    )


print(f"""/* byte_level_table.h: letters, numbers and spaces as Hugging Face tokenizers {__version__} see them.
 * Written by tests/golden/tokenizer-bpe/make_classes.py; used by byte_level.c alone.
 */
#ifndef MILLET_TEXT_BYTE_LEVEL_TABLE_H
#define MILLET_TEXT_BYTE_LEVEL_TABLE_H

#include <stdint.h>

/* clang-format off */

enum {{ BYTE_LEVEL_END = 0x{len(classes):X} }}; /* this and all above are neither */

/* Number of the block of {BLOCK} code points. */
static const uint8_t byte_level_index[{len(index)}] = {{
{rows(index, 20, "%3d")}
}};

/* Two bits for a code point, the lowest first: 0 neither, 1 letter, 2 number, 3 space. */
static const uint64_t byte_level_block[{len(blocks)}][{BLOCK // 32}] = {{
{chr(10).join("    {" + ", ".join("0x%016X" % w for w in b[:4]) + "," + chr(10) + "     " + ", ".join("0x%016X" % w for w in b[4:]) + "}," for b in blocks)}
}};

/* clang-format on */

#endif""")
