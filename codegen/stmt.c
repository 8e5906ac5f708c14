/* stmt.c: the statements that are no loops: buffers, stores, sums, conditions, lets, prefetches.
 *
 * A condition of scalars is a branch. One of vector lanes becomes a mask: stores and sums below it
 * touch the active lanes only, loads that are not proved inside their buffer read the active lanes
 * only.
 *
 * Refused: what only GPUs do (sync, asynchronous copies, roles), stores of several lanes to one
 * element. */
#include "codegen/cg.h"

#include <string.h>

#define B (c->b)

static void block(cg *c, lp_stmt *s);

/* ---- buffers ---- */

static int64_t most(cg *c, const lp_buf *b, te_ref e, const char *what)
{
    te_range r = te_range_of(cg_prep(c, e));
    if (r.hi == INT64_MAX || r.hi < 0)
        cg_fail(c, LL_NOT_LEGAL, "codegen: buffer '%s': %s %s has no upper bound", b->t->name, what,
                te_show(e));
    return r.hi;
}

static void alloc_registers(cg *c, cg_buf *b)
{
    int64_t n = 1;
    for (int i = 0; i < b->lp->t->ndim; i++) {
        te_ref d = cg_prep(c, b->lp->t->shape[i]);
        if (d->op != TE_INT || d->u.i < 0 || (n *= d->u.i) > 65536)
            cg_fail(c, LL_NOT_LEGAL, "codegen: register buffer '%s' has no constant, modest size",
                    b->lp->t->name);
    }
    b->n = n * cg_lanes(c, b->inside);
    b->e = ll_alloc(&c->arena, sizeof *b->e * (size_t)(b->n ? b->n : 1));
}

static void alloc_scratch(cg *c, cg_buf *b)
{
    const te_tensor *t = b->lp->t;
    const lp_layout *l =
        b->lp->layout ? b->lp->layout
                      : lp_layout_dense(c->g, t->shape, t->ndim, ll_dtype_bits((ll_dtype)t->dtype));
    te_ref bits = lp_layout_bits(c->g, l, t->shape, t->ndim, ll_dtype_bits((ll_dtype)t->dtype));
    b->scratch = c->scratch_used;
    b->align = 64;
    int64_t bytes = most(c, b->lp, bits, "size") * cg_lanes(c, b->inside) / 8 + 1;
    c->scratch_used += (bytes + 63) & ~INT64_C(63);
    if (c->scratch_used > c->scratch_max) c->scratch_max = c->scratch_used;
    cg_spot back = cg_goto_scope(c, 0);
    cg_v off = cg_int(c, c->i64, b->scratch);
    b->base = LLVMBuildInBoundsGEP2(B, c->i8, c->scratch, &off, 1, t->name);
    cg_return_from(c, back);
}

static void alloc_stmt(cg *c, lp_stmt *s)
{
    cg_buf *b = LL_NEW(&c->arena, cg_buf);
    b->lp = s->u.alloc.buf;
    b->inside = (1u << c->n_vec) - 1;
    int64_t used = c->scratch_used;
    if (b->lp->scope == LP_REG)
        alloc_registers(c, b);
    else if (b->lp->scope == LP_THREAD && !c->gpu)
        alloc_scratch(c, b);
    else if (b->lp->scope >= LP_SHARED && c->gpu)
        cg_alloc_shared(c, b);
    else
        cg_fail(c, LL_NOT_LEGAL,
                "codegen: buffer '%s' is of a scope that threads of the target do not have",
                b->lp->t->name);
    ll_map_set_ptr(&c->bufs, b->lp, b);
    cg_touch(c);
    block(c, s->u.alloc.body);
    ll_map_del(&c->bufs, &(uint64_t){(uintptr_t)b->lp}, sizeof(uint64_t));
    c->scratch_used = used;
    cg_touch(c);
}

/* ---- stores and reductions ---- */

static void put_reg(cg *c, cg_buf *b, const int64_t *at, unsigned axes, cg_v v)
{
    int n = cg_lanes(c, axes);
    cg_v m = cg_mask_for(c, axes);
    if (m) v = LLVMBuildSelect(B, m, v, cg_reg_get(c, b, at, n), "");
    cg_reg_put(c, b, at, n, v);
}

