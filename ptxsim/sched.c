/* sched.c: who runs next.
 *
 * A warp is a list of groups: lanes that stand at the same instruction. Of the groups that can run,
 * the one furthest behind in program order runs (the order of flow.c), until control changes;
 * groups that meet are one again. A .sync instruction parks the lanes that reach it until the
 * others are there. A cluster runs its warps in turns. When a round changes nothing, pending copies
 * are completed, then divergent barriers are let through with a finding, then it is a deadlock. */
#include "ptxsim/mem.h"
#include "ptxsim/valid.h"

#include <stdio.h>
#include <string.h>

/* Jumps of one turn of a warp; less where blocks may wait for others, which then get their turn
 * after ROUNDS. */
enum { FUEL = 4096, SHORT_FUEL = 256, ROUNDS = 4, IDLE_LIMIT = 256 };

/* ---- straight-line execution: until a handler says anything but GO ---- */

static int exec_fast(ptx_warp *w, uint32_t *pc, ptx_mask act, ptx_mask *out_m)
{
    const ptx_inst *base = w->run->code->inst, *in = base + *pc, *start = in;
    ptx_worker *wk = ptx_worker_of(w);
    for (;; in++) {
        ptx_mask m = act & (*(const ptx_mask *)(const void *)(w->regs + in->guard) ^ in->gxor);
        if (!m) continue;
        int r = in->fn(w, in, m);
        if (__builtin_expect(r == PTX_GO, 1)) continue;
        wk->clock += (uint64_t)(in - start) + 1;
        if (r == PTX_JUMP && m == act && w->s->n == 1 && --w->s->fuel) {
            start = base + w->s->target;
            in = start - 1;
            continue;
        }
        *pc = (uint32_t)(in - base);
        *out_m = m;
        return r;
    }
}

static void count(ptxsim_counters *t, const ptx_inst *in, ptx_mask m, ptx_mask act)
{
    t->warp_inst[in->cls]++;
    t->warp_inst_all++;
    t->lane_inst += (uint64_t)__builtin_popcount(m);
    if (in->cls != PTXSIM_C_BRANCH) return;
    t->branches++;
    t->divergent_branches += in->guard && m != act;
}

/* The same with validity and counters. */
static int exec_full(ptx_warp *w, uint32_t *pc, ptx_mask act, ptx_mask *out_m)
{
    const ptx_inst *base = w->run->code->inst, *in = base + *pc;
    ptx_worker *wk = ptx_worker_of(w);
    ptxsim_counters *t = ptx_tally_of(w);
    for (;; in++) {
        ptx_mask m = act & (*(const ptx_mask *)(const void *)(w->regs + in->guard) ^ in->gxor);
        wk->clock++;
        if (w->valid && in->guard && (in->flags & PTX_I_CONTROL)) ptx_val_branch(w, in, act);
        if (!m) {
            if (t && in->cls == PTXSIM_C_BRANCH) t->branches++;
            continue;
        }
        if (w->valid && !(in->flags & PTX_I_OWN_VALID)) ptx_val_flow(w, in, m);
        int r = in->fn(w, in, m);
        if (t && r != PTX_PARK) {
            count(t, in, m, act);
            if (in->x->fma) t->fma_f32 += (uint64_t)__builtin_popcount(m);
        }
        if (__builtin_expect(r == PTX_GO, 1)) continue;
        if (r == PTX_JUMP && m == act && w->s->n == 1 && --w->s->fuel) {
            in = base + w->s->target - 1;
            continue;
        }
        *pc = (uint32_t)(in - base);
        *out_m = m;
        return r;
    }
}

/* ---- groups ---- */

static void drop(ptx_warp_sched *s, uint32_t k) { s->g[k] = s->g[--s->n]; }

