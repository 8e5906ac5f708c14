/* blob.c: see blob.h. */
#include "runtime/blob.h"

#include <stdbool.h>
#include <string.h>

#include "base/ckd.h"
#include "runtime/plan.h"

enum {
    MAX_SECTIONS = 64,
    MAX_TERMS = 16,      /* of one linear form */
    MAX_VISITS = 1 << 22 /* bindings looked at over all programs */
};

/* Kind -> least record size, alignment, most records. */
static const struct shape {
    const char *name;
    uint32_t record, align;
    uint64_t max;
} shape[LLMIR_SEC_END_] = {
    [LLMIR_SEC_STRINGS] = {"strings", 1, 1, 1u << 30},
    [LLMIR_SEC_MODEL] = {"model", sizeof(llmir_model_rec), 8, 1},
    [LLMIR_SEC_DIM] = {"dims", sizeof(llmir_dim_rec), 4, 256},
    [LLMIR_SEC_TERM] = {"terms", sizeof(llmir_term), 8, 1u << 24},
    [LLMIR_SEC_KERNEL] = {"kernels", sizeof(llmir_kernel_rec), 8, 1u << 16},
    [LLMIR_SEC_SITE] = {"sites", sizeof(llmir_site_rec), 8, 1u << 20},
    [LLMIR_SEC_VARIANT] = {"variants", sizeof(llmir_variant_rec), 4, 1u << 20},
    [LLMIR_SEC_KV] = {"KV layouts", sizeof(llmir_kv_rec), 4, 64},
    [LLMIR_SEC_POOL] = {"KV pools", sizeof(llmir_pool_rec), 8, 1u << 16},
    [LLMIR_SEC_PLAN] = {"plans", sizeof(llmir_plan_rec), 4, RT_PLAN_MAX},
    [LLMIR_SEC_WEIGHT] = {"weights", sizeof(llmir_weight_rec), 8, 1u << 20},
    [LLMIR_SEC_PROGRAM] = {"programs", sizeof(llmir_program_rec), 8, 1024},
    [LLMIR_SEC_STEP] = {"steps", sizeof(llmir_step_rec), 8, 1u << 20},
    [LLMIR_SEC_BINDING] = {"bindings", sizeof(llmir_binding_rec), 8, 1u << 24},
    [LLMIR_SEC_PROVENANCE] = {"provenance", sizeof(llmir_pair_rec), 4, 1u << 16},
    [LLMIR_SEC_TOKENIZER] = {"tokenizer", 1, 1, 1u << 30},
    [LLMIR_SEC_CHAT] = {"chat template", 1, 1, 1u << 24},
    [LLMIR_SEC_TARGET] = {"targets", sizeof(llmir_target_rec), 4, 64},
    [LLMIR_SEC_PTX] = {"PTX", 1, 1, 1u << 30},
    [LLMIR_SEC_LAUNCH] = {"launches", sizeof(llmir_launch_rec), 8, 1u << 16},
};

typedef struct check {
    rt_blob *b;
    const char *file;
    ll_error *err;
} check;

#define BAD(c, ...) ll_fail((c)->err, LL_BAD_INPUT, __VA_ARGS__)

/* ---- sections --------------------------------------------------------------------------- */
static ll_code add_section(check *c, const llmir_section *s, uint32_t no)
{
    rt_blob *b = c->b;
    uint64_t bytes;
    if (!s->record || !ll_mul_u64(s->count, s->record, &bytes) || s->offset > b->size ||
        bytes > b->size - s->offset)
        return BAD(c,
                   "%s: section %u: %llu records of %u bytes at %llu do not lie in the %zu bytes "
                   "of tables",
                   c->file, no, (unsigned long long)s->count, s->record,
                   (unsigned long long)s->offset, b->size);
    if (s->offset % 8)
        return BAD(c, "%s: section %u: offset %llu is not a multiple of 8", c->file, no,
                   (unsigned long long)s->offset);
    if (s->kind == 0 || s->kind >= LLMIR_SEC_END_) return LL_OK; /* a newer writer's */
    const struct shape *want = &shape[s->kind];
    rt_table *t = &b->table[s->kind];
    if (t->p) return BAD(c, "%s: two sections of %s", c->file, want->name);
    if (s->record < want->record || s->record % want->align ||
        (want->record == 1 && s->record != 1))
        return BAD(c, "%s: %s: records of %u bytes, wanted %u", c->file, want->name, s->record,
                   want->record);
    if (s->count > want->max)
        return BAD(c, "%s: %s: %llu records, at most %llu are possible", c->file, want->name,
                   (unsigned long long)s->count, (unsigned long long)want->max);
    *t = (rt_table){b->bytes + s->offset, (uint32_t)s->count, s->record, bytes};
    return LL_OK;
}

