/* exec_move.c: moves, packing, conversions, selection, address conversions. */
#include "ptxsim/exec.h"
#include "ptxsim/launch.h"
#include "ptxsim/num.h"

typedef uint32_t u32;
typedef uint64_t u64;

PTX_UNARY(mov_32, u32, u32, x)
PTX_UNARY(mov_64, u64, u64, x)
int H(mov_128)(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    u64 *d = ptx_r64(w, in->d);
    const u64 *a = ptx_r64(w, in->a);
    PTX_FOR(d, a[i]);
    d += PTX_LANES;
    a += PTX_LANES;
    PTX_FOR(d, a[i]);
    return PTX_GO;
}
int H(mov_pred)(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    ptx_mask *d = ptx_rpred(w, in->d), x = *ptx_rpred(w, in->a) ^ in->u0;
    *d = (*d & ~m) | (x & m);
    return PTX_GO;
}

PTX_BINARY(pack_16, u32, u32, (x & 0xffff) | y << 16)
PTX_BINARY(pack_32, u64, u32, (u64)x | (u64)y << 32)
int H(unpack_16)(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    u32 *d = ptx_r32(w, in->d), *e = ptx_r32(w, in->u0);
    const u32 *a = ptx_r32(w, in->a);
    PTX_FOR(d, a[i] & 0xffff);
    PTX_FOR(e, a[i] >> 16);
    return PTX_GO;
}
int H(unpack_32)(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    u32 *d = ptx_r32(w, in->d), *e = ptx_r32(w, in->u0);
    const u64 *a = ptx_r64(w, in->a);
    PTX_FOR(d, (u32)a[i]);
    PTX_FOR(e, (u32)(a[i] >> 32));
    return PTX_GO;
}

/* Any vector of n parts of u0 bits <-> one register of u1 bits. */
static u64 lane_get(ptx_warp *w, u32 slot, u32 lane, u32 bits, u32 half)
{
    if (bits <= 32) return ptx_r32(w, slot)[lane];
    return ptx_r64(w, slot)[lane + half * PTX_LANES];
}
static void lane_put(ptx_warp *w, u32 slot, u32 lane, u32 bits, u32 half, u64 v)
{
    if (bits <= 32) ptx_r32(w, slot)[lane] = (u32)v;
    else ptx_r64(w, slot)[lane + half * PTX_LANES] = v;
}
int H(pack)(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    const u32 *src = in->x->slot + 1;
    for (u32 i = 0; i < PTX_LANES; i++) {
        u64 v[2] = { 0, 0 };
        if (!(m >> i & 1)) continue;
        for (u32 k = 0; k < in->n_src; k++) {
            u64 part = lane_get(w, src[k], i, in->u0, 0);
            if (in->u0 < 64) part &= (1ull << in->u0) - 1;
            v[k * in->u0 / 64] |= part << (k * in->u0 % 64);
        }
        lane_put(w, in->d, i, in->u1, 0, v[0]);
        if (in->u1 > 64) lane_put(w, in->d, i, in->u1, 1, v[1]);
    }
    return PTX_GO;
}
int H(unpack)(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    for (u32 i = 0; i < PTX_LANES; i++) {
        if (!(m >> i & 1)) continue;
        u64 v[2] = { lane_get(w, in->a, i, in->u1, 0),
                     in->u1 > 64 ? lane_get(w, in->a, i, in->u1, 1) : 0 };
        for (u32 k = 0; k < in->n_dst; k++) {
            u64 part = v[k * in->u0 / 64] >> (k * in->u0 % 64);
            if (in->u0 < 64) part &= (1ull << in->u0) - 1;
            lane_put(w, in->x->slot[k], i, in->u0, 0, part);
        }
    }
    return PTX_GO;
}

/* %clock, %clock64, %globaltimer and their halves: warp instructions so far (nanoseconds for the
 * timer would pretend to be time). u0: 64-bit; u1: shift. */
