/* work.c: the working memory of an engine: inputs, outputs and the activation arena, and every
 * program's steps bound to it.
 *
 * Memory is carved in two passes over the same list (measure, then assign). A binding becomes an
 * address here, once; a step does no address arithmetic.
 *
 * On the CPU kernels use what the host wrote and write what it reads. A device with memory of its
 * own gets a copy of each:
 *
 *     host     inputs | outputs | stage
 *     device                      stage | outputs | arena
 *
 * The stage of a program holds the dims and the inputs it uses, packed at their largest sizes, so
 * that one copy of a fixed size serves every run: rt_work_gather fills it, the device copies it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/ckd.h"
#include "runtime/plan.h"
#include "runtime/rt.h"

#define ULL(x) ((unsigned long long)(x))

/* ---- sizes ------------------------------------------------------------------------------ */
/* T, S and R of a program at their largest. */
static rt_batch largest_batch(const llmir_engine *e, const llmir_program_rec *p)
{
    uint32_t t = p->t_max < e->max.batch ? p->t_max : e->max.batch;
    uint32_t s = e->max.sequences < t ? e->max.sequences : t;
    uint32_t r = e->max.rows < t ? e->max.rows : t;
    /* with the segment of what is filled up */
    return (rt_batch){(uint32_t)rt_padded(p, t), s + (p->multiple > 1), (uint32_t)rt_padded(p, r)};
}

static void largest_dims(const llmir_engine *e, const llmir_program_rec *p, int64_t dim[RT_DIM_MAX])
{
    const rt_blob *b = &e->model->blob;
    rt_batch n = largest_batch(e, p);
    for (uint32_t i = 0; i < rt_blob_n(b, LLMIR_SEC_DIM); i++) {
        const llmir_dim_rec *d = rt_blob_dim(b, i);
        switch (d->kind) {
        case LLMIR_DIM_T: dim[i] = n.t; break;
        case LLMIR_DIM_S: dim[i] = n.s; break;
        case LLMIR_DIM_R: dim[i] = n.r; break;
        case LLMIR_DIM_W:
            dim[i] = (int64_t)rt_plan_bound(rt_blob_plan(b, d->arg), n.t, n.s, e->max.context);
            break;
        case LLMIR_DIM_PAGES: dim[i] = e->max.pages; break;
        case LLMIR_DIM_BLOCKS: dim[i] = e->kv.n_blocks; break;
        case LLMIR_DIM_KEYS: dim[i] = (int64_t)n.s * e->max.context; break;
        default: dim[i] = (int64_t)n.t * e->max.context; break;
        }
    }
}

/* Bytes of input i of a batch, whose plans have items[plan] items. */
static uint64_t input_bytes(const llmir_engine *e, uint32_t i, const rt_batch *n, uint64_t items)
{
    switch (i) {
    case LLMIR_IN_TOKENS:
    case LLMIR_IN_POS:
    case LLMIR_IN_SEG: return n->t * sizeof(int32_t);
    case LLMIR_IN_START: return (n->s + (uint64_t)1) * sizeof(int32_t);
    case LLMIR_IN_LEN: return n->s * sizeof(int32_t);
    case LLMIR_IN_TABLE: return (uint64_t)n->s * e->max.pages * sizeof(int32_t);
    /* a program of one token may read its row in any case */
    case LLMIR_IN_ROWS: return (n->r ? n->r : 1) * sizeof(int32_t);
    default: return (i - LLMIR_IN_PLAN) & 1 ? n->t * sizeof(int32_t) : items * sizeof(llmir_item);
    }
}

static void *input_of(const llmir_engine *e, uint32_t i)
{
    void *const fixed[] = {e->tokens, e->pos, e->seg, e->start, e->len, e->table, e->rows};
    if (i < LLMIR_IN_PLAN) return fixed[i];
    i -= LLMIR_IN_PLAN;
    return i & 1 ? (void *)e->first[i / 2] : (void *)e->item[i / 2];
}

/* ---- stages ----------------------------------------------------------------------------- */
#define EACH_BINDING(b, p, s, x)                                                                   \
    for (uint32_t i_ = 0; i_ < (p)->n_step; i_++)                                                  \
        for (const llmir_step_rec *s = rt_blob_step(b, (p)->step + i_); s; s = NULL)               \
            for (uint32_t k_ = 0; k_ < s->n_binding; k_++)                                         \
                for (const llmir_binding_rec *x = rt_blob_binding(b, s->binding + k_); x; x = NULL)

