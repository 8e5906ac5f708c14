/* engine.c: makes an engine: decides its limits, binds every program's steps to memory, starts the
 * team.
 *
 * All memory of steps is one mapping, carved in two passes over the same list (measure, then
 * assign): inputs, plan items, outputs, then the activation arena, which the programs share.
 * Nothing is touched until used. A binding becomes a pointer here, once; a step does no address
 * arithmetic. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/ckd.h"
#include "runtime/plan.h"
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
    ll_code rc =
        rt_kv_create(&e->kv, e->layout->block, (uint32_t)blocks, bytes, e->layout->n_pool, err);
    free(bytes);
    return rc;
}

/* ---- programs --------------------------------------------------------------------------- */
/* The dims of a program at its largest. */
static void largest_dims(const llmir_engine *e, const llmir_program_rec *p, int64_t dim[RT_DIM_MAX])
{
    const rt_blob *b = &e->model->blob;
    int64_t t = p->t_max < e->max.batch ? p->t_max : e->max.batch;
    int64_t s = e->max.sequences < t ? e->max.sequences : t, r = e->max.rows < t ? e->max.rows : t;
    t = rt_padded(p, t);
    r = rt_padded(p, r);
    s += p->multiple > 1; /* the segment of what is filled up */
    for (uint32_t i = 0; i < rt_blob_n(b, LLMIR_SEC_DIM); i++) {
        const llmir_dim_rec *d = rt_blob_dim(b, i);
        switch (d->kind) {
        case LLMIR_DIM_T: dim[i] = t; break;
        case LLMIR_DIM_S: dim[i] = s; break;
        case LLMIR_DIM_R: dim[i] = r; break;
        case LLMIR_DIM_W:
            dim[i] = (int64_t)rt_plan_bound(rt_blob_plan(b, d->arg), (uint64_t)t, (uint64_t)s,
                                            e->max.context);
            break;
        case LLMIR_DIM_PAGES: dim[i] = e->max.pages; break;
        case LLMIR_DIM_BLOCKS: dim[i] = e->kv.n_blocks; break;
        case LLMIR_DIM_KEYS: dim[i] = s * e->max.context; break;
        default: dim[i] = t * e->max.context; break;
        }
    }
}

static ll_code pick_programs(llmir_engine *e, ll_error *err)
{
    const rt_blob *b = &e->model->blob;
    size_t n_step = 0, n_buf = 0;
    uint32_t n = e->model->target->n_program;
    e->program = calloc(n, sizeof *e->program);
    if (!e->program) return ll_fail(err, LL_NO_SPACE, "no memory for %u programs", n);
    for (uint32_t i = 0; i < n; i++) {
        const llmir_program_rec *r = rt_blob_program(b, e->model->target->program + i);
        if (r->kv != e->kv_no || r->t_min > e->max.batch) continue;
        rt_program *p = &e->program[e->n_program++];
        p->rec = r;
        p->step = calloc(r->n_step + 1, sizeof *p->step);
        if (!p->step) return ll_fail(err, LL_NO_SPACE, "no memory for %u steps", r->n_step);
        n_step += r->n_step;
        for (uint32_t k = 0; k < r->n_step; k++) n_buf += rt_blob_step(b, r->step + k)->n_binding;
    }
    e->buf = calloc(n_buf + 1, sizeof *e->buf);
    return e->buf ? LL_OK
                  : ll_fail(err, LL_NO_SPACE, "no memory for the arguments of %zu steps", n_step);
}

/* ---- memory ----------------------------------------------------------------------------- */
typedef struct carve {
    char *base; /* NULL: measuring */
    uint64_t at;
    bool fits;
} carve;

static void *cut(carve *c, uint64_t n, uint64_t each)
{
    uint64_t bytes, from = c->at;
    c->fits = c->fits && ll_mul_u64(n, each, &bytes) && ll_add_u64(from, bytes, &c->at) &&
              ll_align_u64(c->at, 4096, &c->at) && c->at < (uint64_t)1 << 46;
    return c->base ? c->base + from : NULL;
}

static bool writes(const llmir_engine *e, enum llmir_output out)
{
    const rt_blob *b = &e->model->blob;
    for (uint32_t i = 0; i < e->n_program; i++) {
        const llmir_program_rec *r = e->program[i].rec;
        bool here = false;
        for (uint32_t k = 0; k < r->n_step; k++) {
            const llmir_step_rec *s = rt_blob_step(b, r->step + k);
            for (uint32_t j = 0; j < s->n_binding; j++) {
                const llmir_binding_rec *x = rt_blob_binding(b, s->binding + j);
                here = here || (x->space == LLMIR_SPACE_OUTPUT && x->index == (uint32_t)out);
            }
        }
        if (!here) return false;
    }
    return true;
}

