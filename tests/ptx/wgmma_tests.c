/* wgmma_tests.c: one product m64n16 for every input type and swizzle, from PTX written here: A and
 * B come by TMA with the swizzle that the matrix descriptors name, k runs through the whole
 * swizzled row in steps of 32 bytes; once with A from registers (f16) and with scales of -1. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "foreign.h"
#include "ptxsim/tensormap.h"

typedef struct kind {
    const char *type, *acc;
    unsigned bits, k, map; /* k of one instruction; element type of the tensor map */
    bool is_int, is_signed;
} kind;
static const kind kinds[] = {
    {"f16", "f32", 16, 16, PTX_MAP_F16, false, false},
    {"bf16", "f32", 16, 16, PTX_MAP_BF16, false, false},
    {"tf32", "f32", 32, 8, PTX_MAP_F32, false, false},
    {"e4m3", "f32", 8, 32, PTX_MAP_U8, false, false},
    {"e5m2", "f32", 8, 32, PTX_MAP_U8, false, false},
    {"s8", "s32", 8, 32, PTX_MAP_U8, true, true},
    {"u8", "s32", 8, 32, PTX_MAP_U8, true, false},
};
enum { M = 64, N = 16 };

/* The element's own definition. */
static double value(const kind *t, uint32_t v)
{
    float f;
    if (t->is_int) return t->is_signed ? (double)(int8_t)v : v;
    int e = t->type[0] == 'e' ? t->type[1] - '0' : t->type[0] == 'b' || t->type[0] == 't' ? 8 : 5;
    if (e == 8) {
        v = t->bits == 16 ? v << 16 : v & 0xffffe000u;
        memcpy(&f, &v, 4);
        return f;
    }
    int m = (int)t->bits - 1 - e, bias = (1 << (e - 1)) - 1;
    uint32_t ex = v >> m & ((1u << e) - 1), fr = v & ((1u << m) - 1);
    double x = ex ? ldexp(1 + ldexp(fr, -m), (int)ex - bias) : ldexp(fr, 1 - bias - m);
    return v >> (t->bits - 1) & 1 ? -x : x;
}

/* Random values without infinities and of moderate size. */
static uint32_t random_bits(const kind *t)
{
    uint32_t v = next_u32();
    if (t->is_int) return v & 255;
    if (t->bits == 8) return v & (t->type[1] == '4' ? 0xbf : 0xbf);
    if (t->bits == 16)
        return t->type[0] == 'b' ? (v & 0x807f) | (120 + v % 8) << 7
                                 : (v & 0x83ff) | (10 + v % 6) << 10;
    return (v & 0x807fffff) | (120 + v % 8) << 23;
}

static char *kernel(const kind *t, unsigned swizzle, bool negate)
{
    static char s[8000];
    static const unsigned code[] = {0, 3, 2, 0, 1};
    unsigned steps = swizzle / 32, n = 0;
    uint64_t desc = 1ull << 16 | (uint64_t)(8 * swizzle >> 4) << 32 | (uint64_t)code[steps] << 62;
#define P(...) n += (unsigned)snprintf(s + n, sizeof s - n, __VA_ARGS__)
    P(".version 8.0\n.target sm_90a\n.address_size 64\n.extern .shared .align 1024 .b8 sm[];\n"
      ".visible .entry k(.param .u64 pa, .param .u64 pb, .param .u64 pc)\n{\n .reg .pred %%p; .reg "
      ".b32 %%r<20>; .reg .b64 %%d<12>; .reg .b32 %%c<8>;\n"
      " .shared .align 8 .b64 bar;\n"
      " ld.param.u64 %%d1, [pa]; ld.param.u64 %%d2, [pb]; ld.param.u64 %%d3, [pc];\n"
      " mov.u32 %%r1, %%tid.x; mov.u32 %%r2, sm; mov.u32 %%r3, bar; add.u32 %%r4, %%r2, 16384; "
      "setp.ne.u32 %%p, %%r1, 0;\n"
      " @!%%p mbarrier.init.shared::cta.b64 [%%r3], 1;\n @!%%p "
      "fence.mbarrier_init.release.cluster;\n bar.sync 0;\n"
      " @%%p bra W;\n mbarrier.arrive.expect_tx.shared::cta.b64 _, [%%r3], %u;\n mov.u32 %%r5, 0;\n"
      " cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%%r2], [%%d1, "
      "{%%r5, %%r5}], [%%r3];\n"
      " cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%%r4], [%%d2, "
      "{%%r5, %%r5}], [%%r3];\n"
      "W: mbarrier.try_wait.parity.shared::cta.b64 %%p, [%%r3], 0;\n @!%%p bra W;\n",
      (M + N) * swizzle);
    P(" and.b32 %%r6, %%r2, 0x3ffff; shr.u32 %%r6, %%r6, 4; cvt.u64.u32 %%d4, %%r6; or.b64 %%d4, "
      "%%d4, %llu;\n",
      (unsigned long long)desc);
    P(" and.b32 %%r7, %%r4, 0x3ffff; shr.u32 %%r7, %%r7, 4; cvt.u64.u32 %%d5, %%r7; or.b64 %%d5, "
      "%%d5, %llu;\n wgmma.fence.sync.aligned;\n",
      (unsigned long long)desc);
    for (unsigned i = 0; i < steps; i++) {
        P(" wgmma.mma_async.sync.aligned.m64n16k%u.%s.%s.%s "
          "{%%c0,%%c1,%%c2,%%c3,%%c4,%%c5,%%c6,%%c7}, %%d4, %%d5, %u",
          t->k, t->acc, t->type, t->type, i != 0);
        if (!t->is_int) P(", %d, 1", negate ? -1 : 1);
        if (!t->is_int && t->bits == 16) P(", 0, 0");
        P(";\n add.s64 %%d4, %%d4, 2; add.s64 %%d5, %%d5, 2;\n");
    }
    P(" wgmma.commit_group.sync.aligned;\n wgmma.wait_group.sync.aligned 0;\n mul.wide.u32 %%d6, "
      "%%r1, 32; add.s64 %%d7, %%d3, %%d6;\n"
      " st.global.v4.b32 [%%d7], {%%c0,%%c1,%%c2,%%c3};\n st.global.v4.b32 [%%d7+16], "
      "{%%c4,%%c5,%%c6,%%c7};\n ret;\n}\n");
#undef P
    return s;
}

