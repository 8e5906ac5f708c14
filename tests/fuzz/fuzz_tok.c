/* fuzz_tok.c: libFuzzer target. Any bytes as the tokenizer of a module; what opens encodes and
 * decodes the bytes themselves. Expressions that the input brings are bounded by the match
 * limits. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/text/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(const rt_tok *t, const char *text, size_t n)
{
    int32_t ids[512];
    char out[512];
    size_t k = 512, n_out = sizeof out;
    rt_tok_stream s = {0};
    if (rt_tok_encode(t, text, n, RT_TOK_PARSE_SPECIAL | RT_TOK_ADD_SPECIAL, ids, &k, NULL) ==
            LL_OK &&
        k <= 512)
        for (size_t i = 0; i < k; i++)
            if (rt_tok_stream_add(t, &s, ids[i], RT_TOK_SHOW_SPECIAL, NULL)) abort();
    if (k <= 512) rt_tok_decode(t, ids, k, 0, out, &n_out, NULL);
    rt_tok_stream_end(&s, NULL);
    rt_tok_stream_finish(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    void *copy = malloc(size + 1); /* 16-byte aligned, and red zones right behind it */
    memcpy(copy, data, size);
    rt_tok *t;
    ll_error e = {0};
    ll_code rc = rt_tok_open(copy, size, "f", &t, &e);
    if (rc == LL_OK) {
        use(t, "ab<c>aba  </s>1", 15);
        use(t, copy, size < 200 ? size : 200);
    } else if (!e.msg[0] || t) abort();
    rt_tok_close(t);
    free(copy);
    return 0;
}
