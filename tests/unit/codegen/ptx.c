/* ptx.c: a kernel's text -> PTX -> the PTX machine with all checks on, beside lp_eval on the same
 * memory. SHOW=1 prints the PTX, PTX_DIR=FOLDER keeps it in files (for ptxas). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <llmir/ptxsim.h>

#include "harness.h"

#define TRY(call)                                                                                  \
    do {                                                                                           \
        if ((call) != PTXSIM_OK) fail_msg("%s: %s", k->f->name, e.msg);                            \
    } while (0)

static void launch(kernel *k, ptxsim *m, ptxsim_module *mod, uint64_t *addr, uint64_t seed,
                   int extra) {
    ptxsim_error e = {0};
    const cg_launch *l = &k->job.code.launch;
    ptxsim_launch x = {.kernel = ptxsim_find(mod, l->entry),
                       .checks = PTXSIM_CHECK_ALL,
                       .seed = seed,
                       .shared_bytes = l->shared};
    assert_non_null(x.kernel);
    ptxsim_limits limits;
    ptxsim_get_limits(m, &limits);
    x.carveout_optin = limits.shared_per_block_optin;
    const void *arg[MAX_ARG + 1];
    for (int i = 0; i <= k->f->n_param; i++) arg[i] = &addr[i];
    x.args = arg;
    x.n_args = (size_t)k->f->n_param + 1;
    for (int i = 0; i < 3; i++) {
        x.block[i] = l->block[i];
        int64_t n = l->grid[i] ? kernel_number(k, l->grid[i]) : 1;
        if (n < 1) return; /* nothing to launch */
        x.grid[i] = (uint32_t)n;
        if (l->grid[i] && l->grid[i]->op != TE_INT) x.grid[i] += (uint32_t)extra;
    }
    ptxsim_log *log = NULL;
    ptxsim_code c = ptxsim_run(m, &x, &log, &e);
    for (size_t i = 0; i < ptxsim_log_count(log); i++)
        print_error("%s\n", ptxsim_log_at(log, i)->text);
    if (c != PTXSIM_OK || ptxsim_log_count(log)) {
        if (!getenv("SHOW")) print_error("%s\n", (char *)k->job.code.object);
        fail_msg("%s: the PTX machine: %s", k->f->name, c == PTXSIM_OK ? "findings" : e.msg);
    }
    ptxsim_log_destroy(log);
}

static void run_once(kernel *k, uint64_t seed, int extra) {
    ptxsim_error e = {0};
    ptxsim *m;
    ptxsim_module *mod;
    uint64_t addr[MAX_ARG + 1] = {0};
    TRY(ptxsim_create(&(ptxsim_config){.sm = (unsigned)k->target.sm, .threads = 1}, &m, &e));
    TRY(ptxsim_load(m, k->job.code.object, k->job.code.object_bytes, k->f->name, &mod, &e));
    for (int i = 0; i < k->f->n_param; i++) {
        if (!k->arg[i]) continue;
        TRY(ptxsim_alloc(m, k->bytes[i] ? k->bytes[i] : 1, &addr[i], &e));
        if (k->bytes[i]) TRY(ptxsim_write(m, addr[i], k->arg[i], k->bytes[i], &e));
    }
    size_t dims = sizeof k->dim;
    TRY(ptxsim_alloc(m, dims, &addr[k->f->n_param], &e));
    TRY(ptxsim_write(m, addr[k->f->n_param], k->dim, dims, &e));
    launch(k, m, mod, addr, seed, extra);
    for (int i = 0; i < k->f->n_param; i++)
        if (k->bytes[i] && k->arg[i]) TRY(ptxsim_read(m, k->arg[i], addr[i], k->bytes[i], &e));
    ptxsim_destroy(m);
}

static void keep(const kernel *k) {
    char path[4096];
    if (!getenv("PTX_DIR")) return;
    snprintf(path, sizeof path, "%s/%s_sm_%d.ptx", getenv("PTX_DIR"), k->f->name, k->target.sm);
    FILE *f = fopen(path, "w");
    if (f) fputs(k->job.code.object, f), fclose(f);
}

void ptx_check(const ptx_run *r) {
    kernel k;
    ll_error err = {0};
    unsigned want = getenv("SHOW") ? CG_WANT_LLVM : 0;
    if (!kernel_compile(&k, r->text, r->target, want, &err)) fail_msg("%s", err.msg);
    if (want) fprintf(stderr, "%s\n%s\n", k.job.code.llvm_ir, (char *)k.job.code.object);
    keep(&k);
    assert_int_equal(strlen(k.job.code.object) + 1, k.job.code.object_bytes);
    for (uint64_t seed = 0; seed < 3; seed++) {
        kernel_fill(&k, r->dim, seed);
        if (r->fill) r->fill(&k);
        if (kernel_eval(&k, &err) != LL_OK) fail_msg("lp_eval: %s", err.msg);
        run_once(&k, seed, r->extra);
        kernel_compare(&k, r->tol);
        for (int i = 0; i < k.f->n_param; i++) {
            free(k.arg[i]);
            free(k.want[i]);
            k.arg[i] = k.want[i] = NULL;
        }
    }
    kernel_close(&k);
}

void ptx_same_as_eval(const char *text, const char *target, const int64_t *dim, double tol) {
    ptx_check(&(ptx_run){.text = text, .target = target, .dim = dim, .tol = tol, .extra = 2});
}