/* Which inputs a program uses, and where they lie in its stage. */
static void lay_out(llmir_engine *e, rt_program *p)
{
    const rt_blob *b = &e->model->blob;
    rt_batch n = largest_batch(e, p->rec);
    bool used[RT_INPUT_MAX] = {false};
    EACH_BINDING(b, p->rec, s, x)
    {
        if (x->space != LLMIR_SPACE_INPUT) continue;
        used[x->index] = true;
        if (x->index >= LLMIR_IN_PLAN) p->plans |= (uint64_t)1 << (x->index - LLMIR_IN_PLAN) / 2;
    }
    uint64_t at = rt_blob_n(b, LLMIR_SEC_DIM) * sizeof *e->dim;
    for (uint32_t i = 0; i < RT_INPUT_MAX; i++) {
        uint64_t items = 0;
        p->in_at[i] = UINT64_MAX;
        if (!used[i]) continue;
        if (i >= LLMIR_IN_PLAN)
            items =
                rt_plan_bound(rt_blob_plan(b, (i - LLMIR_IN_PLAN) / 2), n.t, n.s, e->max.context);
        at = (at + 63) & ~(uint64_t)63;
        p->in_at[i] = at;
        at += input_bytes(e, i, &n, items);
    }
    p->stage_bytes = at;
}

