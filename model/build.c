/* build.c: see build.h, and mdl_build of model.h. */
#include "model/build.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME = 160, MAX_TOKENS = 8192, MAX_SEQS = 1024, MAX_BLOCKS = 1 << 24, SPARE_PAGES = 2 };

/* ---- weights --------------------------------------------------------------------------------- */

static te_tensor *fail(mdl_build *b, ll_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static te_tensor *fail(mdl_build *b, ll_code code, const char *fmt, ...)
{
    char text[LL_MSG_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    te_ref poison = te_fail(b->g, code, "%s: %s", b->m->file->file, text);
    return te_input(b->g, "x", LL_F32, poison); /* the poison tensor */
}

/* The name of something in this layer, or outside the layers. */
static const char *name_of(const mdl_build *b, const char *what, char buf[NAME])
{
    if (b->layer < 0 || b->layer >= b->c->layers) snprintf(buf, NAME, "%s", what);
    else snprintf(buf, NAME, "blk.%lld.%s", (long long)b->layer, what);
    return buf;
}

static void shape_text(char *out, size_t n, const mdl_gtensor *t)
{
    size_t at = 0;
    for (uint32_t d = t->n_dims; d-- > 0 && at < n;)
        at += (size_t)snprintf(out + at, n - at, "%llu%s", (unsigned long long)t->dim[d],
                               d ? " x " : "");
}

static te_tensor *add_weight(mdl_build *b, te_tensor *t, const mdl_gtensor *data,
                             const float *values, size_t n)
{
    mdl_graph *o = b->out;
    if (te_error(b->g)) return t;
    if (o->n_weight == b->cap_weight) {
        size_t cap = b->cap_weight ? 2 * b->cap_weight : 64;
        mdl_weight *w = realloc(o->weight, cap * sizeof *w);
        if (!w) return fail(b, LL_NO_SPACE, "no memory for %zu weights", cap);
        o->weight = w;
        b->cap_weight = cap;
    }
    o->weight[o->n_weight++] = (mdl_weight){te_weight(t), data, values, n};
    return t;
}

/* The tensor `name` as an input of one or two dimensions (cols 0: one). A second use gives the
 * same input. */
static te_tensor *weight(mdl_build *b, const char *name, int64_t rows, int64_t cols)
{
    const mdl_gguf *f = b->m->file;
    const mdl_gtensor *t = mdl_gguf_tensor(f, name);
    char got[96], want[64];
    if (cols) snprintf(want, sizeof want, "%lld x %lld", (long long)rows, (long long)cols);
    else snprintf(want, sizeof want, "%lld", (long long)rows);
    if (!t)
        return fail(b, LL_BAD_INPUT, "tensor '%s' is missing (%s has one of %s)", name, b->c->arch,
                    want);
    shape_text(got, sizeof got, t);
    bool fits = cols ? t->n_dims == 2 && t->dim[0] == (uint64_t)cols && t->dim[1] == (uint64_t)rows
                     : t->n_dims == 1 && t->dim[0] == (uint64_t)rows;
    if (!fits) return fail(b, LL_BAD_INPUT, "tensor '%s': %s, wanted %s", name, got, want);
    b->used[t - f->tensor] = true;
    te_tensor *old = te_find(b->g, name);
    if (old) return old;
    te_ref r = te_int(b->g, rows);
    if (!cols) {
        if (t->type->dtype == LL_N_DTYPES)
            return fail(b, LL_UNSUPPORTED, "tensor '%s': a vector of type %s", name, t->type->name);
        return add_weight(b, te_input(b->g, name, t->type->dtype, r), t, NULL, 0);
    }
    te_ref k = te_int(b->g, cols);
    te_tensor *w = t->type->dtype == LL_N_DTYPES
                       ? te_input_quant(b->g, name, te_quant_by_gguf((int)t->type->id), r, k)
                       : te_input(b->g, name, t->type->dtype, r, k);
    return add_weight(b, w, t, NULL, 0);
}

/* ---- rotary frequencies: base^(-2i / n) over the linear scale and the file's factors --------- */

static bool read_factors(mdl_build *b, float *factor, int64_t n)
{
    const mdl_gguf *f = b->m->file;
    const mdl_gtensor *t = mdl_gguf_tensor(f, "rope_freqs.weight");
    ll_error e = {0};
    if (!t) return false;
    b->used[t - f->tensor] = true;
    if (t->type->dtype != LL_F32 || t->n_dims != 1 || t->dim[0] != (uint64_t)n) {
        fail(b, LL_BAD_INPUT, "tensor '%s': %llu of type %s, wanted %lld of F32", t->name,
             (unsigned long long)t->dim[0], t->type->name, (long long)n);
        return false;
    }
    if (mdl_gguf_read(f, t, 0, factor, (size_t)t->size, &e)) {
        te_fail(b->g, e.code, "%s", e.msg);
        return false;
    }
    for (int64_t i = 0; i < n; i++)
        if (!(factor[i] > 0) || isinf(factor[i])) {
            fail(b, LL_BAD_INPUT, "tensor '%s': factor %lld is %g, wanted a positive number",
                 t->name, (long long)i, (double)factor[i]);
            return false;
        }
    return true;
}

static op_angles make_angles(mdl_build *b)
{
    const mdl_config *c = b->c;
    int64_t n = c->rope_dim / 2;
    float *v = LL_NEW_N(te_arena(b->g), float, n), *factor = LL_NEW_N(te_arena(b->g), float, n);
    bool scaled = read_factors(b, factor, n);
    for (int64_t i = 0; i < n; i++)
        v[i] = (float)(pow(c->rope_base, -2.0 * (double)i / (double)c->rope_dim) / c->rope_scale /
                       (scaled ? (double)factor[i] : 1));
    te_tensor *freq = te_input(b->g, "rope.inv_freq", LL_F32, te_int(b->g, n));
    add_weight(b, freq, NULL, v, (size_t)n);
    return op_rope_angles(b->g, "rope", b->out->pos, freq, 1);
}

/* ---- the steps of a model -------------------------------------------------------------------- */

te_tensor *mdl_embed(mdl_build *b)
{
    te_tensor *table = weight(b, "token_embd.weight", b->c->vocab, b->c->width);
    te_tensor *x = op_embedding(b->g, "embed", table, b->out->tokens);
    b->angles = make_angles(b);
    return x;
}

bool mdl_next_layer(mdl_build *b)
{
    if (++b->layer >= b->c->layers || te_error(b->g)) return false;
    b->q8_of = NULL;
    return true;
}

void mdl_layer_out(mdl_build *b, te_tensor *x) { b->out->layer[b->layer].out = x; }

te_tensor *mdl_norm(mdl_build *b, te_tensor *x, const char *what)
{
    char name[NAME], full[NAME + 8];
    snprintf(full, sizeof full, "%s.weight", name_of(b, what, name));
    return op_rmsnorm(b->g, name, x, weight(b, full, b->c->width, 0), b->c->norm_eps);
}

static te_tensor *bias_of(mdl_build *b, const char *name, int64_t rows, mdl_bias bias)
{
    char full[NAME + 8];
    snprintf(full, sizeof full, "%s.bias", name);
    if (bias == MDL_NO_BIAS || (bias == MDL_MAYBE_BIAS && !mdl_gguf_tensor(b->m->file, full)))
        return NULL;
    return weight(b, full, rows, 0);
}

static te_tensor *contract(mdl_build *b, const char *name, te_tensor *x, te_tensor *w,
                           te_tensor *bias)
{
    const mdl_options *o = &b->out->options;
    if (te_error(b->g)) return x;
    if (!o->act_block || !w->quant || w->shape[1]->u.i % o->act_block)
        return op_linear(b->g, name, x, w, bias);
    if (b->q8_of != x) {
        char q[NAME + 8];
        snprintf(q, sizeof q, "%s.q8", x->name);
        b->q8 = op_quantise(b->g, q, x, o->act_block, o->act_granule);
        b->q8_of = x;
    }
    return op_linear_q8(b->g, name, &b->q8, w, bias);
}

te_tensor *mdl_project(mdl_build *b, te_tensor *x, const char *what, int64_t rows, mdl_bias bias)
{
    char name[NAME], full[NAME + 8];
    if (te_error(b->g)) return x;
    snprintf(full, sizeof full, "%s.weight", name_of(b, what, name));
    te_tensor *w = weight(b, full, rows, x->shape[1]->u.i), *add = bias_of(b, name, rows, bias);
    return contract(b, name, x, w, add);
}

te_tensor *mdl_rotate(mdl_build *b, te_tensor *x, const char *what, op_rope_pairs pairs)
{
    char name[NAME];
    return op_rope(b->g, name_of(b, what, name), x, &b->angles, b->c->head_dim, b->c->rope_dim,
                   pairs);
}

static te_tensor *pool(mdl_build *b, const char *what)
{
    const mdl_options *o = &b->out->options;
    char name[NAME];
    return te_input(b->g, name_of(b, what, name), o->kv, b->out->BLOCKS, te_int(b->g, o->kv_block),
                    te_int(b->g, b->c->kv_heads), te_int(b->g, b->c->head_dim));
}

te_tensor *mdl_attend(mdl_build *b, te_tensor *q, te_tensor *k, te_tensor *v)
{
    mdl_graph *o = b->out;
    mdl_layer *l = &o->layer[b->layer];
    char name[NAME];
    if (te_error(b->g)) return q;
    op_cache kc = {
        .pool = l->k_pool = pool(b, "k_pool"), .table = o->table, .block = o->options.kv_block};
    op_cache vc = {
        .pool = l->v_pool = pool(b, "v_pool"), .table = o->table, .block = o->options.kv_block};
    kc.pool = l->k_new = op_kv_append(b->g, name_of(b, "k_new", name), &kc, k, o->seg, o->pos);
    vc.pool = l->v_new = op_kv_append(b->g, name_of(b, "v_new", name), &vc, v, o->seg, o->pos);
    return op_attention(b->g, name_of(b, "attn", name), q, &kc, &vc, o->seg, o->pos,
                        1 / sqrt((double)b->c->head_dim));
}

te_tensor *mdl_silu_mul(mdl_build *b, te_tensor *gate, te_tensor *up)
{
    char name[NAME];
    return op_silu_mul(b->g, name_of(b, "ffn_act", name), gate, up);
}

te_tensor *mdl_add(mdl_build *b, const char *what, te_tensor *x, te_tensor *y)
{
    char name[NAME];
    return op_add(b->g, name_of(b, what, name), x, y);
}

void mdl_head(mdl_build *b, te_tensor *x)
{
    mdl_graph *o = b->out;
    bool tied = !mdl_gguf_tensor(b->m->file, "output.weight");
    const char *head = tied ? "token_embd.weight" : "output.weight";
    te_tensor *h = mdl_norm(b, op_gather_rows(b->g, "last", x, o->rows), "output_norm");
    o->logits = contract(b, "logits", h, weight(b, head, b->c->vocab, b->c->width),
                         bias_of(b, "output", b->c->vocab, MDL_MAYBE_BIAS));
    if (te_error(b->g)) return;
    op_row_stats s = op_sample_stats(b->g, "stats", o->logits);
    o->max = s.max;
    o->lse = s.lse;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static te_tensor *index_input(te_graph *g, const char *name, te_ref hi, te_ref n)
{
    return te_input_index(g, name, LL_S32, te_int(g, 0), hi, &n, 1);
}

static void make_inputs(mdl_build *b)
{
    mdl_graph *o = b->out;
    te_graph *g = b->g;
    int64_t pages = (b->c->context + o->options.kv_block - 1) / o->options.kv_block + SPARE_PAGES;
    bool one = o->options.max_tokens == 1; /* one token of one sequence: sizes are literals */
    o->T = one ? te_int(g, 1) : te_dim_multiple(g, "T", b->out->options.multiple, o->options.max_tokens, b->out->options.multiple);
    o->S = one ? te_int(g, 1) : te_dim(g, "S", 1, o->options.max_seqs);
    o->R = one ? te_int(g, 1) : te_dim_multiple(g, "R", 0, o->options.max_tokens, b->out->options.multiple);
    o->PAGES = te_dim(g, "PAGES", 1, pages);
    o->BLOCKS = te_dim(g, "BLOCKS", 1, MAX_BLOCKS);
    te_ref keys = te_muli(o->PAGES, o->options.kv_block), shape[2] = {o->S, o->PAGES};
    o->tokens = index_input(g, "tokens", te_int(g, b->c->vocab), o->T);
    o->pos = index_input(g, "pos", keys, o->T);
    o->seg = index_input(g, "seg", o->S, o->T);
    o->start = index_input(g, "start", te_addi(o->T, 1), te_addi(o->S, 1));
    o->len = index_input(g, "len", te_addi(keys, 1), o->S);
    o->table = te_input_index(g, "table", LL_S32, te_int(g, 0), o->BLOCKS, shape, 2);
    o->rows = index_input(g, "rows", o->T, o->R);
}

static ll_code check_options(const mdl_options *o, ll_error *err)
{
    if (o->kv != LL_F16 && o->kv != LL_F32)
        return ll_fail(err, LL_USAGE, "a KV cache of %s, wanted f16 or f32", ll_dtype_name(o->kv));
    if (o->kv_block < 16 || o->kv_block > 256 || (o->kv_block & (o->kv_block - 1)))
        return ll_fail(err, LL_USAGE,
                       "KV blocks of %lld tokens, wanted a power of two from 16 to 256",
                       (long long)o->kv_block);
    if (o->max_tokens < 1 || o->max_seqs < 1)
        return ll_fail(err, LL_USAGE, "a step of %lld tokens and %lld sequences",
                       (long long)o->max_tokens, (long long)o->max_seqs);
    if (o->multiple < 1 || o->max_tokens % o->multiple)
        return ll_fail(err, LL_USAGE, "steps of a multiple of %lld tokens, at most %lld", (long long)o->multiple, (long long)o->max_tokens);
    if (o->act_block < 0 || (o->act_block && (o->act_granule < 1 || o->act_block % o->act_granule)))
        return ll_fail(err, LL_USAGE,
                       "activation blocks of %lld with sums of %lld, wanted a divisor",
                       (long long)o->act_block, (long long)o->act_granule);
    return LL_OK;
}

/* A tensor that the architecture's expressions do not read would be lost without a word. */
static void check_all_used(mdl_build *b)
{
    const mdl_gguf *f = b->m->file;
    for (size_t i = 0; i < f->n_tensor && !te_error(b->g); i++)
        if (!b->used[i])
            fail(b, LL_UNSUPPORTED, "tensor '%s' has no place in architecture %s",
                 f->tensor[i].name, b->c->arch);
}

ll_code mdl_build_graph(const mdl_model *m, const mdl_options *options, mdl_graph **out,
                        ll_error *err)
{
    mdl_options o = *options;
    *out = NULL;
    if (!o.max_tokens) o.max_tokens = MAX_TOKENS;
    if (!o.max_seqs) o.max_seqs = MAX_SEQS;
    if (!o.multiple) o.multiple = 1;
    LL_TRY(check_options(&o, err));
    mdl_graph *mg = calloc(1, sizeof *mg);
    mdl_build b = {.g = te_graph_create(), .m = m, .c = &m->config, .out = mg, .layer = -1};
    b.used = calloc(m->file->n_tensor + 1, 1);
    if (mg)
        *mg = (mdl_graph){.g = b.g,
                          .options = o,
                          .n_layer = (size_t)m->config.layers,
                          .layer = calloc((size_t)m->config.layers, sizeof *mg->layer)};
    ll_code rc = LL_OK;
    if (!mg || !b.g || !b.used || !mg->layer)
        rc = ll_fail(err, LL_NO_SPACE, "%s: no memory for the model's expressions", m->file->file);
    else {
        make_inputs(&b);
        m->arch->write(&b);
        check_all_used(&b);
        const ll_error *e = te_error(b.g);
        if (e) rc = ll_fail(err, e->code, "%s", e->msg);
    }
    free(b.used);
    if (rc != LL_OK) {
        if (!mg) te_graph_destroy(b.g);
        mdl_graph_destroy(mg);
        return rc;
    }
    *out = mg;
    return LL_OK;
}

void mdl_graph_destroy(mdl_graph *mg)
{
    if (!mg) return;
    te_graph_destroy(mg->g);
    free(mg->layer);
    free(mg->weight);
    free(mg);
}
