/* Random graphs: they build, evaluate, print and parse; simplification and single points agree
 * with whole tensors bit for bit. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "te/te.h"
#include "tests/support/gen_expr.h"

static char why[4096];
static int ragged, chained, reductions, quantised, symbolic;

static bool no(const char *what, te_graph *g, const char *detail)
{
    ll_str s = {0};
    te_print(&s, g);
    snprintf(why, sizeof why, "%s: %s\n%s", what, detail, ll_str_cstr(&s));
    ll_str_finish(&s);
    return false;
}

static te_tensor *simplified(te_graph *g, te_tensor *t)
{
    te_ref body = te_simplify(g, t->body), init = t->init ? te_simplify(g, t->init) : NULL;
    if (init && te_is_reduce(body)) return te_def_init(g, "simple", body, init, t->axis, t->n_axis);
    return te_def_(NULL, 0, g, "simple", body, t->axis, t->n_axis);
}

static bool same(te_value a, te_value b) { return a.i == b.i || (isnan(a.f) && isnan(b.f)); }

static bool equal_values(te_env *e, te_tensor *a, te_tensor *b, ll_error *err)
{
    const te_value *x, *y;
    size_t n, m;
    if (te_eval(e, a, &x, &n, err) != LL_OK || te_eval(e, b, &y, &m, err) != LL_OK || n != m)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!same(x[i], y[i]))
            return ll_fail(err, LL_FAILED, "element %zu: %.9g %.9g", i, x[i].f, y[i].f) == LL_OK;
    return true;
}

static bool points_agree(te_graph *g, te_env *whole, te_tensor *t, uint64_t seed, ll_error *err)
{
    te_env *e = te_env_create(g);
    const te_value *v;
    size_t n;
    bool ok = gen_bind(e, g, seed, GEN_ALL, err) && te_eval(whole, t, &v, &n, err) == LL_OK;
    int64_t shape[8], idx[8];
    for (int d = 0; ok && d < t->ndim; d++)
        shape[d] = t->shape[d]->op == TE_INT ? t->shape[d]->u.i : gen_dim_value(t->shape[d], seed);
    for (size_t k = 0; ok && k < n; k += 1 + n / 7) {
        size_t rest = k;
        te_value p;
        for (int d = t->ndim; d-- > 0; rest /= (size_t)shape[d])
            idx[d] = (int64_t)(rest % (size_t)shape[d]);
        ok = te_eval_point(e, t, idx, &p, err) == LL_OK;
        if (ok && !same(p, v[k]))
            ok = ll_fail(err, LL_FAILED, "point %zu: %.9g %.9g", k, p.f, v[k].f) == LL_OK;
    }
    te_env_destroy(e);
    return ok;
}

static bool parses_back(te_graph *g, te_tensor *t, ll_error *err)
{
    ll_str a = {0}, b = {0};
    te_tensor *roots[1] = {t};
    te_canonical(&a, roots, 1);
    char *last = strstr(ll_str_cstr(&a), "out b");
    te_graph *h = te_graph_create();
    bool made_up = strstr(ll_str_cstr(&a), "in gen3") != NULL; /* a type of this process only */
    bool ok = last != NULL;
    if (ok && !made_up) {
        char name[16];
        snprintf(name, sizeof name, "%s", last + 4);
        name[strcspn(name, "\n")] = 0;
        *last = 0;
        ok = te_parse(h, ll_str_cstr(&a), "canonical", err) == LL_OK;
        if (ok) {
            roots[0] = te_find(h, name);
            te_canonical(&b, roots, 1);
            *strstr(b.s, "out b") = 0;
            ok = strcmp(ll_str_cstr(&a), ll_str_cstr(&b)) == 0;
            if (!ok)
                ll_fail(err, LL_FAILED, "canonical texts differ:\n%s\n%s", ll_str_cstr(&a),
                        ll_str_cstr(&b));
        }
    }
    te_graph_destroy(h);
    te_graph_use(NULL);
    ll_str_finish(&a);
    ll_str_finish(&b);
    return ok;
}

static bool has_ragged_axis(const te_tensor *t)
{
    bool yes = false;
    for (int i = 0; i < t->n_axis; i++) yes |= t->axis[i]->u.axis->max != NULL;
    return yes;
}

static bool is_ragged(const te_tensor *t)
{
    bool yes = has_ragged_axis(t);
    for (int i = 1; te_is_reduce(t->body) && i < t->body->n; i++)
        yes |= t->body->src[i]->u.axis->max != NULL;
    return yes;
}

static bool holds(uint64_t seed, int size, void *ctx)
{
    unsigned flags = *(unsigned *)ctx;
    te_graph *g = te_graph_create();
    te_env *e = te_env_create(g);
    ll_error err = {0};
    te_tensor *t = gen_graph(g, seed, size, flags);
    bool ok = !te_error(g) || no("build", g, te_error(g)->msg);
    ok = ok && (gen_bind(e, g, seed, flags, &err) || no("bind", g, err.msg));
    if (ok) {
        reductions += te_is_reduce(t->body);
        for (size_t i = 0; i < te_n_tensors(g); i++) {
            quantised +=
                te_tensor_at(g, i)->kind == TE_PLANE && te_loads(t->body, te_tensor_at(g, i));
            ragged += te_tensor_at(g, i)->kind == TE_DEF && is_ragged(te_tensor_at(g, i));
            chained += has_ragged_axis(te_tensor_at(g, i)) && te_loads(t->body, te_tensor_at(g, i));
            symbolic += te_tensor_at(g, i)->ndim && te_tensor_at(g, i)->shape[0]->op == TE_DIM;
        }
        te_tensor *s = simplified(g, t);
        ok = !te_error(g) || no("simplify", g, te_error(g)->msg);
        ok = ok && (equal_values(e, t, s, &err) || no("simplified differs", g, err.msg));
        ok = ok && (points_agree(g, e, t, seed, &err) || no("points differ", g, err.msg));
        ok = ok && (parses_back(g, t, &err) || no("text", g, err.msg));
    }
    te_env_destroy(e);
    te_graph_destroy(g);
    return ok;
}

static void random_graphs_hold_what_te_promises(void **state)
{
    uint64_t seed;
    int size;
    unsigned flags[] = {GEN_ALL, GEN_ALL & ~GEN_EXACT};
    const char *more = getenv("LLMIR_TEST_MORE");
    int n = more ? atoi(more) : 120;
    for (int f = 0; f < 2; f++)
        for (size = 4; size <= 32; size *= 2) {
            int bad = size;
            if (!gen_check((uint64_t)size * 100000, n, size, holds, &flags[f], &seed, &bad)) {
                holds(seed, bad, &flags[f]);
                fail_msg("seed %llu size %d flags %u: %s", (unsigned long long)seed, bad, flags[f],
                         why);
            }
        }
    assert_true(reductions > n && quantised > n / 4 && symbolic > n / 2);
    assert_true(ragged > n / 8 && chained > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(random_graphs_hold_what_te_promises)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
