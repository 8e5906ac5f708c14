/* arith.c: what one te operator becomes on held values. te/apply.c is the definition; this file
 * repeats it in LLVM: each result is rounded to its dtype, integers wrap, division and remainder
 * round toward -inf. f16 arithmetic goes through f32 (24 bits >= 2 * 11 + 2, so rounding twice is
 * rounding once); bf16 and the 8-bit floats are held as bits. Refused: log, sin, cos
 * and tanh of f64, which have no form here. */
#include "codegen/cg.h"

#include <math.h>

#define B (c->b)

static bool small_float(ll_dtype t)
{
    return t == LL_F16 || t == LL_BF16 || t == LL_E4M3 || t == LL_E5M2;
}

static cg_v sel(cg *c, cg_v cond, cg_v a, cg_v b) { return LLVMBuildSelect(B, cond, a, b, ""); }

/* ---- small floats ---- */

static cg_v f32_bits(cg *c, cg_v v) { return LLVMBuildBitCast(B, v, cg_retype(v, c->i32), ""); }

static cg_v bits_f32(cg *c, cg_v v) { return LLVMBuildBitCast(B, v, cg_retype(v, c->f32), ""); }

static cg_v is_nan(cg *c, cg_v v) { return LLVMBuildFCmp(B, LLVMRealUNO, v, v, ""); }

/* e4m3: sign, 4 bits exponent (bias 7), 3 bits; 0x7f is NaN, no infinity. */
static cg_v e4m3_to(cg *c, cg_v v)
{
    cg_v w = LLVMBuildZExt(B, v, cg_retype(v, c->i32), "");
    cg_t t = LLVMTypeOf(w);
    cg_v mag = LLVMBuildAnd(B, w, cg_int(c, t, 0x7f), "");
    cg_v sign = LLVMBuildShl(B, LLVMBuildAnd(B, w, cg_int(c, t, 0x80), ""), cg_int(c, t, 24), "");
    cg_v normal =
        LLVMBuildAdd(B, LLVMBuildShl(B, mag, cg_int(c, t, 20), ""), cg_int(c, t, 120 << 23), "");
    cg_v f = LLVMBuildSIToFP(B, mag, cg_retype(v, c->f32), "");
    cg_v sub = f32_bits(c, LLVMBuildFMul(B, f, cg_real(c, LLVMTypeOf(f), 0x1p-9), ""));
    cg_v r = sel(c, LLVMBuildICmp(B, LLVMIntULT, mag, cg_int(c, t, 8), ""), sub, normal);
    r = sel(c, LLVMBuildICmp(B, LLVMIntEQ, mag, cg_int(c, t, 0x7f), ""), cg_int(c, t, 0x7fc00000),
            r);
    return bits_f32(c, LLVMBuildOr(B, r, sign, ""));
}

/* Rounds the low `drop` bits of w away, to nearest even. */
static cg_v round_bits(cg *c, cg_v w, int drop)
{
    cg_t t = LLVMTypeOf(w);
    cg_v odd = LLVMBuildAnd(B, LLVMBuildLShr(B, w, cg_int(c, t, drop), ""), cg_int(c, t, 1), "");
    cg_v up = LLVMBuildAdd(B, odd, cg_int(c, t, (INT64_C(1) << (drop - 1)) - 1), "");
    return LLVMBuildLShr(B, LLVMBuildAdd(B, w, up, ""), cg_int(c, t, drop), "");
}

static cg_v e4m3_from(cg *c, cg_v x)
{
    cg_v w = f32_bits(c, x);
    cg_t t = LLVMTypeOf(w), ft = LLVMTypeOf(x);
    cg_v mag = LLVMBuildAnd(B, w, cg_int(c, t, 0x7fffffff), ""), a = bits_f32(c, mag);
    cg_v sign =
        LLVMBuildLShr(B, LLVMBuildAnd(B, w, cg_int(c, t, INT32_MIN), ""), cg_int(c, t, 24), "");
    cg_v normal = LLVMBuildSub(B, round_bits(c, mag, 20), cg_int(c, t, 120 << 3), "");
    cg_v scaled = cg_call1(c, "llvm.roundeven", LLVMBuildFMul(B, a, cg_real(c, ft, 0x1p9), ""));
    cg_v small = LLVMBuildFCmp(B, LLVMRealOLT, a, cg_real(c, ft, 0x1p-6), "");
    scaled = sel(c, small, scaled, cg_real(c, ft, 0));
    cg_v r = sel(c, small, LLVMBuildFPToSI(B, scaled, t, ""), normal);
    r = sel(c, LLVMBuildFCmp(B, LLVMRealOGT, a, cg_real(c, ft, 448), ""), cg_int(c, t, 0x7e), r);
    r = sel(c, is_nan(c, x), cg_int(c, t, 0x7f), r);
    return LLVMBuildTrunc(B, LLVMBuildOr(B, r, sign, ""), cg_retype(x, c->i8), "");
}

