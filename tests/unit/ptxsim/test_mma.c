/* Fragment maps lane by lane against the formulas of the PTX ISA written out shape by shape, and
 * products against a plain triple loop in double over matrices read through those formulas. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ptxsim/mma.h"
#include "ptxsim/num.h"

static uint64_t state = 88172645463325252ull;
static uint64_t rnd(void)
{
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return state;
}

typedef struct rc {
    int row, col;
} rc;

/* The ISA's text, one branch per shape; i numbers the elements of a lane as the ISA does (a0, a1,
 * ...). */
static rc isa_a(const ptx_mma *s, int lane, int i)
{
    int g = lane >> 2, t = lane % 4;
    if (s->a == PTX_F16 || s->a == PTX_BF16) {
        if (s->k == 8) return (rc){i < 2 ? g : g + 8, t * 2 + (i & 1)};
        return (rc){(i >= 0 && i < 2) || (i >= 4 && i < 6) ? g : g + 8,
                    i < 4 ? t * 2 + (i & 1) : t * 2 + (i & 1) + 8};
    }
    if (s->a == PTX_TF32) {
        if (s->k == 4) return (rc){i == 0 ? g : g + 8, t};
        return (rc){i == 0 || i == 2 ? g : g + 8, i < 2 ? t : t + 4};
    }
    if (s->a == PTX_F64) {
        if (s->m == 8) return (rc){g, t};
        if (s->k == 4) return (rc){i == 0 ? g : g + 8, t};
        if (s->k == 8) return (rc){i == 0 || i == 2 ? g : g + 8, i < 2 ? t : t + 4};
        return (rc){i % 2 == 0 ? g : g + 8, i % 2 == 0 ? i * 2 + t : i * 2 - 2 + t};
    }
    if (s->a == PTX_S8 || s->a == PTX_U8 || s->a == PTX_E4M3 || s->a == PTX_E5M2) {
        if (s->m == 8) return (rc){g, t * 4 + i};
        if (s->k == 16) return (rc){i < 4 ? g : g + 8, t * 4 + (i & 3)};
        return (rc){i < 4 || (i >= 8 && i < 12) ? g : g + 8,
                    i < 8 ? t * 4 + (i & 3) : t * 4 + (i & 3) + 16};
    }
    if (s->a == PTX_S4 || s->a == PTX_U4) {
        if (s->m == 8) return (rc){g, t * 8 + i};
        if (s->k == 32) return (rc){i < 8 ? g : g + 8, t * 8 + (i & 7)};
        return (rc){i < 8 || (i >= 16 && i < 24) ? g : g + 8,
                    i < 16 ? t * 8 + (i & 7) : t * 8 + (i & 7) + 32};
    }
    if (s->m == 8) return (rc){g, t * 32 + i}; /* b1 */
    if (s->k == 128) return (rc){i < 32 ? g : g + 8, t * 32 + (i & 31)};
    return (rc){i < 32 || (i >= 64 && i < 96) ? g : g + 8,
                i < 64 ? t * 32 + (i & 31) : t * 32 + (i & 31) + 128};
}

static rc isa_b(const ptx_mma *s, int lane, int i)
{
    int g = lane >> 2, t = lane % 4;
    switch (s->b) {
    case PTX_F16:
    case PTX_BF16: return (rc){i < 2 ? t * 2 + (i & 1) : t * 2 + (i & 1) + 8, g};
    case PTX_TF32: return (rc){i == 0 ? t : t + 4, g};
    case PTX_F64: return (rc){t + i * 4, g};
    case PTX_S4:
    case PTX_U4: return (rc){i < 8 ? t * 8 + (i & 7) : t * 8 + (i & 7) + 32, g};
    case PTX_B1: return (rc){i < 32 ? t * 32 + (i & 31) : t * 32 + (i & 31) + 128, g};
    default: return (rc){i < 4 ? t * 4 + (i & 3) : t * 4 + (i & 3) + 16, g};
    }
}

static rc isa_c(const ptx_mma *s, int lane, int i)
{
    int g = lane >> 2, t = lane % 4;
    return (rc){s->m == 8 || i < 2 ? g : g + 8, t * 2 + (i & 1)};
}

