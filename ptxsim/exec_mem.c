/* exec_mem.c: ld, st, atom and red. The common cases (all lanes in one window, one allocation,
 * aligned and in bounds) are decided by a minimum, a maximum and an or over the addresses; the rest
 * goes to mem.c. */
#include "ptxsim/exec.h"
#include "ptxsim/exec_shadow.h"

#include <string.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

typedef struct reach { u64 lo, hi, all; bool row; } reach; /* row: lane i is at lo + i * size */

static inline void addresses(ptx_warp *w, const ptx_mem *mem, ptx_mask m, u64 *a)
{
    if (mem->wide) {
        const u64 *b = ptx_r64(w, mem->base);
        for (int i = 0; i < PTX_LANES; i++) a[i] = b[i] + (u64)mem->off;
    } else {
        const u32 *b = ptx_r32(w, mem->base);
        for (int i = 0; i < PTX_LANES; i++) a[i] = (u32)(b[i] + (u32)mem->off);
    }
    if (m != PTX_FULL) { /* inactive lanes go where an active one goes */
        u64 some = a[__builtin_ctz(m)];
        for (int i = 0; i < PTX_LANES; i++) a[i] = m >> i & 1 ? a[i] : some;
    }
}

static inline reach measure(const u64 *a, u32 size)
{
    reach r = { a[0], a[0], 0, false };
    u64 odd = 0;
    for (int i = 0; i < PTX_LANES; i++) {
        r.lo = a[i] < r.lo ? a[i] : r.lo;
        r.hi = a[i] > r.hi ? a[i] : r.hi;
        r.all |= a[i];
        odd |= a[i] ^ (a[0] + (u64)(u32)i * size);
    }
    r.row = !odd;
    return r;
}

/* Host pointers of all lanes: true and *base, *row for the fast cases. */
static inline bool locate(ptx_warp *w, const ptx_inst *in, ptx_space space, ptx_access *ac,
                          bool *row)
{
    reach r = measure(ac->addr, ac->size);
    *row = false;
    if (space == PTX_GENERIC && !((r.lo | r.hi) & PTX_WIN_MASK)) space = PTX_GLOBAL;
    if (!(r.all & (ac->size - 1))) {
        if (space == PTX_SHARED && r.lo >= w->run->code->shared_base &&
            r.hi + ac->size <= w->cta->shared_bytes) {
            u8 *base = w->cta->shared;
            for (int i = 0; i < PTX_LANES; i++)
                ac->p[i] = base + ac->addr[i], ac->off[i] = (u32)ac->addr[i];
            ac->shared = ac->m;
            *row = r.row;
            return true;
        }
        if (space == PTX_GLOBAL) {
            for (u32 k = 0; k < w->s->n_hot; k++) {
                ptx_alloc *al = w->s->hot[k];
                if (r.lo < al->base || r.hi + ac->size > al->base + al->size || !al->host) continue;
                u8 *base = al->host - al->base;
                for (int i = 0; i < PTX_LANES; i++) ac->p[i] = base + ac->addr[i];
                ac->global = ac->m;
                ac->alloc = al;
                *row = r.row;
                return true;
            }
        }
    }
    return ptx_access_resolve(w, in, space, ac);
}

static inline bool slow(const ptx_warp *w) { return w->run->opt.checks || w->run->opt.counters; }

/* Checks and counters of a load or store. */
static inline void examine(ptx_warp *w, const ptx_inst *in, ptx_access *ac, const void *data)
{
    bool write = ac->kind & PTX_WRITE;
    if (ac->shared == ac->m && !w->run->opt.counters && w->cta->shadow &&
        ptx_shadow_fast(w, in, ac, write)) {
        if (write) ptx_shadow_meet(w, in, w->cta, ac->off, ac->size, ac->m, data);
        return;
    }
    if (ac->local == ac->m || ac->param == ac->m) return;
    ptx_access_check(w, in, ac, data);
}