/* f64 or f32 -> f16 with the lost bits kept in the last one, so that a second rounding is right. */
static cg_v narrow_odd(cg *c, cg_v x, cg_t to, cg_t to_bits)
{
    cg_v y = LLVMBuildFPTrunc(B, x, cg_retype(x, to), "");
    cg_v back = LLVMBuildFPExt(B, y, LLVMTypeOf(x), "");
    cg_v w = LLVMBuildBitCast(B, y, cg_retype(x, to_bits), "");
    cg_t t = LLVMTypeOf(w);
    cg_v ax = cg_call1(c, "llvm.fabs", x), ab = cg_call1(c, "llvm.fabs", back);
    cg_v over = LLVMBuildFCmp(B, LLVMRealOGT, ab, ax, "");
    cg_v low = LLVMBuildSub(B, w, LLVMBuildZExt(B, over, t, ""), "");
    cg_v inexact = LLVMBuildFCmp(B, LLVMRealONE, back, x, "");
    cg_v odd = sel(c, inexact, LLVMBuildOr(B, low, cg_int(c, t, 1), ""), w);
    return LLVMBuildBitCast(B, odd, LLVMTypeOf(y), "");
}

static cg_v e5m2_from(cg *c, cg_v x)
{
    cg_v h = LLVMBuildBitCast(B, narrow_odd(c, x, c->f16, c->i16), cg_retype(x, c->i16), "");
    cg_t t = LLVMTypeOf(h);
    cg_v mag = LLVMBuildAnd(B, h, cg_int(c, t, 0x7fff), ""), r = round_bits(c, mag, 8);
    r = sel(c, is_nan(c, x), cg_int(c, t, 0x7e), r);
    cg_v sign =
        LLVMBuildLShr(B, LLVMBuildAnd(B, h, cg_int(c, t, INT16_MIN), ""), cg_int(c, t, 8), "");
    return LLVMBuildTrunc(B, LLVMBuildOr(B, r, sign, ""), cg_retype(x, c->i8), "");
}

cg_v cg_to_f32(cg *c, ll_dtype from, cg_v v)
{
    cg_t f32 = cg_retype(v, c->f32), i32 = cg_retype(v, c->i32);
    switch (from) {
    case LL_F32: return v;
    case LL_F16: return LLVMBuildFPExt(B, v, f32, "");
    case LL_BF16:
        return bits_f32(c, LLVMBuildShl(B, LLVMBuildZExt(B, v, i32, ""), cg_int(c, i32, 16), ""));
    case LL_E4M3: return e4m3_to(c, v);
    case LL_E5M2: {
        cg_t i16 = cg_retype(v, c->i16);
        cg_v h = LLVMBuildShl(B, LLVMBuildZExt(B, v, i16, ""), cg_int(c, i16, 8), "");
        return LLVMBuildFPExt(B, LLVMBuildBitCast(B, h, cg_retype(v, c->f16), ""), f32, "");
    }
    default: return LLVMBuildFPTrunc(B, v, f32, "");
    }
}

cg_v cg_from_f32(cg *c, ll_dtype to, cg_v v)
{
    switch (to) {
    case LL_F32: return v;
    case LL_F16: return LLVMBuildFPTrunc(B, v, cg_retype(v, c->f16), "");
    case LL_BF16: {
        cg_v r = round_bits(c, f32_bits(c, v), 16);
        r = sel(c, is_nan(c, v), cg_int(c, LLVMTypeOf(r), 0x7fc0), r);
        return LLVMBuildTrunc(B, r, cg_retype(v, c->i16), "");
    }
    case LL_E4M3: return e4m3_from(c, v);
    case LL_E5M2: return e5m2_from(c, v);
    default: return LLVMBuildFPExt(B, v, cg_retype(v, c->f64), "");
    }
}

/* ---- casts ---- */

