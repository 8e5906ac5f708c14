/* The machine: flow of lanes, barriers, memory, calls, limits. Kernels are written here; each has a
 * shape that no compiler's output in the repository has. */
#include "ptx_text.h"

/* Blocks are written in an order in which "lowest address first" would run the join before the
 * branches: lanes must still meet at J, so that activemask there is the whole warp. */
static void lanes_meet_again_whatever_the_order_of_blocks(void **state)
{
    static const char text[] = HEAD ENTRY
        "setp.lt.u32 %p1, %t, 10;\n@%p1 bra A;\nbra B;\n"
        "J: activemask.b32 %r1;\nadd.u32 %r1, %r1, %r2;\nst.global.u32 [%mine], %r1;\nret;\n"
        "A: mov.u32 %r2, 1;\nbra J;\nB: mov.u32 %r2, 2;\nbra J;\n}\n";
    uint32_t out[32];
    machine x;
    machine_run(&x, 80, text, 1, 32, out, 32, CHECKED);
    if (x.code) fail_msg("%s", x.err.msg);
    for (uint32_t i = 0; i < 32; i++) assert_int_equal(out[i], 0xffffffffu + (i < 10 ? 1 : 2));
    machine_close(&x);
}

/* A loop with two entries (no reducible form), a different number of turns in every lane. */
static void irreducible_loops_run_to_the_end_of_every_lane(void **state)
{
    static const char text[] =
        HEAD ENTRY "mov.u32 %r1, 0;\nmov.u32 %r2, %t;\nand.b32 %r3, %t, 1;\nsetp.eq.u32 %p1, %r3, "
                   "1;\n@%p1 bra Y;\n"
                   "X: add.u32 %r1, %r1, 3;\nY: add.u32 %r1, %r1, 100;\nsetp.eq.u32 %p2, %r2, "
                   "0;\n@%p2 bra Z;\nsub.u32 %r2, %r2, 1;\nbra X;\n"
                   "Z: st.global.u32 [%mine], %r1;\nexit;\n}\n";
    uint32_t out[96];
    machine x;
    machine_run(&x, 80, text, 1, 96, out, 96, CHECKED);
    if (x.code) fail_msg("%s", x.err.msg);
    for (uint32_t i = 0; i < 96; i++)
        assert_int_equal(out[i], (i & 1 ? 0 : 3) + i * 3 + (i + 1) * 100);
    machine_close(&x);
}

/* Lanes that return early do not keep the others from a barrier, a shuffle or a vote. */
static void exited_lanes_are_not_waited_for(void **state)
{
    static const char text[] =
        HEAD ENTRY "setp.ge.u32 %p1, %t, 50;\n@%p1 ret;\nbar.sync 0;\nmov.u32 %r5, "
                   "0x3ffff;\nsetp.lt.u32 %p2, %t, 32;\n@%p2 mov.u32 %r5, -1;\n"
                   "setp.ge.u32 %p3, %t, 32;\nvote.sync.ballot.b32 %r1, %p3, %r5;\nbar.sync "
                   "0;\nst.global.u32 [%mine], %r1;\nret;\n}\n";
    uint32_t out[70];
    machine x;
    machine_run(&x, 80, text, 1, 70, out, 70, CHECKED);
    if (x.code) fail_msg("%s", x.err.msg);
    assert_int_equal(ptxsim_log_count(x.log), 0);
    for (uint32_t i = 0; i < 70; i++) assert_int_equal(out[i], i < 32 ? 0 : i < 50 ? 0x3ffff : 0);
    machine_close(&x);
}

