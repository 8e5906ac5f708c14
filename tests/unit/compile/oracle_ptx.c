/* oracle_ptx.c: a scheduled kernel as PTX, run on the PTX machine with all checks on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <llmir/ptxsim.h>

#include "codegen/codegen.h"
#include "oracle.h"

enum { MAX_PARAM = 64 };

typedef struct machine {
    ptxsim *m;
    ptxsim_module *mod;
    uint64_t addr[MAX_PARAM + 1];
} machine;

static bool failed(ll_error *err, const lp_func *f, const char *what, const char *why) {
    ll_fail(err, LL_FAILED, "%s: %s: %s", f->name, what, why);
    return false;
}

static bool fill_memory(machine *q, const oracle *o, const lp_func *f, void **arg,
                        const size_t *bytes, ptxsim_error *e) {
    int64_t dim[MAX_PARAM] = {0};
    bool ok = f->n_param < MAX_PARAM && f->n_dim < MAX_PARAM;
    for (int i = 0; ok && i < f->n_param; i++) {
        if (!arg[i]) continue;
        ok = ptxsim_alloc(q->m, bytes[i] ? bytes[i] : 1, &q->addr[i], e) == PTXSIM_OK &&
             (!bytes[i] || ptxsim_write(q->m, q->addr[i], arg[i], bytes[i], e) == PTXSIM_OK);
    }
    for (int i = 0; ok && i < f->n_dim; i++)
        dim[f->dim_slot ? f->dim_slot[i] : i] = o->dim(o->user, f->dim[i]->u.dim->name);
    return ok && ptxsim_alloc(q->m, sizeof dim, &q->addr[f->n_param], e) == PTXSIM_OK &&
           ptxsim_write(q->m, q->addr[f->n_param], dim, sizeof dim, e) == PTXSIM_OK;
}

static bool launch(machine *q, const oracle *o, const lp_func *f, const cg_launch *l,
                   ll_error *err) {
    ptxsim_error e = {0};
    const void *arg[MAX_PARAM + 1];
    ptxsim_limits limits;
    ptxsim_get_limits(q->m, &limits);
    ptxsim_launch x = {.kernel = ptxsim_find(q->mod, l->entry),
                       .checks = PTXSIM_CHECK_ALL,
                       .seed = 3,
                       .shared_bytes = l->shared,
                       .carveout_optin = limits.shared_per_block_optin};
    for (int i = 0; i <= f->n_param; i++) arg[i] = &q->addr[i];
    x.args = arg;
    x.n_args = (size_t)f->n_param + 1;
    for (int i = 0; i < 3; i++) {
        int64_t n = l->grid[i] ? oracle_size(o, l->grid[i]) : 1;
        if (n < 1) return true; /* nothing to launch */
        x.block[i] = l->block[i];
        x.grid[i] = (uint32_t)n + (l->grid[i] && l->grid[i]->op != TE_INT); /* one too many */
    }
    ptxsim_log *log = NULL;
    bool ok = ptxsim_run(q->m, &x, &log, &e) == PTXSIM_OK;
    if (!ok)
        failed(err, f, "the PTX machine", e.msg);
    else if (ptxsim_log_count(log))
        ok = failed(err, f, "finding", ptxsim_log_at(log, 0)->text);
    ptxsim_log_destroy(log);
    return ok;
}

bool oracle_by_ptx(const oracle *o, const lp_func *f, void **arg, const size_t *bytes, void *target,
                   ll_error *err) {
    const ll_target *t = target;
    cg_job job = {.fn = f, .target = t};
    ptxsim_error e = {0};
    machine q = {0};
    if (cg_compile_here(&job, err) != LL_OK) return false;
    bool ok = ptxsim_create(&(ptxsim_config){.sm = (unsigned)t->sm, .threads = 1}, &q.m, &e) ==
                  PTXSIM_OK &&
              ptxsim_load(q.m, job.code.object, job.code.object_bytes, f->name, &q.mod, &e) ==
                  PTXSIM_OK &&
              fill_memory(&q, o, f, arg, bytes, &e);
    if (!ok) failed(err, f, "loading", e.msg);
    ok = ok && launch(&q, o, f, &job.code.launch, err);
    for (int i = 0; ok && i < f->n_param; i++)
        if (arg[i] && bytes[i] && ptxsim_read(q.m, arg[i], q.addr[i], bytes[i], &e) != PTXSIM_OK)
            ok = failed(err, f, "reading", e.msg);
    if (q.m) ptxsim_destroy(q.m);
    cg_code_finish(&job.code);
    return ok;
}
