/* exec_warp.c: instructions in which lanes read each other. They are called with all lanes of the
 * membermask together (control.c's gate), or with what is there when the program broke that rule.
 */
#include "ptxsim/exec.h"
#include "ptxsim/launch.h"

#include <string.h>

typedef uint32_t u32;
typedef uint64_t u64;

/* u0: 0 up, 1 down, 2 bfly, 3 idx; u1: slot of p or 0. Sources: a value, b lane operand, c clamp
 * and segment. */
int H(shfl)(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    u32 *d = ptx_r32(w, in->d), src[PTX_LANES], out[PTX_LANES];
    const u32 *a = ptx_r32(w, in->a), *b = ptx_r32(w, in->b), *c = ptx_r32(w, in->c);
    ptx_mask p = 0, away = 0;
    for (u32 i = 0; i < PTX_LANES; i++) {
        u32 n = b[i] & 31, clamp = c[i] & 31, seg = c[i] >> 8 & 31,
            max = (i & seg) | (clamp & ~seg), min = i & seg, j;
        bool ok;
        switch (in->u0) {
        case 0: j = i - n; ok = (int)j >= (int)max; break;
        case 1: j = i + n; ok = (int)j <= (int)max; break;
        case 2: j = i ^ n; ok = j <= max; break;
        default: j = min | (n & ~seg); ok = j <= max; break;
        }
        src[i] = ok ? j & 31 : i;
        p |= (ptx_mask)ok << i;
    }
    for (u32 i = 0; i < PTX_LANES; i++) out[i] = a[src[i]];
    if (m != PTX_FULL)
        for (u32 i = 0; i < PTX_LANES; i++)
            away |= (ptx_mask)((m >> i & 1) && !(m >> src[i] & 1)) << i;
    if (away && (w->run->opt.checks & PTXSIM_CHECK_SYNC)) {
        u32 i = (u32)__builtin_ctz(away);
        ptx_report(w, in, i, PTXSIM_R_MASK, 0, 0,
                   "shfl reads lane %u, which does not take part (lanes 0x%08x do)", src[i], m);
    }
    if (w->valid) {
        uint8_t v[PTX_LANES], r[PTX_LANES];
        ptx_val_get(w, in->a, v);
        for (u32 i = 0; i < PTX_LANES; i++) r[i] = away >> i & 1 ? 0 : v[src[i]];
        ptx_val_set(w, in->d, m, r);
        if (in->u1) ptx_val_fill(w, in->u1, m, true);
    }
    PTX_FOR(d, out[i]);
    if (in->u1) {
        ptx_mask *q = ptx_rpred(w, in->u1);
        *q = (*q & ~m) | (p & m);
    }
    return PTX_GO;
}

/* The lanes of m that vote with lane i. */
static inline ptx_mask voters(ptx_warp *w, const ptx_inst *in, u32 i, ptx_mask m)
{
    return ptx_r32(w, in->x->mask_slot)[i] & m;
}

/* u0: 0 all, 1 any, 2 uni, 3 ballot; u1 flips the predicate. */
int H(vote)(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    ptx_mask a = *ptx_rpred(w, in->a) ^ in->u1;
    ptx_mask r = 0;
    for (u32 i = 0; i < PTX_LANES; i++) {
        if (!(m >> i & 1)) continue;
        ptx_mask s = voters(w, in, i, m), t = a & s;
        if (in->u0 == 3) ptx_r32(w, in->d)[i] = t;
        else r |= (ptx_mask)(in->u0 == 0 ? t == s : in->u0 == 1 ? t != 0 : t == 0 || t == s) << i;
    }
    if (in->u0 != 3) {
        ptx_mask *d = ptx_rpred(w, in->d);
        *d = (*d & ~m) | (r & m);
    }
    return PTX_GO;
}

int H(activemask)(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    u32 *d = ptx_r32(w, in->d);
    PTX_FOR(d, m);
    return PTX_GO;
}

static u64 value(ptx_warp *w, const ptx_inst *in, u32 lane, bool wide)
{
    return wide ? ptx_r64(w, in->a)[lane] : ptx_r32(w, in->a)[lane];
}

/* u0: bit 0 all, bit 1 64-bit; u1: slot of p or 0. */
int H(match)(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    bool all = in->u0 & 1, wide = in->u0 & 2;
    ptx_mask p = 0;
    u32 out[PTX_LANES], *d = ptx_r32(w, in->d);
    for (u32 i = 0; i < PTX_LANES; i++) {
        ptx_mask s = voters(w, in, i, m), r = 0;
        out[i] = 0;
        if (!(m >> i & 1)) continue;
        for (u32 j = 0; j < PTX_LANES; j++)
            if (s >> j & 1 && value(w, in, j, wide) == value(w, in, i, wide)) r |= 1u << j;
        out[i] = all ? r == s ? s : 0 : r;
        p |= (ptx_mask)(r == s) << i;
    }
    PTX_FOR(d, out[i]);
    if (in->u1) {
        ptx_mask *q = ptx_rpred(w, in->u1);
        *q = (*q & ~m) | (p & m);
    }
    return PTX_GO;
}

/* u0: 0 add, 1 min, 2 max, 3 and, 4 or, 5 xor; u1: signed. */
int H(redux)(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    u32 *d = ptx_r32(w, in->d), out[PTX_LANES];
    const u32 *a = ptx_r32(w, in->a);
    for (u32 i = 0; i < PTX_LANES; i++) {
        ptx_mask s = voters(w, in, i, m);
        bool first = true;
        u32 r = 0;
        for (u32 j = 0; j < PTX_LANES; j++) {
            if (!(s >> j & 1)) continue;
            u32 x = a[j];
            bool less = in->u1 ? (int32_t)x < (int32_t)r : x < r,
                 more = in->u1 ? (int32_t)x > (int32_t)r : x > r;
            if (first) r = x;
            else switch (in->u0) {
                case 0: r += x; break;
                case 1: r = less ? x : r; break;
                case 2: r = more ? x : r; break;
                case 3: r &= x; break;
                case 4: r |= x; break;
                default: r ^= x;
                }
            first = false;
        }
        out[i] = r;
    }
    PTX_FOR(d, out[i]);
    return PTX_GO;
}

/* elect.sync d|p: the lowest lane of the membermask is the leader. u1: slot of p; d may be the
 * sink. */
int H(elect)(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    u32 *d = ptx_r32(w, in->d), out[PTX_LANES];
    ptx_mask p = 0, *q = ptx_rpred(w, in->u1);
    for (u32 i = 0; i < PTX_LANES; i++) {
        ptx_mask s = voters(w, in, i, m);
        out[i] = s ? (u32)__builtin_ctz(s) : 0;
        p |= (ptx_mask)(out[i] == i) << i;
    }
    PTX_FOR(d, out[i]);
    *q = (*q & ~m) | (p & m);
    return PTX_GO;
}
