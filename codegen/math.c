/* math.c: functions of f32 (exp and exp2 of GPUs: gpu.c) as polynomials, on scalars and vectors alike. Errors against the exact
 * value, over all finite arguments unless said otherwise (held by tests/unit/codegen/test_math.c):
 *
 *   exp, exp2   1.5 ulp; exp(-inf) = 0, subnormal results rounded twice at most
 *   log         1.5 ulp; log(0) = -inf, negative arguments give NaN
 *   sin, cos    1.2e-7 absolute for |x| <= 2^30 (beyond, the reduction by pi/2 is not exact)
 *   tanh        2 ulp
 *   exp, exp2   of f64: 2 ulp (the other functions are for f32)
 *
 * NaN goes through. Coefficients are those of Cephes (Moshier); reductions are made with fused
 * steps. */
#include "codegen/cg.h"

#define B (c->b)
#define K(x) cg_real(c, LLVMTypeOf(v), (x))

static cg_v mul(cg *c, cg_v a, cg_v b) { return LLVMBuildFMul(B, a, b, ""); }
static cg_v add(cg *c, cg_v a, cg_v b) { return LLVMBuildFAdd(B, a, b, ""); }
static cg_v sub(cg *c, cg_v a, cg_v b) { return LLVMBuildFSub(B, a, b, ""); }
static cg_v sel(cg *c, cg_v p, cg_v a, cg_v b) { return LLVMBuildSelect(B, p, a, b, ""); }
static cg_v to_bits(cg *c, cg_v v) { return LLVMBuildBitCast(B, v, cg_retype(v, c->i32), ""); }
static cg_v to_float(cg *c, cg_v v) { return LLVMBuildBitCast(B, v, cg_retype(v, c->f32), ""); }

static cg_v poly(cg *c, cg_v v, const double *k, int n)
{
    cg_v r = K(k[0]);
    for (int i = 1; i < n; i++) r = cg_fma(c, r, v, K(k[i]));
    return r;
}

/* x < lo ? lo : x and x > hi ? hi : x in the form that keeps a NaN x (one vmaxps, one vminps). */
static cg_v clamp(cg *c, cg_v v, double lo, double hi)
{
    v = sel(c, LLVMBuildFCmp(B, LLVMRealOGT, K(lo), v, ""), K(lo), v);
    return sel(c, LLVMBuildFCmp(B, LLVMRealOLT, K(hi), v, ""), K(hi), v);
}

static cg_v scalef(cg *c, cg_v x, cg_v n, int w)
{
    cg_v all = LLVMConstInt(w == 16 ? c->i16 : c->i8, ~0ull, 1);
    if (w == 16)
        return cg_call(c, "llvm.x86.avx512.mask.scalef.ps.512", NULL, 0,
                       (cg_v[]){x, n, x, all, LLVMConstInt(c->i32, 4, 0)}, 5);
    return cg_call(
        c, w == 8 ? "llvm.x86.avx512.mask.scalef.ps.256" : "llvm.x86.avx512.mask.scalef.ps.128",
        NULL, 0, (cg_v[]){x, n, x, all}, 4);
}

/* v * 2^n for integral n in -300..300. */
static cg_v scale(cg *c, cg_v v, cg_v n)
{
    int w = cg_width(v), lane[CG_MAX_LANES], step = w < 16 ? w : 16;
    if (cg_has(c, LL_FEAT_AVX512VL) && w < 4) { /* in the low lanes of a register */
        static const int low[4] = {0, -1, -1, -1}, two[4] = {0, 1, -1, -1};
        cg_v x4 = w == 1 ? cg_insert(c, LLVMGetPoison(cg_wide(c->f32, 4)), v, 0)
                         : cg_shuffle(c, v, NULL, two, 4);
        cg_v n4 = w == 1 ? cg_insert(c, LLVMGetPoison(cg_wide(c->f32, 4)), n, 0)
                         : cg_shuffle(c, n, NULL, two, 4);
        return cg_shuffle(c, scalef(c, x4, n4, 4), NULL, w == 1 ? low : two, w);
    }
    if (cg_has(c, LL_FEAT_AVX512VL)) {
        cg_v part[CG_MAX_LANES / 16];
        for (int i = 0; i < w / step; i++) {
            for (int k = 0; k < step; k++) lane[k] = i * step + k;
            part[i] = scalef(c, cg_shuffle(c, v, NULL, lane, step),
                             cg_shuffle(c, n, NULL, lane, step), step);
        }
        return cg_concat(c, part, w / step);
    }
    cg_v k = LLVMBuildFPToSI(B, n, cg_retype(v, c->i32), "");
    cg_t t = LLVMTypeOf(k);
    cg_v half = LLVMBuildAShr(B, k, cg_int(c, t, 1), ""), rest = LLVMBuildSub(B, k, half, "");
    cg_v bias = cg_int(c, t, 127), sh = cg_int(c, t, 23);
    cg_v a = to_float(c, LLVMBuildShl(B, LLVMBuildAdd(B, half, bias, ""), sh, ""));
    cg_v b = to_float(c, LLVMBuildShl(B, LLVMBuildAdd(B, rest, bias, ""), sh, ""));
    return mul(c, mul(c, v, a), b);
}

