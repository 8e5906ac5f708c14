/* Targets: text forms are canonical, features are closed under what they need, and running is
 * decided by them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "target/target.h"

static ll_target parse(const char *text)
{
    ll_target t;
    ll_error e = {0};
    if (ll_target_parse(text, &t, &e) != LL_OK) fail_msg("%s", e.msg);
    return t;
}

static void equal_sets_have_equal_names(void **state)
{
    ll_target a = parse("cpu:x86-64-v4+gfni+avx512vnni"),
              b = parse("cpu:x86-64-v4+avx512vnni+gfni+avx2");
    assert_string_equal(a.name, "cpu:x86-64-v4+avx512vnni+gfni");
    assert_string_equal(b.name, a.name);
    assert_int_equal(a.features, b.features);
    assert_string_equal(parse("cpu:x86-64-v3+avx512f+avx512bw+avx512cd+avx512dq+avx512vl").name,
                        "cpu:x86-64-v4");
}

static void a_name_parses_to_the_same_target(void **state)
{
    const char *text[] = {"cpu", "cpu:x86-64", "cpu:x86-64-v3+avxvnni",
                          "cpu:x86-64-v3+gfni+avx512vnni", "cuda:sm_90a"};
    for (size_t i = 0; i < sizeof text / sizeof *text; i++) {
        ll_target a = parse(text[i]), b = parse(a.name);
        assert_string_equal(a.name, b.name);
        assert_int_equal(a.features, b.features);
        assert_int_equal(a.vector_bytes, b.vector_bytes);
    }
}

static void features_bring_what_they_need(void **state)
{
    ll_target t = parse("cpu:x86-64+avx512vnni");
    assert_true(ll_target_has(&t, LL_FEAT_AVX512F));
    assert_true(ll_target_has(&t, LL_FEAT_FMA));
    assert_true(ll_target_has(&t, LL_FEAT_POPCNT));
    assert_false(ll_target_has(&t, LL_FEAT_AVX512BW));
    assert_int_equal(t.vector_bytes, 32);
}

static void widths_follow_features(void **state)
{
    assert_int_equal(parse("cpu:x86-64").vector_bytes, 16);
    assert_int_equal(parse("cpu:x86-64-v3").vector_bytes, 32);
    assert_int_equal(parse("cpu:x86-64-v3").n_vector_regs, 16);
    assert_int_equal(parse("cpu:x86-64-v4").vector_bytes, 64);
    assert_int_equal(parse("cpu:x86-64-v4").n_vector_regs, 32);
}

static void what_is_not_a_target_lists_the_forms(void **state)
{
    const char *text[] = {"",
                          "gpu",
                          "cpu:",
                          "cpu:znver5",
                          "cpu:x86-64-v5",
                          "cpu:x86-64-v3+",
                          "cpu:x86-64-v3+fast",
                          "cuda:sm_12",
                          "cpu:x86-64-v3+aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
    for (size_t i = 0; i < sizeof text / sizeof *text; i++) {
        ll_target t;
        ll_error e = {0};
        assert_int_equal(ll_target_parse(text[i], &t, &e), LL_USAGE);
        assert_non_null(strstr(e.msg, "cpu:x86-64-v4"));
        assert_non_null(strstr(e.msg, text[i]));
    }
}

static void code_runs_where_its_features_are(void **state)
{
    ll_target v3 = parse("cpu:x86-64-v3"), v4 = parse("cpu:x86-64-v4"),
              vnni = parse("cpu:x86-64-v4+avx512vnni");
    ll_target gpu = parse("cuda:sm_80"), hopper = parse("cuda:sm_90"), ada = parse("cuda:sm_89"),
              h90a = parse("cuda:sm_90a");
    const char *missing;
    assert_true(ll_target_runs(&v3, &v4, &missing));
    assert_null(missing);
    assert_false(ll_target_runs(&vnni, &v4, &missing));
    assert_string_equal(missing, "avx512vnni");
    assert_false(ll_target_runs(&gpu, &v4, &missing));
    assert_true(ll_target_runs(&gpu, &hopper, &missing));
    assert_false(ll_target_runs(&h90a, &ada, &missing));
    assert_string_equal(missing, "sm_90a");
}

static void llvm_features_say_yes_or_no_to_each(void **state)
{
    char s[1024], tiny[8];
    ll_target t = parse("cpu:x86-64-v3");
    ll_target_llvm_features(&t, s, sizeof s);
    assert_non_null(strstr(s, "+avx2,"));
    assert_non_null(strstr(s, "-avx512vnni,"));
    ll_target_llvm_features(&t, tiny, sizeof tiny);
    assert_string_equal(tiny, "+sse4.2"); /* whole names only */
}

static void this_machine_has_caches_and_cores(void **state)
{
    ll_target t;
    ll_target_native(&t);
    assert_int_equal(t.kind, LL_CPU);
    assert_true(t.cores >= 1);
    assert_true(t.l1_bytes >= 8 << 10);
    assert_true(t.l2_bytes >= t.l1_bytes);
    assert_true(!strncmp(t.name, "cpu:x86-64", 10));
    print_message("this machine is %s\n", t.name);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_sets_have_equal_names),
        cmocka_unit_test(a_name_parses_to_the_same_target),
        cmocka_unit_test(features_bring_what_they_need),
        cmocka_unit_test(widths_follow_features),
        cmocka_unit_test(what_is_not_a_target_lists_the_forms),
        cmocka_unit_test(code_runs_where_its_features_are),
        cmocka_unit_test(llvm_features_say_yes_or_no_to_each),
        cmocka_unit_test(this_machine_has_caches_and_cores),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