static void carve_all(llmir_engine *e, carve *c, uint64_t arena, bool max, bool lse, bool best)
{
    const rt_blob *b = &e->model->blob;
    uint64_t s = (uint64_t)e->max.sequences + 1, v = rt_blob_model(b)->vocab; /* one more segment: see llmir_program_rec.multiple */
    uint64_t t = 0, r = 0;
    for (uint32_t i = 0; i < e->n_program; i++) {
        uint64_t pt = (uint64_t)rt_padded(e->program[i].rec, e->max.batch), pr = (uint64_t)rt_padded(e->program[i].rec, e->max.rows);
        t = pt > t ? pt : t;
        r = pr > r ? pr : r;
    }
    e->tokens = cut(c, t, sizeof *e->tokens);
    e->pos = cut(c, t, sizeof *e->pos);
    e->seg = cut(c, t, sizeof *e->seg);
    e->start = cut(c, s + 1, sizeof *e->start);
    e->len = cut(c, s, sizeof *e->len);
    e->table = cut(c, s * e->max.pages, sizeof *e->table);
    e->rows = cut(c, r, sizeof *e->rows);
    for (uint32_t i = 0; i < rt_blob_n(b, LLMIR_SEC_PLAN); i++) {
        e->item[i] =
            cut(c, rt_plan_bound(rt_blob_plan(b, i), t, s, e->max.context), sizeof **e->item);
        e->first[i] = cut(c, t, sizeof **e->first);
    }
    e->logits = cut(c, r * v, sizeof *e->logits);
    e->row_max = max ? cut(c, r, sizeof *e->row_max) : NULL;
    e->row_lse = lse ? cut(c, r, sizeof *e->row_lse) : NULL;
    e->cand_id = best ? cut(c, r * LLMIR_CANDIDATES, sizeof *e->cand_id) : NULL;
    e->cand_logit = best ? cut(c, r * LLMIR_CANDIDATES, sizeof *e->cand_logit) : NULL;
    e->arena = cut(c, arena, 1);
    cut(c, 4096, 1); /* kernels may read one vector past a buffer's end */
}

static ll_code make_work(llmir_engine *e, ll_error *err)
{
    const rt_blob *b = &e->model->blob;
    uint64_t arena = 0, one;
    int64_t dim[RT_DIM_MAX];
    for (uint32_t i = 0; i < e->n_program; i++) {
        largest_dims(e, e->program[i].rec, dim);
        LL_TRY(rt_linear(b, &e->program[i].rec->arena, dim, e->model->path, &one, err));
        if (one > arena) arena = one;
    }
    uint32_t n_plan = rt_blob_n(b, LLMIR_SEC_PLAN);
    e->item = calloc(n_plan + 1, sizeof *e->item);
    e->first = calloc(n_plan + 1, sizeof *e->first);
    if (!e->item || !e->first) return ll_fail(err, LL_NO_SPACE, "no memory for %u plans", n_plan);
    bool max = writes(e, LLMIR_OUT_MAX), lse = writes(e, LLMIR_OUT_LSE),
         best = writes(e, LLMIR_OUT_CAND_ID) && writes(e, LLMIR_OUT_CAND_LOGIT);
    carve c = {.fits = true};
    carve_all(e, &c, arena, max, lse, best);
    void *p = MAP_FAILED;
    if (c.fits)
        p = mmap(NULL, c.at, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                 -1, 0);
    if (p == MAP_FAILED)
        return ll_fail(err, LL_NO_SPACE,
                       "no memory for steps of %u tokens, %u sequences and %u rows (%llu bytes)",
                       e->max.batch, e->max.sequences, e->max.rows, ULL(c.at));
    e->work = p;
    e->work_bytes = c.at;
    c = (carve){p, 0, true};
    carve_all(e, &c, arena, max, lse, best);
    return LL_OK;
}

/* ---- bindings --------------------------------------------------------------------------- */
static void *input_of(llmir_engine *e, uint32_t i)
{
    void *const fixed[] = {e->tokens, e->pos, e->seg, e->start, e->len, e->table, e->rows};
    if (i < LLMIR_IN_PLAN) return fixed[i];
    i -= LLMIR_IN_PLAN;
    return i & 1 ? (void *)e->first[i / 2] : (void *)e->item[i / 2];
}

/* Outputs that not every program writes have no home; kernels that do write get the arena's spare
 * page. */