int H(clock)(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    u64 t = ptx_clock(w) >> in->u1;
    if (in->u0) {
        u64 *d = ptx_r64(w, in->d);
        PTX_FOR(d, t);
    } else {
        u32 *d = ptx_r32(w, in->d);
        PTX_FOR(d, (u32)t);
    }
    return PTX_GO;
}

/* u0: width of the destination register; u1: width of the destination type, bit 8: a 64-bit source
 * register of which the low part is meant. */
int H(cvt)(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    const ptx_cvt *c = in->x->own;
    u64 t[PTX_LANES];
    u32 narrow[PTX_LANES];
    const void *a = w->regs + in->a;
    const u32 *s = (const u32 *)(const void *)t;
    if (in->u1 >> 8 & 1) {
        for (int i = 0; i < PTX_LANES; i++) narrow[i] = (u32)ptx_r64(w, in->a)[i];
        a = narrow;
    }
    ptx_cvt_lanes(c, t, a, w->regs + in->b);
    if (in->u0 == 64) {
        u64 *d = ptx_r64(w, in->d);
        bool sign = ptx_is_signed(c->dst);
        if ((in->u1 & 255) == 64) PTX_FOR(d, t[i]);
        else PTX_FOR(d, sign ? (u64)(int64_t)(int32_t)s[i] : s[i]);
    } else {
        u32 *d = ptx_r32(w, in->d), keep = in->u0 >= 32 ? ~0u : (1u << in->u0) - 1;
        PTX_FOR(d, s[i] & keep);
    }
    return PTX_GO;
}
PTX_TERNARY(cvt_pack, u32, u32, u32, ptx_cvt_pack(in->u0, in->u1, x, y, z))
PTX_UNARY(zext_16_32, u32, u32, (uint16_t)x)
PTX_UNARY(sext_16_32, u32, u32, (u32)(int16_t)x)
PTX_UNARY(zext_32_64, u64, u32, x)
PTX_UNARY(sext_32_64, u64, u32, (u64)(int64_t)(int32_t)x)
PTX_UNARY(trunc_64_32, u32, u64, (u32)x)
PTX_UNARY(trunc_32_16, u32, u32, (uint16_t)x)
PTX_UNARY(bf16_f32, u32, u32, x << 16)
PTX_UNARY(f32_s32, float, int32_t, (float)x)
PTX_UNARY(f32_u32, float, u32, (float)x)
int H(f16_f32)(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    float t[PTX_LANES], *d = ptx_rf32(w, in->d);
    ptx_f16_to_f32_lanes(t, ptx_r32(w, in->a));
    PTX_FOR(d, t[i]);
    return PTX_GO;
}
int H(f32_f16)(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    u32 t[PTX_LANES], *d = ptx_r32(w, in->d);
    ptx_f32_to_f16_lanes(t, ptx_r32(w, in->a));
    PTX_FOR(d, t[i]);
    return PTX_GO;
}
int H(f32x2_f16x2)(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    u32 hi[PTX_LANES], lo[PTX_LANES], *d = ptx_r32(w, in->d);
    ptx_f32_to_f16_lanes(hi, ptx_r32(w, in->a));
    ptx_f32_to_f16_lanes(lo, ptx_r32(w, in->b));
    PTX_FOR(d, hi[i] << 16 | lo[i]);
    return PTX_GO;
}
int H(f32_bf16)(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    u32 t[PTX_LANES], *d = ptx_r32(w, in->d);
    ptx_f32_to_bf16_lanes(t, ptx_r32(w, in->a));
    PTX_FOR(d, t[i]);
    return PTX_GO;
}
int H(f32x2_bf16x2)(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    u32 hi[PTX_LANES], lo[PTX_LANES], *d = ptx_r32(w, in->d);
    ptx_f32_to_bf16_lanes(hi, ptx_r32(w, in->a));
    ptx_f32_to_bf16_lanes(lo, ptx_r32(w, in->b));
    PTX_FOR(d, hi[i] << 16 | lo[i]);
    return PTX_GO;
}

