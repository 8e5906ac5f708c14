/* Splitting ragged reductions into parts keeps their values; what has another form stays as it is.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compile/splitk.h"

enum { ROWS = 4, KEYS = 128, WIDTH = 3, PARTS = 4, PAGE = 16 };

/* Scores, their maximum, weights, sums; J stands for the ragged axis. */
#define INPUTS "in s32 len[4] in 0..129\nin f32 x[4, 128]\nin f32 v[128, 3]\n"
#define J "j < s64(len[t]) <= 128"
#define SOFTMAX                                                                                    \
    "def f32 m[t] = max(" J ": x[t, j] * 0.5)\n"                                                   \
    "def f32 e[t, " J "] = exp(x[t, j] * 0.5 - m[t])\n"                                            \
    "def f32 l[t] = sum(" J ": e[t, j])\n"                                                         \
    "def f32 o[t, d] = sum(" J ": e[t, j] * v[j, d])\n"
#define OUT "def f32 y[t, d] = select(l[t] == 0.0, 0.0, o[t, d] / l[t])\n"

typedef struct problem {
    te_graph *g;
    te_env *env;
    te_tensor *y, *split;
} problem;

static void ok(ll_code rc, const ll_error *e) {
    if (rc != LL_OK) fail_msg("%s", e->msg);
}

static problem make(const char *text, int64_t parts, int64_t page) {
    problem p = {.g = te_graph_create()};
    ll_error err = {0};
    ok(te_parse(p.g, text, "test", &err), &err);
    p.y = p.split = te_find(p.g, "y");
    assert_non_null(p.y);
    ok(cc_splitk(p.g, &p.split, 1, parts, page, &err), &err);
    return p;
}

/* What lies behind a length is NaN. */
static void bind(problem *p, const int *len) {
    ll_error err = {0};
    te_value n[ROWS], x[ROWS * KEYS], v[KEYS * WIDTH];
    p->env = te_env_create(p->g);
    int most = 0;
    for (int t = 0; t < ROWS; t++) {
        n[t].i = len[t];
        if (len[t] > most) most = len[t];
        for (int j = 0; j < KEYS; j++)
            x[t * KEYS + j].f = j < len[t] ? sin(t * 7.0 + j * 1.3) * 9 : NAN;
    }
    for (int j = 0; j < KEYS; j++)
        for (int d = 0; d < WIDTH; d++) v[j * WIDTH + d].f = j < most ? cos(j * 0.7 + d) : NAN;
    ok(te_env_bind(p->env, te_find(p->g, "len"), n, ROWS, &err), &err);
    ok(te_env_bind(p->env, te_find(p->g, "x"), x, ROWS * KEYS, &err), &err);
    ok(te_env_bind(p->env, te_find(p->g, "v"), v, KEYS * WIDTH, &err), &err);
}

static void finish(problem *p) {
    te_env_destroy(p->env);
    te_graph_destroy(p->g);
}

static void equal_values(problem *p, const char *what) {
    ll_error err = {0};
    const te_value *a, *b;
    size_t n, m;
    ok(te_eval(p->env, p->y, &a, &n, &err), &err);
    ok(te_eval(p->env, p->split, &b, &m, &err), &err);
    assert_int_equal(n, m);
    for (size_t i = 0; i < n; i++)
        if (!(fabs(a[i].f - b[i].f) <= 2e-6 * (1 + fabs(a[i].f))))
            fail_msg("%s: element %zu: %.9g, was %.9g", what, i, b[i].f, a[i].f);
}

static const int lengths[][ROWS] = {
    {1, 2, PAGE - 1, PAGE},
    {PAGE + 1, 2 * PAGE, 3 * PAGE - 1, 3 * PAGE},
    {0, 1, 0, 128},
    {4 * PAGE, 4 * PAGE + 1, 5 * PAGE, 127},
};
enum { N_LENGTHS = sizeof lengths / sizeof *lengths };

static void parts_have_the_value_of_the_whole(void **state) {
    static const struct {
        int64_t parts, page;
    } cut[] = {{4, 16}, {1, 16}, {3, 16}, {16, 16}, {2, 64}, {5, 1}};
    for (size_t c = 0; c < sizeof cut / sizeof *cut; c++)
        for (int i = 0; i < N_LENGTHS; i++) {
            problem p = make(INPUTS SOFTMAX OUT, cut[c].parts, cut[c].page);
            assert_ptr_not_equal(p.split, p.y);
            bind(&p, lengths[i]);
            equal_values(&p, "softmax");
            finish(&p);
        }
}

