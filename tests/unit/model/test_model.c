/* test_model.c: small models from files: the graph that is built, what the expressions compute
 * against logits recorded from other software, and files that are well-formed but hold the wrong
 * model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <stdio.h>
#include <jansson.h>
#include <cmocka.h>

#include "base/file.h"
#include "gguf_make.h"
#include "model/model.h"

static const char *folder; /* tests/data/models */

typedef struct bytes { char *p; size_t n; } bytes;

static bytes load(const char *model, const char *file)
{
    char path[4096];
    void *p;
    bytes b;
    ll_error e = {0};
    snprintf(path, sizeof path, "%s/%s/%s", folder, model, file);
    if (ll_file_read(path, 64 << 20, &p, &b.n, &e)) fail_msg("%s", e.msg);
    b.p = p;
    return b;
}

/* What follows a length-prefixed string in the file: a value's type, a tensor's number of
 * dimensions. */
static char *behind(bytes b, const char *name)
{
    uint64_t n = strlen(name);
    char key[256];
    memcpy(key, &n, 8);
    memcpy(key + 8, name, n);
    char *at = memmem(b.p, b.n, key, n + 8);
    if (!at) fail_msg("the test file has no '%s'", name);
    return at + 8 + n;
}

static ll_code open_model(bytes b, mdl_model **m, mdl_graph **mg, ll_error *e)
{
    mdl_gguf *g;
    *m = NULL;
    *mg = NULL;
    ll_code rc = open_bytes(b.p, b.n, &g, e);
    if (rc == LL_OK) rc = mdl_open_gguf(g, m, e);
    if (rc == LL_OK) rc = mdl_build_graph(*m, &(mdl_options){.kv = LL_F32, .kv_block = 16}, mg, e);
    return rc;
}

static void close_model(mdl_model *m, mdl_graph *mg)
{
    mdl_graph_destroy(mg);
    mdl_close(m);
}

/* ---- the graph ---- */

static void the_graph_has_every_weight_once_and_a_cache_for_each_layer(void **st)
{
    static const struct { const char *name; size_t weights; bool tied;
    } model[] = {{"llama_f16", 21 + 1, false},
                 {"llama_q8_0", 21 + 1, false},
                 {"qwen2_q4_0_tied", 26 + 1, true}};
    for (size_t i = 0; i < 3; i++) {
        bytes b = load(model[i].name, "model.gguf");
        mdl_model *m;
        mdl_graph *mg;
        ll_error e = {0};
        if (open_model(b, &m, &mg, &e)) fail_msg("%s: %s", model[i].name, e.msg);
        assert_int_equal(mg->n_weight, model[i].weights); /* the file's and the frequencies */
        for (size_t k = 0; k < mg->n_weight; k++) {
            assert_true(mg->weight[k].t->weight);
            assert_true(!mg->weight[k].data == (mg->weight[k].values != NULL));
        }
        assert_int_equal(mg->n_layer, 2);
        for (size_t k = 0; k < 2; k++) {
            const mdl_layer *l = &mg->layer[k];
            assert_int_equal(l->k_new->kind, TE_UPDATE);
            assert_ptr_equal(l->k_new->base, l->k_pool);
            assert_ptr_equal(l->v_new->base, l->v_pool);
            assert_int_equal(l->k_pool->shape[1]->u.i, 16);
            assert_int_equal(l->k_pool->dtype, LL_F32);
            assert_non_null(l->out);
        }
        assert_int_equal(mg->logits->shape[1]->u.i, 320);
        assert_int_equal(te_find(mg->g, "output.weight") == NULL, model[i].tied);
        assert_int_equal(m->tokenizer.n, 0); /* another kind: the model opens, the reason is kept */
        assert_int_equal(m->no_tokenizer.code, LL_UNSUPPORTED);
        close_model(m, mg);
        free(b.p);
    }
}

static void one_token_of_one_sequence_has_literal_sizes(void **st)
{
    bytes b = load("llama_f16", "model.gguf");
    mdl_model *m;
    mdl_graph *mg, *one;
    ll_error e;
    assert_int_equal(open_model(b, &m, &mg, &e), LL_OK);
    const mdl_options o = {.kv = LL_F16, .kv_block = 16, .max_tokens = 1};
    assert_int_equal(mdl_build_graph(m, &o, &one, &e), LL_OK);
    assert_true(te_is_int(one->T, 1) && te_is_int(one->S, 1) && te_is_int(one->R, 1));
    assert_int_equal(mg->T->op, TE_DIM);
    mdl_graph_destroy(one);
    close_model(m, mg);
    free(b.p);
}

