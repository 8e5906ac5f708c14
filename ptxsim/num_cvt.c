/* num_cvt.c: formats and cvt. One rounding core serves every destination: a magnitude sig * 2^exp
 * (64-bit significand plus a sticky bit) rounded once to e exponent and m mantissa bits. */
#include <math.h>

#include "ptxsim/num.h"

typedef struct fmt {
    int e, m;
    uint32_t max, nan;
    bool inf;
} fmt; /* max: magnitude of the largest finite value */

static const fmt *fmt_of(ptx_type t)
{
    static const fmt f16 = {5, 10, 0x7bff, 0x7fff, true}, bf16 = {8, 7, 0x7f7f, 0x7fff, true},
                     e4m3 = {4, 3, 0x7e, 0x7f, false}, e5m2 = {5, 2, 0x7b, 0x7f, true},
                     tf32 = {8, 10, 0x3fbff, 0x3ffff, true},
                     f32 = {8, 23, 0x7f7fffff, 0x7fffffff, true};
    switch (t) {
    case PTX_F16: return &f16;
    case PTX_BF16: return &bf16;
    case PTX_E4M3: return &e4m3;
    case PTX_E5M2: return &e5m2;
    case PTX_TF32: return &tf32;
    default: return &f32;
    }
}

static bool round_up(uint64_t q, uint64_t rem, uint64_t half, bool sticky, bool neg, ptx_round rnd)
{
    bool inexact = rem || sticky;
    switch (rnd) {
    case PTX_RZ: return false;
    case PTX_RM: return neg && inexact;
    case PTX_RP: return !neg && inexact;
    case PTX_RNA: return rem >= half;
    default: return rem > half || (rem == half && (sticky || (q & 1)));
    }
}

/* sig * 2^exp (sig != 0) -> the magnitude's bits; may run past the largest finite value. */
static uint64_t round_core(uint64_t sig, int exp, bool sticky, bool neg, int e, int m,
                           ptx_round rnd)
{
    int bias = (1 << (e - 1)) - 1, emin = 1 - bias;
    int lead = __builtin_clzll(sig);
    sig <<= lead;
    exp -= lead; /* now sig in [2^63, 2^64), value exponent = exp + 63 */
    int ev = exp + 63, shift = 63 - m;
    if (ev < emin) shift += emin - ev;
    uint64_t q, rem, half;
    if (shift > 64) {
        q = 0, rem = 1, half = 2;
    } else if (shift == 64) {
        q = 0, rem = sig >> 1, half = (uint64_t)1 << 62, sticky |= sig & 1;
    } else {
        q = sig >> shift, rem = sig & (((uint64_t)1 << shift) - 1),
        half = (uint64_t)1 << (shift - 1);
    }
    q += round_up(q, rem, half, sticky, neg, rnd);
    if (ev < emin) return q;
    if (ev + bias >= (1 << e) + 1) ev = (1 << e) - bias; /* far past: keep the sum in range */
    return ((uint64_t)(ev + bias) << m) + (q - ((uint64_t)1 << m));
}

/* Applies overflow rules to a rounded magnitude. */
static uint32_t finish(const fmt *f, uint64_t mag, bool neg, ptx_round rnd, ptx_fmt_opts o)
{
    uint32_t sign = neg ? 1u << (f->e + f->m) : 0;
    if (o.relu && neg) return 0;
    if (mag > f->max) {
        bool to_max = o.satfinite || !f->inf || rnd == PTX_RZ || (rnd == PTX_RM && !neg) ||
                      (rnd == PTX_RP && neg);
        mag = to_max ? f->max : (((uint64_t)1 << f->e) - 1) << f->m;
    }
    if (o.ftz && f->e == 8 && f->m == 23 && mag < (1u << 23)) mag = 0;
    return sign | (uint32_t)mag;
}

static uint32_t shape_tf32(ptx_type t, uint32_t v)
{
    return t == PTX_TF32 ? (v == 0x3ffff ? 0x7fffffffu : v << 13) : v;
}

