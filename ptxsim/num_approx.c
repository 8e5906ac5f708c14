/* num_approx.c: the approximate instructions. The default result is the true value rounded to
 * nearest; the perturb mode moves it inside the documented error so that tests can show that a
 * kernel does not lean on more accuracy than the hardware promises. Special operands (zeros,
 * infinities, NaN) are never moved. */
#include <math.h>

#include "ptxsim/num.h"

static double exact(ptx_approx_op op, double a, double b)
{
    switch (op) {
    case PTX_A_EX2: return exp2(a);
    case PTX_A_LG2: return log2(a);
    case PTX_A_RCP: return 1 / a;
    case PTX_A_RSQRT: return a == 0 ? copysign(INFINITY, a) : 1 / sqrt(a);
    case PTX_A_SQRT: return sqrt(a);
    case PTX_A_SIN: return sin(a);
    case PTX_A_COS: return cos(a);
    case PTX_A_TANH: return tanh(a);
    default: return a / b;
    }
}

void ptx_approx_bound(ptx_approx_op op, float a, double ex, double *abs_err, double *rel_err)
{
    double mag = fabs((double)a);
    *abs_err = *rel_err = 0;
    switch (op) {
    case PTX_A_EX2: *rel_err = 0x1p-22; break;
    case PTX_A_LG2:
        if (a > 0.5f && a < 2)
            *abs_err = 0x1p-22;
        else
            *rel_err = 0x1p-22;
        break;
    case PTX_A_RCP: *rel_err = 0x1p-23; break;
    case PTX_A_RSQRT: *rel_err = 0x1p-22; break;
    case PTX_A_SQRT: *rel_err = 0x1p-22; break;
    case PTX_A_SIN:
    case PTX_A_COS: *abs_err = mag <= 6.283185307179586 ? 0x1p-20 : 0x1p-14; break;
    case PTX_A_TANH: *rel_err = 0x1p-11; break;
    default: *rel_err = 0x1p-22; break; /* 2 ulp */
    }
}

static uint64_t mix(uint64_t x)
{
    x ^= x >> 30, x *= 0xbf58476d1ce4e5b9ull;
    x ^= x >> 27, x *= 0x94d049bb133111ebull;
    return x ^ x >> 31;
}

/* A number in [-1, 1] made from the operands. */
static double noise(const ptx_num_mode *m, ptx_approx_op op, uint64_t a, uint64_t b)
{
    uint64_t h = mix(mix(mix(m->seed + op) ^ a) ^ b);
    return (double)(int64_t)(h >> 11) * 0x1p-52 - 1;
}

float ptx_approx_f32(ptx_approx_op op, float a, float b, bool ftz, const ptx_num_mode *m)
{
    if (ftz) a = ptx_ftz(a), b = ptx_ftz(b);
    if (op == PTX_A_DIV && fabsf(b) > 0x1p126f && isfinite(b))
        return isinf(a) ? ptx_f32(0x7fffffffu)
                        : copysignf(0, signbit(a) != signbit(b) ? -1.0f : 1.0f);
    double x = exact(op, a, b);
    if (isnan(x)) return ptx_f32(0x7fffffffu);
    if (m && m->perturb && isfinite(x) && x != 0 && isfinite(a)) {
        double ae, re, slack = 0x1p-24; /* leaves room for the rounding to f32 */
        ptx_approx_bound(op, a, x, &ae, &re);
        double room = ae + re * fabs(x) - slack * fabs(x);
        if (room > 0) x += room * noise(m, op, ptx_f32_bits(a), ptx_f32_bits(b));
    }
    float r = (float)x;
    return ftz ? ptx_ftz(r) : r;
}

double ptx_approx_f64(ptx_approx_op op, double a, const ptx_num_mode *m)
{
    uint64_t u = ptx_f64_bits(a);
    if (!(u & 0x7ff0000000000000ull)) a = copysign(0, a); /* .ftz */
    double x = exact(op, a, 1);
    if (isnan(x)) return ptx_f64(0x7fffffff00000000ull);
    if (m && m->perturb && isfinite(x) && x != 0) x += x * 0x1p-21 * noise(m, op, u, 0);
    uint64_t v = ptx_f64_bits(x);
    if (!(v & 0x7ff0000000000000ull)) v &= 0x8000000000000000ull;
    return ptx_f64(v & 0xffffffff00000000ull);
}

void ptx_approx_lanes(ptx_approx_op op, uint32_t d[32], const uint32_t a[32], const uint32_t b[32],
                      bool ftz, const ptx_num_mode *m)
{
    for (int i = 0; i < 32; i++)
        d[i] = ptx_f32_bits(ptx_approx_f32(op, ptx_f32(a[i]), b ? ptx_f32(b[i]) : 0, ftz, m));
}
