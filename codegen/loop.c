/* loop.c: loops and branches. Unrolled loops are walked once per value with the index as a
 * constant; vector loops become lanes (in pieces of powers of two); serial loops are do-while with
 * their index, the register buffers they write and scaled indices as phis. A loop that may run zero
 * times stands inside a branch. An extent that differs between vector lanes runs to the greatest,
 * under a mask.
 *
 *     for i < n {            pre:   br n > 0, body, join        body: i = phi(0, i + 1)
 *       acc[l] += ...               (left out when n >= 1)            acc = phi(initial, next)
 *     }                      join:  acc = phi(...)                    br i + 1 < n, body, join
 *
 * Refused: loops bound to GPUs, a second claimed loop. */
#include "codegen/cg.h"

#include <string.h>

#define B (c->b)

enum { MAX_PIECES = 8 };

void cg_push_vec(cg *c, te_ref axis, int extent)
{
    int lanes = cg_lanes(c, (1u << c->n_vec) - 1);
    if (c->n_vec == CG_MAX_VEC || lanes * extent > CG_MAX_LANES)
        cg_fail(
            c, LL_NOT_LEGAL,
            "codegen: vector loop '%s': more than %d lanes or %d vector loops inside each other",
            te_show(axis), CG_MAX_LANES, CG_MAX_VEC);
    c->vec[c->n_vec].axis = axis;
    c->vec[c->n_vec++].extent = extent;
    cg_touch(c);
}

static void push_env(cg *c, te_ref from, te_ref to)
{
    if (c->n_env == CG_MAX_ENV)
        cg_fail(c, LL_UNSUPPORTED,
                "codegen: more than %d unrolled loops and lets inside each other", CG_MAX_ENV);
    c->env_from[c->n_env] = from;
    c->env_to[c->n_env++] = to;
    cg_touch(c);
}

cg_bind *cg_push_bind(cg *c, te_ref node, cg_val v, int scope)
{
    if (c->n_bind == CG_MAX_BIND)
        cg_fail(c, LL_UNSUPPORTED, "codegen: more than %d loops and lets inside each other",
                CG_MAX_BIND);
    c->bind[c->n_bind] = (cg_bind){node, v, scope};
    return &c->bind[c->n_bind++];
}

/* ---- which register buffers a piece of code writes ---- */

static bool note_write(lp_stmt *s, void *ctx)
{
    cg_writes *w = ctx;
    const lp_buf *lp = s->kind == LP_STORE      ? s->u.store.buf
                       : s->kind == LP_REDUCE   ? s->u.reduce.buf
                       : s->kind == LP_SHUFFLE  ? s->u.shuffle.dst
                       : s->kind == LP_MMA      ? s->u.mma.buf[0]
                       : s->kind == LP_LDMATRIX ? s->u.ldmatrix.dst
                                                : NULL;
    if (!lp) return true;
    cg_buf *b = ll_map_get_ptr(&w->c->bufs, lp);
    if (!b || !b->e) return true; /* memory, or a buffer that lives inside */
    for (int i = 0; i < w->n; i++)
        if (w->b[i] == b) return true;
    if (w->n == 64)
        cg_fail(w->c, LL_UNSUPPORTED, "codegen: a loop writes more than 64 register buffers");
    w->b[w->n++] = b;
    return true;
}

static cg_writes written_in(cg *c, lp_stmt *s)
{
    cg_writes w = {.c = c};
    lp_walk(s, note_write, &w);
    return w;
}

/* ---- branches ---- */

static cg_elem *copy_elems(cg *c, const cg_buf *b)
{
    cg_elem *e = ll_alloc(&c->arena, sizeof *e * (size_t)(b->n ? b->n : 1));
    memcpy(e, b->e, sizeof *e * (size_t)b->n);
    return e;
}

void cg_fork_begin(cg *c, cg_fork *f, cg_v cond, lp_stmt *a, lp_stmt *b)
{
    f->w = written_in(c, a);
    cg_writes more = written_in(c, b);
    for (int i = 0; i < more.n; i++) {
        bool seen = false;
        for (int k = 0; k < f->w.n; k++) seen = seen || f->w.b[k] == more.b[i];
        if (!seen && f->w.n < 64) f->w.b[f->w.n++] = more.b[i];
    }
    for (int i = 0; i < f->w.n; i++) {
        cg_reg_flush(c, f->w.b[i]);
        f->before[i] = copy_elems(c, f->w.b[i]);
    }
    cg_bb then = cg_block(c, "then");
    f->other = cg_block(c, "else");
    f->join = cg_block(c, "join");
    cg_v br = LLVMBuildCondBr(B, cond, then, f->other);
    LLVMPositionBuilderAtEnd(B, then);
    cg_open(c, br, true, NULL);
}