/* Two halves of a warp with masks of their own, and a barrier between warps by number. */
static void partial_masks_and_named_barriers(void **state)
{
    static const char text[] = HEAD ENTRY
        ".shared .align 4 .b8 s[512];\nmov.u32 %r9, s;\nshr.u32 %r1, %t, 4;\nand.b32 %r1, %r1, "
        "1;\nsetp.eq.u32 %p1, %r1, 0;\nselp.b32 %r2, 0xffff, 0xffff0000, %p1;\n"
        "@%p1 bra LOW;\nredux.sync.add.u32 %r3, %t, %r2;\nbra DONE;\nLOW: redux.sync.add.u32 %r3, "
        "%t, %r2;\nDONE: bar.warp.sync -1;\n"
        "shl.b32 %r4, %t, 2;\nadd.u32 %r4, %r4, %r9;\nsetp.lt.u32 %p2, %t, 32;\n@%p2 bra "
        "FIRST;\nbar.sync 1, 64;\nld.shared.u32 %r3, [%r4+-128];\nbra OUT;\n"
        "FIRST: st.shared.u32 [%r4], %r3;\nbar.arrive 1, 64;\nOUT: st.global.u32 [%mine], "
        "%r3;\nret;\n}\n";
    uint32_t out[64];
    machine x;
    for (uint64_t seed = 0; seed < 4; seed++) {
        ptxsim_launch l = CHECKED;
        l.seed = seed;
        machine_run(&x, 80, text, 1, 64, out, 64, l);
        if (x.code) fail_msg("%s", x.err.msg);
        if (ptxsim_log_count(x.log)) fail_msg("%s", ptxsim_log_at(x.log, 0)->text);
        for (uint32_t i = 0; i < 64; i++) assert_int_equal(out[i], (i & 31) < 16 ? 120 : 376);
        machine_close(&x);
    }
}

/* Functions with results, nested, called under a guard and from both sides of a branch. */
static void calls_are_per_lane(void **state)
{
    static const char text[] = HEAD
        ".func (.param .b32 r) twice(.param .b32 a)\n{\n.reg .b32 %r<3>;\nld.param.u32 %r1, "
        "[a];\nadd.u32 %r1, %r1, %r1;\nst.param.b32 [r], %r1;\nret;\n}\n"
        ".func (.reg .b32 r) odd(.reg .b32 a)\n{\n.reg .pred %p;\n.reg .b32 %q;\n.param .b32 "
        "x;\n.param .b32 y;\nand.b32 %q, a, 1;\nsetp.eq.u32 %p, %q, 0;\nmov.u32 r, 7;\n@%p ret;\n"
        "st.param.b32 [x], a;\ncall (y), twice, (x);\nld.param.b32 r, [y];\nret;\n}\n" ENTRY
        ".param .b32 u;\n.param .b32 v;\nmov.u32 %r1, 5;\nsetp.gt.u32 %p1, %t, 3;\n@%p1 call "
        "(%r1), odd, (%t);\n"
        "st.param.b32 [u], %r1;\ncall.uni (v), twice, (u);\nld.param.b32 %r2, [v];\nst.global.u32 "
        "[%mine], %r2;\nret;\n}\n";
    uint32_t out[8];
    machine x;
    machine_run(&x, 80, text, 1, 8, out, 8, CHECKED);
    if (x.code) fail_msg("%s", x.err.msg);
    for (uint32_t i = 0; i < 8; i++) assert_int_equal(out[i], i <= 3 ? 10 : i & 1 ? 4 * i : 14);
    assert_int_equal(ptxsim_log_count(x.log), 0);
    machine_close(&x);
}

/* Generic addresses of four state spaces in one instruction. */
static void generic_addresses_reach_every_space(void **state)
{
    static const char text[] = HEAD
        ".const .align 4 .u32 c[2] = {11, 12};\n.global .align 4 .u32 g[2] = {21, 22};\n" ENTRY
        ".shared .align 4 .b8 s[16];\n.local .align 4 .b8 l[16];\nmov.u32 %r1, 31;\nst.shared.u32 "
        "[s+4], %r1;\nmov.u32 %r1, 41;\nst.local.u32 [l+8], %r1;\nbar.warp.sync -1;\n"
        "mov.u64 %d1, c;\ncvta.const.u64 %d1, %d1;\nmov.u64 %d2, g;\ncvta.global.u64 %d2, "
        "%d2;\nmov.u64 %d3, s;\ncvta.shared.u64 %d3, %d3;\nadd.s64 %d3, %d3, 4;\n"
        "mov.u64 %d4, l;\ncvta.local.u64 %d4, %d4;\nadd.s64 %d4, %d4, 8;\nand.b32 %r2, %t, "
        "3;\nsetp.eq.u32 %p1, %r2, 1;\nselp.b64 %d1, %d2, %d1, %p1;\n"
        "setp.eq.u32 %p2, %r2, 2;\nselp.b64 %d1, %d3, %d1, %p2;\nsetp.eq.u32 %p3, %r2, "
        "3;\nselp.b64 %d1, %d4, %d1, %p3;\nld.u32 %r3, [%d1];\nst.global.u32 [%mine], "
        "%r3;\nret;\n}\n";
    uint32_t out[32];
    machine x;
    machine_run(&x, 80, text, 1, 32, out, 32, CHECKED);
    if (x.code) fail_msg("%s", x.err.msg);
    assert_int_equal(ptxsim_log_count(x.log), 0);
    for (uint32_t i = 0; i < 32; i++) assert_int_equal(out[i], 11 + 10 * (i & 3));
    machine_close(&x);
}

