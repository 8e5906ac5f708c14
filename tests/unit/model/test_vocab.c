/* test_vocab.c: vocabularies from GGUF metadata: what is refused, by name, before it reaches a
 * module. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include <llmir/tokenizer_abi.h>

#include "gguf_make.h"
#include "model/tokenizer.h"

typedef struct file {
    ll_str s;
    uint64_t n_kv;
} file;

static void key_strings(file *f, const char *key, const char *const *s, uint64_t n)
{
    put_str(&f->s, key);
    put_u32(&f->s, MDL_KV_ARRAY);
    put_u32(&f->s, MDL_KV_STRING);
    put_u64(&f->s, n);
    for (uint64_t i = 0; i < n; i++) put_str(&f->s, s[i]);
    f->n_kv++;
}

static void key_types(file *f, mdl_kv_type item, const int *v, uint64_t n)
{
    put_str(&f->s, "tokenizer.ggml.token_type");
    put_u32(&f->s, MDL_KV_ARRAY);
    put_u32(&f->s, (uint32_t)item);
    put_u64(&f->s, n);
    for (uint64_t i = 0; i < n; i++)
        if (item == MDL_KV_I8) put_u8(&f->s, (uint8_t)v[i]);
        else if (item == MDL_KV_F32) put_f32(&f->s, (float)v[i]);
        else put_u32(&f->s, (uint32_t)v[i]);
    f->n_kv++;
}

static void key_str(file *f, const char *key, const char *v)
{
    put_kv_str(&f->s, key, v), f->n_kv++;
}
static void key_u32(file *f, const char *key, uint32_t v) { put_kv_u32(&f->s, key, v), f->n_kv++; }

static file start(const char *model, const char *pre)
{
    file f = {0};
    put_head(&f.s, 3, 0, 0);
    if (model) key_str(&f, "tokenizer.ggml.model", model);
    if (pre) key_str(&f, "tokenizer.ggml.pre", pre);
    return f;
}

/* Serialises what the file holds; finishes f. */
static ll_code serialise(file *f, ll_str *out, ll_error *e)
{
    mdl_gguf *g;
    mdl_vocab v;
    memcpy(f->s.s + 16, &f->n_kv, 8);
    ll_code rc = open_bytes(f->s.s, f->s.n, &g, e);
    if (rc == LL_OK) rc = mdl_vocab_from_gguf(g, &v, e);
    if (rc == LL_OK) {
        rc = mdl_vocab_write(&v, out, e);
        mdl_vocab_finish(&v);
    }
    mdl_gguf_close(g);
    ll_str_finish(&f->s);
    return rc;
}

static void refused(file *f, ll_code code, const char *part)
{
    ll_error e;
    ll_str out = {0};
    ll_code rc = serialise(f, &out, &e);
    if (rc != code || !strstr(e.msg, part) || strncmp(e.msg, "t.gguf: ", 8))
        fail_msg("got %s '%s', wanted %s with '%s'", ll_code_name(rc), e.msg, ll_code_name(code),
                 part);
    assert_int_equal(out.n, 0);
    ll_str_finish(&out);
}

static const char *const tokens[] = {"a", "b", "ab", "<x>"};
static const char *const merges[] = {"a b"};
static const int types[] = {1, 1, 1, 3};

static file good(void)
{
    file f = start("gpt2", "gpt-2");
    key_strings(&f, "tokenizer.ggml.tokens", tokens, 4);
    key_strings(&f, "tokenizer.ggml.merges", merges, 1);
    key_types(&f, MDL_KV_I32, types, 4);
    return f;
}

static void a_good_vocabulary_is_serialised(void **st)
{
    file f = good();
    key_u32(&f, "tokenizer.ggml.bos_token_id", 3);
    ll_str out = {0};
    ll_error e;
    assert_int_equal(serialise(&f, &out, &e), LL_OK);
    llmir_tok_header h;
    memcpy(&h, out.s, sizeof h);
    assert_int_equal(h.size, out.n);
    assert_int_equal(h.n_vocab, 4);
    assert_int_equal(h.n_merge, 1);
    assert_int_equal(h.n_special, 1);
    assert_int_equal(h.bos, 3);
    assert_int_equal(h.eos, LLMIR_TOK_NONE);
    /* the same input gives the same bytes */
    ll_str again = {0};
    f = good();
    key_u32(&f, "tokenizer.ggml.bos_token_id", 3);
    assert_int_equal(serialise(&f, &again, &e), LL_OK);
    assert_int_equal(out.n, again.n);
    assert_memory_equal(out.s, again.s, out.n);
    ll_str_finish(&out);
    ll_str_finish(&again);
}