void cg_fork_else(cg *c, cg_fork *f)
{
    for (int i = 0; i < f->w.n; i++) {
        cg_buf *b = f->w.b[i];
        cg_reg_flush(c, b);
        f->after[i] = cg_reg_groups(c, b);
        f->value[i] = ll_alloc(&c->arena, sizeof(cg_v) * (size_t)(f->after[i].n + 1));
        for (int k = 0; k < f->after[i].n; k++)
            f->value[i][k] = cg_group_value(c, b, &f->after[i].group[k], NULL);
        memcpy(b->e, f->before[i], sizeof *b->e * (size_t)b->n);
    }
    f->then_end = LLVMGetInsertBlock(B);
    LLVMBuildBr(B, f->join);
    cg_v br = c->scope[c->top].opener;
    cg_shut(c);
    LLVMPositionBuilderAtEnd(B, f->other);
    cg_open(c, br, true, NULL);
}

void cg_fork_end(cg *c, cg_fork *f)
{
    cg_v *other[64];
    for (int i = 0; i < f->w.n; i++) {
        cg_reg_flush(c, f->w.b[i]);
        other[i] = ll_alloc(&c->arena, sizeof(cg_v) * (size_t)(f->after[i].n + 1));
        for (int k = 0; k < f->after[i].n; k++)
            other[i][k] = cg_group_value(c, f->w.b[i], &f->after[i].group[k], NULL);
    }
    cg_bb else_end = LLVMGetInsertBlock(B);
    LLVMBuildBr(B, f->join);
    cg_shut(c);
    LLVMPositionBuilderAtEnd(B, f->join);
    for (int i = 0; i < f->w.n; i++)
        for (int k = 0; k < f->after[i].n; k++) {
            cg_v v = f->value[i][k];
            if (v != other[i][k]) {
                cg_v in[2] = {v, other[i][k]};
                cg_bb from[2] = {f->then_end, else_end};
                v = LLVMBuildPhi(B, LLVMTypeOf(in[0]), "");
                LLVMAddIncoming(v, in, from, 2);
            }
            cg_group_set(c, f->w.b[i], &f->after[i].group[k], v);
        }
}

/* ---- loops ---- */

typedef struct run {
    cg_loop loop;
    cg_v n;
    cg_writes w;
    cg_groups *g;
    cg_v **init;
    int n_bind;
} run;

static int64_t widest(const cg *c, int64_t most, int64_t n)
{
    int64_t w = 1;
    int64_t room = CG_MAX_LANES / cg_lanes(c, (1u << c->n_vec) - 1);
    while (w * 2 <= n && w * 2 <= most && w * 2 <= room) w *= 2;
    return w;
}

static int64_t first_width(cg *c, te_ref extent)
{
    int64_t w = c->target->vector_bytes / 4;
    if (extent->op != TE_INT || (extent->u.i > 64 && extent->u.i > MAX_PIECES * w)) return w;
    return widest(c, 64, extent->u.i);
}

typedef struct reads {
    const te_tensor *t;
    bool found;
} reads;

static te_ref note_read(te_ref e, void *ctx)
{
    reads *r = ctx;
    r->found = r->found || te_loads(e, r->t);
    return e;
}

static bool note_use(lp_stmt *s, void *ctx)
{
    reads *r = ctx;
    if (s->kind == LP_STORE && s->u.store.buf->t == r->t) r->found = true;
    lp_each_expr(s, note_read, r);
    return !r->found;
}

/* Is an element of b read or set below s, other than by sums into it? */
static bool used_in(const cg_buf *b, lp_stmt *s)
{
    reads r = {b->lp->t, false};
    lp_walk(s, note_use, &r);
    return r.found;
}

/* Sums of vector lanes into one register element, below s: their lanes are carried round the loop
 * and combined when the element is read (unless the loop itself reads it). `vec`: the vector loops
 * round the statement, `lanes` their lanes. */
