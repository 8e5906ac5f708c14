/* Jobs in child processes: results come back whole, and a child's end is one job's error. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "harness.h"

enum { MANY = 9 };

static lp_func *make(te_graph *g, int i, const char *body)
{
    char text[400];
    ll_error err = {0};
    snprintf(
        text, sizeof text,
        "kernel k%d(in f32 X[16], out f32 Y%d[16]) {\n  for l < 16 @vector { Y%d[l] = %s } }\n", i,
        i, i, body);
    lp_func *f = lp_parse(g, text, "test", &err);
    if (!f) fail_msg("%s", err.msg);
    return f;
}

static void many_jobs_link_into_one_library(void **state)
{
    te_graph *g = te_graph_create();
    ll_target t;
    ll_target_native(&t);
    cg_job job[MANY];
    const char *name[MANY];
    void *object[MANY + 1];
    size_t bytes[MANY + 1];
    ll_error err = {0};
    for (int i = 0; i < MANY; i++) {
        char body[40];
        snprintf(body, sizeof body, "X[l] * %d.0 + 1.0", i);
        job[i] = (cg_job){
            .fn = make(g, i, body), .target = &t, .want = i == 2 ? CG_WANT_LLVM | CG_WANT_ASM : 0};
    }
    if (cg_compile(job, MANY, 2, &err) != LL_OK) fail_msg("%s", err.msg);
    assert_non_null(strstr(job[2].code.llvm_ir, "define hidden void @k2.run"));
    assert_non_null(strstr(job[2].code.assembly, "k2.run:"));
    assert_null(job[1].code.assembly);
    for (int i = 0; i < MANY; i++) {
        name[i] = job[i].fn->name;
        object[i] = job[i].code.object;
        bytes[i] = job[i].code.object_bytes;
    }
    assert_int_equal(
        cg_table_object(&t, name, MANY, "tables", 6, &object[MANY], &bytes[MANY], &err), LL_OK);
    char path[] = "/tmp/llmir-pool-XXXXXX", path2[] = "/tmp/llmir-pool-XXXXXX";
    close(mkstemp(path));
    close(mkstemp(path2));
    if (cg_link(path, object, bytes, MANY + 1, &err) != LL_OK) fail_msg("%s", err.msg);
    assert_int_equal(cg_link(path2, object, bytes, MANY + 1, &err), LL_OK);
    void *lib = dlopen(path, RTLD_NOW);
    const llmir_module *m = lib ? dlsym(lib, LLMIR_MODULE_SYMBOL) : NULL;
    assert_non_null(m);
    ll_hash h = ll_hash_bytes("tables", 6);
    assert_int_equal(m->n_kernel, MANY);
    assert_int_equal(m->size, sizeof *m);
    assert_true(m->blob_digest[0] == h.lo && m->blob_digest[1] == h.hi);
    assert_null(dlsym(lib, "k3.run")); /* hidden */
    llmir_args none = {0};
    for (int i = 0; i < MANY; i++) assert_int_equal(m->kernel[i].parts(&none), 1);
    FILE *a = fopen(path, "rb"), *b = fopen(path2, "rb");
    for (int x = fgetc(a), y = fgetc(b);; x = fgetc(a), y = fgetc(b)) {
        assert_int_equal(x, y); /* the same bytes wherever it is linked */
        if (x == EOF) break;
    }
    fclose(a);
    fclose(b);
    dlclose(lib);
    unlink(path);
    unlink(path2);
    free(object[MANY]);
    for (int i = 0; i < MANY; i++) cg_code_finish(&job[i].code);
    te_graph_destroy(g);
}

static void one_refusal_does_not_hurt_the_others(void **state)
{
    te_graph *g = te_graph_create();
    ll_target t;
    ll_target_native(&t);
    ll_error err = {0};
    cg_job job[3] = {{.fn = make(g, 0, "X[l]"), .target = &t},
                     {.fn = make(g, 1, "X[l]"), .target = &t},
                     {.fn = make(g, 2, "X[l]"), .target = &t}};
    ((lp_func *)(uintptr_t)job[1].fn)->body->u.loop.how = LP_THREAD_X;
    assert_int_equal(cg_compile(job, 3, 0, &err), LL_NOT_LEGAL);
    assert_non_null(strstr(err.msg, "bound to a GPU"));
    assert_int_equal(job[0].error.code, LL_OK);
    assert_int_equal(job[1].error.code, LL_NOT_LEGAL);
    assert_int_equal(job[2].error.code, LL_OK);
    assert_true(job[0].code.object_bytes > 0 && job[2].code.object_bytes > 0);
    for (int i = 0; i < 3; i++) cg_code_finish(&job[i].code);
    te_graph_destroy(g);
}

/* A tree that no builder makes ends the child (a bad pointer); its neighbour is compiled all the
 * same. */
static void a_dead_compiler_is_a_sentence(void **state)
{
    te_graph *g = te_graph_create();
    ll_error err = {0};
    ll_target t;
    ll_target_native(&t);
    lp_func *broken = make(g, 0, "X[l]");
    broken->body->u.loop.body = (lp_stmt *)(uintptr_t)64;
    cg_job job[2] = {{.fn = broken, .target = &t}, {.fn = make(g, 1, "X[l]"), .target = &t}};
    assert_int_equal(cg_compile(job, 2, 1, &err), LL_FAILED);
    assert_non_null(strstr(err.msg, "kernel 'k0': the compiler died of signal 11; it said: "));
    assert_int_equal(job[1].error.code, LL_OK);
    assert_null(job[0].code.object);
    cg_code_finish(&job[1].code);
    te_graph_destroy(g);
}

static void ld_says_what_is_missing(void **state)
{
    ll_target t;
    ll_target_native(&t);
    const char *name[1] = {"nowhere"};
    void *object;
    size_t bytes;
    ll_error err = {0};
    assert_int_equal(cg_table_object(&t, name, 1, "", 0, &object, &bytes, &err), LL_OK);
    assert_int_equal(cg_link("/tmp/llmir-never", &object, &bytes, 1, &err), LL_FAILED);
    assert_non_null(strstr(err.msg, "nowhere.run"));
    assert_int_not_equal(access("/tmp/llmir-never", F_OK), 0);
    free(object);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_jobs_link_into_one_library),
        cmocka_unit_test(one_refusal_does_not_hurt_the_others),
        cmocka_unit_test(a_dead_compiler_is_a_sentence),
        cmocka_unit_test(ld_says_what_is_missing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
