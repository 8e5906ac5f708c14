/* The operator library against reference data of other software, by te_eval: f32 arithmetic of
 * ours against f64 of theirs, within a few ulp of the terms that were added. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "te/ops/ops.h"
#include "tests/support/ref.h"

typedef struct fixture {
    te_graph *g;
    te_env *e;
    ref_case *c;
    ll_error err;
} fixture;

static fixture begin(const char *path)
{
    fixture f = {.g = te_graph_create()};
    f.e = te_env_create(f.g);
    if (path) f.c = ref_open(path);
    return f;
}

static void end(fixture *f)
{
    if (te_error(f->g)) fail_msg("%s", te_error(f->g)->msg);
    te_env_destroy(f->e);
    te_graph_destroy(f->g);
    if (f->c) ref_close(f->c);
}

static te_tensor *bound(fixture *f, te_tensor *t, const te_value *v, size_t n)
{
    if (te_error(f->g)) fail_msg("%s", te_error(f->g)->msg);
    if (te_env_bind(f->e, t, v, n, &f->err) != LL_OK) fail_msg("%s", f->err.msg);
    return t;
}

/* A reference tensor as an input of `cols` columns (0: as it is), of type t. */
static te_tensor *input(fixture *f, const char *name, ll_dtype t, int64_t cols)
{
    const ref_tensor *r = ref_tensor_of(f->c, name);
    te_ref shape[8];
    int n = 0;
    te_value *v = malloc((r->n + 1) * sizeof *v);
    for (int i = 0; i < r->ndim && !cols; i++) shape[n++] = te_int(f->g, r->shape[i]);
    if (cols) shape[n++] = te_int(f->g, (int64_t)r->n / cols);
    if (cols) shape[n++] = te_int(f->g, cols);
    for (size_t i = 0; i < r->n; i++) {
        if (t == LL_BF16 || t == LL_F16) te_value_load(t, r->p, i, &v[i]); /* 16 bits in the file */
        else if (ll_dtype_is_float(t)) v[i].f = ref_f(r, i);
        else v[i].i = ref_i(r, i);
    }
    te_tensor *x = bound(f, te_input_(f->g, name, t, shape, n), v, r->n);
    free(v);
    return x;
}

static const te_value *values(fixture *f, te_tensor *t)
{
    const te_value *v = NULL;
    size_t n;
    if (te_error(f->g)) fail_msg("%s", te_error(f->g)->msg);
    if (te_eval(f->e, t, &v, &n, &f->err) != LL_OK) fail_msg("%s", f->err.msg);
    return v;
}

static void near(fixture *f, const char *what, te_tensor *t, const char *want, double rel,
                 double abs)
{
    const te_value *v = values(f, t);
    const ref_tensor *w = ref_tensor_of(f->c, want);
    for (size_t i = 0; i < w->n; i++) {
        double x = ref_f(w, i), d = fabs(v[i].f - x);
        if (!(d <= rel * fabs(x) + abs))
            fail_msg("%s: %s[%zu] is %.9g, wanted %.9g", what, want, i, v[i].f, x);
    }
}

static void linear_over_plain_weights(void **state)
{
    static const struct { const char *path; ll_dtype t; } cases[] = {
        {"refs/ops/matmul/bf16_16x48x96", LL_BF16}, {"refs/ops/matmul/f16_3x65x129", LL_F16},
        {"refs/ops/matmul/f32_5x33x70", LL_F32}, {"refs/ops/matmul/f32_1x1x1", LL_F32},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        fixture f = begin(cases[k].path);
        te_tensor *a = input(&f, "a", cases[k].t, 0), *b = input(&f, "b", cases[k].t, 0);
        te_tensor *y = op_linear(f.g, "y", a, b, NULL);
        const te_value *v = values(&f, y);
        const ref_tensor *out = ref_tensor_of(f.c, "out"), *dot = ref_tensor_of(f.c, "abs_dot");
        double n = ref_number(f.c, "K") + 8;
        for (size_t i = 0; i < out->n; i++)
            assert_true(fabs(v[i].f - ref_f(out, i)) <= n * 0x1p-24 * ref_f(dot, i));
        te_tensor *bias = te_input(f.g, "bias", LL_F32, y->shape[1]);
        te_value *c = calloc((size_t)y->shape[1]->u.i, sizeof *c);
        for (int64_t i = 0; i < y->shape[1]->u.i; i++) c[i].f = (double)i;
        bound(&f, bias, c, (size_t)y->shape[1]->u.i);
        const te_value *z = values(&f, op_linear(f.g, "z", a, b, bias));
        for (size_t i = 0; i < out->n; i++)
            assert_true(z[i].f == (double)(float)(v[i].f + c[i % out->shape[1]].f));
        free(c);
        end(&f);
    }
}

