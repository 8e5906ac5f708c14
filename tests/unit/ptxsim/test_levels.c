/* The handlers of every instruction-set level that this CPU has give the same bits as the plain
 * ones, for full and partial warps, in place and not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ptxsim/exec.h"

enum { ARENA = 16384, D = 1024, A = 2048, B = 3072, C = 4096, E = 5120 };

static const char *const names[] = {
    "",
#define PTX_H(name) #name,
#include "ptxsim/handlers.def"
#undef PTX_H
};

/* These look at more than registers. */
static bool needs_more(const char *n)
{
    static const char *const some[] = { "ld",        "ld_param",   "st",         "atom",
                                        "shfl",      "vote",       "match",      "redux",
                                        "elect",     "activemask", "cvt",        "clock",
                                        "mapa",      "getctarank", "approx_f32", "approx_f64",
                                        "pack",      "unpack",     "half",       "simd",
                                        "arith_f32", "arith_f64" };
    for (size_t i = 0; i < sizeof some / sizeof *some; i++)
        if (!strcmp(some[i], n)) return true;
    return false;
}

/* Source and destination of one width: they may be the same register. */
static bool in_place(const char *n)
{
    static const char *const some[] = { "add_", "sub_", "fma_", "xor_",
                                        "min_", "max_", "shl_", "neg_" };
    for (size_t i = 0; i < sizeof some / sizeof *some; i++)
        if (!strncmp(some[i], n, strlen(some[i]))) return true;
    return false;
}

static uint64_t seed = 88172645463325252ull;
static uint32_t next_word(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    uint32_t v = (uint32_t)(seed >> 16);
    switch (seed % 7) { /* edges beside plain numbers */
    case 0: return v & 63;
    case 1: return 0;
    case 2: return 0x7f800000u | (v & 0x80000001u);
    case 3: return v & 0x807fffffu;
    default: return v;
    }
}

static void same_as_base(ptx_handler *const *table)
{
    uint8_t *base = aligned_alloc(64, ARENA), *other = aligned_alloc(64, ARENA);
    assert_true(base && other);
    for (int h = 1; h < PTX_H_COUNT; h++) {
        if (needs_more(names[h])) continue;
        for (int round = 0; round < 24; round++) {
            ptx_mask m = round % 3 == 0 ? PTX_FULL : next_word() | 1;
            for (int i = 0; i < ARENA; i += 4) {
                uint32_t v = next_word();
                memcpy(base + i, &v, 4);
            }
            memcpy(other, base, ARENA);
            ptx_inst in = { .d = round & 1 && in_place(names[h]) ? A : D,
                            .a = A,
                            .b = B,
                            .c = C,
                            .u0 = E,
                            .u1 = (uint32_t)round & 3 };
            if (strncmp(names[h], "bfi", 3) && strncmp(names[h], "unpack", 6))
                in.u0 = (uint32_t)round % 4;
            if (!strncmp(names[h], "addc", 4) || !strncmp(names[h], "madc", 4)) in.u1 = E;
            if (!strcmp(names[h], "setp_any") || !strcmp(names[h], "set_any") ||
                !strcmp(names[h], "setp_f32"))
                in.u0 |= (uint32_t)PTX_F32 << 17 | (uint32_t)(round % 6) << 8;
            ptx_warp w = { .regs = base }, v = { .regs = other };
            ptx_table_base[h](&w, &in, m);
            table[h](&v, &in, m);
            for (int i = 0; i < ARENA; i += 4)
                if (memcmp(base + i, other + i, 4))
                    fail_msg("%s differs at slot %d, lane word %d, mask %08x", names[h],
                             i / 128 * 128, i % 128 / 4, m);
        }
    }
    free(base);
    free(other);
}

static void levels_agree(void **state)
{
#if defined(__x86_64__)
    ptx_handler *const *best = ptx_handlers();
    if (best == ptx_table_avx512) same_as_base(ptx_table_avx512);
    if (best != ptx_table_base) same_as_base(ptx_table_avx2);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(levels_agree) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
