/* check.c: the shadow of a block's shared memory: who wrote and who read each granule last, and
 * whether a later access is ordered behind it.
 *
 * Time. A cluster has one counter; each warp has a tick (the interval it is in) that grows whenever
 * it releases something: a barrier, an mbarrier arrival, bar.warp.sync. vc[a] of a warp is the last
 * tick of actor a that is known to be over: an access (a, t) happened before everything the warp
 * does now when t <= vc[a]. vc of the warp itself orders its lanes among each other (bar.warp.sync,
 * block barriers); the same lane is always ordered. Actors are the warps of the block, the
 * asynchronous proxy (bulk copies) and "another block of the cluster".
 *
 *     seen_min = least vc of all actors that have touched this memory; a time t <= seen_min
 *                needs no closer look
 *
 * A granule is the smallest access the kernel makes to shared memory (1, 2 or 4 bytes), so accesses
 * cover whole granules and neighbouring halves are never confused. Kernels whose only barriers are
 * whole-block ones need one reader record per granule; others keep the last read of every warp.
 *
 * Flags: a strong store behind a fence (or a release) publishes what the warp knew at the fence; a
 * strong load hears it, and knows it after its next fence (or at once when it acquires).
 *
 * No race: equal values stored; both accesses atomic or volatile; same lane; an mbarrier taken down
 * behind the warp's own tests of it (they have answered: the lanes that are still to test it would
 * find none). */
#include "ptxsim/check.h"

#include <stdlib.h>
#include <string.h>

static uint32_t line_of(const ptx_run *r, uint64_t rec)
{
    uint32_t pc = (uint32_t)rec >> 14;
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
        s->w = calloc(s->n, 8), s->r = calloc(s->n, 8), s->pend = calloc(s->n, 1),
        s->pi = calloc(s->n, 8);
        if (!r->code->simple_sync) s->rclk = calloc((size_t)s->n * s->n_warp, 4);
        ok = s->w && s->r && s->pend && s->pi && (r->code->simple_sync || s->rclk);
    }
    if (ok) return s;
    ptx_shadow_free(s);
    return NULL;
}

static void drop_flags(ptx_shadow *s)
{
    for (size_t i = 0; i < s->flags.n; i++) free(s->flags.entry[i].value);
    ll_map_finish(&s->flags);
    s->flags = (ll_map){ 0 };
}

void ptx_shadow_free(ptx_shadow *s)
{
    if (!s) return;
    drop_flags(s);
    void *all[] = { s->init, s->w, s->r, s->pend, s->pi, s->rclk };
    for (size_t k = 0; k < sizeof all / sizeof *all; k++) free(all[k]);
    free(s);
}

/* Old times stay: a new block starts with all of them known to be over. */
void ptx_shadow_reset(ptx_shadow *s)
{
    memset(s->init, 0, s->bytes / 8 + 16);
    if (s->n_pend) memset(s->pend, 0, s->n);
    if (s->flags.n) drop_flags(s);
    s->n_pend = 0;
    s->actors = 0;
    memset(s->proxy, 0, sizeof s->proxy);
    memset(s->proxy_mbar, 0, sizeof s->proxy_mbar);
}

/* Times ran out of bits: forget everything. */
void ptx_shadow_forget(ptx_shadow *s)
{
    if (!s->races) return;
    memset(s->w, 0, (size_t)s->n * 8);
    memset(s->r, 0, (size_t)s->n * 8);
    if (s->rclk) memset(s->rclk, 0, (size_t)s->n * s->n_warp * 4);
}

/* ---- initialisation: one bit per byte ---- */

