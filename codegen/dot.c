/* dot.c: nests that are one instruction. `for l { for r { acc[l] += ACC(a) * ACC(b) } }` annotated
 * with a row of intrin.def: a over (l, r) is one vector register, b over (r) is repeated for every
 * l, acc over (l) is the accumulator. The nest is the meaning; this file only finds the two
 * operands and puts the instruction in. Refused: operands of other types or ranges than the row's,
 * a nest inside vector lanes or under their conditions. */
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
        if (s->next && r.n)
            cg_fail(c, LL_NOT_LEGAL, "codegen: @%s: more than one statement inside the nest",
                    r.row->name);
        if (n->op != TE_INT || r.n == 4)
            cg_fail(c, LL_NOT_LEGAL, "codegen: @%s: the extents of its loops are not constants",
                    r.row->name);
        r.axis[r.n] = s->u.loop.var;
        r.extent[r.n++] = (int)n->u.i;
    }
    r.body = s;
    int want[3] = {r.row->m, r.row->n, r.row->k}, k = 0;
    for (int i = 0; i < 3; i++)
        if (want[i] != 1 && (k >= r.n || r.extent[k++] != want[i])) k = 9;
    if (k != r.n || r.row->m != 1 || r.n != 2 || !s || s->kind != LP_REDUCE || s->next ||
        s->u.reduce.op != TE_SUM)
        cg_fail(c, LL_NOT_LEGAL, "codegen: @%s wants a nest of %d x %d with one sum inside",
                r.row->name, r.row->n, r.row->k);
    return r;
}

/* What the accumulator's type was made from: the cast is part of the instruction. */
static te_ref operand(te_ref product, int i, const lp_intrin *row)
{
    te_ref e = product->src[i];
    return e->op == TE_CAST && e->dtype == row->acc ? e->src[0] : e;
}

static bool fits(te_ref e, ll_dtype want, int64_t lo, int64_t hi)
{
    if (ll_dtype_is_float(want) || ll_dtype_is_float((ll_dtype)e->dtype)) return e->dtype == want;
    if (lo == hi) ll_dtype_int_range(want, &lo, &hi);
    te_range r = te_range_of(e);
    return r.lo >= lo && r.hi <= hi;
}

static bool fits_a(te_ref e, const lp_intrin *row) { return fits(e, row->a, row->a_lo, row->a_hi); }
static bool fits_b(te_ref e, const lp_intrin *row) { return fits(e, row->b, row->b_lo, row->b_hi); }

/* The low 8 bits of e as bytes: sums, products and bit operations of wider integers need no more
 * than those. */
static te_ref low_byte(cg *c, te_ref e)
{
    if (ll_dtype_bits((ll_dtype)e->dtype) <= 8) return e->dtype == LL_U8 ? e : te_cast(LL_U8, e);
    bool ring = e->op == TE_ADD || e->op == TE_SUB || e->op == TE_MUL || e->op == TE_AND ||
                e->op == TE_OR || e->op == TE_XOR;
    if (e->op == TE_CAST && ll_dtype_is_int((ll_dtype)e->src[0]->dtype))
        return low_byte(c, e->src[0]);
    if (e->op == TE_INT) return te_iconst(c->g, LL_U8, e->u.i & 255);
    if (ring) return te_binary((te_op)e->op, low_byte(c, e->src[0]), low_byte(c, e->src[1]));
    return te_cast(LL_U8, e);
}

static cg_val operand_value(cg *c, te_ref e, ll_dtype want)
{
    bool bytes = !ll_dtype_is_float(want) && ll_dtype_bits((ll_dtype)e->dtype) > 8;
    return cg_eval(c, bytes ? te_simplify(c->g, low_byte(c, e)) : e);
}

/* ---- the forms of `how` ---- */

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

