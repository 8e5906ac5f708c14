/* eval.c: expressions to values. Each distinct expression is computed once per scope: interned
 * nodes are the keys of the memos, so unrolled copies share what they have in common. Integer
 * scalars that need only outer scopes are computed there; loads and floating arithmetic stay where
 * they are used (moving those out would fill registers). Values that read memory or registers which
 * may change are dropped from the memo by `cg_touch` and by stores. */
#include "codegen/cg.h"

#include <string.h>

#define B (c->b)

typedef struct memo {
    cg_val val;
    uint32_t reg, mem; /* epochs it was made in; 0: does not depend */
} memo;

/* ---- lanes ---- */

int cg_lanes(const cg *c, unsigned axes)
{
    int n = 1;
    for (int i = 0; i < c->n_vec; i++)
        if (axes >> i & 1) n *= c->vec[i].extent;
    return n;
}

int cg_lane_digit(const cg *c, unsigned axes, int lane, int i)
{
    for (int k = c->n_vec - 1; k > i; k--)
        if (axes >> k & 1) lane /= c->vec[k].extent;
    return lane % c->vec[i].extent;
}

/* The lane of `from` that lane `lane` of the superset `to` reads. */
static int source_lane(const cg *c, unsigned from, unsigned to, int lane)
{
    int r = 0;
    for (int i = 0; i < c->n_vec; i++)
        if (from >> i & 1) r = r * c->vec[i].extent + cg_lane_digit(c, to, lane, i);
    return r;
}

/* Whole neighbours repeat (a 4-byte group over 16 lanes): one wider element is splat instead of
 * bytes shuffled. */
static cg_v spread_tail(cg *c, cg_v v, int n)
{
    int w = cg_width(v);
    cg_t elt = cg_scalar_type(v);
    unsigned bits = LLVMGetTypeKind(elt) == LLVMIntegerTypeKind ? LLVMGetIntTypeWidth(elt)
                    : elt == c->f32                             ? 32
                    : elt == c->f16                             ? 16
                                                                : 64;
    unsigned all = bits * (unsigned)w;
    if (bits == 1 || all > 64 || LLVMIsConstant(v)) return NULL;
    cg_v one = LLVMBuildBitCast(B, v, LLVMIntTypeInContext(c->ctx, all), "");
    return LLVMBuildBitCast(B, cg_splat(c, one, n / w), cg_wide(elt, n), "");
}

cg_v cg_spread(cg *c, cg_val v, unsigned axes)
{
    int n = cg_lanes(c, axes);
    if (v.axes == axes) return v.v;
    if (!v.axes) return cg_splat(c, v.v, n);
    int lane[CG_MAX_LANES], w = cg_width(v.v);
    bool tail = true;
    for (int i = 0; i < n; i++) {
        lane[i] = source_lane(c, v.axes, axes, i);
        tail = tail && lane[i] == i % w;
    }
    cg_v r = tail ? spread_tail(c, v.v, n) : NULL;
    return r ? r : cg_shuffle(c, v.v, NULL, lane, n);
}

/* ---- scopes and memo ---- */

void cg_open(cg *c, cg_v opener, bool guard, cg_loop *loop)
{
    if (c->top + 1 == CG_MAX_SCOPE)
        cg_fail(c, LL_UNSUPPORTED, "codegen: more than %d loops and branches inside each other",
                CG_MAX_SCOPE);
    c->cur = ++c->top;
    cg_scope *s = &c->scope[c->top];
    memset(s, 0, sizeof *s);
    s->opener = opener;
    s->guard = guard;
    s->loop = loop;
    cg_touch(c);
}

void cg_shut(cg *c)
{
    ll_map_finish(&c->scope[c->top].memo);
    memset(&c->scope[c->top].memo, 0, sizeof(ll_map));
    c->cur = --c->top;
    cg_touch(c);
}

static void forget_info(cg *c)
{
    ll_map_finish(&c->info);
    memset(&c->info, 0, sizeof c->info);
}

void cg_touch(cg *c)
{
    c->reg_epoch++;
    c->mem_epoch++;
    forget_info(c);
}

cg_spot cg_goto_scope(cg *c, int level)
{
    cg_spot s = {c->cur, LLVMGetInsertBlock(B)};
    if (level >= c->cur) return s;
    c->cur = level;
    LLVMPositionBuilderBefore(B, c->scope[level + 1].opener);
    return s;
}

