/* test_programs.c: the loop-IR programs of programs.h, run by lp_eval, against references written
 * plainly. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <math.h>

#include <cmocka.h>

#include "schedule/programs.h"

/* ---- the best k of a row ---------------------------------------------------------------- */
typedef struct sizes {
    int64_t rows, n, k, parts;
} sizes;

static uint32_t next(uint64_t *s)
{
    *s = *s * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*s >> 33);
}

typedef enum content {
    RANDOM, FEW_VALUES, SOME_MISSING, ALL_MISSING, EQUAL, RISING, FALLING, WITH_NAN, N_CONTENT
} content;

static float value_of(content c, int64_t i, uint64_t *s)
{
    uint32_t r = next(s);
    switch (c) {
    case FEW_VALUES: return (float)(r % 5) - 2;
    case SOME_MISSING: return r % 3 ? -INFINITY : (float)(r % 1000);
    case ALL_MISSING: return -INFINITY;
    case EQUAL: return i % 2 ? 0.0f : -0.0f; /* which are equal */
    case RISING: return (float)i;
    case FALLING: return (float)-i;
    case WITH_NAN: return r % 4 ? (float)(r % 100) : NAN;
    default: return ((float)r - 1e9f) / 1e7f;
    }
}

static const float *row_now;

static int by_rank(const void *a, const void *b)
{
    int32_t i = *(const int32_t *)a, j = *(const int32_t *)b;
    float x = row_now[i], y = row_now[j];
    return x > y ? -1 : x < y ? 1 : i < j ? -1 : 1;
}

static void reference(const sizes *z, const float *x, int32_t *column, float *value)
{
    int32_t *id = malloc((size_t)z->n * sizeof *id);
    for (int64_t r = 0; r < z->rows; r++) {
        size_t n = 0;
        row_now = x + r * z->n;
        for (int64_t i = 0; i < z->n; i++)
            if (!isnan(row_now[i])) id[n++] = (int32_t)i;
        qsort(id, n, sizeof *id, by_rank);
        for (int64_t o = 0; o < z->k; o++) {
            column[r * z->k + o] = o < (int64_t)n ? id[o] : -1;
            value[r * z->k + o] = o < (int64_t)n ? row_now[id[o]] : -INFINITY;
        }
    }
    free(id);
}

static int64_t rows_of(void *ctx, const char *name) { return ((const sizes *)ctx)->rows; }

typedef struct memory {
    float *x, *part_value, *value;
    int32_t *part_column, *column;
} memory;

static void run_both(const lp_best *b, sizes *z, const memory *m, uint64_t seed)
{
    ll_error err = {0};
    size_t all = (size_t)(z->rows * z->parts * z->k) * 4, out = (size_t)(z->rows * z->k) * 4;
    lp_run part = {(void *[]){m->x, m->part_value, m->part_column},
                   (size_t[]){(size_t)(z->rows * z->n) * 4, all, all}, rows_of, z, seed};
    lp_run merge = {(void *[]){m->part_value, m->part_column, m->column, m->value},
                    (size_t[]){all, all, out, out}, rows_of, z, seed};
    if (lp_eval(b->part, &part, &err) || lp_eval(b->merge, &merge, &err)) fail_msg("%s", err.msg);
}

static void check_best(sizes *z, bool symbolic)
{
    te_graph *g = te_graph_create();
    te_graph_use(g);
    te_ref rows = symbolic ? te_dim(g, "R", 0, 64) : te_int(g, z->rows);
    te_tensor *x = te_input(g, "x", LL_F32, rows, te_int(g, z->n));
    lp_best b;
    ll_error err = {0};
    if (lp_best_of(x, "best", z->k, z->parts, &b, &err)) fail_msg("%s", err.msg);
    size_t all = (size_t)(z->rows * z->parts * z->k) + 1, out = (size_t)(z->rows * z->k) + 1;
    memory m = {malloc((size_t)(z->rows * z->n + 1) * 4), malloc(all * 4), malloc(out * 4),
                malloc(all * 4), malloc(out * 4)};
    int32_t *column = malloc(out * 4);
    float *value = malloc(out * 4);
    for (content c = 0; c < N_CONTENT; c++) {
        uint64_t s = (uint64_t)(z->n * 31 + c);
        for (int64_t i = 0; i < z->rows * z->n; i++) m.x[i] = value_of(c, i % z->n, &s);
        run_both(&b, z, &m, (uint64_t)c);
        reference(z, m.x, column, value);
        for (int64_t i = 0; i < z->rows * z->k; i++)
            if (m.column[i] != column[i] || memcmp(&m.value[i], &value[i], 4))
                fail_msg("%lld of %lld in %lld parts, content %d: place %lld has %d (%g), not %d "
                         "(%g)",
                         (long long)z->k, (long long)z->n, (long long)z->parts, (int)c,
                         (long long)i, m.column[i], (double)m.value[i], column[i],
                         (double)value[i]);
    }
    free(m.x), free(m.part_value), free(m.value), free(m.part_column), free(m.column);
    free(column), free(value);
    te_graph_use(NULL);
    te_graph_destroy(g);
}

static void the_best_are_those_of_a_full_sort(void **state)
{
    static sizes list[] = {
        {1, 1000, 256, 8}, {3, 97, 16, 5}, {2, 64, 8, 4},   {1, 50, 7, 1}, {1, 50, 50, 3},
        {1, 41, 1, 4},     {1, 2, 1, 2},   {1, 33, 3, 2},   {1, 33, 2, 2}, {0, 10, 4, 2},
        {1, 1, 1, 1},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        if (list[i].rows) check_best(&list[i], false);
        check_best(&list[i], true);
    }
}

static void rows_shorter_than_the_list_or_the_parts_end_in_nothing(void **state)
{
    static sizes list[] = {{1, 5, 16, 2}, {2, 3, 9, 7}, {1, 1, 256, 8}, {1, 15, 16, 16}};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) check_best(&list[i], false);
}

static void what_is_no_matrix_of_floats_has_no_best(void **state)
{
    te_graph *g = te_graph_create();
    te_graph_use(g);
    te_tensor *row = te_input(g, "row", LL_F32, te_int(g, 4)),
              *ints = te_input(g, "ints", LL_S32, te_int(g, 4), te_int(g, 4)),
              *x = te_input(g, "x", LL_F32, te_int(g, 4), te_int(g, 4));
    lp_best b;
    ll_error err = {0};
    assert_int_equal(lp_best_of(row, "b", 2, 2, &b, &err), LL_USAGE);
    assert_int_equal(lp_best_of(ints, "b", 2, 2, &b, NULL), LL_USAGE);
    assert_int_equal(lp_best_of(x, "b", 0, 2, &b, NULL), LL_USAGE);
    assert_int_equal(lp_best_of(x, "b", 2, 65537, &b, NULL), LL_USAGE);
    assert_non_null(strstr(err.msg, "row"));
    te_graph_use(NULL);
    te_graph_destroy(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_best_are_those_of_a_full_sort),
        cmocka_unit_test(rows_shorter_than_the_list_or_the_parts_end_in_nothing),
        cmocka_unit_test(what_is_no_matrix_of_floats_has_no_best),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
