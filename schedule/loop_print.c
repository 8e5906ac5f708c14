/* loop_print.c: the text of a loop function. It is what --dump=loop shows, what golden tests
 * compare and what loop_parse.c reads back to the same tree; docs/loop.md has the grammar.
 *
 *     dim T in 1..8192
 *     kernel gemv(in f32 x[T, 576], weight q4_1 W[576, 576], out f32 y[T, 576]) {
 *       alloc thread s8 xq[576]
 *       for y.n.o < 36 @claim {
 *         for y.n.i < 16 @vector {
 *           y[0, y.n.o * 16 + y.n.i] = 0:f32 } } }
 *
 * One statement a line; a block's closing brace stands behind its last statement. `alloc` and `let`
 * reach to the end of the block they stand in; when the tree ends their scope earlier, they stand
 * in a block of their own. */
#include <stdio.h>
#include <string.h>

#include "schedule/intrin.h"
#include "schedule/loop.h"
#include "schedule/loop_text.h"
#include "te/quant.h"

enum { WIDTH = 100 };

const char *const lp_how_text[LP_N_HOW] = {
    [LP_SERIAL] = "",           [LP_UNROLL] = "unroll",     [LP_VECTOR] = "vector",
    [LP_PARALLEL] = "parallel", [LP_CLAIM] = "claim",       [LP_ROTATE] = "rotate",
    [LP_BLOCK_X] = "block.x",   [LP_BLOCK_Y] = "block.y",   [LP_BLOCK_Z] = "block.z",
    [LP_THREAD_X] = "thread.x", [LP_THREAD_Y] = "thread.y", [LP_THREAD_Z] = "thread.z",
    [LP_WARP] = "warp",         [LP_SPMD] = "spmd",
};
const char *const lp_scope_text[LP_N_SCOPE] = {
    [LP_GLOBAL] = "global", [LP_THREAD] = "thread", [LP_REG] = "reg", [LP_SHARED] = "shared",
    [LP_WARPSH] = "warpshared",
};
const char *const lp_sync_text[LP_N_SCOPE] = {
    [LP_GLOBAL] = "cluster", [LP_SHARED] = "block", [LP_WARPSH] = "warp"};
const char *const lp_mbar_text[4] = {"init", "expect", "arrive", "wait"};

/* ---- expressions ----------------------------------------------------------------------------- */

/* True when s starts with a parenthesis that its last character closes. */
static bool wrapped(const char *s, size_t n)
{
    if (n < 2 || s[0] != '(') return false;
    int depth = 0;
    for (size_t i = 0; i < n; i++) {
        depth += (s[i] == '(') - (s[i] == ')');
        if (depth == 0 && i + 1 < n) return false;
    }
    return true;
}

/* An expression without the parentheses that an infix operator prints round itself. */
static void expr(ll_str *out, te_ref e)
{
    size_t start = out->n;
    te_print_expr(out, e);
    size_t n = out->n - start;
    if (!out->s || !wrapped(out->s + start, n)) return;
    memmove(out->s + start, out->s + start + 1, n - 2);
    out->n -= 2;
    out->s[out->n] = 0;
}

static void indices(ll_str *out, const te_ref *idx, int n)
{
    ll_str_addc(out, '[');
    for (int i = 0; i < n; i++) {
        if (i) ll_str_add(out, ", ");
        expr(out, idx[i]);
    }
    ll_str_addc(out, ']');
}

static void element(ll_str *out, const lp_buf *b, const te_ref *idx)
{
    ll_str_add(out, b->t->name);
    indices(out, idx, b->t->ndim);
}

/* ---- buffers --------------------------------------------------------------------------------- */