/* selp: c is the predicate, u0 flips it. */
#define SELECT(name, T)                                                                            \
    int H(name)(ptx_warp *w, const ptx_inst *in, ptx_mask m)                                       \
    {                                                                                              \
        T *d = (T *)(void *)(w->regs + in->d);                                                     \
        const T *a = (const T *)(const void *)(w->regs + in->a);                                   \
        const T *b = (const T *)(const void *)(w->regs + in->b);                                   \
        ptx_mask p = *ptx_rpred(w, in->c) ^ in->u0;                                                \
        PTX_FOR(d, p >> i & 1 ? a[i] : b[i]);                                                      \
        return PTX_GO;                                                                             \
    }
SELECT(selp_32, u32)
SELECT(selp_64, u64)
#undef SELECT
/* slct: c >= 0 ? a : b; u0: c is f32; u1: ftz (a subnormal below zero counts as zero). */
static inline bool slct_first(u32 c, u32 is_float, u32 flush)
{
    if (!is_float) return (int32_t)c >= 0;
    float f = ptx_f32(c);
    return flush ? ptx_ftz(f) >= 0 : f >= 0;
}
#define SLCT(name, T)                                                                              \
    int H(name)(ptx_warp *w, const ptx_inst *in, ptx_mask m)                                       \
    {                                                                                              \
        T *d = (T *)(void *)(w->regs + in->d);                                                     \
        const T *a = (const T *)(const void *)(w->regs + in->a);                                   \
        const T *b = (const T *)(const void *)(w->regs + in->b);                                   \
        const u32 *c = ptx_r32(w, in->c);                                                          \
        PTX_FOR(d, slct_first(c[i], in->u0, in->u1) ? a[i] : b[i]);                                \
        return PTX_GO;                                                                             \
    }
SLCT(slct_32, u32)
SLCT(slct_64, u64)
#undef SLCT

/* imm: the window; u0: 0 into generic, 1 out of it; u1: register width. */
int H(cvta)(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    u64 win = (u64)in->imm;
    u64 *d = ptx_r64(w, in->d);
    const u64 *a = ptx_r64(w, in->a);
    if (in->u0) PTX_FOR(d, win ? a[i] & ~PTX_WIN_MASK : a[i]);
    else PTX_FOR(d, a[i] | win);
    return PTX_GO;
}
/* imm: the window asked for; 0: global (any address in no window). u0: cluster: any rank. */
int H(isspacep)(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    const u64 *a = ptx_r64(w, in->a);
    ptx_mask r = 0, *d = ptx_rpred(w, in->d);
    for (u32 i = 0; i < PTX_LANES; i++) {
        bool v = (a[i] & PTX_WIN_MASK) == (u64)in->imm;
        if (v && in->imm == (int64_t)PTX_WIN_SHARED && !in->u0) v = (a[i] & 0xff000000u) == 0;
        r |= (ptx_mask)v << i;
    }
    *d = (*d & ~m) | (r & m);
    return PTX_GO;
}
/* The same place in the block of rank b of the cluster. u0: 64-bit addresses; u1: generic ones. */
int H(mapa)(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    const u32 *b = ptx_r32(w, in->b);
    for (u32 i = 0; i < PTX_LANES; i++) {
        if (!(m >> i & 1)) continue;
        u64 a = in->u0 ? ptx_r64(w, in->a)[i] : ptx_r32(w, in->a)[i];
        if (b[i] >= ptx_cluster_size(w))
            return ptx_fault(w, in, i, PTXSIM_R_OTHER, a,
                             "mapa: rank %u, the cluster has %u blocks", b[i], ptx_cluster_size(w));
        a = (a & ~(u64)0xff000000u) | (u64)(b[i] + 1) << 24;
        if (in->u0) ptx_r64(w, in->d)[i] = a;
        else ptx_r32(w, in->d)[i] = (u32)a;
    }
    return PTX_GO;
}
int H(getctarank)(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    u32 *d = ptx_r32(w, in->d);
    PTX_FOR(d, ({
        u64 a = in->u0 ? ptx_r64(w, in->a)[i] : ptx_r32(w, in->a)[i];
        u32 tag = a >> 24 & 255;
        tag ? tag - 1 : w->cta->rank;
    }));
    return PTX_GO;
}