void cg_return_from(cg *c, cg_spot s)
{
    c->cur = s.cur;
    if (s.cur < c->top)
        LLVMPositionBuilderBefore(B, c->scope[s.cur + 1].opener);
    else
        LLVMPositionBuilderAtEnd(B, s.at);
}

bool cg_recall(cg *c, const void *key, size_t n, cg_val *out)
{
    for (int s = c->cur; s >= 0; s--) {
        memo *m = ll_map_get(&c->scope[s].memo, key, n);
        if (!m || (m->reg && m->reg != c->reg_epoch) || (m->mem && m->mem != c->mem_epoch))
            continue;
        *out = m->val;
        return true;
    }
    return false;
}

void cg_remember(cg *c, const void *key, size_t n, cg_val v, bool reg, bool mem)
{
    memo *m = LL_NEW(&c->arena, memo);
    m->val = v;
    m->reg = reg ? c->reg_epoch : 0;
    m->mem = mem ? c->mem_epoch : 0;
    if (!ll_map_set(&c->scope[c->cur].memo, key, n, m))
        cg_fail(c, LL_NO_SPACE, "codegen: out of memory");
}

/* ---- what an expression depends on ---- */

cg_bind *cg_bound(cg *c, te_ref node)
{
    for (int i = c->n_bind - 1; i >= 0; i--)
        if (c->bind[i].node == node) return &c->bind[i];
    return NULL;
}

cg_buf *cg_buf_of(cg *c, const te_tensor *t)
{
    const lp_buf *b = lp_buf_of(c->fn, t);
    cg_buf *r = b ? ll_map_get_ptr(&c->bufs, b) : NULL;
    if (!r)
        cg_fail(c, LL_NOT_LEGAL, "codegen: '%s' is read or written where no such buffer is alive",
                t->name);
    return r;
}

static bool may_divide_by_zero(te_ref e)
{
    if ((e->op != TE_DIV && e->op != TE_MOD) || ll_dtype_is_float((ll_dtype)e->dtype)) return false;
    te_range r = te_range_of(e->src[1]);
    return r.lo <= 0 && r.hi >= 0;
}

static int innermost_guard(const cg *c)
{
    int s = c->cur;
    while (s > 0 && !c->scope[s].guard) s--;
    return s;
}

static void leaf_info(cg *c, te_ref e, cg_info *r)
{
    if (e->op != TE_AXIS && e->op != TE_VAR) return;
    for (int i = 0; i < c->n_vec; i++)
        if (c->vec[i].axis == e) {
            r->axes = 1u << i;
            return;
        }
    cg_bind *b = cg_bound(c, e);
    if (!b)
        cg_fail(c, LL_NOT_LEGAL, "codegen: '%s' is used outside of the loop or let that binds it",
                te_show(e));
    r->axes = b->val.axes;
    r->level = b->scope;
}

cg_info cg_info_of(cg *c, te_ref e)
{
    cg_info *hit = ll_map_get_ptr(&c->info, e);
    if (hit) return *hit;
    cg_info r = {0};
    leaf_info(c, e, &r);
    if (te_is_reduce(e))
        cg_fail(c, LL_NOT_LEGAL, "codegen: a reduction inside an expression: '%s'", te_show(e));
    for (int i = 0; i < e->n; i++) {
        cg_info s = cg_info_of(c, e->src[i]);
        r.axes |= s.axes;
        r.level = s.level > r.level ? s.level : r.level;
        r.reg |= s.reg;
        r.mem |= s.mem;
        r.load |= s.load;
        r.risky |= s.risky;
    }
    int guard = c->mask.v ? c->cur : innermost_guard(c);
    if (may_divide_by_zero(e)) {
        r.risky = true;
        r.level = guard > r.level ? guard : r.level;
    }
    if (e->op == TE_LOAD) {
        cg_buf *b = cg_buf_of(c, e->u.t);
        r.reg |= b->e != NULL;
        r.load |= b->e == NULL;
        r.mem |= b->e == NULL && !b->constant;
        r.level = guard > r.level ? guard : r.level;
        r.axes |= b->inside;
    }
    hit = LL_NEW(&c->arena, cg_info);
    *hit = r;
    ll_map_set_ptr(&c->info, e, hit);
    return r;
}

te_ref cg_prep(cg *c, te_ref e)
{
    if (c->n_env) e = te_subst(c->g, e, c->env_from, c->env_to, c->n_env);
    return te_simplify(c->g, e);
}

