/* check.c: the shadow of a block's shared memory: who wrote and who read each granule last, and whether a
 * later access is ordered behind it.
 *
 * Time. A cluster has one counter; each warp has a tick (the interval it is in) that grows whenever it
 * releases something: a barrier, an mbarrier arrival, bar.warp.sync. vc[a] of a warp is the last tick of
 * actor a that is known to be over: an access (a, t) happened before everything the warp does now when
 * t <= vc[a]. vc of the warp itself orders its lanes among each other (bar.warp.sync, block barriers); the
 * same lane is always ordered. Actors are the warps of the block, the asynchronous proxy (bulk copies) and
 * "another block of the cluster".
 *
 *     seen_min = least vc of all actors that have touched this memory: t <= seen_min needs no closer look
 *
 * A granule is the smallest access the kernel makes to shared memory (1, 2 or 4 bytes), so accesses cover
 * whole granules and neighbouring halves are never confused. Kernels whose only barriers are whole-block ones
 * need one reader record per granule; others keep the last read of every warp.
 *
 * No race: equal values stored; both accesses atomic or volatile; same lane. */
#include "ptxsim/check.h"

#include <stdlib.h>
#include <string.h>

static uint32_t info(uint32_t actor, uint32_t lane, bool strong, uint32_t pc) { return actor | lane << 6 | (uint32_t)strong << 12 | pc << 13; }
static uint32_t actor_of(uint32_t i) { return i & 63; }
static uint32_t lane_of(uint32_t i) { return i >> 6 & 63; }
static bool strong_of(uint32_t i) { return i >> 12 & 1; }
static uint32_t line_of(const ptx_run *r, uint32_t i)
{
    uint32_t pc = i >> 13;
    return pc < r->code->n ? r->code->inst[pc].x->st->pos.line : 0;
}

ptx_shadow *ptx_shadow_new(ptx_run *r, uint32_t bytes)
{
    ptx_shadow *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    s->shift = r->code->shared_grain >= 4 ? 2 : r->code->shared_grain >= 2 ? 1 : 0;
    s->n = (bytes >> s->shift) + 1;
    s->n_warp = r->n_warp;
    s->bytes = bytes;
    s->races = r->opt.checks & (PTXSIM_CHECK_RACE | PTXSIM_CHECK_PENDING);
    bool ok = (s->init = calloc(bytes / 8 + 16, 1)) != NULL;
    if (ok && s->races) {
        s->wt = calloc(s->n, 4), s->wi = calloc(s->n, 4), s->rt = calloc(s->n, 4);
        s->ri = calloc(s->n, 4), s->rw = calloc(s->n, 4), s->pend = calloc(s->n, 1), s->pi = calloc(s->n, 4);
        if (!r->code->simple_sync) s->rclk = calloc((size_t)s->n * s->n_warp, 4);
        ok = s->wt && s->wi && s->rt && s->ri && s->rw && s->pend && s->pi && (r->code->simple_sync || s->rclk);
    }
    if (ok) return s;
    ptx_shadow_free(s);
    return NULL;
}

void ptx_shadow_free(ptx_shadow *s)
{
    if (!s) return;
    void *all[] = { s->init, s->wt, s->wi, s->rt, s->ri, s->rw, s->pend, s->pi, s->rclk };
    for (size_t k = 0; k < sizeof all / sizeof *all; k++) free(all[k]);
    free(s);
}

/* Old times stay: a new block starts with all of them known to be over. */
void ptx_shadow_reset(ptx_shadow *s)
{
    memset(s->init, 0, s->bytes / 8 + 16);
    if (s->n_pend) memset(s->pend, 0, s->n);
    s->n_pend = 0;
    s->actors = 0;
    memset(s->proxy, 0, sizeof s->proxy);
}

/* ---- initialisation: one bit per byte ---- */

uint32_t ptx_shadow_init(const ptx_cta *c, uint32_t off, uint32_t size)
{
    uint64_t v;
    if (!c->shadow) return ~0u;
    memcpy(&v, c->shadow->init + off / 8, 8);
    v >>= off % 8;
    return (uint32_t)v & (size >= 32 ? ~0u : (1u << size) - 1);
}