static ll_code read_sections(check *c)
{
    llmir_blob_head h;
    rt_blob *b = c->b;
    if (b->size < sizeof h)
        return BAD(c, "%s: tables: %zu bytes, shorter than their header", c->file, b->size);
    memcpy(&h, b->bytes, sizeof h);
    if (h.magic != LLMIR_BLOB_MAGIC) return BAD(c, "%s: tables: wrong magic number", c->file);
    if (h.size != b->size)
        return BAD(c, "%s: tables: %llu bytes by their header, %zu by the note", c->file,
                   (unsigned long long)h.size, b->size);
    if (h.n_section > MAX_SECTIONS ||
        sizeof h + (uint64_t)h.n_section * sizeof(llmir_section) > b->size)
        return BAD(c, "%s: tables: %u sections: out of range", c->file, h.n_section);
    uint64_t first = sizeof h + (uint64_t)h.n_section * sizeof(llmir_section);
    for (uint32_t i = 0; i < h.n_section; i++) {
        llmir_section s;
        memcpy(&s, b->bytes + sizeof h + i * sizeof s, sizeof s);
        LL_TRY(add_section(c, &s, i));
        if (s.offset < first)
            return BAD(c, "%s: section %u begins inside the section list", c->file, i);
    }
    for (uint32_t i = 1; i < LLMIR_SEC_END_; i++)
        for (uint32_t j = 1; j < i; j++) {
            const rt_table *x = &b->table[i], *y = &b->table[j];
            if (x->bytes && y->bytes && x->p < y->p + y->bytes && y->p < x->p + x->bytes)
                return BAD(c, "%s: sections of %s and %s overlap", c->file, shape[i].name,
                           shape[j].name);
        }
    static const unsigned char none[8];
    for (uint32_t i = 1; i < LLMIR_SEC_END_; i++)
        if (!b->table[i].p) b->table[i] = (rt_table){none, 0, shape[i].record, 0};
    return LL_OK;
}

/* ---- fields ----------------------------------------------------------------------------- */
static ll_code str(check *c, llmir_str s, const char *what, uint32_t i)
{
    if (s < c->b->table[LLMIR_SEC_STRINGS].n) return LL_OK;
    return BAD(c, "%s: %s %u: string at %u, there are %u bytes of strings", c->file, what, i, s,
               c->b->table[LLMIR_SEC_STRINGS].n);
}

static ll_code index_of(check *c, enum llmir_section_kind kind, uint32_t v, const char *what,
                        uint32_t i)
{
    if (v < rt_blob_n(c->b, kind)) return LL_OK;
    return BAD(c, "%s: %s %u: number %u of %s, there are %u", c->file, what, i, v, shape[kind].name,
               rt_blob_n(c->b, kind));
}

static ll_code range_of(check *c, enum llmir_section_kind kind, uint32_t first, uint32_t n,
                        const char *what, uint32_t i)
{
    if (first <= rt_blob_n(c->b, kind) && n <= rt_blob_n(c->b, kind) - first) return LL_OK;
    return BAD(c, "%s: %s %u: %u %s from number %u, there are %u", c->file, what, i, n,
               shape[kind].name, first, rt_blob_n(c->b, kind));
}

static ll_code linear(check *c, const llmir_linear *l, const char *what, uint32_t i)
{
    if (l->n_term > MAX_TERMS)
        return BAD(c, "%s: %s %u: %u terms, at most %d are possible", c->file, what, i, l->n_term,
                   MAX_TERMS);
    return range_of(c, LLMIR_SEC_TERM, l->term, l->n_term, what, i);
}

