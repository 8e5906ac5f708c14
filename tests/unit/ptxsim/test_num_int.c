/* Bit and integer instructions against definitions written bit by bit from the PTX ISA's
 * pseudo-code. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "ptxsim/num_int.h"

static uint64_t state = 88172645463325252ull;
static uint64_t rnd(void)
{
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return state;
}
/* Values with many equal bits, small ones and wild ones. */
static uint32_t word(void)
{
    uint32_t r = (uint32_t)(rnd() >> 16);
    switch (r & 7) {
    case 0: return 0;
    case 1: return 0xffffffffu;
    case 2: return 0x80000000u >> (r >> 8 & 31);
    case 3: return (r >> 8) & 63;
    default: return (uint32_t)(rnd() >> 20);
    }
}

static void lop3_is_a_table_lookup_for_every_lut(void **s)
{
    for (uint32_t lut = 0; lut < 256; lut++)
        for (int n = 0; n < 50; n++) {
            uint32_t a = word(), b = word(), c = word(), want = 0;
            for (int i = 0; i < 32; i++) {
                uint32_t k = (a >> i & 1) << 2 | (b >> i & 1) << 1 | (c >> i & 1);
                want |= (lut >> k & 1) << i;
            }
            assert_int_equal(ptx_lop3(a, b, c, lut), want);
        }
    assert_int_equal(ptx_lop3(0xf0f0f0f0, 0xcccccccc, 0xaaaaaaaa, 0xea),
                     (0xf0f0f0f0u & 0xccccccccu) | 0xaaaaaaaau);
}

static uint8_t byte_of(uint32_t a, uint32_t b, unsigned i)
{
    return (uint8_t)(i < 4 ? a >> (8 * i) : b >> (8 * (i - 4)));
}

static void prmt_default_mode_over_all_selectors(void **s)
{
    for (uint32_t sel = 0; sel < 65536; sel++) {
        uint32_t a = word(), b = word(), want = 0;
        for (int i = 0; i < 4; i++) {
            unsigned k = sel >> (4 * i) & 15;
            uint8_t v = byte_of(a, b, k & 7);
            if (k & 8) v = v >> 7 ? 0xff : 0x00;
            want |= (uint32_t)v << (8 * i);
        }
        assert_int_equal(ptx_prmt(a, b, sel, PTX_PRMT_DEFAULT), want);
    }
}

static void prmt_special_modes_follow_the_isa_table(void **s)
{
    /* rows of the ISA's table: byte numbers for result bytes 3, 2, 1, 0 */
    static const uint8_t t[7][4][4] = {
        [PTX_PRMT_F4E] = {{3, 2, 1, 0}, {4, 3, 2, 1}, {5, 4, 3, 2}, {6, 5, 4, 3}},
        [PTX_PRMT_B4E] = {{5, 6, 7, 0}, {6, 7, 0, 1}, {7, 0, 1, 2}, {0, 1, 2, 3}},
        [PTX_PRMT_RC8] = {{0, 0, 0, 0}, {1, 1, 1, 1}, {2, 2, 2, 2}, {3, 3, 3, 3}},
        [PTX_PRMT_ECL] = {{3, 2, 1, 0}, {3, 2, 1, 1}, {3, 2, 2, 2}, {3, 3, 3, 3}},
        [PTX_PRMT_ECR] = {{0, 0, 0, 0}, {1, 1, 1, 0}, {2, 2, 1, 0}, {3, 2, 1, 0}},
        [PTX_PRMT_RC16] = {{1, 0, 1, 0}, {3, 2, 3, 2}, {1, 0, 1, 0}, {3, 2, 3, 2}},
    };
    for (int mode = PTX_PRMT_F4E; mode <= PTX_PRMT_RC16; mode++)
        for (uint32_t sel = 0; sel < 16; sel++) {
            uint32_t a = word(), b = word(), want = 0;
            for (int i = 0; i < 4; i++)
                want |= (uint32_t)byte_of(a, b, t[mode][sel & 3][3 - i]) << (8 * i);
            assert_int_equal(ptx_prmt(a, b, sel, (ptx_prmt_mode)mode), want);
        }
}

