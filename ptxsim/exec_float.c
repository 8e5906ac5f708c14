/* exec_float.c: f32, f64 and half arithmetic over 32 lanes. NaN results are canonical. The plain
 * forms are vector loops; directed rounding, .sat and the like go through num.h lane by lane. */
#include "ptxsim/exec.h"
#include "ptxsim/num.h"

#include <math.h>

typedef uint32_t u32;
typedef uint64_t u64;

static inline u32 bits(float f) { return ptx_f32_bits(f); }
static inline float from(u32 b) { return ptx_f32(b); }
static inline float canon(float r) { return r == r ? r : from(0x7fffffffu); }
static inline double canon64(double r) { return r == r ? r : ptx_f64(0x7fffffffffffffffull); }
static inline float ftz(float x)
{
    return from((bits(x) & 0x7f800000u) ? bits(x) : bits(x) & 0x80000000u);
}

PTX_BINARY(add_f32, float, float, canon(x + y))
PTX_BINARY(sub_f32, float, float, canon(x - y))
PTX_BINARY(mul_f32, float, float, canon(x * y))
PTX_TERNARY(fma_f32, float, float, float, canon(__builtin_fmaf(x, y, z)))
PTX_BINARY(add_ftz_f32, float, float, ftz(canon(ftz(x) + ftz(y))))
PTX_BINARY(sub_ftz_f32, float, float, ftz(canon(ftz(x) - ftz(y))))
PTX_BINARY(mul_ftz_f32, float, float, ftz(canon(ftz(x) * ftz(y))))
PTX_TERNARY(fma_ftz_f32, float, float, float, ftz(canon(__builtin_fmaf(ftz(x), ftz(y), ftz(z)))))
PTX_BINARY(add_f64, double, double, canon64(x + y))
PTX_BINARY(sub_f64, double, double, canon64(x - y))
PTX_BINARY(mul_f64, double, double, canon64(x * y))
PTX_TERNARY(fma_f64, double, double, double, canon64(__builtin_fma(x, y, z)))

/* u0: operation '+' '-' '*' 'f' '/' 'q' (square root); u1: rounding | ftz << 8 | sat << 9. */
static float arith32(const ptx_inst *in, float x, float y, float z)
{
    ptx_round r = (ptx_round)(in->u1 & 255);
    bool f = in->u1 >> 8 & 1;
    if (f) x = ftz(x), y = ftz(y), z = ftz(z);
    float v;
    switch (in->u0) {
    case '+': v = ptx_add_f32(x, y, r); break;
    case '-': v = ptx_add_f32(x, from(bits(y) ^ 0x80000000u), r); break;
    case '*': v = ptx_mul_f32(x, y, r); break;
    case 'f': v = ptx_fma_f32(x, y, z, r); break;
    case '/': v = ptx_div_f32(x, y, r); break;
    default: v = ptx_sqrt_f32(x, r); break;
    }
    if (f) v = ftz(v);
    if (in->u1 >> 9 & 1) v = ptx_sat(v);
    return canon(v);
}
int H(arith_f32)(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    float *d = ptx_rf32(w, in->d);
    const float *a = ptx_rf32(w, in->a), *b = ptx_rf32(w, in->b), *c = ptx_rf32(w, in->c);
    PTX_FOR_ACTIVE(d, arith32(in, a[i], b[i], c[i]));
    return PTX_GO;
}

static double arith64(const ptx_inst *in, double x, double y, double z)
{
    ptx_round r = (ptx_round)(in->u1 & 255);
    double v;
    switch (in->u0) {
    case '+': v = ptx_add_f64(x, y, r); break;
    case '-': v = ptx_add_f64(x, -y, r); break;
    case '*': v = ptx_mul_f64(x, y, r); break;
    case 'f': v = ptx_fma_f64(x, y, z, r); break;
    case '/': v = ptx_div_f64(x, y, r); break;
    default: v = ptx_sqrt_f64(x, r); break;
    }
    return canon64(v);
}
int H(arith_f64)(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    double *d = ptx_rf64(w, in->d);
    const double *a = ptx_rf64(w, in->a), *b = ptx_rf64(w, in->b), *c = ptx_rf64(w, in->c);
    PTX_FOR_ACTIVE(d, arith64(in, a[i], b[i], c[i]));
    return PTX_GO;
}

/* The number wins over NaN; -0 is below +0: of two equal values, or-ing the signs gives the lesser.
 */
