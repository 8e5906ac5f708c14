/* test_programs_code.c: the loop-IR programs of schedule/programs.h, from their text to code of
 * this machine and of other x86 levels, say what lp_eval says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/str.h"
#include "harness.h"
#include "schedule/programs.h"

static void check_text(const lp_func *f, const int64_t *dim)
{
    ll_str text = {0};
    lp_print(&text, f);
    same_as_eval(ll_str_cstr(&text), dim, 0);
    ll_str_finish(&text);
}

/* Random values have 4001 steps: rows of thousands hold equal ones. */
static void check_best(int64_t rows, int64_t n, int64_t k, int64_t parts, bool symbolic)
{
    te_graph *g = te_graph_create();
    te_graph_use(g);
    te_tensor *x = te_input(g, "x", LL_F32, symbolic ? te_dim(g, "R", 0, 64) : te_int(g, rows),
                            te_int(g, n));
    lp_best b;
    ll_error err = {0};
    if (lp_best_of(x, "best", k, parts, &b, &err)) fail_msg("%s", err.msg);
    check_text(b.part, &rows);
    check_text(b.merge, &rows);
    te_graph_use(NULL);
    te_graph_destroy(g);
}

static void the_best_of_a_row_as_code(void **state)
{
    check_best(1, 6000, 256, 8, false);
    check_best(3, 131, 16, 5, true);
    check_best(2, 3, 7, 4, true);
    check_best(1, 40, 1, 3, false);
    check_best(0, 40, 2, 1, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_best_of_a_row_as_code)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