uint32_t ptx_small_from_f64(ptx_type t, double x, ptx_round rnd, ptx_fmt_opts o)
{
    const fmt *f = fmt_of(t);
    uint64_t u = ptx_f64_bits(x), frac = u & (((uint64_t)1 << 52) - 1);
    bool neg = u >> 63;
    int ex = (int)(u >> 52 & 0x7ff);
    if (ex == 0x7ff && frac) return shape_tf32(t, f->nan);
    if (ex == 0x7ff) {
        if (o.relu && neg) return 0;
        uint32_t inf = o.satfinite || !f->inf ? f->max : (uint32_t)(((1u << f->e) - 1) << f->m);
        return shape_tf32(t, (neg ? 1u << (f->e + f->m) : 0) | inf);
    }
    if (!ex && !frac) return shape_tf32(t, neg && !o.relu ? 1u << (f->e + f->m) : 0);
    uint64_t mag = round_core(ex ? frac | (uint64_t)1 << 52 : frac, ex ? ex - 1075 : -1074, false,
                              neg, f->e, f->m, rnd);
    return shape_tf32(t, finish(f, mag, neg, rnd, o));
}

static float magnitude(uint32_t mag, int e, int m)
{
    int bias = (1 << (e - 1)) - 1;
    uint32_t ex = mag >> m, fr = mag & ((1u << m) - 1);
    if (ex) return ptx_f32((ex - (uint32_t)bias + 127) << 23 | fr << (23 - m));
    return (float)fr * ptx_f32((uint32_t)(1 - bias - m + 127) << 23);
}

float ptx_small_to_f32(ptx_type t, uint32_t b)
{
    float v;
    switch (t) {
    case PTX_F16:
        v = (b & 0x7fff) >= 0x7c00 ? ((b & 0x3ff) ? NAN : INFINITY) : magnitude(b & 0x7fff, 5, 10);
        return b & 0x8000 ? -v : v;
    case PTX_BF16: return ptx_f32(b << 16);
    case PTX_E4M3:
        v = (b & 0x7f) == 0x7f ? NAN : magnitude(b & 0x7f, 4, 3);
        return b & 0x80 ? -v : v;
    case PTX_E5M2:
        v = (b & 0x7f) >= 0x7c ? ((b & 3) ? NAN : INFINITY) : magnitude(b & 0x7f, 5, 2);
        return b & 0x80 ? -v : v;
    case PTX_TF32: return ptx_f32(b & 0xffffe000u); /* the unit reads the upper 19 bits */
    default: return ptx_f32(b);
    }
}

/* ---- vector forms ---- */

void ptx_f16_to_f32_lanes(float d[32], const uint32_t a[32])
{
    for (int i = 0; i < 32; i++) {
        uint32_t h = a[i] & 0xffff, mag = h & 0x7fff, sign = (h & 0x8000) << 16;
        uint32_t normal = (mag << 13) + (112u << 23);
        uint32_t special = (mag << 13) | 0x7f800000u;
        uint32_t sub = ptx_f32_bits((float)(int32_t)mag * 0x1p-24f);
        uint32_t v = mag >= 0x7c00 ? special : mag < 0x400 ? sub : normal;
        d[i] = ptx_f32(sign | v);
    }
}

void ptx_f32_to_f16_lanes(uint32_t d[32], const uint32_t a[32])
{
    for (int i = 0; i < 32; i++) {
        uint32_t u = a[i], mag = u & 0x7fffffffu, sign = u >> 16 & 0x8000;
        uint32_t normal = (mag - (112u << 23) + 0xfff + (mag >> 13 & 1)) >> 13;
        /* below 2^-14: adding 2^-1 aligns the last place of f16 subnormals with that of f32 */
        uint32_t small = mag < 0x38800000u ? mag : 0;
        uint32_t sub = ptx_f32_bits(ptx_f32(small) + 0.5f) - 0x3f000000u;
        uint32_t v = mag >= 0x47800000u ? 0x7c00 : mag < 0x38800000u ? sub : normal;
        v |= sign;
        d[i] = mag > 0x7f800000u ? 0x7fff : v;
    }
}

void ptx_f32_to_bf16_lanes(uint32_t d[32], const uint32_t a[32])
{
    for (int i = 0; i < 32; i++) {
        uint32_t u = a[i], v = (u + 0x7fff + (u >> 16 & 1)) >> 16;
        d[i] = (u & 0x7fffffffu) > 0x7f800000u ? 0x7fff : v;
    }
}

/* ---- cvt ---- */

