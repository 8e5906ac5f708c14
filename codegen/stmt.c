/* stmt.c: statements and loops. Unrolled loops are walked once per value with the index as a constant; vector loops
 * become lanes (in pieces of powers of two); serial loops are do-while with their index, the register buffers they
 * write and scaled indices as phis. A loop that may run zero times stands inside a branch.
 *
 *     for i < n {            pre:   br n > 0, body, join        body: i = phi(0, i + 1)
 *       acc[l] += ...               (left out when n >= 1)            acc = phi(initial, next)
 *     }                      join:  acc = phi(...)                    br i + 1 < n, body, join
 *
 * Refused: what only GPUs do (sync, asynchronous copies, roles), conditions that differ between lanes of a claimed
 * loop, stores of several lanes to one element. */
#include "codegen/cg.h"

#include <string.h>

#define B (c->b)

enum { MAX_PIECES = 8 };

static void block(cg *c, lp_stmt *s);

void cg_push_vec(cg *c, te_ref axis, int extent)
{
    int lanes = cg_lanes(c, (1u << c->n_vec) - 1);
    if (c->n_vec == CG_MAX_VEC || lanes * extent > CG_MAX_LANES)
        cg_fail(c, LL_NOT_LEGAL, "codegen: vector loop '%s': more than %d lanes or %d vector loops inside each other",
                te_show(axis), CG_MAX_LANES, CG_MAX_VEC);
    c->vec[c->n_vec].axis = axis;
    c->vec[c->n_vec++].extent = extent;
    cg_touch(c);
}

static void push_env(cg *c, te_ref from, te_ref to)
{
    if (c->n_env == CG_MAX_ENV) cg_fail(c, LL_UNSUPPORTED, "codegen: more than %d unrolled loops and lets inside each other", CG_MAX_ENV);
    c->env_from[c->n_env] = from;
    c->env_to[c->n_env++] = to;
    cg_touch(c);
}

static cg_bind *push_bind(cg *c, te_ref node, cg_val v, int scope)
{
    if (c->n_bind == CG_MAX_BIND) cg_fail(c, LL_UNSUPPORTED, "codegen: more than %d loops and lets inside each other", CG_MAX_BIND);
    c->bind[c->n_bind] = (cg_bind){node, v, scope};
    return &c->bind[c->n_bind++];
}

/* ---- which register buffers a piece of code writes -------------------------------------------------------------- */

typedef struct writes {
    cg *c;
    int n;
    cg_buf *b[64];
} writes;

static bool note_write(lp_stmt *s, void *ctx)
{
    writes *w = ctx;
    if (s->kind != LP_STORE && s->kind != LP_REDUCE) return true;
    const lp_buf *lp = s->kind == LP_STORE ? s->u.store.buf : s->u.reduce.buf;
    cg_buf *b = ll_map_get_ptr(&w->c->bufs, lp);
    if (!b || !b->e) return true; /* memory, or a buffer that lives inside */
    for (int i = 0; i < w->n; i++)
        if (w->b[i] == b) return true;
    if (w->n == 64) cg_fail(w->c, LL_UNSUPPORTED, "codegen: a loop writes more than 64 register buffers");
    w->b[w->n++] = b;
    return true;
}

static writes written_in(cg *c, lp_stmt *s)
{
    writes w = {.c = c};
    lp_walk(s, note_write, &w);
    return w;
}

/* ---- branches ------------------------------------------------------------------------------------------------------- */

typedef struct fork {
    writes w;
    cg_elem *before[64];
    cg_groups after[64];
    cg_v *value[64];
    cg_bb then_end, other, join;
} fork;

static cg_elem *copy_elems(cg *c, const cg_buf *b)
{
    cg_elem *e = ll_alloc(&c->arena, sizeof *e * (size_t)(b->n ? b->n : 1));
    memcpy(e, b->e, sizeof *e * (size_t)b->n);
    return e;
}

