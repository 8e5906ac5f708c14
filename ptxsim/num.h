/* num.h: the arithmetic of PTX as pure functions: conversions of every format, float arithmetic
 * under every rounding, packed halves, approximate functions. No machine state; the same functions
 * are the handlers' slow path and what the unit tests hold against independent definitions.
 *
 * Values travel as bit patterns. A register of up to 32 bits is one uint32_t a lane (upper bits
 * ignored on input, zero on output), a 64-bit one a uint64_t. NaN results are canonical: 0x7fff,
 * 0x7fffffff, 0x7fffffffffffffff (f64 arithmetic keeps payloads), 0x7f for fp8. */
#ifndef LLMIR_PTXSIM_NUM_H
#define LLMIR_PTXSIM_NUM_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "ptxsim/types.h"

static inline float ptx_f32(uint32_t b)
{
    float f;
    memcpy(&f, &b, 4);
    return f;
}
static inline uint32_t ptx_f32_bits(float f)
{
    uint32_t b;
    memcpy(&b, &f, 4);
    return b;
}
static inline double ptx_f64(uint64_t b)
{
    double f;
    memcpy(&f, &b, 8);
    return f;
}
static inline uint64_t ptx_f64_bits(double f)
{
    uint64_t b;
    memcpy(&b, &f, 8);
    return b;
}

/* Flushes a subnormal f32 to zero of the same sign (.ftz). */
static inline float ptx_ftz(float f)
{
    return (ptx_f32_bits(f) & 0x7f800000u) ? f : ptx_f32(ptx_f32_bits(f) & 0x80000000u);
}
/* .sat: NaN to 0, the rest clamped to [0, 1]. */
static inline float ptx_sat(float f) { return f > 0 ? (f < 1 ? f : 1.0f) : 0.0f; }

/* ---- formats ---- */

/* The bit pattern of a small-format value, exactly, as f32 (every f16, bf16, fp8 value is one). */
float ptx_small_to_f32(ptx_type t, uint32_t bits);

typedef struct ptx_fmt_opts {
    bool ftz, relu, satfinite;
} ptx_fmt_opts;
/* x rounded once to `t` (F16 BF16 TF32 E4M3 E5M2 F32) under `rnd` (RN RZ RM RP RNA). */
uint32_t ptx_small_from_f64(ptx_type t, double x, ptx_round rnd, ptx_fmt_opts o);

/* 32 lanes, round to nearest even; vectorised. NaN becomes canonical when narrowing. */
void ptx_f16_to_f32_lanes(float d[32], const uint32_t a[32]);
void ptx_f32_to_f16_lanes(uint32_t d[32], const uint32_t a[32]); /* f32 bits in, f16 bits out */
void ptx_f32_to_bf16_lanes(uint32_t d[32], const uint32_t a[32]);

/* ---- cvt ---- */

typedef struct ptx_cvt {
    ptx_type dst, src;
    ptx_round rnd;
    bool ftz, sat, relu, satfinite;
} ptx_cvt;

/* Whether the PTX ISA has this form (types, rounding, modifiers together). */
bool ptx_cvt_valid(const ptx_cvt *c);
/* Two-source forms (f16x2, bf16x2, e4m3x2, e5m2x2 from f32): `a` is the upper half, `b` the
 * lower. */
bool ptx_cvt_two_sources(const ptx_cvt *c);
/* The result in the low bits, sign- or zero-extended to 64 bits after the destination's
 * signedness. */
uint64_t ptx_cvt_one(const ptx_cvt *c, uint64_t a, uint64_t b);
/* The same for 32 lanes: d, a and b point to uint32_t[32], or uint64_t[32] where that type has 64
 * bits. */
void ptx_cvt_lanes(const ptx_cvt *c, void *d, const void *a, const void *b);
/* cvt.pack.sat.DST.s32 (DST u16 s16 u8 s8 u4 s4 u2 s2 by width): a and b saturated, packed above
 * c. */
uint32_t ptx_cvt_pack(unsigned width, bool is_signed, uint32_t a, uint32_t b, uint32_t c);

/* ---- f32 and f64 under a rounding mode (RN RZ RM RP) ---- */