static cg_v wrap(cg *c, ll_dtype t, cg_v v)
{
    int bits = ll_dtype_bits(t);
    if (bits >= 8 || t == LL_BOOL) return v;
    return LLVMBuildAnd(B, v, cg_int(c, LLVMTypeOf(v), (1 << bits) - 1), "");
}

static cg_v resize(cg *c, cg_v v, cg_t elt, bool is_signed)
{
    unsigned from = LLVMGetIntTypeWidth(cg_scalar_type(v)), to = LLVMGetIntTypeWidth(elt);
    cg_t t = cg_retype(v, elt);
    if (from == to) return v;
    if (from > to) return LLVMBuildTrunc(B, v, t, "");
    return is_signed ? LLVMBuildSExt(B, v, t, "") : LLVMBuildZExt(B, v, t, "");
}

static bool fits(te_ref a, int64_t lo, int64_t hi)
{
    te_range r = te_range_of(a);
    return r.lo >= lo && r.hi <= hi;
}

static cg_v int_to_int(cg *c, ll_dtype to, te_ref a, cg_v v)
{
    ll_dtype from = (ll_dtype)a->dtype;
    v = resize(c, v, cg_elt(c, to), ll_dtype_is_signed(from));
    int64_t lo, hi;
    ll_dtype_int_range(to, &lo, &hi);
    return ll_dtype_bits(to) >= 8 || fits(a, lo, hi) ? v : wrap(c, to, v);
}

static cg_v int_to_float(cg *c, ll_dtype to, te_ref a, cg_v v)
{
    ll_dtype from = (ll_dtype)a->dtype;
    bool is_signed = ll_dtype_is_signed(from);
    if (ll_dtype_bits(from) < 32 || fits(a, INT32_MIN, INT32_MAX)) {
        v = resize(c, v, c->i32, is_signed);
        is_signed = true;
    }
    bool wide = LLVMGetIntTypeWidth(cg_scalar_type(v)) == 64;
    bool twice = to == LL_BF16 ||
                 (to != LL_F32 && to != LL_F64 && wide); /* f32 would round once too often */
    cg_t t = cg_retype(v, to == LL_F64 || twice ? c->f64 : c->f32);
    v = is_signed ? LLVMBuildSIToFP(B, v, t, "") : LLVMBuildUIToFP(B, v, t, "");
    if (to == LL_F64) return v;
    return cg_from_f32(c, to, twice ? narrow_odd(c, v, c->f32, c->i32) : v);
}

/* Bounds that the text itself proves: min/max with literals. True: never NaN and inside [lo, hi].
 */
static bool float_range(te_ref e, double *lo, double *hi)
{
    double l2, h2;
    if (e->op == TE_FLT) {
        *lo = *hi = e->u.f;
        return !isnan(e->u.f);
    }
    if (e->op == TE_ROUND || e->op == TE_CAST) {
        if (e->op == TE_CAST && !ll_dtype_is_float((ll_dtype)e->src[0]->dtype)) {
            te_range r = te_range_of(e->src[0]);
            *lo = (double)r.lo;
            *hi = (double)r.hi;
            return e->dtype != LL_F16;
        }
        bool ok = float_range(e->src[0], lo, hi);
        *lo = rint(*lo);
        *hi = rint(*hi);
        return ok && e->op == TE_ROUND;
    }
    if (e->op != TE_MIN && e->op != TE_MAX) return false;
    bool a = float_range(e->src[0], lo, hi), b = float_range(e->src[1], &l2, &h2);
    if (!a && !b) return false;
    if (!a) *lo = -INFINITY, *hi = INFINITY;
    if (!b) l2 = -INFINITY, h2 = INFINITY;
    *lo = e->op == TE_MIN ? fmin(*lo, l2) : fmax(*lo, l2);
    *hi = e->op == TE_MIN ? fmin(*hi, h2) : fmax(*hi, h2);
    return true;
}

/* Rounds toward zero and saturates; NaN is 0. A rounded operand converts in one instruction
 * (cvtps2dq). */
