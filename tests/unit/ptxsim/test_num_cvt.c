/* Conversions against independent definitions: every small-format value is listed, and a rounding
 * is right when no listed value lies nearer (or, for directed modes, between the source and the
 * result). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>

#include "base/half.h"
#include "ptxsim/num.h"

static uint64_t state = 88172645463325252ull;
static uint64_t rnd(void)
{
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return state;
}

typedef struct small {
    ptx_type t;
    int e, m;
    bool inf;
    uint32_t n;
} small;
static const small smalls[] = {{PTX_F16, 5, 10, true, 0x7c00},
                               {PTX_BF16, 8, 7, true, 0x7f80},
                               {PTX_E4M3, 4, 3, false, 0x7f},
                               {PTX_E5M2, 5, 2, true, 0x7c}};

/* The format's own definition; n-th non-negative finite value. */
static double value(const small *f, uint32_t i)
{
    int bias = (1 << (f->e - 1)) - 1;
    uint32_t ex = i >> f->m, fr = i & ((1u << f->m) - 1);
    return ex ? ldexp(1 + ldexp(fr, -f->m), (int)ex - bias) : ldexp(fr, 1 - bias - f->m);
}

static void every_small_value_widens_exactly(void **s)
{
    for (size_t k = 0; k < 4; k++) {
        const small *f = &smalls[k];
        uint32_t sign = 1u << (f->e + f->m);
        for (uint32_t i = 0; i < f->n; i++) {
            assert_true(ptx_small_to_f32(f->t, i) == value(f, i));
            assert_true(ptx_small_to_f32(f->t, i | sign) == -value(f, i));
            assert_true(!!signbit(ptx_small_to_f32(f->t, i | sign)));
        }
    }
    assert_true(isnan(ptx_small_to_f32(PTX_E4M3, 0xff)) && isnan(ptx_small_to_f32(PTX_E5M2, 0x7d)));
    assert_true(isinf(ptx_small_to_f32(PTX_E5M2, 0xfc)) &&
                isinf(ptx_small_to_f32(PTX_F16, 0x7c00)));
    uint32_t a[32];
    float d[32];
    for (uint32_t b = 0; b < 65536; b += 32) {
        for (uint32_t i = 0; i < 32; i++) a[i] = b + i;
        ptx_f16_to_f32_lanes(d, a);
        for (uint32_t i = 0; i < 32; i++) {
            float w = ptx_small_to_f32(PTX_F16, b + i);
            assert_true(isnan(w) ? isnan(d[i]) : ptx_f32_bits(d[i]) == ptx_f32_bits(w));
        }
    }
}

/* The index of the rounded magnitude among the format's values (n = overflow), found by search. */
static uint32_t want_round(const small *f, double ax, ptx_round r, bool neg)
{
    uint32_t lo = 0, hi = f->n; /* value(lo) <= ax < value(hi); value(n) continues the spacing */
    while (hi - lo > 1) {
        uint32_t mid = (lo + hi) / 2;
        if (value(f, mid) <= ax)
            lo = mid;
        else
            hi = mid;
    }
    double a = value(f, lo), b = value(f, lo + 1);
    if (ax == a) return lo;
    if (ax >= value(f, f->n))
        return r == PTX_RZ || (r == PTX_RM && !neg) || (r == PTX_RP && neg) ? lo : f->n;
    switch (r) {
    case PTX_RZ: return lo;
    case PTX_RM: return neg ? lo + 1 : lo;
    case PTX_RP: return neg ? lo : lo + 1;
    case PTX_RNA: return ax - a < b - ax ? lo : lo + 1;
    default: return ax - a < b - ax || (ax - a == b - ax && !(lo & 1)) ? lo : lo + 1;
    }
}

