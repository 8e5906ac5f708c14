/* loop_eval_code.c: a function's statements as a flat program. Every expression node of a statement
 * gets one slot (shared nodes are computed once a statement); the branch of a select that is not
 * taken is jumped over, as its meaning demands. Constants and dims sit in slots that are set before
 * the run. */
#include <stdlib.h>
#include <string.h>

#include "schedule/loop_eval.h"

typedef struct seen { te_ref e; int32_t slot; } seen;

typedef struct code {
    ev *m;
    const lp_stmt *stmt;
    seen *have; /* nodes of this statement that have a value here */
    int n, cap;
    ll_code status;
} code;

static void *grow(ev *m, void *p, int n, int *cap, size_t size)
{
    if (n < *cap) return p;
    int more = *cap ? *cap * 2 : 64;
    void *q = ll_alloc(&m->arena, size * (size_t)more);
    if (n) memcpy(q, p, size * (size_t)n);
    *cap = more;
    return q;
}

static int32_t new_slot(ev *m)
{
    m->slot = grow(m, m->slot, m->n_slot, &m->cap_slot, sizeof *m->slot);
    return m->n_slot++;
}

static int32_t emit(code *c, ev_op op)
{
    ev *m = c->m;
    m->op = grow(m, m->op, m->n_op, &m->cap_op, sizeof *m->op);
    op.stmt = c->stmt;
    m->op[m->n_op] = op;
    return m->n_op++;
}

static int32_t leaf_slot(ev *m, te_ref e)
{
    uintptr_t at = (uintptr_t)ll_map_get_ptr(&m->leaf, e);
    if (at) return (int32_t)at - 1;
    int32_t s = new_slot(m);
    ll_map_set_ptr(&m->leaf, e, (void *)(uintptr_t)(s + 1));
    return s;
}

static int32_t expr(code *c, te_ref e);

static int32_t access_of(code *c, const lp_buf *b, const te_ref *idx)
{
    ev *m = c->m;
    ev_access a = {.buf = ev_buf_of(m, b->t)};
    for (int i = 0; i < b->t->ndim; i++) a.idx[i] = expr(c, idx[i]);
    m->access = grow(m, m->access, m->n_access, &m->cap_access, sizeof *m->access);
    m->access[m->n_access] = a;
    return m->n_access++;
}

static int fast_code(te_ref e)
{
    int src = e->src[0]->dtype;
    if (src == LL_S64) {
        switch (e->op) {
        case TE_ADD: return EV_ADD;
        case TE_SUB: return EV_SUB;
        case TE_MUL: return EV_MUL;
        case TE_DIV: return EV_DIV;
        case TE_MOD: return EV_MOD;
        case TE_LT: return EV_LT;
        case TE_LE: return EV_LE;
        case TE_EQ: return EV_EQ;
        default: return EV_APPLY;
        }
    }
    if (e->op == TE_ADD && src == LL_F64) return EV_FADD;
    if (e->op == TE_MUL && src == LL_F64) return EV_FMUL;
    if (e->op == TE_ADD && src == LL_F32) return EV_F32ADD;
    if (e->op == TE_MUL && src == LL_F32) return EV_F32MUL;
    return EV_APPLY;
}

static int32_t remember(code *c, te_ref e, int32_t slot)
{
    c->have = grow(c->m, c->have, c->n, &c->cap, sizeof *c->have);
    c->have[c->n++] = (seen){e, slot};
    return slot;
}

static int32_t select_expr(code *c, te_ref e)
{
    int32_t cond = expr(c, e->src[0]), out = new_slot(c->m), mark = c->n;
    int32_t skip = emit(c, (ev_op){.code = EV_JZ, .b = cond});
    int32_t yes = expr(c, e->src[1]);
    emit(c, (ev_op){.code = EV_MOV, .out = out, .a = yes});
    int32_t end = emit(c, (ev_op){.code = EV_JMP});
    c->m->op[skip].a = c->m->n_op;
    c->n = mark; /* what a branch computed is not there when it is not taken */
    int32_t no = expr(c, e->src[2]);
    emit(c, (ev_op){.code = EV_MOV, .out = out, .a = no});
    c->m->op[end].a = c->m->n_op;
    c->n = mark;
    return out;
}