static ll_code check_strings(check *c)
{
    const rt_table *t = &c->b->table[LLMIR_SEC_STRINGS];
    if (t->n && !t->p[0] && !t->p[t->n - 1]) return LL_OK;
    return BAD(c, "%s: strings: must begin and end with a NUL", c->file);
}

static ll_code check_model(check *c)
{
    if (rt_blob_n(c->b, LLMIR_SEC_MODEL) != 1) return BAD(c, "%s: no model record", c->file);
    const llmir_model_rec *m = rt_blob_model(c->b);
    const llmir_str s[] = {m->name, m->arch, m->quant};
    for (size_t i = 0; i < sizeof s / sizeof *s; i++) LL_TRY(str(c, s[i], "model", 0));
    if (m->vocab < 1 || m->vocab > 1u << 24 || m->context < 1 || m->context > 1u << 28)
        return BAD(c, "%s: model: vocabulary %u, context %u: out of range", c->file, m->vocab,
                   m->context);
    return LL_OK;
}

static ll_code check_dims(check *c)
{
    for (uint32_t i = 0; i < rt_blob_n(c->b, LLMIR_SEC_DIM); i++) {
        const llmir_dim_rec *d = rt_blob_dim(c->b, i);
        LL_TRY(str(c, d->name, "dim", i));
        if (d->kind >= LLMIR_DIM_END_)
            return BAD(c, "%s: dim %u: kind %u is unknown", c->file, i, d->kind);
        if (d->kind == LLMIR_DIM_W) LL_TRY(index_of(c, LLMIR_SEC_PLAN, d->arg, "dim", i));
    }
    for (uint32_t i = 0; i < rt_blob_n(c->b, LLMIR_SEC_TERM); i++)
        LL_TRY(index_of(c, LLMIR_SEC_DIM, rt_blob_term(c->b, i)->dim, "term", i));
    return LL_OK;
}

/* ---- targets and code ------------------------------------------------------------------- */
static ll_code check_target(check *c, uint32_t i, uint32_t *program)
{
    const llmir_target_rec *t = rt_blob_target(c->b, i);
    LL_TRY(str(c, t->name, "target", i));
    LL_TRY(str(c, t->features, "target", i));
    const char *name = rt_blob_str(c->b, t->name);
    if (!*name || strnlen(name, LLMIR_TARGET_NAME) == LLMIR_TARGET_NAME)
        return BAD(c, "%s: target %u: its name is empty or longer than %d bytes", c->file, i,
                   LLMIR_TARGET_NAME - 1);
    for (uint32_t j = 0; j < i; j++)
        if (!strcmp(name, rt_blob_str(c->b, rt_blob_target(c->b, j)->name)))
            return BAD(c, "%s: target %u: a second %s", c->file, i, name);
    bool cuda = t->kind == LLMIR_ON_CUDA;
    if (t->kind >= LLMIR_ON_END_)
        return BAD(c, "%s: target %u: kind %u is unknown", c->file, i, t->kind);
    if (cuda ? t->sm < 10 || t->sm > 9999 || t->sm_exact > 1 : t->sm || t->sm_exact)
        return BAD(c, "%s: target %u: compute capability %u, exact %u: out of range", c->file, i,
                   t->sm, t->sm_exact);
    LL_TRY(range_of(c, LLMIR_SEC_PROGRAM, t->program, t->n_program, "target", i));
    if (t->program != *program || !t->n_program)
        return BAD(c, "%s: target %u: %u programs from number %u, wanted some from number %u",
                   c->file, i, t->n_program, t->program, *program);
    *program += t->n_program;
    return LL_OK;
}

static ll_code check_targets(check *c)
{
    uint32_t program = 0, n = rt_blob_n(c->b, LLMIR_SEC_TARGET);
    if (!n) return BAD(c, "%s: no target", c->file);
    for (uint32_t i = 0; i < n; i++) LL_TRY(check_target(c, i, &program));
    if (program != rt_blob_n(c->b, LLMIR_SEC_PROGRAM))
        return BAD(c, "%s: targets: %u programs of %u belong to one", c->file, program,
                   rt_blob_n(c->b, LLMIR_SEC_PROGRAM));
    return LL_OK;
}

/* A text begins where the section or an earlier text ends, has its only NUL at its end, and is
 * looked at once: *last is the launch before. */