/* ---- masks ---- */

cg_val cg_and_mask(cg *c, cg_val a, cg_val b)
{
    if (!a.v) return b;
    if (!b.v) return a;
    unsigned axes = a.axes | b.axes;
    return (cg_val){LLVMBuildAnd(B, cg_spread(c, a, axes), cg_spread(c, b, axes), ""), axes};
}

/* Lanes over `axes` that are active for some lane of the mask's other axes. */
cg_v cg_mask_for(cg *c, unsigned axes)
{
    cg_val m = c->mask;
    if (!m.v) return NULL;
    unsigned kept = m.axes & axes;
    if (kept != m.axes) {
        int n = cg_lanes(c, m.axes), k = cg_lanes(c, kept);
        cg_v any[CG_MAX_LANES] = {NULL};
        for (int i = 0; i < n; i++) {
            int to = source_lane(c, kept, m.axes, i);
            cg_v one = cg_extract(c, m.v, i);
            any[to] = any[to] ? LLVMBuildOr(B, any[to], one, "") : one;
        }
        cg_v v = LLVMGetPoison(cg_wide(c->i1, k));
        for (int i = 0; i < k; i++) v = k == 1 ? any[i] : cg_insert(c, v, any[i], i);
        m = (cg_val){v, kept};
    }
    return cg_spread(c, m, axes);
}

/* Every index of the load is proved inside its dimension. */
static bool in_bounds(cg *c, te_ref load)
{
    const te_tensor *t = load->u.t;
    for (int i = 0; i < load->n; i++) {
        te_range r = te_range_of(load->src[i]);
        if (r.lo < 0 && !te_prove_le(te_int(c->g, 0), load->src[i])) return false;
        if (t->shape[i]->op == TE_INT && r.hi < t->shape[i]->u.i) continue;
        if (!te_prove_lt(load->src[i], t->shape[i])) return false;
    }
    return true;
}

static bool not_risky(te_ref e, void *ctx)
{
    cg *c = ctx;
    if (e->op == TE_LOAD) return cg_buf_of(c, e->u.t)->e != NULL || in_bounds(c, e);
    return !may_divide_by_zero(e);
}

static bool risky(cg *c, te_ref e) { return !te_walk(e, not_risky, c); }

/* ---- nodes ---- */

static cg_v dim_value(cg *c, te_ref e)
{
    int slot = -1;
    for (int i = 0; i < c->fn->n_dim; i++)
        if (c->fn->dim[i] == e || !strcmp(c->fn->dim[i]->u.dim->name, e->u.dim->name))
            slot = c->fn->dim_slot ? c->fn->dim_slot[i] : i;
    if (slot < 0)
        cg_fail(c, LL_NOT_LEGAL, "codegen: dimension '%s' is not in the list of kernel '%s'",
                e->u.dim->name, c->fn->name);
    cg_v off = cg_int(c, c->i64, slot);
    cg_v p = LLVMBuildInBoundsGEP2(B, c->i64, c->args_dim, &off, 1, "");
    cg_v v = LLVMBuildLoad2(B, c->i64, p, e->u.dim->name);
    LLVMSetMetadata(v, LLVMGetMDKindIDInContext(c->ctx, "invariant.load", 14),
                    LLVMMetadataAsValue(c->ctx, LLVMMDNodeInContext2(c->ctx, NULL, 0)));
    return v;
}

static cg_val lane_numbers(cg *c, int i)
{
    cg_v e[CG_MAX_LANES];
    for (int k = 0; k < c->vec[i].extent; k++) e[k] = cg_int(c, c->i64, k);
    return (cg_val){LLVMConstVector(e, (unsigned)c->vec[i].extent), 1u << i};
}

static cg_val leaf(cg *c, te_ref e)
{
    ll_dtype t = (ll_dtype)e->dtype;
    switch (e->op) {
    case TE_INT: return (cg_val){cg_int(c, cg_elt(c, t), e->u.i), 0};
    case TE_FLT:
        if (t == LL_F16 || t == LL_F32 || t == LL_F64)
            return (cg_val){cg_real(c, cg_elt(c, t), e->u.f), 0};
        {
            te_value v = {.f = e->u.f};
            uint64_t raw = 0;
            te_value_store(t, &raw, 0, v);
            return (cg_val){cg_int(c, cg_elt(c, t), (int64_t)raw), 0};
        }
    case TE_DIM: return (cg_val){dim_value(c, e), 0};
    default: break;
    }
    for (int i = 0; i < c->n_vec; i++)
        if (c->vec[i].axis == e) return lane_numbers(c, i);
    return cg_bound(c, e)->val;
}

