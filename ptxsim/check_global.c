/* check_global.c: blocks of one launch that meet on a granule of global memory: the second of two writes of
 * different values, and a read of what another block wrote, unless an atomic or a strong access followed by
 * a fence pattern could have ordered them.
 *
 * What is known of the order between blocks is coarse on purpose: a block that has done an atomic or a strong
 * access to global memory may have learnt of every block that released something before. So only kernels
 * without such accesses, and blocks that have not yet made one, are held to the rule. No false findings for
 * split sums with a counter, at the price of missing some races there. */
#include "ptxsim/check.h"

#include <stdlib.h>
#include <string.h>

struct ptx_gsync { uint8_t *learnt; }; /* per block: it has met others through an atomic or a strong access */

bool ptx_global_start(ptx_run *r)
{
    uint64_t n = r->n_cluster * r->cluster_size;
    if (!(r->opt.checks & PTXSIM_CHECK_GLOBAL) || n < 2) return true;
    if (!(r->gsync = calloc(1, sizeof *r->gsync))) return false;
    return (r->gsync->learnt = calloc(n + 1, 1)) != NULL;
}

void ptx_global_finish(ptx_run *r)
{
    if (!r->gsync) return;
    free(r->gsync->learnt);
    free(r->gsync);
    r->gsync = NULL;
}

void ptx_global_fence(ptx_warp *w) { (void)w; }

static uint32_t block_number(const ptx_cta *c)
{
    const uint32_t *g = c->run->grid;
    return c->id[0] + g[0] * (c->id[1] + g[1] * c->id[2]);
}

static void conflict(ptx_warp *w, const ptx_inst *in, uint32_t lane, uint64_t addr, uint32_t other, bool write)
{
    const uint32_t *g = w->run->grid;
    other--;
    ptx_report(w, in, lane, PTXSIM_R_GLOBAL_CONFLICT, addr, 0, "%s global address 0x%llx, which block (%u,%u,%u) of the same launch %s", write ? "writes" : "reads", (unsigned long long)addr,
               other % g[0], other / g[0] % g[1], other / g[0] / g[1], write ? "wrote with another value" : "wrote");
}

void ptx_global_access(ptx_warp *w, const ptx_inst *in, const ptx_access *ac, const void *data)
{
    ptx_run *r = w->run;
    if (!r->gsync) return;
    uint32_t me = block_number(w->cta) + 1, grain = r->code->global_grain;
    bool strong = ac->kind & (PTX_ATOMIC | PTX_STRONG), write = ac->kind & (PTX_WRITE | PTX_ATOMIC), learnt = r->gsync->learnt[me];
    if (strong) {
        r->gsync->learnt[me] = 1;
        return;
    }
    for (uint32_t i = 0; i < PTX_LANES; i++) {
        if (!(ac->global >> i & 1)) continue;
        ptx_alloc *a = ac->alloc ? ac->alloc : ac->each[i];
        if (!a->writer) continue;
        uint64_t off = ac->addr[i] - a->base;
        for (uint64_t g = off / grain; g <= (off + ac->size - 1) / grain; g++) {
            uint32_t other = __atomic_load_n(&a->writer[g], __ATOMIC_RELAXED);
            if (other && other != me && !learnt) {
                uint64_t at = g * grain < off ? off : g * grain, n = grain;
                if (at + n > off + ac->size) n = off + ac->size - at;
                bool same = write && data && !memcmp(a->host + at, (const uint8_t *)data + i * ac->size + (at - off), n);
                if (!same) {
                    conflict(w, in, i, ac->addr[i], other, write);
                    break;
                }
            }
            if (write) __atomic_store_n(&a->writer[g], me, __ATOMIC_RELAXED);
        }
    }
}
