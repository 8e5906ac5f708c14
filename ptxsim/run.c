/* run.c: launches: limits and arguments checked as a driver checks them, then worker threads that
 * take clusters from a shared counter. A worker holds several clusters at once when the kernel may
 * wait for other blocks (fences, volatile or acquiring accesses to global memory): it turns from
 * one to the next. */
#include <fenv.h>
#include <stdlib.h>
#include <string.h>

#include "ptxsim/exec.h"
#include "ptxsim/log.h"
#include "ptxsim/mem.h"

#define NONE ((ptx_pos){ 0, 0 })

const ptx_options *ptx_opts(const ptx_warp *w) { return &w->run->opt; }

ptx_handler *const *ptx_handlers(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("bmi2"))
        return ptx_table_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
        __builtin_cpu_supports("bmi2"))
        return ptx_table_avx2;
#endif
    return ptx_table_base;
}

/* ---- limits ---- */

static uint64_t volume(const uint32_t n[3]) { return (uint64_t)n[0] * n[1] * n[2]; }

static uint32_t blocks_per_sm(const ptx_run *r)
{
    const ptxsim_limits *l = &r->m->limits;
    uint32_t by_threads = l->max_threads_per_sm / (r->n_warp * PTX_LANES),
             by_shared = l->max_blocks_per_sm;
    if (r->shared_bytes) by_shared = l->shared_per_sm / r->shared_bytes;
    uint32_t n = by_threads < by_shared ? by_threads : by_shared;
    return n < l->max_blocks_per_sm ? n : l->max_blocks_per_sm;
}

static ptxsim_code too_large(ptxsim_error *err, const ptxsim_kernel *k, const char *what,
                             uint64_t got, uint64_t max)
{
    return ptx_fail(err, PTXSIM_TOO_LARGE, NULL, NONE, "%s: %s is %llu, at most %llu", k->info.name,
                    what, (unsigned long long)got, (unsigned long long)max);
}

static ptxsim_code shape(ptx_run *r, const ptxsim_launch *l, ptxsim_error *err)
{
    static const char axis[] = "xyz";
    const ptxsim_kernel *k = l->kernel;
    const ptxsim_limits *lim = &r->m->limits;
    for (int i = 0; i < 3; i++) {
        r->grid[i] = l->grid[i] ? l->grid[i] : 1;
        r->block[i] = l->block[i] ? l->block[i] : 1;
        r->cluster[i] = l->cluster[i]           ? l->cluster[i]
                        : k->info.reqcluster[i] ? k->info.reqcluster[i]
                                                : 1;
        char what[16] = "grid x", whatb[16] = "block x";
        what[5] = whatb[6] = axis[i];
        if (r->grid[i] > lim->max_grid[i])
            return too_large(err, k, what, r->grid[i], lim->max_grid[i]);
        if (r->block[i] > lim->max_block[i])
            return too_large(err, k, whatb, r->block[i], lim->max_block[i]);
        if (r->grid[i] % r->cluster[i])
            return ptx_fail(err, PTXSIM_USAGE, NULL, NONE,
                            "%s: the grid (%c = %u) is no multiple of the cluster (%u)",
                            k->info.name, axis[i], r->grid[i], r->cluster[i]);
        if (k->info.reqntid[0] && k->info.reqntid[i] != r->block[i])
            return ptx_fail(err, PTXSIM_USAGE, NULL, NONE,
                            "%s: block %c is %u, the kernel requires %u", k->info.name, axis[i],
                            r->block[i], k->info.reqntid[i]);
        if (k->info.reqcluster[0] && k->info.reqcluster[i] != r->cluster[i])
            return ptx_fail(err, PTXSIM_USAGE, NULL, NONE,
                            "%s: cluster %c is %u, the kernel requires %u", k->info.name, axis[i],
                            r->cluster[i], k->info.reqcluster[i]);
    }
    uint64_t threads = volume(r->block), blocks = volume(r->cluster);
    if (threads > lim->max_threads_per_block)
        return too_large(err, k, "threads of a block", threads, lim->max_threads_per_block);
    if (k->info.max_threads && threads > k->info.max_threads)
        return too_large(err, k, "threads of a block", threads, k->info.max_threads);
    if (blocks > lim->max_cluster || (blocks > 1 && lim->sm < 90))
        return too_large(err, k, "blocks of a cluster", blocks,
                         lim->sm < 90 ? 1 : lim->max_cluster);
    r->n_threads = (uint32_t)threads;
    r->n_warp = (r->n_threads + PTX_LANES - 1) / PTX_LANES;
    r->cluster_size = (uint32_t)blocks;
    r->n_cluster = volume(r->grid) / blocks;
    return PTXSIM_OK;
}