#define T3(t) .a = PTX_##t, .b = PTX_##t
static const ptx_mma shapes[] = {
    {16, 8, 8, T3(F16), .c = PTX_F16, .d = PTX_F16},
    {16, 8, 8, T3(F16), .c = PTX_F32, .d = PTX_F32},
    {16, 8, 16, T3(F16), .c = PTX_F16, .d = PTX_F16},
    {16, 8, 16, T3(F16), .c = PTX_F32, .d = PTX_F32},
    {16, 8, 8, T3(BF16), .c = PTX_F32, .d = PTX_F32},
    {16, 8, 16, T3(BF16), .c = PTX_F32, .d = PTX_F32},
    {16, 8, 4, T3(TF32), .c = PTX_F32, .d = PTX_F32},
    {16, 8, 8, T3(TF32), .c = PTX_F32, .d = PTX_F32},
    {8, 8, 4, T3(F64), .c = PTX_F64, .d = PTX_F64},
    {16, 8, 4, T3(F64), .c = PTX_F64, .d = PTX_F64},
    {16, 8, 8, T3(F64), .c = PTX_F64, .d = PTX_F64},
    {16, 8, 16, T3(F64), .c = PTX_F64, .d = PTX_F64},
    {8, 8, 16, T3(S8), .c = PTX_S32, .d = PTX_S32},
    {16, 8, 16, T3(U8), .c = PTX_S32, .d = PTX_S32},
    {16, 8, 32, .a = PTX_S8, .b = PTX_U8, .c = PTX_S32, .d = PTX_S32},
    {16, 8, 32, .a = PTX_U8, .b = PTX_S8, .c = PTX_S32, .d = PTX_S32, .sat = true},
    {8, 8, 32, T3(S4), .c = PTX_S32, .d = PTX_S32},
    {16, 8, 32, .a = PTX_U4, .b = PTX_S4, .c = PTX_S32, .d = PTX_S32},
    {16, 8, 64, .a = PTX_S4, .b = PTX_U4, .c = PTX_S32, .d = PTX_S32, .sat = true},
    {8, 8, 128, T3(B1), .c = PTX_S32, .d = PTX_S32},
    {16, 8, 128, T3(B1), .c = PTX_S32, .d = PTX_S32, .b1 = PTX_B1_AND},
    {16, 8, 256, T3(B1), .c = PTX_S32, .d = PTX_S32},
    {16, 8, 32, .a = PTX_E4M3, .b = PTX_E5M2, .c = PTX_F32, .d = PTX_F32},
    {16, 8, 32, .a = PTX_E5M2, .b = PTX_E4M3, .c = PTX_F16, .d = PTX_F16},
    {16, 8, 16, .a = PTX_E4M3, .b = PTX_E4M3, .c = PTX_F32, .d = PTX_F32},
};
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

static int width(ptx_type t) { return t == PTX_TF32 ? 32 : ptx_types[t].bits; }
static int in_reg(ptx_type t) { return t == PTX_F64 ? 1 : 32 / width(t); }