static void buffer(ll_str *out, const lp_buf *b)
{
    ll_str_addf(out, "%s %s", b->t->quant ? b->t->quant->name : ll_dtype_name(b->t->dtype),
                b->t->name);
    indices(out, b->t->shape, b->t->ndim);
    if (b->t->lo || b->t->hi) {
        ll_str_add(out, " in ");
        if (b->t->lo) expr(out, b->t->lo);
        ll_str_add(out, "..");
        if (b->t->hi) expr(out, b->t->hi);
    }
    if (b->within) ll_str_addf(out, " within %s", b->within->t->name);
    if (b->align) ll_str_addf(out, " align %d", b->align);
    if (b->layout) {
        ll_str_addc(out, ' ');
        lp_layout_print(out, b->layout);
    }
}

static void parameter(ll_str *out, const lp_buf *b)
{
    const char *way = b->written ? b->given ? "inout" : "out" : b->t->weight ? "weight" : "in";
    ll_str_addf(out, "%s ", way);
    buffer(out, b);
}

/* ---- statements ------------------------------------------------------------------------------ */

static void list(ll_str *out, const lp_stmt *s, int indent);

static void close_block(ll_str *out)
{
    if (out->n && out->s[out->n - 1] == '\n') out->s[--out->n] = 0;
    ll_str_add(out, " }\n");
}

static void block(ll_str *out, const lp_stmt *body, int indent)
{
    ll_str_add(out, " {\n");
    list(out, body, indent + 1);
    close_block(out);
}

static void print_loop(ll_str *out, const lp_stmt *s, int indent)
{
    const te_axis_info *a = s->u.loop.var->u.axis;
    ll_str_addf(out, "for %s < ", a->name);
    expr(out, a->extent);
    if (a->max) {
        ll_str_add(out, " max ");
        expr(out, a->max);
    }
    if (s->u.loop.how == LP_ROTATE) ll_str_addf(out, " @rotate(%d)", s->u.loop.rotate);
    else if (s->u.loop.how != LP_SERIAL) ll_str_addf(out, " @%s", lp_how_text[s->u.loop.how]);
    if (s->u.loop.opaque) ll_str_add(out, " @opaque");
    if (s->u.loop.intrin) ll_str_addf(out, " @%s", s->u.loop.intrin->name);
    block(out, s->u.loop.body, indent);
}

static void print_guard(ll_str *out, const lp_stmt *s, int indent)
{
    ll_str_add(out, "if ");
    expr(out, s->u.guard.cond);
    if (s->u.guard.uniform) ll_str_add(out, " @uniform");
    if (!s->u.guard.otherwise) {
        block(out, s->u.guard.then, indent);
        return;
    }
    ll_str_add(out, " {\n");
    list(out, s->u.guard.then, indent + 1);
    ll_str_indent(out, indent);
    ll_str_add(out, "} else");
    block(out, s->u.guard.otherwise, indent);
}

static void print_let(ll_str *out, const lp_stmt *s)
{
    ll_str_addf(out, "let %s %s = ", ll_dtype_name(s->u.let.var->dtype), s->u.let.var->u.name);
    expr(out, s->u.let.value);
    if (s->u.let.uniform) ll_str_add(out, " @uniform");
    ll_str_addc(out, '\n');
}

static void print_reduce(ll_str *out, const lp_stmt *s)
{
    element(out, s->u.reduce.buf, s->u.reduce.idx);
    ll_str_add(out, s->u.reduce.op == TE_SUM    ? " += "
                    : s->u.reduce.op == TE_MAXR ? " max= "
                                                : " min= ");
    expr(out, s->u.reduce.value);
    ll_str_addc(out, '\n');
}

/* A copied box: single indices, and `first +: count` where the box has more than one element. */
static void box(ll_str *out, const lp_buf *b, const te_ref *at, const int64_t *count)
{
    ll_str_addf(out, "%s[", b->t->name);
    for (int i = 0; i < b->t->ndim; i++) {
        if (i) ll_str_add(out, ", ");
        expr(out, at[i]);
        if (count[i]) ll_str_addf(out, " +: %lld", (long long)count[i]);
    }
    ll_str_addc(out, ']');
}

