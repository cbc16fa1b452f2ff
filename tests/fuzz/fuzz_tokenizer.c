/* Fuzz target of tokenizer.json: what opens must tokenise hard texts to ids below its size, and
 * turn them back. See fuzz_safetensors.c. */
#include <stdint.h>
#include <stdlib.h>

#include "fuzz_bundle.h"
#include "text/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static const char hard_text[] =
    "\0a [CLS]<s> the the  a\u0301 \u0915\u094d\u200d\u0937 \u0958 don't "
    "\u4e2d\U0001f44d\U0001f3fd\u200d\ufb01\u3000\u2581x [NEW] 123\n";

static bool use_tokenizer(const struct tokenizer *tokenizer, struct error *err)
{
    struct tokenizer_scratch *scratch = tokenizer_scratch_open(tokenizer, err);
    const int32_t *id;
    size_t n, size = tokenizer_size(tokenizer);
    bool below = true;
    for (size_t from = 0; scratch && from < sizeof hard_text - 1 && !err->set; from += 3) {
        while (((unsigned char)hard_text[from] & 0xC0) == 0x80)
            from++;
        if (!tokenizer_encode(tokenizer, scratch, hard_text + from, sizeof hard_text - 1 - from, 0,
                              &id, &n, err))
            break;
        for (size_t i = 0; i < n; i++)
            below = below && id[i] >= 0 && (size_t)id[i] < size;
        free(tokenizer_decode(tokenizer, id, n, &(size_t){0}, err));
    }
    tokenizer_scratch_close(scratch);
    return below;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    static const char config[] = "{\"tokenizer_class\": \"PreTrainedTokenizerFast\"}";
    const struct fuzz_file file[] = {{"tokenizer_config.json", config, sizeof config - 1},
                                     {"tokenizer.json", bytes, n}};
    struct error err = ERROR_INIT;
    struct bundle *bundle = fuzz_bundle_open(file, 2, &err);
    struct tokenizer *tokenizer = bundle ? tokenizer_open(bundle, &err) : NULL;
    bool ok = tokenizer ? use_tokenizer(tokenizer, &err) : err.set;
    tokenizer_close(tokenizer);
    bundle_close(bundle);
    return ok ? 0 : -1;
}