static void every_fragment_map_is_the_isa_table_lane_by_lane(void **st)
{
    for (int k = 0; k < N_SHAPES; k++) {
        const ptx_mma *s = &shapes[k];
        assert_true(ptx_mma_min_sm(s) != 0);
        static uint8_t seen[3][16 * 256];
        memset(seen, 0, sizeof seen);
        for (unsigned lane = 0; lane < 32; lane++) {
            unsigned pa = (unsigned)in_reg(s->a), pb = (unsigned)in_reg(s->b),
                     na = s->m * s->k / 32u, nb = 8u * s->k / 32u, nc = s->m * 8u / 32u;
            assert_int_equal(ptx_mma_a_regs(s) * pa, na);
            assert_int_equal(ptx_mma_b_regs(s) * pb, nb);
            for (unsigned i = 0; i < na; i++) {
                ptx_at p = ptx_mma_a_at(s, lane, i / pa, i % pa);
                rc w = isa_a(s, (int)lane, (int)i);
                assert_int_equal(p.row, w.row);
                assert_int_equal(p.col, w.col);
                seen[0][p.row * s->k + p.col]++;
            }
            for (unsigned i = 0; i < nb; i++) {
                ptx_at p = ptx_mma_b_at(s, lane, i / pb, i % pb);
                rc w = isa_b(s, (int)lane, (int)i);
                assert_int_equal(p.row, w.row);
                assert_int_equal(p.col, w.col);
                seen[1][p.row * 8 + p.col]++;
            }
            unsigned pc = s->c == PTX_F16 ? 2 : 1;
            assert_int_equal(ptx_mma_acc_regs(s, s->c) * pc, nc);
            for (unsigned i = 0; i < nc; i++) {
                ptx_at p = ptx_mma_acc_at(s, s->c, lane, i / pc, i % pc);
                rc w = isa_c(s, (int)lane, (int)i);
                assert_int_equal(p.row, w.row);
                assert_int_equal(p.col, w.col);
                seen[2][p.row * 8 + p.col]++;
            }
        }
        for (int i = 0; i < s->m * s->k; i++) assert_int_equal(seen[0][i], 1);
        for (int i = 0; i < 8 * s->k; i++) assert_int_equal(seen[1][i], 1);
        for (int i = 0; i < s->m * 8; i++) assert_int_equal(seen[2][i], 1);
    }
}

/* One random warp of operands; registers as 32 x up to 8 bytes. */
typedef struct regs {
    uint64_t r[8][32];
    void *p[8];
} regs;

static void ready(regs *x)
{
    for (int i = 0; i < 8; i++) x->p[i] = x->r[i];
}

static uint32_t rnd_small(ptx_type t)
{
    uint32_t v;
    switch (t) {
    case PTX_F16:
        do v = rnd() >> 7 & 0xffff;
        while ((v & 0x7fff) >= 0x7000);
        return v;
    case PTX_BF16: return (uint32_t)(rnd() >> 7 & 0x807f) | (uint32_t)(120 + rnd() % 12) << 7;
    case PTX_E4M3:
        do v = rnd() >> 7 & 0xff;
        while ((v & 0x7f) == 0x7f);
        return v;
    case PTX_E5M2:
        do v = rnd() >> 7 & 0xff;
        while ((v & 0x7f) >= 0x7c);
        return v;
    case PTX_TF32: return (uint32_t)(rnd() >> 7 & 0x807fffff) | (uint32_t)(120 + rnd() % 12) << 23;
    default: return (uint32_t)(rnd() >> 11);
    }
}

static void fill(regs *x, ptx_type t)
{
    ready(x);
    for (int r = 0; r < 8; r++)
        for (int l = 0; l < 32; l++) {
            if (t == PTX_F64) {
                ((double *)x->p[r])[l] = (double)(int64_t)rnd() * 0x1p-60;
                continue;
            }
            uint32_t w = 0;
            if (t == PTX_F32)
                w = ptx_f32_bits((float)((double)(int64_t)rnd() * 0x1p-60));
            else if (t == PTX_S32)
                w = (uint32_t)rnd();
            else
                for (int e = 0; e < in_reg(t); e++)
                    w |= (rnd_small(t) & (uint32_t)((1ull << width(t)) - 1)) << (e * width(t) % 32);
            ((uint32_t *)x->p[r])[l] = w;
        }
}

static double read_at(const regs *x, ptx_type t, unsigned lane, unsigned r, unsigned e)
{
    if (t == PTX_F64) return ((const double *)x->p[r])[lane];
    uint32_t w = ((const uint32_t *)x->p[r])[lane];
    if (t == PTX_F32) return ptx_f32(w);
    if (t == PTX_S32) return (int32_t)w;
    int b = width(t);
    uint32_t v = b == 32 ? w : w >> (e * (unsigned)b) & ((1u << b) - 1);
    switch (t) {
    case PTX_S8: return (int8_t)v;
    case PTX_S4: return v > 7 ? (int)v - 16 : (int)v;
    case PTX_TF32: return ptx_f32(v & 0xffffe000u);
    case PTX_U8:
    case PTX_U4:
    case PTX_B1: return v;
    default: return ptx_small_to_f32(t, v);
    }
}

