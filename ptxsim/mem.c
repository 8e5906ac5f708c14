/* mem.c: warp-wide memory accesses: windows, bounds, alignment, and what is said when one is wrong.
 * Bounds and alignment are always checked; races, pending copies and initialisation when asked for
 * (check.c). */
#include "ptxsim/check.h"

#include <string.h>

void ptx_addr(ptx_warp *w, const ptx_mem *mem, uint64_t out[PTX_LANES])
{
    for (uint32_t i = 0; i < PTX_LANES; i++)
        out[i] = mem->wide ? ptx_r64(w, mem->base)[i] + (uint64_t)mem->off
                           : (uint32_t)(ptx_r32(w, mem->base)[i] + (uint32_t)mem->off);
}

ptx_cta *ptx_cta_of(ptx_warp *w, uint64_t addr, uint32_t *off)
{
    uint32_t tag = addr >> 24 & 0xff;
    ptx_cluster *cl = w->cta->cluster;
    *off = (uint32_t)addr & 0xffffff;
    if (!tag) return w->cta;
    return tag - 1 < cl->n_cta ? &cl->cta[tag - 1] : NULL;
}

const uint8_t *ptx_param_bytes(const ptx_warp *w, uint64_t off, uint64_t n)
{
    const ptx_run *r = w->run;
    off &= ~PTX_WIN_MASK;
    return off <= r->param_bytes && n <= r->param_bytes - off ? r->params + off : NULL;
}

static const char *verb(uint32_t kind)
{
    return kind & PTX_ATOMIC ? "atomic access" : kind & PTX_WRITE ? "write" : "read";
}

static bool host_looking(uint64_t a) { return a >= 0x500000000000ull && a < 0x800000000000ull; }

static bool global_fault(ptx_warp *w, const ptx_inst *in, uint32_t lane, uint64_t a,
                         const ptx_access *ac, const ptx_alloc *al)
{
    ptxsim_kind k = PTXSIM_R_OUT_OF_BOUNDS;
    if (al && a - al->base < al->size && al->freed) {
        ptx_fault(w, in, lane, PTXSIM_R_USE_AFTER_FREE, a,
                  "%u-byte %s of freed memory: 0x%llx is %llu bytes into an allocation of %llu",
                  ac->size, verb(ac->kind), (unsigned long long)a,
                  (unsigned long long)(a - al->base), (unsigned long long)al->size);
    } else if (host_looking(a) && !(al && a - al->base < al->size + 4096)) {
        ptx_fault(w, in, lane, PTXSIM_R_HOST_POINTER, a,
                  "%u-byte %s of 0x%llx, which looks like a host pointer", ac->size, verb(ac->kind),
                  (unsigned long long)a);
    } else if (al && al->base <= a && a - al->base < al->size + (1u << 20) + (al->size >> 1)) {
        ptx_fault(w, in, lane, k, a,
                  "%u-byte %s of global address 0x%llx: %lld bytes past the end of the allocation "
                  "of %llu bytes at 0x%llx",
                  ac->size, verb(ac->kind), (unsigned long long)a,
                  (long long)(a + ac->size - al->base - al->size), (unsigned long long)al->size,
                  (unsigned long long)al->base);
    } else {
        ptx_fault(w, in, lane, k, a, "%u-byte %s of global address 0x%llx: no allocation is there",
                  ac->size, verb(ac->kind), (unsigned long long)a);
    }
    return false;
}

static bool misaligned(ptx_warp *w, const ptx_inst *in, uint32_t lane, uint64_t a,
                       const ptx_access *ac)
{
    ptx_fault(w, in, lane, PTXSIM_R_MISALIGNED, a,
              "%u-byte %s of address 0x%llx, which is not aligned to %u", ac->size, verb(ac->kind),
              (unsigned long long)a, ac->size);
    return false;
}

static void remember(ptx_warp *w, ptx_alloc *a)
{
    ptx_warp_sched *s = w->s;
    for (uint32_t k = 0; k < s->n_hot; k++)
        if (s->hot[k] == a) return;
    if (s->n_hot < 4) s->n_hot++;
    for (uint32_t k = s->n_hot - 1; k; k--) s->hot[k] = s->hot[k - 1];
    s->hot[0] = a;
}