static bool is_float(ptx_type t) { return ptx_types[t].kind == 'F'; }
static bool is_int(ptx_type t)
{
    return (ptx_types[t].kind == 'U' || ptx_types[t].kind == 'S') && ptx_types[t].n == 1 &&
           ptx_types[t].bits >= 8;
}
static bool is_plain_float(ptx_type t)
{
    return t == PTX_F16 || t == PTX_BF16 || t == PTX_F32 || t == PTX_F64;
}
static bool is_fp_round(ptx_round r)
{
    return r == PTX_RN || r == PTX_RZ || r == PTX_RM || r == PTX_RP;
}
static bool is_int_round(ptx_round r) { return r >= PTX_RNI; }

bool ptx_cvt_two_sources(const ptx_cvt *c) { return ptx_types[c->dst].n == 2 && c->src == PTX_F32; }

static bool valid_packed(const ptx_cvt *c)
{
    bool fp8 = c->dst == PTX_E4M3X2 || c->dst == PTX_E5M2X2;
    if (c->sat || c->ftz) return false;
    if (fp8) return (c->src == PTX_F32 || c->src == PTX_F16X2) && c->rnd == PTX_RN && c->satfinite;
    if (c->src == PTX_F32) return c->rnd == PTX_RN || c->rnd == PTX_RZ;
    return c->dst == PTX_F16X2 && (c->src == PTX_E4M3X2 || c->src == PTX_E5M2X2) &&
           c->rnd == PTX_RN && !c->satfinite;
}

bool ptx_cvt_valid(const ptx_cvt *c)
{
    ptx_type d = c->dst, s = c->src;
    if (ptx_types[d].n == 2) return valid_packed(c);
    if (d == PTX_TF32)
        return s == PTX_F32 && !c->sat && !c->ftz &&
               (c->rnd == PTX_RNA || c->rnd == PTX_RN || c->rnd == PTX_RZ) &&
               !(c->rnd == PTX_RNA && c->relu);
    bool fd = is_plain_float(d), fs = is_plain_float(s);
    if ((!fd && !is_int(d)) || (!fs && !is_int(s))) return false;
    bool f32 = d == PTX_F32 || s == PTX_F32;
    if (c->ftz && !f32) return false;
    if (c->relu || c->satfinite)
        if (s != PTX_F32 || (d != PTX_F16 && d != PTX_BF16) ||
            (c->rnd != PTX_RN && c->rnd != PTX_RZ))
            return false;
    if (!fd && !fs) return c->rnd == PTX_RND_NONE;
    if (!fd) return is_int_round(c->rnd);
    if (!fs) return is_fp_round(c->rnd);
    int ds = ptx_types[d].bits, ss = ptx_types[s].bits;
    if (d == s) return c->rnd == PTX_RND_NONE || is_int_round(c->rnd);
    if (ds > ss) return c->rnd == PTX_RND_NONE || (d != PTX_F64 && is_fp_round(c->rnd));
    return is_fp_round(c->rnd);
}

static double integral(double x, ptx_round r)
{
    switch (r) {
    case PTX_RNI: return nearbyint(x);
    case PTX_RMI: return floor(x);
    case PTX_RPI: return ceil(x);
    default: return trunc(x);
    }
}

/* Sign- or zero-extends the low `bits` of v. */
static uint64_t extend(uint64_t v, int bits, bool is_signed)
{
    if (bits == 64) return v;
    return is_signed ? (uint64_t)((int64_t)(v << (64 - bits)) >> (64 - bits))
                     : v & (((uint64_t)1 << bits) - 1);
}

static uint64_t int_to_int(const ptx_cvt *c, uint64_t a)
{
    int db = ptx_types[c->dst].bits;
    bool ds = ptx_types[c->dst].kind == 'S', ss = ptx_types[c->src].kind == 'S';
    uint64_t v = extend(a, ptx_types[c->src].bits, ss);
    if (c->sat) {
        bool neg = ss && (int64_t)v < 0;
        uint64_t hi = ds         ? ((uint64_t)1 << (db - 1)) - 1
                      : db == 64 ? ~(uint64_t)0
                                 : ((uint64_t)1 << db) - 1;
        if (!neg && v > hi) v = hi;
        if (neg && !ds) v = 0;
        if (neg && ds && (int64_t)v < -(int64_t)hi - 1) v = (uint64_t)(-(int64_t)hi - 1);
    }
    return extend(v, db, ds);
}

