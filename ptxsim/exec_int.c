/* exec_int.c: integer and bit instructions over 32 lanes. 16-bit values stand zero-extended in
 * 32-bit lanes: each such result is cut to 16 bits. */
#include "ptxsim/exec.h"
#include "ptxsim/num_int.h"

typedef uint32_t u32;
typedef uint64_t u64;
typedef int32_t s32;
typedef int64_t s64;
typedef uint16_t u16;
typedef int16_t s16;
typedef unsigned __int128 u128 __attribute__((mode(TI)));
typedef __int128 s128 __attribute__((mode(TI)));

static inline s32 sat_s32(s64 v)
{
    return v > INT32_MAX ? INT32_MAX : v < INT32_MIN ? INT32_MIN : (s32)v;
}

PTX_BINARY(add_16, u32, u32, (u16)(x + y))
PTX_BINARY(add_32, u32, u32, x + y)
PTX_BINARY(add_64, u64, u64, x + y)
PTX_BINARY(add_sat_s32, s32, s32, sat_s32((s64)x + y))
PTX_BINARY(sub_16, u32, u32, (u16)(x - y))
PTX_BINARY(sub_32, u32, u32, x - y)
PTX_BINARY(sub_64, u64, u64, x - y)
PTX_BINARY(sub_sat_s32, s32, s32, sat_s32((s64)x - y))
PTX_BINARY(add_x2, u32, u32, (u16)(x + y) | (((x >> 16) + (y >> 16)) << 16))

PTX_BINARY(mullo_16, u32, u32, (u16)(x * y))
PTX_BINARY(mullo_32, u32, u32, x * y)
PTX_BINARY(mullo_64, u64, u64, x * y)
PTX_BINARY(mulhi_u16, u32, u32, (u16)((u32)(u16)x * (u16)y >> 16))
PTX_BINARY(mulhi_s16, u32, u32, (u16)((s32)(s16)x * (s16)y >> 16))
PTX_BINARY(mulhi_u32, u32, u32, (u64)x * y >> 32)
PTX_BINARY(mulhi_s32, s32, s32, (s64)x * y >> 32)
PTX_BINARY(mulhi_u64, u64, u64, (u64)((u128)x * y >> 64))
PTX_BINARY(mulhi_s64, s64, s64, (s64)((s128)x * y >> 64))
PTX_BINARY(mulwide_u16, u32, u32, (u32)(u16)x * (u16)y)
PTX_BINARY(mulwide_s16, s32, u32, (s32)(s16)x * (s16)y)
PTX_BINARY(mulwide_u32, u64, u32, (u64)x * y)
PTX_BINARY(mulwide_s32, s64, s32, (s64)x * y)

PTX_TERNARY(madlo_16, u32, u32, u32, (u16)(x * y + z))
PTX_TERNARY(madlo_32, u32, u32, u32, x * y + z)
PTX_TERNARY(madlo_64, u64, u64, u64, x * y + z)
PTX_TERNARY(madhi_u16, u32, u32, u32, (u16)(((u32)(u16)x * (u16)y >> 16) + z))
PTX_TERNARY(madhi_s16, u32, u32, u32, (u16)((u32)((s32)(s16)x * (s16)y >> 16) + z))
PTX_TERNARY(madhi_u32, u32, u32, u32, (u32)((u64)x * y >> 32) + z)
PTX_TERNARY(madhi_s32, u32, s32, u32, (u32)((s64)x * y >> 32) + z)
PTX_TERNARY(madhi_u64, u64, u64, u64, (u64)((u128)x * y >> 64) + z)
PTX_TERNARY(madhi_s64, u64, s64, u64, (u64)((s128)x * y >> 64) + z)
PTX_TERNARY(madhi_sat_s32, s32, s32, s32, sat_s32(((s64)x * y >> 32) + z))
PTX_TERNARY(madwide_u16, u32, u32, u32, (u32)(u16)x * (u16)y + z)
PTX_TERNARY(madwide_s16, u32, u32, u32, (u32)((s32)(s16)x * (s16)y) + z)
PTX_TERNARY(madwide_u32, u64, u32, u64, (u64)x * y + z)
PTX_TERNARY(madwide_s32, u64, s32, u64, (u64)((s64)x * y) + z)

