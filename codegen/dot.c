/* dot.c: nests that are one instruction. `for l { for r { acc[l] += ACC(a) * ACC(b) } }` annotated with a row of
 * intrin.def: a over (l, r) is one vector register, b over (r) is repeated for every l, acc over (l) is the
 * accumulator. The nest is the meaning; this file only finds the two operands and puts the instruction in. Refused:
 * operands of other types or ranges than the row's, a nest inside vector lanes or under their conditions. */
#include "codegen/cg.h"

#include <string.h>

#define B (c->b)

typedef struct nest {
    const lp_intrin *row;
    te_ref axis[4];
    int extent[4], n;
    lp_stmt *body;
} nest;

static nest open_nest(cg *c, lp_stmt *s)
{
    nest r = {.row = s->u.loop.intrin};
    for (; s && s->kind == LP_FOR; s = s->u.loop.body) {
        te_ref n = cg_prep(c, s->u.loop.var->u.axis->extent);
        if (s->next && r.n) cg_fail(c, LL_NOT_LEGAL, "codegen: @%s: more than one statement inside the nest", r.row->name);
        if (n->op != TE_INT || r.n == 4)
            cg_fail(c, LL_NOT_LEGAL, "codegen: @%s: the extents of its loops are not constants", r.row->name);
        r.axis[r.n] = s->u.loop.var;
        r.extent[r.n++] = (int)n->u.i;
    }
    r.body = s;
    int want[3] = {r.row->m, r.row->n, r.row->k}, k = 0;
    for (int i = 0; i < 3; i++)
        if (want[i] != 1 && (k >= r.n || r.extent[k++] != want[i])) k = 9;
    if (k != r.n || r.row->m != 1 || r.n != 2 || !s || s->kind != LP_REDUCE || s->next || s->u.reduce.op != TE_SUM)
        cg_fail(c, LL_NOT_LEGAL, "codegen: @%s wants a nest of %d x %d with one sum inside", r.row->name, r.row->n,
                r.row->k);
    return r;
}

static te_ref operand(cg *c, te_ref product, int i, const lp_intrin *row)
{
    te_ref e = product->src[i];
    return e->op == TE_CAST && e->dtype == row->acc ? e->src[0] : NULL;
}

static bool is_a(te_ref e, const lp_intrin *row)
{
    ll_dtype t = (ll_dtype)e->dtype;
    if (row->a == LL_U8) {
        te_range r = te_range_of(e);
        bool ok = ll_dtype_is_int(t) && !ll_dtype_is_signed(t) && ll_dtype_bits(t) <= 8;
        return ok && (row->a_lo == row->a_hi || (r.lo >= row->a_lo && r.hi <= row->a_hi));
    }
    return t == row->a;
}

static bool is_b(te_ref e, const lp_intrin *row)
{
    te_range r = te_range_of(e);
    return e->dtype == row->b && (row->b_lo == row->b_hi || row->b == LL_BF16 || (r.lo >= row->b_lo && r.hi <= row->b_hi));
}

/* ---- the forms of `how` -------------------------------------------------------------------------------------- */

static int words(const char *s, char out[3][64])
{
    int n = 0;
    while (*s && n < 3) {
        size_t k = strcspn(s, " ");
        if (k >= 64) break;
        memcpy(out[n], s, k);
        out[n++][k] = 0;
        s += k + (s[k] == ' ');
    }
    return n;
}

static cg_v as(cg *c, cg_v v, cg_t elt, int bytes)
{
    unsigned bits = elt == c->i16 ? 16 : 32;
    return LLVMBuildBitCast(B, v, cg_wide(elt, bytes * 8 / (int)bits), "");
}

static cg_v madd(cg *c, const char *name, cg_v acc, cg_v a, cg_v b, int bytes)
{
    cg_v x = as(c, a, c->i16, bytes), y = as(c, b, c->i16, bytes);
    cg_v eight = cg_int(c, LLVMTypeOf(x), 8);
    cg_v lo[2] = {LLVMBuildAnd(B, x, cg_int(c, LLVMTypeOf(x), 255), ""), LLVMBuildAShr(B, LLVMBuildShl(B, y, eight, ""), eight, "")};
    cg_v hi[2] = {LLVMBuildLShr(B, x, eight, ""), LLVMBuildAShr(B, y, eight, "")};
    acc = LLVMBuildAdd(B, acc, cg_call(c, name, NULL, 0, lo, 2), "");
    return LLVMBuildAdd(B, acc, cg_call(c, name, NULL, 0, hi, 2), "");
}