void rt_work_gather(llmir_engine *e, const rt_program *p, const rt_batch *n, const uint32_t *items)
{
    if (!e->stage) return;
    memcpy(e->stage, e->dim, rt_blob_n(&e->model->blob, LLMIR_SEC_DIM) * sizeof *e->dim);
    for (uint32_t i = 0; i < RT_INPUT_MAX; i++)
        if (p->in_at[i] != UINT64_MAX)
            memcpy(e->stage + p->in_at[i], input_of(e, i),
                   input_bytes(e, i, n, i < LLMIR_IN_PLAN ? 0 : items[(i - LLMIR_IN_PLAN) / 2]));
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

/* What must hold for all programs together. */
typedef struct need {
    uint64_t t, s, r, arena, stage;
    bool out[LLMIR_OUT_END_]; /* written by every program */
} need;

static bool writes(const llmir_engine *e, uint32_t out)
{
    for (uint32_t i = 0; i < e->n_program; i++) {
        bool here = false;
        EACH_BINDING(&e->model->blob, e->program[i].rec, s, x)
        here = here || (x->space == LLMIR_SPACE_OUTPUT && x->index == out);
        if (!here) return false;
    }
    return true;
}

static ll_code measure(llmir_engine *e, need *n, ll_error *err)
{
    int64_t dim[RT_DIM_MAX];
    *n = (need){.s = (uint64_t)e->max.sequences + 1}; /* see llmir_program_rec.multiple */
    for (uint32_t i = 0; i < e->n_program; i++) {
        rt_program *p = &e->program[i];
        uint64_t t = (uint64_t)rt_padded(p->rec, e->max.batch),
                 r = (uint64_t)rt_padded(p->rec, e->max.rows), arena;
        largest_dims(e, p->rec, dim);
        LL_TRY(rt_linear(&e->model->blob, &p->rec->arena, dim, e->model->path, &arena, err));
        lay_out(e, p);
        n->t = t > n->t ? t : n->t;
        n->r = r > n->r ? r : n->r;
        n->arena = arena > n->arena ? arena : n->arena;
        n->stage = p->stage_bytes > n->stage ? p->stage_bytes : n->stage;
    }
    for (uint32_t i = 0; i < LLMIR_OUT_END_; i++) n->out[i] = writes(e, i);
    n->out[LLMIR_OUT_LOGITS] = true;
    n->out[LLMIR_OUT_CAND_ID] = n->out[LLMIR_OUT_CAND_LOGIT] =
        n->out[LLMIR_OUT_CAND_ID] && n->out[LLMIR_OUT_CAND_LOGIT];
    return LL_OK;
}

static void carve_outputs(const llmir_engine *e, carve *c, const need *n, void *out[])
{
    for (uint32_t i = 0; i < LLMIR_OUT_END_; i++)
        out[i] = n->out[i] ? cut(c, n->r, e->row_bytes[i]) : NULL;
}

static void carve_host(llmir_engine *e, carve *c, const need *n)
{
    const rt_blob *b = &e->model->blob;
    e->tokens = cut(c, n->t, sizeof *e->tokens);
    e->pos = cut(c, n->t, sizeof *e->pos);
    e->seg = cut(c, n->t, sizeof *e->seg);
    e->start = cut(c, n->s + 1, sizeof *e->start);
    e->len = cut(c, n->s, sizeof *e->len);
    e->table = cut(c, n->s * e->max.pages, sizeof *e->table);
    e->rows = cut(c, n->r, sizeof *e->rows);
    for (uint32_t i = 0; i < rt_blob_n(b, LLMIR_SEC_PLAN); i++) {
        e->item[i] =
            cut(c, rt_plan_bound(rt_blob_plan(b, i), n->t, n->s, e->max.context), sizeof **e->item);
        e->first[i] = cut(c, n->t, sizeof **e->first);
    }
    carve_outputs(e, c, n, e->out);
    e->stage = e->model->device->shared ? NULL : cut(c, n->stage, 1);
    cut(c, 4096, 1); /* kernels may read one vector past a buffer's end */
}

static void carve_work(llmir_engine *e, carve *c, const need *n)
{
    bool shared = e->model->device->shared;
    e->stage_device = shared ? NULL : cut(c, n->stage, 1);
    if (shared)
        memcpy(e->out_device, e->out, sizeof e->out);
    else
        carve_outputs(e, c, n, e->out_device);
    e->arena = cut(c, n->arena, 1);
    cut(c, 4096, 1); /* the same */
}

typedef void carve_fn(llmir_engine *e, carve *c, const need *n);

static ll_code place(llmir_engine *e, enum rt_use use, carve_fn *list, const need *n,
                     rt_memory *out, ll_error *err)
{
    rt_device *d = e->model->device;
    char what[96];
    carve c = {.fits = true};
    list(e, &c, n);
    snprintf(what, sizeof what, "steps of %u tokens, %u sequences and %u rows", e->max.batch,
             e->max.sequences, e->max.rows);
    if (!c.fits) return ll_fail(err, LL_NO_SPACE, "no memory for %s", what);
    LL_TRY(d->ops->alloc(d, use, c.at, what, out, err));
    c = (carve){out->at, 0, true};
    list(e, &c, n);
    return LL_OK;
}

ll_code rt_work_make(llmir_engine *e, ll_error *err)
{
    const rt_blob *b = &e->model->blob;
    const uint64_t one = sizeof(float),
                   row[LLMIR_OUT_END_] = {[LLMIR_OUT_LOGITS] = rt_blob_model(b)->vocab * one,
                                          [LLMIR_OUT_MAX] = one,
                                          [LLMIR_OUT_LSE] = one,
                                          [LLMIR_OUT_CAND_ID] = LLMIR_CANDIDATES * one,
                                          [LLMIR_OUT_CAND_LOGIT] = LLMIR_CANDIDATES * one};
    uint32_t n_plan = rt_blob_n(b, LLMIR_SEC_PLAN);
    need n;
    memcpy(e->row_bytes, row, sizeof row);
    e->item = calloc(n_plan + (size_t)1, sizeof *e->item);
    e->first = calloc(n_plan + (size_t)1, sizeof *e->first);
    if (!e->item || !e->first) return ll_fail(err, LL_NO_SPACE, "no memory for %u plans", n_plan);
    LL_TRY(measure(e, &n, err));
    LL_TRY(place(e, RT_HOST, carve_host, &n, &e->host, err));
    LL_TRY(place(e, RT_WORK, carve_work, &n, &e->work, err));
    if (e->stage) memset(e->stage, 0, n.stage); /* whole stages are copied, used or not */
    return LL_OK;
}

void rt_work_free(llmir_engine *e)
{
    rt_device *d = e->model->device;
    if (!d) return;
    d->ops->free(d, &e->host);
    d->ops->free(d, &e->work);
    free(e->item);
    free(e->first);
    free(e->buf);
}

/* ---- bindings --------------------------------------------------------------------------- */
/* Outputs that not every program writes have no home. */
static ll_code bind(llmir_engine *e, const rt_program *p, const llmir_binding_rec *x,
                    const int64_t *dim, uint64_t arena, void **out, ll_error *err)
{
    const rt_blob *b = &e->model->blob;
    uint64_t at, size, end;
    switch (x->space) {
    case LLMIR_SPACE_WEIGHT: *out = (char *)e->model->weight[x->index] + x->at.base; break;
    case LLMIR_SPACE_KV: *out = e->kv.pool[x->index].base + x->at.base; break;
    case LLMIR_SPACE_INPUT:
        *out = e->stage ? e->stage_device + p->in_at[x->index] : input_of(e, x->index);
        break;
    case LLMIR_SPACE_OUTPUT: *out = e->out_device[x->index]; break;
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

static ll_code bind_program(llmir_engine *e, const rt_program *p, void ***next, ll_error *err)
{
    const rt_blob *b = &e->model->blob;
    int64_t dim[RT_DIM_MAX];
    uint64_t arena;
    largest_dims(e, p->rec, dim);
    LL_TRY(rt_linear(b, &p->rec->arena, dim, e->model->path, &arena, err));
    rt_code code = {b, p->rec, *next, dim, e->stage, e->stage_device, p->stage_bytes};
    for (uint32_t i = 0; i < p->rec->n_step; i++) {
        const llmir_step_rec *s = rt_blob_step(b, p->rec->step + i);
        for (uint32_t k = 0; k < s->n_binding; k++)
            LL_TRY(bind(e, p, rt_blob_binding(b, s->binding + k), dim, arena, (*next)++, err));
        *(*next)++ = e->stage ? (void *)e->stage_device : e->dim;
    }
    return e->queue->ops->bind(e->queue, &code, err);
}

ll_code rt_work_bind(llmir_engine *e, ll_error *err)
{
    const rt_blob *b = &e->model->blob;
    size_t n = 0;
    for (uint32_t i = 0; i < e->n_program; i++) {
        const llmir_program_rec *r = e->program[i].rec;
        for (uint32_t k = 0; k < r->n_step; k++) n += rt_blob_step(b, r->step + k)->n_binding + 1;
    }
    e->buf = calloc(n + 1, sizeof *e->buf);
    if (!e->buf) return ll_fail(err, LL_NO_SPACE, "no memory for %zu arguments of steps", n);
    void **next = e->buf;
    for (uint32_t i = 0; i < e->n_program; i++) LL_TRY(bind_program(e, &e->program[i], &next, err));
    return LL_OK;
}
