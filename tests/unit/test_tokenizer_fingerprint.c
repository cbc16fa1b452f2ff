/* test_tokenizer_fingerprint.c: the fingerprint from the files is that of the opened tokenizer, and
 * changes with what decides ids. */
#include <inttypes.h>

#include "io/bundle.h"
#include "tests/tap.h"
#include "tests/unit/scratch.h"
#include "text/tokenizer.h"

static const char config[] = "{\"do_lower_case\": true}",
                  vocab[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n##b\n";

/* Both ways; 0 when they differ or one fails. */
static uint64_t fingerprint(void)
{
    struct error err = ERROR_INIT;
    struct bundle *bundle = bundle_open(scratch_path("model"), &err);
    uint64_t from_files = 0, opened = 1;
    bool ok = bundle && tokenizer_fingerprint_of(bundle, &from_files, &err);
    struct tokenizer *tokenizer = ok ? tokenizer_open(bundle, &err) : NULL;
    if (tokenizer)
        opened = tokenizer_fingerprint(tokenizer);
    tokenizer_close(tokenizer);
    bundle_close(bundle);
    if (from_files != opened)
        printf("# %016" PRIx64 " from the files, %016" PRIx64 " opened %s\n", from_files, opened,
               err.text);
    return from_files == opened ? opened : 0;
}

int main(void)
{
    scratch_open();
    mkdir(scratch_path("model"), 0700);
    scratch_write("model/vocab.txt", vocab, sizeof vocab - 1);
    scratch_write("model/tokenizer_config.json", config, sizeof config - 1);
    uint64_t first = fingerprint();
    tap_ok(first != 0, "from the files and from the opened tokenizer");

    scratch_write("model/tokenizer_config.json", "{\"do_lower_case\": false}", 24);
    uint64_t cased = fingerprint();
    tap_ok(cased != 0 && cased != first, "an option changes it");

    scratch_write("model/tokenizer_config.json", config, sizeof config - 1);
    tap_ok(fingerprint() == first, "the same files give the same one");

    scratch_write("model/vocab.txt", vocab, sizeof vocab - 3);
    uint64_t other = fingerprint();
    tap_ok(other != 0 && other != first, "a piece changes it");
    return tap_done();
}