static ptxsim_code shared_size(ptx_run *r, const ptxsim_launch *l, ptxsim_error *err)
{
    const ptxsim_limits *lim = &r->m->limits;
    const ptx_code *c = r->code;
    uint64_t end = l->shared_bytes ? (uint64_t)c->dyn_offset + l->shared_bytes : c->shared_static,
             used = end - c->shared_base;
    uint32_t max =
        l->carveout_optin > lim->shared_per_block ? l->carveout_optin : lim->shared_per_block;
    if (max > lim->shared_per_block_optin) max = lim->shared_per_block_optin;
    if (used > max) return too_large(err, l->kernel, "shared memory of a block", used, max);
    r->shared_bytes = (uint32_t)end;
    r->dyn_shared = l->shared_bytes;
    return PTXSIM_OK;
}

static ptxsim_code arguments(ptx_run *r, const ptxsim_launch *l, ptxsim_error *err)
{
    const ptxsim_kernel_info *k = &l->kernel->info;
    r->param_bytes = k->param_bytes;
    if (!(r->params = calloc(1, r->param_bytes + 64)))
        return ptx_fail(err, PTXSIM_NO_MEMORY, NULL, NONE, "no host memory left");
    if (l->params) {
        if (l->params_bytes < k->param_bytes)
            return ptx_fail(err, PTXSIM_USAGE, NULL, NONE,
                            "%s: %u bytes of parameters are wanted, got %zu", k->name,
                            k->param_bytes, l->params_bytes);
        memcpy(r->params, l->params, k->param_bytes);
        return PTXSIM_OK;
    }
    if (l->n_args != k->n_param || (k->n_param && !l->args))
        return ptx_fail(err, PTXSIM_USAGE, NULL, NONE, "%s: %u arguments are wanted, got %zu",
                        k->name, k->n_param, l->n_args);
    for (uint32_t i = 0; i < k->n_param; i++) {
        if (!l->args[i])
            return ptx_fail(err, PTXSIM_USAGE, NULL, NONE, "%s: argument %u is NULL", k->name, i);
        memcpy(r->params + k->param[i].offset, l->args[i], k->param[i].size);
    }
    return PTXSIM_OK;
}

/* Cooperative launches find the address of two words in %envreg1 and %envreg2: the size of this
 * workspace, and the barrier of the grid (0 at the start), which cooperative_groups waits on. */
static ptxsim_code workspace(ptx_run *r, ptxsim_error *err)
{
    enum { BYTES = 64 };
    ptxsim *m = r->m;
    if (!m->workspace) {
        ptxsim_code c = ptx_memory_new(&m->mem, BYTES, 0, &m->workspace, err);
        if (c) return c;
    }
    memset(m->workspace->host, 0, BYTES);
    m->workspace->host[0] = BYTES;
    ptx_init_set(m->workspace, 0, BYTES, true);
    r->workspace = m->workspace->base;
    return PTXSIM_OK;
}

/* ---- workers ---- */

/* Which cluster is the i-th: with a seed, i goes through a permutation (a * i + b) mod n. */
static uint64_t gcd(uint64_t a, uint64_t b)
{
    while (b) {
        uint64_t t = a % b;
        a = b;
        b = t;
    }
    return a;
}
static uint64_t permuted(const ptx_run *r, uint64_t i)
{
    uint64_t n = r->n_cluster, s = r->opt.seed;
    if (!s || n < 2) return i;
    uint64_t a = s * 0x9e3779b97f4a7c15ull % n | 1;
    while (gcd(a, n) != 1) a++;
    return (uint64_t)(((unsigned __int128)a * i + s * 0xbf58476d1ce4e5b9ull % n) % n);
}

static void stop_no_memory(ptx_run *r)
{
    int none = 0;
    if (!atomic_compare_exchange_strong(&r->stop, &none, PTXSIM_NO_MEMORY)) return;
    pthread_mutex_lock(&r->lock);
    ptx_fail(r->err, PTXSIM_NO_MEMORY, NULL, NONE, "%s: no host memory left for a block",
             r->kernel->info.name);
    pthread_mutex_unlock(&r->lock);
}

static void *work(void *arg)
{
    ptx_worker *wk = arg;
    ptx_run *r = wk->run;
    ptx_cluster *idle = NULL, *first = NULL, **last = &first; /* running ones: a queue */
    uint32_t resident = 0, may_hold = 1;
    if (r->code->grid_sync) {
        uint64_t all = (uint64_t)blocks_per_sm(r) * r->m->limits.sm_count / r->cluster_size;
        may_hold = (uint32_t)(all / r->m->threads + 1);
    }
    fenv_t env;
    fegetenv(&env);
    fesetenv(FE_DFL_ENV);
    while (!atomic_load(&r->stop)) {
        ptx_cluster *cl = NULL;
        if (resident < may_hold) {
            uint64_t i = atomic_fetch_add(&r->next, 1);
            if (i < r->n_cluster) {
                cl = idle ? idle : ptx_cluster_new(wk);
                if (!cl) {
                    stop_no_memory(r);
                    break;
                }
                idle = idle ? idle->next : NULL;
                ptx_cluster_start(cl, permuted(r, i));
                resident++;
            }
        }
        if (!cl) {
            if (!(cl = first)) break;
            first = cl->next;
            if (!first) last = &first;
        }
        cl->next = NULL;
        ptx_progress p = ptx_cluster_run(cl);
        if (p == PTX_RUNNING) {
            *last = cl;
            last = &cl->next;
        } else {
            cl->next = idle;
            idle = cl;
            resident--;
            if (p == PTX_STOPPED) break;
        }
    }
    *last = idle;
    for (ptx_cluster *next; first; first = next) {
        next = first->next;
        ptx_cluster_free(first);
    }
    fesetenv(&env);
    return NULL;
}

