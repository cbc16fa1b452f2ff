/* Fuzz target of the JSON scanner: every value of a text is visited, strings decoded; what the
 * scanner skips as well-formed it must also be able to enter. See fuzz_safetensors.c. */
#include <stdint.h>

#include "text/json_scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

enum { DEPTH = 64 };

static bool visit_json(struct json_scan *scan, int depth, uint64_t *sum, struct error *err)
{
    struct json_text text = {0};
    bool first = true, ok = true;
    char c = json_scan_peek(scan);
    if (c == '"') {
        ok = json_scan_string(scan, &text, err);
        for (size_t i = 0; ok && i < text.n; i++)
            *sum += (uint8_t)text.bytes[i];
    } else if ((c == '{' || c == '[') && depth < DEPTH) {
        int more = json_scan_enter(scan, c, err) ? 1 : -1;
        while (more > 0 && (more = json_scan_next(scan, &first, c == '{' ? &text : NULL, err)) > 0)
            if (!visit_json(scan, depth + 1, sum, err))
                more = -1;
        ok = more == 0;
    } else
        ok = json_scan_skip(scan, NULL, NULL, err);
    json_text_free(&text);
    return ok;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    struct error err = ERROR_INIT, other = ERROR_INIT;
    struct json_scan scan = json_scan_of((const char *)bytes, n), again = scan;
    uint64_t sum = 0;
    bool visited = visit_json(&scan, 0, &sum, &err) && json_scan_end(&scan, &err);
    bool skipped = json_scan_skip(&again, NULL, NULL, &other) && json_scan_end(&again, &other);
    if ((!visited && !err.set) || (!skipped && !other.set) || (skipped && !visited))
        return -1;
    return sum == 0x5bd1e995 ? 1 : 0;
}