static void matrices(const ptx_mma *s, const regs *a, const regs *b, const regs *c, double *A,
                     double *B, double *Cm)
{
    for (unsigned l = 0; l < 32; l++) {
        unsigned pa = (unsigned)in_reg(s->a), pb = (unsigned)in_reg(s->b),
                 pc = s->c == PTX_F16 ? 2 : 1;
        for (unsigned i = 0; i < s->m * s->k / 32u; i++) {
            rc w = isa_a(s, (int)l, (int)i);
            A[w.row * s->k + w.col] = read_at(a, s->a, l, i / pa, i % pa);
        }
        for (unsigned i = 0; i < 8u * s->k / 32; i++) {
            rc w = isa_b(s, (int)l, (int)i);
            B[w.row * 8 + w.col] = read_at(b, s->b, l, i / pb, i % pb);
        }
        for (unsigned i = 0; i < s->m * 8u / 32; i++) {
            rc w = isa_c(s, (int)l, (int)i);
            Cm[w.row * 8 + w.col] = read_at(c, s->c, l, i / pc, i % pc);
        }
    }
}

static void products_equal_the_triple_loop(void **st)
{
    static double A[16 * 256], B[256 * 8], Cm[16 * 8];
    for (int k = 0; k < N_SHAPES; k++)
        for (int n = 0; n < 60; n++) {
            const ptx_mma *s = &shapes[k];
            regs a, b, c, d;
            fill(&a, s->a), fill(&b, s->b), fill(&c, s->c), ready(&d);
            if (s->sat && n & 1) /* accumulators near the limits */
                for (int r = 0; r < 4; r++)
                    for (int l = 0; l < 32; l++)
                        ((uint32_t *)c.p[r])[l] = l & 1 ? 0x7fffff00 : 0x80000100;
            matrices(s, &a, &b, &c, A, B, Cm);
            ptx_mma_run(s, (ptx_mma_model){0}, d.p, (const void *const *)a.p,
                        (const void *const *)b.p, (const void *const *)c.p);
            for (unsigned l = 0; l < 32; l++)
                for (unsigned i = 0; i < s->m * 8u / 32; i++) {
                    rc w = isa_c(s, (int)l, (int)i);
                    double sum = Cm[w.row * 8 + w.col], mag = fabs(sum);
                    for (int x = 0; x < s->k; x++) {
                        double u = A[w.row * s->k + x], v = B[x * 8 + w.col];
                        double p = s->a == PTX_B1
                                       ? (s->b1 == PTX_B1_AND ? (double)((int)u & (int)v)
                                                              : (double)((int)u ^ (int)v))
                                       : u * v;
                        sum += p, mag += fabs(p);
                    }
                    unsigned pc = s->d == PTX_F16 ? 2 : 1;
                    double got = read_at(&d, s->d, l, i / pc, i % pc);
                    if (s->d == PTX_S32) {
                        int64_t v = (int64_t)sum;
                        if (s->sat) v = v > INT32_MAX ? INT32_MAX : v < INT32_MIN ? INT32_MIN : v;
                        assert_true((int32_t)got == (int32_t)(uint32_t)(uint64_t)v);
                    } else if (s->d == PTX_F64) {
                        assert_true(fabs(got - sum) <= mag * (s->k + 2) * 0x1p-52);
                    } else if (s->d == PTX_F32) {
                        assert_true(fabs(got - sum) <= mag * (s->k + 2) * 0x1p-23);
                    } else {
                        double lim = fabs(sum) >= 65504 ? INFINITY
                                                        : mag * (s->k + 2) * 0x1p-23 +
                                                              fabs(sum) * 0x1p-10 + 0x1p-24;
                        assert_true(isinf(lim) || fabs(got - sum) <= lim);
                    }
                }
        }
}

static void results_may_overwrite_the_accumulators(void **st)
{
    for (int k = 0; k < N_SHAPES; k++) {
        regs a, b, c, d;
        fill(&a, shapes[k].a), fill(&b, shapes[k].b), fill(&c, shapes[k].c), ready(&d);
        ptx_mma_run(&shapes[k], (ptx_mma_model){0}, d.p, (const void *const *)a.p,
                    (const void *const *)b.p, (const void *const *)c.p);
        ptx_mma_run(&shapes[k], (ptx_mma_model){0}, c.p, (const void *const *)a.p,
                    (const void *const *)b.p, (const void *const *)c.p);
        unsigned bytes = shapes[k].d == PTX_F64 ? 256 : 128;
        for (unsigned r = 0; r < ptx_mma_acc_regs(&shapes[k], shapes[k].d); r++)
            assert_memory_equal(c.p[r], d.p[r], bytes);
    }
}