/* A lock taken by lanes of one warp one after the other: the lane that holds it must get its turn.
 */
static void a_lock_between_lanes_of_a_warp_ends(void **state)
{
    static const char text[] = HEAD ENTRY
        "SPIN: atom.global.cas.b32 %r1, [%out], 0, 1;\nsetp.ne.u32 %p1, %r1, 0;\n@%p1 bra SPIN;\n"
        "ld.volatile.global.u32 %r2, [%out+4];\nadd.u32 %r2, %r2, 1;\nst.volatile.global.u32 "
        "[%out+4], %r2;\nmembar.gl;\natom.global.exch.b32 %r3, [%out], 0;\nret;\n}\n";
    uint32_t out[2];
    machine x;
    machine_run(&x, 80, text, 3, 64, out, 2, CHECKED);
    if (x.code) fail_msg("%s", x.err.msg);
    assert_int_equal(out[1], 192);
    machine_close(&x);
}

/* Blocks that wait for each other: all of them must be resident. */
static void blocks_may_wait_for_each_other(void **state)
{
    static const char text[] = HEAD ENTRY
        "atom.add.release.gpu.global.u32 %r1, [%out], 1;\nmov.u32 %r4, %nctaid.x;\nWAIT: "
        "ld.acquire.gpu.global.u32 %r2, [%out];\nsetp.lt.u32 %p1, %r2, %r4;\n@%p1 bra WAIT;\n"
        "mov.u32 %r3, %ctaid.x;\nmul.wide.u32 %d1, %r3, 4;\nadd.s64 %d1, %d1, %out;\nst.global.u32 "
        "[%d1+4], %r2;\nret;\n}\n";
    uint32_t out[21];
    machine x;
    machine_run(&x, 80, text, 20, 1, out, 21, CHECKED);
    if (x.code) fail_msg("%s", x.err.msg);
    for (int i = 0; i < 21; i++) assert_int_equal(out[i], 20);
    machine_close(&x);
}

/* Blocks of a cluster read each other's shared memory between cluster barriers. */
static void clusters_share_memory(void **state)
{
    static const char text[] = HEAD90
        ".visible .entry k(.param .u64 p0) .reqnctapercluster 4, 1, 1\n{\n.reg .b32 %r<9>;\n.reg "
        ".b64 %d<4>;\n.shared .align 4 .b8 s[4];\n"
        "ld.param.u64 %d1, [p0];\nmov.u32 %r1, %cluster_ctarank;\nmov.u32 %r2, "
        "%ctaid.x;\nmul.lo.u32 %r3, %r2, 10;\nst.shared.u32 [s], %r3;\n"
        "barrier.cluster.arrive.aligned;\nbarrier.cluster.wait.aligned;\nadd.u32 %r4, %r1, "
        "1;\nand.b32 %r4, %r4, 3;\nmov.u32 %r5, s;\nmapa.shared::cluster.u32 %r6, %r5, %r4;\n"
        "ld.shared::cluster.u32 %r7, "
        "[%r6];\nbarrier.cluster.arrive.aligned;\nbarrier.cluster.wait.aligned;\nmul.wide.u32 %d2, "
        "%r2, 4;\nadd.s64 %d1, %d1, %d2;\nst.global.u32 [%d1], %r7;\nret;\n}\n";
    uint32_t out[8];
    machine x;
    machine_run(&x, 90, text, 8, 32, out, 8, CHECKED);
    if (x.code) fail_msg("%s", x.err.msg);
    if (ptxsim_log_count(x.log)) fail_msg("%s", ptxsim_log_at(x.log, 0)->text);
    for (uint32_t i = 0; i < 8; i++) assert_int_equal(out[i], 10 * (i / 4 * 4 + (i + 1) % 4));
    machine_close(&x);
}

/* A bulk store without a wait is made when its own block ends, from that block's shared memory,
 * and told once a block, however few workers run the blocks. */