/* The ISA's own loop. */
static uint64_t bfe_isa(uint64_t a, uint32_t pos, uint32_t len, unsigned width, bool is_signed)
{
    unsigned msb = width - 1;
    pos &= 255, len &= 255;
    unsigned sbit = !is_signed || !len ? 0 : a >> (pos + len - 1 < msb ? pos + len - 1 : msb) & 1;
    uint64_t d = 0;
    for (unsigned i = 0; i <= msb; i++) {
        unsigned bit = i < len && pos + i <= msb ? a >> (pos + i) & 1 : sbit;
        d |= (uint64_t)bit << i;
    }
    return d;
}

static void bfe_matches_the_isa_loop(void **s)
{
    for (uint32_t pos = 0; pos < 300; pos++)
        for (uint32_t len = 0; len < 300; len++) {
            uint32_t a = word();
            uint64_t w = (uint64_t)word() << 32 | word();
            assert_int_equal(ptx_bfe_u(a, pos, len, 32), bfe_isa(a, pos, len, 32, false));
            assert_int_equal((uint32_t)ptx_bfe_s((int32_t)a, pos, len, 32),
                             bfe_isa(a, pos, len, 32, true));
            assert_int_equal(ptx_bfe_u(w, pos, len, 64), bfe_isa(w, pos, len, 64, false));
            assert_int_equal((uint64_t)ptx_bfe_s((int64_t)w, pos, len, 64),
                             bfe_isa(w, pos, len, 64, true));
        }
}

static void bfi_matches_the_isa_loop(void **s)
{
    for (uint32_t pos = 0; pos < 300; pos++)
        for (uint32_t len = 0; len < 300; len++)
            for (unsigned width = 32; width <= 64; width += 32) {
                uint64_t a = word() | (uint64_t)word() << 32, b = word() | (uint64_t)word() << 32;
                if (width == 32) a &= 0xffffffffu, b &= 0xffffffffu;
                uint64_t want = b;
                uint32_t p = pos & 255, l = len & 255;
                for (uint32_t i = 0; i < l && p + i < width; i++)
                    want = (want & ~((uint64_t)1 << (p + i))) | (a >> i & 1) << (p + i);
                assert_int_equal(ptx_bfi(a, b, pos, len, width), want);
            }
}

static void bfind_matches_the_isa_loop(void **s)
{
    for (int n = 0; n < 20000; n++)
        for (unsigned width = 32; width <= 64; width += 32)
            for (int sg = 0; sg < 2; sg++) {
                uint64_t a = word() | (width == 64 ? (uint64_t)word() << 32 : 0), x = a;
                if (sg && x >> (width - 1)) x = ~x;
                uint32_t want = 0xffffffffu;
                for (int i = (int)width - 1; i >= 0; i--)
                    if (x >> i & 1) {
                        want = (uint32_t)i;
                        break;
                    }
                assert_int_equal(ptx_bfind(a, sg, false, width), want);
                if (want != 0xffffffffu)
                    assert_int_equal(ptx_bfind(a, sg, true, width), width - 1 - want);
            }
}

static void shifts_and_funnels(void **s)
{
    for (int n = 0; n < 20000; n++) {
        uint32_t a = word(), b = word(), c = (uint32_t)rnd() % 80;
        uint32_t cl = c > 32 ? 32 : c, wr = c & 31;
        /* bit by bit: bit i of the left form is bit 32 + i - n of hi:lo */
        uint64_t f = (uint64_t)b << 32 | a;
        for (int wrap = 0; wrap < 2; wrap++) {
            uint32_t k = wrap ? wr : cl, l = 0, r = 0;
            for (uint32_t i = 0; i < 32; i++) {
                l |= (uint32_t)(f >> (32 + i - k) & 1) << i;
                r |= (uint32_t)(i + k < 64 ? f >> (i + k) & 1 : 0) << i;
            }
            assert_int_equal(ptx_shf_l(a, b, c, wrap), l);
            assert_int_equal(ptx_shf_r(a, b, c, wrap), r);
        }
        assert_int_equal(ptx_shl32(a, c), c > 31 ? 0 : a << c);
        assert_int_equal(ptx_shr_s32((int32_t)a, c),
                         c > 31 ? ((int32_t)a < 0 ? -1 : 0) : (int32_t)a >> c);
        assert_int_equal(ptx_shr_u32(a, c), c > 31 ? 0 : a >> c);
        assert_int_equal(ptx_shr_s64((int64_t)f, c),
                         c > 63 ? ((int64_t)f < 0 ? -1 : 0) : (int64_t)f >> c);
    }
}