static ll_code check_ptx(check *c, uint32_t i, const llmir_launch_rec *l,
                         const llmir_launch_rec *last)
{
    const rt_table *t = &c->b->table[LLMIR_SEC_PTX];
    if (last && last->ptx == l->ptx && last->ptx_size == l->ptx_size) return LL_OK;
    uint64_t from = last ? last->ptx + last->ptx_size : 0;
    if (l->ptx < from || l->ptx_size < 2 || l->ptx > t->n || l->ptx_size > t->n - l->ptx)
        return BAD(c,
                   "%s: launch %u: %llu bytes of PTX at %llu: wanted some from %llu on, inside %u",
                   c->file, i, (unsigned long long)l->ptx_size, (unsigned long long)l->ptx,
                   (unsigned long long)from, t->n);
    if (memchr(t->p + l->ptx, 0, l->ptx_size) != t->p + l->ptx + l->ptx_size - 1)
        return BAD(c, "%s: launch %u: its PTX does not end in its first NUL", c->file, i);
    return LL_OK;
}

static ll_code check_launch(check *c, uint32_t i)
{
    const llmir_launch_rec *l = rt_blob_launch(c->b, i);
    LL_TRY(check_ptx(c, i, l, i ? rt_blob_launch(c->b, i - 1) : NULL));
    LL_TRY(str(c, l->entry, "launch", i));
    if (!*rt_blob_str(c->b, l->entry)) return BAD(c, "%s: launch %u: no entry", c->file, i);
    uint64_t threads = 1; /* a factor that passed leaves at most LLMIR_MAX_BLOCK: no overflow */
    for (int d = 0; d < 3 && threads && threads <= LLMIR_MAX_BLOCK; d++) threads *= l->block[d];
    if (!threads || threads > LLMIR_MAX_BLOCK)
        return BAD(c, "%s: launch %u: blocks of %u x %u x %u threads, wanted 1 to %d", c->file, i,
                   l->block[0], l->block[1], l->block[2], LLMIR_MAX_BLOCK);
    if (l->shared > LLMIR_MAX_SHARED)
        return BAD(c, "%s: launch %u: %u bytes of shared memory, at most %d are possible", c->file,
                   i, l->shared, LLMIR_MAX_SHARED);
    for (int d = 0; d < 3; d++) {
        LL_TRY(linear(c, &l->grid[d].n, "launch", i));
        if (!l->grid[d].div) return BAD(c, "%s: launch %u: a grid divided by 0", c->file, i);
    }
    return LL_OK;
}

static ll_code check_code(check *c, uint32_t i, const llmir_kernel_rec *k, uint32_t n_cpu)
{
    LL_TRY(index_of(c, LLMIR_SEC_TARGET, k->target, "kernel", i));
    if (k->kind != rt_blob_target(c->b, k->target)->kind)
        return BAD(c, "%s: kernel %u: kind %u, its target's is %u", c->file, i, k->kind,
                   rt_blob_target(c->b, k->target)->kind);
    if (k->kind == LLMIR_ON_CUDA) return index_of(c, LLMIR_SEC_LAUNCH, k->code, "kernel", i);
    if (k->code < n_cpu) return LL_OK;
    return BAD(c, "%s: kernel %u: code number %u of %u", c->file, i, k->code, n_cpu);
}