static void rms_norms(void **state)
{
    static const char *const cases[] = {"rms_1", "rms_7_eps0.1", "rms_96", "rms_tiny_values"};
    char path[64];
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        snprintf(path, sizeof path, "refs/ops/norm/%s", cases[k]);
        fixture f = begin(path);
        te_tensor *y = op_rmsnorm(f.g, "y", input(&f, "x", LL_F32, 0),
                                  input(&f, "weight", LL_F32, 0), ref_number(f.c, "eps"));
        near(&f, cases[k], y, "out", 4e-7, 0);
        end(&f);
    }
    fixture f = begin("refs/ops/norm/rms_residual_64");
    te_tensor *sum =
        op_add(f.g, "total", input(&f, "x", LL_F32, 0), input(&f, "residual", LL_F32, 0));
    near(&f, "residual", sum, "sum", 1e-7, 0);
    near(&f, "residual",
         op_rmsnorm(f.g, "y", sum, input(&f, "weight", LL_F32, 0), ref_number(f.c, "eps")), "out",
         1e-6, 0);
    end(&f);
}

static void rotary_positions_of_both_pairings_and_partial(void **state)
{
    static const char *const cases[] = {"inter_8", "inter_64", "neox_64", "neox_96",
                                        "neox_partial_24of40"};
    char path[64];
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        snprintf(path, sizeof path, "refs/ops/rope/%s", cases[k]);
        fixture f = begin(path);
        const ref_tensor *x = ref_tensor_of(f.c, "x");
        int64_t dim = (int64_t)ref_number(f.c, "head_dim"),
                rot = (int64_t)ref_number(f.c, "rotary_dim");
        op_angles a = op_rope_angles(f.g, "rope", input(&f, "positions", LL_S32, 0),
                                     input(&f, "inv_freq", LL_F32, 0), 1);
        bool pairs = strcmp(ref_string(f.c, "style"), "interleaved") == 0;
        te_tensor *y = op_rope(f.g, "y", input(&f, "x", LL_F32, x->shape[1] * dim), &a, dim, rot,
                               pairs ? OP_ROPE_INTERLEAVED : OP_ROPE_HALVES);
        near(&f, cases[k], y, "out", 1e-6, 3e-3); /* the angle pos * inv_freq is rounded to f32 */
        if (k == 4) { /* beyond the rotated part nothing changes */
            const te_value *v = values(&f, y);
            for (size_t i = 0; i < x->n; i++)
                if ((int64_t)i % dim >= rot) assert_true(v[i].f == ref_f(x, i));
        }
        end(&f);
    }
}

static void silu_gates(void **state)
{
    static const char *const cases[] = {"rows3_n7", "rows5_n96", "wide_range"};
    char path[64];
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        snprintf(path, sizeof path, "refs/ops/activation/%s", cases[k]);
        fixture f = begin(path);
        near(&f, cases[k],
             op_silu_mul(f.g, "y", input(&f, "gate", LL_F32, 0), input(&f, "up", LL_F32, 0)),
             "swiglu", 4e-7, 1e-37);
        end(&f);
    }
}

/* A batch as flat rows: seg[t] and pos[t] of every token. */
static void flat_batch(fixture *f, const int64_t *query, const int64_t *context, int64_t n,
                       te_tensor **seg, te_tensor **pos)
{
    int64_t rows = 0, longest = 0, t = 0;
    for (int64_t s = 0; s < n; s++) {
        rows += query[s];
        longest = context[s] > longest ? context[s] : longest;
    }
    te_ref T = te_int(f->g, rows), zero = te_int(f->g, 0);
    te_value *sv = calloc((size_t)rows, sizeof *sv), *pv = calloc((size_t)rows, sizeof *pv);
    for (int64_t s = 0; s < n; s++)
        for (int64_t i = 0; i < query[s]; i++, t++) {
            sv[t].i = s;
            pv[t].i = context[s] - query[s] + i;
        }
    *seg = bound(f, te_input_index(f->g, "seg", LL_S32, zero, te_int(f->g, n), &T, 1), sv,
                 (size_t)rows);
    *pos = bound(f, te_input_index(f->g, "pos", LL_S32, zero, te_int(f->g, longest), &T, 1), pv,
                 (size_t)rows);
    free(sv);
    free(pv);
}

