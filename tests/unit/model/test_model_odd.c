/* test_model_odd.c: a model that nobody has: 3 query heads of 10 elements over one K/V head, a
 * width that is no multiple of the heads, rotation of 6 of the 10 elements with a linear scale
 * and frequency factors, biases everywhere, f16 and bf16 matrices. Its file is written here; the
 * expressions (te_eval) are compared with a forward pass in plain C. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/half.h"
#include "gguf_make.h"
#include "model/model.h"

enum { D = 14, FF = 22, H = 3, HD = 10, ROT = 6, V = 17, LAYERS = 2, T = 9, CTX = 40, BLOCK = 16 };
enum { F32 = 0, F16 = 1, BF16 = 30 };
static const double base = 333, scale = 2.5, eps = 1e-3;

typedef struct mat { /* cols 0: a vector */
    int rows, cols, type;
    double v[64 * 64];
    char name[128];
} mat;
static mat all[64];
static int n_all;

static double value(void)
{
    static uint32_t s = 12345;
    s = s * 1664525u + 1013904223u;
    return (double)(s >> 8) / (1 << 23) - 1;
}

static mat *add(int layer, const char *name, int rows, int cols, int type)
{
    mat *m = &all[n_all++];
    *m = (mat){.rows = rows, .cols = cols, .type = type};
    if (layer < 0) snprintf(m->name, sizeof m->name, "%s", name);
    else snprintf(m->name, sizeof m->name, "blk.%d.%s", layer, name);
    for (int i = 0; i < rows * (cols ? cols : 1); i++) {
        double x = value() * (cols ? 0.6 : 0.3) + (strstr(name, "norm") ? 1 : 0);
        m->v[i] = type == F16    ? (double)ll_f16_to(ll_f16_from(x))
                  : type == BF16 ? (double)ll_bf16_to(ll_bf16_from(x))
                                 : (double)(float)x;
    }
    return m;
}

static const mat *get(int layer, const char *name)
{
    char full[128];
    if (layer < 0) snprintf(full, sizeof full, "%s", name);
    else snprintf(full, sizeof full, "blk.%d.%s", layer, name);
    for (int i = 0; i < n_all; i++)
        if (!strcmp(all[i].name, full)) return &all[i];
    fail_msg("no %s", full);
    return NULL;
}

static void make_weights(void)
{
    n_all = 0;
    add(-1, "token_embd.weight", V, D, F16);
    mat *f = add(-1, "rope_freqs.weight", ROT / 2, 0, F32);
    for (int i = 0; i < ROT / 2; i++) f->v[i] = 1 + i * 0.75;
    for (int l = 0; l < LAYERS; l++) {
        add(l, "attn_norm.weight", D, 0, F32);
        add(l, "ffn_norm.weight", D, 0, F16);
        static const struct { const char *name; int rows, cols;
        } w[] = {{"attn_q", H * HD, D},      {"attn_k", HD, D},   {"attn_v", HD, D},
                 {"attn_output", D, H * HD}, {"ffn_gate", FF, D}, {"ffn_up", FF, D},
                 {"ffn_down", D, FF}};
        for (int i = 0; i < 7; i++) {
            char name[64];
            snprintf(name, sizeof name, "%s.weight", w[i].name);
            add(l, name, w[i].rows, w[i].cols, (i + l) % 3 == 0 ? BF16 : i % 2 ? F16 : F32);
            snprintf(name, sizeof name, "%s.bias", w[i].name);
            add(l, name, w[i].rows, 0, F32);
        }
    }
    add(-1, "output_norm.weight", D, 0, F32);
    add(-1, "output.weight", V, D, F32);
    add(-1, "output.bias", V, 0, F32);
}

static void put_kv_f32(ll_str *s, const char *key, double v)
{
    put_str(s, key);
    put_u32(s, MDL_KV_F32);
    put_f32(s, (float)v);
}

static ll_str make_model(void)
{
    ll_str s = {0}, data = {0};
    put_head(&s, 3, (uint64_t)n_all, 14);
    put_kv_str(&s, "general.architecture", "llama");
    put_kv_u32(&s, "llama.block_count", LAYERS);
    put_kv_u32(&s, "llama.context_length", CTX);
    put_kv_u32(&s, "llama.embedding_length", D);
    put_kv_u32(&s, "llama.feed_forward_length", FF);
    put_kv_u32(&s, "llama.attention.head_count", H);
    put_kv_u32(&s, "llama.attention.head_count_kv", 1);
    put_kv_u32(&s, "llama.attention.key_length", HD);
    put_kv_u32(&s, "llama.attention.value_length", HD);
    put_kv_u32(&s, "llama.rope.dimension_count", ROT);
    put_kv_f32(&s, "llama.rope.freq_base", base);
    put_kv_str(&s, "llama.rope.scaling.type", "linear");
    put_kv_f32(&s, "llama.rope.scaling.factor", scale);
    put_kv_f32(&s, "llama.attention.layer_norm_rms_epsilon", eps);
    for (int i = 0; i < n_all; i++) {
        const mat *m = &all[i];
        pad_to(&data, 32);
        put_tensor(&s, m->name, m->cols ? 2 : 1,
                   m->cols ? (uint64_t[]){(uint64_t)m->cols, (uint64_t)m->rows}
                           : (uint64_t[]){(uint64_t)m->rows},
                   (uint32_t)m->type, data.n);
        for (int k = 0; k < m->rows * (m->cols ? m->cols : 1); k++) {
            uint16_t h = m->type == F16 ? ll_f16_from(m->v[k]) : ll_bf16_from(m->v[k]);
            if (m->type == F32) put_f32(&data, (float)m->v[k]);
            else ll_str_addn(&data, &h, 2);
        }
    }
    pad_to(&s, 32);
    ll_str_addn(&s, data.s, data.n);
    ll_str_finish(&data);
    return s;
}