/* e^r for |r| <= ln(2) / 2 */
static cg_v exp_core(cg *c, cg_v v)
{
    static const double k[] = {1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3,
                               4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1};
    cg_v p = poly(c, v, k, 6);
    return add(c, cg_fma(c, mul(c, v, v), p, v), K(1));
}

static cg_v exp_e(cg *c, cg_v v)
{
    if (c->gpu) return cg_gpu_math(c, TE_EXP, v);
    v = clamp(c, v, -104, 89);
    cg_v n = cg_call1(c, "llvm.roundeven", mul(c, v, K(1.44269504088896341)));
    cg_v r = cg_fma(c, n, K(-0.693359375), v);
    r = cg_fma(c, n, K(2.12194440054690583e-4), r);
    return scale(c, exp_core(c, r), n);
}

static cg_v exp_2(cg *c, cg_v v)
{
    if (c->gpu) return cg_gpu_math(c, TE_EXP2, v);
    v = clamp(c, v, -151, 129);
    cg_v n = cg_call1(c, "llvm.roundeven", v);
    return scale(c, exp_core(c, mul(c, sub(c, v, n), K(0.693147180559945309))), n);
}

static cg_v log_e(cg *c, cg_v v)
{
    static const double k[] = {7.0376836292e-2,  -1.1514610310e-1, 1.1676998740e-1,
                               -1.2420140846e-1, 1.4249322787e-1,  -1.6668057665e-1,
                               2.0000714765e-1,  -2.4999993993e-1, 3.3333331174e-1};
    cg_v x = v, tiny = LLVMBuildFCmp(B, LLVMRealOLT, v, K(0x1p-126), "");
    cg_v y = sel(c, tiny, mul(c, v, K(0x1p25)), v), w = to_bits(c, y);
    cg_t t = LLVMTypeOf(w);
    /* mantissa into [sqrt(1/2), sqrt(2)): the exponent step is taken at sqrt(1/2) */
    cg_v up = LLVMBuildSub(B, w, cg_int(c, t, 0x3f3504f3), "");
    cg_v e = LLVMBuildAShr(B, up, cg_int(c, t, 23), "");
    cg_v m = LLVMBuildSub(B, w, LLVMBuildShl(B, e, cg_int(c, t, 23), ""), "");
    cg_v n = LLVMBuildSIToFP(B, e, LLVMTypeOf(v), "");
    n = sel(c, tiny, sub(c, n, K(25)), n);
    v = sub(c, to_float(c, m), K(1));
    cg_v z = mul(c, v, v), p = mul(c, mul(c, v, z), poly(c, v, k, 9));
    p = cg_fma(c, n, K(-2.12194440054690583e-4), p);
    p = cg_fma(c, z, K(-0.5), p);
    cg_v r = cg_fma(c, n, K(0.693359375), add(c, v, p));
    r = sel(c, LLVMBuildFCmp(B, LLVMRealOEQ, x, K(1.0 / 0.0), ""), x, r);
    r = sel(c, LLVMBuildFCmp(B, LLVMRealOEQ, x, K(0), ""), K(-1.0 / 0.0), r);
    return sel(c, LLVMBuildFCmp(B, LLVMRealUGE, x, K(0), ""),
               sel(c, LLVMBuildFCmp(B, LLVMRealUNO, x, x, ""), x, r), K(0.0 / 0.0));
}

/* x - q * pi/2 in double, q the nearest integer; then the polynomial that q's two low bits ask for.
 */
