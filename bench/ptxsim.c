/* ptxsim: speed of the PTX machine on one core: an FMA chain, mma.m16n8k16, and shared-memory code
 * with and without checks. These are times of the simulator; they say nothing about a GPU. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/str.h"
#include <llmir/ptxsim.h>

enum { BLOCKS = 8, THREADS = 256 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t); /* one worker: other programs do not count */
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static const char head[] = ".version 7.0\n.target sm_80\n.address_size 64\n";
static const char index_of[] =
    " mov.u32 %r1, %tid.x; mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x;\n"
    " mad.lo.s32 %r4, %r2, %r3, %r1; mul.wide.u32 %d2, %r4, 4;\n"
    " ld.param.u64 %d1, [p]; add.s64 %d3, %d1, %d2; ld.param.u32 %r5, [n];\n";

/* The end of the loop; the sum of n registers from %REG<first> on is stored. */
static void finish(ll_str *s, char reg, int first, int n)
{
    ll_str_add(s, " sub.u32 %r5, %r5, 1; setp.ne.u32 %q, %r5, 0; @%q bra L;\n");
    for (int i = first + 1; i < first + n; i++)
        ll_str_addf(s, " add.f32 %%%c%d, %%%c%d, %%%c%d;\n", reg, first, reg, first, reg, i);
    ll_str_addf(s, " st.global.f32 [%%d3], %%%c%d; ret; }\n", reg, first);
}

/* 8 independent chains, 32 FMAs an iteration. */
static void fma_kernel(ll_str *s)
{
    ll_str_addf(s,
                ".visible .entry fma(.param .u64 p, .param .u32 n)\n{ .reg .b32 %%r<8>; .reg .b64 "
                "%%d<6>; .reg .f32 %%f<16>; .reg .pred %%q;\n%s",
                index_of);
    for (int i = 0; i < 8; i++) ll_str_addf(s, " mov.f32 %%f%d, 0f3f800000;\n", i);
    ll_str_add(s, " mov.f32 %f8, 0f3f7fff00; mov.f32 %f9, 0f3a000000;\nL:\n");
    for (int k = 0; k < 32; k++)
        ll_str_addf(s, " fma.rn.f32 %%f%d, %%f%d, %%f8, %%f9;\n", k % 8, k % 8);
    finish(s, 'f', 0, 8);
}

/* 8 accumulator tiles a warp. */
static void mma_kernel(ll_str *s)
{
    ll_str_addf(s,
                ".visible .entry mma(.param .u64 p, .param .u32 n)\n{ .reg .b32 %%r<8>; .reg .b32 "
                "%%a<6>; .reg .b64 %%d<6>; .reg .f32 %%c<32>; .reg .pred %%q;\n%s",
                index_of);
    for (int i = 0; i < 6; i++) ll_str_addf(s, " mov.b32 %%a%d, 0x3c003800;\n", i);
    for (int i = 0; i < 32; i++) ll_str_addf(s, " mov.f32 %%c%d, 0f00000000;\n", i);
    ll_str_add(s, "L:\n");
    for (int t = 0; t < 8; t++) {
        int c = 4 * t;
        ll_str_addf(s,
                    " mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%%c%d,%%c%d,%%c%d,%%c%d}, "
                    "{%%a0,%%a1,%%a2,%%a3}, {%%a4,%%a5}, {%%c%d,%%c%d,%%c%d,%%c%d};\n",
                    c, c + 1, c + 2, c + 3, c, c + 1, c + 2, c + 3);
    }
    finish(s, 'c', 0, 32);
}

