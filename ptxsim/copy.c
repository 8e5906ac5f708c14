/* copy.c: cp.async. A copy is queued at the instruction and performed at the wait that covers it,
 * so that a missing or too weak wait leaves old bytes in place; from issue to wait its destination
 * is marked as pending. Each thread has its own queue of groups; the lanes of a warp usually issue
 * together, so the queue holds warp-wide copies with a lane mask and counts groups per lane. */
#include "ptxsim/mem.h"

#include <stdlib.h>
#include <string.h>

typedef struct copy {
    const ptx_inst *in;
    ptx_mask left;                 /* lanes whose copy is still to be done */
    uint32_t bytes;
    uint32_t group[PTX_LANES];     /* number of the lane's group; the open group is lane_group */
    uint32_t off[PTX_LANES];
    uint64_t src[PTX_LANES];
    uint32_t take[PTX_LANES];      /* bytes from the source; the rest is zero */
} copy;

typedef struct ptx_copies {
    copy *c;
    uint32_t n, cap;
    uint32_t lane_group[PTX_LANES];
} ptx_copies;

static ptx_copies *of(ptx_warp *w)
{
    if (!w->s->copies) w->s->copies = calloc(1, sizeof *w->s->copies);
    return w->s->copies;
}

void ptx_copies_reset(ptx_warp *w)
{
    ptx_copies *q = w->s->copies;
    if (!q) return;
    q->n = 0;
    memset(q->lane_group, 0, sizeof q->lane_group);
}

void ptx_copies_free(ptx_warp *w)
{
    if (!w->s || !w->s->copies) return;
    free(w->s->copies->c);
    free(w->s->copies);
    w->s->copies = NULL;
}

static int no_memory(ptx_warp *w, const ptx_inst *in)
{
    return ptx_fault(w, in, PTX_LANES, PTXSIM_R_OTHER, 0, "no host memory left");
}

static copy *push(ptx_copies *q)
{
    if (q->n == q->cap) {
        uint32_t cap = q->cap ? q->cap * 2 : 32;
        copy *c = realloc(q->c, cap * sizeof *c);
        if (!c) return NULL;
        q->c = c;
        q->cap = cap;
    }
    return &q->c[q->n++];
}

/* Checks both sides now, as the hardware reads and translates them now. */
static bool issue(ptx_warp *w, const ptx_inst *in, copy *c, ptx_mask m)
{
    const ptx_mem *mem = in->x->own;
    ptx_access to = { .size = c->bytes, .kind = PTX_WRITE, .m = m },
               from = { .size = c->bytes, .kind = PTX_READ };
    ptx_addr(w, &mem[0], to.addr);
    ptx_addr(w, &mem[1], from.addr);
    if (w->valid) {
        ptx_address_valid(w, in, mem[0].base, m);
        ptx_address_valid(w, in, mem[1].base, m);
    }
    if (!ptx_access_resolve(w, in, PTX_SHARED, &to)) return false;
    ptx_mask reads = 0, partly = 0;
    for (uint32_t i = 0; i < PTX_LANES; i++) {
        if (!(m >> i & 1) || !c->take[i]) continue;
        if (c->take[i] == c->bytes) reads |= 1u << i;
        else partly |= 1u << i;
    }
    from.m = reads;
    if (reads && !ptx_access_resolve(w, in, PTX_GLOBAL, &from)) return false;
    for (uint32_t i = 0; i < PTX_LANES && partly; i++) {
        ptx_access one = { .size = c->take[i], .kind = PTX_READ, .m = 1u << i };
        if (!(partly >> i & 1)) continue;
        if (from.addr[i] % c->bytes) {
            ptx_fault(w, in, i, PTXSIM_R_MISALIGNED, from.addr[i],
                      "%u-byte copy from address 0x%llx, which is not aligned", c->bytes,
                      (unsigned long long)from.addr[i]);
            return false;
        }
        one.addr[i] = from.addr[i];
        one.size = 1;
        if (!ptx_access_resolve(w, in, PTX_GLOBAL, &one)) return false;
        one.addr[i] += c->take[i] - 1;
        if (!ptx_access_resolve(w, in, PTX_GLOBAL, &one)) return false;
    }
    if (reads && (w->run->opt.counters || w->run->opt.checks & PTXSIM_CHECK_GLOBAL)) {
        if (w->run->opt.counters) ptx_count_global(w, &from);
        if (w->run->opt.checks & PTXSIM_CHECK_GLOBAL) ptx_global_access(w, in, &from, NULL);
    }
    if (w->run->opt.counters) ptx_count_shared(w, &to);
    for (uint32_t i = 0; i < PTX_LANES; i++) {
        c->off[i] = to.off[i];
        c->src[i] = from.addr[i];
        if (m >> i & 1 && w->cta->shadow) {
            ptx_who who = { .w = w, .in = in, .lane = i };
            ptx_shadow_begin(&who, w->cta, to.off[i], c->bytes, true);
        }
    }
    return true;
}

