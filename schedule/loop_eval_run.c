/* loop_eval_run.c: runs the flat program. Strands take turns: one runs until it ends or must wait
 * for a phase of an mbarrier; when all wait, copies in flight land one after the other; when none
 * is left, that is a deadlock. Iterations of parallel, vector, block, thread and warp loops run in
 * an order drawn from the seed. */
#include <string.h>

#include "base/ckd.h"
#include "schedule/loop_eval.h"

/* ---- loops ----------------------------------------------------------------------------------- */

static int64_t gcd(int64_t a, int64_t b)
{
    while (b) {
        int64_t t = a % b;
        a = b;
        b = t;
    }
    return a;
}

/* Does this run take the first and the last iteration only? */
static bool is_sampled(const ev *m, const ev_loop *l)
{
    return (m->trial && l->outer) || (m->skeleton && l->pure);
}

static void draw_order(ev *m, ev_loop *l)
{
    l->at = 0;
    l->step = 1;
    if (!l->shuffled || m->run->seed == 0 || l->n < 2 || is_sampled(m, l)) return;
    l->at = (int64_t)(ev_random(m) % (uint64_t)l->n);
    l->step = 1 + (int64_t)(ev_random(m) % (uint64_t)(l->n - 1));
    while (gcd(l->step, l->n) != 1) l->step = l->step % (l->n - 1) + 1;
}

static inline void step(ev_loop *l)
{
    l->i++;
    l->at = l->at < l->n - l->step ? l->at + l->step : l->at - (l->n - l->step);
}

/* Parts of a claimed loop are shared out to the threads by a fixed hash. */
static bool is_others(const ev *m, const ev_loop *l)
{
    uint64_t i = (uint64_t)l->at;
    return i * 0x9E3779B9u % 7919 % (uint64_t)m->n_thread != (uint64_t)m->thread;
}

static bool next_iteration(ev *m, ev_strand *s, ev_loop *l)
{
    if (m->trial && l->i > 0 && l->i < l->n - 1 && is_sampled(m, l))
        l->at = l->i = l->n - 1; /* in order */
    while (l->claim && l->i < l->n && is_others(m, l)) step(l);
    if (l->i >= l->n) {
        s->agent = (ev_agent){l->saved_warp, l->saved_thread};
        return false;
    }
    int64_t i = l->at;
    m->slot[l->var].i = i;
    if (l->block) s->block_epoch++, s->warp_epoch++;
    if (l->is_agent) {
        if (l->stmt->u.loop.how == LP_WARP)
            s->agent.warp = (uint32_t)(l->saved_warp * l->n + i + 1);
        else s->agent.thread = (uint32_t)(l->saved_thread * l->n + i + 1);
    }
    return true;
}

static ll_code start_loop(ev *m, ev_strand *s, const ev_op *op)
{
    ev_loop *l = &m->loop[op->c];
    l->n = m->slot[l->extent].i;
    if (l->max >= 0 && l->n > m->slot[l->max].i) {
        if (!m->trial)
            return ev_fail(m, op->stmt, "%lld iterations, the bound is %lld", (long long)l->n,
                           (long long)m->slot[l->max].i);
        l->n = m->slot[l->max].i;
    }
    l->i = 0;
    l->saved_warp = s->agent.warp;
    l->saved_thread = s->agent.thread;
    if (l->n > 0) draw_order(m, l);
    s->pc = l->n > 0 && next_iteration(m, s, l) ? s->pc + 1 : l->exit;
    return LL_OK;
}

/* ---- strands --------------------------------------------------------------------------------- */

static void fork_roles(ev *m, ev_strand *s, const ev_op *op)
{
    s->pc = op->a;
    s->blocked = true;
    for (int i = 0; i < m->roles.n; i++) {
        ev_strand *r = &m->strand[i + 1];
        *r = *s;
        r->pc = m->roles.start[i];
        r->name = m->roles.name[i];
        r->blocked = false;
        r->live = true;
        r->waits = NULL;
        r->clock[0] = s->synced; /* only what a barrier has published */
        r->clock[i + 1]++;
        r->synced = 0;
    }
    s->clock[0]++;
    m->n_strand = 1 + m->roles.n;
}

static void join_roles(ev *m)
{
    ev_strand *s = &m->strand[0];
    for (int i = 1; i < m->n_strand; i++)
        for (int k = 0; k < EV_N_CLOCK; k++)
            if (m->strand[i].clock[k] > s->clock[k]) s->clock[k] = m->strand[i].clock[k];
    s->block_epoch++;
    s->warp_epoch++;
    s->blocked = false;
    m->n_strand = 1;
}

static ll_code apply(ev *m, const ev_op *op)
{
    te_value src[EV_MAX_SRC] = {m->slot[op->a], op->c > 1 ? m->slot[op->b] : (te_value){0}};
    if (te_apply((te_op)op->op, (ll_dtype)op->dtype, (ll_dtype)op->source, src, &m->slot[op->out]))
        return LL_OK;
    if (m->trial) return LL_OK;
    return ev_fail(m, op->stmt,
                   "an operator has no value: division by zero or a shift past the width");
}

static ll_code divide(ev *m, const ev_op *op)
{
    int64_t a = m->slot[op->a].i, b = m->slot[op->b].i;
    if (b == 0 && m->trial) b = 1;
    if (b == 0) return ev_fail(m, op->stmt, "division by zero");
    m->slot[op->out].i = op->code == EV_DIV ? ll_floordiv(a, b) : ll_floormod(a, b);
    return LL_OK;
}

