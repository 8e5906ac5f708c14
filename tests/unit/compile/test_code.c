/* test_code.c FOLDER: the code of a kernel depends on the text of its loops alone, not on how its
 * expressions came to be; so what the cache finds by that text is what would be made. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compile/program.h"
#include "compile/splitk.h"
#include "oracle.h"
#include "step.h"

enum { PARTS = 4, PAGE = 16, MAX_KERNEL = 64 };
static const char *folder;

static int wanted_of(const mdl_graph *mg, te_tensor **out)
{
    int n = 0;
    for (size_t i = 0; i < mg->n_layer; i++) {
        out[n++] = mg->layer[i].k_new;
        out[n++] = mg->layer[i].v_new;
    }
    out[n++] = mg->logits;
    out[n++] = mg->max;
    out[n++] = mg->lse;
    return n;
}

/* The kernels of a decode step, scheduled. */
static void schedule_all(cc_target_build *t, mdl_graph *mg)
{
    ll_error e = {0};
    cc_fusion f;
    te_tensor *wanted[MAX_KERNEL];
    int n = wanted_of(mg, wanted);
    oracle_ok(cc_splitk(mg->g, wanted, n, PARTS, PAGE, &e), &e);
    oracle_ok(cc_fuse(mg->g, wanted, n, true, t->wants.panel, &f, &e), &e);
    for (int k = 0; k < f.n_kernel; k++) {
        cc_built *x = &t->kernel[t->n_kernel++];
        assert_in_range(t->n_kernel, 1, MAX_KERNEL);
        cc_site_options o = {.target = &t->target, .act_block = t->wants.act_block, .one_row = true,
                             .min_rows = 1, .max_rows = 1, .page = PAGE};
        snprintf(x->name, sizeof x->name, "k%d", k);
        x->s = cc_site_schedule(mg->g, f.kernel[k], x->name, &o, &e);
        if (!x->s) fail_msg("%s", e.msg);
        x->text = x->te = x->trace = x->name;
    }
}

static void code_depends_on_the_text_alone(void **state)
{
    (void)state;
    static cc_built kernel[MAX_KERNEL];
    ll_error e = {0};
    mdl_graph *mg;
    mdl_model *m = step_model(folder, "llama_q8_0");
    cc_options o = {.jobs = 2};
    cc_report report = {0};
    cc_builder b = {.o = &o, .err = &e, .report = &report};
    cc_target_build t = {.kernel = kernel};
    oracle_ok(ll_target_parse("cpu:x86-64-v3", &t.target, &e), &e);
    t.wants = cc_wants_of(&t.target, false);
    mdl_options mo = {.kv = LL_F16, .kv_block = PAGE, .max_tokens = 1, .multiple = 1,
                      .act_block = t.wants.act_block, .act_granule = 32};
    oracle_ok(mdl_build_graph(m, &mo, &mg, &e), &e);
    te_graph *before = te_graph_use(mg->g);
    schedule_all(&t, mg);
    oracle_ok(cc_make_code(&b, &t), &e);
    static cg_code first[MAX_KERNEL];
    te_graph *again[MAX_KERNEL];
    for (int i = 0; i < t.n_kernel; i++) { /* the same functions, made in another way */
        ll_str loop = {0};
        first[i] = kernel[i].code;
        lp_print(&loop, kernel[i].s->fn);
        again[i] = te_graph_create();
        te_graph_use(again[i]);
        kernel[i].s->fn = lp_parse(again[i], ll_str_cstr(&loop), kernel[i].name, &e);
        if (!kernel[i].s->fn) fail_msg("%s", e.msg);
        kernel[i].code = (cg_code){0};
        ll_str_finish(&loop);
    }
    te_graph_use(mg->g);
    oracle_ok(cc_make_code(&b, &t), &e);
    for (int i = 0; i < t.n_kernel; i++) {
        assert_int_equal(kernel[i].code.scratch_bytes, first[i].scratch_bytes);
        assert_int_equal(kernel[i].code.object_bytes, first[i].object_bytes);
        assert_memory_equal(kernel[i].code.object, first[i].object, first[i].object_bytes);
        cg_code_finish(&first[i]);
        cg_code_finish(&kernel[i].code);
    }
    te_graph_use(before);
    cc_end_code(&t);
    for (int i = 0; i < t.n_kernel; i++) te_graph_destroy(again[i]);
    mdl_graph_destroy(mg);
    mdl_close(m);
}

int main(int argc, char **argv)
{
    if (argc < 2) return fprintf(stderr, "usage: test_code FOLDER\n"), 2;
    folder = argv[1];
    const struct CMUnitTest tests[] = {cmocka_unit_test(code_depends_on_the_text_alone)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
