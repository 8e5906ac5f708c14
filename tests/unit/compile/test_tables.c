/* test_tables.c: rows of a module's tables for targets of several kinds: plans and their dims, code
 * numbers of the CPU's kernels, launches of a CUDA target's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compile/program.h"

static uint8_t *bytes;

static const void *section(uint32_t kind, uint64_t want)
{
    const llmir_blob_head *h = (const void *)bytes;
    const llmir_section *s = (const void *)(h + 1);
    for (uint32_t i = 0; i < h->n_section; i++)
        if (s[i].kind == kind) {
            assert_int_equal(s[i].count, want);
            return bytes + s[i].offset;
        }
    fail_msg("no section %u", kind);
    return NULL;
}

static const char *text(llmir_str s)
{
    const llmir_blob_head *h = (const void *)bytes;
    const llmir_section *x = (const void *)(h + 1);
    while (x->kind != LLMIR_SEC_STRINGS) x++;
    return (const char *)bytes + x->offset + s;
}

static void finish(cc_builder *b)
{
    size_t n;
    ll_error e = {0};
    assert_int_equal(cc_blob_finish(b->blob, &bytes, &n, &e), LL_OK);
}

static void targets_that_cut_rows_alike_share_a_plan(void **s)
{
    (void)s;
    ll_error e = {0};
    cc_builder b = {.blob = cc_blob_create(), .err = &e};
    static const int64_t rows[] = {4, 64, 4, 16};
    cc_target_build t[4] = {0};
    cc_add_dims(&b);
    for (int i = 0; i < 4; i++) assert_int_equal(cc_add_plan(&b, rows[i], &t[i].plan), LL_OK);
    assert_true(t[0].plan == 0 && t[1].plan == 1 && t[2].plan == 0 && t[3].plan == 2);
    finish(&b);
    const llmir_plan_rec *p = section(LLMIR_SEC_PLAN, 3);
    const llmir_dim_rec *d = section(LLMIR_SEC_DIM, CC_W + 3);
    assert_true(p[1].row_tile == 64 && p[1].group != p[0].group && p[2].row_tile == 16);
    for (int i = 0; i < 4; i++) { /* a kernel's W.items is the number of items of its own plan */
        const llmir_dim_rec *w = &d[cc_dim_index(&t[i], "W.items")];
        assert_true(w->kind == LLMIR_DIM_W && w->arg == t[i].plan && p[w->arg].row_tile == rows[i]);
    }
    assert_int_equal(cc_dim_index(&t[1], "KEYS"), CC_KEYS);
    assert_string_equal(text(d[CC_KEYS].name), "KEYS");
    assert_int_equal(cc_dim_index(&t[1], "W.others"), -1);
    for (int i = 3; i < CC_MAX_PLAN; i++)
        assert_int_equal(cc_add_plan(&b, 1000 + i, &t[0].plan), LL_OK);
    assert_int_equal(cc_add_plan(&b, 4, &t[0].plan), LL_OK);
    assert_int_equal(cc_add_plan(&b, 5, &t[0].plan), LL_UNSUPPORTED);
    assert_string_equal(e.msg, "the targets want more than 16 plans");
    free(bytes);
    cc_blob_destroy(b.blob);
}

/* A target with n kernels; of a CUDA target each has its text. */
static void make_target(cc_target_build *t, const char *name, uint32_t number, cc_built *kernel,
                        int n)
{
    static char te[] = "def y", trace[] = "split y 3", ptx[3][8] = {"a", "bc", "d"};
    ll_error e = {0};
    *t = (cc_target_build){.number = number, .kernel = kernel, .n_kernel = n};
    if (ll_target_parse(name, &t->target, &e) != LL_OK) fail_msg("%s", e.msg);
    for (int i = 0; i < n; i++) {
        kernel[i] = (cc_built){.te = te, .trace = trace};
        snprintf(kernel[i].name, sizeof kernel[i].name, "k%u_%d", number, i);
        kernel[i].code = (cg_code){.object = ptx[i], .object_bytes = strlen(ptx[i]) + 1,
                                   .scratch_bytes = (size_t)i * 64};
        kernel[i].launch = (cc_launch){.entry = "e", .block = {32, 1, 1}};
        for (int d = 0; d < 3; d++) kernel[i].launch.grid[d] = (cc_extent){.n.base = 1, .div = 1};
    }
}

static void kernels_know_where_their_code_is(void **s)
{
    (void)s;
    ll_error e = {0};
    cc_builder b = {.blob = cc_blob_create(), .err = &e};
    cc_target_build t[3];
    cc_built kernel[3][3];
    make_target(&t[0], "cpu:x86-64-v3", 0, kernel[0], 2);
    make_target(&t[1], "cuda:sm_90a", 1, kernel[1], 3);
    make_target(&t[2], "cpu:x86-64", 2, kernel[2], 2);
    t[2].first_code = 2; /* behind those of the first CPU target */
    for (int i = 0; i < 3; i++) assert_int_equal(cc_add_target(&b, &t[i]), LL_OK);
    finish(&b);
    const llmir_target_rec *r = section(LLMIR_SEC_TARGET, 3);
    const llmir_kernel_rec *k = section(LLMIR_SEC_KERNEL, 7);
    const llmir_launch_rec *l = section(LLMIR_SEC_LAUNCH, 3);
    const char *ptx = section(LLMIR_SEC_PTX, 7);
    assert_string_equal(text(r[0].features), "sse4.2,avx,avx2,fma,f16c,bmi,bmi2,lzcnt,movbe,popcnt");
    assert_true(r[1].kind == LLMIR_ON_CUDA && r[1].sm == 90 && r[1].sm_exact == 1);
    assert_string_equal(text(r[1].name), "cuda:sm_90a");
    assert_string_equal(text(r[1].features), "");
    static const uint32_t target[] = {0, 0, 1, 1, 1, 2, 2}, code[] = {0, 1, 0, 1, 2, 2, 3};
    for (int i = 0; i < 7; i++) {
        assert_int_equal(k[i].target, target[i]);
        assert_int_equal(k[i].kind, r[target[i]].kind);
        assert_int_equal(k[i].code, code[i]);
    }
    assert_string_equal(ptx + l[1].ptx, "bc");
    assert_int_equal(l[1].ptx_size, 3);
    assert_memory_not_equal(k[0].hash, k[5].hash, sizeof k->hash); /* the target is in it */
    free(bytes);
    cc_blob_destroy(b.blob);
}

static void kinds_of_devices_want_different_programs(void **s)
{
    (void)s;
    ll_target t;
    ll_error e = {0};
    cc_wants w;
    assert_int_equal(ll_target_parse("cpu:x86-64-v4", &t, &e), LL_OK);
    w = cc_wants_of(&t, true);
    assert_true(w.act_block == 0 && w.key_lanes == 16 && w.panel == 32);
    assert_true(cc_wants_of(&t, false).act_block > 0);
    assert_int_equal(ll_target_parse("cuda:sm_80", &t, &e), LL_OK);
    w = cc_wants_of(&t, false); /* floats, whatever was asked for */
    assert_true(w.act_block == 0 && w.key_lanes == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(targets_that_cut_rows_alike_share_a_plan),
        cmocka_unit_test(kernels_know_where_their_code_is),
        cmocka_unit_test(kinds_of_devices_want_different_programs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