/* ---- the plain forward pass ---- */

static void linear(double *y, const double *x, int layer, const char *name)
{
    char full[64];
    snprintf(full, sizeof full, "%s.weight", name);
    const mat *w = get(layer, full);
    snprintf(full, sizeof full, "%s.bias", name);
    const mat *b = get(layer, full);
    for (int n = 0; n < w->rows; n++) {
        y[n] = b->v[n];
        for (int k = 0; k < w->cols; k++) y[n] += x[k] * w->v[n * w->cols + k];
    }
}

static void norm(double *y, const double *x, int layer, const char *name)
{
    const mat *w = get(layer, name);
    double sum = 0;
    for (int k = 0; k < D; k++) sum += x[k] * x[k];
    for (int k = 0; k < D; k++) y[k] = x[k] / sqrt(sum / D + eps) * w->v[k];
}

static void rotate(double *x, int heads, int pos)
{
    const mat *f = get(-1, "rope_freqs.weight");
    for (int h = 0; h < heads; h++)
        for (int i = 0; i < ROT / 2; i++) {
            double a = pos / scale / f->v[i] * pow(base, -2.0 * i / ROT), *p = x + h * HD + 2 * i,
                   u = p[0], v = p[1];
            p[0] = u * cos(a) - v * sin(a);
            p[1] = v * cos(a) + u * sin(a);
        }
}

static void forward(const int *ids, int n, double logits[][V])
{
    static double x[T][D], k[LAYERS][T][HD], v[LAYERS][T][HD];
    for (int t = 0; t < n; t++) {
        for (int i = 0; i < D; i++) x[t][i] = get(-1, "token_embd.weight")->v[ids[t] * D + i];
        for (int l = 0; l < LAYERS; l++) {
            double h[D], q[H * HD], o[H * HD], y[D], gate[FF], up[FF];
            norm(h, x[t], l, "attn_norm.weight");
            linear(q, h, l, "attn_q");
            linear(k[l][t], h, l, "attn_k");
            linear(v[l][t], h, l, "attn_v");
            rotate(q, H, t);
            rotate(k[l][t], 1, t);
            for (int head = 0; head < H; head++) {
                double w[T], sum = 0;
                for (int j = 0; j <= t; j++) {
                    double dot = 0;
                    for (int d = 0; d < HD; d++) dot += q[head * HD + d] * k[l][j][d];
                    sum += w[j] = exp(dot / sqrt(HD));
                }
                for (int d = 0; d < HD; d++) {
                    o[head * HD + d] = 0;
                    for (int j = 0; j <= t; j++) o[head * HD + d] += w[j] / sum * v[l][j][d];
                }
            }
            linear(y, o, l, "attn_output");
            for (int i = 0; i < D; i++) x[t][i] += y[i];
            norm(h, x[t], l, "ffn_norm.weight");
            linear(gate, h, l, "ffn_gate");
            linear(up, h, l, "ffn_up");
            for (int i = 0; i < FF; i++) gate[i] = gate[i] / (1 + exp(-gate[i])) * up[i];
            linear(y, gate, l, "ffn_down");
            for (int i = 0; i < D; i++) x[t][i] += y[i];
        }
        double h[D];
        norm(h, x[t], -1, "output_norm.weight");
        linear(logits[t], h, -1, "output");
    }
}

/* ---- the expressions ---- */

static void bind(te_env *env, te_tensor *t, const te_value *v, size_t n)
{
    ll_error e = {0};
    if (te_env_bind(env, t, v, n, &e)) fail_msg("%s: %s", t->name, e.msg);
}

