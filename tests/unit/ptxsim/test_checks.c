/* The checks: each kind of mistake is found, and the code beside it that is right is not reported.
 */
#include "ptx_text.h"

static void run(machine *x, unsigned sm, const char *body, uint32_t blocks, uint32_t threads)
{
    char text[6000];
    uint32_t out[4096];
    snprintf(text, sizeof text, "%s%s%s%s%s", sm == 90 ? HEAD90 : HEAD, ENTRY,
             ".shared .align 16 .b8 s[2048];\nmov.u32 %r30, s;\nshl.b32 %r31, %t, 2;\nadd.u32 "
             "%r31, %r31, %r30;\n",
             body, "\nret;\n}\n");
    machine_run(x, sm, text, blocks, threads, out, 4096, CHECKED);
}

static void clean(unsigned sm, const char *body, uint32_t blocks, uint32_t threads)
{
    machine x;
    run(&x, sm, body, blocks, threads);
    if (x.code) fail_msg("%s", x.err.msg);
    if (ptxsim_log_count(x.log)) fail_msg("%s", ptxsim_log_at(x.log, 0)->text);
    machine_close(&x);
}

static void finds(unsigned sm, const char *body, uint32_t blocks, uint32_t threads,
                  ptxsim_kind kind)
{
    machine x;
    run(&x, sm, body, blocks, threads);
    if (!found(&x, kind))
        fail_msg("no finding of kind %s in: %s (%s)", ptxsim_kind_name(kind), body, x.err.msg);
    const ptxsim_report *r = ptxsim_log_at(x.log, 0);
    assert_true(r->line > 10 && strstr(r->text, "kernel k"));
    machine_close(&x);
}

#define STORE "st.shared.u32 [%r31], %t;\n"
#define NEXT "add.u32 %r1, %r31, 4;\n"
#define OTHER_WARP "xor.b32 %r1, %r31, 128;\n"
#define LOAD "ld.shared.u32 %r2, [%r1];\n"
#define KEEP "st.global.u32 [%mine], %r2;\n"

static void races_between_warps_and_between_lanes(void **state)
{
    finds(80, STORE OTHER_WARP LOAD KEEP, 1, 64, PTXSIM_R_RACE);
    clean(80, STORE OTHER_WARP "bar.sync 0;\n" LOAD KEEP, 1, 64);
    finds(80, STORE OTHER_WARP "bar.warp.sync -1;\n" LOAD KEEP, 1, 64, PTXSIM_R_RACE);
    /* within a warp */
    finds(80, "st.shared.u32 [s+128], 0;\n" STORE NEXT LOAD KEEP, 1, 32, PTXSIM_R_RACE);
    clean(80, "st.shared.u32 [s+128], 0;\n" STORE NEXT "bar.warp.sync -1;\n" LOAD KEEP, 1, 32);
    /* own data needs no barrier */
    clean(80, STORE "ld.shared.u32 %r2, [%r31];\n" KEEP, 1, 64);
    /* write after read: the second barrier is missing, then there */
    finds(80, STORE OTHER_WARP "bar.sync 0;\n" LOAD STORE "st.shared.u32 [%r31], %r2;\n" KEEP, 1,
          64, PTXSIM_R_RACE);
    clean(80,
          STORE OTHER_WARP "bar.sync 0;\n" LOAD "bar.sync 0;\nst.shared.u32 [%r31], %r2;\n" KEEP, 1,
          64);
    /* equal values are no race, different ones are; neighbouring halves never meet */
    clean(80, "st.shared.u32 [s], 5;\nbar.sync 0;\nld.shared.u32 %r2, [s];\n" KEEP, 1, 64);
    finds(80, "st.shared.u32 [s], %t;\n", 1, 64, PTXSIM_R_RACE);
    finds(80, "st.shared.u32 [s], %t;\n", 1, 2, PTXSIM_R_RACE);
    clean(80,
          "shl.b32 %r1, %t, 1;\nadd.u32 %r1, %r1, %r30;\n.reg .b16 %h;\ncvt.u16.u32 %h, "
          "%t;\nst.shared.u16 [%r1], %h;\n",
          1, 63);
    /* atomics among each other */
    clean(80,
          "setp.eq.u32 %p1, %t, 0;\n@%p1 st.shared.u32 [s], 0;\nbar.sync 0;\natom.shared.add.u32 "
          "%r2, [s], 1;\nbar.sync 0;\nld.shared.u32 %r2, [s];\n" KEEP,
          1, 64);
    finds(80,
          "setp.eq.u32 %p1, %t, 0;\n@%p1 st.shared.u32 [s], 0;\natom.shared.add.u32 %r2, [s], 1;\n",
          1, 64, PTXSIM_R_RACE);
}