static void kinds_that_are_not_supported_are_named_with_the_list(void **st)
{
    file f = start("llama", "default");
    refused(&f, LL_UNSUPPORTED, "tokenizer 'llama' is not supported (supported: gpt2");
    f = start("gpt2", "llama-bpe");
    key_strings(&f, "tokenizer.ggml.tokens", tokens, 4);
    key_strings(&f, "tokenizer.ggml.merges", merges, 1);
    refused(&f, LL_UNSUPPORTED,
            "pre-tokeniser 'llama-bpe' is not supported (supported: gpt-2, smollm, qwen2)");
    f = start("gpt2", NULL);
    key_strings(&f, "tokenizer.ggml.tokens", tokens, 4);
    key_strings(&f, "tokenizer.ggml.merges", merges, 1);
    refused(&f, LL_UNSUPPORTED, "pre-tokeniser '' is not supported");
    f = start(NULL, "gpt-2");
    refused(&f, LL_BAD_INPUT, "key 'tokenizer.ggml.model' is missing");
}

static void t1_vocabularies(void **st)
{
    file f = start("gpt2", "gpt-2");
    key_strings(&f, "tokenizer.ggml.merges", merges, 1);
    refused(&f, LL_BAD_INPUT, "key 'tokenizer.ggml.tokens' is missing");
    f = start("gpt2", "gpt-2");
    key_strings(&f, "tokenizer.ggml.tokens", tokens, 0);
    refused(&f, LL_BAD_INPUT, "the vocabulary is empty");
    f = start("gpt2", "gpt-2");
    key_strings(&f, "tokenizer.ggml.tokens", (const char *[]){"a", "b", "a"}, 3);
    key_strings(&f, "tokenizer.ggml.merges", merges, 0);
    refused(&f, LL_BAD_INPUT, "tokens 0 and 2 are both 'a'");
    f = start("gpt2", "gpt-2");
    key_strings(&f, "tokenizer.ggml.tokens", (const char *[]){"a", ""}, 2);
    key_strings(&f, "tokenizer.ggml.merges", merges, 0);
    refused(&f, LL_BAD_INPUT, "token 1 has 0 bytes");
    char *big = calloc(1, 70000);
    memset(big, 'x', 65537);
    f = start("gpt2", "gpt-2");
    key_strings(&f, "tokenizer.ggml.tokens", (const char *[]){big}, 1);
    key_strings(&f, "tokenizer.ggml.merges", merges, 0);
    refused(&f, LL_BAD_INPUT, "token 0 has 65537 bytes, wanted 1..65536");
    free(big);
    /* one token is a vocabulary */
    ll_str out = {0};
    ll_error e;
    f = start("gpt2", "gpt-2");
    key_strings(&f, "tokenizer.ggml.tokens", (const char *[]){"a"}, 1);
    key_strings(&f, "tokenizer.ggml.merges", merges, 0);
    assert_int_equal(serialise(&f, &out, &e), LL_OK);
    ll_str_finish(&out);
    /* 2^21 + 1 tokens */
    f = start("gpt2", "gpt-2");
    put_str(&f.s, "tokenizer.ggml.tokens");
    put_u32(&f.s, MDL_KV_ARRAY), put_u32(&f.s, MDL_KV_STRING), put_u64(&f.s, (1 << 21) + 1);
    for (int i = 0; i <= 1 << 21; i++) put_u64(&f.s, 0);
    f.n_kv++;
    refused(&f, LL_BAD_INPUT, "key 'tokenizer.ggml.tokens': 2097153 items, at most 2097152");
}