static cg_v float_to_int(cg *c, ll_dtype to, te_ref a, cg_v v)
{
    cg_t elt = cg_elt(c, to);
    bool is_signed = ll_dtype_is_signed(to);
    int bits = ll_dtype_bits(to);
    if (a->dtype != LL_F64) v = cg_to_f32(c, (ll_dtype)a->dtype, v);
    if (bits >= 32) {
        cg_t over[2] = {cg_retype(v, elt), LLVMTypeOf(v)};
        return cg_call(c, is_signed ? "llvm.fptosi.sat" : "llvm.fptoui.sat", over, 2, &v, 1);
    }
    int64_t lo, hi;
    ll_dtype_int_range(to, &lo, &hi);
    double flo, fhi;
    cg_t t = LLVMTypeOf(v);
    if (!float_range(a, &flo, &fhi)) {
        flo = -INFINITY;
        fhi = INFINITY;
        v = sel(c, is_nan(c, v), cg_real(c, t, 0), v);
    }
    LLVMFastMathFlags no_nan = LLVMFastMathNoNaNs;
    if (flo < (double)lo)
        v = cg_flags(cg_call2(c, "llvm.maxnum", v, cg_real(c, t, (double)lo)), no_nan);
    if (fhi > (double)hi)
        v = cg_flags(cg_call2(c, "llvm.minnum", v, cg_real(c, t, (double)hi)), no_nan);
    v = LLVMBuildFPToSI(B, v, cg_retype(v, c->i32), "");
    return LLVMBuildTrunc(B, v, cg_retype(v, elt), "");
}

static cg_v cast(cg *c, te_ref e, cg_v v)
{
    ll_dtype to = (ll_dtype)e->dtype, from = (ll_dtype)e->src[0]->dtype;
    bool tf = ll_dtype_is_float(to), ff = ll_dtype_is_float(from);
    if (!tf && !ff) return int_to_int(c, to, e->src[0], v);
    if (!ff) return int_to_float(c, to, e->src[0], v);
    if (!tf) return float_to_int(c, to, e->src[0], v);
    if (from == LL_F64 && to == LL_F32) return LLVMBuildFPTrunc(B, v, cg_retype(v, c->f32), "");
    if (from == LL_F64 && to != LL_F64) return cg_from_f32(c, to, narrow_odd(c, v, c->f32, c->i32));
    v = cg_to_f32(c, from, v);
    return cg_from_f32(c, to, v);
}

static cg_v bits(cg *c, te_ref e, cg_v v)
{
    ll_dtype from = (ll_dtype)e->src[0]->dtype, to = (ll_dtype)e->dtype;
    if (ll_dtype_bits(from) < 8) return v; /* bool <-> u1 below; codes keep their exact value */
    return LLVMBuildBitCast(B, v, cg_retype(v, cg_elt(c, to)), "");
}

/* ---- integers ---- */

static bool power_of_two(te_ref a, int *log2)
{
    if (a->op != TE_INT || a->u.i <= 0 || (a->u.i & (a->u.i - 1))) return false;
    *log2 = __builtin_ctzll((unsigned long long)a->u.i);
    return true;
}

/* q = a / b toward zero, then one less when signs differ and a remainder is left. b = -1 divides as
 * 1 (the least integer has no quotient by -1) and is negated. */
static cg_v floor_div(cg *c, te_ref e, cg_v a, cg_v b)
{
    bool mod = e->op == TE_MOD, is_signed = ll_dtype_is_signed((ll_dtype)e->src[0]->dtype);
    te_range ra = te_range_of(e->src[0]), rb = te_range_of(e->src[1]);
    cg_t t = LLVMTypeOf(a);
    int log2;
    if (power_of_two(e->src[1], &log2)) {
        if (mod) return LLVMBuildAnd(B, a, cg_int(c, t, e->src[1]->u.i - 1), "");
        return is_signed ? LLVMBuildAShr(B, a, cg_int(c, t, log2), "")
                         : LLVMBuildLShr(B, a, cg_int(c, t, log2), "");
    }
    if (!is_signed || (ra.lo >= 0 && rb.lo > 0))
        return mod ? LLVMBuildURem(B, a, b, "") : LLVMBuildUDiv(B, a, b, "");
    cg_v zero = cg_int(c, t, 0), minus = NULL;
    if (rb.lo <= -1 && rb.hi >= -1) {
        minus = LLVMBuildICmp(B, LLVMIntEQ, b, cg_int(c, t, -1), "");
        b = sel(c, minus, cg_int(c, t, 1), b);
    }
    cg_v q = LLVMBuildSDiv(B, a, b, ""), r = LLVMBuildSRem(B, a, b, "");
    cg_v differ = LLVMBuildICmp(B, LLVMIntSLT, LLVMBuildXor(B, r, b, ""), zero, "");
    cg_v fix = LLVMBuildAnd(B, LLVMBuildICmp(B, LLVMIntNE, r, zero, ""), differ, "");
    if (mod) {
        r = LLVMBuildAdd(B, r, sel(c, fix, b, zero), "");
        return minus ? sel(c, minus, zero, r) : r;
    }
    q = LLVMBuildSub(B, q, LLVMBuildZExt(B, fix, t, ""), "");
    return minus ? sel(c, minus, LLVMBuildNeg(B, a, ""), q) : q;
}

