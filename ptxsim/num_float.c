/* num_float.c: f32/f64 arithmetic under a written rounding, min/max, comparisons, and the half
 * formats.
 *
 * "Rounded once" is kept by rounding to odd on the way: a wider result whose last bit is forced to
 * 1 when it is inexact rounds to the narrow format exactly as the true value would. */
#include <fenv.h>
#include <math.h>

#include "ptxsim/num.h"

/* s = round-to-nearest(x), err = x - s for the true x (only its sign matters): x rounded to odd. */
static double to_odd(double s, double err)
{
    uint64_t u = ptx_f64_bits(s);
    bool fix = err != 0 && (u & 0x7ff0000000000000ull) != 0x7ff0000000000000ull && !(u & 1);
    bool up = (err > 0) == (s > 0);
    return fix ? ptx_f64(up ? u + 1 : u - 1) : s;
}

static double two_sum_err(double a, double b, double s)
{
    double bb = s - a;
    return (a - (s - bb)) + (b - bb);
}

static float odd_to_f32(double s, double err, ptx_round r)
{
    return ptx_f32(
        ptx_small_from_f64(PTX_F32, isfinite(s) ? to_odd(s, err) : s, r, (ptx_fmt_opts){0}));
}

static bool is_directed(ptx_round r) { return r == PTX_RZ || r == PTX_RM || r == PTX_RP; }

/* An exact zero sum of opposite signs is -0 under rm. */
static float zero_sum(float s, bool opposite, ptx_round r)
{
    return s == 0 && opposite && r == PTX_RM ? -0.0f : s;
}

float ptx_add_f32(float a, float b, ptx_round r)
{
    if (!is_directed(r)) return a + b;
    double s = (double)a + b;
    return zero_sum(odd_to_f32(s, two_sum_err(a, b, s), r), signbit(a) != signbit(b), r);
}

float ptx_mul_f32(float a, float b, ptx_round r)
{
    return is_directed(r) ? odd_to_f32((double)a * b, 0, r) : a * b;
}

float ptx_fma_f32(float a, float b, float c, ptx_round r)
{
    if (!is_directed(r)) return fmaf(a, b, c);
    double p = (double)a * b, s = p + c;
    return zero_sum(odd_to_f32(s, two_sum_err(p, c, s), r), signbit(p) != signbit(c), r);
}

float ptx_div_f32(float a, float b, ptx_round r)
{
    if (!is_directed(r)) return a / b;
    double q = (double)a / b;
    if (!isfinite(q) || !isfinite(b)) return (float)q;
    double rem = fma(-q, b, a); /* exact; its sign over b's is the error's */
    return odd_to_f32(q, b > 0 ? rem : -rem, r);
}

float ptx_sqrt_f32(float a, ptx_round r)
{
    if (!is_directed(r)) return sqrtf(a);
    double q = sqrt((double)a);
    return isfinite(q) ? odd_to_f32(q, fma(-q, q, a), r) : (float)q;
}

static int env_of(ptx_round r)
{
    return r == PTX_RZ ? FE_TOWARDZERO : r == PTX_RM ? FE_DOWNWARD : FE_UPWARD;
}

#define DIRECTED_F64(expr)                                                                         \
    do {                                                                                           \
        int old = fegetround();                                                                    \
        fesetround(env_of(r));                                                                     \
        volatile double v = (expr);                                                                \
        fesetround(old);                                                                           \
        return v;                                                                                  \
    } while (0)

double ptx_add_f64(double a, double b, ptx_round r)
{
    volatile double x = a, y = b;
    if (!is_directed(r)) return a + b;
    DIRECTED_F64(x + y);
}
double ptx_mul_f64(double a, double b, ptx_round r)
{
    volatile double x = a, y = b;
    if (!is_directed(r)) return a * b;
    DIRECTED_F64(x * y);
}
double ptx_div_f64(double a, double b, ptx_round r)
{
    volatile double x = a, y = b;
    if (!is_directed(r)) return a / b;
    DIRECTED_F64(x / y);
}
double ptx_sqrt_f64(double a, ptx_round r)
{
    volatile double x = a;
    if (!is_directed(r)) return sqrt(a);
    DIRECTED_F64(sqrt(x));
}
double ptx_fma_f64(double a, double b, double c, ptx_round r)
{
    volatile double x = a, y = b, z = c;
    if (!is_directed(r)) return fma(a, b, c);
    DIRECTED_F64(fma(x, y, z));
}

