/* exec_cmp.c: setp and set. The result of 32 comparisons is a mask. */
#include "ptxsim/exec.h"
#include "ptxsim/num.h"

#ifdef __AVX2__
#include <immintrin.h>
#endif

typedef uint32_t u32;
typedef uint64_t u64;

/* 32 bytes of 0 or 255 -> 32 bits. */
static inline u32 gather_bits(const uint8_t t[PTX_LANES])
{
#ifdef __AVX2__
    return (u32)_mm256_movemask_epi8(_mm256_loadu_si256((const __m256i *)(const void *)t));
#else
    u32 r = 0;
    for (int k = 0; k < 4; k++) {
        u64 v;
        memcpy(&v, t + 8 * k, 8);
        r |= (u32)((v & 0x0101010101010101ull) * 0x0102040810204080ull >> 56) << (8 * k);
    }
    return r;
#endif
}

/* p = r op c, q = !r op c. u0: 0 nothing, 1 and, 2 or, 3 xor; u1: bit 0 flips c; imm: slot of q or
 * 0. */
static inline int finish(ptx_warp *w, const ptx_inst *in, ptx_mask m, u32 r)
{
    u32 q = ~r;
    if (in->u0 & 3) {
        u32 c = *ptx_rpred(w, in->c) ^ (in->u1 & 1 ? PTX_FULL : 0);
        r = (in->u0 & 3) == 1 ? r & c : (in->u0 & 3) == 2 ? r | c : r ^ c;
        q = (in->u0 & 3) == 1 ? q & c : (in->u0 & 3) == 2 ? q | c : q ^ c;
    }
    ptx_mask *d = ptx_rpred(w, in->d);
    *d = (*d & ~m) | (r & m);
    if (in->imm) {
        d = ptx_rpred(w, (u32)in->imm);
        *d = (*d & ~m) | (q & m);
    }
    return PTX_GO;
}

#define COMPARE(r, T, expr)                                                                        \
    do {                                                                                           \
        const T *a_ = (const T *)(const void *)(w->regs + in->a);                                  \
        const T *b_ = (const T *)(const void *)(w->regs + in->b);                                  \
        uint8_t t_[PTX_LANES];                                                                     \
        PTX_VECTORISE for (int i = 0; i < PTX_LANES; i++) {                                        \
            T x = a_[i], y = b_[i];                                                                \
            t_[i] = (expr) ? 255 : 0;                                                              \
        }                                                                                          \
        r = gather_bits(t_);                                                                       \
    } while (0)

#define SETP(name, T, expr)                                                                        \
    int H(name)(ptx_warp *w, const ptx_inst *in, ptx_mask m)                                       \
    {                                                                                              \
        u32 r;                                                                                     \
        COMPARE(r, T, expr);                                                                       \
        return finish(w, in, m, r);                                                                \
    }
SETP(setp_eq_32, u32, x == y)
SETP(setp_ne_32, u32, x != y)
SETP(setp_lt_u32, u32, x < y)
SETP(setp_le_u32, u32, x <= y)
SETP(setp_gt_u32, u32, x > y)
SETP(setp_ge_u32, u32, x >= y)
SETP(setp_lt_s32, int32_t, x < y)
SETP(setp_le_s32, int32_t, x <= y)
SETP(setp_gt_s32, int32_t, x > y)
SETP(setp_ge_s32, int32_t, x >= y)
SETP(setp_eq_64, u64, x == y)
SETP(setp_ne_64, u64, x != y)
SETP(setp_lt_u64, u64, x < y)
SETP(setp_le_u64, u64, x <= y)
SETP(setp_gt_u64, u64, x > y)
SETP(setp_ge_u64, u64, x >= y)
SETP(setp_lt_s64, int64_t, x < y)
SETP(setp_le_s64, int64_t, x <= y)
SETP(setp_gt_s64, int64_t, x > y)
SETP(setp_ge_s64, int64_t, x >= y)
#undef SETP

/* f32: u0 bits 8..15 the comparison, bit 16 ftz. */
int H(setp_f32)(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    u32 r = 0;
    if (in->u0 >> 16 & 1) {
        const float *a = ptx_rf32(w, in->a), *b = ptx_rf32(w, in->b);
        for (int i = 0; i < PTX_LANES; i++)
            r |= (u32)ptx_cmp_f64((ptx_cmp)(in->u0 >> 8 & 255), ptx_ftz(a[i]), ptx_ftz(b[i])) << i;
        return finish(w, in, m, r);
    }
    switch (in->u0 >> 8 & 255) {
    case PTX_EQ: COMPARE(r, float, x == y); break;
    case PTX_NE: COMPARE(r, float, x < y || x > y); break;
    case PTX_LT: COMPARE(r, float, x < y); break;
    case PTX_LE: COMPARE(r, float, x <= y); break;
    case PTX_GT: COMPARE(r, float, x > y); break;
    case PTX_GE: COMPARE(r, float, x >= y); break;
    case PTX_EQU: COMPARE(r, float, !(x < y || x > y)); break;
    case PTX_NEU: COMPARE(r, float, !(x == y)); break;
    case PTX_LTU: COMPARE(r, float, !(x >= y)); break;
    case PTX_LEU: COMPARE(r, float, !(x > y)); break;
    case PTX_GTU: COMPARE(r, float, !(x <= y)); break;
    case PTX_GEU: COMPARE(r, float, !(x < y)); break;
    case PTX_NUM: COMPARE(r, float, x == x && y == y); break;
    default: COMPARE(r, float, x != x || y != y); break;
    }
    return finish(w, in, m, r);
}

