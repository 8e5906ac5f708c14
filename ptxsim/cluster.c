/* cluster.c: the memory of a cluster of blocks (one block where the launch has no clusters), and
 * putting it into its first state: registers with constants and special values, no data written, no
 * barrier in use. */
#include "ptxsim/check.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static size_t up64(size_t n) { return (n + 63) / 64 * 64; }

typedef struct sizes { size_t regs, valid, all_valid, local, shared, structs; } sizes;

static sizes measure(const ptx_run *r)
{
    bool uninit = r->opt.checks & PTXSIM_CHECK_UNINIT;
    return (sizes){
        .regs = up64(r->code->arena_bytes),
        .valid = uninit ? up64(r->code->arena_bytes / 4) : 0,
        .all_valid = uninit ? up64(r->code->arena_bytes / PTX_SLOT) : 0,
        .local = up64((size_t)r->code->local_bytes * PTX_LANES),
        .shared = up64(r->shared_bytes + 64),
    };
}

uint32_t ptx_random(ptx_worker *wk)
{
    wk->rng ^= wk->rng << 13;
    wk->rng ^= wk->rng >> 7;
    wk->rng ^= wk->rng << 17;
    return (uint32_t)(wk->rng >> 16);
}

static uint8_t *take(uint8_t **p, size_t n)
{
    uint8_t *r = *p;
    *p += n;
    return r;
}

static bool place_cta(ptx_cluster *cl, ptx_cta *c, uint8_t **p, const sizes *z)
{
    ptx_run *r = cl->run;
    *c = (ptx_cta){ .run = r, .cluster = cl, .n_warp = r->n_warp, .shared_bytes = r->shared_bytes };
    c->shared = take(p, z->shared);
    c->s = calloc(1, sizeof *c->s);
    c->warp = calloc(r->n_warp, sizeof *c->warp);
    if (!c->s || !c->warp) return false;
    if (r->opt.checks & (PTXSIM_CHECK_RACE | PTXSIM_CHECK_PENDING | PTXSIM_CHECK_UNINIT)) {
        c->shadow = ptx_shadow_new(r, r->shared_bytes);
        if (!c->shadow) return false;
    }
    for (uint32_t k = 0; k < r->n_warp; k++) {
        ptx_warp *w = &c->warp[k];
        *w = (ptx_warp){ .cta = c, .run = r, .index = k, .regs = take(p, z->regs) };
        if (z->valid) w->valid = take(p, z->valid), w->all_valid = take(p, z->all_valid);
        if (!(w->s = calloc(1, sizeof *w->s))) return false;
        w->s->local = take(p, z->local);
        if (z->valid) w->s->local_init = take(p, z->local);
    }
    return true;
}