/* m8n8k4.f16 as the ISA words it. */
static void volta_products_follow_the_quad_pairs(void **st)
{
    for (int n = 0; n < 200; n++) {
        ptx_mma s = {8, 8, 4, T3(F16), .c = PTX_F32, .d = PTX_F32, .a_col = n & 1, .b_row = n & 2};
        assert_int_equal(ptx_mma_min_sm(&s), 70);
        regs a, b, c, d;
        fill(&a, PTX_F16), fill(&b, PTX_F16), fill(&c, PTX_F32), ready(&d);
        ptx_mma_run(&s, (ptx_mma_model){0}, d.p, (const void *const *)a.p, (const void *const *)b.p,
                    (const void *const *)c.p);
        for (unsigned q = 0; q < 4; q++) {
            double A[8][4], B[4][8], Cm[8][8], D[8][8];
            for (unsigned x = 0; x < 8; x++) {
                unsigned l = 4 * q + (x & 3) + (x >> 2) * 16, up = l < 16 ? 0 : 4;
                for (unsigned i = 0; i < 4; i++) {
                    double av = read_at(&a, PTX_F16, l, i / 2, i & 1),
                           bv = read_at(&b, PTX_F16, l, i / 2, i & 1);
                    if (s.a_col)
                        A[i + up][l % 4] = av;
                    else
                        A[l % 4 + up][i] = av;
                    if (s.b_row)
                        B[l % 4][i + up] = bv;
                    else
                        B[i][l % 4 + up] = bv;
                }
                for (unsigned i = 0; i < 8; i++) {
                    unsigned row = (l & 1) + (i & 2) + up, col = (i & 4) + (l & 2) + (i & 1);
                    Cm[row][col] = read_at(&c, PTX_F32, l, i, 0),
                    D[row][col] = read_at(&d, PTX_F32, l, i, 0);
                }
            }
            for (int i = 0; i < 8; i++)
                for (int j = 0; j < 8; j++) {
                    double sum = Cm[i][j], mag = fabs(sum);
                    for (int x = 0; x < 4; x++)
                        sum += A[i][x] * B[x][j], mag += fabs(A[i][x] * B[x][j]);
                    assert_true(fabs(D[i][j] - sum) <= mag * 0x1p-21);
                }
        }
    }
}

static void forms_that_do_not_exist_are_refused(void **st)
{
    ptx_mma s = shapes[3];
    assert_int_equal(ptx_mma_min_sm(&s), 80);
    s.k = 32;
    assert_int_equal(ptx_mma_min_sm(&s), 0);
    s = shapes[3], s.b = PTX_BF16;
    assert_int_equal(ptx_mma_min_sm(&s), 0);
    s = shapes[3], s.a_col = true;
    assert_int_equal(ptx_mma_min_sm(&s), 0);
    s = shapes[3], s.sat = true;
    assert_int_equal(ptx_mma_min_sm(&s), 0);
    s = shapes[5], s.d = PTX_F16;
    assert_int_equal(ptx_mma_min_sm(&s), 0);
    s = shapes[0];
    assert_int_equal(ptx_mma_min_sm(&s), 75);
}

/* The truncating model on hand-made sums. */
static float hw(unsigned sm, ptx_type in, unsigned k, const float *a, const float *b, float c)
{
    float bm[32 * 8] = {0}, cm[8], d[8];
    for (unsigned x = 0; x < k; x++) bm[x * 8] = b[x];
    for (int j = 0; j < 8; j++) cm[j] = c;
    ptx_matmul_hw(sm, in, PTX_F32, 1, 8, k, d, a, bm, cm);
    return d[0];
}