static cg_v instruction(cg *c, const lp_intrin *row, cg_v acc, cg_v a, cg_v b)
{
    char w[3][64];
    int n = words(row->llvm, w), bytes = row->n * row->k * ll_dtype_bits(row->a) / 8;
    if (n == 2 && !strcmp(w[0], "dot")) {
        if (row->acc == LL_S32) {
            a = as(c, a, c->i32, bytes);
            b = as(c, b, c->i32, bytes);
        } else {
            cg_t t = cg_wide(LLVMBFloatTypeInContext(c->ctx), row->n * row->k);
            a = LLVMBuildBitCast(B, a, t, "");
            b = LLVMBuildBitCast(B, b, t, "");
        }
        return cg_call(c, w[1], NULL, 0, (cg_v[]){acc, a, b}, 3);
    }
    if (n == 3 && !strcmp(w[0], "maddubs")) {
        cg_v pairs = cg_call(c, w[1], NULL, 0, (cg_v[]){a, b}, 2);
        cg_v sums = cg_call(c, w[2], NULL, 0, (cg_v[]){pairs, cg_int(c, LLVMTypeOf(pairs), 1)}, 2);
        return LLVMBuildAdd(B, acc, sums, "");
    }
    if (n == 2 && !strcmp(w[0], "madd")) return madd(c, w[1], acc, a, b, bytes);
    cg_fail(c, LL_UNSUPPORTED, "codegen: no code for @%s: '%s'", row->name, row->llvm);
}

static void check_target(cg *c, const lp_intrin *row)
{
    char w[3][64];
    int n = words(row->requires, w);
    for (int i = 0; i < n; i++) {
        ll_cpu_feature f;
        if (!ll_cpu_feature_parse(w[i], &f) || !cg_has(c, f))
            cg_fail(c, LL_NOT_LEGAL, "codegen: @%s needs %s, which target %s does not have", row->name, w[i], c->target->name);
    }
}

void cg_dot(cg *c, lp_stmt *s)
{
    nest t = open_nest(c, s);
    check_target(c, t.row);
    te_ref idx[TE_MAX_DIM], sum = cg_prep(c, t.body->u.reduce.value);
    cg_buf *acc = cg_buf_of(c, t.body->u.reduce.buf->t);
    for (int i = 0; i < acc->lp->t->ndim; i++) idx[i] = cg_prep(c, t.body->u.reduce.idx[i]);
    te_ref x = sum->op == TE_MUL ? operand(c, sum, 0, t.row) : NULL, y = x ? operand(c, sum, 1, t.row) : NULL;
    if (x && y && !(is_a(x, t.row) && is_b(y, t.row))) {
        te_ref swap = x;
        x = y;
        y = swap;
    }
    if (!x || !y || !is_a(x, t.row) || !is_b(y, t.row))
        cg_fail(c, LL_NOT_LEGAL, "codegen: @%s wants a sum of %s(%s) * %s(%s) within its ranges, not %s", t.row->name,
                ll_dtype_name(t.row->acc), ll_dtype_name(t.row->a), ll_dtype_name(t.row->acc), ll_dtype_name(t.row->b),
                te_show(sum));
    int outer = c->n_vec;
    for (int i = 0; i < t.n; i++) cg_push_vec(c, t.axis[i], t.extent[i]);
    unsigned lanes = 1u << outer, all = 3u << outer;
    if (outer) cg_fail(c, LL_NOT_LEGAL, "codegen: @%s inside another vector loop", t.row->name);
    if (c->mask.v) cg_fail(c, LL_NOT_LEGAL, "codegen: @%s under a condition of vector lanes", t.row->name);
    int64_t at[CG_MAX_LANES];
    unsigned on = 0;
    for (int i = 0; i < acc->lp->t->ndim; i++) on |= cg_info_of(c, idx[i]).axes;
    if (on != lanes) cg_fail(c, LL_NOT_LEGAL, "codegen: @%s: '%s' is not indexed by its %d lanes", t.row->name, acc->lp->t->name, t.row->n);
    cg_v a = cg_spread(c, cg_eval(c, x), all), b = cg_spread(c, cg_eval(c, y), all);
    if (acc->e) {
        cg_reg_place(c, acc, idx, lanes, at);
        cg_v old = cg_reg_get(c, acc, at, t.row->n);
        cg_reg_put(c, acc, at, t.row->n, instruction(c, t.row, old, a, b));
    } else {
        cg_place p;
        cg_place_of(c, acc, idx, &p);
        cg_v old = cg_mem_load(c, &p, t.row->acc, NULL);
        cg_mem_store(c, &p, t.row->acc, instruction(c, t.row, old, a, b), NULL);
        c->mem_epoch++;
    }
    c->n_vec = outer;
}
