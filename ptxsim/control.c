/* control.c: instructions that change the flow of a warp: branches, exits, barriers, and the gate
 * in front of every .sync instruction. They say what shall happen (jump, park, yield); sched.c does
 * it. */
#include "ptxsim/mem.h"

#include <string.h>

int ptx_h_nop(ptx_warp *w, const ptx_inst *in, ptx_mask m) { return PTX_GO; }

int ptx_h_bra(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    w->s->target = in->u0;
    return PTX_JUMP;
}

/* Into a block that others may reach: see whether they wait there. */
int ptx_h_fall(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    if (w->s->n == 1) return PTX_GO;
    w->s->target = in->pc + 1;
    return PTX_JUMP;
}

int ptx_h_exit(ptx_warp *w, const ptx_inst *in, ptx_mask m) { return PTX_EXIT; }

/* brx.idx: the lanes that go where the first goes; the others come back to this instruction. */
int ptx_h_brx(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    const uint32_t *t = in->x->own, *idx = ptx_r32(w, in->a);
    uint32_t first = (uint32_t)__builtin_ctz(m), to = idx[first];
    ptx_mask same = 0;
    if (to >= in->u0)
        return ptx_fault(w, in, first, PTXSIM_R_OTHER, 0,
                         "brx.idx: index %u, the list has %u targets", to, in->u0);
    for (uint32_t i = 0; i < PTX_LANES; i++)
        if (m >> i & 1 && idx[i] == to) same |= 1u << i;
    w->s->target = t[to];
    if (same == m) return PTX_JUMP;
    ptx_group *g = &w->s->g[w->s->n++];
    *g = (ptx_group){ .pc = t[to], .m = same, .state = PTX_G_RUN };
    w->s->cut = same;
    w->s->target = in->pc;
    return PTX_CUT;
}

int ptx_h_trap(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    return ptx_fault(w, in, (uint32_t)__builtin_ctz(m), PTXSIM_R_TRAP, 0, "trap");
}

int ptx_h_nanosleep(ptx_warp *w, const ptx_inst *in, ptx_mask m) { return PTX_YIELD; }

/* Functions that exist on a device without being in the module. */
int ptx_h_builtin_call(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    const ptx_stmt *st = in->x->st;
    const char *name = "?";
    for (uint32_t i = 0; i < st->n_opnd; i++)
        if (st->opnd[i].kind == PTX_O_LABEL) {
            name = st->opnd[i].name;
            break;
        }
    if (!strcmp(name, "vprintf"))
        return PTX_GO; /* its text is dropped; the result stays as it is */
    if (!strcmp(name, "__assertfail"))
        return ptx_fault(w, in, (uint32_t)__builtin_ctz(m), PTXSIM_R_TRAP, 0, "assertion failed");
    return ptx_fault(w, in, (uint32_t)__builtin_ctz(m), PTXSIM_R_OTHER, 0,
                     "call of %s, which no module defines", name);
}

/* ---- the gate ---- */

static int together(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    bool matrix = in->cls == PTXSIM_C_MMA || in->cls == PTXSIM_C_MATRIX_LOAD;
    if (matrix && m != PTX_FULL && w->run->opt.checks & PTXSIM_CHECK_SYNC)
        ptx_report(w, in, (uint32_t)__builtin_ctz(m), PTXSIM_R_MASK, 0, 0,
                   "%s with lanes 0x%08x only: all 32 lanes must take part", in->x->st->text, m);
    return in->x->real(w, in, m);
}

static int park(ptx_warp *w)
{
    w->s->park_state = PTX_G_WARP;
    return PTX_PARK;
}

static const ptx_inst *at(const ptx_warp *w, const ptx_group *g)
{
    return &w->run->code->inst[g->pc];
}

/* bar.warp.sync joins lanes at different places in the program. */
static bool others_at_warp_barrier(ptx_warp *w, ptx_mask need, ptx_mask have, bool release)
{
    for (uint32_t k = 0; k < w->s->n; k++) {
        ptx_group *g = &w->s->g[k];
        if (g->state != PTX_G_WARP || at(w, g)->x->real != ptx_h_warp_barrier || !(g->m & need))
            continue;
        have |= g->m;
        if (release) g->state = PTX_G_RUN, g->force = true;
    }
    return (need & ~have) == 0;
}