float ptx_min_f32(float a, float b, bool is_max, bool nan, bool xorsign_abs)
{
    uint32_t sign = (ptx_f32_bits(a) ^ ptx_f32_bits(b)) & 0x80000000u;
    if (nan && (isnan(a) || isnan(b))) return ptx_f32(0x7fffffffu);
    if (isnan(a) && isnan(b)) return ptx_f32(0x7fffffffu);
    if (xorsign_abs) a = fabsf(a), b = fabsf(b);
    float r;
    if (isnan(a))
        r = b;
    else if (isnan(b))
        r = a;
    else if (a == b)
        r = !!signbit(a) != is_max ? a : b; /* -0 < +0 */
    else
        r = (a < b) != is_max ? a : b;
    return xorsign_abs ? ptx_f32((ptx_f32_bits(r) & 0x7fffffffu) | sign) : r;
}

double ptx_min_f64(double a, double b, bool is_max)
{
    if (isnan(a)) return isnan(b) ? ptx_f64(0x7fffffffffffffffull) : b;
    if (isnan(b)) return a;
    if (a == b) return !!signbit(a) != is_max ? a : b;
    return (a < b) != is_max ? a : b;
}

bool ptx_cmp_f64(ptx_cmp op, double a, double b)
{
    bool un = isnan(a) || isnan(b);
    switch (op) {
    case PTX_EQ: return a == b;
    case PTX_NE: return !un && a != b;
    case PTX_LT:
    case PTX_LO: return a < b;
    case PTX_LE:
    case PTX_LS: return a <= b;
    case PTX_GT:
    case PTX_HI: return a > b;
    case PTX_GE:
    case PTX_HS: return a >= b;
    case PTX_EQU: return un || a == b;
    case PTX_NEU: return un || a != b;
    case PTX_LTU: return un || a < b;
    case PTX_LEU: return un || a <= b;
    case PTX_GTU: return un || a > b;
    case PTX_GEU: return un || a >= b;
    case PTX_NUM: return !un;
    default: return un;
    }
}

/* ---- half formats, 32 lanes of one half each ---- */

static void widen(ptx_type t, float d[32], const uint32_t a[32], bool ftz)
{
    if (t == PTX_F16)
        ptx_f16_to_f32_lanes(d, a);
    else
        for (int i = 0; i < 32; i++) d[i] = ptx_f32(a[i] << 16);
    if (!ftz) return;
    float tiny = t == PTX_F16 ? 0x1p-14f : 0x1p-126f;
    for (int i = 0; i < 32; i++) d[i] = fabsf(d[i]) < tiny ? copysignf(0, d[i]) : d[i];
}

static void narrow(ptx_type t, uint32_t d[32], const float v[32], ptx_half_opts o)
{
    uint32_t u[32];
    memcpy(u, v, sizeof u);
    (t == PTX_F16 ? ptx_f32_to_f16_lanes : ptx_f32_to_bf16_lanes)(d, u);
    uint32_t tiny = t == PTX_F16 ? 0x400 : 0x80, inf = t == PTX_F16 ? 0x7c00 : 0x7f80,
             one = t == PTX_F16 ? 0x3c00 : 0x3f80;
    for (int i = 0; i < 32; i++) {
        uint32_t h = d[i], mag = h & 0x7fff;
        if (mag > inf) {
            h = o.sat ? 0 : 0x7fff;
        } else {
            if (o.ftz && mag < tiny) h &= 0x8000;
            if ((o.relu || o.sat) && h & 0x8000) h = 0;
            if (o.sat && h > one) h = one;
        }
        d[i] = h;
    }
}

/* a * b + c in double, rounded to odd, then to odd again as f32: any narrower rounding is then
 * exact. */
static void fma_odd(float r[32], const float a[32], const float b[32], const float c[32])
{
    for (int i = 0; i < 32; i++) {
        double p = (double)a[i] * b[i], s = p + c[i];
        s = to_odd(s, two_sum_err(p, c[i], s));
        float f = (float)s;
        double err = s - (double)f;
        uint32_t u = ptx_f32_bits(f);
        bool fix = err != 0 && s - s == 0 && !(u & 1), up = (err > 0) == (s > 0);
        r[i] = fix ? ptx_f32(up ? u + 1 : u - 1) : f;
    }
}