void ptx_shadow_put(ptx_cta *c, uint32_t off, uint32_t size, uint32_t bits)
{
    uint64_t v, m = (size >= 32 ? 0xffffffffull : (1ull << size) - 1) << off % 8;
    if (!c->shadow) return;
    memcpy(&v, c->shadow->init + off / 8, 8);
    v = (v & ~m) | ((uint64_t)bits << off % 8 & m);
    memcpy(c->shadow->init + off / 8, &v, 8);
}

/* ---- order ---- */

/* Who w is in the eyes of block c. */
static uint32_t actor(const ptx_warp *w, const ptx_cta *c) { return w->cta == c ? w->index : PTX_REMOTE; }

static void see(ptx_warp *w)
{
    const ptx_shadow *s = w->cta->shadow;
    uint32_t least = UINT32_MAX;
    for (uint32_t k = 0; k < s->n_warp; k++) least = w->s->vc[k] < least ? w->s->vc[k] : least;
    for (uint32_t k = PTX_ASYNC; k <= PTX_REMOTE; k++)
        if (s->actors >> (k - PTX_ASYNC) & 1 && w->s->vc[k] < least) least = w->s->vc[k];
    w->s->seen_min = least;
}

static void see_all(ptx_cta *c)
{
    for (uint32_t k = 0; k < c->n_warp; k++) see(&c->warp[k]);
}

static void note_actor(ptx_cta *c, uint32_t a)
{
    if (a < PTX_ASYNC || c->shadow->actors >> (a - PTX_ASYNC) & 1) return;
    c->shadow->actors |= 1u << (a - PTX_ASYNC);
    see_all(c);
}

static bool checked(const ptx_warp *w) { return w->cta->shadow && w->cta->shadow->races; }

static void next_tick(ptx_warp *w) { w->s->tick = ++w->cta->cluster->tick; }

void ptx_sync_start(ptx_warp *w)
{
    uint32_t base = w->cta->cluster->tick;
    for (uint32_t k = 0; k < PTX_VC; k++) w->s->vc[k] = base;
    w->s->seen_min = base;
    w->s->tick = base + 1;
}

void ptx_sync_warp_barrier(ptx_warp *w, ptx_mask m)
{
    if (!checked(w)) return;
    w->s->vc[w->index] = w->s->tick;
    next_tick(w);
    see(w);
}

static void join(uint32_t *a, const uint32_t *b)
{
    for (int k = 0; k < PTX_VC; k++) a[k] = a[k] > b[k] ? a[k] : b[k];
}

void ptx_sync_release(ptx_warp *w, uint32_t *vc)
{
    if (!checked(w)) return;
    join(vc, w->s->vc);
    if (vc[w->index] < w->s->tick) vc[w->index] = w->s->tick;
    next_tick(w);
}

void ptx_sync_acquire(ptx_warp *w, const uint32_t *vc)
{
    if (!checked(w)) return;
    join(w->s->vc, vc);
    see(w);
}

/* A whole-block barrier: everything any warp of the block did is over for all of them. */
void ptx_sync_block(ptx_cta *c, const uint32_t *vc)
{
    uint32_t now = c->cluster->tick;
    if (!c->shadow || !c->shadow->races) return;
    c->cluster->tick++;
    for (uint32_t k = 0; k < c->n_warp; k++) {
        ptx_warp *w = &c->warp[k];
        for (uint32_t j = 0; j < c->n_warp; j++) w->s->vc[j] = now;
        for (uint32_t j = PTX_ASYNC; j <= PTX_REMOTE; j++) w->s->vc[j] = w->s->vc[j] > vc[j] ? w->s->vc[j] : vc[j];
        w->s->tick = now + 1;
        see(w);
    }
}

