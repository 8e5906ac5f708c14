/* test_team.c: every part runs once, steps are ordered, any number of threads, stopping, late
 * threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <fenv.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "runtime/team.h"

enum { MAX_PARTS = 1000 };

/* buf: [0] uint32 counts per part of this step, [1] long: parts, [2] counts of the step before or
 * NULL, [3] long: parts of the step before. A part fails unless all parts of the step before have
 * run. */
static _Atomic int out_of_order;

static uint64_t parts(const llmir_args *a) { return *(const uint64_t *)a->buf[1]; }

static void run(const llmir_args *a, llmir_team *t, uint32_t thread, void *scratch)
{
    uint32_t *count = a->buf[0];
    const uint32_t *before = a->buf[2];
    uint64_t n_before = *(const uint64_t *)a->buf[3];
    *(uint32_t *)scratch = thread;
    for (int64_t p; (p = t->claim(t, thread)) >= 0;) {
        if (before)
            for (uint64_t i = 0; i < n_before; i += 1 + n_before / 7)
                if (before[i] != count[p] + 1) out_of_order++;
        count[p]++;
        if (*(uint32_t *)scratch != thread) out_of_order++;
    }
}

typedef struct program {
    uint64_t parts[64];
    uint32_t count[64][MAX_PARTS];
    void *buf[64][4];
    rt_step step[64];
    size_t n;
} program;

static program *make(size_t n, unsigned seed)
{
    static uint64_t zero;
    program *p = calloc(1, sizeof *p);
    p->n = n;
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1103515245 + 12345;
        p->parts[i] = seed >> 16 & 3 ? 1 + (seed >> 18) % 40 : (seed >> 18 & 1 ? 0 : MAX_PARTS);
        size_t b = i; /* the last step before with parts */
        while (b > 0 && !p->parts[b - 1]) b--;
        p->buf[i][0] = p->count[i];
        p->buf[i][1] = &p->parts[i];
        p->buf[i][2] = b ? p->count[b - 1] : NULL;
        p->buf[i][3] = b ? &p->parts[b - 1] : &zero;
        p->step[i] = (rt_step){{parts, run}, {p->buf[i], NULL}};
    }
    return p;
}

static void every_part_runs_once_and_after_the_step_before(void **s)
{
    (void)s;
    for (uint32_t threads = 1; threads <= 9; threads += threads < 4 ? 1 : 5) {
        rt_team *t;
        assert_int_equal(rt_team_create(threads, 100, &t, NULL), LL_OK);
        for (unsigned seed = 0; seed < 6; seed++) {
            program *p = make(64, seed);
            rt_run r = {.step = p->step, .n_step = p->n};
            uint32_t runs = threads > 4 ? 5 : 60;
            for (uint32_t k = 0; k < runs; k++) assert_int_equal(rt_team_run(t, &r, NULL), LL_OK);
            for (size_t i = 0; i < p->n; i++)
                for (uint64_t j = 0; j < MAX_PARTS; j++)
                    assert_int_equal(p->count[i][j], j < p->parts[i] ? runs : 0);
            free(p);
        }
        assert_int_equal(out_of_order, 0);
        rt_team_destroy(t);
    }
}

static void empty_programs_and_steps_end(void **s)
{
    (void)s;
    rt_team *t;
    assert_int_equal(rt_team_create(3, 0, &t, NULL), LL_OK);
    program *p = make(10, 1);
    memset(p->parts, 0, sizeof p->parts);
    rt_run r = {.step = p->step, .n_step = 0};
    assert_int_equal(rt_team_run(t, &r, NULL), LL_OK);
    r.n_step = 10;
    assert_int_equal(rt_team_run(t, &r, NULL), LL_OK);
    free(p);
    rt_team_destroy(t);
}

static _Atomic int asked;
static bool stop_at_five(void *user) { return atomic_fetch_add(&asked, 1) == 5; }

static void a_stopped_run_says_so_and_the_team_goes_on(void **s)
{
    (void)s;
    rt_team *t;
    ll_error e = {0};
    assert_int_equal(rt_team_create(2, 0, &t, NULL), LL_OK);
    program *p = make(20, 3);
    for (int i = 0; i < 20; i++) p->parts[i] = 4;
    rt_run r = {.step = p->step, .n_step = 20, .stop = stop_at_five};
    assert_int_equal(rt_team_run(t, &r, &e), LL_CANCELLED);
    for (int i = 0; i < 20; i++) assert_int_equal(p->count[i][0], i < 5);
    memset(p->count, 0, sizeof p->count);
    double seconds[20] = {0};
    r.seconds = seconds;
    assert_int_equal(rt_team_run(t, &r, NULL), LL_OK);
    for (int i = 0; i < 20; i++) assert_true(p->count[i][3] == 1 && seconds[i] > 0);
    assert_int_equal(out_of_order, 0);
    free(p);
    rt_team_destroy(t);
}