static inline float min32(float x, float y)
{
    u32 eq = bits(x) | bits(y);
    float r = x < y ? x : y < x ? y : from(eq);
    return x == x ? (y == y ? r : x) : (y == y ? y : from(0x7fffffffu));
}
static inline float max32(float x, float y)
{
    u32 eq = bits(x) & bits(y);
    float r = x > y ? x : y > x ? y : from(eq);
    return x == x ? (y == y ? r : x) : (y == y ? y : from(0x7fffffffu));
}
PTX_BINARY(min_f32, float, float, min32(x, y))
PTX_BINARY(max_f32, float, float, max32(x, y))
/* u0: bit 0 max, bit 1 .NaN, bit 2 .xorsign.abs, bit 3 ftz; c: third operand when bit 4. */
static float minmax(u32 mode, float x, float y)
{
    if (mode & 8) x = ftz(x), y = ftz(y);
    return ptx_min_f32(x, y, mode & 1, mode & 2, mode & 4);
}
int H(minmax_f32)(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    float *d = ptx_rf32(w, in->d);
    const float *a = ptx_rf32(w, in->a), *b = ptx_rf32(w, in->b), *c = ptx_rf32(w, in->c);
    PTX_FOR_ACTIVE(d, ({
        float v = minmax(in->u0, a[i], b[i]);
        in->u0 & 16 ? minmax(in->u0, v, c[i]) : v;
    }));
    return PTX_GO;
}
PTX_BINARY(min_f64, double, double, ptx_min_f64(x, y, false))
PTX_BINARY(max_f64, double, double, ptx_min_f64(x, y, true))

/* u0: ftz. Sign operations keep NaN payloads, as the hardware's do. */
PTX_UNARY(abs_f32, u32, u32, ({ u32 v = x & 0x7fffffffu; in->u0 && !(v & 0x7f800000u) ? 0 : v; }))
PTX_UNARY(neg_f32, u32, u32, ({
              u32 v = x ^ 0x80000000u;
              in->u0 && !(v & 0x7f800000u) ? v & 0x80000000u : v;
          }))
PTX_UNARY(abs_f64, u64, u64, x & ~(1ull << 63))
PTX_UNARY(neg_f64, u64, u64, x ^ 1ull << 63)
PTX_BINARY(copysign_f32, u32, u32, (x & 0x80000000u) | (y & 0x7fffffffu))
PTX_BINARY(copysign_f64, u64, u64, (x & 1ull << 63) | (y & ~(1ull << 63)))

/* u0: the FP_ class of math.h asked for; number and notanumber are 100 and 101. */
#define TESTP(name, T)                                                                             \
    int H(name)(ptx_warp *w, const ptx_inst *in, ptx_mask m)                                       \
    {                                                                                              \
        const T *a = (const T *)(const void *)(w->regs + in->a);                                   \
        ptx_mask r = 0, *d = ptx_rpred(w, in->d);                                                  \
        for (int i = 0; i < PTX_LANES; i++) {                                                      \
            int c = fpclassify(a[i]);                                                              \
            bool v;                                                                                \
            switch (in->u0) {                                                                      \
            case 0: v = c != FP_NAN && c != FP_INFINITE; break;                                    \
            case 1: v = c == FP_INFINITE; break;                                                   \
            case 2: v = c != FP_NAN; break;                                                        \
            case 3: v = c == FP_NAN; break;                                                        \
            case 4: v = c == FP_NORMAL; break;                                                     \
            default: v = c == FP_SUBNORMAL; break;                                                 \
            }                                                                                      \
            r |= (ptx_mask)v << i;                                                                 \
        }                                                                                          \
        *d = (*d & ~m) | (r & m);                                                                  \
        return PTX_GO;                                                                             \
    }
TESTP(testp_f32, float)
TESTP(testp_f64, double)
#undef TESTP

static ptx_num_mode mode_of(const ptx_warp *w)
{
    const ptx_options *o = ptx_opts(w);
    return (ptx_num_mode){ .perturb = o->perturb_ulp != 0, .seed = o->seed };
}

/* u0: ptx_approx_op; u1: bit 0 ftz, bit 1 sat. */
int H(approx_f32)(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    ptx_num_mode mode = mode_of(w);
    u32 t[PTX_LANES], *d = ptx_r32(w, in->d);
    ptx_approx_lanes((ptx_approx_op)in->u0, t, ptx_r32(w, in->a), ptx_r32(w, in->b), in->u1 & 1,
                     &mode);
    if (in->u1 & 2)
        for (int i = 0; i < PTX_LANES; i++) t[i] = bits(ptx_sat(from(t[i])));
    PTX_FOR(d, t[i]);
    return PTX_GO;
}
int H(approx_f64)(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    ptx_num_mode mode = mode_of(w);
    double *d = ptx_rf64(w, in->d);
    const double *a = ptx_rf64(w, in->a);
    PTX_FOR_ACTIVE(d, ptx_approx_f64((ptx_approx_op)in->u0, a[i], &mode));
    return PTX_GO;
}

/* u0: ptx_half_op; u1: type | options << 8 (ftz sat relu nan xorsign). */
int H(half)(ptx_warp *w, const ptx_inst *in, ptx_mask m)
{
    u32 t[PTX_LANES], *d = ptx_r32(w, in->d), f = in->u1 >> 8;
    ptx_half_opts o = {
        .ftz = f & 1, .sat = f & 2, .relu = f & 4, .nan = f & 8, .xorsign_abs = f & 16
    };
    ptx_half_lanes((ptx_half_op)in->u0, (ptx_type)(in->u1 & 255), o, t, ptx_r32(w, in->a),
                   ptx_r32(w, in->b), ptx_r32(w, in->c));
    PTX_FOR(d, t[i]);
    return PTX_GO;
}