static void copies_in_flight(void **state)
{
#define COPY "cp.async.ca.shared.global [%r31], [%mine], 4;\ncp.async.commit_group;\n"
    clean(80, COPY "cp.async.wait_group 0;\nbar.sync 0;\n" OTHER_WARP LOAD KEEP, 1, 64);
    finds(80, COPY "bar.sync 0;\n" OTHER_WARP LOAD "cp.async.wait_all;\n", 1, 64, PTXSIM_R_PENDING);
    finds(80, COPY "cp.async.wait_group 1;\nbar.sync 0;\n" OTHER_WARP LOAD "cp.async.wait_all;\n",
          1, 64, PTXSIM_R_PENDING);
    finds(80, COPY "cp.async.wait_group 0;\n" OTHER_WARP LOAD, 1, 64, PTXSIM_R_RACE);
    finds(80, COPY STORE "cp.async.wait_all;\n", 1, 64, PTXSIM_R_PENDING);
}

static void data_that_was_never_written(void **state)
{
    finds(80, "st.global.u32 [%mine], %r1;\n", 1, 32, PTXSIM_R_UNINIT);
    finds(80, "ld.shared.u32 %r2, [%r31];\nadd.u32 %r2, %r2, 1;\n" KEEP, 1, 32, PTXSIM_R_UNINIT);
    finds(80, "setp.eq.u32 %p1, %r1, 0;\n@%p1 bra L;\nL:\n", 1, 32, PTXSIM_R_UNINIT);
    finds(80,
          "add.u32 %r31, %r31, %r1;\nand.b32 %r31, %r31, 0x3fc;\nadd.u32 %r31, %r31, "
          "%r30;\nld.shared.u32 %r2, [%r31];\n",
          1, 32, PTXSIM_R_UNINIT);
    /* loaded but not used; the valid half of a word; a value that is selected away */
    clean(80, "ld.shared.u32 %r2, [%r31];\nadd.u32 %r2, %r2, 1;\n", 1, 32);
    clean(80,
          ".reg .b16 %h<3>;\nmov.b16 %h1, 7;\nst.shared.u16 [%r31], %h1;\nld.shared.u32 %r1, "
          "[%r31];\nmov.b32 {%h1, %h2}, %r1;\nst.global.u16 [%mine], %h1;\n",
          1, 32);
    finds(80,
          ".reg .b16 %h<3>;\nmov.b16 %h1, 7;\nst.shared.u16 [%r31], %h1;\nld.shared.u32 %r1, "
          "[%r31];\nmov.b32 {%h1, %h2}, %r1;\nst.global.u16 [%mine], %h2;\n",
          1, 32, PTXSIM_R_UNINIT);
    clean(80, "setp.lt.u32 %p1, %t, 99;\nselp.b32 %r2, %t, %r1, %p1;\n" KEEP, 1, 32);
    clean(80, "st.shared.u32 [%r31], %r1;\nmov.u32 %r2, 1;\n" KEEP, 1, 32);
}

