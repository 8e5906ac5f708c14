/* engine.c: makes an engine: decides its limits, picks its programs, makes the queue they run on, the
 * KV cache and (work.c) the memory they are bound to. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/rt.h"

#define ULL(x) ((unsigned long long)(x))

void rt_engine_ref(llmir_engine *e) { atomic_fetch_add(&e->refs, 1); }

ll_code rt_engine_lock(llmir_engine *e, ll_error *err)
{
    if (pthread_mutex_lock(&e->lock) == 0) return LL_OK;
    return ll_fail(err, LL_BUSY, "the engine is in a step that this thread's callback belongs to");
}

/* ---- limits ----------------------------------------------------------------------------- */
static ll_code choose_layout(llmir_engine *e, const llmir_engine_params *p, ll_error *err)
{
    const rt_blob *b = &e->model->blob;
    char have[256] = "";
    for (uint32_t i = 0; i < rt_blob_n(b, LLMIR_SEC_KV); i++) {
        const llmir_kv_rec *k = rt_blob_kv(b, i);
        const char *dtype = rt_blob_str(b, k->dtype);
        size_t at = strlen(have);
        snprintf(have + at, sizeof have - at, "%s%s/%u", at ? ", " : "", dtype, k->block);
        if ((p->kv_dtype && strcmp(p->kv_dtype, dtype)) || (p->kv_block && p->kv_block != k->block))
            continue;
        e->layout = k;
        e->kv_no = i;
        return LL_OK;
    }
    return ll_fail(err, LL_UNSUPPORTED,
                   "%s: no kernels for a KV cache of %.16s in blocks of %u tokens; it has %s",
                   e->model->path, p->kv_dtype ? p->kv_dtype : "any type", p->kv_block, have);
}

static ll_code choose_limits(llmir_engine *e, const llmir_engine_params *p, ll_error *err)
{
    const llmir_model_rec *m = rt_blob_model(&e->model->blob);
    const llmir_target_rec *of = e->model->target;
    uint32_t t_max = 0;
    for (uint32_t i = 0; i < of->n_program; i++) {
        const llmir_program_rec *r = rt_blob_program(&e->model->blob, of->program + i);
        if (r->kv == e->kv_no && r->t_max > t_max) t_max = r->t_max;
    }
    if (p->context > m->context)
        return ll_fail(err, LL_USAGE, "context %u: the model was made for at most %u", p->context,
                       m->context);
    if (p->max_sequences > 1 << 16 || p->max_rows > 1 << 20 || p->max_batch > 1 << 20)
        return ll_fail(err, LL_USAGE, "max_batch %u, max_sequences %u, max_rows %u: out of range",
                       p->max_batch, p->max_sequences, p->max_rows);
    e->max.context = p->context ? p->context : m->context;
    e->max.batch = p->max_batch ? p->max_batch : 512;
    if (e->max.batch > t_max) e->max.batch = t_max;
    e->max.sequences = p->max_sequences ? p->max_sequences : 64;
    if (e->max.sequences > e->max.batch) e->max.sequences = e->max.batch;
    e->max.rows = p->max_rows ? p->max_rows : e->max.sequences;
    if (e->max.rows > e->max.batch) e->max.rows = e->max.batch;
    /* one spare entry behind the longest row, rows a multiple of 16 entries */
    e->max.pages = ((e->max.context + e->layout->block - 1) / e->layout->block + 1 + 15) / 16 * 16;
    return LL_OK;
}

static ll_code make_kv(llmir_engine *e, const llmir_engine_params *p, ll_error *err)
{
    uint64_t tokens = p->kv_tokens ? p->kv_tokens : e->max.context;
    uint64_t blocks = tokens / e->layout->block + (tokens % e->layout->block > 0);
    if (blocks > INT32_MAX - 1)
        return ll_fail(err, LL_USAGE, "kv_tokens %llu: out of range", ULL(tokens));
    uint64_t *bytes = calloc(e->layout->n_pool + 1, sizeof *bytes);
    if (!bytes) return ll_fail(err, LL_NO_SPACE, "no memory for %u KV pools", e->layout->n_pool);
    for (uint32_t i = 0; i < e->layout->n_pool; i++)
        bytes[i] = rt_blob_pool(&e->model->blob, e->layout->pool + i)->block_bytes;
    rt_kv_params k = {e->model->device, e->queue,           e->layout->block,
                      (uint32_t)blocks, e->layout->n_pool, bytes};
    ll_code rc = rt_kv_create(&e->kv, &k, err);
    free(bytes);
    return rc;
}