/* A zero divisor gives all ones (the remainder: the dividend), as the hardware's routines do. */
static inline s64 div_s(s64 x, s64 y) { return y == 0 ? -1 : y == -1 ? (s64)(0 - (u64)x) : x / y; }
static inline s64 rem_s(s64 x, s64 y) { return y == 0 ? x : y == -1 ? 0 : x % y; }
#define DIVIDE(name, T, expr)                                                                      \
    int H(name)(ptx_warp *w, const ptx_inst *in, ptx_mask m)                                       \
    {                                                                                              \
        T *d = (T *)(void *)(w->regs + in->d);                                                     \
        const T *a = (const T *)(const void *)(w->regs + in->a);                                   \
        const T *b = (const T *)(const void *)(w->regs + in->b);                                   \
        PTX_FOR_ACTIVE(d, ({ T x = a[i], y = b[i]; (T)(expr); }));                                 \
        return PTX_GO;                                                                             \
    }
DIVIDE(div_u16, u32, (u16)y ? (u16)x / (u16)y : 0xffff)
DIVIDE(div_s16, u32, (u16)div_s((s16)x, (s16)y))
DIVIDE(div_u32, u32, y ? x / y : ~0u)
DIVIDE(div_s32, s32, div_s(x, y))
DIVIDE(div_u64, u64, y ? x / y : ~(u64)0)
DIVIDE(div_s64, s64, div_s(x, y))
DIVIDE(rem_u16, u32, (u16)y ? (u16)x % (u16)y : (u16)x)
DIVIDE(rem_s16, u32, (u16)rem_s((s16)x, (s16)y))
DIVIDE(rem_u32, u32, y ? x % y : x)
DIVIDE(rem_s32, s32, rem_s(x, y))
DIVIDE(rem_u64, u64, y ? x % y : x)
DIVIDE(rem_s64, s64, rem_s(x, y))
#undef DIVIDE

PTX_BINARY(min_u16, u32, u32, (u16)x < (u16)y ? (u16)x : (u16)y)
PTX_BINARY(min_s16, u32, u32, (u16)((s16)x < (s16)y ? x : y))
PTX_BINARY(min_u32, u32, u32, x < y ? x : y)
PTX_BINARY(min_s32, s32, s32, x < y ? x : y)
PTX_BINARY(min_u64, u64, u64, x < y ? x : y)
PTX_BINARY(min_s64, s64, s64, x < y ? x : y)
PTX_BINARY(max_u16, u32, u32, (u16)x > (u16)y ? (u16)x : (u16)y)
PTX_BINARY(max_s16, u32, u32, (u16)((s16)x > (s16)y ? x : y))
PTX_BINARY(max_u32, u32, u32, x > y ? x : y)
PTX_BINARY(max_s32, s32, s32, x > y ? x : y)
PTX_BINARY(max_u64, u64, u64, x > y ? x : y)
PTX_BINARY(max_s64, s64, s64, x > y ? x : y)
PTX_BINARY(relu_min_s32, s32, s32, ({ s32 v = x < y ? x : y; v < 0 ? 0 : v; }))
PTX_BINARY(relu_max_s32, s32, s32, ({ s32 v = x > y ? x : y; v < 0 ? 0 : v; }))
/* min and max of 16-bit pairs; u0: bit 0 max, bit 1 signed, bit 2 relu. */
static inline u32 minmax_half(u32 x, u32 y, u32 mode)
{
    s32 a = mode & 2 ? (s16)x : (s32)(u16)x, b = mode & 2 ? (s16)y : (s32)(u16)y;
    s32 v = ((mode & 1) ? a > b : a < b) ? a : b;
    return (u16)((mode & 4) && v < 0 ? 0 : v);
}
PTX_BINARY(minmax_x2, u32, u32,
           minmax_half(x, y, in->u0) | minmax_half(x >> 16, y >> 16, in->u0) << 16)