static void store_stmt(cg *c, lp_stmt *s)
{
    cg_buf *b = cg_buf_of(c, s->u.store.buf->t);
    const te_tensor *t = b->lp->t;
    te_ref idx[TE_MAX_DIM], value = cg_prep(c, s->u.store.value);
    for (int i = 0; i < t->ndim; i++) idx[i] = cg_prep(c, s->u.store.idx[i]);
    unsigned on = cg_access_axes(c, b, idx);
    if (cg_info_of(c, value).axes & ~on)
        cg_fail(c, LL_NOT_LEGAL,
                "codegen: several vector lanes store different values to one element of '%s'",
                t->name);
    cg_val v = cg_eval(c, value);
    if (b->e) {
        int64_t at[CG_MAX_LANES];
        cg_reg_place(c, b, idx, on, false, at);
        put_reg(c, b, at, on, cg_spread(c, v, on));
        return;
    }
    cg_place p;
    cg_place_of(c, b, idx, &p);
    cg_v all = cg_spread(c, v, p.axes), mask = cg_mask_for(c, p.axes);
    cg_mem_store(c, &p, (ll_dtype)t->dtype, all, mask);
    c->mem_epoch++;
}

/* The factors of a product, in order; false when there are more than `max`. */
static bool factors_of(te_ref e, te_ref *out, int *n, int max)
{
    if (e->op == TE_MUL)
        return factors_of(e->src[0], out, n, max) && factors_of(e->src[1], out, n, max);
    if (*n == max) return false;
    out[(*n)++] = e;
    return true;
}

/* A product as two operands of a fused step. Factors that all lanes share are multiplied as scalars
 * first: x * w[l] * y becomes w[l] * (x * y). */
static void two_operands(cg *c, te_ref product, te_ref *a, te_ref *b)
{
    te_ref f[8], shared = NULL, lanes = NULL;
    int n = 0, last = -1;
    *a = product->src[0];
    *b = product->src[1];
    if (!factors_of(product, f, &n, 8)) return;
    for (int i = 0; i < n; i++) { /* what was just computed comes last: the rest is ready then */
        cg_info info = cg_info_of(c, f[i]);
        if (!info.axes)
            shared = shared ? te_mul(shared, f[i]) : f[i];
        else if (last < 0 || info.reg)
            last = i;
    }
    if (!shared || last < 0) return;
    for (int i = 0; i < n; i++)
        if (i != last && cg_info_of(c, f[i]).axes) lanes = lanes ? te_mul(lanes, f[i]) : f[i];
    *a = lanes ? te_mul(shared, lanes) : shared;
    *b = f[last];
}

/* acc + value, products fused into it: a sum may be re-associated. */
static cg_v accumulate(cg *c, cg_v acc, te_ref value, unsigned axes, bool minus)
{
    bool wide = value->dtype == LL_F32 || value->dtype == LL_F64;
    if (wide && (value->op == TE_ADD || value->op == TE_SUB)) {
        acc = accumulate(c, acc, value->src[0], axes, minus);
        return accumulate(c, acc, value->src[1], axes, minus != (value->op == TE_SUB));
    }
    if (wide && value->op == TE_NEG) return accumulate(c, acc, value->src[0], axes, !minus);
    if (wide && value->op == TE_MUL) {
        te_ref x, y;
        two_operands(c, value, &x, &y);
        cg_v a = cg_spread(c, cg_eval(c, x), axes), b = cg_spread(c, cg_eval(c, y), axes);
        return cg_fma(c, minus ? LLVMBuildFNeg(B, a, "") : a, b, acc);
    }
    cg_v v = cg_spread(c, cg_eval(c, value), axes);
    if (minus) return LLVMBuildFSub(B, acc, v, "");
    return cg_combine(c, TE_SUM, (ll_dtype)value->dtype, acc, v);
}

static cg_v combined(cg *c, te_op op, cg_v acc, te_ref value, unsigned axes)
{
    if (op == TE_SUM) return accumulate(c, acc, value, axes, false);
    return cg_combine(c, op, (ll_dtype)value->dtype, acc, cg_spread(c, cg_eval(c, value), axes));
}