static void dot_products_of_bytes(void **s)
{
    for (int n = 0; n < 20000; n++) {
        uint32_t a = word(), b = word(), c = word();
        for (int k = 0; k < 4; k++) {
            bool as = k & 1, bs = k & 2;
            uint32_t want = c, want2[2] = {c, c};
            for (int i = 0; i < 4; i++) {
                int x = a >> (8 * i) & 255, y = b >> (8 * i) & 255;
                if (as && x > 127) x -= 256;
                if (bs && y > 127) y -= 256;
                want += (uint32_t)(x * y);
                int h = a >> (16 * (i & 1)) & 65535;
                if (as && h > 32767) h -= 65536;
                want2[i >> 1] += (uint32_t)((int64_t)h * y);
            }
            assert_int_equal(ptx_dp4a(a, b, c, as, bs), want);
            assert_int_equal(ptx_dp2a(a, b, c, as, bs, false), want2[0]);
            assert_int_equal(ptx_dp2a(a, b, c, as, bs, true), want2[1]);
        }
        assert_int_equal(ptx_sad_u32(a, b, c),
                         c + (uint32_t)(a > b ? (uint64_t)a - b : (uint64_t)b - a));
        int64_t d = (int64_t)(int32_t)a - (int32_t)b;
        assert_int_equal(ptx_sad_s32((int32_t)a, (int32_t)b, c), c + (uint32_t)(d < 0 ? -d : d));
        int64_t p = (int64_t)((int32_t)(a << 8) >> 8) * ((int32_t)(b << 8) >> 8);
        assert_int_equal(ptx_mul24_s(a, b, true), (uint32_t)(p >> 16));
        uint32_t rev = 0;
        for (int i = 0; i < 32; i++) rev |= (a >> i & 1) << (31 - i);
        assert_int_equal(ptx_brev32(a), rev);
        assert_int_equal(ptx_brev64((uint64_t)b << 32 | a), (uint64_t)rev << 32 | ptx_brev32(b));
    }
}

static void byte_simd_saturates_and_sums(void **s)
{
    assert_int_equal(
        ptx_simd(PTX_SIMD_ABSDIFF, 1, 0x10ff0080, 0x20010003, 5, false, false, false, false, true),
        5 + 16 + 254 + 125);
    assert_int_equal(
        ptx_simd(PTX_SIMD_ABSDIFF, 1, 0x10ff0080, 0x20010003, 5, false, false, false, false, false),
        0x10fe007d);
    assert_int_equal(
        ptx_simd(PTX_SIMD_ADD, 1, 0x7f80ff01, 0x01ff0101, 0, true, true, true, true, false),
        0x7f800002);
    assert_int_equal(
        ptx_simd(PTX_SIMD_SUB, 2, 0x80000001, 0x00010002, 0, true, true, true, true, false),
        0x8000ffff);
}

static void fns_finds_the_nth_bit(void **s)
{
    for (int n = 0; n < 20000; n++) {
        uint32_t m = word(), base = (uint32_t)rnd() & 31;
        int off = (int)(rnd() % 17) - 8, found = 0;
        uint32_t want = 0xffffffffu;
        if (!off) want = m >> base & 1 ? base : want;
        for (int p = (int)base; off && p >= 0 && p < 32; p += off > 0 ? 1 : -1)
            if ((m >> p & 1) && ++found == (off > 0 ? off : -off)) {
                want = (uint32_t)p;
                break;
            }
        assert_int_equal(ptx_fns(m, base, off), want);
    }
}

int main(void)
{
    const struct CMUnitTest t[] = {
        cmocka_unit_test(lop3_is_a_table_lookup_for_every_lut),
        cmocka_unit_test(prmt_default_mode_over_all_selectors),
        cmocka_unit_test(prmt_special_modes_follow_the_isa_table),
        cmocka_unit_test(bfe_matches_the_isa_loop),
        cmocka_unit_test(bfi_matches_the_isa_loop),
        cmocka_unit_test(bfind_matches_the_isa_loop),
        cmocka_unit_test(shifts_and_funnels),
        cmocka_unit_test(dot_products_of_bytes),
        cmocka_unit_test(byte_simd_saturates_and_sums),
        cmocka_unit_test(fns_finds_the_nth_bit),
    };
    return cmocka_run_group_tests(t, NULL, NULL);
}