static void the_hardware_model_truncates_at_its_alignment(void **st)
{
    float a[16] = {0}, b[16] = {0};
    a[0] = b[0] = 1;
    a[1] = 0x1p-12f, b[1] = 0x1p-12f; /* 2^-24: kept with F = 24, lost in the f32 result */
    assert_true(hw(80, PTX_F16, 16, a, b, 0) == 1);
    a[2] = 0x1p-12f, b[2] = 0x1p-12f; /* two of them make one unit of f32 */
    assert_true(hw(80, PTX_F16, 16, a, b, 0) == 1 + 0x1p-23f);
    a[1] = a[2] = 0x1p-13f; /* 2^-25: cut with 24 bits, kept with 25 */
    a[3] = a[4] = 0x1p-13f, b[3] = b[4] = 0x1p-12f;
    assert_true(hw(80, PTX_F16, 16, a, b, 0) == 1 && hw(90, PTX_F16, 16, a, b, 0) == 1 + 0x1p-23f);
    float lo[16] = {0}, one[16]; /* halves are summed one after the other on sm_80 */
    for (int i = 0; i < 16; i++) one[i] = 1;
    lo[8] = 1, lo[0] = lo[1] = 0x1p-12f, one[0] = one[1] = 0x1p-12f;
    assert_true(hw(80, PTX_F16, 16, lo, one, 0) == 1 + 0x1p-23f);
    float m[16] = {1}, p[16] = {1};
    m[1] = -0x1p-12f, p[1] = 0x1p-13f; /* negative terms are cut toward zero too */
    assert_true(hw(80, PTX_F16, 16, m, p, 0) == 1);
    float f8[32] = {1}, g8[32] = {1};
    f8[1] = 0x1p-7f, g8[1] = 0x1p-7f; /* 2^-14 is below the 13 bits of fp8 */
    assert_true(hw(89, PTX_E4M3, 32, f8, g8, 0) == 1);
    assert_true(isinf(hw(80, PTX_F16, 16, (float[16]){INFINITY}, (float[16]){1}, 0)));
    assert_true(isnan(hw(80, PTX_F16, 16, (float[16]){INFINITY, 0}, (float[16]){0}, 0)));
    /* always within the model's own bound of the exact sum */
    for (int n = 0; n < 20000; n++) {
        double ex, mag;
        float x[16], y[16], c = (float)((double)(int64_t)rnd() * 0x1p-62);
        ex = c, mag = fabs(c);
        for (int i = 0; i < 16; i++) {
            x[i] = ptx_small_to_f32(PTX_F16, (rnd() >> 7 & 0x83ff) | (10 + rnd() % 8) << 10);
            y[i] = ptx_small_to_f32(PTX_F16, (rnd() >> 7 & 0x83ff) | (10 + rnd() % 8) << 10);
            ex += (double)x[i] * y[i], mag += fabs((double)x[i] * y[i]);
        }
        assert_true(fabs(hw(80, PTX_F16, 16, x, y, c) - ex) <= mag * 20 * 0x1p-23);
    }
}

static void wmma_fragments_cover_their_matrix(void **st)
{
    static const struct {
        unsigned elements, regs, per;
    } f[] = {{256, 8, 2}, {512, 8, 2}, {128, 8, 2}, {256, 2, 4},
             {256, 8, 1}, {128, 4, 1}, {64, 2, 1},  {32, 1, 1}};
    for (size_t k = 0; k < sizeof f / sizeof *f; k++) {
        unsigned seen[512] = {0};
        for (unsigned l = 0; l < 32; l++)
            for (unsigned r = 0; r < f[k].regs; r++)
                for (unsigned e = 0; e < f[k].per; e++) {
                    unsigned i = ptx_wmma_at(f[k].elements, f[k].per, l, r, e);
                    assert_true(i < f[k].elements);
                    assert_true(e == 0 || i == ptx_wmma_at(f[k].elements, f[k].per, l, r, 0) + e);
                    seen[i]++;
                }
        for (unsigned i = 0; i < f[k].elements; i++)
            assert_int_equal(seen[i], f[k].regs * f[k].per * 32 / f[k].elements);
    }
}