/* Lanes of `axes` to lanes of `kept`: the others are combined. */
static cg_v fold(cg *c, te_op op, ll_dtype t, cg_v v, unsigned axes, unsigned kept)
{
    int n = cg_lanes(c, axes), k = cg_lanes(c, kept), lane[CG_MAX_LANES], at[CG_MAX_LANES] = {0};
    if (k == 1) return cg_across(c, op, t, v);
    cg_v part[CG_MAX_LANES];
    for (int r = 0; r < n / k; r++) {
        memset(at, 0, sizeof at);
        for (int i = 0; i < n; i++) { /* the r-th lane of each kept lane */
            int to = 0;
            for (int a = 0; a < c->n_vec; a++)
                if (kept >> a & 1) to = to * c->vec[a].extent + cg_lane_digit(c, axes, i, a);
            if (at[to]++ == r) lane[to] = i;
        }
        part[r] = cg_shuffle(c, v, NULL, lane, k);
    }
    for (int m = n / k; m > 1; m /= 2)
        for (int i = 0; i < m / 2; i++) part[i] = cg_combine(c, op, t, part[i], part[i + m / 2]);
    return part[0];
}

static cg_v masked_value(cg *c, te_op op, te_ref value, unsigned axes)
{
    cg_v v = cg_spread(c, cg_eval(c, value), axes), m = cg_mask_for(c, axes);
    if (!m) return v;
    return LLVMBuildSelect(B, m, v, cg_identity(c, op, (ll_dtype)value->dtype, cg_lanes(c, axes)),
                           "");
}

/* Lanes into one register element: kept as lanes until the element is read. */
static void reduce_pending(cg *c, cg_buf *b, int64_t at, te_op op, te_ref value, unsigned axes)
{
    cg_elem *e = &b->e[at];
    ll_dtype t = (ll_dtype)b->lp->t->dtype;
    int n = cg_lanes(c, axes);
    if (e->pend && (b->pend_op != op || cg_width(e->pend) != n)) cg_reg_flush(c, b);
    if (b->pend_op != op) cg_reg_flush(c, b);
    b->pend_op = op;
    cg_v old = e->pend ? e->pend : cg_identity(c, op, t, n), v;
    if (c->mask.v)
        v = cg_combine(c, op, t, old, masked_value(c, op, value, axes));
    else
        v = combined(c, op, old, value, axes);
    b->e[at].pend = v;
    c->reg_epoch++;
}

static void reduce_stmt(cg *c, lp_stmt *s)
{
    cg_buf *b = cg_buf_of(c, s->u.reduce.buf->t);
    const te_tensor *t = b->lp->t;
    ll_dtype dt = (ll_dtype)t->dtype;
    te_op op = s->u.reduce.op;
    te_ref idx[TE_MAX_DIM], value = cg_prep(c, s->u.reduce.value);
    for (int i = 0; i < t->ndim; i++) idx[i] = cg_prep(c, s->u.reduce.idx[i]);
    unsigned on = cg_access_axes(c, b, idx), all = (1u << c->n_vec) - 1;
    int64_t at[CG_MAX_LANES];
    if (b->e) cg_reg_place(c, b, idx, on, false, at);
    if (b->e && !on && all) {
        reduce_pending(c, b, at[0], op, value, all);
        return;
    }
    cg_place p;
    cg_v old, next;
    if (b->e) {
        old = cg_reg_get(c, b, at, cg_lanes(c, on));
    } else {
        cg_place_of(c, b, idx, &p);
        old = cg_mem_load(c, &p, dt, cg_mask_for(c, p.axes));
    }
    if (on == all)
        next = combined(c, op, old, value, on);
    else
        next =
            cg_combine(c, op, dt, old, fold(c, op, dt, masked_value(c, op, value, all), all, on));
    if (b->e) {
        put_reg(c, b, at, on, next);
        return;
    }
    cg_mem_store(c, &p, dt, next, cg_mask_for(c, p.axes));
    c->mem_epoch++;
}

/* ---- the rest ---- */