static void check_round(const small *f, double x)
{
    uint32_t sign = 1u << (f->e + f->m);
    static const ptx_round modes[] = {PTX_RN, PTX_RZ, PTX_RM, PTX_RP, PTX_RNA};
    for (int k = 0; k < 5; k++) {
        uint32_t w = want_round(f, fabs(x), modes[k], x < 0);
        if (w == f->n && !f->inf) w = f->n - 1;
        uint32_t got = ptx_small_from_f64(f->t, x, modes[k], (ptx_fmt_opts){0});
        assert_int_equal(got, w | (signbit(x) ? sign : 0));
        uint32_t sat = ptx_small_from_f64(f->t, x, modes[k], (ptx_fmt_opts){.satfinite = true});
        assert_int_equal(sat, (w == f->n ? f->n - 1 : w) | (signbit(x) ? sign : 0));
        uint32_t relu = ptx_small_from_f64(f->t, x, modes[k], (ptx_fmt_opts){.relu = true});
        assert_int_equal(relu, signbit(x) ? 0 : w);
    }
}

static void roundings_are_the_nearest_listed_value(void **s)
{
    for (size_t k = 0; k < 4; k++) {
        const small *f = &smalls[k];
        uint32_t step = f->n > 1000 ? 7 : 1;
        for (uint32_t i = 0; i + 1 < f->n; i += step) {
            double a = value(f, i), b = value(f, i + 1), mid = (a + b) / 2;
            double at[] = {a,
                           mid,
                           nextafter(mid, 0),
                           nextafter(mid, b),
                           nextafter(a, b),
                           nextafter(b, a),
                           nextafterf((float)mid, (float)b)};
            for (int j = 0; j < 7; j++) check_round(f, at[j]), check_round(f, -at[j]);
        }
        double top = value(f, f->n - 1);
        for (int j = 0; j < 200; j++)
            check_round(f, top * (1 + j * 0.001)), check_round(f, -top * (1 + j * 0.001));
        check_round(f, 1e300), check_round(f, 1e-300), check_round(f, -5e-324);
        for (int j = 0; j < 20000; j++) {
            double x = ldexp((double)(int64_t)rnd(), (int)(rnd() % 60) - 95);
            if (x != 0) check_round(f, x);
        }
    }
}

static void small_rounding_agrees_with_base(void **s)
{
    for (int i = 0; i < 200000; i++) {
        double x = ptx_f32((uint32_t)(rnd() >> 13));
        if (isnan(x)) continue;
        assert_int_equal(ptx_small_from_f64(PTX_F16, x, PTX_RN, (ptx_fmt_opts){0}), ll_f16_from(x));
        assert_int_equal(ptx_small_from_f64(PTX_BF16, x, PTX_RN, (ptx_fmt_opts){0}),
                         ll_bf16_from(x));
        assert_int_equal(ptx_small_from_f64(PTX_E5M2, x, PTX_RN, (ptx_fmt_opts){0}),
                         ll_e5m2_from(x));
        assert_int_equal(ptx_small_from_f64(PTX_E4M3, x, PTX_RN, (ptx_fmt_opts){0}),
                         ll_e4m3_from(x));
    }
}

static void vector_narrowing_equals_the_scalar_core(void **s)
{
    for (int k = 0; k < 40000; k++) {
        uint32_t a[32], h[32], b[32];
        for (int i = 0; i < 32; i++) {
            uint64_t r = rnd();
            a[i] = (uint32_t)(r >> 7);
            if (k & 1)
                a[i] = (a[i] & 0x80ffffff) | (uint32_t)(0x30 + (r & 31))
                                                 << 24; /* the range of f16 */
            if (k & 2) a[i] &= 0xfffff000u;             /* many ties */
        }
        ptx_f32_to_f16_lanes(h, a);
        ptx_f32_to_bf16_lanes(b, a);
        for (int i = 0; i < 32; i++) {
            assert_int_equal(h[i],
                             ptx_small_from_f64(PTX_F16, ptx_f32(a[i]), PTX_RN, (ptx_fmt_opts){0}));
            assert_int_equal(
                b[i], ptx_small_from_f64(PTX_BF16, ptx_f32(a[i]), PTX_RN, (ptx_fmt_opts){0}));
        }
    }
}