static void plan_pending(cg *c, lp_stmt *loop, lp_stmt *s, te_ref *vec, int n_vec, int64_t lanes)
{
    for (; s; s = s->next) {
        if (s->kind == LP_FOR) {
            te_ref n = cg_prep(c, s->u.loop.var->u.axis->extent);
            bool v = s->u.loop.how == LP_VECTOR && !s->u.loop.intrin && n_vec < CG_MAX_VEC &&
                     !te_is_int(n, 1);
            if (v) vec[n_vec] = s->u.loop.var;
            plan_pending(c, loop, s->u.loop.body, vec, n_vec + v,
                         v ? lanes * first_width(c, n) : lanes);
        } else if (s->kind == LP_ALLOC) {
            plan_pending(c, loop, s->u.alloc.body, vec, n_vec, lanes);
        } else if (s->kind == LP_LET) {
            plan_pending(c, loop, s->u.let.body, vec, n_vec, lanes);
        } else if (s->kind == LP_REDUCE && lanes > 1 && lanes <= CG_MAX_LANES) {
            cg_buf *b = ll_map_get_ptr(&c->bufs, s->u.reduce.buf);
            bool on = !b || !b->e || b->n > 64 || s->u.reduce.op == TE_ARGMAX || used_in(b, loop);
            for (int i = 0; !on && i < b->lp->t->ndim; i++) {
                te_ref at = cg_prep(c, s->u.reduce.idx[i]);
                for (int k = 0; k < n_vec; k++) on = on || te_uses(at, vec[k]);
            }
            for (int64_t i = 0; !on && i < b->n; i++) {
                if (b->e[i].pend) continue;
                b->pend_op = s->u.reduce.op;
                b->e[i].pend = cg_identity(c, b->pend_op, (ll_dtype)b->lp->t->dtype, (int)lanes);
            }
        }
    }
}

static void carry_in(cg *c, run *r)
{
    r->g = ll_alloc(&c->arena, sizeof *r->g * 64);
    r->init = ll_alloc(&c->arena, sizeof *r->init * 64);
    for (int i = 0; i < r->w.n; i++) {
        r->g[i] = cg_reg_groups(c, r->w.b[i]);
        r->init[i] = ll_alloc(&c->arena, sizeof(cg_v) * (size_t)(r->g[i].n + 1));
        for (int k = 0; k < r->g[i].n; k++)
            r->init[i][k] = cg_group_value(c, r->w.b[i], &r->g[i].group[k], NULL);
    }
    r->loop.pre = LLVMGetInsertBlock(B);
    r->loop.head = cg_block(c, "loop");
    cg_v br = LLVMBuildBr(B, r->loop.head);
    LLVMPositionBuilderAtEnd(B, r->loop.head);
    for (int i = 0; i < r->w.n; i++)
        for (int k = 0; k < r->g[i].n; k++) {
            cg_group *g = &r->g[i].group[k];
            g->phi = LLVMBuildPhi(B, LLVMTypeOf(r->init[i][k]), "");
            LLVMAddIncoming(g->phi, &r->init[i][k], &r->loop.pre, 1);
            cg_group_set(c, r->w.b[i], g, g->phi);
        }
    r->loop.iv = LLVMBuildPhi(B, c->i64, "");
    cg_v zero = cg_int(c, c->i64, 0);
    LLVMAddIncoming(r->loop.iv, &zero, &r->loop.pre, 1);
    cg_open(c, br, false, &r->loop);
}

static void loop_begin(cg *c, run *r, te_ref var, cg_v n, lp_stmt *body)
{
    r->n = n;
    r->loop.n_scaled = r->loop.n_cursor = 0;
    r->w = written_in(c, body);
    r->n_bind = c->n_bind;
    te_ref vec[CG_MAX_VEC];
    if (!c->n_vec) plan_pending(c, body, body, vec, 0, 1);
    carry_in(c, r);
    cg_push_bind(c, var, (cg_val){r->loop.iv, 0}, c->top);
}

/* Pending lanes that the loop does not carry (another width, an unplanned sum) are combined inside
 * it. */
static void keep_planned(cg *c, cg_buf *b, const cg_groups *g)
{
    for (int64_t i = 0; i < b->n; i++) {
        bool planned = false;
        for (int k = 0; k < g->n; k++)
            planned = planned || (g->group[k].pend && g->group[k].at[0] == i && b->e[i].pend &&
                                  LLVMTypeOf(g->group[k].phi) == LLVMTypeOf(b->e[i].pend));
        if (!planned && b->e[i].pend) cg_reg_get(c, b, &i, 1);
    }
}