static void fork_begin(cg *c, fork *f, cg_v cond, lp_stmt *a, lp_stmt *b)
{
    f->w = written_in(c, a);
    writes more = written_in(c, b);
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

static void fork_else(cg *c, fork *f)
{
    for (int i = 0; i < f->w.n; i++) {
        cg_buf *b = f->w.b[i];
        cg_reg_flush(c, b);
        f->after[i] = cg_reg_groups(c, b);
        f->value[i] = ll_alloc(&c->arena, sizeof(cg_v) * (size_t)(f->after[i].n + 1));
        for (int k = 0; k < f->after[i].n; k++) f->value[i][k] = cg_group_value(c, b, &f->after[i].group[k], NULL);
        memcpy(b->e, f->before[i], sizeof *b->e * (size_t)b->n);
    }
    f->then_end = LLVMGetInsertBlock(B);
    LLVMBuildBr(B, f->join);
    cg_v br = c->scope[c->top].opener;
    cg_shut(c);
    LLVMPositionBuilderAtEnd(B, f->other);
    cg_open(c, br, true, NULL);
}

static void fork_end(cg *c, fork *f)
{
    cg_v *other[64];
    for (int i = 0; i < f->w.n; i++) {
        cg_reg_flush(c, f->w.b[i]);
        other[i] = ll_alloc(&c->arena, sizeof(cg_v) * (size_t)(f->after[i].n + 1));
        for (int k = 0; k < f->after[i].n; k++) other[i][k] = cg_group_value(c, f->w.b[i], &f->after[i].group[k], NULL);
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

/* ---- loops ------------------------------------------------------------------------------------------------------------ */

typedef struct run {
    cg_loop loop;
    cg_v n;
    writes w;
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

/* Sums of vector lanes into one register element, below s: their lanes are carried round the loop and combined when
 * the element is read (unless the loop itself reads it). `vec`: the vector loops round the statement, `lanes` their lanes. */
static void plan_pending(cg *c, lp_stmt *loop, lp_stmt *s, te_ref *vec, int n_vec, int64_t lanes)
{
    for (; s; s = s->next) {
        if (s->kind == LP_FOR) {
            te_ref n = cg_prep(c, s->u.loop.var->u.axis->extent);
            bool v = s->u.loop.how == LP_VECTOR && !s->u.loop.intrin && n_vec < CG_MAX_VEC && !te_is_int(n, 1);
            if (v) vec[n_vec] = s->u.loop.var;
            plan_pending(c, loop, s->u.loop.body, vec, n_vec + v, v ? lanes * first_width(c, n) : lanes);
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
    push_bind(c, var, (cg_val){r->loop.iv, 0}, c->top);
}

/* Pending lanes that the loop does not carry (another width, an unplanned sum) are combined inside it. */
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
        scaled[i] = LLVMBuildAdd(B, r->loop.scaled[i].phi, cg_int(c, c->i64, r->loop.scaled[i].step), "");
    cg_v walked[CG_MAX_SCALED];
    for (int i = 0; i < r->loop.n_cursor; i++) {
        cg_v step = cg_int(c, c->i64, r->loop.cursor[i].step);
        walked[i] = LLVMBuildGEP2(B, c->i8, r->loop.cursor[i].phi, &step, 1, "");
    }
    cg_bb latch = LLVMGetInsertBlock(B), exit = cg_block(c, "done");
    LLVMAddIncoming(r->loop.iv, &i2, &latch, 1);
    for (int i = 0; i < r->loop.n_cursor; i++) LLVMAddIncoming(r->loop.cursor[i].phi, &walked[i], &latch, 1);
    for (int i = 0; i < r->loop.n_scaled; i++) LLVMAddIncoming(r->loop.scaled[i].phi, &scaled[i], &latch, 1);
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
        for (int k = 0; k < r->g[i].n; k++) cg_group_set(c, r->w.b[i], &r->g[i].group[k], next[i][k]);
    cg_touch(c);
}

static void serial_loop(cg *c, te_ref var, te_ref extent, lp_stmt *body)
{
    cg_v n = cg_eval(c, extent).v;
    if (cg_info_of(c, extent).axes) cg_fail(c, LL_NOT_LEGAL, "codegen: the extent of loop '%s' differs between vector lanes", te_show(var));
    bool maybe_none = te_range_of(extent).lo < 1;
    fork f;
    run *r = LL_NEW(&c->arena, run);
    if (maybe_none) fork_begin(c, &f, LLVMBuildICmp(B, LLVMIntSGT, n, cg_int(c, c->i64, 0), ""), body, NULL);
    loop_begin(c, r, var, n, body);
    block(c, body);
    loop_end(c, r);
    if (!maybe_none) return;
    fork_else(c, &f);
    fork_end(c, &f);
}

static void with_constant(cg *c, te_ref var, te_ref value, lp_stmt *body)
{
    int env = c->n_env;
    push_env(c, var, value);
    block(c, body);
    c->n_env = env;
    cg_touch(c);
}

/* ---- vector loops -------------------------------------------------------------------------------------------------------- */

/* The axis over the lanes of a piece of `width` values of `var`: the same one each time. */
static te_ref piece_axis(cg *c, te_ref var, int64_t width)
{
    struct { te_ref var; int64_t width; } key = {var, width};
    te_ref a = ll_map_get(&c->chunk, &key, sizeof key);
    if (a) return a;
    a = te_axis(c->g, var->u.axis->name, te_int(c->g, width));
    ll_map_set(&c->chunk, &key, sizeof key, (void *)(uintptr_t)a);
    return a;
}

static void vector_piece(cg *c, te_ref var, te_ref first, int64_t width, lp_stmt *body)
{
    if (width == 1) {
        with_constant(c, var, first, body);
        return;
    }
    te_ref lane = te_is_int(first, 0) && te_is_int(var->u.axis->extent, width) ? var : piece_axis(c, var, width);
    int n_vec = c->n_vec, env = c->n_env;
    if (lane != var) push_env(c, var, te_simplify(c->g, te_add(first, lane)));
    cg_push_vec(c, lane, (int)width);
    block(c, body);
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

/* A serial loop over pieces of `w`, then the rest one by one (or, when constant, in smaller pieces). */
static void vector_long(cg *c, te_ref var, te_ref extent, int64_t w, lp_stmt *body)
{
    te_ref whole = te_simplify(c->g, te_divi(extent, w)), o = te_axis(c->g, var->u.axis->name, whole);
    te_ref first = te_muli(o, w);
    bool maybe_none = te_range_of(whole).lo < 1;
    fork f;
    run *r = LL_NEW(&c->arena, run);
    cg_v n = cg_eval(c, whole).v;
    if (maybe_none) fork_begin(c, &f, LLVMBuildICmp(B, LLVMIntSGT, n, cg_int(c, c->i64, 0), ""), body, NULL);
    loop_begin(c, r, o, n, body);
    vector_piece(c, var, first, w, body);
    loop_end(c, r);
    if (maybe_none) {
        fork_else(c, &f);
        fork_end(c, &f);
    }
    te_ref done = te_simplify(c->g, te_muli(whole, w)), left = te_simplify(c->g, te_modi(extent, w));
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
    if (extent->op != TE_INT) vector_long(c, var, extent, w, body);
    else if (extent->u.i <= 64 || extent->u.i <= MAX_PIECES * w) vector_pieces(c, var, te_int(c->g, 0), extent->u.i, 64, body);
    else vector_long(c, var, extent, w, body);
}

/* ---- the loop over parts ------------------------------------------------------------------------------------------------------ */

static cg_v claim(cg *c)
{
    cg_v slot = LLVMBuildLoad2(B, c->ptr, c->team, "claim");
    cg_t arg[2] = {c->ptr, c->i32}, fn = LLVMFunctionType(c->i64, arg, 2, 0);
    return LLVMBuildCall2(B, fn, slot, (cg_v[]){c->team, c->thread}, 2, "part");
}

static void claim_loop(cg *c, lp_stmt *s)
{
    if (c->claimed || c->top) cg_fail(c, LL_NOT_LEGAL, "codegen: '%s': a kernel has one claimed loop, at its top level", te_show(s->u.loop.var));
    if (written_in(c, s->u.loop.body).n) cg_fail(c, LL_NOT_LEGAL, "codegen: parts of '%s' write registers that live outside of them", te_show(s->u.loop.var));
    cg_bb pre = LLVMGetInsertBlock(B), head = cg_block(c, "part"), exit = cg_block(c, "no_part");
    cg_v br = LLVMBuildBr(B, head);
    LLVMPositionBuilderAtEnd(B, head);
    cg_v part = LLVMBuildPhi(B, c->i64, "part");
    LLVMAddIncoming(part, &c->first_part, &pre, 1);
    int n = c->n_bind;
    cg_open(c, br, false, NULL);
    push_bind(c, s->u.loop.var, (cg_val){part, 0}, c->top);
    block(c, s->u.loop.body);
    cg_v next = claim(c);
    cg_bb latch = LLVMGetInsertBlock(B);
    LLVMAddIncoming(part, &next, &latch, 1);
    LLVMBuildCondBr(B, LLVMBuildICmp(B, LLVMIntSGE, next, cg_int(c, c->i64, 0), ""), head, exit);
    cg_shut(c);
    c->n_bind = n;
    LLVMPositionBuilderAtEnd(B, exit);
    c->claimed = true;
}

cg_v cg_claim(cg *c)
{
    return claim(c);
}

static void rotate_loop(cg *c, lp_stmt *s, te_ref extent)
{
    int n = s->u.loop.rotate < 1 ? 1 : s->u.loop.rotate;
    te_ref turns = te_simplify(c->g, te_divi(te_addi(extent, n - 1), n)), o = te_axis(c->g, s->u.loop.var->u.axis->name, turns);
    bool even = te_cong_of(extent).mod % n == 0 && te_cong_of(extent).rem % n == 0;
    fork f, last;
    run *r = LL_NEW(&c->arena, run);
    cg_v many = cg_eval(c, turns).v;
    bool maybe_none = te_range_of(turns).lo < 1;
    if (maybe_none) fork_begin(c, &f, LLVMBuildICmp(B, LLVMIntSGT, many, cg_int(c, c->i64, 0), ""), s->u.loop.body, NULL);
    loop_begin(c, r, o, many, s->u.loop.body);
    for (int k = 0; k < n; k++) {
        te_ref at = te_addi(te_muli(o, n), k);
        bool test = k && !even;
        if (test) fork_begin(c, &last, cg_eval(c, te_simplify(c->g, te_lt(at, extent))).v, s->u.loop.body, NULL);
        with_constant(c, s->u.loop.var, at, s->u.loop.body);
        if (test) {
            fork_else(c, &last);
            fork_end(c, &last);
        }
    }
    loop_end(c, r);
    if (!maybe_none) return;
    fork_else(c, &f);
    fork_end(c, &f);
}

static void for_stmt(cg *c, lp_stmt *s)
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
    if (s->u.loop.how >= LP_BLOCK_X)
        cg_fail(c, LL_NOT_LEGAL, "codegen: loop '%s' is bound to a GPU, the target is %s", te_show(var), c->target->name);
    if (n->op == TE_INT && n->u.i <= 0) return;
    if (n->op == TE_INT && n->u.i == 1) {
        with_constant(c, var, te_int(c->g, 0), body);
        return;
    }
    if (s->u.loop.how == LP_UNROLL) {
        if (n->op != TE_INT) cg_fail(c, LL_NOT_LEGAL, "codegen: loop '%s' is to be unrolled and its extent %s is not constant", te_show(var), te_show(n));
        for (int64_t i = 0; i < n->u.i; i++) with_constant(c, var, te_int(c->g, i), body);
    } else if (s->u.loop.how == LP_VECTOR) {
        vector_loop(c, var, n, body);
    } else if (s->u.loop.how == LP_ROTATE) {
        rotate_loop(c, s, n);
    } else {
        serial_loop(c, var, n, body);
    }
}

/* ---- buffers ------------------------------------------------------------------------------------------------------------------- */

static int64_t most(cg *c, const lp_buf *b, te_ref e, const char *what)
{
    te_range r = te_range_of(cg_prep(c, e));
    if (r.hi == INT64_MAX || r.hi < 0)
        cg_fail(c, LL_NOT_LEGAL, "codegen: buffer '%s': %s %s has no upper bound", b->t->name, what, te_show(e));
    return r.hi;
}

static void alloc_registers(cg *c, cg_buf *b)
{
    int64_t n = 1;
    for (int i = 0; i < b->lp->t->ndim; i++) {
        te_ref d = cg_prep(c, b->lp->t->shape[i]);
        if (d->op != TE_INT || d->u.i < 0 || (n *= d->u.i) > 65536)
            cg_fail(c, LL_NOT_LEGAL, "codegen: register buffer '%s' has no constant, modest size", b->lp->t->name);
    }
    b->n = n;
    b->e = ll_alloc(&c->arena, sizeof *b->e * (size_t)(n ? n : 1));
}

static void alloc_scratch(cg *c, cg_buf *b)
{
    const te_tensor *t = b->lp->t;
    const lp_layout *l = b->lp->layout ? b->lp->layout : lp_layout_dense(c->g, t->shape, t->ndim, ll_dtype_bits((ll_dtype)t->dtype));
    te_ref bits = lp_layout_bits(c->g, l, t->shape, t->ndim, ll_dtype_bits((ll_dtype)t->dtype));
    b->scratch = c->scratch_used;
    b->align = 64;
    c->scratch_used += (most(c, b->lp, bits, "size") / 8 + 1 + 63) & ~INT64_C(63);
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
    int64_t used = c->scratch_used;
    if (b->lp->scope == LP_REG) alloc_registers(c, b);
    else if (b->lp->scope == LP_THREAD) alloc_scratch(c, b);
    else cg_fail(c, LL_NOT_LEGAL, "codegen: buffer '%s' is of a scope that a CPU thread does not have", b->lp->t->name);
    ll_map_set_ptr(&c->bufs, b->lp, b);
    cg_touch(c);
    block(c, s->u.alloc.body);
    ll_map_del(&c->bufs, &(uint64_t){(uintptr_t)b->lp}, sizeof(uint64_t));
    c->scratch_used = used;
    cg_touch(c);
}

/* ---- stores and reductions -------------------------------------------------------------------------------------------------------- */

static unsigned axes_of(cg *c, const te_ref *idx, int n)
{
    unsigned a = 0;
    for (int i = 0; i < n; i++) a |= cg_info_of(c, idx[i]).axes;
    return a;
}

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
    unsigned on = axes_of(c, idx, t->ndim);
    if (cg_info_of(c, value).axes & ~on)
        cg_fail(c, LL_NOT_LEGAL, "codegen: several vector lanes store different values to one element of '%s'", t->name);
    cg_val v = cg_eval(c, value);
    if (b->e) {
        int64_t at[CG_MAX_LANES];
        cg_reg_place(c, b, idx, on, at);
        put_reg(c, b, at, on, cg_spread(c, v, on));
        return;
    }
    cg_place p;
    cg_place_of(c, b, idx, &p);
    cg_v all = cg_spread(c, v, p.axes), mask = cg_mask_for(c, p.axes);
    cg_mem_store(c, &p, (ll_dtype)t->dtype, all, mask);
    c->mem_epoch++;
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
        cg_v a = cg_spread(c, cg_eval(c, value->src[0]), axes), b = cg_spread(c, cg_eval(c, value->src[1]), axes);
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
    return LLVMBuildSelect(B, m, v, cg_identity(c, op, (ll_dtype)value->dtype, cg_lanes(c, axes)), "");
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
    if (c->mask.v) v = cg_combine(c, op, t, old, masked_value(c, op, value, axes));
    else v = combined(c, op, old, value, axes);
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
    unsigned on = axes_of(c, idx, t->ndim), all = (1u << c->n_vec) - 1;
    int64_t at[CG_MAX_LANES];
    if (b->e) cg_reg_place(c, b, idx, on, at);
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
    if (on == all) next = combined(c, op, old, value, on);
    else next = cg_combine(c, op, dt, old, fold(c, op, dt, masked_value(c, op, value, all), all, on));
    if (b->e) {
        put_reg(c, b, at, on, next);
        return;
    }
    cg_mem_store(c, &p, dt, next, cg_mask_for(c, p.axes));
    c->mem_epoch++;
}

/* ---- the rest --------------------------------------------------------------------------------------------------------------------- */

static void if_stmt(cg *c, lp_stmt *s)
{
    te_ref cond = cg_prep(c, s->u.guard.cond);
    if (cond->op == TE_INT) {
        block(c, cond->u.i ? s->u.guard.then : s->u.guard.otherwise);
        return;
    }
    cg_val v = cg_eval(c, cond), old = c->mask;
    if (!v.axes && !old.v) {
        fork f;
        fork_begin(c, &f, v.v, s->u.guard.then, s->u.guard.otherwise);
        block(c, s->u.guard.then);
        fork_else(c, &f);
        block(c, s->u.guard.otherwise);
        fork_end(c, &f);
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
        with_constant(c, s->u.let.var, value, s->u.let.body);
        return;
    }
    int n = c->n_bind;
    push_bind(c, s->u.let.var, cg_eval(c, value), c->cur);
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
    if (b->e) return;
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
        cg_v arg[4] = {at, cg_int(c, c->i32, 0), cg_int(c, c->i32, level < 1 || level > 3 ? 3 : 4 - level), cg_int(c, c->i32, 1)};
        cg_call(c, "llvm.prefetch", &c->ptr, 1, arg, 4);
    }
}

static void stmt(cg *c, lp_stmt *s)
{
    if (c->claimed) cg_fail(c, LL_NOT_LEGAL, "codegen: kernel '%s' has statements after its claimed loop", c->fn->name);
    ll_map_finish(&c->info);
    memset(&c->info, 0, sizeof c->info);
    switch (s->kind) {
    case LP_FOR: for_stmt(c, s); return;
    case LP_ALLOC: alloc_stmt(c, s); return;
    case LP_STORE: store_stmt(c, s); return;
    case LP_REDUCE: reduce_stmt(c, s); return;
    case LP_IF: if_stmt(c, s); return;
    case LP_LET: let_stmt(c, s); return;
    case LP_PREFETCH: prefetch_stmt(c, s); return;
    default:
        cg_fail(c, LL_NOT_LEGAL, "codegen: kernel '%s' has a statement that only GPUs have: %s", c->fn->name, lp_show(s));
    }
}

static void block(cg *c, lp_stmt *s)
{
    for (; s; s = s->next) stmt(c, s);
}

void cg_block_of(cg *c, lp_stmt *s)
{
    block(c, s);
}
