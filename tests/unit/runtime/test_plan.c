/* test_plan.c: items of random plans over random ragged batches cover every visible (row, key)
 * once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "runtime/plan.h"

static uint64_t state = 88172645463325252u;
static uint32_t rnd(uint32_t n)
{
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (uint32_t)(state >> 20) % n;
}

enum { MAX_S = 6, MAX_ROWS = 40, MAX_KEYS = 400 };

static bool visible(const llmir_plan_rec *p, int32_t pos, int32_t key)
{
    return !p->causal || (key <= pos && (!p->window || key > pos - (int32_t)p->window));
}

/* The plans of the group cut a random partition of (rows, keys) into one or two boxes. */
static uint32_t random_group(llmir_plan_rec *plan)
{
    llmir_plan_rec p = {.row_tile = 1 + rnd(9),
                        .key_split = rnd(2) ? 1 + rnd(100) : 0,
                        .rows_min = 1,
                        .rows_max = UINT32_MAX,
                        .keys_min = 1,
                        .keys_max = UINT32_MAX,
                        .causal = rnd(4) > 0};
    if (p.causal && rnd(2)) p.window = 1 + rnd(120);
    plan[0] = p;
    if (rnd(2)) return 1;
    plan[1] = p;
    plan[1].row_tile = 1 + rnd(20);
    plan[1].key_split = rnd(2) ? 64 : 0;
    if (rnd(2))
        plan[0].rows_max = 1 + rnd(5), plan[1].rows_min = plan[0].rows_max + 1;
    else
        plan[0].keys_max = 1 + rnd(200), plan[1].keys_min = plan[0].keys_max + 1;
    return 2;
}

static void items_cover_the_domain_once(void **st)
{
    (void)st;
    static uint8_t seen[MAX_S * MAX_ROWS][MAX_KEYS + MAX_ROWS];
    for (int round = 0; round < 3000; round++) {
        llmir_plan_rec plan[2];
        uint32_t n = random_group(plan), s = 1 + rnd(MAX_S);
        ll_error e = {0};
        if (rt_plan_check(plan, n, "test", &e) != LL_OK) fail_msg("%s", e.msg);
        int32_t start[MAX_S + 1] = {0}, len[MAX_S], most = 0;
        for (uint32_t i = 0; i < s; i++) {
            int32_t rows = rnd(3) ? 1 + (int32_t)rnd(MAX_ROWS) : 1;
            len[i] = rows + (rnd(3) ? (int32_t)rnd(MAX_KEYS) : 0);
            start[i + 1] = start[i] + rows;
            most = len[i] > most ? len[i] : most;
        }
        memset(seen, 0, sizeof seen);
        for (uint32_t k = 0; k < n; k++) {
            uint64_t bound = rt_plan_bound(&plan[k], (uint64_t)start[s], s, (uint64_t)most);
            llmir_item *item = calloc(bound + 1, sizeof *item);
            int32_t first[MAX_S * MAX_ROWS];
            uint32_t w = rt_plan_make(&plan[k], start, len, s, item, first);
            assert_true(w <= bound);
            for (uint32_t i = 0; i < w; i++) {
                llmir_item it = item[i];
                assert_true(it.rows >= 1 && it.rows <= (int32_t)plan[k].row_tile &&
                            it.lo <= it.hi && it.hi <= len[it.seg]);
                assert_true(it.row0 >= start[it.seg] && it.row0 + it.rows <= start[it.seg + 1]);
                assert_true(it.part == 0 ||
                            (item[i - 1].row0 == it.row0 && item[i - 1].part == it.part - 1));
                assert_true(i + 1 == w || it.part + 1 == it.parts || item[i + 1].row0 == it.row0);
                if (plan[k].key_split && it.part)
                    assert_int_equal(it.lo % (int32_t)plan[k].key_split, 0);
                for (int32_t r = it.row0; r < it.row0 + it.rows; r++) {
                    int32_t pos = len[it.seg] - (start[it.seg + 1] - r);
                    assert_int_equal(first[r], (int32_t)i - it.part);
                    for (int32_t j = it.lo; j < it.hi; j++) {
                        if (j < it.mask_from && plan[k].causal) assert_true(j <= pos);
                        if (visible(&plan[k], pos, j)) seen[r][j]++;
                    }
                }
            }
            free(item);
        }
        for (uint32_t i = 0; i < s; i++)
            for (int32_t r = start[i]; r < start[i + 1]; r++)
                for (int32_t j = 0; j < len[i]; j++)
                    assert_int_equal(seen[r][j], visible(&plan[0], len[i] - (start[i + 1] - r), j));
    }
}