static void a_store_that_nobody_waits_for_ends_with_its_block(void **state)
{
    static const char text[] = HEAD90 ENTRY
        ".shared .align 16 .b8 s[16];\nmov.u32 %r1, %ctaid.x;\nmad.lo.u32 %r2, %r1, 10, %t;\n"
        "mov.u32 %r3, s;\nshl.b32 %r4, %t, 2;\nadd.u32 %r3, %r3, %r4;\nst.shared.u32 [%r3], "
        "%r2;\nfence.proxy.async.shared::cta;\nbar.sync 0;\nsetp.ne.u32 %p1, %t, 0;\n@%p1 ret;\n"
        "mul.wide.u32 %d1, %r1, 16;\nadd.s64 %d1, %d1, %out;\n"
        "cp.async.bulk.global.shared::cta.bulk_group [%d1], [s], 16;\n"
        "cp.async.bulk.commit_group;\nret;\n}\n";
    enum { BLOCKS = 12 };
    uint32_t out[4 * BLOCKS];
    machine x;
    machine_run(&x, 90, text, BLOCKS, 4, out, 4 * BLOCKS, CHECKED);
    if (x.code) fail_msg("%s", x.err.msg);
    for (uint32_t i = 0; i < 4 * BLOCKS; i++) assert_int_equal(out[i], i / 4 * 10 + i % 4);
    assert_int_equal(ptxsim_log_count(x.log), 1);
    assert_int_equal(found(&x, PTXSIM_R_PENDING), 1);
    assert_int_equal(ptxsim_log_at(x.log, 0)->times, BLOCKS);
    machine_close(&x);
}

/* A fault stops the other blocks half-way: what they had in flight is dropped, not reported. */
static void what_a_fault_stops_is_not_reported(void **state)
{
    static const char text[] = HEAD90 ENTRY
        ".shared .align 16 .b8 s[16];\nst.shared.u32 [s], 1;\nfence.proxy.async.shared::cta;\n"
        "cp.async.bulk.global.shared::cta.bulk_group [%out], [s], 16;\n"
        "cp.async.bulk.commit_group;\ntrap;\n}\n";
    machine x;
    ptxsim_launch l = CHECKED;
    machine_run(&x, 90, text, 4, 1, NULL, 4, l);
    assert_int_equal(x.code, PTXSIM_FAULT);
    assert_int_equal(found(&x, PTXSIM_R_TRAP), 1);
    assert_int_equal(found(&x, PTXSIM_R_PENDING), 0);
    machine_close(&x);
}

static void limits_are_those_of_the_device(void **state)
{
    static const char text[] = HEAD ".visible .entry k(.param .u64 p0) .maxntid 64 { ret; }\n";
    machine x;
    ptxsim_launch l = { .carveout_optin = 1 << 20 };
    machine_run(&x, 80, text, 1, 65, NULL, 1, l);
    assert_int_equal(x.code, PTXSIM_TOO_LARGE);
    machine_close(&x);
    machine_run(&x, 80, HEAD ENTRY "ret;\n}\n", 1, 1025, NULL, 1, l);
    assert_int_equal(x.code, PTXSIM_TOO_LARGE);
    machine_close(&x);
    l.shared_bytes = 163 * 1024;
    machine_run(&x, 80, HEAD ENTRY "ret;\n}\n", 1, 1, NULL, 1, l);
    assert_int_equal(x.code, PTXSIM_OK);
    machine_close(&x);
    l.shared_bytes++;
    machine_run(&x, 80, HEAD ENTRY "ret;\n}\n", 1, 1, NULL, 1, l);
    assert_int_equal(x.code, PTXSIM_TOO_LARGE);
    machine_close(&x);
    l = (ptxsim_launch){ .shared_bytes = 49153 };
    machine_run(&x, 80, HEAD ENTRY "ret;\n}\n", 1, 1, NULL, 1, l);
    assert_int_equal(x.code, PTXSIM_TOO_LARGE);
    machine_close(&x);
    l = (ptxsim_launch){ .max_steps = 1000 };
    machine_run(&x, 80, HEAD ENTRY "L: bra L;\n}\n", 1, 1, NULL, 1, l);
    assert_int_equal(x.code, PTXSIM_STEP_LIMIT);
    machine_close(&x);
}

/* One counter of each kind, known by hand: a strided read of 8 bytes, a two-way bank conflict, a
 * divergent branch. */
