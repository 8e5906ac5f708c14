/* fuzz_tok.c: libFuzzer target. Any bytes as the tokenizer of a module. What opens encodes text and
 * decodes it again: the numbers asked for are the numbers given, ids are of the vocabulary, a
 * stream gives valid UTF-8, and the bytes of the whole where those are ASCII. Expressions that the
 * input brings are bounded by the match limits. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "runtime/text/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_IDS = 512, MAX_TEXT = 1 << 16 };

/* Are the pieces of a stream the text? Looked at as far as it is ASCII: of broken UTF-8 a stream
 * makes U+FFFD. */
static void streams(const rt_tok *t, const int32_t *ids, size_t n_ids, const char *text, size_t n)
{
    rt_tok_stream s = {0};
    size_t at = 0;
    bool ascii = true;
    for (size_t i = 0; i <= n_ids; i++) {
        ll_code rc = i < n_ids ? rt_tok_stream_add(t, &s, ids[i], RT_TOK_SHOW_SPECIAL, NULL)
                               : rt_tok_stream_end(&s, NULL);
        if (rc != LL_OK || ll_utf8_valid(s.out, s.n_out) != s.n_out) abort();
        for (size_t k = 0; k < s.n_out && ascii; k++, at++) {
            ascii = at < n && (unsigned char)text[at] < 128;
            if (ascii && text[at] != s.out[k]) abort();
        }
    }
    if (ascii && at != n) abort();
    rt_tok_stream_finish(&s);
}

static void use(const rt_tok *t, const char *text, size_t n)
{
    static char out[MAX_TEXT];
    int32_t ids[MAX_IDS];
    unsigned how = RT_TOK_PARSE_SPECIAL | RT_TOK_ADD_SPECIAL, show = RT_TOK_SHOW_SPECIAL;
    size_t k = MAX_IDS, asked = 0, n_out = sizeof out;
    ll_code rc = rt_tok_encode(t, text, n, how, ids, &k, NULL);
    if (rc != LL_OK) return; /* a match limit, or more ids than there is room */
    if (rt_tok_encode(t, text, n, how, NULL, &asked, NULL) != LL_OK || asked != k) abort();
    for (size_t i = 0; i < k; i++)
        if (ids[i] < 0 || (uint32_t)ids[i] >= rt_tok_get_info(t)->n_vocab) abort();
    asked = 0;
    if (rt_tok_decode(t, ids, k, show, NULL, &asked, NULL) != LL_OK) abort();
    if (asked > sizeof out) return;
    if (rt_tok_decode(t, ids, k, show, out, &n_out, NULL) != LL_OK || n_out != asked) abort();
    streams(t, ids, k, out, n_out);
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