static uint64_t cvt(ptx_type d, ptx_type s, ptx_round r, bool sat, uint64_t a)
{
    ptx_cvt c = {.dst = d, .src = s, .rnd = r, .sat = sat};
    assert_true(ptx_cvt_valid(&c));
    return ptx_cvt_one(&c, a, 0);
}

static const ptx_type ints[] = {PTX_U8, PTX_U16, PTX_U32, PTX_U64,
                                PTX_S8, PTX_S16, PTX_S32, PTX_S64};

static __int128 as_int(ptx_type t, uint64_t v)
{
    switch (t) {
    case PTX_U8: return (uint8_t)v;
    case PTX_U16: return (uint16_t)v;
    case PTX_U32: return (uint32_t)v;
    case PTX_U64: return v;
    case PTX_S8: return (int8_t)v;
    case PTX_S16: return (int16_t)v;
    case PTX_S32: return (int32_t)v;
    default: return (int64_t)v;
    }
}
static __int128 max_of(ptx_type t)
{
    return ((__int128)1 << (ptx_types[t].bits - (ptx_types[t].kind == 'S'))) - 1;
}
static __int128 min_of(ptx_type t) { return ptx_types[t].kind == 'S' ? -max_of(t) - 1 : 0; }

static void integers_to_integers_truncate_or_saturate(void **s)
{
    for (int n = 0; n < 5000; n++)
        for (int i = 0; i < 8; i++)
            for (int j = 0; j < 8; j++) {
                uint64_t v = rnd() >> (rnd() & 63);
                if (rnd() & 1) v = ~v;
                __int128 x = as_int(ints[j], v), c = x;
                if (c > max_of(ints[i])) c = max_of(ints[i]);
                if (c < min_of(ints[i])) c = min_of(ints[i]);
                assert_true(cvt(ints[i], ints[j], PTX_RND_NONE, false, v) ==
                            (uint64_t)as_int(ints[i], (uint64_t)x));
                assert_true(cvt(ints[i], ints[j], PTX_RND_NONE, true, v) == (uint64_t)c);
            }
}

static double round_of(double x, ptx_round r)
{
    double f = floor(x), d = x - f;
    if (d == 0) return x;
    switch (r) {
    case PTX_RMI: return f;
    case PTX_RPI: return f + 1;
    case PTX_RZI: return x < 0 ? f + 1 : f;
    default: return d < 0.5 || (d == 0.5 && fmod(f, 2) == 0) ? f : f + 1;
    }
}

static void floats_to_integers_round_and_clamp(void **s)
{
    static const ptx_round modes[] = {PTX_RNI, PTX_RZI, PTX_RMI, PTX_RPI};
    for (int n = 0; n < 40000; n++) {
        double x = n & 1 ? (double)((int)(rnd() % 4000) - 2000) / 8
                         : ldexp((double)(int64_t)rnd(), -(int)(rnd() % 80));
        float f = (float)x;
        for (int i = 0; i < 8; i++)
            for (int k = 0; k < 4; k++)
                for (int wide = 0; wide < 2; wide++) {
                    double r = round_of(wide ? x : f, modes[k]);
                    __int128 c = r >= 0x1p64    ? (__int128)1 << 64
                                 : r <= -0x1p64 ? -((__int128)1 << 64)
                                                : (__int128)r;
                    if (c > max_of(ints[i])) c = max_of(ints[i]);
                    if (c < min_of(ints[i])) c = min_of(ints[i]);
                    uint64_t got = wide ? cvt(ints[i], PTX_F64, modes[k], false, ptx_f64_bits(x))
                                        : cvt(ints[i], PTX_F32, modes[k], false, ptx_f32_bits(f));
                    assert_true(got == (uint64_t)c);
                }
    }
    assert_int_equal(cvt(PTX_S32, PTX_F32, PTX_RZI, false, 0x7fc00000), 0);
    assert_int_equal(cvt(PTX_U32, PTX_F64, PTX_RZI, false, 0x7ff8000000000000ull), 0x80000000u);
    assert_true(cvt(PTX_S64, PTX_F32, PTX_RZI, false, 0x7fc00000) == 0x8000000000000000ull);
    assert_int_equal(cvt(PTX_S32, PTX_F32, PTX_RZI, false, 0x7f800000), 0x7fffffff);
    assert_int_equal(cvt(PTX_U8, PTX_F32, PTX_RZI, false, ptx_f32_bits(-3.0f)), 0);
}