/* Each thread stores a word, meets the others, and reads eight of their words. */
static void shared_kernel(ll_str *s)
{
    ll_str_addf(s,
                ".visible .entry sh(.param .u64 p, .param .u32 n)\n{ .reg .b32 %%r<20>; .reg .b64 "
                "%%d<6>; .reg .f32 %%f<8>; .reg .pred %%q;\n"
                " .shared .align 16 .b8 t[%d];\n%s mov.u32 %%r6, t; shl.b32 %%r7, %%r1, 2; add.s32 "
                "%%r8, %%r6, %%r7; mov.f32 %%f1, 0f3f800000; mov.f32 %%f3, 0f3f000000;\nL:\n"
                " st.shared.f32 [%%r8], %%f1; bar.sync 0;\n",
                THREADS * 4, index_of);
    for (int k = 1; k <= 8; k++)
        ll_str_addf(s,
                    " add.s32 %%r9, %%r7, %d; and.b32 %%r9, %%r9, %d; add.s32 %%r10, %%r6, %%r9; "
                    "ld.shared.f32 %%f2, [%%r10]; fma.rn.f32 %%f1, %%f2, %%f3, %%f1;\n",
                    k * 36, THREADS * 4 - 4);
    ll_str_add(s, " mul.f32 %f1, %f1, 0f3e000000; bar.sync 0;\n");
    finish(s, 'f', 1, 1);
}

static void die(const ptxsim_error *e)
{
    fprintf(stderr, "%s\n", e->msg);
    exit(1);
}

/* The best of five runs. */
static double seconds(ptxsim *m, ptxsim_module *mod, const char *kernel, uint64_t buf, uint32_t n,
                      uint32_t checks)
{
    double best = 1e9;
    for (int i = 0; i < 5; i++) {
        ptxsim_error e = {0};
        ptxsim_log *log;
        ptxsim_launch l = {.kernel = ptxsim_find(mod, kernel),
                           .grid = {BLOCKS, 1, 1},
                           .block = {THREADS, 1, 1},
                           .args = (const void *[]){&buf, &n},
                           .n_args = 2,
                           .checks = checks};
        double t = now();
        if (ptxsim_run(m, &l, &log, &e) != PTXSIM_OK) die(&e);
        t = now() - t;
        if (ptxsim_log_count(log)) {
            fprintf(stderr, "unexpected: %s\n", ptxsim_log_at(log, 0)->text);
            exit(1);
        }
        ptxsim_log_destroy(log);
        if (t < best) best = t;
    }
    return best;
}

int main(int argc, char **argv)
{
    uint32_t scale = argc > 1 ? (uint32_t)atoi(argv[1]) : 10;
    ptxsim *m;
    ptxsim_module *mod;
    ptxsim_error e = {0};
    uint64_t buf;
    ll_str s = {0};
    ll_str_add(&s, head);
    fma_kernel(&s);
    mma_kernel(&s);
    shared_kernel(&s);
    if (ptxsim_create(&(ptxsim_config){.sm = 80, .threads = 1}, &m, &e) != PTXSIM_OK) die(&e);
    if (ptxsim_load(m, s.s, s.n, "bench.ptx", &mod, &e) != PTXSIM_OK) die(&e);
    if (ptxsim_alloc(m, BLOCKS * THREADS * 4, &buf, &e) != PTXSIM_OK) die(&e);
    if (!scale) scale = 1;
    uint32_t n = 1000 * scale, warps = BLOCKS * THREADS / 32;
    double t = seconds(m, mod, "fma", buf, n / 2, 0);
    printf("FMA chain          %6.2f e9 FMA-lanes/s   (goal 3)\n",
           (double)(n / 2) * 32 * BLOCKS * THREADS / t * 1e-9);
    t = seconds(m, mod, "mma", buf, 20 * scale, 0);
    printf("mma.m16n8k16       %6.2f GFMA/s           (goal 2)\n",
           (double)(20 * scale) * 8 * 2048 * warps / t * 1e-9);
    double plain = seconds(m, mod, "sh", buf, 50 * scale, 0),
           checked = seconds(m, mod, "sh", buf, 50 * scale, PTXSIM_CHECK_ALL);
    printf("shared memory      %6.2f e9 accesses/s; with all checks %.2f, %.1f x slower (goal 5)\n",
           (double)(50 * scale) * 9 * BLOCKS * THREADS / plain * 1e-9,
           (double)(50 * scale) * 9 * BLOCKS * THREADS / checked * 1e-9, checked / plain);
    ll_str_finish(&s);
    ptxsim_destroy(m);
    return 0;
}