static size_t touched_bytes(const ptx_alloc *a) { return a->size / 32 + 2; }
static size_t writer_bytes(const ptx_run *r, const ptx_alloc *a)
{
    return (a->size / r->code->global_grain + 2) * sizeof *a->writer;
}

static void add_up(ptx_run *r, ptx_worker *wk, uint32_t n)
{
    for (uint32_t k = 0; k < n; k++) {
        if (r->opt.counters) ptx_log_add_tally(r->log, &wk[k].tally);
        ll_map_finish(&wk[k].tally.mma);
    }
    for (size_t i = 0; i < r->mem->n; i++) {
        ptx_alloc *a = r->mem->alloc[i];
        ptx_unmap(a->touched, touched_bytes(a));
        ptx_unmap(a->writer, writer_bytes(r, a));
        a->touched = NULL;
        a->writer = NULL;
    }
}

static bool track_memory(ptx_run *r)
{
    for (size_t i = 0; i < r->mem->n; i++) {
        ptx_alloc *a = r->mem->alloc[i];
        if (a->freed) continue;
        if (r->opt.counters && !(a->touched = ptx_map_zero(touched_bytes(a)))) return false;
        if (r->opt.checks & PTXSIM_CHECK_GLOBAL && r->n_cluster * r->cluster_size > 1 &&
            !(a->writer = ptx_map_zero(writer_bytes(r, a))))
            return false;
    }
    return true;
}

static ptxsim_code execute(ptx_run *r)
{
    uint32_t n = r->m->threads < r->n_cluster ? r->m->threads : (uint32_t)r->n_cluster, started = 0;
    ptx_worker *wk = calloc(n, sizeof *wk);
    pthread_t *th = calloc(n, sizeof *th);
    bool ok = wk && th && track_memory(r) && ptx_global_start(r);
    for (uint32_t k = 0; k < n && ok; k++) {
        wk[k].run = r;
        wk[k].rng = r->opt.seed * 0x9e3779b97f4a7c15ull + k + 1;
    }
    if (ok) {
        for (uint32_t k = 1; k < n; k++, started++)
            if (pthread_create(&th[k], NULL, work, &wk[k])) break;
        work(&wk[0]);
        for (uint32_t k = 1; k <= started; k++) pthread_join(th[k], NULL);
    } else {
        stop_no_memory(r);
    }
    if (wk) add_up(r, wk, ok ? n : 0);
    ptx_global_finish(r);
    free(wk);
    free(th);
    return (ptxsim_code)atomic_load(&r->stop);
}

ptxsim_code ptxsim_run(ptxsim *m, const ptxsim_launch *l, ptxsim_log **out, ptxsim_error *err)
{
    ptxsim_error own = { 0 };
    if (out) *out = NULL;
    if (!m || !l || !l->kernel)
        return ptx_fail(err, PTXSIM_USAGE, NULL, NONE, "ptxsim_run: a NULL argument");
    ptx_run r = { .m = m,
                  .kernel = l->kernel,
                  .code = l->kernel->code,
                  .mem = &m->mem,
                  .max_steps = l->max_steps,
                  .err = err ? err : &own };
    *r.err = (ptxsim_error){ 0 };
    r.opt = (ptx_options){ .sm = m->limits.sm,
                           .checks = l->checks & PTXSIM_CHECK_ALL,
                           .perturb_ulp = l->perturb_ulp,
                           .seed = l->seed,
                           .mma_model = l->mma_model,
                           .counters = l->counters };
    ptxsim_code c = shape(&r, l, r.err);
    if (!c) c = shared_size(&r, l, r.err);
    if (!c && l->cooperative && volume(r.grid) > (uint64_t)blocks_per_sm(&r) * m->limits.sm_count)
        c = too_large(r.err, l->kernel, "blocks of a cooperative launch", volume(r.grid),
                      (uint64_t)blocks_per_sm(&r) * m->limits.sm_count);
    if (!c) c = arguments(&r, l, r.err);
    if (!c && !(r.log = ptx_log_new(l->kernel->info.name, l->max_reports ? l->max_reports : 100)))
        c = ptx_fail(r.err, PTXSIM_NO_MEMORY, NULL, NONE, "no host memory left");
    if (!c) {
        pthread_mutex_init(&r.lock, NULL);
        pthread_mutex_lock(&m->lock);
        if (l->cooperative) c = workspace(&r, r.err);
        if (!c) c = execute(&r);
        pthread_mutex_unlock(&m->lock);
        pthread_mutex_destroy(&r.lock);
    }
    free(r.params);
    if (out) *out = r.log;
    else ptxsim_log_destroy(r.log);
    return c;
}