static bool resolve_global(ptx_warp *w, const ptx_inst *in, ptx_access *ac, uint32_t i, uint64_t a)
{
    ptx_alloc *al = ptx_memory_find(w->run->mem, a);
    if (!al || a - al->base >= al->size || ac->size > al->size - (a - al->base) || !al->host)
        return global_fault(w, in, i, a, ac, al);
    ac->p[i] = al->host + (a - al->base);
    ac->each[i] = al;
    ac->global |= 1u << i;
    return true;
}

static bool resolve_shared(ptx_warp *w, const ptx_inst *in, ptx_access *ac, uint32_t i, uint64_t a)
{
    uint32_t off;
    ptx_cta *c = a >> 32 ? NULL : ptx_cta_of(w, a, &off);
    if (!c) {
        ptx_fault(w, in, i, PTXSIM_R_OUT_OF_BOUNDS, a,
                  "%u-byte %s of shared address 0x%llx: no block of the cluster has it", ac->size,
                  verb(ac->kind), (unsigned long long)a);
        return false;
    }
    if (off < w->run->code->shared_base || off > c->shared_bytes ||
        ac->size > c->shared_bytes - off) {
        ptx_fault(w, in, i, PTXSIM_R_OUT_OF_BOUNDS, a,
                  "%u-byte %s of shared address 0x%x: the block has 0x%x to 0x%x", ac->size,
                  verb(ac->kind), off, w->run->code->shared_base, c->shared_bytes);
        return false;
    }
    ac->p[i] = c->shared + off;
    ac->off[i] = off;
    if (c == w->cta) ac->shared |= 1u << i;
    else ac->remote |= 1u << i;
    return true;
}

static bool resolve_local(ptx_warp *w, const ptx_inst *in, ptx_access *ac, uint32_t i, uint64_t a)
{
    uint32_t n = w->run->code->local_bytes;
    if (a > n || ac->size > n - a) {
        ptx_fault(w, in, i, PTXSIM_R_OUT_OF_BOUNDS, a,
                  "%u-byte %s of local address 0x%llx: the thread has %u bytes", ac->size,
                  verb(ac->kind), (unsigned long long)a, n);
        return false;
    }
    ac->off[i] = (uint32_t)a;
    ac->p[i] = w->s->local + (size_t)i * n + a;
    ac->local |= 1u << i;
    return true;
}

static bool resolve_param(ptx_warp *w, const ptx_inst *in, ptx_access *ac, uint32_t i, uint64_t a)
{
    const uint8_t *p = ptx_param_bytes(w, a, ac->size);
    if (!p || ac->kind & (PTX_WRITE | PTX_ATOMIC)) {
        ptx_fault(w, in, i, PTXSIM_R_OUT_OF_BOUNDS, a,
                  "%u-byte %s of parameter offset 0x%llx: the kernel has %u bytes, to be read only",
                  ac->size, verb(ac->kind), (unsigned long long)a, w->run->param_bytes);
        return false;
    }
    ac->p[i] = w->run->params + a;
    ac->off[i] = (uint32_t)a;
    ac->param |= 1u << i;
    return true;
}

bool ptx_access_resolve(ptx_warp *w, const ptx_inst *in, ptx_space space, ptx_access *ac)
{
    uint32_t some = (uint32_t)__builtin_ctz(ac->m);
    ac->alloc = NULL;
    for (uint32_t i = 0; i < PTX_LANES; i++) {
        if (!(ac->m >> i & 1)) continue;
        uint64_t a = ac->addr[i];
        ptx_space s = space;
        if (s == PTX_GENERIC) {
            uint64_t win = a & PTX_WIN_MASK;
            s = win == PTX_WIN_SHARED  ? PTX_CLUSTER
                : win == PTX_WIN_LOCAL ? PTX_LOCAL
                : win == PTX_WIN_PARAM ? PTX_PARAM
                                       : PTX_GLOBAL;
            if (s != PTX_GLOBAL) a &= ~PTX_WIN_MASK;
        }
        uint32_t align = ac->size & (ac->size - 1) ? 1 : ac->size;
        if (a & (align - 1)) return misaligned(w, in, i, ac->addr[i], ac);
        bool ok;
        switch (s) {
        case PTX_SHARED: case PTX_CLUSTER: ok = resolve_shared(w, in, ac, i, a); break;
        case PTX_LOCAL: ok = resolve_local(w, in, ac, i, a); break;
        case PTX_PARAM: ok = resolve_param(w, in, ac, i, a); break;
        default: ok = resolve_global(w, in, ac, i, a);
        }
        if (!ok) return false;
    }
    for (uint32_t i = 0; i < PTX_LANES; i++)
        if (!(ac->m >> i & 1)) ac->p[i] = ac->p[some], ac->off[i] = ac->off[some];
    if (ac->global == ac->m) {
        ptx_alloc *one = ac->each[some];
        for (uint32_t i = 0; i < PTX_LANES; i++)
            if (ac->m >> i & 1 && ac->each[i] != one) one = NULL;
        ac->alloc = one;
        if (one) remember(w, one);
    }
    return true;
}