static void options_are_checked(void **st)
{
    static const mdl_options bad[] = {{LL_BF16, 16},
                                      {LL_F16, 8},
                                      {LL_F16, 512},
                                      {LL_F16, 48},
                                      {LL_F16, 16, -1},
                                      {LL_F16, 16, 6, .multiple = 4},
                                      {LL_F16, 16, 1, .max_seqs = -1},
                                      {LL_F16, 16, 1, .act_block = 32, .act_granule = 0},
                                      {LL_F16, 16, 1, .act_block = 32, .act_granule = 24}};
    bytes b = load("llama_f16", "model.gguf");
    mdl_model *m;
    mdl_graph *mg;
    ll_error e;
    assert_int_equal(open_model(b, &m, &mg, &e), LL_OK);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        mdl_graph *other;
        e = (ll_error){0};
        assert_int_equal(mdl_build_graph(m, &bad[i], &other, &e), LL_USAGE);
        assert_true(e.msg[0] && !other);
    }
    assert_string_equal(mdl_quant_name(m), "F16");
    close_model(m, mg);
    free(b.p);
}

/* ---- G8: well-formed files with the wrong model in them ---- */

typedef enum how { SET_U32, SET_F32, SET_TYPE, RENAME, DIMS, TENSOR_NAME } how;

static void g8_wrong_models_are_named(void **st)
{
    static const struct {
        const char *model, *name;
        how how;
        double a, b;
        ll_code code;
        const char *part;
    } c[] = {
        {"llama_q8_0", "llama.attention.head_count", SET_U32, 0, 0, LL_BAD_INPUT,
         "key 'llama.attention.head_count': 0, wanted 1.."},
        {"llama_q8_0", "llama.attention.head_count", SET_U32, 7, 0, LL_BAD_INPUT,
         "64 is not a multiple of the 7 heads"},
        {"llama_q8_0", "llama.attention.head_count_kv", SET_U32, 3, 0, LL_BAD_INPUT,
         "key 'llama.attention.head_count_kv': 3 does not divide the 8 heads"},
        {"llama_q8_0", "llama.attention.head_count_kv", SET_U32, 4, 0, LL_BAD_INPUT,
         "tensor 'blk.0.attn_k.weight': 16 x 64, wanted 32 x 64"},
        {"llama_q8_0", "llama.attention.head_count_kv", SET_U32, 4294967295.0, 0, LL_BAD_INPUT,
         "4294967295, wanted 1.."},
        {"llama_q8_0", "llama.rope.dimension_count", SET_U32, 16, 0, LL_BAD_INPUT,
         "key 'llama.rope.dimension_count': 16, wanted an even number up to the head dimension 8"},
        {"llama_q8_0", "llama.rope.dimension_count", SET_U32, 7, 0, LL_BAD_INPUT,
         "7, wanted an even number"},
        {"llama_q8_0", "llama.attention.layer_norm_rms_epsilon", SET_F32, NAN, 0, LL_BAD_INPUT,
         "epsilon': nan, wanted a number between 0 and 1"},
        {"llama_q8_0", "llama.attention.layer_norm_rms_epsilon", SET_F32, 0, 0, LL_BAD_INPUT,
         "epsilon': 0, wanted"},
        {"llama_q8_0", "llama.attention.layer_norm_rms_epsilon", SET_F32, INFINITY, 0, LL_BAD_INPUT,
         "epsilon': inf, wanted"},
        {"llama_q8_0", "llama.rope.freq_base", SET_F32, -1, 0, LL_BAD_INPUT,
         "key 'llama.rope.freq_base': -1, wanted"},
        {"llama_q8_0", "llama.block_count", SET_U32, 3, 0, LL_BAD_INPUT,
         "tensor 'blk.2.attn_norm.weight' is missing (llama has one of 64)"},
        {"llama_q8_0", "llama.block_count", SET_U32, 1, 0, LL_UNSUPPORTED,
         "tensor 'blk.1.attn_norm.weight' has no place in architecture llama"},
        {"llama_q8_0", "llama.block_count", SET_U32, 0, 0, LL_BAD_INPUT,
         "key 'llama.block_count': 0, wanted 1..1024"},
        {"llama_q8_0", "llama.block_count", SET_U32, 1000000, 0, LL_BAD_INPUT,
         "key 'llama.block_count': 1000000, wanted 1..1024"},
        {"llama_q8_0", "llama.vocab_size", SET_U32, 321, 0, LL_BAD_INPUT,
         "tensor 'token_embd.weight': 320 rows, key 'llama.vocab_size' says 321"},
        {"llama_q8_0", "llama.feed_forward_length", SET_U32, 96, 0, LL_BAD_INPUT,
         "tensor 'blk.0.ffn_gate.weight': 128 x 64, wanted 96 x 64"},
        {"llama_q8_0", "llama.embedding_length", SET_U32, 0x7fffffff, 0, LL_BAD_INPUT,
         "key 'llama.embedding_length': 2147483647, wanted 1.."},
        {"llama_q8_0", "llama.context_length", RENAME, 0, 0, LL_BAD_INPUT,
         "key 'llama.context_length' is missing"},
        {"llama_q8_0", "llama.block_count", SET_TYPE, MDL_KV_F32, 0, LL_BAD_INPUT,
         "the value is of type f32, wanted an integer"},
        {"llama_q8_0", "blk.1.ffn_gate.weight", DIMS, 128, 64, LL_BAD_INPUT,
         "tensor 'blk.1.ffn_gate.weight': 64 x 128, wanted 128 x 64"},
        {"llama_q8_0", "token_embd.weight", DIMS, 320, 64, LL_BAD_INPUT,
         "tensor 'token_embd.weight': 64 rows"},
        {"llama_q8_0", "blk.1.attn_v.weight", TENSOR_NAME, 'x', 0, LL_BAD_INPUT,
         "tensor 'blk.1.attn_v.weight' is missing (llama has one of 16 x 64)"},
        {"llama_q8_0", "token_embd.weight", TENSOR_NAME, 'x', 0, LL_BAD_INPUT,
         "tensor 'token_embd.weight' is missing"},
        {"llama_q8_0", "output.weight", TENSOR_NAME, 'x', 0, LL_UNSUPPORTED,
         "tensor 'output.weighx' has no place in architecture llama"},
        {"llama_q8_0", "output_norm.weight", TENSOR_NAME, 'x', 0, LL_BAD_INPUT,
         "tensor 'output_norm.weight' is missing (llama has one of 64)"},
        {"qwen2_q4_0_tied", "blk.0.attn_q.bias", TENSOR_NAME, 'x', 0, LL_BAD_INPUT,
         "tensor 'blk.0.attn_q.bias' is missing (qwen2 has one of 64)"},
        {"qwen2_q4_0_tied", "qwen2.attention.head_count_kv", RENAME, 0, 0, LL_BAD_INPUT,
         "tensor 'blk.0.attn_k.weight': 32 x 64, wanted 64 x 64"},
    };
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        bytes b = load(c[i].model, "model.gguf");
        char *at = behind(b, c[i].name);
        uint32_t u = c[i].how == SET_U32 || c[i].how == SET_TYPE ? (uint32_t)c[i].a : 0;
        float f = (float)c[i].a;
        uint64_t dim[2] = {c[i].how == DIMS ? (uint64_t)c[i].a : 0, (uint64_t)c[i].b};
        if (c[i].how == SET_U32) memcpy(at + 4, &u, 4);
        else if (c[i].how == SET_F32) memcpy(at + 4, &f, 4);
        else if (c[i].how == SET_TYPE) memcpy(at, &u, 4);
        else if (c[i].how == DIMS) memcpy(at + 4, dim, 16);
        else at[-1] = c[i].how == RENAME ? 'x' : (char)c[i].a;
        mdl_model *m;
        mdl_graph *mg;
        ll_error e;
        ll_code rc = open_model(b, &m, &mg, &e);
        if (rc != c[i].code || !strstr(e.msg, c[i].part) || strncmp(e.msg, "t.gguf: ", 8))
            fail_msg("%s: got %s '%s', wanted '%s'", c[i].name, ll_code_name(rc), e.msg, c[i].part);
        assert_null(mg);
        close_model(m, mg);
        free(b.p);
    }
}