static uint64_t tensor(run *r, const kind *t, uint64_t addr, unsigned cols, unsigned rows,
                       unsigned swizzle)
{
    _Alignas(64) uint8_t raw[PTX_MAP_BYTES];
    ptx_tensormap m = {.addr = addr,
                       .dim = {cols, rows},
                       .stride = {t->bits / 8, swizzle},
                       .box = {(uint16_t)cols, (uint16_t)rows},
                       .step = {1, 1},
                       .rank = 2,
                       .type = (uint8_t)t->map,
                       .elem_bytes = (uint8_t)(t->bits / 8),
                       .swizzle = (uint8_t)swizzle};
    const char *wrong = ptx_tensormap_check(&m, 0, 0);
    if (wrong) mistake(r, "tensor map: %s", wrong);
    ptx_tensormap_pack(&m, raw);
    return up(r, raw, sizeof raw);
}

static void one(run *r, const kind *t, unsigned swizzle, bool negate)
{
    unsigned k = swizzle * 8 / t->bits, size = t->bits / 8;
    static uint8_t a[M * 128], b[N * 128];
    static double av[M * 128], bv[N * 128];
    uint32_t out[128 * 8];
    ptxsim_error e = {0};
    ptxsim_module *mine = NULL, *old = r->mod;
    char *text = kernel(t, swizzle, negate);
    if (ptxsim_load(r->m, text, strlen(text), t->type, &mine, &e) != PTXSIM_OK) {
        mistake(r, "%s", e.msg);
        return;
    }
    for (unsigned i = 0; i < M * k; i++) {
        uint32_t v = random_bits(t);
        memcpy(a + i * size, &v, size), av[i] = value(t, v);
    }
    for (unsigned i = 0; i < N * k; i++) {
        uint32_t v = random_bits(t);
        memcpy(b + i * size, &v, size), bv[i] = value(t, v);
    }
    uint64_t da = up(r, a, M * swizzle), db = up(r, b, N * swizzle), dc = room(r, sizeof out),
             ta = tensor(r, t, da, k, M, swizzle), tb = tensor(r, t, db, k, N, swizzle);
    r->mod = mine;
    LAUNCH(r, "k", D1(1), D1(128), 16384 + 2048, &ta, &tb, &dc);
    r->mod = old;
    down(r, out, dc, sizeof out);
    for (unsigned l = 0; l < 128; l++)
        for (unsigned i = 0; i < 8; i++) { /* the accumulator fragment as the ISA draws it */
            unsigned row = 16 * (l / 32) + l % 32 / 4 + 8 * (i / 2 % 2),
                     col = 8 * (i / 4) + 2 * (l % 4) + i % 2;
            double s = 0, mag = 0;
            float f;
            for (unsigned x = 0; x < k; x++)
                s += av[row * k + x] * bv[col * k + x],
                    mag += fabs(av[row * k + x] * bv[col * k + x]);
            if (negate) s = -s;
            memcpy(&f, &out[l * 8 + i], 4);
            double got = t->is_int ? (double)(int32_t)out[l * 8 + i] : f;
            if (fabs(got - s) > mag * 1e-5) {
                mistake(r, "%s, swizzle %u: D[%u][%u] = %g, want %g", t->type, swizzle, row, col,
                        got, s);
                ptxsim_unload(mine);
                return;
            }
        }
    ptxsim_unload(mine);
}

static void wgmma_forms(run *r)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        for (unsigned swizzle = 32; swizzle <= 128; swizzle *= 2) {
            one(r, &kinds[i], swizzle, false);
            if (!kinds[i].is_int && swizzle == 64) one(r, &kinds[i], swizzle, true);
        }
}

const test wgmma_tests[] = {{"hopper", "wgmma_forms", wgmma_forms}, {0}};