static void too_many_parts_are_refused(void **s)
{
    (void)s;
    rt_team *t;
    ll_error e = {0};
    assert_int_equal(rt_team_create(2, 0, &t, NULL), LL_OK);
    program *p = make(1, 3);
    p->parts[0] = (uint64_t)1 << 24;
    rt_run r = {.step = p->step, .n_step = 1};
    assert_int_equal(rt_team_run(t, &r, &e), LL_FAILED);
    assert_non_null(strstr(e.msg, "16777216 parts"));
    free(p);
    rt_team_destroy(t);
    assert_int_equal(rt_team_create(0, 0, &t, NULL), LL_USAGE);
    assert_int_equal(rt_team_create(RT_TEAM_MAX + 1, 0, &t, NULL), LL_USAGE);
}

/* The caller is thread 0: it gets each part's floating-point mode, and gets its own back. */
static int mode_in_kernel;
static uint64_t one_part(const llmir_args *a) { return 1; }
static void look_at_mode(const llmir_args *a, llmir_team *t, uint32_t thread, void *scratch)
{
    while (t->claim(t, thread) >= 0) mode_in_kernel = fegetround();
}

static void the_callers_rounding_mode_does_not_reach_kernels(void **s)
{
    (void)s;
    for (uint32_t n = 1; n <= 3; n++) {
        rt_team *t;
        rt_step step = {{one_part, look_at_mode}, {NULL, NULL}};
        rt_run r = {.step = &step, .n_step = 1};
        fesetround(FE_UPWARD);
        assert_int_equal(rt_team_create(n, 0, &t, NULL),
                         LL_OK); /* workers start under the odd mode too */
        mode_in_kernel = -1;
        for (int i = 0; i < 20; i++) {
            assert_int_equal(rt_team_run(t, &r, NULL), LL_OK);
            assert_int_equal(mode_in_kernel, FE_TONEAREST);
        }
        assert_int_equal(fegetround(), FE_UPWARD);
        fesetround(FE_TONEAREST);
        rt_team_destroy(t);
    }
}

/* A thread that loses its core holds the part in its hands and no other. */
static uint64_t forty(const llmir_args *a) { return 40; }
static void first_part_sleeps(const llmir_args *a, llmir_team *t, uint32_t thread, void *scratch)
{
    _Atomic uint32_t *by = a->buf[0];
    for (int64_t p; (p = t->claim(t, thread)) >= 0;) {
        by[p] = thread + 1;
        if (p == 0) nanosleep(&(struct timespec){0, 50000000}, NULL);
    }
}

static void others_take_the_parts_of_a_stalled_thread(void **s)
{
    (void)s;
    rt_team *t;
    assert_int_equal(rt_team_create(2, 0, &t, NULL), LL_OK);
    static _Atomic uint32_t by[40];
    void *buf[] = {(void *)by};
    rt_step step = {{forty, first_part_sleeps}, {buf, NULL}};
    rt_run r = {.step = &step, .n_step = 1};
    assert_int_equal(rt_team_run(t, &r, NULL), LL_OK);
    int same = 0;
    for (int i = 0; i < 40; i++) same += by[i] == by[0];
    assert_int_equal(same, 1);
    rt_team_destroy(t);
}

static void a_forked_child_gets_an_error(void **s)
{
    (void)s;
    rt_team *t;
    assert_int_equal(rt_team_create(2, 0, &t, NULL), LL_OK);
    program *p = make(5, 2);
    rt_run r = {.step = p->step, .n_step = 5};
    pid_t child = fork();
    if (!child) {
        ll_code rc = rt_team_run(t, &r, NULL);
        rt_team_destroy(t);
        _exit(rc == LL_FAILED ? 0 : 1);
    }
    int status;
    waitpid(child, &status, 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_int_equal(rt_team_run(t, &r, NULL), LL_OK);
    free(p);
    rt_team_destroy(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_part_runs_once_and_after_the_step_before),
        cmocka_unit_test(empty_programs_and_steps_end),
        cmocka_unit_test(a_stopped_run_says_so_and_the_team_goes_on),
        cmocka_unit_test(too_many_parts_are_refused),
        cmocka_unit_test(the_callers_rounding_mode_does_not_reach_kernels),
        cmocka_unit_test(others_take_the_parts_of_a_stalled_thread),
        cmocka_unit_test(a_forked_child_gets_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