static int32_t load_expr(code *c, te_ref e)
{
    lp_buf *b = lp_buf_of(c->m->f, e->u.t);
    if (!b) {
        c->status = ev_fail(c->m, c->stmt, "%s has no buffer in this function", e->u.t->name);
        return new_slot(c->m);
    }
    int32_t a = access_of(c, b, e->src), out = new_slot(c->m);
    emit(c, (ev_op){.code = EV_LOAD, .out = out, .c = a});
    return out;
}

static int32_t expr(code *c, te_ref e)
{
    ev *m = c->m;
    if (e->op == TE_INT || e->op == TE_FLT || e->op == TE_DIM || e->op == TE_AXIS ||
        e->op == TE_VAR) {
        bool known = ll_map_get_ptr(&m->leaf, e) != NULL;
        if (!known && (e->op == TE_AXIS || e->op == TE_VAR))
            c->status = ev_fail(m, c->stmt, "%s is not in scope", te_show(e));
        int32_t s = leaf_slot(m, e);
        if (e->op == TE_INT) m->slot[s].i = e->u.i;
        if (e->op == TE_FLT) m->slot[s].f = e->u.f;
        return s;
    }
    for (int i = c->n - 1; i >= 0; i--)
        if (c->have[i].e == e) return c->have[i].slot;
    if (e->op == TE_SELECT) return remember(c, e, select_expr(c, e));
    if (e->op == TE_LOAD) return remember(c, e, load_expr(c, e));
    if (te_is_reduce(e) || e->n < 1 || e->n > 2) {
        c->status = ev_fail(m, c->stmt, "%s has no value in a statement", te_show(e));
        return new_slot(m);
    }
    int32_t a = expr(c, e->src[0]), b = e->n > 1 ? expr(c, e->src[1]) : 0, out = new_slot(m);
    emit(c, (ev_op){.code = (uint8_t)fast_code(e),
                    .op = e->op,
                    .dtype = e->dtype,
                    .source = e->src[0]->dtype,
                    .out = out,
                    .a = a,
                    .b = b,
                    .c = e->n});
    return remember(c, e, out);
}

/* ---- statements ------------------------------------------------------------------------------ */

static void list(code *c, const lp_stmt *s);

static bool note_sync(lp_stmt *s, void *ctx)
{
    switch (s->kind) {
    case LP_SYNC: case LP_COPY: case LP_COMMIT: case LP_WAIT: case LP_MBAR: case LP_ROLES:
        *(bool *)ctx = true;
        return false;
    default: return true;
    }
}

static void loop(code *c, const lp_stmt *s)
{
    ev *m = c->m;
    const te_axis_info *a = s->u.loop.var->u.axis;
    lp_how how = s->u.loop.how;
    ev_loop l = {.stmt = s, .max = -1};
    l.extent = expr(c, a->extent);
    if (a->max) l.max = expr(c, a->max);
    l.var = leaf_slot(m, s->u.loop.var);
    l.claim = how == LP_CLAIM;
    l.is_agent = how == LP_WARP || (how >= LP_THREAD_X && how <= LP_THREAD_Z);
    l.outer = l.claim || how == LP_PARALLEL || (how >= LP_BLOCK_X && how <= LP_BLOCK_Z);
    l.shuffled = l.is_agent || l.outer || how == LP_VECTOR;
    bool syncs = false;
    lp_walk(s->u.loop.body, note_sync, &syncs);
    l.pure = !syncs;
    l.block = how >= LP_BLOCK_X && how <= LP_BLOCK_Z;
    m->has_claim = m->has_claim || l.claim;
    m->has_agents = m->has_agents || l.is_agent;
    m->loop = grow(m, m->loop, m->n_loop, &m->cap_loop, sizeof *m->loop);
    int32_t no = m->n_loop++;
    m->loop[no] = l;
    emit(c, (ev_op){.code = EV_LOOP, .c = no});
    int32_t body = m->n_op;
    list(c, s->u.loop.body);
    c->stmt = s;
    emit(c, (ev_op){.code = EV_NEXT, .a = body, .c = no});
    m->loop[no].exit = m->n_op;
}

