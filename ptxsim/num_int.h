/* num_int.h: integer and bit instructions of PTX as scalar functions, one meaning each, inline so
 * that the machine's 32-lane loops vectorise. Shift counts and field positions follow the PTX ISA:
 * counts at or above the width give 0 (or the sign); bfe/bfi use the low 8 bits of position and
 * length. */
#ifndef LLMIR_PTXSIM_NUM_INT_H
#define LLMIR_PTXSIM_NUM_INT_H

#include <stdbool.h>
#include <stdint.h>

static inline uint32_t ptx_shl32(uint32_t a, uint32_t n) { return n > 31 ? 0 : a << n; }
static inline uint64_t ptx_shl64(uint64_t a, uint32_t n) { return n > 63 ? 0 : a << n; }
static inline uint32_t ptx_shr_u32(uint32_t a, uint32_t n) { return n > 31 ? 0 : a >> n; }
static inline uint64_t ptx_shr_u64(uint64_t a, uint32_t n) { return n > 63 ? 0 : a >> n; }
static inline int32_t ptx_shr_s32(int32_t a, uint32_t n) { return a >> (n > 31 ? 31 : n); }
static inline int64_t ptx_shr_s64(int64_t a, uint32_t n) { return a >> (n > 63 ? 63 : n); }

/* shf: the funnel (hi:lo) shifted; clamp limits the count to 32, wrap takes it modulo 32. */
static inline uint32_t ptx_shf_l(uint32_t lo, uint32_t hi, uint32_t n, bool wrap)
{
    n = wrap ? n & 31 : n > 32 ? 32 : n;
    return (uint32_t)((((uint64_t)hi << 32 | lo) << n) >> 32);
}
static inline uint32_t ptx_shf_r(uint32_t lo, uint32_t hi, uint32_t n, bool wrap)
{
    n = wrap ? n & 31 : n > 32 ? 32 : n;
    return (uint32_t)(((uint64_t)hi << 32 | lo) >> n);
}

/* lop3: bit i of the result is bit (a_i << 2 | b_i << 1 | c_i) of the table. */
static inline uint32_t ptx_lop3(uint32_t a, uint32_t b, uint32_t c, uint32_t lut)
{
    uint32_t r = 0;
    if (lut & 0x01) r |= ~a & ~b & ~c;
    if (lut & 0x02) r |= ~a & ~b & c;
    if (lut & 0x04) r |= ~a & b & ~c;
    if (lut & 0x08) r |= ~a & b & c;
    if (lut & 0x10) r |= a & ~b & ~c;
    if (lut & 0x20) r |= a & ~b & c;
    if (lut & 0x40) r |= a & b & ~c;
    if (lut & 0x80) r |= a & b & c;
    return r;
}

typedef enum ptx_prmt_mode {
    PTX_PRMT_DEFAULT,
    PTX_PRMT_F4E,
    PTX_PRMT_B4E,
    PTX_PRMT_RC8,
    PTX_PRMT_ECL,
    PTX_PRMT_ECR,
    PTX_PRMT_RC16
} ptx_prmt_mode;

/* prmt: four bytes picked out of b:a (a holds bytes 0-3). In the default mode each nibble of `sel`
 * names a byte, its top bit asks for that byte's sign replicated; the other modes take sel & 3. */
static inline uint32_t ptx_prmt(uint32_t a, uint32_t b, uint32_t sel, ptx_prmt_mode mode)
{
    uint64_t ba = (uint64_t)b << 32 | a;
    static const uint16_t f4e[4] = {0x3210, 0x4321, 0x5432, 0x6543},
                          b4e[4] = {0x5670, 0x6701, 0x7012, 0x0123},
                          rc8[4] = {0x0000, 0x1111, 0x2222, 0x3333},
                          ecl[4] = {0x3210, 0x3211, 0x3222, 0x3333},
                          ecr[4] = {0x0000, 0x1110, 0x2210, 0x3210},
                          rc16[4] = {0x1010, 0x3232, 0x1010, 0x3232};
    switch (mode) {
    case PTX_PRMT_F4E: sel = f4e[sel & 3]; break;
    case PTX_PRMT_B4E: sel = b4e[sel & 3]; break;
    case PTX_PRMT_RC8: sel = rc8[sel & 3]; break;
    case PTX_PRMT_ECL: sel = ecl[sel & 3]; break;
    case PTX_PRMT_ECR: sel = ecr[sel & 3]; break;
    case PTX_PRMT_RC16: sel = rc16[sel & 3]; break;
    default: break;
    }
    uint32_t r = 0;
    for (int i = 0; i < 4; i++) {
        uint32_t s = sel >> (4 * i) & 15, v = (uint32_t)(ba >> (8 * (s & 7))) & 0xff;
        if (s & 8) v = v & 0x80 ? 0xff : 0;
        r |= v << (8 * i);
    }
    return r;
}

/* bfe: bits [pos, pos + len) of a; the signed form extends with the field's top bit, or the sign of
 * a where the field runs past it. */