/* ---- programs --------------------------------------------------------------------------- */
static ll_code pick_programs(llmir_engine *e, ll_error *err)
{
    const rt_blob *b = &e->model->blob;
    uint32_t n = e->model->target->n_program;
    e->program = calloc(n, sizeof *e->program);
    if (!e->program) return ll_fail(err, LL_NO_SPACE, "no memory for %u programs", n);
    for (uint32_t i = 0; i < n; i++) {
        const llmir_program_rec *r = rt_blob_program(b, e->model->target->program + i);
        if (r->kv != e->kv_no || r->t_min > e->max.batch) continue;
        e->program[e->n_program++].rec = r;
    }
    return LL_OK;
}

static ll_code make_queue(llmir_engine *e, const llmir_engine_params *p, ll_error *err)
{
    const rt_blob *b = &e->model->blob;
    rt_queue_params q = {.threads = p->threads, .n_program = e->n_program};
    for (uint32_t i = 0; i < rt_blob_n(b, LLMIR_SEC_KERNEL); i++) {
        const llmir_kernel_rec *k = rt_blob_kernel(b, i);
        if (rt_blob_target(b, k->target) == e->model->target && k->scratch > q.scratch)
            q.scratch = k->scratch;
    }
    for (uint32_t i = 0; i < e->n_program; i++)
        if (e->program[i].rec->n_step > q.most_steps) q.most_steps = e->program[i].rec->n_step;
    return e->model->device->ops->queue(e->model->device, &q, &e->queue, err);
}

/* ---- profile ---------------------------------------------------------------------------- */
static uint32_t profile_row(llmir_engine *e, uint32_t kernel, uint32_t site)
{
    for (uint32_t i = 0; i < e->n_profile; i++)
        if (e->profile[i].kernel == kernel && e->profile[i].site == site) return i;
    e->profile[e->n_profile] = (rt_profile_row){.kernel = kernel, .site = site};
    return e->n_profile++;
}

static ll_code make_profile(llmir_engine *e, ll_error *err)
{
    const rt_blob *b = &e->model->blob;
    size_t total = 0;
    for (uint32_t i = 0; i < e->n_program; i++) total += e->program[i].rec->n_step;
    e->profile = calloc(total + 1, sizeof *e->profile);
    bool ok = e->profile != NULL;
    for (uint32_t i = 0; i < e->n_program && ok; i++) {
        rt_program *p = &e->program[i];
        p->seconds = calloc(p->rec->n_step + 1, sizeof *p->seconds);
        p->row = calloc(p->rec->n_step + 1, sizeof *p->row);
        ok = p->seconds && p->row;
        for (uint32_t k = 0; k < p->rec->n_step && ok; k++) {
            const llmir_step_rec *s = rt_blob_step(b, p->rec->step + k);
            p->row[k] = profile_row(e, s->kernel, s->site);
        }
    }
    return ok ? LL_OK : ll_fail(err, LL_NO_SPACE, "no memory for the profile of %zu steps", total);
}

llmir_status llmir_engine_profile(llmir_engine *e, uint32_t i, llmir_profile_row *row,
                                  llmir_error *error)
{
    ll_error *err = rt_err(error);
    RT_NOT_NULL(err, e);
    RT_NOT_NULL(err, row);
    llmir_profile_row r;
    RT_TRY(rt_params(&r, sizeof r, sizeof r, row, "llmir_profile_row", err));
    if (!e->profile)
        return (llmir_status)ll_fail(err, LL_USAGE, "the engine was made without profile");
    if (i >= e->n_profile)
        return (llmir_status)ll_fail(err, LL_USAGE, "profile row %u of %u", i, e->n_profile);
    const rt_profile_row *p = &e->profile[i];
    const rt_blob *b = &e->model->blob;
    r.kernel = rt_blob_str(b, rt_blob_kernel(b, p->kernel)->name);
    r.site = p->site == UINT32_MAX ? "" : rt_blob_str(b, rt_blob_site(b, p->site)->name);
    r.calls = p->calls;
    r.seconds = p->seconds;
    r.bytes = p->bytes;
    r.ops = p->ops;
    rt_results(row, &r, sizeof r);
    return LLMIR_OK;
}