/* Remote lanes, block by block. */
static void check_remote(ptx_warp *w, const ptx_inst *in, ptx_access *ac, const void *data)
{
    for (ptx_mask left = ac->remote; left;) {
        uint32_t tag = ac->addr[__builtin_ctz(left)] >> 24 & 0xff, off;
        ptx_mask same = 0;
        for (uint32_t i = 0; i < PTX_LANES; i++)
            if (left >> i & 1 && (ac->addr[i] >> 24 & 0xff) == tag) same |= 1u << i;
        ptx_cta *c = ptx_cta_of(w, (uint64_t)tag << 24, &off);
        ptx_shadow_access(w, in, c, ac->off, ac->size, same, ac->kind, data);
        left &= ~same;
    }
}

void ptx_access_check(ptx_warp *w, const ptx_inst *in, ptx_access *ac, const void *data)
{
    const ptx_options *o = &w->run->opt;
    if (o->checks & (PTXSIM_CHECK_RACE | PTXSIM_CHECK_PENDING)) {
        if (ac->shared)
            ptx_shadow_access(w, in, w->cta, ac->off, ac->size, ac->shared, ac->kind, data);
        if (ac->remote) check_remote(w, in, ac, data);
    }
    if (ac->global && o->checks & PTXSIM_CHECK_GLOBAL) ptx_global_access(w, in, ac, data);
    if (!o->counters) return;
    if (ac->shared) ptx_count_shared(w, ac);
    if (ac->global) ptx_count_global(w, ac);
    if (ac->kind & PTX_ATOMIC) ptx_count_atomic(w, ac);
}

/* ---- initialisation ---- */

static ptx_alloc *alloc_of(const ptx_access *ac, uint32_t i)
{
    return ac->alloc ? ac->alloc : ac->each[i];
}

/* Is every byte from the lowest to the highest address initialised? (Up to 1 KB: one question for
 * all lanes.) */
static bool all_initialised(const ptx_warp *w, const ptx_access *ac)
{
    if (ac->alloc) {
        uint64_t lo = UINT64_MAX, hi = 0;
        if (!ac->alloc->init) return true;
        for (uint32_t i = 0; i < PTX_LANES;
             i++) { /* inactive lanes point where an active one does */
            uint64_t off = (uint64_t)(ac->p[i] - ac->alloc->host);
            lo = off < lo ? off : lo;
            hi = off > hi ? off : hi;
        }
        return hi - lo <= 1024 && ptx_init_all(ac->alloc, lo, hi - lo + ac->size);
    }
    if (ac->shared == ac->m && w->cta->shadow) {
        uint32_t lo = UINT32_MAX, hi = 0;
        for (uint32_t i = 0; i < PTX_LANES; i++) {
            lo = ac->off[i] < lo ? ac->off[i] : lo;
            hi = ac->off[i] > hi ? ac->off[i] : hi;
        }
        return hi - lo <= 1024 && ptx_shadow_init_all(w->cta, lo, hi - lo + ac->size);
    }
    return false;
}

void ptx_access_valid(ptx_warp *w, const ptx_access *ac, uint32_t valid[PTX_LANES])
{
    uint32_t all = ac->size >= 32 ? ~0u : (1u << ac->size) - 1, n = w->run->code->local_bytes;
    if (all_initialised(w, ac)) {
        for (uint32_t i = 0; i < PTX_LANES; i++) valid[i] = all;
        return;
    }
    for (uint32_t i = 0; i < PTX_LANES; i++) {
        valid[i] = all;
        if (ac->shared >> i & 1) {
            valid[i] = ptx_shadow_init(w->cta, ac->off[i], ac->size);
        } else if (ac->global >> i & 1) {
            ptx_alloc *a = alloc_of(ac, i);
            uint64_t off = (uint64_t)(ac->p[i] - a->host);
            valid[i] = ptx_init_bits(a, off, ac->size > 16 ? 16 : ac->size);
            if (ac->size > 16) valid[i] |= ptx_init_bits(a, off + 16, ac->size - 16) << 16;
        } else if (ac->local >> i & 1 && w->s->local_init) {
            const uint8_t *s = w->s->local_init + (size_t)i * n + ac->off[i];
            valid[i] = 0;
            for (uint32_t k = 0; k < ac->size; k++) valid[i] |= (uint32_t)(s[k] != 0) << k;
        }
    }
}