PTX_UNARY(abs_16, u32, u32, (u16)((s16)x < 0 ? 0 - x : x))
PTX_UNARY(abs_32, u32, u32, (s32)x < 0 ? 0 - x : x)
PTX_UNARY(abs_64, u64, u64, (s64)x < 0 ? 0 - x : x)
PTX_UNARY(neg_16, u32, u32, (u16)(0 - x))
PTX_UNARY(neg_32, u32, u32, 0 - x)
PTX_UNARY(neg_64, u64, u64, 0 - x)
PTX_BINARY(and_32, u32, u32, x & y)
PTX_BINARY(and_64, u64, u64, x & y)
PTX_BINARY(or_32, u32, u32, x | y)
PTX_BINARY(or_64, u64, u64, x | y)
PTX_BINARY(xor_32, u32, u32, x ^ y)
PTX_BINARY(xor_64, u64, u64, x ^ y)
PTX_UNARY(not_16, u32, u32, (u16)~x)
PTX_UNARY(not_32, u32, u32, ~x)
PTX_UNARY(not_64, u64, u64, ~x)
PTX_UNARY(cnot_16, u32, u32, (u16)x == 0)
PTX_UNARY(cnot_32, u32, u32, x == 0)
PTX_UNARY(cnot_64, u64, u64, x == 0)

/* Predicates are masks: u0, u1 flip the sources (negated operands). */
#define PREDICATE(name, expr)                                                                      \
    int H(name)(ptx_warp *w, const ptx_inst *in, ptx_mask m)                                       \
    {                                                                                              \
        ptx_mask x = *ptx_rpred(w, in->a) ^ in->u0, y = *ptx_rpred(w, in->b) ^ in->u1;             \
        ptx_mask *d = ptx_rpred(w, in->d);                                                         \
        (void)y;                                                                                   \
        *d = (*d & ~m) | ((expr) & m);                                                             \
        return PTX_GO;                                                                             \
    }
PREDICATE(and_pred, x & y)
PREDICATE(or_pred, x | y)
PREDICATE(xor_pred, x ^ y)
PREDICATE(not_pred, ~x)
#undef PREDICATE

/* The shift count is a 32-bit operand whatever the width. */
#define SHIFT(name, T, expr)                                                                       \
    int H(name)(ptx_warp *w, const ptx_inst *in, ptx_mask m)                                       \
    {                                                                                              \
        T *d = (T *)(void *)(w->regs + in->d);                                                     \
        const T *a = (const T *)(const void *)(w->regs + in->a);                                   \
        const u32 *b = (const u32 *)(const void *)(w->regs + in->b);                               \
        PTX_FOR(d, ({ T x = a[i]; u32 y = b[i]; (T)(expr); }));                                    \
        return PTX_GO;                                                                             \
    }
SHIFT(shl_16, u32, y > 15 ? 0 : (u16)(x << (y & 15)))
SHIFT(shl_32, u32, y > 31 ? 0 : x << (y & 31))
SHIFT(shl_64, u64, y > 63 ? 0 : x << (y & 63))
SHIFT(shr_u16, u32, y > 15 ? 0 : (u16)x >> (y & 15))
SHIFT(shr_s16, u32, (u16)((s16)x >> (y > 15 ? 15 : y)))
SHIFT(shr_u32, u32, y > 31 ? 0 : x >> (y & 31))
SHIFT(shr_s32, s32, x >> (y > 31 ? 31 : y))
SHIFT(shr_u64, u64, y > 63 ? 0 : x >> (y & 63))
SHIFT(shr_s64, s64, x >> (y > 63 ? 63 : y))
#undef SHIFT
PTX_TERNARY(shf_l_wrap, u32, u32, u32, ptx_shf_l(x, y, z, true))
PTX_TERNARY(shf_l_clamp, u32, u32, u32, ptx_shf_l(x, y, z, false))
PTX_TERNARY(shf_r_wrap, u32, u32, u32, ptx_shf_r(x, y, z, true))
PTX_TERNARY(shf_r_clamp, u32, u32, u32, ptx_shf_r(x, y, z, false))

