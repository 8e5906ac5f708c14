/* test_no_memory.c: every allocation of opening a file, writing its tokenizer, opening that and
 * using it, made to fail, once and from then on: LL_NO_SPACE with a sentence, nothing leaked,
 * and the next call works. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "tests/unit/model/gguf_make.h"
#include "model/tokenizer.h"
#include "runtime/text/tokenizer.h"

static long fail_at = -1; /* the allocation that fails; -1: none */
static long made, live;   /* allocations so far; those not yet freed */
static int sticky;

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void __real_free(void *p);
char *__real_strdup(const char *s);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void __wrap_free(void *p);
char *__wrap_strdup(const char *s);

static int refuse(void)
{
    long i = made++;
    return fail_at >= 0 && (i == fail_at || (sticky && i > fail_at));
}
static void *count(void *p) { return live += p != NULL, p; }
void *__wrap_malloc(size_t n) { return refuse() ? NULL : count(__real_malloc(n)); }
void *__wrap_calloc(size_t n, size_t size)
{
    return refuse() ? NULL : count(__real_calloc(n, size));
}
void *__wrap_realloc(void *p, size_t n)
{
    if (refuse()) return NULL;
    void *q = __real_realloc(p, n);
    if (!p) count(q);
    return q;
}
void __wrap_free(void *p) { live -= p != NULL, __real_free(p); }
char *__wrap_strdup(const char *s) { return refuse() ? NULL : count(__real_strdup(s)); }

static ll_str file; /* made before anything fails */

static void make_file_bytes(void)
{
    static const char *const token[] = {"a", "b", "ab", "aba", "<x>", "</s>"};
    static const char *const merge[] = {"a b", "ab a"};
    put_head(&file, 3, 1, 4);
    put_kv_str(&file, "tokenizer.ggml.model", "gpt2");
    put_kv_str(&file, "tokenizer.ggml.pre", "qwen2");
    put_str(&file, "tokenizer.ggml.tokens");
    put_u32(&file, MDL_KV_ARRAY), put_u32(&file, MDL_KV_STRING), put_u64(&file, 6);
    for (int i = 0; i < 6; i++) put_str(&file, token[i]);
    put_str(&file, "tokenizer.ggml.merges");
    put_u32(&file, MDL_KV_ARRAY), put_u32(&file, MDL_KV_STRING), put_u64(&file, 2);
    for (int i = 0; i < 2; i++) put_str(&file, merge[i]);
    put_tensor(&file, "w", 1, (uint64_t[]){8}, 0, 0);
    pad_to(&file, 32);
    for (int i = 0; i < 8; i++) put_f32(&file, 0);
}

/* The whole way; gives the first failure. */
static ll_code run(ll_error *e)
{
    char text[100];
    int32_t ids[100];
    mdl_gguf *g = NULL;
    mdl_vocab v = {0};
    ll_str out = {0};
    rt_tok *t = NULL;
    rt_tok_stream s = {0};
    size_t n = 100, n_text = 100;
    memset(text, 'a', sizeof text); /* longer than a short piece */
    ll_code rc = mdl_gguf_open_fd(make_file(file.s, file.n), file.n, "t.gguf", &g, e);
    if (rc == LL_OK) rc = mdl_vocab_from_gguf(g, &v, e);
    if (rc == LL_OK) rc = mdl_vocab_write(&v, &out, e);
    if (rc == LL_OK) rc = rt_tok_open(out.s, out.n, "t", &t, e);
    if (rc == LL_OK) rc = rt_tok_encode(t, text, sizeof text, RT_TOK_PARSE_SPECIAL, ids, &n, e);
    if (rc == LL_OK) rc = rt_tok_decode(t, ids, n, 0, text, &n_text, e);
    if (rc == LL_OK) rc = rt_tok_stream_add(t, &s, 2, 0, e);
    rt_tok_stream_finish(&s);
    rt_tok_close(t);
    ll_str_finish(&out);
    mdl_vocab_finish(&v);
    mdl_gguf_close(g);
    return rc;
}

static void every_failed_allocation_is_a_sentence_and_no_leak(void **st)
{
    ll_error e = {0};
    made = live = 0;
    assert_int_equal(run(&e), LL_OK);
    long all = made;
    assert_int_equal(live, 0);
    assert_true(all > 15);
    for (sticky = 0; sticky < 2; sticky++)
        for (long i = 0; i < all; i++) {
            e = (ll_error){0};
            made = live = 0;
            fail_at = i;
            ll_code rc = run(&e);
            fail_at = -1;
            if (rc != LL_NO_SPACE || !strstr(e.msg, "no memory") || live)
                fail_msg("allocation %ld of %ld: %s '%s', %ld left", i, all, ll_code_name(rc),
                         e.msg, live);
        }
    e = (ll_error){0};
    assert_int_equal(run(&e), LL_OK);
}

int main(void)
{
    make_file_bytes();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_failed_allocation_is_a_sentence_and_no_leak)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
