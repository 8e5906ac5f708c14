/* test_fuse.c [--update] FOLDER: which definitions become which kernel: the cases of cases.h, each
 * followed by what was found for one row and for many.
 *
 * Beside the texts, what must hold for any cut: every definition that is needed has a kernel, a
 * kernel reads what earlier ones made, each root once, and tiles divide their columns or are the
 * panel. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "cases.h"
#include "compile/fuse.h"
#include "compile/unique.h"

enum { PANEL = 16 };

static const char *folder;
static bool update;

static int find_maker(const cc_fusion *f, const te_tensor *t, int before) {
    for (int k = 0; k < before; k++)
        for (int i = 0; i < f->kernel[k]->n_root; i++)
            if (f->kernel[k]->root[i] == t) return k;
    return -1;
}

static bool is_stage(const cc_kernel *k, const te_tensor *t) {
    for (int i = 0; i < k->n_stage; i++)
        if (k->stage[i].t == t) return true;
    return false;
}

typedef struct reader {
    const cc_fusion *f;
    int kernel;
    const char *file;
} reader;

static bool check_load(te_ref e, void *p) {
    const reader *r = p;
    if (e->op != TE_LOAD || (e->u.t->kind != TE_DEF && e->u.t->kind != TE_UPDATE)) return true;
    const cc_kernel *k = r->f->kernel[r->kernel];
    if (is_stage(k, e->u.t)) return true;
    bool given = false;
    for (int i = 0; i < k->n_given; i++) given |= k->given[i] == e->u.t;
    if (!given)
        fail_msg("%s: kernel %d reads %s, which it is not given", r->file, r->kernel, e->u.t->name);
    if (find_maker(r->f, e->u.t, r->kernel) < 0)
        fail_msg("%s: nobody makes %s before kernel %d reads it", r->file, e->u.t->name, r->kernel);
    return true;
}

static void check_cut(const cc_fusion *f, te_tensor *const *wanted, int n, const char *file) {
    for (int i = 0; i < n; i++)
        if (find_maker(f, wanted[i], f->n_kernel) < 0)
            fail_msg("%s: nobody makes %s", file, wanted[i]->name);
    for (int k = 0; k < f->n_kernel; k++) {
        const cc_kernel *c = f->kernel[k];
        reader r = {f, k, file};
        for (int i = 0; i < c->n_stage; i++) te_walk(c->stage[i].t->body, check_load, &r);
        for (int i = 0; i < c->n_root; i++)
            if (find_maker(f, c->root[i], k) >= 0)
                fail_msg("%s: two kernels make %s", file, c->root[i]->name);
        for (int i = 0; i < c->n_stage; i++) {
            const cc_stage *s = &c->stage[i];
            if (!s->contraction) continue;
            assert_in_range(s->group, 0, c->n_group - 1);
            int64_t cols = s->t->axis[1]->u.axis->extent->u.i, tile = c->tile[s->group];
            if (tile % PANEL || (tile > PANEL && cols % tile))
                fail_msg("%s: %s: a tile of %lld for %lld columns", file, s->t->name,
                         (long long)tile, (long long)cols);
        }
    }
}

/* What a kernel prints as te parses, and says the same definitions. */
static void check_text(te_graph *g, const cc_kernel *k, const char *file) {
    cc_instance in = cc_instance_of(g, k);
    ll_str text = {0};
    ll_error err = {0};
    cc_kernel_print_te(&text, k, in.tensor, in.n);
    te_graph *h = te_graph_create();
    if (te_parse(h, ll_str_cstr(&text), "kernel", &err) != LL_OK)
        fail_msg("%s: %s in\n%s", file, err.msg, ll_str_cstr(&text));
    for (int i = 0; i < k->n_stage; i++) {
        ll_str a = {0}, b = {0};
        te_tensor *t = te_find(h, k->stage[i].t->name);
        assert_non_null(t);
        te_print_tensor(&a, k->stage[i].t);
        te_print_tensor(&b, t);
        assert_string_equal(ll_str_cstr(&a), ll_str_cstr(&b));
        ll_str_finish(&a);
        ll_str_finish(&b);
    }
    ll_str_finish(&text);
    te_graph_destroy(h);
}

static void cut(ll_str *out, const graph_case *c, bool one, const char *file) {
    te_graph *g = te_graph_create();
    ll_error err = {0};
    te_tensor *wanted[CASE_MAX_WANTED];
    cc_fusion f;
    int n = case_graph(c, g, one, file, wanted);
    if (cc_fuse(g, wanted, n, one, PANEL, &f, &err) != LL_OK) fail_msg("%s: %s", file, err.msg);
    cc_fusion_print(out, &f);
    check_cut(&f, wanted, n, file);
    for (int k = 0; k < f.n_kernel; k++) check_text(g, f.kernel[k], file);
    te_graph_destroy(g);
}

static void run_case(const char *file) {
    graph_case c;
    ll_str out = {0};
    ll_error err = {0};
    char path[512];
    case_open(&c, folder, file);
    ll_str_addn(&out, c.text, c.head);
    if (!c.many_only) {
        ll_str_add(&out, "--- one row\n");
        cut(&out, &c, true, file);
    }
    ll_str_add(&out, "--- many rows\n");
    cut(&out, &c, false, file);
    snprintf(path, sizeof path, "%s/%s", folder, file);
    if (update)
        assert_int_equal(ll_file_write(path, out.s, out.n, &err), LL_OK);
    else
        assert_string_equal(ll_str_cstr(&out), c.text);
    ll_str_finish(&out);
    case_close(&c);
}

static void definitions_become_the_kernels_of_their_files(void **state) {
    char *name[CASE_MAX_FILES];
    int n = case_list(folder, name);
    assert_true(n >= 7);
    for (int i = 0; i < n; i++) {
        run_case(name[i]);
        free(name[i]);
    }
}

static void an_input_cannot_be_wanted(void **state) {
    te_graph *g = te_graph_create();
    ll_error err = {0};
    cc_fusion f;
    assert_int_equal(te_parse(g, "in f32 x[4, 8]\n", "test", &err), LL_OK);
    te_tensor *x = te_find(g, "x");
    assert_int_equal(cc_fuse(g, &x, 1, true, PANEL, &f, &err), LL_USAGE);
    assert_string_equal(err.msg, "x is an input, not a definition");
    te_graph_destroy(g);
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--update"))
            update = true;
        else
            folder = argv[i];
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(definitions_become_the_kernels_of_their_files),
        cmocka_unit_test(an_input_cannot_be_wanted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