static void guard(code *c, const lp_stmt *s)
{
    ev *m = c->m;
    int32_t cond = expr(c, s->u.guard.cond);
    int32_t skip = emit(c, (ev_op){.code = EV_JZ, .b = cond});
    list(c, s->u.guard.then);
    if (!s->u.guard.otherwise) {
        m->op[skip].a = m->n_op;
        return;
    }
    int32_t end = emit(c, (ev_op){.code = EV_JMP});
    m->op[skip].a = m->n_op;
    list(c, s->u.guard.otherwise);
    m->op[end].a = m->n_op;
}

static void copy(code *c, const lp_stmt *s)
{
    ev *m = c->m;
    ev_box b = {.valid = -1, .bar_at = -1};
    int32_t dst = access_of(c, s->u.copy.dst, s->u.copy.dst_at);
    int32_t src = access_of(c, s->u.copy.src, s->u.copy.src_at);
    b.dst = m->access[dst];
    b.src = m->access[src];
    if (s->u.copy.valid) b.valid = expr(c, s->u.copy.valid);
    if (s->u.copy.mbar) {
        b.bar = ev_buf_of(m, s->u.copy.mbar->t);
        b.bar_at = expr(c, s->u.copy.mbar_at);
    }
    m->box = grow(m, m->box, m->n_box, &m->cap_box, sizeof *m->box);
    m->box[m->n_box] = b;
    emit(c, (ev_op){.code = EV_COPY, .c = m->n_box++});
}

static void roles(code *c, const lp_stmt *s)
{
    ev *m = c->m;
    if (m->roles.n) {
        c->status = ev_fail(m, s, "a second roles statement");
        return;
    }
    m->roles.n = s->u.roles.n;
    int32_t fork = emit(c, (ev_op){.code = EV_ROLES});
    for (int i = 0; i < s->u.roles.n; i++) {
        m->roles.start[i] = m->n_op;
        m->roles.name[i] = s->u.roles.name[i];
        list(c, s->u.roles.body[i]);
        c->stmt = s;
        emit(c, (ev_op){.code = EV_END});
    }
    m->op[fork].a = m->n_op;
}

static void small(code *c, const lp_stmt *s)
{
    switch (s->kind) {
    case LP_STORE: {
        int32_t v = expr(c, s->u.store.value), a = access_of(c, s->u.store.buf, s->u.store.idx);
        emit(c, (ev_op){.code = EV_STORE, .a = v, .c = a});
        break;
    }
    case LP_REDUCE: {
        int32_t v = expr(c, s->u.reduce.value), a = access_of(c, s->u.reduce.buf, s->u.reduce.idx);
        te_op op = s->u.reduce.op == TE_SUM ? TE_ADD : s->u.reduce.op == TE_MAXR ? TE_MAX : TE_MIN;
        emit(c, (ev_op){.code = EV_REDUCE,
                        .op = (uint8_t)op,
                        .dtype = s->u.reduce.buf->t->dtype,
                        .a = v,
                        .c = a});
        break;
    }
    case LP_MBAR: {
        int32_t at = expr(c, s->u.mbar.at), arg = s->u.mbar.arg ? expr(c, s->u.mbar.arg) : -1;
        int32_t a = access_of(c, s->u.mbar.buf, &s->u.mbar.at);
        emit(c, (ev_op){.code = EV_MBAR, .op = (uint8_t)s->u.mbar.op, .a = at, .b = arg, .c = a});
        break;
    }
    case LP_SYNC: emit(c, (ev_op){.code = EV_SYNC, .a = s->u.sync.scope}); break;
    case LP_SHUFFLE: case LP_MMA: case LP_LDMATRIX:
        c->status = ev_fail(c->m, s, "thread level is run by the PTX machine, not by lp_eval");
        break;
    case LP_COMMIT: emit(c, (ev_op){.code = EV_COMMIT}); break;
    case LP_WAIT: emit(c, (ev_op){.code = EV_WAIT, .a = s->u.wait.pending}); break;
    default: break; /* prefetch has no meaning */
    }
}