ptx_cluster *ptx_cluster_new(ptx_worker *wk)
{
    ptx_run *r = wk->run;
    ptx_cluster *cl = calloc(1, sizeof *cl);
    sizes z = measure(r);
    if (!cl) return NULL;
    size_t warp = z.regs + z.valid + z.all_valid + z.local * (z.valid ? 2 : 1);
    cl->run = r;
    cl->worker = wk;
    cl->memory_bytes = (z.shared + warp * r->n_warp) * r->cluster_size + 64;
    cl->memory = mmap(NULL, cl->memory_bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (cl->memory == MAP_FAILED) cl->memory = NULL;
    cl->cta = calloc(r->cluster_size, sizeof *cl->cta);
    uint8_t *p = cl->memory;
    bool ok = cl->memory && cl->cta;
    for (uint32_t k = 0; k < r->cluster_size && ok; k++, cl->n_cta++)
        ok = place_cta(cl, &cl->cta[k], &p, &z);
    if (ok) return cl;
    if (cl->cta && cl->n_cta < r->cluster_size) cl->n_cta++; /* the one that failed half-way */
    ptx_cluster_free(cl);
    return NULL;
}

void ptx_cluster_free(ptx_cluster *cl)
{
    if (!cl) return;
    for (uint32_t k = 0; k < cl->n_cta && cl->cta; k++) {
        ptx_cta *c = &cl->cta[k];
        for (uint32_t j = 0; j < c->n_warp && c->warp; j++) {
            ptx_warp *w = &c->warp[j];
            if (!w->s) continue;
            ptx_matrix_reset(w);
            ptx_tma_reset(w);
            ptx_copies_free(w);
            free(w->s);
        }
        ptx_mbar_forget(c);
        ptx_shadow_free(c->shadow);
        free(c->warp);
        free(c->s);
    }
    free(cl->cta);
    if (cl->memory) munmap(cl->memory, cl->memory_bytes);
    free(cl);
}

void *ptx_cta_tma(ptx_cta *c) { return c->cluster->tma; }
void ptx_cta_set_tma(ptx_cta *c, void *p) { c->cluster->tma = p; }

/* ---- first state ---- */

static void unflatten(uint64_t i, const uint32_t n[3], uint32_t out[3])
{
    out[0] = (uint32_t)(i % n[0]);
    out[1] = (uint32_t)(i / n[0] % n[1]);
    out[2] = (uint32_t)(i / n[0] / n[1]);
}

static uint32_t special(const ptx_warp *w, ptx_special sr, uint32_t lane)
{
    const ptx_run *r = w->run;
    const ptx_cta *c = w->cta;
    uint32_t t[3], n = (uint32_t)sr;
    unflatten((uint64_t)w->index * PTX_LANES + lane, r->block, t);
    if (n <= PTX_SR_TID_Z) return t[n - PTX_SR_TID_X];
    if (n <= PTX_SR_NTID_Z) return r->block[n - PTX_SR_NTID_X];
    if (n <= PTX_SR_CTAID_Z) return c->id[n - PTX_SR_CTAID_X];
    if (n <= PTX_SR_NCTAID_Z) return r->grid[n - PTX_SR_NCTAID_X];
    if (n >= PTX_SR_CLUSTERID_X && n <= PTX_SR_CLUSTERID_Z)
        return c->id[n - PTX_SR_CLUSTERID_X] / r->cluster[n - PTX_SR_CLUSTERID_X];
    if (n >= PTX_SR_NCLUSTERID_X && n <= PTX_SR_NCLUSTERID_Z)
        return r->grid[n - PTX_SR_NCLUSTERID_X] / r->cluster[n - PTX_SR_NCLUSTERID_X];
    if (n >= PTX_SR_CL_CTAID_X && n <= PTX_SR_CL_CTAID_Z)
        return c->id[n - PTX_SR_CL_CTAID_X] % r->cluster[n - PTX_SR_CL_CTAID_X];
    if (n >= PTX_SR_CL_NCTAID_X && n <= PTX_SR_CL_NCTAID_Z)
        return r->cluster[n - PTX_SR_CL_NCTAID_X];
    switch (sr) {
    case PTX_SR_LANEID: return lane;
    case PTX_SR_WARPID: return w->index;
    case PTX_SR_NWARPID: return r->m->limits.max_threads_per_sm / PTX_LANES;
    case PTX_SR_SMID: return (uint32_t)(c->cluster->index % r->m->limits.sm_count);
    case PTX_SR_NSMID: return r->m->limits.sm_count;
    case PTX_SR_GRIDID: return 1;
    case PTX_SR_MASK_EQ: return 1u << lane;
    case PTX_SR_MASK_LE: return (2u << lane) - 1;
    case PTX_SR_MASK_LT: return (1u << lane) - 1;
    case PTX_SR_MASK_GE: return ~0u << lane;
    case PTX_SR_MASK_GT: return lane == 31 ? 0 : ~0u << (lane + 1);
    case PTX_SR_DYN_SMEM: return r->dyn_shared;
    case PTX_SR_TOTAL_SMEM: return r->shared_bytes;
    case PTX_SR_AGGR_SMEM: return r->shared_bytes;
    case PTX_SR_RESERVED_SIZE: return r->code->shared_base;
    case PTX_SR_CL_CTARANK: return c->rank;
    case PTX_SR_CL_NCTARANK: return c->cluster->n_cta;
    case PTX_SR_ENVREG_1: return (uint32_t)(r->workspace >> 32);
    case PTX_SR_ENVREG_2: return (uint32_t)r->workspace;
    default: return 0;
    }
}

static void fill_fixed(ptx_warp *w)
{
    const ptx_code *code = w->run->code;
    *ptx_rpred(w, 0) = PTX_FULL;
    if (w->all_valid) w->all_valid[0] = 1;
    for (uint32_t k = 0; k < code->n_fixed; k++) {
        const ptx_fixed *f = &code->fixed[k];
        for (uint32_t i = 0; i < PTX_LANES; i++) {
            uint64_t v = f->special ? special(w, (ptx_special)f->value, i) : f->value;
            if (f->bits == 1) *ptx_rpred(w, f->slot) = v ? PTX_FULL : 0;
            else if (f->bits >= 64) ptx_r64(w, f->slot)[i] = v;
            else ptx_r32(w, f->slot)[i] = (uint32_t)v;
            if (f->bits == 128) ptx_r64(w, f->slot)[i + PTX_LANES] = 0;
        }
        if (w->all_valid) w->all_valid[f->slot / PTX_SLOT] = 1;
    }
}

static void start_warp(ptx_warp *w, uint32_t threads)
{
    ptx_run *r = w->run;
    ptx_warp_sched *s = w->s;
    uint32_t first = w->index * PTX_LANES, n = threads > first ? threads - first : 0;
    w->born = w->live = n >= PTX_LANES ? PTX_FULL : (1u << n) - 1;
    if (w->valid) {
        memset(w->valid, 0, r->code->arena_bytes / 4);
        memset(w->all_valid, 0, r->code->arena_bytes / PTX_SLOT);
        memset(s->local_init, 0, (size_t)r->code->local_bytes * PTX_LANES);
    }
    fill_fixed(w);
    s->n = 1;
    s->g[0] = (ptx_group){ .m = w->live };
    s->forced = false;
    s->n_hot = 0;
    s->cluster_arrived = 0;
    s->wg_issued = 0;
    s->cluster_phase = 0;
    ptx_sync_start(w);
    ptx_copies_reset(w);
    ptx_matrix_reset(w);
    ptx_tma_reset(w);
}

void ptx_cluster_start(ptx_cluster *cl, uint64_t index)
{
    ptx_run *r = cl->run;
    uint32_t nc[3], at[3];
    cl->index = index;
    cl->events = 0;
    cl->arrived = cl->phase = cl->idle_rounds = 0;
    if (++cl->tick > UINT32_MAX / 2) { /* the shadows' clock is about to run over */
        cl->tick = 1;
        for (uint32_t k = 0; k < cl->n_cta; k++)
            if (cl->cta[k].shadow) ptx_shadow_forget(cl->cta[k].shadow);
    }
    for (int k = 0; k < 3; k++) nc[k] = r->grid[k] / r->cluster[k];
    unflatten(index, nc, at);
    for (uint32_t k = 0; k < cl->n_cta; k++) {
        ptx_cta *c = &cl->cta[k];
        uint32_t in[3];
        unflatten(k, r->cluster, in);
        for (int j = 0; j < 3; j++) c->id[j] = at[j] * r->cluster[j] + in[j];
        c->rank = k;
        memset(c->s->bar, 0, sizeof c->s->bar);
        c->s->live_threads = r->n_threads;
        ptx_mbar_forget(c);
        if (c->shadow) ptx_shadow_reset(c->shadow), c->shadow->start = cl->tick;
        memset(c->shared, 0xa5, r->shared_bytes);
        for (uint32_t j = 0; j < c->n_warp; j++) start_warp(&c->warp[j], r->n_threads);
    }
    cl->tick++;
}
