/* test_launch.c: the extents of a grid become ceil(n / div), or are refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compile/launch.h"

static int64_t value[3]; /* of A, B, C */

static int index_of(void *ctx, const char *name)
{
    (void)ctx;
    return name[0] >= 'A' && name[0] <= 'C' && !name[1] ? name[0] - 'A' : -1;
}

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

static int64_t meaning(te_ref e)
{
    switch (e->op) {
    case TE_INT: return e->u.i;
    case TE_DIM: return value[index_of(NULL, e->u.dim->name)];
    case TE_ADD: return meaning(e->src[0]) + meaning(e->src[1]);
    case TE_SUB: return meaning(e->src[0]) - meaning(e->src[1]);
    case TE_MUL: return meaning(e->src[0]) * meaning(e->src[1]);
    case TE_DIV: return floor_div(meaning(e->src[0]), meaning(e->src[1]));
    default: fail_msg("%s", te_show(e)); return 0;
    }
}

static int64_t blocks(const cc_extent *x)
{
    int64_t n = x->n.base;
    for (int i = 0; i < 3; i++) n += x->n.coef[i] * value[i];
    return -floor_div(-n, x->div);
}

/* Random nests over three dims; about half have the form. */
static te_ref random_nest(te_graph *g, int depth)
{
    static const char *const name[] = {"A", "B", "C"};
    int what = depth ? rand() % 8 : rand() % 2;
    if (what == 0) return te_int(g, rand() % 300);
    if (what == 1) return te_dim(g, name[rand() % 3], 0, 4096);
    if (what < 4) return te_add(random_nest(g, depth - 1), random_nest(g, depth - 1));
    if (what < 5) return te_sub(random_nest(g, depth - 1), random_nest(g, depth - 1));
    if (what < 6) return te_mul(random_nest(g, depth - 1), te_int(g, rand() % 5));
    return te_div(random_nest(g, depth - 1), te_int(g, 1 + rand() % 130));
}

static void extents_keep_their_value(void **s)
{
    (void)s;
    int read = 0, refused = 0;
    srand(5);
    for (int i = 0; i < 4000; i++) {
        te_graph *g = te_graph_create();
        te_ref e = random_nest(g, 4);
        cc_extent x;
        ll_error err = {0};
        ll_code rc = cc_extent_of(e, index_of, NULL, &x, &err);
        if (rc == LL_UNSUPPORTED && ++refused) assert_non_null(strstr(err.msg, "a grid of "));
        else assert_int_equal(rc, LL_OK);
        for (int k = 0; k < 20 && rc == LL_OK; k++, read++) {
            for (int d = 0; d < 3; d++) value[d] = k ? rand() % 4096 : 0;
            if (blocks(&x) != meaning(e)) fail_msg("%s", te_show(e));
        }
        te_graph_destroy(g);
    }
    assert_true(read > 20000 && refused > 200);
}

static void what_has_no_such_form_is_refused(void **s)
{
    (void)s;
    te_graph *g = te_graph_create();
    te_ref a = te_dim(g, "A", 0, 4096), b = te_dim(g, "B", 0, 4096), d = te_dim(g, "D", 0, 4096);
    te_ref tiles = te_divi(te_addi(a, 127), 128), other = te_divi(te_addi(b, 15), 16);
    te_ref bad[] = {te_mul(a, b), te_add(tiles, other), te_muli(tiles, 3), te_div(a, b),
                    te_modi(a, 3), d, te_muli(te_addi(a, 5), INT64_MAX)};
    cc_extent x;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ll_error err = {0};
        assert_int_equal(cc_extent_of(bad[i], index_of, NULL, &x, &err), LL_UNSUPPORTED);
    }
    cg_launch l = {.entry = "k", .block = {64, 1, 1}, .grid = {a, te_mul(a, b), NULL}};
    cc_launch out;
    ll_error err = {0};
    assert_int_equal(cc_launch_of(&l, "kernel_7", index_of, NULL, &out, &err), LL_UNSUPPORTED);
    assert_memory_equal(err.msg, "kernel_7: a grid of ", 20);
    te_graph_destroy(g);
}

static const void *section(const uint8_t *blob, uint32_t kind, uint64_t *count)
{
    const llmir_blob_head *h = (const void *)blob;
    const llmir_section *s = (const void *)(h + 1);
    for (uint32_t i = 0; i < h->n_section; i++)
        if (s[i].kind == kind) return *count = s[i].count, blob + s[i].offset;
    fail_msg("no section %u", kind);
    return NULL;
}

static void records_hold_the_rule_and_the_text(void **s)
{
    (void)s;
    te_graph *g = te_graph_create();
    te_ref a = te_dim(g, "A", 0, 4096), b = te_dim(g, "B", 0, 4096);
    cg_launch l = {.entry = "mm", .block = {128, 2, 1}, .shared = 4096,
                   .grid = {te_divi(te_addi(a, 63), 64), te_muli(b, 3), NULL}};
    cc_launch out;
    ll_error err = {0};
    assert_int_equal(cc_launch_of(&l, "k", index_of, NULL, &out, &err), LL_OK);
    cc_blob *blob = cc_blob_create();
    static const char text[] = ".version 8.0", other[] = ".version 7.8\n// x";
    assert_int_equal(cc_launch_add(blob, &out, text, sizeof text), 0);
    assert_int_equal(cc_launch_add(blob, &out, other, sizeof other), 1);
    uint8_t *bytes;
    size_t size;
    uint64_t n;
    assert_int_equal(cc_blob_finish(blob, &bytes, &size, &err), LL_OK);
    const llmir_launch_rec *r = section(bytes, LLMIR_SEC_LAUNCH, &n);
    const char *ptx = section(bytes, LLMIR_SEC_PTX, &n);
    const llmir_term *term = section(bytes, LLMIR_SEC_TERM, &n);
    assert_int_equal(r[1].ptx, sizeof text);
    assert_int_equal(r[1].ptx_size, sizeof other);
    assert_string_equal(ptx + r[0].ptx, text);
    assert_string_equal(ptx + r[1].ptx, other);
    assert_true(r->block[0] == 128 && r->block[1] == 2 && r->block[2] == 1 && r->shared == 4096);
    assert_true(r->grid[0].n.base == 0 && r->grid[0].div == 64 && r->grid[0].n.n_term == 1);
    assert_true(r->grid[1].div == 1 && term[r->grid[1].n.term].coef == 3 &&
                term[r->grid[1].n.term].dim == 1);
    assert_true(r->grid[2].n.base == 1 && r->grid[2].n.n_term == 0 && r->grid[2].div == 1);
    free(bytes);
    cc_blob_destroy(blob);
    te_graph_destroy(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(extents_keep_their_value),
        cmocka_unit_test(what_has_no_such_form_is_refused),
        cmocka_unit_test(records_hold_the_rule_and_the_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