static ll_code check_kernels(check *c)
{
    uint32_t n_cpu = rt_blob_n_kernel_on(c->b, LLMIR_ON_CPU);
    for (uint32_t i = 0; i < rt_blob_n(c->b, LLMIR_SEC_LAUNCH); i++) LL_TRY(check_launch(c, i));
    for (uint32_t i = 0; i < rt_blob_n(c->b, LLMIR_SEC_KERNEL); i++) {
        const llmir_kernel_rec *k = rt_blob_kernel(c->b, i);
        LL_TRY(str(c, k->name, "kernel", i));
        LL_TRY(str(c, k->te, "kernel", i));
        LL_TRY(str(c, k->trace, "kernel", i));
        LL_TRY(check_code(c, i, k, n_cpu));
        if (k->scratch > 1u << 30)
            return BAD(c, "%s: kernel %u: %llu bytes of scratch, at most 1 GiB is possible",
                       c->file, i, (unsigned long long)k->scratch);
    }
    for (uint32_t i = 0; i < rt_blob_n(c->b, LLMIR_SEC_VARIANT); i++) {
        LL_TRY(index_of(c, LLMIR_SEC_KERNEL, rt_blob_variant(c->b, i)->kernel, "variant", i));
        LL_TRY(str(c, rt_blob_variant(c->b, i)->note, "variant", i));
    }
    for (uint32_t i = 0; i < rt_blob_n(c->b, LLMIR_SEC_SITE); i++) {
        const llmir_site_rec *s = rt_blob_site(c->b, i);
        LL_TRY(str(c, s->name, "site", i));
        LL_TRY(str(c, s->te, "site", i));
        LL_TRY(str(c, s->klass, "site", i));
        LL_TRY(range_of(c, LLMIR_SEC_VARIANT, s->variant, s->n_variant, "site", i));
        if (!s->n_variant) return BAD(c, "%s: site %u has no variant", c->file, i);
    }
    for (uint32_t i = 0; i < rt_blob_n(c->b, LLMIR_SEC_PROVENANCE); i++) {
        LL_TRY(str(c, rt_blob_fact(c->b, i)->key, "provenance", i));
        LL_TRY(str(c, rt_blob_fact(c->b, i)->value, "provenance", i));
    }
    return LL_OK;
}

static ll_code check_kv(check *c)
{
    for (uint32_t i = 0; i < rt_blob_n(c->b, LLMIR_SEC_POOL); i++) {
        const llmir_pool_rec *p = rt_blob_pool(c->b, i);
        LL_TRY(str(c, p->name, "KV pool", i));
        if (!p->block_bytes || p->block_bytes % 64 || p->block_bytes > 1u << 30)
            return BAD(c,
                       "%s: KV pool %u: blocks of %llu bytes: wanted a multiple of 64 up to 1 GiB",
                       c->file, i, (unsigned long long)p->block_bytes);
    }
    for (uint32_t i = 0; i < rt_blob_n(c->b, LLMIR_SEC_KV); i++) {
        const llmir_kv_rec *k = rt_blob_kv(c->b, i);
        LL_TRY(str(c, k->dtype, "KV layout", i));
        LL_TRY(range_of(c, LLMIR_SEC_POOL, k->pool, k->n_pool, "KV layout", i));
        if (k->block < 16 || k->block > 256 || (k->block & (k->block - 1)))
            return BAD(c, "%s: KV layout %u: blocks of %u tokens: wanted 16, 32, 64, 128 or 256",
                       c->file, i, k->block);
    }
    return LL_OK;
}

static ll_code check_plans(check *c)
{
    llmir_plan_rec plan[RT_PLAN_MAX];
    uint32_t n = rt_blob_n(c->b, LLMIR_SEC_PLAN);
    for (uint32_t i = 0; i < n; i++) {
        plan[i] = *rt_blob_plan(c->b, i);
        LL_TRY(str(c, plan[i].name, "plan", i));
    }
    return rt_plan_check(plan, n, c->file, c->err);
}

static ll_code check_weights(check *c, uint64_t size)
{
    uint64_t at = 0;
    for (uint32_t i = 0; i < rt_blob_n(c->b, LLMIR_SEC_WEIGHT); i++) {
        const llmir_weight_rec *w = rt_blob_weight(c->b, i);
        LL_TRY(str(c, w->name, "weight", i));
        LL_TRY(str(c, w->packing, "weight", i));
        if (w->offset < at || w->offset % 64 || w->offset > size || w->size > size - w->offset)
            return BAD(c,
                       "%s: weight %u: %llu bytes at %llu: must be aligned to 64, ascending and "
                       "inside the %llu "
                       "bytes of weights",
                       c->file, i, (unsigned long long)w->size, (unsigned long long)w->offset,
                       (unsigned long long)size);
        at = w->offset + w->size;
    }
    return LL_OK;
}

