/* mbar.c: mbarrier objects, fences and st.async. The 64 bits in shared memory hold the barrier:
 *
 *     63     62      61..40               39..20             19..0
 *     phase  is one  transactions (signed) expected arrivals  pending arrivals
 *
 * and a table beside the block holds what its phases order: who waits for a completed phase knows
 * all that the arriving threads and the copies it counted did before. */
#include "ptxsim/mem.h"
#include "ptxsim/valid.h"

#include <stdlib.h>
#include <string.h>

enum { MB_INIT, MB_INVAL, MB_ARRIVE, MB_DROP, MB_EXPECT, MB_COMPLETE, MB_TEST, MB_TRY, MB_PENDING };
enum { COUNT_MAX = (1 << 20) - 1 };

typedef struct mbar { uint32_t pending, expected; int32_t tx; bool phase, is; } mbar;
/* now: what the open phase will order; done: what the last complete one does. asked: by which
 * execution of a wait the open phase was first tested in vain. init_*: who initialised it, when;
 * fenced: the asynchronous proxy knows. */
typedef struct stamps {
    uint32_t now[PTX_VC], done[PTX_VC];
    uint64_t asked;
    uint32_t init_actor, init_time;
    bool fenced, told;
} stamps;

static mbar unpack(uint64_t v)
{
    return (mbar){ .pending = v & COUNT_MAX,
                   .expected = v >> 20 & COUNT_MAX,
                   .tx = (int32_t)((int64_t)(v << 2) >> 42),
                   .phase = v >> 63,
                   .is = v >> 62 & 1 };
}
static uint64_t pack(mbar b)
{
    return (uint64_t)b.phase << 63 | (uint64_t)b.is << 62 |
           ((uint64_t)(uint32_t)b.tx & 0x3fffff) << 40 | (uint64_t)b.expected << 20 | b.pending;
}

static stamps *stamps_of(ptx_cta *c, uint32_t off)
{
    stamps *s = ll_map_get_u64(&c->s->mbar_vc, off);
    if (!s && (s = calloc(1, sizeof *s)) && !ll_map_set_u64(&c->s->mbar_vc, off, s)) {
        free(s);
        s = NULL;
    }
    return s;
}

void ptx_mbar_forget(ptx_cta *c)
{
    if (!c->s) return;
    for (size_t i = 0; i < c->s->mbar_vc.n; i++) free(c->s->mbar_vc.entry[i].value);
    ll_map_finish(&c->s->mbar_vc);
    c->s->mbar_vc = (ll_map){ 0 };
}

static mbar load(const ptx_cta *c, uint32_t off)
{
    uint64_t v;
    memcpy(&v, c->shared + off, 8);
    return unpack(v);
}

/* Stores the barrier, ending its phase when nothing is awaited any more. */
static void store(ptx_cta *c, uint32_t off, mbar b)
{
    if (b.pending == 0 && b.tx == 0) {
        stamps *s = ll_map_get_u64(&c->s->mbar_vc, off);
        b.phase = !b.phase;
        b.pending = b.expected;
        c->cluster->events++;
        if (s) memcpy(s->done, s->now, sizeof s->done), s->asked = 0;
    }
    uint64_t v = pack(b);
    memcpy(c->shared + off, &v, 8);
}

static int fail(ptx_warp *w, const ptx_inst *in, uint32_t lane, uint32_t off, const char *what)
{
    return ptx_fault(w, in, lane, PTXSIM_R_BARRIER, off, "mbarrier at shared address 0x%x: %s", off,
                     what);
}

static void release_into(ptx_warp *w, ptx_cta *c, uint32_t off)
{
    stamps *s = stamps_of(c, off);
    if (s) ptx_sync_release_to(w, c, s->now);
}

void ptx_mbar_complete_tx(const ptx_who *who, ptx_cta *c, uint32_t off, uint32_t bytes)
{
    mbar b = load(c, off);
    if (!b.is) {
        fail(who->w, who->in, who->lane, off, "a copy signals it, but it is not initialised");
        return;
    }
    stamps *s = stamps_of(c, off);
    if (s && who->async && !s->fenced && s->init_actor < PTX_MAX_WARPS) {
        s->fenced = true;
        if (!ptx_sync_proxied(c, s->init_actor, s->init_time))
            ptx_report(who->w, who->in, who->lane, PTXSIM_R_RACE, off, 0,
                       "the copy signals the mbarrier at shared address 0x%x, whose initialisation "
                       "no fence made visible to the asynchronous proxy",
                       off);
    }
    if (s && who->async) ptx_sync_release_async(c, s->now);
    b.tx -= (int32_t)bytes;
    store(c, off, b);
}