/* Field instructions: position and length are 32-bit. */
#define FIELD(name, T, expr)                                                                       \
    int H(name)(ptx_warp *w, const ptx_inst *in, ptx_mask m)                                       \
    {                                                                                              \
        T *d = (T *)(void *)(w->regs + in->d);                                                     \
        const T *a = (const T *)(const void *)(w->regs + in->a);                                   \
        const u32 *b = (const u32 *)(const void *)(w->regs + in->b);                               \
        const u32 *c = (const u32 *)(const void *)(w->regs + in->c);                               \
        PTX_FOR(d, ({ T x = a[i]; u32 y = b[i], z = c[i]; (T)(expr); }));                          \
        return PTX_GO;                                                                             \
    }
FIELD(bfe_u32, u32, ptx_bfe_u(x, y, z, 32))
FIELD(bfe_s32, s32, ptx_bfe_s(x, y, z, 32))
FIELD(bfe_u64, u64, ptx_bfe_u(x, y, z, 64))
FIELD(bfe_s64, s64, ptx_bfe_s(x, y, z, 64))
#undef FIELD
/* bfi has four sources: the fourth is the last of the slot list. */
#define INSERT(name, T, width)                                                                     \
    int H(name)(ptx_warp *w, const ptx_inst *in, ptx_mask m)                                       \
    {                                                                                              \
        T *d = (T *)(void *)(w->regs + in->d);                                                     \
        const T *a = (const T *)(const void *)(w->regs + in->a);                                   \
        const T *b = (const T *)(const void *)(w->regs + in->b);                                   \
        const u32 *c = (const u32 *)(const void *)(w->regs + in->c);                               \
        const u32 *e = (const u32 *)(const void *)(w->regs + in->u0);                              \
        PTX_FOR(d, (T)ptx_bfi(a[i], b[i], c[i], e[i], width));                                     \
        return PTX_GO;                                                                             \
    }
INSERT(bfi_32, u32, 32)
INSERT(bfi_64, u64, 64)
#undef INSERT

/* u0: bit 0 signed, bit 1 shiftamt. */
PTX_UNARY(bfind_32, u32, u32, ptx_bfind(x, in->u0 & 1, in->u0 & 2, 32))
PTX_UNARY(bfind_64, u32, u64, ptx_bfind(x, in->u0 & 1, in->u0 & 2, 64))
PTX_UNARY(brev_32, u32, u32, ptx_brev32(x))
PTX_UNARY(brev_64, u64, u64, ptx_brev64(x))
PTX_UNARY(clz_32, u32, u32, ptx_clz32(x))
PTX_UNARY(clz_64, u32, u64, ptx_clz64(x))
PTX_UNARY(popc_32, u32, u32, (u32)__builtin_popcount(x))
PTX_UNARY(popc_64, u32, u64, (u32)__builtin_popcountll(x))

/* The default mode without a table: every byte is a shift of the 64-bit pair. */
static inline u32 prmt_default(u32 x, u32 y, u32 sel)
{
    u64 ba = (u64)y << 32 | x;
    u32 r = 0;
    for (int k = 0; k < 4; k++) {
        u32 s = sel >> (4 * k) & 15, v = (u32)(ba >> (8 * (s & 7))) & 0xff;
        v = s & 8 ? (v & 0x80 ? 0xffu : 0u) : v;
        r |= v << (8 * k);
    }
    return r;
}
PTX_TERNARY(prmt, u32, u32, u32, prmt_default(x, y, z))
PTX_TERNARY(prmt_mode, u32, u32, u32, ptx_prmt(x, y, z, (ptx_prmt_mode)in->u0))