/* The runnable group furthest behind; groups at the same place become one. UINT32_MAX: none. */
static uint32_t pick(ptx_warp_sched *s)
{
    uint32_t best = UINT32_MAX;
    for (uint32_t k = 0; k < s->n; k++) {
        if (s->g[k].state != PTX_G_RUN) continue;
        if (best == UINT32_MAX || s->g[k].pc < s->g[best].pc) best = k;
    }
    if (best == UINT32_MAX || s->g[best].force) return best;
    for (uint32_t k = 0; k < s->n; k++) {
        ptx_group *g = &s->g[k];
        if (k == best || g->state != PTX_G_RUN || g->pc != s->g[best].pc || g->force) continue;
        s->g[best].m |= g->m;
        if (best == s->n - 1) best = k;
        drop(s, k);
        k--;
    }
    return best;
}

/* Lanes m of group k stop at pc; the rest goes on behind it. Parked lanes at the same place join,
 * and try again when that made them more. */
static void park(ptx_warp *w, uint32_t k, uint32_t pc, ptx_mask m)
{
    ptx_warp_sched *s = w->s;
    ptx_group stopped = { .pc = pc, .m = m, .state = s->park_state, .bar = s->park_bar };
    s->g[k].m &= ~m;
    s->g[k].pc = pc + 1;
    if (!s->g[k].m) drop(s, k);
    for (uint32_t j = 0; j < s->n && stopped.state == PTX_G_WARP; j++) {
        ptx_group *g = &s->g[j];
        if (g->state != PTX_G_WARP || g->pc != pc) continue;
        stopped.m |= g->m;
        stopped.state = PTX_G_RUN;
        drop(s, j);
        break;
    }
    s->g[s->n++] = stopped;
    if (stopped.state == PTX_G_BAR) ptx_barrier_settle(w->cta, stopped.bar);
}

static void exit_lanes(ptx_warp *w, uint32_t k, uint32_t pc, ptx_mask m)
{
    ptx_warp_sched *s = w->s;
    s->g[k].m &= ~m;
    s->g[k].pc = pc + 1;
    if (!s->g[k].m) drop(s, k);
    w->live &= ~m;
    w->cta->s->live_threads -= (uint32_t)__builtin_popcount(m);
    ptx_event(w);
    for (uint32_t j = 0; j < s->n; j++) /* they may have waited for these lanes */
        if (s->g[j].state == PTX_G_WARP) s->g[j].state = PTX_G_RUN;
    for (uint32_t b = 0; b < PTX_BARRIERS; b++) ptx_barrier_settle(w->cta, b);
    if (w->run->code->uses_cluster) ptx_cluster_settle(w->cta->cluster);
}

typedef enum turn { T_DONE, T_BLOCKED, T_SPINS, T_RUNS, T_STOP } turn;

static turn finish_turn(ptx_warp *w)
{
    if (!w->s->n) return T_DONE;
    for (uint32_t k = 0; k < w->s->n; k++)
        if (w->s->g[k].state == PTX_G_SPIN) return T_SPINS;
    return T_BLOCKED;
}

static turn run_warp(ptx_warp *w)
{
    ptx_warp_sched *s = w->s;
    bool full = w->valid || w->run->opt.counters;
    if (pick(s) == UINT32_MAX) /* lanes that yielded come after all others have had their turn */
        for (uint32_t k = 0; k < s->n; k++)
            if (s->g[k].state == PTX_G_SPIN) s->g[k].state = PTX_G_RUN;
    s->fuel = w->run->code->grid_sync ? SHORT_FUEL : FUEL;
    for (;;) {
        uint32_t k = pick(s);
        if (k == UINT32_MAX) return finish_turn(w);
        uint32_t pc = s->g[k].pc;
        ptx_mask act = s->g[k].m, m = 0;
        s->forced = s->g[k].force;
        s->g[k].force = false;
        int r = full ? exec_full(w, &pc, act, &m) : exec_fast(w, &pc, act, &m);
        s->g[k].pc = pc;
        switch (r) {
        case PTX_JUMP:
            if (m == act) {
                s->g[k].pc = s->target;
            } else {
                s->g[k].pc = pc + 1;
                s->g[k].m = act & ~m;
                s->g[s->n++] = (ptx_group){ .pc = s->target, .m = m, .state = PTX_G_RUN };
            }
            if (s->fuel) s->fuel--;
            if (!s->fuel) {
                if (s->n > 1)
                    s->g[k].state = PTX_G_SPIN; /* let the others of this warp have a turn */
                return T_RUNS;
            }
            break;
        case PTX_CUT:
            s->g[k].pc = pc;
            s->g[k].m = act & ~s->cut;
            if (act & ~m) { /* lanes the guard left out go on */
                s->g[k].m = m & ~s->cut;
                s->g[s->n++] = (ptx_group){ .pc = pc + 1, .m = act & ~m, .state = PTX_G_RUN };
            }
            break;
        case PTX_PARK: park(w, k, pc, m); break;
        case PTX_YIELD:
            s->g[k].pc = pc + 1;
            s->g[k].state = PTX_G_SPIN;
            break;
        case PTX_RETRY: /* at the same place, once others have run */
            if (act & ~m)
                s->g[s->n++] = (ptx_group){ .pc = pc + 1, .m = act & ~m, .state = PTX_G_RUN };
            s->g[k].m = m;
            s->g[k].state = PTX_G_SPIN;
            break;
        case PTX_EXIT: exit_lanes(w, k, pc, m); break;
        default: return T_STOP;
        }
    }
}