static void t2_arrays_of_another_length_or_type(void **st)
{
    file f = start("gpt2", "gpt-2");
    key_strings(&f, "tokenizer.ggml.tokens", tokens, 4);
    key_strings(&f, "tokenizer.ggml.merges", merges, 1);
    key_types(&f, MDL_KV_I32, types, 3);
    refused(&f, LL_BAD_INPUT, "key 'tokenizer.ggml.token_type': 3 items, the vocabulary has 4");
    f = start("gpt2", "gpt-2");
    key_strings(&f, "tokenizer.ggml.tokens", tokens, 4);
    key_strings(&f, "tokenizer.ggml.merges", merges, 1);
    key_types(&f, MDL_KV_F32, types, 4);
    refused(&f, LL_BAD_INPUT, "key 'tokenizer.ggml.token_type': wanted an array of integers");
    static const int bad[] = {1, 0, 1, 1}, worse[] = {1, 1, 7, 1}, negative[] = {1, 1, 1, -1};
    const int *const all[] = {bad, worse, negative};
    for (int i = 0; i < 3; i++) {
        f = start("gpt2", "gpt-2");
        key_strings(&f, "tokenizer.ggml.tokens", tokens, 4);
        key_strings(&f, "tokenizer.ggml.merges", merges, 1);
        key_types(&f, i == 2 ? MDL_KV_I8 : MDL_KV_I32, all[i], 4);
        refused(&f, LL_BAD_INPUT, "wanted 1..6");
    }
    f = start("gpt2", "gpt-2");
    key_strings(&f, "tokenizer.ggml.tokens", tokens, 4);
    key_str(&f, "tokenizer.ggml.merges", "a b");
    refused(&f, LL_BAD_INPUT,
            "key 'tokenizer.ggml.merges': the value is of type string, wanted an array of string");
    f = start("gpt2", "gpt-2");
    key_u32(&f, "tokenizer.ggml.tokens", 3);
    refused(&f, LL_BAD_INPUT, "key 'tokenizer.ggml.tokens': the value is of type u32");
}

static void lists_of_another_item_type(void **st)
{
    file f = start("gpt2", "gpt-2");
    put_str(&f.s, "tokenizer.ggml.tokens");
    put_u32(&f.s, MDL_KV_ARRAY), put_u32(&f.s, MDL_KV_U32), put_u64(&f.s, 1), put_u32(&f.s, 1);
    f.n_kv++;
    refused(&f, LL_BAD_INPUT, "the value is of type array of u32, wanted an array of string");
    f = start("gpt2", "gpt-2");
    key_strings(&f, "tokenizer.ggml.tokens", tokens, 4);
    key_strings(&f, "tokenizer.ggml.merges", merges, 1);
    key_str(&f, "tokenizer.ggml.token_type", "1");
    refused(&f, LL_BAD_INPUT, "key 'tokenizer.ggml.token_type': wanted an array of integers");
    f = good();
    key_u32(&f, "tokenizer.ggml.add_bos_token", 1);
    refused(&f, LL_BAD_INPUT, "key 'tokenizer.ggml.add_bos_token': the value is of type u32");
}