void ptx_sync_all(ptx_warp *w)
{
    uint32_t now = w->cta->cluster->tick;
    if (!checked(w)) return;
    uint32_t async = w->s->vc[PTX_ASYNC];
    for (uint32_t k = 0; k < PTX_VC; k++) w->s->vc[k] = now;
    w->s->vc[PTX_ASYNC] = async;
    w->s->tick = now + 1;
    if (w->cta->cluster->tick < now + 1) w->cta->cluster->tick = now + 1;
    see(w);
}

void ptx_sync_release_to(ptx_warp *w, ptx_cta *c, uint32_t *vc)
{
    if (!checked(w)) return;
    if (c == w->cta) {
        ptx_sync_release(w, vc);
        return;
    }
    if (vc[PTX_REMOTE] < w->s->tick) vc[PTX_REMOTE] = w->s->tick;
    next_tick(w);
}

void ptx_sync_release_async(ptx_cta *c, uint32_t *vc)
{
    if (!c->shadow || !c->shadow->races) return;
    vc[PTX_ASYNC] = c->cluster->tick++;
}

/* fence.proxy.async: what this warp did and knows of may be read by the asynchronous proxy. */
void ptx_sync_proxy(ptx_warp *w)
{
    ptx_shadow *s = w->cta->shadow;
    if (!checked(w)) return;
    join(s->proxy, w->s->vc);
    if (s->proxy[w->index] < w->s->tick) s->proxy[w->index] = w->s->tick;
    next_tick(w);
}

/* Warpgroup operations, numbered per warp; the stamps of the last 64 are kept. */
void ptx_group_issue(ptx_warp *w)
{
    if (!checked(w)) return;
    w->s->wg_stamp[++w->s->wg_issued & 63] = w->s->tick;
    next_tick(w);
}
void ptx_group_commit(ptx_warp *w, uint64_t group) { w->s->wg_at_commit[group & 63] = w->s->wg_issued; }
void ptx_group_wait(ptx_warp *w, uint64_t upto)
{
    if (!checked(w)) return;
    uint32_t n = w->s->wg_at_commit[upto & 63], first = w->index / 4 * 4;
    for (uint32_t k = first; k < first + 4 && k < w->cta->n_warp; k++) {
        const ptx_warp_sched *o = w->cta->warp[k].s;
        uint32_t t = o->wg_issued - n < 64 ? o->wg_stamp[n & 63] : 0;
        if (w->s->vc[k] < t) w->s->vc[k] = t;
    }
    see(w);
}

/* ---- findings ---- */

static void who_text(const ptx_run *r, uint32_t i, char out[64])
{
    if (actor_of(i) == PTX_ASYNC) snprintf(out, 64, "an asynchronous copy");
    else if (actor_of(i) == PTX_REMOTE) snprintf(out, 64, "another block");
    else if (lane_of(i) >= PTX_LANES) snprintf(out, 64, "warp %u", actor_of(i));
    else snprintf(out, 64, "thread %u", actor_of(i) * PTX_LANES + lane_of(i));
}

static void race(ptx_warp *w, const ptx_inst *in, uint32_t lane, const ptx_cta *c, uint32_t g, uint32_t other, const char *what, const char *than)
{
    char who[64];
    uint32_t addr = g << c->shadow->shift, line = line_of(w->run, other);
    if (!(w->run->opt.checks & PTXSIM_CHECK_RACE)) return;
    who_text(w->run, other, who);
    ptx_report(w, in, lane, PTXSIM_R_RACE, addr, line, "%s of shared address 0x%x is not ordered against the %s by %s at line %u", what, addr, than, who, line);
}

static void pending(ptx_warp *w, const ptx_inst *in, uint32_t lane, const ptx_cta *c, uint32_t g, bool write)
{
    const ptx_shadow *s = c->shadow;
    uint32_t addr = g << s->shift, line = line_of(w->run, s->pi[g]);
    if (!(w->run->opt.checks & PTXSIM_CHECK_PENDING)) return;
    ptx_report(w, in, lane, PTXSIM_R_PENDING, addr, line, "%s of shared address 0x%x before the wait for the copy at line %u that %s it", write ? "write" : "read", addr, line,
               s->pend[g] == 1 ? "fills" : "reads");
}