#ifdef __SSE2__
#include <immintrin.h>
/* Four 32-bit elements of every lane: 4 x 4 transposes. */
static void load_quads(ptx_warp *w, const ptx_ldst *l, const ptx_access *ac, ptx_mask m)
{
    float *d[4] = { ptx_rf32(w, l->slot[0]), ptx_rf32(w, l->slot[1]), ptx_rf32(w, l->slot[2]),
                    ptx_rf32(w, l->slot[3]) };
    for (int i = 0; i < PTX_LANES; i += 4) {
        __m128 a = _mm_loadu_ps((const float *)(const void *)ac->p[i]),
               b = _mm_loadu_ps((const float *)(const void *)ac->p[i + 1]);
        __m128 c = _mm_loadu_ps((const float *)(const void *)ac->p[i + 2]),
               e = _mm_loadu_ps((const float *)(const void *)ac->p[i + 3]);
        _MM_TRANSPOSE4_PS(a, b, c, e);
        u32 four = m >> i & 15;
        if (four == 15) {
            _mm_store_ps(d[0] + i, a), _mm_store_ps(d[1] + i, b), _mm_store_ps(d[2] + i, c),
                _mm_store_ps(d[3] + i, e);
            continue;
        }
        float t[4][4];
        _mm_storeu_ps(t[0], a), _mm_storeu_ps(t[1], b), _mm_storeu_ps(t[2], c),
            _mm_storeu_ps(t[3], e);
        for (int k = 0; k < 4; k++)
            for (int j = 0; j < 4; j++)
                if (four >> j & 1) d[k][i + j] = t[k][j];
    }
}
static bool all_words(const ptx_ldst *l)
{
    return l->elem == 4 && l->n == 4 && l->reg_bits[0] == 32 && l->reg_bits[1] == 32 &&
           l->reg_bits[2] == 32 && l->reg_bits[3] == 32;
}
#endif

/* Raw data of one element of all lanes into a register. */
static void load_element(ptx_warp *w, const ptx_ldst *l, const ptx_access *ac, u32 k, ptx_mask m,
                         bool row)
{
    u32 at = k * l->elem, slot = l->slot[k];
    if (l->elem == 4 && l->reg_bits[k] == 32) {
        u32 *d = ptx_r32(w, slot);
        if (row && m == PTX_FULL) {
            const u8 *q = ac->p[0] + at;
            u32 step = ac->size;
            if (step == 4) memcpy(d, q, 128);
            else
                for (int i = 0; i < PTX_LANES; i++) memcpy(&d[i], q + (size_t)i * step, 4);
#ifdef __AVX512F__
        } else if (ac->shared == ac->m) {
            const u8 *base = w->cta->shared + at;
            for (int i = 0; i < PTX_LANES; i += 16) {
                __m512i off = _mm512_loadu_si512((const void *)(ac->off + i));
                _mm512_mask_storeu_epi32((void *)(d + i), (__mmask16)(m >> i),
                                         _mm512_i32gather_epi32(off, (const void *)base, 1));
            }
#endif
        } else {
            for (int i = 0; i < PTX_LANES; i++) {
                u32 v;
                memcpy(&v, ac->p[i] + at, 4);
                d[i] = m >> i & 1 ? v : d[i];
            }
        }
        return;
    }
    if (l->elem == 16) {
        u64 *d = ptx_r64(w, slot);
        for (int i = 0; i < PTX_LANES; i++)
            if (m >> i & 1)
                memcpy(&d[i], ac->p[i] + at, 8), memcpy(&d[i + PTX_LANES], ac->p[i] + at + 8, 8);
        return;
    }
    u64 t[PTX_LANES];
    for (int i = 0; i < PTX_LANES; i++) {
        u64 v = 0;
        switch (l->elem) {
        case 1: {
            u8 x;
            memcpy(&x, ac->p[i] + at, 1);
            v = l->sign ? (u64)(int64_t)(int8_t)x : x;
            break;
        }
        case 2: {
            u16 x;
            memcpy(&x, ac->p[i] + at, 2);
            v = l->sign ? (u64)(int64_t)(int16_t)x : x;
            break;
        }
        case 4: {
            u32 x;
            memcpy(&x, ac->p[i] + at, 4);
            v = l->sign ? (u64)(int64_t)(int32_t)x : x;
            break;
        }
        default: memcpy(&v, ac->p[i] + at, 8);
        }
        t[i] = v;
    }
    if (l->reg_bits[k] == 64) {
        u64 *d = ptx_r64(w, slot);
        PTX_FOR(d, t[i]);
    } else {
        u32 *d = ptx_r32(w, slot), keep = l->reg_bits[k] >= 32 ? ~0u : (1u << l->reg_bits[k]) - 1;
        PTX_FOR(d, (u32)t[i] & keep);
    }
}

static inline void load_all(ptx_warp *w, const ptx_ldst *l, const ptx_access *ac, ptx_mask m,
                            bool row)
{
#ifdef __SSE2__
    if (all_words(l)) {
        load_quads(w, l, ac, m);
        return;
    }
#endif
    for (u32 k = 0; k < l->n; k++) load_element(w, l, ac, k, m, row);
}