static cg_v madd(cg *c, const char *name, cg_v acc, cg_v a, cg_v b, int bytes, bool a_signed)
{
    cg_v x = as(c, a, c->i16, bytes), y = as(c, b, c->i16, bytes);
    cg_v eight = cg_int(c, LLVMTypeOf(x), 8);
    cg_v even = a_signed ? LLVMBuildAShr(B, LLVMBuildShl(B, x, eight, ""), eight, "")
                         : LLVMBuildAnd(B, x, cg_int(c, LLVMTypeOf(x), 255), "");
    cg_v odd = a_signed ? LLVMBuildAShr(B, x, eight, "") : LLVMBuildLShr(B, x, eight, "");
    cg_v lo[2] = {even, LLVMBuildAShr(B, LLVMBuildShl(B, y, eight, ""), eight, "")};
    cg_v hi[2] = {odd, LLVMBuildAShr(B, y, eight, "")};
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
    if (n == 2 && !strcmp(w[0], "dotss")) {
        cg_v x = as(c, LLVMBuildXor(B, a, cg_int(c, LLVMTypeOf(a), 128), ""), c->i32, bytes),
             y = as(c, b, c->i32, bytes);
        cg_v top = LLVMConstBitCast(cg_int(c, LLVMTypeOf(a), 128), LLVMTypeOf(x)),
             none = LLVMConstNull(LLVMTypeOf(x));
        cg_v over = cg_call(c, w[1], NULL, 0, (cg_v[]){none, top, y}, 3);
        return LLVMBuildSub(B, cg_call(c, w[1], NULL, 0, (cg_v[]){acc, x, y}, 3), over, "");
    }
    if (n == 2 && !strncmp(w[0], "madd", 4)) return madd(c, w[1], acc, a, b, bytes, w[0][4] != 0);
    cg_fail(c, LL_UNSUPPORTED, "codegen: no code for @%s: '%s'", row->name, row->llvm);
}

static void check_target(cg *c, const lp_intrin *row)
{
    char w[3][64];
    int n = words(row->requires, w);
    for (int i = 0; i < n; i++) {
        ll_cpu_feature f;
        if (!ll_cpu_feature_parse(w[i], &f) || !cg_has(c, f))
            cg_fail(c, LL_NOT_LEGAL, "codegen: @%s needs %s, which target %s does not have",
                    row->name, w[i], c->target->name);
    }
}

void cg_dot(cg *c, lp_stmt *s)
{
    nest t = open_nest(c, s);
    check_target(c, t.row);
    te_ref idx[TE_MAX_DIM], sum = cg_prep(c, t.body->u.reduce.value);
    cg_buf *acc = cg_buf_of(c, t.body->u.reduce.buf->t);
    for (int i = 0; i < acc->lp->t->ndim; i++) idx[i] = cg_prep(c, t.body->u.reduce.idx[i]);
    te_ref x = sum->op == TE_MUL ? operand(sum, 0, t.row) : sum,
           y = sum->op == TE_MUL ? operand(sum, 1, t.row) : sum;
    bool repeated = te_uses(x, t.axis[0]) ||
                    !te_uses(y, t.axis[0]); /* b is the one that all lanes share, if any */
    if (!(fits_a(x, t.row) && fits_b(y, t.row) &&
          (repeated || !(fits_a(y, t.row) && fits_b(x, t.row))))) {
        te_ref swap = x;
        x = y;
        y = swap;
    }
    if (sum->op != TE_MUL || acc->lp->t->dtype != t.row->acc || !fits_a(x, t.row) ||
        !fits_b(y, t.row))
        cg_fail(c, LL_NOT_LEGAL,
                "codegen: @%s wants a sum of %s(%s) * %s(%s) within its ranges, not %s",
                t.row->name, ll_dtype_name(t.row->acc), ll_dtype_name(t.row->a),
                ll_dtype_name(t.row->acc), ll_dtype_name(t.row->b), te_show(sum));
    int outer = c->n_vec;
    for (int i = 0; i < t.n; i++) cg_push_vec(c, t.axis[i], t.extent[i]);
    unsigned lanes = 1u << outer, all = 3u << outer;
    if (outer) cg_fail(c, LL_NOT_LEGAL, "codegen: @%s inside another vector loop", t.row->name);
    if (c->mask.v)
        cg_fail(c, LL_NOT_LEGAL, "codegen: @%s under a condition of vector lanes", t.row->name);
    int64_t at[CG_MAX_LANES];
    unsigned on = 0;
    for (int i = 0; i < acc->lp->t->ndim; i++) on |= cg_info_of(c, idx[i]).axes;
    if (on != lanes)
        cg_fail(c, LL_NOT_LEGAL, "codegen: @%s: '%s' is not indexed by its %d lanes", t.row->name,
                acc->lp->t->name, t.row->n);
    cg_v a = cg_spread(c, operand_value(c, x, t.row->a), all),
         b = cg_spread(c, operand_value(c, y, t.row->b), all);
    if (acc->e) {
        cg_reg_place(c, acc, idx, lanes, false, at);
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
