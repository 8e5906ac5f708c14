/* check_global.c: blocks of one launch that meet on a granule of global memory: the second of two
 * writes of different values, and a read of what another block wrote, unless a fence pattern orders
 * them.
 *
 * A block publishes its earlier writes by a device-wide fence followed by a strong access or an
 * atomic (or by a release); another block may rely on them once it has made a strong access or an
 * atomic itself. Which flag the two met on is not looked at: no false findings for sums that the
 * last block completes, at the price of missing some races there. */
#include "ptxsim/check.h"

#include <stdlib.h>
#include <string.h>

/* Per block, by its number: device-wide fences so far; how many of them a strong access has
 * followed; has made a strong access itself. */
struct ptx_gsync { uint32_t *fences, *published; uint8_t *learnt; };

bool ptx_global_start(ptx_run *r)
{
    uint64_t n = r->n_cluster * r->cluster_size;
    if (!(r->opt.checks & PTXSIM_CHECK_GLOBAL) || n < 2) return true;
    if (!(r->gsync = calloc(1, sizeof *r->gsync))) return false;
    r->gsync->learnt = calloc(n + 1, 1);
    r->gsync->fences = calloc(n + 1, 4);
    r->gsync->published = calloc(n + 1, 4);
    return r->gsync->learnt && r->gsync->fences && r->gsync->published;
}

void ptx_global_finish(ptx_run *r)
{
    if (!r->gsync) return;
    free(r->gsync->learnt);
    free(r->gsync->fences);
    free(r->gsync->published);
    free(r->gsync);
    r->gsync = NULL;
}

static uint32_t block_number(const ptx_cta *c)
{
    const uint32_t *g = c->run->grid;
    return c->id[0] + g[0] * (c->id[1] + g[1] * c->id[2]);
}

void ptx_global_fence(ptx_warp *w)
{
    if (w->run->gsync) w->run->gsync->fences[block_number(w->cta) + 1]++;
}

static void conflict(ptx_warp *w, const ptx_inst *in, uint32_t lane, uint64_t addr, uint32_t other,
                     bool write)
{
    const uint32_t *g = w->run->grid;
    other--;
    ptx_report(w, in, lane, PTXSIM_R_GLOBAL_CONFLICT, addr, 0,
               "%s global address 0x%llx, which block (%u,%u,%u) of the same launch %s",
               write ? "writes" : "reads", (unsigned long long)addr, other % g[0],
               other / g[0] % g[1], other / g[0] / g[1],
               write ? "wrote with another value" : "wrote");
}

void ptx_global_piece(ptx_warp *w, const ptx_inst *in, uint32_t lane, ptx_alloc *a, uint64_t off,
                      uint64_t n, bool write, const void *data)
{
    struct ptx_gsync *y = w->run->gsync;
    if (!y || !a->writer) return;
    uint32_t me = block_number(w->cta) + 1;
    uint64_t grain = w->run->code->global_grain;
    for (uint64_t g = off / grain; g <= (off + n - 1) / grain; g++) {
        uint64_t rec = __atomic_load_n(&a->writer[g], __ATOMIC_RELAXED);
        uint32_t other = (uint32_t)(rec >> 32);
        bool ordered = y->learnt[me] &&
                       (uint32_t)rec < __atomic_load_n(&y->published[other], __ATOMIC_ACQUIRE);
        if (other && other != me && !ordered) {
            uint64_t at = g * grain < off ? off : g * grain, size = grain;
            if (at + size > off + n) size = off + n - at;
            bool same = write && data &&
                        !memcmp(a->host + at, (const uint8_t *)data + (at - off), size);
            if (!same) {
                conflict(w, in, lane, a->base + off, other, write);
                return;
            }
        }
        if (write)
            __atomic_store_n(&a->writer[g], (uint64_t)me << 32 | y->fences[me], __ATOMIC_RELAXED);
    }
}

void ptx_global_access(ptx_warp *w, const ptx_inst *in, const ptx_access *ac, const void *data)
{
    struct ptx_gsync *y = w->run->gsync;
    if (!y) return;
    uint32_t me = block_number(w->cta) + 1;
    if (ac->kind & (PTX_ATOMIC | PTX_STRONG)) {
        if (ac->kind & PTX_SYNC) y->fences[me]++;
        y->learnt[me] = 1;
        __atomic_store_n(&y->published[me], y->fences[me], __ATOMIC_RELEASE);
        return;
    }
    for (uint32_t i = 0; i < PTX_LANES; i++) {
        if (!(ac->global >> i & 1)) continue;
        ptx_alloc *a = ac->alloc ? ac->alloc : ac->each[i];
        ptx_global_piece(w, in, i, a, ac->addr[i] - a->base, ac->size, ac->kind & PTX_WRITE,
                         data ? (const uint8_t *)data + i * ac->size : NULL);
    }
}