/* ---- one granule, looked at closely ---- */

static bool same_bytes(const ptx_cta *c, uint32_t g, const uint8_t *data)
{
    uint32_t n = 1u << c->shadow->shift;
    return data && !memcmp(c->shared + (g << c->shadow->shift), data, n);
}

/* (time, rec) of actor a before lane of w now? */
static bool ordered(const ptx_warp *w, const ptx_cta *c, uint32_t lane, uint32_t t, uint32_t rec)
{
    uint32_t a = actor_of(rec), me = actor(w, c);
    if (w->cta != c) return t <= w->s->vc[PTX_REMOTE] || (a == me && lane_of(rec) == lane);
    return t <= w->s->vc[a] || (a == me && lane < PTX_LANES && lane_of(rec) == lane);
}

static void look_read(ptx_warp *w, const ptx_inst *in, ptx_cta *c, uint32_t lane, uint32_t g, bool strong)
{
    ptx_shadow *s = c->shadow;
    if (s->pend[g] == 1) pending(w, in, lane, c, g, false);
    else if (!ordered(w, c, lane, s->wt[g], s->wi[g]) && !(strong && strong_of(s->wi[g]))) race(w, in, lane, c, g, s->wi[g], "read", "write");
}

static void look_write(ptx_warp *w, const ptx_inst *in, ptx_cta *c, uint32_t lane, uint32_t g, bool strong, const uint8_t *data)
{
    ptx_shadow *s = c->shadow;
    if (s->pend[g]) {
        pending(w, in, lane, c, g, true);
        return;
    }
    if (!ordered(w, c, lane, s->wt[g], s->wi[g]) && !(strong && strong_of(s->wi[g])) && !same_bytes(c, g, data)) {
        race(w, in, lane, c, g, s->wi[g], "write", "write");
        return;
    }
    uint32_t me = actor(w, c), rec = s->ri[g];
    if (s->rt[g] <= w->s->seen_min && w->cta == c) return;
    if (strong && strong_of(rec)) return;
    if (!ordered(w, c, lane, s->rt[g], rec)) {
        if (!same_bytes(c, g, data)) race(w, in, lane, c, g, rec, "write", "read");
        return;
    }
    uint32_t others = s->rw[g] & ~(me < PTX_MAX_WARPS ? 1u << me : 0);
    if (!others || w->cta != c) return;
    if (!s->rclk) { /* the readers since the last block barrier */
        if (actor_of(rec) == me && s->rt[g] > w->s->seen_min && !same_bytes(c, g, data))
            race(w, in, lane, c, g, info((uint32_t)__builtin_ctz(others), 63, false, rec >> 13), "write", "read");
        return;
    }
    for (uint32_t k = 0; k < s->n_warp; k++)
        if (others >> k & 1 && s->rclk[(size_t)g * s->n_warp + k] > w->s->vc[k]) {
            if (!same_bytes(c, g, data)) race(w, in, lane, c, g, info(k, 63, false, rec >> 13), "write", "read");
            return;
        }
}

/* ---- recording ---- */

static void record_read(ptx_shadow *s, uint32_t g, uint32_t me, uint32_t lane, uint32_t tick, uint32_t seen, uint32_t rec)
{
    uint32_t bit = me < PTX_MAX_WARPS ? 1u << me : 0;
    if (s->rt[g] == tick && actor_of(s->ri[g]) == me && lane_of(s->ri[g]) != lane) rec |= 63u << 6;
    s->rw[g] = s->rt[g] <= seen ? bit : s->rw[g] | bit;
    s->rt[g] = tick;
    s->ri[g] = rec;
    if (s->rclk && bit) s->rclk[(size_t)g * s->n_warp + me] = tick;
}