static te_tensor *table_of(fixture *f, const int64_t *pages, int64_t n, int64_t width,
                           int64_t n_pages)
{
    te_ref shape[2] = {te_int(f->g, n), te_int(f->g, width)};
    te_value *v = calloc((size_t)(n * width), sizeof *v);
    for (int64_t i = 0; i < n * width; i++) v[i].i = pages[i] < 0 ? 0 : pages[i]; /* -1: unused */
    te_tensor *t =
        te_input_index(f->g, "table", LL_S32, te_int(f->g, 0), te_int(f->g, n_pages), shape, 2);
    bound(f, t, v, (size_t)(n * width));
    free(v);
    return t;
}

static void attention_over_a_paged_cache(void **state)
{
    static const char *const cases[] = {"decode_big_scores", "decode_mqa7_hd40_bs5"};
    char path[64];
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        snprintf(path, sizeof path, "refs/ops/paged_attention/%s", cases[k]);
        fixture f = begin(path);
        const ref_tensor *q = ref_tensor_of(f.c, "q"), *tab = ref_tensor_of(f.c, "block_table"),
                         *cl = ref_tensor_of(f.c, "context_lens"),
                         *ql = ref_tensor_of(f.c, "query_lens");
        int64_t query[8], context[8], pages[64];
        for (size_t i = 0; i < cl->n; i++) {
            query[i] = ref_i(ql, i);
            context[i] = ref_i(cl, i);
        }
        for (size_t i = 0; i < tab->n; i++) pages[i] = ref_i(tab, i);
        te_tensor *seg, *pos, *kp = input(&f, "k_cache", LL_F32, 0),
                              *vp = input(&f, "v_cache", LL_F32, 0);
        flat_batch(&f, query, context, (int64_t)cl->n, &seg, &pos);
        te_tensor *table = table_of(&f, pages, tab->shape[0], tab->shape[1], kp->shape[0]->u.i);
        op_cache kc = {kp, table, (int64_t)ref_number(f.c, "block_size")},
                 vc = {vp, table, kc.block};
        te_tensor *x = input(&f, "q", LL_F32, q->shape[1] * q->shape[2]);
        near(&f, cases[k],
             op_attention(f.g, "att", x, &kc, &vc, seg, pos, ref_number(f.c, "scale")), "out", 2e-5,
             2e-6);
        end(&f);
    }
}

/* Prefill: keys and values go through the append into pages in a scattered order, then attention
 * reads them. */
static void appended_keys_are_attended(void **state)
{
    static const char *const cases[] = {"scale_override", "large_logits", "causal_gqa"};
    enum { BLOCK = 5 };
    char path[64];
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        snprintf(path, sizeof path, "refs/ops/prefill_attention/%s", cases[k]);
        fixture f = begin(path);
        const ref_tensor *q = ref_tensor_of(f.c, "q"), *kr = ref_tensor_of(f.c, "k"),
                         *sl = ref_tensor_of(f.c, "seq_lens");
        int64_t len[8], width = 0, pages[8 * 16], n = (int64_t)sl->n;
        for (int64_t s = 0; s < n; s++) {
            len[s] = ref_i(sl, (size_t)s);
            width = (len[s] + BLOCK - 1) / BLOCK > width ? (len[s] + BLOCK - 1) / BLOCK : width;
        }
        int64_t n_pages = n * width;
        for (int64_t i = 0; i < n_pages; i++) pages[i] = n_pages - 1 - i;
        te_tensor *seg, *pos, *table = table_of(&f, pages, n, width, n_pages);
        flat_batch(&f, len, len, n, &seg, &pos);
        te_ref shape[4] = {te_int(f.g, n_pages), te_int(f.g, BLOCK), te_int(f.g, kr->shape[1]),
                           te_int(f.g, kr->shape[2])};
        size_t size = (size_t)(n_pages * BLOCK * kr->shape[1] * kr->shape[2]);
        te_value *junk = calloc(size, sizeof *junk);
        for (size_t i = 0; i < size; i++) junk[i].f = (double)NAN; /* stale pages are never read */
        op_cache kc = {bound(&f, te_input_(f.g, "kpool", LL_F32, shape, 4), junk, size), table,
                       BLOCK};
        op_cache vc = {bound(&f, te_input_(f.g, "vpool", LL_F32, shape, 4), junk, size), table,
                       BLOCK};
        free(junk);
        int64_t cols = kr->shape[1] * kr->shape[2];
        kc.pool = op_kv_append(f.g, "k1", &kc, input(&f, "k", LL_F32, cols), seg, pos);
        vc.pool = op_kv_append(f.g, "v1", &vc, input(&f, "v", LL_F32, cols), seg, pos);
        te_tensor *x = input(&f, "q", LL_F32, q->shape[1] * q->shape[2]);
        near(&f, cases[k],
             op_attention(f.g, "att", x, &kc, &vc, seg, pos, ref_number(f.c, "scale")), "out", 2e-5,
             2e-6);
        end(&f);
    }
}