static void integers_to_floats_round_once(void **s)
{
    for (int n = 0; n < 100000; n++) {
        int64_t v = (int64_t)(rnd() >> (rnd() & 63));
        if (n & 1) v = -v;
        if (n % 5 == 0) v = (int64_t)((uint64_t)v & 0xfffffffffff00000ull) | 1; /* near ties */
        assert_int_equal(cvt(PTX_F32, PTX_S64, PTX_RN, false, (uint64_t)v), ptx_f32_bits((float)v));
        assert_int_equal(cvt(PTX_F32, PTX_U64, PTX_RN, false, (uint64_t)v),
                         ptx_f32_bits((float)(uint64_t)v));
        assert_true(cvt(PTX_F64, PTX_S64, PTX_RN, false, (uint64_t)v) == ptx_f64_bits((double)v));
        assert_true(cvt(PTX_F64, PTX_U64, PTX_RN, false, (uint64_t)v) ==
                    ptx_f64_bits((double)(uint64_t)v));
        assert_int_equal(cvt(PTX_F32, PTX_S32, PTX_RN, false, (uint32_t)v),
                         ptx_f32_bits((float)(int32_t)v));
        /* a directed pair brackets the value and is one step apart at most */
        float lo = ptx_f32((uint32_t)cvt(PTX_F32, PTX_S64, PTX_RM, false, (uint64_t)v)),
              hi = ptx_f32((uint32_t)cvt(PTX_F32, PTX_S64, PTX_RP, false, (uint64_t)v));
        assert_true((long double)lo <= (long double)v && (long double)v <= (long double)hi &&
                    (hi == lo || nextafterf(lo, hi) == hi));
        assert_int_equal(cvt(PTX_F16, PTX_S16, PTX_RN, false, (uint64_t)v),
                         ll_f16_from((int16_t)v));
        assert_int_equal(cvt(PTX_F16, PTX_S32, PTX_RN, false, (uint64_t)v),
                         ll_f16_from((int32_t)v));
        assert_int_equal(cvt(PTX_BF16, PTX_U32, PTX_RN, false, (uint64_t)v),
                         ll_bf16_from((uint32_t)v));
    }
}

static void floats_to_floats(void **s)
{
    for (int n = 0; n < 200000; n++) {
        double x = n & 1 ? ptx_f64(rnd())
                         : ptx_f32((uint32_t)(rnd() >> 9)) * (1 + ldexp((double)(rnd() & 3), -27));
        if (isnan(x)) continue;
        uint64_t b = ptx_f64_bits(x);
        assert_int_equal(cvt(PTX_F32, PTX_F64, PTX_RN, false, b), ptx_f32_bits((float)x));
        float lo = ptx_f32((uint32_t)cvt(PTX_F32, PTX_F64, PTX_RM, false, b)),
              hi = ptx_f32((uint32_t)cvt(PTX_F32, PTX_F64, PTX_RP, false, b)),
              z = ptx_f32((uint32_t)cvt(PTX_F32, PTX_F64, PTX_RZ, false, b));
        assert_true(lo <= x && x <= hi && (lo == hi || nextafterf(lo, INFINITY) == hi));
        assert_true(z == (x < 0 ? hi : lo));
        float f = (float)x;
        assert_true(cvt(PTX_F64, PTX_F32, PTX_RND_NONE, false, ptx_f32_bits(f)) == ptx_f64_bits(f));
        assert_true(ptx_f32((uint32_t)cvt(PTX_F32, PTX_F32, PTX_RNI, false, ptx_f32_bits(f))) ==
                    rintf(f));
        assert_true(ptx_f32((uint32_t)cvt(PTX_F32, PTX_F32, PTX_RPI, false, ptx_f32_bits(f))) ==
                    ceilf(f));
        assert_true(ptx_f32((uint32_t)cvt(PTX_F32, PTX_F32, PTX_RND_NONE, true, ptx_f32_bits(f))) ==
                    (f > 1   ? 1
                     : f > 0 ? f
                             : 0));
        /* tf32: 10 mantissa bits, ties away from zero */
        uint32_t u = ptx_f32_bits(f), w = (u + 0x1000) & 0xffffe000u;
        if ((u & 0x7f800000) != 0x7f800000)
            assert_int_equal(cvt(PTX_TF32, PTX_F32, PTX_RNA, false, u), w);
    }
    assert_int_equal(cvt(PTX_F16, PTX_F32, PTX_RN, false, 0x7fc12345), 0x7fff);
    assert_int_equal(cvt(PTX_F32, PTX_F32, PTX_RND_NONE, true, 0x7fc00000), 0);
}