static void print_copy(ll_str *out, const lp_stmt *s)
{
    int64_t from[TE_MAX_DIM] = {0}, to[TE_MAX_DIM] = {0};
    for (int i = 0; i < s->u.copy.dst->t->ndim; i++)
        if (s->u.copy.src_dim[i] >= 0) to[i] = from[s->u.copy.src_dim[i]] = s->u.copy.extent[i];
    ll_str_add(out, "copy ");
    box(out, s->u.copy.dst, s->u.copy.dst_at, to);
    ll_str_add(out, " <- ");
    box(out, s->u.copy.src, s->u.copy.src_at, from);
    if (s->u.copy.valid) {
        ll_str_add(out, " valid ");
        expr(out, s->u.copy.valid);
    }
    if (s->u.copy.mbar) {
        ll_str_addf(out, " -> %s[", s->u.copy.mbar->t->name);
        expr(out, s->u.copy.mbar_at);
        ll_str_addc(out, ']');
    }
    ll_str_addc(out, '\n');
}

static void print_mbar(ll_str *out, const lp_stmt *s)
{
    ll_str_addf(out, "mbar %s %s[", lp_mbar_text[s->u.mbar.op], s->u.mbar.buf->t->name);
    expr(out, s->u.mbar.at);
    ll_str_addc(out, ']');
    if (s->u.mbar.arg) {
        ll_str_addc(out, ' ');
        expr(out, s->u.mbar.arg);
    }
    ll_str_addc(out, '\n');
}

static void print_roles(ll_str *out, const lp_stmt *s, int indent)
{
    ll_str_add(out, "roles {\n");
    for (int i = 0; i < s->u.roles.n; i++) {
        ll_str_indent(out, indent + 1);
        ll_str_addf(out, "%s warps %d", s->u.roles.name[i], s->u.roles.warps[i]);
        if (s->u.roles.regs[i]) ll_str_addf(out, " regs %d", s->u.roles.regs[i]);
        block(out, s->u.roles.body[i], indent + 1);
    }
    close_block(out);
}

static void print_small(ll_str *out, const lp_stmt *s)
{
    switch (s->kind) {
    case LP_STORE:
        element(out, s->u.store.buf, s->u.store.idx);
        ll_str_add(out, " = ");
        expr(out, s->u.store.value);
        break;
    case LP_SYNC:
        ll_str_addf(out, "sync %s", lp_sync_text[s->u.sync.scope]);
        if (s->u.sync.id) ll_str_addf(out, " %d", s->u.sync.id);
        break;
    case LP_COMMIT: ll_str_add(out, "commit"); break;
    case LP_WAIT:
        ll_str_addf(out, "wait %d%s", s->u.wait.pending, s->u.wait.warp ? " warp" : "");
        break;
    case LP_PREFETCH:
        ll_str_add(out, "prefetch ");
        element(out, s->u.prefetch.buf, s->u.prefetch.idx);
        if (s->u.prefetch.level) ll_str_addf(out, " level %d", s->u.prefetch.level);
        break;
    case LP_MMA:
        ll_str_addf(out, "mma %s", s->u.mma.intrin->name);
        for (int i = 0; i < 3; i++) {
            ll_str_addc(out, ' ');
            element(out, s->u.mma.buf[i], &s->u.mma.at[i]);
        }
        break;
    case LP_LDMATRIX:
        ll_str_addf(out, "ldmatrix %d%s ", s->u.ldmatrix.n, s->u.ldmatrix.trans ? " trans" : "");
        element(out, s->u.ldmatrix.dst, &s->u.ldmatrix.dst_at);
        ll_str_add(out, " <- ");
        element(out, s->u.ldmatrix.src, s->u.ldmatrix.src_at);
        break;
    case LP_SHUFFLE:
        ll_str_add(out, "shuffle ");
        element(out, s->u.shuffle.dst, s->u.shuffle.dst_at);
        ll_str_add(out, " <- ");
        element(out, s->u.shuffle.src, s->u.shuffle.src_at);
        if (s->u.shuffle.lane) {
            ll_str_add(out, " lane ");
            expr(out, s->u.shuffle.lane);
        } else {
            ll_str_addf(out, " xor %d", s->u.shuffle.mask);
        }
        break;
    default: break;
    }
    ll_str_addc(out, '\n');
}