static int gate_mask(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    const uint32_t *member = ptx_r32(w, in->x->mask_slot);
    ptx_mask ready = 0, stray = 0;
    for (uint32_t i = 0; i < PTX_LANES; i++) {
        if (!(m >> i & 1)) continue;
        ptx_mask need = member[i] & w->live;
        if (!(member[i] >> i & 1)) stray |= 1u << i;
        if ((need & m) == need) ready |= 1u << i;
    }
    if (stray && w->run->opt.checks & PTXSIM_CHECK_SYNC) {
        uint32_t i = (uint32_t)__builtin_ctz(stray);
        ptx_report(w, in, i, PTXSIM_R_MASK, 0, 0,
                   "%s: the membermask 0x%08x does not hold the calling lane %u", in->x->st->text,
                   member[i], i);
    }
    if (ready == m) return in->x->real(w, in, m);
    if (ready) { /* these go through; the others come back */
        int r = in->x->real(w, in, ready);
        if (r != PTX_GO) return r;
        w->s->g[w->s->n++] = (ptx_group){ .pc = in->pc + 1, .m = ready, .state = PTX_G_RUN };
        w->s->cut = ready;
        w->s->target = in->pc;
        return PTX_CUT;
    }
    ptx_mask need = member[__builtin_ctz(m)] & w->live;
    if (in->x->real == ptx_h_warp_barrier && others_at_warp_barrier(w, need, m, false)) {
        others_at_warp_barrier(w, need, m, true);
        return in->x->real(w, in, m);
    }
    return park(w);
}

int ptx_h_gate(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    if (w->s->forced) {
        w->s->forced = false;
        return in->x->real(w, in, m);
    }
    if (in->flags & PTX_I_WARP) return m == w->live ? together(w, in, m) : park(w);
    const uint32_t *member = ptx_r32(w, in->x->mask_slot);
    if (m == PTX_FULL) {
        uint32_t all = ~0u;
        for (int i = 0; i < PTX_LANES; i++) all &= member[i];
        if (all == PTX_FULL) return in->x->real(w, in, m);
    }
    return gate_mask(w, in, m);
}

int ptx_h_warp_barrier(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    ptx_sync_warp_barrier(w, m);
    return PTX_GO;
}

/* ---- block barriers ---- */

static bool whole_block(const ptx_cta *c, const ptx_barrier *b)
{
    for (uint32_t k = 0; k < c->n_warp; k++)
        if (c->warp[k].live & ~b->by_warp[k]) return false;
    return true;
}

static void wake(ptx_cta *c, uint32_t id, const ptx_barrier *b)
{
    bool whole = whole_block(c, b);
    for (uint32_t k = 0; k < c->n_warp; k++) {
        ptx_warp *w = &c->warp[k];
        ptx_mask all = 0;
        for (uint32_t j = 0; j < w->s->n; j++) {
            ptx_group *g = &w->s->g[j];
            if (g->state != PTX_G_BAR || g->bar != id) continue;
            const ptx_inst *in = at(w, g);
            if (in->u0 == 2)
                for (uint32_t i = 0; i < PTX_LANES; i++)
                    if (g->m >> i & 1) ptx_r32(w, in->d)[i] = b->red_popc;
            if (in->u0 > 2) {
                bool v = in->u0 == 3 ? b->red_and : b->red_or;
                ptx_mask *d = ptx_rpred(w, in->d);
                *d = v ? *d | g->m : *d & ~g->m;
            }
            if (in->u0 > 1) ptx_val_fill(w, in->d, g->m, true);
            g->state = PTX_G_RUN;
            g->pc++;
            all |= g->m;
        }
        if (all && !whole) ptx_sync_acquire(w, b->vc);
    }
    if (whole) ptx_sync_block(c, b->vc);
}

static uint32_t threads_of(const ptx_cta *c, const ptx_barrier *b)
{
    uint32_t n = 0;
    if (!b->expected) return b->arrived;
    for (uint32_t k = 0; k < c->n_warp; k++) { /* a whole warp counts as 32 threads */
        const ptx_warp *w = &c->warp[k];
        n += b->by_warp[k] && (w->live & ~b->by_warp[k]) == 0
                 ? 32
                 : (uint32_t)__builtin_popcount(b->by_warp[k]);
    }
    return n;
}

void ptx_barrier_settle(ptx_cta *c, uint32_t id)
{
    ptx_barrier *b = &c->s->bar[id];
    if (!b->arrived) return;
    if (threads_of(c, b) < (b->expected ? b->expected : c->s->live_threads)) return;
    ptx_barrier done = *b;
    memset(b, 0, sizeof *b);
    c->cluster->events++;
    wake(c, id, &done);
}