/* A known operand may decide alone; conversions read the bytes they read. */
static void a_result_that_does_not_depend_on_unwritten_data(void **state)
{
#define BRANCH "@%p2 bra L;\nL:\n"
#define IN_RANGE "setp.lt.u32 %p0, %t, 99;\n" /* true */
#define UNKNOWN "setp.lt.u32 %p1, %r1, 5;\n"
    clean(80, IN_RANGE UNKNOWN "or.pred %p2, %p1, %p0;\n" BRANCH, 1, 32);
    finds(80, IN_RANGE UNKNOWN "and.pred %p2, %p1, %p0;\n" BRANCH, 1, 32, PTXSIM_R_UNINIT);
    clean(80, IN_RANGE UNKNOWN "and.pred %p2, !%p0, %p1;\n" BRANCH, 1, 32);
    finds(80, IN_RANGE UNKNOWN "or.pred %p2, !%p0, %p1;\n" BRANCH, 1, 32, PTXSIM_R_UNINIT);
    finds(80, IN_RANGE UNKNOWN "xor.pred %p2, %p0, %p1;\n" BRANCH, 1, 32, PTXSIM_R_UNINIT);
    clean(80, IN_RANGE "setp.lt.or.u32 %p2, %r1, 5, %p0;\n" BRANCH, 1, 32);
    finds(80, IN_RANGE "setp.lt.and.u32 %p2, %r1, 5, %p0;\n" BRANCH, 1, 32, PTXSIM_R_UNINIT);
    clean(80, "and.b32 %r2, %r1, 0;\n" KEEP, 1, 32);
    clean(80, "or.b32 %r2, %r1, -1;\n" KEEP, 1, 32);
    finds(80, "and.b32 %r2, %r1, 0xff;\n" KEEP, 1, 32, PTXSIM_R_UNINIT);
    finds(80, "or.b32 %r2, %r1, 0xffff;\n" KEEP, 1, 32, PTXSIM_R_UNINIT);
    clean(80, "mov.b64 %d1, {%t, %r1};\ncvt.u32.u64 %r2, %d1;\n" KEEP, 1, 32);
    finds(80, "mov.b64 %d1, {%r1, %t};\ncvt.u32.u64 %r2, %d1;\n" KEEP, 1, 32, PTXSIM_R_UNINIT);
#define LOW_BYTE "st.shared.u8 [%r31], %t;\nld.shared.u32 %r1, [%r31];\n"
    clean(80, LOW_BYTE "cvt.u32.u8 %r2, %r1;\n" KEEP, 1, 32);
    clean(80, LOW_BYTE "cvt.s32.s8 %r2, %r1;\n" KEEP, 1, 32);
    clean(80, LOW_BYTE "cvt.rn.f32.s8 %f1, %r1;\nmov.b32 %r2, %f1;\n" KEEP, 1, 32);
    finds(80, LOW_BYTE "cvt.u32.u16 %r2, %r1;\n" KEEP, 1, 32, PTXSIM_R_UNINIT);
    finds(80, LOW_BYTE "cvt.rn.f32.s16 %f1, %r1;\nmov.b32 %r2, %f1;\n" KEEP, 1, 32,
          PTXSIM_R_UNINIT);
}

static void addresses(void **state)
{
    finds(80, "ld.global.u32 %r1, [%out+16384];\n", 1, 1, PTXSIM_R_OUT_OF_BOUNDS);
    finds(80, "ld.global.u32 %r1, [%out+-4];\n", 1, 1, PTXSIM_R_OUT_OF_BOUNDS);
    finds(80, "ld.global.v4.u32 {%r1,%r2,%r3,%r4}, [%out+16376];\n", 1, 1, PTXSIM_R_MISALIGNED);
    finds(80, "ld.shared.u32 %r1, [%r30+2048];\n", 1, 1, PTXSIM_R_OUT_OF_BOUNDS);
    finds(80, "ld.shared.u32 %r1, [8];\n", 1, 1, PTXSIM_R_OUT_OF_BOUNDS);
    finds(80, "ld.shared.u32 %r1, [%r30+2];\n", 1, 1, PTXSIM_R_MISALIGNED);
    finds(80, "mov.u64 %d1, 0x7fff12345670;\nld.global.u32 %r1, [%d1];\n", 1, 1,
          PTXSIM_R_HOST_POINTER);
    finds(80, "cp.async.cg.shared.global [%r30], [%out+4], 16;\n", 1, 1, PTXSIM_R_MISALIGNED);
    finds(80, "mov.u64 %d1, 0;\nst.u32 [%d1], %t;\n", 1, 1, PTXSIM_R_OUT_OF_BOUNDS);
    finds(80, ".local .align 4 .b8 l[8];\nmov.u64 %d1, l;\nst.local.u32 [%d1+16], %t;\n", 1, 1,
          PTXSIM_R_OUT_OF_BOUNDS);
}

static void freed_memory_and_leaks(void **state)
{
    machine x;
    ptxsim_error e = { 0 };
    uint64_t a, v = 0;
    assert_int_equal(
        machine_load(&x, 80,
                     HEAD ENTRY
                     "ld.global.u64 %d1, [%out];\nld.global.u32 %r1, [%d1+8];\nret;\n}\n"),
        PTXSIM_OK);
    assert_int_equal(ptxsim_alloc(x.m, 64, &a, &e) | ptxsim_alloc(x.m, 8, &x.out, &e), PTXSIM_OK);
    assert_int_equal(ptxsim_write(x.m, x.out, &a, 8, &e) | ptxsim_free(x.m, a, &e), PTXSIM_OK);
    ptxsim_launch l = CHECKED;
    const void *args[] = { &x.out };
    l.kernel = ptxsim_find(x.mod, "k"), l.args = args, l.n_args = 1;
    assert_int_equal(ptxsim_run(x.m, &l, &x.log, &e), PTXSIM_FAULT);
    assert_int_equal(found(&x, PTXSIM_R_USE_AFTER_FREE), 1);
    assert_int_equal(ptxsim_free(x.m, a, &(ptxsim_error){ 0 }), PTXSIM_USAGE);
    assert_int_equal(ptxsim_read(x.m, &v, a, 8, &(ptxsim_error){ 0 }), PTXSIM_USAGE);
    assert_int_equal(ptxsim_leaks(x.m, NULL, NULL), 1);
    machine_close(&x);
}