static void one(code *c, const lp_stmt *s)
{
    c->stmt = s;
    c->n = 0;
    switch (s->kind) {
    case LP_FOR: loop(c, s); break;
    case LP_IF: guard(c, s); break;
    case LP_COPY: copy(c, s); break;
    case LP_ROLES: roles(c, s); break;
    case LP_ALLOC: {
        ev_buf *b = ev_buf_of(c->m, s->u.alloc.buf->t);
        emit(c, (ev_op){.code = EV_ALLOC, .c = (int32_t)(b - c->m->buf)});
        list(c, s->u.alloc.body);
        break;
    }
    case LP_LET: {
        int32_t v = expr(c, s->u.let.value), to = leaf_slot(c->m, s->u.let.var);
        emit(c, (ev_op){.code = EV_MOV, .out = to, .a = v});
        list(c, s->u.let.body);
        break;
    }
    default: small(c, s); break;
    }
}

/* Which buffers do only copies write? */
static bool note_writer(lp_stmt *s, void *ctx)
{
    ev *m = ctx;
    if (s->kind == LP_COPY) ev_buf_of(m, s->u.copy.dst->t)->by_copy = true;
    return true;
}

static bool note_other_writer(lp_stmt *s, void *ctx)
{
    ev *m = ctx;
    if (s->kind == LP_STORE) ev_buf_of(m, s->u.store.buf->t)->by_copy = false;
    if (s->kind == LP_REDUCE) ev_buf_of(m, s->u.reduce.buf->t)->by_copy = false;
    return true;
}

static void list(code *c, const lp_stmt *s)
{
    for (; s && c->status == LL_OK; s = s->next) one(c, s);
}

/* Dims must have slots before anything is evaluated. */
static ll_code bind_dims(ev *m)
{
    for (int i = 0; i < m->f->n_dim; i++) {
        const te_dim_info *d = m->f->dim[i]->u.dim;
        if (!m->run->dim)
            return ll_fail(m->err, LL_USAGE, "%s: dim %s has no value", m->f->name, d->name);
        int64_t v = m->run->dim(m->run->ctx, d->name);
        if (v < d->lo || v > d->hi || (d->multiple > 1 && v % d->multiple))
            return ll_fail(m->err, LL_USAGE,
                           "%s: dim %s is %lld, wanted %lld..%lld in steps of %lld", m->f->name,
                           d->name, (long long)v, (long long)d->lo, (long long)d->hi,
                           (long long)(d->multiple > 1 ? d->multiple : 1));
        int32_t slot = leaf_slot(m, m->f->dim[i]); /* may move m->slot */
        m->slot[slot].i = v;
    }
    return LL_OK;
}

ll_code ev_compile(ev *m)
{
    LL_TRY(bind_dims(m));
    code c = {.m = m};
    lp_walk(m->f->body, note_writer, m);
    lp_walk(m->f->body, note_other_writer, m);
    list(&c, m->f->body);
    c.stmt = NULL;
    emit(&c, (ev_op){.code = EV_END});
    return c.status;
}

ll_code ev_const(ev *m, te_ref e, int64_t *out)
{
    if (e->op == TE_INT) {
        *out = e->u.i;
        return LL_OK;
    }
    if (e->op == TE_DIM || e->op == TE_AXIS || e->op == TE_VAR) {
        uintptr_t at = (uintptr_t)ll_map_get_ptr(&m->leaf, e);
        if (!at)
            return ll_fail(m->err, LL_FAILED, "%s: %s has no value here", m->f->name, te_show(e));
        *out = m->slot[at - 1].i;
        return LL_OK;
    }
    te_value src[EV_MAX_SRC], v = {0};
    if (e->n == 0 || e->n > EV_MAX_SRC || e->op == TE_LOAD || te_is_reduce(e))
        return ll_fail(m->err, LL_FAILED, "%s: %s is not an expression over dims", m->f->name,
                       te_show(e));
    for (int i = 0; i < e->n; i++) LL_TRY(ev_const(m, e->src[i], &src[i].i));
    if (!te_apply((te_op)e->op, (ll_dtype)e->dtype, (ll_dtype)e->src[0]->dtype, src, &v))
        return ll_fail(m->err, LL_FAILED, "%s: %s has no value", m->f->name, te_show(e));
    *out = v.i;
    return LL_OK;
}
