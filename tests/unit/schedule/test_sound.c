/* What lp_verify accepts must run: random kernels (loops of every kind, guards, lets, affine
 * indices with quotients and remainders, codes of 4 bits) are verified; each accepted one runs
 * without an error and leaves the same bytes for every order of its iterations. Refused ones prove
 * nothing; enough must be accepted.
 *
 *     test_sound [CASES [SEED]]       a failure prints the kernel and the seed that repeats it */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "schedule/loop.h"

static long n_cases = 6000;
static uint64_t first_seed = 1;

typedef struct maker {
    uint64_t r;
    ll_str s;
    const char *var[16]; /* in scope */
    int n_var, n_loop, depth;
    bool claimed;
} maker;

static int draw(maker *m, int n)
{
    m->r = m->r * 6364136223846793005u + 1442695040888963407u;
    return (int)((m->r >> 33) % (uint64_t)n);
}

static const char *any_var(maker *m) { return m->n_var ? m->var[draw(m, m->n_var)] : "0"; }

/* An s64 expression over what is in scope. */
static void index_text(maker *m, char *out, size_t n)
{
    const char *a = any_var(m), *b = any_var(m);
    switch (draw(m, 11)) {
    case 0: snprintf(out, n, "%d", draw(m, 4)); break;
    case 1: case 2: snprintf(out, n, "%s", a); break;
    case 3: snprintf(out, n, "%s * %d + %s", a, 1 + draw(m, 5), b); break;
    case 4: snprintf(out, n, "%s / %d", a, 1 + draw(m, 4)); break;
    case 5: snprintf(out, n, "%s %% %d", a, 1 + draw(m, 4)); break;
    case 6: snprintf(out, n, "%s %% 2 * %d + %s / 2", a, 1 + draw(m, 4), a); break;
    case 7: snprintf(out, n, "min(%s + %d, %s)", a, draw(m, 3), draw(m, 2) ? "T - 1" : "3"); break;
    case 8: snprintf(out, n, "%s + %s", a, b); break;
    case 9: snprintf(out, n, "max(%s - %d, 0)", a, draw(m, 3)); break;
    default: snprintf(out, n, "%d - %s", 3 + draw(m, 4), a); break;
    }
}

static void indent(maker *m) { ll_str_indent(&m->s, m->depth); }

static void store(maker *m)
{
    char i[80], j[80], k[80], l[80];
    index_text(m, i, sizeof i);
    index_text(m, j, sizeof j);
    index_text(m, k, sizeof k);
    index_text(m, l, sizeof l);
    indent(m);
    switch (draw(m, 6)) {
    case 0: ll_str_addf(&m->s, "p[%s, %s] = s32(%s) * 3:s32\n", i, j, any_var(m)); break;
    case 1: ll_str_addf(&m->s, "p[%s, %s] += x[%s]\n", i, j, k); break;
    case 2: ll_str_addf(&m->s, "p[%s, %s] = p[%s, %s] + 1:s32\n", i, j, k, l); break;
    case 3: ll_str_addf(&m->s, "c[%s] = u4(x[%s] & 7:s32)\n", i, k); break;
    case 4: ll_str_addf(&m->s, "p[%s, %s] = p[%s, %s] + x[%s]\n", i, j, i, j, k); break;
    default: ll_str_addf(&m->s, "y[%s] = select(%s < T, x[%s], 5:s32)\n", i, k, k); break;
    }
}

static void statements(maker *m);