static bool done(const mbar *b, const ptx_inst *in, uint64_t operand)
{
    bool phase = in->u0 >> 9 & 1 ? operand & 1 : operand >> 63;
    return b->phase != phase;
}

/* Whoever uses the barrier must come behind its initialisation. */
static void check_init_order(ptx_warp *w, const ptx_inst *in, uint32_t lane, ptx_cta *c,
                             uint32_t off)
{
    stamps *s = stamps_of(c, off);
    if (!s || s->told || !(w->run->opt.checks & PTXSIM_CHECK_RACE) ||
        s->init_actor >= PTX_MAX_WARPS)
        return;
    if (w->cta == c && w->index == s->init_actor) return;
    if (w->s->vc[w->cta == c ? s->init_actor : PTX_MAX_WARPS + 1] >= s->init_time) return;
    s->told = true;
    ptx_report(w, in, lane, PTXSIM_R_RACE, off, 0,
               "the use of the mbarrier at shared address 0x%x is not ordered against its "
               "initialisation by warp %u",
               off, s->init_actor);
}

/* One lane; *wait is set when it has to come again. */
static int lane_op(ptx_warp *w, const ptx_inst *in, uint32_t i, ptx_cta *c, uint32_t off,
                   bool *wait)
{
    uint32_t op = in->u0 & 255;
    bool expect = in->u0 >> 8 & 1;
    mbar b = load(c, off);
    uint32_t n = in->a ? ptx_r32(w, in->a)[i] : 1;
    if (op == MB_INIT) {
        if (!n || n > COUNT_MAX) return fail(w, in, i, off, "the count must be 1 to 1048575");
        uint64_t v = pack((mbar){ .pending = n, .expected = n, .is = true });
        memcpy(c->shared + off, &v, 8);
        stamps *s = stamps_of(c, off);
        if (s)
            *s = (stamps){ .init_actor = w->cta == c ? w->index : PTX_VC, .init_time = w->s->tick };
        return PTX_GO;
    }
    if (!b.is) return fail(w, in, i, off, "not initialised");
    check_init_order(w, in, i, c, off);
    switch (op) {
    case MB_INVAL: memset(c->shared + off, 0xa5, 8); c->shared[off + 7] = 0; return PTX_GO;
    case MB_EXPECT: b.tx += (int32_t)n; store(c, off, b); return PTX_GO;
    case MB_COMPLETE: b.tx -= (int32_t)n; store(c, off, b); return PTX_GO;
    case MB_ARRIVE: case MB_DROP: {
        uint64_t state = pack(b);
        if (expect) b.tx += (int32_t)n, n = 1;
        if (b.pending < n) return fail(w, in, i, off, "more arrivals than its count");
        if (op == MB_DROP) b.expected -= n;
        b.pending -= n;
        release_into(w, c, off);
        store(c, off, b);
        ptx_event(w);
        if (in->u0 >> 10 & 1) ptx_r64(w, in->d)[i] = state;
        return PTX_GO;
    }
    default: break;
    }
    uint64_t operand = in->u0 >> 9 & 1 ? ptx_r32(w, in->b)[i] : ptx_r64(w, in->b)[i];
    stamps *s = stamps_of(c, off);
    if (!done(&b, in, operand)) {
        /* Copies arrive when they are asked for the second time: a wait that is not repeated is
         * seen to fail. */
        uint64_t now = (uint64_t)(w->index + 1) << 32 | w->s->waits;
        if (s && !s->asked) s->asked = now, ptx_event(w);
        if (!s || s->asked != now) ptx_tma_progress(&c->cluster->cta[0], c, off);
        b = load(c, off);
    }
    bool yes = done(&b, in, operand);
    ptx_mask *p = ptx_rpred(w, in->d);
    *p = yes ? *p | 1u << i : *p & ~(1u << i);
    *wait |= !yes;
    if (s && yes) ptx_sync_acquire(w, s->done);
    return PTX_GO;
}