static cg_v int_op(cg *c, te_ref e, cg_v *s)
{
    ll_dtype from = (ll_dtype)e->src[0]->dtype, t = (ll_dtype)e->dtype;
    bool is_signed = ll_dtype_is_signed(from);
    switch (e->op) {
    case TE_ADD: return wrap(c, t, LLVMBuildAdd(B, s[0], s[1], ""));
    case TE_SUB: return wrap(c, t, LLVMBuildSub(B, s[0], s[1], ""));
    case TE_MUL: return wrap(c, t, LLVMBuildMul(B, s[0], s[1], ""));
    case TE_DIV:
    case TE_MOD: return floor_div(c, e, s[0], s[1]);
    case TE_MIN: return cg_call2(c, is_signed ? "llvm.smin" : "llvm.umin", s[0], s[1]);
    case TE_MAX: return cg_call2(c, is_signed ? "llvm.smax" : "llvm.umax", s[0], s[1]);
    case TE_NEG: return wrap(c, t, LLVMBuildNeg(B, s[0], ""));
    case TE_ABS: {
        if (!is_signed) return s[0];
        cg_t over = LLVMTypeOf(s[0]);
        return cg_call(c, "llvm.abs", &over, 1, (cg_v[]){s[0], LLVMConstInt(c->i1, 0, 0)}, 2);
    }
    case TE_AND: return LLVMBuildAnd(B, s[0], s[1], "");
    case TE_OR: return LLVMBuildOr(B, s[0], s[1], "");
    case TE_XOR: return LLVMBuildXor(B, s[0], s[1], "");
    case TE_SHL: return wrap(c, t, LLVMBuildShl(B, s[0], s[1], ""));
    case TE_SHR:
        return is_signed ? LLVMBuildAShr(B, s[0], s[1], "") : LLVMBuildLShr(B, s[0], s[1], "");
    case TE_NOT: return wrap(c, t, LLVMBuildNot(B, s[0], ""));
    case TE_LT: return LLVMBuildICmp(B, is_signed ? LLVMIntSLT : LLVMIntULT, s[0], s[1], "");
    case TE_LE: return LLVMBuildICmp(B, is_signed ? LLVMIntSLE : LLVMIntULE, s[0], s[1], "");
    case TE_EQ: return LLVMBuildICmp(B, LLVMIntEQ, s[0], s[1], "");
    case TE_NE: return LLVMBuildICmp(B, LLVMIntNE, s[0], s[1], "");
    default: cg_fail(c, LL_UNSUPPORTED, "codegen: integer operator %d of '%s'", e->op, te_show(e));
    }
}

/* ---- floats ---- */

static bool float_compare(cg *c, te_op op, cg_v *s, cg_v *out)
{
    LLVMRealPredicate p = op == TE_LT   ? LLVMRealOLT
                          : op == TE_LE ? LLVMRealOLE
                          : op == TE_EQ ? LLVMRealOEQ
                                        : LLVMRealUNE;
    if (op < TE_LT || op > TE_NE) return false;
    *out = LLVMBuildFCmp(B, p, s[0], s[1], "");
    return true;
}