/* ---- metadata that asks for more than the expressions say ---- */

static void refused_with(void (*add)(ll_str *), ll_code code, const char *part)
{
    ll_str s = {0};
    put_head(&s, 3, 1, 8);
    put_kv_str(&s, "general.architecture", "llama");
    put_kv_u32(&s, "llama.block_count", 1);
    put_kv_u32(&s, "llama.context_length", 64);
    put_kv_u32(&s, "llama.embedding_length", 32);
    put_kv_u32(&s, "llama.feed_forward_length", 32);
    put_kv_u32(&s, "llama.attention.head_count", 2);
    put_str(&s, "llama.attention.layer_norm_rms_epsilon");
    put_u32(&s, MDL_KV_F32);
    put_f32(&s, 1e-5f);
    add(&s);
    put_tensor(&s, "token_embd.weight", 2, (uint64_t[]){32, 5}, 0, 0);
    pad_to(&s, 32);
    for (int i = 0; i < 160; i++) put_f32(&s, 0);
    mdl_model *m;
    mdl_graph *mg;
    ll_error e;
    ll_code rc = open_model((bytes){s.s, s.n}, &m, &mg, &e);
    if (rc != code || !strstr(e.msg, part))
        fail_msg("got %s '%s', wanted '%s'", ll_code_name(rc), e.msg, part);
    close_model(m, mg);
    ll_str_finish(&s);
}