static void mark_global(ptx_warp *w, const ptx_inst *in, const ptx_access *ac,
                        const uint32_t *valid, uint32_t all)
{
    ptx_mask bad = 0;
    uint64_t lo = UINT64_MAX, hi = 0;
    for (uint32_t i = 0; i < PTX_LANES; i++) {
        if (!(ac->global >> i & 1)) continue;
        bad |= (ptx_mask)((valid[i] & all) != all) << i;
        uint64_t off = (uint64_t)(ac->p[i] - alloc_of(ac, i)->host);
        if (off < lo) lo = off;
        if (off > hi) hi = off;
    }
    if (bad) {
        uint32_t i = (uint32_t)__builtin_ctz(bad);
        ptx_report(w, in, i, PTXSIM_R_UNINIT, ac->addr[i], 0,
                   "%s of never-written data to global address 0x%llx (%d lanes)",
                   ac->kind & PTX_ATOMIC ? "atomic" : "store", (unsigned long long)ac->addr[i],
                   __builtin_popcount(bad));
    }
    if (ac->alloc && hi - lo == (uint64_t)(__builtin_popcount(ac->global) - 1) * ac->size &&
        ac->alloc->init) {
        ptx_init_set(ac->alloc, lo, hi - lo + ac->size,
                     true); /* one piece (or lanes on one word: the same bytes) */
        if (ptx_init_all(ac->alloc, lo, hi - lo + ac->size) && ac->global == PTX_FULL) return;
    }
    for (uint32_t i = 0; i < PTX_LANES; i++)
        if (ac->global >> i & 1)
            ptx_init_set(alloc_of(ac, i), (uint64_t)(ac->p[i] - alloc_of(ac, i)->host), ac->size,
                         true);
}

void ptx_access_mark(ptx_warp *w, const ptx_inst *in, const ptx_access *ac, const uint32_t *valid)
{
    uint32_t all = ac->size >= 32 ? ~0u : (1u << ac->size) - 1, n = w->run->code->local_bytes;
    if (ac->global) mark_global(w, in, ac, valid, all);
    if (ac->shared == PTX_FULL) { /* one piece, everything valid */
        uint32_t lo = UINT32_MAX, hi = 0, ok = all, row = 0;
        for (uint32_t i = 0; i < PTX_LANES; i++) {
            ok &= valid[i];
            row |= ac->off[i] ^ (ac->off[0] + i * ac->size);
            lo = ac->off[i] < lo ? ac->off[i] : lo;
            hi = ac->off[i] > hi ? ac->off[i] : hi;
        }
        if (ok == all && (!row || ptx_shadow_init_all(w->cta, lo, hi - lo + ac->size))) {
            if (!row)
                for (uint32_t at = lo; at < hi + ac->size; at += 32)
                    ptx_shadow_put(w->cta, at, hi + ac->size - at < 32 ? hi + ac->size - at : 32,
                                   ~0u);
            return;
        }
    }
    for (uint32_t i = 0; i < PTX_LANES; i++) {
        uint32_t off;
        if (ac->shared >> i & 1) ptx_shadow_put(w->cta, ac->off[i], ac->size, valid[i]);
        else if (ac->remote >> i & 1)
            ptx_shadow_put(ptx_cta_of(w, ac->addr[i], &off), ac->off[i], ac->size, valid[i]);
        else if (ac->local >> i & 1 && w->s->local_init)
            for (uint32_t k = 0; k < ac->size; k++)
                w->s->local_init[(size_t)i * n + ac->off[i] + k] = valid[i] >> k & 1;
    }
}