static void loop_end(cg *c, run *r)
{
    cg_v *next[64];
    for (int i = 0; i < r->w.n; i++) {
        next[i] = ll_alloc(&c->arena, sizeof(cg_v) * (size_t)(r->g[i].n + 1));
        keep_planned(c, r->w.b[i], &r->g[i]);
        for (int k = 0; k < r->g[i].n; k++)
            next[i][k] = cg_group_value(c, r->w.b[i], &r->g[i].group[k], LLVMTypeOf(r->init[i][k]));
    }
    cg_v one = cg_int(c, c->i64, 1), i2 = LLVMBuildAdd(B, r->loop.iv, one, "");
    cg_v scaled[CG_MAX_SCALED];
    for (int i = 0; i < r->loop.n_scaled; i++)
        scaled[i] =
            LLVMBuildAdd(B, r->loop.scaled[i].phi, cg_int(c, c->i64, r->loop.scaled[i].step), "");
    cg_v walked[CG_MAX_SCALED];
    for (int i = 0; i < r->loop.n_cursor; i++) {
        cg_v step = cg_int(c, c->i64, r->loop.cursor[i].step);
        walked[i] = LLVMBuildGEP2(B, c->i8, r->loop.cursor[i].phi, &step, 1, "");
    }
    cg_bb latch = LLVMGetInsertBlock(B), exit = cg_block(c, "done");
    LLVMAddIncoming(r->loop.iv, &i2, &latch, 1);
    for (int i = 0; i < r->loop.n_cursor; i++)
        LLVMAddIncoming(r->loop.cursor[i].phi, &walked[i], &latch, 1);
    for (int i = 0; i < r->loop.n_scaled; i++)
        LLVMAddIncoming(r->loop.scaled[i].phi, &scaled[i], &latch, 1);
    for (int i = 0; i < r->w.n; i++)
        for (int k = 0; k < r->g[i].n; k++) {
            cg_v phi = r->g[i].group[k].phi;
            LLVMAddIncoming(phi, &next[i][k], &latch, 1);
            if (next[i][k] != phi) continue;
            next[i][k] = r->init[i][k]; /* the loop leaves it alone */
            LLVMReplaceAllUsesWith(phi, next[i][k]);
        }
    LLVMBuildCondBr(B, LLVMBuildICmp(B, LLVMIntULT, i2, r->n, ""), r->loop.head, exit);
    cg_shut(c);
    LLVMPositionBuilderAtEnd(B, exit);
    c->n_bind = r->n_bind;
    for (int i = 0; i < r->w.n; i++)
        for (int k = 0; k < r->g[i].n; k++)
            cg_group_set(c, r->w.b[i], &r->g[i].group[k], next[i][k]);
    cg_touch(c);
}

/* The body once more, for `n` values of var: guarded when there may be none. */
static void counted_loop(cg *c, te_ref var, cg_v n, bool maybe_none, lp_stmt *body,
                         const cg_val *lanes)
{
    cg_fork f;
    run *r = LL_NEW(&c->arena, run);
    cg_val old = c->mask;
    if (maybe_none)
        cg_fork_begin(c, &f, LLVMBuildICmp(B, LLVMIntSGT, n, cg_int(c, c->i64, 0), ""), body, NULL);
    cg_promoted p = cg_promote(c, body);
    loop_begin(c, r, var, n, body);
    if (lanes) { /* lanes whose own extent is passed rest */
        cg_v at = cg_splat(c, r->loop.iv, cg_width(lanes->v));
        cg_val on = {LLVMBuildICmp(B, LLVMIntSLT, at, lanes->v, ""), lanes->axes};
        c->mask = cg_and_mask(c, old, on);
        cg_touch(c);
    }
    cg_block_of(c, body);
    c->mask = old;
    loop_end(c, r);
    cg_demote(c, &p);
    if (!maybe_none) return;
    cg_fork_else(c, &f);
    cg_fork_end(c, &f);
}

static void serial_loop(cg *c, te_ref var, te_ref extent, lp_stmt *body)
{
    cg_val n = cg_eval(c, extent);
    if (n.axes)
        counted_loop(c, var, cg_across(c, TE_MAXR, LL_S64, n.v), true, body, &n);
    else
        counted_loop(c, var, n.v, te_range_of(extent).lo < 1, body, NULL);
}

void cg_with_constant(cg *c, te_ref var, te_ref value, lp_stmt *body)
{
    int env = c->n_env;
    push_env(c, var, value);
    cg_block_of(c, body);
    c->n_env = env;
    cg_touch(c);
}

/* ---- vector loops ---- */