static void packed_conversions_put_the_first_source_high(void **s)
{
    static const struct {
        ptx_type d, part;
        ptx_type s;
        bool sat;
    } k[] = {
        {PTX_F16X2, PTX_F16, PTX_F32, false},
        {PTX_BF16X2, PTX_BF16, PTX_F32, false},
        {PTX_E4M3X2, PTX_E4M3, PTX_F32, true},
        {PTX_E5M2X2, PTX_E5M2, PTX_F32, true},
    };
    for (int n = 0; n < 50000; n++)
        for (int i = 0; i < 4; i++) {
            ptx_cvt c = {.dst = k[i].d, .src = k[i].s, .rnd = PTX_RN, .satfinite = k[i].sat};
            assert_true(ptx_cvt_valid(&c) && ptx_cvt_two_sources(&c));
            float a = (float)ldexp((double)(int64_t)rnd(), -(int)(rnd() % 90)),
                  b = (float)ldexp((double)(int64_t)rnd(), -(int)(rnd() % 90));
            ptx_fmt_opts o = {.satfinite = k[i].sat};
            uint32_t hi = ptx_small_from_f64(k[i].part, a, PTX_RN, o),
                     lo = ptx_small_from_f64(k[i].part, b, PTX_RN, o);
            assert_int_equal(ptx_cvt_one(&c, ptx_f32_bits(a), ptx_f32_bits(b)),
                             hi << (ptx_types[k[i].d].bits / 2) | lo);
        }
    for (uint32_t v = 0; v < 65536; v++)
        for (int e5 = 0; e5 < 2; e5++) {
            ptx_type t = e5 ? PTX_E5M2 : PTX_E4M3;
            ptx_cvt up = {.dst = PTX_F16X2, .src = e5 ? PTX_E5M2X2 : PTX_E4M3X2, .rnd = PTX_RN};
            ptx_cvt down = {.dst = up.src, .src = PTX_F16X2, .rnd = PTX_RN, .satfinite = true};
            uint32_t h = (uint32_t)ptx_cvt_one(&up, v, 0);
            for (int p = 0; p < 2; p++) {
                float f = ptx_small_to_f32(t, v >> (8 * p) & 255),
                      g = ptx_small_to_f32(PTX_F16, h >> (16 * p) & 0xffff);
                assert_true(isnan(f) ? isnan(g) : f == g && !signbit(f) == !signbit(g));
                if (isfinite(f))
                    assert_int_equal((uint32_t)ptx_cvt_one(&down, h, 0) >> (8 * p) & 255,
                                     v >> (8 * p) & 255);
            }
        }
}

