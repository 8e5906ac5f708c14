/* Every loop text of tests/golden that a CPU can run (argv: DIRECTORY...) is compiled and does what
 * lp_eval says. Texts for GPUs, and those whose random inputs lp_eval refuses (page tables, ragged
 * starts), are counted as left out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "harness.h"

static int n_dir;
static char **dir;

/* The result of a case: from its first `dim` or `kernel` line behind the divider. */
static const char *result_of(const char *text)
{
    const char *at = strstr(text, "\n--- result\n");
    if (!at) at = strstr(text, "\n# ---\n");
    for (; at; at = strchr(at + 1, '\n'))
        if (!strncmp(at + 1, "kernel ", 7) || !strncmp(at + 1, "dim ", 4)) return at + 1;
    return NULL;
}

static void choose_dims(const kernel *k, int64_t *dim)
{
    for (int i = 0; i < k->f->n_dim; i++) {
        const te_dim_info *d = k->f->dim[i]->u.dim;
        int64_t m = d->multiple > 1 ? d->multiple : 1, v = (d->lo > 7   ? d->lo
                                                            : d->hi < 7 ? d->hi
                                                                        : 7);
        v = (v + m - 1) / m * m;
        dim[i] = v > d->hi ? d->hi / m * m : v;
    }
}

/* 1 compared, 0 left out */
static int one_case(const char *path)
{
    void *text;
    size_t n;
    ll_error err = {0};
    kernel k;
    int64_t dim[MAX_ARG];
    if (ll_file_read(path, 1 << 20, &text, &n, &err) != LL_OK) fail_msg("%s", err.msg);
    const char *loop = result_of(text);
    int done = 0;
    if (loop && kernel_compile(&k, loop, NULL, 0, &err)) {
        choose_dims(&k, dim);
        bool fits = k.f->n_param <= MAX_ARG && k.f->n_dim <= MAX_ARG;
        cg_code_finish(&k.job.code);
        te_graph_destroy(k.g);
        if (fits) {
            static const char *const target[] = {NULL, "cpu:x86-64-v3"};
            for (int t = 0; t < 2 && (t == 0 || !strstr(loop, ".512")); t++) {
                kernel_open(&k, loop, target[t]);
                kernel_fill(&k, dim, 5);
                done = kernel_try_check(&k, 1e-3, &err);
                kernel_close(&k);
            }
        }
    } else if (loop && err.code != LL_NOT_LEGAL && err.code != LL_UNSUPPORTED &&
               !strstr(err.msg, "test:")) {
        fail_msg("%s: %s", path, err.msg);
    }
    if (!done && getenv("SHOW_LEFT")) print_message("left out: %s: %s\n", path, err.msg);
    free(text);
    return done;
}

static void golden_texts_run(void **state)
{
    int done = 0, left = 0;
    for (int i = 0; i < n_dir; i++) {
        DIR *d = opendir(dir[i]);
        if (!d) fail_msg("no folder %s", dir[i]);
        for (struct dirent *e; (e = readdir(d));) {
            char path[4096];
            if (!strstr(e->d_name, ".txt")) continue;
            snprintf(path, sizeof path, "%s/%s", dir[i], e->d_name);
            int one = one_case(path);
            done += one;
            left += !one;
        }
        closedir(d);
    }
    print_message("%d compared, %d left out\n", done, left);
    assert_true(done > left);
}

int main(int argc, char **argv)
{
    random_u8_max = 119;
    n_dir = argc - 1;
    dir = argv + 1;
    const struct CMUnitTest tests[] = {cmocka_unit_test(golden_texts_run)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