static ll_code bind(llmir_engine *e, const llmir_binding_rec *x, const int64_t *dim, uint64_t arena,
                    void **out, ll_error *err)
{
    const rt_blob *b = &e->model->blob;
    void *const outputs[] = {e->logits, e->row_max, e->row_lse, e->cand_id, e->cand_logit};
    uint64_t at, size, end;
    switch (x->space) {
    case LLMIR_SPACE_WEIGHT:
        *out = e->model->weights + rt_blob_weight(b, x->index)->offset + x->at.base;
        break;
    case LLMIR_SPACE_KV: *out = e->kv.pool[x->index].base + x->at.base; break;
    case LLMIR_SPACE_INPUT: *out = input_of(e, x->index); break;
    case LLMIR_SPACE_OUTPUT: *out = outputs[x->index]; break;
    default:
        LL_TRY(rt_linear(b, &x->at, dim, e->model->path, &at, err));
        LL_TRY(rt_linear(b, &x->size, dim, e->model->path, &size, err));
        if (!ll_align_u64(at, 64, &at) || !ll_add_u64(at, size, &end) || end > arena)
            return ll_fail(err, LL_BAD_INPUT,
                           "%s: a buffer of %llu bytes at %llu is outside the arena of %llu",
                           e->model->path, ULL(size), ULL(at), ULL(arena));
        *out = e->arena + at;
    }
    return *out ? LL_OK
                : ll_fail(err, LL_BAD_INPUT, "%s: an output is written by some programs only",
                          e->model->path);
}

static ll_code bind_program(llmir_engine *e, rt_program *p, void ***next, ll_error *err)
{
    const rt_blob *b = &e->model->blob;
    int64_t dim[RT_DIM_MAX];
    uint64_t arena;
    largest_dims(e, p->rec, dim);
    LL_TRY(rt_linear(b, &p->rec->arena, dim, e->model->path, &arena, err));
    for (uint32_t i = 0; i < p->rec->n_step; i++) {
        const llmir_step_rec *s = rt_blob_step(b, p->rec->step + i);
        const llmir_kernel_rec *kernel = rt_blob_kernel(b, s->kernel);
        p->step[i] = (rt_step){e->model->code->kernel[kernel->code], {*next, e->dim}};
        for (uint32_t k = 0; k < s->n_binding; k++) {
            const llmir_binding_rec *x = rt_blob_binding(b, s->binding + k);
            if (x->space == LLMIR_SPACE_INPUT && x->index >= LLMIR_IN_PLAN)
                p->plans |= (uint64_t)1 << (x->index - LLMIR_IN_PLAN) / 2;
            LL_TRY(bind(e, x, dim, arena, (*next)++, err));
        }
    }
    return LL_OK;
}

static ll_code bind_all(llmir_engine *e, ll_error *err)
{
    void **next = e->buf;
    for (uint32_t i = 0; i < e->n_program; i++) LL_TRY(bind_program(e, &e->program[i], &next, err));
    return LL_OK;
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
    rt_team_destroy(e->team);
    rt_kv_destroy(&e->kv);
    for (uint32_t i = 0; i < e->n_program; i++) {
        free(e->program[i].step);
        free(e->program[i].seconds);
        free(e->program[i].row);
    }
    if (e->work) munmap(e->work, e->work_bytes);
    rt_sampler_finish(&e->sampler);
    free(e->program);
    free(e->profile);
    free(e->buf);
    free(e->item);
    free(e->first);
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
    const rt_blob *b = &e->model->blob;
    size_t scratch = 0;
    if (!e->model->code)
        return ll_fail(err, LL_USAGE, "%s: opened for information only", e->model->path);
    LL_TRY(choose_layout(e, p, err));
    LL_TRY(choose_limits(e, p, err));
    LL_TRY(make_kv(e, p, err));
    LL_TRY(pick_programs(e, err));
    LL_TRY(make_work(e, err));
    LL_TRY(bind_all(e, err));
    if (p->profile) LL_TRY(make_profile(e, err));
    LL_TRY(rt_sampler_init(&e->sampler, rt_blob_model(b)->vocab, err));
    for (uint32_t i = 0; i < rt_blob_n(b, LLMIR_SEC_KERNEL); i++) {
        const llmir_kernel_rec *k = rt_blob_kernel(b, i);
        if (rt_blob_target(b, k->target) == e->model->target && k->scratch > scratch)
            scratch = k->scratch;
    }
    return rt_team_create(p->threads ? p->threads : rt_cpu_count(), scratch, &e->team, err);
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
    RT_TRY(rt_params(&r, sizeof r, sizeof r, info, "llmir_engine_info", err));
    RT_TRY(rt_engine_lock(e, err));
    r.threads = rt_team_size(e->team);
    r.context = e->max.context;
    r.max_batch = e->max.batch;
    r.max_sequences = e->max.sequences;
    r.max_rows = e->max.rows;
    r.kv_block = e->layout->block;
    r.kv_dtype = rt_blob_str(&e->model->blob, e->layout->dtype);
    r.kv_blocks = e->kv.n_blocks - 1;
    r.kv_blocks_free = e->kv.n_free;
    r.kv_bytes = e->kv.map_bytes;
    r.work_bytes = e->work_bytes;
    pthread_mutex_unlock(&e->lock);
    rt_results(info, &r, sizeof r);
    return LLMIR_OK;
}