/* wgmma's canonical layouts as shape:stride tuples (units of 16-byte chunks), swizzle on top. */
static void wgmma_addresses_follow_the_canonical_layouts(void **st)
{
    static const unsigned wide[4] = {1, 8, 4,
                                     2}; /* chunks in a row of the atom: none, 128, 64, 32 bytes */
    for (unsigned sw = 0; sw < 4; sw++)
        for (int major = 0; major < 2; major++)
            for (unsigned bits = 8; bits <= 32; bits *= 2) {
                if (major && bits != 16) continue;
                unsigned T = 128 / bits, w = wide[sw];
                uint32_t lbo = 0x4000, sbo = 0x800, start = 0x2000;
                ptx_wgmma_desc d =
                    ptx_wgmma_decode((uint64_t)(start >> 4) | (uint64_t)(lbo >> 4) << 16 |
                                     (uint64_t)(sbo >> 4) << 32 | (uint64_t)sw << 62);
                assert_int_equal(d.start, start);
                assert_int_equal(d.leading, lbo);
                assert_int_equal(d.stride, sbo);
                assert_int_equal(d.swizzle, sw);
                for (unsigned mn = 0; mn < 128; mn++)
                    for (unsigned k = 0; k < 2 * T; k++) {
                        uint32_t off;
                        if (!major)
                            off = mn % 8 * (w * 16) + mn / 8 * sbo +
                                  (sw ? k / T * 16 : k / T * lbo) + k % T * (bits / 8);
                        else if (!sw)
                            off = mn % T * (bits / 8) + mn / T * sbo + k % 8 * 16 + k / 8 * lbo;
                        else
                            off = mn % T * (bits / 8) + mn / T % w * 16 + mn / (T * w) * lbo +
                                  k % 8 * (w * 16) + k / 8 * sbo;
                        uint32_t lin = start + off, x = lin;
                        for (unsigned bit = 0; 1u << bit < w; bit++)
                            x ^= (lin >> (7 + bit) & 1) << (4 + bit);
                        assert_int_equal(ptx_wgmma_addr(&d, bits, major, mn, k), x);
                    }
            }
    ptx_wgmma_desc base = {.start = 0x2080, .stride = 1024, .base = 1, .swizzle = 1};
    assert_int_equal(ptx_wgmma_addr(&base, 16, false, 0, 0),
                     0x2080); /* the pattern starts at 0x80 */
    assert_int_equal(ptx_wgmma_addr(&base, 16, false, 1, 0), 0x2110);
    for (unsigned lane = 0; lane < 128; lane++)
        for (unsigned i = 0; i < 128; i++) {
            ptx_at p = ptx_wgmma_acc_at(lane, i);
            assert_int_equal(p.row, 16 * (lane / 32) + lane % 32 / 4 + (i % 4 >= 2 ? 8 : 0));
            assert_int_equal(p.col, i / 4 * 8 + lane % 4 * 2 + i % 2);
        }
}

static void ldmatrix_lanes_hold_row_pairs(void **st)
{
    for (unsigned l = 0; l < 32; l++)
        for (unsigned e = 0; e < 2; e++) {
            ptx_at p = ptx_ldmatrix_at(l, e, false), q = ptx_ldmatrix_at(l, e, true);
            assert_int_equal(p.row, l / 4);
            assert_int_equal(p.col, 2 * (l % 4) + e);
            assert_int_equal(q.row, p.col);
            assert_int_equal(q.col, p.row);
        }
}

int main(void)
{
    const struct CMUnitTest t[] = {
        cmocka_unit_test(every_fragment_map_is_the_isa_table_lane_by_lane),
        cmocka_unit_test(products_equal_the_triple_loop),
        cmocka_unit_test(results_may_overwrite_the_accumulators),
        cmocka_unit_test(volta_products_follow_the_quad_pairs),
        cmocka_unit_test(forms_that_do_not_exist_are_refused),
        cmocka_unit_test(the_hardware_model_truncates_at_its_alignment),
        cmocka_unit_test(wmma_fragments_cover_their_matrix),
        cmocka_unit_test(wgmma_addresses_follow_the_canonical_layouts),
        cmocka_unit_test(ldmatrix_lanes_hold_row_pairs),
    };
    return cmocka_run_group_tests(t, NULL, NULL);
}