static void fast_lane_forms_equal_the_scalar_form(void **s)
{
    static const ptx_cvt forms[] = {
        {PTX_F32, PTX_F16, PTX_RND_NONE}, {PTX_F16, PTX_F32, PTX_RN},
        {PTX_BF16, PTX_F32, PTX_RN},      {PTX_F16X2, PTX_F32, PTX_RN},
        {PTX_BF16X2, PTX_F32, PTX_RN},    {PTX_F32, PTX_S32, PTX_RN},
        {PTX_U64, PTX_U32, PTX_RND_NONE}, {PTX_S64, PTX_S32, PTX_RND_NONE},
        {PTX_U32, PTX_U64, PTX_RND_NONE}, {PTX_F32, PTX_BF16, PTX_RND_NONE},
        {PTX_F64, PTX_F32, PTX_RND_NONE}, {PTX_U16, PTX_U32, PTX_RND_NONE},
    };
    for (size_t k = 0; k < sizeof forms / sizeof *forms; k++)
        for (int n = 0; n < 2000; n++) {
            uint64_t a[32], b[32], d[32] = {0};
            bool ws = ptx_types[forms[k].src].bits == 64, wd = ptx_types[forms[k].dst].bits == 64;
            for (int i = 0; i < 32; i++) a[i] = rnd() >> 3, b[i] = rnd() >> 5;
            assert_true(ptx_cvt_valid(&forms[k]));
            ptx_cvt_lanes(&forms[k], d, a, b);
            for (int i = 0; i < 32; i++) {
                uint64_t x = ws ? a[i] : ((uint32_t *)a)[i], y = ws ? b[i] : ((uint32_t *)b)[i],
                         w = ptx_cvt_one(&forms[k], x, y);
                if (wd)
                    assert_true(d[i] == w);
                else
                    assert_int_equal(((uint32_t *)d)[i], (uint32_t)w);
            }
        }
}

static void forms_the_isa_lacks_are_refused(void **s)
{
    static const ptx_cvt bad[] = {
        {PTX_F16, PTX_F32, PTX_RND_NONE},
        {PTX_S32, PTX_F32, PTX_RN},
        {PTX_F32, PTX_S32, PTX_RND_NONE},
        {PTX_S32, PTX_S16, PTX_RN},
        {PTX_E4M3X2, PTX_F32, PTX_RN},
        {PTX_F32, PTX_F64, PTX_RNI},
        {PTX_TF32, PTX_F16, PTX_RN},
        {PTX_B32, PTX_F32, PTX_RN},
        {.dst = PTX_F64, .src = PTX_F64, .rnd = PTX_RNI, .ftz = true},
        {.dst = PTX_F32, .src = PTX_F64, .rnd = PTX_RN, .relu = true},
        {PTX_F64, PTX_F32, PTX_RN},
    };
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) assert_false(ptx_cvt_valid(&bad[k]));
}

static void pack_saturates_both_sources(void **s)
{
    assert_int_equal(ptx_cvt_pack(8, true, 300, (uint32_t)-300, 0xaabbccdd), 0xccdd7f80u);
    assert_int_equal(ptx_cvt_pack(16, false, 70000, (uint32_t)-1, 7), 0xffff0000u);
    assert_int_equal(ptx_cvt_pack(4, true, 9, (uint32_t)-9, 0x123456), 0x12345678u);
}

int main(void)
{
    const struct CMUnitTest t[] = {
        cmocka_unit_test(every_small_value_widens_exactly),
        cmocka_unit_test(roundings_are_the_nearest_listed_value),
        cmocka_unit_test(small_rounding_agrees_with_base),
        cmocka_unit_test(vector_narrowing_equals_the_scalar_core),
        cmocka_unit_test(integers_to_integers_truncate_or_saturate),
        cmocka_unit_test(floats_to_integers_round_and_clamp),
        cmocka_unit_test(integers_to_floats_round_once),
        cmocka_unit_test(floats_to_floats),
        cmocka_unit_test(packed_conversions_put_the_first_source_high),
        cmocka_unit_test(fast_lane_forms_equal_the_scalar_form),
        cmocka_unit_test(forms_the_isa_lacks_are_refused),
        cmocka_unit_test(pack_saturates_both_sources),
    };
    return cmocka_run_group_tests(t, NULL, NULL);
}
