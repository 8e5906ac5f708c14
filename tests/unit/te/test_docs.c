/* docs/te.md keeps its word: every te block parses and prints as it stands, every line of a
 * simplify block holds, and every C block stands word for word in this file, where it is
 * compiled and run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "te/te.h"

static char *slurp(const char *path)
{
    void *p = NULL;
    size_t n;
    ll_error err = {0};
    if (ll_file_read(path, 1 << 20, &p, &n, &err) != LL_OK) fail_msg("%s", err.msg);
    return p;
}

/* The next ```kind block from *at on (malloc'ed), or NULL. */
static char *block(const char **at, const char *kind)
{
    char open[32];
    snprintf(open, sizeof open, "```%s\n", kind);
    const char *s = strstr(*at, open);
    if (!s) return NULL;
    s += strlen(open);
    const char *e = strstr(s, "```");
    *at = e + 3;
    return strndup(s, (size_t)(e - s));
}

static void te_blocks_parse_and_print_back(void **state)
{
    char *doc = slurp(TE_DOC), *text;
    int n = 0;
    for (const char *at = doc; (text = block(&at, "te")); n++) {
        te_graph *g = te_graph_create();
        ll_error err = {0};
        ll_str s = {0};
        if (te_parse(g, text, "docs/te.md", &err) != LL_OK) fail_msg("%s\n%s", err.msg, text);
        te_print(&s, g);
        assert_string_equal(ll_str_cstr(&s), text);
        ll_str_finish(&s);
        te_graph_destroy(g);
        free(text);
    }
    assert_true(n >= 4);
    free(doc);
}

static void simplify_lines_hold(void **state)
{
    te_graph *g = te_graph_create();
    te_dim_multiple(g, "T", 4, 4096, 4);
    te_scope scope[] = {{"ko", te_axis(g, "ko", te_int(g, 18))},
                        {"g", te_axis(g, "g", te_int(g, 8))},
                        {"r", te_axis(g, "r", te_int(g, 4))},
                        {"x", te_axis(g, "x", te_int(g, 1000))}};
    char *doc = slurp(TE_DOC), *text;
    int n = 0;
    for (const char *at = doc; (text = block(&at, "simplify"));) {
        for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"), n++) {
            char *arrow = strstr(line, " -> ");
            ll_error err = {0};
            *arrow = 0;
            te_ref a = te_parse_expr(g, line, scope, 4, &err);
            if (!a) fail_msg("%s", err.msg);
            assert_string_equal(te_show(te_simplify(g, a)), arrow + 4);
        }
        free(text);
    }
    assert_true(n >= 5);
    te_graph_destroy(g);
    free(doc);
}

static void c_blocks_are_compiled_here(void **state)
{
    char *doc = slurp(TE_DOC), *self = slurp(TE_SELF), *text;
    int n = 0;
    for (const char *at = doc; (text = block(&at, "c")); n++) {
        if (!strstr(self, text)) fail_msg("not in test_docs.c:\n%s", text);
        free(text);
    }
    assert_true(n >= 2);
    free(doc);
    free(self);
}

static void the_first_example_is_the_second(void **state)
{
    te_graph *g = te_graph_create();
    te_ref M = te_dim(g, "M", 1, 512), N = te_int(g, 576), K = te_int(g, 1536);
    te_tensor *X = te_input(g, "X", LL_F16, M, K), *W = te_weight(te_input(g, "W", LL_F16, N, K));
    te_ref m = te_axis(g, "m", M), n = te_axis(g, "n", N), k = te_axis(g, "k", K);
    te_ref product = te_mul(te_cast(LL_F32, te_at(X, m, k)), te_cast(LL_F32, te_at(W, n, k)));
    te_tensor *acc = te_def(g, "acc", te_sum(product, k), m, n);
    assert_non_null(acc);
    char *doc = slurp(TE_DOC);
    const char *at = doc;
    char *text = block(&at, "te");
    ll_str s = {0};
    te_print(&s, g);
    assert_string_equal(ll_str_cstr(&s), text);
    ll_str_finish(&s);
    free(text);
    free(doc);
    te_graph_destroy(g);
}

static void the_evaluation_example_runs(void **state)
{
    te_graph *g = te_graph_create();
    ll_error err = {0};
    assert_int_equal(te_parse(g, "dim T in 1..8\nin f32 x[T, 2]\ndef f32 y[t] = sum(k: x[t, k])\n",
                              "text", &err),
                     LL_OK);
    te_env *e = te_env_create(g);
    te_env_dim(e, "T", 2, &err);
    te_env_bind(e, te_find(g, "x"), (te_value[]){{.f = 1}, {.f = 2}, {.f = 3}, {.f = 4}}, 4, &err);
    const te_value *v;
    size_t n_values;
    te_eval(e, te_find(g, "y"), &v, &n_values, &err);
    assert_int_equal(err.code, LL_OK);
    assert_true(n_values == 2 && v[0].f == 3 && v[1].f == 7);
    te_env_destroy(e);
    te_graph_destroy(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(te_blocks_parse_and_print_back),
        cmocka_unit_test(simplify_lines_hold),
        cmocka_unit_test(c_blocks_are_compiled_here),
        cmocka_unit_test(the_first_example_is_the_second),
        cmocka_unit_test(the_evaluation_example_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