int H(lop3)(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    u32 *d = ptx_r32(w, in->d);
    const u32 *a = ptx_r32(w, in->a), *b = ptx_r32(w, in->b), *c = ptx_r32(w, in->c);
    u32 t[8];
    for (u32 k = 0; k < 8; k++) t[k] = in->u0 >> k & 1 ? ~0u : 0;
    PTX_FOR(d, ({
        u32 x = a[i], y = b[i], z = c[i];
        (~x & ((~y & ((~z & t[0]) | (z & t[1]))) | (y & ((~z & t[2]) | (z & t[3]))))) |
            (x & ((~y & ((~z & t[4]) | (z & t[5]))) | (y & ((~z & t[6]) | (z & t[7])))));
    }));
    return PTX_GO;
}
PTX_TERNARY(fns, u32, u32, s32, ptx_fns(x, y, z))
/* szext: u0 bit 0 signed, bit 1 clamp. bmsk: u0 bit 1 clamp. */
static inline u32 szext(u32 x, u32 n, u32 mode)
{
    if (mode & 2 ? n >= 32 : (n &= 31, false)) return x;
    if (!n) return 0;
    return mode & 1 ? (u32)((s32)(x << (32 - n)) >> (32 - n)) : x & (0xffffffffu >> (32 - n));
}
static inline u32 bmsk(u32 pos, u32 len, u32 mode)
{
    if (!(mode & 2)) pos &= 31, len &= 31;
    if (pos > 31 || !len) return 0;
    u32 ones = len > 31 ? ~0u : (1u << len) - 1;
    return ones << pos;
}
PTX_BINARY(szext, u32, u32, szext(x, y, in->u0))
PTX_BINARY(bmsk, u32, u32, bmsk(x, y, in->u0))

PTX_TERNARY(sad_u16, u32, u32, u32,
            (u16)(z + ((u16)x > (u16)y ? (u16)x - (u16)y : (u16)y - (u16)x)))
PTX_TERNARY(sad_s16, u32, u32, u32,
            (u16)(z + (u32)((s16)x > (s16)y ? (s16)x - (s16)y : (s16)y - (s16)x)))
PTX_TERNARY(sad_u32, u32, u32, u32, ptx_sad_u32(x, y, z))
PTX_TERNARY(sad_s32, u32, s32, u32, ptx_sad_s32(x, y, z))
PTX_TERNARY(sad_u64, u64, u64, u64, z + (x > y ? x - y : y - x))
PTX_TERNARY(sad_s64, u64, s64, u64, z + (x > y ? (u64)x - (u64)y : (u64)y - (u64)x))
/* u0: bit 0 a signed, bit 1 b signed, bit 2 upper half (dp2a) or high part (mul24). */
PTX_TERNARY(dp4a, u32, u32, u32, ptx_dp4a(x, y, z, in->u0 & 1, in->u0 & 2))
PTX_TERNARY(dp2a, u32, u32, u32, ptx_dp2a(x, y, z, in->u0 & 1, in->u0 & 2, in->u0 & 4))
PTX_BINARY(mul24, u32, u32,
           in->u0 & 1 ? ptx_mul24_s(x, y, in->u0 & 4) : ptx_mul24_u(x, y, in->u0 & 4))
PTX_TERNARY(mad24, u32, u32, u32,
            z + (in->u0 & 1 ? ptx_mul24_s(x, y, in->u0 & 4) : ptx_mul24_u(x, y, in->u0 & 4)))