static ll_code rare(ev *m, ev_strand *s, const ev_op *op)
{
    switch (op->code) {
    case EV_SYNC: return ev_do_sync(m, s, op);
    case EV_COPY: return ev_do_copy(m, s, op);
    case EV_COMMIT: return ev_do_commit(m, s, op);
    case EV_WAIT: return ev_do_wait(m, s, op);
    case EV_ALLOC: return ev_enter(m, &m->buf[op->c]);
    default: return LL_OK;
    }
}

/* Runs s until it ends or waits. */
static ll_code run_strand(ev *m, ev_strand *s)
{
    te_value *v = m->slot;
    for (;;) {
        const ev_op *op = &m->op[s->pc];
        ll_code status = LL_OK;
        switch (op->code) {
        case EV_ADD: v[op->out].i = (int64_t)((uint64_t)v[op->a].i + (uint64_t)v[op->b].i); break;
        case EV_SUB: v[op->out].i = (int64_t)((uint64_t)v[op->a].i - (uint64_t)v[op->b].i); break;
        case EV_MUL: v[op->out].i = (int64_t)((uint64_t)v[op->a].i * (uint64_t)v[op->b].i); break;
        case EV_LT: v[op->out].i = v[op->a].i < v[op->b].i; break;
        case EV_LE: v[op->out].i = v[op->a].i <= v[op->b].i; break;
        case EV_EQ: v[op->out].i = v[op->a].i == v[op->b].i; break;
        case EV_FADD: v[op->out].f = v[op->a].f + v[op->b].f; break;
        case EV_FMUL: v[op->out].f = v[op->a].f * v[op->b].f; break;
        case EV_F32ADD: v[op->out].f = (double)(float)(v[op->a].f + v[op->b].f); break;
        case EV_F32MUL: v[op->out].f = (double)(float)(v[op->a].f * v[op->b].f); break;
        case EV_DIV: case EV_MOD: status = divide(m, op); break;
        case EV_APPLY: status = apply(m, op); break;
        case EV_MOV: v[op->out] = v[op->a]; break;
        case EV_LOAD: status = ev_load(m, s, op, &v[op->out]); break;
        case EV_STORE: status = ev_store(m, s, op, v[op->a]); break;
        case EV_REDUCE: status = ev_reduce(m, s, op, v[op->a]); break;
        case EV_JZ:
            s->pc = v[op->b].i ? s->pc + 1 : op->a;
            continue;
        case EV_JMP: s->pc = op->a; continue;
        case EV_LOOP:
            LL_TRY(start_loop(m, s, op));
            continue;
        case EV_NEXT:
            if (m->trial && (m->steps -= s->pc + 1 - op->a) < 0) {
                m->strand[0].live = false;
                return LL_OK;
            }
            step(&m->loop[op->c]);
            s->pc = next_iteration(m, s, &m->loop[op->c]) ? op->a : s->pc + 1;
            continue;
        case EV_MBAR: {
            bool blocked = false;
            LL_TRY(ev_do_mbar(m, s, op, &blocked));
            if (blocked) {
                s->blocked = true;
                s->waits = op;
                s->seen = m->events;
                return LL_OK;
            }
            s->blocked = false;
            s->waits = NULL;
            break;
        }
        case EV_ROLES:
            fork_roles(m, s, op);
            return LL_OK;
        case EV_END:
            s->live = false;
            return LL_OK;
        default: status = rare(m, s, op); break;
        }
        if (status) return status;
        s->pc++;
    }
}

static bool roles_live(const ev *m)
{
    for (int i = 1; i < m->n_strand; i++)
        if (m->strand[i].live) return true;
    return false;
}

/* A strand to run: any that is live and not blocked, or that waits and has not looked since an
 * mbarrier changed; the first tried is drawn. */
static ev_strand *pick(ev *m)
{
    int from = m->run->seed ? (int)(ev_random(m) % (uint64_t)m->n_strand) : 0;
    for (int i = 0; i < m->n_strand; i++) {
        ev_strand *s = &m->strand[(from + i) % m->n_strand];
        if (s->live && (!s->blocked || (s->waits && s->seen != m->events))) return s;
    }
    return NULL;
}

static ll_code deadlock(ev *m)
{
    for (int i = 1; i < m->n_strand; i++) {
        ev_strand *s = &m->strand[i];
        if (s->live)
            return ev_fail(m, s->waits ? s->waits->stmt : NULL, "deadlock: %s waits for ever",
                           s->name);
    }
    return ev_fail(m, m->strand[0].waits ? m->strand[0].waits->stmt : NULL,
                   "deadlock: a wait that nothing ends");
}

static ll_code run_strands(ev *m)
{
    m->n_strand = 1;
    m->strand[0] = (ev_strand){
        .live = true, .name = "the kernel", .clock = {1}, .block_epoch = 1, .warp_epoch = 1};
    while (m->strand[0].live && m->steps >= 0) {
        if (m->n_strand > 1 && !roles_live(m)) join_roles(m);
        ev_strand *s = pick(m);
        if (s) LL_TRY(run_strand(m, s));
        else if (!ev_land_one(m)) return deadlock(m);
    }
    return m->steps < 0 ? LL_OK : ev_check_done(m);
}

ll_code ev_run(ev *m)
{
    m->n_thread = m->has_claim && m->run->seed && !m->trial ? 1 + (int)(m->run->seed % 3) : 1;
    for (m->thread = 0; m->thread < m->n_thread; m->thread++) LL_TRY(run_strands(m));
    return LL_OK;
}