int ptx_h_cp_async(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    ptx_copies *q = of(w);
    copy *c = q ? push(q) : NULL;
    if (!c) return no_memory(w, in);
    c->in = in;
    c->left = m;
    c->bytes = in->u0;
    for (uint32_t i = 0; i < PTX_LANES; i++) {
        uint32_t n = in->u0;
        if (in->a) n = ptx_r32(w, in->a)[i];
        if (in->b && (*ptx_rpred(w, in->b) ^ in->u1) >> i & 1) n = 0;
        if (n > in->u0 && m >> i & 1) {
            q->n--;
            return ptx_fault(w, in, i, PTXSIM_R_OTHER, 0,
                             "cp.async: source size %u of a copy of %u bytes", n, in->u0);
        }
        c->take[i] = n;
        c->group[i] = q->lane_group[i];
    }
    if (!issue(w, in, c, m)) {
        q->n--;
        return PTX_FAULT;
    }
    ptxsim_counters *t = ptx_tally_of(w);
    if (t) t->async_bytes += (uint64_t)__builtin_popcount(m) * in->u0;
    return PTX_GO;
}

static void perform(ptx_warp *w, copy *c, ptx_mask m)
{
    for (uint32_t i = 0; i < PTX_LANES; i++) {
        uint8_t buf[16] = { 0 };
        uint32_t bits = ~0u;
        if (!(m >> i & 1)) continue;
        if (c->take[i]) {
            ptx_alloc *a = ptx_memory_find(w->run->mem, c->src[i]);
            if (!a || !a->host) continue;
            memcpy(buf, a->host + (c->src[i] - a->base), c->take[i]);
            if (w->valid)
                bits = ptx_init_bits(a, c->src[i] - a->base, c->take[i]) | ~0u << c->take[i];
        }
        ptx_who who = { .w = w, .in = c->in, .lane = i };
        if (w->cta->shadow) ptx_shadow_end(&who, w->cta, c->off[i], c->bytes, true);
        memcpy(w->cta->shared + c->off[i], buf, c->bytes);
        if (w->valid) ptx_shadow_put(w->cta, c->off[i], c->bytes, bits);
    }
    c->left &= ~m;
}

/* Performs, for lanes m, what lies in groups older than the newest `keep` committed ones. */
static void drain(ptx_warp *w, ptx_mask m, uint32_t keep, bool open_too)
{
    ptx_copies *q = w->s->copies;
    if (!q || !q->n) return;
    uint32_t kept = 0;
    for (uint32_t k = 0; k < q->n; k++) {
        copy *c = &q->c[k];
        ptx_mask now = 0;
        for (uint32_t i = 0; i < PTX_LANES; i++) {
            if (!(c->left & m & 1u << i)) continue;
            /* committed groups of the lane: 0 .. lane_group - 1 */
            if (open_too || (uint64_t)c->group[i] + keep < q->lane_group[i]) now |= 1u << i;
        }
        if (now) perform(w, c, now);
        if (c->left) {
            if (kept != k) q->c[kept] = *c;
            kept++;
        }
    }
    q->n = kept;
}

int ptx_h_cp_commit(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    ptx_copies *q = of(w);
    if (!q) return no_memory(w, in);
    for (uint32_t i = 0; i < PTX_LANES; i++) q->lane_group[i] += m >> i & 1;
    return PTX_GO;
}

/* u0: groups that may stay in flight; u1: wait_all, which commits as well. */
int ptx_h_cp_wait(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    drain(w, m, in->u1 ? 0 : in->u0, in->u1);
    return PTX_GO;
}

/* All copies of lanes m so far, for an mbarrier that tracks them (mbar.c decides when it is told).
 */
void ptx_copies_finish(ptx_warp *w, ptx_mask m) { drain(w, m, 0, true); }