/* ---- a cluster ---- */

/* A parked group in front of a block barrier that cannot gather its warp: let it through, with a
 * finding. */
static bool let_through(ptx_cluster *cl)
{
    for (uint32_t c = 0; c < cl->n_cta; c++)
        for (uint32_t j = 0; j < cl->cta[c].n_warp; j++) {
            ptx_warp *w = &cl->cta[c].warp[j];
            for (uint32_t k = 0; k < w->s->n; k++) {
                ptx_group *g = &w->s->g[k];
                const ptx_inst *in = &cl->run->code->inst[g->pc];
                if (g->state != PTX_G_WARP ||
                    (in->x->real != ptx_h_barrier && in->x->real != ptx_h_cluster_arrive &&
                     in->x->real != ptx_h_cluster_wait))
                    continue;
                if (cl->run->opt.checks & PTXSIM_CHECK_SYNC)
                    ptx_report(
                        w, in, (uint32_t)__builtin_ctz(g->m), PTXSIM_R_BARRIER, 0, 0,
                        "%s is reached by lanes 0x%08x of the warp only; 0x%08x are elsewhere",
                        in->x->st->text, g->m, w->live & ~g->m);
                g->state = PTX_G_RUN;
                g->force = true;
                return true;
            }
        }
    return false;
}

/* A group that yielded stands behind the instruction it waits at, one that retries in front of it.
 */
static uint32_t where_stuck(const ptx_cluster *cl, const ptx_group *g)
{
    const ptx_inst *inst = cl->run->code->inst;
    bool behind = g->state == PTX_G_SPIN && g->pc && inst[g->pc - 1].cls == PTXSIM_C_BARRIER &&
                  inst[g->pc].cls != PTXSIM_C_BARRIER;
    return behind ? g->pc - 1 : g->pc;
}

static void describe_stuck(ptx_cluster *cl, char *out, size_t size)
{
    size_t n = 0;
    unsigned shown = 0;
    for (uint32_t c = 0; c < cl->n_cta && shown < 4; c++)
        for (uint32_t j = 0; j < cl->cta[c].n_warp && shown < 4; j++) {
            const ptx_warp *w = &cl->cta[c].warp[j];
            for (uint32_t k = 0; k < w->s->n && shown < 4; k++, shown++) {
                const ptx_group *g = &w->s->g[k];
                const ptx_inst *in = &cl->run->code->inst[where_stuck(cl, g)];
                int add = snprintf(out + n, size - n, "%swarp %u lanes 0x%08x at line %u (%s)",
                                   shown ? "; " : "", w->index, g->m, in->x->st->pos.line,
                                   in->x->st->text);
                if (add < 0 || (size_t)add >= size - n) return;
                n += (size_t)add;
            }
        }
}