/* Lanes of one store that meet on a granule with different values. */
static void meet(ptx_warp *w, const ptx_inst *in, ptx_cta *c, const uint32_t off[PTX_LANES], uint32_t size, ptx_mask m, const uint8_t *data)
{
    uint32_t lo = UINT32_MAX, hi = 0, n = (uint32_t)__builtin_popcount(m);
    if (!data || n < 2) return;
    for (uint32_t i = 0; i < PTX_LANES; i++) {
        if (!(m >> i & 1)) continue;
        lo = off[i] < lo ? off[i] : lo;
        hi = off[i] > hi ? off[i] : hi;
    }
    if (hi - lo == (n - 1) * size && n == (uint32_t)__builtin_popcount(m)) {
        uint32_t at = lo; /* one ascending row: nobody meets */
        bool row = true;
        for (uint32_t i = 0; i < PTX_LANES && row; i++)
            if (m >> i & 1) row = off[i] == at, at += size;
        if (row) return;
    }
    uint32_t slot_off[64];
    uint8_t slot_lane[64], used[64] = { 0 };
    for (uint32_t i = 0; i < PTX_LANES; i++) {
        if (!(m >> i & 1)) continue;
        uint32_t h = (off[i] / size * 0x9e3779b1u) >> 26;
        while (used[h] && slot_off[h] != off[i]) h = (h + 1) & 63;
        if (!used[h]) {
            used[h] = 1, slot_off[h] = off[i], slot_lane[h] = (uint8_t)i;
        } else if (memcmp(data + slot_lane[h] * size, data + i * size, size)) {
            race(w, in, i, c, off[i] >> c->shadow->shift, info(w->index, slot_lane[h], false, in->pc), "write", "write of the same instruction");
            return;
        }
    }
}

static bool all_settled(const ptx_warp *w, const ptx_shadow *s, const uint32_t off[PTX_LANES], uint32_t n, ptx_mask m, bool write)
{
    uint32_t seen = w->s->seen_min, bad = 0;
    for (uint32_t i = 0; i < PTX_LANES; i++) {
        if (!(m >> i & 1)) continue;
        uint32_t g = off[i] >> s->shift;
        for (uint32_t k = 0; k < n; k++) {
            bad |= s->wt[g + k] > seen;
            if (write) bad |= s->rt[g + k] > seen;
        }
    }
    return !bad;
}

void ptx_shadow_access(ptx_warp *w, const ptx_inst *in, ptx_cta *c, const uint32_t off[PTX_LANES], uint32_t size, ptx_mask m, uint32_t kind, const void *data)
{
    ptx_shadow *s = c->shadow;
    if (!s || !s->races) return;
    uint32_t n = size >> s->shift ? size >> s->shift : 1, me = actor(w, c), tick = w->s->tick, seen = w->s->seen_min;
    bool write = kind & (PTX_WRITE | PTX_ATOMIC), strong = kind & PTX_STRONG;
    const uint8_t *bytes = kind & PTX_WRITE ? data : NULL;
    if (me == PTX_REMOTE) note_actor(c, PTX_REMOTE);
    if (s->n_pend || w->cta != c || !all_settled(w, s, off, n, m, write)) {
        for (uint32_t i = 0; i < PTX_LANES; i++) {
            if (!(m >> i & 1)) continue;
            for (uint32_t k = 0; k < n; k++) {
                uint32_t g = (off[i] >> s->shift) + k;
                if (write) look_write(w, in, c, i, g, strong, bytes ? bytes + i * size + (k << s->shift) : NULL);
                else look_read(w, in, c, i, g, strong);
            }
        }
    }
    if (write && !(kind & PTX_ATOMIC)) meet(w, in, c, off, size, m, bytes);
    for (uint32_t i = 0; i < PTX_LANES; i++) {
        if (!(m >> i & 1)) continue;
        uint32_t g = off[i] >> s->shift, rec = info(me, i, strong, in->pc);
        for (uint32_t k = 0; k < n; k++) {
            if (write) s->wt[g + k] = tick, s->wi[g + k] = rec;
            else record_read(s, g + k, me, i, tick, seen, rec);
        }
    }
}