int ptx_h_mbar(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    uint32_t op = in->u0 & 255;
    bool wait = false;
    w->s->waits++;
    if (op == MB_PENDING) {
        for (uint32_t i = 0; i < PTX_LANES; i++)
            if (m >> i & 1) ptx_r32(w, in->d)[i] = unpack(ptx_r64(w, in->b)[i]).pending;
        return PTX_GO;
    }
    const ptx_mem *mem = in->x->own;
    ptx_access ac = { .size = 8,
                      .m = m,
                      .kind = op == MB_INIT    ? PTX_WRITE
                              : op == MB_INVAL ? PTX_WRITE | PTX_INVAL
                                               : PTX_ATOMIC | PTX_STRONG };
    ptx_addr(w, mem, ac.addr);
    if (!ptx_access_resolve(w, in, mem->space == PTX_GENERIC ? PTX_GENERIC : PTX_CLUSTER, &ac))
        return PTX_FAULT;
    if ((ac.shared | ac.remote) != m)
        return ptx_fault(w, in, (uint32_t)__builtin_ctz(m), PTXSIM_R_OTHER, ac.addr[0],
                         "mbarrier outside shared memory");
    if (w->cta->shadow) ptx_access_check(w, in, &ac, NULL);
    for (uint32_t i = 0; i < PTX_LANES; i++) {
        if (!(m >> i & 1)) continue;
        uint32_t off;
        ptx_cta *c = ptx_cta_of(w, ac.addr[i] & ~PTX_WIN_MASK, &off);
        int r = lane_op(w, in, i, c, off, &wait);
        if (r) return r;
        if (op == MB_INIT && c->shadow) ptx_shadow_put(c, off, 8, 0xff);
    }
    return wait ? PTX_YIELD : PTX_GO;
}

/* The copies are performed here and the arrival made here; what orders readers is the mbarrier. */
int ptx_h_cp_mbar_arrive(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    const ptx_mem *mem = in->x->own;
    ptx_access ac = { .size = 8, .m = m, .kind = PTX_ATOMIC | PTX_STRONG };
    ptx_addr(w, mem, ac.addr);
    if (!ptx_access_resolve(w, in, mem->space, &ac)) return PTX_FAULT;
    if (ac.shared != m)
        return ptx_fault(w, in, (uint32_t)__builtin_ctz(m), PTXSIM_R_OTHER, ac.addr[0],
                         "mbarrier outside the block's shared memory");
    ptx_copies_finish(w, m);
    for (uint32_t i = 0; i < PTX_LANES; i++) {
        if (!(m >> i & 1)) continue;
        mbar b = load(w->cta, ac.off[i]);
        if (!b.is) return fail(w, in, i, ac.off[i], "not initialised");
        if (in->u0) { /* .noinc: the count given at init includes this arrival */
            if (!b.pending) return fail(w, in, i, ac.off[i], "more arrivals than its count");
            b.pending--;
        }
        release_into(w, w->cta, ac.off[i]);
        store(w->cta, ac.off[i], b);
    }
    ptx_event(w);
    return PTX_GO;
}

int ptx_h_fence(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    if (in->u0 & 6) ptx_sync_proxy(w, in->u0 & 4);
    if (in->u0 & 8) ptx_sync_fence(w);
    if (in->u0 & 1) ptx_global_fence(w);
    return PTX_GO;
}

int ptx_h_st_async(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    const ptx_ldst *l = in->x->own;
    const ptx_mem *bar = (const ptx_mem *)(const void *)(l + 1);
    uint64_t to[PTX_LANES], at[PTX_LANES];
    ptx_addr(w, &l->mem, to);
    ptx_addr(w, bar, at);
    for (uint32_t i = 0; i < PTX_LANES; i++) {
        uint8_t buf[32];
        if (!(m >> i & 1)) continue;
        for (uint32_t k = 0; k < l->n; k++)
            memcpy(buf + k * l->elem,
                   l->reg_bits[k] == 64 ? (const void *)&ptx_r64(w, l->slot[k])[i]
                                        : (const void *)&ptx_r32(w, l->slot[k])[i],
                   l->elem);
        ptx_who who = { .w = w, .in = in, .lane = i, .async = true };
        if (!ptx_span_write(&who, PTX_CLUSTER, to[i], l->total, buf, NULL)) return PTX_FAULT;
        uint32_t off;
        ptx_cta *c = ptx_cta_of(w, at[i], &off);
        if (!c || off + 8 > c->shared_bytes || off % 8)
            return ptx_fault(w, in, i, PTXSIM_R_OUT_OF_BOUNDS, at[i],
                             "st.async: no mbarrier at 0x%llx", (unsigned long long)at[i]);
        ptx_mbar_complete_tx(&who, c, off, l->total);
    }
    ptx_event(w);
    return PTX_GO;
}