/* The writer checks what it is given, whoever calls. */
static void a_vocabulary_made_elsewhere_is_checked_too(void **st)
{
    static mdl_span token[] = {
        {"a", 1}, {"<0xfF>", 6}, {"\xe2\x82\xac", 3}, {"\xc4\xa0", 2}, {"\xff", 1}};
    static uint8_t type[] = {1, 6, 1, 1, 1};
    const mdl_vocab right = {.file = "t.gguf",
                             .pre = {"gpt-2", 5},
                             .token = token,
                             .type = type,
                             .n = 5,
                             .bos = -1,
                             .eos = 0,
                             .eot = 3,
                             .pad = -1,
                             .unk = -1,
                             .add_eos = true};
    ll_str out = {0};
    ll_error e = {0};
    assert_int_equal(mdl_vocab_write(&right, &out, &e), LL_OK);
    llmir_tok_header h;
    memcpy(&h, out.s, sizeof h);
    assert_int_equal(h.flags, LLMIR_TOK_ADD_EOS);
    assert_int_equal(h.n_eog, 2);
    uint32_t byte[256];
    memcpy(byte, out.s + sizeof h, sizeof byte);
    assert_int_equal(byte[0xff], 1); /* the byte token: what is not UTF-8 reads as it is */
    assert_int_equal(byte[' '], 3);
    assert_int_equal(byte[0xe2], LLMIR_TOK_NONE); /* outside the alphabet: its own text */
    ll_str_finish(&out);

    static const struct {
        int64_t bos, eos, eot, pad, unk;
        uint32_t n;
        size_t n_merge;
        const char *part;
    } bad[] = {
        {5, -1, -1, -1, -1, 5, 0, "bos is token 5, the vocabulary has 5"},
        {-1, 1 << 30, -1, -1, -1, 5, 0, "eos is token"},
        {-1, -1, 5, -1, -1, 5, 0, "eot is token"},
        {-1, -1, -1, INT64_MAX, -1, 5, 0, "pad is token"},
        {-1, -1, -1, -1, 5, 5, 0, "unk is token"},
        {-1, -1, -1, -1, -1, 0, 0, "a vocabulary of 0 tokens"},
        {-1, -1, -1, -1, -1, UINT32_MAX, 0, "a vocabulary of 4294967295 tokens"},
        {-1, -1, -1, -1, -1, 5, SIZE_MAX, "merges, at most"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        mdl_vocab v = right;
        v.bos = bad[i].bos, v.eos = bad[i].eos, v.eot = bad[i].eot, v.pad = bad[i].pad,
        v.unk = bad[i].unk;
        v.n = bad[i].n, v.n_merge = bad[i].n_merge;
        e = (ll_error){0};
        if (mdl_vocab_write(&v, &out, &e) != LL_BAD_INPUT || !strstr(e.msg, bad[i].part))
            fail_msg("'%s', wanted '%s'", e.msg, bad[i].part);
    }
    ll_str_finish(&out);
}

static void t3_special_ids_outside_the_vocabulary(void **st)
{
    static const char *const key[] = {"bos", "eos", "eot", "padding", "unknown"};
    for (int i = 0; i < 5; i++)
        for (int k = 0; k < 2; k++) {
            char name[64], part[96];
            snprintf(name, sizeof name, "tokenizer.ggml.%s_token_id", key[i]);
            snprintf(part, sizeof part, "key '%s': %u, wanted 0..3", name, k ? UINT32_MAX : 4);
            file f = good();
            key_u32(&f, name, k ? UINT32_MAX : 4);
            refused(&f, LL_BAD_INPUT, part);
        }
}

static void t4_byte_tokens_are_read_strictly(void **st)
{
    static const char *const bad[] = {"<0x-1>", "<0xZZ>", "<0x1FF>", "<0x1>",
                                      "<0X11>", "<0x+1>", "<0x 1>"};
    static const int byte_type[] = {6};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        file f = start("gpt2", "gpt-2");
        key_strings(&f, "tokenizer.ggml.tokens", &bad[i], 1);
        key_strings(&f, "tokenizer.ggml.merges", merges, 0);
        key_types(&f, MDL_KV_I32, byte_type, 1);
        refused(&f, LL_BAD_INPUT, "a byte token reads <0x00>..<0xFF>");
    }
}

static void t6_merges_name_tokens(void **st)
{
    static const struct { const char *merge, *part; } bad[] = {
        {"a z", "merge 0 ('a z'): its right side is not in the vocabulary"},
        {"z a", "merge 0 ('z a'): its left side"},
        {"b a", "merge 0 ('b a'): its joined side"},
        {"ab", "merge 0 is 'ab', wanted two tokens and a space between"},
        {"a ", "wanted two tokens"},
        {" b", "wanted two tokens"},
        {"", "wanted two tokens"},
        {"a b ab", "its right side"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        file f = start("gpt2", "gpt-2");
        key_strings(&f, "tokenizer.ggml.tokens", tokens, 4);
        key_strings(&f, "tokenizer.ggml.merges", &bad[i].merge, 1);
        refused(&f, LL_BAD_INPUT, bad[i].part);
    }
    /* a merge named twice keeps its better rank */
    file f = start("gpt2", "gpt-2");
    ll_str out = {0};
    ll_error e;
    key_strings(&f, "tokenizer.ggml.tokens", tokens, 4);
    key_strings(&f, "tokenizer.ggml.merges", (const char *[]){"a b", "a b"}, 2);
    assert_int_equal(serialise(&f, &out, &e), LL_OK);
    llmir_tok_header h;
    memcpy(&h, out.s, sizeof h);
    assert_int_equal(h.n_merge, 1);
    ll_str_finish(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_vocabulary_is_serialised),
        cmocka_unit_test(kinds_that_are_not_supported_are_named_with_the_list),
        cmocka_unit_test(t1_vocabularies),
        cmocka_unit_test(t2_arrays_of_another_length_or_type),
        cmocka_unit_test(lists_of_another_item_type),
        cmocka_unit_test(a_vocabulary_made_elsewhere_is_checked_too),
        cmocka_unit_test(t3_special_ids_outside_the_vocabulary),
        cmocka_unit_test(t4_byte_tokens_are_read_strictly),
        cmocka_unit_test(t6_merges_name_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