static void a_quantised_linear_and_embedding_use_the_logical_values(void **state)
{
    fixture f = begin("gguf_blocks/Q4_1");
    const te_quant *q = te_quant_by_name("q4_1");
    const ref_tensor *want = ref_tensor_of(f.c, "values"), *bytes = ref_tensor_of(f.c, "blocks");
    int64_t rows = want->shape[0], cols = want->shape[1];
    te_tensor *w = te_input_quant(f.g, "w", q, te_int(f.g, rows), te_int(f.g, cols));
    te_tensor *file = te_input(f.g, "file", LL_U8, te_int(f.g, rows), te_int(f.g, cols / q->block),
                               te_int(f.g, q->bytes));
    if (te_env_bind_mem(f.e, file, bytes->p, bytes->bytes, &f.err) != LL_OK)
        fail_msg("%s", f.err.msg);
    for (int p = 0; p < q->n_plane; p++) {
        te_ref n = te_axis(f.g, "n", te_int(f.g, rows)),
               i = te_axis(f.g, "i", w->plane[p]->shape[1]);
        te_tensor *d = te_def(f.g, "plane", te_quant_from_file(f.g, q, p, file, n, i), n, i);
        bound(&f, w->plane[p], values(&f, d), (size_t)(rows * w->plane[p]->shape[1]->u.i));
    }
    te_ref T = te_int(f.g, 4);
    te_tensor *token =
        te_input_index(f.g, "token", LL_S32, te_int(f.g, 0), te_int(f.g, rows), &T, 1);
    bound(&f, token, (te_value[]){{.i = 2}, {.i = 0}, {.i = 2}, {.i = 1}}, 4);
    te_tensor *x = op_embedding(f.g, "x", w, token);
    const te_value *v = values(&f, x);
    static const int64_t ids[] = {2, 0, 2, 1};
    for (int64_t t = 0; t < 4; t++)
        for (int64_t k = 0; k < cols; k++)
            assert_true(v[t * cols + k].f == ref_f(want, (size_t)(ids[t] * cols + k)));

    /* float activations, then 8-bit ones: the difference is bounded by the rounding of the codes */
    const te_value *y = values(&f, op_linear(f.g, "y", x, w, NULL));
    op_q8 q8 = op_quantise(f.g, "x8", x, 32, 16);
    const te_value *z = values(&f, op_linear_q8(f.g, "z", &q8, w, NULL));
    const te_value *d = values(&f, q8.d), *code = values(&f, q8.q), *sums = values(&f, q8.sums);
    for (int64_t t = 0; t < 4; t++)
        for (int64_t n = 0; n < rows; n++) {
            double exact = 0, bound_ = 0, abs = 0;
            for (int64_t k = 0; k < cols; k++) {
                double a = v[t * cols + k].f, b = ref_f(want, (size_t)(n * cols + k));
                exact += a * b;
                abs += fabs(a * b);
                bound_ += 0.5000001 * d[t * (cols / 32) + k / 32].f * fabs(b);
            }
            assert_true(fabs(y[t * rows + n].f - exact) <= (double)cols * 0x1p-24 * abs);
            assert_true(fabs(z[t * rows + n].f - exact) <=
                        bound_ + 2 * (double)cols * 0x1p-24 * abs);
        }
    for (int64_t c = 0; c < 4 * cols / 16; c++) {
        int64_t s = 0, top = 0;
        for (int64_t i = 0; i < 16; i++) s += code[c * 16 + i].i;
        assert_int_equal(s, sums[c].i);
        for (int64_t i = 0; i < 32; i++) {
            int64_t a = llabs(code[c / 2 * 32 + i].i);
            top = a > top ? a : top;
        }
        assert_int_equal(top, 127); /* the largest of a block takes the whole range */
    }
    end(&f);
}