static void add_yarn(ll_str *s) { put_kv_str(s, "llama.rope.scaling.type", "yarn"); }
static void add_linear(ll_str *s) { put_kv_str(s, "llama.rope.scaling.type", "linear"); }
static void add_experts(ll_str *s) { put_kv_u32(s, "llama.expert_count", 8); }
static void add_no_experts(ll_str *s) { put_kv_u32(s, "llama.expert_count", 0); }
static void add_window(ll_str *s) { put_kv_u32(s, "llama.attention.sliding_window", 4096); }
static void add_value_length(ll_str *s) { put_kv_u32(s, "llama.attention.value_length", 8); }
static void add_list(ll_str *s)
{
    put_str(s, "llama.attention.sliding_window");
    put_u32(s, MDL_KV_ARRAY), put_u32(s, MDL_KV_U32), put_u64(s, 1), put_u32(s, 7);
}
static void add_no_scaling(ll_str *s) { put_kv_str(s, "llama.rope.scaling.type", "none"); }
static void add_logit_scale(ll_str *s)
{
    put_str(s, "llama.logit_scale");
    put_u32(s, MDL_KV_F32), put_f32(s, 0.5f);
}
static void add_not_causal(ll_str *s)
{
    put_str(s, "llama.attention.causal");
    put_u32(s, MDL_KV_BOOL), put_u8(s, 0);
}
static void add_bad_tokenizer(ll_str *s) { put_kv_u32(s, "tokenizer.ggml.model", 1); }
static void add_tokens(ll_str *s)
{
    put_str(s, "tokenizer.ggml.tokens");
    put_u32(s, MDL_KV_ARRAY), put_u32(s, MDL_KV_STRING), put_u64(s, 1), put_str(s, "a");
}

static void what_the_expressions_do_not_say_is_unsupported_by_name(void **st)
{
    refused_with(add_yarn, LL_UNSUPPORTED,
                 "key 'llama.rope.scaling.type': rope scaling 'yarn' is not supported (supported: "
                 "none, linear)");
    refused_with(add_linear, LL_BAD_INPUT, "key 'llama.rope.scaling.factor' is missing");
    refused_with(add_experts, LL_UNSUPPORTED, "key 'llama.expert_count': experts is not supported");
    refused_with(add_no_experts, LL_BAD_INPUT, "tensor 'blk.0.attn_norm.weight' is missing");
    refused_with(add_window, LL_UNSUPPORTED,
                 "key 'llama.attention.sliding_window': a sliding window is not supported");
    refused_with(add_list, LL_UNSUPPORTED,
                 "key 'llama.attention.sliding_window': a sliding window is not supported");
    refused_with(add_value_length, LL_UNSUPPORTED, "8 differs from the key length 16");
    refused_with(add_no_scaling, LL_BAD_INPUT, "tensor 'blk.0.attn_norm.weight' is missing");
    refused_with(add_logit_scale, LL_UNSUPPORTED,
                 "key 'llama.logit_scale': a scale of the logits is not supported");
    refused_with(add_not_causal, LL_UNSUPPORTED,
                 "key 'llama.attention.causal': attention that is not causal is not supported");
    refused_with(add_bad_tokenizer, LL_BAD_INPUT,
                 "key 'tokenizer.ggml.model': the value is of type u32, wanted string");
    refused_with(add_tokens, LL_BAD_INPUT,
                 "key 'tokenizer.ggml.tokens': 1 tokens, tensor 'token_embd.weight' has 5 rows");
}

static void other_architectures_are_named_with_the_list(void **st)
{
    ll_str s = {0};
    mdl_model *m;
    mdl_graph *mg;
    ll_error e;
    put_head(&s, 3, 0, 1);
    put_kv_str(&s, "general.architecture", "mamba\x01");
    assert_int_equal(open_model((bytes){s.s, s.n}, &m, &mg, &e), LL_UNSUPPORTED);
    assert_string_equal(
        e.msg, "t.gguf: architecture 'mamba\\x01' is not supported (supported: llama, qwen2)");
    ll_str_clear(&s);
    put_head(&s, 3, 0, 0);
    assert_int_equal(open_model((bytes){s.s, s.n}, &m, &mg, &e), LL_BAD_INPUT);
    assert_string_equal(e.msg, "t.gguf: key 'general.architecture' is missing");
    ll_str_finish(&s);
}

int main(int argc, char **argv)
{
    if (argc != 2) return 2;
    folder = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_graph_has_every_weight_once_and_a_cache_for_each_layer),
        cmocka_unit_test(one_token_of_one_sequence_has_literal_sizes),
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(g8_wrong_models_are_named),
        cmocka_unit_test(what_the_expressions_do_not_say_is_unsupported_by_name),
        cmocka_unit_test(other_architectures_are_named_with_the_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