/* l.p[t, p]: sums of whole pages; parts beyond the last page are empty, and no key is in two parts.
 */
static void parts_take_whole_pages_and_every_key_once(void **state) {
    for (int i = 0; i < N_LENGTHS; i++) {
        /* every weight is exp(0) = 1, so a part's sum counts its keys */
        problem p = make("in s32 len[4] in 0..129\nin f32 x[4, 128]\nin f32 v[128, 3]\n"
                         "def f32 m[t] = max(" J ": x[t, j] * 0.0)\n"
                         "def f32 e[t, " J "] = exp(x[t, j] * 0.0 - m[t])\n"
                         "def f32 l[t] = sum(" J ": e[t, j])\ndef f32 y[t] = l[t] * 1.0\n",
                         PARTS, PAGE);
        ll_error err = {0};
        bind(&p, lengths[i]);
        te_tensor *lp = te_find(p.g, "l.p");
        assert_non_null(lp);
        assert_true(te_is_int(lp->shape[1], PARTS));
        const te_value *n;
        size_t count;
        ok(te_eval(p.env, lp, &n, &count, &err), &err);
        for (int t = 0; t < ROWS; t++) {
            int64_t all = 0;
            for (int k = 0; k < PARTS; k++) {
                int64_t keys = (int64_t)n[t * PARTS + k].f;
                all += keys;
                if (all < lengths[i][t]) assert_int_equal(keys % PAGE, 0);
            }
            assert_int_equal(all, lengths[i][t]);
        }
        finish(&p);
    }
}

/* A sum behind the maximum that has no sum over the rows alone beside it: nothing says when a part
 * is empty. */
static void a_group_without_a_sum_of_weights_stays(void **state) {
    problem p = make(INPUTS "def f32 m[t] = max(" J ": x[t, j])\ndef f32 e[t, " J
                            "] = exp(x[t, j] - m[t])\n"
                            "def f32 y[t, d] = sum(" J ": e[t, j] * v[j, d])\n",
                     PARTS, PAGE);
    assert_ptr_equal(p.split, p.y);
    bind(&p, lengths[0]);
    equal_values(&p, "without a sum of weights");
    finish(&p);
}

/* Initial values (attention sinks) must not be lost, whether or not such a group is split. */
static void initial_values_are_kept(void **state) {
    for (int i = 0; i < N_LENGTHS; i++) {
        problem p = make(INPUTS "in f32 sink[4]\n"
                                "def f32 m[t] = max(" J ": x[t, j]) from sink[t]\n"
                                "def f32 e[t, " J "] = exp(x[t, j] - m[t])\n"
                                "def f32 l[t] = sum(" J ": e[t, j]) from exp(sink[t] - m[t])\n"
                                "def f32 o[t, d] = sum(" J
                                ": e[t, j] * v[j, d])\ndef f32 y[t, d] = o[t, d] / l[t]\n",
                         PARTS, PAGE);
        te_value sink[ROWS] = {{.f = 0.5}, {.f = 20}, {.f = -30}, {.f = 1}};
        ll_error err = {0};
        bind(&p, lengths[i]);
        ok(te_env_bind(p.env, te_find(p.g, "sink"), sink, ROWS, &err), &err);
        equal_values(&p, "sinks");
        finish(&p);
    }
}

static void two_groups_are_split_side_by_side(void **state) {
    problem p = make(INPUTS SOFTMAX
                     "def f32 m2[t] = max(" J ": x[t, j] * x[t, j])\n"
                     "def f32 e2[t, " J "] = exp(x[t, j] * x[t, j] - m2[t])\n"
                     "def f32 l2[t] = sum(" J ": e2[t, j])\n"
                     "def f32 y[t, d] = select(l[t] == 0.0, 0.0, o[t, d] / l[t] + m2[t] + l2[t])\n",
                     PARTS, PAGE);
    assert_non_null(te_find(p.g, "l.p"));
    assert_non_null(te_find(p.g, "l2.p"));
    bind(&p, lengths[1]);
    equal_values(&p, "two groups");
    finish(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_have_the_value_of_the_whole),
        cmocka_unit_test(parts_take_whole_pages_and_every_key_once),
        cmocka_unit_test(a_group_without_a_sum_of_weights_stays),
        cmocka_unit_test(initial_values_are_kept),
        cmocka_unit_test(two_groups_are_split_side_by_side),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