static inline uint64_t ptx_bfe_u(uint64_t a, uint32_t pos, uint32_t len, unsigned width)
{
    pos &= 255;
    len &= 255;
    if (!len || pos >= width) return 0;
    if (len > width - pos) len = width - pos;
    return a >> pos & (len > 63 ? ~(uint64_t)0 : ((uint64_t)1 << len) - 1);
}
static inline int64_t ptx_bfe_s(int64_t a, uint32_t pos, uint32_t len,
                                unsigned width) /* a sign-extended */
{
    pos &= 255;
    len &= 255;
    if (!len) return 0;
    if (pos >= width) return a >> 63;
    if (len > width - pos) return a >> pos;
    return (int64_t)((uint64_t)a << (64 - pos - len)) >> (64 - len);
}
/* bfi: the low len bits of a put into b at pos; what would pass the top is dropped. */
static inline uint64_t ptx_bfi(uint64_t a, uint64_t b, uint32_t pos, uint32_t len, unsigned width)
{
    pos &= 255;
    len &= 255;
    if (!len || pos >= width) return b;
    if (len > width - pos) len = width - pos;
    uint64_t m = (len > 63 ? ~(uint64_t)0 : ((uint64_t)1 << len) - 1) << pos;
    return (b & ~m) | (a << pos & m);
}
/* bfind: position of the highest bit that differs from the sign (unsigned: the highest 1), or
 * 0xffffffff; with .shiftamt the left shift that brings it to the top. */
static inline uint32_t ptx_bfind(uint64_t a, bool is_signed, bool shiftamt, unsigned width)
{
    uint64_t m = width == 64 ? ~(uint64_t)0 : 0xffffffffu;
    a &= m;
    if (is_signed && a >> (width - 1)) a = ~a & m;
    if (!a) return 0xffffffffu;
    uint32_t p = 63 - (uint32_t)__builtin_clzll(a);
    return shiftamt ? width - 1 - p : p;
}
static inline uint32_t ptx_brev32(uint32_t a)
{
    a = (a >> 1 & 0x55555555u) | (a & 0x55555555u) << 1;
    a = (a >> 2 & 0x33333333u) | (a & 0x33333333u) << 2;
    a = (a >> 4 & 0x0f0f0f0fu) | (a & 0x0f0f0f0fu) << 4;
    return __builtin_bswap32(a);
}
static inline uint64_t ptx_brev64(uint64_t a)
{
    return (uint64_t)ptx_brev32((uint32_t)a) << 32 | ptx_brev32((uint32_t)(a >> 32));
}
static inline uint32_t ptx_clz32(uint32_t a) { return a ? (uint32_t)__builtin_clz(a) : 32; }
static inline uint32_t ptx_clz64(uint64_t a) { return a ? (uint32_t)__builtin_clzll(a) : 64; }
static inline uint32_t ptx_fns(uint32_t mask, uint32_t base, int32_t offset)
{ /* position of the offset-th set bit counted from base (upwards if > 0, downwards if < 0) */
    if (base > 31) return 0xffffffffu;
    if (!offset) return mask >> base & 1 ? base : 0xffffffffu;
    int step = offset > 0 ? 1 : -1, left = offset > 0 ? offset : -offset;
    for (int pos = (int)base; pos >= 0 && pos < 32; pos += step)
        if (mask >> pos & 1 && !--left) return (uint32_t)pos;
    return 0xffffffffu;
}

/* dp4a / dp2a: c plus the products of four bytes (two halves with two bytes of b, low or high). */
static inline int64_t ptx_byte(uint32_t v, int i, bool is_signed)
{
    uint32_t b = v >> (8 * i) & 255;
    return is_signed ? (int8_t)b : (int64_t)b;
}
static inline uint32_t ptx_dp4a(uint32_t a, uint32_t b, uint32_t c, bool a_signed, bool b_signed)
{
    int64_t s = 0;
    for (int i = 0; i < 4; i++) s += ptx_byte(a, i, a_signed) * ptx_byte(b, i, b_signed);
    return c + (uint32_t)s;
}
static inline uint32_t ptx_dp2a(uint32_t a, uint32_t b, uint32_t c, bool a_signed, bool b_signed,
                                bool hi)
{
    int64_t s = 0;
    for (int i = 0; i < 2; i++) {
        uint32_t h = a >> (16 * i) & 0xffff;
        s += (a_signed ? (int16_t)h : (int64_t)h) * ptx_byte(b, i + (hi ? 2 : 0), b_signed);
    }
    return c + (uint32_t)s;
}
static inline uint32_t ptx_sad_u32(uint32_t a, uint32_t b, uint32_t c)
{
    return c + (a > b ? a - b : b - a);
}
static inline uint32_t ptx_sad_s32(int32_t a, int32_t b, uint32_t c)
{
    return c + (a > b ? (uint32_t)a - (uint32_t)b : (uint32_t)b - (uint32_t)a);
}

/* mul24: the product of the low 24 bits, its low or high 32 of 48 bits. */
static inline uint32_t ptx_mul24_u(uint32_t a, uint32_t b, bool hi)
{
    uint64_t p = (uint64_t)(a & 0xffffff) * (b & 0xffffff);
    return (uint32_t)(hi ? p >> 16 : p);
}
static inline uint32_t ptx_mul24_s(uint32_t a, uint32_t b, bool hi)
{
    int64_t p = (int64_t)((int32_t)(a << 8) >> 8) * ((int32_t)(b << 8) >> 8);
    return (uint32_t)(hi ? p >> 16 : p);
}

/* vabsdiff4 and its family in the plain form (no selectors): per byte, then optionally summed into
 * c. */
typedef enum ptx_simd_op {
    PTX_SIMD_ADD,
    PTX_SIMD_SUB,
    PTX_SIMD_AVRG,
    PTX_SIMD_ABSDIFF,
    PTX_SIMD_MIN,
    PTX_SIMD_MAX
} ptx_simd_op;
uint32_t ptx_simd(ptx_simd_op op, unsigned bytes, uint32_t a, uint32_t b, uint32_t c, bool a_signed,
                  bool b_signed, bool d_signed, bool sat, bool add);

#endif