/* The axis over the lanes of a piece of `width` values of `var`: the same one each time. */
static te_ref piece_axis(cg *c, te_ref var, int64_t width)
{
    struct {
        te_ref var;
        int64_t width;
    } key = {var, width};
    te_ref a = ll_map_get(&c->chunk, &key, sizeof key);
    if (a) return a;
    a = te_axis(c->g, var->u.axis->name, te_int(c->g, width));
    ll_map_set(&c->chunk, &key, sizeof key, (void *)(uintptr_t)a);
    return a;
}

static void vector_piece(cg *c, te_ref var, te_ref first, int64_t width, lp_stmt *body)
{
    if (width == 1) {
        cg_with_constant(c, var, first, body);
        return;
    }
    te_ref lane = te_is_int(first, 0) && te_is_int(var->u.axis->extent, width)
                      ? var
                      : piece_axis(c, var, width);
    int n_vec = c->n_vec, env = c->n_env;
    if (lane != var) push_env(c, var, te_simplify(c->g, te_add(first, lane)));
    cg_push_vec(c, lane, (int)width);
    cg_block_of(c, body);
    c->n_vec = n_vec;
    c->n_env = env;
    cg_touch(c);
}

/* first .. first + n, n a constant, in pieces of powers of two */
static void vector_pieces(cg *c, te_ref var, te_ref first, int64_t n, int64_t most, lp_stmt *body)
{
    for (int64_t at = 0, w; at < n; at += w) {
        w = widest(c, most, n - at);
        vector_piece(c, var, te_simplify(c->g, te_addi(first, at)), w, body);
    }
}

/* A serial loop over pieces of `w`, then the rest one by one (or, when constant, in smaller
 * pieces). */
static void vector_long(cg *c, te_ref var, te_ref extent, int64_t w, lp_stmt *body)
{
    te_ref whole = te_simplify(c->g, te_divi(extent, w)),
           o = te_axis(c->g, var->u.axis->name, whole);
    te_ref first = te_muli(o, w);
    bool maybe_none = te_range_of(whole).lo < 1;
    cg_fork f;
    run *r = LL_NEW(&c->arena, run);
    cg_v n = cg_eval(c, whole).v;
    if (maybe_none)
        cg_fork_begin(c, &f, LLVMBuildICmp(B, LLVMIntSGT, n, cg_int(c, c->i64, 0), ""), body, NULL);
    loop_begin(c, r, o, n, body);
    vector_piece(c, var, first, w, body);
    loop_end(c, r);
    if (maybe_none) {
        cg_fork_else(c, &f);
        cg_fork_end(c, &f);
    }
    te_ref done = te_simplify(c->g, te_muli(whole, w)),
           left = te_simplify(c->g, te_modi(extent, w));
    if (left->op == TE_INT) {
        vector_pieces(c, var, done, left->u.i, w, body);
        return;
    }
    te_ref one = te_axis(c->g, var->u.axis->name, left);
    int env = c->n_env;
    push_env(c, var, te_simplify(c->g, te_add(done, one)));
    serial_loop(c, one, left, body);
    c->n_env = env;
    cg_touch(c);
}

static void vector_loop(cg *c, te_ref var, te_ref extent, lp_stmt *body)
{
    int64_t w = c->target->vector_bytes / 4;
    if (extent->op != TE_INT)
        vector_long(c, var, extent, w, body);
    else if (extent->u.i <= 64 || extent->u.i <= MAX_PIECES * w)
        vector_pieces(c, var, te_int(c->g, 0), extent->u.i, 64, body);
    else
        vector_long(c, var, extent, w, body);
}

/* ---- the loop over parts ---- */

static cg_v claim(cg *c)
{
    cg_v slot = LLVMBuildLoad2(B, c->ptr, c->team, "claim");
    cg_t arg[2] = {c->ptr, c->i32}, fn = LLVMFunctionType(c->i64, arg, 2, 0);
    return LLVMBuildCall2(B, fn, slot, (cg_v[]){c->team, c->thread}, 2, "part");
}