/* The first line of a statement; for those with a block, the block too. */
static void one(ll_str *out, const lp_stmt *s, int indent)
{
    ll_str_indent(out, indent);
    switch (s->kind) {
    case LP_FOR: print_loop(out, s, indent); break;
    case LP_IF: print_guard(out, s, indent); break;
    case LP_ROLES: print_roles(out, s, indent); break;
    case LP_LET: print_let(out, s); break;
    case LP_REDUCE: print_reduce(out, s); break;
    case LP_COPY: print_copy(out, s); break;
    case LP_MBAR: print_mbar(out, s); break;
    case LP_ALLOC:
        ll_str_addf(out, "alloc %s ", lp_scope_text[s->u.alloc.buf->scope]);
        buffer(out, s->u.alloc.buf);
        ll_str_addc(out, '\n');
        break;
    default: print_small(out, s); break;
    }
}

static void list(ll_str *out, const lp_stmt *s, int indent)
{
    while (s) {
        bool scope = s->kind == LP_ALLOC || s->kind == LP_LET;
        if (scope && s->next) { /* its scope ends before the block does */
            ll_str_indent(out, indent);
            ll_str_add(out, "{\n");
            one(out, s, indent + 1);
            list(out, s->kind == LP_ALLOC ? s->u.alloc.body : s->u.let.body, indent + 1);
            close_block(out);
            s = s->next;
        } else {
            one(out, s, indent);
            s = !scope ? s->next : s->kind == LP_ALLOC ? s->u.alloc.body : s->u.let.body;
        }
    }
}

void lp_print_stmt(ll_str *out, const lp_stmt *s, int indent)
{
    list(out, s, indent);
}

static void print_dims(ll_str *out, const lp_func *f)
{
    for (int i = 0; i < f->n_dim; i++) {
        const te_dim_info *d = f->dim[i]->u.dim;
        ll_str_addf(out, "dim %s in %lld..%lld", d->name, (long long)d->lo, (long long)d->hi);
        if (d->multiple > 1) ll_str_addf(out, " multiple %lld", (long long)d->multiple);
        ll_str_addc(out, '\n');
    }
}

void lp_print(ll_str *out, const lp_func *f)
{
    print_dims(out, f);
    ll_str params = {0};
    for (int i = 0; i < f->n_param; i++) {
        if (i) ll_str_add(&params, ",\n");
        parameter(&params, f->param[i]);
    }
    ll_str_addf(out, "kernel %s(", f->name);
    bool wide = strlen(f->name) + params.n + 12 > WIDTH;
    if (wide) ll_str_add(out, "\n    ");
    for (size_t i = 0; i < params.n; i++) {
        if (params.s[i] != '\n') ll_str_addc(out, params.s[i]);
        else ll_str_add(out, wide ? "\n    " : " ");
    }
    ll_str_finish(&params);
    ll_str_addc(out, ')');
    if (f->min_ctas) ll_str_addf(out, " minctas %d", f->min_ctas);
    if (f->max_regs) ll_str_addf(out, " maxregs %d", f->max_regs);
    block(out, f->body, 0);
}

const char *lp_show(const lp_stmt *s)
{
    static _Thread_local char text[4096];
    ll_str out = {0};
    list(&out, s, 0);
    snprintf(text, sizeof text, "%s", ll_str_cstr(&out));
    ll_str_finish(&out);
    return text;
}