static void barriers_and_masks(void **state)
{
    finds(80, "setp.lt.u32 %p1, %t, 8;\n@%p1 bra A;\nbar.sync 0;\nbra B;\nA: bar.sync 0;\nB:\n", 1,
          32, PTXSIM_R_BARRIER);
    finds(80, "setp.lt.u32 %p1, %t, 32;\n@%p1 bra A;\nbar.sync 1;\nbra B;\nA: bar.sync 0;\nB:\n", 1,
          64, PTXSIM_R_DEADLOCK);
    finds(80, "shfl.sync.idx.b32 %r1, %t, 20, 31, 0xffff;\n", 1, 32, PTXSIM_R_MASK);
    finds(80, "setp.lt.u32 %p1, %t, 16;\n@%p1 shfl.sync.idx.b32 %r1, %t, 20, 31, 0xffff;\n", 1, 32,
          PTXSIM_R_MASK);
    finds(80,
          "setp.lt.u32 %p1, %t, 16;\n@%p1 bra L;\nvote.sync.ballot.b32 %r1, %p1, -1;\nL:\nbar.sync "
          "1;\n",
          1, 32, PTXSIM_R_DEADLOCK);
    finds(80, "trap;\n", 1, 32, PTXSIM_R_TRAP);
    finds(90,
          "mbarrier.init.shared::cta.b64 [s], 2;\nW: mbarrier.try_wait.parity.shared::cta.b64 %p1, "
          "[s], 0;\n@!%p1 bra W;\n",
          1, 1, PTXSIM_R_DEADLOCK);
    finds(90,
          "mbarrier.init.shared::cta.b64 [s], 1;\nmbarrier.arrive.shared::cta.b64 _, "
          "[s];\nmbarrier.arrive.shared::cta.b64 _, [s+8];\n",
          1, 1, PTXSIM_R_BARRIER);
}

/* Producer and consumer warps with an mbarrier: right, without the wait, without the arrival's
 * order. */
static void mbarriers_order_what_they_should(void **state)
{
#define INIT                                                                                       \
    "setp.eq.u32 %p1, %t, 0;\n@%p1 mbarrier.init.shared::cta.b64 [s+1024], 32;\nbar.sync "         \
    "0;\nsetp.lt.u32 %p2, %t, 32;\n@%p2 bra P;\nsub.u32 %r1, %r31, 128;\n"
#define WAIT "W: mbarrier.try_wait.parity.shared::cta.b64 %p3, [s+1024], 0;\n@!%p3 bra W;\n"
#define REST "ld.shared.u32 %r2, [%r1];\nst.global.u32 [%mine], %r2;\nret;\n"
    clean(90, INIT WAIT REST "P: " STORE "mbarrier.arrive.shared::cta.b64 _, [s+1024];\n", 1, 64);
    finds(90, INIT REST "P: " STORE "mbarrier.arrive.shared::cta.b64 _, [s+1024];\n", 1, 64,
          PTXSIM_R_RACE);
    finds(90, INIT WAIT REST "P: mbarrier.arrive.shared::cta.b64 _, [s+1024];\n" STORE, 1, 64,
          PTXSIM_R_RACE);
}