/* Any type lane by lane. `upper`: the high half of a packed type. u0 bits 17..24: the type. */
static bool compare_lane(ptx_warp *w, const ptx_inst *in, u32 lane, bool upper)
{
    ptx_type t = (ptx_type)(in->u0 >> 17 & 255);
    ptx_cmp op = (ptx_cmp)(in->u0 >> 8 & 255);
    bool flush = in->u0 >> 16 & 1;
    if (t == PTX_F64) return ptx_cmp_f64(op, ptx_rf64(w, in->a)[lane], ptx_rf64(w, in->b)[lane]);
    if (ptx_type_bits(t) == 64) {
        u64 x = ptx_r64(w, in->a)[lane], y = ptx_r64(w, in->b)[lane];
        if (ptx_is_signed(t)) x ^= 1ull << 63, y ^= 1ull << 63;
        switch (op) {
        case PTX_EQ: return x == y;
        case PTX_NE: return x != y;
        case PTX_LT: case PTX_LO: return x < y;
        case PTX_LE: case PTX_LS: return x <= y;
        case PTX_GT: case PTX_HI: return x > y;
        default: return x >= y;
        }
    }
    u32 x = ptx_r32(w, in->a)[lane], y = ptx_r32(w, in->b)[lane];
    if (upper) x >>= 16, y >>= 16;
    double a, b;
    switch (t) {
    case PTX_F32: a = ptx_f32(x), b = ptx_f32(y); break;
    case PTX_F16: case PTX_F16X2:
        if (flush) x = x & 0x7c00 ? x : x & 0x8000, y = y & 0x7c00 ? y : y & 0x8000;
        a = ptx_small_to_f32(PTX_F16, x & 0xffff), b = ptx_small_to_f32(PTX_F16, y & 0xffff);
        break;
    case PTX_BF16: case PTX_BF16X2: a = ptx_f32(x << 16), b = ptx_f32(y << 16); break;
    default:
        if (ptx_type_bits(t) == 16)
            a = ptx_is_signed(t) ? (int16_t)x : (uint16_t)x,
            b = ptx_is_signed(t) ? (int16_t)y : (uint16_t)y;
        else
            a = ptx_is_signed(t) ? (double)(int32_t)x : x,
            b = ptx_is_signed(t) ? (double)(int32_t)y : y;
    }
    if (flush && t == PTX_F32) a = ptx_ftz((float)a), b = ptx_ftz((float)b);
    static const ptx_cmp same[] = {
        [PTX_LO] = PTX_LT, [PTX_LS] = PTX_LE, [PTX_HI] = PTX_GT, [PTX_HS] = PTX_GE
    };
    if (op >= PTX_LO && op <= PTX_HS) op = same[op];
    return ptx_cmp_f64(op, a, b);
}

static bool packed(const ptx_inst *in)
{
    ptx_type t = (ptx_type)(in->u0 >> 17 & 255);
    return t == PTX_F16X2 || t == PTX_BF16X2;
}

int H(setp_any)(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    u32 r = 0, up = 0;
    bool two = packed(in);
    for (u32 i = 0; i < PTX_LANES; i++) {
        if (!(m >> i & 1)) continue;
        r |= (u32)compare_lane(w, in, i, false) << i;
        if (two) up |= (u32)compare_lane(w, in, i, true) << i;
    }
    if (!two) return finish(w, in, m, r);
    ptx_inst half = *in; /* p: the lower halves, q: the upper */
    half.imm = 0;
    finish(w, &half, m, r);
    if (!in->imm) return PTX_GO;
    half.d = (u32)in->imm;
    return finish(w, &half, m, up);
}

/* set: u1 bits 8..15 the destination type (1.0 or all ones), bits 0..1 as for setp. */
static u32 combine(const ptx_inst *in, u32 r, u32 c)
{
    return (in->u0 & 3) == 0 ? r : (in->u0 & 3) == 1 ? r & c : (in->u0 & 3) == 2 ? r | c : r ^ c;
}
int H(set_any)(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    u32 *d = ptx_r32(w, in->d);
    u32 c = in->u0 & 3 ? *ptx_rpred(w, in->c) ^ (in->u1 & 1 ? PTX_FULL : 0) : 0;
    ptx_type t = (ptx_type)(in->u1 >> 8 & 255);
    u32 one = t == PTX_F32                           ? 0x3f800000u
              : t == PTX_F16 || t == PTX_F16X2       ? 0x3c00
              : t == PTX_BF16 || t == PTX_BF16X2     ? 0x3f80
              : ptx_type_bits(t) == 16 || packed(in) ? 0xffff
                                                     : 0xffffffffu;
    for (u32 i = 0; i < PTX_LANES; i++) {
        if (!(m >> i & 1)) continue;
        u32 v = combine(in, compare_lane(w, in, i, false), c >> i & 1) ? one : 0;
        if (packed(in))
            v |= (combine(in, compare_lane(w, in, i, true), c >> i & 1) ? one : 0) << 16;
        d[i] = v;
    }
    return PTX_GO;
}