/* ---- contiguous pieces and copies in flight ---- */

static void look_span(const ptx_who *who, ptx_cta *c, uint32_t g, bool write, const uint8_t *data)
{
    ptx_warp *w = who->w;
    ptx_shadow *s = c->shadow;
    if (write) {
        look_write(w, who->in, c, who->lane, g, false, data);
        return;
    }
    look_read(w, who->in, c, who->lane, g, false);
    uint32_t a = actor_of(s->wi[g]);
    if (!who->async || a >= PTX_ASYNC || s->wt[g] <= s->proxy[a] || s->wt[g] <= s->start) return;
    if (w->run->opt.checks & PTXSIM_CHECK_RACE)
        ptx_report(w, who->in, who->lane, PTXSIM_R_RACE, (uint64_t)g << s->shift, line_of(w->run, s->wi[g]),
                   "the asynchronous proxy reads shared address 0x%x, written at line %u, without a fence.proxy.async between", g << s->shift, line_of(w->run, s->wi[g]));
}

void ptx_shadow_span(const ptx_who *who, ptx_cta *c, uint32_t off, uint64_t n, uint32_t kind, const void *data)
{
    ptx_shadow *s = c->shadow;
    ptx_warp *w = who->w;
    if (!s || !s->races || !n) return;
    bool write = kind & PTX_WRITE, by_proxy = who->async && write;
    uint32_t me = by_proxy ? PTX_ASYNC : actor(w, c), last = (uint32_t)((off + n - 1) >> s->shift), tick = by_proxy ? c->cluster->tick : w->s->tick;
    uint32_t lane = who->lane < PTX_LANES ? who->lane : 63, rec = info(me, lane, false, who->in->pc);
    note_actor(c, me);
    for (uint32_t g = off >> s->shift; g <= last; g++) {
        if (!by_proxy) look_span(who, c, g, write, data ? (const uint8_t *)data + ((g << s->shift) - off) : NULL);
        if (write) s->wt[g] = tick, s->wi[g] = rec;
        else record_read(s, g, me, lane, tick, w->s->seen_min, rec);
    }
}

/* In flight: a write belongs to the asynchronous proxy or the thread; a read to the thread, whose wait ends it. */
void ptx_shadow_begin(const ptx_who *who, ptx_cta *c, uint32_t off, uint64_t n, bool will_write)
{
    ptx_shadow *s = c->shadow;
    ptx_warp *w = who->w;
    if (!s || !s->races || !n) return;
    uint32_t me = who->async && will_write ? PTX_ASYNC : actor(w, c), last = (uint32_t)((off + n - 1) >> s->shift);
    uint32_t rec = info(me, who->lane < PTX_LANES ? who->lane : 63, false, who->in->pc);
    note_actor(c, me);
    for (uint32_t g = off >> s->shift; g <= last; g++) {
        look_span(who, c, g, will_write, NULL);
        s->n_pend += s->pend[g] == 0;
        s->pend[g] = will_write ? 1 : 2;
        s->pi[g] = rec;
    }
}

void ptx_shadow_end(const ptx_who *who, ptx_cta *c, uint32_t off, uint64_t n, bool will_write)
{
    ptx_shadow *s = c->shadow;
    ptx_warp *w = who->w;
    if (!s || !s->races || !n) return;
    bool proxy = who->async && will_write;
    uint32_t me = proxy ? PTX_ASYNC : actor(w, c), last = (uint32_t)((off + n - 1) >> s->shift), tick = proxy ? c->cluster->tick : w->s->tick;
    uint32_t lane = who->lane < PTX_LANES ? who->lane : 63, rec = info(me, lane, false, who->in->pc);
    for (uint32_t g = off >> s->shift; g <= last; g++) {
        s->n_pend -= s->pend[g] != 0;
        s->pend[g] = 0;
        if (will_write) s->wt[g] = tick, s->wi[g] = rec;
        else if (lane != 63) record_read(s, g, me, lane, tick, w->s->seen_min, rec); /* warpgroups: at their issue */
    }
}