/* ---- programs --------------------------------------------------------------------------- */
static ll_code check_binding(check *c, uint32_t i, const llmir_kv_rec *kv)
{
    const llmir_binding_rec *x = rt_blob_binding(c->b, i);
    LL_TRY(linear(c, &x->at, "binding", i));
    LL_TRY(linear(c, &x->size, "binding", i));
    uint64_t room, n;
    switch (x->space) {
    case LLMIR_SPACE_ARENA: return LL_OK; /* offsets are checked where the dims are known */
    case LLMIR_SPACE_WEIGHT:
        LL_TRY(index_of(c, LLMIR_SEC_WEIGHT, x->index, "binding", i));
        room = rt_blob_weight(c->b, x->index)->size;
        break;
    case LLMIR_SPACE_KV:
        if (x->index >= kv->n_pool)
            return BAD(c, "%s: binding %u: KV pool %u of %u", c->file, i, x->index, kv->n_pool);
        room = rt_blob_pool(c->b, kv->pool + x->index)->block_bytes;
        break;
    case LLMIR_SPACE_INPUT:
        n = LLMIR_IN_PLAN + 2 * (uint64_t)rt_blob_n(c->b, LLMIR_SEC_PLAN), room = 1;
        goto numbered;
    case LLMIR_SPACE_OUTPUT: n = LLMIR_OUT_END_, room = 1; goto numbered;
    default:
        return BAD(c, "%s: binding %u: space %u is unknown", c->file, i, x->space);
    numbered:
        if (x->index >= n)
            return BAD(c, "%s: binding %u: number %u of %llu", c->file, i, x->index,
                       (unsigned long long)n);
    }
    if (x->at.n_term || x->at.base < 0 || (uint64_t)x->at.base >= room)
        return BAD(c, "%s: binding %u: offset %lld: must be constant and inside %llu bytes",
                   c->file, i, (long long)x->at.base, (unsigned long long)room);
    return LL_OK;
}

static ll_code check_program(check *c, uint32_t i, uint32_t target, uint64_t *visits)
{
    const llmir_program_rec *p = rt_blob_program(c->b, i);
    LL_TRY(str(c, p->name, "program", i));
    LL_TRY(index_of(c, LLMIR_SEC_KV, p->kv, "program", i));
    LL_TRY(range_of(c, LLMIR_SEC_STEP, p->step, p->n_step, "program", i));
    LL_TRY(linear(c, &p->arena, "program", i));
    if (!p->t_min || p->t_min > p->t_max || p->t_max > 1u << 20)
        return BAD(c, "%s: program %u: serves %u to %u tokens", c->file, i, p->t_min, p->t_max);
    if (!p->multiple || p->multiple > LLMIR_MAX_MULTIPLE || p->multiple & (p->multiple - 1) || p->t_max % p->multiple)
        return BAD(c, "%s: program %u: sizes are multiples of %u, wanted a power of two up to %d that divides %u", c->file, i,
                   p->multiple, LLMIR_MAX_MULTIPLE, p->t_max);
    for (uint32_t j = p->step; j < p->step + p->n_step; j++) {
        const llmir_step_rec *s = rt_blob_step(c->b, j);
        LL_TRY(index_of(c, LLMIR_SEC_KERNEL, s->kernel, "step", j));
        if (rt_blob_kernel(c->b, s->kernel)->target != target)
            return BAD(c,
                       "%s: step %u: kernel %u is code for target %u, the program is of target %u",
                       c->file, j, s->kernel, rt_blob_kernel(c->b, s->kernel)->target, target);
        if (s->site != UINT32_MAX) LL_TRY(index_of(c, LLMIR_SEC_SITE, s->site, "step", j));
        LL_TRY(range_of(c, LLMIR_SEC_BINDING, s->binding, s->n_binding, "step", j));
        LL_TRY(linear(c, &s->bytes, "step", j));
        LL_TRY(linear(c, &s->ops, "step", j));
        *visits += (uint64_t)s->n_binding + 1;
        if (*visits > MAX_VISITS)
            return BAD(c, "%s: program %u: more than %d bindings", c->file, i, MAX_VISITS);
        for (uint32_t k = 0; k < s->n_binding; k++)
            LL_TRY(check_binding(c, s->binding + k, rt_blob_kv(c->b, p->kv)));
    }
    return LL_OK;
}