bool ptx_shadow_init_all(const ptx_cta *c, uint32_t off, uint32_t n)
{
    if (!c->shadow) return true;
    const uint8_t *b = c->shadow->init;
    for (uint64_t v; n;) {
        uint32_t bit = off % 8, take = 56 - bit < n ? 56 - bit : n;
        memcpy(&v, b + off / 8, 8);
        uint64_t m = ((1ull << take) - 1) << bit;
        if ((v & m) != m) return false;
        off += take;
        n -= take;
    }
    return true;
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
static uint32_t actor(const ptx_warp *w, const ptx_cta *c)
{
    return w->cta == c ? w->index : PTX_REMOTE;
}

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
    memset(w->s->fence_vc, 0, sizeof w->s->fence_vc);
    memset(w->s->heard_vc, 0, sizeof w->s->heard_vc);
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

void ptx_sync_fence(ptx_warp *w)
{
    if (!checked(w)) return;
    join(w->s->vc, w->s->heard_vc);
    memcpy(w->s->fence_vc, w->s->vc, sizeof w->s->fence_vc);
    w->s->fence_vc[w->index] = w->s->tick;
    next_tick(w);
    see(w);
}

/* A strong access to granule g of the own block. */
static void flag(ptx_warp *w, ptx_shadow *s, uint32_t g, uint32_t kind)
{
    bool write = kind & (PTX_WRITE | PTX_ATOMIC), read = !(kind & PTX_WRITE);
    uint32_t *vc = ll_map_get_u64(&s->flags, g);
    if (!vc && write && (vc = calloc(PTX_VC, sizeof *vc)) && !ll_map_set_u64(&s->flags, g, vc))
        free(vc), vc = NULL;
    if (!vc) return;
    if (read && kind & PTX_SYNC) ptx_sync_acquire(w, vc);
    else if (read) join(w->s->heard_vc, vc);
    if (write && kind & PTX_SYNC) ptx_sync_release(w, vc);
    else if (write) join(vc, w->s->fence_vc);
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
        for (uint32_t j = PTX_ASYNC; j <= PTX_REMOTE; j++)
            w->s->vc[j] = w->s->vc[j] > vc[j] ? w->s->vc[j] : vc[j];
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
void ptx_sync_proxy(ptx_warp *w, bool mbarriers_only)
{
    ptx_shadow *s = w->cta->shadow;
    if (!checked(w)) return;
    for (int k = 0; k < 2; k++) {
        uint32_t *p = k ? s->proxy : s->proxy_mbar;
        if (k && mbarriers_only) break;
        join(p, w->s->vc);
        if (p[w->index] < w->s->tick) p[w->index] = w->s->tick;
    }
    next_tick(w);
}

bool ptx_sync_proxied(const ptx_cta *c, uint32_t a, uint32_t time)
{
    const ptx_shadow *s = c->shadow;
    return !s || !(c->run->opt.checks & PTXSIM_CHECK_RACE) || !s->races || time <= s->proxy_mbar[a];
}

/* Warpgroup operations, numbered per warp; the stamps of the last 64 are kept. */
void ptx_group_issue(ptx_warp *w)
{
    if (!checked(w)) return;
    w->s->wg_stamp[++w->s->wg_issued & 63] = w->s->tick;
    next_tick(w);
}
void ptx_group_commit(ptx_warp *w, uint64_t group)
{
    w->s->wg_at_commit[group & 63] = w->s->wg_issued;
}
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

static void who_text(uint64_t rec, char out[64])
{
    uint32_t a = ptx_rec_actor(rec), lane = ptx_rec_lane(rec);
    if (a == PTX_ASYNC) snprintf(out, 64, "an asynchronous copy");
    else if (a == PTX_REMOTE) snprintf(out, 64, "another block");
    else if (lane >= PTX_LANES) snprintf(out, 64, "warp %u", a);
    else snprintf(out, 64, "thread %u", a * PTX_LANES + lane);
}

static void race(ptx_warp *w, const ptx_inst *in, uint32_t lane, const ptx_cta *c, uint32_t g,
                 uint64_t other, const char *what, const char *than)
{
    char who[64];
    uint32_t addr = g << c->shadow->shift, line = line_of(w->run, other);
    if (!(w->run->opt.checks & PTXSIM_CHECK_RACE)) return;
    who_text(other, who);
    ptx_report(w, in, lane, PTXSIM_R_RACE, addr, line,
               "%s of shared address 0x%x is not ordered against the %s by %s at line %u", what,
               addr, than, who, line);
}

static void pending(ptx_warp *w, const ptx_inst *in, uint32_t lane, const ptx_cta *c, uint32_t g,
                    bool write)
{
    const ptx_shadow *s = c->shadow;
    uint32_t addr = g << s->shift, line = line_of(w->run, s->pi[g]);
    if (!(w->run->opt.checks & PTXSIM_CHECK_PENDING)) return;
    ptx_report(w, in, lane, PTXSIM_R_PENDING, addr, line,
               "%s of shared address 0x%x before the wait for the copy at line %u that %s it",
               write ? "write" : "read", addr, line, s->pend[g] == 1 ? "fills" : "reads");
}

/* ---- one granule, looked at closely ---- */

static bool same_bytes(const ptx_cta *c, uint32_t g, const uint8_t *data)
{
    uint32_t n = 1u << c->shadow->shift;
    return data && !memcmp(c->shared + (g << c->shadow->shift), data, n);
}

/* Did the recorded access happen before lane of w now? */
static bool ordered(const ptx_warp *w, const ptx_cta *c, uint32_t lane, uint64_t rec)
{
    uint32_t a = ptx_rec_actor(rec), me = actor(w, c),
             seen = w->cta != c ? w->s->vc[PTX_REMOTE] : w->s->vc[a];
    return ptx_rec_time(rec) <= seen || (a == me && lane < PTX_LANES && ptx_rec_lane(rec) == lane);
}

static void look_read(ptx_warp *w, const ptx_inst *in, ptx_cta *c, uint32_t lane, uint32_t g,
                      bool strong)
{
    ptx_shadow *s = c->shadow;
    if (s->pend[g] == 1) pending(w, in, lane, c, g, false);
    else if (!ordered(w, c, lane, s->w[g]) && !(strong && (s->w[g] & PTX_REC_STRONG)))
        race(w, in, lane, c, g, s->w[g], "read", "write");
}

/* Warps other than the last reader that may still be reading. */
static uint64_t other_reader(const ptx_warp *w, const ptx_shadow *s, uint32_t g)
{
    uint64_t rec = s->r[g];
    uint32_t pc = (uint32_t)rec >> 14;
    if (!s->rclk) { /* the readers since the last block barrier */
        if (!(rec & PTX_REC_SEVERAL) || ptx_rec_time(rec) <= w->s->seen_min) return 0;
        return ptx_rec(1, w->index ? 0 : 1, PTX_REC_LANES, false, pc);
    }
    for (uint32_t k = 0; k < s->n_warp; k++)
        if (k != w->index && s->rclk[(size_t)k * s->n + g] > w->s->vc[k])
            return ptx_rec(1, k, PTX_REC_LANES, false, pc);
    return 0;
}

static void look_write(ptx_warp *w, const ptx_inst *in, ptx_cta *c, uint32_t lane, uint32_t g,
                       uint32_t kind, const uint8_t *data)
{
    ptx_shadow *s = c->shadow;
    bool strong = kind & PTX_STRONG;
    if (kind & PTX_INVAL && s->w[g] & PTX_REC_STRONG && ptx_rec_actor(s->w[g]) == actor(w, c))
        return;
    if (s->pend[g]) {
        pending(w, in, lane, c, g, true);
        return;
    }
    if (!ordered(w, c, lane, s->w[g]) && !(strong && (s->w[g] & PTX_REC_STRONG)) &&
        !same_bytes(c, g, data)) {
        race(w, in, lane, c, g, s->w[g], "write", "write");
        return;
    }
    uint64_t rec = s->r[g];
    if ((ptx_rec_time(rec) <= w->s->seen_min && w->cta == c) || (strong && (rec & PTX_REC_STRONG)))
        return;
    uint64_t other = !ordered(w, c, lane, rec) ? rec : w->cta == c ? other_reader(w, s, g) : 0;
    if (other && !same_bytes(c, g, data)) race(w, in, lane, c, g, other, "write", "read");
}

/* ---- recording ---- */

static void record_read(ptx_warp *w, ptx_shadow *s, uint32_t g, uint64_t rec)
{
    uint32_t me = ptx_rec_actor(rec);
    s->r[g] = ptx_rec_read(s->r[g], rec, w->s->seen_min);
    if (s->rclk && me < s->n_warp) s->rclk[(size_t)me * s->n + g] = ptx_rec_time(rec);
}

void ptx_shadow_meet(ptx_warp *w, const ptx_inst *in, ptx_cta *c, const uint32_t off[PTX_LANES],
                     uint32_t size, ptx_mask m, const uint8_t *data)
{
    uint32_t at = 0, slot_off[64];
    uint8_t slot_lane[64], used[64] = { 0 };
    bool row = true, first = true;
    if (!data) return;
    for (uint32_t i = 0; i < PTX_LANES && row; i++) { /* ascending: nobody meets */
        if (!(m >> i & 1)) continue;
        row = first || off[i] >= at;
        at = off[i] + size;
        first = false;
    }
    if (row) return;
    for (uint32_t i = 0; i < PTX_LANES; i++) {
        if (!(m >> i & 1)) continue;
        uint32_t h = (off[i] / size * 0x9e3779b1u) >> 26;
        while (used[h] && slot_off[h] != off[i]) h = (h + 1) & 63;
        if (!used[h]) {
            used[h] = 1, slot_off[h] = off[i], slot_lane[h] = (uint8_t)i;
        } else if (memcmp(data + slot_lane[h] * size, data + i * size, size)) {
            race(w, in, i, c, off[i] >> c->shadow->shift,
                 ptx_rec(1, w->index, slot_lane[h], false, in->pc), "write",
                 "write of the same instruction");
            return;
        }
    }
}

void ptx_shadow_access(ptx_warp *w, const ptx_inst *in, ptx_cta *c, const uint32_t off[PTX_LANES],
                       uint32_t size, ptx_mask m, uint32_t kind, const void *data)
{
    ptx_shadow *s = c->shadow;
    if (!s || !s->races) return;
    uint32_t n = size >> s->shift ? size >> s->shift : 1, me = actor(w, c);
    bool write = kind & (PTX_WRITE | PTX_ATOMIC), strong = kind & PTX_STRONG;
    const uint8_t *bytes = kind & PTX_WRITE ? data : NULL;
    if (me == PTX_REMOTE) note_actor(c, PTX_REMOTE);
    for (uint32_t i = 0; i < PTX_LANES; i++) {
        if (!(m >> i & 1)) continue;
        for (uint32_t k = 0; k < n; k++) {
            uint32_t g = (off[i] >> s->shift) + k;
            if (write)
                look_write(w, in, c, i, g, kind,
                           bytes ? bytes + i * size + (k << s->shift) : NULL);
            else look_read(w, in, c, i, g, strong);
        }
    }
    if (write && !(kind & PTX_ATOMIC)) ptx_shadow_meet(w, in, c, off, size, m, bytes);
    for (uint32_t i = 0; i < PTX_LANES && strong && w->cta == c && w->run->code->fences; i++)
        if (m >> i & 1) flag(w, s, off[i] >> s->shift, kind);
    for (uint32_t i = 0; i < PTX_LANES; i++) {
        if (!(m >> i & 1)) continue;
        uint32_t g = off[i] >> s->shift;
        uint64_t rec = ptx_rec(w->s->tick, me, i, strong, in->pc);
        for (uint32_t k = 0; k < n; k++) {
            if (write) s->w[g + k] = rec;
            else record_read(w, s, g + k, rec);
        }
    }
}

/* ---- contiguous pieces and copies in flight ---- */

static uint32_t lane_of(const ptx_who *who)
{
    return who->lane < PTX_LANES ? who->lane : PTX_REC_LANES;
}

static void look_span(const ptx_who *who, ptx_cta *c, uint32_t g, bool write, const uint8_t *data)
{
    ptx_warp *w = who->w;
    ptx_shadow *s = c->shadow;
    if (write) {
        look_write(w, who->in, c, who->lane, g, false, data);
        return;
    }
    look_read(w, who->in, c, who->lane, g, false);
    uint32_t a = ptx_rec_actor(s->w[g]), t = ptx_rec_time(s->w[g]);
    if (!who->async || a >= PTX_ASYNC || t <= s->proxy[a] || t <= s->start) return;
    if (w->run->opt.checks & PTXSIM_CHECK_RACE)
        ptx_report(w, who->in, who->lane, PTXSIM_R_RACE, (uint64_t)g << s->shift,
                   line_of(w->run, s->w[g]),
                   "the asynchronous proxy reads shared address 0x%x, written at line %u, without "
                   "a fence.proxy.async between",
                   g << s->shift, line_of(w->run, s->w[g]));
}

void ptx_shadow_span(const ptx_who *who, ptx_cta *c, uint32_t off, uint64_t n, uint32_t kind,
                     const void *data)
{
    ptx_shadow *s = c->shadow;
    ptx_warp *w = who->w;
    if (!s || !s->races || !n) return;
    bool write = kind & PTX_WRITE, by_proxy = who->async && write;
    uint32_t me = by_proxy ? PTX_ASYNC : actor(w, c), last = (uint32_t)((off + n - 1) >> s->shift),
             tick = by_proxy ? c->cluster->tick : w->s->tick;
    uint64_t rec = ptx_rec(tick, me, lane_of(who), false, who->in->pc);
    note_actor(c, me);
    for (uint32_t g = off >> s->shift; g <= last; g++) {
        if (!by_proxy)
            look_span(who, c, g, write,
                      data ? (const uint8_t *)data + ((g << s->shift) - off) : NULL);
        if (write) s->w[g] = rec;
        else record_read(w, s, g, rec);
    }
}

/* In flight: a write belongs to the asynchronous proxy or the thread; a read to the thread, whose
 * wait ends it. */
void ptx_shadow_begin(const ptx_who *who, ptx_cta *c, uint32_t off, uint64_t n, bool will_write)
{
    ptx_shadow *s = c->shadow;
    ptx_warp *w = who->w;
    if (!s || !s->races || !n) return;
    uint32_t me = who->async && will_write ? PTX_ASYNC : actor(w, c),
             last = (uint32_t)((off + n - 1) >> s->shift);
    uint64_t rec = ptx_rec(w->s->tick, me, lane_of(who), false, who->in->pc);
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
    uint32_t me = proxy ? PTX_ASYNC : actor(w, c), last = (uint32_t)((off + n - 1) >> s->shift),
             tick = proxy ? c->cluster->tick : w->s->tick;
    uint64_t rec = ptx_rec(tick, me, lane_of(who), false, who->in->pc);
    for (uint32_t g = off >> s->shift; g <= last; g++) {
        s->n_pend -= s->pend[g] != 0;
        s->pend[g] = 0;
        if (will_write) s->w[g] = rec;
        else if (who->lane < PTX_LANES) record_read(w, s, g, rec); /* warpgroups: at their issue */
    }
}
