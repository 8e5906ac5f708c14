/* config.c: see config.h. */
#include "model/config.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

typedef struct reader {
    const mdl_gguf *g;
    const char *arch;
    ll_error *err;
    ll_code rc; /* the first failure; later reads do nothing */
    char key[128];
} reader;

static const char *key_of(reader *r, const char *name)
{
    snprintf(r->key, sizeof r->key, "%s.%s", r->arch, name);
    return r->key;
}

static int64_t integer(reader *r, const char *name, int64_t lo, int64_t hi, bool must,
                       int64_t otherwise)
{
    int64_t v = otherwise;
    if (r->rc == LL_OK) r->rc = mdl_gguf_int(r->g, key_of(r, name), lo, hi, must, &v, r->err);
    return v;
}

/* A finite number with lo < v < hi. */
static double number(reader *r, const char *name, double lo, double hi, bool must, double otherwise)
{
    double v = otherwise;
    if (r->rc == LL_OK) r->rc = mdl_gguf_float(r->g, key_of(r, name), must, &v, r->err);
    if (r->rc == LL_OK && !(v > lo && v < hi))
        r->rc = ll_fail(r->err, LL_BAD_INPUT, "%s: key '%s': %g, wanted a number between %g and %g",
                        r->g->file, r->key, v, lo, hi);
    return v;
}

static void refuse(reader *r, ll_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static void refuse(reader *r, ll_code code, const char *fmt, ...)
{
    if (r->rc != LL_OK) return;
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    r->rc = ll_fail(r->err, code, "%s: %s", r->g->file, text);
}

/* Keys that change what the model computes. Absent or neutral is fine. */
static const struct { const char *name; double neutral; const char *what; } foreign[] = {
    {"expert_count", 0, "experts"},
    {"attention.sliding_window", 0, "a sliding window"},
    {"attention.causal", 1, "attention that is not causal"},
    {"attention.scale", 0, "an attention scale of its own"},
    {"attention.max_alibi_bias", 0, "ALiBi"},
    {"attention.clamp_kqv", 0, "clamped q, k, v"},
    {"attention.q_lora_rank", 0, "low-rank attention"},
    {"attention.kv_lora_rank", 0, "low-rank attention"},
    {"attn_logit_softcapping", 0, "softcapping"},
    {"final_logit_softcapping", 0, "softcapping"},
    {"logit_scale", 1, "a scale of the logits"},
    {"embedding_scale", 1, "a scale of the embeddings"},
    {"residual_scale", 1, "a scale of the residuals"},
    {"use_parallel_residual", 0, "parallel residuals"},
};

static void check_foreign(reader *r)
{
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign && r->rc == LL_OK; i++) {
        const mdl_kv *kv = mdl_gguf_find(r->g, key_of(r, foreign[i].name));
        int64_t n = 0;
        double d = 0;
        bool b = false;
        if (!kv) continue;
        if (kv->type == MDL_KV_BOOL) r->rc = mdl_gguf_bool(r->g, r->key, true, &b, r->err), d = b;
        else if (mdl_kv_is_int(kv->type))
            r->rc = mdl_gguf_int(r->g, r->key, INT64_MIN, INT64_MAX, true, &n, r->err),
            d = (double)n;
        else if (kv->type == MDL_KV_F32 || kv->type == MDL_KV_F64)
            r->rc = mdl_gguf_float(r->g, r->key, true, &d, r->err);
        else d = NAN; /* a list: one value a layer, and some would not be neutral */
        if (!(d == foreign[i].neutral))
            refuse(r, LL_UNSUPPORTED, "key '%s': %s is not supported", r->key, foreign[i].what);
    }
}

static void read_heads(reader *r, mdl_config *c)
{
    c->heads = integer(r, "attention.head_count", 1, MDL_MAX_DIM, true, 1);
    c->kv_heads = integer(r, "attention.head_count_kv", 1, MDL_MAX_DIM, false, c->heads);
    int64_t whole =
        r->rc == LL_OK && c->heads && c->width % c->heads == 0 ? c->width / c->heads : 0;
    c->head_dim = integer(r, "attention.key_length", 1, MDL_MAX_DIM, false, whole);
    int64_t value_dim = integer(r, "attention.value_length", 1, MDL_MAX_DIM, false, c->head_dim);
    if (r->rc != LL_OK) return;
    if (!c->head_dim)
        refuse(
            r, LL_BAD_INPUT,
            "key '%s.embedding_length': %lld is not a multiple of the %lld heads, and there is no "
            "attention.key_length",
            r->arch, (long long)c->width, (long long)c->heads);
    else if (c->heads % c->kv_heads)
        refuse(r, LL_BAD_INPUT,
               "key '%s.attention.head_count_kv': %lld does not divide the %lld heads", r->arch,
               (long long)c->kv_heads, (long long)c->heads);
    else if (value_dim != c->head_dim)
        refuse(r, LL_UNSUPPORTED,
               "key '%s.attention.value_length': %lld differs from the key length %lld", r->arch,
               (long long)value_dim, (long long)c->head_dim);
}

