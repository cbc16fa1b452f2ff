/* Fuzz target of the precompiled charsmap: any bytes as a map, and what is opened normalises texts,
 * its own bytes among them, to valid UTF-8. See fuzz_safetensors.c. */
#include <stdint.h>

#include "text/charsmap.h"
#include "text/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

enum { OWN_BYTES = 512 /* each may become a long text */ };

static bool run_charsmap(const struct charsmap *map, const char *text, size_t n)
{
    struct error err = ERROR_INIT;
    struct text_buffer out = {NULL, 0, 0};
    bool ok =
        charsmap_run(map, text, n, &out, &err) && utf8_valid_prefix(out.bytes, out.n) == out.n;
    text_buffer_free(&out);
    return ok;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    static const char text[] = "cafe\xCC\x81 \xEF\xAC\x81\xCC\xA3\r\n\xC2\xBD \xE0\xA4\x95\xE0\xA4"
                               "\xBC \xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x92\xBB\t\x7F";
    struct error err = ERROR_INIT;
    struct charsmap *map = charsmap_open(bytes, n, &err);
    if (!map)
        return err.set ? 0 : -1;
    char own[3 * OWN_BYTES];
    size_t invalid = 0, skip = n > OWN_BYTES ? n - OWN_BYTES : 0;
    size_t n_own = utf8_repair((const char *)bytes + skip, n - skip, own, &invalid);
    bool ok = run_charsmap(map, text, sizeof text - 1) && run_charsmap(map, own, n_own);
    charsmap_close(map);
    return ok ? 0 : -1;
}