/* f32 bits to every small format; NaN is compared as a class. */
static void casts_to_small_formats_are_bit_exact(void **state)
{
    static const struct { const char *name; ll_dtype t, bits;
    } to[] = {{"bf16", LL_BF16, LL_U16},
              {"f16", LL_F16, LL_U16},
              {"e4m3fn", LL_E4M3, LL_U8},
              {"e5m2", LL_E5M2, LL_U8}};
    fixture f = begin("refs/ops/cast/table");
    te_tensor *x = input(&f, "f32_bits", LL_U32, 0);
    for (int k = 0; k < 4; k++) {
        te_ref i = te_axis(f.g, "i", x->shape[0]), v = te_bits(LL_F32, te_at(x, i)),
               c = te_cast(to[k].t, v);
        const te_value *got = values(&f, te_def(f.g, "y", te_bits(to[k].bits, c), i));
        const te_value *value = values(&f, te_def(f.g, "z", c, i));
        const ref_tensor *want = ref_tensor_of(f.c, to[k].name);
        for (size_t j = 0; j < want->n; j++) {
            te_value w;
            te_value_load(to[k].t, want->p, j, &w);
            if (isnan(w.f) ? !isnan(value[j].f) : got[j].i != ref_i(want, j))
                fail_msg("%s: %#llx gives %#llx, wanted %#llx", to[k].name,
                         (unsigned long long)ref_i(ref_tensor_of(f.c, "f32_bits"), j),
                         (unsigned long long)got[j].i, (unsigned long long)ref_i(want, j));
        }
    }
    end(&f);
}

static void a_block_of_zeros_quantises_to_zeros(void **state)
{
    fixture f = begin(NULL);
    te_tensor *x = te_input(f.g, "x", LL_F32, te_int(f.g, 1), te_int(f.g, 64));
    bound(&f, x, (te_value[64]){{.f = 0}}, 64);
    op_q8 q = op_quantise(f.g, "q", x, 32, 32);
    assert_true(values(&f, q.d)[1].f == 0 && values(&f, q.q)[63].i == 0 &&
                values(&f, q.sums)[1].i == 0);
    end(&f);
}

static void sampling_statistics_of_a_row(void **state)
{
    fixture f = begin(NULL);
    te_tensor *x = te_input(f.g, "x", LL_F32, te_int(f.g, 2), te_int(f.g, 3));
    bound(
        &f, x,
        (te_value[]){{.f = 1}, {.f = 2}, {.f = 3}, {.f = 1000}, {.f = 0}, {.f = (double)-INFINITY}},
        6);
    op_row_stats s = op_sample_stats(f.g, "s", x);
    assert_true(values(&f, s.max)[0].f == 3 && values(&f, s.max)[1].f == 1000);
    assert_true(fabs(values(&f, s.lse)[0].f - 3.4076059644443806) < 1e-6);
    assert_true(values(&f, s.lse)[1].f == 1000);
    end(&f);
}