float ptx_add_f32(float a, float b, ptx_round r);
float ptx_mul_f32(float a, float b, ptx_round r);
float ptx_fma_f32(float a, float b, float c, ptx_round r);
float ptx_div_f32(float a, float b, ptx_round r);
float ptx_sqrt_f32(float a, ptx_round r);
double ptx_add_f64(double a, double b, ptx_round r);
double ptx_mul_f64(double a, double b, ptx_round r);
double ptx_fma_f64(double a, double b, double c, ptx_round r);
double ptx_div_f64(double a, double b, ptx_round r);
double ptx_sqrt_f64(double a, ptx_round r);

/* min/max of PTX: the operand that is a number; -0 below +0; .NaN gives the canonical NaN when
 * either is; .xorsign.abs compares magnitudes and gives the xor of the signs. */
float ptx_min_f32(float a, float b, bool is_max, bool nan, bool xorsign_abs);
double ptx_min_f64(double a, double b, bool is_max);

/* ---- f16, bf16 and their pairs: each half rounded once ---- */

typedef enum ptx_half_op {
    PTX_H_ADD,
    PTX_H_SUB,
    PTX_H_MUL,
    PTX_H_FMA,
    PTX_H_MIN,
    PTX_H_MAX,
    PTX_H_ABS,
    PTX_H_NEG,
    PTX_H_EX2,
    PTX_H_TANH, /* the approximate functions, computed exactly and rounded */
} ptx_half_op;
typedef struct ptx_half_opts {
    bool ftz, sat, relu, nan, xorsign_abs;
} ptx_half_opts;
/* t: F16 F16X2 BF16 BF16X2. */
uint32_t ptx_half_one(ptx_half_op op, ptx_type t, ptx_half_opts o, uint32_t a, uint32_t b,
                      uint32_t c);
void ptx_half_lanes(ptx_half_op op, ptx_type t, ptx_half_opts o, uint32_t d[32],
                    const uint32_t a[32], const uint32_t b[32], const uint32_t c[32]);
/* Compares one half of a and b: the PTX comparison names, ordered and unordered. */
typedef enum ptx_cmp {
    PTX_EQ,
    PTX_NE,
    PTX_LT,
    PTX_LE,
    PTX_GT,
    PTX_GE,
    PTX_LO,
    PTX_LS,
    PTX_HI,
    PTX_HS,
    PTX_EQU,
    PTX_NEU,
    PTX_LTU,
    PTX_LEU,
    PTX_GTU,
    PTX_GEU,
    PTX_NUM,
    PTX_NAN,
} ptx_cmp;
bool ptx_cmp_f64(ptx_cmp op, double a, double b);

/* ---- approximate functions ---- */

typedef enum ptx_approx_op {
    PTX_A_EX2,
    PTX_A_LG2,
    PTX_A_RCP,
    PTX_A_RSQRT,
    PTX_A_SQRT,
    PTX_A_SIN,
    PTX_A_COS,
    PTX_A_TANH,
    PTX_A_DIV,      /* div.approx: a * (1/b); b of 2^126 and above gives 0 */
    PTX_A_DIV_FULL, /* div.full: 2 ulp in the whole range */
} ptx_approx_op;

/* Exact by default: the true value rounded to nearest. With `perturb` the result is moved by a
 * pseudo-random error (a function of seed, operation and operands, so it repeats) inside the bound
 * the PTX ISA documents. */
typedef struct ptx_num_mode {
    bool perturb;
    uint64_t seed;
} ptx_num_mode;

float ptx_approx_f32(ptx_approx_op op, float a, float b, bool ftz, const ptx_num_mode *m);
/* rcp.approx.ftz.f64, rsqrt.approx(.ftz).f64: the upper word only; the lower 32 bits of the result
 * are 0. */
double ptx_approx_f64(ptx_approx_op op, double a, const ptx_num_mode *m);
/* The bound itself: |result - exact| <= abs + rel * |exact| for this operand. */
void ptx_approx_bound(ptx_approx_op op, float a, double exact, double *abs_err, double *rel_err);
void ptx_approx_lanes(ptx_approx_op op, uint32_t d[32], const uint32_t a[32], const uint32_t b[32],
                      bool ftz, const ptx_num_mode *m);

#endif