static void loop(maker *m)
{
    static const char *const how[] = {"", "", " @parallel", " @parallel", " @vector"};
    static const char *const names[] = {"a", "b", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m"};
    if (m->n_loop == 12) return;
    const char *v = names[m->n_loop++];
    bool claim = m->depth == 1 && !m->claimed && draw(m, 3) == 0;
    indent(m);
    const char *mark = claim ? " @claim" : how[draw(m, 5)];
    if (strcmp(mark, " @vector") != 0 && draw(m, 3) == 0)
        ll_str_addf(&m->s, "for %s < T%s {\n", v, mark);
    else if (strcmp(mark, "") == 0 && m->n_var && draw(m, 4) == 0)
        ll_str_addf(&m->s, "for %s < %s + 1 {\n", v, any_var(m));
    else ll_str_addf(&m->s, "for %s < %d%s {\n", v, 1 + draw(m, 8), mark);
    m->claimed = m->claimed || claim;
    m->var[m->n_var++] = v;
    m->depth++;
    statements(m);
    m->depth--;
    m->n_var--;
    ll_str_add(&m->s, "}\n");
}

static void guard(maker *m)
{
    char i[80];
    static const char *const bound[] = {"T", "4", "8", "1", "T - 1"};
    index_text(m, i, sizeof i);
    indent(m);
    ll_str_addf(&m->s, draw(m, 4) ? "if %s < %s {\n" : "if %s == %s {\n", i, bound[draw(m, 5)]);
    m->depth++;
    statements(m);
    m->depth--;
    ll_str_add(&m->s, "}\n");
}

static void statements(maker *m)
{
    int n = 1 + draw(m, 2);
    for (int i = 0; i < n; i++) {
        int what = draw(m, 10);
        if (what < 4 - m->depth / 2 && m->depth < 5) loop(m);
        else if (what < 6 && m->depth < 5 && m->n_var) guard(m);
        else store(m);
    }
}

static void make(maker *m, uint64_t seed)
{
    *m = (maker){.r = seed * 0x9E3779B97F4A7C15u, .depth = 1};
    draw(m, 2);
    ll_str_add(&m->s, "dim T in 1..7\nkernel k(in s32 x[8], inout s32 p[T, 8], inout u4 c[8], "
                      "inout s32 y[8]) {\n");
    loop(m);
    if (!m->claimed && draw(m, 3) == 0) loop(m);
    ll_str_add(&m->s, "}\n");
}

static int64_t dim_T(void *ctx, const char *name) { return *(int64_t *)ctx; }

typedef struct memory { int32_t x[8], p[56], y[8]; uint8_t c[4]; } memory;

static void run(const lp_func *f, int64_t T, uint64_t seed, memory *out, const char *text,
                uint64_t repeat)
{
    memory m = {.x = {3, 1, 4, 1, 5, 9, 2, 6}};
    for (int i = 0; i < 56; i++) m.p[i] = i * 11 % 17;
    for (int i = 0; i < 8; i++) m.y[i] = -i;
    lp_run r = {(void *[]){m.x, m.p, m.c, m.y},
                (size_t[]){sizeof m.x, (size_t)T * 32, sizeof m.c, sizeof m.y}, dim_T, &T, seed};
    ll_error err = {0};
    if (lp_eval(f, &r, &err))
        fail_msg("accepted, but %s (T = %d, case %llu):\n%s", err.msg, (int)T,
                 (unsigned long long)repeat, text);
    *out = m;
}

static void what_is_accepted_runs_the_same_in_every_order(void **state)
{
    long accepted = 0, parallel = 0;
    for (long k = 0; k < n_cases; k++) {
        uint64_t seed = first_seed + (uint64_t)k;
        maker m;
        make(&m, seed);
        const char *text = ll_str_cstr(&m.s);
        te_graph *g = te_graph_create();
        ll_error err = {0};
        lp_func *f = lp_parse(g, text, "made", &err);
        if (!f) fail_msg("%s\n%s", err.msg, text);
        if (lp_verify(f, &err) == LL_OK) {
            accepted++;
            parallel += strchr(text, '@') != NULL;
            for (int64_t T = 1; T <= 7; T += 3) {
                memory first, other;
                run(f, T, 0, &first, text, seed);
                for (uint64_t s = 1; s < 6; s++) {
                    run(f, T, s, &other, text, seed);
                    if (memcmp(&first, &other, sizeof first))
                        fail_msg("accepted, but its order matters (T = %d, case %llu):\n%s", (int)T,
                                 (unsigned long long)seed, text);
                }
            }
        }
        te_graph_destroy(g);
        ll_str_finish(&m.s);
    }
    print_message("%ld of %ld accepted, %ld of them with parallel loops\n", accepted, n_cases,
                  parallel);
    assert_true(accepted * 20 > n_cases);
    assert_true(parallel * 40 > n_cases);
}

int main(int argc, char **argv)
{
    if (argc > 1) n_cases = atol(argv[1]);
    if (argc > 2) first_seed = strtoull(argv[2], NULL, 10);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_accepted_runs_the_same_in_every_order)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