/* The programs of a target for KV layout `kv` cover 1..max: follow the chain of ranges from 1. */
static ll_code check_cover(check *c, uint32_t target, uint32_t kv)
{
    const llmir_target_rec *of = rt_blob_target(c->b, target);
    uint32_t n = 0, linked = 0, next = 1, end = of->program + of->n_program;
    for (uint32_t i = of->program; i < end; i++) n += rt_blob_program(c->b, i)->kv == kv;
    for (bool more = true; more;) {
        uint32_t hits = 0, to = 0;
        for (uint32_t i = of->program; i < end; i++) {
            const llmir_program_rec *p = rt_blob_program(c->b, i);
            if (p->kv == kv && p->t_min == next) hits++, to = p->t_max;
        }
        more = hits == 1;
        linked += hits == 1;
        next = more ? to + 1 : next;
    }
    if (n && linked == n) return LL_OK;
    return BAD(c,
               "%s: programs of target %u for KV layout %u: %u in all, but they do not cover 1 "
               "token and up without gap or overlap (trouble at %u tokens)",
               c->file, target, kv, n, next);
}

static ll_code check_programs(check *c)
{
    uint64_t visits = 0;
    for (uint32_t t = 0; t < rt_blob_n(c->b, LLMIR_SEC_TARGET); t++) {
        const llmir_target_rec *of = rt_blob_target(c->b, t);
        for (uint32_t i = 0; i < of->n_program; i++)
            LL_TRY(check_program(c, of->program + i, t, &visits));
        for (uint32_t i = 0; i < rt_blob_n(c->b, LLMIR_SEC_KV); i++) LL_TRY(check_cover(c, t, i));
    }
    if (!rt_blob_n(c->b, LLMIR_SEC_KV)) return BAD(c, "%s: no KV layout and no program", c->file);
    return LL_OK;
}

ll_code rt_blob_parse(rt_blob *b, const void *bytes, size_t size, uint64_t weights_size,
                      const char *file, ll_error *err)
{
    *b = (rt_blob){.bytes = bytes, .size = size};
    check c = {b, file, err};
    if ((uintptr_t)bytes % 8) return BAD(&c, "%s: tables are not aligned in memory", file);
    LL_TRY(read_sections(&c));
    LL_TRY(check_strings(&c));
    LL_TRY(check_model(&c));
    LL_TRY(check_dims(&c));
    LL_TRY(check_targets(&c));
    LL_TRY(check_kernels(&c));
    LL_TRY(check_kv(&c));
    LL_TRY(check_plans(&c));
    LL_TRY(check_weights(&c, weights_size));
    return check_programs(&c);
}

uint32_t rt_blob_n_kernel_on(const rt_blob *b, enum llmir_on kind)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < rt_blob_n(b, LLMIR_SEC_KERNEL); i++)
        n += rt_blob_kernel(b, i)->kind == (uint32_t)kind;
    return n;
}

static ll_code evaluate(const rt_blob *b, const llmir_linear *l, const int64_t *dim,
                        const char *what, int64_t *out, ll_error *err)
{
    int64_t v = l->base, t;
    bool fits = true;
    for (uint32_t i = 0; i < l->n_term && fits; i++) {
        const llmir_term *x = rt_blob_term(b, l->term + i);
        fits = ll_mul_i64(x->coef, dim[x->dim], &t) && ll_add_i64(v, t, &v);
    }
    *out = v;
    return fits && v <= (int64_t)1 << 62
               ? LL_OK
               : ll_fail(err, LL_BAD_INPUT, "%s: a size or offset is out of range", what);
}

ll_code rt_linear(const rt_blob *b, const llmir_linear *l, const int64_t *dim, const char *what,
                  uint64_t *out, ll_error *err)
{
    int64_t v;
    LL_TRY(evaluate(b, l, dim, what, &v, err));
    if (v < 0) return ll_fail(err, LL_BAD_INPUT, "%s: a size or offset is negative", what);
    *out = (uint64_t)v;
    return LL_OK;
}

ll_code rt_extent(const rt_blob *b, const llmir_extent *x, const int64_t *dim, const char *what,
                  uint64_t *out, ll_error *err)
{
    int64_t v;
    LL_TRY(evaluate(b, &x->n, dim, what, &v, err));
    *out = v <= 0 ? 0 : ((uint64_t)v + x->div - 1) / x->div;
    return LL_OK;
}