void ptx_address_valid(ptx_warp *w, const ptx_inst *in, uint32_t slot, ptx_mask m)
{
    uint8_t v[PTX_LANES];
    if (w->all_valid[slot / PTX_SLOT]) return;
    ptx_val_get(w, slot, v);
    for (uint32_t i = 0; i < PTX_LANES; i++) {
        if (!(m >> i & 1) || v[i] == 0xff) continue;
        ptx_report(w, in, i, PTXSIM_R_UNINIT, 0, 0, "the address comes from never-written data");
        return;
    }
}

/* ---- for handlers elsewhere ---- */

static void access_start(ptx_access *ac, const uint64_t *addr, uint32_t size, ptx_mask m,
                         uint32_t kind)
{
    ac->size = size;
    ac->kind = kind;
    ac->m = m;
    ac->shared = ac->remote = ac->global = ac->local = ac->param = 0;
    ac->alloc = NULL;
    memcpy(ac->addr, addr, sizeof ac->addr);
}

bool ptx_warp_read(ptx_warp *w, const ptx_inst *in, ptx_space space, const uint64_t addr[PTX_LANES],
                   uint32_t size, ptx_mask m, void *data, uint16_t *valid)
{
    ptx_access ac;
    uint32_t v[PTX_LANES];
    access_start(&ac, addr, size, m, PTX_READ);
    if (!ptx_access_resolve(w, in, space, &ac)) return false;
    ptx_access_check(w, in, &ac, NULL);
    for (uint32_t i = 0; i < PTX_LANES; i++)
        if (m >> i & 1) memcpy((uint8_t *)data + i * size, ac.p[i], size);
    if (!valid) return true;
    if (w->valid) ptx_access_valid(w, &ac, v);
    for (uint32_t i = 0; i < PTX_LANES; i++) valid[i] = w->valid ? (uint16_t)v[i] : 0xffff;
    return true;
}

bool ptx_warp_write(ptx_warp *w, const ptx_inst *in, ptx_space space,
                    const uint64_t addr[PTX_LANES], uint32_t size, ptx_mask m, const void *data,
                    const uint16_t *valid)
{
    ptx_access ac;
    uint32_t v[PTX_LANES];
    access_start(&ac, addr, size, m, PTX_WRITE);
    if (!ptx_access_resolve(w, in, space, &ac)) return false;
    ptx_access_check(w, in, &ac, data);
    for (uint32_t i = 0; i < PTX_LANES; i++)
        if (m >> i & 1) memcpy(ac.p[i], (const uint8_t *)data + i * size, size);
    if (!w->valid) return true;
    for (uint32_t i = 0; i < PTX_LANES; i++) v[i] = valid ? valid[i] : ~0u;
    ptx_access_mark(w, in, &ac, v);
    return true;
}

/* A contiguous piece: where it lies. */
typedef struct span { uint8_t *p; ptx_cta *cta; uint32_t off; ptx_alloc *alloc; uint64_t at; } span;

static bool span_find(const ptx_who *who, ptx_space space, uint64_t addr, uint64_t n, uint32_t kind,
                      span *s)
{
    ptx_access ac = { .kind = kind, .size = (uint32_t)(n > UINT32_MAX ? UINT32_MAX : n) };
    ptx_warp *w = who->w;
    uint32_t lane = who->lane < PTX_LANES ? who->lane
                    : w->live             ? (uint32_t)__builtin_ctz(w->live)
                                          : 0;
    *s = (span){ 0 };
    if (space == PTX_GENERIC) {
        uint64_t win = addr & PTX_WIN_MASK;
        space = win == PTX_WIN_SHARED ? PTX_CLUSTER : win == PTX_WIN_PARAM ? PTX_PARAM : PTX_GLOBAL;
        if (space != PTX_GLOBAL) addr &= ~PTX_WIN_MASK;
    }
    bool ok;
    if (space == PTX_SHARED || space == PTX_CLUSTER) {
        ok = resolve_shared(w, who->in, &ac, lane, addr);
        if (ok) s->cta = ptx_cta_of(w, addr, &s->off);
    } else if (space == PTX_PARAM) {
        ok = resolve_param(w, who->in, &ac, lane, addr);
    } else {
        ok = resolve_global(w, who->in, &ac, lane, addr);
        if (ok) s->alloc = ac.each[lane], s->at = addr - s->alloc->base;
    }
    if (ok) s->p = ac.p[lane];
    return ok;
}