int ptx_h_barrier(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    uint32_t first = (uint32_t)__builtin_ctz(m), id = ptx_r32(w, in->a)[first],
             count = in->b ? ptx_r32(w, in->b)[first] : 0;
    ptx_cta *c = w->cta;
    if (id >= PTX_BARRIERS)
        return ptx_fault(w, in, first, PTXSIM_R_BARRIER, 0, "barrier %u: there are 16", id);
    if (count % 32 || (in->b && !count))
        return ptx_fault(w, in, first, PTXSIM_R_BARRIER, 0,
                         "barrier %u: the thread count %u is no multiple of 32", id, count);
    for (uint32_t i = 0; i < PTX_LANES; i++)
        if (m >> i & 1 && ptx_r32(w, in->a)[i] != id)
            return ptx_fault(w, in, i, PTXSIM_R_BARRIER, 0,
                             "lanes of one warp name different barriers");
    ptx_barrier *b = &c->s->bar[id];
    if (b->arrived && b->expected != count && w->run->opt.checks & PTXSIM_CHECK_SYNC)
        ptx_report(w, in, first, PTXSIM_R_BARRIER, 0, b->line,
                   "barrier %u: %u threads expected here, %u at line %u", id, count, b->expected,
                   b->line);
    if (b->by_warp[w->index] & m && w->run->opt.checks & PTXSIM_CHECK_SYNC)
        ptx_report(w, in, first, PTXSIM_R_BARRIER, 0, b->line,
                   "barrier %u: the warp arrives twice before the barrier is complete", id);
    if (!b->arrived) b->line = in->x->st->pos.line, b->expected = count, b->red_and = 1;
    b->arrived += (uint32_t)__builtin_popcount(m);
    b->by_warp[w->index] |= m;
    if (in->u0 > 1) {
        ptx_mask p = (*ptx_rpred(w, in->c) ^ in->u1) & m;
        b->red_popc += (uint32_t)__builtin_popcount(p);
        b->red_and &= p == m;
        b->red_or |= p != 0;
    }
    ptxsim_counters *t = ptx_tally_of(w);
    if (t) t->barriers++;
    ptx_event(w);
    ptx_sync_release(w, b->vc);
    if (in->u0 == 1) {
        ptx_barrier_settle(c, id);
        return PTX_GO;
    }
    w->s->park_state = PTX_G_BAR;
    w->s->park_bar = (uint8_t)id;
    return PTX_PARK; /* sched.c settles the barrier once the group is parked */
}

/* ---- cluster barrier ---- */

int ptx_h_cluster_arrive(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    ptx_cluster *cl = w->cta->cluster;
    if (w->s->cluster_arrived & m && w->run->opt.checks & PTXSIM_CHECK_SYNC)
        ptx_report(w, in, (uint32_t)__builtin_ctz(m), PTXSIM_R_BARRIER, 0, 0,
                   "barrier.cluster.arrive twice without a wait");
    w->s->cluster_arrived |= m;
    w->s->cluster_phase = cl->phase;
    cl->arrived += (uint32_t)__builtin_popcount(m);
    ptx_event(w);
    ptx_cluster_settle(cl);
    return PTX_GO;
}

int ptx_h_cluster_wait(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    ptx_cluster *cl = w->cta->cluster;
    if (m & ~w->s->cluster_arrived && w->run->opt.checks & PTXSIM_CHECK_SYNC)
        ptx_report(w, in, (uint32_t)__builtin_ctz(m), PTXSIM_R_BARRIER, 0, 0,
                   "barrier.cluster.wait without an arrive");
    if ((m & ~w->s->cluster_arrived) == 0 && w->s->cluster_phase == cl->phase) {
        w->s->park_state = PTX_G_CLUSTER;
        return PTX_PARK;
    }
    w->s->cluster_arrived &= ~m;
    return PTX_GO;
}

void ptx_cluster_settle(ptx_cluster *cl)
{
    uint32_t live = 0;
    for (uint32_t k = 0; k < cl->n_cta; k++) live += cl->cta[k].s->live_threads;
    if (!cl->arrived || cl->arrived < live) return;
    cl->arrived = 0;
    cl->phase++;
    cl->events++;
    cl->tick++;
    for (uint32_t k = 0; k < cl->n_cta; k++)
        for (uint32_t j = 0; j < cl->cta[k].n_warp; j++) {
            ptx_warp *w = &cl->cta[k].warp[j];
            for (uint32_t g = 0; g < w->s->n; g++)
                if (w->s->g[g].state == PTX_G_CLUSTER) w->s->g[g].state = PTX_G_RUN;
            ptx_sync_all(w);
        }
}