static cg_val load(cg *c, te_ref e)
{
    cg_buf *b = cg_buf_of(c, e->u.t);
    if (b->e) {
        int64_t at[CG_MAX_LANES];
        unsigned axes = cg_access_axes(c, b, e->src);
        cg_reg_place(c, b, e->src, axes, true, at);
        return (cg_val){cg_reg_get(c, b, at, cg_lanes(c, axes)), axes};
    }
    cg_place p;
    cg_place_of(c, b, e->src, &p);
    cg_v mask = c->mask.v && !in_bounds(c, e) ? cg_mask_for(c, p.axes) : NULL;
    return (cg_val){cg_mem_load(c, &p, (ll_dtype)e->dtype, mask), p.axes};
}

/* Index arithmetic over lanes: a scalar and constants. Comparisons become 32-bit: base + lane < n
 * is lane < clamp(n - base). */
static bool lane_index(cg *c, te_ref e, unsigned axes, cg_val *out)
{
    int64_t off[CG_MAX_LANES];
    te_ref rest;
    if (e->dtype != LL_S64 || e->op < TE_ADD || e->op > TE_NOT ||
        !cg_lane_split(c, e, axes, off, &rest))
        return false;
    cg_v k[CG_MAX_LANES];
    int n = cg_lanes(c, axes);
    for (int i = 0; i < n; i++) k[i] = cg_int(c, c->i64, off[i]);
    cg_v lanes = LLVMConstVector(k, (unsigned)n);
    *out = (cg_val){LLVMBuildAdd(B, cg_splat(c, cg_eval(c, rest).v, n), lanes, ""), axes};
    return true;
}

static bool lane_compare(cg *c, te_ref e, unsigned axes, cg_val *out)
{
    int64_t off[CG_MAX_LANES];
    te_ref rest;
    if (e->op < TE_LT || e->op > TE_NE || e->src[0]->dtype != LL_S64) return false;
    te_ref diff = te_simplify(c->g, te_sub(e->src[0], e->src[1]));
    if (!cg_lane_split(c, diff, axes, off, &rest)) return false;
    cg_v k[CG_MAX_LANES];
    int n = cg_lanes(c, axes);
    for (int i = 0; i < n; i++) {
        if (off[i] < -1000000000 || off[i] > 1000000000) return false;
        k[i] = cg_int(c, c->i32, off[i]);
    }
    te_ref lo = te_int(c->g, -2000000000), hi = te_int(c->g, 2000000000);
    te_ref limit = te_min(te_max(te_neg(rest), lo), hi);
    cg_v s = LLVMBuildTrunc(B, cg_eval(c, limit).v, c->i32, "");
    LLVMIntPredicate p = e->op == TE_LT   ? LLVMIntSLT
                         : e->op == TE_LE ? LLVMIntSLE
                         : e->op == TE_EQ ? LLVMIntEQ
                                          : LLVMIntNE;
    *out =
        (cg_val){LLVMBuildICmp(B, p, LLVMConstVector(k, (unsigned)n), cg_splat(c, s, n), ""), axes};
    return true;
}

static cg_val branch_value(cg *c, te_ref e, cg_val cond)
{
    if (!risky(c, e)) return cg_eval(c, e);
    cg_val old = c->mask;
    c->mask = cg_and_mask(c, old, cond);
    c->masked++;
    forget_info(c);
    cg_val v = cg_eval(c, e);
    c->mask = old;
    c->masked--;
    forget_info(c);
    return v;
}

static cg_val select_node(cg *c, te_ref e)
{
    cg_val cond = cg_eval(c, e->src[0]);
    cg_val no = {LLVMBuildNot(B, cond.v, ""), cond.axes};
    cg_val a = branch_value(c, e->src[1], cond), b = branch_value(c, e->src[2], no);
    unsigned axes = cond.axes | a.axes | b.axes;
    cg_v s[3] = {cond.axes ? cg_spread(c, cond, axes) : cond.v, cg_spread(c, a, axes),
                 cg_spread(c, b, axes)};
    return (cg_val){cg_apply(c, e, s), axes};
}