/* Every operator, its weight of each of the types [first, last]. */
static void every_operator(te_graph *g, int first, int last)
{
    te_ref T = te_dim(g, "T", 1, 512), S = te_dim(g, "S", 1, 64), P = te_dim(g, "P", 1, 4096),
           R = te_dim(g, "R", 1, 64), zero = te_int(g, 0);
    te_tensor *token = te_input_index(g, "token", LL_S32, zero, te_int(g, 1024), &T, 1);
    te_tensor *seg = te_input_index(g, "seg", LL_S32, zero, S, &T, 1);
    te_tensor *pos = te_input_index(g, "pos", LL_S32, zero, te_int(g, 4096), &T, 1);
    te_tensor *row = te_input_index(g, "row", LL_S32, zero, T, &R, 1);
    te_tensor *table =
        te_input_index(g, "table", LL_S32, zero, P, (te_ref[]){S, te_int(g, 128)}, 2);
    te_tensor *pool = te_input(g, "pool", LL_F16, P, te_int(g, 32), te_int(g, 2), te_int(g, 64));
    te_tensor *vpool = te_input(g, "vpool", LL_F16, P, te_int(g, 32), te_int(g, 2), te_int(g, 64));
    te_tensor *norm = te_weight(te_input(g, "norm", LL_F32, te_int(g, 256)));
    te_tensor *freq = te_weight(te_input(g, "freq", LL_F32, te_int(g, 32)));
    te_tensor *x = NULL;
    for (int i = first; i <= last; i++) {
        const te_quant *q = te_quant_at(i);
        const char *name = ll_sprintf(te_arena(g), "w_%s", q->name);
        te_tensor *w =
            te_weight(te_input_quant(g, name, q, te_int(g, 1024), te_int(g, 256)));
        name = ll_sprintf(te_arena(g), "b_%s", q->name);
        te_tensor *bias = te_weight(te_input(g, name, LL_F32, te_int(g, 1024)));
        x = op_embedding(g, "x", w, token);
        op_q8 q8 = op_quantise(g, "q8", op_rmsnorm(g, "n", x, norm, 1e-5), 32, 16);
        op_linear(g, "y", x, w, bias);
        op_linear_q8(g, "y8", &q8, w, NULL);
    }
    op_angles a = op_rope_angles(g, "rope", pos, freq, 1.25);
    te_tensor *q = op_rope(g, "q", x, &a, 64, 64, OP_ROPE_HALVES);
    op_rope(g, "p", x, &a, 64, 32, OP_ROPE_INTERLEAVED);
    op_cache kc = {pool, table, 32}, vc = {vpool, table, 32};
    te_tensor *half = te_input(g, "half", LL_F32, T, te_int(g, 128));
    kc.pool = op_kv_append(g, "k1", &kc, half, seg, pos);
    vc.pool = op_kv_append(g, "v1", &vc, half, seg, pos);
    te_tensor *o = op_attention(g, "att", q, &kc, &vc, seg, pos, 0.125);
    te_tensor *gate = op_silu_mul(g, "m", op_add(g, "res", o, x), x);
    op_sample_stats(g, "s", op_gather_rows(g, "rows", gate, row));
}

static void every_operator_prints_and_parses_back(void **state)
{
    fixture f = begin(NULL);
    te_graph *g = f.g, *h = te_graph_create();
    ll_str s = {0}, t = {0};
    every_operator(g, 0, te_n_quants() - 1);
    te_print(&s, g);
    if (te_parse(h, ll_str_cstr(&s), "ops", &f.err) != LL_OK)
        fail_msg("%s\n%s", f.err.msg, ll_str_cstr(&s));
    te_print(&t, h);
    assert_string_equal(ll_str_cstr(&t), ll_str_cstr(&s));
    te_tensor *ra = te_find(g, "s.lse"), *rb = te_find(h, "s.lse");
    ll_hash ha = te_hash(&ra, 1), hb = te_hash(&rb, 1);
    assert_true(ha.lo == hb.lo && ha.hi == hb.hi);
    ll_str_finish(&s);
    ll_str_finish(&t);
    te_graph_destroy(h);
    end(&f);
}

/* The text of all operators, to be read: tests/golden/te/ops.te. LLMIR_UPDATE=1 writes it anew. */
static void the_operators_read_as_in_the_golden_text(void **state)
{
    fixture f = begin(NULL);
    ll_str s = {0};
    int k = 0;
    while (te_quant_at(k) != te_quant_by_name("q4_k")) k++;
    every_operator(f.g, k, k);
    te_print(&s, f.g);
    if (getenv("LLMIR_UPDATE"))
        assert_int_equal(ll_file_write(TE_GOLDEN, ll_str_cstr(&s), s.n, &f.err), LL_OK);
    void *want = NULL;
    size_t n;
    if (ll_file_read(TE_GOLDEN, 1 << 20, &want, &n, &f.err) != LL_OK) fail_msg("%s", f.err.msg);
    assert_string_equal(ll_str_cstr(&s), (const char *)want);
    free(want);
    ll_str_finish(&s);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear_over_plain_weights),
        cmocka_unit_test(rms_norms),
        cmocka_unit_test(rotary_positions_of_both_pairings_and_partial),
        cmocka_unit_test(silu_gates),
        cmocka_unit_test(attention_over_a_paged_cache),
        cmocka_unit_test(appended_keys_are_attended),
        cmocka_unit_test(a_quantised_linear_and_embedding_use_the_logical_values),
        cmocka_unit_test(casts_to_small_formats_are_bit_exact),
        cmocka_unit_test(a_block_of_zeros_quantises_to_zeros),
        cmocka_unit_test(sampling_statistics_of_a_row),
        cmocka_unit_test(every_operator_prints_and_parses_back),
        cmocka_unit_test(the_operators_read_as_in_the_golden_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