static double load_float(ptx_type t, uint64_t a, bool ftz)
{
    if (t == PTX_F64) return ptx_f64(a);
    float f = ptx_small_to_f32(t, (uint32_t)a);
    return ftz && t == PTX_F32 ? ptx_ftz(f) : f;
}

static uint64_t float_to_int(const ptx_cvt *c, uint64_t a)
{
    int db = ptx_types[c->dst].bits;
    bool ds = ptx_types[c->dst].kind == 'S';
    double x = load_float(c->src, a, c->ftz);
    if (isnan(x)) /* as documented: zero, except where f64 or a 64-bit integer takes part */
        return c->src != PTX_F64 && db != 64 ? 0 : extend((uint64_t)1 << (db - 1), db, ds);
    x = integral(x, c->rnd);
    double top = ldexp(1, ds ? db - 1 : db);
    if (x >= top) return ds ? ((uint64_t)1 << (db - 1)) - 1 : extend(~(uint64_t)0, db, false);
    if (ds) return x < -top ? extend((uint64_t)1 << (db - 1), db, true) : (uint64_t)(int64_t)x;
    return x <= 0 ? 0 : (uint64_t)x;
}

static uint64_t store_f64(double x) { return ptx_f64_bits(x); }

static uint64_t int_to_float(const ptx_cvt *c, uint64_t a)
{
    bool ss = ptx_types[c->src].kind == 'S';
    uint64_t v = extend(a, ptx_types[c->src].bits, ss);
    bool neg = ss && (int64_t)v < 0;
    uint64_t mag = neg ? 0 - v : v;
    if (c->sat)
        return c->dst == PTX_F64
                   ? store_f64(neg || !mag ? 0 : 1)
                   : ptx_small_from_f64(c->dst, neg || !mag ? 0 : 1, PTX_RN, (ptx_fmt_opts){0});
    if (!mag) return 0;
    if (c->dst == PTX_F64)
        return (uint64_t)neg << 63 | round_core(mag, 0, false, neg, 11, 52, c->rnd);
    const fmt *f = fmt_of(c->dst);
    return finish(f, round_core(mag, 0, false, neg, f->e, f->m, c->rnd), neg, c->rnd,
                  (ptx_fmt_opts){0});
}

static uint64_t float_to_float(const ptx_cvt *c, uint64_t a)
{
    double x = load_float(c->src, a, c->ftz);
    if (is_int_round(c->rnd)) x = copysign(integral(x, c->rnd), x);
    if (c->sat) x = x > 0 ? (x < 1 ? x : 1) : 0;
    if (c->dst == PTX_F64)
        return isnan(x) && c->src != PTX_F64 ? 0x7fffffffffffffffull : store_f64(x);
    ptx_round r = is_fp_round(c->rnd) || c->rnd == PTX_RNA ? c->rnd : PTX_RN;
    return ptx_small_from_f64(
        c->dst, x, r, (ptx_fmt_opts){.ftz = c->ftz, .relu = c->relu, .satfinite = c->satfinite});
}

static uint64_t packed(const ptx_cvt *c, uint64_t a, uint64_t b)
{
    static const ptx_type part[PTX_NTYPE] = {[PTX_F16X2] = PTX_F16,
                                             [PTX_BF16X2] = PTX_BF16,
                                             [PTX_E4M3X2] = PTX_E4M3,
                                             [PTX_E5M2X2] = PTX_E5M2};
    ptx_type dp = part[c->dst];
    ptx_fmt_opts o = {.relu = c->relu, .satfinite = c->satfinite};
    double hi, lo;
    if (c->src == PTX_F32) {
        hi = ptx_f32((uint32_t)a), lo = ptx_f32((uint32_t)b);
    } else {
        ptx_type sp = part[c->src];
        int sb = ptx_types[sp].bits;
        uint32_t mask = (1u << sb) - 1;
        hi = ptx_small_to_f32(sp, (uint32_t)(a >> sb) & mask),
        lo = ptx_small_to_f32(sp, (uint32_t)a & mask);
    }
    return (uint64_t)ptx_small_from_f64(dp, hi, c->rnd, o) << ptx_types[dp].bits |
           ptx_small_from_f64(dp, lo, c->rnd, o);
}