/* What a sequence gets does not depend on its neighbours: its items, seen from its first row, are
 * the same. */
static void items_of_a_segment_do_not_depend_on_the_batch(void **st)
{
    (void)st;
    llmir_plan_rec p = {.row_tile = 3,
                        .key_split = 32,
                        .rows_min = 1,
                        .rows_max = UINT32_MAX,
                        .keys_min = 1,
                        .keys_max = UINT32_MAX,
                        .causal = 1};
    int32_t alone_start[] = {0, 10}, start[] = {0, 7, 17, 18}, len[] = {50, 100, 1}, first[20];
    llmir_item a[64], b[64];
    uint32_t n = rt_plan_make(&p, alone_start, &len[1], 1, a, first),
             m = rt_plan_make(&p, start, len, 3, b, first), k = 0;
    for (uint32_t i = 0; i < m; i++) {
        if (b[i].seg != 1) continue;
        b[i].seg = 0;
        b[i].row0 -= 7;
        assert_memory_equal(&a[k++], &b[i], sizeof *a);
    }
    assert_int_equal(k, n);
}

static void groups_that_do_not_partition_are_refused(void **st)
{
    (void)st;
    llmir_plan_rec one = {.row_tile = 4,
                          .rows_min = 1,
                          .rows_max = UINT32_MAX,
                          .keys_min = 1,
                          .keys_max = UINT32_MAX,
                          .causal = 1};
    llmir_plan_rec p[2] = {one, one};
    ll_error e = {0};
    assert_int_equal(rt_plan_check(p, 1, "m", NULL), LL_OK);
    assert_int_equal(rt_plan_check(p, 2, "m", &e), LL_BAD_INPUT); /* twice */
    assert_string_equal(e.msg, "m: plan group 0 serves a segment of 1 rows and 1 keys 2 times, "
                               "wanted once");
    p[0].rows_max = 1;
    p[1].rows_min = 3; /* two rows: nobody */
    e.code = LL_OK;
    assert_int_equal(rt_plan_check(p, 2, "m", &e), LL_BAD_INPUT);
    assert_string_equal(e.msg, "m: plan group 0 serves a segment of 2 rows and 1 keys 0 times, "
                               "wanted once");
    p[1].rows_min = 2;
    assert_int_equal(rt_plan_check(p, 2, "m", NULL), LL_OK);
    p[1].group = 1; /* two groups, neither whole */
    assert_int_equal(rt_plan_check(p, 2, "m", NULL), LL_BAD_INPUT);
    p[0] = one, p[1] = one, p[1].group = 1;
    assert_int_equal(rt_plan_check(p, 2, "m", NULL), LL_OK);
    p[0].rows_min = p[0].keys_min = 0; /* no limit */
    assert_int_equal(rt_plan_check(p, 2, "m", NULL), LL_OK);
    p[0].rows_max = 0;
    assert_int_equal(rt_plan_check(p, 2, "m", NULL), LL_BAD_INPUT);
    p[0] = one;
    p[0].row_tile = 0;
    assert_int_equal(rt_plan_check(p, 2, "m", NULL), LL_BAD_INPUT);
    p[0] = one, p[0].causal = 0, p[0].window = 4;
    assert_int_equal(rt_plan_check(p, 1, "m", NULL), LL_BAD_INPUT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_cover_the_domain_once),
        cmocka_unit_test(items_of_a_segment_do_not_depend_on_the_batch),
        cmocka_unit_test(groups_that_do_not_partition_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