static void blocks_that_write_the_same_word(void **state)
{
    finds(80, "mov.u32 %r1, %ctaid.x;\nst.global.u32 [%mine], %r1;\n", 3, 32,
          PTXSIM_R_GLOBAL_CONFLICT);
    clean(80, "st.global.u32 [%mine], %t;\n", 3, 32);
    clean(80, "atom.global.add.u32 %r1, [%out], 1;\n", 9, 32);
    clean(80,
          "mov.u32 %r1, %ctaid.x;\nshl.b32 %r2, %r1, 7;\ncvt.u64.u32 %d1, %r2;\nadd.s64 %mine, "
          "%mine, %d1;\nst.global.u32 [%mine], %r1;\n",
          9, 32);
    /* the same by bulk copies, which write behind the block's back */
#define FILL                                                                                       \
    "mov.u32 %r1, %ctaid.x;\nst.shared.v4.u32 [s], {%r1, %r1, %r1, %r1};\nfence.proxy.async;\n"
#define DONE "cp.async.bulk.commit_group;\ncp.async.bulk.wait_group 0;\n"
#define BULK "cp.async.bulk.global.shared::cta.bulk_group [%out], [s], 16;\n"
    finds(90, FILL BULK DONE, 3, 1, PTXSIM_R_GLOBAL_CONFLICT);
    clean(90, FILL "mad.wide.u32 %out, %r1, 16, %out;\n" BULK DONE, 3, 1);
    clean(90, FILL "cp.reduce.async.bulk.global.shared::cta.bulk_group.add.u32 [%out], [s], 16;\n" DONE,
          3, 1);
}

/* A flag in shared memory, and a sum that the last of three blocks completes: both need their
 * fences. */
static void flags_order_behind_fences(void **state)
{
#define FLAG_A                                                                                     \
    "setp.lt.u32 %p2, %t, 32;\n@%p2 st.shared.u32 [s+1024], 0;\nbar.sync 0;\n@%p2 bra "            \
    "P;\nxor.b32 %r1, %r31, 128;\nW: ld.volatile.shared.u32 %r3, [s+1024];\nsetp.eq.u32 %p3, "     \
    "%r3, 0;\n@%p3 bra W;\n"
#define FLAG_B                                                                                     \
    "ld.shared.u32 %r2, [%r1];\nst.global.u32 [%mine], %r2;\nret;\nP: st.shared.u32 [%r31], "      \
    "%t;\nbar.warp.sync -1;\n"
#define FLAG_C "setp.eq.u32 %p1, %t, 0;\n@%p1 st.volatile.shared.u32 [s+1024], 1;\n"
    clean(80, FLAG_A "membar.cta;\n" FLAG_B "membar.cta;\n" FLAG_C, 1, 64);
    finds(80, FLAG_A "membar.cta;\n" FLAG_B FLAG_C, 1, 64, PTXSIM_R_RACE);
    finds(80, FLAG_A FLAG_B "membar.cta;\n" FLAG_C, 1, 64, PTXSIM_R_RACE);
#define LAST_A                                                                                     \
    "mov.u32 %r1, %ctaid.x;\nmul.wide.u32 %d1, %r1, 4;\nadd.s64 %d1, %d1, %out;\nst.global.u32 "   \
    "[%d1+64], %r1;\n"
#define LAST_B "atom.global.add.u32 %r2, [%out], 1;\nsetp.ne.u32 %p1, %r2, 2;\n@%p1 ret;\n"
#define LAST_C                                                                                     \
    "ld.global.u32 %r3, [%out+64];\nld.global.u32 %r4, [%out+68];\nld.global.u32 %r5, "            \
    "[%out+72];\nadd.u32 %r3, %r3, %r4;\nst.global.u32 [%out+4], %r3;\n"
    clean(80, LAST_A "membar.gl;\n" LAST_B "membar.gl;\n" LAST_C, 3, 1);
    finds(80, LAST_A LAST_B LAST_C, 3, 1, PTXSIM_R_GLOBAL_CONFLICT);
}

/* The same finding is kept once and counted; the order of blocks and warps does not change what is
 * found. */
static void findings_are_counted_and_stable(void **state)
{
    for (uint64_t seed = 0; seed < 5; seed++) {
        machine x;
        ptxsim_launch l = CHECKED;
        l.seed = seed;
        machine_run(&x, 80, HEAD ENTRY "st.global.u32 [%mine], %r1;\nret;\n}\n", 4, 64, NULL, 256,
                    l);
        assert_int_equal(found(&x, PTXSIM_R_UNINIT), 1);
        assert_int_equal(ptxsim_log_at(x.log, 0)->times, 8);
        machine_close(&x);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(races_between_warps_and_between_lanes),
        cmocka_unit_test(copies_in_flight),
        cmocka_unit_test(data_that_was_never_written),
        cmocka_unit_test(a_result_that_does_not_depend_on_unwritten_data),
        cmocka_unit_test(addresses),
        cmocka_unit_test(freed_memory_and_leaks),
        cmocka_unit_test(barriers_and_masks),
        cmocka_unit_test(mbarriers_order_what_they_should),
        cmocka_unit_test(blocks_that_write_the_same_word),
        cmocka_unit_test(flags_order_behind_fences),
        cmocka_unit_test(findings_are_counted_and_stable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