void llmir_engine_profile_reset(llmir_engine *e)
{
    for (uint32_t i = 0; e && i < e->n_profile; i++) {
        rt_profile_row *p = &e->profile[i];
        *p = (rt_profile_row){.kernel = p->kernel, .site = p->site};
    }
}

/* ---- life ------------------------------------------------------------------------------- */
static void destroy(llmir_engine *e)
{
    rt_queue_destroy(e->queue);
    rt_kv_destroy(&e->kv);
    rt_work_free(e);
    for (uint32_t i = 0; i < e->n_program; i++) {
        free(e->program[i].seconds);
        free(e->program[i].row);
    }
    rt_sampler_finish(&e->sampler);
    free(e->program);
    free(e->profile);
    pthread_mutex_destroy(&e->lock);
    llmir_close(e->model);
    free(e);
}

void llmir_engine_destroy(llmir_engine *e)
{
    if (e && atomic_fetch_sub(&e->refs, 1) == 1) destroy(e);
}

static ll_code init_lock(llmir_engine *e, ll_error *err)
{
    pthread_mutexattr_t a;
    pthread_mutexattr_init(&a);
    pthread_mutexattr_settype(&a, PTHREAD_MUTEX_ERRORCHECK);
    int rc = pthread_mutex_init(&e->lock, &a);
    pthread_mutexattr_destroy(&a);
    return rc ? ll_fail(err, LL_NO_SPACE, "cannot make a lock") : LL_OK;
}

static ll_code build(llmir_engine *e, const llmir_engine_params *p, ll_error *err)
{
    if (!e->model->device)
        return ll_fail(err, LL_USAGE, "%s: opened for information only", e->model->path);
    LL_TRY(choose_layout(e, p, err));
    LL_TRY(choose_limits(e, p, err));
    LL_TRY(pick_programs(e, err));
    LL_TRY(make_queue(e, p, err));
    LL_TRY(make_kv(e, p, err));
    LL_TRY(rt_work_make(e, err));
    LL_TRY(rt_work_bind(e, err));
    if (p->profile) LL_TRY(make_profile(e, err));
    return rt_sampler_init(&e->sampler, rt_blob_model(&e->model->blob)->vocab, err);
}

llmir_status llmir_engine_create(llmir_model *model, const llmir_engine_params *params,
                                 llmir_engine **out, llmir_error *error)
{
    ll_error *err = rt_err(error);
    RT_NOT_NULL(err, model);
    RT_NOT_NULL(err, out);
    llmir_engine_params p;
    RT_TRY(rt_params(&p, sizeof p, sizeof p, params, "llmir_engine_params", err));
    llmir_engine *e = calloc(1, sizeof *e);
    if (!e) return (llmir_status)ll_fail(err, LL_NO_SPACE, "no memory for an engine");
    ll_code rc = init_lock(e, err);
    if (rc != LL_OK) return free(e), (llmir_status)rc;
    e->refs = 1;
    e->model = model;
    rt_model_ref(model);
    rc = build(e, &p, err);
    if (rc != LL_OK) return destroy(e), (llmir_status)rc;
    *out = e;
    return LLMIR_OK;
}

llmir_status llmir_engine_get_info(llmir_engine *e, llmir_engine_info *info, llmir_error *error)
{
    ll_error *err = rt_err(error);
    RT_NOT_NULL(err, e);
    RT_NOT_NULL(err, info);
    llmir_engine_info r;
    rt_queue_facts q;
    RT_TRY(rt_params(&r, sizeof r, sizeof r, info, "llmir_engine_info", err));
    RT_TRY(rt_engine_lock(e, err));
    e->queue->ops->facts(e->queue, &q);
    r.threads = q.threads;
    r.graphs = q.graphs;
    r.graph_runs = q.graph_runs;
    r.findings = q.findings;
    r.device = e->model->device->name;
    r.simulated = e->model->device->simulated;
    r.context = e->max.context;
    r.max_batch = e->max.batch;
    r.max_sequences = e->max.sequences;
    r.max_rows = e->max.rows;
    r.kv_block = e->layout->block;
    r.kv_dtype = rt_blob_str(&e->model->blob, e->layout->dtype);
    r.kv_blocks = e->kv.n_blocks - 1;
    r.kv_blocks_free = e->kv.n_free;
    r.kv_bytes = e->kv.memory.bytes;
    r.work_bytes = e->host.bytes + e->work.bytes;
    pthread_mutex_unlock(&e->lock);
    rt_results(info, &r, sizeof r);
    return LLMIR_OK;
}