/* Validity of loaded registers: the loaded bytes' own, the extended ones valid. */
static void load_valid(ptx_warp *w, const ptx_ldst *l, const ptx_access *ac, ptx_mask m)
{
    u32 valid[PTX_LANES];
    u8 v[PTX_LANES];
    ptx_access_valid(w, ac, valid);
    for (u32 k = 0; k < l->n; k++) {
        u32 bytes = l->elem, ones = bytes >= 8 ? 0xff : (1u << bytes) - 1;
        for (int i = 0; i < PTX_LANES; i++) {
            u32 have = valid[i] >> (k * bytes) & ones;
            if (bytes == 16) have = (valid[i] & 0xffff) == 0xffff ? 0xff : 0;
            v[i] = (u8)(l->sign && have != ones ? 0 : have | (u8)~ones);
        }
        ptx_val_set(w, l->slot[k], m, v);
    }
}

/* The access of the lanes of m: addresses, and where they are. (Not cleared as a whole: its arrays
 * are large.) False: a fault. */
static inline bool access_of(ptx_warp *w, const ptx_inst *in, ptx_mask m, ptx_access *ac, bool *row)
{
    const ptx_ldst *l = in->x->own;
    ac->size = l->total;
    ac->kind = l->kind;
    ac->m = m;
    ac->shared = ac->remote = ac->global = ac->local = ac->param = 0;
    ac->alloc = NULL;
    if (w->valid) ptx_address_valid(w, in, l->mem.base, m);
    addresses(w, &l->mem, m, ac->addr);
    return locate(w, in, l->mem.space, ac, row);
}

int H(ld)(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    const ptx_ldst *l = in->x->own;
    ptx_access ac;
    bool row;
    if (!access_of(w, in, m, &ac, &row)) return PTX_FAULT;
    if (slow(w)) examine(w, in, &ac, NULL);
    load_all(w, l, &ac, m, row);
    if (w->valid) load_valid(w, l, &ac, m);
    return PTX_GO;
}

/* ld.param [name + constant]: one value for all lanes; decode has checked the bounds. */
int H(ld_param)(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    const ptx_ldst *l = in->x->own;
    const u8 *p = w->run->params + l->mem.off;
    for (u32 k = 0; k < l->n; k++, p += l->elem) {
        u64 v = 0;
        memcpy(&v, p, l->elem < 8 ? l->elem : 8);
        if (l->sign)
            v = l->elem == 1   ? (u64)(int64_t)(int8_t)v
                : l->elem == 2 ? (u64)(int64_t)(int16_t)v
                : l->elem == 4 ? (u64)(int64_t)(int32_t)v
                               : v;
        if (l->elem == 16 || l->reg_bits[k] == 64) {
            u64 *d = ptx_r64(w, l->slot[k]), hi = 0;
            PTX_FOR(d, v);
            if (l->elem == 16) {
                memcpy(&hi, p + 8, 8);
                d += PTX_LANES;
                PTX_FOR(d, hi);
            }
        } else {
            u32 *d = ptx_r32(w, l->slot[k]),
                x = (u32)v & (l->reg_bits[k] >= 32 ? ~0u : (1u << l->reg_bits[k]) - 1);
            PTX_FOR(d, x);
        }
    }
    return PTX_GO;
}

static void store_bytes(ptx_warp *w, const ptx_ldst *l, u8 *out)
{
    for (u32 k = 0; k < l->n; k++) {
        u32 at = k * l->elem, step = l->total;
        if (l->elem == 16) {
            const u64 *s = ptx_r64(w, l->slot[k]);
            for (int i = 0; i < PTX_LANES; i++)
                memcpy(out + (size_t)i * step + at, &s[i], 8),
                    memcpy(out + (size_t)i * step + at + 8, &s[i + PTX_LANES], 8);
        } else if (l->reg_bits[k] == 64) {
            const u64 *s = ptx_r64(w, l->slot[k]);
            for (int i = 0; i < PTX_LANES; i++) memcpy(out + (size_t)i * step + at, &s[i], l->elem);
        } else if (l->elem == 4) {
            const u32 *s = ptx_r32(w, l->slot[k]);
            for (int i = 0; i < PTX_LANES; i++) memcpy(out + (size_t)i * step + at, &s[i], 4);
        } else {
            const u32 *s = ptx_r32(w, l->slot[k]);
            for (int i = 0; i < PTX_LANES; i++) memcpy(out + (size_t)i * step + at, &s[i], l->elem);
        }
    }
}