static void half_arith(ptx_half_op op, float r[32], const float a[32], const float b[32],
                       const float c[32], ptx_half_opts o)
{
    float one[32], t[32];
    for (int i = 0; i < 32; i++) one[i] = 1;
    switch (op) {
    case PTX_H_ADD: fma_odd(r, a, one, b); break;
    case PTX_H_SUB:
        for (int i = 0; i < 32; i++) t[i] = -b[i];
        fma_odd(r, a, one, t);
        break;
    case PTX_H_MUL: /* -0 as the addend keeps the product's sign of zero */
        for (int i = 0; i < 32; i++) t[i] = -0.0f;
        fma_odd(r, a, b, t);
        break;
    case PTX_H_FMA: fma_odd(r, a, b, c); break;
    case PTX_H_MIN:
    case PTX_H_MAX:
        for (int i = 0; i < 32; i++)
            r[i] = ptx_min_f32(a[i], b[i], op == PTX_H_MAX, o.nan, o.xorsign_abs);
        break;
    default: /* EX2, TANH: exact to f64, which is far from every tie of an 11-bit result */
        for (int i = 0; i < 32; i++) {
            double v = op == PTX_H_EX2 ? exp2((double)a[i]) : tanh((double)a[i]);
            float f = (float)v;
            uint32_t u = ptx_f32_bits(f);
            double err = v - (double)f;
            r[i] = err != 0 && v - v == 0 && !(u & 1)
                       ? ptx_f32((err > 0) == (v > 0) ? u + 1 : u - 1)
                       : f;
        }
    }
}

static void half_part(ptx_half_op op, ptx_type t, ptx_half_opts o, uint32_t d[32],
                      const uint32_t a[32], const uint32_t b[32], const uint32_t c[32])
{
    float fa[32], fb[32], fc[32], r[32];
    if (op == PTX_H_ABS || op == PTX_H_NEG) {
        uint32_t inf = t == PTX_F16 ? 0x7c00 : 0x7f80, tiny = t == PTX_F16 ? 0x400 : 0x80;
        for (int i = 0; i < 32; i++) {
            uint32_t h = op == PTX_H_ABS ? a[i] & 0x7fff : (a[i] ^ 0x8000) & 0xffff;
            if ((h & 0x7fff) > inf) h = 0x7fff;
            if (o.ftz && (h & 0x7fff) < tiny) h &= 0x8000;
            d[i] = h;
        }
        return;
    }
    widen(t, fa, a, o.ftz);
    widen(t, fb, b, o.ftz);
    widen(t, fc, c, o.ftz);
    half_arith(op, r, fa, fb, fc, o);
    narrow(t, d, r, o);
}

void ptx_half_lanes(ptx_half_op op, ptx_type t, ptx_half_opts o, uint32_t d[32],
                    const uint32_t a[32], const uint32_t b[32], const uint32_t c[32])
{
    static const uint32_t zero[32];
    if (!b) b = zero;
    if (!c) c = zero;
    ptx_type part = t == PTX_F16 || t == PTX_F16X2 ? PTX_F16 : PTX_BF16;
    uint32_t lo[3][32], hi[3][32], dl[32], dh[32];
    for (int i = 0; i < 32; i++) {
        lo[0][i] = a[i] & 0xffff, hi[0][i] = a[i] >> 16;
        lo[1][i] = b[i] & 0xffff, hi[1][i] = b[i] >> 16;
        lo[2][i] = c[i] & 0xffff, hi[2][i] = c[i] >> 16;
    }
    half_part(op, part, o, dl, lo[0], lo[1], lo[2]);
    if (ptx_types[t].n == 1) {
        memcpy(d, dl, sizeof dl);
        return;
    }
    half_part(op, part, o, dh, hi[0], hi[1], hi[2]);
    for (int i = 0; i < 32; i++) d[i] = dh[i] << 16 | dl[i];
}

uint32_t ptx_half_one(ptx_half_op op, ptx_type t, ptx_half_opts o, uint32_t a, uint32_t b,
                      uint32_t c)
{
    uint32_t x[32] = {a}, y[32] = {b}, z[32] = {c}, d[32];
    ptx_half_lanes(op, t, o, d, x, y, z);
    return d[0];
}