static cg_val operator_node(cg *c, te_ref e)
{
    unsigned axes = 0;
    cg_val s[3];
    cg_v v[3];
    if (e->n > 3) cg_fail(c, LL_UNSUPPORTED, "codegen: '%s'", te_show(e));
    for (int i = 0; i < e->n; i++) {
        s[i] = cg_eval(c, e->src[i]);
        axes |= s[i].axes;
    }
    for (int i = 0; i < e->n; i++) v[i] = cg_spread(c, s[i], axes);
    if (c->mask.v && may_divide_by_zero(e)) {
        axes |= c->mask.axes;
        for (int i = 0; i < 2; i++) v[i] = cg_spread(c, s[i], axes);
        v[1] = LLVMBuildSelect(B, cg_mask_for(c, axes), v[1], cg_int(c, LLVMTypeOf(v[1]), 1), "");
    }
    return (cg_val){cg_apply(c, e, v), axes};
}

static bool fits32(te_ref e)
{
    te_range r = te_range_of(e);
    return r.lo >= INT32_MIN && r.hi <= INT32_MAX;
}

static cg_v narrowed(cg *c, cg_v v)
{
    LLVMOpcode op = LLVMIsAInstruction(v) ? LLVMGetInstructionOpcode(v) : LLVMRet;
    if ((op == LLVMSExt || op == LLVMZExt) && LLVMTypeOf(LLVMGetOperand(v, 0)) == c->i32)
        return LLVMGetOperand(v, 0);
    return LLVMBuildTrunc(B, v, c->i32, "");
}

/* GPUs: index arithmetic whose operands and result fit 32 bits is done in 32 bits (64-bit division
 * is a subroutine there, the rest two instructions each). */
static bool narrow_node(cg *c, te_ref e, cg_val *out)
{
    bool compare = e->op >= TE_LT && e->op <= TE_NE, arith = e->op >= TE_ADD && e->op < TE_LT;
    if (!c->gpu || e->n != 2 || e->src[0]->dtype != LL_S64 || e->src[1]->dtype != LL_S64) return false;
    if (!compare && !(arith && e->dtype == LL_S64 && fits32(e))) return false;
    if (!fits32(e->src[0]) || !fits32(e->src[1])) return false;
    cg_v s[3] = {cg_eval(c, e->src[0]).v, cg_eval(c, e->src[1]).v};
    for (int i = 0; i < 2; i++) s[i] = narrowed(c, s[i]);
    if (c->mask.v && may_divide_by_zero(e)) return false;
    cg_v v = cg_apply(c, e, s);
    *out = (cg_val){compare ? v : LLVMBuildSExt(B, v, c->i64, ""), 0};
    return true;
}

static cg_val eval_node(cg *c, te_ref e, unsigned axes)
{
    cg_val v;
    if (e->n == 0) return leaf(c, e);
    if (e->op == TE_LOAD) return load(c, e);
    if (e->op == TE_SELECT) return select_node(c, e);
    if (!axes && narrow_node(c, e, &v)) return v;
    if (axes && lane_index(c, e, axes, &v)) return v;
    if (axes && lane_compare(c, e, axes, &v)) return v;
    return operator_node(c, e);
}

static bool hoistable(te_ref e, const cg_info *i)
{
    bool integer = ll_dtype_is_int((ll_dtype)e->dtype);
    return integer && !i->axes && !i->reg && !i->mem;
}

cg_val cg_eval(cg *c, te_ref e)
{
    cg_val v;
    if (e->op == TE_AXIS || e->op == TE_VAR || te_is_const(e)) return cg_info_of(c, e), leaf(c, e);
    if (cg_recall(c, &e, sizeof e, &v)) return v;
    cg_info info = cg_info_of(c, e);
    bool stays = c->gpu && c->mask.v && info.load; /* a branch, which needs the end of a block */
    int level = hoistable(e, &info) && info.level < c->cur && !stays ? info.level : c->cur;
    bool moves = level < c->cur || !c->gpu; /* else it may end in another block, past a masked load */
    cg_spot back = cg_goto_scope(c, level);
    v = eval_node(c, e, info.axes);
    if (!(c->masked && (info.load || info.risky)))
        cg_remember(c, &e, sizeof e, v, info.reg, info.mem);
    if (moves) cg_return_from(c, back);
    return v;
}
