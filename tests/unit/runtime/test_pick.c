/* test_pick.c: which of a module's targets a machine uses, for machines that nobody has. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "runtime/pick.h"
#include "target/target.h"

enum { V3 = 1, V4 = 15, SM75 = 29, SM80 = 40, SM90 = 51, SM90A = 62, AVX2 = 74, F512 = 79 };
static const char strings[] = "\0cpu:x86-64-v3\0cpu:x86-64-v4\0cuda:sm_75\0cuda:sm_80\0cuda:sm_90\0"
                              "cuda:sm_90a\0avx2\0avx512f";
static const llmir_target_rec target[] = {
    {.name = V3, .features = AVX2},
    {.name = SM80, .kind = LLMIR_ON_CUDA, .sm = 80},
    {.name = SM90, .kind = LLMIR_ON_CUDA, .sm = 90},
    {.name = SM90A, .kind = LLMIR_ON_CUDA, .sm = 90, .sm_exact = 1},
    {.name = SM75, .kind = LLMIR_ON_CUDA, .sm = 75},
    {.name = V4, .features = F512},
};

static rt_blob blob(uint32_t first, uint32_t n)
{
    rt_blob b = {0};
    b.table[LLMIR_SEC_STRINGS] =
        (rt_table){(const unsigned char *)strings, sizeof strings, 1, sizeof strings};
    b.table[LLMIR_SEC_TARGET] =
        (rt_table){(const unsigned char *)&target[first], n, sizeof *target, n * sizeof *target};
    return b;
}

/* The target's name, or "status: sentence". */
static const char *picked(const rt_blob *b, const char *device, const rt_machine *m)
{
    static ll_error e;
    rt_spec s;
    uint32_t i;
    e = (ll_error){0};
    if (rt_spec_parse(device, &s, &e) != LL_OK || rt_pick_target(b, &s, m, "F", &i, &e) != LL_OK)
        return e.msg;
    return rt_blob_str(b, rt_blob_target(b, i)->name);
}

static uint64_t features(const char *name)
{
    ll_target t;
    ll_error e;
    assert_int_equal(ll_target_parse(name, &t, &e), LL_OK);
    return t.features;
}

static void highest_capability_that_runs_and_exact_code_first(void **st)
{
    (void)st;
    rt_blob all = blob(0, 6);
    static const struct {
        uint32_t sm;
        const char *want;
    } row[] = {{75, "cuda:sm_75"}, {79, "cuda:sm_75"},  {80, "cuda:sm_80"}, {86, "cuda:sm_80"},
               {89, "cuda:sm_80"}, {90, "cuda:sm_90a"}, {91, "cuda:sm_90"}, {120, "cuda:sm_90"}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        rt_machine m = {.sm = row[i].sm};
        assert_string_equal(picked(&all, "cuda", &m), row[i].want);
        assert_string_equal(picked(&all, "cuda:3", &m), row[i].want);
        assert_string_equal(picked(&all, "sim", &m), row[i].want);
        assert_string_equal(picked(&all, NULL, &m), row[i].want); /* no CPU code runs */
    }
    rt_machine old = {.sm = 70};
    assert_string_equal(
        picked(&all, "cuda:1", &old),
        "F: no code for cuda:1 on this machine; it has code for cpu:x86-64-v3 (lacking avx2), "
        "cuda:sm_80 (lacking compute capability 8.0 or higher, it is 7.0), cuda:sm_90 (lacking "
        "compute capability 9.0 or higher, it is 7.0), cuda:sm_90a (lacking compute capability "
        "9.0, "
        "it is 7.0), cuda:sm_75 (lacking compute capability 7.5 or higher, it is 7.0), "
        "cpu:x86-64-v4 (lacking avx512f): build it for another target (llmir-build --target)");
}

static void the_cpu_goes_first_where_nothing_is_named(void **st)
{
    (void)st;
    rt_blob all = blob(0, 6), gpu = blob(1, 4);
    rt_machine m = {.cpu = features("cpu:x86-64-v3"), .sm = 80};
    assert_string_equal(picked(&all, NULL, &m), "cpu:x86-64-v3");
    assert_string_equal(picked(&all, "", &m), "cpu:x86-64-v3");
    assert_string_equal(picked(&gpu, NULL, &m), "cuda:sm_80");
    m.cpu = features("cpu:x86-64-v4");
    assert_string_equal(picked(&all, "cpu", &m), "cpu:x86-64-v4");
    assert_non_null(strstr(picked(&gpu, "cpu", &m), "F: no code for cpu on this machine; it has"));
}

static void a_named_target_is_taken_or_refused(void **st)
{
    (void)st;
    rt_blob all = blob(0, 6), few = blob(0, 2);
    rt_machine m = {.cpu = features("cpu:x86-64-v4"), .sm = 90}, none = {.no_gpu = "no driver"};
    assert_string_equal(picked(&all, "cpu:x86-64-v3", &m), "cpu:x86-64-v3");
    assert_string_equal(picked(&all, "cuda:sm_75", &m), "cuda:sm_75");
    assert_string_equal(picked(&few, "cuda:sm_75", &m),
                        "F: no code for cuda:sm_75; it has code for cpu:x86-64-v3, cuda:sm_80");
    assert_string_equal(picked(&few, "cuda:sm_80", &none),
                        "F: its code for cuda:sm_80 needs a GPU, which this machine lacks: no "
                        "driver");
}

static void what_is_no_device_is_refused(void **st)
{
    (void)st;
    static const char *const bad[] = {"gpu",  "cuda:",     "cuda:-1",   "cuda:1 ",
                                      "sim:", "sim:sm_",   "simulator", "cuda:4294967296",
                                      "cpu:", "sim:sm_80x"};
    rt_spec s;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ll_error e = {0};
        if (rt_spec_parse(bad[i], &s, &e) != LL_USAGE) fail_msg("'%s' is taken", bad[i]);
        assert_true(e.msg[0]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(highest_capability_that_runs_and_exact_code_first),
        cmocka_unit_test(the_cpu_goes_first_where_nothing_is_named),
        cmocka_unit_test(a_named_target_is_taken_or_refused),
        cmocka_unit_test(what_is_no_device_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