static cg_v sin_cos(cg *c, cg_v v, int quarter)
{
    static const double ks[] = {-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1};
    static const double kc[] = {2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2};
    cg_v d = LLVMBuildFPExt(B, v, cg_retype(v, c->f64), "");
    cg_t dt = LLVMTypeOf(d), it = cg_retype(v, c->i32);
    cg_v q = cg_call1(c, "llvm.roundeven", mul(c, d, cg_real(c, dt, 0.636619772367581343)));
    d = cg_fma(c, q, cg_real(c, dt, -1.57079632679489656), d);
    d = cg_fma(c, q, cg_real(c, dt, -6.12323399573676604e-17), d);
    cg_t over[2] = {it, dt};
    cg_v k = cg_call(c, "llvm.fptosi.sat", over, 2, &q, 1);
    k = LLVMBuildAdd(B, k, cg_int(c, it, quarter), "");
    v = LLVMBuildFPTrunc(B, d, LLVMTypeOf(v), "");
    cg_v z = mul(c, v, v);
    cg_v s = cg_fma(c, mul(c, poly(c, z, ks, 3), z), v, v);
    cg_v co = cg_fma(c, mul(c, z, z), poly(c, z, kc, 3), cg_fma(c, z, K(-0.5), K(1)));
    cg_v one = LLVMBuildAnd(B, k, cg_int(c, it, 1), ""),
         two = LLVMBuildAnd(B, k, cg_int(c, it, 2), "");
    cg_v r = sel(c, LLVMBuildICmp(B, LLVMIntEQ, one, cg_int(c, it, 0), ""), s, co);
    return to_float(
        c, LLVMBuildXor(B, to_bits(c, r), LLVMBuildShl(B, two, cg_int(c, it, 30), ""), ""));
}

static cg_v tanh_h(cg *c, cg_v v)
{
    static const double k[] = {-5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2,
                               1.33314422036e-1, -3.33332819422e-1};
    cg_v x = v, a = cg_call1(c, "llvm.fabs", v), z = mul(c, v, v);
    cg_v small = cg_fma(c, mul(c, poly(c, z, k, 5), z), v, v);
    cg_v e = exp_e(c, add(c, a, a));
    cg_v big = sub(c, K(1), LLVMBuildFDiv(B, K(2), add(c, e, K(1)), ""));
    cg_t over = LLVMTypeOf(v);
    big = cg_call(c, "llvm.copysign", &over, 1, (cg_v[]){big, x}, 2);
    return sel(c, LLVMBuildFCmp(B, LLVMRealOLT, a, K(0.625), ""), small, big);
}

/* ---- f64: exp and exp2 ---- */

/* v * 2^n for integral n in -1100..1100: in two steps, so that subnormal results come out. */
static cg_v scale64(cg *c, cg_v v, cg_v n)
{
    cg_v k = LLVMBuildFPToSI(B, n, cg_retype(v, c->i32), "");
    k = LLVMBuildSExt(B, k, cg_retype(v, c->i64), "");
    cg_t t = LLVMTypeOf(k);
    cg_v half = LLVMBuildAShr(B, k, cg_int(c, t, 1), ""), rest = LLVMBuildSub(B, k, half, "");
    cg_v bias = cg_int(c, t, 1023), sh = cg_int(c, t, 52), two[2];
    for (int i = 0; i < 2; i++) {
        cg_v e = LLVMBuildShl(B, LLVMBuildAdd(B, i ? rest : half, bias, ""), sh, "");
        two[i] = LLVMBuildBitCast(B, e, LLVMTypeOf(v), "");
    }
    return mul(c, mul(c, v, two[0]), two[1]);
}

/* The series of e^r to r^13: |r| <= ln(2) / 2 leaves 5e-18. */
static cg_v exp64(cg *c, cg_v v, bool two)
{
    double f[14] = {1};
    for (int i = 1; i < 14; i++) f[i] = f[i - 1] * i;
    v = clamp(c, v, two ? -1080 : -750, two ? 1030 : 715);
    cg_v n = cg_call1(c, "llvm.roundeven", two ? v : mul(c, v, K(1.44269504088896341))), r;
    if (two) {
        r = mul(c, sub(c, v, n), K(0.69314718055994531));
    } else {
        r = cg_fma(c, n, K(-0.693147180369123816490), v);
        r = cg_fma(c, n, K(-1.90821492927058770002e-10), r);
    }
    cg_v p = K(1 / f[13]);
    for (int i = 12; i >= 0; i--) p = cg_fma(c, p, r, K(1 / f[i]));
    return scale64(c, p, n);
}

cg_v cg_math(cg *c, te_op op, cg_v x)
{
    if (cg_scalar_type(x) == c->f64) return exp64(c, x, op == TE_EXP2);
    switch (op) {
    case TE_EXP: return exp_e(c, x);
    case TE_EXP2: return exp_2(c, x);
    case TE_LOG: return log_e(c, x);
    case TE_SIN: return sin_cos(c, x, 0);
    case TE_COS: return sin_cos(c, x, 1);
    case TE_TANH: return tanh_h(c, x);
    default: cg_fail(c, LL_UNSUPPORTED, "codegen: operator %d is not a function", op);
    }
}