uint64_t ptx_cvt_one(const ptx_cvt *c, uint64_t a, uint64_t b)
{
    if (ptx_types[c->dst].n == 2) return packed(c, a, b);
    bool fd = is_float(c->dst), fs = is_float(c->src);
    if (fd) return fs ? float_to_float(c, a) : int_to_float(c, a);
    return fs ? float_to_int(c, a) : int_to_int(c, a);
}

/* The forms that fill the inner loops of LLM kernels; everything else goes lane by lane. */
static bool fast_lanes(const ptx_cvt *c, void *d, const void *a, const void *b)
{
    bool plain = !c->ftz && !c->sat && !c->relu && !c->satfinite;
    if (!plain) return false;
    uint32_t *du = d, t[32], u[32];
    const uint32_t *au = a;
    if (c->dst == PTX_F32 && c->src == PTX_F16 && c->rnd == PTX_RND_NONE) {
        float f[32];
        ptx_f16_to_f32_lanes(f, au);
        for (int i = 0; i < 32; i++) du[i] = f[i] != f[i] ? 0x7fffffffu : ptx_f32_bits(f[i]);
        return true;
    }
    if (c->src == PTX_F32 && c->rnd == PTX_RN) {
        switch (c->dst) {
        case PTX_F16: ptx_f32_to_f16_lanes(du, au); return true;
        case PTX_BF16: ptx_f32_to_bf16_lanes(du, au); return true;
        case PTX_F16X2:
        case PTX_BF16X2:
            (c->dst == PTX_F16X2 ? ptx_f32_to_f16_lanes : ptx_f32_to_bf16_lanes)(t, au);
            (c->dst == PTX_F16X2 ? ptx_f32_to_f16_lanes : ptx_f32_to_bf16_lanes)(u, b);
            for (int i = 0; i < 32; i++) du[i] = t[i] << 16 | u[i];
            return true;
        default: break;
        }
    }
    if (c->dst == PTX_F32 && c->src == PTX_S32 && c->rnd == PTX_RN) {
        for (int i = 0; i < 32; i++) du[i] = ptx_f32_bits((float)(int32_t)au[i]);
        return true;
    }
    if (c->dst == PTX_U64 && c->src == PTX_U32) {
        for (int i = 0; i < 32; i++) ((uint64_t *)d)[i] = au[i];
        return true;
    }
    if (c->dst == PTX_S64 && c->src == PTX_S32) {
        for (int i = 0; i < 32; i++) ((int64_t *)d)[i] = (int32_t)au[i];
        return true;
    }
    if (c->dst == PTX_U32 && (c->src == PTX_U64 || c->src == PTX_S64)) {
        for (int i = 0; i < 32; i++) du[i] = (uint32_t)((const uint64_t *)a)[i];
        return true;
    }
    return false;
}

void ptx_cvt_lanes(const ptx_cvt *c, void *d, const void *a, const void *b)
{
    if (fast_lanes(c, d, a, b)) return;
    bool wd = ptx_types[c->dst].bits == 64, ws = ptx_types[c->src].bits == 64;
    for (int i = 0; i < 32; i++) {
        uint64_t x = ws ? ((const uint64_t *)a)[i] : ((const uint32_t *)a)[i];
        uint64_t y = !b ? 0 : ws ? ((const uint64_t *)b)[i] : ((const uint32_t *)b)[i];
        uint64_t r = ptx_cvt_one(c, x, y);
        if (wd)
            ((uint64_t *)d)[i] = r;
        else
            ((uint32_t *)d)[i] = (uint32_t)r;
    }
}

uint32_t ptx_cvt_pack(unsigned width, bool is_signed, uint32_t a, uint32_t b, uint32_t c)
{
    int64_t hi = ((int64_t)1 << (is_signed ? width - 1 : width)) - 1, lo = is_signed ? -hi - 1 : 0;
    uint32_t mask = (1u << width) - 1;
    int64_t x = (int32_t)a, y = (int32_t)b;
    x = x < lo ? lo : x > hi ? hi : x;
    y = y < lo ? lo : y > hi ? hi : y;
    uint32_t r = ((uint32_t)x & mask) << width | ((uint32_t)y & mask);
    return 2 * width >= 32 ? r : r | c << (2 * width);
}