static cg_v float_op(cg *c, te_ref e, cg_v *s, bool is_double)
{
    switch (e->op) {
    case TE_ADD: return LLVMBuildFAdd(B, s[0], s[1], "");
    case TE_SUB: return LLVMBuildFSub(B, s[0], s[1], "");
    case TE_MUL: return LLVMBuildFMul(B, s[0], s[1], "");
    case TE_DIV: return LLVMBuildFDiv(B, s[0], s[1], "");
    case TE_MIN: return cg_call2(c, "llvm.minnum", s[0], s[1]);
    case TE_MAX: return cg_call2(c, "llvm.maxnum", s[0], s[1]);
    case TE_NEG: return LLVMBuildFNeg(B, s[0], "");
    case TE_ABS: return cg_call1(c, "llvm.fabs", s[0]);
    case TE_SQRT: return cg_call1(c, "llvm.sqrt", s[0]);
    case TE_RSQRT:
        if (c->gpu && !is_double) return cg_gpu_math(c, TE_RSQRT, s[0]);
        return LLVMBuildFDiv(B, cg_real(c, LLVMTypeOf(s[0]), 1), cg_call1(c, "llvm.sqrt", s[0]),
                             "");
    case TE_ROUND: return cg_call1(c, "llvm.roundeven", s[0]);
    case TE_FLOOR: return cg_call1(c, "llvm.floor", s[0]);
    default: break;
    }
    if ((is_double && e->op != TE_EXP && e->op != TE_EXP2) || e->op < TE_SQRT || e->op > TE_TANH)
        cg_fail(c, LL_UNSUPPORTED, "codegen: '%s': this function has no code for %s", te_show(e),
                ll_dtype_name((ll_dtype)e->dtype));
    return cg_math(c, (te_op)e->op, s[0]);
}

cg_v cg_apply(cg *c, te_ref e, cg_v *src)
{
    if (e->op == TE_CAST) return cast(c, e, src[0]);
    if (e->op == TE_BITS) return bits(c, e, src[0]);
    if (e->op == TE_SELECT) return sel(c, src[0], src[1], src[2]);
    ll_dtype t = (ll_dtype)e->src[0]->dtype;
    if (!ll_dtype_is_float(t)) return int_op(c, e, src);
    cg_v s[2] = {src[0], e->n > 1 ? src[1] : NULL}, out;
    if (small_float(t))
        for (int i = 0; i < e->n; i++) s[i] = cg_to_f32(c, t, s[i]);
    if (float_compare(c, (te_op)e->op, s, &out)) return out;
    out = float_op(c, e, s, t == LL_F64);
    return small_float(t) ? cg_from_f32(c, t, out) : out;
}

/* ---- reductions ---- */

/* max and min assume no NaN: their order would matter, and compare-and-blend halves the speed. */
cg_v cg_combine(cg *c, te_op op, ll_dtype t, cg_v a, cg_v b)
{
    bool f = ll_dtype_is_float(t), s = ll_dtype_is_signed(t);
    if (small_float(t))
        return cg_from_f32(c, t, cg_combine(c, op, LL_F32, cg_to_f32(c, t, a), cg_to_f32(c, t, b)));
    switch (op) {
    case TE_SUM: return f ? LLVMBuildFAdd(B, a, b, "") : wrap(c, t, LLVMBuildAdd(B, a, b, ""));
    case TE_MAXR:
        if (f) return cg_flags(cg_call2(c, "llvm.maxnum", a, b), LLVMFastMathNoNaNs);
        return cg_call2(c, s ? "llvm.smax" : "llvm.umax", a, b);
    case TE_MINR:
        if (f) return cg_flags(cg_call2(c, "llvm.minnum", a, b), LLVMFastMathNoNaNs);
        return cg_call2(c, s ? "llvm.smin" : "llvm.umin", a, b);
    default:
        cg_fail(c, LL_NOT_LEGAL,
                "codegen: argmax must be two reductions before code is made of it");
    }
}

cg_v cg_identity(cg *c, te_op op, ll_dtype t, int lanes)
{
    cg_t ty = cg_wide(cg_elt(c, t), lanes);
    if (ll_dtype_is_float(t)) {
        double v = op == TE_SUM ? 0 : op == TE_MAXR ? -INFINITY : INFINITY;
        if (t == LL_F16 || t == LL_F32 || t == LL_F64) return cg_real(c, ty, v);
        return cg_from_f32(c, t, cg_real(c, cg_wide(c->f32, lanes), v));
    }
    int64_t lo, hi;
    ll_dtype_int_range(t, &lo, &hi);
    if (t == LL_U64) hi = -1;
    return cg_int(c, ty, op == TE_SUM ? 0 : op == TE_MAXR ? lo : hi);
}

cg_v cg_across(cg *c, te_op op, ll_dtype t, cg_v v)
{
    int lane[CG_MAX_LANES];
    for (int w = cg_width(v); w > 1; w /= 2) {
        for (int i = 0; i < w; i++) lane[i] = i;
        cg_v lo = cg_shuffle(c, v, NULL, lane, w / 2),
             hi = cg_shuffle(c, v, NULL, lane + w / 2, w / 2);
        v = cg_combine(c, op, t, lo, hi);
    }
    return v;
}