static void store_valid(ptx_warp *w, const ptx_inst *in, const ptx_ldst *l, const ptx_access *ac)
{
    u32 valid[PTX_LANES] = { 0 };
    u8 v[PTX_LANES];
    for (u32 k = 0; k < l->n; k++) {
        u32 bytes = l->elem, ones = bytes >= 8 ? 0xff : (1u << bytes) - 1;
        ptx_val_get(w, l->slot[k], v);
        for (int i = 0; i < PTX_LANES; i++) {
            u32 have = v[i] & ones;
            if (bytes == 16) have = v[i] == 0xff ? 0xffff : 0;
            valid[i] |= have << (k * bytes);
        }
    }
    ptx_access_mark(w, in, ac, valid);
}

int H(st)(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    const ptx_ldst *l = in->x->own;
    ptx_access ac;
    bool row;
    u8 data[PTX_LANES * 32] __attribute__((aligned(64)));
    if (!access_of(w, in, m, &ac, &row)) return PTX_FAULT;
    if (!slow(w) && row && m == PTX_FULL && l->total == 4) {
        memcpy(ac.p[0], ptx_r32(w, l->slot[0]), 128);
        return PTX_GO;
    }
    store_bytes(w, l, data);
    if (slow(w)) examine(w, in, &ac, data);
    if (row && m == PTX_FULL) {
        memcpy(ac.p[0], data, (size_t)l->total * PTX_LANES);
    } else {
        for (int i = 0; i < PTX_LANES; i++) {
            if (!(m >> i & 1)) continue;
            switch (l->total) {
            case 4: memcpy(ac.p[i], data + i * 4, 4); break;
            case 8: memcpy(ac.p[i], data + i * 8, 8); break;
            case 16: memcpy(ac.p[i], data + i * 16, 16); break;
            default: memcpy(ac.p[i], data + (u32)i * l->total, l->total);
            }
        }
    }
    if (w->valid) store_valid(w, in, l, &ac);
    if (l->kind & PTX_STRONG) ptx_event(w);
    return PTX_GO;
}

static u64 source(ptx_warp *w, u32 slot, u32 bits, u32 lane)
{
    return bits == 64 ? ptx_r64(w, slot)[lane] : ptx_r32(w, slot)[lane];
}

/* atom and red: lane after lane; blocks of other threads meet them through host atomics. */
int H(atom)(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    const ptx_ldst *l = in->x->own;
    u32 bits = l->elem * 8;
    ptx_access ac;
    bool row;
    if (!access_of(w, in, m, &ac, &row)) return PTX_FAULT;
    if (slow(w)) ptx_access_check(w, in, &ac, NULL);
    for (u32 i = 0; i < PTX_LANES; i++) {
        if (!(m >> i & 1)) continue;
        for (u32 k = 0; k < l->n; k++) {
            u64 old =
                ptx_atom_at(ac.p[i] + k * l->elem, bits, (ptx_atom_op)l->op, l->type,
                            source(w, l->b[k], bits, i), l->c[k] ? source(w, l->c[k], bits, i) : 0);
            if (!in->n_dst) continue;
            if (bits == 64) ptx_r64(w, l->slot[k])[i] = old;
            else ptx_r32(w, l->slot[k])[i] = (u32)old;
        }
    }
    if (w->valid) {
        u32 valid[PTX_LANES], ones = l->total >= 32 ? ~0u : (1u << l->total) - 1;
        u8 v[PTX_LANES];
        ptx_access_valid(w, &ac, valid);
        for (u32 k = 0; k < in->n_dst; k++) {
            for (int i = 0; i < PTX_LANES; i++) v[i] = (valid[i] & ones) == ones ? 0xff : 0;
            ptx_val_set(w, l->slot[k], m, v);
        }
        for (u32 k = 0; k < l->n; k++) {
            ptx_val_get(w, l->b[k], v);
            for (int i = 0; i < PTX_LANES; i++)
                if ((v[i] & (bits >= 64 ? 0xff : (1u << l->elem) - 1)) !=
                    (bits >= 64 ? 0xffu : (1u << l->elem) - 1))
                    valid[i] = 0;
        }
        ptx_access_mark(w, in, &ac, valid);
    }
    ptx_event(w);
    return PTX_GO;
}