static void counters_are_exact(void **state)
{
    static const char text[] = HEAD ENTRY
        ".shared .align 8 .b8 s[1024];\nmov.u32 %r9, s;\nshl.b32 %r1, %t, 3;\nadd.u32 %r1, %r1, "
        "%r9;\nst.shared.u32 [%r1], %t;\nbar.sync 0;\n"
        "mul.wide.u32 %d1, %t, 64;\nadd.s64 %d1, %d1, %out;\nld.global.v2.u32 {%r2, %r3}, "
        "[%d1];\nsetp.lt.u32 %p1, %t, 7;\n@%p1 bra L;\nadd.u32 %r2, %r2, 1;\n"
        "fma.rn.f32 %f1, 0f3F800000, 0f3F800000, 0f3F800000;\nL: ret;\n}\n";
    machine x;
    ptxsim_counters c;
    machine_run(&x, 80, text, 1, 32, NULL, 1024, (ptxsim_launch){ .counters = true });
    if (x.code) fail_msg("%s", x.err.msg);
    ptxsim_log_counters(x.log, &c);
    assert_int_equal(c.global_requests, 1);
    assert_int_equal(c.global_sectors, 32);
    assert_int_equal(c.global_bytes, 256);
    assert_int_equal(c.dram_bytes, 32 * 32);
    assert_int_equal(c.shared_requests, 1);
    assert_int_equal(c.shared_wavefronts, 2);
    assert_int_equal(c.shared_ideal, 1);
    assert_int_equal(c.divergent_branches, 1);
    assert_int_equal(c.barriers, 1);
    assert_int_equal(c.fma_f32, 25); /* the lanes that did not branch over it */
    assert_int_equal(c.warp_inst[PTXSIM_C_LD_GLOBAL], 1);
    char *json = ptxsim_log_text(x.log, true);
    assert_non_null(strstr(json, "\"global_sectors\":32,"));
    free(json);
    machine_close(&x);
}

/* Blocks on several CPU threads add to the same words, half of them by bulk reductions; the bytes
 * that bulk copies touch are counted once. */
static void bulk_reductions_lose_nothing(void **state)
{
    static const char text[] = HEAD90 ENTRY
        ".shared .align 16 .b8 s[16];\nst.shared.v4.u32 [s], {1, 2, 3, 4};\nfence.proxy.async;\n"
        "mov.u32 %r1, %ctaid.x;\nand.b32 %r1, %r1, 1;\nsetp.eq.u32 %p1, %r1, 0;\nmov.u32 %r2, 0;\n"
        "L: @%p1 bra A;\n"
        "cp.reduce.async.bulk.global.shared::cta.bulk_group.add.u32 [%out], [s], 16;\n"
        "cp.async.bulk.commit_group;\ncp.async.bulk.wait_group 0;\nbra N;\n"
        "A: red.global.add.u32 [%out], 1;\n"
        "N: add.u32 %r2, %r2, 1;\nsetp.lt.u32 %p2, %r2, 400;\n@%p2 bra L;\nret;\n}\n";
    enum { BLOCKS = 64, ROUNDS = 400 };
    machine x;
    uint32_t out[32];
    ptxsim_counters c;
    ptxsim_launch l = { .checks = PTXSIM_CHECK_ALL, .counters = true };
    machine_run(&x, 90, text, BLOCKS, 1, out, 32, l);
    if (x.code) fail_msg("%s", x.err.msg);
    assert_int_equal(ptxsim_log_count(x.log), 0);
    assert_int_equal(out[0], BLOCKS * ROUNDS);
    for (uint32_t i = 1; i < 4; i++) assert_int_equal(out[i], BLOCKS / 2 * ROUNDS * (i + 1));
    ptxsim_log_counters(x.log, &c);
    assert_int_equal(c.dram_bytes, 32);
    assert_int_equal(c.tensor_bytes, BLOCKS / 2 * ROUNDS * 16);
    machine_close(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lanes_meet_again_whatever_the_order_of_blocks),
        cmocka_unit_test(irreducible_loops_run_to_the_end_of_every_lane),
        cmocka_unit_test(exited_lanes_are_not_waited_for),
        cmocka_unit_test(partial_masks_and_named_barriers),
        cmocka_unit_test(calls_are_per_lane),
        cmocka_unit_test(generic_addresses_reach_every_space),
        cmocka_unit_test(a_lock_between_lanes_of_a_warp_ends),
        cmocka_unit_test(blocks_may_wait_for_each_other),
        cmocka_unit_test(clusters_share_memory),
        cmocka_unit_test(a_store_that_nobody_waits_for_ends_with_its_block),
        cmocka_unit_test(what_a_fault_stops_is_not_reported),
        cmocka_unit_test(limits_are_those_of_the_device),
        cmocka_unit_test(counters_are_exact),
        cmocka_unit_test(bulk_reductions_lose_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