static void span_meets(const ptx_who *who, const span *s, uint64_t n, bool write, const void *src)
{
    const ptx_options *o = &who->w->run->opt;
    if (!s->alloc) return;
    if (o->counters) ptx_count_touched(who->w, s->alloc, s->at, n);
    if (o->checks & PTXSIM_CHECK_GLOBAL)
        ptx_global_piece(who->w, who->in, who->lane, s->alloc, s->at, n, write, src);
}

bool ptx_span_read(const ptx_who *who, ptx_space space, uint64_t addr, uint64_t n, void *out,
                   uint8_t *init)
{
    span s;
    if (!n) return true;
    if (!span_find(who, space, addr, n, PTX_READ, &s)) return false;
    if (s.cta) ptx_shadow_span(who, s.cta, s.off, n, PTX_READ, NULL);
    span_meets(who, &s, n, false, NULL);
    memcpy(out, s.p, n);
    for (uint64_t k = 0; init && k < n; k++)
        init[k] = s.cta     ? ptx_shadow_init(s.cta, s.off + (uint32_t)k, 1) & 1
                  : s.alloc ? ptx_init_bits(s.alloc, s.at + k, 1) & 1
                            : 1;
    return true;
}

bool ptx_span_write(const ptx_who *who, ptx_space space, uint64_t addr, uint64_t n, const void *src,
                    const uint8_t *init)
{
    span s;
    if (!n) return true;
    if (!span_find(who, space, addr, n, PTX_WRITE, &s)) return false;
    if (s.cta) ptx_shadow_span(who, s.cta, s.off, n, PTX_WRITE, src);
    span_meets(who, &s, n, true, src);
    memcpy(s.p, src, n);
    bool whole = true;
    for (uint64_t k = 0; init && k < n; k++) whole &= init[k] != 0;
    if (s.cta) {
        for (uint64_t k = 0; k < n;) {
            uint32_t step = n - k < 32 ? (uint32_t)(n - k) : 32, bits = 0;
            for (uint32_t i = 0; i < step; i++) bits |= (uint32_t)(!init || init[k + i]) << i;
            ptx_shadow_put(s.cta, s.off + (uint32_t)k, step, bits);
            k += step;
        }
    } else if (s.alloc) {
        if (!whole && who->w->run->opt.checks & PTXSIM_CHECK_UNINIT)
            ptx_report(who->w, who->in, who->lane, PTXSIM_R_UNINIT, addr, 0,
                       "store of never-written data to global address 0x%llx",
                       (unsigned long long)addr);
        ptx_init_set(s.alloc, s.at, n, true);
    }
    return true;
}

bool ptx_span_reduce(const ptx_who *who, uint64_t addr, uint64_t n, const void *src, unsigned elem,
                     ptx_combine_fn *fn, const void *user)
{
    span s;
    if (!span_find(who, PTX_GLOBAL, addr, n, PTX_ATOMIC, &s)) return false;
    if (who->w->run->opt.counters && s.alloc) ptx_count_touched(who->w, s.alloc, s.at, n);
    if (s.alloc && !ptx_init_all(s.alloc, s.at, n) && who->w->run->opt.checks & PTXSIM_CHECK_UNINIT)
        ptx_report(who->w, who->in, who->lane, PTXSIM_R_UNINIT, addr, 0,
                   "reduction into never-written data at global address 0x%llx",
                   (unsigned long long)addr);
    for (uint64_t k = 0; k + elem <= n; k += elem) {
        uint64_t v = 0;
        memcpy(&v, (const uint8_t *)src + k, elem);
        ptx_atom_combine(s.p + k, 8 * elem, fn, user, v);
    }
    if (s.alloc) ptx_init_set(s.alloc, s.at, n, true);
    return true;
}

bool ptx_span_begin(const ptx_who *who, ptx_space space, uint64_t addr, uint64_t n, bool will_write)
{
    span s;
    if (!n) return true;
    if (!span_find(who, space, addr, n, will_write ? PTX_WRITE : PTX_READ, &s)) return false;
    if (s.cta) ptx_shadow_begin(who, s.cta, s.off, n, will_write);
    return true;
}

void ptx_span_end(const ptx_who *who, ptx_space space, uint64_t addr, uint64_t n, bool will_write)
{
    if (space == PTX_GENERIC) addr &= ~PTX_WIN_MASK;
    if (!n || space == PTX_GLOBAL || space == PTX_PARAM) return;
    uint32_t off;
    ptx_cta *c = ptx_cta_of(who->w, addr, &off);
    if (c) ptx_shadow_end(who, c, off, n, will_write);
}