static ptx_progress deadlock(ptx_cluster *cl)
{
    char text[400] = "";
    for (uint32_t c = 0; c < cl->n_cta; c++)
        for (uint32_t j = 0; j < cl->cta[c].n_warp; j++) {
            ptx_warp *w = &cl->cta[c].warp[j];
            if (!w->s->n) continue;
            const ptx_group *g = &w->s->g[0];
            describe_stuck(cl, text, sizeof text);
            ptx_fault(w, &cl->run->code->inst[where_stuck(cl, g)], (uint32_t)__builtin_ctz(g->m),
                      PTXSIM_R_DEADLOCK, 0, "no thread can go on: %s", text);
            return PTX_STOPPED;
        }
    return PTX_DONE;
}

static void shuffle(ptx_worker *wk, uint32_t *order, uint32_t n)
{
    for (uint32_t k = n; k > 1; k--) {
        uint32_t j = ptx_random(wk) % k, t = order[k - 1];
        order[k - 1] = order[j];
        order[j] = t;
    }
}

/* One turn for every warp. */
static turn round_of(ptx_cluster *cl)
{
    uint32_t n_warp = cl->cta[0].n_warp, n = n_warp * cl->n_cta,
             order[PTX_MAX_WARPS * PTX_MAX_CLUSTER];
    bool spins = false, runs = false, left = false;
    for (uint32_t k = 0; k < n; k++) order[k] = k;
    if (cl->run->opt.seed) shuffle(cl->worker, order, n);
    for (uint32_t k = 0; k < n; k++) {
        ptx_warp *w = &cl->cta[order[k] / n_warp].warp[order[k] % n_warp];
        if (!w->s->n) continue;
        if (atomic_load_explicit(&cl->run->stop, memory_order_relaxed)) return T_STOP;
        switch (run_warp(w)) {
        case T_STOP: return T_STOP;
        case T_SPINS: spins = left = true; break;
        case T_RUNS: runs = left = true; break;
        case T_BLOCKED: left = true; break;
        default: break;
        }
    }
    return !left ? T_DONE : runs ? T_RUNS : spins ? T_SPINS : T_BLOCKED;
}

static bool over_limit(ptx_cluster *cl)
{
    ptx_run *r = cl->run;
    if (!r->max_steps) return false;
    uint64_t now = cl->worker->clock,
             all = atomic_fetch_add(&r->steps, now - cl->steps) + now - cl->steps;
    cl->steps = now;
    if (all <= r->max_steps) return false;
    int none = 0;
    if (atomic_compare_exchange_strong(&r->stop, &none, PTXSIM_STEP_LIMIT)) {
        pthread_mutex_lock(&r->lock);
        ptx_fail(r->err, PTXSIM_STEP_LIMIT, NULL, (ptx_pos){ 0, 0 },
                 "%s: stopped after %llu warp instructions", r->kernel->info.name,
                 (unsigned long long)all);
        pthread_mutex_unlock(&r->lock);
    }
    return true;
}

/* All threads have exited: what is still in flight ends, and is told. */
static void end_blocks(ptx_cluster *cl)
{
    while (ptx_tma_progress(&cl->cta[0], NULL, 0)) {}
    for (uint32_t c = 0; c < cl->n_cta; c++)
        for (uint32_t j = 0; j < cl->cta[c].n_warp; j++) {
            ptx_matrix_finish(&cl->cta[c].warp[j]);
            ptx_tma_finish(&cl->cta[c].warp[j]);
        }
}

ptx_progress ptx_cluster_run(ptx_cluster *cl)
{
    cl->steps = cl->worker->clock;
    for (uint32_t rounds = 0;; rounds++) {
        uint64_t events = cl->events;
        turn t = round_of(cl);
        if (t == T_STOP || over_limit(cl)) return PTX_STOPPED;
        if (t == T_DONE) {
            end_blocks(cl);
            return PTX_DONE;
        }
        if (t == T_RUNS || cl->events != events) {
            cl->idle_rounds = 0;
        } else if (ptx_tma_progress(&cl->cta[0], NULL, 0)) {
            cl->idle_rounds = 0;
        } else if (t == T_BLOCKED) {
            if (!let_through(cl)) return deadlock(cl);
        } else if (++cl->idle_rounds > IDLE_LIMIT && !let_through(cl) &&
                   !cl->run->code->grid_sync) {
            return deadlock(cl);
        }
        if (rounds >= ROUNDS && cl->run->code->grid_sync) return PTX_RUNNING;
    }
}