/* vadd2 ... vabsdiff4: u0: operation | bytes << 8 | flags << 16 (a, b, d signed, sat, add). */
int H(simd)(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    u32 *d = ptx_r32(w, in->d);
    const u32 *a = ptx_r32(w, in->a), *b = ptx_r32(w, in->b), *c = ptx_r32(w, in->c);
    u32 f = in->u0 >> 16;
    PTX_FOR_ACTIVE(d, ptx_simd((ptx_simd_op)(in->u0 & 255), in->u0 >> 8 & 255, a[i], b[i], c[i],
                               f & 1, f & 2, f & 4, f & 8, f & 16));
    return PTX_GO;
}

/* add/sub with carry. u0: bit 0 subtract, bit 1 carry in, bit 2 carry out; u1: slot of the carry
 * mask. The carry of a subtraction is the borrow. */
#define CARRY(name, T)                                                                             \
    int H(name)(ptx_warp * w, const ptx_inst *in, ptx_mask m)                                      \
    {                                                                                              \
        T *d = (T *)(void *)(w->regs + in->d);                                                     \
        const T *a = (const T *)(const void *)(w->regs + in->a);                                   \
        const T *b = (const T *)(const void *)(w->regs + in->b);                                   \
        ptx_mask *cc = ptx_rpred(w, in->u1), out = 0;                                              \
        for (int i = 0; i < PTX_LANES; i++) {                                                      \
            if (!(m >> i & 1)) continue;                                                           \
            T r, cin = in->u0 & 2 ? *cc >> i & 1 : 0;                                              \
            bool c1 = in->u0 & 1 ? __builtin_sub_overflow(a[i], b[i], &r)                          \
                                 : __builtin_add_overflow(a[i], b[i], &r);                         \
            bool c2 = in->u0 & 1 ? __builtin_sub_overflow(r, cin, &r)                              \
                                 : __builtin_add_overflow(r, cin, &r);                             \
            d[i] = r;                                                                              \
            out |= (ptx_mask)(c1 || c2) << i;                                                      \
        }                                                                                          \
        if (in->u0 & 4) *cc = (*cc & ~m) | out;                                                    \
        return PTX_GO;                                                                             \
    }
CARRY(addc_32, u32)
CARRY(addc_64, u64)
#undef CARRY
/* mad with carry: bit 3 high part, bit 4 signed. */
#define MADC(name, T, ST, W2, SW2, bits)                                                           \
    int H(name)(ptx_warp *w, const ptx_inst *in, ptx_mask m)                                       \
    {                                                                                              \
        T *d = (T *)(void *)(w->regs + in->d);                                                     \
        const T *a = (const T *)(const void *)(w->regs + in->a);                                   \
        const T *b = (const T *)(const void *)(w->regs + in->b);                                   \
        const T *c = (const T *)(const void *)(w->regs + in->c);                                   \
        ptx_mask *cc = ptx_rpred(w, in->u1), out = 0;                                              \
        for (int i = 0; i < PTX_LANES; i++) {                                                      \
            if (!(m >> i & 1)) continue;                                                           \
            W2 p = in->u0 & 16 ? (W2)((SW2)(ST)a[i] * (ST)b[i]) : (W2)a[i] * b[i];                 \
            T r, cin = in->u0 & 2 ? *cc >> i & 1 : 0;                                              \
            bool c1 = __builtin_add_overflow((T)(in->u0 & 8 ? p >> bits : p), c[i], &r);           \
            bool c2 = __builtin_add_overflow(r, cin, &r);                                          \
            d[i] = r;                                                                              \
            out |= (ptx_mask)(c1 || c2) << i;                                                      \
        }                                                                                          \
        if (in->u0 & 4) *cc = (*cc & ~m) | out;                                                    \
        return PTX_GO;                                                                             \
    }
MADC(madc_32, u32, s32, u64, s64, 32)
MADC(madc_64, u64, s64, u128, s128, 64)
#undef MADC
