/* `sync`: without its barriers the verifier refuses what blocks do, with them it does not; none is
 * put where nobody waits for anybody. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "schedule/sch.h"

typedef struct made {
    te_graph *g;
    sch *s;
} made;

static ll_target target;

static made make(const char *text, const char *root, const char *const *line, int n) {
    made m = {.g = te_graph_create()};
    ll_error err = {0};
    assert_int_equal(ll_target_parse("cuda:sm_80", &target, &err), LL_OK);
    if (te_parse(m.g, text, "test", &err) != LL_OK) fail_msg("%s", err.msg);
    te_tensor *t = te_find(m.g, root);
    m.s = sch_create(m.g, "k", &t, 1, &target, &err);
    assert_non_null(m.s);
    m.s->verify_later = true; /* between two lines barriers are missing */
    for (int i = 0; i < n; i++)
        if (sch_do(m.s, line[i]) != LL_OK) fail_msg("%s: %s", line[i], m.s->error.msg);
    return m;
}

static void drop(made *m) {
    sch_destroy(m->s);
    te_graph_destroy(m->g);
}

static bool count_sync(lp_stmt *st, void *p) {
    *(int *)p += st->kind == LP_SYNC;
    return true;
}

static void check(const char *text, const char *root, const char *const *line, int n,
                  int barriers) {
    made m = make(text, root, line, n);
    ll_error err = {0};
    int found = 0;
    if (barriers) {
        assert_int_equal(lp_verify(m.s->fn, &err), LL_NOT_LEGAL);
        assert_non_null(strstr(err.msg, "barrier"));
    }
    if (sch_do(m.s, "sync") != LL_OK) fail_msg("%s", m.s->error.msg);
    err = (ll_error){0};
    if (lp_verify(m.s->fn, &err) != LL_OK) fail_msg("%s", err.msg);
    lp_walk(m.s->fn->body, count_sync, &found);
    assert_int_equal(found, barriers);
    drop(&m);
}

static void readers_of_shared_memory_wait_for_its_writers(void **state) {
    static const char *const line[] = {"at a y.t shared", "bind a.n thread.x", "bind y.n thread.x",
                                       "bind y.t block.x"};
    check("in f64 x[5, 64]\n"
          "def f64 a[t, n] = x[t, n] * 2.0:f64\n"
          "def f64 y[t, n] = a[t, 63 - n] + a[t, n]\n",
          "y", line, 4, 1);
}

/* One before the readers, one before the next iteration overwrites what they read; one between the
 * initial value and the sum, which other threads may hold. */
static void a_loop_waits_at_its_end_for_its_beginning(void **state) {
    static const char *const line[] = {
        "split y.k 16",      "reorder y.m y.k.o y.k.i y.n", "cache_read w y y.k.o shared name=ws",
        "bind y.n thread.x", "bind ws.i1 thread.x",         "bind y.n.pre thread.x",
        "bind y.m block.x"};
    made m = make("in f64 x[4, 64]\nin f64 w[32, 64]\n"
                  "def f64 y[m, n] = sum(k: x[m, k] * w[n, k])\n",
                  "y", line, 7);
    ll_error err = {0};
    int found = 0;
    assert_int_equal(lp_verify(m.s->fn, &err), LL_NOT_LEGAL);
    if (sch_do(m.s, "sync") != LL_OK) fail_msg("%s", m.s->error.msg);
    err = (ll_error){0};
    if (lp_verify(m.s->fn, &err) != LL_OK) fail_msg("%s", err.msg);
    lp_walk(m.s->fn->body, count_sync, &found);
    assert_in_range(found, 2, 4);
    drop(&m);
}

static void none_where_nobody_waits(void **state) {
    static const char *const line[] = {"bind y.n thread.x", "bind y.t block.x"};
    check("in f64 x[5, 64]\ndef f64 y[t, n] = x[t, n] * 2.0:f64\n", "y", line, 2, 0);
}

static void copies_wait_by_themselves(void **state) {
    static const char *const line[] = {"bind y.n warp", "bind y.t block.x"};
    made m = make("in f64 x[5, 4]\ndef f64 y[t, n] = x[t, n] * 2.0:f64\n", "y", line, 2);
    assert_int_equal(sch_do(m.s, "sync"), LL_NOT_LEGAL);
    assert_non_null(strstr(m.s->error.msg, "wanted loops over threads"));
    drop(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readers_of_shared_memory_wait_for_its_writers),
        cmocka_unit_test(a_loop_waits_at_its_end_for_its_beginning),
        cmocka_unit_test(none_where_nobody_waits),
        cmocka_unit_test(copies_wait_by_themselves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