static void read_rope(reader *r, mdl_config *c)
{
    const char *type;
    size_t n;
    char text[64];
    c->rope_dim = integer(r, "rope.dimension_count", 2, MDL_MAX_DIM, false, c->head_dim);
    c->rope_base = number(r, "rope.freq_base", 0, 1e12, false, 10000);
    c->rope_scale = 1;
    if (r->rc == LL_OK && (c->rope_dim > c->head_dim || c->rope_dim % 2))
        refuse(r, LL_BAD_INPUT,
               "key '%s.rope.dimension_count': %lld, wanted an even number up to the head "
               "dimension %lld",
               r->arch, (long long)c->rope_dim, (long long)c->head_dim);
    if (r->rc == LL_OK)
        r->rc = mdl_gguf_str(r->g, key_of(r, "rope.scaling.type"), false, &type, &n, r->err);
    if (r->rc != LL_OK) return;
    if (type && n == 6 && !memcmp(type, "linear", 6))
        c->rope_scale = number(r, "rope.scaling.factor", 0, 1e6, true, 1);
    else if (type && !(n == 4 && !memcmp(type, "none", 4)))
        refuse(r, LL_UNSUPPORTED,
               "key '%s': rope scaling '%s' is not supported (supported: none, linear)", r->key,
               ll_printable(type, n, text, sizeof text));
    else if (!type) c->rope_scale = number(r, "rope.scale_linear", 0, 1e6, false, 1);
}

static void check_tokens(reader *r, const mdl_config *c)
{
    const mdl_kv *tokens = mdl_gguf_find(r->g, "tokenizer.ggml.tokens");
    if (tokens && tokens->type == MDL_KV_ARRAY && tokens->n != (uint64_t)c->vocab)
        refuse(r, LL_BAD_INPUT,
               "key 'tokenizer.ggml.tokens': %llu tokens, tensor 'token_embd.weight' has %lld rows",
               (unsigned long long)tokens->n, (long long)c->vocab);
}

ll_code mdl_config_read(const mdl_gguf *g, const char *arch, mdl_config *c, ll_error *err)
{
    reader r = {.g = g, .arch = arch, .err = err};
    *c = (mdl_config){0};
    snprintf(c->arch, sizeof c->arch, "%s", arch);
    check_foreign(&r);
    c->layers = integer(&r, "block_count", 1, MDL_MAX_LAYERS, true, 0);
    c->context = integer(&r, "context_length", 1, MDL_MAX_DIM, true, 0);
    c->width = integer(&r, "embedding_length", 1, MDL_MAX_DIM, true, 0);
    c->ff = integer(&r, "feed_forward_length", 1, MDL_MAX_DIM, true, 0);
    read_heads(&r, c);
    if (r.rc == LL_OK) read_rope(&r, c);
    c->norm_eps = number(&r, "attention.layer_norm_rms_epsilon", 0, 1, true, 0);
    const mdl_gtensor *embed = mdl_gguf_tensor(g, "token_embd.weight");
    if (!embed) refuse(&r, LL_BAD_INPUT, "tensor 'token_embd.weight' is missing");
    c->vocab = integer(&r, "vocab_size", 1, INT32_MAX, false, embed ? (int64_t)embed->dim[1] : 1);
    if (r.rc == LL_OK && (embed->dim[1] != (uint64_t)c->vocab))
        refuse(&r, LL_BAD_INPUT,
               "tensor 'token_embd.weight': %llu rows, key '%s.vocab_size' says %lld",
               (unsigned long long)embed->dim[1], arch, (long long)c->vocab);
    if (r.rc == LL_OK) check_tokens(&r, c);
    return r.rc;
}
