/* test_decoder.c: each decoder; tokens are given separated by "|". */
#include "text/decoder.h"

#include <stdlib.h>

#include "tests/tap.h"

#define MARK "\xE2\x96\x81"

static const char *decode(const char *json, const char *tokens)
{
    static char out[2048];
    struct error err = ERROR_INIT;
    struct decoder_tokens list = {0};
    struct text_buffer text = {NULL, 0, 0};
    json_t *object = json_loads(json, JSON_DECODE_ANY, NULL);
    struct decoder *decoder = decoder_open(object, &err);
    bool ok = decoder != NULL;
    for (const char *p = tokens; ok && *p;) {
        size_t n = strcspn(p, "|");
        ok = decoder_tokens_add(&list, p, n, &err);
        p += n + (p[n] == '|');
    }
    if (ok && decoder_run(decoder, &list, &text, &err))
        snprintf(out, sizeof out, "%.*s", (int)text.n, text.n ? text.bytes : "");
    else
        snprintf(out, sizeof out, "%s", err.text);
    decoder_tokens_free(&list);
    text_buffer_free(&text);
    decoder_close(decoder);
    json_decref(object);
    return out;
}

int main(void)
{
    tap_is(decode("null", "a|b"), "a b", "none: tokens are joined by spaces");
    tap_is(
        decode("{\"type\": \"WordPiece\", \"prefix\": \"##\", \"cleanup\": false}", "##a|##b|c|."),
        "##ab c .", "WordPiece, without cleaning up");
    tap_is(decode("{\"type\": \"WordPiece\", \"prefix\": \"##\", \"cleanup\": true}",
                  "a| .|##.|'s|x do not|n't|##n't|do|not| ' |..|?!"),
           "a ..'s x don'tn'tn't do not '..?!", "WordPiece, each token cleaned up by itself");
    tap_is(decode("{\"type\": \"Metaspace\", \"replacement\": \"" MARK "\"}", MARK "a|b|" MARK "c"),
           "ab c", "Metaspace");
    tap_is(decode("{\"type\": \"Metaspace\", \"replacement\": \"" MARK
                  "\", \"prepend_scheme\": \"never\"}",
                  MARK "a|" MARK "c"),
           " a c", "Metaspace that puts nothing in front");
    tap_is(decode("{\"type\": \"ByteLevel\"}", "\xC4\xA0"
                                               "a|\xC3\x83|\xC2\xA9|\xC3\x83"),
           " a\xC3\xA9\xEF\xBF\xBD", "ByteLevel: bytes over tokens, broken ones mended");
    tap_is(decode("{\"type\": \"Sequence\", \"decoders\": [{\"type\": \"Replace\", \"pattern\": "
                  "{\"String\": \"" MARK "\"}, \"content\": \" \"}, {\"type\": \"ByteFallback\"}, "
                  "{\"type\": \"Fuse\"}, {\"type\": \"Strip\", \"content\": \" \", \"start\": 1, "
                  "\"stop\": 0}]}",
                  MARK "a|<0xC3>|<0xA9>|b|<0xC3>|c|<0xzz>"),
           "a\xC3\xA9"
           "b\xEF\xBF\xBD"
           "c<0xzz>",
           "Replace, ByteFallback, Fuse, Strip");
    tap_is(decode("{\"type\": \"BPEDecoder\", \"suffix\": \"</w>\"}", "a|b</w>|c</w>"), "ab c",
           "BPEDecoder");
    tap_is(
        decode("{\"type\": \"Strip\", \"content\": \"x\", \"start\": 1, \"stop\": 2}", "xxaxxx|x"),
        "xax", "Strip takes no more than it says, and no more than there is");
    tap_is(decode("{\"type\": \"CTC\"}", "a"), "decoder: \"CTC\" is not known to Millet",
           "refused by name");
    return tap_done();
}