static void claim_loop(cg *c, lp_stmt *s)
{
    if (c->claimed || c->top)
        cg_fail(c, LL_NOT_LEGAL, "codegen: '%s': a kernel has one claimed loop, at its top level",
                te_show(s->u.loop.var));
    if (written_in(c, s->u.loop.body).n)
        cg_fail(c, LL_NOT_LEGAL, "codegen: parts of '%s' write registers that live outside of them",
                te_show(s->u.loop.var));
    cg_bb pre = LLVMGetInsertBlock(B), head = cg_block(c, "part"), exit = cg_block(c, "no_part");
    cg_v br = LLVMBuildBr(B, head);
    LLVMPositionBuilderAtEnd(B, head);
    cg_v part = LLVMBuildPhi(B, c->i64, "part");
    LLVMAddIncoming(part, &c->first_part, &pre, 1);
    int n = c->n_bind;
    cg_open(c, br, false, NULL);
    cg_push_bind(c, s->u.loop.var, (cg_val){part, 0}, c->top);
    cg_block_of(c, s->u.loop.body);
    cg_v next = claim(c);
    cg_bb latch = LLVMGetInsertBlock(B);
    LLVMAddIncoming(part, &next, &latch, 1);
    LLVMBuildCondBr(B, LLVMBuildICmp(B, LLVMIntSGE, next, cg_int(c, c->i64, 0), ""), head, exit);
    cg_shut(c);
    c->n_bind = n;
    LLVMPositionBuilderAtEnd(B, exit);
    c->claimed = true;
}

cg_v cg_claim(cg *c) { return claim(c); }

static void rotate_loop(cg *c, lp_stmt *s, te_ref extent)
{
    int n = s->u.loop.rotate < 1 ? 1 : s->u.loop.rotate;
    te_ref turns = te_simplify(c->g, te_divi(te_addi(extent, n - 1), n)),
           o = te_axis(c->g, s->u.loop.var->u.axis->name, turns);
    bool even = te_cong_of(extent).mod % n == 0 && te_cong_of(extent).rem % n == 0;
    cg_fork f, last;
    run *r = LL_NEW(&c->arena, run);
    cg_v many = cg_eval(c, turns).v;
    bool maybe_none = te_range_of(turns).lo < 1;
    if (maybe_none)
        cg_fork_begin(c, &f, LLVMBuildICmp(B, LLVMIntSGT, many, cg_int(c, c->i64, 0), ""),
                      s->u.loop.body, NULL);
    loop_begin(c, r, o, many, s->u.loop.body);
    for (int k = 0; k < n; k++) {
        te_ref at = te_addi(te_muli(o, n), k);
        bool test = k && !even;
        if (test)
            cg_fork_begin(c, &last, cg_eval(c, te_simplify(c->g, te_lt(at, extent))).v,
                          s->u.loop.body, NULL);
        cg_with_constant(c, s->u.loop.var, at, s->u.loop.body);
        if (test) {
            cg_fork_else(c, &last);
            cg_fork_end(c, &last);
        }
    }
    loop_end(c, r);
    if (!maybe_none) return;
    cg_fork_else(c, &f);
    cg_fork_end(c, &f);
}

void cg_for(cg *c, lp_stmt *s)
{
    te_ref var = s->u.loop.var, n = cg_prep(c, var->u.axis->extent);
    lp_stmt *body = s->u.loop.body;
    if (s->u.loop.intrin) {
        cg_dot(c, s);
        return;
    }
    if (s->u.loop.how == LP_CLAIM) {
        claim_loop(c, s);
        return;
    }
    if (c->gpu && (s->u.loop.how == LP_SPMD || s->u.loop.how <= LP_BLOCK_Z) &&
        s->u.loop.how >= LP_BLOCK_X) {
        cg_gpu_loop(c, s);
        return;
    }
    if (s->u.loop.how >= LP_BLOCK_X)
        cg_fail(c, LL_NOT_LEGAL, "codegen: loop '%s' is bound to a GPU, the target is %s",
                te_show(var), c->target->name);
    if (n->op == TE_INT && n->u.i <= 0) return;
    if (n->op == TE_INT && n->u.i == 1) {
        cg_with_constant(c, var, te_int(c->g, 0), body);
        return;
    }
    if (cg_info_of(c, n).axes) {
        serial_loop(c, var, n, body);
    } else if (s->u.loop.how == LP_UNROLL) {
        if (n->op != TE_INT)
            cg_fail(c, LL_NOT_LEGAL,
                    "codegen: loop '%s' is to be unrolled and its extent %s is not constant",
                    te_show(var), te_show(n));
        for (int64_t i = 0; i < n->u.i; i++) cg_with_constant(c, var, te_int(c->g, i), body);
    } else if (s->u.loop.how == LP_VECTOR) {
        vector_loop(c, var, n, body);
    } else if (s->u.loop.how == LP_ROTATE) {
        rotate_loop(c, s, n);
    } else {
        serial_loop(c, var, n, body);
    }
}