static void if_stmt(cg *c, lp_stmt *s)
{
    te_ref cond = cg_prep(c, s->u.guard.cond);
    if (cond->op == TE_INT) {
        block(c, cond->u.i ? s->u.guard.then : s->u.guard.otherwise);
        return;
    }
    cg_val v = cg_eval(c, cond), old = c->mask;
    if (!v.axes && !old.v) {
        cg_fork f;
        cg_fork_begin(c, &f, v.v, s->u.guard.then, s->u.guard.otherwise);
        block(c, s->u.guard.then);
        cg_fork_else(c, &f);
        block(c, s->u.guard.otherwise);
        cg_fork_end(c, &f);
        return;
    }
    for (int side = 0; side < 2; side++) {
        lp_stmt *b = side ? s->u.guard.otherwise : s->u.guard.then;
        if (!b) continue;
        c->mask = cg_and_mask(c, old, side ? (cg_val){LLVMBuildNot(B, v.v, ""), v.axes} : v);
        cg_bb next = cg_block(c, "lanes");
        cg_v br = LLVMBuildBr(B, next);
        LLVMPositionBuilderAtEnd(B, next);
        cg_open(c, br, true, NULL);
        block(c, b);
        cg_shut(c);
        c->mask = old;
        cg_touch(c);
    }
}

static void let_stmt(cg *c, lp_stmt *s)
{
    te_ref value = cg_prep(c, s->u.let.value);
    cg_info info = cg_info_of(c, value);
    if (value->dtype == LL_S64 && !info.load && !info.reg && !info.mem) {
        cg_with_constant(c, s->u.let.var, value, s->u.let.body);
        return;
    }
    int n = c->n_bind;
    cg_push_bind(c, s->u.let.var, cg_eval(c, value), c->cur);
    cg_touch(c);
    block(c, s->u.let.body);
    c->n_bind = n;
    cg_touch(c);
}

static void prefetch_stmt(cg *c, lp_stmt *s)
{
    cg_buf *b = cg_buf_of(c, s->u.prefetch.buf->t);
    te_ref idx[TE_MAX_DIM];
    for (int i = 0; i < b->lp->t->ndim; i++) idx[i] = cg_prep(c, s->u.prefetch.idx[i]);
    if (b->e || c->gpu) return;
    cg_place p;
    cg_place_of(c, b, idx, &p);
    int level = s->u.prefetch.level;
    for (int i = 0; i < p.lanes; i++) {
        cg_v at;
        if (p.dyn) {
            cg_v off = LLVMBuildAShr(B, cg_extract(c, p.dyn, i), cg_int(c, c->i64, 3), "");
            at = LLVMBuildGEP2(B, c->i8, b->base, &off, 1, "");
        } else {
            at = cg_place_ptr(c, &p, p.off[i] / 8);
        }
        cg_v arg[4] = {at, cg_int(c, c->i32, 0),
                       cg_int(c, c->i32, level < 1 || level > 3 ? 3 : 4 - level),
                       cg_int(c, c->i32, 1)};
        cg_call(c, "llvm.prefetch", &c->ptr, 1, arg, 4);
    }
}

static void stmt(cg *c, lp_stmt *s)
{
    if (c->claimed)
        cg_fail(c, LL_NOT_LEGAL, "codegen: kernel '%s' has statements after its claimed loop",
                c->fn->name);
    ll_map_finish(&c->info);
    memset(&c->info, 0, sizeof c->info);
    switch (s->kind) {
    case LP_FOR: cg_for(c, s); return;
    case LP_ALLOC: alloc_stmt(c, s); return;
    case LP_STORE: store_stmt(c, s); return;
    case LP_REDUCE: reduce_stmt(c, s); return;
    case LP_IF: if_stmt(c, s); return;
    case LP_LET: let_stmt(c, s); return;
    case LP_PREFETCH: prefetch_stmt(c, s); return;
    default:
        if (c->gpu) {
            cg_gpu_stmt(c, s);
            return;
        }
        cg_fail(c, LL_NOT_LEGAL, "codegen: kernel '%s' has a statement that only GPUs have: %s",
                c->fn->name, lp_show(s));
    }
}

static void block(cg *c, lp_stmt *s)
{
    for (; s; s = s->next) stmt(c, s);
}

void cg_block_of(cg *c, lp_stmt *s) { block(c, s); }