static void bind_all(te_env *env, const mdl_model *m, const mdl_graph *mg, const int *ids)
{
    static te_value v[8192], iv[5][T + 2];
    ll_error e = {0};
    static const struct {
        const char *dim;
        int64_t v;
    } dims[] = {{"T", T}, {"S", 1}, {"R", T}, {"PAGES", 1}, {"BLOCKS", 2}};
    for (int i = 0; i < 5; i++)
        if (te_env_dim(env, dims[i].dim, dims[i].v, &e)) fail_msg("%s", e.msg);
    for (int t = 0; t < T; t++) {
        iv[0][t].i = ids[t];
        iv[1][t].i = t;
        iv[2][t].i = 0;
        iv[3][t].i = T - 1 - t; /* rows backwards */
    }
    bind(env, mg->tokens, iv[0], T);
    bind(env, mg->pos, iv[1], T);
    bind(env, mg->seg, iv[2], T);
    bind(env, mg->rows, iv[3], T);
    bind(env, mg->start, (te_value[]){{.i = 0}, {.i = T}}, 2);
    bind(env, mg->len, (te_value[]){{.i = T}}, 1);
    bind(env, mg->table, (te_value[]){{.i = 1}}, 1);
    for (size_t i = 0; i < mg->n_weight; i++) {
        const mdl_weight *w = &mg->weight[i];
        size_t n = w->data ? (size_t)(w->data->size / w->data->type->bytes) : w->n_values;
        unsigned char mem[8192];
        if (w->data && mdl_gguf_read(m->file, w->data, 0, mem, (size_t)w->data->size, &e))
            fail_msg("%s", e.msg);
        for (size_t k = 0; k < n; k++)
            te_value_load(w->data ? w->data->type->dtype : LL_F32,
                          w->data ? (const void *)mem : w->values, k, &v[k]);
        bind(env, w->t, v, n);
    }
    for (int k = 0; k < 2 * BLOCK * HD; k++) v[k].f = NAN;
    for (int l = 0; l < LAYERS; l++)
        bind(env, mg->layer[l].k_pool, v, 2 * BLOCK * HD),
            bind(env, mg->layer[l].v_pool, v, 2 * BLOCK * HD);
}

static void an_odd_model_equals_a_plain_forward_pass(void **st)
{
    static const int ids[T] = {3, 16, 0, 7, 7, 1, 12, 9, 5};
    static double want[T][V];
    mdl_gguf *g;
    mdl_model *m;
    mdl_graph *mg;
    ll_error e;
    make_weights();
    ll_str s = make_model();
    if (open_bytes(s.s, s.n, &g, &e) || mdl_open_gguf(g, &m, &e)) fail_msg("%s", e.msg);
    if (mdl_build_graph(m, &(mdl_options){.kv = LL_F32, .kv_block = BLOCK}, &mg, &e))
        fail_msg("%s", e.msg);
    forward(ids, T, want);
    te_env *env = te_env_create(mg->g);
    bind_all(env, m, mg, ids);
    const te_value *got, *top, *lse;
    size_t n, n_top, n_lse;
    if (te_eval(env, mg->logits, &got, &n, &e) || te_eval(env, mg->max, &top, &n_top, &e) ||
        te_eval(env, mg->lse, &lse, &n_lse, &e))
        fail_msg("%s", e.msg);
    assert_int_equal(n, T * V);
    for (int r = 0; r < T; r++) {
        double max = -INFINITY, sum = 0;
        for (int i = 0; i < V; i++) {
            double w = want[T - 1 - r][i];
            if (!(fabs(got[r * V + i].f - w) <= 2e-5 * (1 + fabs(w))))
                fail_msg("row %d, logit %d: %g, wanted %g", r, i, got[r * V + i].f, w);
            if (w > max) max = w;
        }
        for (int i = 0; i < V; i++) sum += exp(want[T - 1 - r][i] - max);
        assert_true(fabs(top[r].f - max) < 1e-4 && fabs(lse[r].f - (max + log(sum))) < 1e-4);
    }
    te_env_destroy(env);
    mdl_graph_destroy(mg);
    mdl_close(m);
    ll_str_finish(&s);
}

static void frequency_factors_must_fit(void **st)
{
    static const double bad[] = {0, -1, NAN, INFINITY};
    mdl_model *m;
    mdl_gguf *g;
    mdl_graph *mg;
    ll_error e;
    for (size_t i = 0; i < 5; i++) {
        make_weights();
        if (i < 4) all[1].v[2] = bad[i];
        else all[1].rows = ROT;
        ll_str s = make_model();
        if (open_bytes(s.s, s.n, &g, &e) || mdl_open_gguf(g, &m, &e)) fail_msg("%s", e.msg);
        assert_int_equal(
            mdl_build_graph(m, &(mdl_options){.kv = LL_F32, .kv_block = BLOCK}, &mg, &e),
            LL_BAD_INPUT);
        assert_non_null(
            strstr(e.msg, i < 4 ? "tensor 'rope_freqs.weight': factor 2 is"
                                : "tensor 'rope_freqs.weight': 6 of type F32, wanted 3 of F32"));
        mdl_close(m);
        ll_str_finish(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_odd_model_equals_a_plain_forward_pass),
        cmocka_unit_test(frequency_factors_must_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
